//! Why a job is not running, in words.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use serde::Serialize;
use shared::job::event::Event;
use shared::job::transition::has_expired;
use shared::job::{FORMAT, HeldBack, Job, State as JobState, Status};
use shared::values::id::JobId;
use shared::values::time::Timestamp;
use utoipa::ToSchema;

use crate::Api;
use crate::http::body::{IdRead, job_id};
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::jobs::show::find_own;
use crate::jobs::view::{JobStatus, maybe_rfc3339};
use crate::service::stall;

/// Why a job is where it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobExplanation {
    /// The job.
    #[schema(value_type = String, format = "uuid")]
    job_id: JobId,
    /// Where it stands.
    #[schema(value_type = JobStatus)]
    status: Status,
    /// One word for it.
    reason: Reason,
    /// A sentence for it.
    detail: String,
    /// Until when this lasts, if that is known.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    until: Option<Timestamp>,
    /// How many messages wait in the queue, roughly, before or behind this job's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = usize)]
    waiting_messages: Option<usize>,
}

/// The reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = StatusReason)]
#[serde(rename_all = "snake_case")]
enum Reason {
    /// Somebody has stopped the starting of jobs.
    Paused,
    /// It is to be started later.
    Delayed,
    /// An attempt has failed, and the next one comes later.
    Backoff,
    /// It waits for a worker.
    Queued,
    /// It waits for a worker to go on.
    Continuing,
    /// No worker that came upon it can run it.
    HeldBack,
    /// A newer version of Dray wrote it: it waits for a worker of that version.
    NewerVersion,
    /// An attempt is running.
    Running,
    /// Its worker died, and nobody has noticed yet.
    WorkerDied,
    /// It has expired, and nobody has noticed yet.
    Expired,
    /// It has ended.
    Ended,
}

/// Why a job is not running
#[utoipa::path(get, path = "/jobs/{id}/why", tag = "jobs", operation_id = "explainJob",
    params(("id" = String, Path, description = "the job's id", format = "uuid")),
    responses((status = 200, description = "Why", body = JobExplanation)))]
pub async fn why(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    id: IdRead,
) -> Result<Json<JobExplanation>, Problem> {
    let job = find_own(&api, &caller, job_id(id)?).await?;
    let paused = !job.status().is_terminal() && api.switch.is_paused().await?;
    let now = api.clock.now();
    let (reason, mut detail, until) = reason_of(&job, paused, now);
    // Who waits may want to know for how many others, and whether anybody works; if neither can be had, the rest is true
    // all the same.
    let waiting_messages = match reason {
        Reason::Queued | Reason::Continuing => {
            let waited = job.ready_since().map_or(Duration::ZERO, |since| now.since(since));
            if let Ok(Some(idle)) = stall::of_the_workers(api.counters.as_ref(), waited, now).await {
                detail = format!("{detail}; but it {idle}");
            }
            api.queue.waiting().await.ok()
        }
        Reason::Paused | Reason::Delayed | Reason::Backoff | Reason::Running => None,
        Reason::WorkerDied | Reason::HeldBack | Reason::NewerVersion | Reason::Expired | Reason::Ended => None,
    };
    Ok(Json(JobExplanation { job_id: job.id, status: job.status(), reason, detail, until, waiting_messages }))
}

fn reason_of(job: &Job, paused: bool, now: Timestamp) -> (Reason, String, Option<Timestamp>) {
    let Job { attempts, max_attempts, .. } = job;
    match job.state {
        JobState::Completed { .. } | JobState::Failed { .. } | JobState::Cancelled { .. } => {
            let how = match &job.error {
                Some(error) => format!("it is {}: {error}", job.status()),
                None => format!("it is {}", job.status()),
            };
            (Reason::Ended, how, None)
        }
        JobState::Processing { lease_until, .. } if lease_until >= now => {
            let detail = format!("attempt {attempts} of {max_attempts} is running, and has it to itself until then");
            (Reason::Running, detail, Some(lease_until))
        }
        JobState::Pending { not_before, .. } if not_before > now && job.format > FORMAT => delayed(not_before),
        _ if job.format > FORMAT => {
            let detail = format!(
                "a newer version of Dray wrote it, in format {}, and this one knows {FORMAT}: it waits for that version",
                job.format
            );
            (Reason::NewerVersion, detail, None)
        }
        JobState::Processing { cancel_requested, .. } => match &job.held_back {
            Some(by) if !cancel_requested && !has_expired(job, now) => held_back(job, by),
            Some(_) | None => {
                let detail = format!(
                    "attempt {attempts} of {max_attempts} left no word; within two minutes or so the sweeper sees to it"
                );
                (Reason::WorkerDied, detail, None)
            }
        },
        JobState::Pending { .. } if has_expired(job, now) => {
            (Reason::Expired, "it expired before it could be started, and will be cancelled".to_owned(), None)
        }
        JobState::Pending { .. } if paused => {
            (Reason::Paused, "the starting of jobs is paused for the whole queue".to_owned(), None)
        }
        JobState::Pending { not_before, .. } if not_before > now => match job.history.last() {
            Some(Event::Retrying { error, .. }) => {
                let detail = format!("attempt {attempts} of {max_attempts} failed ({error}); the next comes then");
                (Reason::Backoff, detail, Some(not_before))
            }
            Some(_) | None => delayed(not_before),
        },
        JobState::Pending { resumes, .. } => match &job.held_back {
            Some(by) => held_back(job, by),
            None if resumes => {
                let detail = format!("attempt {attempts} of {max_attempts} goes on as soon as a worker is free");
                (Reason::Continuing, detail, None)
            }
            None => (Reason::Queued, "it is ready, and starts as soon as a worker is free".to_owned(), None),
        },
    }
}

fn delayed(until: Timestamp) -> (Reason, String, Option<Timestamp>) {
    (Reason::Delayed, "it is to be started then".to_owned(), Some(until))
}

fn held_back(job: &Job, by: &HeldBack) -> (Reason, String, Option<Timestamp>) {
    let (until, end) = match job.expires_at {
        Some(expires_at) if expires_at < by.until() => (expires_at, "is cancelled"),
        Some(_) | None => (by.until(), "fails"),
    };
    let detail = format!("no worker can run it: {}; if none comes that can, it {end} then", by.reason);
    (Reason::HeldBack, detail, Some(until))
}
