//! The AWS clients, built once before a function's first event.

use std::time::Duration;

pub use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion};

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

/// The configuration all clients share: region, credentials and `AWS_ENDPOINT_URL` from the environment; every timeout
/// and the number of tries said here, because the SDK by itself sets none but the one for connecting.
///
/// Each request says in its user agent that it is `function`'s, `app/worker`: so do CloudTrail and S3's access log.
pub async fn sdk_config(function: &'static str) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(ATTEMPT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    let retries = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(50));
    let defaults = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).retry_config(retries);
    match AppName::new(function) {
        Ok(name) => defaults.app_name(name).load().await,
        Err(_) => defaults.load().await, // it is a word, and every word is a name
    }
}
