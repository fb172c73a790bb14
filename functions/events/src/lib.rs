//! The DynamoDB-stream Lambda: counts what jobs did, and tells who wants to know.
//!
//! Each change of a job is one record of the stream, which delivers it at least once and those of one job in their
//! order. From a batch of records come the events that are new in it; then, in this order, the events are counted,
//! callbacks are stored as jobs, and notices are published. Each step takes what the step before has done, up to the
//! first record that could not be done; that record and all after it are delivered again. Counting comes first, so that
//! a topic that fails holds the counters up at the batch that it fails at, and not one event is counted twice or left
//! out: see [`shared::counters`].
//!
//! At every `await` this process may die, and then the whole batch is delivered again:
//! - before or in counting: events are counted or not, and the second time each is counted that was not;
//! - between counting and callbacks: the second count adds nothing, and all goes on;
//! - in storing callbacks: those that are there have the same id the second time, and are left as they are;
//! - between storing one and announcing it: it is announced the second time, unless it has been started; and if the
//!   batch never comes again, the sweeper announces it at its due;
//! - in publishing, or after it: some notices are published a second time, with the same ids as the first.
//!
//! Nothing here touches a job, or costs it anything: what fails here fails beside it.

mod callback;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use shared::counters::CounterStore;
use shared::job::Job;
use shared::job::changes::{Kind, Notice, Publisher, Recorded};
use shared::ports::{Clock, Inserted, JobQueue, JobStore, Message, StoreError};
use shared::values::chain::Chain;
use shared::values::time::Timestamp;
use shared_aws::system::TIME_TO_ANSWER;
use shared_aws::telemetry::about;

pub use self::stream::{StreamBatch, StreamRecord, Unreadable};

/// The topic that events go to, as the setting `EVENTS_TOPIC_ARN` names it. Without one they go nowhere, which is said once,
/// at the start, and not found out by whoever waits for them.
pub fn topic(setting: Option<String>) -> Option<String> {
    if setting.is_none() {
        tracing::warn!(
            error = "EVENTS_TOPIC_ARN is not set: events are counted, and published nowhere",
            "events.no_topic"
        );
    }
    setting
}

/// What it takes to see to events.
pub struct Events {
    /// Where they are counted.
    pub counters: Arc<dyn CounterStore>,
    /// Where they are published; `None`: nowhere.
    pub publisher: Option<Arc<dyn Publisher>>,
    /// Where callbacks are stored: they are jobs.
    pub store: Arc<dyn JobStore>,
    /// Where workers hear of them.
    pub queue: Arc<dyn JobQueue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Events {
    /// Sees to a batch. The answer names the first record that could not be done, from which on all are to be delivered
    /// again.
    ///
    /// Fails as a whole if that is the very first: then the stream delivers the batch in halves, until a record that
    /// nobody can do is alone, and gives up that one only. The same if `time_left`, after which the platform would end
    /// this process, is nearly over.
    pub async fn handle(
        &self,
        batch: StreamBatch,
        time_left: Duration,
    ) -> Result<DynamoDbEventResponse, lambda_runtime::Error> {
        let mut progress = Progress::of(&batch.records, self.clock.now());
        let seeing_to_it = async {
            self.count(&mut progress).await;
            self.call_back(&mut progress).await;
            self.publish(&mut progress).await;
        };
        if tokio::time::timeout(time_left.saturating_sub(TIME_TO_ANSWER), seeing_to_it).await.is_err() {
            return Err("the batch was given up: the table, the queue or the topic takes too long to answer".into());
        }
        match batch.records.get(progress.done) {
            None => Ok(DynamoDbEventResponse::default()),
            Some(_) if progress.done == 0 => Err("the first record of the batch could not be done".into()),
            Some(record) => {
                let mut failure = DynamoDbBatchItemFailure::default();
                failure.item_identifier = Some(record.sequence_number().to_owned());
                let mut answer = DynamoDbEventResponse::default();
                answer.batch_item_failures.push(failure);
                Ok(answer)
            }
        }
    }

    async fn count(&self, progress: &mut Progress) {
        if progress.events().is_empty() {
            return;
        }
        if let Err(error) = self.counters.count(progress.events(), self.clock.now()).await {
            tracing::error!(events = progress.events().len(), error = %Chain(&error), "events.uncounted");
            progress.stop_at(0);
        }
    }

    async fn call_back(&self, progress: &mut Progress) {
        let now = self.clock.now();
        let callbacks = progress.events().iter().enumerate();
        let callbacks = callbacks.filter_map(|(index, event)| Some((index, callback::job_of(event, now)?)));
        let (events, jobs): (Vec<usize>, Vec<Job>) = callbacks.unzip();
        if jobs.is_empty() {
            return;
        }
        let mut messages = vec![];
        let outcomes = self.store.insert_all_if_absent(&jobs).await;
        for ((event, job), outcome) in events.into_iter().zip(&jobs).zip(outcomes) {
            match outcome {
                Ok(Inserted::New) => messages.push(announcement(job)),
                // From an earlier try. If that died before it could announce it, the sweeper does at the job's own due.
                Ok(Inserted::AlreadyThere(_)) => {}
                // Something is there under its id, and trying again would find it again.
                Err(error @ (StoreError::Unreadable(..) | StoreError::Newer(..))) => {
                    about(job).in_scope(|| tracing::error!(error = %Chain(&error), "callback.refused"));
                }
                Err(error) => {
                    about(job).in_scope(|| tracing::warn!(error = %Chain(&error), "callback.not_stored"));
                    progress.stop_at(event);
                }
            }
        }
        // Whatever the queue does not take, the sweeper finds at the job's own due.
        let unsent = self.queue.send_all(&messages).await;
        for job in jobs.iter().filter(|job| unsent.contains(&job.id)) {
            about(job).in_scope(|| tracing::warn!("job.announcement_deferred"));
        }
    }

    async fn publish(&self, progress: &mut Progress) {
        let Some(publisher) = &self.publisher else { return };
        let notices: Vec<Notice> = progress.events().iter().filter_map(Recorded::notice).collect();
        if notices.is_empty() {
            return;
        }
        let unpublished = publisher.publish_all(&notices).await;
        if let Some(first) = progress.events().iter().position(|event| unpublished.contains(&event.id)) {
            progress.stop_at(first);
        }
    }
}

fn announcement(job: &Job) -> Message {
    Message::about(job, Duration::ZERO)
}

/// How long a newer build has to take an event over that this one does not know. Then nobody waits for it any more: the
/// newer build has been taken back.
const NEWER_BUILD_PATIENCE: Duration = Duration::from_secs(900);

fn is_for_newer_build(event: &Recorded, now: Timestamp) -> bool {
    event.kind == Kind::Unknown && now.since(event.at) < NEWER_BUILD_PATIENCE
}

/// How far a batch has come.
struct Progress {
    /// The events that are new in its records, in their order.
    events: Vec<Recorded>,
    /// The record that each of them is from.
    records: Vec<usize>,
    /// How many records are done, from the first on, as far as is known.
    done: usize,
}

impl Progress {
    /// Reads the records, up to the first that cannot be read, or that tells of something that this build does not know. It
    /// may be one of a newer build, for a while in the midst of a deployment; after that it is passed over.
    fn of(records: &[StreamRecord], now: Timestamp) -> Self {
        let mut progress = Self { events: vec![], records: vec![], done: records.len() };
        for (position, record) in records.iter().enumerate() {
            match record.new_events() {
                Ok(events) if events.iter().any(|event| is_for_newer_build(event, now)) => {
                    let sequence_number = record.sequence_number();
                    tracing::warn!(sequence_number, "event.of_newer_version");
                    progress.done = position;
                    break;
                }
                Ok(events) => {
                    progress.records.extend(events.iter().map(|_| position));
                    progress.events.extend(events);
                }
                Err(error) => {
                    let sequence_number = record.sequence_number();
                    tracing::error!(sequence_number, error = %Chain(&error), "record.unreadable");
                    progress.done = position;
                    break;
                }
            }
        }
        progress
    }

    /// The events of the records that are done so far.
    fn events(&self) -> &[Recorded] {
        &self.events[..self.records.partition_point(|record| *record < self.done)]
    }

    /// The record of this event could not be done.
    fn stop_at(&mut self, event: usize) {
        self.done = self.done.min(self.records[event]);
    }
}
