//! Schedules: jobs that are made again and again.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Serialize;
use shared::schedule::store::{Decision, NotMade, announcement, decide, make_jobs};
use shared::schedule::{Definition, Overlap, Schedule, ScheduleKey, ScheduleName, State as Activity};
use shared::values::chain::Chain;
use shared::values::id::JobId;
use shared::values::json::Json as JsonText;
use shared::values::time::Timestamp;
use utoipa::ToSchema;

use crate::Api;
use crate::http::body::{BodyRead, IdRead, json_body};
use crate::http::caller::Caller;
use crate::http::named::{must_be_new, name_in, page, stored, unknown_cursor};
use crate::http::problem::{Problem, ProblemCode};
use crate::http::request_id::RequestId;
use crate::jobs::accept::IdempotencyKey;
use crate::jobs::accept::announce_all;
use crate::jobs::submit::{AcceptedJob, take_on};
use crate::openapi::JobBody;

/// The routes of this file.
pub fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/schedules", get(list))
        .route("/schedules/{name}", get(show).put(put).delete(remove))
        .route("/schedules/{name}/pause", post(pause))
        .route("/schedules/{name}/resume", post(resume))
        .route("/schedules/{name}/run", post(run))
}

/// What a schedule is to do.
#[derive(ToSchema)]
#[schema(as = NewSchedule, example = json!({
    "cron": "30 9 * * MON-FRI", "time_zone": "Europe/Berlin",
    "job": { "type": "csv-generation", "payload": { "name": "Alice", "score": 95 } }
}))]
#[expect(dead_code, reason = "it describes the body, which `Definition` reads")]
pub struct ScheduleBody {
    /// Minute, hour, day of the month, month, day of the week; or `@hourly`, `@daily` (`@midnight`), `@weekly`,
    /// `@monthly`, `@yearly` (`@annually`).
    #[schema(max_length = 256, example = "30 9 * * MON-FRI")]
    cron: String,
    /// The IANA name of the time zone by whose clocks it runs; `UTC` unless given.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// What becomes of a run while the job of the last one has not ended; `allow` unless given.
    overlap: Option<OverlapName>,
    /// The job of each run, as in `POST /jobs`; without `delay_seconds`, `run_at` and `expires_at`.
    job: JobBody,
}

/// What becomes of a run while the job of the schedule's last run has not ended.
#[derive(ToSchema)]
#[schema(as = Overlap, rename_all = "lowercase")]
#[expect(dead_code, reason = "names for the document")]
pub enum OverlapName {
    /// Its job is made, and the two may run at once.
    Allow,
    /// It is skipped: no job is made for it.
    Skip,
}

/// A schedule. Times are RFC 3339 in UTC.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Schedule)]
pub struct ScheduleView {
    /// What it is called.
    name: String,
    /// When it runs.
    #[schema(example = "30 9 * * MON-FRI")]
    cron: String,
    /// By the clocks of which time zone.
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    /// The job of each run, as it was given.
    #[schema(value_type = Object)]
    job: JsonText,
    /// What becomes of a run while the job of the last one has not ended.
    #[schema(value_type = OverlapName)]
    overlap: Overlap,
    /// Whether it is paused.
    paused: bool,
    /// The next five runs; none while it is paused. Those of a schedule that skips may still be skipped.
    next_runs: Vec<String>,
    /// The latest run whose job has been made, which is up to 90 seconds ahead of its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = RunView)]
    last_run: Option<RunView>,
    /// The runs that were skipped; absent if none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SkippedView)]
    skipped: Option<SkippedView>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When its owner last changed it.
    #[schema(format = DateTime)]
    updated_at: String,
}

/// A schedule in a list: without its job, and with one next run.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScheduleSummary {
    /// What it is called.
    name: String,
    /// When it runs.
    cron: String,
    /// By the clocks of which time zone.
    time_zone: String,
    /// What becomes of a run while the job of the last one has not ended.
    #[schema(value_type = OverlapName)]
    overlap: Overlap,
    /// Whether it is paused.
    paused: bool,
    /// Absent while it is paused.
    #[schema(value_type = String, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    next_run: Option<String>,
    /// The latest run whose job has been made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = RunView)]
    last_run: Option<RunView>,
    /// The runs that were skipped; absent if none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SkippedView)]
    skipped: Option<SkippedView>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When its owner last changed it.
    #[schema(format = DateTime)]
    updated_at: String,
}

/// A run of a schedule.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScheduleRun)]
pub struct RunView {
    /// The time that the schedule names.
    #[schema(format = DateTime)]
    at: String,
    /// Its job, which can be looked at for 30 days after it has ended.
    #[schema(value_type = String, format = "uuid")]
    job_id: JobId,
}

/// The runs of a schedule that were skipped, because the job of the run before had not ended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SkippedRuns)]
pub struct SkippedView {
    /// How many.
    count: u64,
    /// The time of the latest, as the schedule names it.
    #[schema(format = DateTime)]
    last_at: String,
}

/// Some schedules, by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScheduleList {
    /// The schedules.
    schedules: Vec<ScheduleSummary>,
    /// To be given back as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

/// How many of its next runs a schedule shows.
const RUNS_SHOWN: usize = 5;

impl ScheduleView {
    /// What its owner may know of it at `now`.
    fn of(schedule: &Schedule, now: Timestamp) -> Self {
        Self {
            name: schedule.key.name.to_string(),
            cron: schedule.rule.cron().to_owned(),
            time_zone: schedule.rule.time_zone().to_owned(),
            job: schedule.job.clone(),
            overlap: schedule.overlap,
            paused: is_paused(schedule),
            next_runs: schedule.next_runs(now, RUNS_SHOWN).iter().map(Timestamp::to_string).collect(),
            last_run: RunView::latest_of(schedule),
            skipped: SkippedView::of(schedule),
            created_at: schedule.created_at.to_string(),
            updated_at: schedule.updated_at.to_string(),
        }
    }
}

impl ScheduleSummary {
    fn of(schedule: &Schedule, now: Timestamp) -> Self {
        Self {
            name: schedule.key.name.to_string(),
            cron: schedule.rule.cron().to_owned(),
            time_zone: schedule.rule.time_zone().to_owned(),
            overlap: schedule.overlap,
            paused: is_paused(schedule),
            next_run: schedule.next_runs(now, 1).first().map(Timestamp::to_string),
            last_run: RunView::latest_of(schedule),
            skipped: SkippedView::of(schedule),
            created_at: schedule.created_at.to_string(),
            updated_at: schedule.updated_at.to_string(),
        }
    }
}

impl RunView {
    fn latest_of(schedule: &Schedule) -> Option<Self> {
        schedule.last_run.map(|run| Self { at: run.to_string(), job_id: schedule.key.job_id(run) })
    }
}

impl SkippedView {
    fn of(schedule: &Schedule) -> Option<Self> {
        schedule.skips.map(|skips| Self { count: skips.count, last_at: skips.last_at.to_string() })
    }
}

fn is_paused(schedule: &Schedule) -> bool {
    match schedule.state {
        Activity::Active { .. } => false,
        Activity::Paused => true,
    }
}

/// Make or replace a schedule
///
/// The job is checked at once, as if it were submitted. A schedule that is replaced by the same one stays as it is; one
/// that is paused stays paused. Each run makes one job, however often the schedule is changed or made again in the
/// meantime.
#[utoipa::path(put, path = "/schedules/{name}", tag = "schedules", operation_id = "putSchedule", request_body = ScheduleBody,
    params(("name" = String, Path, description = "what it is called", pattern = "^[a-z0-9][a-z0-9-]{0,63}$", example = json!("workday-export")),
           ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is no schedule of this name")),
    responses((status = 201, description = "It is new", body = ScheduleView, headers(("Location" = String))),
              (status = 200, description = "It was there before, and is like this now", body = ScheduleView)))]
pub async fn put(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    name: IdRead,
    headers: HeaderMap,
    body: BodyRead,
) -> Result<Response, Problem> {
    let key = key(&caller, name)?;
    let now = api.clock.now();
    let definition = Definition::parse(&json_body(&headers, body)?, now, api.limits)?;
    if api.schedules.find(&key).await?.is_none() {
        let there = api.schedules.list(&key.tenant, None, MOST_SCHEDULES).await?;
        if there.schedules.len() >= MOST_SCHEDULES {
            let detail = format!("there are {MOST_SCHEDULES} schedules already, which is the most");
            return Err(Problem::new(ProblemCode::LimitReached, detail));
        }
    }
    let must_be_new = must_be_new(&headers);
    let (is_new, schedule) = change(&api, &key, |there| match there {
        None => Ok(Some(Schedule::new(key.clone(), definition.clone(), now))),
        Some(_) if must_be_new => {
            Err(Problem::new(ProblemCode::AlreadyExists, "there is a schedule of this name already"))
        }
        Some(there) => Ok(there.redefined(&definition, now)),
    })
    .await?;
    Ok(stored(is_new, format!("/schedules/{}", key.name), ScheduleView::of(&schedule, now)))
}

/// Look at a schedule
#[utoipa::path(get, path = "/schedules/{name}", tag = "schedules", operation_id = "getSchedule",
    params(("name" = String, Path, description = "what it is called", pattern = "^[a-z0-9][a-z0-9-]{0,63}$", example = json!("workday-export"))),
    responses((status = 200, description = "The schedule and its next five runs", body = ScheduleView)))]
pub async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    name: IdRead,
) -> Result<Json<ScheduleView>, Problem> {
    let schedule = existing(&api, &key(&caller, name)?).await?;
    Ok(Json(ScheduleView::of(&schedule, api.clock.now())))
}

/// List schedules
///
/// By name. A schedule that was made or deleted in the last seconds may be missing.
#[utoipa::path(get, path = "/schedules", tag = "schedules", operation_id = "listSchedules",
    params(("limit" = Option<u32>, Query, description = "how many; 20 unless given", minimum = 1, maximum = 100),
           ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, description = "A page of schedules", body = ScheduleList)))]
pub async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    query: RawQuery,
) -> Result<Json<ScheduleList>, Problem> {
    let (limit, cursor) = page(&query)?;
    let after = cursor.as_deref().map(ScheduleName::parse).transpose().map_err(|_| unknown_cursor())?;
    let page = api.schedules.list(&caller.tenant, after.as_ref(), limit).await?;
    let now = api.clock.now();
    Ok(Json(ScheduleList {
        schedules: page.schedules.iter().map(|schedule| ScheduleSummary::of(schedule, now)).collect(),
        next_cursor: page.next.map(String::from),
    }))
}

/// Delete a schedule
///
/// It makes no further jobs. Those that it has made stay, the one of a run in the next 90 seconds included.
#[utoipa::path(delete, path = "/schedules/{name}", tag = "schedules", operation_id = "deleteSchedule",
    params(("name" = String, Path, description = "what it is called", pattern = "^[a-z0-9][a-z0-9-]{0,63}$", example = json!("workday-export"))),
    responses((status = 204, description = "It is gone")))]
pub async fn remove(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    name: IdRead,
) -> Result<StatusCode, Problem> {
    let key = key(&caller, name)?;
    if !api.schedules.delete(&key).await? {
        return Err(missing());
    }
    tracing::info!(schedule = %key.name, tenant = %key.tenant, "schedule.deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// Pause a schedule
///
/// It makes no further jobs until it is resumed. The one of a run in the next 90 seconds may have been made already.
#[utoipa::path(post, path = "/schedules/{name}/pause", tag = "schedules", operation_id = "pauseSchedule",
    params(("name" = String, Path, description = "what it is called", pattern = "^[a-z0-9][a-z0-9-]{0,63}$", example = json!("workday-export"))),
    responses((status = 200, description = "It is paused", body = ScheduleView)))]
pub async fn pause(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    name: IdRead,
) -> Result<Json<ScheduleView>, Problem> {
    let now = api.clock.now();
    let key = key(&caller, name)?;
    let (_, schedule) = change(&api, &key, |there| Ok(there.ok_or_else(missing)?.paused(now))).await?;
    Ok(Json(ScheduleView::of(&schedule, now)))
}

/// Resume a paused schedule
///
/// It runs from now on. What it would have run in the meantime is not made up for.
#[utoipa::path(post, path = "/schedules/{name}/resume", tag = "schedules", operation_id = "resumeSchedule",
    params(("name" = String, Path, description = "what it is called", pattern = "^[a-z0-9][a-z0-9-]{0,63}$", example = json!("workday-export"))),
    responses((status = 200, description = "It is not paused", body = ScheduleView)))]
pub async fn resume(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    name: IdRead,
) -> Result<Json<ScheduleView>, Problem> {
    let now = api.clock.now();
    let key = key(&caller, name)?;
    let (_, schedule) = change(&api, &key, |there| Ok(there.ok_or_else(missing)?.resumed(now))).await?;
    Ok(Json(ScheduleView::of(&schedule, now)))
}

/// Run a schedule's job now
///
/// One job besides those of its runs, paused or not, and whatever it says of `overlap`. With an `Idempotency-Key`
/// repeating the request is safe.
#[utoipa::path(post, path = "/schedules/{name}/run", tag = "schedules", operation_id = "runSchedule",
    params(("name" = String, Path, description = "what it is called", pattern = "^[a-z0-9][a-z0-9-]{0,63}$", example = json!("workday-export")),
           ("Idempotency-Key" = Option<String>, Header, description = "names this request, so that repeating it makes no second job")),
    responses((status = 202, description = "Accepted; `Location` is where to look at it", body = AcceptedJob,
        headers(("Location" = String)))))]
pub async fn run(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    name: IdRead,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let schedule = existing(&api, &key(&caller, name)?).await?;
    let submission = schedule.submission(api.clock.now())?;
    // A key is this schedule's own: the same one for another is another request.
    let key =
        IdempotencyKey::from_headers(&headers)?.map(|key| key.within(&format!("schedule\n{}", schedule.key.name)));
    take_on(&api, &caller, submission, key.as_ref(), request_id.origin(&headers)).await
}

fn key(caller: &Caller, name: IdRead) -> Result<ScheduleKey, Problem> {
    Ok(ScheduleKey { tenant: caller.tenant.clone(), name: name_in(name)? })
}

async fn existing(api: &Api, key: &ScheduleKey) -> Result<Schedule, Problem> {
    api.schedules.find(key).await?.ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::new(ProblemCode::NotFound, "there is no schedule of this name")
}

/// The most schedules of one tenant, or a few more if several are made at the same moment. All tenants' runs share the
/// sweeper's time.
const MOST_SCHEDULES: usize = 100;

/// How often a change is tried: between its read and its write the sweeper, once a minute, or somebody else may come.
const TRIES: u32 = 5;

/// Reads the schedule, and writes what `next` makes of it, unless that is nothing. Says whether there was none before,
/// and how it is now.
async fn change(
    api: &Api,
    key: &ScheduleKey,
    next: impl Fn(Option<&Schedule>) -> Result<Option<Schedule>, Problem>,
) -> Result<(bool, Schedule), Problem> {
    for _ in 0..TRIES {
        let there = api.schedules.find(key).await?;
        let schedule = match (next(there.as_ref())?, &there) {
            (Some(schedule), _) => schedule,
            (None, Some(there)) => return Ok((false, there.clone())),
            (None, None) => return Err(missing()),
        };
        if api.schedules.put_if_unchanged(&schedule, there.as_ref()).await? {
            let ScheduleKey { tenant, name } = key;
            tracing::info!(schedule = %name, %tenant, paused = is_paused(&schedule), "schedule.stored");
            return Ok((there.is_none(), make_due_jobs(api, schedule).await));
        }
    }
    Err(Problem::new(ProblemCode::ConcurrentChange, "others are changing this schedule; look at it and try again"))
}

/// Makes the jobs of runs that are so near that the next sweep might come too late for them. Where that fails, it is
/// the sweeper's to do: the schedule is stored, and due. Gives the schedule as it is now.
async fn make_due_jobs(api: &Api, schedule: Schedule) -> Schedule {
    match fire(api, &schedule).await {
        Ok(moved_on) => moved_on.unwrap_or(schedule),
        Err(error) => {
            tracing::warn!(schedule = %schedule.key.name, error = %Chain(&error), "schedule.deferred");
            schedule
        }
    }
}

/// Gives the schedule once it has moved on; `None` if there is nothing to be done now.
async fn fire(api: &Api, schedule: &Schedule) -> Result<Option<Schedule>, NotMade> {
    let now = api.clock.now();
    let (schedule, due) = match decide(schedule, &*api.schedules, &*api.store, now).await? {
        Decision::Make { schedule, due } => (schedule, due),
        Decision::Skip { schedule, due, unended } => {
            for run in due.runs {
                tracing::info!(
                    schedule = %schedule.key.name,
                    job.id = %unended,
                    correlation_id = schedule.key.correlation_id(run),
                    "schedule.skipped"
                );
            }
            return Ok(Some(schedule));
        }
        Decision::Wait => return Ok(None),
    };
    let made = make_jobs(&schedule, &due, &*api.store, now).await?;
    let unheard_of: Vec<_> = made.iter().map(|made| &made.job).filter(|job| announcement(job, now).is_some()).collect();
    announce_all(api, &unheard_of).await;
    for made in made.iter().filter(|made| made.is_new) {
        let job = &made.job;
        tracing::info!(
            schedule = %schedule.key.name,
            job.id = %job.id,
            job.r#type = %job.job_type,
            correlation_id = job.correlation_id,
            "schedule.fired"
        );
    }
    let advanced = schedule.advanced(&due);
    let is_stored = api.schedules.put_if_unchanged(&advanced, Some(&schedule)).await?;
    Ok(Some(if is_stored { advanced } else { schedule }))
}
