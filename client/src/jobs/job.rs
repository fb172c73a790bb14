//! A job, as the service shows it. Times are UTC.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// A job's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

/// The text is no job's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job's id is a UUID such as 01938e5c-7a00-7000-8000-000000000000")]
pub struct NotAnId;

impl FromStr for JobId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        Uuid::try_parse(text).map(Self).map_err(|_| NotAnId)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum Status {
    /// Waiting for its first or next attempt.
    Pending,
    /// An attempt is running.
    Processing,
    /// Done. Terminal.
    Completed,
    /// Failed for good. Terminal, unless somebody asks for it to be tried again.
    Failed,
    /// Cancelled. Terminal, unless somebody asks for it to be tried again.
    Cancelled,
    /// One that this client does not know.
    Other(String),
}

impl Status {
    /// Its name in the API.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Other(name) => name,
        }
    }

    /// Whether nothing more will happen to the job by itself.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Cancelled => true,
            Self::Pending | Self::Processing | Self::Other(_) => false,
        }
    }
}

impl From<String> for Status {
    fn from(name: String) -> Self {
        match name.as_str() {
            "pending" => Self::Pending,
            "processing" => Self::Processing,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            _ => Self::Other(name),
        }
    }
}

impl FromStr for Status {
    type Err = Infallible;
    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(Self::from(name.to_owned()))
    }
}

impl From<Status> for String {
    fn from(status: Status) -> Self {
        status.as_str().to_owned()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Everything about a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Job {
    /// Its id.
    pub job_id: JobId,
    /// What kind of work it is.
    #[serde(rename = "type")]
    pub job_type: String,
    /// Where it stands.
    pub status: Status,
    /// Attempts begun.
    pub attempts: u32,
    /// Attempts allowed.
    pub max_attempts: u32,
    /// How long an attempt may run, in seconds.
    #[serde(default)]
    pub timeout_seconds: u64,
    /// What its type needs to know, as it was submitted.
    pub payload: Box<RawValue>,
    /// What it led to; `None` unless completed.
    #[serde(default)]
    pub result: Option<Box<RawValue>>,
    /// Why its latest failed attempt failed; `None` once completed.
    #[serde(default)]
    pub error: Option<String>,
    /// Words by which its owner finds it.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The job that it is a copy of.
    #[serde(default)]
    pub duplicate_of: Option<JobId>,
    /// How far its work has come, if its type tells.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When a waiting job may start.
    #[serde(default)]
    pub run_at: Option<Timestamp>,
    /// It is not started from this time on.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// When its latest attempt began.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When it reached a terminal status.
    #[serde(default)]
    pub finished_at: Option<Timestamp>,
    /// How long the attempt took that ended it, in milliseconds.
    #[serde(default)]
    pub duration_ms: Option<u64>,
    /// Whether somebody wants it cancelled while an attempt runs.
    #[serde(default)]
    pub cancel_requested: bool,
    /// The id of the request that submitted it.
    #[serde(default)]
    pub correlation_id: String,
    /// What happened, oldest first.
    #[serde(default)]
    pub history: Vec<Event>,
}

impl Job {
    /// Its payload, as what it was made from.
    pub fn payload_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.payload.get())
    }

    /// Its result, as what its type says that it is. `None` unless completed.
    pub fn result_as<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        self.result.as_deref().map(|result| serde_json::from_str(result.get())).transpose()
    }
}

/// How far a job's work has come, as its type last told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// A few words.
    #[serde(default)]
    pub message: String,
    /// When it was told.
    #[serde(default)]
    pub at: Option<Timestamp>,
}

/// One entry of a job's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// What happened: `accepted`, `started`, `retrying`, `yielded`, `completed`, `failed`, `cancel_requested`,
    /// `cancelled`, `lapsed`, `rescheduled`, `redriven`, or what a newer service tells.
    pub event: String,
    /// When.
    pub at: Timestamp,
    /// Which attempt it belongs to, from 1; `None` before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Why it went wrong, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When the job, or its next attempt, may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
}

/// A job in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobSummary {
    /// Its id.
    pub job_id: JobId,
    /// What kind of work it is.
    #[serde(rename = "type")]
    pub job_type: String,
    /// Where it stands.
    pub status: Status,
    /// Attempts begun.
    #[serde(default)]
    pub attempts: u32,
    /// Attempts allowed.
    #[serde(default)]
    pub max_attempts: u32,
    /// Words by which its owner finds it.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Why its latest failed attempt failed.
    #[serde(default)]
    pub error: Option<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last changed.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
    /// When a waiting job may start.
    #[serde(default)]
    pub run_at: Option<Timestamp>,
    /// When its latest attempt began.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When it reached a terminal status.
    #[serde(default)]
    pub finished_at: Option<Timestamp>,
}

/// A job as it was at some time, from its events up to then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobThen {
    /// Its id.
    pub job_id: JobId,
    /// The time.
    pub at: Timestamp,
    /// Where it stood.
    pub status: Status,
    /// Attempts begun.
    #[serde(default)]
    pub attempts: u32,
    /// When it had been accepted.
    pub created_at: Timestamp,
    /// When it had last changed.
    pub updated_at: Timestamp,
    /// Why its latest failed attempt had failed.
    #[serde(default)]
    pub error: Option<String>,
    /// When its latest attempt had begun.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When it had reached a terminal status.
    #[serde(default)]
    pub finished_at: Option<Timestamp>,
    /// What had happened, oldest first.
    #[serde(default)]
    pub events: Vec<Event>,
}

/// Why a job is not running, or that it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Why {
    /// Its id.
    pub job_id: JobId,
    /// Where it stands.
    pub status: Status,
    /// Why, in one word for programs.
    pub reason: String,
    /// Why, in a sentence for people.
    #[serde(default)]
    pub detail: String,
    /// Until when it is so, if that is known.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// How many messages wait in the queue, about, if that is why.
    #[serde(default)]
    pub waiting_messages: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_and_fields_of_a_newer_service_are_taken() {
        let job = r#"{"job_id":"01938e5c-7a00-7000-8000-000000000000","type":"csv-generation","status":"paused",
            "attempts":1,"max_attempts":3,"payload":{"b":1,"a":2},"result":null,"mood":"good",
            "created_at":"2026-11-22T02:05:08.412Z","updated_at":"2026-11-22T02:05:08.708Z",
            "history":[{"event":"slept","at":"2026-11-22T02:05:08.412Z","dreams":2}]}"#;
        let job: Job = serde_json::from_str(job).expect("a job");
        assert_eq!((&job.status, job.status.is_terminal()), (&Status::Other("paused".to_owned()), false));
        assert_eq!((job.payload.get(), job.result.is_none()), (r#"{"b":1,"a":2}"#, true));
        assert_eq!(job.history[0].event, "slept");
        let again = serde_json::to_string(&job).expect("JSON");
        assert!(again.contains(r#""status":"paused""#) && again.contains(r#"{"b":1,"a":2}"#), "{again}");
    }

    #[test]
    fn payload_and_result_are_read_as_what_they_are() {
        let job = r#"{"job_id":"01938e5c-7a00-7000-8000-000000000000","type":"t","status":"completed","attempts":1,
            "max_attempts":3,"payload":[1,2],"result":"output/a.csv","created_at":"2026-11-22T02:05:08Z",
            "updated_at":"2026-11-22T02:05:08Z"}"#;
        let job: Job = serde_json::from_str(job).expect("a job");
        assert_eq!(job.payload_as::<Vec<u8>>().expect("numbers"), [1, 2]);
        assert_eq!(job.result_as::<String>().expect("text").as_deref(), Some("output/a.csv"));
        assert!(job.result_as::<u8>().is_err());
    }
}
