//! Looking at jobs: lists of them, one and its end, its history, and why it is where it is.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use shared::job::transition::Change;
use shared::ports::{Clock, JobStore};
use shared::values::id::JobId;
use shared::values::json::Json;
use tests::world::{Answer, World};
use tokio::time::Instant;
use worker::Isolation;

const ALICE: &str = r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#;
const FAILING: &str = r#"{"type":"rehearsal","payload":{"attempts":["give_up"]}}"#;
const SECOND: Duration = Duration::from_secs(1);

/// ALICE, with further fields.
fn alice(fields: &str) -> String {
    ALICE.replace("}}", &format!("}},{fields}}}"))
}

/// A world whose jobs know no other time than the test, which passes only while everything waits.
fn world_in_its_own_time() -> World {
    let mut world = World::new();
    Arc::get_mut(&mut world.worker).expect("nobody else has it").isolation = Isolation::Task;
    world
}

/// Submits these jobs, one in each second. Gives their ids in the same order.
async fn submit_all<const N: usize>(world: &World, bodies: [&str; N]) -> [JobId; N] {
    let mut ids = vec![];
    for body in bodies {
        ids.push(world.submit(body).await);
        world.clock.advance(SECOND);
    }
    ids.try_into().expect("one for each")
}

/// The ids of a list, as they stand there.
fn ids(list: &Answer) -> Vec<JobId> {
    assert_eq!(list.status, StatusCode::OK, "{list:?}");
    let jobs = list.body["jobs"].as_array().expect("a list").iter();
    jobs.map(|job| job["job_id"].as_str().expect("an id").parse().expect("an id")).collect()
}

async fn why(world: &World, id: JobId) -> Value {
    let answer = world.get(&format!("/jobs/{id}/why")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.body
}

/// What is said beside the sentence: the reason, until when, and how many messages wait.
fn gist(why: &Value) -> (&str, Option<&str>, Option<u64>) {
    (why["reason"].as_str().expect("a reason"), why["until"].as_str(), why["waiting_messages"].as_u64())
}

#[tokio::test]
async fn a_list_tells_of_each_job_what_the_job_itself_tells_newest_first() {
    let world = World::new();
    let bodies = [ALICE, FAILING, &alice(r#""tags":["red","blue"],"delay_seconds":600"#)];
    let submitted = submit_all(&world, bodies).await;
    while world.deliver().await > 0 {}
    let list = world.get("/jobs").await;
    assert_eq!(ids(&list), [submitted[2], submitted[1], submitted[0]]);
    assert_eq!(list.body["next_cursor"], Value::Null);
    for job in list.body["jobs"].as_array().expect("a list") {
        let whole = world.get(&format!("/jobs/{}", job["job_id"].as_str().expect("an id"))).await.body;
        for (field, value) in job.as_object().expect("an object") {
            assert_eq!(value, &whole[field], "{field}");
        }
        for needed in ["type", "status", "attempts", "max_attempts", "error", "created_at", "run_at", "tags"] {
            assert!(job.get(needed).is_some(), "{needed}");
        }
        for large in ["payload", "result", "history"] {
            assert!(job.get(large).is_none(), "{large} may be large");
        }
    }
    let failed = &list.body["jobs"][1];
    assert_eq!((&failed["status"], &failed["error"]), (&json!("failed"), &json!("told to give up")));
}

#[tokio::test]
#[expect(clippy::many_single_char_names, reason = "six jobs, in this order")]
async fn a_list_can_be_narrowed_by_status_type_and_tag() {
    let world = World::new();
    let failing = FAILING.replace("}}", r#"},"tags":["red"]}"#);
    let (red, both) = (alice(r#""tags":["red"]"#), alice(r#""tags":["blue","red","a+b"]"#));
    let [a, b, c] = submit_all(&world, [&red, &failing, &both]).await;
    while world.deliver().await > 0 {}
    let [d, e, f] = submit_all(&world, [ALICE, ALICE, FAILING]).await;
    world.post(&format!("/jobs/{e}/cancel"), &[], "").await;
    world.claim(f).await;
    let cases: [(&str, &[JobId]); 21] = [
        ("", &[f, e, d, c, b, a]),
        ("?status=completed", &[c, a]),
        ("?status=failed", &[b]),
        ("?status=pending", &[d]),
        ("?status=processing", &[f]),
        ("?status=cancelled", &[e]),
        ("?type=rehearsal", &[f, b]),
        ("?type=csv-generation", &[e, d, c, a]),
        ("?tag=red", &[c, b, a]),
        ("?tag=blue", &[c]),
        ("?tag=a%2Bb", &[c]),
        ("?tag=red&type=csv-generation&status=completed", &[c, a]),
        ("?tag=red&status=failed", &[b]),
        ("?tag=re", &[]),
        ("?status=failed,cancelled", &[e, b]),
        ("?status=failed,failed", &[b]),
        ("?status=pending,processing&type=rehearsal", &[f]),
        ("?created_after=2027-01-15T08:00:01Z", &[f, e, d, c]),
        ("?created_before=2027-01-15T08:00:01Z", &[a]),
        ("?created_after=2027-01-15T08:00:00Z&created_before=2027-01-15T09:00:02%2B01:00", &[b]),
        ("?created_after=2027-01-15T08:00:00Z&status=failed", &[b]),
    ];
    for (query, expected) in cases {
        let list = world.get(&format!("/jobs{query}")).await;
        assert_eq!(ids(&list), expected, "{query}");
        assert_eq!(list.body["next_cursor"], Value::Null, "{query}");
    }
}

#[tokio::test]
async fn a_list_takes_the_same_names_for_a_type_as_a_submission() {
    let world = World::new();
    let payload = r#"{"to":"ada@example.com","subject":"Hello","body":"Dear Ada"}"#;
    let id = world.submit(&format!(r#"{{"type":"EMAIL_SEND","payload":{payload}}}"#)).await;
    for name in ["email-send", "EMAIL_SEND"] {
        assert_eq!(ids(&world.get(&format!("/jobs?type={name}")).await), [id], "{name}");
    }
}

#[tokio::test]
async fn failures_are_listed_apart_from_all_that_went_well() {
    let world = World::new();
    let mut failures = vec![];
    for number in 0..30 {
        let [_, failed] = submit_all(&world, [ALICE, if number % 10 == 0 { FAILING } else { ALICE }]).await;
        if number % 10 == 0 {
            failures.push(failed);
        }
    }
    while world.deliver().await > 0 {}
    failures.reverse();
    assert_eq!(ids(&world.get("/jobs?status=failed").await), failures);
    assert_eq!(ids(&world.get("/jobs?status=failed&limit=2").await), failures[..2]);
    assert_eq!(ids(&world.get("/jobs").await).len(), 20, "unless asked for another number");
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition_while_new_jobs_arrive() {
    let world = World::new();
    let mut expected = submit_all(&world, [ALICE; 7]).await.to_vec();
    expected.reverse();
    let (mut found, mut path) = (vec![], "/jobs?limit=3".to_owned());
    loop {
        let page = world.get(&path).await;
        assert!(ids(&page).len() <= 3);
        found.extend(ids(&page));
        submit_all(&world, [ALICE; 2]).await;
        if path.contains("cursor") {
            assert_eq!(world.get(&path).await.body, page.body, "a cursor always leads to the same place");
        }
        let Some(cursor) = page.body["next_cursor"].as_str() else { break };
        path = format!("/jobs?limit=3&cursor={cursor}");
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn pages_hold_what_a_filter_wants_however_rare_it_is() {
    let world = World::new();
    let rare = alice(r#""tags":["rare"]"#);
    let mut expected = vec![];
    for _ in 0..3 {
        let [id, ..] = submit_all(&world, [&rare, ALICE, ALICE, ALICE, ALICE]).await;
        expected.insert(0, id);
    }
    let (mut found, mut path) = (vec![], "/jobs?tag=rare&limit=2".to_owned());
    loop {
        let page = world.get(&path).await;
        found.extend(ids(&page));
        let Some(cursor) = page.body["next_cursor"].as_str() else { break };
        path = format!("/jobs?tag=rare&limit=2&cursor={cursor}");
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_parameter_that_does_not_fit_is_named() {
    let world = World::new();
    let id = world.submit(ALICE).await;
    let (job, events) = (format!("/jobs/{id}"), format!("/jobs/{id}/events"));
    let cases: [(&str, &str, &str); 18] = [
        ("/jobs", "limit=0", "limit"),
        ("/jobs", "limit=101", "limit"),
        ("/jobs", "limit=many", "limit"),
        ("/jobs", "limit=1&limit=2", "limit"),
        ("/jobs", "status=done", "status"),
        ("/jobs", "status=", "status"),
        ("/jobs", "cursor=", "cursor"),
        ("/jobs", "cursor=%23", "cursor"),
        ("/jobs", "cursor=00", "cursor"),
        ("/jobs", "colour=red", "colour"),
        (&job, "wait=-1", "wait"),
        (&job, "wait=21", "wait"),
        (&job, "wait=soon", "wait"),
        (&job, "wait=1&wait=1", "wait"),
        (&job, "limit=1", "limit"),
        (&events, "at=soon", "at"),
        (&events, "at=2027-01-15", "at"),
        (&events, "wait=1", "wait"),
    ];
    for (path, query, field) in cases {
        let answer = world.get(&format!("{path}?{query}")).await;
        let found = (answer.status.as_u16(), answer.body["field"].as_str());
        assert_eq!(found, (422, Some(field)), "{path}?{query}: {answer:?}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{path}?{query}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_is_no_id_is_said_to_be_none() {
    let world = World::new();
    let unknown = JobId::at(world.clock.now(), [7; 10]);
    for route in ["", "/events", "/why", "?wait=20"] {
        let answer = world.get(&format!("/jobs/{unknown}{route}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{route}: {answer:?}");
        assert_eq!(answer.body["detail"], "there is no job with this id", "{route}");
        let answer = world.get(&format!("/jobs/42{route}")).await;
        let found = (answer.status.as_u16(), answer.body["field"].as_str());
        assert_eq!(found, (400, Some("job_id")), "{route}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_job_that_has_ended_is_answered_at_once() {
    let world = world_in_its_own_time();
    let cancelled = world.submit(ALICE).await;
    world.post(&format!("/jobs/{cancelled}/cancel"), &[], "").await;
    let (completed, failed) = (world.submit(ALICE).await, world.submit(FAILING).await);
    while world.deliver().await > 0 {}
    for (id, status) in [(completed, "completed"), (failed, "failed"), (cancelled, "cancelled")] {
        let began = Instant::now();
        let answer = world.get(&format!("/jobs/{id}?wait=20")).await;
        assert_eq!((answer.body["status"].as_str(), began.elapsed()), (Some(status), Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_job_that_does_not_end_is_answered_after_the_time() {
    let world = world_in_its_own_time();
    let id = world.submit(ALICE).await;
    for seconds in [0, 1, 20] {
        let began = Instant::now();
        let answer = world.get(&format!("/jobs/{id}?wait={seconds}")).await;
        assert_eq!((answer.status, answer.body["status"].as_str()), (StatusCode::OK, Some("pending")));
        let (waited, time) = (began.elapsed(), SECOND * seconds);
        assert!(waited >= time && waited < time + Duration::from_millis(100), "{waited:?}, not {time:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_answered_within_a_second_of_the_jobs_end() {
    for takes in [SECOND / 10, SECOND * 3, SECOND * 19] {
        let world = world_in_its_own_time();
        let id = world.submit(ALICE).await;
        let began = Instant::now();
        let (path, worker) = (format!("/jobs/{id}?wait=20"), async {
            tokio::time::sleep(takes).await;
            world.deliver().await
        });
        let (answer, delivered) = tokio::join!(world.get(&path), worker);
        assert_eq!((delivered, answer.body["status"].as_str()), (1, Some("completed")));
        let waited = began.elapsed();
        assert!(waited >= takes && waited <= takes + SECOND, "{waited:?}, not {takes:?}");
    }
}

/// A job with a story: accepted at 8 o'clock, started 5 s later by a worker that dies, started again at 75 s, failed at
/// once, and completed by its third attempt.
async fn eventful(world: &World) -> JobId {
    let id = world.submit(r#"{"type":"rehearsal","payload":{"attempts":["succeed","fail","succeed"]}}"#).await;
    world.clock.advance(SECOND * 5);
    world.queue.receive().expect("a message, which dies with its worker");
    world.claim(id).await;
    world.clock.advance(SECOND * 70);
    world.sweep().await;
    world.pass(SECOND * 30).await;
    id
}

#[tokio::test]
async fn a_history_tells_what_happened_in_which_attempt_and_when() {
    let world = World::new();
    let id = eventful(&world).await;
    let answer = world.get(&format!("/jobs/{id}/events")).await;
    let whole = world.get(&format!("/jobs/{id}")).await.body;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body, json!({ "job_id": id, "events": whole["history"] }));
    let (second, end) = ("2027-01-15T08:01:15.000Z", &whole["finished_at"]);
    let run_at = &answer.body["events"][3]["run_at"];
    let expected = json!([
        { "event": "accepted", "at": "2027-01-15T08:00:00.000Z" },
        { "event": "started", "at": "2027-01-15T08:00:05.000Z", "attempt": 1 },
        { "event": "started", "at": second, "attempt": 2 },
        { "event": "retrying", "at": second, "attempt": 2, "error": "told to fail", "run_at": run_at },
        { "event": "started", "at": end, "attempt": 3 },
        { "event": "completed", "at": end, "attempt": 3 },
    ]);
    assert_eq!(answer.body["events"], expected);
    assert!(run_at.as_str() > Some(second) && run_at.as_str() <= end.as_str(), "{run_at}");
}

#[tokio::test]
async fn a_job_can_be_seen_as_it_was_at_any_time() {
    let world = World::new();
    let id = eventful(&world).await;
    let whole = world.get(&format!("/jobs/{id}")).await.body;
    let then = |at: &str| format!("/jobs/{id}/events?at={}", at.replace('+', "%2B"));
    let ended = whole["finished_at"].as_str().expect("it has ended");
    let cases = [
        ("2027-01-15T08:00:00Z", "pending", 0, 1),
        ("2027-01-15T08:00:04.999Z", "pending", 0, 1),
        ("2027-01-15T08:00:05Z", "processing", 1, 2),
        ("2027-01-15T09:00:05+01:00", "processing", 1, 2),
        ("2027-01-15T08:01:14.999Z", "processing", 1, 2),
        ("2027-01-15T08:01:15Z", "pending", 2, 4),
        (ended, "completed", 3, 6),
        ("2099-01-01T00:00:00Z", "completed", 3, 6),
    ];
    for (at, status, attempts, events) in cases {
        let body = world.get(&then(at)).await.body;
        let found = (body["status"].as_str(), body["attempts"].as_u64(), body["events"].as_array().map(Vec::len));
        assert_eq!(found, (Some(status), Some(attempts), Some(events)), "{at}: {body}");
    }

    let running = json!({
        "job_id": id,
        "at": "2027-01-15T08:00:06.000Z",
        "status": "processing",
        "attempts": 1,
        "created_at": "2027-01-15T08:00:00.000Z",
        "updated_at": "2027-01-15T08:00:05.000Z",
        "started_at": "2027-01-15T08:00:05.000Z",
        "finished_at": null,
        "error": null,
        "events": [
            { "event": "accepted", "at": "2027-01-15T08:00:00.000Z" },
            { "event": "started", "at": "2027-01-15T08:00:05.000Z", "attempt": 1 },
        ],
    });
    assert_eq!(world.get(&then("2027-01-15T08:00:06Z")).await.body, running);
    assert_eq!(world.get(&then("2027-01-15T08:01:15Z")).await.body["error"], "told to fail");

    let now = world.get(&then(ended)).await.body;
    for field in ["status", "attempts", "error", "created_at", "updated_at", "started_at", "finished_at"] {
        assert_eq!(now[field], whole[field], "{field}");
    }
    assert_eq!(now["events"], whole["history"]);
}

#[tokio::test]
async fn before_it_was_accepted_a_job_was_not_there() {
    let world = World::new();
    let id = world.submit(ALICE).await;
    let answer = world.get(&format!("/jobs/{id}/events?at=2027-01-15T07:59:59.999Z")).await;
    assert_eq!(
        (answer.status, &answer.body["detail"]),
        (StatusCode::NOT_FOUND, &json!("there is no job with this id"))
    );
}

#[tokio::test]
async fn a_job_waits_for_a_worker_or_for_its_time() {
    let world = World::new();
    let ready = world.submit(ALICE).await;
    let expected = json!({
        "job_id": ready,
        "status": "pending",
        "reason": "queued",
        "detail": "it is ready, and starts as soon as a worker is free",
        "waiting_messages": 1,
    });
    assert_eq!(why(&world, ready).await, expected);

    let later = world.submit(&alice(r#""delay_seconds":60"#)).await;
    let told = why(&world, later).await;
    assert_eq!(gist(&told), ("delayed", Some("2027-01-15T08:01:00.000Z"), None), "{told}");
    world.clock.advance(SECOND * 60);
    let told = why(&world, later).await;
    assert_eq!(gist(&told), ("queued", None, Some(2)), "when its time has come: {told}");
}

#[tokio::test]
async fn a_job_waits_for_its_next_attempt() {
    let world = World::new();
    let id = world.submit(r#"{"type":"rehearsal","payload":{"attempts":["fail"]}}"#).await;
    world.deliver().await;
    let told = why(&world, id).await;
    let job = world.get(&format!("/jobs/{id}")).await.body;
    assert_eq!(gist(&told), ("backoff", job["run_at"].as_str(), None), "{told}");
    assert_eq!(told["detail"], "attempt 1 of 3 failed (told to fail); the next comes then");
}

#[tokio::test]
async fn a_job_runs_or_its_worker_has_died() {
    let world = World::new();
    let id = world.submit(ALICE).await;
    world.claim(id).await;
    let told = why(&world, id).await;
    let lease_until = "2027-01-15T08:00:35.000Z"; // the timeout, 30 s, and the margin, 5 s
    assert_eq!(gist(&told), ("running", Some(lease_until), None), "{told}");
    assert!(told["detail"].as_str().expect("a sentence").starts_with("attempt 1 of 3 is running"), "{told}");
    assert_eq!(told["status"], "processing");

    world.clock.advance(SECOND * 36);
    let told = why(&world, id).await;
    assert_eq!(gist(&told), ("worker_died", None, None), "{told}");
    assert!(told["detail"].as_str().expect("a sentence").starts_with("attempt 1 of 3 left no word"), "{told}");
}

#[tokio::test]
async fn a_job_that_has_made_way_waits_to_go_on() {
    let world = World::new();
    let id = world.submit(ALICE).await;
    let fence = world.claim(id).await;
    let checkpoint = Json::of(&7).expect("a number");
    let made_way = Change::Yield { now: world.clock.now(), fence, checkpoint };
    world.store.change_if_allowed(id, &made_way).await.expect("memory answers");
    let told = why(&world, id).await;
    assert_eq!(gist(&told), ("continuing", None, Some(1)), "{told}");
    assert_eq!(told["detail"], "attempt 1 of 3 goes on as soon as a worker is free");
}

#[tokio::test]
async fn a_job_that_has_expired_waits_for_somebody_to_notice() {
    let world = World::new();
    let id = world.submit(&alice(r#""expires_at":"2027-01-15T08:00:10Z""#)).await;
    world.clock.advance(SECOND * 9);
    assert_eq!(gist(&why(&world, id).await).0, "queued");
    world.clock.advance(SECOND);
    let told = why(&world, id).await;
    assert_eq!((gist(&told), told["status"].as_str()), (("expired", None, None), Some("pending")), "{told}");
}

#[tokio::test]
async fn a_pause_is_why_no_waiting_job_starts_but_not_why_others_are_where_they_are() {
    let world = World::new();
    let ended = world.submit(ALICE).await;
    world.deliver().await;
    let running = world.submit(ALICE).await;
    world.claim(running).await;
    let (ready, later) = (world.submit(ALICE).await, world.submit(&alice(r#""delay_seconds":60"#)).await);
    world.post("/queue/pause", &[], "").await;
    for (id, reason) in [(ready, "paused"), (later, "paused"), (running, "running"), (ended, "ended")] {
        let told = why(&world, id).await;
        assert_eq!(gist(&told).0, reason, "{told}");
    }
    let told = why(&world, ready).await;
    assert_eq!((gist(&told), told["status"].as_str()), (("paused", None, None), Some("pending")), "{told}");
    world.post("/queue/resume", &[], "").await;
    assert_eq!(gist(&why(&world, ready).await).0, "queued");
}

#[tokio::test]
async fn a_job_that_has_ended_says_how() {
    let world = World::new();
    let cancelled = world.submit(ALICE).await;
    world.post(&format!("/jobs/{cancelled}/cancel"), &[], "").await;
    let (completed, failed) = (world.submit(ALICE).await, world.submit(FAILING).await);
    while world.deliver().await > 0 {}
    let cases = [
        (completed, "completed", "it is completed"),
        (failed, "failed", "it is failed: told to give up"),
        (cancelled, "cancelled", "it is cancelled"),
    ];
    for (id, status, detail) in cases {
        let expected = json!({ "job_id": id, "status": status, "reason": "ended", "detail": detail });
        assert_eq!(why(&world, id).await, expected);
    }
}
