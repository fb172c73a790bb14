//! The API on one port: every request of this machine's own goes to the stack's HTTP API in the engine, as it is.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::net::TcpListener;

use crate::stack::foreign::Guard;

#[derive(Clone)]
struct Upstream {
    client: reqwest::Client,
    url: String,
    guard: Guard,
}

/// Serves what `guard` lets through until it fails. `api_url` is where the engine has the HTTP API, without a slash at
/// its end.
pub async fn serve(listener: TcpListener, api_url: String, guard: Guard) -> std::io::Result<()> {
    let upstream = Upstream { client: reqwest::Client::new(), url: api_url, guard };
    let router = Router::new().fallback(forward).with_state(upstream);
    axum::serve(listener, router).await
}

async fn forward(State(upstream): State<Upstream>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(reason) = upstream.guard.refusal(&parts.method, &parts.headers) {
        return refuse(reason);
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = parts.headers;
    for own in OF_ONE_CONNECTION {
        headers.remove(own);
    }
    // The engine takes nothing from browsers, and cannot tell the API's own page from others.
    for from_our_page in ["origin", "sec-fetch-site"] {
        headers.remove(from_our_page);
    }
    let request = upstream.client.request(parts.method, format!("{}{path}", upstream.url)).headers(headers);
    let body = reqwest::Body::wrap_stream(body.into_data_stream());
    match request.body(body).send().await {
        Ok(answer) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            for own in OF_ONE_CONNECTION {
                response.headers_mut().remove(own);
            }
            *response.body_mut() = Body::from_stream(answer.bytes_stream());
            response
        }
        Err(_) => (StatusCode::BAD_GATEWAY, "the local AWS engine does not answer").into_response(),
    }
}

/// As the API itself answers what it does not do.
fn refuse(detail: &str) -> Response {
    let problem = json!({
        "type": "about:blank", "title": "Forbidden", "status": 403, "detail": detail, "code": "foreign_request",
    });
    let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
    (StatusCode::FORBIDDEN, content_type, problem.to_string()).into_response()
}

/// Headers that speak of one connection, not of the request (RFC 9110, section 7.6.1). The body's length is known
/// anew on the other one.
const OF_ONE_CONNECTION: [HeaderName; 5] =
    [header::CONNECTION, header::HOST, header::TRANSFER_ENCODING, header::UPGRADE, header::CONTENT_LENGTH];
