//! The table's stream, the function at its end, and what that must have done.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_lambda_events::event::streams::DynamoDbEventResponse;
use events::{Events, StreamBatch};
use shared::counters::{CounterStore, MemoryCounters, Minute, Totals};
use shared::job::Job;
use shared::job::changes::{EventId, JobChange, Notice, Publisher, Recorded};
use shared::job_type::Payload as _;
use shared::payloads::webhook_delivery::WebhookDelivery;
use shared::ports::StoreError;
use shared::values::id::{JobId, Tenant};
use shared::values::time::Timestamp;
use shared_aws::dynamodb::stream::image_of;

use super::Fault;
use super::ports::{Cosmos, Process};
use crate::history::{Kind, Violation, callbacks_of};

/// Each change of a job, as it was before and after it, in their order.
#[derive(Default)]
pub struct Stream(Mutex<Vec<(Option<Job>, Job)>>);

impl Stream {
    pub fn push(&self, before: Option<Job>, after: Job) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((before, after));
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Some of them, as Lambda gives them to the function.
    fn batch(&self, range: Range<usize>) -> StreamBatch {
        let changes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let image = |job: &Job| image_of(job).expect("a job can be written");
        let records = range.clone().zip(&changes[range]).map(|(number, (before, after))| {
            let before = before.as_ref().map_or_else(|| "null".to_owned(), image);
            let (number, after) = (format!(r#""SequenceNumber":"{number}""#), image(after));
            format!(r#"{{"dynamodb":{{{number},"OldImage":{before},"NewImage":{after}}}}}"#)
        });
        let records: Vec<_> = records.collect();
        serde_json::from_str(&format!(r#"{{"Records":[{}]}}"#, records.join(","))).expect("a batch")
    }
}

/// The event-source mapping: one batch after another, each from where the last one was done. Batches are cut anew each
/// time, and now and then the shard is read again from some records before.
pub async fn stream_source(cosmos: Arc<Cosmos>) {
    let mut done = 0;
    loop {
        let end = cosmos.stream.len();
        if done == end {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        }
        let most = 1 + usize::try_from(cosmos.below(20)).unwrap_or(0);
        let range = done..end.min(done + most);
        done = match invoke(&cosmos, range.clone()).await {
            Some(answer) => match answer.batch_item_failures.first().and_then(|first| first.item_identifier.as_ref()) {
                None => range.end,
                Some(first) => first.parse().expect("a number of ours"),
            },
            None => done,
        };
        if cosmos.strikes(Fault::EventsDisturbed) {
            done = done.saturating_sub(usize::try_from(cosmos.below(30)).unwrap_or(0));
        }
    }
}

/// How long an invocation may take.
const INVOCATION: Duration = Duration::from_secs(60);

/// One invocation. `None` if it has failed or died: then nothing of the batch counts as done.
async fn invoke(cosmos: &Arc<Cosmos>, range: Range<usize>) -> Option<DynamoDbEventResponse> {
    let process = Process::new(cosmos);
    let events = Events {
        counters: process.clone(),
        publisher: Some(process.clone()),
        store: process.clone(),
        queue: process.clone(),
        clock: process.clone(),
    };
    tokio::select! {
        biased;
        () = process.died.notified() => None,
        answer = events.handle(cosmos.stream.batch(range), INVOCATION) => answer.ok(),
    }
}

#[async_trait]
impl CounterStore for Process {
    async fn count(&self, events: &[Recorded], now: Timestamp) -> Result<(), StoreError> {
        self.moment().await;
        if self.cosmos.strikes(Fault::EventsDisturbed) {
            return Err(Self::unanswered());
        }
        // In two steps, for it is not one: whoever dies in between has counted some.
        let (some, others) = events.split_at(events.len() / 2);
        self.cosmos.counters.count(some, now).await?;
        self.moment().await;
        self.cosmos.counters.count(others, now).await?;
        if self.cosmos.strikes(Fault::EventsDisturbed) {
            return Err(Self::unanswered());
        }
        self.moment().await;
        Ok(())
    }

    async fn totals(&self, tenant: Option<&Tenant>) -> Result<Totals, StoreError> {
        self.cosmos.counters.totals(tenant).await
    }

    async fn minutes(
        &self,
        tenant: Option<&Tenant>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Minute>, StoreError> {
        self.cosmos.counters.minutes(tenant, from, to).await
    }
}

#[async_trait]
impl Publisher for Process {
    async fn publish_all(&self, notices: &[Notice]) -> Vec<EventId> {
        self.moment().await;
        let mut published = notices.len();
        if self.cosmos.strikes(Fault::EventsDisturbed) {
            published = usize::try_from(self.cosmos.below(notices.len() as u64)).unwrap_or(0);
        }
        let (published, unpublished) = notices.split_at(published);
        let news = published.iter().map(|notice| notice.id);
        self.cosmos.published.lock().unwrap_or_else(PoisonError::into_inner).extend(news);
        self.moment().await;
        unpublished.iter().map(|notice| notice.id).collect()
    }
}

/// What must not be wrong once the stream has been read to its end: each event is counted once and told of, and whoever
/// is to be called back has one job for it.
pub async fn what_events_got_wrong(cosmos: &Cosmos, jobs: &[Job]) -> Vec<Violation> {
    let mut events: BTreeMap<JobId, Vec<Recorded>> = BTreeMap::new();
    for job in jobs {
        events.insert(job.id, events_of(job));
    }
    let mut violations = vec![];
    let mut wrong = |kind: Kind, job: JobId, what: String| violations.push(Violation { kind, job, what });

    let truth = MemoryCounters::default();
    for events in events.values() {
        truth.count(events, cosmos.now()).await.expect("memory counts");
    }
    let all_minutes = (Timestamp::from_millis(0), cosmos.now());
    let counted = cosmos.counters.minutes(None, all_minutes.0, all_minutes.1).await.expect("memory answers");
    let expected = truth.minutes(None, all_minutes.0, all_minutes.1).await.expect("memory answers");
    if counted != expected {
        let (counted, expected) = (cosmos.counters.totals(None).await, truth.totals(None).await);
        wrong(Kind::Untrue, jobs[0].id, format!("one of those that are counted as {counted:?}, not as {expected:?}"));
    }

    let published = cosmos.published.lock().unwrap_or_else(PoisonError::into_inner);
    for event in events.values().flatten().filter(|event| event.notice().is_some()) {
        if !published.contains(&event.id) {
            wrong(Kind::Lost, event.id.job_id, format!("nobody was told of its event {}", event.id));
        }
    }

    let is_callback = |job: &&Job| job.job_type.as_str() == WebhookDelivery::NAME;
    let there: BTreeMap<JobId, &Job> = jobs.iter().filter(is_callback).map(|job| (job.id, job)).collect();
    let wanted: BTreeMap<JobId, EventId> = jobs.iter().flat_map(callbacks_of).collect();
    for (callback, event) in &wanted {
        if !there.contains_key(callback) {
            wrong(Kind::Lost, event.job_id, format!("nobody is called back for its event {event}"));
        }
    }
    for callback in there.keys().filter(|callback| !wanted.contains_key(callback)) {
        wrong(Kind::Doubled, *callback, "calls back for no event".to_owned());
    }
    violations
}

fn events_of(job: &Job) -> Vec<Recorded> {
    JobChange::of_all(job).new_events().unwrap_or_default() // the checker says so if it has an impossible history
}
