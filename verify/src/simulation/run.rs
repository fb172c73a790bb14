//! One run: clients, the event source, workers and sweepers, until everything has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use shared::job::Status;
use shared::ports::JobQueue;
use shared::ports::memory::Delivery;
use shared::values::id::JobId;
use tests::world::{body, record};
use tokio::task::JoinSet;

use super::people::client;
use super::ports::{Cosmos, Line, Process};
use super::stream::{stream_source, what_events_got_wrong};
use super::{Fault, Plan};
use crate::functions::Ports;
use crate::history::{Kind, Violation, check};
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
    pub story: Vec<Line>,
    /// The longest time for which a failed job had no dead letter, or one that is not failed had one.
    pub longest_lie: Duration,
}

/// How long after the storm everything must have ended: longer than any wait between two looks of the sweeper.
const CALM: Duration = Duration::from_hours(4);

/// The longest time for which the dead-letter queue may not tell the truth about a job.
const LONGEST_LIE: Duration = Duration::from_mins(30);

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
    background.spawn(stream_source(Arc::clone(&cosmos)));
    let longest_lie = Arc::new(Mutex::default());
    background.spawn(watch_dead_letters(Arc::clone(&cosmos), Arc::clone(&longest_lie)));
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
    while !cosmos.store.statuses().iter().all(|(_, status)| status.is_terminal()) && calm.elapsed() < CALM {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    // A failed job's message is on its way to the dead-letter queue, and the sweeper tidies that.
    tokio::time::sleep(CALM / 4).await;
    background.shutdown().await;

    let jobs = cosmos.store.all();
    let records = cosmos.records.lock().expect("no panic").clone();
    let mut violations = check(&records, &jobs, plan.leases());
    violations.extend(dead_letters_that_lie(&cosmos));
    violations.extend(what_events_got_wrong(&cosmos, &jobs).await);
    let story = cosmos.story.lock().expect("no panic").clone();
    let longest_lie = *longest_lie.lock().expect("no panic");
    if longest_lie > LONGEST_LIE {
        let what = format!("one of those about which the dead-letter queue lied for {} s", longest_lie.as_secs());
        violations.push(Violation { kind: Kind::Untrue, job: jobs[0].id, what });
    }
    Outcome { plan, accepted, faults: cosmos.faults.load(Ordering::Relaxed), violations, story, longest_lie }
}

fn failed_jobs(cosmos: &Cosmos) -> BTreeSet<JobId> {
    let statuses = cosmos.store.statuses().into_iter();
    statuses.filter(|(_, status)| *status == Status::Failed).map(|(job, _)| job).collect()
}

/// Times how long the dead-letter queue does not tell the truth about a job.
async fn watch_dead_letters(cosmos: Arc<Cosmos>, longest: Arc<Mutex<Duration>>) {
    let mut lies: BTreeMap<JobId, tokio::time::Instant> = BTreeMap::new();
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let named: BTreeSet<JobId> = cosmos.queue.dead_letters().into_iter().collect();
        let now: BTreeSet<JobId> = named.symmetric_difference(&failed_jobs(&cosmos)).copied().collect();
        lies.retain(|job, _| now.contains(job));
        for job in now {
            let since = *lies.entry(job).or_insert_with(tokio::time::Instant::now);
            let mut longest = longest.lock().expect("no panic");
            *longest = longest.max(since.elapsed());
        }
    }
}

/// The dead-letter queue must hold one message for each failed job, and no other.
fn dead_letters_that_lie(cosmos: &Cosmos) -> Vec<Violation> {
    let letters = cosmos.queue.dead_letters();
    let named: BTreeSet<JobId> = letters.iter().copied().collect();
    let failed: BTreeSet<JobId> = failed_jobs(cosmos);
    let untrue = |job: &JobId, what: &str| Violation { kind: Kind::Untrue, job: *job, what: what.to_owned() };
    let missing = failed.difference(&named).map(|job| untrue(job, "failed, and no dead letter"));
    let needless = named.difference(&failed).map(|job| untrue(job, "a dead letter, and not failed"));
    let mut violations: Vec<_> = missing.chain(needless).collect();
    if letters.len() != named.len() {
        violations.push(untrue(&letters[0], "some dead letters are there twice"));
    }
    violations
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
            let job = Some(delivery.job_id);
            cosmos.tell(job, &format_args!("a message is delivered, for the {}. time", delivery.receives));
            let visible_in = async |rest: u64| {
                let rest = Duration::from_millis(rest);
                cosmos.queue.hide(&delivery.receipt, rest).await.expect("memory takes all");
            };
            if cosmos.strikes_at(Fault::DeliveredTwice, job) {
                visible_in(cosmos.below(200)).await;
            }
            if cosmos.strikes_at(Fault::VisibilityOver, job) {
                visible_in(1_000 + cosmos.below(6_000)).await;
            }
            if cosmos.strikes_at(Fault::Reordered, job) {
                visible_in(cosmos.below(60_000)).await;
            } else if cosmos.strikes_at(Fault::Throttled, job) {
                visible_in(30_000).await;
            } else if !cosmos.strikes_at(Fault::ReceiveLost, job) {
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
