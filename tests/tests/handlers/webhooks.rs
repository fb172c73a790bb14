//! Webhooks, from request to receiver: a real HTTP server on this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use shared::job::{State, Status};
use shared::ports::Clock;
use shared::values::id::JobId;
use shared::values::time::Timestamp;
use tests::world::{World, records_of, tools};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const SECOND: Duration = Duration::from_secs(1);

/// A world whose jobs work with these settings.
fn world_with(settings: &[(&str, &str)]) -> World {
    let mut world = World::new();
    let tools = tools(settings, records_of(&world.store, &world.clock));
    Arc::get_mut(&mut world.worker).expect("nobody else has it").tools = Arc::new(tools);
    world
}

/// A world that signs webhooks and may call this machine.
fn world() -> World {
    world_with(&[("OUTBOUND_ALLOW", "any"), ("WEBHOOK_SECRET", SECRET)])
}

/// A receiver on this machine.
struct Receiver {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    received: mpsc::UnboundedReceiver<Received>,
}

/// A request that it got.
#[derive(Debug)]
struct Received {
    head: String,
    body: String,
}

impl Receiver {
    /// It gives these answers, one for each request; the last one again and again.
    async fn answering(answers: &[String]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let (tell, received) = mpsc::unbounded_channel();
        let (answers, count) = (answers.to_vec(), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::Relaxed);
                let answer = answers.get(number).or(answers.last()).expect("an answer");
                let Some(request) = Received::read(&mut stream).await else { continue };
                let _ = tell.send(request);
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, connections, received }
    }

    fn url(&self) -> String {
        format!("http://{}/hooks?shop=7", self.address)
    }

    fn next_request(&mut self) -> Received {
        self.received.try_recv().expect("a request")
    }

    /// How many times it was called in all.
    fn calls(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Received {
    /// The request that comes on this connection; none if the other side gives up.
    async fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut bytes = vec![];
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let received = Self { head: head.to_owned(), body: body.to_owned() };
                let length = received.header("content-length").parse().expect("a length");
                if received.body.len() >= length {
                    return Some(received);
                }
            }
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
    }

    fn request_line(&self) -> &str {
        self.head.lines().next().expect("a line")
    }

    fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.unwrap_or_else(|| panic!("no {name} in {}", self.head)).1
    }

    /// Whether one of its signatures is right, made anew from what was received, as a receiver does.
    /// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
    fn is_genuine_by(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a prefix")).expect("base64");
        let signed = [self.header("webhook-id"), self.header("webhook-timestamp"), &self.body].join(".");
        let signatures = self.header("webhook-signature").split(' ');
        let mut signatures = signatures.map(|signature| signature.strip_prefix("v1,").expect("version 1"));
        signatures.any(|signature| {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
            mac.update(signed.as_bytes());
            mac.verify_slice(&STANDARD.decode(signature).expect("base64")).is_ok()
        })
    }
}

/// An answer without a body, with these further lines in its head.
fn answer(status: &str, lines: &[&str]) -> String {
    let mut head = vec![format!("HTTP/1.1 {status}")];
    head.extend(lines.iter().map(ToString::to_string));
    head.join("\r\n") + "\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
}

/// Submits the delivery of an event to this receiver, and lets the worker try once.
async fn deliver_to(world: &World, url: &str) -> JobId {
    let payload = format!(r#"{{"url":"{url}","event_type":"order.paid","data":{{"z":1.10, "a":[null]}}}}"#);
    let id = world.submit(&format!(r#"{{"type":"webhook-delivery","payload":{payload}}}"#)).await;
    world.deliver().await;
    id
}

/// Why the job has failed, for good or up to now, at its first attempt.
async fn first_error(world: &World, id: JobId, status: Status) -> String {
    let job = world.job(id).await;
    assert_eq!((job.status(), job.attempts), (status, 1), "{:?}", job.error);
    job.error.expect("an error")
}

async fn next_attempt(world: &World, id: JobId) -> Timestamp {
    match world.job(id).await.state {
        State::Pending { not_before, .. } => not_before,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_receiver_can_tell_that_an_event_is_genuine() {
    let mut receiver = Receiver::answering(&[answer("200 OK", &[])]).await;
    let world = world();
    let id = deliver_to(&world, &receiver.url()).await;
    let job = world.get(&format!("/jobs/{id}")).await.body;
    assert_eq!((&job["status"], &job["result"]["status"]), (&json!("completed"), &json!(200)), "{job}");
    assert!(job["result"]["duration_ms"].is_u64(), "{job}");

    let mut received = receiver.next_request();
    assert_eq!(received.request_line(), "POST /hooks?shop=7 HTTP/1.1");
    assert_eq!(received.header("content-type"), "application/json");
    assert_eq!(received.header("host"), receiver.address.to_string());
    let expected = r#"{"type":"order.paid","timestamp":"2027-01-15T08:00:00.000Z","data":{"z":1.10,"a":[null]}}"#;
    assert_eq!(received.body, expected);
    assert_eq!(received.header("webhook-id"), id.to_string());
    assert_eq!(received.header("webhook-timestamp"), world.clock.now().as_secs().to_string());
    assert!(received.is_genuine_by(SECRET));
    assert!(!received.is_genuine_by(OTHER_SECRET));
    received.body = received.body.replace("paid", "sent");
    assert!(!received.is_genuine_by(SECRET), "somebody has changed it");
}

#[tokio::test]
async fn while_secrets_change_an_event_is_genuine_by_both() {
    let mut receiver = Receiver::answering(&[answer("204 No Content", &[])]).await;
    let both = format!("{OTHER_SECRET} {SECRET}");
    let world = world_with(&[("OUTBOUND_ALLOW", "any"), ("WEBHOOK_SECRET", &both)]);
    let id = deliver_to(&world, &receiver.url()).await;
    assert_eq!(world.job(id).await.status(), Status::Completed);
    let received = receiver.next_request();
    assert!(received.is_genuine_by(SECRET) && received.is_genuine_by(OTHER_SECRET));
}

#[tokio::test]
async fn a_receiver_that_says_when_to_come_back_gets_the_same_event_then() {
    let busy = answer("503 Service Unavailable", &["retry-after: 120"]);
    let mut receiver = Receiver::answering(&[busy, answer("200 OK", &[])]).await;
    let world = world();
    let id = deliver_to(&world, &receiver.url()).await;
    assert_eq!(first_error(&world, id, Status::Pending).await, "the receiver answered 503");
    let job = world.get(&format!("/jobs/{id}")).await.body;
    assert_eq!(job["run_at"], "2027-01-15T08:02:00.000Z");

    world.pass(SECOND * 119).await;
    assert_eq!((world.job(id).await.attempts, receiver.calls()), (1, 1), "not before that");
    world.pass(SECOND).await;
    let job = world.job(id).await;
    assert_eq!((job.status(), job.attempts), (Status::Completed, 2));

    let (first, second) = (receiver.next_request(), receiver.next_request());
    assert_eq!((first.header("webhook-id"), &first.body), (second.header("webhook-id"), &second.body));
    let sent_at = |received: &Received| received.header("webhook-timestamp").parse::<i64>().expect("a number");
    assert_eq!(sent_at(&second) - sent_at(&first), 120, "each says when it was sent itself");
    assert!(first.is_genuine_by(SECRET) && second.is_genuine_by(SECRET));
}

#[tokio::test]
async fn when_to_come_back_is_believed_within_reason() {
    let cases = [
        ("503 Service Unavailable", "retry-after: Fri, 15 Jan 2027 08:03:00 GMT", 180..=180),
        ("429 Too Many Requests", "retry-after: 60", 60..=60),
        ("503 Service Unavailable", "retry-after: 86400", 900..=900),
        ("503 Service Unavailable", "retry-after: 1", 5..=10), // Dray's own wait is longer
        ("503 Service Unavailable", "retry-after: soon", 5..=10),
        ("500 Internal Server Error", "retry-after: 120", 5..=10), // means nothing here
    ];
    for (status, line, seconds) in cases {
        let receiver = Receiver::answering(&[answer(status, &[line])]).await;
        let world = world();
        let id = deliver_to(&world, &receiver.url()).await;
        let wait = next_attempt(&world, id).await.since(world.clock.now());
        assert!(seconds.contains(&wait.as_secs()), "{status}, {line}: {wait:?}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_not_asked_again() {
    let receiver = Receiver::answering(&[answer("410 Gone", &[])]).await;
    let world = world();
    let id = deliver_to(&world, &receiver.url()).await;
    assert_eq!(first_error(&world, id, Status::Failed).await, "the receiver answered 410: it wants no more of this");
    world.pass(SECOND * 300).await;
    assert_eq!((receiver.calls(), world.queue.dead_letters()), (1, vec![id]));
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let mut receiver = Receiver::answering(&[answer(status, &["location: /elsewhere"])]).await;
        let world = world();
        let id = deliver_to(&world, &receiver.url()).await;
        let expected = format!("the receiver answered {}, and redirects are not followed", &status[..3]);
        assert_eq!(first_error(&world, id, Status::Pending).await, expected);
        assert_eq!(receiver.next_request().request_line(), "POST /hooks?shop=7 HTTP/1.1");
        assert_eq!(receiver.calls(), 1);
    }
}

#[tokio::test]
async fn unless_a_deployment_allows_it_no_receiver_inside_is_called() {
    let receiver = Receiver::answering(&[answer("200 OK", &[])]).await;
    let world = world_with(&[("WEBHOOK_SECRET", SECRET)]);
    let port = receiver.address.port();
    let cases = [
        (format!("http://127.0.0.1:{port}/"), "its URL is not https"),
        (format!("https://127.0.0.1:{port}/"), "its address is not public"),
        (format!("https://2130706433:{port}/"), "its address is not public"), // 127.0.0.1 as one number
        (format!("https://[::1]:{port}/"), "its address is not public"),
        (format!("https://[::ffff:127.0.0.1]:{port}/"), "its address is not public"),
        ("https://169.254.169.254/latest/meta-data/".to_owned(), "its address is not public"),
    ];
    for (url, reason) in cases {
        let id = deliver_to(&world, &url).await;
        let expected = format!("the receiver may not be called: {reason}");
        assert_eq!(first_error(&world, id, Status::Failed).await, expected, "{url}");
    }
    assert_eq!(receiver.calls(), 0);
}

#[tokio::test]
async fn without_a_secret_nothing_is_sent() {
    let receiver = Receiver::answering(&[answer("200 OK", &[])]).await;
    let world = world_with(&[("OUTBOUND_ALLOW", "any")]);
    let id = deliver_to(&world, &receiver.url()).await;
    let error = first_error(&world, id, Status::Failed).await;
    assert_eq!(error, "this deployment signs no webhooks: WEBHOOK_SECRET is not set");
    assert_eq!(receiver.calls(), 0);
}

#[tokio::test]
async fn a_receiver_that_is_down_is_called_again_until_the_attempts_are_used_up() {
    let nobody_listens = TcpSocket::new_v4().expect("a socket");
    nobody_listens.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let address = nobody_listens.local_addr().expect("an address");
    let world = world();
    let id = deliver_to(&world, &format!("http://{address}/")).await;
    assert_eq!(first_error(&world, id, Status::Pending).await, "the receiver could not be reached");
    world.pass(SECOND * 60 * 30).await;
    let job = world.get(&format!("/jobs/{id}")).await.body;
    let figures = [&job["status"], &job["attempts"], &job["max_attempts"]];
    assert_eq!(figures, [&json!("failed"), &json!(8), &json!(8)]);
    assert_eq!(job["result"], Value::Null);
    assert_eq!(world.queue.dead_letters(), [id]);
}
