//! The ports in memory: for tests, and for trying a job type without any AWS.
//!
//! They behave like the real ones as far as [`crate::ports::contract`] can tell; a message that is received and not
//! acknowledged comes back, for one.

mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::ports::{Clock, DeadLetter, DeadLetters, Entropy, JobQueue, Message, QueueError, Receipt};
use crate::values::id::JobId;
use crate::values::time::Timestamp;

pub use self::store::MemoryStore;

/// A [`JobQueue`] in memory, with what a consumer needs besides: [`MemoryQueue::receive`] and a redrive policy.
pub struct MemoryQueue {
    clock: Arc<dyn Clock>,
    visibility_timeout: Duration,
    most_receives: u32,
    messages: Mutex<Messages>,
    dead_letters: Mutex<Vec<Queued>>,
}

/// The messages of a queue, numbered in the order in which they were sent.
#[derive(Default)]
struct Messages {
    sent: u64,
    by_number: BTreeMap<u64, Queued>,
    /// Those that may be received, the oldest first.
    visible: BTreeSet<u64>,
    /// The others, and any that a clock has made visible since [`Messages::show`] looked: the soonest first.
    hidden: BTreeSet<(Timestamp, u64)>,
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
        Self { clock, visibility_timeout, most_receives, messages: Mutex::default(), dead_letters: Mutex::default() }
    }

    /// The next message that is not hidden or held back. It comes back unless it is acknowledged in time; one that has
    /// come as often as it may goes to the dead letters instead.
    pub fn receive(&self) -> Option<Delivery> {
        let now = self.clock.now();
        let mut messages = locked(&self.messages);
        let worn_out = messages.show(now, self.most_receives);
        locked(&self.dead_letters).extend(worn_out);
        let number = *messages.visible.first()?;
        messages.hide(number, now + self.visibility_timeout);
        let message = messages.by_number.get_mut(&number)?;
        message.receives += 1;
        let receipt = Receipt(format!("{number}/{}", message.receives));
        Some(Delivery { job_id: message.job_id, receipt, receives: message.receives })
    }

    /// The jobs whose messages came as often as they may and were never acknowledged, in that order.
    pub fn dead_letters(&self) -> Vec<JobId> {
        locked(&self.dead_letters).iter().map(|message| message.job_id).collect()
    }

    /// Takes a delivered message out of the queue.
    pub fn acknowledge(&self, receipt: &Receipt) {
        if let Some(number) = number_in(receipt) {
            locked(&self.messages).take(number);
        }
    }
}

impl Messages {
    fn add(&mut self, job_id: JobId, visible_at: Timestamp) {
        let number = self.sent;
        self.sent += 1;
        self.by_number.insert(number, Queued { job_id, visible_at, receives: 0, number });
        self.hidden.insert((visible_at, number));
    }

    /// Makes visible what is no longer hidden at `now`. Takes out and gives what has been received `most_receives` times
    /// and would have to be received again, the oldest first.
    fn show(&mut self, now: Timestamp, most_receives: u32) -> Vec<Queued> {
        let mut worn_out = BTreeSet::new();
        while let Some(&(visible_at, number)) = self.hidden.first()
            && visible_at <= now
        {
            self.hidden.pop_first();
            if self.by_number.get(&number).is_some_and(|message| message.receives >= most_receives) {
                worn_out.insert(number);
            } else {
                self.visible.insert(number);
            }
        }
        worn_out.iter().filter_map(|number| self.by_number.remove(number)).collect()
    }

    /// Hides a message until `visible_at`. Whether there is such a message.
    fn hide(&mut self, number: u64, visible_at: Timestamp) -> bool {
        let Some(mut message) = self.take(number) else { return false };
        message.visible_at = visible_at;
        self.hidden.insert((visible_at, number));
        self.by_number.insert(number, message);
        true
    }

    fn take(&mut self, number: u64) -> Option<Queued> {
        let message = self.by_number.remove(&number)?;
        if !self.visible.remove(&number) {
            self.hidden.remove(&(message.visible_at, number));
        }
        Some(message)
    }
}

/// The number of the message that `receipt` was given for.
fn number_in(receipt: &Receipt) -> Option<u64> {
    receipt.0.split('/').next()?.parse().ok()
}

#[async_trait]
impl JobQueue for MemoryQueue {
    async fn send(&self, message: &Message) -> Result<(), QueueError> {
        let visible_at = self.clock.now() + message.delay;
        locked(&self.messages).add(message.job_id, visible_at);
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
        let hidden = number_in(receipt).is_some_and(|number| locked(&self.messages).hide(number, now + seconds));
        if hidden { Ok(()) } else { Err(QueueError("no such receipt".into())) }
    }

    async fn waiting(&self) -> Result<usize, QueueError> {
        let now = self.clock.now();
        let messages = locked(&self.messages);
        Ok(messages.visible.len() + messages.hidden.range(..=(now, u64::MAX)).count())
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
        let numbers: Vec<_> = receipts.iter().filter_map(number_in).collect();
        locked(&self.dead_letters).retain(|message| !numbers.contains(&message.number));
        Ok(())
    }

    async fn depth(&self) -> Result<usize, QueueError> {
        Ok(locked(&self.dead_letters).len())
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
        let store = MemoryStore::default();
        crate::ports::contract::job_store(&store).await;
        crate::ports::contract::switch(&store).await;
        crate::ports::contract::products(&store).await;
        let statuses: Vec<_> = store.all().iter().map(|job| (job.id, job.status())).collect();
        assert!(!statuses.is_empty());
        assert_eq!(store.statuses(), statuses);
    }

    #[tokio::test]
    async fn the_queue_keeps_the_contract() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_800_000_000_000)));
        let queue = MemoryQueue::new(Arc::clone(&clock) as Arc<dyn Clock>, Duration::from_secs(2), 100);
        let consumer = Consumer { queue: &queue, clock: &clock };
        crate::ports::contract::job_queue(&queue, &consumer, async |time| clock.advance(time)).await;
    }

    #[tokio::test]
    async fn the_dead_letters_keep_the_contract() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_800_000_000_000)));
        let queue = MemoryQueue::new(Arc::clone(&clock) as Arc<dyn Clock>, Duration::from_secs(2), 1);
        let ids: Vec<JobId> = (0..12).map(|number| JobId::at(clock.now(), [number; 10])).collect();
        for job_id in &ids {
            queue.send(&Message::naming(*job_id, Duration::ZERO)).await.expect("sent");
            queue.receive().expect("delivered once");
        }
        clock.advance(Duration::from_secs(2));
        assert_eq!(queue.receive(), None, "each has come as often as it may");
        crate::ports::contract::dead_letters(&queue, &ids, async |time| clock.advance(time)).await;
    }

    #[tokio::test]
    async fn whatever_is_visible_comes_in_the_order_in_which_it_was_sent_until_it_is_worn_out() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_800_000_000_000)));
        let queue = MemoryQueue::new(Arc::clone(&clock) as Arc<dyn Clock>, Duration::from_secs(2), 2);
        let ids = [1, 2, 3].map(|number| JobId::at(clock.now(), [number; 10]));
        for job_id in ids {
            queue.send(&Message::naming(job_id, Duration::ZERO)).await.expect("sent");
        }
        let receive = || queue.receive().map(|delivery| (delivery.job_id, delivery.receives));
        let first = queue.receive().expect("the first");
        assert_eq!((first.job_id, receive()), (ids[0], Some((ids[1], 1))));
        queue.hide(&first.receipt, Duration::ZERO).await.expect("there");
        assert_eq!(queue.waiting().await.expect("answers"), 2);
        assert_eq!([receive(), receive(), receive()], [Some((ids[0], 2)), Some((ids[2], 1)), None]);

        clock.advance(Duration::from_secs(2));
        assert_eq!([receive(), receive(), receive()], [Some((ids[1], 2)), Some((ids[2], 2)), None]);
        assert_eq!(queue.dead_letters(), [ids[0]]);
        clock.advance(Duration::from_secs(2));
        assert_eq!((receive(), queue.dead_letters()), (None, ids.to_vec()));
        assert_eq!(queue.waiting().await.expect("answers"), 0);
    }

    struct Consumer<'a> {
        queue: &'a MemoryQueue,
        clock: &'a ManualClock,
    }

    #[async_trait]
    impl crate::ports::contract::Consumer for Consumer<'_> {
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

    #[test]
    fn the_numbers_of_a_seed_are_those_of_splitmix64() {
        // The algorithm's published test vector: the first three numbers that belong to the seed 1234567.
        let numbers: [u64; 3] = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        let expected: Vec<u8> = numbers.into_iter().flat_map(u64::to_be_bytes).collect();
        let (mut found, mut others) = ([0; 20], [0; 20]);
        SeededEntropy::new(1_234_567).fill(&mut found);
        assert_eq!(found[..], expected[..20], "two numbers and a half");
        SeededEntropy::new(7).fill(&mut others);
        assert_ne!(found, others, "another seed, other numbers");
    }
}
