//! A backlog: many jobs are queued while no worker runs, and then drained.
//!
//! To the sweeper each of them looks as if its message were lost. If it sent another for each, again and again, the queue
//! would grow for as long as no worker runs, and draining it would take all the longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsMessage;
use shared::job::Status;
use shared::ports::{JobQueue, Receipt};
use tests::world::{body, record};
use tokio::task::JoinSet;

use crate::deployment::{BATCH, Deployment, WORKERS};
use crate::history::{Kind, Violation};
use crate::resident::{megabytes, resident_kib};
use crate::summary::Line;
use crate::virtual_time::in_virtual_time;

/// How long no worker runs once all jobs are queued.
const WORKER_IS_OFF: Duration = Duration::from_mins(30);

/// How long after another two jobs are submitted.
const SUBMISSIONS_APART: Duration = Duration::from_millis(1);

/// How long after another two sweeps begin.
const SWEEPS_APART: Duration = Duration::from_secs(60);

/// How long an attempt takes.
const AN_ATTEMPT_TAKES: Duration = Duration::from_millis(100);

/// How many copies of messages the sweeper may add, in percent of the jobs.
const MOST_COPIES_PERCENT: u32 = 1;

/// How many violations are printed.
const PRINTED: usize = 10;

/// Queues `jobs` jobs while no worker runs, lets the sweeper sweep for half an hour, and then lets workers drain the queue.
/// Gives some sentences on the copies of messages that the sweeper added, and on this process's memory.
pub fn overload(seed: u64, jobs: u32) -> (Line, String) {
    in_virtual_time(live_through(seed, jobs))
}

async fn live_through(seed: u64, jobs: u32) -> (Line, String) {
    let memory_at_start = resident_kib("self");
    let deployment = Arc::new(Deployment::new(seed, AN_ATTEMPT_TAKES));
    let copies = Arc::new(AtomicU32::new(0));
    let mut schedule = JoinSet::new();
    schedule.spawn(sweep_each_minute(Arc::clone(&deployment), Arc::clone(&copies)));

    let mut accepted = vec![];
    for number in 0..jobs {
        let body = format!(r#"{{"type":"csv-generation","payload":{{"number":{number}}}}}"#);
        accepted.push(deployment.submit(body).await);
        tokio::time::sleep(SUBMISSIONS_APART).await;
    }
    tokio::time::sleep(WORKER_IS_OFF).await;
    let waiting = deployment.queue.waiting().await.expect("memory answers");
    let memory_queued = resident_kib("self");
    let copies_queued = copies.load(Ordering::Relaxed);

    drain(&deployment, accepted.len() / 2).await;
    let memory_half = resident_kib("self");
    drain(&deployment, usize::MAX).await;
    let memory_drained = resident_kib("self");
    // Whatever the sweeper may still find.
    tokio::time::sleep(WORKER_IS_OFF).await;
    schedule.shutdown().await;
    let copies = copies.load(Ordering::Relaxed);

    let mut violations = deployment.violations(&accepted);
    for job in deployment.store.all() {
        if job.status() == Status::Completed && job.attempts != 1 {
            let what = format!("completed at attempt {}", job.attempts);
            violations.push(Violation { kind: Kind::Untrue, job: job.id, what });
        }
    }
    if copies * 100 > jobs * MOST_COPIES_PERCENT {
        let what = format!("one of {jobs} jobs of whose messages the sweeper added {copies} copies");
        violations.push(Violation { kind: Kind::Doubled, job: accepted[0], what });
    }
    for violation in violations.iter().take(PRINTED) {
        println!("{violation}");
    }
    let percent = 100.0 * f64::from(copies) / f64::from(jobs.max(1));
    let [start, queued, half, drained] = [memory_at_start, memory_queued, memory_half, memory_drained].map(megabytes);
    let note = format!(
        "{jobs} jobs queued while no worker ran, then {} minutes of sweeps: the sweeper added {copies_queued} copies of \
         messages, {waiting} were waiting; with the drain it added {copies}, {percent:.3} % of the jobs \
         ({MOST_COPIES_PERCENT} % is the most)\n\
         this process, the jobs included, held {start} at the start, {queued} with all queued, {half} after the drain of \
         the first half, {drained} after that of the second",
        WORKER_IS_OFF.as_secs() / 60
    );
    (Line::of("overload: a backlog while no worker runs", accepted.len(), 0, &violations), note)
}

async fn sweep_each_minute(deployment: Arc<Deployment>, copies: Arc<AtomicU32>) {
    loop {
        tokio::time::sleep(SWEEPS_APART).await;
        let sent = deployment.sweep().await.sent; // no message was lost, so each is a copy
        copies.fetch_add(u32::try_from(sent).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

/// Lets workers work until they have made so many files in all, or nothing is left in the queue.
async fn drain(deployment: &Arc<Deployment>, files: usize) {
    let mut invocations = JoinSet::new();
    loop {
        while invocations.len() < WORKERS && deployment.files.count() < files {
            let batch: Vec<_> = std::iter::from_fn(|| deployment.queue.receive()).take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            let records = batch.iter().map(|delivery| record(&delivery.receipt, &body(delivery.job_id))).collect();
            invocations.spawn(invoke(Arc::clone(deployment), records));
        }
        match invocations.join_next().await {
            Some(ended) => ended.expect("no invocation panics"),
            None => return,
        }
    }
}

async fn invoke(deployment: Arc<Deployment>, records: Vec<SqsMessage>) {
    let ids: Vec<_> = records.iter().filter_map(|record| record.message_id.clone()).collect();
    let failures = deployment.work_on(records).await.batch_item_failures;
    for id in ids.into_iter().filter(|id| failures.iter().all(|failure| failure.item_identifier != *id)) {
        deployment.queue.acknowledge(&Receipt(id)); // a record is named by its receipt
    }
}
