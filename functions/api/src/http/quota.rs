//! How many jobs a tenant may submit in a minute.

use std::num::NonZeroU32;
use std::sync::Arc;

use shared::quota::{MINUTE, QuotaStore, Taken, minute_of};
use shared::values::id::Tenant;
use shared::values::time::Timestamp;

use crate::http::problem::{Problem, ProblemCode};

/// The same quota for each tenant.
pub enum Quota {
    /// As many as they like.
    Off,
    /// So many, in each minute of the clock.
    PerMinute {
        /// How many.
        jobs: NonZeroU32,
        /// Where they are counted.
        store: Arc<dyn QuotaStore>,
    },
}

impl Quota {
    /// `jobs` a minute, counted in `store`; `None` is no limit.
    pub fn per_minute(jobs: Option<NonZeroU32>, store: Arc<dyn QuotaStore>) -> Self {
        match jobs {
            Some(jobs) => Self::PerMinute { jobs, store },
            None => Self::Off,
        }
    }

    /// Counts so many jobs, which the request is about to submit, or says why they have to wait: all of them or none.
    /// What turns out afterwards to have been submitted before is counted all the same.
    pub(crate) async fn take(&self, tenant: &Tenant, jobs: u32, now: Timestamp) -> Result<(), Problem> {
        let Self::PerMinute { jobs: limit, store } = self else { return Ok(()) };
        if jobs > limit.get() {
            let detail = format!("{jobs} jobs are more than this tenant may submit in a minute, which are {limit}");
            return Err(Problem::new(ProblemCode::QuotaTooSmall, detail)); // to wait would not help
        }
        let minute = minute_of(now);
        match store.take(tenant, minute, jobs, limit.get()).await? {
            Taken::Granted => Ok(()),
            Taken::LimitReached => {
                tracing::info!(%tenant, jobs, "quota.reached");
                let detail =
                    format!("this tenant may submit {limit} jobs a minute, and has no room for {jobs} more now");
                Err(Problem::new(ProblemCode::QuotaExceeded, detail).retry_after((minute + MINUTE).since(now)))
            }
        }
    }
}
