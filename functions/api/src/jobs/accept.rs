//! Taking jobs on: stored first, announced second.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::HeaderMap;
use shared::job::due::queue_delay;
use shared::job::submission::{Origin, Submission};
use shared::job::{Job, State};
use shared::ports::{Inserted, Message};
use shared::values::chain::Chain;
use shared::values::id::JobId;
use shared::values::invalid::InvalidField;
use shared::values::time::Timestamp;
use shared_aws::telemetry::about;

use crate::Api;
use crate::http::caller::Caller;
use crate::http::problem::{Problem, ProblemCode};

/// A submission that became a job, now or at an earlier request with the same key.
#[derive(Clone, Copy, Debug)]
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
    caller: &Caller,
    submission: Submission,
    key: Option<&IdempotencyKey>,
    origin: Origin,
) -> Result<Accepted, Problem> {
    let now = api.clock.now();
    let id = id_of(api, caller, key, now);
    let job = submission.into_job(id, caller.tenant.clone(), now, origin);
    let accepted = outcome(api.store.insert_if_absent(&job).await?, &job, KEY_HEADER)?;
    if !accepted.replayed {
        let announced = announce(api, &job).await;
        log_accepted(api, &job, announced);
    }
    Ok(accepted)
}

/// The id of the job that is accepted now, or was when its key came for the first time.
pub fn id_of(api: &Api, caller: &Caller, key: Option<&IdempotencyKey>, now: Timestamp) -> JobId {
    match key {
        Some(key) => JobId::from_key(&api.idempotency_secret, &caller.tenant, &key.0),
        None => api.fresh_id(now),
    }
}

/// What the store's answer to an insert means for whoever sent the job, with a key that stood in `key_field`.
pub fn outcome(inserted: Inserted, job: &Job, key_field: &str) -> Result<Accepted, Problem> {
    let id = job.id;
    match inserted {
        Inserted::New => Ok(Accepted { id, replayed: false }),
        // The insert was tried twice, and the answer to the first try got lost: what is there is what we wrote.
        Inserted::AlreadyThere(there) if is_this_request(&there, job) => Ok(Accepted { id, replayed: false }),
        Inserted::AlreadyThere(there) if there.fingerprint == job.fingerprint => {
            about(&there).in_scope(|| tracing::info!("job.replayed"));
            Ok(Accepted { id, replayed: true })
        }
        Inserted::AlreadyThere(_) => Err(Problem::key_used_before(key_field)),
    }
}

/// How long the queue may take. The caller waits, and the job is safe without its message.
const TIME_TO_SEND: Duration = Duration::from_secs(2);

/// Sends the job's message, unless that is for the sweeper to do. Whether it was sent.
pub async fn announce(api: &Api, job: &Job) -> bool {
    let Some(message) = message_for(api, job) else { return false };
    let error = match tokio::time::timeout(TIME_TO_SEND, api.queue.send(&message)).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => Chain(&error).to_string(),
        Err(elapsed) => elapsed.to_string(),
    };
    about(job).in_scope(|| tracing::warn!(error, "job.announcement_deferred"));
    false
}

/// The same for many jobs, in batches. Gives those whose message was not sent.
pub async fn announce_all(api: &Api, jobs: &[&Job]) -> Vec<JobId> {
    let messages: Vec<_> = jobs.iter().filter_map(|job| message_for(api, job)).collect();
    let mut unsent: Vec<JobId> =
        jobs.iter().map(|job| job.id).filter(|id| !messages.iter().any(|message| message.job_id == *id)).collect();
    if messages.is_empty() {
        return unsent;
    }
    match tokio::time::timeout(TIME_TO_SEND, api.queue.send_all(&messages)).await {
        Ok(failed) => unsent.extend(failed),
        Err(elapsed) => {
            tracing::warn!(error = %elapsed, "messages.unsent");
            unsent.extend(messages.iter().map(|message| message.job_id));
        }
    }
    unsent
}

/// The message that announces a waiting job, unless its delay is longer than the queue can keep.
fn message_for(api: &Api, job: &Job) -> Option<Message> {
    let State::Pending { not_before, .. } = job.state else { return None };
    let delay = queue_delay(not_before, api.clock.now())?;
    Some(Message::about(job, delay))
}

/// One line for each job that was accepted.
pub fn log_accepted(api: &Api, job: &Job, announced: bool) {
    let waited = api.clock.now().since(job.created_at);
    let duration_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
    // Nothing is said of what is as it should be: of the lines about a success, each byte is paid for.
    let announced = (!announced).then_some(false);
    about(job).in_scope(|| tracing::info!(duration_ms, announced, "job.accepted"));
}

/// The key that a header's value means.
fn unquoted(text: &str) -> Result<Cow<'_, str>, InvalidField> {
    let Some(quoted) = text.strip_prefix('"') else {
        // The gateway makes one header of two, with a comma between them.
        let joined = text.contains(',');
        let problem =
            || InvalidField::new(KEY_HEADER, "is given twice, or has a comma in it; put the key in double quotes");
        return if joined { Err(problem()) } else { Ok(Cow::Borrowed(text)) };
    };
    // RFC 9651, section 4.2.5.
    let (mut key, mut characters) = (String::new(), quoted.chars());
    loop {
        match characters.next() {
            Some('"') if characters.as_str().is_empty() => return Ok(Cow::Owned(key)),
            Some('\\') => match characters.next() {
                Some(escaped @ ('"' | '\\')) => key.push(escaped),
                _ => break,
            },
            Some('"') | None => break,
            Some(character) => key.push(character),
        }
    }
    Err(InvalidField::new(KEY_HEADER, "begins with a double quote, and must be one string in double quotes"))
}

fn is_this_request(there: &Job, mine: &Job) -> bool {
    there.created_at == mine.created_at
        && there.correlation_id == mine.correlation_id
        && there.fingerprint == mine.fingerprint
}

/// The header that names a request.
pub const KEY_HEADER: &str = "Idempotency-Key";

/// A caller's name for one request, so that repeating it does not repeat the job.
#[derive(Clone, Debug)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The longest key, in characters.
    const LONGEST: usize = 255;

    /// Reads the header `Idempotency-Key`, if there is one: the key, bare or as a string in double quotes, which is the
    /// same key (<https://www.ietf.org/archive/id/draft-ietf-httpapi-idempotency-key-header-07.html>).
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut given = headers.get_all("idempotency-key").iter();
        let Some(value) = given.next() else { return Ok(None) };
        let key = match value.to_str() {
            _ if given.next().is_some() => Err(InvalidField::new(KEY_HEADER, "is given twice")),
            Ok(text) => unquoted(text).and_then(|key| Self::parse(&key, KEY_HEADER)),
            Err(_) => Err(InvalidField::new(KEY_HEADER, "must be printable ASCII")),
        };
        key.map(Some).map_err(|invalid| Problem::field(ProblemCode::InvalidRequest, &invalid))
    }

    /// The key in `text`, which stands in `field`.
    pub fn parse(text: &str, field: &str) -> Result<Self, InvalidField> {
        if !(1..=Self::LONGEST).contains(&text.len()) {
            return Err(InvalidField::new(field, format!("must be 1 to {} characters long", Self::LONGEST)));
        }
        if text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidField::new(field, "must be printable ASCII"))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of the job at `index` in a request that has this key.
    pub fn numbered(&self, index: usize) -> Self {
        Self(format!("{}/{index}", self.0))
    }

    /// The key of the job that deletes the files which `job` has made so far.
    pub fn of_files(job: &Job) -> Self {
        Self(format!("{}/{}", job.id, job.history.len())).within("files")
    }

    /// A key that no caller's key is equal to: the same word, for another purpose.
    pub fn within(&self, purpose: &str) -> Self {
        Self(format!("{purpose}\n{}", self.0))
    }
}
