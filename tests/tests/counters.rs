//! However the stream is delivered, each event is counted once, published at least once and in its order, and followed by
//! one callback.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use events::{Events, StreamBatch};
use serde_json::Value;
use shared::counters::{CounterStore, Counts, Durations, MemoryCounters, Minute, Totals};
use shared::job::changes::{EventId, JobChange, Notice, Publisher, Recorded};
use shared::job::event::Event;
use shared::job::submission::{Origin, Submission};
use shared::job::transition::{Change, Fence, transition};
use shared::job::{Job, Progress, State, Status};
use shared::job_type::JobType;
use shared::ports::memory::{ManualClock, MemoryQueue, MemoryStore, SeededEntropy};
use shared::ports::{Clock, Entropy, StoreError};
use shared::quota::minute_of;
use shared::values::id::{JobId, LeaseToken, Tenant};
use shared::values::json::Json;
use shared::values::time::Timestamp;
use shared_aws::dynamodb::DynamoStore;
use shared_aws::dynamodb::stream::image_of;
use shared_aws::sns::SnsPublisher;
use tests::engines::{Service, and_tidy_up};
use tests::table::{NAME, Table};
use tests::topic::Topic;
use tokio::task::JoinSet;

/// When the story of these tests begins.
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn counters_equal_the_truth_after_10_000_jobs_with_redelivered_and_split_batches() {
    Scenario::of(10_000, 1).must_be_told_right(Arc::new(MemoryCounters::default())).await;
}

#[tokio::test]
async fn counters_on_dynamodb_equal_the_truth_with_redelivered_and_split_batches() {
    for seed in 2..4 {
        let table = Table::start().await;
        let counters = DynamoStore::with_client(table.client(), NAME.to_owned());
        Scenario::of(400, seed).must_be_told_right(Arc::new(counters)).await;
    }
}

#[tokio::test]
#[ignore = "takes a minute; CI runs it: cargo test --test counters -- --ignored"]
async fn counters_on_dynamodb_equal_the_truth_after_10_000_jobs() {
    let table = Table::start().await;
    let counters = DynamoStore::with_client(table.client(), NAME.to_owned());
    Scenario::of(10_000, 4).must_be_told_right(Arc::new(counters)).await;
}

#[tokio::test]
async fn any_number_of_consumers_at_once_count_each_event_once() {
    let table = Table::start().await;
    let counters = Arc::new(DynamoStore::with_client(table.client(), NAME.to_owned()));
    let events: Arc<Vec<_>> = Arc::new((0..60).flat_map(|number| events_of(&completed(number))).collect());
    let mut consumers = JoinSet::new();
    for consumer in 0..8 {
        let (counters, events) = (Arc::clone(&counters), Arc::clone(&events));
        consumers.spawn(async move {
            for batch in events[consumer * 20..].chunks(7 + consumer) {
                // As the stream does: until it is done.
                while counters.count(batch, START).await.is_err() {}
            }
        });
    }
    consumers.join_all().await;
    let counted = counters.totals(None).await.expect("answers").all();
    assert_eq!(counted, Counts { accepted: 60, started: 60, completed: 60, ..Counts::default() });
}

#[tokio::test]
async fn a_batch_costs_one_request_and_one_more_when_it_comes_again() {
    let table = Table::start().await;
    let counters = DynamoStore::with_client(table.client(), NAME.to_owned());
    let events: Vec<_> = (0..16).flat_map(|number| events_of(&completed(number))).collect();
    for requests in 1..3 {
        counters.count(&events, START).await.expect("answers");
        let sent = table.meter.readings().requests;
        assert_eq!(sent.into_iter().collect::<Vec<_>>(), [("TransactWriteItems".to_owned(), requests)]);
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_holds_up_only_what_follows_it() {
    let consumer = Consumer::new(Arc::new(MemoryCounters::default()), None);
    let broken = r#"{"id":{"S":"01938e5c-7a00-7000-8000-000000000000"}}"#.to_owned();
    let records =
        [record(1, None, &image(&accepted(1))), record(2, None, &broken), record(3, None, &image(&accepted(2)))];
    assert_eq!(consumer.hand_over(&records).await, Handed::UpTo("2".to_owned()));
    assert_eq!(consumer.accepted().await, 1);
    assert_eq!(consumer.hand_over(&records[1..]).await, Handed::Nothing, "to be cut in halves");
    assert_eq!(consumer.hand_over(&records[2..]).await, Handed::Everything);
    assert_eq!(consumer.accepted().await, 2);
}

#[tokio::test]
async fn what_is_not_a_job_or_is_gone_is_passed_over() {
    let consumer = Consumer::new(Arc::new(MemoryCounters::default()), Some(Arc::new(Listener::default())));
    let switch = r#"{"id":{"S":"switch"},"paused":{"BOOL":true}}"#;
    let deleted = format!(r#"{{"dynamodb":{{"SequenceNumber":"3","OldImage":{}}}}}"#, image(&completed(1)));
    let records = [record(1, None, switch), record(2, Some(switch), switch), deleted];
    assert_eq!(consumer.hand_over(&records).await, Handed::Everything);
    assert_eq!(consumer.accepted().await, 0);
}

#[tokio::test]
async fn a_topic_that_fails_costs_no_count_and_no_notice() {
    let listener = Arc::new(Listener::default());
    let consumer = Consumer::new(Arc::new(MemoryCounters::default()), Some(listener.clone()));
    let records = [1, 2, 3].map(|number| record(number.into(), None, &image(&accepted(number))));
    listener.refuse(2);
    assert_eq!(consumer.hand_over(&records).await, Handed::Nothing);
    assert_eq!(consumer.hand_over(&records).await, Handed::Nothing);
    assert_eq!((consumer.accepted().await, listener.heard().len()), (3, 0));
    assert_eq!(consumer.hand_over(&records).await, Handed::Everything);
    assert_eq!((consumer.accepted().await, listener.heard().len()), (3, 3));
}

#[tokio::test]
async fn a_job_that_has_ended_is_followed_by_one_callback_and_that_by_none() {
    let consumer = Consumer::new(Arc::new(MemoryCounters::default()), None);
    let url = "https://example.com/hooks?key=1".to_owned();
    let job = Job { callback_url: Some(url.clone()), ..completed(1) };
    let records = [record(1, None, &image(&job))];
    for _ in 0..2 {
        assert_eq!(consumer.hand_over(&records).await, Handed::Everything);
    }
    let callbacks = consumer.store.all();
    let [callback] = callbacks.as_slice() else { panic!("{callbacks:?}") };
    assert_eq!(callback.id, JobId::of_callback(job.id, 2));
    assert_eq!((callback.job_type.as_str(), &callback.tenant), ("webhook-delivery", &job.tenant));
    let payload: Value = serde_json::from_str(callback.payload.as_str()).expect("JSON");
    assert_eq!(payload["url"], url);
    assert_eq!(payload["event_type"], "job.completed");
    assert_eq!(payload["data"]["job_id"], job.id.to_string());
    assert_eq!(payload["data"]["status"], "completed");
    assert_eq!(consumer.queue.receive().map(|delivery| delivery.job_id), Some(callback.id));

    let delivered = ended(&Job { callback_url: job.callback_url, ..callback.clone() });
    assert_eq!(consumer.hand_over(&[record(2, None, &image(&delivered))]).await, Handed::Everything);
    assert_eq!(consumer.store.all().len(), 1, "no callback for a callback");
}

#[tokio::test]
async fn two_queues_with_different_filters_receive_what_they_asked_for() {
    let topic = Topic::create(&Service::Sns.config().await, &Service::Sqs.config().await).await;
    let failures = topic.queue("failures-of-acme", r#"{"event":["job.failed"],"tenant":["acme"]}"#).await;
    let mail = topic.queue("ended-mail", r#"{"status":["completed","failed"],"job_type":["email-send"]}"#).await;
    let queues = [failures.as_str(), mail.as_str()];
    let test = each_queue_receives_what_passes_its_filter(topic.clone(), failures.clone(), mail.clone());
    Box::pin(and_tidy_up(test, topic.delete(&queues))).await;
}

async fn each_queue_receives_what_passes_its_filter(topic: Topic, failures: String, mail: String) {
    let mut notices = vec![];
    for number in 0..12 {
        let fails = number % 2 == 0;
        let tenant = if number % 3 == 0 { "acme" } else { "globex" };
        let job_type = if number < 6 { JobType::EmailSend } else { JobType::CsvGeneration };
        let job = Job { tenant: tenant_called(tenant), job_type: job_type.name(), ..accepted(number) };
        let job = claimed(&job, START + SECOND);
        let job = if fails { failed(&job, START + SECOND * 2) } else { ended(&job) };
        notices.extend(events_of(&job).iter().filter_map(Recorded::notice));
    }
    let publisher = SnsPublisher::new(&Service::Sns.config().await, topic.arn.clone());
    assert_eq!(publisher.publish_all(&notices).await, []);

    let wanted = |wants: &dyn Fn(&Notice) -> bool| -> BTreeSet<String> {
        let wanted = notices.iter().filter(|notice| wants(notice));
        wanted.map(|notice| serde_json::to_string(notice).expect("writes")).collect()
    };
    let of_acme = wanted(&|notice| notice.event == "job.failed" && notice.tenant.as_str() == "acme");
    let of_mail = wanted(&|notice| notice.status.is_terminal() && notice.job_type.as_str() == "email-send");
    assert_eq!((of_acme.len(), of_mail.len()), (2, 6));
    assert_eq!(topic.received(&failures, of_acme.len()).await, of_acme);
    assert_eq!(topic.received(&mail, of_mail.len()).await, of_mail);
}

/// The events function, over the counters that are under test.
struct Consumer {
    events: Events,
    store: Arc<MemoryStore>,
    queue: Arc<MemoryQueue>,
}

/// What the events function made of a batch.
#[derive(Debug, PartialEq, Eq)]
enum Handed {
    Everything,
    /// This record and all after it are to be handed over again.
    UpTo(String),
    Nothing,
}

impl Consumer {
    fn new(counters: Arc<dyn CounterStore>, listener: Option<Arc<Listener>>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(START));
        let store = Arc::new(MemoryStore::default());
        let queue = Arc::new(MemoryQueue::new(Arc::clone(&clock), Duration::from_secs(360), 12));
        let publisher = listener.map(|listener| listener as Arc<dyn Publisher>);
        let events = Events { counters, publisher, store: store.clone(), queue: queue.clone(), clock };
        Self { events, store, queue }
    }

    async fn hand_over(&self, records: &[String]) -> Handed {
        let batch = format!(r#"{{"Records":[{}]}}"#, records.join(","));
        let batch: StreamBatch = serde_json::from_str(&batch).expect("a batch");
        match self.events.handle(batch, Duration::from_secs(60)).await {
            Ok(answer) => match answer.batch_item_failures.into_iter().next() {
                None => Handed::Everything,
                Some(failure) => Handed::UpTo(failure.item_identifier.expect("a sequence number")),
            },
            Err(_) => Handed::Nothing,
        }
    }

    async fn accepted(&self) -> u64 {
        self.events.counters.totals(None).await.expect("answers").all().accepted
    }
}

/// Hears what is published, if it is not told to refuse it.
#[derive(Default)]
struct Listener {
    heard: Mutex<Vec<EventId>>,
    refusals: Mutex<u32>,
    /// Refuses about one in so many notices, and all that follow it in the same call; 0: none.
    refuses_one_in: u32,
    dice: Dice,
}

impl Listener {
    fn refuse(&self, calls: u32) {
        *self.refusals.lock().expect("no holder panicked") = calls;
    }

    fn heard(&self) -> Vec<EventId> {
        self.heard.lock().expect("no holder panicked").clone()
    }
}

#[async_trait]
impl Publisher for Listener {
    async fn publish_all(&self, notices: &[Notice]) -> Vec<EventId> {
        let mut refusals = self.refusals.lock().expect("no holder panicked");
        if *refusals > 0 {
            *refusals -= 1;
            return notices.iter().map(|notice| notice.id).collect();
        }
        let is_refused = |_: &Notice| self.refuses_one_in > 0 && self.dice.below(self.refuses_one_in) == 0;
        let taken = notices.iter().position(is_refused).unwrap_or(notices.len());
        let (taken, refused) = notices.split_at(taken);
        self.heard.lock().expect("no holder panicked").extend(taken.iter().map(|notice| notice.id));
        refused.iter().map(|notice| notice.id).collect()
    }
}

/// Counters that fail now and then, before they have counted or after.
struct Unreliable {
    counters: Arc<dyn CounterStore>,
    dice: Dice,
}

#[async_trait]
impl CounterStore for Unreliable {
    async fn count(&self, events: &[Recorded], now: Timestamp) -> Result<(), StoreError> {
        match self.dice.below(20) {
            0 => Err(StoreError::Unavailable("before".into())),
            1 => {
                self.counters.count(&events[..events.len() / 2], now).await?;
                Err(StoreError::Unavailable("half-way".into()))
            }
            2 => {
                self.counters.count(events, now).await?;
                Err(StoreError::Unavailable("after".into()))
            }
            _ => self.counters.count(events, now).await,
        }
    }

    async fn totals(&self, tenant: Option<&Tenant>) -> Result<Totals, StoreError> {
        self.counters.totals(tenant).await
    }

    async fn minutes(
        &self,
        tenant: Option<&Tenant>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Minute>, StoreError> {
        self.counters.minutes(tenant, from, to).await
    }
}

/// Many jobs, and the stream of their changes.
struct Scenario {
    /// Each job as it is in the end.
    jobs: Vec<Job>,
    shards: Vec<Shard>,
    dice: Dice,
}

/// A part of the stream. Its records are delivered in their order, those of several shards in any.
#[derive(Default)]
struct Shard {
    /// Delivered to its end before this one begins: the shard that was split into this one and another.
    parent: Option<usize>,
    records: Vec<String>,
    /// How many records are done, as far as the stream knows.
    done: usize,
}

/// Four shards, each of which is split into two.
const SHARDS: usize = 4;

const TENANTS: [&str; 3] = ["default", "acme", "globex"];

impl Scenario {
    fn of(number_of_jobs: u32, seed: u64) -> Self {
        let dice = Dice::new(seed);
        let mut jobs = vec![];
        let mut changes = vec![];
        for number in 0..number_of_jobs {
            // Some 50 jobs a second.
            let life = life(&dice, number, START + Duration::from_millis(u64::from(number) * 20));
            let mut before = None;
            for (at, job) in &life {
                let after: Arc<str> = image(job).into();
                changes.push((*at, job.id, before.replace(Arc::clone(&after)), after));
            }
            jobs.extend(life.into_iter().next_back().map(|(_, job)| job));
        }
        changes.sort_by_key(|(at, ..)| *at); // those of one job keep their order
        let mut shards: Vec<Shard> = vec![];
        shards.resize_with(SHARDS * 3, Shard::default);
        for parent in 0..SHARDS {
            shards[SHARDS + parent].parent = Some(parent);
            shards[SHARDS * 2 + parent].parent = Some(parent);
        }
        let split_at = changes.len() / 2;
        for (place, (_, id, before, after)) in changes.iter().enumerate() {
            let (shard, half) = (usize::from(id.spread()) % SHARDS, usize::from(id.spread()) / SHARDS % 2);
            let shard = if place < split_at { shard } else { shard + SHARDS * (1 + half) };
            // Numbers of several lengths, and with gaps, as sequence numbers are.
            shards[shard].records.push(record(8 + place as u64 * 7, before.as_deref(), after));
            if dice.below(50) == 0 {
                let item = r#"{"id":{"S":"counters##total#0"}}"#;
                shards[shard].records.push(record(9 + place as u64 * 7, Some(item), item));
            }
        }
        Self { jobs, shards, dice }
    }

    /// Delivers the whole stream, with everything that may happen to a stream, and checks what has come of it.
    async fn must_be_told_right(mut self, counters: Arc<dyn CounterStore>) {
        let unreliable = Unreliable { counters: Arc::clone(&counters), dice: Dice::new(11) };
        let listener = Arc::new(Listener { refuses_one_in: 200, dice: Dice::new(12), ..Listener::default() });
        let consumer = Consumer::new(Arc::new(unreliable), Some(Arc::clone(&listener)));
        let mut largest = 100;
        while let Some(pair) = self.two_shards() {
            let batches = pair.map(|shard| self.batch_of(shard, largest));
            // Two at once, whether they are of one shard, as after a consumer was given up too early, or of two.
            let (one, other) = tokio::join!(consumer.hand_over(&batches[0]), consumer.hand_over(&batches[1]));
            let failed = one == Handed::Nothing || other == Handed::Nothing;
            largest = if failed { (largest / 2).max(1) } else { 100 };
            self.advance(pair[0], &batches[0], &one);
            if pair[0] != pair[1] {
                self.advance(pair[1], &batches[1], &other);
            }
        }
        self.check_counts(&*counters).await;
        self.check_notices(&listener.heard());
        self.check_callbacks(&consumer.store);
    }

    /// Two shards whose next records may be delivered, perhaps the same one; `None` if all is delivered.
    fn two_shards(&self) -> Option<[usize; 2]> {
        let is_over = |shard: usize| self.shards[shard].done == self.shards[shard].records.len();
        let may_go_on = |shard: &usize| !is_over(*shard) && self.shards[*shard].parent.is_none_or(is_over);
        let ready: Vec<_> = (0..self.shards.len()).filter(may_go_on).collect();
        let any = || ready[self.dice.below(u32::try_from(ready.len()).expect("a few")) as usize];
        (!ready.is_empty()).then(|| [any(), any()])
    }

    fn batch_of(&self, shard: usize, largest: u32) -> Vec<String> {
        let Shard { records, done, .. } = &self.shards[shard];
        let size = 1 + self.dice.below(largest) as usize;
        records[*done..records.len().min(done + size)].to_vec()
    }

    /// What the stream takes for done after this answer, which may get lost, together with what it knew before.
    fn advance(&mut self, shard: usize, batch: &[String], answer: &Handed) {
        let (lost, forgotten) = (self.dice.below(8) == 0, self.dice.below(20) == 0);
        let back = self.dice.below(200) as usize;
        let Shard { done, .. } = &mut self.shards[shard];
        match answer {
            _ if lost => {}
            Handed::Everything => *done += batch.len(),
            Handed::UpTo(sequence_number) => {
                let number = format!(r#""SequenceNumber":"{sequence_number}""#);
                *done += batch.iter().position(|record| record.contains(&number)).expect("one of the batch");
            }
            Handed::Nothing => {}
        }
        if forgotten {
            *done = done.saturating_sub(back);
        }
    }

    async fn check_counts(&self, counters: &dyn CounterStore) {
        for tenant in TENANTS.map(|name| Some(tenant_called(name))).into_iter().chain([None]) {
            let jobs = self.jobs.iter().filter(|job| tenant.as_ref().is_none_or(|tenant| job.tenant == *tenant));
            let truth = Truth::of(jobs);
            let totals = counters.totals(tenant.as_ref()).await.expect("answers");
            let counts = totals.by_type.iter().map(|(job_type, total)| (job_type.clone(), total.counts));
            assert_eq!(counts.collect::<BTreeMap<_, _>>(), truth.totals, "{tenant:?}");
            for (job_type, total) in &totals.by_type {
                let [ran, waited] = &truth.durations[job_type];
                check_durations(&total.ran, ran);
                check_durations(&total.waited, waited);
            }
            let end = minute_of(truth.last) + SECOND * 60;
            let minutes = counters.minutes(tenant.as_ref(), START, end).await.expect("answers");
            let completed: BTreeMap<_, _> =
                minutes.iter().map(|minute| (minute.begins_at, minute.all().counts.completed)).collect();
            assert_eq!(
                completed.into_iter().filter(|(_, jobs)| *jobs > 0).collect::<BTreeMap<_, _>>(),
                truth.completed
            );
            let (mut sum, mut durations) = (Counts::default(), 0);
            for minute in &minutes {
                sum.merge(&minute.all().counts);
                durations += minute.all().ran.count();
            }
            assert_eq!(sum, totals.all(), "{tenant:?}");
            assert!(durations >= sum.completed + sum.retried, "{tenant:?}");
        }
    }

    fn check_notices(&self, heard: &[EventId]) {
        let expected: HashSet<_> =
            self.jobs.iter().flat_map(events_of).filter_map(|event| event.notice()).map(|notice| notice.id).collect();
        let mut first_heard = HashSet::new();
        let mut latest: BTreeMap<JobId, usize> = BTreeMap::new();
        for id in heard {
            if first_heard.insert(*id) {
                let before = latest.insert(id.job_id, id.index);
                assert!(before.is_none_or(|before| before < id.index), "{id} after {before:?}");
            }
        }
        assert_eq!(first_heard, expected);
    }

    fn check_callbacks(&self, store: &MemoryStore) {
        let mut expected = BTreeSet::new();
        for job in self.jobs.iter().filter(|job| job.callback_url.is_some()) {
            let ends = events_of(job).into_iter().filter(|event| event.status.is_terminal());
            expected.extend(ends.map(|event| JobId::of_callback(job.id, event.id.index)));
        }
        assert!(!expected.is_empty());
        assert_eq!(store.all().into_iter().map(|job| job.id).collect::<BTreeSet<_>>(), expected);
    }
}

fn check_durations(counted: &Durations, truth: &[Duration]) {
    assert_eq!((counted.count(), counted.sum()), (truth.len() as u64, truth.iter().sum::<Duration>()));
    for (range, count) in counted.cumulative() {
        let fits = |took: &&Duration| range.longest().is_none_or(|longest| **took <= longest);
        assert_eq!(count, truth.iter().filter(fits).count() as u64, "{range}");
    }
}

/// What the counters must say of some jobs, read from their histories.
struct Truth {
    totals: BTreeMap<String, Counts>,
    /// How long each attempt ran, and how long each waited, by type.
    durations: BTreeMap<String, [Vec<Duration>; 2]>,
    /// Jobs completed in each minute.
    completed: BTreeMap<Timestamp, u64>,
    /// When the last event happened.
    last: Timestamp,
}

impl Truth {
    fn of<'a>(jobs: impl Iterator<Item = &'a Job>) -> Self {
        let (totals, durations, completed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut truth = Self { totals, durations, completed, last: START };
        for job in jobs {
            let [ran, waited] = truth.durations.entry(job.job_type.as_str().to_owned()).or_default();
            for event in events_of(job) {
                ran.extend(event.ran);
                waited.extend(event.waited);
            }
            let counts = truth.totals.entry(job.job_type.as_str().to_owned()).or_default();
            let mut goes_on = false;
            for event in &job.history {
                match event {
                    Event::Accepted { .. } => counts.accepted += 1,
                    Event::Started { .. } => counts.started += u64::from(!goes_on),
                    Event::Retrying { .. } => counts.retried += 1,
                    Event::Completed { at } => {
                        counts.completed += 1;
                        *truth.completed.entry(minute_of(*at)).or_default() += 1;
                    }
                    Event::Failed { .. } => counts.failed += 1,
                    Event::Cancelled { .. } | Event::Lapsed { .. } => counts.cancelled += 1,
                    Event::Redriven { .. } => counts.redriven += 1,
                    Event::Yielded { .. }
                    | Event::CancelRequested { .. }
                    | Event::Rescheduled { .. }
                    | Event::Unknown(_) => {}
                }
                goes_on = match event {
                    Event::Yielded { .. } => true,
                    Event::Rescheduled { .. } => goes_on,
                    _ => false,
                };
                truth.last = truth.last.max(event.at());
            }
            counts.waiting += i64::from(job.status() == Status::Pending);
            counts.running += i64::from(job.status() == Status::Processing);
        }
        truth
    }
}

/// Each state that a job goes through, and when it came into it.
fn life(dice: &Dice, number: u32, start: Timestamp) -> Vec<(Timestamp, Job)> {
    let payload = match dice.below(3) {
        0 => r#""email-send","payload":{"to":"a@example.com","subject":"s","body":"b"}"#,
        _ => r#""csv-generation","payload":{"a":1}"#,
    };
    let body = format!(r#"{{"type":{payload},"delay_seconds":{}}}"#, dice.below(3));
    let tenant = tenant_called(TENANTS[dice.below(3) as usize]);
    let callback_url = (dice.below(8) == 0).then(|| "https://example.com/hooks".to_owned());
    let job = Job { callback_url, ..submitted(&body, number, tenant, start) };
    let (mut now, mut life) = (start, vec![(start, job)]);
    while life.len() < 12 {
        let (_, job) = life.last().expect("at least its first");
        let Some((at, change)) = next_change(dice, job, now) else { break };
        let next = transition(job, &change).unwrap_or_else(|refusal| panic!("{change:?} of {job:?}: {refusal:?}"));
        now = at;
        life.push((at, next));
    }
    life
}

/// What happens next to a job, and when; `None` if nothing does any more.
fn next_change(dice: &Dice, job: &Job, now: Timestamp) -> Option<(Timestamp, Change)> {
    let soon = now + Duration::from_millis(dice.below(4000).into());
    let claim = |at| {
        let token = LeaseToken::new(u64::from(dice.below(u32::MAX)).to_be_bytes());
        (at, Change::Claim { now: at, token, time_left: SECOND * 60 })
    };
    let error = || "no".to_owned();
    match job.state {
        State::Pending { not_before, .. } => {
            let at = soon.max(not_before);
            match dice.below(20) {
                0 => None,
                1 => Some((at, Change::CancelPending { now: at })),
                2 => Some((at, Change::Reschedule { now: at, not_before: at + SECOND })),
                _ => Some(claim(at)),
            }
        }
        State::Processing { lease_until, cancel_requested, .. } => {
            let (at, fence) = (soon, fence_of(job));
            let change = match dice.below(20) {
                0 => return None,
                1 if !cancel_requested => Change::RequestCancel { now: at },
                2 => {
                    let progress = Progress { percent: 50, message: String::new(), at };
                    Change::Report { fence, progress }
                }
                3..=6 if cancel_requested => Change::YieldToCancel { now: at, fence },
                3 => Change::Yield { now: at, fence, checkpoint: Json::of(&1).expect("a number") },
                4 => Change::Fail { now: at, fence, error: error(), tenant: job.tenant.clone() },
                5..=6 if job.attempts < job.max_attempts => {
                    Change::Retry { now: at, fence, error: error(), not_before: at + SECOND * 2 }
                }
                7 if !cancel_requested => {
                    // Its worker died.
                    let at = lease_until + SECOND;
                    let expire = Change::Expire { now: at, tenant: job.tenant.clone() };
                    return Some(if job.attempts < job.max_attempts { claim(at) } else { (at, expire) });
                }
                _ => Change::Complete { now: at, fence, result: Json::of(&1).expect("a number") },
            };
            Some((at, change))
        }
        State::Failed { .. } | State::Cancelled { .. } => {
            let redrive = Change::Redrive { now: soon, not_before: soon, more_attempts: 2, tenant: job.tenant.clone() };
            (dice.below(4) == 0).then_some((soon, redrive))
        }
        State::Completed { .. } => None,
    }
}

fn submitted(body: &str, number: u32, tenant: Tenant, at: Timestamp) -> Job {
    let mut random = [0; 10];
    random[6..].copy_from_slice(&number.to_be_bytes());
    let origin = Origin { correlation_id: format!("request-{number}"), traceparent: None };
    Submission::parse(body.as_bytes(), at).expect("fits").into_job(JobId::at(at, random), tenant, at, origin)
}

fn accepted(number: u32) -> Job {
    submitted(r#"{"type":"csv-generation","payload":{"a":1}}"#, number, Tenant::only(), START)
}

fn claimed(job: &Job, now: Timestamp) -> Job {
    let claim = Change::Claim { now, token: LeaseToken::new([1; 8]), time_left: SECOND * 60 };
    transition(job, &claim).expect("claimed")
}

/// The job completed, two seconds after the beginning.
fn ended(job: &Job) -> Job {
    let job = if job.status() == Status::Pending { claimed(job, START + SECOND) } else { job.clone() };
    let result = Json::of(&1).expect("a number");
    transition(&job, &Change::Complete { now: START + SECOND * 2, fence: fence_of(&job), result }).expect("completed")
}

fn completed(number: u32) -> Job {
    ended(&accepted(number))
}

fn failed(job: &Job, now: Timestamp) -> Job {
    let (fence, error, tenant) = (fence_of(job), "no".to_owned(), job.tenant.clone());
    transition(job, &Change::Fail { now, fence, error, tenant }).expect("failed")
}

fn fence_of(job: &Job) -> Fence {
    Fence { attempt: job.attempts, token: job.lease_token.expect("it was claimed") }
}

/// All events of a job, as if it had been stored with them.
fn events_of(job: &Job) -> Vec<Recorded> {
    JobChange::of_all(job).new_events().expect("a job can have this history")
}

fn image(job: &Job) -> String {
    image_of(job).expect("writes")
}

/// One record of the stream.
fn record(sequence_number: u64, before: Option<&str>, after: &str) -> String {
    let before = before.map_or_else(String::new, |before| format!(r#""OldImage":{before},"#));
    format!(r#"{{"dynamodb":{{"SequenceNumber":"{sequence_number}",{before}"NewImage":{after}}}}}"#)
}

fn tenant_called(name: &str) -> Tenant {
    Tenant::named(name).expect("a name")
}

/// Numbers that look random and are the same in every run.
#[derive(Debug, Default)]
struct Dice(SeededEntropy);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    /// A number from 0 on and below `end`.
    fn below(&self, end: u32) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_be_bytes(bytes) % end
    }
}
