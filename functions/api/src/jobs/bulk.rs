//! Finding jobs by what they are, and acting on all that are found.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use shared::job::submission::parse_time;
use shared::job::{Job, Status};
use shared::job_type::JobType;
use shared::ports::{Cursor, Lane, ListQuery, StoreError};
use shared::values::chain::Chain;
use shared::values::invalid::InvalidField;
use shared::values::json::{Whole, null_is_absent};
use shared::values::time::Timestamp;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::Api;
use crate::http::body::{BodyRead, object};
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::jobs::cancel::{Cancelled, MORE_ATTEMPTS, Redriven, cancel_job, redrive};

/// What jobs are looked for. What is not said does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// One of these.
    pub statuses: Vec<Status>,
    /// Of this type.
    pub job_type: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// Accepted after this.
    pub created_after: Option<Timestamp>,
    /// Accepted before this.
    pub created_before: Option<Timestamp>,
}

impl Filter {
    /// The one of the statuses `possible` that `name`, which stands in `field`, means.
    pub fn status(field: &str, name: &str, possible: &[Status]) -> Result<Status, InvalidField> {
        let found = possible.iter().find(|status| status.as_str() == name);
        let names: Vec<_> = possible.iter().map(|status| status.as_str()).collect();
        found.copied().ok_or_else(|| InvalidField::new(field, format!("must be one of {}", names.join(", "))))
    }

    /// The name that jobs of the type `name`, which stands in `field`, are stored under.
    pub fn type_name(field: &str, name: &str) -> Result<String, InvalidField> {
        let known = JobType::named(name).ok_or_else(|| JobType::unknown(field))?;
        Ok(known.policy().name.to_owned())
    }

    fn fits(&self, job: &Job) -> bool {
        let status = self.statuses.is_empty() || self.statuses.contains(&job.status());
        let job_type = self.job_type.as_ref().is_none_or(|name| name == job.job_type.as_str());
        let tag = self.tag.as_ref().is_none_or(|text| job.tags.iter().any(|tag| tag.as_str() == text));
        // The second for whoever gives a cursor of another list.
        let after = self.created_after.is_none_or(|time| job.created_at > time);
        let before = self.created_before.is_none_or(|time| job.created_at < time);
        status && job_type && tag && after && before
    }

    /// Whether it leaves out some of the jobs of its lane.
    fn picks(&self) -> bool {
        let by_status = !self.statuses.is_empty() && self.lane() == Lane::All;
        by_status || self.job_type.is_some() || self.tag.is_some()
    }

    fn lane(&self) -> Lane {
        if self.statuses == [Status::Failed] { Lane::Failed } else { Lane::All }
    }
}

/// Some jobs that fit a filter.
pub struct Found {
    /// The jobs, newest first.
    pub jobs: Vec<Job>,
    /// Where to look on; `None` if there are no others.
    pub next: Option<Cursor>,
}

/// How many jobs are looked at in one go where only some of them fit.
const LOOKED_AT_A_TIME: usize = 100;

/// How many times that is done for one page. If few jobs fit, the page is short, and the next one goes on.
const MOST_LOOKS: usize = 10;

/// Up to `limit` of the caller's jobs that fit `filter`, from `cursor` on.
pub async fn find(
    api: &Api,
    caller: &Caller,
    filter: &Filter,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<Found, StoreError> {
    let before = cursor.or_else(|| filter.created_before.map(Cursor::before));
    let page = if filter.picks() { LOOKED_AT_A_TIME } else { limit };
    let mut query = ListQuery { tenant: caller.tenant.clone(), lane: filter.lane(), before, limit: page };
    let mut jobs = vec![];
    for _ in 0..MOST_LOOKS {
        let page = api.store.list(&query).await?;
        for job in page.jobs {
            if filter.created_after.is_some_and(|time| job.created_at <= time) {
                return Ok(Found { jobs, next: None });
            }
            if filter.fits(&job) {
                jobs.push(job);
            }
            if jobs.len() == limit {
                let next = jobs.last().map(Cursor::after);
                return Ok(Found { jobs, next });
            }
        }
        query.before = page.next;
        if query.before.is_none() {
            break;
        }
    }
    Ok(Found { jobs, next: query.before })
}

/// A cursor as clients see it: nothing that they could read anything into.
pub fn write_cursor(cursor: &Cursor) -> String {
    hex::encode(cursor.as_str())
}

/// The cursor that a client gives back.
pub fn read_cursor(text: &str) -> Result<Cursor, InvalidField> {
    let decoded = hex::decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let fits = |text: &String| (13..=64).contains(&text.len()) && text.is_ascii();
    let invalid = || InvalidField::new("cursor", "must be the `next_cursor` of an earlier answer");
    decoded.filter(fits).map(|text| Cursor::at(&text)).ok_or_else(invalid)
}

/// What to do, and to which jobs.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = BulkCancel, example = json!({ "filter": { "tag": "march" }, "dry_run": true }))]
#[serde(deny_unknown_fields)]
pub struct BulkBody {
    /// Which jobs. Something must be said.
    filter: FilterBody,
    /// Only count them; nothing is done.
    #[serde(default, deserialize_with = "null_is_absent")]
    #[schema(value_type = Option<bool>)]
    dry_run: bool,
    /// How many jobs at most, 1 to 100; 100 unless given.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<Whole<1, 100>>,
    /// Where an earlier answer ended: its `next_cursor`.
    cursor: Option<String>,
    /// To retry: how many jobs of this request may start in a second, 1 to 1000. Unless given, all at once. The next page
    /// counts anew: ask for it when this one has started.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    per_second: Option<Whole<1, 1000>>,
}

/// Which jobs. What is not said does not matter.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CancelFilter)]
#[serde(deny_unknown_fields)]
struct FilterBody {
    /// With this status.
    #[schema(value_type = Option<crate::jobs::view::JobStatus>)]
    status: Option<String>,
    /// Of this type.
    #[serde(rename = "type")]
    #[schema(value_type = Option<crate::openapi::JobTypeName>)]
    job_type: Option<String>,
    /// With this tag.
    tag: Option<String>,
    /// Accepted after this time.
    #[schema(format = DateTime)]
    created_after: Option<String>,
    /// Accepted before this time.
    #[schema(format = DateTime)]
    created_before: Option<String>,
}

/// How long one request goes on changing jobs. What is left is for the next one, by its cursor.
const TIME_TO_ACT: Duration = Duration::from_secs(15);

/// What was done.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkResult {
    /// Whether nothing was done and the jobs only counted.
    dry_run: bool,
    /// How many jobs of this page fit the filter.
    matched: usize,
    /// How many were changed.
    changed: usize,
    /// How many had moved on in the meantime, or cannot be changed any more.
    skipped: usize,
    /// To be given as `cursor` for the next jobs; null if there are no others.
    next_cursor: Option<String>,
}

/// Cancel all jobs that fit a filter
///
/// Waiting jobs are cancelled, running ones asked to be. A page at a time: repeat it with `next_cursor` until that is null.
#[utoipa::path(post, path = "/jobs/cancel", tag = "jobs", operation_id = "cancelJobs", request_body = BulkBody,
    responses((status = 200, description = "What was done", body = BulkResult)))]
pub async fn cancel_many(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: BodyRead,
) -> Result<Json<BulkResult>, Problem> {
    let body: BulkBody = object(&headers, body, false)?;
    if body.per_second.is_some() {
        return Err(InvalidField::new("per_second", "is only for retrying").into());
    }
    let plan = Plan::read(body, &[Status::Pending, Status::Processing], &[Status::Pending, Status::Processing])?;
    let found = find(&api, &caller, &plan.filter, plan.cursor.clone(), plan.limit).await?;
    let mut answer = plan.answer(&found);
    let end = Instant::now() + TIME_TO_ACT;
    for job in found.jobs.iter().filter(|_| !plan.dry_run) {
        if Instant::now() >= end {
            answer.next_cursor = Some(write_cursor(&Cursor::just_before(job)));
            break;
        }
        match passed_over(job, cancel_job(&api, job).await)? {
            Some(Cancelled::Yes(_) | Cancelled::AskedFor(_)) => answer.changed += 1,
            Some(Cancelled::TooLate(_)) | None => answer.skipped += 1,
        }
    }
    Ok(Json(answer))
}

/// Try all failed jobs that fit a filter again
///
/// Cancelled ones too, if the filter says so. A page at a time: repeat it with `next_cursor` until that is null.
#[utoipa::path(post, path = "/jobs/retry", tag = "jobs", operation_id = "retryJobs", request_body = BulkBody,
    responses((status = 200, description = "What was done", body = BulkResult)))]
pub async fn retry_many(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: BodyRead,
) -> Result<Json<BulkResult>, Problem> {
    let body: BulkBody = object(&headers, body, false)?;
    let per_second = body.per_second.map(Whole::get);
    let plan = Plan::read(body, &[Status::Failed, Status::Cancelled], &[Status::Failed])?;
    let found = find(&api, &caller, &plan.filter, plan.cursor.clone(), plan.limit).await?;
    let mut answer = plan.answer(&found);
    let (now, end) = (api.clock.now(), Instant::now() + TIME_TO_ACT);
    for (number, job) in (0_u32..).zip(found.jobs.iter().filter(|_| !plan.dry_run)) {
        if Instant::now() >= end {
            answer.next_cursor = Some(write_cursor(&Cursor::just_before(job)));
            break;
        }
        let wait = per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) * number / rate);
        match passed_over(job, redrive(&api, job, now + wait, MORE_ATTEMPTS).await)? {
            Some(Redriven::Yes(_)) => answer.changed += 1,
            Some(Redriven::No(_) | Redriven::TooOften | Redriven::OfNewerVersion) | None => answer.skipped += 1,
        }
    }
    Ok(Json(answer))
}

/// A job that the table refuses to change, now and later, must not keep the request from the others: it is skipped.
fn passed_over<T>(job: &Job, outcome: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match outcome {
        Ok(outcome) => Ok(Some(outcome)),
        Err(error) if error.retryable() => Err(error),
        Err(error) => {
            tracing::error!(job.id = %job.id, correlation_id = job.correlation_id, error = %Chain(&error), "job.not_changed");
            Ok(None)
        }
    }
}

/// What a request asks for, checked.
struct Plan {
    filter: Filter,
    dry_run: bool,
    limit: usize,
    cursor: Option<Cursor>,
}

impl Plan {
    /// What is done can be done to jobs with one of the statuses `possible`. Unless the filter names one, those in
    /// `unless_said` are meant.
    fn read(body: BulkBody, possible: &[Status], unless_said: &[Status]) -> Result<Self, InvalidField> {
        let BulkBody { filter, dry_run, limit, cursor, per_second: _ } = body;
        let FilterBody { status, job_type, tag, created_after, created_before } = filter;
        let said = [&status, &job_type, &tag, &created_after, &created_before].iter().any(|field| field.is_some());
        if !said {
            return Err(InvalidField::new("filter", "must say something, so that nobody means all jobs by accident"));
        }
        let time = |field: &str, text: Option<String>| text.map(|text| parse_time(field, &text)).transpose();
        let statuses = match status {
            Some(name) => vec![Filter::status("filter.status", &name, possible)?],
            None => unless_said.to_vec(),
        };
        let limit = limit.map_or(100, Whole::get);
        Ok(Self {
            filter: Filter {
                statuses,
                job_type: job_type.map(|name| Filter::type_name("filter.type", &name)).transpose()?,
                tag,
                created_after: time("filter.created_after", created_after)?,
                created_before: time("filter.created_before", created_before)?,
            },
            dry_run,
            limit: usize::try_from(limit).map_err(|error| InvalidField::new("limit", error.to_string()))?,
            cursor: cursor.map(|text| read_cursor(&text)).transpose()?,
        })
    }

    fn answer(&self, found: &Found) -> BulkResult {
        let next_cursor = found.next.as_ref().map(write_cursor);
        BulkResult { dry_run: self.dry_run, matched: found.jobs.len(), changed: 0, skipped: 0, next_cursor }
    }
}
