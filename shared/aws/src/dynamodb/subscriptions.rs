//! The subscriptions, in the table that holds the jobs: one item each, and one entry in the index `listing`. In it a
//! tenant's subscriptions stand by the type of event and then by name, so that one query finds all of them, and one all
//! of a type.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shared::job::TypeName;
use shared::ports::{Source, StoreError};
use shared::subscription::store::{Matching, SubscriptionPage, SubscriptionStore};
use shared::subscription::{Definition, EventType, Place, Subscription, SubscriptionKey, SubscriptionName, Template};
use shared::values::chain::Chain;
use shared::values::id::Tenant;
use shared::values::json::Json;
use shared::values::time::Timestamp;

use super::DynamoStore;
use super::attributes::{Attributes, read_as, text, text_in};
use super::find::KeyQuery;
use super::named::{Put, id_of, owner_and_name};

/// What the ids of subscriptions begin with. No job's id does.
const PREFIX: &str = "subscription#";

#[async_trait]
impl SubscriptionStore for DynamoStore {
    async fn find(&self, key: &SubscriptionKey) -> Result<Option<Subscription>, StoreError> {
        self.find_item(&id(key)).await?.map(read).transpose()
    }

    async fn put_if_unchanged(
        &self,
        subscription: &Subscription,
        seen: Option<&Subscription>,
    ) -> Result<bool, StoreError> {
        let seen = seen.map(|seen| (seen.created_at, seen.version));
        match self.put_versioned(&Item::from(subscription), seen).await? {
            Put::Stored => Ok(true),
            // The put may have been tried twice, and the answer to the first try got lost.
            Put::AnotherThere(there) => Ok(read(there)? == *subscription),
            Put::NoneThere => Ok(false),
        }
    }

    async fn delete(&self, key: &SubscriptionKey) -> Result<bool, StoreError> {
        self.delete_item(&id(key)).await
    }

    async fn matching(&self, tenant: &Tenant, event_type: &EventType) -> Result<Matching, StoreError> {
        let query = all_of(tenant).only_beginning("listed_at", text(beginning(event_type)));
        let entries = self.find_entries(&query, usize::MAX, entry_in).await?;
        let mut matching = self.find_subscriptions(&entries).await?;
        // The index lags behind the table: one that has another type by now is left out.
        matching.subscriptions.retain(|subscription| subscription.definition.event_type == *event_type);
        matching.subscriptions.sort_by(|one, other| one.key.name.cmp(&other.key.name));
        Ok(matching)
    }

    async fn list(&self, tenant: &Tenant, after: Option<&Place>, limit: usize) -> Result<SubscriptionPage, StoreError> {
        let query = match after {
            Some(place) => all_of(tenant).only("listed_at", ">", text(listed_at(place))),
            None => all_of(tenant),
        };
        // One more than asked for tells whether others follow.
        let mut entries = self.find_entries(&query, limit.saturating_add(1), entry_in).await?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(|entry| entry.place.clone());
        let Matching { mut subscriptions, unreadable: _ } = self.find_subscriptions(&entries).await?;
        subscriptions.sort_by_key(Subscription::place);
        Ok(SubscriptionPage { subscriptions, next })
    }
}

/// An entry of the index.
struct Entry {
    key: SubscriptionKey,
    /// Where the index has it, which may be seconds old.
    place: Place,
}

impl DynamoStore {
    /// The subscriptions of these entries, in any order. One that is gone is left out.
    async fn find_subscriptions(&self, entries: &[Entry]) -> Result<Matching, StoreError> {
        let (items, left_out) = self.find_items(&entries.iter().map(|entry| id(&entry.key)).collect()).await?;
        if left_out {
            return Err(StoreError::Unavailable("some subscriptions were left out again and again".into()));
        }
        let mut found = Matching::default();
        for item in items {
            let key = key_of(&text_in(&item, "id"));
            match read(item) {
                Ok(subscription) => found.subscriptions.push(subscription),
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "subscription.unreadable");
                    found.unreadable.extend(key.map(|key| key.name));
                }
            }
        }
        Ok(found)
    }
}

/// `subscription#<tenant>#<name>`
fn id(key: &SubscriptionKey) -> String {
    id_of(PREFIX, &key.tenant, &key.name)
}

fn key_of(id: &str) -> Option<SubscriptionKey> {
    owner_and_name(PREFIX, id).map(|(tenant, name)| SubscriptionKey { tenant, name })
}

/// A tenant's part of the index.
fn all_of(tenant: &Tenant) -> KeyQuery {
    KeyQuery::of("listing").only("listing", "=", text(listing(tenant)))
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

/// One that cannot be read must not keep anybody from all the others.
fn entry_in(item: &Attributes) -> Option<Entry> {
    let id = text_in(item, "id");
    let entry = key_of(&id).zip(place_of(&text_in(item, "listed_at")));
    if entry.is_none() {
        tracing::error!(id, "subscription.unreadable");
    }
    entry.map(|(key, place)| Entry { key, place })
}

fn place_of(listed_at: &str) -> Option<Place> {
    let (event_type, name) = listed_at.split_once('#')?;
    Some(Place { event_type: EventType::parse(event_type).ok()?, name: SubscriptionName::parse(name).ok()? })
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
    read_as::<Item, _>(item)
}
