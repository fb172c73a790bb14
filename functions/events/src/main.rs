//! Wiring: settings, logging, clients, handler.

use std::sync::Arc;

use events::{Events, StreamBatch};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use shared::job::changes::Publisher;
use shared_aws::ports::Ports;
use shared_aws::settings::{SettingErrors, environment};
use shared_aws::sns::SnsPublisher;
use shared_aws::startup::start;
use shared_aws::system::{SystemClock, time_until};
use shared_aws::{clients, ports};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (place, topic) = start("events", &environment, |lookup| Ok::<_, SettingErrors>(lookup("EVENTS_TOPIC_ARN")))?;
    let topic = events::topic(topic);
    let config = clients::sdk_config("events", &place.endpoints).await;
    let Ports { store, queue, counters, .. } = ports::ports("events", &config, place, &environment);
    let publisher = topic.map(|topic| Arc::new(SnsPublisher::new(&config, topic)) as Arc<dyn Publisher>);
    let events = &Events { counters, publisher, store, queue, clock: Arc::new(SystemClock) };
    lambda_runtime::run(service_fn(move |batch: LambdaEvent<StreamBatch>| {
        events.handle(batch.payload, time_until(batch.context.deadline()))
    }))
    .await
}
