//! Wiring: settings, logging, clients, router.

use std::sync::Arc;

use api::Api;
use shared_aws::dynamodb::DynamoStore;
use shared_aws::settings::{self, Place};
use shared_aws::sqs::SqsQueue;
use shared_aws::system::{SystemClock, SystemEntropy};
use shared_aws::{clients, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::start("api", &settings::environment)?;
    let place = Place::read(&settings::environment)?;
    let config = clients::sdk_config().await;
    let api = Api {
        store: Arc::new(DynamoStore::new(&config, place.table_name)),
        queue: Arc::new(SqsQueue::new(&config, place.queue_url)),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        idempotency_secret: settings::idempotency_secret(&settings::environment)?,
    };
    lambda_http::run(api::router(api)).await
}
