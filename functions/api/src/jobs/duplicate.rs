//! The same work once more, as a new job.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared::job::Status;
use shared::job::submission::Submission;
use shared::values::id::JobId;
use utoipa::ToSchema;

use crate::Api;
use crate::http::body::{BodyRead, IdRead, job_id, object};
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::http::request_id::RequestId;
use crate::jobs::accept::{Accepted, IdempotencyKey, accept};
use crate::jobs::show::find_own;
use crate::jobs::submit::answer;
use crate::jobs::view::JobStatus;

/// What is different in the copy.
#[derive(Deserialize, ToSchema)]
#[schema(as = DuplicateOptions)]
#[serde(deny_unknown_fields)]
pub struct DuplicateBody {
    /// Another payload, which must fit the job's type; the same unless given.
    #[schema(value_type = Option<Value>)]
    payload: Option<Box<RawValue>>,
}

/// A copy that was accepted.
#[derive(Debug, Serialize, ToSchema)]
pub struct DuplicatedJob {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    job_id: JobId,
    /// `pending`, whatever has become of it since.
    #[schema(value_type = JobStatus)]
    status: Status,
    /// The job that it is a copy of.
    #[schema(value_type = String, format = "uuid")]
    duplicate_of: JobId,
}

/// Submit a job's work once more
///
/// A new job with the type, the payload, the attempts, the timeout, the tags and the callback of this one, or with another
/// payload, to be started at once. It names the job that it is a copy of, in whatever status that is, and costs quota.
#[utoipa::path(post, path = "/jobs/{id}/duplicate", tag = "jobs", operation_id = "duplicateJob",
    request_body(content = Option<DuplicateBody>),
    params(("id" = String, Path, description = "the job's id", format = "uuid"),
           ("Idempotency-Key" = Option<String>, Header, description = "names this request, so that repeating it makes no second copy")),
    responses((status = 202, description = "Accepted; `Location` is where to look at it", body = DuplicatedJob,
        headers(("Location" = String), ("Idempotent-Replayed" = String, description = "`true` if an earlier request with this key made the copy")))))]
pub async fn duplicate(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    id: IdRead,
    headers: HeaderMap,
    body: BodyRead,
) -> Result<Response, Problem> {
    let id = job_id(id)?;
    let DuplicateBody { payload } = object(&headers, body, true)?;
    let key = IdempotencyKey::from_headers(&headers)?;
    let original = find_own(&api, &caller, id).await?;
    let submission = Submission::duplicate(&original, payload.as_deref(), api.limits)?;
    api.quota.take(&caller.tenant, 1, api.clock.now()).await?;
    let Accepted { id: copy, replayed } =
        accept(&api, &caller, submission, key.as_ref(), request_id.origin(&headers)).await?;
    let body = DuplicatedJob { job_id: copy, status: Status::Pending, duplicate_of: id };
    Ok(answer(format!("/jobs/{copy}"), replayed, body))
}
