//! The API on one port: every request of this machine's own goes to the stack's HTTP API in the engine, as it is.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
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
    let (mut parts, body) = request.into_parts();
    if let Some(reason) = upstream.guard.refusal(&parts.method, &parts.headers) {
        return refuse(reason);
    }
    // The engine takes nothing from browsers, and cannot tell the API's own page from others.
    for from_our_page in ["origin", "sec-fetch-site"] {
        parts.headers.remove(from_our_page);
    }
    let body = reqwest::Body::wrap_stream(body.into_data_stream());
    let answer = pass_on(&upstream.client, &upstream.url, parts, body).await;
    answer.unwrap_or_else(|_| (StatusCode::BAD_GATEWAY, "the local AWS engine does not answer").into_response())
}

/// Sends a request on to `url`, as it is but for what is said of the connection, and gives the answer so.
pub async fn pass_on(
    client: &reqwest::Client,
    url: &str,
    parts: Parts,
    body: impl Into<reqwest::Body>,
) -> reqwest::Result<Response> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = parts.headers;
    for own in OF_ONE_CONNECTION {
        headers.remove(own);
    }
    let answer = client.request(parts.method, format!("{url}{path}")).headers(headers).body(body).send().await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    for own in OF_ONE_CONNECTION {
        response.headers_mut().remove(own);
    }
    *response.body_mut() = Body::from_stream(answer.bytes_stream());
    Ok(response)
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
/// anew on the other one, and whoever expected a `100 Continue` has had it.
const OF_ONE_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
