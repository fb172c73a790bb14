//! One id for each request, from its first log line to the last attempt of the job it submits.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use lambda_http::RequestExt;
use lambda_http::request::RequestContext;
use shared::submission::Origin;

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
        let traceparent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        Origin {
            correlation_id: self.0.clone(),
            traceparent: traceparent.filter(|text| is_traceparent(text)).map(ToOwned::to_owned),
        }
    }
}

/// Gives the request its id, and the answer the same.
pub async fn attach(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let id = from_caller(request.headers())
        .or_else(|| from_gateway(&request))
        .unwrap_or_else(|| api.fresh_id(api.clock.now()).to_string());
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response
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

/// Version 00 of <https://www.w3.org/TR/trace-context/#traceparent-header>.
fn is_traceparent(text: &str) -> bool {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    lengths == [2, 32, 16, 2] && hex && text.starts_with("00-")
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
    }
}
