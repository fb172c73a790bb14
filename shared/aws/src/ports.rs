//! The ports as a function uses them.

use std::sync::Arc;

use aws_config::SdkConfig;
use shared::counters::CounterStore;
use shared::ports::{DeadLetters, JobQueue, JobStore, Switch};
use shared::product::Products;
use shared::quota::QuotaStore;
use shared::schedule::store::ScheduleStore;
use shared::subscription::store::SubscriptionStore;

use crate::dynamodb::DynamoStore;
#[cfg(debug_assertions)]
use crate::kill_points::KillPoints;
use crate::settings::{Lookup, Place};
use crate::sqs::{SqsDeadLetters, SqsQueue};

/// Where everything is.
pub struct Ports {
    /// The jobs.
    pub store: Arc<dyn JobStore>,
    /// Where workers hear of them.
    pub queue: Arc<dyn JobQueue>,
    /// Whether they may be started.
    pub switch: Arc<dyn Switch>,
    /// The schedules that make jobs.
    pub schedules: Arc<dyn ScheduleStore>,
    /// How much each tenant has submitted.
    pub quotas: Arc<dyn QuotaStore>,
    /// What jobs did, counted.
    pub counters: Arc<dyn CounterStore>,
    /// The subscriptions to events.
    pub subscriptions: Arc<dyn SubscriptionStore>,
    /// The products.
    pub products: Arc<dyn Products>,
}

/// The table and the queue of `place`. In debug builds, with kill points around jobs and messages if `KILL_POINTS` asks
/// for it.
pub fn ports(function: &'static str, config: &SdkConfig, place: Place, lookup: Lookup<'_>) -> Ports {
    let table = Arc::new(DynamoStore::new(config, place.table_name));
    let mut ports = Ports {
        store: table.clone(),
        queue: Arc::new(SqsQueue::new(config, place.queue_url)),
        switch: table.clone(),
        schedules: table.clone(),
        quotas: table.clone(),
        counters: table.clone(),
        subscriptions: table.clone(),
        products: table,
    };
    #[cfg(debug_assertions)]
    if let Some(points) = KillPoints::read(function, lookup) {
        ports.store = Arc::new(points.around(ports.store));
        ports.queue = Arc::new(points.around(ports.queue));
    }
    let _ = (function, lookup, &mut ports); // kill points have names, and release builds none of them
    ports
}

/// The dead-letter queue at `url`, likewise.
pub fn dead_letters(
    function: &'static str,
    config: &SdkConfig,
    url: String,
    lookup: Lookup<'_>,
) -> Arc<dyn DeadLetters> {
    let letters: Arc<dyn DeadLetters> = Arc::new(SqsDeadLetters::new(config, url));
    #[cfg(debug_assertions)]
    if let Some(points) = KillPoints::read(function, lookup) {
        return Arc::new(points.around(letters));
    }
    let _ = (function, lookup);
    letters
}
