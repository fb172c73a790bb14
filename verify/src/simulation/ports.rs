//! The ports in memory, spoilt: calls get lost, answers get lost, and processes die in the middle.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use shared::counters::MemoryCounters;
use shared::job::Job;
use shared::job::changes::EventId;
use shared::job::transition::Change;
use shared::ports::memory::{MemoryQueue, MemoryStore};
use shared::ports::{
    Changed, Clock, DeadLetter, DeadLetters, Deleted, Entropy, Inserted, InsertedWith, JobQueue, JobStore, ListQuery,
    Message, Overdue, OwnItem, Page, QueueError, Receipt, StoreError, Unreadable,
};
use shared::values::id::{JobId, LeaseToken};
use shared::values::time::Timestamp;
use tokio::sync::Notify;
use worker::JobError;

use super::stream::Stream;
use super::{Fault, GIVE_UP, Plan};
use crate::history::Record;
use crate::outputs::Creates;
use crate::virtual_time::VirtualClock;

/// What all processes of one run share.
pub struct Cosmos {
    pub plan: Plan,
    chance: Mutex<SmallRng>,
    clock: VirtualClock,
    pub store: MemoryStore,
    pub queue: MemoryQueue,
    /// What happened to each job, for the checker.
    pub records: Mutex<Vec<Record>>,
    /// The same with its times and all faults, for people.
    pub story: Mutex<Vec<Line>>,
    /// What the table's stream has brought up so far.
    pub stream: Stream,
    pub counters: MemoryCounters,
    /// The events that others have been told of.
    pub published: Mutex<BTreeSet<EventId>>,
    /// When each job last changed, and what it was before.
    index: Mutex<BTreeMap<JobId, (Timestamp, Option<Job>)>>,
    effects: AtomicU64,
    pub faults: AtomicU64,
    /// Faults happen while this is set.
    pub storm: AtomicBool,
}

impl Cosmos {
    pub fn new(plan: Plan) -> Self {
        let clock = VirtualClock::start();
        Self {
            plan,
            chance: Mutex::new(SmallRng::seed_from_u64(plan.seed)),
            clock,
            store: MemoryStore::default(),
            queue: MemoryQueue::new(Arc::new(clock), Duration::from_secs(360), 12),
            records: Mutex::default(),
            story: Mutex::default(),
            stream: Stream::default(),
            counters: MemoryCounters::default(),
            published: Mutex::default(),
            index: Mutex::default(),
            effects: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            storm: AtomicBool::new(true),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn record(&self, record: Record) {
        self.tell(Some(record.job()), &format_args!("{record:?}"));
        self.records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }

    /// Adds a line to the story, of one job or of all.
    pub fn tell(&self, job: Option<JobId>, what: &dyn fmt::Display) {
        let line = Line { at: self.now(), job, what: what.to_string() };
        self.story.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    pub fn below(&self, bound: u64) -> u64 {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..bound)
    }

    /// Whether `fault` happens now, to nobody's job in particular.
    pub fn strikes(&self, fault: Fault) -> bool {
        self.strikes_at(fault, None)
    }

    /// Whether `fault` happens now, to this job.
    pub fn strikes_at(&self, fault: Fault, job: Option<JobId>) -> bool {
        let planned = self.plan.fault == Some(fault) || self.plan.fault == Some(Fault::Everything);
        let strikes = planned && self.storm.load(Ordering::Relaxed) && self.below(100) < self.plan.percent.into();
        if strikes {
            self.faults.fetch_add(1, Ordering::Relaxed);
            self.tell(job, &format_args!("fault: {}", fault.name()));
        }
        strikes
    }

    /// Whether there shall be much to sweep now.
    pub fn is_a_storm_of_sweeping(&self) -> bool {
        self.plan.is_about_sweeping() && self.storm.load(Ordering::Relaxed)
    }

    /// Whether a message gets lost only so that there is something to sweep.
    fn gives_the_sweeper_work(&self) -> bool {
        self.is_a_storm_of_sweeping() && self.below(100) < 60
    }

    /// Some time passes, as on a network.
    pub async fn travel(&self) {
        let slow = self.plan.fault == Some(Fault::Reordered) && self.strikes(Fault::Reordered);
        let millis = self.below(if slow { 30_000 } else { 20 });
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// What follows of a write that the table has applied.
    fn note_write(&self, before: Option<Job>, after: Job) {
        let (id, before_it) = (after.id, before.clone());
        self.stream.push(before, after);
        self.note_index(id, before_it);
    }

    fn note_index(&self, id: JobId, before: Option<Job>) {
        self.index.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (self.now(), before));
    }

    /// The `overdue` jobs of `now` as a reader finds them who sees nothing of what has happened since `seen_at`.
    fn overdue_as_seen_at(&self, seen_at: Timestamp, now: Timestamp, mut overdue: Vec<Job>) -> Vec<Job> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let unseen: BTreeMap<_, _> = index.iter().filter(|(_, (changed_at, _))| *changed_at > seen_at).collect();
        overdue.retain(|job| !unseen.contains_key(&job.id));
        let before = unseen.values().filter_map(|(_, before)| before.clone());
        overdue.extend(before.filter(|job| job.due_at().is_some_and(|due_at| due_at < now)));
        overdue.sort_by_key(Job::due_at);
        overdue
    }
}

/// One line of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    at: Timestamp,
    /// Whom it is about, if it is about one job only.
    pub job: Option<JobId>,
    what: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at, self.what)
    }
}

/// One process of a function: its own clock, and its own death.
pub struct Process {
    pub cosmos: Arc<Cosmos>,
    /// The idempotency key of the request that it answers, if it answers one.
    key: Option<String>,
    /// The latest claim of each job that it got applied.
    claims: Mutex<BTreeMap<JobId, (u32, LeaseToken)>>,
    skew_ms: i64,
    pub died: Notify,
    dead: AtomicBool,
    lives_for: AtomicU64,
}

impl Process {
    pub fn new(cosmos: &Arc<Cosmos>) -> Arc<Self> {
        Self::answering(cosmos, None)
    }

    /// A process that answers a request with this idempotency key.
    pub fn answering(cosmos: &Arc<Cosmos>, key: Option<String>) -> Arc<Self> {
        let skewed = cosmos.strikes(Fault::ClockSkew);
        let skew_ms = if skewed { i64::try_from(cosmos.below(600_001)).unwrap_or(0) - 300_000 } else { 0 };
        let dies = cosmos.strikes(Fault::KillAnywhere);
        let lives_for = if dies { cosmos.below(40) } else { u64::MAX };
        Arc::new(Self {
            cosmos: Arc::clone(cosmos),
            key,
            claims: Mutex::default(),
            skew_ms,
            died: Notify::new(),
            dead: AtomicBool::new(false),
            lives_for: AtomicU64::new(lives_for),
        })
    }

    /// A moment at which the process may die. If it does, nothing that it does after this happens.
    pub(super) async fn moment(&self) {
        if self.lives_for.load(Ordering::Relaxed) == 0 {
            self.die().await;
        }
        self.lives_for.fetch_sub(1, Ordering::Relaxed);
        self.cosmos.travel().await;
        if self.dead.load(Ordering::Relaxed) {
            self.die().await;
        }
    }

    async fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.died.notify_one();
        std::future::pending::<()>().await;
    }

    async fn dies_at(&self, fault: Fault, job: JobId) {
        if self.cosmos.strikes_at(fault, Some(job)) {
            self.die().await;
        }
    }

    pub(super) fn unanswered() -> StoreError {
        StoreError::Unavailable("the answer got lost".into())
    }
}

impl Clock for Process {
    fn now(&self) -> Timestamp {
        let millis = self.cosmos.now().as_millis() + self.skew_ms;
        Timestamp::from_millis(millis)
    }
}

impl Entropy for Process {
    fn fill(&self, bytes: &mut [u8]) {
        self.cosmos.chance.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }
}

#[async_trait]
impl JobStore for Process {
    async fn insert_if_absent(&self, job: &Job) -> Result<Inserted, StoreError> {
        self.moment().await;
        if self.cosmos.strikes_at(Fault::PutLost, Some(job.id)) {
            return Err(Self::unanswered());
        }
        let inserted = self.cosmos.store.insert_if_absent(job).await?;
        if inserted == Inserted::New {
            self.cosmos.record(Record::Stored { job: job.id, key: self.key.clone() });
            self.cosmos.note_write(None, job.clone());
        }
        if self.cosmos.strikes_at(Fault::PutUnanswered, Some(job.id)) {
            return Err(Self::unanswered());
        }
        self.moment().await;
        Ok(inserted)
    }

    async fn find(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.moment().await;
        self.cosmos.store.find(id).await
    }

    async fn change_if_allowed(&self, id: JobId, change: &Change) -> Result<Changed, StoreError> {
        self.moment().await;
        let is_outcome = change.fence().is_some();
        if is_outcome {
            self.dies_at(Fault::KillBeforeCommit, id).await;
        }
        let before = self.cosmos.store.find(id).await?;
        let changed = self.cosmos.store.change_if_allowed(id, change).await?;
        if let Changed::Applied(job) = &changed {
            self.cosmos.note_write(before, (**job).clone());
            if let Change::Claim { token, .. } = change {
                self.claims.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (job.attempts, *token));
            }
            if let Some(record) = record_of(change, job) {
                self.cosmos.record(record);
            }
        }
        if is_outcome {
            self.dies_at(Fault::KillAfterCommit, id).await;
        }
        if self.cosmos.strikes_at(Fault::ChangeUnanswered, Some(id)) {
            return Err(Self::unanswered());
        }
        self.moment().await;
        Ok(changed)
    }

    async fn put_off(&self, unreadable: Unreadable, due_at: Timestamp) -> Result<bool, StoreError> {
        self.cosmos.store.put_off(unreadable, due_at).await
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Overdue, StoreError> {
        self.moment().await;
        let mut jobs = self.cosmos.store.overdue(now, usize::MAX).await?.jobs;
        if self.cosmos.strikes(Fault::IndexLag) {
            let seen_at = self.cosmos.now() - Duration::from_millis(self.cosmos.below(10_001));
            jobs = self.cosmos.overdue_as_seen_at(seen_at, now, jobs);
        }
        jobs.truncate(limit);
        Ok(Overdue { jobs, unreadable: vec![] })
    }

    /// One after the other: to this store a batch is no more than its jobs.
    async fn insert_all_if_absent(&self, jobs: &[Job]) -> Vec<Result<Inserted, StoreError>> {
        let mut outcomes = vec![];
        for job in jobs {
            outcomes.push(self.insert_if_absent(job).await);
        }
        outcomes
    }

    async fn insert_with(&self, job: &Job, own: &OwnItem) -> Result<InsertedWith, StoreError> {
        self.moment().await;
        self.cosmos.store.insert_with(job, own).await
    }

    async fn delete_if_ended(&self, id: JobId) -> Result<Deleted, StoreError> {
        self.moment().await;
        self.cosmos.store.delete_if_ended(id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.moment().await;
        self.cosmos.store.list(query).await
    }
}

fn record_of(change: &Change, job: &Job) -> Option<Record> {
    let (id, attempt, status) = (job.id, job.attempts, job.status());
    match change {
        Change::Claim { token, .. } => Some(Record::Claimed { job: id, attempt, token: *token }),
        Change::Complete { fence, .. }
        | Change::Retry { fence, .. }
        | Change::Fail { fence, .. }
        | Change::Yield { fence, .. }
        | Change::YieldToCancel { fence, .. } => {
            Some(Record::Outcome { job: id, attempt: fence.attempt, token: fence.token, status })
        }
        Change::Expire { .. }
        | Change::ExpireCancelled { .. }
        | Change::EndHeldBack { .. }
        | Change::Lapse { .. }
        | Change::CancelPending { .. } => Some(Record::Ended { job: id, status }),
        Change::Redrive { .. } => Some(Record::Redriven { job: id }),
        Change::Postpone { .. }
        | Change::Report { .. }
        | Change::HoldBack { .. }
        | Change::Reschedule { .. }
        | Change::RequestCancel { .. } => None,
    }
}

#[async_trait]
impl JobQueue for Process {
    async fn send(&self, message: &Message) -> Result<(), QueueError> {
        self.moment().await;
        let job = Some(message.job_id);
        if self.cosmos.strikes_at(Fault::SendLost, job) || self.cosmos.gives_the_sweeper_work() {
            return Err(QueueError("the message got lost".into()));
        }
        self.cosmos.queue.send(message).await?;
        self.cosmos.tell(job, &format_args!("a message is sent, held back for {:?}", message.delay));
        if self.cosmos.strikes_at(Fault::SendUnanswered, job) {
            return Err(QueueError("the answer got lost".into()));
        }
        self.moment().await;
        Ok(())
    }

    async fn send_all(&self, messages: &[Message]) -> Vec<JobId> {
        let mut unsent = vec![];
        for batch in messages.chunks(10) {
            self.moment().await;
            for message in batch {
                let job = Some(message.job_id);
                let lost = self.cosmos.strikes_at(Fault::SendPartial, job);
                let lost = lost || self.cosmos.strikes_at(Fault::SendLost, job);
                let lost = lost || self.cosmos.gives_the_sweeper_work();
                if lost || self.cosmos.queue.send(message).await.is_err() {
                    unsent.push(message.job_id);
                } else {
                    self.cosmos.tell(job, &format_args!("a message is sent, held back for {:?}", message.delay));
                }
            }
        }
        self.moment().await;
        unsent
    }

    async fn hide(&self, receipt: &Receipt, rest: Duration) -> Result<(), QueueError> {
        self.moment().await;
        self.cosmos.queue.hide(receipt, rest).await
    }

    async fn waiting(&self) -> Result<usize, QueueError> {
        self.moment().await;
        self.cosmos.queue.waiting().await
    }
}

#[async_trait]
impl DeadLetters for Process {
    async fn receive(&self, rest: Duration) -> Result<Vec<DeadLetter>, QueueError> {
        self.moment().await;
        DeadLetters::receive(&self.cosmos.queue, rest).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), QueueError> {
        self.moment().await;
        self.cosmos.queue.delete(receipts).await
    }

    async fn depth(&self) -> Result<usize, QueueError> {
        self.moment().await;
        self.cosmos.queue.depth().await
    }
}

#[async_trait]
impl Creates for Process {
    /// The effect of a job: a file, which is made new at each call so that the checker sees each.
    async fn create(&self, file_name: &str, content: Vec<u8>) -> Result<String, JobError> {
        let id: JobId = file_name.trim_end_matches(".csv").parse().expect("named by the job's id");
        self.dies_at(Fault::KillBeforeEffect, id).await;
        self.moment().await;
        // What the job's payload asks for; see `people::payload_of`.
        let wish = String::from_utf8_lossy(&content).into_owned();
        if wish.contains("slow") {
            tokio::time::sleep(Duration::from_millis(self.cosmos.below(9_000))).await;
        }
        if self.dead.load(Ordering::Relaxed) {
            self.die().await;
        }
        if wish.contains("give_up") {
            return Err(JobError::give_up(GIVE_UP));
        }
        if wish.contains("fail") && self.cosmos.below(2) == 0 {
            return Err(JobError::retry("told to fail"));
        }
        let result = format!("{file_name}#{}", self.cosmos.effects.fetch_add(1, Ordering::Relaxed));
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (attempt, token) = claims.get(&id).copied().expect("no job runs unclaimed");
        self.cosmos.record(Record::Effect { job: id, attempt, token, result: format!("{result:?}") });
        self.dies_at(Fault::KillAfterEffect, id).await;
        Ok(result)
    }
}
