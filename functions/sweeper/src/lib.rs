//! The scheduled Lambda: once a minute, whatever is overdue is announced again, or ended.
//!
//! It is what makes the queue no more than a hint: a message that was never sent or got lost, a worker that died, a
//! delay longer than the queue can keep. Any number of sweepers at once do no harm.

mod schedules;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use shared::job::due::{Decision, LONGEST_BETWEEN_LOOKS, copies_to_send, decide};
use shared::job::transition::{ABANDONED, Change, Refusal};
use shared::job::{Job, Status};
use shared::ports::{
    Changed, Clock, DeadLetter, DeadLetters, JobQueue, JobStore, Message, Overdue, StoreError, Switch, Unreadable,
};
use shared::schedule::store::ScheduleStore;
use shared::values::chain::Chain;
use shared::values::id::JobId;
use shared::values::time::Timestamp;
use shared_aws::system::TIME_TO_ANSWER;
use shared_aws::telemetry::about;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What it takes to sweep.
pub struct Sweeper {
    /// The jobs.
    pub store: Arc<dyn JobStore>,
    /// Where workers hear of them.
    pub queue: Arc<dyn JobQueue>,
    /// The schedules that make jobs.
    pub schedules: Arc<dyn ScheduleStore>,
    /// Whether jobs may be started.
    pub switch: Arc<dyn Switch>,
    /// Where the messages of failed jobs end up.
    pub dead_letters: Arc<dyn DeadLetters>,
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
    /// Jobs that failed, or were cancelled, because their attempt had died or because they had expired.
    pub ended: usize,
    /// Jobs made for runs of schedules.
    pub scheduled: usize,
    /// Dead letters that were taken away because their job is not failed, or has another.
    pub dead_letters_removed: usize,
    /// For how many seconds that overdue job could have been started that had waited longest; 0 if none waited.
    pub longest_wait_s: u64,
}

/// The fields of a sweep's line that CloudWatch makes metrics of. Few: an account has ten for nothing.
const METRICS: &str = "overdue:Count unsent:Count ended:Count longest_wait_s:Seconds";

impl Swept {
    /// One line, unless there was nothing to do.
    fn log(self) {
        if self != Self::default() {
            let Self { overdue, moved, sent, unsent, ended, scheduled, dead_letters_removed, longest_wait_s } = self;
            tracing::info!(
                overdue,
                moved,
                sent,
                unsent,
                ended,
                scheduled,
                dead_letters_removed,
                longest_wait_s,
                metrics = METRICS,
                "sweeper.swept"
            );
        }
    }
}

/// How many jobs are looked at in one go. They are held in memory, payloads included.
const BATCH: usize = 200;

/// How long before the function's end no further job is looked at: time to send the messages of those that were.
const TIME_TO_SEND: Duration = Duration::from_secs(15);

/// How many batches of up to ten dead letters one sweep looks at. Where there are more, SQS gives others each time.
const DEAD_LETTER_BATCHES: usize = 50;

/// How long a dead letter is hidden while it is looked at. Shorter than the time between sweeps.
const DEAD_LETTER_REST: Duration = Duration::from_secs(20);

impl Sweeper {
    /// Sweeps until nothing is overdue, or until `time_left` is nearly over: the next sweep goes on.
    ///
    /// Ends before `time_left` is over, when the platform would end this process, wherever it is then: whatever it has
    /// not come to is still overdue, or overdue again at the due that it got.
    pub async fn handle(&self, time_left: Duration) -> Result<Swept, lambda_runtime::Error> {
        let began = Instant::now();
        let mut sweep = Sweep {
            sweeper: self,
            now: self.clock.now(),
            paused: false,
            last_look: began + time_left.saturating_sub(TIME_TO_SEND),
            backlog: None,
            candidates: 0,
            copies: 0,
            swept: Swept::default(),
        };
        let outcome = tokio::time::timeout(time_left.saturating_sub(TIME_TO_ANSWER), sweep.see_to_all()).await;
        sweep.swept.log();
        match outcome {
            Ok(seen_to) => seen_to.map(|()| sweep.swept),
            Err(_elapsed) => Err("the sweep was cut short: the table or a queue takes too long to answer".into()),
        }
    }
}

/// One sweep on its way.
struct Sweep<'a> {
    sweeper: &'a Sweeper,
    now: Timestamp,
    /// While jobs may not be started, none is announced: what is overdue stays so, and is announced at the first sweep
    /// after the pause.
    paused: bool,
    last_look: Instant,
    /// How many messages were waiting when the sweep first wanted to know; what it sends itself does not count.
    backlog: Option<usize>,
    /// Jobs so far whose message is lost, or waiting its turn.
    candidates: usize,
    /// Messages sent for them.
    copies: usize,
    swept: Swept,
}

/// What looking at some overdue jobs has brought up.
#[derive(Default)]
struct Found {
    /// Messages of jobs that have none on its way: their worker died, or they never had one.
    missing: Vec<Message>,
    /// Messages of jobs whose own is lost, or waiting its turn.
    candidates: Vec<Message>,
    /// Jobs whose last attempt died.
    expired: Vec<Job>,
    moved: usize,
}

impl Sweep<'_> {
    /// Each part is done whatever has become of those before it.
    async fn see_to_all(&mut self) -> Result<(), lambda_runtime::Error> {
        // First, because their time is set; but half of the time there is belongs to the jobs.
        let now = Instant::now();
        let scheduled = self.sweeper.fire_schedules(now + (self.last_look - now) / 2).await;
        self.swept.scheduled = scheduled.as_ref().copied().unwrap_or(0);
        // When the schedules are done: jobs may have become overdue meanwhile.
        self.now = self.sweeper.clock.now();
        // No answer: as if it were not paused. A message too many is harmless.
        self.paused = self.sweeper.switch.is_paused().await.unwrap_or(false);
        let swept = self.run().await;
        let tidied = self.tidy_dead_letters().await;
        scheduled?;
        swept?;
        tidied
    }

    async fn run(&mut self) -> Result<(), StoreError> {
        loop {
            let Overdue { jobs, unreadable } = self.sweeper.store.overdue(self.now, BATCH).await?;
            self.swept.overdue += jobs.len() + unreadable.len();
            let mut found = Found::default();
            let looked = self.look_at_all(&jobs, &mut found).await;
            let moved_before = self.swept.moved;
            self.swept.moved += found.moved + self.put_off(&unreadable).await;
            // What was given a new due must be announced, even where the store has failed half-way.
            let expired = std::mem::take(&mut found.expired);
            let unsent = self.announce(found, &expired).await;
            looked?;
            self.expire(&expired, &unsent).await?;
            if self.swept.moved == moved_before || Instant::now() >= self.last_look {
                return Ok(());
            }
        }
    }

    async fn look_at_all(&mut self, jobs: &[Job], found: &mut Found) -> Result<(), StoreError> {
        for job in jobs {
            if Instant::now() >= self.last_look {
                break;
            }
            match self.look_at(job, found).await {
                Ok(()) => {}
                Err(error) if error.retryable() => return Err(error),
                Err(error) => self.set_aside(job, &error).await?,
            }
        }
        Ok(())
    }

    /// Gives jobs that cannot be read another due: somebody may be able to read them later. How many there were.
    async fn put_off(&self, unreadable: &[Unreadable]) -> usize {
        let mut put_off = 0;
        for job in unreadable {
            match self.sweeper.store.put_off(*job, self.now + LONGEST_BETWEEN_LOOKS).await {
                Ok(moved) => put_off += usize::from(moved),
                Err(error) => tracing::error!(job.id = %job.id, error = %Chain(&error), "job.not_swept"),
            }
        }
        put_off
    }

    /// A job about which nothing can be done, now or later, must not keep the sweep from all the others: it is looked at
    /// again in a while, when somebody may have mended it.
    async fn set_aside(&self, job: &Job, error: &StoreError) -> Result<(), StoreError> {
        about(job).in_scope(|| tracing::error!(error = %Chain(error), "job.not_swept"));
        match self.postpone(job, self.now + LONGEST_BETWEEN_LOOKS).await {
            Err(error) if error.retryable() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn look_at(&mut self, job: &Job, found: &mut Found) -> Result<(), StoreError> {
        let now = self.now;
        self.swept.longest_wait_s = self.swept.longest_wait_s.max(waited(job, now).as_secs());
        match decide(job, now) {
            Decision::Leave => {}
            Decision::Announce { .. } | Decision::SendAgain { .. } | Decision::Rescue { .. } if self.paused => {}
            Decision::LookAgain(due_at) => found.moved += usize::from(self.postpone(job, due_at).await?),
            Decision::Announce { due_at, delay } => {
                if self.postpone(job, due_at).await? {
                    found.moved += 1;
                    found.missing.push(Message::about(job, delay));
                }
            }
            Decision::SendAgain { due_at, delay } => {
                if self.postpone(job, due_at).await? {
                    found.moved += 1;
                    found.candidates.push(Message::about(job, delay));
                }
            }
            Decision::Rescue { due_at } => {
                if self.postpone(job, due_at).await? {
                    log_rescued(job);
                    found.moved += 1;
                    found.missing.push(announcement(job));
                }
            }
            Decision::Lapse => {
                if self.end(job, &Change::Lapse { now }).await? {
                    log_lapsed(job);
                    found.moved += 1;
                }
            }
            Decision::Expire => found.expired.push(job.clone()),
            Decision::ExpireCancelled => {
                if self.end(job, &Change::ExpireCancelled { now }).await? {
                    log_cancelled(job);
                    found.moved += 1;
                }
            }
        }
        Ok(())
    }

    /// Moves the job's due, unless it has moved on since it was looked at or another sweeper was faster.
    async fn postpone(&self, job: &Job, due_at: Timestamp) -> Result<bool, StoreError> {
        let Some(seen_due_at) = job.due_at() else { return Ok(false) };
        // Not of a job that has been claimed since: it would be looked at too late if its worker died.
        let postpone = Change::Postpone { seen_due_at, seen_lease_until: job.lease_until(), due_at };
        match self.sweeper.store.change_if_allowed(job.id, &postpone).await? {
            Changed::Applied(_) => Ok(true),
            // The update was tried twice, and the answer to the first try got lost.
            Changed::Refused(Refusal::MovedOn, there) => Ok(there.due_at() == Some(due_at)),
            Changed::Refused(..) | Changed::Missing => Ok(false),
        }
    }

    async fn end(&mut self, job: &Job, change: &Change) -> Result<bool, StoreError> {
        let ended = match self.sweeper.store.change_if_allowed(job.id, change).await? {
            Changed::Applied(_) => true,
            // As above: it has ended at this sweep's own time.
            Changed::Refused(Refusal::Ended(_), there) => there.finished_at() == Some(self.now),
            Changed::Refused(..) | Changed::Missing => false,
        };
        self.swept.ended += usize::from(ended);
        Ok(ended)
    }

    /// Writes down that these jobs have failed. Their messages, which are to become dead letters, have been sent
    /// before: if this process dies in between, a worker finds the job just so and does the rest.
    async fn expire(&mut self, expired: &[Job], unsent: &[JobId]) -> Result<(), StoreError> {
        for job in expired.iter().filter(|job| !unsent.contains(&job.id)) {
            let expire = Change::Expire { now: self.now, tenant: job.tenant.clone() };
            match self.end(job, &expire).await {
                Ok(true) => {
                    log_failed(job);
                    self.swept.moved += 1;
                }
                Ok(false) => {}
                Err(error) if error.retryable() => return Err(error),
                Err(error) => self.set_aside(job, &error).await?,
            }
        }
        Ok(())
    }

    /// Sends what was found, and a message for each of the `expired`. Gives the jobs whose message was not sent.
    async fn announce(&mut self, found: Found, expired: &[Job]) -> Vec<JobId> {
        let Found { mut candidates, missing, expired: _, moved: _ } = found;
        if !candidates.is_empty() {
            let backlog = match self.backlog {
                Some(backlog) => backlog,
                // No answer: better some copies too many than a lost job left waiting.
                None => self.sweeper.queue.waiting().await.unwrap_or(0),
            };
            self.backlog = Some(backlog);
            self.candidates += candidates.len();
            candidates.truncate(copies_to_send(self.candidates, backlog).saturating_sub(self.copies));
            self.copies += candidates.len();
        }
        let messages: Vec<_> = missing.into_iter().chain(candidates).chain(expired.iter().map(announcement)).collect();
        let unsent = self.sweeper.queue.send_all(&messages).await;
        self.swept.unsent += unsent.len();
        self.swept.sent += messages.len() - unsent.len();
        unsent
    }

    /// Takes dead letters away that are none: of jobs that are not failed (any more, or not yet), and second ones of the
    /// same job. What names no job stays, for a person to look at.
    ///
    /// So the queue holds one message for each failed job, and an alarm on it means something.
    async fn tidy_dead_letters(&mut self) -> Result<(), lambda_runtime::Error> {
        // While none of them can come a second time: then it would look like a second one of its job.
        let end = Instant::now() + DEAD_LETTER_REST / 2;
        let mut kept = HashSet::new();
        for _ in 0..DEAD_LETTER_BATCHES {
            let letters = self.sweeper.dead_letters.receive(DEAD_LETTER_REST).await?;
            let failed = self.failed_among(letters.iter().filter_map(|letter| letter.job_id)).await?;
            if Instant::now() >= end {
                break;
            }
            let is_needless =
                |letter: &&DeadLetter| letter.job_id.is_some_and(|id| !failed.contains(&id) || !kept.insert(id));
            let needless: Vec<_> = letters.iter().filter(is_needless).map(|letter| letter.receipt.clone()).collect();
            if !needless.is_empty() {
                self.sweeper.dead_letters.delete(&needless).await?;
                self.swept.dead_letters_removed += needless.len();
            }
            if letters.is_empty() || Instant::now() >= end.min(self.last_look) {
                break;
            }
        }
        Ok(())
    }

    /// Those of these jobs that have failed. One that cannot be read may have: its letter stays.
    async fn failed_among(&self, ids: impl Iterator<Item = JobId>) -> Result<HashSet<JobId>, lambda_runtime::Error> {
        let mut looks = JoinSet::new();
        for id in ids {
            let store = Arc::clone(&self.sweeper.store);
            looks.spawn(async move { (id, store.find(id).await) });
        }
        let mut failed = HashSet::new();
        while let Some(found) = looks.join_next().await {
            let has_failed = match found? {
                (_, Ok(job)) => job.filter(|job| job.status() == Status::Failed).map(|job| job.id),
                (id, Err(StoreError::Unreadable(..) | StoreError::Newer(..))) => Some(id),
                (_, Err(error)) => return Err(error.into()),
            };
            failed.extend(has_failed);
        }
        Ok(failed)
    }
}

/// How long the job could have been started by now.
fn waited(job: &Job, now: Timestamp) -> Duration {
    job.ready_since().map_or(Duration::ZERO, |since| now.since(since))
}

fn announcement(job: &Job) -> Message {
    Message::about(job, Duration::ZERO)
}

fn log_rescued(job: &Job) {
    about(job).in_scope(|| tracing::warn!("job.rescued"));
}

fn log_cancelled(job: &Job) {
    about(job).in_scope(|| tracing::info!("job.cancelled"));
}

fn log_lapsed(job: &Job) {
    about(job).in_scope(|| tracing::info!("job.lapsed"));
}

fn log_failed(job: &Job) {
    about(job).in_scope(|| tracing::error!(max_attempts = job.max_attempts, error = ABANDONED, "job.failed"));
}
