//! Wiring: settings, logging, clients, router.

use std::sync::Arc;

use api::{Api, Quota};
use shared_aws::ports::Ports;
use shared_aws::settings::{ApiSettings, environment};
use shared_aws::startup::start;
use shared_aws::system::{SystemClock, SystemEntropy};
use shared_aws::{clients, ports};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    let (place, settings) = start("api", &environment, ApiSettings::read)?;
    let ApiSettings { auth, jobs_per_minute, limits, dead_letter_queue_url, idempotency_secret } = settings;
    let config = clients::sdk_config("api", &place.endpoints).await;
    let Ports { store, queue, switch, schedules, quotas, counters, subscriptions, products } =
        ports::ports("api", &config, place, &environment);
    let dead_letters = ports::dead_letters("api", &config, dead_letter_queue_url, &environment);
    let quota = Quota::per_minute(jobs_per_minute, quotas);
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
