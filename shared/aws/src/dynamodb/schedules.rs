//! The schedules, in the table that holds the jobs: one item each, and an entry in each of the two indexes.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure as OnRefusal,
};
use serde::{Deserialize, Serialize};
use serde_dynamo::aws_sdk_dynamodb_1::{from_item, to_item};
use shared::chain::Chain;
use shared::id::Tenant;
use shared::json::Json;
use shared::ports::{Source, StoreError};
use shared::schedule::{Rule, Schedule, ScheduleKey, ScheduleName, State};
use shared::schedules::{SchedulePage, ScheduleStore};
use shared::time::Timestamp;

use super::together::text;
use super::{Attributes, DynamoStore, no_answer};

/// The partition of the index `due` that holds the schedules that are not paused. No job is in it.
const DUE_SHARD: &str = "schedules";

/// What the ids of schedules begin with. No job's id does.
const PREFIX: &str = "schedule#";

/// As many items as one `BatchGetItem` takes.
const BATCH: usize = 100;

/// How often what a `BatchGetItem` left out is asked for again.
const ROUNDS: u32 = 5;

#[async_trait]
impl ScheduleStore for DynamoStore {
    async fn find(&self, key: &ScheduleKey) -> Result<Option<Schedule>, StoreError> {
        let get = self.client.get_item().table_name(&self.table).key("id", text(id(key)));
        let found = get.consistent_read(true).send().await.map_err(no_answer)?;
        found.item.map(read).transpose()
    }

    async fn put_if_unchanged(&self, schedule: &Schedule, seen: Option<&Schedule>) -> Result<bool, StoreError> {
        let item: Attributes = to_item(Item::from(schedule)).map_err(|error| StoreError::Refused(error.into()))?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = match seen {
            None => put.condition_expression("attribute_not_exists(#id)").expression_attribute_names("#id", "id"),
            // The version alone would take a schedule that was deleted and made again for the one that was seen.
            Some(seen) => put
                .condition_expression("#created_at = :created_at AND #version = :version")
                .expression_attribute_names("#created_at", "created_at")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":created_at", number(&seen.created_at.as_millis()))
                .expression_attribute_values(":version", number(&seen.version)),
        };
        match put.return_values_on_condition_check_failure(OnRefusal::AllOld).send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                // The put may have been tried twice, and the answer to the first try got lost.
                Some(PutItemError::ConditionalCheckFailedException(refused)) => match refused.item.clone() {
                    Some(there) => Ok(read(there)? == *schedule),
                    None => Ok(false),
                },
                Some(_) | None => Err(no_answer(error)),
            },
        }
    }

    async fn delete(&self, key: &ScheduleKey) -> Result<bool, StoreError> {
        let delete = self.client.delete_item().table_name(&self.table).key("id", text(id(key)));
        let deleted = delete.return_values(ReturnValue::AllOld).send().await.map_err(no_answer)?;
        Ok(deleted.attributes.is_some_and(|attributes| !attributes.is_empty()))
    }

    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&ScheduleName>,
        limit: usize,
    ) -> Result<SchedulePage, StoreError> {
        let query = KeyQuery::of("listing").only("listing", "=", text(listing(tenant)));
        let query = match after {
            Some(name) => query.only("listed_at", ">", text(name.as_str())),
            None => query,
        };
        // One more than asked for tells whether others follow.
        let mut keys = self.schedule_keys(&query, limit.saturating_add(1)).await?;
        let more = keys.len() > limit;
        keys.truncate(limit);
        let next = keys.last().filter(|_| more).map(|key| key.name.clone());
        let mut schedules = vec![];
        for batch in keys.chunks(BATCH) {
            schedules.extend(self.find_schedules(batch).await?);
        }
        schedules.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(SchedulePage { schedules, next })
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<ScheduleKey>, StoreError> {
        let query = KeyQuery::of("due").only("due_shard", "=", text(DUE_SHARD));
        self.schedule_keys(&query.only("due_at", "<", number(&now.as_millis())), limit).await
    }
}

/// A query of one of the indexes, which hold nothing but keys.
struct KeyQuery {
    index: &'static str,
    conditions: Vec<String>,
    names: HashMap<String, String>,
    values: Attributes,
}

impl KeyQuery {
    /// The entries of one index.
    fn of(index: &'static str) -> Self {
        Self { index, conditions: vec![], names: HashMap::new(), values: Attributes::new() }
    }

    /// Only those of them whose key is so.
    fn only(mut self, attribute: &str, comparison: &str, value: AttributeValue) -> Self {
        self.conditions.push(format!("#{attribute} {comparison} :{attribute}"));
        self.names.insert(format!("#{attribute}"), attribute.to_owned());
        self.values.insert(format!(":{attribute}"), value);
        self
    }
}

impl DynamoStore {
    /// The schedules that an index names, in its order. It lags behind the table by up to some seconds.
    async fn schedule_keys(&self, query: &KeyQuery, limit: usize) -> Result<Vec<ScheduleKey>, StoreError> {
        let mut keys = vec![];
        let mut start = None;
        while keys.len() < limit {
            let page = i32::try_from(limit - keys.len()).unwrap_or(i32::MAX);
            let ask = self.client.query().table_name(&self.table).index_name(query.index).limit(page);
            let ask = ask.key_condition_expression(query.conditions.join(" AND "));
            let ask = ask.set_expression_attribute_names(Some(query.names.clone()));
            let ask = ask.set_expression_attribute_values(Some(query.values.clone()));
            let answer = ask.set_exclusive_start_key(start).send().await.map_err(no_answer)?;
            for item in answer.items.unwrap_or_default() {
                if let Some(key) = key_of(&id_of(&item)) {
                    keys.push(key);
                } else {
                    // One that cannot be read must not keep anybody from all the others.
                    tracing::error!(id = id_of(&item), "schedule.unreadable");
                }
            }
            start = answer.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(keys)
    }

    /// The schedules of these keys, [`BATCH`] at most, in any order. One that is gone, or cannot be read, is left out.
    async fn find_schedules(&self, keys: &[ScheduleKey]) -> Result<Vec<Schedule>, StoreError> {
        let keys = keys.iter().map(|key| Attributes::from([("id".to_owned(), text(id(key)))])).collect();
        let keys = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
        let keys = keys.map_err(|error| StoreError::Refused(error.into()))?;
        let mut wanted = HashMap::from([(self.table.clone(), keys)]);
        let mut schedules = vec![];
        for _ in 0..ROUNDS {
            let get = self.client.batch_get_item().set_request_items(Some(wanted));
            let answer = get.send().await.map_err(no_answer)?;
            for item in answer.responses.unwrap_or_default().remove(&self.table).unwrap_or_default() {
                match read(item) {
                    Ok(schedule) => schedules.push(schedule),
                    Err(error) => tracing::error!(error = %Chain(&error), "schedule.unreadable"),
                }
            }
            wanted = answer.unprocessed_keys.unwrap_or_default();
            if wanted.is_empty() {
                return Ok(schedules);
            }
        }
        Err(StoreError::Unavailable("some schedules were left out again and again".into()))
    }
}

/// `schedule#<tenant>#<name>`; neither part has a `#` in it.
fn id(key: &ScheduleKey) -> String {
    format!("{PREFIX}{}#{}", key.tenant, key.name)
}

fn key_of(id: &str) -> Option<ScheduleKey> {
    let (tenant, name) = id.strip_prefix(PREFIX)?.split_once('#')?;
    Some(ScheduleKey { tenant: Tenant::named(tenant)?, name: ScheduleName::parse(name).ok()? })
}

fn id_of(item: &Attributes) -> String {
    item.get("id").and_then(|id| id.as_s().ok()).cloned().unwrap_or_default()
}

/// The partition of the index `listing` that holds a tenant's schedules.
fn listing(tenant: &Tenant) -> String {
    format!("{tenant}#schedules")
}

fn number(value: &impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A schedule as the table keeps it. Times are in milliseconds; the job is JSON text.
#[derive(Serialize, Deserialize)]
struct Item {
    id: String,
    tenant: Tenant,
    name: ScheduleName,
    cron: String,
    time_zone: String,
    job: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    version: u64,
    listing: String,
    listed_at: ScheduleName,
    /// Absent while it is paused, like the two below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_shard: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_run: Option<Timestamp>,
}

impl From<&Schedule> for Item {
    fn from(schedule: &Schedule) -> Self {
        let ScheduleKey { tenant, name } = &schedule.key;
        let next_at = match schedule.state {
            State::Active { next_at } => Some(next_at),
            State::Paused => None,
        };
        Self {
            id: id(&schedule.key),
            tenant: tenant.clone(),
            name: name.clone(),
            cron: schedule.rule.cron().to_owned(),
            time_zone: schedule.rule.time_zone().to_owned(),
            job: schedule.job.as_str().to_owned(),
            created_at: schedule.created_at,
            updated_at: schedule.updated_at,
            version: schedule.version,
            listing: listing(tenant),
            listed_at: name.clone(),
            next_at,
            due_shard: schedule.due_at().map(|_| DUE_SHARD.to_owned()),
            due_at: schedule.due_at(),
            last_run: schedule.last_run,
        }
    }
}

impl TryFrom<Item> for Schedule {
    type Error = Source;

    fn try_from(item: Item) -> Result<Self, Source> {
        Ok(Self {
            key: ScheduleKey { tenant: item.tenant, name: item.name },
            rule: Rule::parse(&item.cron, &item.time_zone)?,
            job: Json::parse(&item.job)?,
            state: item.next_at.map_or(State::Paused, |next_at| State::Active { next_at }),
            last_run: item.last_run,
            created_at: item.created_at,
            updated_at: item.updated_at,
            version: item.version,
        })
    }
}

fn read(item: Attributes) -> Result<Schedule, StoreError> {
    let id = id_of(&item);
    let item: Item = from_item(item).map_err(|error| StoreError::Unreadable(id.clone(), error.into()))?;
    Schedule::try_from(item).map_err(|source| StoreError::Unreadable(id, source))
}
