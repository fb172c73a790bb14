//! The events in `events/`, each given to its function's real process, as `sam local invoke` does.

use serde_json::{Value, json};
use shared::id::{JobId, Tenant};
use shared::job::Status;
use shared::ports::JobStore;
use shared::submission::{Origin, Submission};
use shared::time::Timestamp;
use tests::system::{System, system};

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/../events/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Stores a job under the id that a fixture names, without a message.
async fn store(system: &System, id: &str, body: &str) -> JobId {
    let now = Timestamp::from_millis(1_772_366_400_000);
    let submission = Submission::parse(body.as_bytes(), now).expect("fits");
    let origin = Origin { correlation_id: "fixture".to_owned(), traceparent: None };
    let job = submission.into_job(id.parse().expect("an id"), Tenant::only(), now, origin);
    system.store().insert_if_absent(&job).await.expect("stored");
    job.id
}

async fn status(system: &System, id: JobId) -> Status {
    system.store().find(id).await.expect("answers").expect("is there").status()
}

const CSV: &str = r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#;

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
    let id = store(system, "01938e5c-7a00-7000-8000-00000000000a", CSV).await;
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

/// Where nobody asks who calls, a token does no harm.
#[tokio::test]
async fn api_jwt() {
    let answer = system().invoke("ApiFunctionName", fixture("api-jwt.json")).await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    assert!(body_of(&answer)["jobs"].as_array().is_some_and(|jobs| jobs.len() <= 5), "{answer}");
}

#[test]
fn every_event_is_given_to_its_function() {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../events")).expect("the folder");
    for event in folder {
        let name = event.expect("an event").file_name().to_string_lossy().into_owned();
        assert!(include_str!("fixtures.rs").contains(&format!("\"{name}\"")), "{name} is given to nobody here");
    }
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
    let id = store(system, "01938e5c-7a00-7000-8000-00000000000b", CSV).await;
    let answer = system.invoke("ApiFunctionName", fixture("api-cancel.json")).await;
    // Unless a scheduled sweep was faster, in which case a worker has it, or has had it.
    assert!([200, 202, 409].map(|code| json!(code)).contains(&answer["statusCode"]), "{answer}");
    assert_ne!(status(system, id).await, Status::Pending);
}

#[tokio::test]
async fn sqs_job() {
    let system = system();
    let id = store(system, "01938e5c-7a00-7000-8000-000000000001", CSV).await;
    let answer = system.invoke("WorkerFunctionName", fixture("sqs-job.json")).await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    // Unless a scheduled sweep was faster, in which case another worker has it now.
    assert!(matches!(status(system, id).await, Status::Completed | Status::Processing));
}

#[tokio::test]
async fn sqs_mixed_batch() {
    let system = system();
    let good = store(system, "01938e5c-7a00-7000-8000-000000000002", CSV).await;
    // There is no push gateway.
    let failing = r#"{"type":"push-notification","payload":{"to":"device-1","title":"Paid","body":"Thank you"}}"#;
    let failing = store(system, "01938e5c-7a00-7000-8000-000000000003", failing).await;
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
