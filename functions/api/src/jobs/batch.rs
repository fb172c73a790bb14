//! Many jobs from one request, each with an outcome of its own.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared::job::Job;
use shared::job::submission::{LONGEST_BODY, Limits, Rejection, Submission, check, text_of};
use shared::values::id::JobId;
use shared::values::invalid::InvalidField;
use shared::values::time::Timestamp;
use utoipa::ToSchema;

use crate::Api;
use crate::http::body::{BodyRead, fields_of, json_body_up_to};
use crate::http::caller::Caller;
use crate::http::problem::{Problem, ProblemCode};
use crate::http::request_id::RequestId;
use crate::jobs::accept::{Accepted, IdempotencyKey, KEY_HEADER, announce_all, id_of, log_accepted, outcome};
use crate::openapi::BatchBody;

/// The most jobs in one request.
pub const MOST_JOBS: usize = 100;

/// The longest request, in bytes. A request to Lambda has room for 6 MB, in which a body may come as base64.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const LONGEST_BATCH: usize = 4 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    jobs: Vec<&'a RawValue>,
}

/// What has become of each job of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchResult {
    /// How many were accepted.
    accepted: usize,
    /// How many were not.
    rejected: usize,
    /// The outcomes, in the order of the jobs.
    jobs: Vec<BatchJobResult>,
}

/// What has become of one job of a batch.
#[derive(Debug, Serialize, ToSchema)]
struct BatchJobResult {
    /// As if the job had come alone: 202 if it was accepted.
    status: u16,
    /// Its id, if it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = "uuid")]
    job_id: Option<JobId>,
    /// Whether an earlier request had made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool)]
    replayed: Option<bool>,
    /// Why it was not accepted. `field` is seen from the request's body: `jobs[3].payload.to`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Problem)]
    problem: Option<Problem>,
}

/// Submit 1 to 100 jobs
///
/// Each is accepted or refused for itself; one bad job does not spoil the others. A job may have an `idempotency_key`; with
/// the header `Idempotency-Key` the n-th job without one has `<key>/<n>`, from 0, so that the whole request can be repeated.
#[utoipa::path(post, path = "/jobs/batch", tag = "jobs", operation_id = "submitBatch", request_body = BatchBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "names this request, so that repeating it repeats no job")),
    responses((status = 200, description = "What has become of each", body = BatchResult)))]
pub async fn submit_batch(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    body: BodyRead,
) -> Result<Json<BatchResult>, Problem> {
    let body = json_body_up_to(LONGEST_BATCH, &headers, body)?;
    let whole_key = IdempotencyKey::from_headers(&headers)?;
    let texts = jobs_in(&body)?;
    api.quota.take(&caller.tenant, u32::try_from(texts.len()).unwrap_or(u32::MAX), api.clock.now()).await?;
    let now = api.clock.now();
    let mut outcomes: Vec<Option<BatchJobResult>> = vec![];
    let mut jobs = vec![];
    for (index, text) in texts.iter().enumerate() {
        let numbered_key = || whole_key.as_ref().map(|key| key.numbered(index));
        match read_job(text.get(), index, now, api.limits) {
            Ok((submission, key)) => {
                let key_field = key.as_ref().map(|_| format!("jobs[{index}].idempotency_key"));
                let id = id_of(&api, &caller, key.or_else(numbered_key).as_ref(), now);
                let job = submission.into_job(id, caller.tenant.clone(), now, request_id.origin(&headers));
                let key_field = key_field.unwrap_or_else(|| KEY_HEADER.to_owned());
                jobs.push(Keyed { index, key_field, job });
                outcomes.push(None);
            }
            Err(problem) => outcomes.push(Some(BatchJobResult::rejected(problem))),
        }
    }
    for (index, outcome) in store_all(&api, jobs).await {
        outcomes[index] = Some(outcome);
    }
    let jobs: Vec<_> = outcomes.into_iter().flatten().collect();
    let accepted = jobs.iter().filter(|job| job.problem.is_none()).count();
    Ok(Json(BatchResult { accepted, rejected: jobs.len() - accepted, jobs }))
}

/// A job of a batch: at which place, and where its key stands.
struct Keyed {
    index: usize,
    key_field: String,
    job: Job,
}

/// Stores the jobs and announces the new ones, all in as few requests as possible. If this process dies in between, the
/// sweeper announces what was stored.
async fn store_all(api: &Api, keyed: Vec<Keyed>) -> Vec<(usize, BatchJobResult)> {
    // The table takes no two jobs of one id in one request.
    let (mut first, mut repeated): (Vec<Keyed>, Vec<Keyed>) = (vec![], vec![]);
    for keyed in keyed {
        let is_new = first.iter().all(|earlier| earlier.job.id != keyed.job.id);
        if is_new { first.push(keyed) } else { repeated.push(keyed) }
    }
    let jobs: Vec<Job> = first.iter().map(|keyed| keyed.job.clone()).collect();
    let inserted = api.store.insert_all_if_absent(&jobs).await;
    let outcomes: Vec<Result<Accepted, Problem>> = inserted
        .into_iter()
        .zip(&first)
        .map(|(inserted, Keyed { key_field, job, .. })| outcome(inserted.map_err(Problem::from)?, job, key_field))
        .collect();

    let is_new = |outcome: &Result<Accepted, Problem>| outcome.as_ref().is_ok_and(|accepted| !accepted.replayed);
    let new: Vec<&Job> =
        jobs.iter().zip(&outcomes).filter(|(_, outcome)| is_new(outcome)).map(|(job, _)| job).collect();
    let unsent = announce_all(api, &new).await;
    for job in new {
        log_accepted(api, job, !unsent.contains(&job.id));
    }

    let repeated = repeated.into_iter().map(|Keyed { index, key_field, job }| {
        let twin = jobs.iter().zip(&outcomes).find(|(twin, _)| twin.id == job.id);
        let same = twin.is_some_and(|(twin, _)| twin.fingerprint == job.fingerprint);
        match twin {
            Some((_, Ok(accepted))) if same => (index, Ok(Accepted { replayed: true, ..*accepted })),
            Some((_, Err(problem))) if same => (index, Err(problem.clone())),
            Some(_) | None => (index, Err(Problem::key_used_before(&key_field))),
        }
    });
    let repeated: Vec<_> = repeated.collect();
    let first = first.into_iter().map(|keyed| keyed.index).zip(outcomes);
    first.chain(repeated).map(|(index, outcome)| (index, BatchJobResult::from(outcome))).collect()
}

impl From<Result<Accepted, Problem>> for BatchJobResult {
    fn from(outcome: Result<Accepted, Problem>) -> Self {
        match outcome {
            Ok(accepted) => Self::accepted(accepted),
            Err(problem) => Self::rejected(problem),
        }
    }
}

impl BatchJobResult {
    fn accepted(accepted: Accepted) -> Self {
        let Accepted { id, replayed } = accepted;
        Self { status: StatusCode::ACCEPTED.as_u16(), job_id: Some(id), replayed: Some(replayed), problem: None }
    }

    fn rejected(problem: Problem) -> Self {
        Self { status: problem.status().as_u16(), job_id: None, replayed: None, problem: Some(problem) }
    }
}

fn jobs_in(body: &[u8]) -> Result<Vec<&RawValue>, Problem> {
    // Each job is read for itself: what is wrong in one must not spoil the others.
    let text = text_of(body)?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| Rejection::NotJson(error.to_string()))?;
    let body: Body<'_> = fields_of(text)?;
    if (1..=MOST_JOBS).contains(&body.jobs.len()) {
        Ok(body.jobs)
    } else {
        Err(InvalidField::new("jobs", format!("must be 1 to {MOST_JOBS} jobs")).into())
    }
}

/// One job, and its key if it has one.
fn read_job(
    text: &str,
    index: usize,
    now: Timestamp,
    limits: Limits,
) -> Result<(Submission, Option<IdempotencyKey>), Problem> {
    let place = format!("jobs[{index}]");
    let inner = |invalid: InvalidField| {
        let invalid = if invalid.field == "body" { InvalidField { field: String::new(), ..invalid } } else { invalid };
        Problem::from(invalid.within(&place))
    };
    if text.len() > LONGEST_BODY {
        let invalid = InvalidField::new("", format!("must be at most {LONGEST_BODY} bytes long")).within(&place);
        return Err(Problem::field(ProblemCode::BodyTooLarge, &invalid));
    }
    let parsed = check(text).and_then(|()| Submission::parse_of_batch(text, now, limits));
    let (submission, key) = parsed.map_err(|rejection| match rejection {
        Rejection::Field(invalid) => inner(invalid),
        Rejection::NotJson(_) => Problem::from(rejection),
    })?;
    let key = key.map(|key| IdempotencyKey::parse(&key, "idempotency_key")).transpose().map_err(inner)?;
    Ok((submission, key))
}
