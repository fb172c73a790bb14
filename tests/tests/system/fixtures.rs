//! The events in `events/`, each given to its function's real process, as `sam local invoke` does.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::job::Status;
use shared::ports::JobStore;
use shared::values::id::JobId;
use shared::values::time::Timestamp;
use tests::engines::config_at;
use tests::fixtures::{FIXTURES, Fixture};
use tests::system::{System, sqs_client, system};
use tests::topic::Topic;

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/../events/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Stores the jobs that an event names, without messages.
async fn store(system: &System, event: &str) -> Vec<JobId> {
    let store = system.store();
    let mut ids = vec![];
    for fixture in Fixture::of(event) {
        ids.push(fixture.store(&store, Timestamp::from_millis(1_772_366_400_000)).await);
    }
    ids
}

async fn status(system: &System, id: JobId) -> Status {
    system.store().find(id).await.expect("answers").expect("is there").status()
}

/// The body of an answer of the API, with what differs from run to run checked and taken out.
fn body_of(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON")
}

#[tokio::test]
async fn api_submit() {
    let answer = system().invoke("ApiFunctionName", fixture("api-submit.json")).await;
    assert_eq!(answer["statusCode"], 202, "{answer}");
    let body = body_of(&answer);
    let id = body["job_id"].as_str().expect("an id");
    assert!(id.parse::<JobId>().is_ok());
    assert_eq!(answer["headers"]["location"], format!("/jobs/{id}"));
    assert_eq!(answer["headers"]["x-request-id"], "fixture-submit");
    assert_eq!(body, json!({ "job_id": id, "status": "pending" }));
}

#[tokio::test]
async fn api_get() {
    let system = system();
    let id = store(system, "api-get.json").await[0];
    let answer = system.invoke("ApiFunctionName", fixture("api-get.json")).await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let mut body = body_of(&answer);
    assert_eq!(body["job_id"], id.to_string());
    // The sweeper may have had it by now.
    for name in
        ["status", "attempts", "history", "updated_at", "started_at", "finished_at", "duration_ms", "result", "run_at"]
    {
        body[name] = Value::Null;
    }
    insta::assert_json_snapshot!(body);
}

/// Where nobody asks who calls, a token does no harm. What it does elsewhere is in tenants.rs.
#[tokio::test]
async fn api_jwt() {
    let answer = system().invoke("ApiFunctionName", fixture("api-jwt.json")).await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    assert!(body_of(&answer)["jobs"].as_array().is_some_and(|jobs| jobs.len() <= 5), "{answer}");
}

#[tokio::test]
async fn api_batch() {
    let answer = system().invoke("ApiFunctionName", fixture("api-batch.json")).await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let body = body_of(&answer);
    assert_eq!([&body["accepted"], &body["rejected"]], [&json!(1), &json!(1)], "{body}");
    assert_eq!((&body["jobs"][0]["status"], &body["jobs"][0]["replayed"]), (&json!(202), &json!(false)), "{body}");
    assert_eq!(body["jobs"][1]["problem"]["field"], "jobs[1].type", "{body}");
}

#[tokio::test]
async fn api_cancel() {
    let system = system();
    let id = store(system, "api-cancel.json").await[0];
    let answer = system.invoke("ApiFunctionName", fixture("api-cancel.json")).await;
    // Unless a scheduled sweep was faster, in which case a worker has it, or has had it.
    assert!([200, 202, 409].map(|code| json!(code)).contains(&answer["statusCode"]), "{answer}");
    assert_ne!(status(system, id).await, Status::Pending);
}

#[tokio::test]
async fn sqs_job() {
    let system = system();
    let id = store(system, "sqs-job.json").await[0];
    let answer = system.invoke("WorkerFunctionName", fixture("sqs-job.json")).await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    // Unless a scheduled sweep was faster, in which case another worker has it now.
    assert!(matches!(status(system, id).await, Status::Completed | Status::Processing));
}

#[tokio::test]
async fn sqs_mixed_batch() {
    let system = system();
    let ids = store(system, "sqs-mixed-batch.json").await;
    let (good, failing) = (ids[0], ids[1]);
    let answer = system.invoke("WorkerFunctionName", fixture("sqs-mixed-batch.json")).await;
    let mut returned: Vec<_> = answer["batchItemFailures"].as_array().expect("a list").clone();
    returned.sort_by_key(ToString::to_string);
    assert_eq!(
        returned,
        [json!({ "itemIdentifier": "message-failing" }), json!({ "itemIdentifier": "message-undecodable" })]
    );
    assert!(matches!(status(system, good).await, Status::Completed | Status::Processing));
    assert_eq!(status(system, failing).await, Status::Failed);
}

#[tokio::test]
async fn schedule_tick() {
    let answer = system().invoke("SweeperFunctionName", fixture("schedule-tick.json")).await;
    for name in ["overdue", "moved", "sent", "unsent", "ended", "scheduled", "dead_letters_removed"] {
        assert!(answer[name].is_u64(), "{answer}");
    }
}

#[tokio::test]
async fn stream_completed() {
    let system = system();
    let topic = Topic::of(&config_at(&system.aws_url), system.output("EventsTopicArn").to_owned());
    let told = topic.queue("fixture-completed", r#"{"event":["job.completed"]}"#).await;
    let answer = system.invoke("EventsFunctionName", fixture("stream-completed.json")).await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    let queue = sqs_client(&system.aws_url);
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let receive = queue.receive_message().queue_url(&told).max_number_of_messages(10).wait_time_seconds(1);
        let received = receive.send().await.expect("SQS answers");
        let mut bodies = received.messages().iter().filter_map(|message| message.body());
        if bodies.any(|body| body.contains("01938e5c-7a00-7000-8000-000000000004")) {
            break;
        }
        assert!(Instant::now() < end, "nobody is told that the job has completed");
    }
}

/// So that each works by hand too, as docs/sam-local.md says.
#[test]
fn every_job_that_an_event_is_given_is_in_its_file_and_every_event_has_a_test_of_its_name() {
    for Fixture { event, id, .. } in FIXTURES {
        assert!(String::from_utf8(fixture(event)).expect("text").contains(id), "{event}: {id}");
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../events");
    let files = std::fs::read_dir(folder).expect("the folder").map(|file| file.expect("a file").file_name());
    let tests: BTreeSet<_> =
        include_str!("fixtures.rs").lines().filter_map(|line| line.strip_prefix("async fn ")).collect();
    for file in files {
        let file = file.into_string().expect("text");
        let test = format!("{}() {{", file.strip_suffix(".json").expect("an event").replace('-', "_"));
        assert!(tests.contains(test.as_str()), "{file} is in no test");
    }
}
