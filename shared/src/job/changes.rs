//! What the stream of changes tells: the events that are new in each change of a job, and what others are told of them.
//!
//! The stream shows each item as it was before a change and as it was after it. The history that is in both says which
//! events are new, so nothing has to be remembered and nothing read: the same change gives the same events, under the
//! same ids, each time that it is delivered.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::job::event::{Event, fold};
use crate::job::transition::ABANDONED;
use crate::job::{HeldBack, Job, Status, TypeName};
use crate::values::id::{JobId, Tenant};
use crate::values::time::Timestamp;

/// One change of the item of one job, as far as its events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobChange {
    /// Which job.
    pub job_id: JobId,
    /// Its owner.
    pub tenant: Tenant,
    /// What kind of work it is.
    pub job_type: TypeName,
    /// The id of the request that submitted it.
    pub correlation_id: String,
    /// Who is to be told when it has ended.
    pub callback_url: Option<String>,
    /// How many events its history had before the change.
    pub known: usize,
    /// Its history after it.
    pub history: Vec<Event>,
}

/// A history that no job can have.
#[derive(Debug, thiserror::Error)]
#[error("job {0} has a history that no job can have")]
pub struct ImpossibleHistory(pub JobId);

impl JobChange {
    /// The change that would have stored this job with all that has happened to it.
    pub fn of_all(job: &Job) -> Self {
        Self {
            job_id: job.id,
            tenant: job.tenant.clone(),
            job_type: job.job_type.clone(),
            correlation_id: job.correlation_id.clone(),
            callback_url: job.callback_url.clone(),
            known: 0,
            history: job.history.clone(),
        }
    }

    /// The events that the change has added, in the order in which they happened. None if it was about something else:
    /// a new due, a progress report.
    pub fn new_events(&self) -> Result<Vec<Recorded>, ImpossibleHistory> {
        (self.known..self.history.len()).map(|index| self.recorded(index)).collect()
    }

    fn recorded(&self, index: usize) -> Result<Recorded, ImpossibleHistory> {
        let (before, event) = (&self.history[..index], &self.history[index]);
        let after = fold(&self.history[..=index]).ok_or(ImpossibleHistory(self.job_id))?;
        let earlier = fold(before);
        let resumed = earlier.as_ref().is_some_and(|earlier| earlier.resumes);
        let was_pending = earlier.as_ref().is_some_and(|earlier| earlier.status == Status::Pending);
        Ok(Recorded {
            id: EventId { job_id: self.job_id, index },
            kind: Kind::of(event, resumed),
            at: event.at(),
            tenant: self.tenant.clone(),
            job_type: self.job_type.clone(),
            attempt: after.attempts,
            before: earlier.map(|earlier| earlier.status),
            status: after.status,
            ran: attempt_ended_by(event).then(|| attempt_began(before)).flatten().map(|began| event.at().since(began)),
            waited: (matches!(event, Event::Started { .. }) && was_pending && !resumed)
                .then(|| ready_from(before))
                .flatten()
                .map(|ready| event.at().since(ready)),
            correlation_id: self.correlation_id.clone(),
            callback_url: self.callback_url.clone(),
        })
    }
}

/// Whether the event ends an attempt that has lived to its end: of one that died nobody knows how long it ran.
fn attempt_ended_by(event: &Event) -> bool {
    match event {
        Event::Completed { .. } | Event::Retrying { .. } => true,
        Event::Failed { error, .. } => error != ABANDONED && !error.starts_with(HeldBack::ERROR),
        Event::Accepted { .. }
        | Event::Started { .. }
        | Event::Yielded { .. }
        | Event::CancelRequested { .. }
        | Event::Cancelled { .. }
        | Event::Lapsed { .. }
        | Event::Rescheduled { .. }
        | Event::Redriven { .. }
        | Event::Unknown(_) => false,
    }
}

/// When the attempt began that runs at the end of this history, the first part of one that went on elsewhere.
fn attempt_began(history: &[Event]) -> Option<Timestamp> {
    let (mut began, mut resumes) = (None, false);
    for event in history {
        if let Event::Started { at } = event
            && !resumes
        {
            began = Some(*at);
        }
        resumes = event.leaves_resuming(resumes);
    }
    began
}

/// From when on the job could be started that waits at the end of this history.
fn ready_from(history: &[Event]) -> Option<Timestamp> {
    history.iter().rev().find_map(|event| match event {
        Event::Accepted { at, not_before } => Some(not_before.unwrap_or(*at)),
        Event::Retrying { at, not_before, .. }
        | Event::Rescheduled { at, not_before }
        | Event::Redriven { at, not_before } => Some(*not_before.max(at)),
        Event::Started { .. }
        | Event::Yielded { .. }
        | Event::Completed { .. }
        | Event::Failed { .. }
        | Event::CancelRequested { .. }
        | Event::Cancelled { .. }
        | Event::Lapsed { .. }
        | Event::Unknown(_) => None,
    })
}

/// Names one event of one job, the same however often the event is told. Text form: `<job id>.<place in its history>`,
/// from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct EventId {
    /// The job.
    pub job_id: JobId,
    /// The event's place in its history.
    pub index: usize,
}

/// Ten bytes that stand for one event.
pub type Mark = [u8; 10];

impl EventId {
    /// The first 80 bits of a SHA-256 of its text: among a million events two have the same with a chance of one in
    /// 2⁴¹.
    pub fn mark(self) -> Mark {
        let digest = Sha256::digest(self.to_string());
        let mut mark = Mark::default();
        mark.copy_from_slice(&digest[..10]);
        mark
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.job_id, self.index)
    }
}

impl From<EventId> for String {
    fn from(id: EventId) -> Self {
        id.to_string()
    }
}

/// One event of one job, and where the job stood before and after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its id.
    pub id: EventId,
    /// What happened.
    pub kind: Kind,
    /// When.
    pub at: Timestamp,
    /// The job's owner.
    pub tenant: Tenant,
    /// What kind of work the job is.
    pub job_type: TypeName,
    /// Attempts begun, this event included.
    pub attempt: u32,
    /// The job's status before it; `None` before the first.
    pub before: Option<Status>,
    /// The job's status after it.
    pub status: Status,
    /// How long the attempt ran that it ends.
    pub ran: Option<Duration>,
    /// How long the job could have been started before the attempt began that it begins.
    pub waited: Option<Duration>,
    /// The id of the request that submitted the job.
    pub correlation_id: String,
    /// Who is to be told when the job has ended.
    pub callback_url: Option<String>,
}

/// What happened: [`Event`] without its data, and a start that begins an attempt told from one that goes on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// See [`Event::Accepted`].
    Accepted,
    /// An attempt began.
    Started,
    /// An attempt went on in another worker.
    Resumed,
    /// See [`Event::Retrying`].
    Retrying,
    /// See [`Event::Yielded`].
    Yielded,
    /// See [`Event::Completed`].
    Completed,
    /// See [`Event::Failed`].
    Failed,
    /// See [`Event::CancelRequested`].
    CancelRequested,
    /// See [`Event::Cancelled`].
    Cancelled,
    /// See [`Event::Lapsed`].
    Lapsed,
    /// See [`Event::Rescheduled`].
    Rescheduled,
    /// See [`Event::Redriven`].
    Redriven,
    /// See [`Event::Unknown`].
    Unknown,
}

impl Kind {
    fn of(event: &Event, resumed: bool) -> Self {
        match event {
            Event::Accepted { .. } => Self::Accepted,
            Event::Started { .. } if resumed => Self::Resumed,
            Event::Started { .. } => Self::Started,
            Event::Retrying { .. } => Self::Retrying,
            Event::Yielded { .. } => Self::Yielded,
            Event::Completed { .. } => Self::Completed,
            Event::Failed { .. } => Self::Failed,
            Event::CancelRequested { .. } => Self::CancelRequested,
            Event::Cancelled { .. } => Self::Cancelled,
            Event::Lapsed { .. } => Self::Lapsed,
            Event::Rescheduled { .. } => Self::Rescheduled,
            Event::Redriven { .. } => Self::Redriven,
            Event::Unknown(_) => Self::Unknown,
        }
    }

    /// The name under which others hear of it; `None` if it is nobody else's affair.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Accepted => Some("job.accepted"),
            Self::Started => Some("job.started"),
            Self::Retrying => Some("job.retrying"),
            Self::Completed => Some("job.completed"),
            Self::Failed => Some("job.failed"),
            Self::Cancelled | Self::Lapsed => Some("job.cancelled"),
            Self::Redriven => Some("job.redriven"),
            Self::Resumed | Self::Yielded | Self::CancelRequested | Self::Rescheduled | Self::Unknown => None,
        }
    }

    /// Why, where the name alone does not say it.
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Lapsed => Some("expired"),
            Self::Accepted
            | Self::Started
            | Self::Resumed
            | Self::Retrying
            | Self::Yielded
            | Self::Completed
            | Self::Failed
            | Self::CancelRequested
            | Self::Cancelled
            | Self::Rescheduled
            | Self::Redriven
            | Self::Unknown => None,
        }
    }
}

impl Recorded {
    /// What others are told of it; `None` if it is nobody else's affair.
    pub fn notice(&self) -> Option<Notice> {
        Some(Notice {
            id: self.id,
            event: self.kind.name()?,
            job_id: self.id.job_id,
            job_type: self.job_type.clone(),
            tenant: self.tenant.clone(),
            attempt: self.attempt,
            at: self.at.to_string(),
            status: self.status,
            reason: self.kind.reason(),
            correlation_id: self.correlation_id.clone(),
        })
    }
}

/// What others are told of an event. Nothing of a job's payload, result or error is in it: whoever may know those asks
/// the API for the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The event's id. A notice may come more than once; one with the same id is the same.
    pub id: EventId,
    /// Its name: `job.completed`, say.
    pub event: &'static str,
    /// The job.
    pub job_id: JobId,
    /// What kind of work the job is.
    #[serde(rename = "type")]
    pub job_type: TypeName,
    /// The job's owner.
    pub tenant: Tenant,
    /// Attempts begun, this event included.
    pub attempt: u32,
    /// When it happened, as RFC 3339.
    pub at: String,
    /// The job's status after it.
    pub status: Status,
    /// `expired` if the job was cancelled because it was not started in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The id of the request that submitted the job.
    pub correlation_id: String,
}

/// Tells others of events.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Publishes these in their order, in as few calls as it takes. Gives those that are not published and may be later;
    /// what is refused for good is logged and not among them.
    async fn publish_all(&self, notices: &[Notice]) -> Vec<EventId>;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn at(second: u64) -> Timestamp {
        START + Duration::from_secs(second)
    }

    fn change(history: Vec<Event>, known: usize) -> JobChange {
        JobChange {
            job_id: JobId::at(START, [7; 10]),
            tenant: Tenant::only(),
            job_type: TypeName::new("csv-generation"),
            correlation_id: "request".to_owned(),
            callback_url: None,
            known,
            history,
        }
    }

    /// A job that was delayed, failed once, went on in another worker, failed for good, was redriven and completed.
    fn eventful() -> Vec<Event> {
        let error = || "no".to_owned();
        vec![
            Event::Accepted { at: at(0), not_before: Some(at(10)) },
            Event::Started { at: at(12) },
            Event::Retrying { at: at(15), error: error(), not_before: at(20) },
            Event::Started { at: at(21) },
            Event::Yielded { at: at(30) },
            Event::Rescheduled { at: at(31), not_before: at(40) },
            Event::Started { at: at(41) },
            Event::Failed { at: at(45), error: error() },
            Event::Redriven { at: at(60), not_before: at(60) },
            Event::Started { at: at(61) },
            Event::Started { at: at(100) },
            Event::CancelRequested { at: at(101) },
            Event::Completed { at: at(103) },
        ]
    }

    #[test]
    fn each_new_event_tells_its_attempt_its_status_and_its_times() {
        let told: Vec<_> = change(eventful(), 0)
            .new_events()
            .expect("possible")
            .into_iter()
            .map(|event| (event.kind, event.attempt, event.status, event.waited, event.ran))
            .collect();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let expected = [
            (Kind::Accepted, 0, Status::Pending, None, None),
            (Kind::Started, 1, Status::Processing, seconds(2), None),
            (Kind::Retrying, 1, Status::Pending, None, seconds(3)),
            (Kind::Started, 2, Status::Processing, seconds(1), None),
            (Kind::Yielded, 2, Status::Pending, None, None),
            (Kind::Rescheduled, 2, Status::Pending, None, None),
            (Kind::Resumed, 2, Status::Processing, None, None),
            (Kind::Failed, 2, Status::Failed, None, seconds(24)),
            (Kind::Redriven, 2, Status::Pending, None, None),
            (Kind::Started, 3, Status::Processing, seconds(1), None),
            (Kind::Started, 4, Status::Processing, None, None),
            (Kind::CancelRequested, 4, Status::Processing, None, None),
            (Kind::Completed, 4, Status::Completed, None, seconds(3)),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn nobody_knows_how_long_an_attempt_ran_that_died() {
        let mut history = eventful();
        history.truncate(4);
        history.push(Event::Failed { at: at(90), error: ABANDONED.to_owned() });
        let events = change(history, 4).new_events().expect("possible");
        assert_eq!((events.len(), events[0].ran), (1, None));
    }

    #[test]
    fn a_job_that_no_worker_could_run_ends_no_attempt() {
        let held_back = HeldBack { reason: "no such type".to_owned(), since: at(20) };
        for known in [3, 4] {
            let mut history = eventful();
            history.truncate(known); // it waits for its next attempt, or that has died
            history.push(Event::Failed { at: at(90_000), error: held_back.error() });
            let events = change(history, known).new_events().expect("possible");
            assert_eq!((events.len(), events[0].ran, events[0].status), (1, None, Status::Failed));
        }
    }

    #[test]
    fn an_unknown_event_is_nobodys_affair_and_keeps_no_other_back() {
        let unknown = serde_json::from_str(r#"{"event":"paused","at":1800000022000}"#).expect("an event");
        let mut history = eventful();
        history.insert(4, unknown);
        let events = change(history, 0).new_events().expect("possible");
        let whole = change(eventful(), 0).new_events().expect("possible");
        let told = |events: &[Recorded]| {
            events.iter().filter(|event| event.kind != Kind::Unknown).map(|event| event.kind).collect::<Vec<_>>()
        };
        assert_eq!((events.len(), told(&events)), (whole.len() + 1, told(&whole)));
        assert_eq!(events[4].notice(), None);
    }

    #[test]
    fn a_notice_says_what_happened_and_nothing_of_what_the_job_is_about() {
        let events = change(eventful(), 7).new_events().expect("possible");
        let notice = events[0].notice().expect("others hear of it");
        let id = notice.job_id;
        let expected = format!(
            "{}{}{}",
            format_args!(r#"{{"id":"{id}.7","event":"job.failed","job_id":"{id}","type":"csv-generation","#),
            r#""tenant":"default","attempt":2,"at":"2027-01-15T08:00:45.000Z","status":"failed","#,
            r#""correlation_id":"request"}"#,
        );
        assert_eq!(serde_json::to_string(&notice).expect("writes"), expected);
        let internal = [Kind::Resumed, Kind::Yielded, Kind::CancelRequested, Kind::Rescheduled];
        assert!(internal.iter().all(|kind| kind.name().is_none()));
    }

    #[test]
    fn a_job_that_expired_is_told_as_cancelled_with_the_reason() {
        let history = vec![Event::Accepted { at: at(0), not_before: None }, Event::Lapsed { at: at(9) }];
        let events = change(history, 1).new_events().expect("possible");
        let notice = events[0].notice().expect("others hear of it");
        assert_eq!((notice.event, notice.reason, notice.status), ("job.cancelled", Some("expired"), Status::Cancelled));
    }

    #[test]
    fn the_mark_of_an_event_is_the_beginning_of_its_digest() {
        let id = EventId { job_id: JobId::at(START, [7; 10]), index: 7 };
        let digest = hex::encode(Sha256::digest("01a3185c-5000-7707-8707-070707070707.7"));
        assert_eq!(hex::encode(id.mark()), digest[..20]);
    }

    #[test]
    fn a_history_that_no_job_can_have_is_refused() {
        let history = vec![Event::Accepted { at: at(0), not_before: None }, Event::Completed { at: at(1) }];
        assert!(change(history, 0).new_events().is_err());
    }

    proptest! {
        #[test]
        fn however_a_history_is_cut_into_changes_each_event_is_told_once_and_the_same(
            cuts in prop::collection::btree_set(0_usize..13, 0..6),
        ) {
            let whole = change(eventful(), 0).new_events().expect("possible");
            let ends = cuts.iter().copied().chain([eventful().len()]);
            let (mut known, mut told) = (0, vec![]);
            for end in ends {
                let mut history = eventful();
                history.truncate(end);
                told.extend(change(history, known).new_events().expect("possible"));
                known = end;
            }
            prop_assert_eq!(told, whole);
        }
    }
}
