//! The recorded changes of one job.

use serde::{Deserialize, Serialize};

use crate::job::Status;
use crate::values::time::Timestamp;

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
    /// A newer build wrote it, and this one does not know what it means. It is kept as it is.
    #[serde(untagged)]
    Unknown(UnknownEvent),
}

/// An event of a kind, or with a content, that this build does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownEvent {
    /// Its kind.
    pub event: String,
    /// When it happened.
    pub at: Timestamp,
    /// All else that was written of it.
    #[serde(flatten)]
    pub content: serde_json::Map<String, serde_json::Value>,
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
            | Self::Redriven { at, .. }
            | Self::Unknown(UnknownEvent { at, .. }) => *at,
        }
    }

    /// Whether a start that came next would go on with the attempt before it, as after a yield; `before` is the
    /// same of the events before this one.
    pub fn leaves_resuming(&self, before: bool) -> bool {
        match self {
            Self::Yielded { .. } => true,
            Self::Rescheduled { .. } | Self::Unknown(_) => before,
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
///
/// What follows an event that this build does not know is taken as possible: the event may have changed anything. What it
/// changed is not in the summary.
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
    let mut all_known = true;
    rest.iter().try_fold(accepted, |so_far, event| {
        all_known &= !matches!(event, Event::Unknown(_));
        follow(so_far, event, all_known)
    })
}

fn follow(mut so_far: Summary, event: &Event, all_known: bool) -> Option<Summary> {
    let before = so_far.status;
    let running = before == Status::Processing;
    let (possible, status) = match event {
        Event::Accepted { .. } => (false, before),
        Event::Started { .. } => (!before.is_terminal(), Status::Processing),
        Event::Retrying { .. } | Event::Yielded { .. } => (running, Status::Pending),
        Event::Completed { .. } => (running, Status::Completed),
        Event::Failed { .. } => (!before.is_terminal(), Status::Failed),
        Event::CancelRequested { .. } => (running, before),
        Event::Cancelled { .. } | Event::Lapsed { .. } => (!before.is_terminal(), Status::Cancelled),
        Event::Rescheduled { .. } => (before == Status::Pending, before),
        Event::Redriven { .. } => (matches!(before, Status::Failed | Status::Cancelled), Status::Pending),
        Event::Unknown(_) => (true, before),
    };
    if !possible && all_known {
        return None;
    }
    so_far.status = status;
    so_far.updated_at = event.at();
    if !matches!(event, Event::Unknown(_)) {
        so_far.finished_at = status.is_terminal().then(|| event.at());
    }
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
        | Event::Rescheduled { .. }
        | Event::Unknown(_) => {}
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

    /// What this build does not know: a new kind, and a known one that is written in another way.
    const UNKNOWN: [&str; 3] = [
        r#"{"event":"paused","at":2,"by":"ada","until":{"n":[1,2.5,null,true]}}"#,
        r#"{"event":"paused","at":2}"#,
        r#"{"event":"retrying","at":2,"errors":["a"]}"#,
    ];

    #[test]
    fn an_unknown_event_is_kept_as_it_is_and_the_rest_of_the_history_is_read() {
        for unknown in UNKNOWN {
            let history = format!(
                r#"[{{"event":"accepted","at":1}},{unknown},{{"event":"started","at":3}},{{"event":"completed","at":4}}]"#
            );
            let events: Vec<Event> = serde_json::from_str(&history).expect("reads");
            assert!(matches!(&events[1], Event::Unknown(event) if event.at == Timestamp::from_millis(2)), "{unknown}");
            let summary = fold(&events).expect("possible");
            assert_eq!((summary.status, summary.attempts), (Status::Completed, 1), "{unknown}");
            let (before, after): (serde_json::Value, _) =
                (serde_json::from_str(&history).expect("JSON"), serde_json::to_value(&events).expect("writes"));
            assert_eq!(before, after);
        }
        for no_event in [r#"{"at":2}"#, r#"{"event":"paused"}"#, r#"{"event":[],"at":2}"#, "7"] {
            assert!(serde_json::from_str::<Event>(no_event).is_err(), "{no_event}");
        }
    }

    #[test]
    fn anything_may_follow_an_unknown_event_and_nothing_else_than_before_may_come_before_it() {
        let at = Timestamp::from_millis(1);
        let accepted = Event::Accepted { at, not_before: None };
        let unknown: Event = serde_json::from_str(UNKNOWN[0]).expect("reads");
        let completed = Event::Completed { at };
        let possible = fold(&[accepted.clone(), unknown.clone(), completed.clone()]).expect("possible");
        assert_eq!(possible.status, Status::Completed);
        assert_eq!(fold(&[accepted, completed, Event::Started { at }, unknown.clone()]), None);
        assert_eq!(fold(&[unknown]), None);
    }
}
