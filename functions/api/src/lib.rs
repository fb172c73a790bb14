//! The HTTP Lambda: accepts jobs and shows them.

mod accept;
mod problem;
mod request_id;
mod view;

use std::sync::Arc;

use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router, body::Bytes, middleware};
use shared::id::JobId;
use shared::invalid::InvalidField;
use shared::job_type::JobType;
use shared::ports::{Clock, Entropy, JobQueue, JobStore};
use shared::submission::{LONGEST_BODY, Submission};
use shared::time::Timestamp;

use crate::accept::{Accepted, IdempotencyKey};
use crate::problem::Problem;
use crate::request_id::RequestId;
use crate::view::JobView;

/// What the routes work with.
pub struct Api {
    /// The jobs.
    pub store: Arc<dyn JobStore>,
    /// Where workers hear of them.
    pub queue: Arc<dyn JobQueue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random numbers for ids.
    pub entropy: Arc<dyn Entropy>,
    /// Turns idempotency keys into job ids; see [`JobId::from_key`].
    pub idempotency_secret: String,
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
    Router::new()
        .route("/jobs", post(submit))
        .route("/jobs/email", post(submit_email))
        .route("/jobs/{id}", get(show))
        .route("/health", get(health))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), request_id::attach))
        .with_state(api)
}

type BodyRead = Result<Bytes, BytesRejection>;

async fn submit(
    State(api): State<Arc<Api>>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    body: BodyRead,
) -> Result<Response, Problem> {
    let body = json_body(&headers, body)?;
    let submission = Submission::parse(&body, api.clock.now())?;
    answer(&api, submission, &request_id, &headers).await
}

async fn submit_email(
    State(api): State<Arc<Api>>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    body: BodyRead,
) -> Result<Response, Problem> {
    let body = json_body(&headers, body)?;
    let submission = Submission::parse_payload(JobType::EmailSend, &body)?;
    answer(&api, submission, &request_id, &headers).await
}

async fn answer(
    api: &Api,
    submission: Submission,
    request_id: &RequestId,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let key = IdempotencyKey::from_headers(headers)?;
    let Accepted { id, replayed } = accept::accept(api, submission, key.as_ref(), request_id.origin(headers)).await?;
    let location = [(LOCATION, format!("/jobs/{id}"))];
    let body = Json(serde_json::json!({ "job_id": id, "status": "pending" }));
    let replayed = replayed.then_some([("idempotent-replayed", "true")]);
    Ok((StatusCode::ACCEPTED, location, replayed, body).into_response())
}

async fn show(State(api): State<Arc<Api>>, id: Result<Path<String>, PathRejection>) -> Result<Json<JobView>, Problem> {
    let id = id.ok().and_then(|Path(id)| id.parse::<JobId>().ok()).ok_or_else(|| {
        Problem::field(StatusCode::BAD_REQUEST, &InvalidField::new("job_id", "must be a UUID with hyphens"))
    })?;
    match api.store.find(id).await? {
        Some(job) => Ok(Json(JobView::of(&job))),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "there is no job with this id")),
    }
}

async fn health() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// The body, if it says that it is JSON and is not too long.
fn json_body(headers: &HeaderMap, body: BodyRead) -> Result<Bytes, Problem> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let problem = format!("must be at most {LONGEST_BODY} bytes long");
            Problem::field(StatusCode::PAYLOAD_TOO_LARGE, &InvalidField::new("body", problem))
        }
        _ => Problem::new(StatusCode::BAD_REQUEST, "the body could not be read"),
    })?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json {
        Ok(body)
    } else {
        let invalid = InvalidField::new("Content-Type", "must be application/json");
        Err(Problem::field(StatusCode::UNSUPPORTED_MEDIA_TYPE, &invalid))
    }
}
