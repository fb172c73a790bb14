//! What every [`ScheduleStore`] must do, as a suite that panics where one does not. Needs a store without schedules,
//! and leaves none behind.

#![expect(clippy::expect_used, reason = "to panic is what a failed contract does")]

use std::time::Duration;

use super::{SchedulePage, ScheduleStore};
use crate::job::submission::Limits;
use crate::schedule::{Definition, LOOK_AHEAD, Overlap, Schedule, ScheduleKey, ScheduleName};
use crate::values::id::Tenant;
use crate::values::time::Timestamp;

/// When the story of the suite begins: 2027-01-15T08:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);

/// The suite.
pub async fn schedule_store(store: &dyn ScheduleStore) {
    a_stored_schedule_reads_back_as_it_was(store).await;
    of_two_writers_who_saw_the_same_one_succeeds(store).await;
    a_schedule_made_again_is_another(store).await;
    what_is_decided_about_runs_is_kept(store).await;
    schedules_are_due_ahead_of_their_runs(store).await;
    schedules_are_listed_by_name_in_pages(store).await;
}

async fn a_stored_schedule_reads_back_as_it_was(store: &dyn ScheduleStore) {
    let new = schedule("default", "as-it-was", "0,30 9-17 * * MON-FRI");
    assert_eq!(store.find(&new.key).await.expect("answers"), None);
    assert!(put(store, &new, None).await);
    assert_eq!(store.find(&new.key).await.expect("answers").as_ref(), Some(&new));
    let other = ScheduleKey { tenant: tenant("other"), ..new.key.clone() };
    assert_eq!(store.find(&other).await.expect("answers"), None, "another's schedule is not there");

    let paused = new.paused(START + MINUTE).expect("it was not paused");
    assert!(put(store, &paused, Some(&new)).await);
    assert_eq!(store.find(&new.key).await.expect("answers").as_ref(), Some(&paused));
    let resumed = paused.resumed(START + MINUTE * 2).expect("it was paused");
    let advanced = resumed.advanced(&resumed.due(START + MINUTE * 180));
    assert!(put(store, &advanced, Some(&paused)).await);
    assert_eq!(store.find(&new.key).await.expect("answers").as_ref(), Some(&advanced));
    delete(store, &new).await;
}

async fn of_two_writers_who_saw_the_same_one_succeeds(store: &dyn ScheduleStore) {
    let new = schedule("default", "contended", "0 * * * *");
    let another = Schedule { created_at: START - MINUTE, ..new.clone() };
    assert!(put(store, &new, None).await);
    assert!(put(store, &new, None).await, "the same again, its answer having been lost");
    assert!(!put(store, &another, None).await, "there is one already");

    let paused = new.paused(START + MINUTE).expect("it was not paused");
    let advanced = new.advanced(&new.due(START + MINUTE * 60));
    assert!(put(store, &paused, Some(&new)).await);
    assert!(put(store, &paused, Some(&new)).await, "the same again");
    assert!(!put(store, &advanced, Some(&new)).await, "it is no longer as it was seen");
    assert_eq!(store.find(&new.key).await.expect("answers").as_ref(), Some(&paused));
    delete(store, &new).await;
    assert!(!put(store, &advanced, Some(&new)).await, "what is deleted stays deleted");
    assert_eq!(store.find(&new.key).await.expect("answers"), None);
}

async fn a_schedule_made_again_is_another(store: &dyn ScheduleStore) {
    let first = schedule("default", "again", "0 * * * *");
    assert!(put(store, &first, None).await);
    delete(store, &first).await;
    let second = Schedule { created_at: START + MINUTE, ..first.clone() };
    assert!(put(store, &second, None).await);
    let advanced = first.advanced(&first.due(START + MINUTE * 60));
    assert!(!put(store, &advanced, Some(&first)).await, "though their versions are equal");
    assert_eq!(store.find(&first.key).await.expect("answers").as_ref(), Some(&second));
    delete(store, &second).await;
}

async fn what_is_decided_about_runs_is_kept(store: &dyn ScheduleStore) {
    let new = Schedule { overlap: Overlap::Skip, ..schedule("default", "skipping", "0 * * * *") };
    assert!(put(store, &new, None).await);
    assert_eq!(store.find(&new.key).await.expect("answers").as_ref(), Some(&new));
    let nine = START + MINUTE * 60;
    let skipping = new.skipping(nine, &new.due(nine));
    assert!(put(store, &skipping, Some(&new)).await);
    let stored = store.find(&new.key).await.expect("answers");
    assert_eq!(stored.as_ref(), Some(&skipping), "a skipped run is on record");
    assert!(!put(store, &new.decided(nine), Some(&new)).await, "of two decisions one is kept");

    let decided = skipping.decided(nine + MINUTE * 60);
    assert!(put(store, &decided, Some(&skipping)).await);
    assert_eq!(store.find(&new.key).await.expect("answers").as_ref(), Some(&decided));
    assert_eq!(due(store, nine + MINUTE * 60, 10).await, std::slice::from_ref(&new.key), "it stays due");
    delete(store, &new).await;
}

async fn schedules_are_due_ahead_of_their_runs(store: &dyn ScheduleStore) {
    let hourly = schedule("default", "hourly", "0 * * * *");
    let half_past = schedule("other", "half-past", "30 * * * *");
    for new in [&hourly, &half_past] {
        assert!(put(store, new, None).await);
    }
    let (half_past_8, nine) = (START + MINUTE * 30, START + MINUTE * 60);
    let moment = Duration::from_millis(1);
    assert_eq!(due(store, half_past_8 - LOOK_AHEAD, 10).await, [], "due is not yet overdue");
    assert_eq!(due(store, half_past_8 - LOOK_AHEAD + moment, 10).await, std::slice::from_ref(&half_past.key));
    assert_eq!(due(store, nine, 10).await, [half_past.key.clone(), hourly.key.clone()], "the longest due first");
    assert_eq!(due(store, nine, 1).await, std::slice::from_ref(&half_past.key), "no more than asked for");

    let advanced = half_past.advanced(&half_past.due(nine));
    assert!(put(store, &advanced, Some(&half_past)).await);
    assert_eq!(due(store, nine, 10).await, std::slice::from_ref(&hourly.key));
    let paused = hourly.paused(nine).expect("it was not paused");
    assert!(put(store, &paused, Some(&hourly)).await);
    assert_eq!(due(store, nine, 10).await, [], "what is paused is never due");
    let resumed = paused.resumed(nine).expect("it was paused");
    assert!(put(store, &resumed, Some(&paused)).await);
    assert_eq!(due(store, nine + MINUTE * 60, 10).await, [advanced.key.clone(), resumed.key.clone()]);
    delete(store, &advanced).await;
    delete(store, &resumed).await;
    assert_eq!(due(store, nine + MINUTE * 60, 10).await, []);
}

async fn schedules_are_listed_by_name_in_pages(store: &dyn ScheduleStore) {
    let names = ["a", "a-1", "b", "b0", "c"];
    let mut all = vec![];
    for name in names.iter().rev() {
        let new = schedule("default", name, "0 * * * *");
        assert!(put(store, &new, None).await);
        all.insert(0, new);
    }
    let others = schedule("other", "b", "0 * * * *");
    assert!(put(store, &others, None).await);

    let tenant = Tenant::only();
    let whole = store.list(&tenant, None, 10).await.expect("answers");
    assert_eq!(whole, SchedulePage { schedules: all.clone(), next: None });
    for limit in [1, 2, 5] {
        let (mut found, mut after) = (vec![], None);
        loop {
            let page = store.list(&tenant, after.as_ref(), limit).await.expect("answers");
            assert!(page.schedules.len() <= limit);
            found.extend(page.schedules);
            assert!(found.len() <= all.len(), "no page comes twice");
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, all, "in pages of {limit}");
    }
    for schedule in &all {
        delete(store, schedule).await;
    }
    delete(store, &others).await;
    assert_eq!(store.list(&tenant, None, 10).await.expect("answers").schedules, []);
}

async fn put(store: &dyn ScheduleStore, schedule: &Schedule, seen: Option<&Schedule>) -> bool {
    store.put_if_unchanged(schedule, seen).await.expect("answers")
}

async fn due(store: &dyn ScheduleStore, now: Timestamp, limit: usize) -> Vec<ScheduleKey> {
    store.due(now, limit).await.expect("answers")
}

async fn delete(store: &dyn ScheduleStore, schedule: &Schedule) {
    assert!(store.delete(&schedule.key).await.expect("answers"), "it was there");
    assert!(!store.delete(&schedule.key).await.expect("answers"), "it is there no longer");
}

fn tenant(name: &str) -> Tenant {
    Tenant::named(name).expect("a name")
}

fn schedule(tenant_name: &str, name: &str, cron: &str) -> Schedule {
    let job = "{\"type\":\"csv-generation\",\"payload\":{\"\u{fffe}\":1.10}}";
    let body = format!(r#"{{"cron":"{cron}","time_zone":"Europe/Berlin","job":{job}}}"#);
    let definition = Definition::parse(body.as_bytes(), START, Limits::default()).expect("fits");
    let name = ScheduleName::parse(name).expect("a name");
    Schedule::new(ScheduleKey { tenant: tenant(tenant_name), name }, definition, START)
}
