//! Wiring: settings, logging, clients, handler.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use shared_aws::dynamodb::DynamoStore;
use shared_aws::settings::{self, Place, WorkerSettings};
use shared_aws::sqs::SqsQueue;
use shared_aws::system::{SystemClock, SystemEntropy, time_until};
use shared_aws::{clients, telemetry};
use worker::{Isolation, Tools, Worker};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::start("worker", &settings::environment)?;
    let place = Place::read(&settings::environment)?;
    let settings = WorkerSettings::read(&settings::environment)?;
    let config = clients::sdk_config().await;
    let worker = Worker {
        store: Arc::new(DynamoStore::new(&config, place.table_name)),
        queue: Arc::new(SqsQueue::new(&config, place.queue_url)),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        retry: settings.retry,
        tools: Arc::new(Tools::new(&settings, &config)?),
        isolation: Isolation::Thread,
        stuck: AtomicBool::new(false),
    };
    let worker = Arc::new(worker);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<_>| {
        let worker = Arc::clone(&worker);
        async move { worker.handle(event.payload, time_until(event.context.deadline())).await }
    }))
    .await
}
