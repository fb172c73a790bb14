//! What a running job can see and use.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::job::transition::{Change, Fence, Refusal};
use shared::job::{Job, Progress, State};
use shared::ports::{Changed, Clock, JobStore};
use shared::values::id::{JobId, Tenant};
use shared::values::json::Json;
use shared::values::time::Timestamp;
use tokio::time::Instant;

use crate::output::outputs_of;
use crate::{JobError, Outputs, Tools};

/// One attempt of one job.
pub struct Context {
    /// The job's id: the same in every attempt. Name by it what the job makes, and a second attempt makes it once.
    pub job_id: JobId,
    /// Whose job it is.
    pub tenant: Tenant,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// When the job was accepted: the same in every attempt.
    pub created_at: Timestamp,
    /// Where its files go: a place that jobs of other tenants do not reach.
    pub outputs: Arc<dyn Outputs>,
    /// What else this deployment offers to jobs.
    pub tools: Arc<Tools>,
    ties: Ties,
}

/// What ties an attempt to its job in the store.
struct Ties {
    store: Arc<dyn JobStore>,
    clock: Arc<dyn Clock>,
    fence: Fence,
    ends_at: Instant,
    /// How long before its end the attempt makes way.
    margin: Duration,
    resumed_from: Option<Json>,
    looked: Mutex<Looked>,
}

/// What is known of the job's wishes, and since when.
struct Looked {
    at: Instant,
    unwanted: bool,
}

/// How often an attempt asks after its job, or tells how far it has come, at most. Each time costs a request.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// The longest checkpoint, in bytes of JSON. It is written with the job, and paid for with each of its writes.
const LONGEST_CHECKPOINT: usize = 32 * 1024;

/// The longest progress message, in characters.
const LONGEST_MESSAGE: usize = 200;

impl Context {
    /// The context of the attempt that has claimed `job` under `fence` and must end at `ends_at`.
    pub(crate) fn new(
        job: &Job,
        fence: Fence,
        ends_at: Instant,
        tools: Arc<Tools>,
        store: Arc<dyn JobStore>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let looked = Mutex::new(Looked { at: Instant::now(), unwanted: false });
        let margin = (job.timeout / 5).clamp(Duration::from_millis(200), Duration::from_secs(5));
        let resumed_from = job.checkpoint.clone();
        Self {
            job_id: job.id,
            tenant: job.tenant.clone(),
            attempt: fence.attempt,
            created_at: job.created_at,
            outputs: outputs_of(&job.tenant, &tools.outputs),
            tools,
            ties: Ties { store, clock, fence, ends_at, margin, resumed_from, looked },
        }
    }

    /// How long this attempt may still run. When it is over the attempt is stopped, and counts as failed.
    pub fn remaining(&self) -> Duration {
        self.ties.ends_at.saturating_duration_since(Instant::now())
    }

    /// Whether nobody wants the result any more: a cancel was asked for, or the job went on without this attempt. Looks at
    /// most every 5 s; in between the last answer counts.
    pub async fn cancelled(&self) -> bool {
        if self.may_look() {
            // No answer: as if there had been no look.
            if let Ok(Some(job)) = self.ties.store.find(self.job_id).await {
                self.learn(self.is_unwanted(&job));
            }
        }
        self.looked().unwanted
    }

    /// Tells how far the work has come: `percent`, 0 to 100, and a few words, which whoever may see the job sees. Call it
    /// as often as you like: it is written at most every 5 s, and so never for a job that takes less.
    pub async fn progress(&self, percent: u8, message: &str) {
        if !self.may_look() {
            return;
        }
        let message = message.chars().take(LONGEST_MESSAGE).collect();
        let progress = Progress { percent: percent.min(100), message, at: self.ties.clock.now() };
        let report = Change::Report { fence: self.ties.fence, progress };
        match self.ties.store.change_if_allowed(self.job_id, &report).await {
            Ok(Changed::Applied(job)) => self.learn(self.is_unwanted(&job)),
            Ok(Changed::Refused(Refusal::Fenced | Refusal::AlreadyApplied, _) | Changed::Missing) => self.learn(true),
            Ok(Changed::Refused(..)) | Err(_) => {} // what is not told now is told later
        }
    }

    /// Where an earlier worker stopped, if the job is not at its beginning: what it gave to [`Context::checkpoint`]. `None`
    /// too if a newer build has another idea of a checkpoint; then the work begins anew.
    pub fn resumed_from<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.ties.resumed_from.as_ref()?.as_str()).ok()
    }

    /// A place from which another worker could go on, by what `cursor` says (32 KB of JSON at most). While there is time it
    /// does nothing and the work goes on. Shortly before the end of this worker's time it gives an error to be returned
    /// with `?`: the job goes on in another worker as the same attempt, where [`Context::resumed_from`] gives the cursor.
    pub fn checkpoint<T: Serialize>(&self, cursor: &T) -> Result<(), JobError> {
        if self.remaining() > self.ties.margin {
            return Ok(());
        }
        let cursor =
            Json::of(cursor).map_err(|error| JobError::give_up("a checkpoint has no JSON form").detail(error))?;
        if cursor.as_str().len() > LONGEST_CHECKPOINT {
            return Err(JobError::give_up(format!("a checkpoint is longer than {LONGEST_CHECKPOINT} bytes")));
        }
        Err(JobError::Yield(cursor))
    }

    /// Whether it is time for another look; if so, this is it.
    fn may_look(&self) -> bool {
        let mut looked = self.looked();
        let may = !looked.unwanted && looked.at.elapsed() >= BETWEEN_LOOKS;
        if may {
            looked.at = Instant::now();
        }
        may
    }

    fn is_unwanted(&self, job: &Job) -> bool {
        let mine = job.attempts == self.ties.fence.attempt && job.lease_token == Some(self.ties.fence.token);
        !matches!(job.state, State::Processing { cancel_requested: false, .. } if mine)
    }

    fn learn(&self, unwanted: bool) {
        self.looked().unwanted |= unwanted;
    }

    fn looked(&self) -> std::sync::MutexGuard<'_, Looked> {
        self.ties.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
