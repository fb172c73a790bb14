//! Looking at jobs: one, its history, and lists of them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::{Extension, Json};
use serde::Serialize;
use shared::job::submission::parse_time;
use shared::job::{Job, Status};
use shared::values::id::JobId;
use shared::values::invalid::InvalidField;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::Api;
use crate::http::body::{IdRead, job_id, number, parameters};
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::jobs::at::JobSnapshot;
use crate::jobs::bulk::{Filter, Found, find};
use crate::jobs::view::{EventView, JobSummary, JobView, history};
use crate::openapi::JobTypeName;

/// The longest that a request may wait for a job's end, in seconds. The gateway gives up after 30.
pub const LONGEST_WAIT: u32 = 20;

/// How long to wait between two looks at a job that somebody waits for, at first and at most.
const BETWEEN_LOOKS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Everything about a job
///
/// With `wait` the answer comes as soon as the job has ended, or after so many seconds.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", operation_id = "getJob",
    params(("id" = String, Path, description = "the job's id", format = "uuid"),
           ("wait" = Option<u32>, Query, description = "seconds to wait for its end", minimum = 0, maximum = 20, example = json!(20))),
    responses((status = 200, description = "The job", body = JobView)))]
pub async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    id: IdRead,
    query: RawQuery,
) -> Result<Json<JobView>, Problem> {
    let id = job_id(id)?;
    let [wait] = parameters(&query, ["wait"])?;
    let wait = number("wait", wait.as_deref(), 0, LONGEST_WAIT)?.unwrap_or(0);
    let end = Instant::now() + Duration::from_secs(wait.into());
    let (mut rest, most) = BETWEEN_LOOKS;
    loop {
        let job = find_own(&api, &caller, id).await?;
        let now = Instant::now();
        if job.status().is_terminal() || now >= end {
            return Ok(Json(JobView::of(&job)));
        }
        tokio::time::sleep(rest.min(end - now)).await;
        rest = (rest * 2).min(most);
    }
}

/// The job, if it is the caller's.
pub async fn find_own(api: &Api, caller: &Caller, id: JobId) -> Result<Job, Problem> {
    let found = api.store.find(id).await?;
    found.filter(|job| caller.owns(job)).ok_or_else(Problem::no_such_job)
}

/// A job's history
///
/// With `at` the job as it was at that time, made from the events until then.
#[utoipa::path(get, path = "/jobs/{id}/events", tag = "jobs", operation_id = "getJobHistory",
    params(("id" = String, Path, description = "the job's id", format = "uuid"),
           ("at" = Option<String>, Query, description = "a time in RFC 3339", format = DateTime)),
    responses((status = 200, description = "What happened, oldest first", body = JobSnapshot)))]
pub async fn events(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    id: IdRead,
    query: RawQuery,
) -> Result<Json<JobHistory>, Problem> {
    let id = job_id(id)?;
    let [at] = parameters(&query, ["at"])?;
    let at = at.map(|text| parse_time("at", &text)).transpose()?;
    let job = find_own(&api, &caller, id).await?;
    Ok(Json(match at {
        None => JobHistory::Whole(WholeHistory { job_id: id, events: history(&job.history) }),
        Some(at) => JobHistory::Until(JobSnapshot::of(&job, at).ok_or_else(Problem::no_such_job)?),
    }))
}

/// All of a job's history, or the job as it was at a time.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum JobHistory {
    /// Without `at`.
    Whole(WholeHistory),
    /// With `at`.
    Until(JobSnapshot),
}

/// A job's history.
#[derive(Debug, Serialize)]
pub struct WholeHistory {
    /// The job.
    job_id: JobId,
    /// What happened, oldest first.
    events: Vec<EventView>,
}

/// Some jobs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobList {
    /// The jobs.
    jobs: Vec<JobSummary>,
    /// To be given as `cursor` for the next page; null if this is the last. A page may hold fewer jobs than asked for, even
    /// none, though others follow.
    next_cursor: Option<String>,
}

/// The most jobs of one page.
const LONGEST_PAGE: u32 = 100;

/// List jobs, newest first
///
/// Failures are found without reading any other job. A job that was accepted or has changed in the last second or two may
/// be missing; `GET /jobs/{id}` is never behind.
#[utoipa::path(get, path = "/jobs", tag = "jobs", operation_id = "listJobs",
    params(("status" = Option<String>, Query, description = "only with this status, or with one of several: `failed,cancelled`",
                pattern = "^(pending|processing|completed|failed|cancelled)(,(pending|processing|completed|failed|cancelled))*$"),
           ("type" = Option<JobTypeName>, Query, description = "only of this type"),
           ("tag" = Option<String>, Query, description = "only with this tag"),
           ("created_after" = Option<String>, Query, description = "only accepted after this time, in RFC 3339", format = DateTime),
           ("created_before" = Option<String>, Query, description = "only accepted before this time, in RFC 3339", format = DateTime),
           ("limit" = Option<u32>, Query, description = "how many at most; 20 unless given", minimum = 1, maximum = 100),
           ("cursor" = Option<String>, Query, description = "where an earlier page ended: its `next_cursor`")),
    responses((status = 200, description = "The jobs", body = JobList)))]
pub async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    query: RawQuery,
) -> Result<Json<JobList>, Problem> {
    let known = ["status", "type", "tag", "created_after", "created_before", "limit", "cursor"];
    let [status, job_type, tag, created_after, created_before, limit, cursor] = parameters(&query, known)?;
    let limit = number("limit", limit.as_deref(), 1, LONGEST_PAGE)?.unwrap_or(20);
    let statuses = status.iter().flat_map(|names| names.split(','));
    let filter = Filter {
        statuses: statuses.map(|name| Filter::status("status", name, &Status::ALL)).collect::<Result<_, _>>()?,
        job_type: job_type.map(|name| Filter::type_name("type", &name)).transpose()?,
        tag,
        created_after: created_after.map(|text| parse_time("created_after", &text)).transpose()?,
        created_before: created_before.map(|text| parse_time("created_before", &text)).transpose()?,
    };
    let cursor = cursor.map(|text| crate::jobs::bulk::read_cursor(&text)).transpose()?;
    let limit = usize::try_from(limit).map_err(|error| InvalidField::new("limit", error.to_string()))?;
    let Found { jobs, next } = find(&api, &caller, &filter, cursor, limit).await?;
    let jobs = jobs.iter().map(JobSummary::of).collect();
    Ok(Json(JobList { jobs, next_cursor: next.as_ref().map(crate::jobs::bulk::write_cursor) }))
}
