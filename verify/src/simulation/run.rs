//! One run: clients, the event source, workers and sweepers, until everything has ended.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::Api;
use aws_lambda_events::event::sqs::SqsEvent;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use shared::id::JobId;
use shared::job::Status;
use shared::memory::Delivery;
use shared::ports::{Changed, JobQueue, JobStore};
use shared::retry::RetryPolicy;
use shared::transition::Change;
use sweeper::Sweeper;
use tests::world::{body, mailer_nowhere, record};
use tokio::task::JoinSet;
use tower::ServiceExt;
use worker::{Isolation, Tools, Worker};

use super::ports::{Cosmos, Process, has_ended};
use super::{Fault, Plan};
use crate::history::{Kind, Record, Violation, check};

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
const CALM: Duration = Duration::from_secs(4 * 60 * 60);

/// Runs `plan` in a thread and a time of its own.
pub fn run(plan: Plan) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(live_through(plan))
}

async fn live_through(plan: Plan) -> Outcome {
    let cosmos = Arc::new(Cosmos::new(plan));
    let mut background = JoinSet::new();
    background.spawn(event_source(Arc::clone(&cosmos)));
    background.spawn(schedule(Arc::clone(&cosmos)));

    let mut clients = JoinSet::new();
    for number in 0..plan.jobs {
        clients.spawn(client(Arc::clone(&cosmos), number));
        tokio::time::sleep(Duration::from_millis(cosmos.below(100))).await;
    }
    let accepted = clients.join_all().await.into_iter().filter(|accepted| *accepted).count();
    tokio::time::sleep(Duration::from_secs(300)).await;
    cosmos.storm.store(false, Ordering::Relaxed);

    let calm = tokio::time::Instant::now();
    while !cosmos.store.all().iter().all(has_ended) && calm.elapsed() < CALM {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    // A failed job's message is on its way to the dead-letter queue, and the sweeper tidies that.
    tokio::time::sleep(Duration::from_secs(2 * 60 * 60)).await;
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
        let api = Api {
            store: process.clone(),
            queue: process.clone(),
            clock: process.clone(),
            entropy: process.clone(),
            idempotency_secret: "secret".to_owned(),
        };
        let request = Request::post("/jobs")
            .header("content-type", "application/json")
            .header("idempotency-key", &key)
            .body(Body::from(submission(&cosmos, number)))
            .expect("a request");
        let router = api::router(api);
        let answer = tokio::select! {
            biased;
            () = process.died.notified() => None,
            answer = router.oneshot(request) => answer.ok(),
        };
        if let Some(answer) = answer
            && answer.status() == StatusCode::ACCEPTED
        {
            let location = answer.headers()["location"].to_str().expect("ASCII").to_owned();
            let job: JobId = location.trim_start_matches("/jobs/").parse().expect("an id");
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
fn submission(cosmos: &Cosmos, number: u32) -> String {
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
    let worker = Worker {
        store: process.clone(),
        queue: process.clone(),
        clock: process.clone(),
        entropy: process.clone(),
        retry: RetryPolicy { base: Duration::from_secs(2), cap: Duration::from_secs(900) },
        tools: Arc::new(Tools { outputs: process.clone(), mailer: mailer_nowhere(), csv_formula_guard: true }),
        isolation: Isolation::Task,
        stuck: false.into(),
    };
    let mut event = SqsEvent::default();
    event.records = batch.iter().map(|delivery| record(&delivery.receipt, &body(delivery.job_id))).collect();
    let response = tokio::select! {
        biased;
        () = process.died.notified() => return,
        response = Arc::new(worker).handle(event, Duration::from_secs(60)) => response,
    };
    let Ok(response) = response else { return };
    let returned: BTreeSet<_> = response.batch_item_failures.iter().map(|failure| &failure.item_identifier).collect();
    for delivery in &batch {
        if !returned.contains(&delivery.receipt.0) {
            cosmos.queue.acknowledge(&delivery.receipt);
        }
    }
}

/// The sweeper, each minute.
async fn schedule(cosmos: Arc<Cosmos>) {
    let mut sweeps = JoinSet::new();
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let at_once = if cosmos.strikes(Fault::TwoSweepers) { 2 } else { 1 };
        for _ in 0..at_once {
            sweeps.spawn(sweep(Arc::clone(&cosmos)));
        }
        while sweeps.try_join_next().is_some() {}
    }
}

async fn sweep(cosmos: Arc<Cosmos>) {
    let process = Process::new(&cosmos);
    let sweeper = Sweeper {
        store: process.clone(),
        queue: process.clone(),
        dead_letters: process.clone(),
        clock: process.clone(),
    };
    tokio::select! {
        biased;
        () = process.died.notified() => {}
        _ = sweeper.handle(Duration::from_secs(50)) => {}
    }
}
