//! The subscriptions, in the table that holds the jobs: one item each, and one entry in the index `listing`. In it a
//! tenant's subscriptions stand by the type of event and then by name, so that one query finds all of them, and one all
//! of a type.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure as OnRefusal,
};
use serde::{Deserialize, Serialize};
use serde_dynamo::aws_sdk_dynamodb_1::{from_item, to_item};
use shared::chain::Chain;
use shared::id::Tenant;
use shared::job::TypeName;
use shared::json::Json;
use shared::ports::{Source, StoreError};
use shared::subscription::{Definition, EventType, Place, Subscription, SubscriptionKey, SubscriptionName, Template};
use shared::subscriptions::{Matching, SubscriptionPage, SubscriptionStore};
use shared::time::Timestamp;

use super::together::text;
use super::{Attributes, DynamoStore, no_answer};

/// What the ids of subscriptions begin with. No job's id does.
const PREFIX: &str = "subscription#";

/// How many entries of the index one query asks for at most.
const PAGE: usize = 1_000;

/// As many items as one `BatchGetItem` takes.
const BATCH: usize = 100;

/// How often what a `BatchGetItem` left out is asked for again.
const ROUNDS: u32 = 5;

#[async_trait]
impl SubscriptionStore for DynamoStore {
    async fn find(&self, key: &SubscriptionKey) -> Result<Option<Subscription>, StoreError> {
        let get = self.client.get_item().table_name(&self.table).key("id", text(id(key)));
        let found = get.consistent_read(true).send().await.map_err(no_answer)?;
        found.item.map(read).transpose()
    }

    async fn put_if_unchanged(
        &self,
        subscription: &Subscription,
        seen: Option<&Subscription>,
    ) -> Result<bool, StoreError> {
        let item: Attributes = to_item(Item::from(subscription)).map_err(|error| StoreError::Refused(error.into()))?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = match seen {
            None => put.condition_expression("attribute_not_exists(#id)").expression_attribute_names("#id", "id"),
            // The version alone would take one that was deleted and made again for the one that was seen.
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
                    Some(there) => Ok(read(there)? == *subscription),
                    None => Ok(false),
                },
                Some(_) | None => Err(no_answer(error)),
            },
        }
    }

    async fn delete(&self, key: &SubscriptionKey) -> Result<bool, StoreError> {
        let delete = self.client.delete_item().table_name(&self.table).key("id", text(id(key)));
        let deleted = delete.return_values(ReturnValue::AllOld).send().await.map_err(no_answer)?;
        Ok(deleted.attributes.is_some_and(|attributes| !attributes.is_empty()))
    }

    async fn matching(&self, tenant: &Tenant, event_type: &EventType) -> Result<Matching, StoreError> {
        let range = Range::OfType(event_type);
        let keys = self.subscription_keys(tenant, &range, usize::MAX).await?;
        let mut matching = self.find_subscriptions(&keys).await?;
        // The index lags behind the table: one that has another type by now is left out.
        matching.subscriptions.retain(|subscription| subscription.definition.event_type == *event_type);
        matching.subscriptions.sort_by(|one, other| one.key.name.cmp(&other.key.name));
        Ok(matching)
    }

    async fn list(&self, tenant: &Tenant, after: Option<&Place>, limit: usize) -> Result<SubscriptionPage, StoreError> {
        let range = after.map_or(Range::All, Range::After);
        // One more than asked for tells whether others follow.
        let mut keys = self.subscription_keys(tenant, &range, limit.saturating_add(1)).await?;
        let more = keys.len() > limit;
        keys.truncate(limit);
        let next = keys.last().filter(|_| more).map(|key| key.place.clone());
        let Matching { mut subscriptions, unreadable: _ } = self.find_subscriptions(&keys).await?;
        subscriptions.sort_by_key(Subscription::place);
        Ok(SubscriptionPage { subscriptions, next })
    }
}

/// Which of a tenant's subscriptions.
enum Range<'a> {
    All,
    After(&'a Place),
    OfType(&'a EventType),
}

/// An entry of the index.
struct Entry {
    key: SubscriptionKey,
    /// Where the index has it, which may be seconds old.
    place: Place,
}

impl DynamoStore {
    /// The subscriptions that the index names, in its order. It lags behind the table by up to some seconds.
    async fn subscription_keys(
        &self,
        tenant: &Tenant,
        range: &Range<'_>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let (condition, bound) = match range {
            Range::All => ("#listing = :listing", None),
            Range::After(place) => ("#listing = :listing AND #listed_at > :bound", Some(listed_at(place))),
            Range::OfType(event_type) => {
                ("#listing = :listing AND begins_with(#listed_at, :bound)", Some(beginning(event_type)))
            }
        };
        let mut entries = vec![];
        let mut start = None;
        while entries.len() < limit {
            let query = self.client.query().table_name(&self.table).index_name("listing");
            let query = query.limit(i32::try_from(PAGE.min(limit - entries.len())).unwrap_or(i32::MAX));
            let query = query.key_condition_expression(condition);
            let query = query.expression_attribute_names("#listing", "listing");
            let mut query = query.expression_attribute_values(":listing", text(listing(tenant)));
            if let Some(bound) = &bound {
                query = query.expression_attribute_names("#listed_at", "listed_at");
                query = query.expression_attribute_values(":bound", text(bound.clone()));
            }
            let answer = query.set_exclusive_start_key(start).send().await.map_err(no_answer)?;
            for item in answer.items.unwrap_or_default() {
                if let Some(entry) = entry_of(&item) {
                    entries.push(entry);
                } else {
                    // One that cannot be read must not keep anybody from all the others.
                    tracing::error!(id = text_in(&item, "id"), "subscription.unreadable");
                }
            }
            start = answer.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(entries)
    }

    /// The subscriptions of these entries, in any order. One that is gone is left out.
    async fn find_subscriptions(&self, entries: &[Entry]) -> Result<Matching, StoreError> {
        let mut found = Matching::default();
        let ids: BTreeSet<_> = entries.iter().map(|entry| id(&entry.key)).collect();
        for batch in ids.into_iter().collect::<Vec<_>>().chunks(BATCH) {
            for item in self.items_of(batch).await? {
                let key = key_of(&text_in(&item, "id"));
                match read(item) {
                    Ok(subscription) => found.subscriptions.push(subscription),
                    Err(error) => {
                        tracing::error!(error = %Chain(&error), "subscription.unreadable");
                        found.unreadable.extend(key.map(|key| key.name));
                    }
                }
            }
        }
        Ok(found)
    }

    /// The items of these ids, [`BATCH`] at most, in any order.
    async fn items_of(&self, ids: &[String]) -> Result<Vec<Attributes>, StoreError> {
        let keys = ids.iter().map(|id| Attributes::from([("id".to_owned(), text(id.clone()))])).collect();
        let keys = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
        let keys = keys.map_err(|error| StoreError::Refused(error.into()))?;
        let mut wanted = HashMap::from([(self.table.clone(), keys)]);
        let mut items = vec![];
        for _ in 0..ROUNDS {
            let get = self.client.batch_get_item().set_request_items(Some(wanted));
            let answer = get.send().await.map_err(no_answer)?;
            items.extend(answer.responses.unwrap_or_default().remove(&self.table).unwrap_or_default());
            wanted = answer.unprocessed_keys.unwrap_or_default();
            if wanted.is_empty() {
                return Ok(items);
            }
        }
        Err(StoreError::Unavailable("some subscriptions were left out again and again".into()))
    }
}

/// `subscription#<tenant>#<name>`; neither part has a `#` in it.
fn id(key: &SubscriptionKey) -> String {
    format!("{PREFIX}{}#{}", key.tenant, key.name)
}

fn key_of(id: &str) -> Option<SubscriptionKey> {
    let (tenant, name) = id.strip_prefix(PREFIX)?.split_once('#')?;
    Some(SubscriptionKey { tenant: Tenant::named(tenant)?, name: SubscriptionName::parse(name).ok()? })
}

/// The partition of the index `listing` that holds a tenant's subscriptions.
fn listing(tenant: &Tenant) -> String {
    format!("{tenant}#subscriptions")
}

/// `<event type>#<name>`. In this order texts stand as places do, because `#` comes before all that a type may hold.
fn listed_at(place: &Place) -> String {
    format!("{}{}", beginning(&place.event_type), place.name)
}

/// What the places of all subscriptions to this type, and of no other, begin with.
fn beginning(event_type: &EventType) -> String {
    format!("{event_type}#")
}

fn entry_of(item: &Attributes) -> Option<Entry> {
    let listed_at = text_in(item, "listed_at");
    let (event_type, name) = listed_at.split_once('#')?;
    let place = Place { event_type: EventType::parse(event_type).ok()?, name: SubscriptionName::parse(name).ok()? };
    Some(Entry { key: key_of(&text_in(item, "id"))?, place })
}

fn text_in(item: &Attributes, attribute: &str) -> String {
    item.get(attribute).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default()
}

fn number(value: &impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A subscription as the table keeps it. Times are in milliseconds; the job is JSON text.
#[derive(Serialize, Deserialize)]
struct Item {
    id: String,
    tenant: Tenant,
    name: SubscriptionName,
    event_type: EventType,
    job_type: TypeName,
    job: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    version: u64,
    listing: String,
    listed_at: String,
}

impl From<&Subscription> for Item {
    fn from(subscription: &Subscription) -> Self {
        let SubscriptionKey { tenant, name } = &subscription.key;
        let Definition { event_type, job_type, job } = &subscription.definition;
        Self {
            id: id(&subscription.key),
            tenant: tenant.clone(),
            name: name.clone(),
            event_type: event_type.clone(),
            job_type: job_type.clone(),
            job: job.json().as_str().to_owned(),
            created_at: subscription.created_at,
            updated_at: subscription.updated_at,
            version: subscription.version,
            listing: listing(tenant),
            listed_at: listed_at(&subscription.place()),
        }
    }
}

impl TryFrom<Item> for Subscription {
    type Error = Source;

    fn try_from(item: Item) -> Result<Self, Source> {
        let job = Template::parse(Json::parse(&item.job)?)?;
        Ok(Self {
            key: SubscriptionKey { tenant: item.tenant, name: item.name },
            definition: Definition { event_type: item.event_type, job_type: item.job_type, job },
            created_at: item.created_at,
            updated_at: item.updated_at,
            version: item.version,
        })
    }
}

fn read(item: Attributes) -> Result<Subscription, StoreError> {
    let id = text_in(&item, "id");
    let item: Item = from_item(item).map_err(|error| StoreError::Unreadable(id.clone(), error.into()))?;
    Subscription::try_from(item).map_err(|source| StoreError::Unreadable(id, source))
}
