//! Wiring: settings, logging, clients, handler.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::de::IgnoredAny;
use shared_aws::ports::Ports;
use shared_aws::settings::{dead_letter_queue_url, environment};
use shared_aws::startup::start;
use shared_aws::system::{SystemClock, time_until};
use shared_aws::{clients, ports};
use sweeper::Sweeper;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (place, dead_letter_queue_url) = start("sweeper", &environment, dead_letter_queue_url)?;
    let config = clients::sdk_config("sweeper", &place.endpoints).await;
    let Ports { store, queue, switch, schedules, .. } = ports::ports("sweeper", &config, place, &environment);
    let dead_letters = ports::dead_letters("sweeper", &config, dead_letter_queue_url, &environment);
    let sweeper = &Sweeper { store, queue, schedules, switch, dead_letters, clock: Arc::new(SystemClock) };
    lambda_runtime::run(service_fn(move |tick: LambdaEvent<IgnoredAny>| {
        sweeper.handle(time_until(tick.context.deadline()))
    }))
    .await
}
