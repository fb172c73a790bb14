//! The AWS clients, built once before a function's first event.

use std::time::Duration;

pub use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use crate::settings::Endpoints;

/// Until a connection is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// One try of one request. DynamoDB and SQS answer in milliseconds; after this long the answer is lost.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// All tries of one request, waits included: 3 × 2 s, and some. With the 2 s that the API gives to a send it stays under
/// that function's own timeout (29 s).
const OPERATION_TIMEOUT: Duration = Duration::from_secs(7);

/// Longer timeouts, for a service that works on what it is sent: for one try and for all of them.
pub(crate) fn patient(attempt: Duration, operation: Duration) -> TimeoutConfig {
    // All are given: what a client does not say, it takes from the shared configuration.
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(attempt);
    timeouts.operation_attempt_timeout(attempt).operation_timeout(operation).build()
}

/// The configuration all clients share: region and credentials from the environment, addresses as `endpoints` has them;
/// every timeout and the number of tries said here, because the SDK by itself sets none but the one for connecting.
///
/// Each request says in its user agent that it is `function`'s, `app/worker`: so do `CloudTrail` and S3's access log.
pub async fn sdk_config(function: &'static str, endpoints: &Endpoints) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(ATTEMPT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    let retries = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(50));
    let loader = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).retry_config(retries);
    let loader = match AppName::new(function) {
        Ok(name) => loader.app_name(name),
        Err(_) => loader, // it is a word, and every word is a name
    };
    with_endpoints(loader.load().await, endpoints.clone())
}

/// The same configuration, for an AWS at these addresses. A local one gets no real credentials: `sam local` hands those of
/// whoever runs it to each function.
fn with_endpoints(config: SdkConfig, endpoints: Endpoints) -> SdkConfig {
    let mut builder = config.to_builder();
    builder.set_endpoint_url(None); // each client asks `ServiceConfig`
    if endpoints.are_local() {
        let nobodys = Credentials::new("test", "test", None, None, "local AWS");
        builder.set_credentials_provider(Some(SharedCredentialsProvider::new(nobodys)));
    }
    builder.service_config(ServiceConfig { endpoints, loaded: config }).build()
}

/// What each client asks for its own service. The SDK's own answer takes an empty address for one, which then panics.
#[derive(Debug)]
struct ServiceConfig {
    endpoints: Endpoints,
    loaded: SdkConfig,
}

impl LoadServiceConfig for ServiceConfig {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        if key.env() == "AWS_ENDPOINT_URL" {
            return self.endpoints.of(key.service_id()).map(ToOwned::to_owned);
        }
        self.loaded.service_config()?.load_config(key)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use aws_sdk_sqs::config::interceptors::BeforeTransmitInterceptorContextRef;
    use aws_sdk_sqs::config::{ConfigBag, Intercept, Region, RuntimeComponents};
    use aws_sdk_sqs::error::BoxError;

    use super::*;

    /// Takes down where a request was to go and how it was signed, and does not let it go.
    #[derive(Clone, Debug, Default)]
    struct Stopped(Arc<Mutex<Option<(String, String)>>>);

    impl Intercept for Stopped {
        fn name(&self) -> &'static str {
            "Stopped"
        }

        fn read_before_transmit(
            &self,
            context: &BeforeTransmitInterceptorContextRef<'_>,
            _: &RuntimeComponents,
            _: &mut ConfigBag,
        ) -> Result<(), BoxError> {
            let request = context.request();
            let signature = request.headers().get("authorization").unwrap_or_default();
            *self.0.lock().expect("no panic") = Some((request.uri().to_owned(), signature.to_owned()));
            Err("stopped".into())
        }
    }

    /// Where a client of SQS sends a request, and what that is signed with, if these variables are set.
    async fn request_of_sqs(given: &[(&str, &str)]) -> (String, String) {
        let lookup = |asked: &str| given.iter().find(|(name, _)| *name == asked).map(|(_, value)| (*value).to_owned());
        let real = Credentials::new("AKIAREAL", "real", Some("token".to_owned()), None, "the reader's own");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(real))
            .build();
        let config = with_endpoints(config, Endpoints::read(&lookup).expect("they fit"));
        let stopped = Stopped::default();
        let config = aws_sdk_sqs::config::Builder::from(&config).interceptor(stopped.clone()).build();
        let answer = aws_sdk_sqs::Client::from_conf(config).list_queues().send().await;
        answer.expect_err("it was stopped");
        stopped.0.lock().expect("no panic").take().expect("a request")
    }

    #[tokio::test]
    async fn a_client_calls_the_address_that_is_set_and_aws_itself_if_it_is_empty() {
        let aws = "https://sqs.eu-central-1.amazonaws.com";
        let cases: [(&[(&str, &str)], &str); 10] = [
            (&[], aws),
            (&[("ENDPOINT_URL", "")], aws),
            (&[("AWS_ENDPOINT_URL", "")], aws),
            (&[("AWS_ENDPOINT_URL_SQS", "")], aws),
            (&[("ENDPOINT_URL", ""), ("AWS_ENDPOINT_URL", ""), ("AWS_ENDPOINT_URL_SQS", "")], aws),
            (&[("AWS_ENDPOINT_URL", "http://localhost:1")], "http://localhost:1"),
            (&[("AWS_ENDPOINT_URL", "http://localhost:1"), ("AWS_ENDPOINT_URL_SQS", "")], "http://localhost:1"),
            (&[("AWS_ENDPOINT_URL", ""), ("AWS_ENDPOINT_URL_SQS", "http://localhost:2")], "http://localhost:2"),
            (&[("AWS_ENDPOINT_URL_SNS", "http://localhost:3")], aws),
            (&[("ENDPOINT_URL", "http://localhost:4"), ("AWS_ENDPOINT_URL_SQS", "http://a")], "http://localhost:4"),
        ];
        for (given, expected) in cases {
            let (url, _) = request_of_sqs(given).await;
            assert_eq!(url.trim_end_matches('/'), expected, "{given:?}");
        }
    }

    #[tokio::test]
    async fn a_local_aws_gets_nobodys_credentials() {
        for (variable, key) in [("ENDPOINT_URL", "Credential=test/"), ("AWS_ENDPOINT_URL", "Credential=AKIAREAL/")] {
            let (_, signature) = request_of_sqs(&[(variable, "http://localhost:1")]).await;
            assert!(signature.contains(key), "{variable}: {signature}");
        }
    }
}
