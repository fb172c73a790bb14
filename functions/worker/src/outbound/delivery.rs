//! What an answer, or the lack of one, means for the job.

use std::time::{Duration, UNIX_EPOCH};

use hyper::{HeaderMap, header};
use serde::Serialize;
use shared::values::chain::Chain;
use shared::values::time::Timestamp;
use tokio::time::Instant;

use super::{Answer, Outbound, OutboundError, Post};
use crate::JobError;

/// What is known of a request that was taken.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Delivered {
    /// The status that it was answered with, 200 to 299.
    status: u16,
    /// How long that took, in milliseconds.
    duration_ms: u64,
}

/// How long before the attempt's end the answer must be there, so that the attempt can still say how it went.
const TIME_TO_TELL: Duration = Duration::from_millis(250);

/// Posts to `receiver` (`the receiver`, as it stands at the start of an error's sentence) in the time that the attempt
/// has left. No error names the URL, which may hold a secret.
pub async fn deliver(
    outbound: &Outbound,
    receiver: &str,
    post: Post<'_>,
    remaining: Duration,
    now: Timestamp,
) -> Result<Delivered, JobError> {
    let began = Instant::now();
    match outbound.post(post, remaining.saturating_sub(TIME_TO_TELL)).await {
        Ok(answer) => judge(receiver, &answer, began.elapsed(), now),
        Err(error) => Err(undelivered(receiver, &error)),
    }
}

/// As Standard Webhooks says: 2xx is success and everything else a failure, after which the same request is made again.
/// That goes for 4xx too: what is wrong at the receiver (a deployment half done, a secret not yet changed) may be
/// mended between two attempts, while an event that was given up is lost. Only 410 says that nobody will ever want it.
/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
fn judge(receiver: &str, answer: &Answer, took: Duration, now: Timestamp) -> Result<Delivered, JobError> {
    let status = answer.status.as_u16();
    let message = format!("{receiver} answered {status}");
    match status {
        200..=299 => {
            let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            Ok(Delivered { status, duration_ms })
        }
        300..=399 => Err(JobError::retry(format!("{message}, and redirects are not followed"))),
        410 => Err(JobError::give_up(format!("{message}: it wants no more of this"))),
        429 | 503 => Err(match retry_after(&answer.headers, now) {
            Some(wait) => JobError::retry_after(wait, message),
            None => JobError::retry(message),
        }),
        _ => Err(JobError::retry(message)),
    }
}

/// How long to wait, from `Retry-After`: seconds or an HTTP date.
/// <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than there is room for is still a number, and a long time.
        return Some(Duration::from_secs(text.parse().unwrap_or(u32::MAX.into())));
    }
    let since_epoch = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((Timestamp::from_millis(0) + since_epoch).since(now))
}

fn undelivered(receiver: &str, error: &OutboundError) -> JobError {
    let message = format!("{receiver} {error}");
    let told = if error.retryable() { JobError::retry(message) } else { JobError::give_up(message) };
    match std::error::Error::source(error) {
        Some(cause) => told.because(Chain(cause)),
        None => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::tests::server;
    use crate::outbound::{OutboundPolicy, Refusal};
    use hyper::StatusCode;
    use url::Url;

    fn answer(status: u16, retry_after: Option<&str>) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(text) = retry_after {
            headers.insert(header::RETRY_AFTER, text.parse().expect("a header"));
        }
        let status = StatusCode::from_u16(status).expect("a status");
        Answer { status, headers, body: vec![] }
    }

    fn judged(status: u16, retry_after: Option<&str>) -> Result<Delivered, JobError> {
        let now = Timestamp::parse_rfc3339("2026-11-22T02:05:00.500Z").expect("a time");
        judge("the receiver", &answer(status, retry_after), Duration::from_millis(7), now)
    }

    fn text_of(error: &JobError) -> String {
        error.reason().map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn only_2xx_is_success() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judged(status, None).expect("success"), Delivered { status, duration_ms: 7 });
        }
        for status in [301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 413, 422, 429, 500, 502, 503, 504, 599] {
            let error = judged(status, None).expect_err("failure");
            assert!(matches!(error, JobError::Retry(_)), "{error:?}");
            assert!(text_of(&error).starts_with(&format!("the receiver answered {status}")), "{error:?}");
        }
    }

    #[test]
    fn who_is_gone_is_not_asked_again() {
        assert!(matches!(judged(410, None), Err(JobError::GiveUp(_))));
    }

    #[test]
    fn who_says_when_to_come_back_is_believed() {
        let wait = |status, text| match judged(status, Some(text)) {
            Err(JobError::RetryAfter(wait, _)) => Some(wait.as_millis()),
            Err(JobError::Retry(_)) => None,
            other => panic!("{other:?}"),
        };
        for status in [429, 503] {
            assert_eq!(wait(status, "120"), Some(120_000));
            assert_eq!(wait(status, "0"), Some(0));
            assert!(wait(status, "99999999999999999999") > Some(86_400_000), "as long as a wait may be");
            assert_eq!(wait(status, "Sun, 22 Nov 2026 02:06:00 GMT"), Some(59_500));
            assert_eq!(wait(status, "Sun, 22 Nov 2026 02:00:00 GMT"), Some(0), "a time that is over");
            for neither in ["", "soon", "-1", "1.5", "2026-11-22T02:06:00Z"] {
                assert_eq!(wait(status, neither), None, "{neither}");
            }
        }
        assert_eq!(wait(500, "120"), None);
    }

    #[test]
    fn a_refusal_is_final_and_a_failure_is_not() {
        let refused = undelivered("the receiver", &OutboundError::Refused(Refusal::NotPublic));
        assert!(matches!(refused, JobError::GiveUp(_)), "{refused:?}");
        assert_eq!(text_of(&refused), "the receiver may not be called: its address is not public");
        let failed = undelivered("the receiver", &OutboundError::Unreachable(std::io::Error::other("route lost")));
        assert!(matches!(failed, JobError::Retry(_)), "{failed:?}");
        assert_eq!(text_of(&failed), "the receiver could not be reached");
        assert_eq!(failed.reason().and_then(|reason| reason.cause.as_deref()), Some("route lost"));
    }

    #[tokio::test]
    async fn no_error_names_the_url() {
        let (address, _requests) = server("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await;
        let outbound = Outbound::new(OutboundPolicy::ANY);
        for url in [
            format!("http://{address}/hooks?key=hunter2"),
            "https://hunter2@example.com/?key=hunter2".to_owned(),
            "https://127.0.0.1:1/hooks?key=hunter2".to_owned(),
        ] {
            let url = Url::parse(&url).expect("a URL");
            let post = Post { url: &url, headers: vec![], body: "{}".to_owned() };
            let now = Timestamp::from_millis(0);
            let error = deliver(&outbound, "the receiver", post, Duration::from_secs(10), now).await.expect_err("no");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
