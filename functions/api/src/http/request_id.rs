//! One id for each request, from its first log line to the last attempt of the job it submits.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use lambda_http::RequestExt;
use lambda_http::request::RequestContext;
use shared::job::submission::Origin;
use shared_aws::telemetry::trace_id;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::Api;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The longest id that is taken over from a caller, in bytes.
const LONGEST: usize = 128;

/// The id of a request: the caller's own (`X-Request-Id`), else the gateway's, else a new one.
#[derive(Clone, Debug)]
pub struct RequestId(String);

impl RequestId {
    /// What a job that this request submits shall know of it.
    pub fn origin(&self, headers: &HeaderMap) -> Origin {
        Origin { correlation_id: self.0.clone(), traceparent: traceparent_in(headers).map(ToOwned::to_owned) }
    }
}

/// Gives the request its id, the answer the same, and each log line that is written in between.
pub async fn attach(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let id = from_caller(request.headers())
        .or_else(|| from_gateway(&request))
        .unwrap_or_else(|| api.fresh_id(api.clock.now()).to_string());
    request.extensions_mut().insert(RequestId(id.clone()));
    // At the level `error`, so that no line goes without it, whatever `LOG_LEVEL` says.
    let span = tracing::error_span!("request", request_id = id);
    let mut response = answer(request, next).instrument(span).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response
}

/// Lets the request through, with a line when it comes and one when it is answered: for whoever looks closely, unless
/// the answer is that something is wrong here. Of the path only the route is told, and nothing of the query: what a
/// caller writes there is theirs.
async fn answer(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let trace_id = traceparent_in(request.headers()).and_then(trace_id);
    tracing::debug!(%method, route, trace_id, "request.received");
    let response = next.run(request).await;
    let (status, duration_ms) = (response.status().as_u16(), millis(began.elapsed()));
    if response.status().is_server_error() {
        tracing::warn!(%method, route, status, duration_ms, "request.answered");
    } else {
        tracing::debug!(%method, route, status, duration_ms, "request.answered");
    }
    response
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn from_caller(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(X_REQUEST_ID)?.to_str().ok()?;
    let fits = (1..=LONGEST).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| id.to_owned())
}

fn from_gateway(request: &Request) -> Option<String> {
    match request.request_context_ref()? {
        RequestContext::ApiGatewayV2(context) => context.request_id.clone(),
        _ => None,
    }
}

fn traceparent_in(headers: &HeaderMap) -> Option<&str> {
    headers.get(TRACEPARENT)?.to_str().ok().filter(|text| is_traceparent(text))
}

/// Version 00 of <https://www.w3.org/TR/trace-context/#traceparent-header>. An id of nothing but zeros names nothing.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
    let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    let named = |part: &str| part.bytes().any(|byte| byte != b'0');
    lengths == [2, 32, 16, 2] && hex && parts[0] == "00" && named(parts[1]) && named(parts[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_trace_context_is_taken() {
        assert!(is_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        for other in ["", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", "00-x", "a-b-c-d"] {
            assert!(!is_traceparent(other), "{other}");
        }
        for (trace, parent) in [("0", "b7ad6b7169203331"), ("0af7651916cd43dd8448eb211c80319c", "0")] {
            assert!(!is_traceparent(&format!("00-{trace:0>32}-{parent:0>16}-01")), "{trace} {parent}");
        }
    }
}
