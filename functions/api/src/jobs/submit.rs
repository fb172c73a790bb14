//! One job from one request.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use shared::job::Status;
use shared::job::submission::{Origin, Submission};
use shared::job_type::JobType;
use shared::values::id::JobId;
use utoipa::ToSchema;

use crate::Api;
use crate::http::body::{BodyRead, json_body};
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::http::request_id::RequestId;
use crate::jobs::accept::{Accepted, IdempotencyKey, accept};
use crate::jobs::view::JobStatus;
use crate::openapi::{EmailSendPayload, JobBody};

/// A job that was accepted.
#[derive(Debug, Serialize, ToSchema)]
pub struct AcceptedJob {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub job_id: JobId,
    /// `pending`, whatever has become of it since.
    #[schema(value_type = JobStatus)]
    pub status: Status,
}

/// Submit a job
///
/// Once this is answered with 202 the job is stored and will be brought to its end. With an `Idempotency-Key` repeating
/// the request is safe: the same key and body get the same answer.
#[utoipa::path(post, path = "/jobs", tag = "jobs", operation_id = "submitJob", request_body = JobBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable characters of your choice, in double quotes if there is a comma in them; names this request, so that repeating it does not repeat the job"),
           ("X-Request-Id" = Option<String>, Header, description = "your own id for this request; it is in the answer and follows the job into every log line")),
    responses((status = 202, description = "Accepted; `Location` is where to look at it", body = AcceptedJob,
        headers(("Location" = String), ("Idempotent-Replayed" = String, description = "`true` if an earlier request with this key made the job")))))]
pub async fn submit(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    body: BodyRead,
) -> Result<Response, Problem> {
    let body = json_body(&headers, body)?;
    let submission = Submission::parse_within(&body, api.clock.now(), api.limits)?;
    let key = IdempotencyKey::from_headers(&headers)?;
    take_on(&api, &caller, submission, key.as_ref(), request_id.origin(&headers)).await
}

/// Send an e-mail
///
/// The same as an `email-send` job whose payload is the body itself.
#[utoipa::path(post, path = "/jobs/email", tag = "jobs", operation_id = "sendEmail", request_body = EmailSendPayload,
    params(("Idempotency-Key" = Option<String>, Header, description = "names this request, so that repeating it sends no second e-mail")),
    responses((status = 202, description = "Accepted", body = AcceptedJob)))]
pub async fn submit_email(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    body: BodyRead,
) -> Result<Response, Problem> {
    let body = json_body(&headers, body)?;
    let submission = Submission::parse_payload(JobType::EmailSend, &body)?;
    let key = IdempotencyKey::from_headers(&headers)?;
    take_on(&api, &caller, submission, key.as_ref(), request_id.origin(&headers)).await
}

/// Accepts the submission under its key, if it has one, and answers.
pub async fn take_on(
    api: &Api,
    caller: &Caller,
    submission: Submission,
    key: Option<&IdempotencyKey>,
    origin: Origin,
) -> Result<Response, Problem> {
    api.quota.take(&caller.tenant, 1, api.clock.now()).await?;
    let Accepted { id, replayed } = accept(api, caller, submission, key, origin).await?;
    Ok(answer(format!("/jobs/{id}"), replayed, AcceptedJob { job_id: id, status: Status::Pending }))
}

/// 202, where to look, and whether an earlier request with the same key had made it.
pub fn answer(path: String, replayed: bool, body: impl Serialize) -> Response {
    let replayed = replayed.then_some([("idempotent-replayed", "true")]);
    (StatusCode::ACCEPTED, [(LOCATION, path)], replayed, Json(body)).into_response()
}
