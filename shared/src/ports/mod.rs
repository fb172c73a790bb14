//! Where jobs are kept and how workers hear of them. One trait each, with several adapters and one contract suite
//! ([`crate::ports::contract`]) that every adapter passes.

pub mod contract;
pub mod files;
pub mod memory;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::job::Job;
use crate::job::submission::Origin;
use crate::job::transition::{Change, Refusal};
use crate::values::id::{JobId, Tenant};
use crate::values::time::Timestamp;

/// The jobs. What this store says is true, whatever the queue says.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Stores a new job, unless one with its id is there already. Once this returns, the job is accepted: if its
    /// message is never sent, the sweeper will find it at its due.
    async fn insert_if_absent(&self, job: &Job) -> Result<Inserted, StoreError>;

    /// The job as it is now; everything that was written before this call is seen.
    async fn find(&self, id: JobId) -> Result<Option<Job>, StoreError>;

    /// Changes the job in one atomic step if [`crate::job::transition::transition`] allows it from the state the job is in
    /// at that moment; else leaves it untouched.
    ///
    /// After an error the change may or may not have happened. To ask again with the same change is safe: it does not
    /// happen twice, and where the change carries a token and nothing else has happened since, the answer is
    /// [`Refusal::AlreadyApplied`].
    async fn change_if_allowed(&self, id: JobId, change: &Change) -> Result<Changed, StoreError>;

    /// Jobs that were due before `now`, those that have waited longest first within each of the store's shards, `limit`
    /// at most. A job that became overdue in the last seconds may be missing; it will be in a later answer. One that cannot
    /// be read counts, and is named apart.
    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Overdue, StoreError>;

    /// Gives a job that this build cannot read another due, if it has the one that was seen: so that it does not stand in
    /// the way of the others. Whether it had.
    async fn put_off(&self, unreadable: Unreadable, due_at: Timestamp) -> Result<bool, StoreError>;

    /// Stores many new jobs in as few calls as the store allows, each for itself: one that is there already, or that the
    /// store does not take, spoils no other. Of several with one id the first is new, and the others find it there. The
    /// outcomes in the order of the jobs.
    async fn insert_all_if_absent(&self, jobs: &[Job]) -> Vec<Result<Inserted, StoreError>>;

    /// Stores a new job together with an item of the caller's own, in one step: both, or neither. If the job is there
    /// already, so is its item, and nothing changes.
    async fn insert_with(&self, job: &Job, own: &OwnItem) -> Result<InsertedWith, StoreError>;

    /// Deletes the job, in one atomic step, if it has ended. After an error it may or may not be gone.
    async fn delete_if_ended(&self, id: JobId) -> Result<Deleted, StoreError>;

    /// The jobs of one tenant, newest first. A job that was accepted or has failed in the last seconds may be missing;
    /// what is there is as it is now. A page may hold fewer jobs than asked for though others follow; `next` tells.
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError>;
}

/// Jobs that were due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// Those that can be read.
    pub jobs: Vec<Job>,
    /// The others.
    pub unreadable: Vec<Unreadable>,
}

/// A job that this build cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its id.
    pub id: JobId,
    /// Its due.
    pub due_at: Timestamp,
}

/// An item that is stored together with a job: a product, an order, whatever the job is about.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnItem {
    /// Its table; `None` is the one that holds the jobs, where its `id` must not look like a job's (`product#…`, say).
    pub table: Option<String>,
    /// The name of the attribute that is its table's partition key. An item that has it must not be there already.
    pub key: String,
    /// The item, an object.
    pub item: serde_json::Value,
}

/// Which jobs to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Whose.
    pub tenant: Tenant,
    /// All, or only failures.
    pub lane: Lane,
    /// Only those after this place, where an earlier page has ended.
    pub before: Option<Cursor>,
    /// How many at most: 1 to 1,000.
    pub limit: usize,
}

/// The lists that jobs stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// All jobs.
    All,
    /// Those that have failed, found without reading any other.
    Failed,
}

/// Some jobs of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The jobs, newest first.
    pub jobs: Vec<Job>,
    /// Where the next page begins; `None` if this one is the last.
    pub next: Option<Cursor>,
}

/// A place in a list, between two jobs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(String);

impl Cursor {
    /// The place that this text, which came from a cursor, means.
    pub fn at(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The place just after `job`.
    pub fn after(job: &Job) -> Self {
        Self(format!("{:013}#{}", job.created_at.as_millis(), job.id))
    }

    /// The place just before `job`: it is the first of what follows.
    pub fn just_before(job: &Job) -> Self {
        let Self(place) = Self::after(job);
        Self(place + "~") // after any character of an id
    }

    /// The place just before the oldest job that was not accepted before `time`.
    pub fn before(time: Timestamp) -> Self {
        // As many digits as the places of jobs have: a later time is as good as the end of the year 2286.
        Self(format!("{:013}", time.as_millis().clamp(0, 9_999_999_999_999)))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The switch by which people stop the starting of jobs and let it go on.
#[async_trait]
pub trait Switch: Send + Sync {
    /// Whether no job shall be started now. A change of the last seconds may not be seen yet.
    async fn is_paused(&self) -> Result<bool, StoreError>;

    /// Stops the starting of jobs, or lets it go on.
    async fn set_paused(&self, paused: bool) -> Result<(), StoreError>;
}

/// What came of an insert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The job is stored now.
    New,
    /// A job with this id was there already; this one.
    AlreadyThere(Box<Job>),
}

/// What came of an insert of a job together with an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InsertedWith {
    /// Both are stored now.
    New,
    /// A job with this id was there already; this one. So was its item.
    JobThere(Box<Job>),
    /// The job was not there, but an item with the key of its item was. Nothing is stored.
    OwnItemThere,
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It happened; the job is like this now.
    Applied(Box<Job>),
    /// It did not, because of this; the job is like this.
    Refused(Refusal, Box<Job>),
    /// There is no such job.
    Missing,
}

/// What came of deleting a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone.
    Yes,
    /// It has not ended; it is like this.
    NotEnded(Box<Job>),
    /// There is no such job.
    Missing,
}

/// Why the store gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is overloaded or took too long. The same call may succeed later.
    #[error("the job store did not answer")]
    Unavailable(#[source] Source),
    /// It refused the call for a reason that time will not mend: permissions, a missing table, an item too large.
    #[error("the job store refused the call")]
    Refused(#[source] Source),
    /// What is stored under this id is not a job that this build can read.
    #[error("job {0} cannot be read")]
    Unreadable(String, #[source] Source),
    /// What is stored under this id was written by a newer build, in this format, higher than [`crate::job::FORMAT`].
    #[error("job {0} was written by a newer version of Dray, in format {1}")]
    Newer(String, u32),
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Refused(_) | Self::Unreadable(..) | Self::Newer(..) => false,
        }
    }
}

/// What lies beneath an error of a port.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// How workers hear that a job is there. Only a hint: it may lose, double, delay and reorder messages.
#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Sends one message.
    async fn send(&self, message: &Message) -> Result<(), QueueError>;

    /// Sends many, in as few calls as the queue allows. Gives the ids whose message was not sent.
    async fn send_all(&self, messages: &[Message]) -> Vec<JobId>;

    /// Hides a received message for so long (whole seconds, rounded up; at most 11 hours) from now on, after which it
    /// is delivered again.
    async fn hide(&self, receipt: &Receipt, rest: Duration) -> Result<(), QueueError>;

    /// How many messages wait to be received, roughly. Those held back by a delay are not among them.
    async fn waiting(&self) -> Result<usize, QueueError>;
}

/// The dead-letter queue: where the queue puts messages that were delivered as often as they may be.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Some of the messages there, ten at most, each hidden from further calls for `rest`. None may mean that all are
    /// hidden.
    async fn receive(&self, rest: Duration) -> Result<Vec<DeadLetter>, QueueError>;

    /// Takes messages out of it, ten at most.
    async fn delete(&self, receipts: &[Receipt]) -> Result<(), QueueError>;

    /// How many messages are in it, roughly, the hidden ones among them.
    async fn depth(&self) -> Result<usize, QueueError>;
}

/// One message of the dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The job that it names; `None` if it names none.
    pub job_id: Option<JobId>,
    /// To delete it by.
    pub receipt: Receipt,
}

/// What a message says: which job. Everything else is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The job's id.
    pub job_id: JobId,
    /// How long the queue holds it back, at most [`crate::job::due::LONGEST_QUEUE_DELAY`].
    pub delay: Duration,
    /// Where the job came from, if the sender knows: for logs and traces on the way, and for nothing else. A queue may
    /// drop it.
    pub origin: Option<Origin>,
}

impl Message {
    /// A message about `job`.
    pub fn about(job: &Job, delay: Duration) -> Self {
        let origin = Origin { correlation_id: job.correlation_id.clone(), traceparent: job.traceparent.clone() };
        Self { origin: Some(origin), ..Self::naming(job.id, delay) }
    }

    /// A message about a job of which no more than the id is known.
    pub fn naming(job_id: JobId, delay: Duration) -> Self {
        Self { job_id, delay, origin: None }
    }

    /// The message as the queue carries it: `{"job_id":"<uuid>"}`, nothing that any queue refuses.
    pub fn body(&self) -> String {
        format!(r#"{{"job_id":"{}"}}"#, self.job_id)
    }

    /// The job that a message body names. `None` if it is no such body.
    pub fn job_named_in(body: &str) -> Option<JobId> {
        #[derive(serde::Deserialize)]
        struct Body {
            job_id: JobId,
        }
        serde_json::from_str::<Body>(body).ok().map(|body| body.job_id)
    }
}

/// Names one delivery of one message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receipt(pub String);

/// Why the queue did not do it.
#[derive(Debug, thiserror::Error)]
#[error("the queue did not take the call")]
pub struct QueueError(#[source] pub Source);

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The time now, as this machine sees it. Clocks of two machines differ.
    fn now(&self) -> Timestamp;
}

/// Gives random numbers.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`, each value as likely as any other.
    fn fill(&self, bytes: &mut [u8]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::submission::Submission;
    use crate::job_type::JobType;
    use crate::values::json::Json;

    #[test]
    fn only_a_store_that_did_not_answer_is_worth_asking_again() {
        assert!(StoreError::Unavailable("too busy".into()).retryable());
        assert!(!StoreError::Refused("no such table".into()).retryable());
        assert!(!StoreError::Unreadable("an id".to_owned(), "no status".into()).retryable());
        assert!(!StoreError::Newer("an id".to_owned(), 2).retryable());
    }

    fn job() -> Job {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let submission = Submission::plain(JobType::CsvGeneration, Json::parse("{}").expect("JSON"));
        let origin = Origin { correlation_id: "request".to_owned(), traceparent: Some("00-1-2-01".to_owned()) };
        submission.into_job(JobId::at(now, [7; 10]), Tenant::only(), now, origin)
    }

    #[test]
    fn a_message_about_a_job_tells_where_the_job_came_from() {
        let message = Message::about(&job(), Duration::from_secs(7));
        let origin = Origin { correlation_id: "request".to_owned(), traceparent: Some("00-1-2-01".to_owned()) };
        assert_eq!(message, Message { job_id: job().id, delay: Duration::from_secs(7), origin: Some(origin) });
    }

    #[test]
    fn a_cursor_is_found_again_by_its_text() {
        let cursor = Cursor::after(&job());
        assert_eq!(cursor.as_str(), format!("1800000000000#{}", job().id));
        assert_eq!(Cursor::at(cursor.as_str()), cursor);
        assert!(Cursor::just_before(&job()).as_str() > cursor.as_str());
    }

    #[test]
    fn a_message_names_its_job_and_says_nothing_else() {
        let job_id: JobId = "01938e5c-7a00-7000-8000-000000000000".parse().expect("an id");
        let origin = Origin { correlation_id: "request".to_owned(), traceparent: None };
        let body = Message { origin: Some(origin), ..Message::naming(job_id, Duration::from_secs(7)) }.body();
        assert_eq!(body, r#"{"job_id":"01938e5c-7a00-7000-8000-000000000000"}"#);
        assert_eq!(Message::job_named_in(&body), Some(job_id));
        for foreign in ["", "hello", "{}", r#"{"job_id":42}"#, r#"{"job_id":"42"}"#] {
            assert_eq!(Message::job_named_in(foreign), None, "{foreign}");
        }
    }
}
