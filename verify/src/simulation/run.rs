//! One run: clients, the event source, workers and sweepers, until everything has ended.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use shared::id::JobId;
use shared::job::Status;
use shared::memory::Delivery;
use shared::ports::{Changed, JobQueue, JobStore};
use shared::transition::Change;
use tests::world::{body, record};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::ports::{Cosmos, Process, has_ended};
use super::{Fault, Plan};
use crate::functions::{Ports, accepted_in, submission};
use crate::history::{Kind, Record, Violation, check};
use crate::virtual_time::in_virtual_time;

/// How a run went.
#[derive(Debug)]
pub struct Outcome {
    /// What it was to be.
    pub plan: Plan,
    /// Jobs that clients were told are accepted.
    pub accepted: usize,
    /// Times that a fault struck.
    pub faults: u64,
    /// What must not have happened.
    pub violations: Vec<Violation>,
    /// What happened, to be told if something is wrong.
    pub records: Vec<Record>,
    /// How much time passed in it.
    pub simulated: Duration,
}

/// How long after the storm everything must have ended: longer than any wait between two looks of the sweeper.
const CALM: Duration = Duration::from_hours(4);

/// How long after another two clients come at most, in milliseconds: usually, and where there shall be much to sweep for
/// a long time.
const CLIENTS_APART_MS: (u64, u64) = (100, 3_000);

/// How long after another two sweeps begin: usually, and where there shall be many.
const SWEEPS_APART: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3));

/// Runs `plan` in a thread and a time of its own.
pub fn run(plan: Plan) -> Outcome {
    in_virtual_time(live_through(plan))
}

async fn live_through(plan: Plan) -> Outcome {
    let cosmos = Arc::new(Cosmos::new(plan));
    let mut background = JoinSet::new();
    background.spawn(event_source(Arc::clone(&cosmos)));
    background.spawn(schedule(Arc::clone(&cosmos)));

    let apart_ms = if plan.is_about_sweeping() { CLIENTS_APART_MS.1 } else { CLIENTS_APART_MS.0 };
    let mut clients = JoinSet::new();
    for number in 0..plan.jobs {
        clients.spawn(client(Arc::clone(&cosmos), number));
        tokio::time::sleep(Duration::from_millis(cosmos.below(apart_ms))).await;
    }
    let accepted = clients.join_all().await.into_iter().filter(|accepted| *accepted).count();
    tokio::time::sleep(Duration::from_secs(300)).await;
    cosmos.storm.store(false, Ordering::Relaxed);

    let calm = tokio::time::Instant::now();
    while !cosmos.store.all().iter().all(has_ended) && calm.elapsed() < CALM {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    // A failed job's message is on its way to the dead-letter queue, and the sweeper tidies that.
    tokio::time::sleep(Duration::from_hours(2)).await;
    background.shutdown().await;

    let jobs = cosmos.store.all();
    let records = cosmos.records.lock().expect("no panic").clone();
    let mut violations = check(&records, &jobs);
    violations.extend(dead_letters_that_lie(&cosmos));
    let simulated =
        Duration::from_millis(cosmos.now().since(cosmos_start(&cosmos)).as_millis().try_into().unwrap_or(0));
    Outcome { plan, accepted, faults: cosmos.faults.load(Ordering::Relaxed), violations, records, simulated }
}

fn cosmos_start(cosmos: &Cosmos) -> shared::time::Timestamp {
    cosmos.store.all().first().map_or(cosmos.now(), |job| job.created_at)
}

/// The dead-letter queue must hold one message for each failed job, and no other.
fn dead_letters_that_lie(cosmos: &Cosmos) -> Vec<Violation> {
    let letters = cosmos.queue.dead_letters();
    let named: BTreeSet<JobId> = letters.iter().copied().collect();
    let failed: BTreeSet<JobId> =
        cosmos.store.all().iter().filter(|job| job.status() == Status::Failed).map(|job| job.id).collect();
    let untrue = |job: &JobId, what: &str| Violation { kind: Kind::Untrue, job: *job, what: what.to_owned() };
    let missing = failed.difference(&named).map(|job| untrue(job, "failed, and no dead letter"));
    let needless = named.difference(&failed).map(|job| untrue(job, "a dead letter, and not failed"));
    let mut violations: Vec<_> = missing.chain(needless).collect();
    if letters.len() != named.len() {
        violations.push(untrue(&letters[0], "some dead letters are there twice"));
    }
    violations
}

/// Submits one job, again and again with the same key until it is accepted. Whether it was.
async fn client(cosmos: Arc<Cosmos>, number: u32) -> bool {
    let key = format!("order-{number}");
    for _ in 0..50 {
        let process = Process::new(&cosmos);
        let router = Ports::of(&process).api();
        let request = submission(Some(&key), payload_of(&cosmos, number));
        let answer = tokio::select! {
            biased;
            () = process.died.notified() => None,
            answer = router.oneshot(request) => answer.ok(),
        };
        if let Some(job) = answer.as_ref().and_then(accepted_in) {
            cosmos.record(Record::Accepted { job, key: Some(key) });
            if cosmos.strikes(Fault::Cancel) {
                cancel(&cosmos, job).await;
            }
            return true;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    false
}

/// The same for each number: some jobs are slow, some fail now and then, some give up, some are for later.
fn payload_of(cosmos: &Cosmos, number: u32) -> String {
    let wish = match (u64::from(number) ^ cosmos.plan.seed) % 10 {
        0 | 1 => "slow",
        2 => "fail",
        3 => "give_up",
        _ => "",
    };
    let delay = match number % 50 {
        0 => r#","delay_seconds":30"#,
        1 => r#","delay_seconds":1200"#,
        _ => "",
    };
    format!(r#"{{"type":"csv-generation","payload":{{"wish":"{wish}"}},"timeout_seconds":10{delay}}}"#)
}

/// What the API's cancel does: end a waiting job, ask for a running one.
async fn cancel(cosmos: &Arc<Cosmos>, job: JobId) {
    tokio::time::sleep(Duration::from_millis(cosmos.below(20_000))).await;
    let process = Process::new(cosmos);
    let now = cosmos.now();
    for change in [Change::CancelPending { now }, Change::RequestCancel { now }] {
        let changed = tokio::select! {
            biased;
            () = process.died.notified() => return,
            changed = process.change_if_allowed(job, &change) => changed,
        };
        if let Ok(Changed::Applied(_)) = changed {
            cosmos.record(Record::CancelAcknowledged { job });
            return;
        }
    }
}

/// The event-source mapping: up to 5 batches of up to 10 messages at once.
async fn event_source(cosmos: Arc<Cosmos>) {
    let mut invocations = JoinSet::new();
    loop {
        while invocations.try_join_next().is_some() {}
        let most = 1 + usize::try_from(cosmos.below(10)).unwrap_or(0);
        let mut batch = vec![];
        while batch.len() < most && invocations.len() < 5 {
            let Some(delivery) = cosmos.queue.receive() else { break };
            if plan_is(&cosmos, Fault::VisibilityOver) && delivery.receives > 1 {
                cosmos.faults.fetch_add(1, Ordering::Relaxed);
            }
            if cosmos.strikes(Fault::DeliveredTwice) {
                let soon = Duration::from_millis(cosmos.below(5_000));
                cosmos.queue.hide(&delivery.receipt, soon).await.expect("memory takes all");
            }
            if cosmos.strikes(Fault::Reordered) {
                let rest = Duration::from_millis(cosmos.below(60_000));
                cosmos.queue.hide(&delivery.receipt, rest).await.expect("memory takes all");
            } else if cosmos.strikes(Fault::Throttled) {
                cosmos.queue.hide(&delivery.receipt, Duration::from_secs(30)).await.expect("memory takes all");
            } else if !cosmos.strikes(Fault::ReceiveLost) {
                batch.push(delivery);
            }
        }
        if batch.is_empty() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        } else {
            invocations.spawn(invoke(Arc::clone(&cosmos), batch));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn plan_is(cosmos: &Cosmos, fault: Fault) -> bool {
    cosmos.plan.fault == Some(fault)
}

/// One invocation of the worker. What it does not return is acknowledged; if it dies, nothing is.
async fn invoke(cosmos: Arc<Cosmos>, batch: Vec<Delivery>) {
    let process = Process::new(&cosmos);
    let worker = Ports::of(&process).worker();
    let mut event = SqsEvent::default();
    event.records = batch.iter().map(|delivery| record(&delivery.receipt, &body(delivery.job_id))).collect();
    let response = tokio::select! {
        biased;
        () = process.died.notified() => return,
        response = worker.handle(event, Duration::from_secs(60)) => response,
    };
    let Ok(response) = response else { return };
    let returned: BTreeSet<_> = response.batch_item_failures.iter().map(|failure| &failure.item_identifier).collect();
    for delivery in &batch {
        if !returned.contains(&delivery.receipt.0) {
            cosmos.queue.acknowledge(&delivery.receipt);
        }
    }
}

/// The sweeper, each minute or more often.
async fn schedule(cosmos: Arc<Cosmos>) {
    let mut sweeps = JoinSet::new();
    loop {
        let apart = if cosmos.is_a_storm_of_sweeping() { SWEEPS_APART.1 } else { SWEEPS_APART.0 };
        tokio::time::sleep(apart).await;
        let at_once = if cosmos.strikes(Fault::TwoSweepers) { 2 } else { 1 };
        for _ in 0..at_once {
            sweeps.spawn(sweep(Arc::clone(&cosmos)));
        }
        while sweeps.try_join_next().is_some() {}
    }
}

async fn sweep(cosmos: Arc<Cosmos>) {
    let process = Process::new(&cosmos);
    let sweeper = Ports::of(&process).sweeper();
    tokio::select! {
        biased;
        () = process.died.notified() => {}
        _ = sweeper.handle(Duration::from_secs(50)) => {}
    }
}
