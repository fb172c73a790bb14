//! A job as clients see it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::Serializer;
use shared::job::event::{Event, LAPSED};
use shared::job::receipt::{Prices, Receipt};
use shared::job::{Job, Progress, State, Status, Tag};
use shared::values::id::JobId;
use shared::values::json::Json;
use shared::values::time::Timestamp;
use utoipa::ToSchema;

use crate::openapi::JobTypeName;

/// The answer of `GET /jobs/{id}`. Times are RFC 3339 in UTC.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    job_id: JobId,
    /// What kind of work it is.
    #[serde(rename = "type")]
    #[schema(value_type = JobTypeName)]
    job_type: String,
    /// Where it stands.
    #[schema(value_type = JobStatus)]
    status: Status,
    /// Attempts begun.
    attempts: u32,
    /// Attempts allowed.
    max_attempts: u32,
    /// How long one attempt may run.
    timeout_seconds: u64,
    /// What its type needs to know, as it was sent.
    #[schema(value_type = Value)]
    payload: Json,
    /// What it resulted in; null unless completed.
    #[schema(value_type = Option<Value>)]
    result: Option<Json>,
    /// Why its latest failed attempt failed; null once completed.
    error: Option<String>,
    /// When it was accepted.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it last changed.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// When a waiting job may start.
    #[serde(serialize_with = "maybe_rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    run_at: Option<Timestamp>,
    /// It is not started from this time on.
    #[serde(serialize_with = "maybe_rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When the latest attempt began.
    #[serde(serialize_with = "maybe_rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(serialize_with = "maybe_rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// How long the attempt took that ended the job.
    duration_ms: Option<u64>,
    /// Whether somebody wants it cancelled while it runs.
    cancel_requested: bool,
    /// How far it has come, if its type tells.
    progress: Option<ProgressView>,
    /// The words that it was tagged with.
    #[schema(value_type = Vec<String>)]
    tags: Vec<Tag>,
    /// The job that it is a copy of.
    #[schema(value_type = Option<String>, format = "uuid")]
    duplicate_of: Option<JobId>,
    /// The id of the request that submitted it.
    correlation_id: String,
    /// What it has cost so far.
    cost: ReceiptView,
    /// What happened, oldest first.
    history: Vec<EventView>,
}

/// What jobs have cost in AWS, reckoned from their histories. Writes are exact where nothing went wrong; a request that
/// several jobs have shared is counted for each of them. What no job's history tells is left out: counters and logs, say.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Receipt)]
pub struct ReceiptView {
    /// Requests by kind: `PutItem`, `UpdateItem`, `SendMessage`, …; `HttpRequest` are calls of this API, `Invoke` of
    /// functions.
    #[schema(value_type = BTreeMap<String, u64>)]
    requests: BTreeMap<&'static str, u64>,
    /// Write units of DynamoDB, indexes included.
    write_units: u64,
    /// Read units of DynamoDB.
    read_units: u64,
    /// How long attempts ran, in milliseconds.
    billed_ms: u64,
    /// What all that comes to, in US dollars at list prices, nothing being free.
    #[schema(example = 0.000_006_41)]
    dollars: f64,
    /// The day of the price list.
    #[schema(format = Date, example = "2026-11-01")]
    prices_as_of: &'static str,
}

impl ReceiptView {
    /// The receipt, at the prices that this program was built with.
    pub fn of(receipt: &Receipt) -> Self {
        let prices = Prices::current();
        Self {
            requests: receipt.requests.iter().map(|(request, times)| (request.as_str(), *times)).collect(),
            write_units: receipt.write_units,
            read_units: receipt.read_units,
            billed_ms: receipt.billed_ms,
            dollars: receipt.dollars(prices),
            prices_as_of: &prices.as_of,
        }
    }
}

/// How far a job has come, as its type last told.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Progress)]
struct ProgressView {
    /// 0 to 100.
    #[schema(maximum = 100)]
    percent: u8,
    /// A few words.
    message: String,
    /// When it was told.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// Where a job stands: waiting, running, or ended in one of three ways.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "names for the document")]
pub enum JobStatus {
    /// Waiting for its first or next attempt.
    Pending,
    /// An attempt is running.
    Processing,
    /// Done.
    Completed,
    /// Failed for good.
    Failed,
    /// Cancelled.
    Cancelled,
}

/// A job in a list: all about it but its payload, result and history.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobSummary {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    job_id: JobId,
    /// What kind of work it is.
    #[serde(rename = "type")]
    #[schema(value_type = JobTypeName)]
    job_type: String,
    /// Where it stands.
    #[schema(value_type = JobStatus)]
    status: Status,
    /// Attempts begun.
    attempts: u32,
    /// Attempts allowed.
    max_attempts: u32,
    /// Why its latest failed attempt failed; null once completed.
    error: Option<String>,
    /// When it was accepted.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it last changed.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// When a waiting job may start.
    #[serde(serialize_with = "maybe_rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    run_at: Option<Timestamp>,
    /// When the latest attempt began.
    #[serde(serialize_with = "maybe_rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(serialize_with = "maybe_rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// The words that it was tagged with.
    #[schema(value_type = Vec<String>)]
    tags: Vec<Tag>,
}

impl JobSummary {
    /// What a list tells of `job`.
    pub fn of(job: &Job) -> Self {
        Self {
            job_id: job.id,
            job_type: job.job_type.to_string(),
            status: job.status(),
            attempts: job.attempts,
            max_attempts: job.max_attempts,
            error: job.error.clone(),
            created_at: job.created_at,
            updated_at: job.updated_at(),
            run_at: run_at(job),
            started_at: job.started_at,
            finished_at: job.finished_at(),
            tags: job.tags.clone(),
        }
    }
}

fn run_at(job: &Job) -> Option<Timestamp> {
    match job.state {
        State::Pending { not_before, .. } => Some(not_before),
        State::Processing { .. } | State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. } => None,
    }
}

/// One entry of a job's history.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobEvent)]
pub struct EventView {
    /// What happened.
    event: EventKind,
    /// When.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Which attempt it belongs to, from 1; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u32)]
    attempt: Option<u32>,
    /// Why an attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    error: Option<String>,
    /// When the job, or its next attempt, may start.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    run_at: Option<Timestamp>,
}

/// What can happen to a job.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It was stored.
    Accepted,
    /// An attempt began, or went on in another worker.
    Started,
    /// The attempt's worker ran out of time: another goes on with it.
    Yielded,
    /// An attempt failed, and another follows.
    Retrying,
    /// It is done.
    Completed,
    /// It failed for good.
    Failed,
    /// Somebody asked for it to be cancelled while it ran.
    CancelRequested,
    /// It was cancelled.
    Cancelled,
    /// It expired before it could be started.
    Lapsed,
    /// Somebody gave it another time to start.
    Rescheduled,
    /// Somebody asked for it to be tried again.
    Redriven,
    /// A newer version of Dray wrote it, and this one does not know it.
    Unknown,
}

impl JobView {
    /// What clients may know of `job`.
    pub fn of(job: &Job) -> Self {
        let finished_at = job.finished_at();
        let (result, cancel_requested) = match &job.state {
            State::Processing { cancel_requested, .. } => (None, *cancel_requested),
            State::Completed { result, .. } => (Some(result.clone()), false),
            State::Pending { .. } | State::Failed { .. } | State::Cancelled { .. } => (None, false),
        };
        let progress =
            job.progress.clone().map(|Progress { percent, message, at }| ProgressView { percent, message, at });
        let duration = finished_at.zip(job.started_at).map(|(end, start)| end.since(start));
        Self {
            job_id: job.id,
            job_type: job.job_type.to_string(),
            status: job.status(),
            attempts: job.attempts,
            max_attempts: job.max_attempts,
            timeout_seconds: job.timeout.as_secs(),
            payload: job.payload.clone(),
            result,
            error: job.error.clone(),
            created_at: job.created_at,
            updated_at: job.updated_at(),
            run_at: run_at(job),
            expires_at: job.expires_at,
            started_at: job.started_at,
            finished_at,
            duration_ms: duration.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            cancel_requested,
            progress,
            tags: job.tags.clone(),
            duplicate_of: job.duplicate_of,
            correlation_id: job.correlation_id.clone(),
            cost: ReceiptView::of(&Receipt::of(job)),
            history: history(&job.history),
        }
    }
}

/// A history as clients see it.
pub fn history(events: &[Event]) -> Vec<EventView> {
    let (mut attempt, mut resumes) = (0, false);
    let mut views = vec![];
    for event in events {
        let (kind, error, run_at) = match event {
            Event::Accepted { at: _, not_before } => (EventKind::Accepted, None, *not_before),
            Event::Started { at: _ } => {
                attempt += u32::from(!resumes);
                (EventKind::Started, None, None)
            }
            Event::Yielded { at: _ } => (EventKind::Yielded, None, None),
            Event::Retrying { at: _, error, not_before } => {
                (EventKind::Retrying, Some(error.clone()), Some(*not_before))
            }
            Event::Completed { at: _ } => (EventKind::Completed, None, None),
            Event::Failed { at: _, error } => (EventKind::Failed, Some(error.clone()), None),
            Event::CancelRequested { at: _ } => (EventKind::CancelRequested, None, None),
            Event::Cancelled { at: _ } => (EventKind::Cancelled, None, None),
            Event::Lapsed { at: _ } => (EventKind::Lapsed, Some(LAPSED.to_owned()), None),
            Event::Rescheduled { at: _, not_before } => (EventKind::Rescheduled, None, Some(*not_before)),
            Event::Redriven { at: _, not_before } => (EventKind::Redriven, None, Some(*not_before)),
            Event::Unknown(_) => (EventKind::Unknown, None, None),
        };
        resumes = event.leaves_resuming(resumes);
        views.push(EventView { event: kind, at: event.at(), attempt: (attempt > 0).then_some(attempt), error, run_at });
    }
    views
}

/// As RFC 3339 in UTC.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
pub fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// The same, or null.
#[expect(clippy::ref_option, reason = "serde asks for a reference")]
pub fn maybe_rfc3339<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}
