//! The protocol with one thing wrong: what the properties are for.
//!
//! A condition that is missing is told as a lie: where the rule would look at something, it is shown what it wants to
//! see.

use std::time::Duration;

use shared::job::transition::{Change, Fence};
use shared::job::{Job, State, Status};
use shared::values::time::Timestamp;

use super::world::{Place, Row};

/// One thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weakness {
    /// A success is written whatever has become of the job.
    CommitUnconditionally,
    /// An outcome is written if the job is `processing`, whoever has it.
    CommitByStatusOnly,
    /// A claim does not look at the lease.
    ClaimDespiteLease,
    /// A claim does not look at how many attempts there have been.
    ClaimDespiteMaxAttempts,
    /// A claim does not look at whether a cancel was asked for.
    ClaimDespiteCancel,
    /// A claim takes jobs that have ended.
    ClaimEndedJobs,
    /// A retry does not look at whether a cancel was asked for.
    RetryDespiteCancel,
    /// A retry gives the job no new due.
    RetryWithoutDue,
    /// A retry begins to count the attempts anew.
    RetryForgetsAttempts,
    /// Nobody looks at the lease before a last attempt is given up.
    ExpireDespiteLease,
    /// A cancel does not look at whether the job has ended.
    CancelEndedJobs,
    /// The sweeper puts the job back as it saw it, with a new due, instead of changing the due if it is the same still.
    SweepWithoutCondition,
    /// The sweeper takes the due from jobs that are running.
    SweepForgetsDue,
    /// How often messages were received stands for the number of attempts.
    CountReceives,
    /// The message is sent and the client answered before the job is stored.
    SendBeforePut,
    /// The job is stored without a due.
    AcceptWithoutDue,
    /// The message is deleted as soon as it is received. Harmless: the table is the truth.
    AcknowledgeBeforeClaim,
    /// The message is deleted before the outcome is written. Harmless: the table is the truth.
    AcknowledgeBeforeCommit,
}

impl Weakness {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::CommitUnconditionally,
        Self::CommitByStatusOnly,
        Self::ClaimDespiteLease,
        Self::ClaimDespiteMaxAttempts,
        Self::ClaimDespiteCancel,
        Self::ClaimEndedJobs,
        Self::RetryDespiteCancel,
        Self::RetryWithoutDue,
        Self::RetryForgetsAttempts,
        Self::ExpireDespiteLease,
        Self::CancelEndedJobs,
        Self::SweepWithoutCondition,
        Self::SweepForgetsDue,
        Self::CountReceives,
        Self::SendBeforePut,
        Self::AcceptWithoutDue,
        Self::AcknowledgeBeforeClaim,
        Self::AcknowledgeBeforeCommit,
    ];

    /// What is wrong.
    pub fn name(self) -> &'static str {
        match self {
            Self::CommitUnconditionally => "commit unconditionally",
            Self::CommitByStatusOnly => "commit by status only",
            Self::ClaimDespiteLease => "claim despite a lease",
            Self::ClaimDespiteMaxAttempts => "claim despite max_attempts",
            Self::ClaimDespiteCancel => "claim despite a cancel",
            Self::ClaimEndedJobs => "claim ended jobs",
            Self::RetryDespiteCancel => "retry despite a cancel",
            Self::RetryWithoutDue => "retry without due",
            Self::RetryForgetsAttempts => "retry forgets attempts",
            Self::ExpireDespiteLease => "expire despite a lease",
            Self::CancelEndedJobs => "cancel ended jobs",
            Self::SweepWithoutCondition => "sweep without condition",
            Self::SweepForgetsDue => "sweep forgets due",
            Self::CountReceives => "count receives, not attempts",
            Self::SendBeforePut => "send before put",
            Self::AcceptWithoutDue => "accept without due",
            Self::AcknowledgeBeforeClaim => "acknowledge before claim",
            Self::AcknowledgeBeforeCommit => "acknowledge before commit",
        }
    }

    /// Whether a property must be violated by it: while leases are sound, and where they may lapse.
    pub fn must_show(self) -> (bool, bool) {
        match self {
            // Harmless: no weakness after all.
            Self::AcknowledgeBeforeClaim | Self::AcknowledgeBeforeCommit => (false, false),
            // Two attempts at once: where leases may lapse that is no violation.
            Self::ClaimDespiteLease | Self::ExpireDespiteLease => (true, false),
            // An attempt that has ended in time may still be written down at any time, so the commits show in both.
            Self::CommitUnconditionally
            | Self::CommitByStatusOnly
            | Self::ClaimDespiteMaxAttempts
            | Self::ClaimDespiteCancel
            | Self::ClaimEndedJobs
            | Self::RetryDespiteCancel
            | Self::RetryWithoutDue
            | Self::RetryForgetsAttempts
            | Self::CancelEndedJobs
            | Self::SweepWithoutCondition
            | Self::SweepForgetsDue
            | Self::CountReceives
            | Self::SendBeforePut
            | Self::AcceptWithoutDue => (true, true),
        }
    }

    /// Shows `job` to the rule as `change` would like to see it.
    pub(super) fn pretend(self, job: &mut Job, change: &Change) {
        match self {
            Self::CommitUnconditionally => {
                if let Change::Complete { now, fence, .. } = change {
                    job.state = State::Processing { lease_until: *now, cancel_requested: false, due_at: *now };
                    pretend_held_by(job, fence);
                }
            }
            Self::CommitByStatusOnly => {
                if let Some(fence) = change.fence()
                    && job.status() == Status::Processing
                {
                    pretend_held_by(job, fence);
                }
            }
            Self::ClaimDespiteLease => {
                if let Change::Claim { now, .. } = change {
                    pretend_lease_over(job, *now);
                }
            }
            Self::ExpireDespiteLease => {
                if let Change::Expire { now, .. } | Change::ExpireCancelled { now } = change {
                    pretend_lease_over(job, *now);
                }
            }
            Self::ClaimDespiteMaxAttempts | Self::CountReceives => {
                if let Change::Claim { .. } = change {
                    job.max_attempts = u32::MAX;
                }
            }
            Self::ClaimDespiteCancel => {
                if let Change::Claim { .. } = change {
                    pretend_no_cancel(job);
                }
            }
            Self::RetryDespiteCancel => {
                if let Change::Retry { .. } = change {
                    pretend_no_cancel(job);
                }
            }
            Self::ClaimEndedJobs => {
                if let Change::Claim { now, .. } = change {
                    pretend_not_ended(job, *now);
                }
            }
            Self::CancelEndedJobs => {
                if let Change::CancelPending { now } = change {
                    pretend_not_ended(job, *now);
                }
            }
            // What is wrong with these is not what the rule looks at.
            Self::RetryWithoutDue
            | Self::RetryForgetsAttempts
            | Self::SweepWithoutCondition
            | Self::SweepForgetsDue
            | Self::SendBeforePut
            | Self::AcceptWithoutDue
            | Self::AcknowledgeBeforeClaim
            | Self::AcknowledgeBeforeCommit => {}
        }
    }

    /// What `change` leaves behind, given what it should leave behind.
    pub(super) fn spoil(self, before: Row, mut after: Row, change: &Change) -> Row {
        match self {
            Self::CommitUnconditionally | Self::CommitByStatusOnly => {
                if change.fence().is_some() {
                    // No outcome writes these two; they had only been made up.
                    after.attempts = before.attempts;
                    after.token = before.token;
                }
            }
            Self::RetryWithoutDue => {
                if let Change::Retry { .. } = change {
                    after.forget_due();
                }
            }
            Self::RetryForgetsAttempts => {
                if let Change::Retry { .. } = change {
                    after.attempts = 0;
                }
            }
            Self::SweepForgetsDue => {
                if let (Change::Postpone { .. }, Place::Processing { .. }) = (change, before.place) {
                    after.forget_due();
                }
            }
            Self::ClaimDespiteLease
            | Self::ClaimDespiteMaxAttempts
            | Self::ClaimDespiteCancel
            | Self::ClaimEndedJobs
            | Self::RetryDespiteCancel
            | Self::ExpireDespiteLease
            | Self::CancelEndedJobs
            | Self::SweepWithoutCondition
            | Self::CountReceives
            | Self::SendBeforePut
            | Self::AcceptWithoutDue
            | Self::AcknowledgeBeforeClaim
            | Self::AcknowledgeBeforeCommit => {}
        }
        after
    }
}

/// Makes the lease of a running job end just before `now`.
pub(super) fn pretend_lease_over(job: &mut Job, now: Timestamp) {
    if let State::Processing { lease_until, .. } = &mut job.state {
        *lease_until = now - Duration::from_millis(1);
    }
}

fn pretend_held_by(job: &mut Job, fence: &Fence) {
    job.attempts = fence.attempt;
    job.lease_token = Some(fence.token);
}

fn pretend_no_cancel(job: &mut Job) {
    if let State::Processing { cancel_requested, .. } = &mut job.state {
        *cancel_requested = false;
    }
}

fn pretend_not_ended(job: &mut Job, now: Timestamp) {
    if job.status().is_terminal() {
        job.state = State::Pending { not_before: now, due_at: now, resumes: false };
    }
}
