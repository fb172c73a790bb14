//! Schedules: what the API takes of them, and that each of their runs makes one job, in time.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use shared::job::event::Event;
use shared::job::{Job, Status};
use shared::ports::{Clock, JobQueue};
use shared::schedule::store::{Decision, ScheduleStore, announcement, decide, make_jobs};
use shared::schedule::{Schedule, ScheduleKey, ScheduleName, State};
use shared::values::id::Tenant;
use shared::values::time::Timestamp;
use tests::world::{Answer, World};

const JOB: &str = r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_hours(1);

fn body(cron: &str) -> String {
    with_overlap(cron, "allow")
}

fn with_overlap(cron: &str, overlap: &str) -> String {
    format!(r#"{{"cron":"{cron}","overlap":"{overlap}","job":{JOB}}}"#)
}

async fn put(world: &World, name: &str, body: &str) -> Answer {
    let request = Request::put(format!("/schedules/{name}")).header("content-type", "application/json");
    world.send(request.body(Body::from(body.to_owned())).expect("a request")).await
}

async fn delete(world: &World, name: &str) -> Answer {
    world.send(Request::delete(format!("/schedules/{name}")).body(Body::empty()).expect("a request")).await
}

/// Makes a schedule that must be taken. It is 8 o'clock on Friday, 15 January 2027, in UTC.
async fn schedule(world: &World, name: &str, cron: &str) {
    schedule_with_overlap(world, name, cron, "allow").await;
}

async fn schedule_with_overlap(world: &World, name: &str, cron: &str, overlap: &str) {
    let answer = put(world, name, &with_overlap(cron, overlap)).await;
    assert_eq!((answer.status, &answer.body["overlap"]), (StatusCode::CREATED, &json!(overlap)), "{answer:?}");
}

fn key(name: &str) -> ScheduleKey {
    ScheduleKey { tenant: Tenant::only(), name: ScheduleName::parse(name).expect("a name") }
}

async fn stored(world: &World, name: &str) -> Schedule {
    world.schedules.find(&key(name)).await.expect("memory answers").expect("it is there")
}

/// When each job was to run, earliest first; they were all made of schedules.
fn runs(world: &World) -> Vec<Timestamp> {
    let mut runs: Vec<_> = world.store.all().iter().map(run).collect();
    runs.sort();
    runs
}

fn run(job: &Job) -> Timestamp {
    match job.history.first() {
        Some(Event::Accepted { at, not_before }) => not_before.unwrap_or(*at),
        other => panic!("a history begins with its acceptance, not with {other:?}"),
    }
}

#[tokio::test]
async fn a_schedule_is_stored_and_says_when_it_will_run() {
    let world = World::new();
    let body = format!(r#"{{"cron":"30  9 * * MON-FRI","time_zone":"europe/berlin","job":{JOB}}}"#);
    let made = put(&world, "weekdays", &body).await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert_eq!(made.headers["location"], "/schedules/weekdays");
    let expected = json!({
        "name": "weekdays",
        "cron": "30 9 * * MON-FRI",
        "time_zone": "Europe/Berlin",
        "job": serde_json::from_str::<Value>(JOB).expect("JSON"),
        "overlap": "allow",
        "paused": false,
        "next_runs": [
            "2027-01-15T08:30:00.000Z",
            "2027-01-18T08:30:00.000Z",
            "2027-01-19T08:30:00.000Z",
            "2027-01-20T08:30:00.000Z",
            "2027-01-21T08:30:00.000Z",
        ],
        "created_at": "2027-01-15T08:00:00.000Z",
        "updated_at": "2027-01-15T08:00:00.000Z",
    });
    assert_eq!(made.body, expected);
    assert_eq!(world.get("/schedules/weekdays").await.body, expected);

    world.clock.advance(MINUTE);
    let again = put(&world, "weekdays", &body).await;
    assert_eq!((again.status, &again.body), (StatusCode::OK, &expected), "the same again changes nothing");
    let other = put(&world, "weekdays", &body.replace("30  9", "0 10")).await;
    assert_eq!(other.status, StatusCode::OK);
    assert_eq!(other.body["next_runs"][0], "2027-01-15T09:00:00.000Z");
    assert_eq!(other.body["updated_at"], "2027-01-15T08:01:00.000Z");
    assert_eq!(world.store.all(), [], "none of its runs is near");
}

#[tokio::test]
async fn bad_input_is_refused_by_name_and_nothing_is_stored() {
    let world = World::new();
    let with_zone = |zone: &str| format!(r#"{{"cron":"* * * * *","time_zone":"{zone}","job":{JOB}}}"#);
    let with_job = |job: &str| format!(r#"{{"cron":"* * * * *","job":{job}}}"#);
    let cases = [
        ("a", "{".to_owned(), 400, "body"),
        ("a", "[]".to_owned(), 422, "body"),
        ("a", "{}".to_owned(), 422, "cron"),
        ("a", r#"{"cron":"* * * * *"}"#.to_owned(), 422, "job"),
        ("a", body("0 * * * * *"), 422, "cron"),
        ("a", body("61 * * * *"), 422, "cron"),
        ("a", body("0 0 31 2 *"), 422, "cron"),
        ("a", body("*/90 * * * *"), 422, "cron"),
        ("a", body("@reboot"), 422, "cron"),
        ("a", with_overlap("* * * * *", "queue"), 422, "overlap"),
        ("a", with_zone("Mars/Olympus"), 422, "time_zone"),
        ("a", with_job("[]"), 422, "job"),
        ("a", with_job("{}"), 422, "job.type"),
        ("a", with_job(r#"{"type":"csv-generation","payload":{"a":{}}}"#), 422, "job.payload.a"),
        ("a", with_job(&JOB.replace("}}", r#"},"max_attempts":11}"#)), 422, "job.max_attempts"),
        ("a", with_job(&JOB.replace("}}", r#"},"delay_seconds":1}"#)), 422, "job.delay_seconds"),
        ("A", body("* * * * *"), 400, "name"),
        ("-a", body("* * * * *"), 400, "name"),
        ("a%20b", body("* * * * *"), 400, "name"),
        ("%FF", body("* * * * *"), 400, "name"),
    ];
    for (name, body, status, field) in cases {
        let answer = put(&world, name, &body).await;
        let found = (answer.status.as_u16(), answer.body["field"].as_str());
        assert_eq!(found, (status, Some(field)), "{name} {body}: {answer:?}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{name} {body}");
    }
    assert_eq!(world.get("/schedules").await.body, json!({ "schedules": [], "next_cursor": null }));
    assert_eq!(world.store.all(), []);
}

#[tokio::test]
async fn each_run_makes_one_job_and_starts_it_in_its_second() {
    let world = World::new();
    let start = world.clock.now();
    schedule(&world, "often", "* * * * *").await;
    schedule(&world, "each-five", "*/5 * * * *").await;
    world.pass(HOUR + SECOND * 5).await;

    let minutes = (1..=60).map(|minute| start + MINUTE * minute);
    let fives = (1..=12).map(|five| start + MINUTE * 5 * five);
    let mut expected: Vec<_> = minutes.chain(fives).collect();
    expected.sort();
    let jobs = world.store.all();
    let (ended, ahead): (Vec<_>, Vec<_>) = jobs.iter().partition(|job| job.status() == Status::Completed);
    let mut found: Vec<_> = ended.iter().map(|job| run(job)).collect();
    found.sort();
    assert_eq!(found, expected);
    assert!(ahead.iter().all(|job| run(job) > start + HOUR), "made ahead of their time, and waiting for it");
    for job in ended {
        let late = job.started_at.expect("started").since(run(job));
        assert!(late <= SECOND * 2 && job.started_at >= Some(run(job)), "{late:?} late");
        assert!(job.correlation_id.ends_with(&format!("/{}", run(job))), "{}", job.correlation_id);
    }
}

#[tokio::test]
async fn a_run_that_is_near_when_its_schedule_is_made_does_not_wait_for_the_sweeper() {
    let world = World::new();
    let start = world.clock.now();
    world.clock.advance(SECOND * 50);
    schedule(&world, "often", "* * * * *").await;
    assert_eq!(runs(&world), [start + MINUTE, start + MINUTE * 2]);
    world.clock.advance(SECOND * 10);
    assert_eq!(world.deliver().await, 1, "the first one's message arrives at its second");
    let shown = world.get("/schedules/often").await.body;
    assert_eq!(shown["last_run"]["at"], "2027-01-15T08:02:00.000Z");
    let job = world.get(&format!("/jobs/{}", shown["last_run"]["job_id"].as_str().expect("an id"))).await;
    assert_eq!(job.body["status"], "pending");
}

#[tokio::test]
async fn however_many_sweepers_run_they_make_the_same_jobs() {
    for overlap in ["allow", "skip"] {
        let world = World::new();
        let start = world.clock.now();
        schedule_with_overlap(&world, "often", "*/2 * * * *", overlap).await;
        for _ in 0..10 {
            world.clock.advance(MINUTE);
            tokio::join!(world.sweep(), world.sweep(), world.sweep());
            world.sweep().await;
            while world.deliver().await > 0 {}
        }
        let expected: Vec<_> = (1..=5).map(|run| start + MINUTE * 2 * run).collect();
        assert_eq!(runs(&world), expected, "{overlap}");
        assert!(world.store.all().iter().all(|job| job.attempts == 1), "each of them ran once");
    }
}

#[tokio::test]
async fn a_sweeper_that_dies_after_any_of_its_steps_leaves_the_rest_to_the_next() {
    for (overlap, steps) in ["allow", "skip"].into_iter().flat_map(|overlap| (0..4).map(move |steps| (overlap, steps)))
    {
        let world = World::new();
        let start = world.clock.now();
        schedule_with_overlap(&world, "hourly", "0 * * * *", overlap).await;
        world.clock.advance(MINUTE * 59);
        die_after(steps, &world, start + HOUR).await;
        world.sweep().await;
        world.pass(MINUTE + SECOND * 2).await;
        assert_eq!(runs(&world), [start + HOUR], "{overlap}, after {steps} steps");
        let job = &world.store.all()[0];
        assert_eq!((job.status(), job.attempts), (Status::Completed, 1), "{overlap}, after {steps} steps");
        let late = job.started_at.expect("started").since(start + HOUR);
        assert!(late <= SECOND * 2, "{overlap}, after {steps} steps {late:?} late");
        let next_at = start + HOUR * 2;
        assert_eq!(stored(&world, "hourly").await.state, State::Active { next_at }, "{overlap}, after {steps} steps");
    }
}

/// Takes so many of the steps that bring about this run of the schedule `hourly`, and no more.
async fn die_after(steps: u32, world: &World, run: Timestamp) {
    if steps == 0 {
        return;
    }
    let now = world.clock.now();
    let decision = decide(&stored(world, "hourly").await, &*world.schedules, &*world.store, now).await;
    let Ok(Decision::Make { schedule, due }) = decision else { panic!("{decision:?}") };
    assert_eq!(due.runs, [run]);
    if steps == 1 {
        return;
    }
    let made = make_jobs(&schedule, &due, &*world.store, now).await.expect("made");
    if steps == 2 {
        return;
    }
    let message = announcement(&made[0].job, now).expect("not started");
    world.queue.send(&message).await.expect("sent");
}

#[tokio::test]
async fn a_schedule_that_skips_makes_no_job_while_the_last_ones_has_not_ended() {
    let world = World::new();
    let start = world.clock.now();
    schedule_with_overlap(&world, "often", "* * * * *", "skip").await;
    for _ in 0..5 {
        world.clock.advance(MINUTE);
        tokio::join!(world.sweep(), world.sweep());
    }
    assert_eq!(runs(&world), [start + MINUTE], "nobody works: the first one's job waits");
    let shown = world.get("/schedules/often").await.body;
    let skipped = json!({ "count": 4, "last_at": "2027-01-15T08:05:00.000Z" });
    assert_eq!((&shown["skipped"], &shown["last_run"]["at"]), (&skipped, &json!("2027-01-15T08:01:00.000Z")));
    assert_eq!(world.get("/schedules").await.body["schedules"][0]["skipped"], skipped);

    while world.deliver().await > 0 {}
    world.pass(MINUTE * 3).await;
    let expected: Vec<_> = [1, 6, 7, 8].map(|minute| start + MINUTE * minute).to_vec();
    assert_eq!(runs(&world), expected, "and on, once it has ended");
    assert_eq!(world.get("/schedules/often").await.body["skipped"], skipped);
}

#[tokio::test]
async fn a_schedule_that_skips_starts_each_run_in_its_second_if_the_last_ones_job_has_ended_in_time() {
    let world = World::new();
    let start = world.clock.now();
    schedule_with_overlap(&world, "often", "*/2 * * * *", "skip").await;
    world.pass(MINUTE * 20 + SECOND * 5).await;
    let expected: Vec<_> = (1..=10).map(|run| start + MINUTE * 2 * run).collect();
    assert_eq!(runs(&world), expected);
    for job in world.store.all() {
        let late = job.started_at.expect("started").since(run(&job));
        assert!(late <= SECOND * 2 && job.status() == Status::Completed, "{late:?} late");
    }
    assert_eq!(world.get("/schedules/often").await.body["skipped"], Value::Null);
}

#[tokio::test]
async fn a_failed_or_cancelled_job_has_ended_and_one_that_was_run_by_hand_is_no_run() {
    let world = World::new();
    let start = world.clock.now();
    schedule_with_overlap(&world, "often", "* * * * *", "skip").await;
    let by_hand = world.post("/schedules/often/run", &[], "").await;
    assert_eq!(by_hand.status, StatusCode::ACCEPTED, "though the first run's job has not ended");
    let first = stored(&world, "often").await.key.job_id(start + MINUTE);
    let cancelled = world.post(&format!("/jobs/{first}/cancel"), &[], "").await;
    assert!(cancelled.status.is_success(), "{cancelled:?}");
    world.clock.advance(MINUTE);
    world.sweep().await;
    assert_eq!(runs(&world), [start, start + MINUTE, start + MINUTE * 2], "by hand, cancelled, and the next, ahead");
    assert_eq!(stored(&world, "often").await.skips, None);
}

#[tokio::test]
async fn of_the_runs_that_were_missed_the_latest_is_made_up_for() {
    let world = World::new();
    let start = world.clock.now();
    schedule(&world, "hourly", "0 * * * *").await;
    world.clock.advance(HOUR * 24 + MINUTE * 20);
    world.sweep().await;
    assert_eq!(runs(&world), [world.clock.now()], "at once");
    let last_run = stored(&world, "hourly").await.last_run;
    assert_eq!(last_run, Some(start + HOUR * 24), "for the run of 8 o'clock");
    while world.deliver().await > 0 {}
    assert_eq!(world.store.all()[0].status(), Status::Completed);
    world.pass(HOUR).await;
    assert_eq!(world.store.all().len(), 2, "and then the next, at 9");
}

#[tokio::test]
async fn a_paused_schedule_makes_no_job_until_it_is_resumed() {
    let world = World::new();
    let start = world.clock.now();
    schedule(&world, "hourly", "0 * * * *").await;
    for _ in 0..2 {
        let paused = world.post("/schedules/hourly/pause", &[], "").await;
        assert_eq!(paused.status, StatusCode::OK);
        assert_eq!((&paused.body["paused"], &paused.body["next_runs"]), (&json!(true), &json!([])));
    }
    let replaced = put(&world, "hourly", &body("30 * * * *")).await;
    assert_eq!((replaced.status, &replaced.body["paused"]), (StatusCode::OK, &json!(true)), "it stays paused");
    world.pass(HOUR * 3).await;
    assert_eq!(world.store.all(), []);

    for _ in 0..2 {
        let resumed = world.post("/schedules/hourly/resume", &[], "").await;
        assert_eq!((resumed.status, &resumed.body["paused"]), (StatusCode::OK, &json!(false)));
        assert_eq!(resumed.body["next_runs"][0], "2027-01-15T11:30:00.000Z");
    }
    world.pass(HOUR).await;
    assert_eq!(runs(&world), [start + HOUR * 3 + MINUTE * 30], "what it missed is not made up for");
}

#[tokio::test]
async fn a_schedule_that_is_made_again_neither_repeats_a_run_nor_leaves_one_out() {
    let world = World::new();
    let start = world.clock.now();
    schedule(&world, "hourly", "0 * * * *").await;
    world.clock.advance(MINUTE * 59);
    world.sweep().await;
    assert_eq!(runs(&world), [start + HOUR], "made already");
    assert_eq!(delete(&world, "hourly").await.status, StatusCode::NO_CONTENT);
    schedule(&world, "hourly", "0 * * * *").await;
    world.pass(HOUR + SECOND * 2).await;
    assert_eq!(runs(&world), [start + HOUR, start + HOUR * 2]);

    assert_eq!(delete(&world, "hourly").await.status, StatusCode::NO_CONTENT);
    schedule(&world, "hourly", "0 * * * *").await;
    world.pass(HOUR).await;
    assert_eq!(runs(&world).len(), 3, "and the next one, which nobody had made yet");
}

#[tokio::test]
async fn a_deleted_schedule_makes_no_job() {
    let world = World::new();
    schedule(&world, "hourly", "0 * * * *").await;
    let deleted = delete(&world, "hourly").await;
    assert_eq!((deleted.status, deleted.body), (StatusCode::NO_CONTENT, Value::Null));
    world.pass(HOUR * 2).await;
    assert_eq!(world.store.all(), []);
    let gone = [
        delete(&world, "hourly").await,
        world.get("/schedules/hourly").await,
        world.post("/schedules/hourly/run", &[], "").await,
        world.post("/schedules/hourly/pause", &[], "").await,
        world.post("/schedules/hourly/resume", &[], "").await,
    ];
    for answer in gone {
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
        assert_eq!(answer.body["detail"], "there is no schedule of this name");
    }
}

#[tokio::test]
async fn a_schedules_job_can_be_run_at_any_time() {
    let world = World::new();
    schedule(&world, "yearly", "@yearly").await;
    world.post("/schedules/yearly/pause", &[], "").await;
    let headers = [("idempotency-key", "now-please")];
    let first = world.post("/schedules/yearly/run", &headers, "").await;
    assert_eq!((first.status, &first.body["status"]), (StatusCode::ACCEPTED, &json!("pending")));
    let id = first.body["job_id"].as_str().expect("an id");
    assert_eq!(first.headers["location"], format!("/jobs/{id}"));
    world.deliver().await;
    assert_eq!(world.job(id.parse().expect("an id")).await.status(), Status::Completed);

    let again = world.post("/schedules/yearly/run", &headers, "").await;
    assert_eq!(again.body["job_id"], id);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    world.post("/schedules/yearly/run", &[], "").await;
    assert_eq!(world.store.all().len(), 2, "another request, another job");
}

#[tokio::test]
async fn a_schedule_can_be_made_only_if_there_is_none() {
    let world = World::new();
    for status in [StatusCode::CREATED, StatusCode::PRECONDITION_FAILED] {
        let request = Request::put("/schedules/once").header("content-type", "application/json");
        let request = request.header("if-none-match", "*").body(Body::from(body("@daily")));
        assert_eq!(world.send(request.expect("a request")).await.status, status);
    }
}

#[tokio::test]
async fn schedules_are_listed_in_pages() {
    let world = World::new();
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        schedule(&world, name, "0 * * * *").await;
    }
    world.post("/schedules/b/pause", &[], "").await;
    let (mut found, mut path) = (vec![], "/schedules?limit=2".to_owned());
    loop {
        let page = world.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        let schedules = page.body["schedules"].as_array().expect("a list").clone();
        assert!(schedules.len() <= 2);
        found.extend(schedules);
        let Some(cursor) = page.body["next_cursor"].as_str() else { break };
        path = format!("/schedules?limit=2&cursor={cursor}");
    }
    assert_eq!(found.iter().map(|schedule| schedule["name"].as_str().expect("a name")).collect::<Vec<_>>(), names);
    let times = ["created_at", "updated_at"].map(|field| found[0][field].clone());
    assert_eq!(times, [json!("2027-01-15T08:00:00.000Z"), json!("2027-01-15T08:00:00.000Z")]);
    assert_eq!((&found[0]["next_run"], &found[1]["next_run"]), (&json!("2027-01-15T09:00:00.000Z"), &Value::Null));
    for (query, field) in
        [("limit=0", "limit"), ("limit=101", "limit"), ("cursor=%23", "cursor"), ("colour=red", "colour")]
    {
        let answer = world.get(&format!("/schedules?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.body["field"].as_str()), (422, Some(field)), "{query}");
    }
}
