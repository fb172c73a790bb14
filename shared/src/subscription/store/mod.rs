//! Where subscriptions are kept: the port, an adapter in memory, and the contract suite that every adapter passes.

pub mod contract;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::ports::StoreError;
use crate::subscription::{EventType, Place, Subscription, SubscriptionKey, SubscriptionName};
use crate::values::id::Tenant;

/// The subscriptions.
#[async_trait]
pub trait SubscriptionStore: Send + Sync {
    /// The subscription as it is now; everything that was written before this call is seen.
    async fn find(&self, key: &SubscriptionKey) -> Result<Option<Subscription>, StoreError>;

    /// Stores the subscription, in one atomic step, if what is there is still the one that was `seen` (`None`: that
    /// there was none). Says whether it is stored. After an error it may or may not be; to ask again with the same
    /// subscription is safe, and succeeds if it is there already.
    async fn put_if_unchanged(
        &self,
        subscription: &Subscription,
        seen: Option<&Subscription>,
    ) -> Result<bool, StoreError>;

    /// Deletes it. Says whether it was there.
    async fn delete(&self, key: &SubscriptionKey) -> Result<bool, StoreError>;

    /// All subscriptions of one tenant to events of one type. One that was made or changed in the last seconds may be
    /// missing; what is there is as it is now.
    async fn matching(&self, tenant: &Tenant, event_type: &EventType) -> Result<Matching, StoreError>;

    /// The subscriptions of one tenant in the order of their places, those after `after`, `limit` at most. One that was
    /// made, changed or deleted in the last seconds may be missing; what is there is as it is now.
    async fn list(&self, tenant: &Tenant, after: Option<&Place>, limit: usize) -> Result<SubscriptionPage, StoreError>;
}

/// Who is subscribed to a type of event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// The subscriptions, by name.
    pub subscriptions: Vec<Subscription>,
    /// Those that are there and cannot be read: another version may have written them. Whoever publishes an event shall
    /// know that they go without.
    pub unreadable: Vec<SubscriptionName>,
}

/// Some subscriptions of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionPage {
    /// The subscriptions, in the order of their places.
    pub subscriptions: Vec<Subscription>,
    /// The place after which the next page begins; `None` if this one is the last.
    pub next: Option<Place>,
}

/// A [`SubscriptionStore`] in memory.
#[derive(Debug, Default)]
pub struct MemorySubscriptions(Mutex<BTreeMap<SubscriptionKey, Subscription>>);

impl MemorySubscriptions {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<SubscriptionKey, Subscription>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, tenant: &Tenant) -> Vec<Subscription> {
        let all = self.locked();
        all.values().filter(|subscription| subscription.key.tenant == *tenant).cloned().collect()
    }
}

#[async_trait]
impl SubscriptionStore for MemorySubscriptions {
    async fn find(&self, key: &SubscriptionKey) -> Result<Option<Subscription>, StoreError> {
        Ok(self.locked().get(key).cloned())
    }

    async fn put_if_unchanged(
        &self,
        subscription: &Subscription,
        seen: Option<&Subscription>,
    ) -> Result<bool, StoreError> {
        let mut subscriptions = self.locked();
        let there = subscriptions.get(&subscription.key);
        let unchanged =
            there.map(|there| (there.created_at, there.version)) == seen.map(|seen| (seen.created_at, seen.version));
        let is_there_already = there == Some(subscription);
        if unchanged {
            subscriptions.insert(subscription.key.clone(), subscription.clone());
        }
        Ok(unchanged || is_there_already)
    }

    async fn delete(&self, key: &SubscriptionKey) -> Result<bool, StoreError> {
        Ok(self.locked().remove(key).is_some())
    }

    async fn matching(&self, tenant: &Tenant, event_type: &EventType) -> Result<Matching, StoreError> {
        let mut subscriptions = self.of(tenant);
        subscriptions.retain(|subscription| subscription.definition.event_type == *event_type);
        Ok(Matching { subscriptions, unreadable: vec![] })
    }

    async fn list(&self, tenant: &Tenant, after: Option<&Place>, limit: usize) -> Result<SubscriptionPage, StoreError> {
        let mut subscriptions = self.of(tenant);
        subscriptions.retain(|subscription| after.is_none_or(|after| subscription.place() > *after));
        subscriptions.sort_by_key(Subscription::place);
        let more = subscriptions.len() > limit;
        subscriptions.truncate(limit);
        let next = subscriptions.last().filter(|_| more).map(Subscription::place);
        Ok(SubscriptionPage { subscriptions, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::submission::Limits;
    use crate::subscription::Definition;
    use crate::values::time::Timestamp;

    #[tokio::test]
    async fn subscriptions_in_memory_keep_the_contract() {
        contract::subscription_store(&MemorySubscriptions::default()).await;
    }

    #[tokio::test]
    async fn the_last_page_says_that_it_is_the_last() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let body = br#"{"event_type":"order.created","job":{"type":"csv-generation","payload":{"a":1}}}"#;
        let key = SubscriptionKey { tenant: Tenant::only(), name: SubscriptionName::parse("only").expect("a name") };
        let subscription = Subscription::new(key, Definition::parse(body, now, Limits::default()).expect("fits"), now);
        let subscriptions = MemorySubscriptions::default();
        assert!(subscriptions.put_if_unchanged(&subscription, None).await.expect("answers"));
        let page = subscriptions.list(&Tenant::only(), None, 1).await.expect("answers");
        assert_eq!(page, SubscriptionPage { subscriptions: vec![subscription], next: None });
    }
}
