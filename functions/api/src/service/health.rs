//! How the deployment is: whether table and queues can be reached, what jobs did, and how many wait.
//!
//! Everybody may ask, known or not, so the answer is careful in two ways. Where callers are told apart it has no
//! figures: the sum over all tenants is the business of each of them, and `/metrics` has it for whoever may know. And
//! however often somebody asks, a process looks once in [`FRESH`] at most: an open route is no lever on the table.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Serialize;
use shared::counters::Counts;
use shared::job::Job;
use shared::ports::StoreError;
use shared::values::chain::Chain;
use shared::values::time::Timestamp;
use shared_aws::settings::AuthMode;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};
use utoipa::ToSchema;

use crate::Api;
use crate::http::problem::{Problem, ProblemCode};
use crate::jobs::view::rfc3339;
use crate::service::stall;

/// How long one look may take. All begin at once, so this is how long the slowest answer takes, and some milliseconds.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How long what was seen is told again without another look.
const FRESH: Duration = Duration::from_secs(1);

/// How far ahead dues are looked at for the job that has waited longest: the sweeper puts no waiting job off for longer.
const LOOK_AHEAD: Duration = Duration::from_secs(900);

/// At how many jobs.
const LOOKED_AT: usize = 25;

/// The routes of this file, in a process that began at `started_at`.
pub fn routes(started_at: Timestamp) -> Router<Arc<Api>> {
    let watch = Arc::new(Watch { started_at, latest: Mutex::default() });
    let routes = Router::new().route("/health", get(show)).route("/api/health", get(show_below_api));
    routes.route_layer(Extension(watch))
}

/// Check whether the deployment is well
///
/// 503 if the table or a queue cannot be reached; it says which. `stalled` if jobs wait and no worker starts any. The answer
/// comes within 2 s. Figures are over all tenants, and only in an API that lets everybody in: others have them in
/// `/metrics`.
#[utoipa::path(get, path = "/health", tag = "service", operation_id = "getHealth",
    responses((status = 200, description = "All can be reached", body = Health),
              (status = 503, description = "Something cannot be reached", body = HealthProblem, content_type = "application/problem+json")))]
pub async fn show(State(api): State<Arc<Api>>, Extension(watch): Extension<Arc<Watch>>) -> Response {
    watch.tell(&api).await
}

/// Check whether the deployment is well, at the path below `/api`
///
/// As `GET /health`.
#[utoipa::path(get, path = "/api/health", tag = "service", operation_id = "getApiHealth",
    responses((status = 200, description = "All can be reached", body = Health),
              (status = 503, description = "Something cannot be reached", body = HealthProblem, content_type = "application/problem+json")))]
pub async fn show_below_api(State(api): State<Arc<Api>>, Extension(watch): Extension<Arc<Watch>>) -> Response {
    watch.tell(&api).await
}

/// How the deployment is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Whether the table and the queues can be reached, and jobs are started.
    status: StatusSummary,
    /// What is the matter if jobs are not started. Not looked up if callers are told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    warning: Option<String>,
    /// The version of the deployed code.
    version: &'static str,
    /// The process that answers.
    function: FunctionHealth,
    /// The table.
    table: TableHealth,
    /// The queue.
    queue: QueueHealth,
    /// Where the messages of failed jobs end up.
    dead_letter_queue: DeadLetterQueueHealth,
    /// What jobs did. Not there if callers are told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = JobCounters)]
    jobs: Option<JobCounters>,
    /// The job that has waited longest. Not there if callers are told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = OldestJob)]
    oldest_job: Option<OldestJob>,
}

/// Whether the table and the queues can be reached, and jobs are started.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum StatusSummary {
    /// All can, and if jobs wait, they are started.
    Ok,
    /// All can, but jobs wait and no worker starts any.
    Stalled,
    /// One cannot.
    Unavailable,
}

/// One process of the HTTP function; there may be several.
#[derive(Debug, Serialize, ToSchema)]
struct FunctionHealth {
    /// When it began.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// How long ago that was.
    uptime_seconds: u64,
    /// The memory that it has in use; null if the operating system does not tell.
    memory_bytes: Option<u64>,
    /// The most that it ever had.
    peak_memory_bytes: Option<u64>,
    /// When this was read.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    read_at: Timestamp,
}

/// The table that holds the jobs.
#[derive(Debug, Serialize, ToSchema)]
struct TableHealth {
    /// Whether it answers.
    reachable: bool,
    /// When it answered, or was given up.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    read_at: Timestamp,
}

/// The queue that announces them.
#[derive(Debug, Serialize, ToSchema)]
struct QueueHealth {
    /// Whether it answers.
    reachable: bool,
    /// How many messages wait to be received, roughly. Those held back by a delay are not among them. Not there if callers
    /// are told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = usize)]
    waiting_messages: Option<usize>,
    /// When it answered, or was given up.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    read_at: Timestamp,
}

/// The dead-letter queue.
#[derive(Debug, Serialize, ToSchema)]
struct DeadLetterQueueHealth {
    /// Whether it answers.
    reachable: bool,
    /// How many messages are in it, roughly. Not there if callers are told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = usize)]
    messages: Option<usize>,
    /// When it answered, or was given up.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    read_at: Timestamp,
}

/// What jobs did since counting began, all tenants' together. A second or two behind.
#[derive(Debug, Serialize, ToSchema)]
struct JobCounters {
    /// Jobs accepted.
    total_added: u64,
    /// Jobs completed.
    completed: u64,
    /// Jobs that failed for good; one that was tried again may have done so again.
    failed: u64,
    /// Jobs cancelled, those that expired among them.
    cancelled: u64,
    /// Jobs that run now.
    in_progress: u64,
    /// Jobs that wait now, those among them that are to start later.
    waiting: u64,
    /// When this was read.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    read_at: Timestamp,
}

/// The job that has waited longest, among the 25 that the sweeper looks at next: there may be an older one.
#[derive(Debug, Serialize, ToSchema)]
struct OldestJob {
    /// For how long it could have been started; 0 if no job waits, null if all that were looked at run.
    waiting_seconds: Option<u64>,
    /// When this was read.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    read_at: Timestamp,
}

/// A problem body (RFC 9457) that says what cannot be reached, with what is known all the same.
#[derive(Debug, Serialize, ToSchema)]
pub struct HealthProblem {
    #[serde(flatten)]
    problem: Problem,
    /// What is known all the same.
    health: Health,
}

/// Since when this process has been there, and what it saw last.
pub struct Watch {
    started_at: Timestamp,
    latest: Mutex<Option<Looks>>,
}

impl Watch {
    async fn tell(&self, api: &Api) -> Response {
        // Whoever asks while somebody looks is told what that one sees.
        let mut latest = self.latest.lock().await;
        let before = latest.take().filter(|looks| looks.are_fresh(api.clock.now()));
        let looks = match before {
            Some(looks) => looks,
            None => Looks::taken(api).await,
        };
        let looks = latest.insert(looks);
        let problems = looks.problems();
        let health = self.health(looks, api.clock.now());
        if problems.is_empty() {
            return Json(health).into_response();
        }
        let problem = Problem::new(ProblemCode::Unavailable, problems.join("; "));
        let mut response = (StatusCode::SERVICE_UNAVAILABLE, Json(HealthProblem { problem, health })).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(FRESH.as_secs()));
        response
    }

    fn health(&self, looks: &Looks, now: Timestamp) -> Health {
        let Looks { ended_at: _, table, queue, dead_letters, figures } = looks;
        let told = |look: &Look<usize>| look.seen.as_ref().ok().copied().filter(|_| figures.is_some());
        let process = Process::status();
        // While starting is paused, nothing is the matter.
        let stall = figures.as_ref().and_then(|figures| figures.stall.clone()).filter(|_| table.seen == Ok(false));
        let status = match (looks.problems().is_empty(), &stall) {
            (false, _) => StatusSummary::Unavailable,
            (true, Some(_)) => StatusSummary::Stalled,
            (true, None) => StatusSummary::Ok,
        };
        Health {
            status,
            warning: stall.map(|stall| format!("a job {stall}")),
            version: env!("CARGO_PKG_VERSION"),
            function: FunctionHealth {
                started_at: self.started_at,
                uptime_seconds: now.since(self.started_at).as_secs(),
                memory_bytes: process.bytes("VmRSS:"),
                peak_memory_bytes: process.bytes("VmHWM:"),
                read_at: now,
            },
            table: TableHealth { reachable: table.seen.is_ok(), read_at: table.at },
            queue: QueueHealth { reachable: queue.seen.is_ok(), waiting_messages: told(queue), read_at: queue.at },
            dead_letter_queue: DeadLetterQueueHealth {
                reachable: dead_letters.seen.is_ok(),
                messages: told(dead_letters),
                read_at: dead_letters.at,
            },
            jobs: figures.as_ref().and_then(|figures| JobCounters::of(&figures.jobs)),
            oldest_job: figures.as_ref().and_then(|figures| OldestJob::of(&figures.oldest)),
        }
    }
}

impl JobCounters {
    fn of(look: &Look<Counts>) -> Option<Self> {
        let counts = look.seen.as_ref().ok()?;
        Some(Self {
            total_added: counts.accepted,
            completed: counts.completed,
            failed: counts.failed,
            cancelled: counts.cancelled,
            in_progress: at_least_none(counts.running),
            waiting: at_least_none(counts.waiting),
            read_at: look.at,
        })
    }
}

/// What was there before counting began is taken off when it ends, without ever having been added: a count may be below
/// none.
pub fn at_least_none(jobs: i64) -> u64 {
    u64::try_from(jobs).unwrap_or(0)
}

impl OldestJob {
    fn of(look: &Look<Oldest>) -> Option<Self> {
        let oldest = look.seen.as_ref().ok()?;
        Some(Self { waiting_seconds: oldest.wait(look.at).map(|wait| wait.as_secs()), read_at: look.at })
    }
}

/// What looks that began at the same time have shown.
struct Looks {
    /// When the last of them was over.
    ended_at: Timestamp,
    /// At the switch in the table: one item, which may be missing.
    table: Look<bool>,
    queue: Look<usize>,
    dead_letters: Look<usize>,
    /// `None` if they are not for everybody.
    figures: Option<Figures>,
}

/// What is not for everybody.
struct Figures {
    jobs: Look<Counts>,
    /// Since when the job has waited that has waited longest, as [`oldest_waiting`] has it.
    oldest: Look<Oldest>,
    /// What [`stall::of_the_workers`] says of that job. Nothing if there is no time left to find out.
    stall: Option<String>,
}

/// What one look has shown: what it was after, or why not.
struct Look<T> {
    /// When the answer came, or no answer counted any more.
    at: Timestamp,
    seen: Result<T, String>,
}

impl Looks {
    async fn taken(api: &Api) -> Self {
        let (table, queue, dead_letters, figures) = tokio::join!(
            look(api, "the table", api.switch.is_paused()),
            look(api, "the queue", api.queue.waiting()),
            look(api, "the dead-letter queue", api.dead_letters.depth()),
            Figures::for_everybody(api),
        );
        Self { ended_at: api.clock.now(), table, queue, dead_letters, figures }
    }

    /// A clock that was put back must not make them last.
    fn are_fresh(&self, now: Timestamp) -> bool {
        now.since(self.ended_at) < FRESH && self.ended_at.since(now) < FRESH
    }

    fn problems(&self) -> Vec<&str> {
        let Self { ended_at: _, table, queue, dead_letters, figures } = self;
        let mut problems = vec![table.problem(), queue.problem(), dead_letters.problem()];
        problems.extend(figures.iter().flat_map(|figures| [figures.jobs.problem(), figures.oldest.problem()]));
        problems.into_iter().flatten().collect()
    }
}

impl Figures {
    async fn for_everybody(api: &Api) -> Option<Self> {
        match api.auth {
            AuthMode::Jwt { .. } | AuthMode::Iam => None,
            AuthMode::None => {
                let (ends_at, now) = (Instant::now() + PATIENCE, api.clock.now());
                let jobs = async { api.counters.totals(None).await.map(|totals| totals.all()) };
                let oldest = oldest_waiting(api, now);
                let (jobs, oldest) =
                    tokio::join!(look(api, "the counters", jobs), look(api, "the index of dues", oldest));
                let waited = oldest.seen.as_ref().ok().and_then(|oldest| oldest.wait(now)).unwrap_or_default();
                let stall = timeout_at(ends_at, stall::of_the_workers(api.counters.as_ref(), waited, now)).await;
                Some(Self { jobs, oldest, stall: stall.ok().and_then(Result::ok).flatten() })
            }
        }
    }
}

impl<T> Look<T> {
    fn problem(&self) -> Option<&str> {
        self.seen.as_ref().err().map(String::as_str)
    }
}

/// Looks at `what`. Why it cannot be reached is for the log; strangers are told the outer sentence.
async fn look<T, E>(api: &Api, what: &str, answer: impl Future<Output = Result<T, E>>) -> Look<T>
where
    E: std::error::Error,
{
    let seen = match timeout(PATIENCE, answer).await {
        Ok(Ok(seen)) => Ok(seen),
        Ok(Err(error)) => {
            tracing::warn!(what, error = %Chain(&error), "health.unreachable");
            Err(format!("{what} cannot be reached: {error}"))
        }
        Err(_) => {
            tracing::warn!(what, "health.slow");
            Err(format!("{what} has not answered within {} s", PATIENCE.as_secs_f64()))
        }
    };
    Look { at: api.clock.now(), seen }
}

/// Since when the job has been ready that has waited longest, among those that the sweeper will look at next.
///
/// SQS tells the age of its oldest message to CloudWatch alone. The index of dues has every job that waits, in the
/// order of the sweeper's looks, which is nearly that of their waiting.
pub async fn oldest_waiting(api: &Api, now: Timestamp) -> Result<Oldest, StoreError> {
    let next = api.store.overdue(now + LOOK_AHEAD, LOOKED_AT).await?.jobs;
    Ok(match next.iter().filter_map(Job::ready_since).filter(|since| *since <= now).min() {
        Some(since) => Oldest::Since(since),
        None if next.len() < LOOKED_AT => Oldest::Nobody,
        None => Oldest::BehindOthers,
    })
}

/// Who has waited longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oldest {
    /// No job waits.
    Nobody,
    /// A job that has been ready since then.
    Since(Timestamp),
    /// Nobody among those that were looked at, which all run; whether others wait behind them is not known.
    BehindOthers,
}

impl Oldest {
    /// For how long it has waited; `None` if that is not known.
    pub fn wait(self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::Nobody => Some(Duration::ZERO),
            Self::Since(since) => Some(now.since(since)),
            Self::BehindOthers => None,
        }
    }
}

/// What Linux says of this process: `VmRSS:     5632 kB`, and so on. Elsewhere, nothing.
/// <https://docs.kernel.org/filesystems/proc.html>
struct Process(String);

impl Process {
    fn status() -> Self {
        Self(std::fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn bytes(&self, name: &str) -> Option<u64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name))?;
        Some(value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_linux_writes_it() {
        let process = Process("Name:\tapi\nVmHWM:\t    6144 kB\nVmRSS:\t    5632 kB\nThreads:\t1\n".to_owned());
        assert_eq!([process.bytes("VmRSS:"), process.bytes("VmHWM:")], [Some(5632 * 1024), Some(6144 * 1024)]);
        assert_eq!([process.bytes("VmSwap:"), process.bytes("Threads:")], [None, None]);
        assert_eq!(Process(String::new()).bytes("VmRSS:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory() {
        assert!(Process::status().bytes("VmRSS:").is_some_and(|bytes| bytes > 100_000));
    }
}
