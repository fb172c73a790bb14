//! Making the jobs of schedules, a little ahead of their runs.
//!
//! For each schedule that is due it is decided whether its jobs are to be made; they are stored, announced with the delay
//! that is left, and only then does the schedule move on. A sweeper that dies in between leaves it due: the next one
//! keeps to the decision, finds the jobs stored, announces them once more, and goes on. See [`shared::schedule::store`].

use std::sync::Arc;

use shared::ports::{JobStore, StoreError};
use shared::schedule::store::{Decision, Made, NotMade, ScheduleStore, announcement, decide, make_jobs};
use shared::schedule::{Due, Schedule, ScheduleKey};
use shared::values::chain::Chain;
use shared::values::id::JobId;
use shared::values::time::Timestamp;
use shared_aws::telemetry::about;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Sweeper;

/// How many schedules one sweep looks at: more than it has time for. Many, so that some that cannot be carried out, and
/// therefore stay due, leave room for the others.
const MOST_DUE: usize = 10_000;

/// How many of them are looked at at once. They are held in memory, payloads included.
const AT_ONCE: usize = 20;

impl Sweeper {
    /// Makes the jobs of all runs that are due, until `last_look`: the next sweep goes on. Gives how many were new.
    pub(crate) async fn fire_schedules(&self, last_look: Instant) -> Result<usize, StoreError> {
        let due = self.schedules.due(self.clock.now(), MOST_DUE).await?;
        let mut made = 0;
        for keys in due.chunks(AT_ONCE) {
            if Instant::now() >= last_look {
                break;
            }
            made += self.fire(keys).await;
        }
        Ok(made)
    }

    /// Carries out these schedules, each for itself: what goes wrong with one is logged, and it stays due.
    async fn fire(&self, keys: &[ScheduleKey]) -> usize {
        let mut making = JoinSet::new();
        for key in keys {
            let (schedules, jobs) = (Arc::clone(&self.schedules), Arc::clone(&self.store));
            let (clock, key) = (Arc::clone(&self.clock), key.clone());
            making.spawn(async move {
                let fired = match schedules.find(&key).await {
                    Ok(Some(schedule)) => Fired::made_of(&schedule, &*schedules, &*jobs, clock.now()).await,
                    Ok(None) => Ok(None), // deleted since
                    Err(error) => Err(error.into()),
                };
                fired.inspect_err(|error| log_failed(&key, error)).ok().flatten()
            });
        }
        let fired: Vec<Fired> = all_of(making).await.into_iter().flatten().collect();
        self.announce_runs(&fired).await;
        let mut new = 0;
        let mut advancing = JoinSet::new();
        for fired in fired {
            new += fired.log();
            let schedules = Arc::clone(&self.schedules);
            advancing.spawn(async move {
                let Fired { schedule, due, made: _ } = fired;
                // Refused: its owner has changed it, or another sweeper was faster. Either has seen to what comes next.
                if let Err(error) = schedules.put_if_unchanged(&schedule.advanced(&due), Some(&schedule)).await {
                    log_failed(&schedule.key, &error.into());
                }
            });
        }
        all_of(advancing).await;
        new
    }

    /// Sends a message for each job that has not been started. Whatever the queue does not take, the sweeper finds at
    /// the job's own due.
    async fn announce_runs(&self, fired: &[Fired]) {
        let now = self.clock.now(); // now, and not when the sweep began: the delay counts from the sending
        let jobs: Vec<_> = fired.iter().flat_map(|fired| &fired.made).map(|made| &made.job).collect();
        let messages: Vec<_> = jobs.iter().filter_map(|job| announcement(job, now)).collect();
        let unsent = self.queue.send_all(&messages).await;
        for job in jobs.into_iter().filter(|job| unsent.contains(&job.id)) {
            about(job).in_scope(|| tracing::warn!("job.announcement_deferred"));
        }
    }
}

/// A schedule, and the jobs that were made of it.
struct Fired {
    schedule: Schedule,
    due: Due,
    made: Vec<Made>,
}

impl Fired {
    /// Makes the jobs that are to be made now, if there are any: it may have moved on since, or been paused, or wait.
    async fn made_of(
        schedule: &Schedule,
        schedules: &dyn ScheduleStore,
        jobs: &dyn JobStore,
        now: Timestamp,
    ) -> Result<Option<Self>, NotMade> {
        match decide(schedule, schedules, jobs, now).await? {
            Decision::Make { schedule, due } => {
                let made = make_jobs(&schedule, &due, jobs, now).await?;
                Ok(Some(Self { schedule, due, made }))
            }
            Decision::Skip { schedule, due, unended } => {
                log_skipped(&schedule.key, &due, unended);
                Ok(None)
            }
            Decision::Wait => Ok(None),
        }
    }

    /// One line for each new job, and one for runs that were missed. Gives how many jobs are new.
    fn log(&self) -> usize {
        let ScheduleKey { tenant, name } = &self.schedule.key;
        log_missed(&self.schedule.key, &self.due);
        let new: Vec<_> = self.made.iter().filter(|made| made.is_new).map(|made| &made.job).collect();
        for job in &new {
            tracing::info!(
                schedule = %name,
                %tenant,
                job.id = %job.id,
                job.r#type = %job.job_type,
                correlation_id = job.correlation_id,
                "schedule.fired"
            );
        }
        new.len()
    }
}

/// What came of these tasks; a panic is its task's alone.
async fn all_of<T: 'static>(mut tasks: JoinSet<T>) -> Vec<T> {
    let mut results = vec![];
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok(result) => results.push(result),
            Err(error) => tracing::error!(%error, "schedule.failed"),
        }
    }
    results
}

/// One line for runs that were missed and are not made up for.
fn log_missed(key: &ScheduleKey, due: &Due) {
    if due.missed > 0 {
        tracing::warn!(schedule = %key.name, tenant = %key.tenant, missed = due.missed, "schedule.missed");
    }
}

/// One line for the run that is skipped because this job of the last one has not ended.
fn log_skipped(key: &ScheduleKey, due: &Due, unended: JobId) {
    log_missed(key, due);
    for run in &due.runs {
        tracing::info!(
            schedule = %key.name,
            tenant = %key.tenant,
            job.id = %unended,
            correlation_id = key.correlation_id(*run),
            "schedule.skipped"
        );
    }
}

fn log_failed(key: &ScheduleKey, error: &NotMade) {
    tracing::error!(schedule = %key.name, tenant = %key.tenant, error = %Chain(error), "schedule.failed");
}
