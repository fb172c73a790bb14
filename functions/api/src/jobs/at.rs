//! A job as it was at some time, made from its history alone.

use serde::Serialize;
use shared::job::event::{Event, Summary, fold};
use shared::job::{Job, Status};
use shared::values::id::JobId;
use shared::values::time::Timestamp;
use utoipa::ToSchema;

use crate::jobs::view::{EventView, JobStatus, history, maybe_rfc3339, rfc3339};

/// What happened to a job; and, with `at`, how it was at that time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobHistory)]
pub struct JobSnapshot {
    /// The job.
    #[schema(value_type = String, format = "uuid")]
    job_id: JobId,
    /// The time.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Where it stood.
    #[schema(value_type = JobStatus)]
    status: Status,
    /// Attempts begun by then.
    attempts: u32,
    /// When it was accepted.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it had last changed.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// When its latest attempt had begun.
    #[serde(serialize_with = "maybe_rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it had ended.
    #[serde(serialize_with = "maybe_rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// Why its latest failed attempt had failed.
    error: Option<String>,
    /// What had happened, oldest first.
    events: Vec<EventView>,
}

impl JobSnapshot {
    /// `job` as it was at `at`. `None` if it was not there yet.
    pub fn of(job: &Job, at: Timestamp) -> Option<Self> {
        let until: Vec<Event> = job.history.iter().take_while(|event| event.at() <= at).cloned().collect();
        let Summary { status, attempts, created_at, updated_at, started_at, finished_at, error, resumes: _ } =
            fold(&until)?;
        let events = history(&until);
        Some(Self {
            job_id: job.id,
            at,
            status,
            attempts,
            created_at,
            updated_at,
            started_at,
            finished_at,
            error,
            events,
        })
    }
}
