//! Deleting a job that has ended, with the files that it has made.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use shared::job::Job;
use shared::job::submission::Submission;
use shared::job_type::{JobType, Payload};
use shared::payloads::email_send::EmailSend;
use shared::payloads::file_cleanup::FileCleanup;
use shared::ports::{Deleted, StoreError};
use shared::values::id::JobId;
use shared::values::json::Json;
use shared_aws::telemetry::about;

use crate::Api;
use crate::http::body::{IdRead, job_id};
use crate::http::caller::Caller;
use crate::http::problem::{Problem, ProblemCode};
use crate::http::request_id::RequestId;
use crate::jobs::accept::{Accepted, IdempotencyKey, accept};
use crate::jobs::cancel::cancel_job;
use crate::jobs::show::find_own;

/// Delete a job that has ended
///
/// Its payload, result, error and history are gone at once. Its files are deleted by a `file-cleanup` job, which
/// `Location` names; without it there was no file. Its idempotency key may make a new job from now on.
#[utoipa::path(delete, path = "/jobs/{id}", tag = "jobs", operation_id = "deleteJob",
    params(("id" = String, Path, description = "the job's id", format = "uuid")),
    responses((status = 204, description = "It is gone", headers(("Location" = Option<String>, description = "the job that deletes its files"))),
              (status = 409, description = "It has not ended: cancel it first", body = Problem, content_type = "application/problem+json")))]
pub async fn delete(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    id: IdRead,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let job = find_own(&api, &caller, job_id(id)?).await?;
    let not_ended = |job: &Job| {
        let detail = format!("the job is {}; only one that has ended can be deleted", job.status());
        Problem::new(ProblemCode::WrongStatus, detail)
    };
    if !job.status().is_terminal() {
        return Err(not_ended(&job));
    }
    // The files first: if this process dies in between, the job is still there to be deleted again.
    let cleanup = match cleanup_of(&job)? {
        None => None,
        Some(submission) => {
            let submission = submission.at(api.clock.now() + TIME_TO_CHANGE_OUR_MIND);
            // What has happened to it is part of the key: when it is tried again, there may be new files.
            let key = IdempotencyKey::of_files(&job);
            Some(accept(&api, &caller, submission, Some(&key), request_id.origin(&headers)).await?)
        }
    };
    match api.store.delete_if_ended(job.id).await? {
        // It was there just now: the answer to a first try got lost, or somebody else deletes it, too.
        Deleted::Yes | Deleted::Missing => {
            about(&job).in_scope(|| tracing::info!("job.deleted"));
            let location = cleanup.map(|Accepted { id, .. }| [(LOCATION, format!("/jobs/{id}"))]);
            Ok((StatusCode::NO_CONTENT, location, ()).into_response())
        }
        // Somebody has tried it again in this very moment, and its files may be wanted.
        Deleted::NotEnded(there) => {
            if let Some(Accepted { id, .. }) = cleanup {
                spare_the_files(&api, id).await?;
            }
            Err(not_ended(&there))
        }
    }
}

/// How long the files stay, so that their cleanup can still be cancelled.
const TIME_TO_CHANGE_OUR_MIND: Duration = Duration::from_secs(10);

async fn spare_the_files(api: &Api, cleanup: JobId) -> Result<(), StoreError> {
    if let Some(cleanup) = api.store.find(cleanup).await? {
        cancel_job(api, &cleanup).await?;
    }
    Ok(())
}

/// The job that deletes the files of `job`; `None` if it cannot have made any.
fn cleanup_of(job: &Job) -> Result<Option<Submission>, Problem> {
    if job.attempts == 0 || job.job_type == JobType::FileCleanup.name() {
        return Ok(None);
    }
    // E-mails that become files are in a folder of their own, unless the deployment says otherwise.
    let folder = if job.job_type.as_str() == EmailSend::NAME { "mail/" } else { "" };
    let payload = Json::of(&serde_json::json!({ "older_than_days": 0, "prefix": format!("{folder}{}", job.id) }));
    let payload = payload.map_err(|error| Problem::new(ProblemCode::Internal, error.to_string()))?;
    debug_assert!(FileCleanup::parse(payload.as_str()).is_ok(), "{payload:?}");
    Ok(Some(Submission::plain(JobType::FileCleanup, payload)))
}
