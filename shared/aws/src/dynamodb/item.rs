//! What a job looks like in the table.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::job::event::Event;
use shared::job::{FORMAT, Fingerprint, HeldBack, Job, KEEP_ENDED, Progress, State, Status, Tag, TypeName};
use shared::ports::{Cursor, Lane, Source, StoreError};
use shared::values::id::{JobId, LeaseToken, Tenant};
use shared::values::json::Json;
use shared::values::time::Timestamp;

use super::attributes::{Attributes, read_as, text_in};

/// Over how many partitions of the index `due` the jobs are spread. The sweeper asks each one in turn; each takes
/// 1,000 writes a second.
pub const DUE_SHARDS: u8 = 4;

/// Over how many partitions of the index `listing` each tenant's jobs are spread, for the same reason.
pub const LISTING_SHARDS: u8 = 4;

/// The partition of the index `due` that a job is in until it ends.
pub fn due_shard(id: JobId) -> String {
    (id.spread() % DUE_SHARDS).to_string()
}

/// The partition of the index `listing` that a job is in.
pub fn listing(tenant: &Tenant, lane: Lane, id: JobId) -> String {
    listing_shard(tenant, lane, id.spread() % LISTING_SHARDS)
}

/// One of the partitions that make up a list.
pub fn listing_shard(tenant: &Tenant, lane: Lane, shard: u8) -> String {
    let lane = match lane {
        // Where a job stands unless it has failed: the list of all jobs is both.
        Lane::All => "jobs",
        Lane::Failed => "failed",
    };
    format!("{tenant}#{lane}#{shard}")
}

/// A job's place in its lists: the later it was accepted, the greater.
pub fn listed_at(job: &Job) -> String {
    Cursor::after(job).as_str().to_owned()
}

/// A job as the table keeps it. Times and the timeout are in milliseconds, `ttl` in seconds; payload and result are
/// JSON text.
#[derive(Serialize, Deserialize)]
pub struct Item {
    id: JobId,
    tenant: Tenant,
    #[serde(rename = "type")]
    job_type: TypeName,
    status: Status,
    payload: String,
    fingerprint: Fingerprint,
    attempts: u32,
    max_attempts: u32,
    timeout: u64,
    not_before: Timestamp,
    created_at: Timestamp,
    correlation_id: String,
    history: Vec<Event>,
    listing: String,
    listed_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_shard: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease_token: Option<LeaseToken>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cancel_requested: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    /// 0 while the next claim goes on with the latest attempt; else absent, and it counts 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Tag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    callback_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<JobId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_back: Option<HeldBack>,
    /// Absent is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl: Option<i64>,
}

impl From<&Job> for Item {
    fn from(job: &Job) -> Self {
        let ended = job.finished_at();
        let mut item = Self {
            id: job.id,
            tenant: job.tenant.clone(),
            job_type: job.job_type.clone(),
            status: job.status(),
            payload: job.payload.as_str().to_owned(),
            fingerprint: job.fingerprint.clone(),
            attempts: job.attempts,
            max_attempts: job.max_attempts,
            timeout: u64::try_from(job.timeout.as_millis()).unwrap_or(u64::MAX),
            not_before: job.created_at,
            created_at: job.created_at,
            correlation_id: job.correlation_id.clone(),
            history: job.history.clone(),
            listing: listing(&job.tenant, Lane::All, job.id),
            listed_at: listed_at(job),
            due_shard: job.due_at().map(|_| due_shard(job.id)),
            due_at: job.due_at(),
            lease_until: None,
            lease_token: job.lease_token,
            cancel_requested: None,
            started_at: job.started_at,
            finished_at: ended,
            result: None,
            error: job.error.clone(),
            traceparent: job.traceparent.clone(),
            step: None,
            tags: job.tags.clone(),
            expires_at: job.expires_at,
            callback_url: job.callback_url.clone(),
            duplicate_of: job.duplicate_of,
            checkpoint: job.checkpoint.as_ref().map(|checkpoint| checkpoint.as_str().to_owned()),
            progress: job.progress.clone(),
            held_back: job.held_back.clone(),
            format: Some(job.format).filter(|format| *format > 1),
            ttl: ended.map(|at| (at + KEEP_ENDED).as_secs()),
        };
        match &job.state {
            State::Pending { not_before, due_at: _, resumes } => {
                item.not_before = *not_before;
                item.step = resumes.then_some(0);
            }
            State::Processing { lease_until, cancel_requested, due_at: _ } => {
                item.lease_until = Some(*lease_until);
                item.cancel_requested = cancel_requested.then_some(true);
            }
            State::Completed { result, finished_at: _ } => item.result = Some(result.as_str().to_owned()),
            State::Failed { finished_at: _ } => item.listing = listing(&job.tenant, Lane::Failed, job.id),
            State::Cancelled { finished_at: _ } => {}
        }
        item
    }
}

impl TryFrom<Item> for Job {
    type Error = Source;

    fn try_from(item: Item) -> Result<Self, Source> {
        let due_at = item.due_at.ok_or("due_at is missing");
        let finished_at = item.finished_at.ok_or("finished_at is missing");
        let state = match item.status {
            Status::Pending => {
                State::Pending { not_before: item.not_before, due_at: due_at?, resumes: item.step == Some(0) }
            }
            Status::Processing => State::Processing {
                lease_until: item.lease_until.ok_or("lease_until is missing")?,
                cancel_requested: item.cancel_requested.unwrap_or(false),
                due_at: due_at?,
            },
            Status::Completed => {
                let result = Json::parse(&item.result.ok_or("result is missing")?)?;
                State::Completed { finished_at: finished_at?, result }
            }
            Status::Failed => State::Failed { finished_at: finished_at? },
            Status::Cancelled => State::Cancelled { finished_at: finished_at? },
        };
        Ok(Self {
            id: item.id,
            tenant: item.tenant,
            job_type: item.job_type,
            payload: Json::parse(&item.payload)?,
            fingerprint: item.fingerprint,
            attempts: item.attempts,
            max_attempts: item.max_attempts,
            timeout: Duration::from_millis(item.timeout),
            state,
            lease_token: item.lease_token,
            created_at: item.created_at,
            started_at: item.started_at,
            error: item.error,
            correlation_id: item.correlation_id,
            traceparent: item.traceparent,
            tags: item.tags,
            expires_at: item.expires_at,
            callback_url: item.callback_url,
            duplicate_of: item.duplicate_of,
            checkpoint: item.checkpoint.map(|checkpoint| Json::parse(&checkpoint)).transpose()?,
            progress: item.progress,
            held_back: item.held_back,
            format: item.format.unwrap_or(1),
            history: item.history,
        })
    }
}

/// The job in an item of the table.
pub fn read(item: Attributes) -> Result<Job, StoreError> {
    let newer = || {
        let format = item.get("format")?.as_n().ok()?.parse().ok()?;
        Some(StoreError::Newer(text_in(&item, "id"), format)).filter(|_| format > FORMAT)
    };
    let newer = newer();
    read_as::<Item, _>(item).map_err(|error| newer.unwrap_or(error))
}
