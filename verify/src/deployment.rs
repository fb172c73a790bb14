//! A whole deployment in which nothing ever goes wrong: the functions over ports in memory, in virtual time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use axum::Router;
use shared::job::Status;
use shared::job::submission::Limits;
use shared::ports::memory::{MemoryQueue, MemoryStore, SeededEntropy};
use shared::values::id::JobId;
use sweeper::{Sweeper, Swept};
use tower::ServiceExt;
use worker::{JobError, Worker};

use crate::functions::{Ports, accepted_in, submission};
use crate::history::{Kind, Record, Violation, check, records_of};
use crate::model::Leases;
use crate::outputs::{Creates, OnlyCreates};
use crate::simulation::GIVE_UP;
use crate::virtual_time::VirtualClock;

/// The deployment. The numbers are those of `template.yaml`.
pub struct Deployment {
    /// The jobs.
    pub store: Arc<MemoryStore>,
    /// Their messages, with the dead letters.
    pub queue: Arc<MemoryQueue>,
    /// What jobs have made.
    pub files: Arc<Files>,
    api: Router,
    worker: Arc<Worker>,
    sweeper: Sweeper,
    /// How long an invocation of the worker may take.
    worker_timeout: Duration,
}

/// How many records the event source gives the worker at once.
pub const BATCH: usize = 10;

/// How many invocations of the worker run at once.
pub const WORKERS: usize = 10;

/// How long an invocation of the worker may take, unless the deployment says otherwise.
pub const WORKER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long an invocation of the sweeper may take.
const SWEEPER_TIMEOUT: Duration = Duration::from_secs(50);

/// How often a message is received before it becomes a dead letter.
const MOST_RECEIVES: u32 = 12;

impl Deployment {
    /// One in which nothing has happened yet, and in which each attempt of a job takes so long.
    pub fn new(seed: u64, an_attempt_takes: Duration) -> Self {
        Self::of_workers_that_live(WORKER_TIMEOUT, Limits::default(), seed, an_attempt_takes)
    }

    /// The same with another `WorkerTimeout`, and what this lets a job ask for.
    fn of_workers_that_live(worker_timeout: Duration, limits: Limits, seed: u64, an_attempt_takes: Duration) -> Self {
        let clock = Arc::new(VirtualClock::start());
        let store = Arc::new(MemoryStore::default());
        let queue = Arc::new(MemoryQueue::new(clock.clone(), 6 * worker_timeout, MOST_RECEIVES));
        let files = Arc::new(Files { an_attempt_takes, made: Mutex::default() });
        let ports = Ports {
            store: store.clone(),
            queue: queue.clone(),
            dead_letters: queue.clone(),
            clock,
            entropy: Arc::new(SeededEntropy::new(seed)),
            outputs: Arc::new(OnlyCreates(files.clone())),
            beside: Arc::default(),
            schedules: Arc::default(),
        };
        let (api, worker, sweeper) = (ports.api(limits), ports.worker(), ports.sweeper());
        Self { store, queue, files, api, worker, sweeper, worker_timeout }
    }

    /// Submits a job that must be accepted.
    pub async fn submit(&self, body: String) -> JobId {
        let answer = self.api.clone().oneshot(submission(None, body)).await.expect("the router always answers");
        accepted_in(&answer).expect("nothing goes wrong here")
    }

    /// Lets the worker have these records. Gives its answer.
    pub async fn work_on(&self, records: Vec<SqsMessage>) -> SqsBatchResponse {
        let mut event = SqsEvent::default();
        event.records = records;
        Arc::clone(&self.worker).handle(event, self.worker_timeout).await.expect("every record has an id")
    }

    /// Sweeps once.
    pub async fn sweep(&self) -> Swept {
        self.sweeper.handle(SWEEPER_TIMEOUT).await.expect("memory answers")
    }

    /// What must not have happened to the `accepted` jobs, now that nothing is under way any more.
    pub fn violations(&self, accepted: &[JobId]) -> Vec<Violation> {
        let jobs = self.store.all();
        let mut records: Vec<_> = jobs.iter().flat_map(records_of).collect();
        records.extend(accepted.iter().map(|job| Record::Accepted { job: *job, key: None }));
        let mut violations = check(&records, &jobs, Leases::Sound);
        let made = self.files.made();
        for (job, made) in &made.by_job {
            if made.files > 1 {
                let what = format!("made its file {} times", made.files);
                violations.push(Violation { kind: Kind::Doubled, job: *job, what });
            }
        }
        for job in jobs.iter().filter(|job| job.status() == Status::Completed) {
            if made.by_job.get(&job.id).is_none_or(|made| made.files == 0) {
                let what = "is completed, and has made no file".to_owned();
                violations.push(Violation { kind: Kind::Lost, job: job.id, what });
            }
        }
        violations
    }
}

/// Where jobs leave their files. What is in a file says how its job shall fare: `give_up`, `fail_once`, `always_fail`.
pub struct Files {
    an_attempt_takes: Duration,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    files: usize,
    by_job: BTreeMap<JobId, MadeByJob>,
}

#[derive(Default)]
struct MadeByJob {
    attempts: u32,
    files: u32,
}

impl Files {
    /// How many were made, second ones of the same job included.
    pub fn count(&self) -> usize {
        self.made().files
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Creates for Files {
    async fn create(&self, file_name: &str, content: Vec<u8>) -> Result<String, JobError> {
        tokio::time::sleep(self.an_attempt_takes).await;
        let job: JobId = file_name.trim_end_matches(".csv").parse().expect("named by the job's id");
        let wish = String::from_utf8_lossy(&content);
        let mut made = self.made();
        let by_job = made.by_job.entry(job).or_default();
        by_job.attempts += 1;
        if wish.contains("give_up") {
            return Err(JobError::give_up(GIVE_UP));
        }
        if wish.contains("always_fail") || (wish.contains("fail_once") && by_job.attempts == 1) {
            return Err(JobError::retry("told to fail"));
        }
        by_job.files += 1;
        made.files += 1;
        Ok(file_name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use ::tests::world::{body, record};

    use super::*;
    use crate::virtual_time::in_virtual_time;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_longest_attempt_is_made_once_however_long_a_worker_lives() {
        for (lives, longest_attempt_seconds) in [(60, 50), (300, 290), (900, 890)] {
            in_virtual_time(run_the_longest(Duration::from_secs(lives), Limits { longest_attempt_seconds }));
        }
    }

    /// A whole batch of the longest attempts, which nearly use up their time, while the sweeper sweeps.
    async fn run_the_longest(worker_timeout: Duration, limits: Limits) {
        let longest = limits.longest_attempt_seconds;
        let takes = Duration::from_secs(u64::from(longest) - 1);
        let deployment = Deployment::of_workers_that_live(worker_timeout, limits, 1, takes);
        let mut accepted = vec![];
        for number in 0..BATCH {
            let job = format!(r#"{{"type":"csv-generation","payload":{{"n":{number}}},"timeout_seconds":{longest}}}"#);
            accepted.push(deployment.submit(job).await);
        }
        let batch: Vec<_> = std::iter::from_fn(|| deployment.queue.receive()).take(BATCH).collect();
        let records = batch.iter().map(|delivery| record(&delivery.receipt, &body(delivery.job_id))).collect();
        let sweeps = async {
            for _ in 0..=worker_timeout.as_secs() / 60 {
                tokio::time::sleep(MINUTE).await;
                assert_eq!(deployment.sweep().await.sent, 0, "nobody has died");
                assert!(deployment.queue.receive().is_none(), "the worker still has the messages");
            }
        };
        let (response, ()) = tokio::join!(deployment.work_on(records), sweeps);
        assert!(response.batch_item_failures.is_empty(), "{worker_timeout:?}");
        for job in deployment.store.all() {
            assert_eq!((job.status(), job.attempts), (Status::Completed, 1), "{worker_timeout:?}");
        }
        assert_eq!(deployment.files.count(), BATCH);
        assert!(deployment.violations(&accepted).is_empty());
    }
}
