//! Acting on one job.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use shared::job::event::Event;
use shared::job::submission::{Attempts, DelaySeconds, parse_start};
use shared::job::transition::{Change, Refusal};
use shared::job::{Job, State as JobState, Status};
use shared::ports::{Changed, StoreError};
use shared::values::id::JobId;
use shared::values::invalid::InvalidField;
use shared::values::json::Whole;
use shared::values::time::Timestamp;
use shared_aws::telemetry::about;
use utoipa::ToSchema;

use crate::Api;
use crate::http::body::{BodyRead, IdRead, job_id, object};
use crate::http::caller::Caller;
use crate::http::problem::{Problem, ProblemCode};
use crate::jobs::accept::announce;
use crate::jobs::show::find_own;
use crate::jobs::view::{JobStatus, maybe_rfc3339};

/// What has become of a job that somebody acted on.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobActionResult {
    /// The job.
    #[schema(value_type = String, format = "uuid")]
    job_id: JobId,
    /// Where it stands now.
    #[schema(value_type = JobStatus)]
    status: Status,
    /// Whether it runs, and will be cancelled unless this attempt completes it.
    cancel_requested: bool,
    /// When it may start, if it waits.
    #[serde(serialize_with = "maybe_rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    run_at: Option<Timestamp>,
}

impl JobActionResult {
    fn on(job: &Job) -> Self {
        let (cancel_requested, run_at) = match job.state {
            JobState::Pending { not_before, .. } => (false, Some(not_before)),
            JobState::Processing { cancel_requested, .. } => (cancel_requested, None),
            JobState::Completed { .. } | JobState::Failed { .. } | JobState::Cancelled { .. } => (false, None),
        };
        Self { job_id: job.id, status: job.status(), cancel_requested, run_at }
    }
}

/// Cancel a job
///
/// A waiting job is cancelled at once. A running one is asked to be: this attempt may still complete it, and no other
/// follows. To repeat the request is safe.
#[utoipa::path(post, path = "/jobs/{id}/cancel", tag = "jobs", operation_id = "cancelJob",
    params(("id" = String, Path, description = "the job's id", format = "uuid")),
    responses((status = 200, description = "It is cancelled", body = JobActionResult),
              (status = 202, description = "It is running, and has been asked to be cancelled", body = JobActionResult),
              (status = 409, description = "It has completed or failed", body = Problem, content_type = "application/problem+json")))]
pub async fn cancel(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    id: IdRead,
) -> Result<Response, Problem> {
    let job = find_own(&api, &caller, job_id(id)?).await?;
    match cancel_job(&api, &job).await? {
        Cancelled::Yes(job) => Ok((StatusCode::OK, Json(JobActionResult::on(&job))).into_response()),
        Cancelled::AskedFor(job) => Ok((StatusCode::ACCEPTED, Json(JobActionResult::on(&job))).into_response()),
        Cancelled::TooLate(job) => Err(wrong_status(&format!("the job is {}", job.status()))),
    }
}

/// What came of cancelling a job.
pub enum Cancelled {
    /// It is cancelled, now or before.
    Yes(Box<Job>),
    /// It runs, and has been asked to be cancelled.
    AskedFor(Box<Job>),
    /// It has completed or failed.
    TooLate(Box<Job>),
}

/// How often a change is tried while the job goes back and forth between waiting and running.
const TRIES: usize = 5;

/// Cancels a job, whether it waits or runs.
pub async fn cancel_job(api: &Api, job: &Job) -> Result<Cancelled, StoreError> {
    let mut seen = Box::new(job.clone());
    for _ in 0..TRIES {
        let now = api.clock.now();
        let change = match seen.state {
            JobState::Pending { .. } => Change::CancelPending { now },
            JobState::Processing { .. } => Change::RequestCancel { now },
            JobState::Cancelled { .. } => return Ok(Cancelled::Yes(seen)),
            JobState::Completed { .. } | JobState::Failed { .. } => return Ok(Cancelled::TooLate(seen)),
        };
        match api.store.change_if_allowed(job.id, &change).await? {
            Changed::Applied(job) | Changed::Refused(Refusal::AlreadyApplied, job) => {
                about(&job).in_scope(|| tracing::info!(outcome = %job.status(), "job.cancel_asked"));
                return Ok(match job.status() {
                    Status::Cancelled => Cancelled::Yes(job),
                    Status::Pending | Status::Processing => Cancelled::AskedFor(job),
                    Status::Completed | Status::Failed => Cancelled::TooLate(job),
                });
            }
            // It has moved on in this very moment: as it is now.
            Changed::Refused(_, there) => seen = there,
            Changed::Missing => break,
        }
    }
    Err(StoreError::Unavailable("the job changes faster than it can be cancelled".into()))
}

/// How many attempts a job gets that is tried again.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = RetryOptions, example = json!({ "max_attempts": 3 }))]
#[serde(deny_unknown_fields)]
pub struct RetryBody {
    /// Further attempts, 1 to 10; 3 unless given.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 10)]
    max_attempts: Option<Attempts>,
}

/// Further attempts of a job that is tried again, unless said otherwise.
pub const MORE_ATTEMPTS: u32 = 3;

/// Try a failed or cancelled job again
///
/// The same job: its id, its history, and its files' names stay, and further attempts are allowed. To repeat the request is
/// safe: a job that is on its way again already is left as it is.
#[utoipa::path(post, path = "/jobs/{id}/retry", tag = "jobs", operation_id = "retryJob", request_body(content = Option<RetryBody>),
    params(("id" = String, Path, description = "the job's id", format = "uuid")),
    responses((status = 202, description = "It is on its way again", body = JobActionResult),
              (status = 409, description = "It has completed, or has not ended yet", body = Problem, content_type = "application/problem+json")))]
pub async fn retry(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    id: IdRead,
    headers: HeaderMap,
    body: BodyRead,
) -> Result<Response, Problem> {
    let id = job_id(id)?;
    let RetryBody { max_attempts } = object(&headers, body, true)?;
    let more_attempts = max_attempts.map_or(MORE_ATTEMPTS, Whole::get);
    let job = find_own(&api, &caller, id).await?;
    match redrive(&api, &job, api.clock.now(), more_attempts).await? {
        Redriven::Yes(job) => Ok((StatusCode::ACCEPTED, Json(JobActionResult::on(&job))).into_response()),
        Redriven::OfNewerVersion => Err(wrong_status(OF_NEWER_VERSION)),
        Redriven::TooOften => Err(limit_reached("the job has been tried too often; submit its work as a new one")),
        Redriven::No(job) => Err(wrong_status(&format!(
            "the job is {}; only a failed or cancelled one can be tried again",
            job.status()
        ))),
    }
}

/// What came of trying a job again.
pub enum Redriven {
    /// It is on its way, now or since an earlier request.
    Yes(Box<Job>),
    /// It has had so many attempts, or so much has happened to it, that its history has no room for more.
    TooOften,
    /// A newer build wrote it.
    OfNewerVersion,
    /// It has completed, or has not ended yet.
    No(Box<Job>),
}

/// Tries a job again that has failed or was cancelled, from `not_before` on: changed first, announced second. If this
/// process dies in between, the sweeper announces it.
pub async fn redrive(api: &Api, job: &Job, not_before: Timestamp, more_attempts: u32) -> Result<Redriven, StoreError> {
    let now = api.clock.now();
    let change = Change::Redrive { now, not_before, more_attempts, tenant: job.tenant.clone() };
    match api.store.change_if_allowed(job.id, &change).await? {
        Changed::Applied(job) => {
            let announced = announce(api, &job).await;
            about(&job).in_scope(|| tracing::info!(announced, "job.redriven"));
            Ok(Redriven::Yes(job))
        }
        Changed::Refused(Refusal::MovedOn, there) if is_redriven(&there) => Ok(Redriven::Yes(there)),
        Changed::Refused(Refusal::HistoryFull, _) => Ok(Redriven::TooOften),
        Changed::Refused(Refusal::NewerFormat, _) => Ok(Redriven::OfNewerVersion),
        Changed::Refused(_, there) => Ok(Redriven::No(there)),
        Changed::Missing => Ok(Redriven::No(Box::new(job.clone()))),
    }
}

/// Whether the job is on its way again.
fn is_redriven(job: &Job) -> bool {
    job.history.iter().any(|event| matches!(event, Event::Redriven { .. }))
}

/// When a waiting job shall start: one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewStart, example = json!({ "delay_seconds": 600 }))]
#[serde(deny_unknown_fields)]
pub struct RescheduleBody {
    /// So many seconds from now.
    #[schema(maximum = 31_622_400)]
    #[schema(value_type = Option<u32>)]
    delay_seconds: Option<DelaySeconds>,
    /// At this time.
    #[schema(format = DateTime)]
    run_at: Option<String>,
}

/// Give a waiting job another time to start
#[utoipa::path(post, path = "/jobs/{id}/reschedule", tag = "jobs", operation_id = "rescheduleJob", request_body = RescheduleBody,
    params(("id" = String, Path, description = "the job's id", format = "uuid")),
    responses((status = 200, description = "It starts then", body = JobActionResult),
              (status = 409, description = "It does not wait", body = Problem, content_type = "application/problem+json")))]
pub async fn reschedule(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    id: IdRead,
    headers: HeaderMap,
    body: BodyRead,
) -> Result<Json<JobActionResult>, Problem> {
    let id = job_id(id)?;
    let RescheduleBody { delay_seconds, run_at } = object(&headers, body, false)?;
    let now = api.clock.now();
    let not_before = parse_start(delay_seconds, run_at.as_deref(), now)?;
    let job = find_own(&api, &caller, id).await?;
    if job.expires_at.is_some_and(|expires_at| not_before >= expires_at) {
        return Err(InvalidField::new("run_at", "must be earlier than the time at which the job expires").into());
    }
    match api.store.change_if_allowed(id, &Change::Reschedule { now, not_before }).await? {
        Changed::Applied(job) => {
            // Its old message comes at the old time; if that is too early, the worker leaves it until the new one.
            let announced = announce(&api, &job).await;
            about(&job).in_scope(|| tracing::info!(announced, "job.rescheduled"));
            Ok(Json(JobActionResult::on(&job)))
        }
        Changed::Refused(Refusal::HistoryFull, _) => Err(limit_reached("the job has been rescheduled too often")),
        Changed::Refused(Refusal::NewerFormat, _) => Err(wrong_status(OF_NEWER_VERSION)),
        Changed::Refused(_, there) => Err(wrong_status(&format!("the job is {}", there.status()))),
        Changed::Missing => Err(Problem::no_such_job()),
    }
}

fn wrong_status(detail: &str) -> Problem {
    Problem::new(ProblemCode::WrongStatus, detail)
}

/// Why a job cannot be changed here.
const OF_NEWER_VERSION: &str = "a newer version of Dray wrote the job: only that version can change it";

/// A job's history has room for so much and no more.
fn limit_reached(detail: &str) -> Problem {
    Problem::new(ProblemCode::LimitReached, detail)
}
