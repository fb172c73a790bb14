//! Acting on one job: cancelling it, trying it again, giving it another time; and jobs that expire.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use shared::job::transition::{Change, MOST_EVENTS};
use shared::job::{Job, Status};
use shared::ports::{Changed, Clock, JobStore};
use shared::values::id::JobId;
use shared::values::json::Json;
use tests::world::{Answer, World};

const ALICE: &str = r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#;
/// Fails for good at its first attempt, and would succeed at any other.
const FAILING_ONCE: &str = r#"{"type":"rehearsal","payload":{"attempts":["give_up","succeed"]}}"#;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// ALICE, with further fields.
fn alice(fields: &str) -> String {
    ALICE.replace("}}", &format!("}},{fields}}}"))
}

async fn act(world: &World, id: JobId, verb: &str, body: &str) -> Answer {
    world.post(&format!("/jobs/{id}/{verb}"), &[], body.to_owned()).await
}

/// Submits a job, which must end at its first attempt, and delivers its message until that is used up.
async fn ended(world: &World, body: &str) -> JobId {
    let id = world.submit(body).await;
    while world.deliver().await > 0 {}
    assert!(world.job(id).await.status().is_terminal());
    id
}

/// What has happened to the job, as the API tells it.
async fn story(world: &World, id: JobId) -> Vec<String> {
    let answer = world.get(&format!("/jobs/{id}/events")).await;
    let events = answer.body["events"].as_array().expect("events").iter();
    events.map(|event| event["event"].as_str().expect("a name").to_owned()).collect()
}

/// The ids of all failures, as the API lists them.
async fn failures(world: &World) -> Vec<String> {
    let list = world.get("/jobs?status=failed").await;
    let jobs = list.body["jobs"].as_array().expect("a list").iter();
    jobs.map(|job| job["job_id"].as_str().expect("an id").to_owned()).collect()
}

/// What is known of a job beside what has happened to it.
fn figures(job: &Job) -> (Status, u32, u32) {
    (job.status(), job.attempts, job.max_attempts)
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_at_once_and_never_runs() {
    let world = World::new();
    let id = world.submit(ALICE).await;
    for _ in 0..2 {
        let answer = act(&world, id, "cancel", "").await;
        let expected = json!({ "job_id": id, "status": "cancelled", "cancel_requested": false, "run_at": null });
        assert_eq!((answer.status, answer.body), (StatusCode::OK, expected));
    }
    assert_eq!(world.deliver().await, 1, "its message is still there");
    world.pass(MINUTE * 7).await;
    assert_eq!(figures(&world.job(id).await), (Status::Cancelled, 0, 3));
    assert_eq!(story(&world, id).await, ["accepted", "cancelled"]);
    assert_eq!(world.queue.dead_letters(), []);
}

#[tokio::test]
async fn a_job_that_waits_for_its_next_attempt_is_cancelled_at_once_too() {
    let world = World::new();
    let id = world.submit(r#"{"type":"rehearsal","payload":{"attempts":["fail"]}}"#).await;
    world.deliver().await;
    assert_eq!(act(&world, id, "cancel", "").await.status, StatusCode::OK);
    world.pass(MINUTE).await;
    assert_eq!(story(&world, id).await, ["accepted", "started", "retrying", "cancelled"]);
}

#[tokio::test]
async fn a_running_job_is_asked_to_stop_and_has_no_other_attempt() {
    let world = World::new();
    let id = world.submit(ALICE).await;
    world.claim(id).await;
    for _ in 0..2 {
        let answer = act(&world, id, "cancel", "").await;
        let expected = json!({ "job_id": id, "status": "processing", "cancel_requested": true, "run_at": null });
        assert_eq!((answer.status, answer.body), (StatusCode::ACCEPTED, expected));
    }
    let job = world.get(&format!("/jobs/{id}")).await.body;
    assert_eq!((&job["status"], &job["cancel_requested"]), (&json!("processing"), &json!(true)));

    world.clock.advance(MINUTE + SECOND); // its worker has died
    assert_eq!(world.sweep().await.ended, 1);
    assert_eq!(story(&world, id).await, ["accepted", "started", "cancel_requested", "cancelled"]);
    assert_eq!(act(&world, id, "cancel", "").await.status, StatusCode::OK, "it is cancelled by now");
    world.pass(MINUTE * 7).await;
    assert_eq!(world.job(id).await.attempts, 1);
    assert_eq!(world.queue.dead_letters(), []);
}

#[tokio::test]
async fn a_running_job_that_was_asked_to_stop_may_complete_all_the_same() {
    let world = World::new();
    let id = world.submit(ALICE).await;
    let fence = world.claim(id).await;
    assert_eq!(act(&world, id, "cancel", "").await.status, StatusCode::ACCEPTED);
    let completed = Change::Complete { now: world.clock.now(), fence, result: Json::of(&1).expect("a number") };
    let changed = world.store.change_if_allowed(id, &completed).await.expect("memory answers");
    assert!(matches!(changed, Changed::Applied(_)), "{changed:?}");
    let answer = act(&world, id, "cancel", "").await;
    assert_eq!((answer.status, &answer.body["detail"]), (StatusCode::CONFLICT, &json!("the job is completed")));
}

#[tokio::test]
async fn a_job_that_has_completed_or_failed_can_not_be_cancelled() {
    for (body, detail) in [(ALICE, "the job is completed"), (FAILING_ONCE, "the job is failed")] {
        let world = World::new();
        let id = ended(&world, body).await;
        let before = world.job(id).await;
        let answer = act(&world, id, "cancel", "").await;
        assert_eq!((answer.status, &answer.body["detail"]), (StatusCode::CONFLICT, &json!(detail)));
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(world.job(id).await, before);
    }
}

#[tokio::test]
async fn a_failed_job_is_tried_again_as_the_same_job() {
    let world = World::new();
    let id = ended(&world, FAILING_ONCE).await;
    let run_at = world.clock.now().to_string();
    let answer = act(&world, id, "retry", "{}").await;
    let expected = json!({ "job_id": id, "status": "pending", "cancel_requested": false, "run_at": run_at });
    assert_eq!((answer.status, answer.body), (StatusCode::ACCEPTED, expected));
    let job = world.get(&format!("/jobs/{id}")).await.body;
    assert_eq!([&job["attempts"], &job["max_attempts"]], [&json!(1), &json!(4)], "three more");
    assert_eq!([&job["error"], &job["finished_at"]], [&json!("told to give up"), &Value::Null]);

    while world.deliver().await > 0 {}
    assert_eq!(figures(&world.job(id).await), (Status::Completed, 2, 4));
    let expected = ["accepted", "started", "failed", "redriven", "started", "completed"];
    assert_eq!(story(&world, id).await, expected, "nothing of its history is lost");
    let events = world.get(&format!("/jobs/{id}/events")).await.body;
    assert_eq!([&events["events"][3]["run_at"], &events["events"][4]["attempt"]], [&json!(run_at), &json!(2)]);
}

#[tokio::test]
async fn a_cancelled_job_is_tried_again_too() {
    let world = World::new();
    let id = world.submit(ALICE).await;
    act(&world, id, "cancel", "").await;
    while world.deliver().await > 0 {}
    assert_eq!(act(&world, id, "retry", "{}").await.status, StatusCode::ACCEPTED);
    while world.deliver().await > 0 {}
    assert_eq!(figures(&world.job(id).await), (Status::Completed, 1, 3));
    assert_eq!(story(&world, id).await, ["accepted", "cancelled", "redriven", "started", "completed"]);
}

#[tokio::test]
async fn a_job_that_is_tried_again_has_as_many_more_attempts_as_were_asked_for() {
    let world = World::new();
    let body = r#"{"type":"rehearsal","payload":{"attempts":["fail"]},"max_attempts":1}"#;
    let id = ended(&world, body).await;
    for (more, attempts) in [(2, 3), (1, 4), (10, 14)] {
        let answer = act(&world, id, "retry", &format!(r#"{{"max_attempts":{more}}}"#)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        world.pass(MINUTE * 120).await;
        assert_eq!(figures(&world.job(id).await), (Status::Failed, attempts, attempts));
        assert_eq!(world.queue.dead_letters(), [id], "and one dead letter, whatever it has been through");
    }
}

#[tokio::test]
async fn a_job_has_fifty_attempts_at_most_however_often_it_is_tried_again() {
    let world = World::new();
    let id = ended(&world, r#"{"type":"rehearsal","payload":{"attempts":["give_up"]}}"#).await;
    for _ in 0..40 {
        assert_eq!(act(&world, id, "retry", r#"{"max_attempts":10}"#).await.status, StatusCode::ACCEPTED);
        while world.deliver().await > 0 {}
    }
    let before = world.job(id).await;
    assert_eq!(figures(&before), (Status::Failed, 41, 50));
    let answer = act(&world, id, "retry", r#"{"max_attempts":10}"#).await;
    let detail = "the job has been tried too often; submit its work as a new one";
    assert_eq!((answer.status, &answer.body["detail"]), (StatusCode::CONFLICT, &json!(detail)));
    assert_eq!(world.job(id).await, before);
    assert_eq!(act(&world, id, "retry", r#"{"max_attempts":9}"#).await.status, StatusCode::ACCEPTED, "those are left");
}

#[tokio::test]
async fn a_retry_that_does_not_fit_is_refused_by_name_and_changes_nothing() {
    let world = World::new();
    let id = ended(&world, FAILING_ONCE).await;
    let before = world.job(id).await;
    let cases = [
        (r#"{"max_attempts":0}"#, 422, "max_attempts"),
        (r#"{"max_attempts":11}"#, 422, "max_attempts"),
        (r#"{"max_attempts":-1}"#, 422, "max_attempts"),
        (r#"{"attempts":1}"#, 422, "attempts"),
        ("[]", 422, "body"),
        ("{", 400, "body"),
    ];
    for (body, status, field) in cases {
        let answer = act(&world, id, "retry", body).await;
        let found = (answer.status.as_u16(), answer.body["field"].as_str());
        assert_eq!(found, (status, Some(field)), "{body}: {answer:?}");
    }
    assert_eq!(world.job(id).await, before);
}

#[tokio::test]
async fn a_job_that_has_not_failed_can_not_be_tried_again() {
    let world = World::new();
    let completed = ended(&world, ALICE).await;
    let (pending, running) = (world.submit(ALICE).await, world.submit(ALICE).await);
    world.claim(running).await;
    for (id, status) in [(completed, "completed"), (pending, "pending"), (running, "processing")] {
        let before = world.job(id).await;
        let answer = act(&world, id, "retry", "{}").await;
        let detail = format!("the job is {status}; only a failed or cancelled one can be tried again");
        assert_eq!((answer.status, &answer.body["detail"]), (StatusCode::CONFLICT, &json!(detail)));
        assert_eq!(world.job(id).await, before);
    }
}

#[tokio::test]
async fn to_ask_again_for_a_retry_changes_nothing_until_the_job_has_ended_again() {
    let world = World::new();
    let body = r#"{"type":"rehearsal","payload":{"attempts":["give_up","give_up","succeed"]}}"#;
    let id = ended(&world, body).await;
    let first = act(&world, id, "retry", "{}").await;
    let waiting = world.job(id).await;
    for body in ["{}", r#"{"max_attempts":10}"#] {
        let again = act(&world, id, "retry", body).await;
        assert_eq!((again.status, &again.body), (StatusCode::ACCEPTED, &first.body));
    }
    assert_eq!(world.job(id).await, waiting);
    let fence = world.claim(id).await;
    let again = act(&world, id, "retry", "{}").await;
    assert_eq!((again.status, &again.body["status"]), (StatusCode::ACCEPTED, &json!("processing")));

    let (now, tenant) = (world.clock.now(), waiting.tenant);
    let failed = Change::Fail { now, fence, error: "once more".to_owned(), tenant };
    world.store.change_if_allowed(id, &failed).await.expect("memory answers");
    assert_eq!(act(&world, id, "retry", "{}").await.status, StatusCode::ACCEPTED);
    world.pass(MINUTE).await;
    assert_eq!(figures(&world.job(id).await), (Status::Completed, 3, 5));
    assert_eq!(story(&world, id).await.iter().filter(|event| *event == "redriven").count(), 2);
}

#[tokio::test]
async fn a_retry_needs_no_body() {
    let world = World::new();
    let id = ended(&world, FAILING_ONCE).await;
    let bare = Request::post(format!("/jobs/{id}/retry")).body(Body::empty()).expect("a request");
    assert_eq!(world.send(bare).await.status, StatusCode::ACCEPTED);
    assert_eq!(figures(&world.job(id).await), (Status::Pending, 1, 4));
    let not_json = Request::post(format!("/jobs/{id}/retry")).body(Body::from("{}")).expect("a request");
    let answer = world.send(not_json).await;
    let found = (answer.status.as_u16(), answer.body["field"].as_str());
    assert_eq!(found, (415, Some("Content-Type")), "but if there is one, it says what it is");
}

#[tokio::test]
async fn a_job_that_is_tried_again_is_no_failure_and_no_dead_letter_any_more() {
    let world = World::new();
    let ids = [ended(&world, FAILING_ONCE).await, ended(&world, FAILING_ONCE).await];
    assert_eq!(world.queue.dead_letters(), ids);
    assert_eq!(failures(&world).await.len(), 2);
    act(&world, ids[0], "retry", "{}").await;
    assert_eq!(failures(&world).await, [ids[1].to_string()]);

    assert_eq!(world.sweep().await.dead_letters_removed, 1);
    assert_eq!(world.queue.dead_letters(), [ids[1]]);
    world.pass(MINUTE).await;
    assert_eq!(world.job(ids[0]).await.status(), Status::Completed);
    assert_eq!((failures(&world).await, world.queue.dead_letters()), (vec![ids[1].to_string()], vec![ids[1]]));
}

#[tokio::test]
async fn a_job_that_is_tried_again_before_it_is_a_dead_letter_becomes_none() {
    let world = World::new();
    let id = world.submit(FAILING_ONCE).await;
    world.deliver().await;
    assert_eq!(world.job(id).await.status(), Status::Failed);
    act(&world, id, "retry", "{}").await;
    assert_eq!(world.deliver().await, 2, "the message that was on its way there, and the new one");
    assert_eq!(figures(&world.job(id).await), (Status::Completed, 2, 4), "one of them was enough");
    world.pass(MINUTE * 7).await;
    assert_eq!(world.queue.dead_letters(), []);
}

#[tokio::test]
async fn a_waiting_job_can_be_started_earlier() {
    for body in [r#"{"delay_seconds":0}"#, r#"{"run_at":"2001-01-01T00:00:00Z"}"#] {
        let world = World::new();
        for delay in [600, 2000] {
            let id = world.submit(&alice(&format!(r#""delay_seconds":{delay}"#))).await;
            let answer = act(&world, id, "reschedule", body).await;
            let run_at = world.clock.now().to_string();
            let expected = json!({ "job_id": id, "status": "pending", "cancel_requested": false, "run_at": run_at });
            assert_eq!((answer.status, answer.body), (StatusCode::OK, expected));
            assert_eq!(world.deliver().await, 1);
            assert_eq!(story(&world, id).await, ["accepted", "rescheduled", "started", "completed"]);
        }
        world.pass(MINUTE * 40).await;
        assert!(world.store.all().iter().all(|job| job.attempts == 1), "what its first message came for is done");
        assert_eq!(world.queue.dead_letters(), []);
    }
}

#[tokio::test]
async fn a_waiting_job_can_be_started_later_however_much() {
    for delay in [100, 900, 2000] {
        let world = World::new();
        let id = world.submit(&alice(r#""delay_seconds":10"#)).await;
        let start = world.clock.now();
        let body = format!(r#"{{"delay_seconds":{delay}}}"#);
        assert_eq!(act(&world, id, "reschedule", &body).await.status, StatusCode::OK);
        let delay = Duration::from_secs(delay);
        world.pass(delay.saturating_sub(SECOND)).await;
        assert_eq!(figures(&world.job(id).await), (Status::Pending, 0, 3), "its first message came too early");
        world.pass(SECOND).await;
        let job = world.job(id).await;
        assert_eq!((job.status(), job.started_at), (Status::Completed, Some(start + delay)), "{delay:?}");
        assert_eq!(world.queue.dead_letters(), []);
    }
}

#[tokio::test]
async fn a_job_can_be_given_another_time_until_its_history_is_full() {
    let world = World::new();
    let id = world.submit(&alice(r#""delay_seconds":2000"#)).await;
    for _ in 1..MOST_EVENTS {
        assert_eq!(act(&world, id, "reschedule", r#"{"delay_seconds":2000}"#).await.status, StatusCode::OK);
    }
    let answer = act(&world, id, "reschedule", r#"{"delay_seconds":2000}"#).await;
    let detail = "the job has been rescheduled too often";
    assert_eq!((answer.status, &answer.body["detail"]), (StatusCode::CONFLICT, &json!(detail)));
    world.pass(SECOND * 2000).await;
    assert_eq!(figures(&world.job(id).await), (Status::Completed, 1, 3), "it is brought to its end all the same");
}

#[tokio::test]
async fn who_has_mended_what_was_wrong_need_not_wait_for_the_next_attempt() {
    let world = World::new();
    let id = world.submit(r#"{"type":"rehearsal","payload":{"attempts":["fail","succeed"]}}"#).await;
    world.deliver().await;
    assert_eq!(act(&world, id, "reschedule", r#"{"delay_seconds":0}"#).await.status, StatusCode::OK);
    world.deliver().await;
    assert_eq!(figures(&world.job(id).await), (Status::Completed, 2, 3));
}

#[tokio::test]
async fn a_job_that_does_not_wait_can_not_be_given_another_time() {
    let world = World::new();
    let (completed, failed) = (ended(&world, ALICE).await, ended(&world, FAILING_ONCE).await);
    let (running, cancelled) = (world.submit(ALICE).await, world.submit(ALICE).await);
    world.claim(running).await;
    act(&world, cancelled, "cancel", "").await;
    let all = [(completed, "completed"), (failed, "failed"), (running, "processing"), (cancelled, "cancelled")];
    for (id, status) in all {
        let before = world.job(id).await;
        let answer = act(&world, id, "reschedule", r#"{"delay_seconds":1}"#).await;
        let detail = format!("the job is {status}");
        assert_eq!((answer.status, &answer.body["detail"]), (StatusCode::CONFLICT, &json!(detail)));
        assert_eq!(world.job(id).await, before);
    }
}

#[tokio::test]
async fn a_time_that_does_not_fit_is_refused_by_name_and_changes_nothing() {
    let world = World::new();
    let id = world.submit(&alice(r#""delay_seconds":60,"expires_at":"2027-01-15T09:00:00Z""#)).await;
    let before = world.job(id).await;
    let cases = [
        ("{}", 422, "run_at"),
        (r#"{"delay_seconds":1,"run_at":"2027-01-15T08:30:00Z"}"#, 422, "run_at"),
        (r#"{"run_at":"soon"}"#, 422, "run_at"),
        (r#"{"run_at":"2029-01-15T08:30:00Z"}"#, 422, "run_at"),
        (r#"{"run_at":"2027-01-15T09:00:00Z"}"#, 422, "run_at"), // when it expires
        (r#"{"delay_seconds":31622401}"#, 422, "delay_seconds"),
        (r#"{"delay_seconds":-1}"#, 422, "delay_seconds"),
        (r#"{"in":"an hour"}"#, 422, "in"),
        ("[]", 422, "body"),
        ("", 400, "body"),
    ];
    for (body, status, field) in cases {
        let answer = act(&world, id, "reschedule", body).await;
        let found = (answer.status.as_u16(), answer.body["field"].as_str());
        assert_eq!(found, (status, Some(field)), "{body}: {answer:?}");
    }
    assert_eq!(world.job(id).await, before);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_is_no_id_is_said_to_be_none() {
    let world = World::new();
    let unknown = JobId::at(world.clock.now(), [7; 10]);
    for (verb, body) in [("cancel", ""), ("retry", "{}"), ("reschedule", r#"{"delay_seconds":1}"#)] {
        let answer = act(&world, unknown, verb, body).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{verb}: {answer:?}");
        let answer = world.post(&format!("/jobs/42/{verb}"), &[], body).await;
        let found = (answer.status.as_u16(), answer.body["field"].as_str());
        assert_eq!(found, (400, Some("job_id")), "{verb}: {answer:?}");
    }
}

const EXPIRING: &str = r#""expires_at":"2027-01-15T08:00:30Z""#;

/// It was not started in time, and everybody is told so.
async fn has_lapsed(world: &World, id: JobId, attempts: u32, expected: &[&str]) {
    let job = world.get(&format!("/jobs/{id}")).await.body;
    assert_eq!((&job["status"], &job["attempts"]), (&json!("cancelled"), &json!(attempts)));
    assert_eq!(job["error"], "it expired before it could be started");
    assert_eq!(job["expires_at"], "2027-01-15T08:00:30.000Z");
    assert_eq!(job["history"][expected.len() - 1]["error"], job["error"]);
    assert_eq!(story(world, id).await, expected);
    world.pass(MINUTE * 7).await;
    assert_eq!(story(world, id).await, expected, "that was the end");
    assert_eq!(world.queue.dead_letters(), []);
}

#[tokio::test]
async fn a_job_that_expires_before_its_message_comes_is_cancelled_by_the_worker() {
    let world = World::new();
    let id = world.submit(&alice(EXPIRING)).await;
    world.clock.advance(SECOND * 30);
    assert_eq!(world.deliver().await, 1);
    has_lapsed(&world, id, 0, &["accepted", "lapsed"]).await;
}

#[tokio::test]
async fn a_job_that_expires_after_its_message_was_lost_is_cancelled_by_the_sweeper() {
    let world = World::new();
    let id = world.submit(&alice(EXPIRING)).await;
    let lost = world.queue.receive().expect("a message");
    world.queue.acknowledge(&lost.receipt);
    world.clock.advance(MINUTE + SECOND);
    let swept = world.sweep().await;
    assert_eq!((swept.ended, swept.sent), (1, 0));
    has_lapsed(&world, id, 0, &["accepted", "lapsed"]).await;
}

#[tokio::test]
async fn a_job_that_expires_after_its_worker_died_is_not_started_again() {
    let world = World::new();
    let id = world.submit(&alice(EXPIRING)).await;
    world.queue.receive().expect("a message, which dies with its worker");
    world.claim(id).await;
    world.clock.advance(MINUTE + SECOND);
    assert_eq!(world.sweep().await.ended, 1);
    has_lapsed(&world, id, 1, &["accepted", "started", "lapsed"]).await;
}

#[tokio::test]
async fn a_job_that_expires_between_two_attempts_has_no_other() {
    let world = World::new();
    let expiring = format!(r#"{{"type":"rehearsal","payload":{{"attempts":["fail"]}},{EXPIRING}}}"#);
    let id = world.submit(&expiring).await;
    world.clock.advance(SECOND * 29);
    world.deliver().await;
    world.pass(SECOND * 11).await;
    has_lapsed(&world, id, 1, &["accepted", "started", "retrying", "lapsed"]).await;
}

#[tokio::test]
async fn a_job_that_was_started_in_time_may_end_after_it() {
    let world = World::new();
    let id = world.submit(&alice(EXPIRING)).await;
    world.clock.advance(SECOND * 29);
    let fence = world.claim(id).await;
    world.clock.advance(SECOND * 10);
    let completed = Change::Complete { now: world.clock.now(), fence, result: Json::of(&1).expect("a number") };
    let changed = world.store.change_if_allowed(id, &completed).await.expect("memory answers");
    assert!(matches!(changed, Changed::Applied(_)), "{changed:?}");
}

#[tokio::test]
async fn a_job_that_has_expired_can_be_tried_again_and_expires_no_more() {
    let world = World::new();
    let id = world.submit(&alice(EXPIRING)).await;
    world.clock.advance(SECOND * 30);
    world.deliver().await;
    assert_eq!(act(&world, id, "retry", "{}").await.status, StatusCode::ACCEPTED);
    world.deliver().await;
    let job = world.get(&format!("/jobs/{id}")).await.body;
    assert_eq!([&job["status"], &job["error"], &job["expires_at"]], [&json!("completed"), &Value::Null, &Value::Null]);
    assert_eq!(story(&world, id).await, ["accepted", "lapsed", "redriven", "started", "completed"]);
}

async fn delete(world: &World, id: JobId) -> Answer {
    world.send(Request::delete(format!("/jobs/{id}")).body(Body::empty()).expect("a request")).await
}

/// The files in the folder of outputs.
fn files(world: &World) -> Vec<String> {
    let Ok(folder) = std::fs::read_dir(world.folder.path().join("output")) else { return vec![] };
    let names = folder.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| name != "mail").collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_deleted_job_leaves_nothing_behind_and_its_files_go_soon() {
    let world = World::new();
    let (id, other) = (ended(&world, ALICE).await, ended(&world, ALICE).await);
    assert_eq!(files(&world).len(), 2);
    let answer = delete(&world, id).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    assert_eq!(world.get(&format!("/jobs/{id}")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(delete(&world, id).await.status, StatusCode::NOT_FOUND);
    world.pass(MINUTE).await;
    assert_eq!(files(&world), [format!("{other}.csv")]);
    let cleanup = world.get(answer.headers["location"].to_str().expect("a path")).await.body;
    assert_eq!((&cleanup["status"], &cleanup["result"]["deleted"]), (&json!("completed"), &json!(1)));
    let cleanup: JobId = cleanup["job_id"].as_str().expect("an id").parse().expect("an id");
    let last = delete(&world, cleanup).await;
    assert_eq!((last.status, last.headers.get("location")), (StatusCode::NO_CONTENT, None), "this has no files");
    assert_eq!(world.store.all().iter().map(|job| job.id).collect::<Vec<_>>(), [other]);
}

#[tokio::test]
async fn an_e_mail_that_became_a_file_goes_with_its_job() {
    let world = World::new();
    let body = r#"{"type":"email-send","payload":{"to":"ada@example.com","subject":"Hello","body":"Dear Ada"}}"#;
    let id = ended(&world, body).await;
    let mail = world.folder.path().join("output/mail");
    let count = || std::fs::read_dir(&mail).expect("a folder").count();
    assert_eq!(count(), 1);
    assert_eq!(delete(&world, id).await.status, StatusCode::NO_CONTENT);
    world.pass(MINUTE).await;
    assert_eq!(count(), 0);
}

#[tokio::test]
async fn only_a_job_that_has_ended_is_deleted() {
    let world = World::new();
    let id = world.submit(ALICE).await;
    let refused = delete(&world, id).await;
    assert_eq!((refused.status, &refused.body["code"]), (StatusCode::CONFLICT, &json!("wrong_status")));
    world.claim(id).await;
    assert_eq!(delete(&world, id).await.status, StatusCode::CONFLICT);
    assert_eq!(world.store.all().len(), 1, "no cleanup was submitted");
    let never_ran = world.submit(ALICE).await;
    act(&world, never_ran, "cancel", "").await;
    let gone = delete(&world, never_ran).await;
    assert_eq!((gone.status, gone.headers.get("location")), (StatusCode::NO_CONTENT, None), "it has no files");
    assert_eq!(world.deliver().await, 2, "late messages");
    assert_eq!(world.get(&format!("/jobs/{never_ran}")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_job_deleted_again_after_a_crash_is_cleaned_up_once_and_after_a_retry_anew() {
    let world = World::new();
    let id = ended(&world, FAILING_ONCE).await;
    // The process died after it had submitted the cleanup: the job is still there.
    let job = world.job(id).await;
    let first = delete(&world, id).await;
    world.store.insert_if_absent(&job).await.expect("memory answers");
    let again = delete(&world, id).await;
    assert_eq!(again.headers["location"], first.headers["location"]);
    world.store.insert_if_absent(&job).await.expect("memory answers");
    act(&world, id, "retry", "").await;
    while world.deliver().await > 0 {}
    let anew = delete(&world, id).await;
    assert_ne!(anew.headers["location"], first.headers["location"], "it may have made other files since");
}

#[tokio::test]
async fn a_copy_does_the_same_work_and_names_the_job_it_is_of() {
    let world = World::new();
    let body =
        alice(r#""max_attempts":2,"timeout_seconds":7,"tags":["red"],"callback_url":"https://example.com/hooks""#);
    let id = ended(&world, &body).await;
    let answer = act(&world, id, "duplicate", "").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let copy: JobId = answer.body["job_id"].as_str().expect("an id").parse().expect("an id");
    let expected = json!({ "job_id": copy, "status": "pending", "duplicate_of": id });
    assert_eq!(
        (&answer.body, &answer.headers["location"]),
        (&expected, &format!("/jobs/{copy}").parse().expect("fits"))
    );
    while world.deliver().await > 0 {}
    let (original, copied) = (world.job(id).await, world.job(copy).await);
    assert_eq!((copied.duplicate_of, copied.status()), (Some(id), Status::Completed));
    let same =
        |job: &Job| (job.payload.clone(), job.max_attempts, job.timeout, job.tags.clone(), job.callback_url.clone());
    assert_eq!(same(&copied), same(&original));
    assert_eq!(world.get(&format!("/jobs/{copy}")).await.body["duplicate_of"], json!(id));
    assert_eq!(world.get(&format!("/jobs/{id}")).await.body["duplicate_of"], Value::Null);

    let other = act(&world, id, "duplicate", r#"{"payload":{"name":"Bob"}}"#).await;
    let other: JobId = other.body["job_id"].as_str().expect("an id").parse().expect("an id");
    assert_eq!(world.job(other).await.payload.as_str(), r#"{"name":"Bob"}"#);
    for (body, field) in [(r#"{"payload":7}"#, "payload"), (r#"{"paylod":{}}"#, "paylod"), ("[]", "body")] {
        let refused = act(&world, id, "duplicate", body).await;
        assert_eq!((refused.status.as_u16(), &refused.body["field"]), (422, &json!(field)), "{body}");
    }
}

#[tokio::test]
async fn a_copy_under_a_key_is_made_once() {
    let world = World::new();
    let (id, other) = (ended(&world, ALICE).await, ended(&world, ALICE).await);
    let duplicate = async |id: JobId, body: &str| {
        world.post(&format!("/jobs/{id}/duplicate"), &[("idempotency-key", "once")], body.to_owned()).await
    };
    let first = duplicate(id, "").await;
    let again = duplicate(id, r#"{"payload":null}"#).await;
    assert_eq!((&again.body, &again.headers["idempotent-replayed"]), (&first.body, &"true".parse().expect("fits")));
    for (id, body) in [(other, ""), (id, r#"{"payload":{"a":1}}"#)] {
        let refused = duplicate(id, body).await;
        assert_eq!((refused.status.as_u16(), &refused.body["code"]), (422, &json!("idempotency_key_reused")));
    }
}
