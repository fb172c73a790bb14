//! What every [`SubscriptionStore`] must do, as a suite that panics where one does not. Needs a store without
//! subscriptions, and leaves none behind.

#![expect(clippy::expect_used, reason = "to panic is what a failed contract does")]

use std::time::Duration;

use super::{Matching, SubscriptionPage, SubscriptionStore};
use crate::job::submission::Limits;
use crate::subscription::{Definition, EventType, Subscription, SubscriptionKey, SubscriptionName};
use crate::values::id::Tenant;
use crate::values::time::Timestamp;

/// When the story of the suite begins: 2027-01-15T08:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);

/// The suite.
pub async fn subscription_store(store: &dyn SubscriptionStore) {
    a_stored_subscription_reads_back_as_it_was(store).await;
    of_two_writers_who_saw_the_same_one_succeeds(store).await;
    a_subscription_made_again_is_another(store).await;
    an_event_finds_those_who_are_subscribed_to_its_type(store).await;
    as_many_are_found_as_may_be_subscribed(store).await;
    subscriptions_are_listed_by_type_and_name_in_pages(store).await;
}

async fn a_stored_subscription_reads_back_as_it_was(store: &dyn SubscriptionStore) {
    let new = subscription("default", "as-it-was", "order.created");
    assert_eq!(store.find(&new.key).await.expect("answers"), None);
    assert!(put(store, &new, None).await);
    assert_eq!(store.find(&new.key).await.expect("answers").as_ref(), Some(&new));
    let other = SubscriptionKey { tenant: tenant("other"), ..new.key.clone() };
    assert_eq!(store.find(&other).await.expect("answers"), None, "another's subscription is not there");

    let changed = changed(&new, "order.paid");
    assert!(put(store, &changed, Some(&new)).await);
    assert_eq!(store.find(&new.key).await.expect("answers").as_ref(), Some(&changed));
    delete(store, &changed).await;
}

async fn of_two_writers_who_saw_the_same_one_succeeds(store: &dyn SubscriptionStore) {
    let new = subscription("default", "contended", "order.created");
    let another = Subscription { created_at: START - MINUTE, ..new.clone() };
    assert!(put(store, &new, None).await);
    assert!(put(store, &new, None).await, "the same again, its answer having been lost");
    assert!(!put(store, &another, None).await, "there is one already");

    let (paid, sent) = (changed(&new, "order.paid"), changed(&new, "order.sent"));
    assert!(put(store, &paid, Some(&new)).await);
    assert!(put(store, &paid, Some(&new)).await, "the same again");
    assert!(!put(store, &sent, Some(&new)).await, "it is no longer as it was seen");
    assert_eq!(store.find(&new.key).await.expect("answers").as_ref(), Some(&paid));
    delete(store, &new).await;
    assert!(!put(store, &sent, Some(&new)).await, "what is deleted stays deleted");
    assert_eq!(store.find(&new.key).await.expect("answers"), None);
}

async fn a_subscription_made_again_is_another(store: &dyn SubscriptionStore) {
    let first = subscription("default", "again", "order.created");
    assert!(put(store, &first, None).await);
    delete(store, &first).await;
    let second = Subscription { created_at: START + MINUTE, ..first.clone() };
    assert!(put(store, &second, None).await);
    assert!(!put(store, &changed(&first, "order.paid"), Some(&first)).await, "though their versions are equal");
    assert_eq!(store.find(&first.key).await.expect("answers").as_ref(), Some(&second));
    delete(store, &second).await;
}

async fn an_event_finds_those_who_are_subscribed_to_its_type(store: &dyn SubscriptionStore) {
    let made = [
        subscription("default", "b", "order.created"),
        subscription("default", "a", "order.created"),
        subscription("default", "longer", "order.created.twice"),
        subscription("default", "shorter", "order"),
        subscription("default", "capital", "Order.created"),
        subscription("other", "a", "order.created"),
    ];
    for new in &made {
        assert!(put(store, new, None).await);
    }
    assert_eq!(matching(store, "default", "order.created").await, [made[1].clone(), made[0].clone()]);
    assert_eq!(matching(store, "default", "order").await, [made[3].clone()]);
    assert_eq!(matching(store, "other", "order.created").await, [made[5].clone()]);
    assert_eq!(matching(store, "default", "order.").await, [], "part of a type is another one");
    assert_eq!(matching(store, "nobody", "order.created").await, []);

    let moved = changed(&made[0], "order");
    assert!(put(store, &moved, Some(&made[0])).await);
    assert_eq!(matching(store, "default", "order.created").await, [made[1].clone()]);
    assert_eq!(matching(store, "default", "order").await, [moved, made[3].clone()]);
    for subscription in &made {
        delete(store, subscription).await;
    }
    assert_eq!(matching(store, "default", "order.created").await, []);
}

async fn as_many_are_found_as_may_be_subscribed(store: &dyn SubscriptionStore) {
    let mut made = vec![];
    for number in 0..=crate::subscription::MOST_PER_EVENT_TYPE {
        let new = subscription("default", &format!("number-{number:03}"), "order.created");
        assert!(put(store, &new, None).await);
        made.push(new);
    }
    assert_eq!(matching(store, "default", "order.created").await, made, "and one more, as when two come at once");
    for subscription in &made {
        delete(store, subscription).await;
    }
}

async fn subscriptions_are_listed_by_type_and_name_in_pages(store: &dyn SubscriptionStore) {
    let places = [("Order", "z"), ("order", "a"), ("order", "c"), ("order-2", "d"), ("order.created", "b")];
    let all = places.map(|(event_type, name)| subscription("default", name, event_type));
    for new in all.iter().rev() {
        assert!(put(store, new, None).await);
    }
    let others = subscription("other", "b", "order");
    assert!(put(store, &others, None).await);

    let tenant = Tenant::only();
    let whole = store.list(&tenant, None, 10).await.expect("answers");
    assert_eq!(whole, SubscriptionPage { subscriptions: all.to_vec(), next: None });
    for limit in [1, 2, 5] {
        let (mut found, mut after) = (vec![], None);
        loop {
            let page = store.list(&tenant, after.as_ref(), limit).await.expect("answers");
            assert!(page.subscriptions.len() <= limit);
            found.extend(page.subscriptions);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, all, "in pages of {limit}");
    }
    for subscription in &all {
        delete(store, subscription).await;
    }
    delete(store, &others).await;
    assert_eq!(store.list(&tenant, None, 10).await.expect("answers").subscriptions, []);
}

async fn put(store: &dyn SubscriptionStore, subscription: &Subscription, seen: Option<&Subscription>) -> bool {
    store.put_if_unchanged(subscription, seen).await.expect("answers")
}

async fn matching(store: &dyn SubscriptionStore, tenant_name: &str, event_type: &str) -> Vec<Subscription> {
    let event_type = EventType::parse(event_type).expect("a type");
    let found = store.matching(&tenant(tenant_name), &event_type).await.expect("answers");
    let Matching { subscriptions, unreadable } = found;
    assert_eq!(unreadable, []);
    subscriptions
}

async fn delete(store: &dyn SubscriptionStore, subscription: &Subscription) {
    assert!(store.delete(&subscription.key).await.expect("answers"), "it was there");
    assert!(!store.delete(&subscription.key).await.expect("answers"), "it is there no longer");
}

fn tenant(name: &str) -> Tenant {
    Tenant::named(name).expect("a name")
}

fn subscription(tenant_name: &str, name: &str, event_type: &str) -> Subscription {
    let key = SubscriptionKey { tenant: tenant(tenant_name), name: SubscriptionName::parse(name).expect("a name") };
    Subscription::new(key, definition(event_type), START)
}

fn changed(subscription: &Subscription, event_type: &str) -> Subscription {
    subscription.redefined(&definition(event_type), START + MINUTE).expect("it is another definition")
}

fn definition(event_type: &str) -> Definition {
    let payload = "{\"\u{fffe}\":1.10,\"a\":\"{{data.a}}\"}";
    let job = format!(r#"{{"type":"csv-generation","payload":{payload},"tags":["{{{{data.b}}}}"]}}"#);
    let body = format!(r#"{{"event_type":"{event_type}","job":{job}}}"#);
    Definition::parse(body.as_bytes(), START, Limits::default()).expect("fits")
}
