//! No function outlives its time, however long the table takes: the platform would end its process in the middle, and
//! nobody would be told. In virtual time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lambda_events::event::sqs::SqsEvent;
use axum::http::StatusCode;
use events::{Events, StreamBatch};
use shared::counters::MemoryCounters;
use shared::job::transition::Change;
use shared::job::{Job, Status};
use shared::ports::memory::MemoryStore;
use shared::ports::{
    Changed, Clock, Deleted, Inserted, InsertedWith, JobStore, ListQuery, Overdue, OwnItem, Page, Receipt, StoreError,
    Unreadable,
};
use shared::values::id::JobId;
use shared::values::time::Timestamp;
use shared_aws::dynamodb::stream::image_of;
use tests::world::{World, body, record};
use tokio::time::Instant;

/// A table that answers, after a long while: longer than any of its clients' timeouts.
struct Slow(Arc<MemoryStore>);

impl Slow {
    async fn think() {
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
}

#[async_trait]
impl JobStore for Slow {
    async fn insert_if_absent(&self, job: &Job) -> Result<Inserted, StoreError> {
        Self::think().await;
        self.0.insert_if_absent(job).await
    }

    async fn find(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        Self::think().await;
        self.0.find(id).await
    }

    async fn change_if_allowed(&self, id: JobId, change: &Change) -> Result<Changed, StoreError> {
        Self::think().await;
        self.0.change_if_allowed(id, change).await
    }

    async fn put_off(&self, unreadable: Unreadable, due_at: Timestamp) -> Result<bool, StoreError> {
        self.0.put_off(unreadable, due_at).await
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Overdue, StoreError> {
        self.0.overdue(now, limit).await
    }

    async fn insert_all_if_absent(&self, jobs: &[Job]) -> Vec<Result<Inserted, StoreError>> {
        Self::think().await;
        self.0.insert_all_if_absent(jobs).await
    }

    async fn insert_with(&self, job: &Job, own: &OwnItem) -> Result<InsertedWith, StoreError> {
        Self::think().await;
        self.0.insert_with(job, own).await
    }

    async fn delete_if_ended(&self, id: JobId) -> Result<Deleted, StoreError> {
        Self::think().await;
        self.0.delete_if_ended(id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        Self::think().await;
        self.0.list(query).await
    }
}

const JOB: &str = r#"{"type":"csv-generation","payload":{"a":1}}"#;

#[tokio::test(start_paused = true)]
async fn a_caller_is_answered_before_the_function_is_ended() {
    let mut slow = None;
    let world = World::with_api(|api| {
        let store = Arc::new(MemoryStore::default());
        slow = Some(store.clone());
        api.store = Arc::new(Slow(store));
    });
    let began = Instant::now();
    let id = world.submit(JOB).await;
    assert_eq!(began.elapsed(), Duration::from_secs(20), "long, but in time");

    // It is read and then changed.
    let began = Instant::now();
    let asked = world.post(&format!("/jobs/{id}/cancel"), &[], "").await;
    assert_eq!(asked.status, StatusCode::SERVICE_UNAVAILABLE, "{}", asked.body);
    assert!(asked.body["detail"].as_str().is_some_and(|detail| detail.contains("ask again")), "{}", asked.body);
    assert!(asked.headers.contains_key("x-request-id"));
    assert_eq!(began.elapsed(), Duration::from_secs(28));
    let store = slow.expect("the API was made");
    let there = store.find(id).await.expect("answers").expect("stored");
    assert_eq!(there.status(), Status::Pending, "what was under way was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_sweep_ends_in_time_and_the_next_one_goes_on() {
    let world = World::new();
    for _ in 0..10 {
        world.submit(JOB).await;
    }
    let lost: Vec<_> = std::iter::from_fn(|| world.queue.receive()).collect();
    for delivery in &lost {
        world.queue.acknowledge(&delivery.receipt);
    }
    world.clock.advance(Duration::from_secs(600));
    let mut slow = World::new().sweeper;
    slow.store = Arc::new(Slow(world.store.clone()));
    slow.clock = world.clock.clone();
    let began = Instant::now();
    slow.handle(Duration::from_secs(18)).await.expect_err("it is cut short");
    assert!(began.elapsed() < Duration::from_secs(18), "{:?}", began.elapsed());

    // Those that were given a new due without being announced have their turn at that.
    world.sweeper.handle(Duration::from_secs(50)).await.expect("swept");
    world.clock.advance(Duration::from_secs(3600));
    world.sweeper.handle(Duration::from_secs(50)).await.expect("swept");
    let mut announced: Vec<_> = std::iter::from_fn(|| world.queue.receive()).map(|delivery| delivery.job_id).collect();
    announced.sort_unstable();
    announced.dedup();
    assert_eq!(announced.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_events_is_given_up_in_time() {
    let world = World::new();
    let body = r#"{"type":"csv-generation","payload":{"a":1},"callback_url":"https://example.com/hook"}"#;
    let id = world.submit(body).await;
    let cancel = Change::CancelPending { now: world.clock.now() };
    let Changed::Applied(job) = world.store.change_if_allowed(id, &cancel).await.expect("answers") else {
        panic!("it waited");
    };
    let image = image_of(&job).expect("writes");
    let record = format!(r#"{{"dynamodb":{{"SequenceNumber":"1","NewImage":{image}}}}}"#);
    let batch = || serde_json::from_str::<StreamBatch>(&format!(r#"{{"Records":[{record}]}}"#)).expect("a batch");
    let events = |store: Arc<dyn JobStore>| Events {
        counters: Arc::new(MemoryCounters::default()),
        publisher: None,
        store,
        queue: world.queue.clone(),
        clock: world.clock.clone(),
    };
    let began = Instant::now();
    let slow = events(Arc::new(Slow(world.store.clone())));
    slow.handle(batch(), Duration::from_secs(15)).await.expect_err("it is given up");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let answer = events(world.store.clone()).handle(batch(), Duration::from_secs(15)).await.expect("done");
    assert!(answer.batch_item_failures.is_empty());
    assert_eq!(world.store.all().len(), 2, "the job, and its callback");
}

#[tokio::test(start_paused = true)]
async fn a_worker_answers_in_time_and_returns_what_it_has_not_done() {
    let world = World::new();
    let id = world.submit(JOB).await;
    let worker = World::new().worker;
    let mut worker = Arc::into_inner(worker).expect("nobody else has it");
    worker.store = Arc::new(Slow(world.store.clone()));
    let mut event = SqsEvent::default();
    event.records = vec![record(&Receipt("r".to_owned()), &body(id))];
    let began = Instant::now();
    let answer = Arc::new(worker).handle(event, Duration::from_secs(15)).await.expect("an answer");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(answer.batch_item_failures.len(), 1);
    assert_eq!(world.store.find(id).await.expect("answers").expect("there").status(), Status::Pending);
}
