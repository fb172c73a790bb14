//! The recorded changes of one job.

use serde::{Deserialize, Serialize};

use crate::job::Status;
use crate::time::Timestamp;

/// One recorded change of a job. A job's history is the list of these, oldest first, written by the same update that
/// changes the job.
///
/// An event does not carry its attempt's number: the n-th `Started` begins attempt n (those that follow a `Yielded` go
/// on with the attempt before), which is what allows a claim to be a single write without a read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The job was stored.
    Accepted {
        /// When.
        at: Timestamp,
        /// Not to be started before; `None` if it may start at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_before: Option<Timestamp>,
    },
    /// A worker claimed the job: an attempt began. Two in a row mean that the earlier attempt died.
    Started {
        /// When.
        at: Timestamp,
    },
    /// An attempt failed and another will follow.
    Retrying {
        /// When the attempt ended.
        at: Timestamp,
        /// Why it failed.
        error: String,
        /// When the next one may start.
        not_before: Timestamp,
    },
    /// The attempt's worker ran out of time before the work was done: the same attempt goes on in another.
    Yielded {
        /// When.
        at: Timestamp,
    },
    /// An attempt succeeded.
    Completed {
        /// When.
        at: Timestamp,
    },
    /// The job failed for good.
    Failed {
        /// When.
        at: Timestamp,
        /// Why.
        error: String,
    },
    /// Somebody asked for the job to be cancelled while an attempt was running.
    CancelRequested {
        /// When.
        at: Timestamp,
    },
    /// The job was cancelled.
    Cancelled {
        /// When.
        at: Timestamp,
    },
    /// The job was not started in the time in which it made sense: it is cancelled.
    Lapsed {
        /// When that was noticed.
        at: Timestamp,
    },
    /// Somebody gave the waiting job another time to start.
    Rescheduled {
        /// When.
        at: Timestamp,
        /// When it may start.
        not_before: Timestamp,
    },
    /// Somebody asked for a job that had failed or was cancelled to be tried again.
    Redriven {
        /// When.
        at: Timestamp,
        /// When it may start.
        not_before: Timestamp,
    },
}

/// The error of a job that was not started in time.
pub const LAPSED: &str = "it expired before it could be started";

impl Event {
    /// When it happened.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Accepted { at, .. }
            | Self::Started { at }
            | Self::Retrying { at, .. }
            | Self::Yielded { at }
            | Self::Completed { at }
            | Self::Failed { at, .. }
            | Self::CancelRequested { at }
            | Self::Cancelled { at }
            | Self::Lapsed { at }
            | Self::Rescheduled { at, .. }
            | Self::Redriven { at, .. } => *at,
        }
    }

    /// Whether a start that came next would go on with the attempt before it, as after a yield; `before` is the
    /// same of the events before this one.
    pub fn leaves_resuming(&self, before: bool) -> bool {
        match self {
            Self::Yielded { .. } => true,
            Self::Rescheduled { .. } => before,
            Self::Accepted { .. }
            | Self::Started { .. }
            | Self::Retrying { .. }
            | Self::Completed { .. }
            | Self::Failed { .. }
            | Self::CancelRequested { .. }
            | Self::Cancelled { .. }
            | Self::Lapsed { .. }
            | Self::Redriven { .. } => false,
        }
    }
}

/// What a history says about its job. [`crate::job::Job::summary`] says the same from the job's own fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Where the job stands.
    pub status: Status,
    /// Attempts begun.
    pub attempts: u32,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When its latest attempt began.
    pub started_at: Option<Timestamp>,
    /// When it reached a terminal status.
    pub finished_at: Option<Timestamp>,
    /// Why its latest failed attempt failed; `None` once completed.
    pub error: Option<String>,
    /// Whether the next start goes on with the latest attempt instead of beginning another.
    pub resumes: bool,
}

/// Folds a history into what it says. `None` if no job can have this history.
pub fn fold(history: &[Event]) -> Option<Summary> {
    let (first, rest) = history.split_first()?;
    let Event::Accepted { at, .. } = first else { return None };
    let accepted = Summary {
        status: Status::Pending,
        attempts: 0,
        created_at: *at,
        updated_at: *at,
        started_at: None,
        finished_at: None,
        error: None,
        resumes: false,
    };
    rest.iter().try_fold(accepted, follow)
}

fn follow(mut so_far: Summary, event: &Event) -> Option<Summary> {
    let before = so_far.status;
    let running = before == Status::Processing;
    let (possible, status) = match event {
        Event::Accepted { .. } => (false, before),
        Event::Started { .. } => (!before.is_terminal(), Status::Processing),
        Event::Retrying { .. } | Event::Yielded { .. } => (running, Status::Pending),
        Event::Completed { .. } => (running, Status::Completed),
        Event::Failed { .. } => (running, Status::Failed),
        Event::CancelRequested { .. } => (running, before),
        Event::Cancelled { .. } | Event::Lapsed { .. } => (!before.is_terminal(), Status::Cancelled),
        Event::Rescheduled { .. } => (before == Status::Pending, before),
        Event::Redriven { .. } => (matches!(before, Status::Failed | Status::Cancelled), Status::Pending),
    };
    if !possible {
        return None;
    }
    so_far.status = status;
    so_far.updated_at = event.at();
    so_far.finished_at = status.is_terminal().then(|| event.at());
    match event {
        Event::Started { at } => {
            so_far.attempts += u32::from(!so_far.resumes);
            so_far.started_at = Some(*at);
        }
        Event::Retrying { error, .. } | Event::Failed { error, .. } => so_far.error = Some(error.clone()),
        Event::Completed { .. } => so_far.error = None,
        Event::Lapsed { .. } => so_far.error = Some(LAPSED.to_owned()),
        Event::Accepted { .. }
        | Event::Yielded { .. }
        | Event::Redriven { .. }
        | Event::CancelRequested { .. }
        | Event::Cancelled { .. }
        | Event::Rescheduled { .. } => {}
    }
    so_far.resumes = event.leaves_resuming(so_far.resumes);
    Some(so_far)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_no_job_can_have_is_refused() {
        let at = Timestamp::from_millis(1);
        let accepted = Event::Accepted { at, not_before: None };
        let impossible: [&[Event]; 5] = [
            &[],
            &[Event::Started { at }],
            &[accepted.clone(), accepted.clone()],
            &[accepted.clone(), Event::Completed { at }],
            &[accepted.clone(), Event::Started { at }, Event::Completed { at }, Event::Started { at }],
        ];
        for history in impossible {
            assert_eq!(fold(history), None, "{history:?}");
        }
        assert!(fold(&[accepted]).is_some());
    }
}
