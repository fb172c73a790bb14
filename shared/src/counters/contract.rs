//! What every [`CounterStore`] must do, as a suite that panics where one does not.

#![expect(clippy::expect_used, reason = "to panic is what a failed contract does")]

use std::time::Duration;

use super::{Bucket, CounterStore, Counts, Durations, Histogram, Range, Tally, Total};
use crate::job::TypeName;
use crate::job::changes::{JobChange, Recorded};
use crate::job::event::Event;
use crate::quota::MINUTE;
use crate::values::id::{JobId, Tenant};
use crate::values::time::Timestamp;

/// When the story of the suite begins: 2027-01-15T08:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// The suite. Needs a store that has counted nothing, and leaves some counts behind.
pub async fn counter_store(store: &dyn CounterStore) {
    nothing_is_counted_at_first(store).await;
    each_event_is_counted_in_its_own_minute_and_by_its_type(store).await;
    an_event_is_counted_once_however_often_and_in_whatever_company_it_comes(store).await;
    tenants_are_counted_apart_and_together(store).await;
    many_events_of_many_moments_are_counted_in_one_call(store).await;
}

async fn nothing_is_counted_at_first(store: &dyn CounterStore) {
    assert_eq!(totals(store, None).await, Counts::default());
    assert!(store.minutes(None, START, START + MINUTE).await.expect("answers").is_empty());
    store.count(&[], START).await.expect("counts nothing");
}

async fn each_event_is_counted_in_its_own_minute_and_by_its_type(store: &dyn CounterStore) {
    let tenant = tenant("minutes");
    let csv = job(1, &tenant, "csv-generation", &completed(at(58), 1000, 3000));
    let mail = job(2, &tenant, "email-send", &[Event::Accepted { at: at(61), not_before: None }]);
    count(store, &[csv, mail].concat()).await;

    let found = store.totals(Some(&tenant)).await.expect("answers");
    let csv = Total {
        counts: Counts { accepted: 1, started: 1, completed: 1, ..Counts::default() },
        ran: in_all(&[3000]),
        waited: in_all(&[1000]),
    };
    let mail = Total { counts: Counts { accepted: 1, waiting: 1, ..Counts::default() }, ..Total::default() };
    assert_eq!(
        found.by_type.into_iter().collect::<Vec<_>>(),
        [("csv-generation".to_owned(), csv), ("email-send".to_owned(), mail)]
    );

    let minutes = store.minutes(Some(&tenant), START, START + MINUTE * 2).await.expect("answers");
    assert_eq!(minutes.iter().map(|minute| minute.begins_at).collect::<Vec<_>>(), [START, START + MINUTE]);
    let first = Tally {
        counts: Counts { accepted: 1, started: 1, running: 1, ..Counts::default() },
        ran: Histogram::default(),
        waited: of(1000),
    };
    assert_eq!(minutes[0].by_type["csv-generation"], first);
    let second = Tally {
        counts: Counts { completed: 1, running: -1, ..Counts::default() },
        ran: of(3000),
        waited: Histogram::default(),
    };
    assert_eq!(minutes[1].by_type["csv-generation"], second);
    assert_eq!(
        minutes[1].all().counts,
        Counts { accepted: 1, completed: 1, waiting: 1, running: -1, ..Counts::default() }
    );
    assert_eq!(minutes[1].all().ran.percentile(95), of(3000).percentile(95));

    let of_one = store.minutes(Some(&tenant), START + MINUTE, START + MINUTE * 2).await.expect("answers");
    assert_eq!(of_one, minutes[1..]);
    let of_none = store.minutes(Some(&tenant), START + MINUTE * 2, START + MINUTE * 9).await.expect("answers");
    assert!(of_none.is_empty());
}

async fn an_event_is_counted_once_however_often_and_in_whatever_company_it_comes(store: &dyn CounterStore) {
    let tenant = tenant("redelivered");
    let events: Vec<Recorded> = (10..20)
        .flat_map(|number| job(number, &tenant, "csv-generation", &completed(at(number.into()), 10, 20)))
        .collect();
    count(store, &events[3..9]).await;
    count(store, &events[8..12]).await;
    count(store, &[&events[..2], &events[..2]].concat()).await;
    for event in &events {
        count(store, std::slice::from_ref(event)).await;
    }
    let backwards: Vec<_> = events.iter().rev().cloned().collect();
    count(store, &backwards).await;
    let expected = Counts { accepted: 10, started: 10, completed: 10, ..Counts::default() };
    assert_eq!(totals(store, Some(&tenant)).await, expected);
    let minutes = store.minutes(Some(&tenant), START, START + MINUTE).await.expect("answers");
    assert_eq!((minutes.len(), minutes[0].all().counts), (1, expected));
    assert_eq!((minutes[0].all().ran.count(), minutes[0].all().waited.count()), (10, 10));
    let total = store.totals(Some(&tenant)).await.expect("answers").by_type["csv-generation"];
    assert_eq!((total.waited, total.ran), (in_all(&[10; 10]), in_all(&[20; 10])));
}

async fn tenants_are_counted_apart_and_together(store: &dyn CounterStore) {
    let before = totals(store, None).await;
    let [only, one, other] = [Tenant::only(), tenant("one"), tenant("other")];
    let later = at(600);
    let events = [(30, &only), (31, &one), (32, &one), (33, &other)]
        .map(|(number, tenant)| job(number, tenant, "csv-generation", &completed(later, 10, 20)));
    count(store, &events.concat()).await;
    for (tenant, jobs) in [(&only, 1), (&one, 2), (&other, 1)] {
        assert_eq!(totals(store, Some(tenant)).await.completed, jobs, "{tenant}");
        let minutes = store.minutes(Some(tenant), later, later + MINUTE).await.expect("answers");
        assert_eq!(minutes[0].all().counts.completed, jobs, "{tenant}");
    }
    assert_eq!(totals(store, None).await.completed, before.completed + 4);
    let minutes = store.minutes(None, later, later + MINUTE).await.expect("answers");
    assert_eq!((minutes.len(), minutes[0].all().counts.completed), (1, 4));
    assert_eq!(totals(store, Some(&tenant("nobody"))).await, Counts::default());
}

async fn many_events_of_many_moments_are_counted_in_one_call(store: &dyn CounterStore) {
    let tenant = tenant("many");
    let events: Vec<Recorded> = (40..240)
        .flat_map(|number| {
            job(number, &tenant, "csv-generation", &completed(at(1200 + u64::from(number) * 7), 900, 1900))
        })
        .collect();
    count(store, &events).await;
    count(store, &events).await;
    let expected = Counts { accepted: 200, started: 200, completed: 200, ..Counts::default() };
    assert_eq!(totals(store, Some(&tenant)).await, expected);
    let minutes = store.minutes(Some(&tenant), START, START + MINUTE * 100).await.expect("answers");
    let mut sum = Tally::default();
    for minute in minutes {
        sum.merge(&minute.all());
    }
    assert_eq!((sum.counts, sum.ran.count()), (expected, 200));
}

async fn count(store: &dyn CounterStore, events: &[Recorded]) {
    store.count(events, START).await.expect("answers");
}

async fn totals(store: &dyn CounterStore, tenant: Option<&Tenant>) -> Counts {
    store.totals(tenant).await.expect("answers").all()
}

fn at(second: u64) -> Timestamp {
    START + Duration::from_secs(second)
}

fn of(millis: u64) -> Histogram {
    let mut histogram = Histogram::default();
    histogram.add(Bucket::of(Duration::from_millis(millis)), 1);
    histogram
}

fn in_all(durations: &[u64]) -> Durations {
    let mut counted = Durations::default();
    for millis in durations {
        counted.add(Range::of(Duration::from_millis(*millis)), 1);
        counted.add_ms(*millis);
    }
    counted
}

/// A job that waits for so many milliseconds, runs for so many, and completes.
fn completed(accepted_at: Timestamp, waits: u64, runs: u64) -> [Event; 3] {
    let started_at = accepted_at + Duration::from_millis(waits);
    [
        Event::Accepted { at: accepted_at, not_before: None },
        Event::Started { at: started_at },
        Event::Completed { at: started_at + Duration::from_millis(runs) },
    ]
}

fn job(number: u16, tenant: &Tenant, job_type: &str, history: &[Event]) -> Vec<Recorded> {
    let [high, low] = number.to_be_bytes();
    let change = JobChange {
        job_id: JobId::at(START, [0, 0, 0, 0, 0, 0, 0, 0, high, low]),
        tenant: tenant.clone(),
        job_type: TypeName::new(job_type),
        correlation_id: "request".to_owned(),
        callback_url: None,
        known: 0,
        history: history.to_vec(),
    };
    change.new_events().expect("a job can have this history")
}

fn tenant(name: &str) -> Tenant {
    Tenant::named(name).expect("a name")
}
