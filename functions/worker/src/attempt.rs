//! What happens to one message: claim its job, run it, write down how it went.
//!
//! The table decides, the message only says where to look. At every `await` this process may die: before the claim
//! nothing has happened; after it the lease runs out and another attempt follows; after the outcome is written, the
//! message comes back and finds the job done.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsMessage;
use shared::job::event::Event;
use shared::job::transition::{ABANDONED, Change, Fence, LEASE_MARGIN, Refusal};
use shared::job::{FORMAT, HeldBack, Job, Status};
use shared::job_type::JobType;
use shared::ports::{Changed, Message, Receipt, StoreError};
use shared::values::chain::Chain;
use shared::values::id::{JobId, LeaseToken};
use shared::values::json::Json;
use shared_aws::sqs::{CORRELATION_ID, TRACEPARENT};
use shared_aws::telemetry::{about, trace_id};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::job_error::Reason;
use crate::{Context, Isolation, JobError, Worker, job_types};

/// One delivery of one message.
pub struct Delivery {
    job_id: Option<JobId>,
    receipt: Receipt,
    /// How often the message has been delivered, this time included.
    receives: u32,
    /// What its lines are found by, until the job itself is known.
    span: Span,
}

impl From<SqsMessage> for Delivery {
    fn from(message: SqsMessage) -> Self {
        let receives = message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok());
        let job_id = message.body.as_deref().and_then(Message::job_named_in);
        Self {
            receives: receives.unwrap_or(1),
            job_id,
            span: span_of(&message, job_id),
            receipt: Receipt(message.receipt_handle.unwrap_or_default()),
        }
    }
}

/// What a message says of its job without being asked to: as much as lets a line be found that is written before the
/// table has answered. Anybody who may send to the queue can have written it.
fn span_of(message: &SqsMessage, job_id: Option<JobId>) -> Span {
    let attribute = |name: &str| message.message_attributes.get(name)?.string_value.as_deref();
    let is_an_id = |text: &&str| text.len() <= LONGEST_ID && text.bytes().all(|byte| byte.is_ascii_graphic());
    // At the level `error`, so that no line goes without it, whatever `LOG_LEVEL` says.
    tracing::error_span!(
        "message",
        job.id = job_id.map(tracing::field::display),
        correlation_id = attribute(CORRELATION_ID).filter(is_an_id),
        trace_id = attribute(TRACEPARENT).and_then(trace_id)
    )
}

/// The longest correlation id of ours, in bytes.
const LONGEST_ID: usize = 128;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has done its duty: the queue may forget it.
    Done,
    /// It must be delivered again; or, if it has been often enough, go to the dead-letter queue.
    Return,
}

/// How long to leave a message that came to a worker without enough time for its job.
const SHORT_REST: Duration = Duration::from_secs(5);

/// How long to leave a message that came while the table did not answer, or whose job this worker cannot run, the first
/// time and at most. It doubles with each delivery, so that an outage of hours does not wear the message out.
const REST: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(900));

/// How long to leave a message that came while no job may be started. Each delivery counts towards the dead-letter queue:
/// a pause of more than an hour wears a message out, and when it is over the sweeper sends another.
const PAUSED_REST: Duration = Duration::from_secs(300);

/// How often an attempt may go on in another worker. Each time adds two events to the job's history.
const MOST_CONTINUATIONS: usize = 500;

/// How long a worker has for a batch.
#[derive(Clone, Copy, Debug)]
pub struct Shift {
    /// As long as any worker has: how much there was when the batch came.
    pub length: Duration,
    /// When it is over.
    pub ends_at: Instant,
}

/// Works on the job that `delivery` names, until the end of the shift at most.
pub async fn work_on(worker: &Worker, delivery: &Delivery, shift: Shift) -> Verdict {
    claim_and_run(worker, delivery, shift).instrument(delivery.span.clone()).await
}

async fn claim_and_run(worker: &Worker, delivery: &Delivery, shift: Shift) -> Verdict {
    let ends_at = shift.ends_at;
    let Some(job_id) = delivery.job_id else {
        tracing::error!("message.undecodable");
        return send_to_dead_letters(worker, delivery).await;
    };
    if worker.pause.is_paused().await {
        hide(worker, delivery, PAUSED_REST).await;
        return Verdict::Return;
    }
    let mut random = [0; 8];
    worker.entropy.fill(&mut random);
    let token = LeaseToken::new(random);
    // The lease counts from here, and so does the attempt: a claim that takes long must not let it outlive its lease.
    let began = Instant::now();
    let now = worker.clock.now();
    let time_left = ends_at.saturating_duration_since(began);
    match worker.store.change_if_allowed(job_id, &Change::Claim { now, token, time_left }).await {
        // Already applied: the claim was tried twice, and the answer to the first try got lost.
        Ok(Changed::Applied(job) | Changed::Refused(Refusal::AlreadyApplied, job)) => {
            let fence = Fence { attempt: job.attempts, token };
            run_and_write_down(worker, delivery, &job, fence, began, ends_at).instrument(about(&job)).await
        }
        Ok(Changed::Refused(refusal, job)) => {
            leave(worker, delivery, shift, &job, refusal).instrument(about(&job)).await
        }
        Ok(Changed::Missing) => {
            tracing::warn!("job.missing");
            Verdict::Done
        }
        Err(error) => {
            if let StoreError::Newer(_, format) = error {
                return wait_for_newer_version(format);
            }
            tracing::error!(error = %Chain(&error), "job.not_claimed");
            put_back(worker, delivery).await
        }
    }
}

/// What to do with the message of a job that could not be claimed.
async fn leave(worker: &Worker, delivery: &Delivery, shift: Shift, job: &Job, refusal: Refusal) -> Verdict {
    let now = worker.clock.now();
    tracing::debug!(outcome = reason_of(refusal), "job.left");
    match refusal {
        Refusal::Ended(Status::Failed) => send_to_dead_letters(worker, delivery).await,
        Refusal::Ended(Status::Completed | Status::Cancelled | Status::Pending | Status::Processing) => Verdict::Done,
        // Whoever has the job will finish it; if they die, the sweeper sends another message.
        Refusal::Leased(_) => Verdict::Done,
        Refusal::NotYetDue(not_before) => {
            hide(worker, delivery, not_before.since(now)).await;
            Verdict::Return
        }
        Refusal::UnknownType => {
            let reason = format!("this version of Dray has no job type {}", job.job_type);
            hold_back(worker, delivery, job, reason).await
        }
        Refusal::NewerFormat => wait_for_newer_version(job.format),
        Refusal::TimeLeftTooShort if job.timeout + LEASE_MARGIN > shift.length => {
            let (timeout, length) = (job.timeout.as_secs(), shift.length.as_secs());
            let reason = format!("an attempt may take {timeout} s, and a worker has {length} s for everything");
            hold_back(worker, delivery, job, reason).await
        }
        Refusal::TimeLeftTooShort => {
            tracing::warn!(timeout_s = job.timeout.as_secs(), "job.postponed");
            hide(worker, delivery, SHORT_REST).await;
            Verdict::Return
        }
        Refusal::AttemptsUsedUp => {
            let expire = Change::Expire { now, tenant: job.tenant.clone() };
            match worker.store.change_if_allowed(job.id, &expire).await {
                Ok(Changed::Applied(job)) => {
                    log_failed(&job, &Reason::new(ABANDONED), millis(ran_for(&job)));
                    send_to_dead_letters(worker, delivery).await
                }
                Ok(Changed::Refused(..) | Changed::Missing) => Verdict::Return,
                Err(error) => unwritten(&error),
            }
        }
        Refusal::CancelRequested => {
            match worker.store.change_if_allowed(job.id, &Change::ExpireCancelled { now }).await {
                Ok(Changed::Applied(_)) => {
                    tracing::info!("job.cancelled");
                    Verdict::Done
                }
                Ok(Changed::Refused(..) | Changed::Missing) => Verdict::Done,
                Err(error) => unwritten(&error),
            }
        }
        Refusal::Expired => match worker.store.change_if_allowed(job.id, &Change::Lapse { now }).await {
            Ok(Changed::Applied(_)) => {
                tracing::info!("job.lapsed");
                Verdict::Done
            }
            Ok(Changed::Refused(..)) => Verdict::Return,
            Ok(Changed::Missing) => Verdict::Done,
            Err(error) => unwritten(&error),
        },
        Refusal::AlreadyApplied | Refusal::Fenced | Refusal::HistoryFull | Refusal::MovedOn => Verdict::Return,
    }
}

/// No worker like this one can run the job. One may come that can, while a new version is rolled out or back: until then
/// the job waits, at the cost of no attempt; but not for ever. Its message is done with: the sweeper sends others, each later
/// than the one before, while one that stays would wear itself out.
async fn hold_back(worker: &Worker, delivery: &Delivery, job: &Job, reason: String) -> Verdict {
    let now = worker.clock.now();
    let held_back = match &job.held_back {
        Some(held_back) => held_back.clone(),
        None => match worker.store.change_if_allowed(job.id, &Change::HoldBack { now, reason: reason.clone() }).await {
            Ok(Changed::Applied(_)) => {
                tracing::warn!(reason, "job.held_back");
                HeldBack { reason, since: now }
            }
            // Another worker has said so, or the job has moved on.
            Ok(Changed::Refused(..) | Changed::Missing) => return Verdict::Done,
            Err(error) => return unwritten(&error),
        },
    };
    if held_back.until() > now {
        return Verdict::Done;
    }
    let error = held_back.error();
    let end = Change::EndHeldBack { now, error: error.clone(), tenant: job.tenant.clone() };
    match worker.store.change_if_allowed(job.id, &end).await {
        Ok(Changed::Applied(job)) => {
            log_failed(&job, &Reason::new(error), 0);
            send_to_dead_letters(worker, delivery).await
        }
        Ok(Changed::Refused(..) | Changed::Missing) => Verdict::Return,
        Err(error) => unwritten(&error),
    }
}

/// A newer build wrote the job, in this format. A worker of that build will understand it.
fn wait_for_newer_version(format: u32) -> Verdict {
    tracing::warn!(format, known_format = FORMAT, "job.of_newer_version");
    Verdict::Done
}

/// Leaves the message alone for a while, for longer each time that it comes.
async fn put_back(worker: &Worker, delivery: &Delivery) -> Verdict {
    let (first, most) = REST;
    let rest = first.saturating_mul(2_u32.saturating_pow(delivery.receives.saturating_sub(1))).min(most);
    hide(worker, delivery, rest).await;
    Verdict::Return
}

/// A refusal by its name, as logs have it.
fn reason_of(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Ended(status) => status.as_str(),
        Refusal::Leased(_) => "leased",
        Refusal::NotYetDue(_) => "not_yet_due",
        Refusal::TimeLeftTooShort => "time_left_too_short",
        Refusal::UnknownType => "unknown_type",
        Refusal::NewerFormat => "newer_format",
        Refusal::AttemptsUsedUp => "attempts_used_up",
        Refusal::CancelRequested => "cancel_requested",
        Refusal::Expired => "expired",
        Refusal::AlreadyApplied => "already_applied",
        Refusal::Fenced => "fenced",
        Refusal::HistoryFull => "history_full",
        Refusal::MovedOn => "moved_on",
    }
}

async fn run_and_write_down(
    worker: &Worker,
    delivery: &Delivery,
    job: &Job,
    fence: Fence,
    began: Instant,
    ends_at: Instant,
) -> Verdict {
    tracing::debug!(wait_ms = millis(waited(job)), traceparent = job.traceparent, "job.started");
    let started = Instant::now();
    let outcome = run(worker, job, fence, began + job.timeout).await;
    let duration_ms = millis(started.elapsed());
    let ended = Ended { job, fence, duration_ms, ends_at };
    match outcome {
        Ok(result) => complete(worker, &ended, result).await,
        Err(error) => fail_or_retry(worker, delivery, &ended, &error).await,
    }
}

/// An attempt that has ended, on its way into the table.
struct Ended<'a> {
    job: &'a Job,
    fence: Fence,
    duration_ms: u64,
    ends_at: Instant,
}

/// How long a task that was told to stop may take to do so.
const TIME_TO_STOP: Duration = Duration::from_secs(1);

/// Runs the job until `ends_at` at most, on a thread of its own: a panic, a wait without end or even a loop that
/// never lets go of its thread is its own affair, and its neighbours' timers go on.
async fn run(worker: &Worker, job: &Job, fence: Fence, ends_at: Instant) -> Result<Json, JobError> {
    let Some(job_type) = JobType::named(job.job_type.as_str()) else {
        return Err(JobError::retry("this version of Dray does not have the job's type")); // a claim refuses it before
    };
    let tools = Arc::clone(&worker.tools);
    let context = Context::new(job, fence, ends_at, tools, Arc::clone(&worker.store), Arc::clone(&worker.clock));
    let payload = job.payload.clone();
    // Dropped, it tells the job to stop: here, or with this whole future when the function's time is up.
    let (go_on, told_to_stop) = oneshot::channel::<()>();
    let attempt = async move {
        tokio::select! {
            biased;
            _ = told_to_stop => Err(JobError::retry("the attempt was told to stop")),
            outcome = job_types::run(job_type, payload.as_str(), context) => outcome,
        }
    };
    // What the job's type logs, or a panic of it, is found with the other lines of the attempt.
    let attempt = attempt.in_current_span();
    let runtime = Handle::current();
    let mut task = match worker.isolation {
        Isolation::Thread => tokio::task::spawn_blocking(move || runtime.block_on(attempt)),
        Isolation::Task => tokio::spawn(attempt),
    };
    match tokio::time::timeout_at(ends_at, &mut task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_panic)) => Err(JobError::retry("the job panicked")),
        Err(_elapsed) => {
            drop(go_on);
            if tokio::time::timeout(TIME_TO_STOP, task).await.is_err() {
                worker.stuck.store(true, Ordering::Relaxed);
            }
            Err(JobError::retry(format!("the attempt took longer than {} s", job.timeout.as_secs())))
        }
    }
}

async fn complete(worker: &Worker, ended: &Ended<'_>, result: Json) -> Verdict {
    let Ended { fence, duration_ms, .. } = *ended;
    let change = Change::Complete { now: worker.clock.now(), fence, result };
    match write_down(worker, ended, &change).await {
        Ok(Changed::Applied(_) | Changed::Refused(Refusal::AlreadyApplied, _)) => {
            tracing::info!(duration_ms, "job.completed");
            Verdict::Done
        }
        Ok(Changed::Refused(..) | Changed::Missing) => fenced(),
        Err(error) => unwritten(&error),
    }
}

async fn fail_or_retry(worker: &Worker, delivery: &Delivery, ended: &Ended<'_>, error: &JobError) -> Verdict {
    let Ended { job, fence, duration_ms, ends_at: _ } = *ended;
    let (retry_after, reason) = match error {
        JobError::GiveUp(reason) => return fail(worker, delivery, ended, reason).await,
        JobError::Yield(checkpoint) => return go_on_elsewhere(worker, delivery, ended, checkpoint).await,
        JobError::Retry(reason) => (None, reason),
        JobError::RetryAfter(wait, reason) => (Some(*wait), reason),
    };
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
                max_attempts = job.max_attempts,
                duration_ms,
                retry_in_ms = millis(wait),
                error = reason.message,
                cause = reason.cause,
                "job.retrying"
            );
            hide(worker, delivery, not_before.since(worker.clock.now())).await;
            Verdict::Return
        }
        Ok(Changed::Refused(Refusal::CancelRequested, _)) => yield_to_cancel(worker, ended).await,
        Ok(Changed::Refused(..) | Changed::Missing) => fenced(),
        Err(error) => unwritten(&error),
    }
}

/// The attempt goes on in another worker, by way of the same message.
async fn go_on_elsewhere(worker: &Worker, delivery: &Delivery, ended: &Ended<'_>, checkpoint: &Json) -> Verdict {
    let Ended { job, fence, duration_ms, ends_at: _ } = *ended;
    let since_redriven = job.history.iter().rev().take_while(|event| !matches!(event, Event::Redriven { .. }));
    let continuations = since_redriven.filter(|event| matches!(event, Event::Yielded { .. })).count();
    if continuations >= MOST_CONTINUATIONS {
        let reason = Reason::new(format!("it is not done after {MOST_CONTINUATIONS} continuations"));
        return fail(worker, delivery, ended, &reason).await;
    }
    let change = Change::Yield { now: worker.clock.now(), fence, checkpoint: checkpoint.clone() };
    match write_down(worker, ended, &change).await {
        Ok(Changed::Applied(_) | Changed::Refused(Refusal::AlreadyApplied, _)) => {
            tracing::info!(duration_ms, "job.yielded");
            hide(worker, delivery, Duration::ZERO).await;
            Verdict::Return
        }
        Ok(Changed::Refused(Refusal::CancelRequested, _)) => yield_to_cancel(worker, ended).await,
        Ok(Changed::Refused(..) | Changed::Missing) => fenced(),
        Err(error) => unwritten(&error),
    }
}

async fn yield_to_cancel(worker: &Worker, ended: &Ended<'_>) -> Verdict {
    let Ended { fence, .. } = *ended;
    let change = Change::YieldToCancel { now: worker.clock.now(), fence };
    match write_down(worker, ended, &change).await {
        Ok(Changed::Applied(_) | Changed::Refused(Refusal::AlreadyApplied, _)) => {
            tracing::info!("job.cancelled");
            Verdict::Done
        }
        Ok(Changed::Refused(..) | Changed::Missing) => fenced(),
        Err(error) => unwritten(&error),
    }
}

async fn fail(worker: &Worker, delivery: &Delivery, ended: &Ended<'_>, reason: &Reason) -> Verdict {
    let Ended { job, fence, duration_ms, ends_at: _ } = *ended;
    let now = worker.clock.now();
    let change = Change::Fail { now, fence, error: reason.to_string(), tenant: job.tenant.clone() };
    match write_down(worker, ended, &change).await {
        Ok(Changed::Applied(_) | Changed::Refused(Refusal::AlreadyApplied, _)) => {
            log_failed(job, reason, duration_ms);
            send_to_dead_letters(worker, delivery).await
        }
        Ok(Changed::Refused(Refusal::CancelRequested, _)) => yield_to_cancel(worker, ended).await,
        Ok(Changed::Refused(..) | Changed::Missing) => fenced(),
        Err(error) => unwritten(&error),
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
            return Err(error);
        }
        tokio::time::sleep(rest).await;
        rest = (rest * 2).min(Duration::from_secs(2));
    }
}

/// The outcome is not in the table, so the message must come back.
fn unwritten(error: &StoreError) -> Verdict {
    tracing::error!(error = %Chain(error), "job.outcome_unwritten");
    Verdict::Return
}

/// This attempt took longer than its lease, and the job went on without it: its outcome does not count.
fn fenced() -> Verdict {
    tracing::warn!("job.fenced");
    Verdict::Done
}

fn log_failed(job: &Job, reason: &Reason, duration_ms: u64) {
    tracing::error!(
        max_attempts = job.max_attempts,
        duration_ms,
        error = reason.message,
        cause = reason.cause,
        "job.failed"
    );
}

/// Lets the message be delivered at once again and again, until its redrive policy moves it to the dead-letter queue.
async fn send_to_dead_letters(worker: &Worker, delivery: &Delivery) -> Verdict {
    hide(worker, delivery, Duration::ZERO).await;
    Verdict::Return
}

/// Hides the message for so long. If the queue does not do it, the message stays hidden for as long as the queue hides
/// every message that it delivers: later or earlier than wished, and both do no harm.
async fn hide(worker: &Worker, delivery: &Delivery, rest: Duration) {
    if let Err(error) = worker.queue.hide(&delivery.receipt, rest).await {
        tracing::warn!(error = %Chain(&error), "message.not_hidden");
    }
}

/// How long the job had been waiting since what happened to it before this attempt.
fn waited(job: &Job) -> Duration {
    match job.history.as_slice() {
        [.., before, started] => started.at().since(before.at()),
        [] | [_] => Duration::ZERO,
    }
}

/// How long it was from the job's last attempt to its end.
fn ran_for(job: &Job) -> Duration {
    job.finished_at().zip(job.started_at).map_or(Duration::ZERO, |(end, start)| end.since(start))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
