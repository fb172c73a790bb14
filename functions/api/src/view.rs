//! A job as clients see it.

use serde::Serialize;
use serde::ser::Serializer;
use shared::event::Event;
use shared::id::JobId;
use shared::job::{Job, State, Status};
use shared::json::Json;
use shared::time::Timestamp;

/// The answer of `GET /jobs/{id}`. Times are RFC 3339 in UTC.
#[derive(Debug, Serialize)]
pub struct JobView {
    job_id: JobId,
    #[serde(rename = "type")]
    job_type: String,
    status: Status,
    attempts: u32,
    max_attempts: u32,
    timeout_seconds: u64,
    payload: Json,
    result: Option<Json>,
    error: Option<String>,
    #[serde(serialize_with = "rfc3339")]
    created_at: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    updated_at: Timestamp,
    /// When a waiting job may start, if that is known.
    #[serde(serialize_with = "maybe_rfc3339")]
    run_at: Option<Timestamp>,
    /// When the latest attempt began.
    #[serde(serialize_with = "maybe_rfc3339")]
    started_at: Option<Timestamp>,
    #[serde(serialize_with = "maybe_rfc3339")]
    finished_at: Option<Timestamp>,
    /// How long the attempt took that ended the job.
    duration_ms: Option<u64>,
    cancel_requested: bool,
    correlation_id: String,
    history: Vec<EventView>,
}

/// One entry of a job's history.
#[derive(Debug, Serialize)]
struct EventView {
    event: &'static str,
    #[serde(serialize_with = "rfc3339")]
    at: Timestamp,
    /// Which attempt it belongs to, from 1; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// When the job, or its next attempt, may start.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_rfc3339")]
    run_at: Option<Timestamp>,
}

impl JobView {
    /// What clients may know of `job`.
    pub fn of(job: &Job) -> Self {
        let finished_at = job.finished_at();
        let (run_at, result, cancel_requested) = match &job.state {
            State::Pending { not_before, due_at: _ } => (Some(*not_before), None, false),
            State::Processing { cancel_requested, .. } => (None, None, *cancel_requested),
            State::Completed { result, .. } => (None, Some(result.clone()), false),
            State::Failed { .. } | State::Cancelled { .. } => (None, None, false),
        };
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
            run_at,
            started_at: job.started_at,
            finished_at,
            duration_ms: duration.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            cancel_requested,
            correlation_id: job.correlation_id.clone(),
            history: history(&job.history),
        }
    }
}

fn history(events: &[Event]) -> Vec<EventView> {
    let mut attempt = 0;
    let mut views = vec![];
    for event in events {
        let (name, error, run_at) = match event {
            Event::Accepted { at: _, not_before } => ("accepted", None, *not_before),
            Event::Started { at: _ } => {
                attempt += 1;
                ("started", None, None)
            }
            Event::Retrying { at: _, error, not_before } => ("retrying", Some(error.clone()), Some(*not_before)),
            Event::Completed { at: _ } => ("completed", None, None),
            Event::Failed { at: _, error } => ("failed", Some(error.clone()), None),
            Event::CancelRequested { at: _ } => ("cancel_requested", None, None),
            Event::Cancelled { at: _ } => ("cancelled", None, None),
        };
        views.push(EventView { event: name, at: event.at(), attempt: (attempt > 0).then_some(attempt), error, run_at });
    }
    views
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

#[expect(clippy::ref_option, reason = "serde asks for a reference")]
fn maybe_rfc3339<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}
