//! What happens to one message: claim its job, run it, write down how it went.
//!
//! The table decides, the message only says where to look. At every `await` this process may die: before the claim
//! nothing has happened; after it the lease runs out and another attempt follows; after the outcome is written, the
//! message comes back and finds the job done.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsMessage;
use shared::id::{JobId, LeaseToken};
use shared::job::{Job, Status};
use shared::job_type::JobType;
use shared::json::Json;
use shared::ports::{Changed, Message, Receipt, StoreError};
use shared::transition::{ABANDONED, Change, Fence, Refusal};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::job_error::Reason;
use crate::{Context, JobError, Worker, job_types};

/// One delivery of one message.
pub struct Delivery {
    job_id: Option<JobId>,
    receipt: Receipt,
}

impl From<SqsMessage> for Delivery {
    fn from(message: SqsMessage) -> Self {
        Self {
            job_id: message.body.as_deref().and_then(Message::job_named_in),
            receipt: Receipt(message.receipt_handle.unwrap_or_default()),
        }
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has done its duty: the queue may forget it.
    Done,
    /// It must be delivered again; or, if it has been often enough, go to the dead-letter queue.
    Return,
    /// The same, and this process has to end: a job in it does not stop.
    ReturnAndEndProcess,
}

/// How long to leave a message that came to a worker without enough time, or without a table.
const SHORT_REST: Duration = Duration::from_secs(5);

/// Works on the job that `delivery` names, until `ends_at` at most.
pub async fn work_on(worker: &Worker, delivery: &Delivery, ends_at: Instant) -> Verdict {
    let Some(job_id) = delivery.job_id else {
        tracing::error!("message.undecodable");
        return send_to_dead_letters(worker, delivery).await;
    };
    let mut random = [0; 8];
    worker.entropy.fill(&mut random);
    let token = LeaseToken::new(random);
    let now = worker.clock.now();
    let time_left = ends_at.saturating_duration_since(Instant::now());
    match worker.store.change_if_allowed(job_id, &Change::Claim { now, token, time_left }).await {
        // Already applied: the claim was tried twice, and the answer to the first try got lost.
        Ok(Changed::Applied(job) | Changed::Refused(Refusal::AlreadyApplied, job)) => {
            let fence = Fence { attempt: job.attempts, token };
            run_and_write_down(worker, delivery, &job, fence, ends_at).await
        }
        Ok(Changed::Refused(refusal, job)) => leave(worker, delivery, &job, refusal).await,
        Ok(Changed::Missing) => {
            tracing::warn!(job.id = %job_id, "job.missing");
            Verdict::Done
        }
        Err(error) => {
            tracing::error!(job.id = %job_id, error = &error as &dyn std::error::Error, "job.not_claimed");
            hide(worker, delivery, SHORT_REST).await;
            Verdict::Return
        }
    }
}

/// What to do with the message of a job that could not be claimed.
async fn leave(worker: &Worker, delivery: &Delivery, job: &Job, refusal: Refusal) -> Verdict {
    let now = worker.clock.now();
    tracing::debug!(job.id = %job.id, refusal = ?refusal, "job.left");
    match refusal {
        Refusal::Ended(Status::Failed) => send_to_dead_letters(worker, delivery).await,
        Refusal::Ended(Status::Completed | Status::Cancelled | Status::Pending | Status::Processing) => Verdict::Done,
        // Whoever has the job will finish it; if they die, the sweeper sends another message.
        Refusal::Leased(_) => Verdict::Done,
        Refusal::NotYetDue(not_before) => {
            hide(worker, delivery, not_before.since(now)).await;
            Verdict::Return
        }
        Refusal::TimeLeftTooShort => {
            hide(worker, delivery, SHORT_REST).await;
            Verdict::Return
        }
        Refusal::AttemptsUsedUp => {
            let expire = Change::Expire { now, tenant: job.tenant.clone() };
            match worker.store.change_if_allowed(job.id, &expire).await {
                Ok(Changed::Applied(job)) => {
                    log_failed(&job, ABANDONED, millis(ran_for(&job)));
                    send_to_dead_letters(worker, delivery).await
                }
                Ok(Changed::Refused(..) | Changed::Missing) | Err(_) => Verdict::Return,
            }
        }
        Refusal::CancelRequested => match worker.store.change_if_allowed(job.id, &Change::ExpireCancelled { now }).await {
            Ok(_) => Verdict::Done,
            Err(_) => Verdict::Return,
        },
        Refusal::AlreadyApplied | Refusal::Fenced | Refusal::MovedOn => Verdict::Return,
    }
}

async fn run_and_write_down(
    worker: &Worker,
    delivery: &Delivery,
    job: &Job,
    fence: Fence,
    ends_at: Instant,
) -> Verdict {
    tracing::debug!(
        job.id = %job.id,
        job.r#type = %job.job_type,
        attempt = fence.attempt,
        correlation_id = job.correlation_id,
        wait_ms = millis(waited(job)),
        "job.started"
    );
    let started = Instant::now();
    let Ran { outcome, stopped } = run(worker, job).await;
    let duration_ms = millis(started.elapsed());
    let ended = Ended { job, fence, duration_ms, ends_at };
    let verdict = match outcome {
        Ok(result) => complete(worker, &ended, result).await,
        Err(error) => fail_or_retry(worker, delivery, &ended, &error).await,
    };
    if stopped { verdict } else { Verdict::ReturnAndEndProcess }
}

/// An attempt that has ended, on its way into the table.
struct Ended<'a> {
    job: &'a Job,
    fence: Fence,
    duration_ms: u64,
    ends_at: Instant,
}

/// How an attempt went.
struct Ran {
    outcome: Result<Json, JobError>,
    /// Whether its task is gone. One that never lets go of its thread cannot be stopped.
    stopped: bool,
}

/// How long a task that was told to stop may take to do so.
const TIME_TO_STOP: Duration = Duration::from_secs(1);

/// Runs the job for as long as its timeout, on a thread of its own: a panic, a wait without end or even a loop that
/// never lets go of its thread is its own affair, and its neighbours' timers go on.
async fn run(worker: &Worker, job: &Job) -> Ran {
    let Some(job_type) = JobType::named(job.job_type.as_str()) else {
        // A newer deployment accepted it; a worker of that deployment will know.
        return Ran { outcome: Err(JobError::retry("this worker does not know the job's type")), stopped: true };
    };
    let tools = Arc::clone(&worker.tools);
    let context = Context { job_id: job.id, attempt: job.attempts, created_at: job.created_at, tools };
    let payload = job.payload.clone();
    // Dropped, it tells the job to stop: here, or with this whole future when the function's time is up.
    let (go_on, told_to_stop) = oneshot::channel::<()>();
    let runtime = Handle::current();
    let mut task = tokio::task::spawn_blocking(move || {
        runtime.block_on(async {
            tokio::select! {
                outcome = job_types::run(job_type, payload.as_str(), context) => outcome,
                _ = told_to_stop => Err(JobError::retry("the attempt was told to stop")),
            }
        })
    });
    match tokio::time::timeout(job.timeout, &mut task).await {
        Ok(Ok(outcome)) => Ran { outcome, stopped: true },
        Ok(Err(_panic)) => Ran { outcome: Err(JobError::retry("the job panicked")), stopped: true },
        Err(_elapsed) => {
            drop(go_on);
            let stopped = tokio::time::timeout(TIME_TO_STOP, task).await.is_ok();
            let error = JobError::retry(format!("the attempt took longer than {} s", job.timeout.as_secs()));
            Ran { outcome: Err(error), stopped }
        }
    }
}

async fn complete(worker: &Worker, ended: &Ended<'_>, result: Json) -> Verdict {
    let Ended { job, fence, duration_ms, ends_at: _ } = *ended;
    let change = Change::Complete { now: worker.clock.now(), fence, result };
    match write_down(worker, ended, &change).await {
        Ok(Changed::Applied(_) | Changed::Refused(Refusal::AlreadyApplied, _)) => {
            tracing::info!(
                job.id = %job.id,
                job.r#type = %job.job_type,
                attempt = fence.attempt,
                correlation_id = job.correlation_id,
                duration_ms,
                "job.completed"
            );
            Verdict::Done
        }
        Ok(Changed::Refused(..) | Changed::Missing) => fenced(job, fence),
        Err(_) => Verdict::Return,
    }
}

async fn fail_or_retry(worker: &Worker, delivery: &Delivery, ended: &Ended<'_>, error: &JobError) -> Verdict {
    let Ended { job, fence, duration_ms, ends_at: _ } = *ended;
    let retry_after = match error {
        JobError::GiveUp(reason) => return fail(worker, delivery, ended, reason).await,
        JobError::Retry(_) => None,
        JobError::RetryAfter(wait, _) => Some(*wait),
    };
    let reason = error.reason();
    if fence.attempt >= job.max_attempts {
        return fail(worker, delivery, ended, reason).await;
    }
    let mut random = [0; 4];
    worker.entropy.fill(&mut random);
    let wait = worker.retry.backoff(fence.attempt, retry_after, u32::from_be_bytes(random));
    let now = worker.clock.now();
    let not_before = now + wait;
    let change = Change::Retry { now, fence, error: reason.to_string(), not_before };
    match write_down(worker, ended, &change).await {
        Ok(Changed::Applied(_) | Changed::Refused(Refusal::AlreadyApplied, _)) => {
            tracing::warn!(
                job.id = %job.id,
                job.r#type = %job.job_type,
                attempt = fence.attempt,
                max_attempts = job.max_attempts,
                correlation_id = job.correlation_id,
                duration_ms,
                retry_in_ms = millis(wait),
                error = reason.message,
                "job.retrying"
            );
            hide(worker, delivery, not_before.since(worker.clock.now())).await;
            Verdict::Return
        }
        Ok(Changed::Refused(Refusal::CancelRequested, _)) => {
            let change = Change::YieldToCancel { now: worker.clock.now(), fence };
            match write_down(worker, ended, &change).await {
                Ok(Changed::Applied(_) | Changed::Refused(Refusal::AlreadyApplied, _)) => {
                    tracing::info!(job.id = %job.id, attempt = fence.attempt, correlation_id = job.correlation_id, "job.cancelled");
                    Verdict::Done
                }
                Ok(Changed::Refused(..) | Changed::Missing) => fenced(job, fence),
                Err(_) => Verdict::Return,
            }
        }
        Ok(Changed::Refused(..) | Changed::Missing) => fenced(job, fence),
        Err(_) => Verdict::Return,
    }
}

async fn fail(worker: &Worker, delivery: &Delivery, ended: &Ended<'_>, reason: &Reason) -> Verdict {
    let Ended { job, fence, duration_ms, ends_at: _ } = *ended;
    let now = worker.clock.now();
    let change = Change::Fail { now, fence, error: reason.to_string(), tenant: job.tenant.clone() };
    match write_down(worker, ended, &change).await {
        Ok(Changed::Applied(_) | Changed::Refused(Refusal::AlreadyApplied, _)) => {
            log_failed(job, &reason.message, duration_ms);
            send_to_dead_letters(worker, delivery).await
        }
        Ok(Changed::Refused(..) | Changed::Missing) => fenced(job, fence),
        Err(_) => Verdict::Return,
    }
}

/// Writes an outcome, trying for as long as there is time: what is not written must be done again.
async fn write_down(worker: &Worker, ended: &Ended<'_>, change: &Change) -> Result<Changed, StoreError> {
    let Ended { job, ends_at, .. } = *ended;
    let mut rest = Duration::from_millis(100);
    loop {
        let error = match worker.store.change_if_allowed(job.id, change).await {
            Ok(changed) => return Ok(changed),
            Err(error) => error,
        };
        let time_is_up = Instant::now() + rest >= ends_at;
        if !error.retryable() || time_is_up {
            tracing::error!(job.id = %job.id, attempt = job.attempts, error = &error as &dyn std::error::Error, "job.outcome_unwritten");
            return Err(error);
        }
        tokio::time::sleep(rest).await;
        rest = (rest * 2).min(Duration::from_secs(2));
    }
}

/// This attempt took longer than its lease, and the job went on without it: its outcome does not count.
fn fenced(job: &Job, fence: Fence) -> Verdict {
    tracing::warn!(job.id = %job.id, attempt = fence.attempt, correlation_id = job.correlation_id, "job.fenced");
    Verdict::Done
}

fn log_failed(job: &Job, error: &str, duration_ms: u64) {
    tracing::error!(
        job.id = %job.id,
        job.r#type = %job.job_type,
        attempt = job.attempts,
        max_attempts = job.max_attempts,
        correlation_id = job.correlation_id,
        duration_ms,
        error,
        "job.failed"
    );
}

/// Lets the message be delivered at once again and again, until its redrive policy moves it to the dead-letter queue.
async fn send_to_dead_letters(worker: &Worker, delivery: &Delivery) -> Verdict {
    hide(worker, delivery, Duration::ZERO).await;
    Verdict::Return
}

/// Hides the message for so long. If the queue does not do it, the message stays hidden for as long as the queue hides
/// every message, and the sweeper finds the job before that.
async fn hide(worker: &Worker, delivery: &Delivery, rest: Duration) {
    if let Err(error) = worker.queue.hide(&delivery.receipt, rest).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "message.not_hidden");
    }
}

/// How long the job had been waiting since what happened to it before this attempt.
fn waited(job: &Job) -> Duration {
    match job.history.as_slice() {
        [.., before, started] => started.at().since(before.at()),
        [] | [_] => Duration::ZERO,
    }
}

/// How long the attempt took that ended the job.
fn ran_for(job: &Job) -> Duration {
    job.finished_at().zip(job.started_at).map_or(Duration::ZERO, |(end, start)| end.since(start))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
