//! Wiring: settings, logging, clients, router.

use std::sync::Arc;

use api::{Api, Quota};
use shared_aws::ports::Ports;
use shared_aws::settings::{AuthMode, environment, idempotency_secret, jobs_per_minute, limits};
use shared_aws::system::{SystemClock, SystemEntropy};
use shared_aws::{clients, ports, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::start("api", &environment)?;
    let auth = AuthMode::read(&environment)?;
    let config = clients::sdk_config("api", &environment).await?;
    let Ports { store, queue, switch, schedules, quotas, counters, subscriptions, products } =
        ports::ports("api", &config, &environment)?;
    let dead_letters = ports::dead_letters("api", &config, &environment)?;
    let quota = Quota::per_minute(jobs_per_minute(&environment)?, quotas);
    let limits = limits(&environment)?;
    let idempotency_secret = idempotency_secret(&environment)?;
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let api = Api {
        store,
        queue,
        dead_letters,
        switch,
        schedules,
        subscriptions,
        counters,
        products,
        clock,
        entropy,
        idempotency_secret,
        auth,
        quota,
        limits,
    };
    lambda_http::run(api::router(api)).await
}
