//! The HTTP Lambda: accepts jobs, shows them, and lets people act on them.
//!
//! Where to start: [`router`] names every route; each group of routes has a folder of its own.

mod events;
mod http;
mod jobs;
pub mod openapi;
mod products;
mod schedules;
mod service;
mod subscriptions;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use shared::counters::CounterStore;
use shared::job::submission::Limits;
use shared::ports::{Clock, DeadLetters, Entropy, JobQueue, JobStore, Switch};
use shared::product::Products;
use shared::schedule::store::ScheduleStore;
use shared::subscription::store::SubscriptionStore;
use shared::values::id::JobId;
use shared::values::time::Timestamp;
use shared_aws::settings::AuthMode;
use tower_http::decompression::RequestDecompressionLayer;
use tower_http::normalize_path::NormalizePath;

pub use crate::http::problem::problem_codes;
pub use crate::http::quota::Quota;

use crate::http::problem::{Problem, ProblemCode};
use crate::http::{caller, request_id};
use crate::jobs::{batch, bulk, cancel, delete, duplicate, show, submit, why};
use crate::service::{health, metrics, queue, stats};

/// What the routes work with.
pub struct Api {
    /// The jobs.
    pub store: Arc<dyn JobStore>,
    /// Where workers hear of them.
    pub queue: Arc<dyn JobQueue>,
    /// Where the messages of failed jobs end up.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// Whether they may be started.
    pub switch: Arc<dyn Switch>,
    /// The schedules that make jobs.
    pub schedules: Arc<dyn ScheduleStore>,
    /// The subscriptions to events.
    pub subscriptions: Arc<dyn SubscriptionStore>,
    /// What jobs did, counted.
    pub counters: Arc<dyn CounterStore>,
    /// The products.
    pub products: Arc<dyn Products>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random numbers for ids.
    pub entropy: Arc<dyn Entropy>,
    /// Turns idempotency keys into job ids; see [`JobId::from_key`].
    pub idempotency_secret: String,
    /// Who may call.
    pub auth: AuthMode,
    /// How much each tenant may submit.
    pub quota: Quota,
    /// What each job may ask for.
    pub limits: Limits,
}

impl Api {
    /// An id that nothing else has.
    fn fresh_id(&self, now: Timestamp) -> JobId {
        let mut random = [0; 10];
        self.entropy.fill(&mut random);
        JobId::at(now, random)
    }
}

/// All routes. Every answer carries `X-Request-Id`, and every error is a problem body (RFC 9457).
pub fn router(api: Api) -> Router {
    let api = Arc::new(api);
    let routes = Router::new()
        .route("/jobs", post(submit::submit).get(show::list))
        .route("/jobs/batch", post(batch::submit_batch).layer(DefaultBodyLimit::max(batch::LONGEST_BATCH)))
        .route("/jobs/email", post(submit::submit_email))
        .route("/jobs/cancel", post(bulk::cancel_many))
        .route("/jobs/retry", post(bulk::retry_many))
        .route("/jobs/{id}", get(show::show).delete(delete::delete))
        .route("/jobs/{id}/events", get(show::events))
        .route("/jobs/{id}/why", get(why::why))
        .route("/jobs/{id}/cancel", post(cancel::cancel))
        .route("/jobs/{id}/retry", post(cancel::retry))
        .route("/jobs/{id}/duplicate", post(duplicate::duplicate))
        .route("/jobs/{id}/reschedule", post(cancel::reschedule))
        .route("/queue", get(queue::show))
        .route("/queue/pause", post(queue::pause))
        .route("/queue/resume", post(queue::resume))
        .merge(schedules::routes())
        .merge(subscriptions::routes())
        .route("/events", post(events::publish))
        .route("/products", post(products::create))
        .route("/products/{id}", get(products::show))
        .route("/stats", get(stats::show))
        .merge(health::routes(api.clock.now()))
        .route("/metrics", get(metrics::show))
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(openapi::page))
        .fallback(|| async { Problem::new(ProblemCode::NotFound, "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(ProblemCode::MethodNotAllowed, "this path does not take this method")
        })
        .route_layer(middleware::from_fn_with_state(Arc::clone(&api), caller::admit))
        .layer(DefaultBodyLimit::max(shared::job::submission::LONGEST_BODY))
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .layer(middleware::from_fn(answer_in_time))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), request_id::attach))
        .with_state(api);
    // Around the routes, since it is about which of them it is: `/jobs/` is `/jobs`.
    Router::new().fallback_service(NormalizePath::trim_trailing_slash(routes))
}

/// How long a request may take: a second less than the function's `Timeout` in `template.yaml`.
const TIME_TO_ANSWER: Duration = Duration::from_secs(28);

/// Answers before the platform would end this process. What was under way is dropped, as if the process had died there:
/// the table may have it or not, and to ask again is safe.
async fn answer_in_time(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(TIME_TO_ANSWER, next.run(request)).await;
    answer.unwrap_or_else(|_elapsed| {
        let detail =
            "the answer took too long; whether it was done is not known: ask again, with the same Idempotency-Key";
        Problem::new(ProblemCode::Unavailable, detail).into_response()
    })
}
