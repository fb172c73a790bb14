//! What every adapter of the ports must do, as suites that panic where one does not.
//!
//! The adapters in [`crate::ports::memory`] pass them, and the DynamoDB and SQS adapters pass them against real servers. An
//! adapter of your own is right if it passes them too.

#![expect(clippy::missing_panics_doc, reason = "to panic is what a failed contract does")]
#![expect(clippy::expect_used, reason = "to panic is what a failed contract does")]

use std::time::Duration;

use async_trait::async_trait;

use crate::job::due::PATIENCE;
use crate::job::event::fold;
use crate::job::submission::{Origin, Submission};
use crate::job::transition::{Change, Fence, LEASE_MARGIN, transition};
use crate::job::{FORMAT, HeldBack, Job, Progress, Status, Tag, TypeName};
use crate::ports::memory::SeededEntropy;
use crate::ports::{
    Changed, Cursor, DeadLetter, DeadLetters, Deleted, Entropy, Inserted, InsertedWith, JobQueue, JobStore, Lane,
    ListQuery, Message, OwnItem, Receipt, Switch,
};
use crate::product::{Product, ProductId, Products};
use crate::values::id::{JobId, LeaseToken, Tenant};
use crate::values::json::Json;
use crate::values::time::Timestamp;

/// When the story of the suites begins.
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
const PLENTY: Duration = Duration::from_secs(60);

/// The suite for job stores. Needs a store without overdue jobs; leaves some jobs behind.
pub async fn job_store(store: &dyn JobStore) {
    a_stored_job_reads_back_as_it_was(store).await;
    a_second_insert_finds_the_first(store).await;
    every_change_in_every_state_is_as_the_transition_function_says(store).await;
    overdue_jobs_are_found_until_they_end(store).await;
    each_job_of_a_batch_is_stored_for_itself(store).await;
    of_the_jobs_of_one_id_in_a_batch_the_first_is_stored(store).await;
    a_job_and_an_item_are_stored_together_or_not_at_all(store).await;
    jobs_are_listed_newest_first_in_pages(store).await;
    a_job_is_deleted_once_it_has_ended(store).await;
}

/// The suite for the switch, which must not be paused yet.
pub async fn switch(switch: &dyn Switch) {
    for paused in [false, true, true, false] {
        switch.set_paused(paused).await.expect("answers");
        assert_eq!(switch.is_paused().await.expect("answers"), paused);
    }
}

/// The suite for products, which are stored by way of the store of jobs.
pub async fn products(store: &(impl JobStore + Products)) {
    let job = job(5900);
    let product = product_of(&job);
    let (tenant, id) = (&product.tenant, product.product_id);
    assert_eq!(Products::find(store, tenant, id).await.expect("answers"), None);
    assert!(!store.mark_processed(tenant, id, START).await.expect("answers"), "there is none");
    store.insert_with(&job, &product.to_own_item()).await.expect("answers");
    assert_eq!(Products::find(store, tenant, id).await.expect("answers").as_ref(), Some(&product));
    let other = Tenant::named("other").expect("a name");
    assert_eq!(Products::find(store, &other, id).await.expect("answers"), None, "another's product is not there");
    for at in [START, START + SECOND] {
        assert!(store.mark_processed(tenant, id, at).await.expect("answers"));
        let found = Products::find(store, tenant, id).await.expect("answers").expect("is there");
        assert_eq!(found, Product { processed_at: Some(START), ..product.clone() }, "the first time counts");
    }
    end(store, &job).await;
}

fn product_of(job: &Job) -> Product {
    Product {
        product_id: ProductId::of(job.id),
        tenant: job.tenant.clone(),
        name: "Lamp".to_owned(),
        price: Some(1999),
        created_at: job.created_at,
        processed_at: None,
    }
}

async fn each_job_of_a_batch_is_stored_for_itself(store: &dyn JobStore) {
    assert!(store.insert_all_if_absent(&[]).await.is_empty());
    let jobs: Vec<Job> = (5000..5030).map(job).collect();
    let there = Job { correlation_id: "earlier".to_owned(), ..jobs[7].clone() };
    store.insert_if_absent(&there).await.expect("answers");
    let outcomes = store.insert_all_if_absent(&jobs).await;
    assert_eq!(outcomes.len(), jobs.len());
    for (index, (job, outcome)) in jobs.iter().zip(outcomes).enumerate() {
        let there = if index == 7 { &there } else { job };
        let expected = if index == 7 { Inserted::AlreadyThere(Box::new(there.clone())) } else { Inserted::New };
        assert_eq!(outcome.expect("answers"), expected, "{index}");
        assert_eq!(store.find(job.id).await.expect("answers").as_ref(), Some(there), "{index}");
        end(store, job).await;
    }
}

async fn of_the_jobs_of_one_id_in_a_batch_the_first_is_stored(store: &dyn JobStore) {
    let (one, other) = (job(5035), job(5036));
    let again = Job { correlation_id: "again".to_owned(), ..one.clone() };
    let there = || Inserted::AlreadyThere(Box::new(one.clone()));
    let outcomes = store.insert_all_if_absent(&[one.clone(), again.clone(), other.clone(), again]).await;
    let outcomes: Vec<Inserted> = outcomes.into_iter().map(|outcome| outcome.expect("answers")).collect();
    assert_eq!(outcomes, [Inserted::New, there(), Inserted::New, there()]);
    for job in [&one, &other] {
        assert_eq!(store.find(job.id).await.expect("answers").as_ref(), Some(job));
        end(store, job).await;
    }
}

async fn a_job_and_an_item_are_stored_together_or_not_at_all(store: &dyn JobStore) {
    let (one, other) = (job(5040), job(5041));
    let own = |id: &str| OwnItem { table: None, key: "id".to_owned(), item: serde_json::json!({ "id": id, "n": 1 }) };
    assert_eq!(store.insert_with(&one, &own("own#1")).await.expect("answers"), InsertedWith::New);
    let again = Job { correlation_id: "again".to_owned(), ..one.clone() };
    let there = InsertedWith::JobThere(Box::new(one.clone()));
    assert_eq!(store.insert_with(&again, &own("own#2")).await.expect("answers"), there);
    assert_eq!(store.insert_with(&other, &own("own#1")).await.expect("answers"), InsertedWith::OwnItemThere);
    assert_eq!(store.find(other.id).await.expect("answers"), None, "not without its item");
    assert_eq!(store.insert_with(&other, &own("own#2")).await.expect("answers"), InsertedWith::New, "no item was left");
    let third = job(5042);
    assert_eq!(
        store.insert_with(&third, &own("own#2")).await.expect("answers"),
        InsertedWith::OwnItemThere,
        "it is there"
    );
    end(store, &one).await;
    end(store, &other).await;
}

async fn jobs_are_listed_newest_first_in_pages(store: &dyn JobStore) {
    let tenant = Tenant::named("lister").expect("a name");
    let mut expected = vec![];
    for number in 0..10 {
        let created_at = START + SECOND * u32::from(number);
        let job = Job { tenant: tenant.clone(), created_at, ..job(5050 + number) };
        store.insert_if_absent(&job).await.expect("answers");
        if number % 3 == 0 {
            let (now, fence, error) = (START + SECOND * 60, fence(1), "not today".to_owned());
            for change in [claim(1, START + PLENTY), Change::Fail { now, fence, error, tenant: tenant.clone() }] {
                store.change_if_allowed(job.id, &change).await.expect("answers");
            }
        }
        expected.insert(0, job.id);
    }
    let all = ListQuery { tenant: tenant.clone(), lane: Lane::All, before: None, limit: 4 };
    assert_eq!(pages(store, all.clone()).await, expected);
    let before = Some(Cursor::before(START + SECOND * 4));
    assert_eq!(pages(store, ListQuery { before, ..all.clone() }).await, expected[6..], "those accepted before that");
    let failed: Vec<JobId> = [9, 6, 3, 0].map(|number| expected[9 - number]).into();
    let lane = Lane::Failed;
    assert_eq!(pages(store, ListQuery { lane, ..all.clone() }).await, failed);
    let redrive = Change::Redrive { now: START, not_before: START, more_attempts: 1, tenant: tenant.clone() };
    store.change_if_allowed(failed[1], &redrive).await.expect("answers");
    assert_eq!(pages(store, ListQuery { lane, ..all.clone() }).await, [failed[0], failed[2], failed[3]]);
    assert_eq!(pages(store, all.clone()).await, expected);
    let nobody = Tenant::named("nobody").expect("a name");
    assert_eq!(pages(store, ListQuery { tenant: nobody, ..all }).await, []);
    for id in expected {
        let job = store.find(id).await.expect("answers").expect("is there");
        if job.status() != Status::Failed {
            end(store, &job).await;
        }
    }
}

/// The ids of all pages, which must not be longer than asked for.
async fn pages(store: &dyn JobStore, mut query: ListQuery) -> Vec<JobId> {
    let mut listed: Vec<JobId> = vec![];
    let mut places: Vec<Option<Cursor>> = vec![];
    loop {
        let page = store.list(&query).await.expect("answers");
        assert!(page.jobs.len() <= query.limit);
        assert!(page.jobs.iter().all(|job| job.tenant == query.tenant));
        listed.extend(page.jobs.iter().map(|job| job.id));
        assert!(!places.contains(&page.next), "no page comes twice");
        places.push(page.next.clone());
        match page.next {
            None => return listed,
            next @ Some(_) => query.before = next,
        }
    }
}

async fn a_job_is_deleted_once_it_has_ended(store: &dyn JobStore) {
    for (number, path) in (5800..).zip(paths()) {
        let job = job(number);
        assert_eq!(store.delete_if_ended(job.id).await.expect("answers"), Deleted::Missing);
        store.insert_if_absent(&job).await.expect("answers");
        for change in path {
            store.change_if_allowed(job.id, &change).await.expect("answers");
        }
        let there = store.find(job.id).await.expect("answers").expect("is there");
        if !there.status().is_terminal() {
            let refused = store.delete_if_ended(job.id).await.expect("answers");
            assert_eq!(refused, Deleted::NotEnded(Box::new(there)));
            end(store, &job).await;
        }
        assert_eq!(store.delete_if_ended(job.id).await.expect("answers"), Deleted::Yes);
        assert_eq!(store.find(job.id).await.expect("answers"), None);
        let change = store.change_if_allowed(job.id, &claim(1, START)).await.expect("answers");
        assert_eq!(change, Changed::Missing, "a late message finds nothing to start");
    }
}

async fn a_stored_job_reads_back_as_it_was(store: &dyn JobStore) {
    let job = job_with_everything(1);
    assert_eq!(store.find(job.id).await.expect("answers"), None);
    assert_eq!(store.insert_if_absent(&job).await.expect("answers"), Inserted::New);
    assert_eq!(store.find(job.id).await.expect("answers").as_ref(), Some(&job));
    end(store, &job).await;
}

async fn a_second_insert_finds_the_first(store: &dyn JobStore) {
    let first = job(2);
    let second = Job { correlation_id: "another".to_owned(), ..first.clone() };
    assert_eq!(store.insert_if_absent(&first).await.expect("answers"), Inserted::New);
    let again = store.insert_if_absent(&second).await.expect("answers");
    assert_eq!(again, Inserted::AlreadyThere(Box::new(first.clone())));
    end(store, &first).await;
}

/// Walks a job into each state it can be in, and there tries each change on a copy of it.
async fn every_change_in_every_state_is_as_the_transition_function_says(store: &dyn JobStore) {
    let mut number = 100;
    for path in paths() {
        for change in changes() {
            number += 1;
            let mut expected = match number % 8 {
                0 => Job { job_type: TypeName::new("of-another-version"), ..job(number) },
                1 => Job { format: FORMAT + 1, ..expiring(number) },
                2 | 4 | 6 => job(number),
                _ => expiring(number),
            };
            store.insert_if_absent(&expected).await.expect("answers");
            for step in path.iter().chain([&change]) {
                let answer = store.change_if_allowed(expected.id, step).await.expect("answers");
                match transition(&expected, step) {
                    Ok(next) => {
                        assert_eq!(answer, Changed::Applied(Box::new(next.clone())), "{path:?} then {change:?}");
                        expected = next;
                    }
                    Err(refusal) => {
                        let unchanged = Box::new(expected.clone());
                        assert_eq!(answer, Changed::Refused(refusal, unchanged), "{path:?} then {change:?}");
                    }
                }
            }
            let stored = store.find(expected.id).await.expect("answers").expect("is there");
            assert_eq!(stored, expected, "{path:?} then {change:?}");
            assert_eq!(fold(&stored.history), Some(stored.summary()), "{path:?} then {change:?}");
            // Out of the way of the test of overdue jobs.
            end(store, &stored).await;
        }
    }
    let missing = job(99).id;
    for change in changes() {
        let answer = store.change_if_allowed(missing, &change).await.expect("answers");
        assert_eq!(answer, Changed::Missing, "{change:?}");
    }
}

async fn overdue_jobs_are_found_until_they_end(store: &dyn JobStore) {
    let jobs: Vec<Job> = (10..13).map(job).collect();
    for job in &jobs {
        store.insert_if_absent(job).await.expect("answers");
    }
    let due = jobs[0].due_at().expect("not ended");
    assert_eq!(overdue(store, due, 1000).await, [], "due is not yet overdue");
    let later = due + Duration::from_millis(1);
    let found = overdue(store, later, 1000).await;
    assert_eq!(ids(&found), ids(&jobs));
    assert_eq!(overdue(store, later, 2).await.len(), 2, "no more than asked for");
    assert!(found.iter().all(|job| jobs.contains(job)), "whole jobs, as they are stored");

    let postpone = Change::Postpone { seen_due_at: due, seen_lease_until: None, due_at: later + PLENTY };
    store.change_if_allowed(jobs[0].id, &postpone).await.expect("answers");
    end(store, &jobs[1]).await;
    let found = overdue(store, later, 1000).await;
    assert_eq!(ids(&found), ids(&jobs[2..]), "neither the postponed nor the ended");
    for job in &jobs {
        end(store, job).await;
    }
    assert_eq!(overdue(store, START + PLENTY * 1000, 1000).await, [], "all have ended");
}

async fn overdue(store: &dyn JobStore, now: Timestamp, limit: usize) -> Vec<Job> {
    store.overdue(now, limit).await.expect("answers").jobs
}

fn ids(jobs: &[Job]) -> Vec<JobId> {
    let mut ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    ids.sort();
    ids
}

async fn end(store: &dyn JobStore, job: &Job) {
    let now = START + PLENTY * 60;
    for change in [Change::CancelPending { now }, Change::RequestCancel { now }, Change::ExpireCancelled { now }] {
        store.change_if_allowed(job.id, &change).await.expect("answers");
    }
    let job = store.find(job.id).await.expect("answers").expect("is there");
    assert!(job.status().is_terminal(), "{job:?}");
}

/// A job of two attempts with a timeout of 10 s, accepted at 2027-01-15T08:00:00Z.
pub fn job(number: u16) -> Job {
    let body =
        br#"{"type":"csv-generation","payload":{"name":"Alice","score":95},"max_attempts":2,"timeout_seconds":10}"#;
    let mut random = [0; 10];
    SeededEntropy::new(number.into()).fill(&mut random);
    random[..2].copy_from_slice(&number.to_be_bytes());
    let origin = Origin { correlation_id: format!("request-{number}"), traceparent: None };
    let submission = Submission::parse(body, START).expect("fits");
    submission.into_job(JobId::at(START, random), Tenant::only(), START, origin)
}

/// The same, with all that a job can have before it is claimed.
pub fn job_with_everything(number: u16) -> Job {
    let mut job = job(number);
    // Characters that message queues refuse, and numbers no float holds, must come back as they were.
    job.payload = Json::parse("{\"\u{fffe}\":\"\u{ffff}\\u0000\",\"n\":12345678901234567890.10}").expect("valid");
    job.tags = ["blue", "order:7"].map(|text| Tag::parse(text).expect("a tag")).into();
    job.expires_at = Some(START + PLENTY);
    job.callback_url = Some("https://example.com/hooks".to_owned());
    job.duplicate_of = Some(JobId::at(START, [9; 10]));
    job.checkpoint = Some(Json::parse(r#"{"row":7}"#).expect("valid"));
    job.progress = Some(Progress { percent: 70, message: "row 7".to_owned(), at: START });
    job.held_back = Some(HeldBack { reason: "no such type".to_owned(), since: START });
    job.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    job
}

/// A [`job`] which is not to be started after 50 s.
fn expiring(number: u16) -> Job {
    Job { expires_at: Some(START + SECOND * 50), ..job(number) }
}

/// Ways of a [`job`] into every state, the times chosen so that leases are live, over, or about to be.
pub fn paths() -> Vec<Vec<Change>> {
    let first = claim(1, START);
    let lease_over = lease_end() + Duration::from_millis(1);
    let second = claim(2, lease_over);
    let cancel = Change::RequestCancel { now: START + SECOND };
    let now = START + SECOND;
    vec![
        vec![],
        vec![first.clone()],
        vec![first.clone(), second.clone()],
        vec![first.clone(), cancel.clone()],
        vec![first.clone(), second, cancel],
        vec![first.clone(), retry(1)],
        vec![first.clone(), retry(1), claim(2, START + SECOND * 20)],
        vec![first.clone(), yields(1)],
        vec![first.clone(), yields(1), claim(2, START + SECOND * 20)],
        vec![first.clone(), retry(1), claim(2, START + SECOND * 20), yields(2)],
        vec![first.clone(), fail(1), redrive(), claim(7, START + SECOND * 20)],
        vec![first.clone(), complete(1)],
        vec![first.clone(), fail(1)],
        vec![first.clone(), Change::RequestCancel { now }, Change::YieldToCancel { now, fence: fence(1) }],
        vec![Change::CancelPending { now }],
        vec![hold_back(START)],
        vec![hold_back(START), first.clone()],
        vec![hold_back(START), Change::Reschedule { now, not_before: now }],
        vec![hold_back(START), Change::CancelPending { now }, redrive()],
        vec![hold_back(START), end_held_back(START)],
        vec![first.clone(), hold_back(lease_over)],
        vec![first.clone(), yields(1), hold_back(START + SECOND * 20)],
        vec![waited(PLENTY)],
        vec![waited(Duration::from_mins(15))],
        vec![waited(Duration::from_mins(15)), claim(1, START)],
        vec![waited(LEASE_MARGIN + PATIENCE)],
        vec![waited(LEASE_MARGIN + PATIENCE + Duration::from_millis(1)), claim(1, START)],
        vec![first.clone(), rescued(Duration::from_mins(15))],
        vec![first, yields(1), yielded_and_waited(Duration::from_mins(15))],
    ]
}

/// Every change of a [`job`], before and after leases end, by the holder and by a stranger.
pub fn changes() -> Vec<Change> {
    let early = START + SECOND;
    let late = START + PLENTY;
    let tenant = Tenant::only();
    let seen_due_at = START + PATIENCE;
    let mut changes = vec![
        Change::Claim { now: late, token: token(7), time_left: SECOND },
        Change::Claim { now: START - SECOND, token: token(7), time_left: PLENTY },
        Change::Postpone { seen_due_at, seen_lease_until: None, due_at: late },
        Change::Postpone { seen_due_at, seen_lease_until: Some(lease_end()), due_at: late },
        Change::Postpone { seen_due_at, seen_lease_until: Some(lease_end() + SECOND), due_at: late },
        Change::Postpone { seen_due_at: late, seen_lease_until: None, due_at: late },
        // a holder whose token is right and whose attempt is not
        Change::Complete { now: early, fence: Fence { attempt: 2, token: token(1) }, result: result() },
    ];
    for attempt in [1, 2, 7] {
        changes.extend([complete(attempt), retry(attempt), fail(attempt)]);
        changes.push(Change::YieldToCancel { now: early, fence: fence(attempt) });
        let progress = Progress { percent: attempt, message: "on its way".to_owned(), at: early };
        changes.extend([yields(attempt), Change::Report { fence: fence(attempt), progress }]);
        changes.extend([claim(attempt, early), claim(attempt, late)]);
    }
    for now in [early, late] {
        changes.extend([Change::Expire { now, tenant: tenant.clone() }, Change::ExpireCancelled { now }]);
        changes.extend([Change::CancelPending { now }, Change::RequestCancel { now }, Change::Lapse { now }]);
        changes.extend([hold_back(now), end_held_back(now), end_held_back(START)]);
        changes.extend([redrive(), Change::Reschedule { now, not_before: now + PLENTY * 60 }]);
    }
    changes
}

/// The sweeper has looked at the job, which was waiting, and will look again only so long after the start.
fn waited(rest: Duration) -> Change {
    Change::Postpone { seen_due_at: START + PATIENCE, seen_lease_until: None, due_at: START + rest }
}

/// The same for a job whose first attempt has died: the sweeper has sent another message.
fn rescued(rest: Duration) -> Change {
    Change::Postpone { seen_due_at: START + PATIENCE, seen_lease_until: Some(lease_end()), due_at: START + rest }
}

/// The same for a job that is to go on elsewhere.
fn yielded_and_waited(rest: Duration) -> Change {
    let seen_due_at = START + SECOND * 2 + PATIENCE;
    Change::Postpone { seen_due_at, seen_lease_until: None, due_at: START + rest }
}

/// When the first attempt's lease ends.
fn lease_end() -> Timestamp {
    START + SECOND * 10 + LEASE_MARGIN
}

fn claim(attempt: u8, now: Timestamp) -> Change {
    Change::Claim { now, token: token(attempt), time_left: PLENTY }
}

fn hold_back(now: Timestamp) -> Change {
    Change::HoldBack { now, reason: "no such type".to_owned() }
}

/// A day after `since`.
fn end_held_back(since: Timestamp) -> Change {
    let error = "nobody came".to_owned();
    Change::EndHeldBack { now: since + HeldBack::LONGEST, error, tenant: Tenant::only() }
}

fn yields(attempt: u8) -> Change {
    let checkpoint = Json::parse(&attempt.to_string()).expect("a number");
    Change::Yield { now: START + SECOND * 2, fence: fence(attempt), checkpoint }
}

fn redrive() -> Change {
    Change::Redrive { now: START + SECOND, not_before: START + SECOND, more_attempts: 1, tenant: Tenant::only() }
}

fn complete(attempt: u8) -> Change {
    Change::Complete { now: START + SECOND * 2, fence: fence(attempt), result: result() }
}

fn retry(attempt: u8) -> Change {
    let now = START + SECOND * 2;
    Change::Retry { now, fence: fence(attempt), error: "not today".to_owned(), not_before: now + SECOND * 10 }
}

fn fail(attempt: u8) -> Change {
    let now = START + SECOND * 2;
    Change::Fail { now, fence: fence(attempt), error: "never".to_owned(), tenant: Tenant::only() }
}

fn fence(attempt: u8) -> Fence {
    Fence { attempt: attempt.into(), token: token(attempt) }
}

fn token(attempt: u8) -> LeaseToken {
    LeaseToken::new([attempt; 8])
}

fn result() -> Json {
    Json::of(&"output/file.csv").expect("serialises")
}

/// The receiving end of a queue, which only tests need: in production that is the platform's part.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// The next message, if one comes within `time`.
    async fn receive_within(&self, time: Duration) -> Option<(JobId, Receipt)>;

    /// Takes a received message out of the queue.
    async fn acknowledge(&self, receipt: &Receipt);
}

/// The suite for job queues. Needs an empty queue that hides a received message for 2 seconds, and takes some seconds.
/// `let_pass` lets so much time pass, where the queue counts its messages late.
pub async fn job_queue(queue: &dyn JobQueue, consumer: &dyn Consumer, let_pass: impl AsyncFn(Duration)) {
    let ids: Vec<JobId> = (0..12).map(|number| job(number).id).collect();
    let now = |id: &JobId| Message::naming(*id, Duration::ZERO);

    queue.send(&now(&ids[0])).await.expect("sent");
    let (received, _) = consumer.receive_within(SECOND).await.expect("is delivered");
    assert_eq!(received, ids[0]);
    assert_eq!(consumer.receive_within(SECOND / 2).await, None, "a received message is hidden");
    let (received, receipt) = consumer.receive_within(SECOND * 4).await.expect("unacknowledged, it comes back");
    assert_eq!(received, ids[0]);

    queue.hide(&receipt, Duration::from_millis(2500)).await.expect("hidden");
    assert_eq!(consumer.receive_within(SECOND * 2).await, None, "hidden for 2500 ms, rounded up");
    let (_, receipt) = consumer.receive_within(SECOND * 3).await.expect("it comes back");
    queue.hide(&receipt, Duration::ZERO).await.expect("hidden for no time");
    let (_, receipt) = consumer.receive_within(SECOND).await.expect("it comes back at once");
    consumer.acknowledge(&receipt).await;
    assert_eq!(consumer.receive_within(SECOND * 3).await, None, "acknowledged, it does not");

    queue.send(&Message::naming(ids[1], SECOND * 2)).await.expect("sent");
    assert_eq!(consumer.receive_within(SECOND).await, None, "held back");
    let (received, receipt) = consumer.receive_within(SECOND * 3).await.expect("is delivered after its delay");
    assert_eq!(received, ids[1]);
    consumer.acknowledge(&receipt).await;

    let messages: Vec<_> = ids.iter().map(now).collect();
    assert_eq!(queue.send_all(&messages).await, [], "more than fit into one call of ten");
    waiting_becomes(ids.len(), queue, &let_pass).await;
    let mut received = vec![];
    while let Some((id, receipt)) = consumer.receive_within(SECOND).await {
        consumer.acknowledge(&receipt).await;
        received.push(id);
    }
    received.sort();
    let mut expected = ids;
    expected.sort();
    assert_eq!(received, expected);
    waiting_becomes(0, queue, &let_pass).await;
    assert_eq!(consumer.receive_within(SECOND * 3).await, None, "acknowledged, none of them comes back");
}

/// SQS's count is right a minute after the last change.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>
async fn waiting_becomes(expected: usize, queue: &dyn JobQueue, let_pass: &impl AsyncFn(Duration)) {
    let mut waiting = queue.waiting().await.expect("answers");
    for _ in 0..60 {
        if waiting == expected {
            return;
        }
        let_pass(SECOND).await;
        waiting = queue.waiting().await.expect("answers");
    }
    assert_eq!(waiting, expected);
}

/// The suite for dead-letter queues. Needs one that holds a message about each of `jobs`, 11 to 20 of them, and no
/// other; leaves it empty. `let_pass` lets so much time pass: some seconds in all.
pub async fn dead_letters(queue: &dyn DeadLetters, jobs: &[JobId], let_pass: impl AsyncFn(Duration)) {
    assert!((11..=20).contains(&jobs.len()), "more than one call receives, and two can delete");
    let rest = SECOND * 3;
    let received = all_dead_letters(queue, rest, jobs.len()).await;
    assert_eq!(jobs_named_in(&received), sorted(jobs));
    assert_eq!(queue.depth().await.expect("answers"), jobs.len(), "hidden ones are counted too");
    let (handled, left) = received.split_at(jobs.len() / 2);
    queue.delete(&receipts_of(handled)).await.expect("deleted");
    assert_eq!(queue.receive(rest).await.expect("answers"), [], "the others are hidden");
    assert_eq!(queue.depth().await.expect("answers"), left.len());

    let_pass(rest + SECOND).await;
    let again = all_dead_letters(queue, rest, left.len()).await;
    assert_eq!(jobs_named_in(&again), jobs_named_in(left), "all but what was deleted come back");
    queue.delete(&receipts_of(&again)).await.expect("deleted");
    let_pass(rest + SECOND).await;
    assert_eq!(queue.receive(rest).await.expect("answers"), [], "nothing is left");
    assert_eq!(queue.depth().await.expect("answers"), 0);
}

/// The messages that can be received now, of which there must not be more than `most`.
async fn all_dead_letters(queue: &dyn DeadLetters, rest: Duration, most: usize) -> Vec<DeadLetter> {
    let mut all = vec![];
    loop {
        let some = queue.receive(rest).await.expect("answers");
        assert!(some.len() <= 10, "ten at most in one call");
        if some.is_empty() {
            return all;
        }
        all.extend(some);
        assert!(all.len() <= most, "what has been received is hidden: {all:?}");
    }
}

fn receipts_of(letters: &[DeadLetter]) -> Vec<Receipt> {
    letters.iter().map(|letter| letter.receipt.clone()).collect()
}

fn jobs_named_in(letters: &[DeadLetter]) -> Vec<JobId> {
    let named: Vec<_> = letters.iter().map(|letter| letter.job_id.expect("names a job")).collect();
    sorted(&named)
}

fn sorted(ids: &[JobId]) -> Vec<JobId> {
    let mut ids = ids.to_vec();
    ids.sort();
    ids
}
