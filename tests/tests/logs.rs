//! What the logs say: every line of a job is found by its correlation id, nobody's secret is in one, and a success
//! costs next to nothing.

#![expect(clippy::print_stdout, reason = "the figures are for people too")]

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_lambda_events::event::sqs::{SqsEvent, SqsMessageAttribute};
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use events::{Events, StreamBatch};
use local::engine::{Engine, Folders, install};
use serde_json::{Value, json};
use shared::counters::MemoryCounters;
use shared::job::changes::{EventId, Notice, Publisher};
use shared::job::submission::Origin;
use shared::job::{Job, Status};
use shared::ports::{Clock, JobQueue, Message, QueueError, Receipt};
use shared::values::id::JobId;
use shared::values::time::Timestamp;
use shared_aws::dynamodb::DynamoStore;
use shared_aws::dynamodb::stream::image_of;
use shared_aws::settings::AuthMode;
use shared_aws::sqs::{CORRELATION_ID, SqsQueue, TRACEPARENT};
use shared_aws::telemetry;
use tests::system::{sqs_client, target_dir};
use tests::table::{Meter, NAME, client_of};
use tests::world::{World, body, record, records_of, tools};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CONTEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Everything that this process logs, as it would reach CloudWatch at `LOG_LEVEL=trace`.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log of this process, from here on at the latest. All tests of this file share it, so each looks for what is its
/// own.
fn logs() -> &'static Logs {
    static LOGS: LazyLock<Logs> = LazyLock::new(|| {
        let of_tests = std::panic::take_hook();
        let logs = Logs::default();
        let trace = |name: &str| (name == "LOG_LEVEL").then(|| "trace".to_owned());
        telemetry::start_on(logs.clone(), "tests", &trace).expect("settings that fit");
        let of_functions = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            of_functions(panic);
            of_tests(panic); // a test that fails shall still say why
        }));
        logs
    });
    &LOGS
}

impl Logs {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().expect("no writer panicked").clone()).expect("UTF-8");
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// The lines in which `id` stands, as somebody finds them who knows nothing else.
    fn with(&self, id: &str) -> Vec<Value> {
        let lines = self.lines().into_iter().filter(|line| line.contains(id));
        lines.map(|line| serde_json::from_str(&line).expect("JSON")).collect()
    }
}

fn names(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["message"].as_str().expect("a name")).collect()
}

async fn submit_as(world: &World, request_id: &str, more: &[(&str, &str)], json: &Value) -> JobId {
    let mut headers = vec![("x-request-id", request_id)];
    headers.extend(more);
    let answer = world.post("/jobs", &headers, json.to_string()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    answer.body["job_id"].as_str().expect("an id").parse().expect("an id")
}

/// Time enough for three attempts and the waits between them, and for a sweep.
const A_WHILE: Duration = Duration::from_secs(90);

#[tokio::test]
async fn every_line_of_a_job_is_found_by_its_correlation_id_from_the_request_to_the_last_attempt() {
    let (logs, world) = (logs(), World::new());
    let job = json!({ "type": "rehearsal", "payload": { "attempts": ["fail", "panic", "succeed"] } });
    submit_as(&world, "found-in-full", &[("traceparent", CONTEXT)], &job).await;
    world.pass(A_WHILE).await;
    let lines = logs.with("found-in-full");
    let attempts = [
        ("job.started", 1),
        ("job.retrying", 1),
        ("job.started", 2),
        ("panicked", 2),
        ("job.retrying", 2),
        ("job.started", 3),
        ("job.completed", 3),
    ];
    let (of_the_request, of_attempts) = lines.split_at(3);
    assert_eq!(names(of_the_request), ["request.received", "job.accepted", "request.answered"]);
    assert_eq!(of_the_request[0]["route"], "/jobs");
    assert_eq!((&of_the_request[2]["status"], &of_the_request[2]["method"]), (&json!(202), &json!("POST")));
    assert_eq!(names(of_attempts), attempts.map(|(name, _)| name));
    for (line, (_, attempt)) in of_attempts.iter().zip(attempts) {
        assert_eq!((&line["attempt"], &line["job.type"]), (&json!(attempt), &json!("rehearsal")), "{line}");
        assert_eq!(line["trace_id"], TRACE, "each attempt names the trace that submitted it: {line}");
    }
    assert_eq!(of_attempts[0]["traceparent"], CONTEXT);
}

#[tokio::test]
async fn whoever_touches_a_job_writes_its_correlation_id_and_their_own_request() {
    let (logs, world) = (logs(), World::new());
    let always_fails = json!({ "type": "rehearsal", "payload": { "attempts": ["give_up"] } });
    let id = submit_as(&world, "touched", &[("idempotency-key", "touched")], &always_fails).await;
    world.pass(A_WHILE).await;
    let waits = json!({ "type": "rehearsal", "payload": {}, "delay_seconds": 60 });
    let other = submit_as(&world, "touched-too", &[("idempotency-key", "touched-too")], &waits).await;
    for (request_id, path, json) in [
        ("by-retry", format!("/jobs/{id}/retry"), "{}"),
        ("by-reschedule", format!("/jobs/{other}/reschedule"), r#"{"delay_seconds":120}"#),
        ("by-cancel", format!("/jobs/{other}/cancel"), ""),
    ] {
        let answer = world.post(&path, &[("x-request-id", request_id)], json).await;
        assert!(answer.status.is_success(), "{answer:?}");
        let done = logs.with(request_id).into_iter().find(|line| !line["job.id"].is_null()).expect("a line");
        assert_eq!(done["request_id"], request_id);
        let expected = if request_id == "by-retry" { "touched" } else { "touched-too" };
        assert_eq!(done["correlation_id"], expected, "{done}");
    }
    world.pass(A_WHILE).await;

    let of_the_job: Vec<_> = logs.with(&id.to_string()).into_iter().chain(logs.with(&other.to_string())).collect();
    assert!(of_the_job.len() > 8, "{of_the_job:?}");
    for line in of_the_job {
        let correlation_id = line["correlation_id"].as_str().unwrap_or_default();
        assert!(correlation_id.starts_with("touched"), "{line}");
    }
}

#[tokio::test]
async fn a_line_that_is_written_before_the_table_has_answered_is_found_by_what_the_message_says() {
    let (logs, mut world) = (logs(), World::new());
    let id = world.submit(r#"{"type":"rehearsal","payload":{}}"#).await;
    let handed_over = |job_id: JobId, correlation_id: &str| {
        let mut record = record(&Receipt("elsewhere".to_owned()), &body(job_id));
        for (name, value) in [(CORRELATION_ID, correlation_id), (TRACEPARENT, CONTEXT)] {
            let mut attribute = SqsMessageAttribute::default();
            attribute.string_value = Some(value.to_owned());
            record.message_attributes.insert(name.to_owned(), attribute);
        }
        let mut event = SqsEvent::default();
        event.records = vec![record];
        event
    };

    let nobodys = JobId::at(Timestamp::from_millis(7), [7; 10]);
    world.handle(handed_over(nobodys, "of-no-job")).await;
    let lines = logs.with("of-no-job");
    assert_eq!(names(&lines), ["job.missing"]);
    assert_eq!((&lines[0]["job.id"], &lines[0]["trace_id"]), (&json!(nobodys.to_string()), &json!(TRACE)));

    let nowhere = client_of("http://127.0.0.1:1", &Meter::default());
    let worker = Arc::get_mut(&mut world.worker).expect("nobody else has it");
    worker.store = Arc::new(DynamoStore::with_client(nowhere, NAME.to_owned()));
    world.handle(handed_over(id, "of-an-outage")).await;
    let of_ours = |line: &Value| line["message"].as_str().is_some_and(|name| !name.contains(' '));
    let lines: Vec<_> = logs.with("of-an-outage").into_iter().filter(of_ours).collect();
    assert_eq!(names(&lines), ["job.not_claimed", "message.not_hidden"]);
    for line in lines {
        assert_eq!(line["job.id"], id.to_string());
    }
}

/// The most bytes of our lines that a success may cost, the ends of lines included.
const MOST_BYTES: usize = 400;

#[tokio::test]
async fn a_success_costs_at_most_400_bytes_of_log_lines() {
    let (logs, world) = (logs(), World::new());
    // The longest ids that we give ourselves are UUIDs; API Gateway's have 16 characters.
    let (of_uuid, of_gateway) = ("019a0000-0000-7000-8000-0123456789ab", "JKJaXmPLvHcESHA=");
    let csv = json!({ "type": "csv-generation", "payload": { "name": "Alice", "score": 95 } });
    let product = json!({ "name": "Lamp" });
    for (what, path, id, context, json) in [
        ("with a UUID", "/jobs", of_uuid, None, &csv),
        (
            "with a UUID and the longest name of a type",
            "/products",
            "019a0000-0000-7000-8000-0123456789ac",
            None,
            &product,
        ),
        ("with the gateway's id and a trace", "/jobs", of_gateway, Some(CONTEXT), &csv),
        ("with both and the longest name of a type", "/products", "JKJaXmPLvHcESHB=", Some(CONTEXT), &product),
    ] {
        let mut headers = vec![("x-request-id", id)];
        headers.extend(context.map(|context| ("traceparent", context)));
        let answer = world.post(path, &headers, json.to_string()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        world.deliver().await;
        let told: Vec<_> = logs.with(id).into_iter().filter(|line| line["level"].as_str() != Some("DEBUG")).collect();
        assert_eq!(names(&told), ["job.accepted", "job.completed"]);
        let bytes: usize = told.into_iter().map(|line| at_its_longest(line).to_string().len() + 1).sum();
        println!("bytes of the log lines of a success {what}: {bytes}");
        assert!(bytes <= MOST_BYTES, "{what}: {bytes} bytes");
    }
}

/// The line as it would be if all had taken as long as a function runs.
fn at_its_longest(mut line: Value) -> Value {
    line["duration_ms"] = json!(50_000);
    line
}

/// What is planted wherever callers, receivers and servers can put something of theirs.
const CANARY: &str = "canary";

#[tokio::test]
async fn nothing_of_a_payload_an_address_a_token_or_a_url_is_in_any_line_message_or_event() {
    let Told { lines, messages, notices } = told_by_a_faulty_run().await;
    let told: BTreeSet<_> =
        lines.iter().filter_map(|line| line.split(r#""message":""#).nth(1)?.split('"').next()).collect();
    for name in [
        "event.published",
        "job.accepted",
        "job.announcement_deferred",
        "job.cancel_asked",
        "job.completed",
        "job.failed",
        "job.redriven",
        "job.replayed",
        "job.retrying",
        "message.not_hidden",
        "message.undecodable",
        "panicked",
        "record.unreadable",
        "request.answered",
        "request.received",
        "request.refused",
        "schedule.fired",
        "subscription.unfit",
    ] {
        assert!(told.contains(name), "{name} is not among {told:?}");
    }
    assert!(messages.len() > 10 && notices.len() > 20, "{} messages, {} notices", messages.len(), notices.len());
    for text in lines.iter().chain(messages).chain(notices) {
        assert!(!text.to_lowercase().contains(CANARY), "{text}");
    }
}

#[tokio::test]
async fn every_field_of_every_line_is_on_the_one_page_about_them() {
    let page = include_str!("../../docs/logs.md");
    let named: BTreeSet<_> = page.split('`').skip(1).step_by(2).collect();
    for line in &told_by_a_faulty_run().await.lines {
        let line: Value = serde_json::from_str(line).expect("JSON");
        // Lines of our own are named by words with dots between them; libraries write sentences.
        let is_ours = |name: &str| name == "panicked" || (name.contains('.') && !name.contains(' '));
        if line["message"].as_str().is_some_and(is_ours) {
            for name in line.as_object().expect("an object").keys() {
                assert!(named.contains(name.as_str()), "`{name}` of {line}");
            }
        }
    }
}

/// What left the functions for others to read.
struct Told {
    /// All lines of the log.
    lines: Vec<String>,
    /// The bodies of messages, and what went with them.
    messages: Vec<String>,
    /// What was published.
    notices: Vec<String>,
}

/// What is told while everything goes wrong that can. It goes wrong once for all tests of this process.
async fn told_by_a_faulty_run() -> &'static Told {
    static TOLD: OnceCell<Told> = OnceCell::const_new();
    TOLD.get_or_init(a_faulty_run).await
}

/// Lets everything go wrong that can, with the canary wherever it can be put.
async fn a_faulty_run() -> Told {
    let logs = logs();
    let said = Arc::new(Mutex::new(vec![]));
    let down = Arc::new(AtomicBool::new(false));
    let spied = |queue: Arc<dyn JobQueue>| -> Arc<dyn JobQueue> {
        Arc::new(Spied { queue, said: Arc::clone(&said), down: Arc::clone(&down) })
    };
    let mut world = World::with_queue(spied);
    world.sweeper.queue =
        Arc::new(Spied { queue: world.queue.clone(), said: Arc::clone(&said), down: Arc::clone(&down) });
    let (mail, web) = (mail_server().await, web_server().await);
    let (output, mail_url) = (format!("file://{}", world.folder.path().display()), format!("smtp://{mail}"));
    let gateway = format!("http://{web}/canary?key=canary");
    let settings = [
        ("OUTPUT_URL", output.as_str()),
        ("MAIL_URL", mail_url.as_str()),
        ("OUTBOUND_ALLOW", "any"),
        ("WEBHOOK_SECRET", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        ("PUSH_GATEWAY_URL", gateway.as_str()),
        ("PUSH_GATEWAY_TOKEN", "canary-token"),
    ];
    let tools = tools(&settings, records_of(&world.store, &world.clock));
    Arc::get_mut(&mut world.worker).expect("nobody else has it").tools = Arc::new(tools);

    let failed = submit_what_goes_wrong(&world, web).await;
    send_what_is_refused(&world).await;
    publish_and_schedule(&world).await;
    down.store(true, Ordering::Relaxed);
    submit_as(&world, "unannounced", &[], &json!({ "type": "csv-generation", "payload": { CANARY: CANARY } })).await;
    down.store(false, Ordering::Relaxed);
    let mut event = SqsEvent::default();
    event.records = vec![record(&Receipt("broken".to_owned()), "{ canary")];
    world.handle(event).await;
    assert!(std::thread::spawn(panics).join().is_err());
    world.pass(Duration::from_secs(300)).await;

    let retried = world.post(&format!("/jobs/{failed}/retry"), &[], "{}").await;
    assert_eq!(retried.status, StatusCode::ACCEPTED, "{retried:?}");
    let waits = json!({ "type": "csv-generation", "payload": { CANARY: CANARY }, "delay_seconds": 600 });
    let waits = submit_as(&world, "waits", &[], &waits).await;
    let cancelled = world.post(&format!("/jobs/{waits}/cancel"), &[], "").await;
    assert_eq!(cancelled.status, StatusCode::OK, "{cancelled:?}");
    world.pass(Duration::from_secs(300)).await;
    let notices = notices_of(&world).await;
    let messages = said.lock().expect("no sender panicked").clone();
    Told { lines: logs.lines(), messages, notices }
}

fn panics() {
    panic!("with a canary in its words");
}

/// Gives a job that fails for good.
async fn submit_what_goes_wrong(world: &World, web: SocketAddr) -> JobId {
    let headers = [("authorization", "Bearer canary"), ("cookie", "canary=1"), ("idempotency-key", "canary-key")];
    let callback = format!("http://{web}/canary?key=canary");
    let csv = json!({ "type": "csv-generation", "payload": { "canary": "canary" }, "tags": ["canary"],
        "callback_url": callback });
    for _ in 0..2 {
        submit_as(world, "with-a-key", &headers, &csv).await; // the second time it is replayed
        world.clock.advance(Duration::from_secs(1)); // or it could be the very same request, tried twice
    }
    let mut last = None;
    for (number, (job_type, payload)) in [
        ("rehearsal", json!({ "attempts": ["fail", "panic", "succeed"] })),
        ("email-send", json!({ "to": "canary@example.com", "subject": "canary", "body": "canary" })),
        ("email-send", json!({ "to": "busy-canary@example.com", "subject": "canary", "body": "canary" })),
        (
            "email-send",
            json!({ "to": "a@example.com", "bcc": "canary@example.com", "subject": "s", "body": "b",
                "attachments": [{ "name": "canary", "file": "canary.csv" }] }),
        ),
        ("webhook-delivery", json!({ "url": format!("http://{web}/canary?key=canary"), "data": "canary" })),
        ("webhook-delivery", json!({ "url": format!("https://{web}/canary?key=canary"), "data": "canary" })),
        ("webhook-delivery", json!({ "url": "http://127.0.0.1:1/canary?key=canary", "data": "canary" })),
        (
            "push-notification",
            json!({ "to": "canary", "title": "canary", "body": "canary", "data": { "a": "canary" } }),
        ),
        ("image-thumbnail", json!({ "source": "canary.png", "width": 1, "height": 1 })),
        ("image-thumbnail", json!({ "source": { "base64": "Y2FuYXJ5" }, "width": 1, "height": 1 })),
        ("file-cleanup", json!({ "older_than_days": 1, "prefix": "canary" })),
        ("rehearsal", json!({ "attempts": ["give_up"] })),
    ]
    .into_iter()
    .enumerate()
    {
        let job = json!({ "type": job_type, "payload": payload, "max_attempts": 3, "tags": ["canary"],
            "callback_url": if job_type == "webhook-delivery" { Value::Null } else { json!(callback) } });
        last = Some(submit_as(world, &format!("wrong-{number}"), &[("authorization", "canary")], &job).await);
    }
    last.expect("some")
}

async fn send_what_is_refused(world: &World) {
    let key = [("idempotency-key", "canary-key"), ("x-request-id", "a canary with spaces"), ("traceparent", "canary")];
    for (path, json) in [
        ("/jobs", "canary { not JSON"),
        ("/jobs", r#"{"type":"canary","payload":{}}"#),
        ("/jobs", r#"{"type":"csv-generation","payload":{"canary":"another"}}"#), // under a key that has been used
        ("/jobs", r#"{"type":"csv-generation","payload":{},"canary":"canary"}"#),
        ("/jobs", r#"{"type":"email-send","payload":{"to":"canary@","subject":"canary","body":"canary"}}"#),
        ("/jobs", r#"{"type":"webhook-delivery","payload":{"url":"https://canary:canary@example.com","data":1}}"#),
        (
            "/jobs/batch",
            r#"{"jobs":[{"type":"canary","payload":{}},{"type":"csv-generation","payload":{"a":"canary"}}]}"#,
        ),
        ("/jobs/canary/cancel?canary=canary", ""),
        ("/canary?canary=canary", "canary"),
        ("/products", r#"{"name":"canary","canary":1}"#),
    ] {
        world.post(path, &key, json).await;
    }
    for path in ["/jobs/canary?wait=canary", "/jobs?tag=canary&status=canary", "/jobs?tag=canary", "/schedules/canary"]
    {
        world.get(path).await;
    }
    let jwt = AuthMode::Jwt { tenant_claim: "sub".to_owned(), scope_prefix: String::new() };
    let refused = World::with_auth(jwt).post("/jobs", &[("authorization", "Bearer canary")], "{}").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}

async fn publish_and_schedule(world: &World) {
    let csv = json!({ "type": "csv-generation", "payload": { "canary": "{{data.customer}}" } });
    let put = |path: &str, json: Value| {
        let request = Request::put(path).header("content-type", "application/json");
        request.body(Body::from(json.to_string())).expect("a request")
    };
    let subscribed = put("/subscriptions/stock", json!({ "event_type": "order.created", "job": csv }));
    let answer = world.send(subscribed).await;
    assert!(answer.status.is_success(), "{answer:?}");
    let scheduled = json!({ "type": "csv-generation", "payload": { "canary": "canary" } });
    let answer = world.send(put("/schedules/nightly", json!({ "cron": "* * * * *", "job": scheduled }))).await;
    assert!(answer.status.is_success(), "{answer:?}");
    for data in [json!({ "customer": "canary" }), json!({ "other": "canary" })] {
        let event = json!({ "type": "order.created", "id": data.to_string(), "data": data });
        let answer = world.post("/events", &[], event.to_string()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    }
}

/// What is published of the jobs of this world, with one record in between that nobody can read.
async fn notices_of(world: &World) -> Vec<String> {
    let listener = Arc::new(Listener::default());
    let clock: Arc<dyn Clock> = world.clock.clone();
    let events = Events {
        counters: Arc::new(MemoryCounters::default()),
        publisher: Some(listener.clone()),
        store: world.store.clone(),
        queue: world.queue.clone(),
        clock,
    };
    let image = |job: &Job| image_of(job).expect("writes");
    let broken =
        r#"{"id":{"S":"01938e5c-7a00-7000-8000-000000000000"},"payload":{"S":"canary"},"history":{"S":"canary"}}"#;
    let images: Vec<_> = world.store.all().iter().map(image).chain([broken.to_owned()]).collect();
    for image in images {
        let record = format!(r#"{{"dynamodb":{{"SequenceNumber":"1","NewImage":{image}}}}}"#);
        let batch: StreamBatch = serde_json::from_str(&format!(r#"{{"Records":[{record}]}}"#)).expect("a batch");
        let _ = events.handle(batch, Duration::from_secs(60)).await; // of the broken one an error
    }
    let failed = world.store.all().iter().filter(|job| job.status() == Status::Failed).count();
    assert!(failed > 3, "{failed}");
    listener.heard.lock().expect("no publisher panicked").clone()
}

/// Hears what is published.
#[derive(Default)]
struct Listener {
    heard: Mutex<Vec<String>>,
}

#[async_trait]
impl Publisher for Listener {
    async fn publish_all(&self, notices: &[Notice]) -> Vec<EventId> {
        let texts = notices.iter().map(|notice| serde_json::to_string(notice).expect("writes"));
        self.heard.lock().expect("no publisher panicked").extend(texts);
        vec![]
    }
}

/// A queue that remembers what it was told, and takes nothing while it is `down`.
struct Spied {
    queue: Arc<dyn JobQueue>,
    said: Arc<Mutex<Vec<String>>>,
    down: Arc<AtomicBool>,
}

#[async_trait]
impl JobQueue for Spied {
    async fn send(&self, message: &Message) -> Result<(), QueueError> {
        if self.down.load(Ordering::Relaxed) {
            return Err(QueueError("the queue is down".into()));
        }
        let said = format!("{} {:?}", message.body(), message.origin);
        self.said.lock().expect("no sender panicked").push(said);
        self.queue.send(message).await
    }

    async fn send_all(&self, messages: &[Message]) -> Vec<JobId> {
        let mut unsent = vec![];
        for message in messages {
            if self.send(message).await.is_err() {
                unsent.push(message.job_id);
            }
        }
        unsent
    }

    async fn hide(&self, receipt: &Receipt, rest: Duration) -> Result<(), QueueError> {
        self.queue.hide(receipt, rest).await
    }

    async fn waiting(&self) -> Result<usize, QueueError> {
        self.queue.waiting().await
    }
}

/// A mail server that takes no recipient, and says so in words that quote the address, as many do.
async fn mail_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (reading, mut writing) = stream.into_split();
                let mut lines = BufReader::new(reading).lines();
                let mut answer = "220 canary".to_owned();
                while writing.write_all(format!("{answer}\r\n").as_bytes()).await.is_ok() {
                    let Ok(Some(line)) = lines.next_line().await else { break };
                    answer = match line.get(..4) {
                        Some("RCPT") if line.contains("busy") => format!("451 4.3.0 {line}: not now, canary"),
                        Some("RCPT") => format!("550 5.1.1 {line}: unknown, canary"),
                        Some(_) | None => "250 canary".to_owned(),
                    };
                }
            });
        }
    });
    address
}

/// A receiver of webhooks that is never content, and talks much.
async fn web_server() -> SocketAddr {
    const ANSWER: &str = "HTTP/1.1 503 canary\r\nlocation: http://example.com/canary?key=canary\r\nretry-after: 1\r\n\
                          content-length: 6\r\nconnection: close\r\n\r\ncanary";
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 64 * 1024];
            let Ok(1..) = stream.read(&mut request).await else { continue };
            let _ = stream.write_all(ANSWER.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn the_queue_carries_where_a_job_came_from_beside_the_id_that_is_its_body() {
    let folder = tempfile::tempdir().expect("a folder");
    let packages = install(&target_dir(), &|line| eprintln!("{line}")).await.expect("installed");
    let folders = Folders::below(folder.path()).expect("folders");
    let engine = Engine::start(&packages, &folders, None).await.expect("started");
    let client = sqs_client(engine.url());
    let create = client.create_queue().queue_name("jobs").attributes(QueueAttributeName::VisibilityTimeout, "60");
    let url = create.send().await.expect("created").queue_url.expect("an address");
    let queue = SqsQueue::with_client(client.clone(), url.clone());

    let job_id = JobId::at(Timestamp::from_millis(7), [7; 10]);
    let origin = Origin { correlation_id: "my-request".to_owned(), traceparent: Some(CONTEXT.to_owned()) };
    let message = Message { origin: Some(origin), ..Message::naming(job_id, Duration::ZERO) };
    queue.send(&message).await.expect("sent");
    assert_eq!(queue.send_all(std::slice::from_ref(&message)).await, []);
    queue.send(&Message::naming(job_id, Duration::ZERO)).await.expect("sent");

    let (mut with_origin, mut with_header) = (0, 0);
    for _ in 0..3 {
        let receive = client.receive_message().queue_url(&url).message_attribute_names("All");
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::All);
        let received = receive.send().await.expect("SQS answers");
        let message = received.messages().first().expect("a message");
        assert_eq!(message.body(), Some(&*format!(r#"{{"job_id":"{job_id}"}}"#)));
        let attribute = |name: &str| message.message_attributes()?.get(name)?.string_value();
        match (attribute(CORRELATION_ID), attribute(TRACEPARENT)) {
            (Some("my-request"), Some(CONTEXT)) => with_origin += 1,
            (None, None) => {}
            other => panic!("{other:?}"),
        }
        let header = message.attributes().and_then(|known| known.get(&MessageSystemAttributeName::AwsTraceHeader));
        if let Some(header) = header {
            assert_eq!(header, "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1");
            with_header += 1;
        }
    }
    assert_eq!(with_origin, 2, "sent alone, and in a batch");
    assert!(with_header > 0, "for X-Ray; the local AWS keeps it only of what is sent alone");
}
