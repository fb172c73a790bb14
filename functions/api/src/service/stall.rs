//! Whether anybody starts jobs at all, as far as the table shows. This function may not look at the worker, and a worker that
//! dies at its start leaves no word in the table: what shows it is that jobs wait and none is started.

use std::time::Duration;

use shared::counters::CounterStore;
use shared::ports::StoreError;
use shared::values::time::Timestamp;

/// So long a job must have been ready, and no job may have been started. Longer than SQS and a cold start ever take.
const PATIENCE: Duration = Duration::from_secs(120);

const MINUTE: Duration = Duration::from_secs(60);

/// What can be said of a job that has been ready for `waited`, if no worker runs or has started any job lately: the rest of
/// a sentence that begins with the job. Costs nothing for a job that has not waited long.
///
/// Busy workers start none either, and are no reason to worry.
pub async fn of_the_workers(
    counters: &dyn CounterStore,
    waited: Duration,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    if waited < PATIENCE || counters.totals(None).await?.all().running > 0 {
        return Ok(None);
    }
    // Whole minutes, of which the first may have begun before that time and the last is not over.
    let lately = counters.minutes(None, now - PATIENCE - MINUTE, now + MINUTE).await?;
    let is_idle = lately.iter().all(|minute| minute.all().counts.started == 0);
    Ok(is_idle.then(|| {
        let (ready, lately) = (waited.as_secs() / 60, PATIENCE.as_secs() / 60);
        format!("has been ready for {ready} minutes, and in the last {lately} no worker has started any: see the worker's log")
    }))
}
