//! The ports as a function uses them.

use std::sync::Arc;

use aws_config::SdkConfig;
use shared::ports::{DeadLetters, JobQueue, JobStore};

use crate::dynamodb::DynamoStore;
#[cfg(debug_assertions)]
use crate::kill_points::KillPoints;
use crate::settings::{Lookup, Place, SettingError, dead_letter_queue_url};
use crate::sqs::{SqsDeadLetters, SqsQueue};

/// Where the jobs are, and where workers hear of them.
pub type Ports = (Arc<dyn JobStore>, Arc<dyn JobQueue>);

/// The table and the queue that the settings name. In debug builds, with kill points around them if `KILL_POINTS` asks for it.
pub fn ports(function: &'static str, config: &SdkConfig, lookup: Lookup<'_>) -> Result<Ports, SettingError> {
    let place = Place::read(lookup)?;
    let store: Arc<dyn JobStore> = Arc::new(DynamoStore::new(config, place.table_name));
    let queue: Arc<dyn JobQueue> = Arc::new(SqsQueue::new(config, place.queue_url));
    #[cfg(debug_assertions)]
    if let Some(points) = KillPoints::read(function, lookup) {
        return Ok((Arc::new(points.around(store)), Arc::new(points.around(queue))));
    }
    let _ = function; // names the kill points, which release builds do not have
    Ok((store, queue))
}

/// The dead-letter queue, likewise.
pub fn dead_letters(
    function: &'static str,
    config: &SdkConfig,
    lookup: Lookup<'_>,
) -> Result<Arc<dyn DeadLetters>, SettingError> {
    let letters: Arc<dyn DeadLetters> = Arc::new(SqsDeadLetters::new(config, dead_letter_queue_url(lookup)?));
    #[cfg(debug_assertions)]
    if let Some(points) = KillPoints::read(function, lookup) {
        return Ok(Arc::new(points.around(letters)));
    }
    let _ = function;
    Ok(letters)
}
