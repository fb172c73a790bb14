//! What the API takes and answers, as an `OpenAPI` document that is made from this code.
//!
//! The document is made by a test, which also holds it against the routes, and served from the file: a function that
//! starts does not spend time on it.

mod exact;

pub use self::exact::generate;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

use crate::http::problem::Problem;
use crate::jobs::{batch, bulk, cancel, delete, duplicate, show, submit, why};
use crate::service::{health, metrics, queue, stats};
use crate::{Api, events, products, schedules, subscriptions};

/// The document, as the last run of the test has left it.
const DOCUMENT: &str = include_str!("../../../../docs/openapi.json");

/// What it says of the longest attempt: as much as any deployment allows. Nothing else has this number.
const LONGEST_ATTEMPT: &str = "\"maximum\": 890";

/// The page that shows it.
const PAGE: &str = include_str!("docs.html");

/// Get this description of the API
#[utoipa::path(get, path = "/openapi.json", tag = "service", operation_id = "getApiDescription", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub async fn document(State(api): State<Arc<Api>>) -> Response {
    let longest_attempt = format!("\"maximum\": {}", api.limits.longest_attempt_seconds);
    let document = DOCUMENT.replace(LONGEST_ATTEMPT, &longest_attempt);
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")], document).into_response()
}

/// Read the description in a browser
#[utoipa::path(get, path = "/docs", tag = "service", operation_id = "getApiDocs", responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
pub async fn page() -> Response {
    ([(CACHE_CONTROL, "public, max-age=300")], Html(PAGE)).into_response()
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Dray", description = "Background jobs: submit them, look at them, act on them. Errors are problem bodies (RFC 9457) that name the field at fault; every answer carries `X-Request-Id`. The order in which jobs run is not promised."),
    paths(
        submit::submit, submit::submit_email, batch::submit_batch,
        show::list, show::show, show::events, why::why,
        cancel::cancel, cancel::retry, cancel::reschedule, duplicate::duplicate, delete::delete, bulk::cancel_many, bulk::retry_many,
        queue::show, queue::pause, queue::resume,
        schedules::list, schedules::put, schedules::show, schedules::remove, schedules::pause, schedules::resume, schedules::run,
        events::publish, subscriptions::list, subscriptions::put, subscriptions::show, subscriptions::remove,
        products::create, products::show,
        stats::show, health::show, health::show_below_api, metrics::show, document, page
    ),
    components(schemas(Problem)),
    servers(
        (url = "/", description = "Where this description is"),
        (url = "https://{api}.execute-api.{region}.amazonaws.com", description = "A deployment: the output ApiUrl of its stack",
            variables(("api" = (default = "a1b2c3d4e5", description = "The id that API Gateway has given it")),
                      ("region" = (default = "eu-central-1", description = "The region of AWS")))),
    ),
    security(("jwt" = []), ("iam" = []), ()),
    tags(
        (name = "jobs", description = "Submit jobs, look at them, act on them"),
        (name = "schedules", description = "Jobs that come again and again"),
        (name = "events", description = "Events of your own, and the jobs that follow from them"),
        (name = "queue", description = "All jobs at once"),
        (name = "products", description = "An example: data of your own, and a job about it, in one write"),
        (name = "service", description = "About the API itself"),
    ),
)]
struct Document;

/// The types of jobs. Its schema is made from their list.
#[derive(ToSchema)]
pub struct JobTypeName;

/// The payload of `email-send`. Its schema is that of the type.
#[derive(ToSchema)]
pub struct EmailSendPayload;

/// A job to be submitted.
#[derive(ToSchema)]
#[schema(as = NewJob)]
#[expect(dead_code, reason = "for the document alone: shared reads the body itself, to name what does not fit")]
pub struct JobBody {
    /// Its type.
    r#type: String,
    /// What its type needs to know.
    payload: Value,
    /// Attempts allowed; the type's own number unless given.
    #[schema(minimum = 1, maximum = 10)]
    max_attempts: Option<u32>,
    /// How long one attempt may run, as far as this deployment allows; the type's own number unless given.
    #[schema(minimum = 1, maximum = 890)]
    timeout_seconds: Option<u32>,
    /// Not to be started before so many seconds are over. Not together with `run_at`.
    #[schema(minimum = 0, maximum = 31_622_400)]
    delay_seconds: Option<u64>,
    /// Not to be started before this time, at most 366 days ahead.
    #[schema(format = DateTime)]
    run_at: Option<String>,
    /// Not to be started from this time on: if it has not been, it is cancelled.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Words by which to find it, 10 at most.
    #[schema(max_items = 10)]
    tags: Option<Vec<String>>,
    /// Who is told how it ended, by a `webhook-delivery` job. Not for such jobs themselves.
    #[schema(format = "uri", max_length = 2048)]
    callback_url: Option<String>,
}

/// 1 to 100 jobs.
#[derive(ToSchema)]
#[schema(as = NewBatch, example = json!({ "jobs": [
    { "type": "csv-generation", "payload": { "name": "Alice", "score": 95 }, "idempotency_key": "march-7" },
    { "type": "report-generation", "payload": { "last_hours": 24 } }
] }))]
#[expect(dead_code, reason = "for the document alone")]
pub struct BatchBody {
    /// The jobs: each as it would be submitted alone, and it may have an `idempotency_key`.
    #[schema(min_items = 1, max_items = 100)]
    jobs: Vec<JobBody>,
}
