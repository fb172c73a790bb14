//! The job store on DynamoDB. The only file that knows what a job looks like in the table.
//!
//! Each change is one `UpdateItem` whose condition says what [`shared::transition::transition`] says, so that nothing
//! has to be read first and no two writers can both succeed.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure as OnRefusal,
};
use serde::{Deserialize, Serialize};
use serde_dynamo::aws_sdk_dynamodb_1::{from_item, to_attribute_value, to_item};
use shared::chain::Chain;
use shared::event::Event;
use shared::id::{JobId, LeaseToken, Tenant};
use shared::job::{Fingerprint, Job, KEEP_ENDED, State, Status, TypeName};
use shared::json::Json;
use shared::ports::{Changed, Inserted, JobStore, Source, StoreError};
use shared::sweep;
use shared::time::Timestamp;
use shared::transition::{ABANDONED, Change, Fence, LEASE_MARGIN, transition};

/// Over how many partitions of the index `due` the jobs are spread. The sweeper asks each one in turn; each takes
/// 1,000 writes a second.
const DUE_SHARDS: u8 = 4;

/// Over how many partitions of the index `listing` each tenant's jobs are spread, for the same reason.
const LISTING_SHARDS: u8 = 4;

/// As many items as one `BatchGetItem` takes.
const BATCH: usize = 100;

/// A [`JobStore`] on one DynamoDB table.
#[derive(Clone, Debug)]
pub struct DynamoStore {
    client: Client,
    table: String,
}

type Attributes = HashMap<String, AttributeValue>;

impl DynamoStore {
    /// The store in the table `table`.
    pub fn new(config: &SdkConfig, table: String) -> Self {
        Self::with_client(Client::new(config), table)
    }

    /// The store in the table `table`, by way of this client.
    pub fn with_client(client: Client, table: String) -> Self {
        Self { client, table }
    }
}

#[async_trait]
impl JobStore for DynamoStore {
    async fn insert_if_absent(&self, job: &Job) -> Result<Inserted, StoreError> {
        let item: Attributes = to_item(Item::from(job)).map_err(|error| StoreError::Refused(error.into()))?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = put.condition_expression("attribute_not_exists(#id)").expression_attribute_names("#id", "id");
        match put.return_values_on_condition_check_failure(OnRefusal::AllOld).send().await {
            Ok(_) => Ok(Inserted::New),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                    let there = refused.item.clone().unwrap_or_default();
                    Ok(Inserted::AlreadyThere(Box::new(read(there)?)))
                }
                Some(_) | None => Err(no_answer(error)),
            },
        }
    }

    async fn find(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        let get = self.client.get_item().table_name(&self.table).key("id", AttributeValue::S(id.to_string()));
        let found = get.consistent_read(true).send().await.map_err(no_answer)?;
        found.item.map(read).transpose()
    }

    async fn change_if_allowed(&self, id: JobId, change: &Change) -> Result<Changed, StoreError> {
        let update = update_for(id, change)?;
        let request = self.client.update_item().table_name(&self.table);
        let request = request.key("id", AttributeValue::S(id.to_string()));
        let request = request.update_expression(update.expression()).condition_expression(update.condition());
        let request = request.set_expression_attribute_names(Some(update.names()));
        let request = request.set_expression_attribute_values(Some(update.values).filter(|values| !values.is_empty()));
        let request = request.return_values(ReturnValue::AllNew);
        match request.return_values_on_condition_check_failure(OnRefusal::AllOld).send().await {
            Ok(answer) => Ok(Changed::Applied(Box::new(read(answer.attributes.unwrap_or_default())?))),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => match refused.item.clone() {
                    None => Ok(Changed::Missing),
                    Some(item) => refused_because(read(item)?, change),
                },
                Some(_) | None => Err(no_answer(error)),
            },
        }
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError> {
        let mut keys = vec![];
        for shard in 0..DUE_SHARDS {
            keys.extend(self.overdue_keys(shard, now, limit).await?);
        }
        keys.sort_by_key(|key| key.due_at);
        keys.truncate(limit);
        let mut jobs = vec![];
        for batch in keys.chunks(BATCH) {
            jobs.extend(self.find_all(batch.iter().map(|key| key.id)).await?);
        }
        // The index lags behind the table: what has moved on since is left out.
        jobs.retain(|job| job.due_at().is_some_and(|due_at| due_at < now));
        jobs.sort_by_key(Job::due_at);
        Ok(jobs)
    }
}

/// An entry of the index `due`.
#[derive(Deserialize)]
struct DueKey {
    id: JobId,
    due_at: Timestamp,
}

impl DynamoStore {
    async fn overdue_keys(&self, shard: u8, now: Timestamp, limit: usize) -> Result<Vec<DueKey>, StoreError> {
        let mut keys = vec![];
        let mut start = None;
        while keys.len() < limit {
            let page = i32::try_from(limit - keys.len()).unwrap_or(i32::MAX);
            let query = self.client.query().table_name(&self.table).index_name("due").limit(page);
            let query = query.key_condition_expression("#due_shard = :shard AND #due_at < :now");
            let query = query.expression_attribute_names("#due_shard", "due_shard");
            let query = query.expression_attribute_names("#due_at", "due_at");
            let query = query.expression_attribute_values(":shard", AttributeValue::S(shard.to_string()));
            let query = query.expression_attribute_values(":now", AttributeValue::N(now.as_millis().to_string()));
            let answer = query.set_exclusive_start_key(start).send().await.map_err(no_answer)?;
            for item in answer.items.unwrap_or_default() {
                keys.push(from_item(item).map_err(|error| StoreError::Refused(error.into()))?);
            }
            start = answer.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(keys)
    }

    /// The jobs of these ids, [`BATCH`] at most. One that the table has no time for now is left out: it stays overdue.
    async fn find_all(&self, ids: impl Iterator<Item = JobId>) -> Result<Vec<Job>, StoreError> {
        let keys = ids.map(|id| Attributes::from([("id".to_owned(), AttributeValue::S(id.to_string()))])).collect();
        let keys = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
        let keys = keys.map_err(|error| StoreError::Refused(error.into()))?;
        let answer = self.client.batch_get_item().request_items(&self.table, keys).send().await.map_err(no_answer)?;
        let items = answer.responses.unwrap_or_default().remove(&self.table).unwrap_or_default();
        let mut jobs = vec![];
        for item in items {
            match read(item) {
                Ok(job) => jobs.push(job),
                // One that cannot be read must not keep the sweeper from all the others.
                Err(error) => tracing::error!(error = %Chain(&error), "job.unreadable"),
            }
        }
        Ok(jobs)
    }
}

/// The update that makes `change` happen, under the condition that it may.
fn update_for(id: JobId, change: &Change) -> Result<Update, StoreError> {
    let update = match change {
        Change::Claim { now, token, time_left } => Update::default()
            .set("status", Status::Processing)?
            .set("lease_token", token)?
            .set("started_at", now)?
            .set_to("attempts", "#attempts + :one", ":one", 1)?
            .set_to("lease_until", "#timeout + :lease_from", ":lease_from", *now + LEASE_MARGIN)?
            .happens(&Event::Started { at: *now })?
            .only_if(&claimable())
            .only_if("#attempts < #max_attempts")
            .only_if("#timeout <= :longest_timeout")
            .value(":now", now)?
            .value(":pending", Status::Pending)?
            .value(":processing", Status::Processing)?
            .value(":token", token)?
            .value(":longest_timeout", millis(time_left.checked_sub(LEASE_MARGIN)))?,
        Change::Complete { now, fence, result } => Update::default()
            .held_by(fence)?
            .ends(*now, Status::Completed)?
            .set("result", result.as_str())?
            .remove("error")
            .happens(&Event::Completed { at: *now })?,
        Change::Retry { now, fence, error, not_before } => Update::default()
            .held_by(fence)?
            .only_if("attribute_not_exists(#cancel_requested)")
            .only_if("#attempts < #max_attempts")
            .set("status", Status::Pending)?
            .set("error", error)?
            .set("not_before", not_before)?
            .set("due_at", sweep::due_after(*not_before))?
            .remove("lease_until")
            .happens(&Event::Retrying { at: *now, error: error.clone(), not_before: *not_before })?,
        Change::Fail { now, fence, error, tenant } => Update::default()
            .held_by(fence)?
            .only_if("attribute_not_exists(#cancel_requested)")
            .fails(id, *now, error, tenant)?,
        Change::YieldToCancel { now, fence } => {
            Update::default().held_by(fence)?.only_if("attribute_exists(#cancel_requested)").cancels(*now)?
        }
        Change::Expire { now, tenant } => Update::default()
            .abandoned_before(*now)?
            .only_if("attribute_not_exists(#cancel_requested)")
            .only_if("#attempts >= #max_attempts")
            .fails(id, *now, ABANDONED, tenant)?,
        Change::ExpireCancelled { now } => {
            Update::default().abandoned_before(*now)?.only_if("attribute_exists(#cancel_requested)").cancels(*now)?
        }
        Change::Postpone { seen_due_at, due_at } => {
            Update::default().only_if("#due_at = :seen").value(":seen", seen_due_at)?.set("due_at", due_at)?
        }
        Change::CancelPending { now } => {
            Update::default().only_if("#status = :pending").value(":pending", Status::Pending)?.cancels(*now)?
        }
        Change::RequestCancel { now } => Update::default()
            .only_if("#status = :processing")
            .value(":processing", Status::Processing)?
            .only_if("attribute_not_exists(#cancel_requested)")
            .set("cancel_requested", true)?
            .happens(&Event::CancelRequested { at: *now })?,
    };
    Ok(update)
}

/// When a worker may take a job, its attempts and its timeout aside.
fn claimable() -> String {
    let ready = "#status = :pending AND #not_before <= :now";
    let lease_over = "#status = :processing AND #lease_until < :now";
    let not_mine_already = "#lease_token <> :token";
    let wanted = "attribute_not_exists(#cancel_requested)";
    format!("({ready}) OR ({lease_over} AND {not_mine_already} AND {wanted})")
}

/// An update expression and its condition, put together piece by piece. Every attribute is written as `#name`: half
/// of ours are reserved words.
#[derive(Default)]
struct Update {
    set: Vec<String>,
    remove: Vec<String>,
    conditions: Vec<String>,
    values: Attributes,
}

impl Update {
    fn held_by(self, fence: &Fence) -> Result<Self, StoreError> {
        self.only_if("#status = :processing AND #attempts = :my_attempt AND #lease_token = :my_token")
            .value(":processing", Status::Processing)?
            .value(":my_attempt", fence.attempt)?
            .value(":my_token", fence.token)
    }

    fn abandoned_before(self, now: Timestamp) -> Result<Self, StoreError> {
        self.only_if("#status = :processing AND #lease_until < :now")
            .value(":processing", Status::Processing)?
            .value(":now", now)
    }

    fn ends(self, now: Timestamp, status: Status) -> Result<Self, StoreError> {
        let update = self.set("status", status)?.set("finished_at", now)?.set("ttl", (now + KEEP_ENDED).as_secs())?;
        Ok(update.remove("due_shard").remove("due_at").remove("lease_until").remove("cancel_requested"))
    }

    fn fails(self, id: JobId, now: Timestamp, error: &str, tenant: &Tenant) -> Result<Self, StoreError> {
        self.ends(now, Status::Failed)?
            .set("error", error)?
            .set("listing", listing(tenant, Lane::Failed, id))?
            .happens(&Event::Failed { at: now, error: error.to_owned() })
    }

    fn cancels(self, now: Timestamp) -> Result<Self, StoreError> {
        self.ends(now, Status::Cancelled)?.happens(&Event::Cancelled { at: now })
    }

    fn happens(self, event: &Event) -> Result<Self, StoreError> {
        self.set_to("history", "list_append(#history, :event)", ":event", [event])
    }

    fn set(self, name: &str, value: impl Serialize) -> Result<Self, StoreError> {
        let placeholder = format!(":new_{name}");
        self.set_to(name, &placeholder, &placeholder, value)
    }

    fn set_to(
        mut self,
        name: &str,
        expression: &str,
        placeholder: &str,
        value: impl Serialize,
    ) -> Result<Self, StoreError> {
        self.set.push(format!("#{name} = {expression}"));
        self.value(placeholder, value)
    }

    fn remove(mut self, name: &str) -> Self {
        self.remove.push(format!("#{name}"));
        self
    }

    fn only_if(mut self, condition: &str) -> Self {
        self.conditions.push(format!("({condition})"));
        self
    }

    fn value(mut self, placeholder: &str, value: impl Serialize) -> Result<Self, StoreError> {
        let value = to_attribute_value(value).map_err(|error| StoreError::Refused(error.into()))?;
        self.values.insert(placeholder.to_owned(), value);
        Ok(self)
    }

    fn expression(&self) -> String {
        let removed =
            if self.remove.is_empty() { String::new() } else { format!(" REMOVE {}", self.remove.join(", ")) };
        format!("SET {}{removed}", self.set.join(", "))
    }

    fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }

    /// What each `#name` in the two expressions stands for.
    fn names(&self) -> HashMap<String, String> {
        let both = self.expression() + " " + &self.condition();
        let words = both.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '#'));
        words.filter_map(|word| Some((word.to_owned(), word.strip_prefix('#')?.to_owned()))).collect()
    }
}

/// Why the table refused `change` to `job`, which it gave along with its refusal.
fn refused_because(job: Job, change: &Change) -> Result<Changed, StoreError> {
    match transition(&job, change) {
        Err(refusal) => Ok(Changed::Refused(refusal, Box::new(job))),
        // Cannot be: the condition and the function say the same, and the contract suite holds one against the other.
        Ok(_) => Err(StoreError::Refused(format!("the table refused what is allowed to {}", job.id).into())),
    }
}

/// Tells errors that pass from those that stay. An unknown one passes: to try again costs little, to give up a job.
fn no_answer<E>(error: SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let stays =
        matches!(error.code(), Some("ValidationException" | "ResourceNotFoundException" | "AccessDeniedException"));
    let source: Source = Box::new(error);
    if stays { StoreError::Refused(source) } else { StoreError::Unavailable(source) }
}

/// The lists that jobs stand in.
#[derive(Clone, Copy)]
enum Lane {
    Jobs,
    Failed,
}

fn listing(tenant: &Tenant, lane: Lane, id: JobId) -> String {
    let lane = match lane {
        Lane::Jobs => "jobs",
        Lane::Failed => "failed",
    };
    format!("{tenant}#{lane}#{}", id.spread() % LISTING_SHARDS)
}

fn millis(time: Option<Duration>) -> i64 {
    time.map_or(-1, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

/// A job as the table keeps it. Times and the timeout are in milliseconds, `ttl` in seconds; payload and result are
/// JSON text.
#[derive(Serialize, Deserialize)]
struct Item {
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
            listing: listing(&job.tenant, Lane::Jobs, job.id),
            listed_at: format!("{:013}#{}", job.created_at.as_millis(), job.id),
            due_shard: job.due_at().map(|_| (job.id.spread() % DUE_SHARDS).to_string()),
            due_at: job.due_at(),
            lease_until: None,
            lease_token: job.lease_token,
            cancel_requested: None,
            started_at: job.started_at,
            finished_at: ended,
            result: None,
            error: job.error.clone(),
            traceparent: job.traceparent.clone(),
            ttl: ended.map(|at| (at + KEEP_ENDED).as_secs()),
        };
        match &job.state {
            State::Pending { not_before, due_at: _ } => item.not_before = *not_before,
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
            Status::Pending => State::Pending { not_before: item.not_before, due_at: due_at? },
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
            history: item.history,
        })
    }
}

fn read(item: Attributes) -> Result<Job, StoreError> {
    let id = item.get("id").and_then(|id| id.as_s().ok()).cloned().unwrap_or_default();
    let item: Item = from_item(item).map_err(|error| StoreError::Unreadable(id.clone(), error.into()))?;
    Job::try_from(item).map_err(|source| StoreError::Unreadable(id, source))
}
