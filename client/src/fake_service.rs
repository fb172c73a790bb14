//! For tests: a service on this machine that answers as it is told, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::net::TcpListener;

use crate::{Client, Patience};

/// The answer to a submission.
pub(crate) const ACCEPTED: &str = r#"{"job_id":"01938e5c-7a00-7000-8000-000000000000","status":"pending"}"#;

/// The default, in a hurry.
pub(crate) fn hasty() -> Patience {
    Patience { first_pause: Duration::from_millis(1), ..Patience::default() }
}

/// A running service. It ends with its test.
pub(crate) struct Service {
    url: String,
    talk: Arc<Talk>,
}

struct Talk {
    replies: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
}

/// One answer.
#[derive(Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
    after: Duration,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Its method, path and query.
    pub(crate) line: String,
    pub(crate) body: String,
    headers: HeaderMap,
}

impl Service {
    /// Answers each request with the next of these.
    pub(crate) async fn that_answers(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::start(replies.into_iter().collect(), false).await
    }

    /// The same, but the first connection is closed without an answer.
    pub(crate) async fn that_breaks_once_and_answers(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::start(replies.into_iter().collect(), true).await
    }

    async fn start(replies: VecDeque<Reply>, breaks_once: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let talk = Arc::new(Talk { replies: Mutex::new(replies), asked: Mutex::default() });
        let router = Router::new().fallback(reply).with_state(Arc::clone(&talk));
        tokio::spawn(async move {
            if breaks_once {
                drop(listener.accept().await);
            }
            axum::serve(listener, router).await
        });
        Self { url, talk }
    }

    /// A client of it, in a hurry.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url).expect("an address").with_patience(hasty())
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.talk.asked.lock().expect("no panic").clone()
    }
}

async fn reply(State(talk): State<Arc<Talk>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    let asked = Asked {
        line: format!("{} {}", head.method, head.uri),
        body: String::from_utf8_lossy(&body).into_owned(),
        headers: head.headers,
    };
    talk.asked.lock().expect("no panic").push(asked);
    let next = talk.replies.lock().expect("no panic").pop_front();
    let next = next.unwrap_or_else(|| Reply::new(500, r#"{"detail":"asked more often than there are answers"}"#));
    tokio::time::sleep(next.after).await;
    let mut response = Response::builder().status(next.status);
    for (name, value) in next.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(next.body)).expect("a response")
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: vec![], body: body.into(), after: Duration::ZERO }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Comes only after this time.
    pub(crate) fn after(self, time: Duration) -> Self {
        Self { after: time, ..self }
    }
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
