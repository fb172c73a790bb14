//! The ports in memory: for tests, and for trying a job type without any AWS.
//!
//! They behave like the real ones as far as [`crate::contract`] can tell; a message that is received and not
//! acknowledged comes back, for one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::id::JobId;
use crate::job::Job;
use crate::ports::{
    Changed, Clock, DeadLetter, DeadLetters, Entropy, Inserted, JobQueue, JobStore, Message, QueueError, Receipt,
    StoreError,
};
use crate::time::Timestamp;
use crate::transition::{Change, transition};

/// A [`JobStore`] in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    jobs: Mutex<BTreeMap<JobId, Job>>,
}

impl MemoryStore {
    /// All jobs, by id.
    pub fn all(&self) -> Vec<Job> {
        locked(&self.jobs).values().cloned().collect()
    }
}

#[async_trait]
impl JobStore for MemoryStore {
    async fn insert_if_absent(&self, job: &Job) -> Result<Inserted, StoreError> {
        let mut jobs = locked(&self.jobs);
        if let Some(there) = jobs.get(&job.id) {
            return Ok(Inserted::AlreadyThere(Box::new(there.clone())));
        }
        jobs.insert(job.id, job.clone());
        Ok(Inserted::New)
    }

    async fn find(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        Ok(locked(&self.jobs).get(&id).cloned())
    }

    async fn change_if_allowed(&self, id: JobId, change: &Change) -> Result<Changed, StoreError> {
        let mut jobs = locked(&self.jobs);
        let Some(job) = jobs.get_mut(&id) else { return Ok(Changed::Missing) };
        match transition(job, change) {
            Ok(next) => {
                *job = next.clone();
                Ok(Changed::Applied(Box::new(next)))
            }
            Err(refusal) => Ok(Changed::Refused(refusal, Box::new(job.clone()))),
        }
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError> {
        let jobs = locked(&self.jobs);
        let mut overdue: Vec<_> = jobs.values().filter(|job| job.due_at().is_some_and(|due| due < now)).collect();
        overdue.sort_by_key(|job| job.due_at());
        Ok(overdue.into_iter().take(limit).cloned().collect())
    }
}

/// A [`JobQueue`] in memory, with what a consumer needs besides: [`MemoryQueue::receive`] and a redrive policy.
pub struct MemoryQueue {
    clock: Arc<dyn Clock>,
    visibility_timeout: Duration,
    most_receives: u32,
    sent: AtomicU64,
    messages: Mutex<VecDeque<Queued>>,
    dead_letters: Mutex<Vec<Queued>>,
}

#[derive(Clone, Debug)]
struct Queued {
    job_id: JobId,
    visible_at: Timestamp,
    receives: u32,
    number: u64,
}

/// One delivery of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The job it is about.
    pub job_id: JobId,
    /// To hide or to acknowledge it by.
    pub receipt: Receipt,
    /// How often the message has been delivered, this time included.
    pub receives: u32,
}

impl MemoryQueue {
    /// An empty queue, which hides a received message for `visibility_timeout` and gives it up after `most_receives`.
    pub fn new(clock: Arc<dyn Clock>, visibility_timeout: Duration, most_receives: u32) -> Self {
        Self {
            clock,
            visibility_timeout,
            most_receives,
            sent: AtomicU64::new(0),
            messages: Mutex::default(),
            dead_letters: Mutex::default(),
        }
    }

    /// The next message that is not hidden or held back. It comes back unless it is acknowledged in time; one that has
    /// come as often as it may goes to the dead letters instead.
    pub fn receive(&self) -> Option<Delivery> {
        let now = self.clock.now();
        let mut messages = locked(&self.messages);
        let worn_out = |message: &Queued| message.visible_at <= now && message.receives >= self.most_receives;
        locked(&self.dead_letters).extend(messages.iter().filter(|message| worn_out(message)).cloned());
        messages.retain(|message| !worn_out(message));
        let message = messages.iter_mut().find(|message| message.visible_at <= now)?;
        message.visible_at = now + self.visibility_timeout;
        message.receives += 1;
        let receipt = Receipt(format!("{}/{}", message.number, message.receives));
        Some(Delivery { job_id: message.job_id, receipt, receives: message.receives })
    }

    /// The jobs whose messages came as often as they may and were never acknowledged, in that order.
    pub fn dead_letters(&self) -> Vec<JobId> {
        locked(&self.dead_letters).iter().map(|message| message.job_id).collect()
    }

    /// Takes a delivered message out of the queue.
    pub fn acknowledge(&self, receipt: &Receipt) {
        locked(&self.messages).retain(|message| !message.is_named_by(receipt));
    }
}

impl Queued {
    fn is_named_by(&self, receipt: &Receipt) -> bool {
        receipt.0.split('/').next() == Some(self.number.to_string().as_str())
    }
}

#[async_trait]
impl JobQueue for MemoryQueue {
    async fn send(&self, message: &Message) -> Result<(), QueueError> {
        let visible_at = self.clock.now() + message.delay;
        let mut messages = locked(&self.messages);
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        messages.push_back(Queued { job_id: message.job_id, visible_at, receives: 0, number });
        Ok(())
    }

    async fn send_all(&self, messages: &[Message]) -> Vec<JobId> {
        let mut unsent = vec![];
        for message in messages {
            if self.send(message).await.is_err() {
                unsent.push(message.job_id);
            }
        }
        unsent
    }

    async fn hide(&self, receipt: &Receipt, rest: Duration) -> Result<(), QueueError> {
        let now = self.clock.now();
        let seconds = Duration::from_secs(rest.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
        let mut messages = locked(&self.messages);
        match messages.iter_mut().find(|message| message.is_named_by(receipt)) {
            Some(message) => {
                message.visible_at = now + seconds;
                Ok(())
            }
            None => Err(QueueError("no such receipt".into())),
        }
    }

    async fn waiting(&self) -> Result<usize, QueueError> {
        let now = self.clock.now();
        Ok(locked(&self.messages).iter().filter(|message| message.visible_at <= now).count())
    }
}

#[async_trait]
impl DeadLetters for MemoryQueue {
    async fn receive(&self, rest: Duration) -> Result<Vec<DeadLetter>, QueueError> {
        let now = self.clock.now();
        let mut dead_letters = locked(&self.dead_letters);
        let visible = dead_letters.iter_mut().filter(|message| message.visible_at <= now).take(10);
        let received = visible.map(|message| {
            message.visible_at = now + rest;
            DeadLetter { job_id: Some(message.job_id), receipt: Receipt(format!("{}/dead", message.number)) }
        });
        Ok(received.collect())
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), QueueError> {
        locked(&self.dead_letters).retain(|message| !receipts.iter().any(|receipt| message.is_named_by(receipt)));
        Ok(())
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    /// Moves it on.
    pub fn advance(&self, rest: Duration) {
        let mut now = locked(&self.0);
        *now = *now + rest;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *locked(&self.0)
    }
}

/// Numbers that look random and are the same in every run: a counter, scrambled (SplitMix64).
#[derive(Debug, Default)]
pub struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    /// The numbers that belong to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = locked(&self.0);
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut scrambled = *state;
            scrambled = (scrambled ^ (scrambled >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            scrambled = (scrambled ^ (scrambled >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            scrambled ^= scrambled >> 31;
            chunk.copy_from_slice(&scrambled.to_be_bytes()[..chunk.len()]);
        }
    }
}

/// The value behind the lock; one that another thread left by a panic is taken as it is.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_store_keeps_the_contract() {
        crate::contract::job_store(&MemoryStore::default()).await;
    }

    #[tokio::test]
    async fn the_queue_keeps_the_contract() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_800_000_000_000)));
        let queue = MemoryQueue::new(Arc::clone(&clock) as Arc<dyn Clock>, Duration::from_secs(2), 100);
        crate::contract::job_queue(&queue, &Consumer { queue: &queue, clock: &clock }).await;
    }

    struct Consumer<'a> {
        queue: &'a MemoryQueue,
        clock: &'a ManualClock,
    }

    #[async_trait]
    impl crate::contract::Consumer for Consumer<'_> {
        async fn receive_within(&self, time: Duration) -> Option<(JobId, Receipt)> {
            let end = self.clock.now() + time;
            loop {
                if let Some(delivery) = self.queue.receive() {
                    return Some((delivery.job_id, delivery.receipt));
                }
                if self.clock.now() >= end {
                    return None;
                }
                self.clock.advance(Duration::from_millis(100));
            }
        }

        async fn acknowledge(&self, receipt: &Receipt) {
            self.queue.acknowledge(receipt);
        }
    }
}
