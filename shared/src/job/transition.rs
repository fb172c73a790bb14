//! The one place where a job's status changes.
//!
//! [`transition`] says what each [`Change`] makes of each job, or why it may not happen. The in-memory store calls it;
//! the DynamoDB store repeats the same rule as the condition of its write, and the contract suite holds the two
//! against each other.

use std::time::Duration;

use crate::job::due::PATIENCE;
use crate::job::event::{Event, LAPSED};
use crate::job::{FORMAT, HeldBack, Job, Progress, State, Status};
use crate::job_type::JobType;
use crate::values::id::{LeaseToken, Tenant};
use crate::values::json::Json;
use crate::values::time::Timestamp;

/// How much longer than the attempt's own timeout a lease lasts: the time a worker has to write down the outcome
/// before another may claim the job.
pub const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// Something that is to happen to one job, if the job is still in a state that allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A worker takes the job for one attempt.
    Claim {
        /// The worker's clock.
        now: Timestamp,
        /// A new token for this claim.
        token: LeaseToken,
        /// How long this worker still lives. Too little for the job's timeout and the lease's margin: no claim.
        time_left: Duration,
    },
    /// The attempt under this fence succeeded.
    Complete {
        /// The worker's clock.
        now: Timestamp,
        /// Which attempt.
        fence: Fence,
        /// What it returned.
        result: Json,
    },
    /// The attempt under this fence failed, and another shall follow.
    Retry {
        /// The worker's clock.
        now: Timestamp,
        /// Which attempt.
        fence: Fence,
        /// Why it failed.
        error: String,
        /// When the next may start.
        not_before: Timestamp,
    },
    /// The attempt under this fence failed, and no other shall follow.
    Fail {
        /// The worker's clock.
        now: Timestamp,
        /// Which attempt.
        fence: Fence,
        /// Why it failed.
        error: String,
        /// The job's owner: failures are listed apart, for each owner.
        tenant: Tenant,
    },
    /// The attempt under this fence ended without success after somebody asked for the job to be cancelled.
    YieldToCancel {
        /// The worker's clock.
        now: Timestamp,
        /// Which attempt.
        fence: Fence,
    },
    /// The last allowed attempt died without a word: its lease is over.
    Expire {
        /// The clock of whoever noticed.
        now: Timestamp,
        /// The job's owner.
        tenant: Tenant,
    },
    /// An attempt died without a word after somebody asked for the job to be cancelled.
    ExpireCancelled {
        /// The clock of whoever noticed.
        now: Timestamp,
    },
    /// The sweeper looked at an overdue job and will look again at `due_at`.
    Postpone {
        /// The due it saw. Another sweeper may have been faster.
        seen_due_at: Timestamp,
        /// The end of the lease it saw, if the job was running. A worker may have claimed it since, or claimed it anew.
        seen_lease_until: Option<Timestamp>,
        /// The new one.
        due_at: Timestamp,
    },
    /// The attempt under this fence is not done, and its worker has no more time: the same attempt goes on in another.
    Yield {
        /// The worker's clock.
        now: Timestamp,
        /// Which attempt.
        fence: Fence,
        /// Where it goes on.
        checkpoint: Json,
    },
    /// The attempt under this fence tells how far it has come.
    Report {
        /// Which attempt.
        fence: Fence,
        /// How far.
        progress: Progress,
    },
    /// A worker came upon a job that it could start but for its type, or for a timeout that is longer than any worker
    /// lives.
    HoldBack {
        /// The worker's clock.
        now: Timestamp,
        /// Why it could not.
        reason: String,
    },
    /// No worker that could run the job has come for [`HeldBack::LONGEST`].
    EndHeldBack {
        /// The clock of whoever noticed.
        now: Timestamp,
        /// [`HeldBack::error`] of the job.
        error: String,
        /// The job's owner.
        tenant: Tenant,
    },
    /// Nobody started the job before it expired.
    Lapse {
        /// The clock of whoever noticed.
        now: Timestamp,
    },
    /// Somebody wants a waiting job to start at another time.
    Reschedule {
        /// Their clock.
        now: Timestamp,
        /// When it may start.
        not_before: Timestamp,
    },
    /// Somebody wants a job that has failed or was cancelled to be tried again. It does not expire any more.
    Redrive {
        /// Their clock.
        now: Timestamp,
        /// When it may start.
        not_before: Timestamp,
        /// How many attempts it may have besides those that it has had.
        more_attempts: u32,
        /// The job's owner: it is no longer listed among the failures.
        tenant: Tenant,
    },
    /// Somebody wants a job cancelled that is waiting.
    CancelPending {
        /// Their clock.
        now: Timestamp,
    },
    /// Somebody wants a job cancelled that is running.
    RequestCancel {
        /// Their clock.
        now: Timestamp,
    },
}

impl Change {
    /// The attempt whose outcome it writes; `None` if it writes no attempt's outcome.
    pub fn fence(&self) -> Option<&Fence> {
        match self {
            Self::Complete { fence, .. }
            | Self::Retry { fence, .. }
            | Self::Fail { fence, .. }
            | Self::Yield { fence, .. }
            | Self::YieldToCancel { fence, .. } => Some(fence),
            Self::Claim { .. }
            | Self::Expire { .. }
            | Self::ExpireCancelled { .. }
            | Self::Postpone { .. }
            | Self::Report { .. }
            | Self::HoldBack { .. }
            | Self::EndHeldBack { .. }
            | Self::Lapse { .. }
            | Self::Reschedule { .. }
            | Self::Redrive { .. }
            | Self::CancelPending { .. }
            | Self::RequestCancel { .. } => None,
        }
    }

    /// Whether who makes it must understand all that is written of the job. An attempt that has the job may bring it to
    /// its end, and people may cancel it, whoever wrote what; and the sweeper may look at it again later.
    pub fn needs_known_format(&self) -> bool {
        match self {
            Self::Claim { .. }
            | Self::Expire { .. }
            | Self::HoldBack { .. }
            | Self::EndHeldBack { .. }
            | Self::Lapse { .. }
            | Self::Reschedule { .. }
            | Self::Redrive { .. } => true,
            Self::Complete { .. }
            | Self::Retry { .. }
            | Self::Fail { .. }
            | Self::YieldToCancel { .. }
            | Self::ExpireCancelled { .. }
            | Self::Postpone { .. }
            | Self::Yield { .. }
            | Self::Report { .. }
            | Self::CancelPending { .. }
            | Self::RequestCancel { .. } => false,
        }
    }
}

/// Which attempt writes: only the one whose number and token the job still carries may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// The token of its claim.
    pub token: LeaseToken,
}

/// Why a change may not happen now. One variant for each thing the caller may have to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It happened already: the job carries this very token, or has been asked to be cancelled before. Where nothing
    /// else has happened since, that is how a caller learns of a write whose answer got lost.
    AlreadyApplied,
    /// The job has ended, this way.
    Ended(Status),
    /// It may not be started before this time.
    NotYetDue(Timestamp),
    /// Another attempt has it to itself until this time.
    Leased(Timestamp),
    /// The lease is over, and no attempt is left.
    AttemptsUsedUp,
    /// It has expired, and nobody has it.
    Expired,
    /// So much has happened to it that its history has no room for what people may add to it.
    HistoryFull,
    /// Somebody asked for it to be cancelled.
    CancelRequested,
    /// Its attempt could not end within the time this worker has left.
    TimeLeftTooShort,
    /// This build does not know its type.
    UnknownType,
    /// A newer build wrote it, in a format that this one does not know.
    NewerFormat,
    /// The writer no longer holds the job: its lease ran out and things went on without it.
    Fenced,
    /// It has moved on since it was looked at, or is not in a state in which the change means anything.
    MovedOn,
}

/// What `change` makes of `job`, or why it may not happen.
pub fn transition(job: &Job, change: &Change) -> Result<Job, Refusal> {
    if job.format > FORMAT && change.needs_known_format() {
        let redrivable = matches!(change, Change::Redrive { .. }) && job.status() != Status::Completed;
        return Err(if job.status().is_terminal() && !redrivable { ended(job) } else { Refusal::NewerFormat });
    }
    match change {
        Change::Claim { now, token, time_left } => claim(job, *now, *token, *time_left),
        Change::Complete { now, fence, result } => {
            hold(job, fence, Status::Completed)?;
            let state = State::Completed { finished_at: *now, result: result.clone() };
            Ok(Job { error: None, checkpoint: None, ..changed(job, state, Event::Completed { at: *now }) })
        }
        Change::Retry { now, fence, error, not_before } => {
            let held = hold(job, fence, Status::Pending)?;
            if held.cancel_requested {
                return Err(Refusal::CancelRequested);
            }
            if job.attempts >= job.max_attempts {
                return Err(Refusal::AttemptsUsedUp);
            }
            let due_at = crate::job::due::due_after(*not_before);
            let state = State::Pending { not_before: *not_before, due_at, resumes: false };
            let event = Event::Retrying { at: *now, error: error.clone(), not_before: *not_before };
            Ok(Job { error: Some(error.clone()), ..changed(job, state, event) })
        }
        Change::Fail { now, fence, error, tenant: _ } => {
            if hold(job, fence, Status::Failed)?.cancel_requested {
                return Err(Refusal::CancelRequested);
            }
            Ok(failed(job, *now, error))
        }
        Change::YieldToCancel { now, fence } => {
            if !hold(job, fence, Status::Cancelled)?.cancel_requested {
                return Err(Refusal::MovedOn);
            }
            Ok(cancelled(job, *now))
        }
        Change::Yield { now, fence, checkpoint } => {
            if hold(job, fence, Status::Pending)?.cancel_requested {
                return Err(Refusal::CancelRequested);
            }
            let state = State::Pending { not_before: *now, due_at: crate::job::due::due_after(*now), resumes: true };
            Ok(Job { checkpoint: Some(checkpoint.clone()), ..changed(job, state, Event::Yielded { at: *now }) })
        }
        Change::Report { fence, progress } => {
            hold(job, fence, Status::Processing)?;
            Ok(Job { progress: Some(progress.clone()), ..job.clone() })
        }
        Change::HoldBack { now, reason } => hold_back(job, *now, reason),
        Change::EndHeldBack { now, error, tenant: _ } => end_held_back(job, *now, error),
        Change::Lapse { now } => lapse(job, *now),
        Change::Reschedule { now, not_before } => match job.state {
            State::Pending { .. } if job.history.len() >= MOST_EVENTS => Err(Refusal::HistoryFull),
            State::Pending { resumes, .. } => {
                let due_at = crate::job::due::first_due(*not_before, *now);
                let state = State::Pending { not_before: *not_before, due_at, resumes };
                let event = Event::Rescheduled { at: *now, not_before: *not_before };
                Ok(Job { held_back: None, ..changed(job, state, event) })
            }
            State::Processing { .. } => Err(Refusal::MovedOn),
            State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. } => Err(ended(job)),
        },
        Change::Redrive { now, not_before, more_attempts, tenant: _ } => {
            redrive(job, *now, *not_before, *more_attempts)
        }
        Change::Expire { now, tenant: _ } => match abandoned(job, *now)? {
            Held { cancel_requested: true } => Err(Refusal::CancelRequested),
            Held { cancel_requested: false } if job.attempts < job.max_attempts => Err(Refusal::MovedOn),
            Held { cancel_requested: false } => Ok(failed(job, *now, ABANDONED)),
        },
        Change::ExpireCancelled { now } => match abandoned(job, *now)? {
            Held { cancel_requested: true } => Ok(cancelled(job, *now)),
            Held { cancel_requested: false } => Err(Refusal::MovedOn),
        },
        Change::Postpone { seen_due_at, seen_lease_until, due_at } => {
            postpone(job, *seen_due_at, *seen_lease_until, *due_at)
        }
        Change::CancelPending { now } => match job.state {
            State::Pending { .. } => Ok(cancelled(job, *now)),
            State::Processing { .. } => Err(Refusal::MovedOn),
            State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. } => Err(ended(job)),
        },
        Change::RequestCancel { now } => match job.state {
            State::Processing { cancel_requested: false, lease_until, due_at } => {
                let state = State::Processing { lease_until, cancel_requested: true, due_at };
                Ok(changed(job, state, Event::CancelRequested { at: *now }))
            }
            State::Processing { cancel_requested: true, .. } => Err(Refusal::AlreadyApplied),
            State::Pending { .. } => Err(Refusal::MovedOn),
            State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. } => Err(ended(job)),
        },
    }
}

/// From so many events on nobody may reschedule a job or try it again. What the protocol itself adds is bounded by its
/// attempts; so the item stays under DynamoDB's limit of 400 KB, and a job can always be brought to its end.
pub const MOST_EVENTS: usize = 1_000;

/// How many attempts a job may have in all, however often it is tried again. Each may leave an error in its history.
pub const MOST_ATTEMPTS_IN_ALL: u32 = 50;

/// The error of a job whose last attempt left no word.
pub const ABANDONED: &str = "the last attempt did not finish: its worker died or ran out of time";

fn claim(job: &Job, now: Timestamp, token: LeaseToken, time_left: Duration) -> Result<Job, Refusal> {
    let (due_at, resumes) = match job.state {
        State::Pending { not_before, .. } if not_before > now => return Err(Refusal::NotYetDue(not_before)),
        State::Pending { due_at, resumes, .. } => (due_at, resumes),
        State::Processing { .. } if job.lease_token == Some(token) => return Err(Refusal::AlreadyApplied),
        State::Processing { lease_until, .. } if lease_until >= now => return Err(Refusal::Leased(lease_until)),
        State::Processing { cancel_requested: true, .. } => return Err(Refusal::CancelRequested),
        State::Processing { due_at, cancel_requested: false, .. } => (due_at, false),
        State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. } => return Err(ended(job)),
    };
    if job.attempts >= job.max_attempts && !resumes {
        return Err(Refusal::AttemptsUsedUp);
    }
    if has_expired(job, now) {
        return Err(Refusal::Expired);
    }
    if JobType::named(job.job_type.as_str()).is_none() {
        return Err(Refusal::UnknownType);
    }
    if job.timeout + LEASE_MARGIN > time_left {
        return Err(Refusal::TimeLeftTooShort);
    }
    let lease_until = now + job.timeout + LEASE_MARGIN;
    let due_at = if due_at > latest_kept_due(now) { lease_until } else { due_at };
    let state = State::Processing { lease_until, cancel_requested: false, due_at };
    Ok(Job {
        attempts: job.attempts + u32::from(!resumes),
        lease_token: Some(token),
        started_at: Some(now),
        held_back: None,
        ..changed(job, state, Event::Started { at: now })
    })
}

/// The latest due that a job keeps which is claimed at `now`; a later one moves to the end of the lease. The longer a job
/// has waited, the rarer the sweeper looks at it, up to a quarter of an hour apart: if the worker died, nobody would
/// notice before. A due that is near stays, because to move it costs two write units.
pub fn latest_kept_due(now: Timestamp) -> Timestamp {
    now + LEASE_MARGIN + PATIENCE
}

/// Whether it makes no sense any more to start the job. An attempt that goes on has been started in time.
pub fn has_expired(job: &Job, now: Timestamp) -> bool {
    let resumes = matches!(job.state, State::Pending { resumes: true, .. });
    !resumes && job.expires_at.is_some_and(|expires_at| expires_at <= now)
}

/// Whether nobody has the job, and another start of it may come.
fn startable(job: &Job, now: Timestamp) -> Result<(), Refusal> {
    match job.state {
        State::Pending { .. } => Ok(()),
        State::Processing { lease_until, .. } if lease_until >= now => Err(Refusal::Leased(lease_until)),
        State::Processing { cancel_requested: true, .. } => Err(Refusal::CancelRequested),
        State::Processing { .. } if job.attempts >= job.max_attempts => Err(Refusal::AttemptsUsedUp),
        State::Processing { .. } => Ok(()),
        State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. } => Err(ended(job)),
    }
}

fn hold_back(job: &Job, now: Timestamp, reason: &str) -> Result<Job, Refusal> {
    if let State::Pending { not_before, .. } = job.state
        && not_before > now
    {
        return Err(Refusal::NotYetDue(not_before));
    }
    startable(job, now)?;
    if holds(job).is_some() {
        return Err(Refusal::AlreadyApplied);
    }
    let held_back = HeldBack { reason: reason.to_owned(), since: now };
    Ok(Job { held_back: Some(held_back), ..job.clone() })
}

/// Why the job is held back. What was written before its latest claim holds no more: 0.1.0 claims without removing it.
fn holds(job: &Job) -> Option<&HeldBack> {
    job.held_back.as_ref().filter(|held_back| job.started_at.is_none_or(|started_at| started_at <= held_back.since))
}

fn end_held_back(job: &Job, now: Timestamp, error: &str) -> Result<Job, Refusal> {
    startable(job, now)?;
    match holds(job) {
        Some(held_back) if held_back.until() <= now => Ok(failed(job, now, error)),
        Some(_) | None => Err(Refusal::MovedOn),
    }
}

fn lapse(job: &Job, now: Timestamp) -> Result<Job, Refusal> {
    startable(job, now)?;
    if !has_expired(job, now) {
        return Err(Refusal::MovedOn);
    }
    let lapsed = changed(job, State::Cancelled { finished_at: now }, Event::Lapsed { at: now });
    Ok(Job { error: Some(LAPSED.to_owned()), ..lapsed })
}

fn redrive(job: &Job, now: Timestamp, not_before: Timestamp, more_attempts: u32) -> Result<Job, Refusal> {
    match job.state {
        State::Failed { .. } | State::Cancelled { .. } => {}
        State::Completed { .. } => return Err(ended(job)),
        State::Pending { .. } | State::Processing { .. } => return Err(Refusal::MovedOn),
    }
    if job.history.len() >= MOST_EVENTS || job.attempts + more_attempts > MOST_ATTEMPTS_IN_ALL {
        return Err(Refusal::HistoryFull);
    }
    let state = State::Pending { not_before, due_at: crate::job::due::first_due(not_before, now), resumes: false };
    Ok(Job {
        max_attempts: job.attempts + more_attempts,
        lease_token: None,
        expires_at: None,
        held_back: None,
        ..changed(job, state, Event::Redriven { at: now, not_before })
    })
}

fn postpone(job: &Job, seen: Timestamp, seen_lease_until: Option<Timestamp>, new: Timestamp) -> Result<Job, Refusal> {
    match job.due_at() {
        None => Err(ended(job)),
        Some(due_at) if due_at != seen || job.lease_until() != seen_lease_until => Err(Refusal::MovedOn),
        Some(_) => {
            let mut job = job.clone();
            match &mut job.state {
                State::Pending { due_at, .. } | State::Processing { due_at, .. } => *due_at = new,
                State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. } => {}
            }
            Ok(job)
        }
    }
}

/// What matters of an attempt that still has the job.
struct Held {
    cancel_requested: bool,
}

/// Whether the attempt behind `fence` still has the job. If not, whether that is because its own write, which would
/// have left the job at `outcome`, had landed.
fn hold(job: &Job, fence: &Fence, outcome: Status) -> Result<Held, Refusal> {
    let mine = job.attempts == fence.attempt && job.lease_token == Some(fence.token);
    match job.state {
        State::Processing { cancel_requested, .. } if mine => Ok(Held { cancel_requested }),
        State::Pending { .. } | State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. }
            if mine && job.status() == outcome =>
        {
            Err(Refusal::AlreadyApplied)
        }
        State::Pending { .. }
        | State::Processing { .. }
        | State::Completed { .. }
        | State::Failed { .. }
        | State::Cancelled { .. } => Err(Refusal::Fenced),
    }
}

/// Whether the job's attempt has outlived its lease.
fn abandoned(job: &Job, now: Timestamp) -> Result<Held, Refusal> {
    match job.state {
        State::Processing { lease_until, .. } if lease_until >= now => Err(Refusal::Leased(lease_until)),
        State::Processing { cancel_requested, .. } => Ok(Held { cancel_requested }),
        State::Pending { .. } => Err(Refusal::MovedOn),
        State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. } => Err(ended(job)),
    }
}

fn ended(job: &Job) -> Refusal {
    Refusal::Ended(job.status())
}

fn failed(job: &Job, now: Timestamp, error: &str) -> Job {
    let event = Event::Failed { at: now, error: error.to_owned() };
    Job { error: Some(error.to_owned()), ..changed(job, State::Failed { finished_at: now }, event) }
}

fn cancelled(job: &Job, now: Timestamp) -> Job {
    changed(job, State::Cancelled { finished_at: now }, Event::Cancelled { at: now })
}

fn changed(job: &Job, state: State, event: Event) -> Job {
    let mut job = job.clone();
    if state.status().is_terminal() {
        job.held_back = None;
    }
    job.state = state;
    job.history.push(event);
    job
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::event::fold;
    use crate::job::submission::{Origin, Submission};
    use crate::values::id::JobId;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn accepted() -> Job {
        let body = br#"{"type":"csv-generation","payload":{"a":1},"max_attempts":3,"timeout_seconds":10}"#;
        let origin = Origin { correlation_id: "request".to_owned(), traceparent: None };
        let submission = Submission::parse(body, START).expect("fits");
        submission.into_job(JobId::at(START, [0; 10]), Tenant::only(), START, origin)
    }

    /// Any change, with times, tokens and attempts from so few that they often fit.
    fn any_change() -> impl Strategy<Value = Change> {
        let time = (0_u64..8).prop_map(|tens| START + Duration::from_secs(tens * 10));
        let token = (1_u8..4).prop_map(|byte| LeaseToken::new([byte; 8]));
        let fence = (1_u32..5, token.clone()).prop_map(|(attempt, token)| Fence { attempt, token });
        let seconds = (0_u64..30).prop_map(Duration::from_secs);
        prop_oneof![
            4 => (time.clone(), token, seconds).prop_map(|(now, token, time_left)| Change::Claim { now, token, time_left }),
            2 => (time.clone(), fence.clone())
                .prop_map(|(now, fence)| Change::Complete { now, fence, result: Json::of(&1).expect("a number") }),
            4 => (time.clone(), fence.clone(), time.clone()).prop_map(|(now, fence, not_before)| Change::Retry {
                now,
                fence,
                error: format!("failed in attempt {}", fence.attempt),
                not_before,
            }),
            1 => (time.clone(), fence.clone()).prop_map(|(now, fence)| Change::Fail {
                now,
                fence,
                error: "failed".to_owned(),
                tenant: Tenant::only(),
            }),
            1 => (time.clone(), fence.clone()).prop_map(|(now, fence)| Change::YieldToCancel { now, fence }),
            2 => (time.clone(), fence.clone())
                .prop_map(|(now, fence)| Change::Yield { now, fence, checkpoint: Json::of(&2).expect("a number") }),
            1 => (time.clone(), fence).prop_map(|(at, fence)| Change::Report {
                fence,
                progress: Progress { percent: 50, message: String::new(), at },
            }),
            1 => time.clone().prop_map(|now| Change::Lapse { now }),
            2 => time.clone().prop_map(|now| Change::HoldBack { now, reason: "no such type".to_owned() }),
            2 => time.clone().prop_map(|time| Change::EndHeldBack {
                now: time + HeldBack::LONGEST - Duration::from_secs(30),
                error: "nobody came".to_owned(),
                tenant: Tenant::only(),
            }),
            1 => (time.clone(), time.clone()).prop_map(|(now, not_before)| Change::Reschedule { now, not_before }),
            1 => (time.clone(), time.clone(), 1_u32..3).prop_map(|(now, not_before, more_attempts)| Change::Redrive {
                now,
                not_before,
                more_attempts,
                tenant: Tenant::only(),
            }),
            1 => time.clone().prop_map(|now| Change::Expire { now, tenant: Tenant::only() }),
            1 => time.clone().prop_map(|now| Change::ExpireCancelled { now }),
            2 => (time.clone(), prop::option::of(time.clone()), time.clone()).prop_map(
                |(seen_due_at, seen_lease_until, due_at)| Change::Postpone { seen_due_at, seen_lease_until, due_at }
            ),
            1 => time.clone().prop_map(|now| Change::CancelPending { now }),
            1 => time.prop_map(|now| Change::RequestCancel { now }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn whatever_happens_a_job_stays_in_order(
            changes in prop::collection::vec(any_change(), 1..40),
            expires in prop::option::of(0_u64..8),
        ) {
            let expires_at = expires.map(|tens| START + Duration::from_secs(tens * 10));
            let mut job = Job { expires_at, ..accepted() };
            for change in changes {
                let Ok(next) = transition(&job, &change) else { continue };
                prop_assert_eq!(fold(&next.history), Some(next.summary()), "the history tells what the job is");
                let redriven = matches!(change, Change::Redrive { .. });
                prop_assert_eq!(job.status().is_terminal(), redriven, "what has ended stays, unless asked for again");
                prop_assert!(next.attempts >= job.attempts && next.attempts <= next.max_attempts);
                prop_assert_eq!(next.due_at().is_none(), next.status().is_terminal(), "due until it ends");
                prop_assert!(next.history.starts_with(&job.history), "what happened stays");
                let (before, after) = (&job, &next);
                prop_assert_eq!(
                    (before.id, &before.payload, &before.fingerprint, before.created_at),
                    (after.id, &after.payload, &after.fingerprint, after.created_at)
                );
                prop_assert!(redriven || before.max_attempts == after.max_attempts);
                job = next;
            }
        }

        #[test]
        fn a_repeated_outcome_is_known_as_done_and_never_done_twice(error in any::<bool>(), give_up in any::<bool>()) {
            let token = LeaseToken::new([1; 8]);
            let claim = Change::Claim { now: START, token, time_left: Duration::from_secs(60) };
            let running = transition(&accepted(), &claim).expect("claimed");
            prop_assert_eq!(transition(&running, &claim), Err(Refusal::AlreadyApplied));
            let (now, fence) = (START, Fence { attempt: 1, token });
            let outcome = match (error, give_up) {
                (false, _) => Change::Complete { now, fence, result: Json::of(&1).expect("a number") },
                (true, false) => Change::Retry { now, fence, error: "e".to_owned(), not_before: now },
                (true, true) => Change::Fail { now, fence, error: "e".to_owned(), tenant: Tenant::only() },
            };
            let ended = transition(&running, &outcome).expect("held");
            prop_assert_eq!(transition(&ended, &outcome), Err(Refusal::AlreadyApplied));
        }
    }

    #[test]
    fn an_attempt_that_yields_goes_on_as_the_same_attempt() {
        let token = |number: u8| LeaseToken::new([number; 8]);
        let claim = |number| Change::Claim { now: START, token: token(number), time_left: Duration::from_secs(60) };
        let last = Job { max_attempts: 1, ..accepted() };
        let running = transition(&last, &claim(1)).expect("claimed");
        let fence = Fence { attempt: 1, token: token(1) };
        let checkpoint = Json::of(&"row 7").expect("a text");
        let waiting = transition(&running, &Change::Yield { now: START, fence, checkpoint: checkpoint.clone() });
        let again = transition(&waiting.expect("held"), &claim(2)).expect("goes on, though no attempt is left");
        assert_eq!((again.attempts, again.checkpoint.as_ref()), (1, Some(&checkpoint)));
        let late = Change::Complete { now: START, fence, result: Json::of(&1).expect("a number") };
        assert_eq!(transition(&again, &late), Err(Refusal::Fenced), "the first worker has nothing to say any more");
    }

    #[test]
    fn an_expired_job_is_not_started_and_a_started_one_is_not_taken_away() {
        let expires_at = START + Duration::from_secs(1);
        let job = Job { expires_at: Some(expires_at), ..accepted() };
        let token = LeaseToken::new([1; 8]);
        let claim = |now| Change::Claim { now, token, time_left: Duration::from_secs(60) };
        assert_eq!(transition(&job, &claim(expires_at)), Err(Refusal::Expired));
        assert_eq!(transition(&job, &Change::Lapse { now: START }), Err(Refusal::MovedOn));
        let lapsed = transition(&job, &Change::Lapse { now: expires_at }).expect("expired");
        assert_eq!((lapsed.status(), lapsed.error.as_deref()), (Status::Cancelled, Some(LAPSED)));
        let running = transition(&job, &claim(START)).expect("in time");
        assert!(matches!(transition(&running, &Change::Lapse { now: expires_at }), Err(Refusal::Leased(_))));
    }

    #[test]
    fn each_change_is_allowed_in_exactly_these_states() {
        let fence = Fence { attempt: 1, token: LeaseToken::new([1; 8]) };
        let claim = Change::Claim { now: START, token: fence.token, time_left: Duration::from_secs(15) };
        let pending = accepted();
        let processing = transition(&pending, &claim).expect("claimed");
        let cancelling = transition(&processing, &Change::RequestCancel { now: START }).expect("asked");
        let result = Json::of(&1).expect("a number");
        let completed = transition(&processing, &Change::Complete { now: START, fence, result }).expect("held");
        let fail = Change::Fail { now: START, fence, error: "e".to_owned(), tenant: Tenant::only() };
        let failed = transition(&processing, &fail).expect("held");
        let cancelled = transition(&pending, &Change::CancelPending { now: START }).expect("pending");
        let states = [pending, processing, cancelling, completed, failed, cancelled];
        let lease_over = START + Duration::from_secs(15) + Duration::from_millis(1);
        let other = LeaseToken::new([2; 8]);
        let seen_due_at = START + crate::job::due::PATIENCE;
        // In the order of `states`: pending, processing, cancelling, completed, failed, cancelled.
        let table = [
            (
                Change::Claim { now: START, token: other, time_left: Duration::from_secs(15) },
                [true, false, false, false, false, false],
            ),
            (Change::Claim { now: START, token: other, time_left: Duration::from_millis(14_999) }, [false; 6]),
            (
                Change::Claim {
                    now: START - Duration::from_millis(1),
                    token: other,
                    time_left: Duration::from_secs(15),
                },
                [false; 6],
            ),
            (
                Change::Claim {
                    now: lease_over - Duration::from_millis(1),
                    token: other,
                    time_left: Duration::from_secs(15),
                },
                [true, false, false, false, false, false],
            ),
            (
                Change::Claim { now: lease_over, token: other, time_left: Duration::from_secs(15) },
                [true, true, false, false, false, false],
            ),
            (
                Change::Complete { now: START, fence, result: Json::of(&2).expect("a number") },
                [false, true, true, false, false, false],
            ),
            (
                Change::Retry { now: START, fence, error: "e".to_owned(), not_before: START },
                [false, true, false, false, false, false],
            ),
            (fail, [false, true, false, false, false, false]),
            (Change::YieldToCancel { now: START, fence }, [false, false, true, false, false, false]),
            (Change::ExpireCancelled { now: START }, [false; 6]),
            (Change::ExpireCancelled { now: lease_over }, [false, false, true, false, false, false]),
            (Change::Expire { now: lease_over, tenant: Tenant::only() }, [false; 6]), // attempts are left
            (
                Change::Yield { now: START, fence, checkpoint: Json::of(&2).expect("a number") },
                [false, true, false, false, false, false],
            ),
            (
                Change::Report { fence, progress: Progress { percent: 1, message: String::new(), at: START } },
                [false, true, true, false, false, false],
            ),
            (Change::Lapse { now: lease_over }, [false; 6]), // none of them expires
            (Change::HoldBack { now: START, reason: "r".to_owned() }, [true, false, false, false, false, false]),
            (Change::HoldBack { now: lease_over, reason: "r".to_owned() }, [true, true, false, false, false, false]),
            (Change::EndHeldBack { now: lease_over, error: "e".to_owned(), tenant: Tenant::only() }, [false; 6]),
            (Change::Reschedule { now: START, not_before: lease_over }, [true, false, false, false, false, false]),
            (
                Change::Redrive { now: START, not_before: START, more_attempts: 1, tenant: Tenant::only() },
                [false, false, false, false, true, true],
            ),
            (
                Change::Postpone { seen_due_at, seen_lease_until: None, due_at: lease_over },
                [true, false, false, false, false, false],
            ),
            (
                Change::Postpone { seen_due_at, seen_lease_until: Some(lease_end()), due_at: lease_over },
                [false, true, true, false, false, false],
            ),
            (Change::Postpone { seen_due_at: START, seen_lease_until: None, due_at: lease_over }, [false; 6]),
            (Change::CancelPending { now: START }, [true, false, false, false, false, false]),
            (Change::RequestCancel { now: START }, [false, true, false, false, false, false]),
        ];
        for (change, allowed) in table {
            let found = states.each_ref().map(|job| transition(job, &change).is_ok());
            assert_eq!(found, allowed, "{change:?}");
        }
    }

    /// The job, claimed at [`START`] for its first attempt, and that attempt's fence.
    fn claimed(job: &Job) -> (Job, Fence) {
        let fence = Fence { attempt: 1, token: LeaseToken::new([1; 8]) };
        let claim = Change::Claim { now: START, token: fence.token, time_left: Duration::from_secs(60) };
        (transition(job, &claim).expect("claimed"), fence)
    }

    /// The last moment of the lease of a job that was [`claimed`].
    fn lease_end() -> Timestamp {
        START + Duration::from_secs(15)
    }

    const MOMENT: Duration = Duration::from_millis(1);

    fn json(text: &str) -> Json {
        Json::parse(text).expect("valid")
    }

    #[test]
    fn a_job_that_waited_long_is_looked_at_when_its_lease_is_over() {
        let waiting = |due_at: Timestamp| {
            let state = State::Pending { not_before: START, due_at, resumes: false };
            Job { state, ..accepted() }
        };
        let near = START + LEASE_MARGIN + Duration::from_secs(60);
        let (kept, _) = claimed(&waiting(near));
        let (moved, _) = claimed(&waiting(near + MOMENT));
        assert_eq!((kept.due_at(), moved.due_at()), (Some(near), Some(lease_end())));
    }

    #[test]
    fn a_change_has_a_fence_exactly_if_it_writes_an_attempts_outcome() {
        let fence = Fence { attempt: 1, token: LeaseToken::new([1; 8]) };
        let (now, not_before, tenant) = (START, START, Tenant::only());
        let outcomes = [
            Change::Complete { now, fence, result: json("1") },
            Change::Retry { now, fence, error: "e".to_owned(), not_before },
            Change::Fail { now, fence, error: "e".to_owned(), tenant: tenant.clone() },
            Change::Yield { now, fence, checkpoint: json("1") },
            Change::YieldToCancel { now, fence },
        ];
        for change in outcomes {
            assert_eq!(change.fence(), Some(&fence), "{change:?}");
        }
        let others = [
            Change::Claim { now, token: fence.token, time_left: MOMENT },
            Change::Report { fence, progress: Progress { percent: 1, message: String::new(), at: now } },
            Change::Expire { now, tenant: tenant.clone() },
            Change::ExpireCancelled { now },
            Change::Postpone { seen_due_at: now, seen_lease_until: None, due_at: now },
            Change::Lapse { now },
            Change::HoldBack { now, reason: "r".to_owned() },
            Change::EndHeldBack { now, error: "e".to_owned(), tenant: tenant.clone() },
            Change::Reschedule { now, not_before },
            Change::Redrive { now, not_before, more_attempts: 1, tenant },
            Change::CancelPending { now },
            Change::RequestCancel { now },
        ];
        for change in others {
            assert_eq!(change.fence(), None, "{change:?}");
        }
    }

    #[test]
    fn a_checkpoint_is_kept_until_the_job_is_done_and_progress_for_good() {
        let (running, fence) = claimed(&accepted());
        let progress = Progress { percent: 70, message: "row 7".to_owned(), at: START };
        let told = transition(&running, &Change::Report { fence, progress: progress.clone() }).expect("held");
        assert_eq!((told.progress.as_ref(), &told.state), (Some(&progress), &running.state));
        let yields = Change::Yield { now: START, fence, checkpoint: json("7") };
        let (again, fence) = claimed(&transition(&told, &yields).expect("held"));
        let retry = Change::Retry { now: START, fence, error: "e".to_owned(), not_before: START };
        let waiting = transition(&again, &retry).expect("held");
        assert_eq!(waiting.checkpoint, Some(json("7")), "the next attempt may begin there");
        let done = Change::Complete { now: START, fence, result: json("1") };
        let done = transition(&again, &done).expect("held");
        assert_eq!((done.checkpoint, done.progress), (None, Some(progress)));
    }

    fn held_back(job: &Job, now: Timestamp) -> Result<Job, Refusal> {
        transition(job, &Change::HoldBack { now, reason: "no such type".to_owned() })
    }

    #[test]
    fn a_job_that_is_held_back_has_a_day_and_spends_no_attempt() {
        let end = |job: &Job, now| {
            let error = job.held_back.as_ref().map_or_else(String::new, HeldBack::error);
            transition(job, &Change::EndHeldBack { now, error, tenant: Tenant::only() })
        };
        let yielded = {
            let (running, fence) = claimed(&accepted());
            transition(&running, &Change::Yield { now: START, fence, checkpoint: json("7") }).expect("held")
        };
        let (died, _) = claimed(&accepted());
        let over = lease_end() + MOMENT;
        for (job, now) in [(accepted(), START), (yielded, START), (died, over)] {
            assert_eq!(end(&job, now + HeldBack::LONGEST), Err(Refusal::MovedOn), "it was not held back");
            let held = held_back(&job, now).expect("nobody has it");
            assert_eq!((held.status(), held.attempts, &held.history), (job.status(), job.attempts, &job.history));
            assert_eq!(held_back(&held, now + MOMENT), Err(Refusal::AlreadyApplied), "the first one counts");
            assert_eq!(end(&held, now + HeldBack::LONGEST - MOMENT), Err(Refusal::MovedOn));
            let failed = end(&held, now + HeldBack::LONGEST).expect("its day is over");
            assert_eq!((failed.status(), failed.attempts), (Status::Failed, job.attempts));
            assert_eq!(failed.error.as_deref(), Some("no worker could run it within a day: no such type"));
            assert_eq!(fold(&failed.history), Some(failed.summary()));
        }
    }

    #[test]
    fn a_job_is_held_back_no_more_once_it_is_claimed_rescheduled_or_tried_again() {
        let held = held_back(&accepted(), START).expect("nobody has it");
        assert_eq!(claimed(&held).0.held_back, None);
        let reschedule = Change::Reschedule { now: START, not_before: START };
        assert_eq!(transition(&held, &reschedule).expect("it waits").held_back, None);
        let cancelled = transition(&held, &Change::CancelPending { now: START }).expect("it waits");
        let redrive = Change::Redrive { now: START, not_before: START, more_attempts: 1, tenant: Tenant::only() };
        assert_eq!(transition(&cancelled, &redrive).expect("it has ended").held_back, None);
    }

    #[test]
    fn a_job_of_an_unknown_type_or_a_newer_format_is_not_started() {
        let claim = Change::Claim { now: START, token: LeaseToken::new([1; 8]), time_left: Duration::from_secs(60) };
        let unknown = Job { job_type: crate::job::TypeName::new("invoice"), ..accepted() };
        assert_eq!(transition(&unknown, &claim), Err(Refusal::UnknownType));
        assert_eq!(transition(&Job { format: FORMAT + 1, ..accepted() }, &claim), Err(Refusal::NewerFormat));
    }

    #[test]
    fn a_job_of_a_newer_format_can_be_brought_to_its_end_by_who_has_it_and_be_cancelled() {
        let (running, fence) = claimed(&accepted());
        let newer = Job { format: FORMAT + 1, ..running };
        let done = transition(&newer, &Change::Complete { now: START, fence, result: json("1") }).expect("held");
        assert_eq!((done.status(), done.format), (Status::Completed, FORMAT + 1), "it stays what it is");
        let waiting = Job { format: FORMAT + 1, ..accepted() };
        assert!(transition(&waiting, &Change::CancelPending { now: START }).is_ok());
        assert_eq!(held_back(&waiting, START), Err(Refusal::NewerFormat));
    }

    #[test]
    fn a_job_has_failed_when_its_last_attempt_has_died_and_no_sooner() {
        let expire = |now| Change::Expire { now, tenant: Tenant::only() };
        let (first, _) = claimed(&Job { max_attempts: 2, ..accepted() });
        assert_eq!(transition(&first, &expire(lease_end() + MOMENT)), Err(Refusal::MovedOn), "another may follow");
        let (last, _) = claimed(&Job { max_attempts: 1, ..accepted() });
        assert_eq!(transition(&last, &expire(lease_end())), Err(Refusal::Leased(lease_end())));
        let failed = transition(&last, &expire(lease_end() + MOMENT)).expect("its lease is over");
        assert_eq!((failed.status(), failed.error.as_deref()), (Status::Failed, Some(ABANDONED)));
    }

    #[test]
    fn a_job_whose_attempt_has_died_lapses_unless_it_was_the_last_or_is_to_be_cancelled() {
        let expiring = Job { expires_at: Some(START + Duration::from_secs(1)), ..accepted() };
        let lapse = |job: &Job, now| transition(job, &Change::Lapse { now });
        let (running, _) = claimed(&expiring);
        assert_eq!(lapse(&running, lease_end()), Err(Refusal::Leased(lease_end())));
        let over = lease_end() + MOMENT;
        let lapsed = lapse(&running, over).expect("its lease is over");
        assert_eq!(lapsed.state, State::Cancelled { finished_at: over });
        assert_eq!(lapsed.history.last(), Some(&Event::Lapsed { at: over }));
        let (last, _) = claimed(&Job { max_attempts: 1, ..expiring });
        assert_eq!(lapse(&last, over), Err(Refusal::AttemptsUsedUp));
        let asked = transition(&running, &Change::RequestCancel { now: START }).expect("running");
        assert_eq!(lapse(&asked, over), Err(Refusal::CancelRequested));
        assert_eq!(lapse(&lapsed, over), Err(Refusal::Ended(Status::Cancelled)));
    }

    #[test]
    fn a_job_that_is_tried_again_has_so_many_more_attempts_and_does_not_expire_any_more() {
        let expires_at = START + Duration::from_secs(1);
        let (running, fence) = claimed(&Job { expires_at: Some(expires_at), ..accepted() });
        let fail = Change::Fail { now: START, fence, error: "e".to_owned(), tenant: Tenant::only() };
        let failed = transition(&running, &fail).expect("held");
        let (now, tenant) = (expires_at, Tenant::only());
        let redrive = Change::Redrive { now, not_before: now, more_attempts: 4, tenant };
        let waiting = transition(&failed, &redrive).expect("it has failed");
        assert_eq!((waiting.attempts, waiting.max_attempts), (1, 5));
        assert_eq!((waiting.lease_token, waiting.expires_at), (None, None));
        let claim = Change::Claim { now, token: fence.token, time_left: Duration::from_secs(60) };
        assert_eq!(transition(&waiting, &claim).expect("starts").attempts, 2);
    }

    #[test]
    fn a_writer_without_the_job_is_fenced_unless_its_own_write_has_landed() {
        let (running, first) = claimed(&accepted());
        let complete = |fence| Change::Complete { now: START, fence, result: json("1") };
        let retry = Change::Retry { now: START, fence: first, error: "e".to_owned(), not_before: START };
        let waiting = transition(&running, &retry).expect("held");
        assert_eq!(transition(&waiting, &retry), Err(Refusal::AlreadyApplied));
        assert_eq!(transition(&waiting, &complete(first)), Err(Refusal::Fenced), "it had ended otherwise");

        let token = LeaseToken::new([2; 8]);
        let claim = Change::Claim { now: START, token, time_left: Duration::from_secs(60) };
        let again = transition(&waiting, &claim).expect("claimed");
        let second = Fence { attempt: 2, token };
        let strangers = [first, Fence { attempt: 2, ..first }, Fence { attempt: 1, ..second }];
        let done = transition(&again, &complete(second)).expect("held");
        for stranger in strangers {
            assert_eq!(transition(&again, &complete(stranger)), Err(Refusal::Fenced), "{stranger:?}");
            assert_eq!(transition(&done, &complete(stranger)), Err(Refusal::Fenced), "{stranger:?}");
        }
        assert_eq!(transition(&done, &complete(second)), Err(Refusal::AlreadyApplied));
    }

    #[test]
    fn people_may_add_to_a_history_while_there_is_room_and_a_full_one_can_still_end() {
        let with_events = |job: &Job, events: usize| {
            let mut job = job.clone();
            let event = job.history[0].clone();
            job.history.resize(events, event);
            job
        };
        let (now, not_before, pending) = (START, START, accepted());
        let reschedule = Change::Reschedule { now, not_before };
        assert!(transition(&with_events(&pending, 999), &reschedule).is_ok());
        let full = with_events(&pending, 1_000);
        assert_eq!(transition(&full, &reschedule), Err(Refusal::HistoryFull));
        let (running, fence) = claimed(&full);
        assert!(transition(&running, &Change::Complete { now, fence, result: json("1") }).is_ok());

        let redrive = |more_attempts| Change::Redrive { now, not_before, more_attempts, tenant: Tenant::only() };
        let cancelled = transition(&pending, &Change::CancelPending { now }).expect("pending");
        assert!(transition(&with_events(&cancelled, 999), &redrive(1)).is_ok());
        assert_eq!(transition(&with_events(&cancelled, 1_000), &redrive(1)), Err(Refusal::HistoryFull));
        let tried = Job { attempts: 10, ..cancelled };
        assert_eq!(transition(&tried, &redrive(40)).map(|job| job.max_attempts), Ok(50), "fifty attempts in all");
        assert_eq!(transition(&tried, &redrive(41)), Err(Refusal::HistoryFull));
    }
}
