//! Taking a job on: stored first, announced second.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use shared::chain::Chain;
use shared::id::{JobId, Tenant};
use shared::invalid::InvalidField;
use shared::job::Job;
use shared::ports::{Inserted, Message};
use shared::submission::{Origin, Submission};
use shared::sweep::queue_delay;

use crate::Api;
use crate::problem::Problem;

/// A submission that became a job, now or at an earlier request with the same key.
pub struct Accepted {
    /// The job's id.
    pub id: JobId,
    /// Whether it was an earlier request that made the job.
    pub replayed: bool,
}

/// Stores the job and announces it. Once this returns, the job is durable: if it could not be announced, or this
/// process dies between the two steps, the sweeper announces it later.
pub async fn accept(
    api: &Api,
    submission: Submission,
    key: Option<&IdempotencyKey>,
    origin: Origin,
) -> Result<Accepted, Problem> {
    let tenant = Tenant::only();
    let now = api.clock.now();
    let id = match key {
        Some(key) => JobId::from_key(&api.idempotency_secret, &tenant, &key.0),
        None => api.fresh_id(now),
    };
    let job = submission.into_job(id, tenant, now, origin);
    match api.store.insert_if_absent(&job).await? {
        Inserted::New => {}
        // The insert was tried twice, and the answer to the first try got lost: what is there is what we wrote.
        Inserted::AlreadyThere(there) if is_this_request(&there, &job) => {}
        Inserted::AlreadyThere(there) if there.fingerprint == job.fingerprint => {
            tracing::info!(job.id = %id, correlation_id = job.correlation_id, "job.replayed");
            return Ok(Accepted { id, replayed: true });
        }
        Inserted::AlreadyThere(_) => {
            let invalid = InvalidField::new("Idempotency-Key", "was used for another request before");
            return Err(Problem::field(StatusCode::UNPROCESSABLE_ENTITY, &invalid));
        }
    }
    let announced = announce(api, &job).await;
    tracing::info!(
        job.id = %id,
        job.r#type = %job.job_type,
        correlation_id = job.correlation_id,
        duration_ms = millis_since(api, &job),
        announced,
        "job.accepted"
    );
    Ok(Accepted { id, replayed: false })
}

/// How long the queue may take. The caller waits, and the job is safe without its message.
const TIME_TO_SEND: Duration = Duration::from_secs(2);

/// Sends the job's message, unless that is for the sweeper to do. Whether it was sent.
async fn announce(api: &Api, job: &Job) -> bool {
    let shared::job::State::Pending { not_before, .. } = job.state else { return false };
    let Some(delay) = queue_delay(not_before, api.clock.now()) else { return false };
    let message = Message { job_id: job.id, delay };
    let error = match tokio::time::timeout(TIME_TO_SEND, api.queue.send(&message)).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => Chain(&error).to_string(),
        Err(elapsed) => elapsed.to_string(),
    };
    tracing::warn!(job.id = %job.id, error, "job.announcement_deferred");
    false
}

fn is_this_request(there: &Job, mine: &Job) -> bool {
    there.created_at == mine.created_at
        && there.correlation_id == mine.correlation_id
        && there.fingerprint == mine.fingerprint
}

fn millis_since(api: &Api, job: &Job) -> u64 {
    u64::try_from(api.clock.now().since(job.created_at).as_millis()).unwrap_or(u64::MAX)
}

/// A caller's name for one request, so that repeating it does not repeat the job.
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The longest key, in characters.
    const LONGEST: usize = 255;

    /// Reads the header `Idempotency-Key`, if there is one.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut given = headers.get_all("idempotency-key").iter();
        let Some(value) = given.next() else { return Ok(None) };
        let invalid = |problem: String| {
            Err(Problem::field(StatusCode::BAD_REQUEST, &InvalidField::new("Idempotency-Key", problem)))
        };
        match value.to_str() {
            _ if given.next().is_some() => invalid("is given twice".to_owned()),
            Ok(text) if (1..=Self::LONGEST).contains(&text.len()) => Ok(Some(Self(text.to_owned()))),
            Ok(_) => invalid(format!("must be 1 to {} characters long", Self::LONGEST)),
            Err(_) => invalid("must be printable ASCII".to_owned()),
        }
    }
}
