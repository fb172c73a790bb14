//! Wiring: settings, logging, clients, router.

use std::sync::Arc;

use api::Api;
use shared_aws::settings::{environment, idempotency_secret};
use shared_aws::system::{SystemClock, SystemEntropy};
use shared_aws::{clients, ports, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::start("api", &environment)?;
    let config = clients::sdk_config().await;
    let (store, queue) = ports::ports("api", &config, &environment)?;
    let idempotency_secret = idempotency_secret(&environment)?;
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    lambda_http::run(api::router(Api { store, queue, clock, entropy, idempotency_secret })).await
}
