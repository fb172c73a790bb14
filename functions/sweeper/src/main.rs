//! Wiring: settings, logging, clients, handler.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::de::IgnoredAny;
use shared_aws::dynamodb::DynamoStore;
use shared_aws::settings::{self, Place};
use shared_aws::sqs::{SqsDeadLetters, SqsQueue};
use shared_aws::system::{SystemClock, time_until};
use shared_aws::{clients, telemetry};
use sweeper::Sweeper;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::start("sweeper", &settings::environment)?;
    let place = Place::read(&settings::environment)?;
    let config = clients::sdk_config().await;
    let sweeper = Sweeper {
        store: Arc::new(DynamoStore::new(&config, place.table_name)),
        queue: Arc::new(SqsQueue::new(&config, place.queue_url)),
        dead_letters: Arc::new(SqsDeadLetters::new(&config, settings::dead_letter_queue_url(&settings::environment)?)),
        clock: Arc::new(SystemClock),
    };
    let sweeper = &sweeper;
    lambda_runtime::run(service_fn(move |tick: LambdaEvent<IgnoredAny>| {
        sweeper.handle(time_until(tick.context.deadline()))
    }))
    .await
}
