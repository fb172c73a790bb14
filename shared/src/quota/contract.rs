//! What every [`QuotaStore`] must do, as a suite that panics where one does not. Needs a store that has counted
//! nothing, and leaves some counts behind.

#![expect(clippy::expect_used, reason = "to panic is what a failed contract does")]

use super::{MINUTE, QuotaStore, Taken};
use crate::values::id::Tenant;
use crate::values::time::Timestamp;

/// The suite.
pub async fn quota_store(store: &dyn QuotaStore) {
    jobs_are_granted_up_to_the_limit(store).await;
    jobs_asked_for_together_are_granted_together_or_not_at_all(store).await;
    tenants_and_minutes_are_counted_apart(store).await;
    another_limit_counts_what_was_granted_before(store).await;
}

/// When the story of the suite begins.
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

async fn jobs_are_granted_up_to_the_limit(store: &dyn QuotaStore) {
    let tenant = tenant("single");
    for _ in 0..3 {
        assert_eq!(take(store, &tenant, START, 1, 3).await, Taken::Granted);
    }
    for _ in 0..2 {
        assert_eq!(take(store, &tenant, START, 1, 3).await, Taken::LimitReached);
    }
}

async fn jobs_asked_for_together_are_granted_together_or_not_at_all(store: &dyn QuotaStore) {
    let tenant = tenant("together");
    assert_eq!(take(store, &tenant, START, 11, 10).await, Taken::LimitReached, "more than there ever is");
    assert_eq!(take(store, &tenant, START, 7, 10).await, Taken::Granted);
    assert_eq!(take(store, &tenant, START, 4, 10).await, Taken::LimitReached);
    assert_eq!(take(store, &tenant, START, 3, 10).await, Taken::Granted, "what was refused is not counted");
    assert_eq!(take(store, &tenant, START, 1, 10).await, Taken::LimitReached);
}

async fn tenants_and_minutes_are_counted_apart(store: &dyn QuotaStore) {
    let (one, other) = (tenant("one"), tenant("other"));
    for (tenant, minute) in [(&one, START), (&other, START), (&one, START + MINUTE)] {
        assert_eq!(take(store, tenant, minute, 1, 1).await, Taken::Granted, "{tenant} {minute}");
        assert_eq!(take(store, tenant, minute, 1, 1).await, Taken::LimitReached, "{tenant} {minute}");
    }
}

async fn another_limit_counts_what_was_granted_before(store: &dyn QuotaStore) {
    let tenant = tenant("redeployed");
    assert_eq!(take(store, &tenant, START, 5, 5).await, Taken::Granted);
    assert_eq!(take(store, &tenant, START, 1, 3).await, Taken::LimitReached, "less than is counted already");
    assert_eq!(take(store, &tenant, START, 3, 8).await, Taken::Granted);
    assert_eq!(take(store, &tenant, START, 1, 8).await, Taken::LimitReached);
}

fn tenant(name: &str) -> Tenant {
    Tenant::named(name).expect("a name")
}

async fn take(store: &dyn QuotaStore, tenant: &Tenant, minute: Timestamp, jobs: u32, limit: u32) -> Taken {
    store.take(tenant, minute, jobs, limit).await.expect("answers")
}
