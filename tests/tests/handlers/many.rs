//! Many jobs at once: batches of new ones, and cancelling or retrying all that fit a filter.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use shared::job::{State, Status};
use shared::ports::{Clock, JobQueue};
use shared::values::id::JobId;
use tests::world::{Answer, World};

const SECOND: Duration = Duration::from_secs(1);
/// Fails for good at its first attempt, and would succeed at any other.
const FAILING_ONCE: &str = r#"{"type":"rehearsal","payload":{"attempts":["give_up","succeed"]}}"#;

/// A job that differs from those of other numbers, with further fields.
fn csv(number: u32, fields: &str) -> String {
    format!(r#"{{"type":"csv-generation","payload":{{"number":{number}}}{fields}}}"#)
}

async fn batch(world: &World, headers: &[(&str, &str)], jobs: &[String]) -> Answer {
    world.post("/jobs/batch", headers, format!(r#"{{"jobs":[{}]}}"#, jobs.join(","))).await
}

/// The outcomes of a batch that was read.
fn outcomes(answer: &Answer) -> &Vec<Value> {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.body["jobs"].as_array().expect("outcomes")
}

/// The ids in these outcomes; none where there is a problem.
fn ids(answer: &Answer) -> Vec<Option<&str>> {
    outcomes(answer).iter().map(|outcome| outcome["job_id"].as_str()).collect()
}

fn is_replayed(outcome: &Value) -> bool {
    outcome["replayed"] == true
}

async fn waiting(world: &World) -> usize {
    world.queue.waiting().await.expect("memory answers")
}

/// Submits these jobs, one in each second. Gives their ids in the same order.
async fn submit_all(world: &World, bodies: &[String]) -> Vec<JobId> {
    let mut ids = vec![];
    for body in bodies {
        ids.push(world.submit(body).await);
        world.clock.advance(SECOND);
    }
    ids
}

/// Acts on all jobs that fit: `cancel` or `retry`.
async fn bulk(world: &World, verb: &str, body: &Value) -> Value {
    let answer = world.post(&format!("/jobs/{verb}"), &[], body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.body
}

/// The same page after page, until there is no other.
async fn bulk_to_the_end(world: &World, verb: &str, mut body: Value) -> Vec<Value> {
    let mut answers = vec![];
    loop {
        let answer = bulk(world, verb, &body).await;
        body["cursor"] = answer["next_cursor"].clone();
        answers.push(answer);
        if body["cursor"].is_null() {
            return answers;
        }
    }
}

/// How many jobs these answers speak of.
fn sum(answers: &[Value], field: &str) -> u64 {
    answers.iter().map(|answer| answer[field].as_u64().expect("a number")).sum()
}

#[tokio::test]
async fn each_job_of_a_batch_is_taken_or_refused_for_itself_in_their_order() {
    let world = World::new();
    let jobs = [
        csv(0, ""),
        r#"{"type":"nope","payload":{}}"#.to_owned(),
        csv(2, r#","idempotency_key":"a""#),
        csv(2, r#","idempotency_key":"a""#),
        csv(4, r#","idempotency_key":"a""#),
        "5".to_owned(),
        r#"{"type":"csv-generation","payload":{"x":{}}}"#.to_owned(),
        csv(7, r#","tags":["last"]"#),
        csv(8, r#","idempotency_key":"""#),
    ];
    let answer = batch(&world, &[], &jobs).await;
    let outcomes = outcomes(&answer);
    let statuses: Vec<_> = outcomes.iter().filter_map(|outcome| outcome["status"].as_u64()).collect();
    assert_eq!(statuses, [202, 422, 202, 202, 422, 422, 422, 202, 422]);
    assert_eq!([&answer.body["accepted"], &answer.body["rejected"]], [&json!(4), &json!(5)]);
    for (index, field) in
        [(1, "jobs[1].type"), (5, "jobs[5]"), (6, "jobs[6].payload.x"), (8, "jobs[8].idempotency_key")]
    {
        let problem = &outcomes[index]["problem"];
        assert_eq!((&problem["field"], &problem["status"]), (&json!(field), &json!(422)), "{problem}");
    }
    let detail = outcomes[4]["problem"]["detail"].as_str().expect("a sentence");
    assert!(detail.ends_with("was used for another request before"), "{detail}");
    let (replayed, ids): (Vec<_>, Vec<_>) = (outcomes.iter().map(is_replayed).collect(), ids(&answer));
    assert_eq!(replayed, [false, false, false, true, false, false, false, false, false]);
    assert_eq!(ids[2], ids[3], "the same job");

    assert_eq!((world.store.all().len(), waiting(&world).await), (3, 3), "each of the others is stored and announced");
    world.deliver().await;
    for (id, number) in [(ids[0], 0), (ids[2], 2), (ids[7], 7)] {
        let job = world.get(&format!("/jobs/{}", id.expect("accepted"))).await.body;
        assert_eq!((&job["status"], &job["payload"]["number"]), (&json!("completed"), &json!(number)));
    }
}

#[tokio::test]
async fn a_job_whose_own_key_was_used_before_is_named() {
    let world = World::new();
    let jobs = [csv(0, r#","idempotency_key":"a""#), csv(1, r#","idempotency_key":"a""#)];
    let answer = batch(&world, &[], &jobs).await;
    assert_eq!(outcomes(&answer)[1]["problem"]["field"], "jobs[1].idempotency_key");
    let answer = batch(&world, &[], &jobs[1..]).await;
    assert_eq!(outcomes(&answer)[0]["problem"]["field"], "jobs[0].idempotency_key");
}

/// What is sent, with which headers; the status, and the field that the answer names.
type Refused<'a> = (&'a str, &'a [(&'a str, &'a str)], u16, &'a str);

#[tokio::test]
async fn a_batch_that_can_not_be_read_is_refused_as_a_whole() {
    let world = World::new();
    let too_many: Vec<_> = (0..101).map(|number| csv(number, "")).collect();
    let too_many = format!(r#"{{"jobs":[{}]}}"#, too_many.join(","));
    let too_long = format!(r#"{{"jobs":[{}]}}"#, " ".repeat(4 * 1024 * 1024));
    let one = format!(r#"{{"jobs":[{}]}}"#, csv(1, ""));
    let cases: [Refused<'_>; 11] = [
        ("", &[], 400, "body"),
        ("{", &[], 400, "body"),
        (r#"{"jobs":[{]}"#, &[], 400, "body"),
        ("[]", &[], 422, "body"),
        ("{}", &[], 422, "jobs"),
        (r#"{"jobs":{}}"#, &[], 422, "jobs"),
        (r#"{"jobs":[]}"#, &[], 422, "jobs"),
        (r#"{"jobs":[1],"colour":"red"}"#, &[], 422, "colour"),
        (&too_many, &[], 422, "jobs"),
        (&too_long, &[], 413, "body"),
        (&one, &[("idempotency-key", "")], 400, "Idempotency-Key"),
    ];
    for (body, headers, status, field) in cases {
        let answer = world.post("/jobs/batch", headers, body.to_owned()).await;
        let shown: String = body.chars().take(80).collect();
        let found = (answer.status.as_u16(), answer.body["field"].as_str());
        assert_eq!(found, (status, Some(field)), "{shown}: {answer:?}");
    }
    let untyped = Request::post("/jobs/batch").body(Body::from(one)).expect("a request");
    assert_eq!(world.send(untyped).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!((world.store.all().len(), waiting(&world).await), (0, 0));
}

#[tokio::test]
async fn a_hundred_jobs_come_in_one_request() {
    let world = World::new();
    let jobs: Vec<_> = (0..100).map(|number| csv(number, "")).collect();
    let answer = batch(&world, &[], &jobs).await;
    assert_eq!([&answer.body["accepted"], &answer.body["rejected"]], [&json!(100), &json!(0)]);
    while world.deliver().await > 0 {}
    for (id, number) in ids(&answer).into_iter().zip(0..) {
        let job = world.job(id.expect("accepted").parse().expect("an id")).await;
        let payload = format!(r#"{{"number":{number}}}"#);
        assert_eq!((job.status(), job.payload.as_str()), (Status::Completed, payload.as_str()));
    }
}

#[tokio::test]
async fn a_job_that_is_too_long_for_itself_spoils_no_other() {
    let world = World::new();
    let huge = format!(r#"{{"type":"csv-generation","payload":{{"a":"{}"}}}}"#, "x".repeat(256 * 1024));
    let answer = batch(&world, &[], &[csv(0, ""), huge, csv(2, "")]).await;
    let outcomes = outcomes(&answer);
    let statuses: Vec<_> = outcomes.iter().filter_map(|outcome| outcome["status"].as_u64()).collect();
    assert_eq!(statuses, [202, 413, 202]);
    assert_eq!(outcomes[1]["problem"]["field"], "jobs[1]");
    assert_eq!(world.store.all().len(), 2);
}

#[tokio::test]
async fn a_batch_with_a_key_can_be_repeated_and_only_what_is_new_is_announced() {
    let world = World::new();
    let key = [("idempotency-key", "orders")];
    let mut jobs = vec![csv(0, ""), r#"{"type":"nope","payload":{}}"#.to_owned(), csv(2, "")];
    let first = batch(&world, &key, &jobs).await;
    assert!(!outcomes(&first).iter().any(is_replayed));
    world.deliver().await;

    world.clock.advance(SECOND);
    jobs.push(csv(3, r#","idempotency_key":"mine""#));
    jobs.push(csv(4, ""));
    let second = batch(&world, &key, &jobs).await;
    assert_eq!(ids(&second)[..3], ids(&first)[..]);
    let replayed: Vec<_> = outcomes(&second).iter().map(is_replayed).collect();
    assert_eq!(replayed, [true, false, true, false, false]);
    assert_eq!((&second.body["accepted"], outcomes(&second)[1]["status"].as_u64()), (&json!(4), Some(422)));
    assert_eq!(waiting(&world).await, 2, "the two new ones");
    world.deliver().await;
    let jobs = world.store.all();
    assert_eq!(jobs.len(), 4);
    assert!(jobs.iter().all(|job| (job.status(), job.attempts) == (Status::Completed, 1)));
}

#[tokio::test]
async fn the_header_numbers_the_jobs_that_have_no_key_of_their_own() {
    let world = World::new();
    let jobs = [csv(0, ""), csv(1, r#","idempotency_key":"mine""#), csv(2, "")];
    let answer = batch(&world, &[("idempotency-key", "orders")], &jobs).await;
    world.clock.advance(SECOND);
    let bare = csv(1, "");
    for (key, body, id) in [("orders/0", &jobs[0], 0), ("mine", &bare, 1), ("orders/2", &jobs[2], 2)] {
        let alone = world.post("/jobs", &[("idempotency-key", key)], body.clone()).await;
        assert_eq!(alone.headers["idempotent-replayed"], "true", "{key}");
        assert_eq!(alone.body["job_id"].as_str(), ids(&answer)[id], "{key}");
    }
    let other = [csv(0, ""), csv(1, r#","idempotency_key":"mine""#), csv(9, "")];
    let answer = batch(&world, &[("idempotency-key", "orders")], &other).await;
    let outcomes = outcomes(&answer);
    assert!(is_replayed(&outcomes[0]) && is_replayed(&outcomes[1]));
    assert_eq!(outcomes[2]["problem"]["field"], "Idempotency-Key", "another job under the same number");
    assert_eq!(world.store.all().len(), 3);
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let world = World::new();
    let red = r#","tags":["red"]"#;
    submit_all(&world, &[csv(0, red), csv(1, ""), csv(2, red)]).await;
    submit_all(&world, &[FAILING_ONCE.to_owned(), FAILING_ONCE.to_owned(), FAILING_ONCE.to_owned()]).await;
    while world.deliver().await > 0 {}
    submit_all(&world, &[csv(3, red), csv(4, ""), csv(5, red)]).await;
    let before = (world.store.all(), waiting(&world).await);
    for (verb, filter, matched) in [("cancel", json!({ "tag": "red" }), 2), ("retry", json!({ "status": "failed" }), 3)]
    {
        let whole = bulk(&world, verb, &json!({ "filter": filter, "dry_run": true })).await;
        let expected = json!({ "dry_run": true, "matched": matched, "changed": 0, "skipped": 0, "next_cursor": null });
        assert_eq!(whole, expected);
        let by_one = json!({ "filter": filter, "dry_run": true, "limit": 1 });
        assert_eq!(sum(&bulk_to_the_end(&world, verb, by_one).await, "matched"), matched);
    }
    assert_eq!((world.store.all(), waiting(&world).await), before);
}

#[tokio::test]
async fn all_jobs_that_fit_are_cancelled_page_by_page_and_no_other() {
    let world = World::new();
    let red = r#","tags":["red"]"#;
    let done = submit_all(&world, &[csv(0, red)]).await;
    world.deliver().await;
    let wanted = submit_all(&world, &[csv(1, ""), csv(2, "")]).await;
    let reds: Vec<_> = (3..8).map(|number| csv(number, red)).collect();
    let unwanted = submit_all(&world, &reds).await;
    world.claim(unwanted[2]).await;

    let answers = bulk_to_the_end(&world, "cancel", json!({ "filter": { "tag": "red" }, "limit": 2 })).await;
    assert_eq!((answers[0]["matched"].as_u64(), answers[0]["dry_run"].as_bool()), (Some(2), Some(false)));
    assert_eq!(["matched", "changed", "skipped"].map(|field| sum(&answers, field)), [5, 5, 0]);
    for (index, id) in unwanted.into_iter().enumerate() {
        let job = world.get(&format!("/jobs/{id}")).await.body;
        let expected = if index == 2 { ("processing", true) } else { ("cancelled", false) };
        assert_eq!((&job["status"], &job["cancel_requested"]), (&json!(expected.0), &json!(expected.1)));
    }
    for (id, status) in [(done[0], Status::Completed), (wanted[0], Status::Pending), (wanted[1], Status::Pending)] {
        assert_eq!(world.job(id).await.status(), status);
    }

    for (verb, status, possible) in [
        ("cancel", "completed", "pending, processing"),
        ("cancel", "failed", "pending, processing"),
        ("retry", "pending", "failed, cancelled"),
        ("retry", "completed", "failed, cancelled"),
    ] {
        let body = json!({ "filter": { "status": status }, "dry_run": true });
        let refused = world.post(&format!("/jobs/{verb}"), &[], body.to_string()).await;
        assert_eq!(refused.body["detail"], format!("`filter.status` must be one of {possible}"), "{verb} {status}");
    }
}

#[tokio::test]
async fn a_filter_takes_what_fits_in_all_that_it_says() {
    let world = World::new();
    let blue = r#","tags":["blue"]"#;
    let failing = FAILING_ONCE.replace("}}", &format!("}}{blue}}}"));
    // One in each second, from 8 o'clock on.
    submit_all(&world, &[csv(0, r#","tags":["red"]"#), failing, csv(2, blue), csv(3, "")]).await;
    let cases = [
        (json!({ "type": "csv-generation" }), 3),
        (json!({ "tag": "blue" }), 2),
        (json!({ "tag": "blue", "type": "csv-generation" }), 1),
        (json!({ "tag": "green" }), 0),
        (json!({ "status": "pending" }), 4),
        (json!({ "status": "processing" }), 0),
        (json!({ "created_after": "2027-01-15T08:00:01Z" }), 2),
        (json!({ "created_before": "2027-01-15T08:00:01Z" }), 1),
        (json!({ "created_after": "2027-01-15T08:00:00Z", "created_before": "2027-01-15T09:00:03+01:00" }), 2),
        (json!({ "created_before": "2027-01-15T08:00:02Z", "type": "rehearsal" }), 1),
    ];
    for (filter, matched) in cases {
        for limit in [1, 100] {
            let body = json!({ "filter": filter, "dry_run": true, "limit": limit });
            assert_eq!(sum(&bulk_to_the_end(&world, "cancel", body).await, "matched"), matched, "{filter}");
        }
    }
}

#[tokio::test]
async fn a_cursor_from_elsewhere_does_not_lead_beyond_what_the_filter_says() {
    let world = World::new();
    let ids = submit_all(&world, &[csv(0, ""), csv(1, ""), csv(2, "")]).await;
    let page = world.get("/jobs?limit=1").await;
    let body = json!({
        "filter": { "created_before": "2027-01-15T08:00:01Z" },
        "cursor": page.body["next_cursor"],
    });
    assert_eq!(bulk(&world, "cancel", &body).await["changed"], 1);
    let statuses = [world.job(ids[0]).await.status(), world.job(ids[1]).await.status()];
    assert_eq!(statuses, [Status::Cancelled, Status::Pending]);
}

#[tokio::test]
async fn all_failed_jobs_that_fit_are_tried_again_page_by_page_and_no_other() {
    let world = World::new();
    let tagged = FAILING_ONCE.replace("}}", r#"},"tags":["red"]}"#);
    let failed = submit_all(&world, &[tagged.clone(), tagged.clone(), tagged.clone(), tagged]).await;
    let others = submit_all(&world, &[FAILING_ONCE.to_owned(), csv(0, r#","tags":["red"]"#)]).await;
    while world.deliver().await > 0 {}
    let answers = bulk_to_the_end(&world, "retry", json!({ "filter": { "tag": "red" }, "limit": 3 })).await;
    assert_eq!(["matched", "changed", "skipped"].map(|field| sum(&answers, field)), [4, 4, 0]);
    assert_eq!(waiting(&world).await, 4, "each is announced");
    let list = world.get("/jobs?status=failed").await.body;
    assert_eq!(list["jobs"].as_array().map(Vec::len), Some(1));
    assert_eq!(list["jobs"][0]["job_id"], json!(others[0]));

    while world.deliver().await > 0 {}
    for id in failed {
        let job = world.job(id).await;
        assert_eq!((job.status(), job.attempts, job.max_attempts), (Status::Completed, 2, 4));
    }
    assert_eq!(world.job(others[1]).await.attempts, 1);
}

#[tokio::test]
async fn cancelled_jobs_are_tried_again_if_the_filter_says_so() {
    let world = World::new();
    let id = submit_all(&world, &[csv(0, r#","tags":["red"]"#)]).await[0];
    bulk(&world, "cancel", &json!({ "filter": { "tag": "red" } })).await;
    assert_eq!(bulk(&world, "retry", &json!({ "filter": { "tag": "red" } })).await["matched"], 0);
    assert_eq!(bulk(&world, "retry", &json!({ "filter": { "status": "cancelled" } })).await["changed"], 1);
    while world.deliver().await > 0 {}
    assert_eq!(world.job(id).await.status(), Status::Completed);
}

#[tokio::test]
async fn so_many_start_in_a_second_as_were_asked_for() {
    let world = World::new();
    let failed = submit_all(&world, &[FAILING_ONCE.to_owned(), FAILING_ONCE.to_owned(), FAILING_ONCE.to_owned()]).await;
    while world.deliver().await > 0 {}
    let now = world.clock.now();
    let body = json!({ "filter": { "type": "rehearsal" }, "per_second": 2 });
    assert_eq!(bulk(&world, "retry", &body).await["changed"], 3);
    let mut starts = vec![];
    for id in &failed {
        match world.job(*id).await.state {
            State::Pending { not_before, .. } => starts.push(not_before.since(now).as_millis()),
            other => panic!("{other:?}"),
        }
    }
    starts.sort_unstable();
    assert_eq!(starts, [0, 500, 1000]);
    assert_eq!(world.deliver().await, 1, "the others wait for their time");
    world.pass(SECOND).await;
    for id in failed {
        assert_eq!(world.job(id).await.status(), Status::Completed);
    }
}

#[tokio::test]
async fn an_act_on_many_that_does_not_fit_is_refused_by_name_and_changes_nothing() {
    let world = World::new();
    world.submit(FAILING_ONCE).await;
    while world.deliver().await > 0 {}
    world.submit(&csv(0, "")).await;
    let before = world.store.all();
    let both = [
        ("", 400, "body"),
        ("{}", 422, "filter"),
        (r#"{"filter":{}}"#, 422, "filter"),
        (r#"{"filter":{"colour":"red"}}"#, 422, "filter.colour"),
        (r#"{"filter":{"status":"done"}}"#, 422, "filter.status"),
        (r#"{"filter":{"created_after":"soon"}}"#, 422, "filter.created_after"),
        (r#"{"filter":{"created_before":"soon"}}"#, 422, "filter.created_before"),
        (r#"{"filter":{"tag":"a"},"limit":0}"#, 422, "limit"),
        (r#"{"filter":{"tag":"a"},"limit":101}"#, 422, "limit"),
        (r#"{"filter":{"tag":"a"},"cursor":"00"}"#, 422, "cursor"),
        (r#"{"filter":{"tag":"a"},"colour":"red"}"#, 422, "colour"),
    ];
    let cancel = [(r#"{"filter":{"status":"pending"},"per_second":1}"#, 422, "per_second")];
    let retry = [
        (r#"{"filter":{"status":"failed"},"per_second":0}"#, 422, "per_second"),
        (r#"{"filter":{"status":"failed"},"per_second":1001}"#, 422, "per_second"),
        (r#"{"filter":{"status":"pending"}}"#, 422, "filter.status"),
        (r#"{"filter":{"status":"processing"}}"#, 422, "filter.status"),
        (r#"{"filter":{"status":"completed"}}"#, 422, "filter.status"),
    ];
    let cancel = both.iter().chain(&cancel).map(|case| ("cancel", case));
    let retry = both.iter().chain(&retry).map(|case| ("retry", case));
    for (verb, (body, status, field)) in cancel.chain(retry) {
        let answer = world.post(&format!("/jobs/{verb}"), &[], *body).await;
        let found = (answer.status.as_u16(), answer.body["field"].as_str());
        assert_eq!(found, (*status, Some(*field)), "{verb} {body}: {answer:?}");
    }
    assert_eq!(world.store.all(), before);
}
