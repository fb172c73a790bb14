//! What the API takes, what it refuses, and that what it refuses is not stored.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use shared::job::Status;
use shared::ports::{JobQueue, Message, QueueError, Receipt};
use shared::values::id::JobId;
use tests::world::World;

const ALICE: &str = r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#;

#[tokio::test]
async fn a_job_is_accepted_and_can_be_looked_at() {
    let world = World::new();
    let headers =
        [("x-request-id", "my-request"), ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
    let accepted = world.post("/jobs", &headers, ALICE).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    assert_eq!(accepted.headers["x-request-id"], "my-request");
    let id = accepted.body["job_id"].as_str().expect("an id");
    assert_eq!(accepted.headers["location"], format!("/jobs/{id}"));
    assert_eq!(accepted.body, serde_json::json!({ "job_id": id, "status": "pending" }));

    let waiting = world.get(&format!("/jobs/{id}")).await;
    insta::assert_json_snapshot!("a waiting job", waiting.body);
    world.deliver().await;
    let done = world.get(&format!("/jobs/{id}")).await;
    insta::assert_json_snapshot!("a completed job", done.body);
    let job = world.job(id.parse().expect("an id")).await;
    assert_eq!((job.correlation_id.as_str(), job.traceparent.is_some()), ("my-request", true));
}

#[tokio::test]
async fn an_email_is_accepted_as_the_payload_itself() {
    let world = World::new();
    let email = r#"{"to":"ada@example.com","subject":"Hello","body":"Dear Ada"}"#;
    let accepted = world.post("/jobs/email", &[], email).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    world.deliver().await;
    let id: JobId = accepted.body["job_id"].as_str().expect("an id").parse().expect("an id");
    let job = world.get(&format!("/jobs/{id}")).await.body;
    assert_eq!((&job["type"], &job["status"]), (&"email-send".into(), &"completed".into()));
    let file = world.folder.path().join(format!("output/mail/{id}.eml"));
    let message = std::fs::read_to_string(file).expect("the e-mail is a file");
    assert!(message.contains(&format!("Message-ID: <{id}@example.com>")), "{message}");
    assert_eq!(message.split("\r\n\r\n").nth(1).map(str::trim_end), Some("Dear Ada"), "{message}");

    let refused = world.post("/jobs/email", &[], r#"{"to":"ada@example.com","body":"Dear Ada"}"#).await;
    assert_eq!((refused.status.as_u16(), &refused.body["field"]), (422, &"subject".into()));
}

/// What is sent, with which headers; the status, and the field that the answer names.
type Refused<'a> = (&'a str, &'a [(&'a str, &'a str)], u16, &'a str);

#[tokio::test]
async fn bad_input_is_refused_by_name_and_nothing_is_stored() {
    let world = World::new();
    let huge = format!(r#"{{"type":"csv-generation","payload":{{"a":"{}"}}}}"#, "x".repeat(256 * 1024));
    let long_key = "k".repeat(256);
    let cases: &[Refused<'_>] = &[
        ("{", &[], 400, "body"),
        ("", &[], 400, "body"),
        ("[]", &[], 422, "body"),
        ("{}", &[], 422, "type"),
        (r#"{"type":"csv-generation"}"#, &[], 422, "payload"),
        (r#"{"type":"nope","payload":{}}"#, &[], 422, "type"),
        (r#"{"type":"csv-generation","payload":{"a":1},"colour":"red"}"#, &[], 422, "colour"),
        (r#"{"type":"csv-generation","payload":"text"}"#, &[], 422, "payload"),
        (r#"{"type":"csv-generation","payload":{"a":{}}}"#, &[], 422, "payload.a"),
        (r#"{"type":"email-send","payload":{"to":"x","subject":"s","body":"b"}}"#, &[], 422, "payload.to"),
        (r#"{"type":"csv-generation","payload":{"a":1},"max_attempts":11}"#, &[], 422, "max_attempts"),
        (r#"{"type":"csv-generation","payload":{"a":1},"timeout_seconds":0}"#, &[], 422, "timeout_seconds"),
        (&huge, &[], 413, "body"),
        (ALICE, &[("idempotency-key", &long_key)], 400, "Idempotency-Key"),
        (ALICE, &[("idempotency-key", "")], 400, "Idempotency-Key"),
    ];
    for (body, headers, status, field) in cases {
        let answer = world.post("/jobs", headers, (*body).to_owned()).await;
        let shown = body.chars().take(80).collect::<String>();
        assert_eq!((answer.status.as_u16(), answer.body["field"].as_str()), (*status, Some(*field)), "{shown}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{shown}");
        assert!(answer.headers.contains_key("x-request-id"), "{shown}");
    }
    for content_type in [None, Some("text/plain"), Some("application/jsonx")] {
        let mut request = Request::post("/jobs");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let answer = world.send(request.body(Body::from(ALICE)).expect("a request")).await;
        assert_eq!((answer.status.as_u16(), answer.body["field"].as_str()), (415, Some("Content-Type")));
    }
    assert_eq!(world.store.all(), []);
    assert_eq!(world.deliver().await, 0, "nothing was sent either");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let world = World::new();
    let answers = [
        (world.get("/jobs/42").await, 400),
        (world.get("/jobs/%FF").await, 400),
        (world.get("/jobs/01938e5c-7a00-7000-8000-000000000000").await, 404),
        (world.get("/nothing").await, 404),
        (world.get("/jobs/email").await, 405),
        (world.get("/queue/pause").await, 405),
        (world.post("/health", &[], "{}").await, 405),
    ];
    for (answer, status) in answers {
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
        assert_eq!(answer.body["status"], status, "{answer:?}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    assert_eq!(world.get("/health").await.body["status"], "ok");
}

#[tokio::test]
async fn a_key_makes_one_job_however_often_it_is_sent() {
    let world = Arc::new(World::new());
    let posts = (0..50).map(|_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.post("/jobs", &[("idempotency-key", "order-1")], ALICE).await })
    });
    let mut replayed = 0;
    let mut ids = std::collections::HashSet::new();
    for post in posts.collect::<Vec<_>>() {
        let answer = post.await.expect("no panic");
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        replayed += usize::from(answer.headers.contains_key("idempotent-replayed"));
        ids.insert(answer.body["job_id"].to_string());
    }
    assert_eq!((replayed, ids.len(), world.store.all().len()), (49, 1, 1));

    let other = world.post("/jobs", &[("idempotency-key", "order-1")], ALICE.replace("95", "96")).await;
    assert_eq!((other.status.as_u16(), &other.body["field"]), (422, &"Idempotency-Key".into()));
    assert_eq!(world.store.all().len(), 1);
}

#[tokio::test]
async fn characters_that_queues_refuse_do_not_stop_a_job() {
    let world = World::new();
    let id = world.submit("{\"type\":\"csv-generation\",\"payload\":{\"odd\":\"\u{fffe}\u{ffff}\"}}").await;
    world.deliver().await;
    assert_eq!(world.job(id).await.status(), Status::Completed);
    let file = world.folder.path().join(format!("output/{id}.csv"));
    assert_eq!(std::fs::read_to_string(file).expect("a file"), "key,value\nodd,\u{fffe}\u{ffff}\n");
}

/// A queue that takes nothing.
struct OutOfReach;

#[async_trait]
impl JobQueue for OutOfReach {
    async fn send(&self, _: &Message) -> Result<(), QueueError> {
        Err(QueueError("out of reach".into()))
    }
    async fn send_all(&self, messages: &[Message]) -> Vec<JobId> {
        messages.iter().map(|message| message.job_id).collect()
    }
    async fn hide(&self, _: &Receipt, _: Duration) -> Result<(), QueueError> {
        Err(QueueError("out of reach".into()))
    }
    async fn waiting(&self) -> Result<usize, QueueError> {
        Err(QueueError("out of reach".into()))
    }
}

#[tokio::test]
async fn a_job_whose_message_could_not_be_sent_is_accepted_and_brought_to_its_end_by_the_sweeper() {
    let world = World::with_queue(|_| Arc::new(OutOfReach));
    let id = world.submit(ALICE).await;
    assert_eq!(world.deliver().await, 0, "no message was sent");
    world.pass(Duration::from_secs(121)).await;
    assert_eq!(world.job(id).await.status(), Status::Completed);
}

#[tokio::test]
async fn a_job_with_a_delay_starts_after_it_however_long_it_is() {
    for (option, delay) in [
        (r#""delay_seconds":100"#, 100),
        (r#""delay_seconds":2000"#, 2000),
        (r#""run_at":"2027-01-15T09:00:00Z""#, 3600),
    ] {
        let world = World::new();
        let body = ALICE.replace("}}", &format!("}},{option}}}"));
        let id = world.submit(&body).await;
        let accepted_at = world.job(id).await.created_at;
        world.pass(Duration::from_secs(delay + 10)).await;
        let job = world.job(id).await;
        assert_eq!(job.status(), Status::Completed, "{option}");
        let started_after = job.started_at.expect("started").since(accepted_at);
        let delay = Duration::from_secs(delay);
        assert!((delay..delay + Duration::from_secs(2)).contains(&started_after), "{option}: {started_after:?}");
    }
}
