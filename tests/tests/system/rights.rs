//! What the functions ask of AWS is what they have the rights for: nothing else, and all of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use shared::job::submission::{Origin, Submission};
use shared::ports::{JobStore, Message};
use shared::values::id::{JobId, Tenant};
use shared::values::time::Timestamp;
use shared_aws::operations::of;
use tests::gate::Call;
use tests::system::{System, sqs_client, start_with};

const ENDS: [&str; 3] = ["completed", "failed", "cancelled"];

/// How long all may take together: the slowest is a job's second attempt.
const TIME: Duration = Duration::from_secs(120);

/// Operations that this tour does not come by: an answer would have to get lost in the right moment. The contracts of
/// the ports, and the attacks of `verify`, do.
const UNSEEN: [(&str, &str); 3] = [
    ("events", "GetItem"), // what a callback is that is there already: its record was delivered twice
    ("events", "PutItem"), // each callback of a batch alone, after the batch was not answered
    ("worker", "HeadObject"), // whether a file is there whose upload is over: its end was not answered
];

async fn call(system: &System, method: Method, path: &str, body: Option<&Value>) -> Value {
    let mut request = Client::new().request(method, format!("{}{path}", system.url));
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.expect("the API answers");
    let is_success = answer.status().is_success();
    let body = answer.text().await.expect("text");
    assert!(is_success, "{path}: {body}");
    serde_json::from_str(&body).unwrap_or_default()
}

/// Submits a job and waits for its end. Gives its id.
async fn run(system: &System, job_type: &str, payload: &Value) -> String {
    let id = system.submit(&json!({ "type": job_type, "payload": payload }).to_string()).await;
    system.job_once(&id, &ENDS, TIME).await;
    id
}

/// Has the API do whatever it can.
async fn call_every_kind_of_route(system: &System) {
    let csv = json!({ "type": "csv-generation", "payload": { "a": 1 } });
    let late = json!({ "type": "csv-generation", "payload": { "a": 1 }, "delay_seconds": 3600 });
    call(system, Method::POST, "/jobs/batch", Some(&json!({ "jobs": [csv, csv] }))).await;
    let late = call(system, Method::POST, "/jobs", Some(&late)).await;
    let late = late["job_id"].as_str().expect("an id").to_owned();
    call(system, Method::POST, &format!("/jobs/{late}/cancel"), None).await;
    call(system, Method::DELETE, &format!("/jobs/{late}"), None).await;
    call(system, Method::POST, "/products", Some(&json!({ "name": "Lamp" }))).await;
    call(system, Method::PUT, "/schedules/minutely", Some(&json!({ "cron": "* * * * *", "job": csv }))).await;
    for path in ["/jobs", "/queue", "/stats", "/health", "/schedules"] {
        call(system, Method::GET, path, None).await;
    }
}

/// Has the worker do whatever it can.
async fn run_every_kind_of_job(system: &System) {
    let file = run(system, "csv-generation", &json!({ "a": 1 })).await;
    // It is read, and is no picture.
    run(system, "image-thumbnail", &json!({ "source": format!("{file}.csv"), "width": 9, "height": 9 })).await;
    run(system, "report-generation", &json!({ "last_hours": 1 })).await;
    // The second attempt writes a file that is there: its upload is dropped.
    run(system, "rehearsal", &json!({ "rows": 9, "attempts": ["fail", "succeed"] })).await;
    run(system, "email-send", &json!({ "to": "ada@example.com", "subject": "Hi", "body": "Dear Ada" })).await;
    // All files of jobs: their ids are times, and begin with a nought.
    run(system, "file-cleanup", &json!({ "older_than_days": 0, "prefix": "0" })).await;
}

/// Leaves the sweeper a job without a message, and a dead letter of no job.
async fn lose_a_message(system: &System) {
    let long_ago = Timestamp::from_millis(1_772_366_400_000);
    let submission = Submission::parse(br#"{"type":"csv-generation","payload":{"a":1}}"#, long_ago).expect("fits");
    let origin = Origin { correlation_id: "lost".to_owned(), traceparent: None };
    let job = submission.into_job(JobId::at(long_ago, [7; 10]), Tenant::only(), long_ago, origin);
    system.store().insert_if_absent(&job).await.expect("stored");
    let letter = Message::naming(JobId::at(long_ago, [8; 10]), Duration::ZERO).body();
    let send = sqs_client(&system.aws_url).send_message().queue_url(system.output("DeadLetterQueueUrl"));
    send.message_body(letter).send().await.expect("sent");
}

/// The calls that functions have rights for and that nobody has seen so far.
fn unseen(system: &System) -> BTreeSet<Call> {
    let seen = system.gate.seen();
    let named = ["api", "worker", "sweeper", "events"].into_iter().flat_map(|function| {
        of(function).iter().map(move |operation| (function.to_owned(), operation.name.to_owned(), Some(operation.on)))
    });
    let is_expected =
        |(function, name, _): &Call| UNSEEN.iter().any(|(known, operation)| known == function && operation == name);
    named.filter(|call| !seen.contains(call) && !is_expected(call)).collect()
}

#[tokio::test]
async fn every_right_of_a_function_is_used_and_nothing_is_done_without_one() {
    let (system, _stack) = start_with("rights", &[("OUTPUT_URL", ""), ("MAIL_URL", "ses://")]).await;
    if !system.can_rehearse().await {
        return;
    }
    let told = json!({ "type": "csv-generation", "payload": { "a": 1 }, "callback_url": "http://127.0.0.1:9/hook" });
    system.submit(&told.to_string()).await;
    call_every_kind_of_route(&system).await;
    run_every_kind_of_job(&system).await;
    lose_a_message(&system).await;
    let end = Instant::now() + TIME;
    loop {
        system.invoke("SweeperFunctionName", b"{}".to_vec()).await;
        let unseen = unseen(&system);
        if unseen.is_empty() {
            break;
        }
        assert!(Instant::now() < end, "nobody has seen {unseen:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(system.gate.refused(), BTreeSet::new());
}
