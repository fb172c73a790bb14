//! Wiring: settings, logging, clients, handler.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use shared_aws::ports::Ports;
use shared_aws::settings::{WorkerSettings, environment};
use shared_aws::startup::start;
use shared_aws::system::{SystemClock, SystemEntropy, time_until};
use shared_aws::{clients, ports};
use worker::{Isolation, PauseWatch, Records, Tools, Worker};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (place, settings) = start("worker", &environment, WorkerSettings::read)?;
    let config = clients::sdk_config("worker", &place.endpoints).await;
    let Ports { store, queue, switch, products, .. } = ports::ports("worker", &config, place, &environment);
    let clock = Arc::new(SystemClock);
    let records = Records { store: Arc::clone(&store), products, clock: clock.clone() };
    let worker = Arc::new(Worker {
        store,
        queue,
        pause: PauseWatch::new(switch),
        clock,
        entropy: Arc::new(SystemEntropy),
        retry: settings.retry,
        tools: Arc::new(Tools::new(&settings, &config, &environment, records)?),
        isolation: Isolation::Thread,
        stuck: AtomicBool::new(false),
    });
    lambda_runtime::run(service_fn(move |event: LambdaEvent<_>| {
        let worker = Arc::clone(&worker);
        async move { worker.handle(event.payload, time_until(event.context.deadline())).await }
    }))
    .await
}
