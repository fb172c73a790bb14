//! The scheduled Lambda: once a minute, whatever is overdue is announced again, or ended.
//!
//! It is what makes the queue no more than a hint: a message that was never sent or got lost, a worker that died, a
//! delay longer than the queue can keep. Any number of sweepers at once do no harm.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use shared::job::Job;
use shared::ports::{Changed, Clock, JobQueue, JobStore, Message, StoreError};
use shared::sweep::{Decision, copies_to_send, decide};
use shared::time::Timestamp;
use shared::transition::{ABANDONED, Change};
use tokio::time::Instant;

/// What it takes to sweep.
pub struct Sweeper {
    /// The jobs.
    pub store: Arc<dyn JobStore>,
    /// Where workers hear of them.
    pub queue: Arc<dyn JobQueue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Jobs that were overdue.
    pub overdue: usize,
    /// Those of them that were given a new due, or ended. The others had moved on by themselves.
    pub moved: usize,
    /// Messages sent.
    pub sent: usize,
    /// Messages that the queue did not take. Their jobs are overdue again later.
    pub unsent: usize,
    /// Jobs that failed, or were cancelled, because their attempt had died.
    pub ended: usize,
}

impl Swept {
    fn add(&mut self, more: Self) {
        self.overdue += more.overdue;
        self.moved += more.moved;
        self.sent += more.sent;
        self.unsent += more.unsent;
        self.ended += more.ended;
    }

    /// One line, unless there was nothing to do.
    fn log(self) {
        if self != Self::default() {
            let Self { overdue, moved, sent, unsent, ended } = self;
            tracing::info!(overdue, moved, sent, unsent, ended, "sweeper.swept");
        }
    }
}

/// What looking at overdue jobs has brought up.
#[derive(Default)]
struct Found {
    /// Messages of jobs whose worker died, and of jobs that failed.
    rescues: Vec<Message>,
    /// Messages of jobs that seem to have lost theirs.
    copies: Vec<Message>,
    moved: usize,
    ended: usize,
}

/// How many jobs are looked at in one go. They are held in memory, payloads included.
const BATCH: usize = 200;

/// How long before the function's end no further batch is begun.
const TIME_FOR_A_BATCH: Duration = Duration::from_secs(15);

impl Sweeper {
    /// Sweeps until nothing is overdue, or until there is no time before `deadline` for more: the next sweep goes on.
    pub async fn handle(&self, deadline: SystemTime) -> Result<Swept, lambda_runtime::Error> {
        let time_left = deadline.duration_since(SystemTime::now()).unwrap_or_default();
        let last_start = Instant::now() + time_left.saturating_sub(TIME_FOR_A_BATCH);
        let now = self.clock.now();
        let mut total = Swept::default();
        loop {
            let (swept, failure) = self.sweep(now).await?;
            total.add(swept);
            if let Some(error) = failure {
                total.log();
                return Err(error.into());
            }
            let nothing_moves = swept.moved == 0;
            if swept.overdue < BATCH || nothing_moves || Instant::now() >= last_start {
                break;
            }
        }
        total.log();
        Ok(total)
    }

    /// Sweeps once over the jobs that were overdue at `now`, those that have waited longest first, [`BATCH`] at most.
    /// Where the store fails half-way, what was moved until then is still announced.
    async fn sweep(&self, now: Timestamp) -> Result<(Swept, Option<StoreError>), StoreError> {
        let jobs = self.store.overdue(now, BATCH).await?;
        let mut found = Found::default();
        let mut failure = None;
        for job in &jobs {
            if let Err(error) = self.look_at(job, now, &mut found).await {
                failure = Some(error);
                break;
            }
        }
        let Found { rescues, mut copies, moved, ended } = found;
        if !copies.is_empty() {
            // No answer: better some copies too many than a lost job left waiting.
            let waiting = self.queue.waiting().await.unwrap_or(0);
            copies.truncate(copies_to_send(copies.len(), waiting));
        }
        let messages: Vec<_> = rescues.into_iter().chain(copies).collect();
        let unsent = self.queue.send_all(&messages).await.len();
        Ok((Swept { overdue: jobs.len(), moved, sent: messages.len() - unsent, unsent, ended }, failure))
    }

    async fn look_at(&self, job: &Job, now: Timestamp, found: &mut Found) -> Result<(), StoreError> {
        match decide(job, now) {
            Decision::Leave => {}
            Decision::LookAgain(due_at) => found.moved += usize::from(self.postpone(job, due_at).await?),
            Decision::SendAgain { due_at, delay } => {
                if self.postpone(job, due_at).await? {
                    found.moved += 1;
                    found.copies.push(Message { job_id: job.id, delay });
                }
            }
            Decision::Rescue { due_at } => {
                if self.postpone(job, due_at).await? {
                    log_warn(job, "job.rescued");
                    found.moved += 1;
                    found.rescues.push(announcement(job));
                }
            }
            Decision::Expire => {
                let expire = Change::Expire { now, tenant: job.tenant.clone() };
                if self.change(job, &expire).await? {
                    log_failed(job);
                    found.moved += 1;
                    found.ended += 1;
                    found.rescues.push(announcement(job)); // on its way to the dead-letter queue
                }
            }
            Decision::ExpireCancelled => {
                if self.change(job, &Change::ExpireCancelled { now }).await? {
                    log_warn(job, "job.cancelled");
                    found.moved += 1;
                    found.ended += 1;
                }
            }
        }
        Ok(())
    }

    /// Moves the job's due, unless it has moved on since it was looked at or another sweeper was faster.
    async fn postpone(&self, job: &Job, due_at: Timestamp) -> Result<bool, StoreError> {
        let Some(seen_due_at) = job.due_at() else { return Ok(false) };
        self.change(job, &Change::Postpone { seen_due_at, due_at }).await
    }

    async fn change(&self, job: &Job, change: &Change) -> Result<bool, StoreError> {
        match self.store.change_if_allowed(job.id, change).await? {
            Changed::Applied(_) => Ok(true),
            Changed::Refused(..) | Changed::Missing => Ok(false),
        }
    }
}

fn announcement(job: &Job) -> Message {
    Message { job_id: job.id, delay: Duration::ZERO }
}

fn log_warn(job: &Job, event: &str) {
    let Job { id, job_type, attempts, correlation_id, .. } = job;
    tracing::warn!(job.id = %id, job.r#type = %job_type, attempt = attempts, correlation_id, "{event}");
}

fn log_failed(job: &Job) {
    let Job { id, job_type, attempts, correlation_id, .. } = job;
    tracing::error!(job.id = %id, job.r#type = %job_type, attempt = attempts, correlation_id, error = ABANDONED, "job.failed");
}
