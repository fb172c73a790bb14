//! The API on one port: every request goes to the stack's HTTP API in the engine, as it is.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

#[derive(Clone)]
struct Upstream {
    client: reqwest::Client,
    url: String,
}

/// Serves until it fails. `api_url` is where the engine has the HTTP API, without a slash at its end.
pub async fn serve(listener: TcpListener, api_url: String) -> std::io::Result<()> {
    let upstream = Upstream { client: reqwest::Client::new(), url: api_url };
    let router = Router::new().fallback(forward).with_state(upstream);
    axum::serve(listener, router).await
}

async fn forward(State(upstream): State<Upstream>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = parts.headers;
    for own in OF_ONE_CONNECTION {
        headers.remove(own);
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

/// Headers that speak of one connection, not of the request (RFC 9110, section 7.6.1). The body's length is known
/// anew on the other one.
const OF_ONE_CONNECTION: [HeaderName; 5] =
    [header::CONNECTION, header::HOST, header::TRANSFER_ENCODING, header::UPGRADE, header::CONTENT_LENGTH];
