//! An attempt may take as long as a worker of its deployment lives, less a margin, and no longer.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use shared::job::Status;
use shared::job::submission::Limits;
use shared::job_type::JobType;
use shared::ports::Receipt;
use tests::world::{World, body, record};

/// How long a worker may live (`WorkerTimeout`), and the longest attempt that this allows, in seconds.
const DEPLOYMENTS: [(u64, u32); 3] = [(60, 50), (300, 290), (900, 890)];

fn world(longest_attempt_seconds: u32) -> World {
    World::with_api(|api| api.limits = Limits { longest_attempt_seconds })
}

fn job(timeout_seconds: u32) -> Value {
    json!({ "type": "csv-generation", "payload": { "a": 1 }, "timeout_seconds": timeout_seconds })
}

/// Everything that takes a job, and where in the body it stands.
fn requests(job: &Value) -> [(&'static str, &'static str, &'static str, Value); 3] {
    [
        ("POST", "/jobs", "", job.clone()),
        ("PUT", "/schedules/nightly", "job.", json!({ "cron": "0 2 * * *", "job": job })),
        ("PUT", "/subscriptions/orders", "job.", json!({ "event_type": "order.created", "job": job })),
    ]
}

#[tokio::test]
async fn a_longer_attempt_than_any_worker_lives_for_is_refused_by_its_name_with_the_longest() {
    for (_, longest) in DEPLOYMENTS {
        let world = world(longest);
        for (seconds, fits) in [(1, true), (longest, true), (longest + 1, false), (u32::MAX, false), (0, false)] {
            for (method, path, place, body) in requests(&job(seconds)) {
                let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
                let answer = world.send(request.body(Body::from(body.to_string())).expect("a request")).await;
                let case = format!("{method} {path} with {seconds} s of {longest}: {}", answer.body);
                assert_eq!(answer.status.is_success(), fits, "{case}");
                if !fits {
                    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{case}");
                    let detail = format!("`{place}timeout_seconds` must be a whole number from 1 to {longest}");
                    assert_eq!(answer.body["detail"], detail.as_str(), "{case}");
                }
            }
            let batch = json!({ "jobs": [job(seconds), job(1)] });
            let answer = world.post("/jobs/batch", &[], batch.to_string()).await;
            let outcomes = answer.body["jobs"].as_array().expect("an outcome for each").iter();
            let outcomes: Vec<_> = outcomes.map(|outcome| outcome["status"].clone()).collect();
            assert_eq!(outcomes, [json!(if fits { 202 } else { 422 }), json!(202)], "{seconds} s of {longest}");
        }
    }
}

#[tokio::test]
async fn a_copy_of_a_job_from_before_the_limit_was_lowered_may_run() {
    let before = world(890);
    let id = before.submit(&job(890).to_string()).await;
    for (number, (_, longest)) in (1..).zip(DEPLOYMENTS) {
        let after = World::with_api(|api| {
            api.limits = Limits { longest_attempt_seconds: longest };
            api.store = before.store.clone();
        });
        after.clock.advance(Duration::from_secs(number)); // each world draws the same ids
        let answer = after.post(&format!("/jobs/{id}/duplicate"), &[], "").await;
        let copy = answer.body["job_id"].as_str().expect("an id").parse().expect("an id");
        assert_eq!(before.job(copy).await.timeout, Duration::from_secs(longest.into()));
    }
}

#[tokio::test]
async fn a_type_that_says_nothing_else_takes_as_long_as_it_did_whatever_a_worker_lives() {
    for (_, longest) in DEPLOYMENTS {
        let world = world(longest);
        for job_type in JobType::ALL {
            let policy = job_type.policy();
            let payload: Value = serde_json::from_str(policy.example).expect("JSON");
            let id = world.submit(&json!({ "type": policy.name, "payload": payload }).to_string()).await;
            assert_eq!(world.job(id).await.timeout, Duration::from_secs(policy.timeout_seconds.into()));
        }
    }
}

#[tokio::test]
async fn a_worker_runs_the_longest_attempt_only_while_it_has_the_time_for_it() {
    for (lives, longest) in DEPLOYMENTS {
        let world = world(longest);
        let id = world.submit(&job(longest).to_string()).await;
        let left = Duration::from_secs(lives);
        let too_little = Duration::from_secs(u64::from(longest) + 5); // with the margin; nothing is left to answer in
        for (time_left, attempts) in [(too_little, 0), (left, 1)] {
            let mut event = SqsEvent::default();
            event.records = vec![record(&Receipt("r".to_owned()), &body(id))];
            let response = Arc::clone(&world.worker).handle(event, time_left).await.expect("an answer");
            assert!(response.batch_item_failures.is_empty(), "{time_left:?} of {left:?}");
            let job = world.job(id).await;
            // One that is held back waits for a worker that lives longer.
            assert_eq!((job.attempts, job.held_back.is_some()), (attempts, attempts == 0), "{time_left:?} of {left:?}");
        }
        assert_eq!(world.job(id).await.status(), Status::Completed);
    }
}

#[tokio::test]
async fn the_description_of_the_api_says_the_longest_attempt_of_this_deployment() {
    for (_, longest) in DEPLOYMENTS {
        let document = world(longest).get("/openapi.json").await.body;
        let mut found = vec![];
        collect(&document, &mut found);
        assert!(found.len() > 5, "{found:?}");
        assert!(found.iter().all(|maximum| *maximum == u64::from(longest)), "{longest}: {found:?}");
    }
}

/// The maximum of each `timeout_seconds` that a request may have.
fn collect(value: &Value, found: &mut Vec<u64>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("timeout_seconds").and_then(|field| field["maximum"].as_u64()));
            fields.values().for_each(|field| collect(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
