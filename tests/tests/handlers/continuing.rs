//! Jobs that outlast a worker's time: they make way at a checkpoint and go on in another worker as the same attempt.
//!
//! The job is a file of a million rows, in four parts of 6 MiB. The time that it takes to write one is not the machine's:
//! it passes only while everything waits, so that the job makes way at the same places in every run.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use axum::http::StatusCode;
use serde_json::{Value, json};
use shared::job::transition::Change;
use shared::job::{Job, Status};
use shared::ports::{Changed, Clock, JobQueue, JobStore};
use shared::values::id::JobId;
use shared::values::json::Json;
use tests::world::{World, body, record};
use tokio::time::Instant;
use worker::Isolation;

const ROWS: u64 = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A world whose jobs know no other time than the test.
fn world() -> World {
    let mut world = World::new();
    Arc::get_mut(&mut world.worker).expect("nobody else has it").isolation = Isolation::Task;
    world
}

/// A job that writes the file in one go.
fn in_one_go() -> String {
    format!(r#"{{"type":"rehearsal","payload":{{"rows":{ROWS}}}}}"#)
}

/// A job that has time for one part in each worker: a part takes 8.5 s of its 10 s, and in the last 2 s it makes way.
fn part_by_part(fields: &str) -> String {
    let payload = format!(r#"{{"rows":{ROWS},"takes_ms":8500}}"#);
    format!(r#"{{"type":"rehearsal","payload":{payload},"timeout_seconds":10{fields}}}"#)
}

/// A job that has time for two parts in each worker: each takes 5.5 s, and 2.6 s before the end of its 13 s it makes way.
fn two_by_two() -> String {
    let payload = format!(r#"{{"rows":{ROWS},"takes_ms":5500}}"#);
    format!(r#"{{"type":"rehearsal","payload":{payload},"timeout_seconds":13}}"#)
}

/// Lets a worker that lives for another 30 s have the next message.
async fn work(world: &World) {
    let delivery = world.queue.receive().expect("a message");
    let mut event = SqsEvent::default();
    event.records = vec![record(&delivery.receipt, &body(delivery.job_id))];
    let answer = Arc::clone(&world.worker).handle(event, SECOND * 30).await.expect("an answer");
    if answer.batch_item_failures.is_empty() {
        world.queue.acknowledge(&delivery.receipt);
    }
}

/// What has happened to the job, as the API tells it.
async fn events(world: &World, id: JobId) -> Vec<Value> {
    let answer = world.get(&format!("/jobs/{id}/events")).await;
    answer.body["events"].as_array().expect("events").clone()
}

async fn names(world: &World, id: JobId) -> Vec<String> {
    events(world, id).await.iter().map(|event| event["event"].as_str().expect("a name").to_owned()).collect()
}

/// The only file that there is, which must be the job's.
fn file(world: &World, id: JobId) -> Vec<u8> {
    let folder = world.folder.path().join("output");
    let entries = std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let names: Vec<_> = entries.map(|name| name.into_string().expect("UTF-8")).collect();
    let name = format!("{id}.csv");
    assert_eq!(names, [name.as_str()]);
    std::fs::read(folder.join(name)).expect("a file")
}

/// What the file is when nothing comes in between.
async fn whole_file() -> Vec<u8> {
    let world = world();
    let id = world.submit(&in_one_go()).await;
    world.deliver().await;
    assert_eq!(names(&world, id).await, ["accepted", "started", "completed"]);
    file(&world, id)
}

fn figures(job: &Job) -> (Status, u32) {
    (job.status(), job.attempts)
}

#[tokio::test(start_paused = true)]
async fn a_job_that_outlasts_several_workers_ends_as_if_it_had_had_one() {
    let world = world();
    let id = world.submit(&part_by_part(r#","max_attempts":1"#)).await;
    for _ in 0..3 {
        work(&world).await;
        assert_eq!(figures(&world.job(id).await), (Status::Pending, 1));
    }
    work(&world).await;
    let job = world.get(&format!("/jobs/{id}")).await.body;
    assert_eq!((&job["status"], &job["attempts"]), (&json!("completed"), &json!(1)), "its only attempt was enough");
    assert_eq!(job["result"], json!({ "attempt": 1, "file": format!("output/{id}.csv") }));

    let expected =
        ["accepted", "started", "yielded", "started", "yielded", "started", "yielded", "started", "completed"];
    assert_eq!(names(&world, id).await, expected);
    assert!(events(&world, id).await[1..].iter().all(|event| event["attempt"] == 1), "all of it is one attempt");
    assert!(world.queue.receive().is_none(), "its one message has done it all");
    assert!(file(&world, id) == whole_file().await, "the same to the byte");
}

#[tokio::test(start_paused = true)]
async fn when_a_worker_dies_the_next_attempt_goes_on_at_the_latest_checkpoint() {
    let world = world();
    let id = world.submit(&part_by_part("")).await;
    work(&world).await;
    work(&world).await;
    let checkpoint = world.job(id).await.checkpoint;
    let lost = world.queue.receive().expect("a message");
    world.queue.acknowledge(&lost.receipt);
    world.claim(id).await;
    world.clock.advance(MINUTE + SECOND);
    assert_eq!(world.sweep().await.sent, 1);
    let rescued = world.job(id).await;
    assert_eq!((figures(&rescued), rescued.checkpoint), ((Status::Processing, 1), checkpoint));

    work(&world).await;
    work(&world).await;
    assert_eq!(figures(&world.job(id).await), (Status::Completed, 2), "two parts were written before, and two after");
    assert!(file(&world, id) == whole_file().await, "the same to the byte");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_goes_on_more_often_than_its_message_may_come_gets_another_message() {
    let world = world();
    let id = world.submit(r#"{"type":"rehearsal","payload":{},"max_attempts":1}"#).await;
    for number in 0..12 {
        let delivery = world.queue.receive().expect("a message");
        let fence = world.claim(id).await;
        let checkpoint = Json::of(&number).expect("a number");
        let made_way = Change::Yield { now: world.clock.now(), fence, checkpoint };
        let changed = world.store.change_if_allowed(id, &made_way).await.expect("memory answers");
        assert!(matches!(changed, Changed::Applied(_)), "{changed:?}");
        world.queue.hide(&delivery.receipt, Duration::ZERO).await.expect("memory answers");
    }
    assert_eq!(world.queue.receive(), None);
    assert_eq!(world.queue.dead_letters(), [id]);

    world.clock.advance(MINUTE + SECOND);
    let swept = world.sweep().await;
    assert_eq!((swept.sent, swept.dead_letters_removed, world.queue.dead_letters()), (1, 1, vec![]));
    world.deliver().await;
    assert_eq!(figures(&world.job(id).await), (Status::Completed, 1));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_comes_while_a_part_is_written_ends_the_job_instead_of_its_making_way() {
    let world = world();
    let id = world.submit(&part_by_part("")).await;
    let cancel = async {
        tokio::time::sleep(SECOND).await;
        world.post(&format!("/jobs/{id}/cancel"), &[], "").await
    };
    let ((), answer) = tokio::join!(work(&world), cancel);
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(names(&world, id).await, ["accepted", "started", "cancel_requested", "cancelled"]);
    assert!(world.queue.receive().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_comes_between_two_workers_ends_the_job_at_once() {
    let world = world();
    let id = world.submit(&part_by_part("")).await;
    work(&world).await;
    assert_eq!(world.post(&format!("/jobs/{id}/cancel"), &[], "").await.status, StatusCode::OK);
    work(&world).await;
    assert_eq!(names(&world, id).await, ["accepted", "started", "yielded", "cancelled"]);
    assert!(world.queue.receive().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_asks_hears_of_a_cancel_and_stops_early() {
    let world = world();
    let id = world.submit(&two_by_two()).await;
    let cancel = async {
        tokio::time::sleep(SECOND).await;
        world.post(&format!("/jobs/{id}/cancel"), &[], "").await
    };
    let began = Instant::now();
    tokio::join!(work(&world), cancel);
    assert_eq!(world.job(id).await.status(), Status::Cancelled);
    let took = began.elapsed();
    assert!(took >= SECOND * 5 && took < SECOND * 6, "after its first part, at 5.5 s, not at {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_cancelled_while_it_waited_to_go_on_begins_another_attempt_when_it_is_tried_again() {
    let world = world();
    let id = world.submit(r#"{"type":"rehearsal","payload":{}}"#).await;
    let fence = world.claim(id).await;
    let made_way = Change::Yield { now: world.clock.now(), fence, checkpoint: Json::of(&1).expect("a number") };
    world.store.change_if_allowed(id, &made_way).await.expect("memory answers");
    for verb in ["cancel", "retry"] {
        let answer = world.post(&format!("/jobs/{id}/{verb}"), &[], "").await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
    world.deliver().await;
    assert_eq!(figures(&world.job(id).await), (Status::Completed, 2));
    let told: Vec<_> = events(&world, id).await.iter().map(|event| event["attempt"].as_u64()).collect();
    // accepted; started, yielded, cancelled, redriven; started, completed
    assert_eq!(told, [None, Some(1), Some(1), Some(1), Some(1), Some(2), Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_job_tells_how_far_it_has_come() {
    let world = world();
    let id = world.submit(&two_by_two()).await;
    let path = format!("/jobs/{id}");
    assert_eq!(world.get(&path).await.body["progress"], Value::Null);
    let looks = async {
        tokio::time::sleep(SECOND * 5).await;
        let before = world.get(&path).await.body;
        tokio::time::sleep(SECOND).await;
        (before, world.get(&path).await.body)
    };
    let ((), (before, after)) = tokio::join!(work(&world), looks);
    assert_eq!((&before["status"], &before["progress"]), (&json!("processing"), &Value::Null));
    assert_eq!(after["status"], "processing");
    let progress = json!({
        "percent": 34,
        "message": "343251 of 1000000 rows",
        "at": "2027-01-15T08:00:00.000Z",
    });
    assert_eq!(after["progress"], progress, "when its first part is written");

    let waiting = world.get(&path).await.body;
    assert_eq!((&waiting["status"], &waiting["progress"]), (&json!("pending"), &progress), "while it waits to go on");
    assert_eq!(names(&world, id).await, ["accepted", "started", "yielded"], "none of this is an event");
    work(&world).await;
    let ended = world.get(&path).await.body;
    assert_eq!((&ended["status"], &ended["progress"]["percent"]), (&json!("completed"), &json!(97)));
}
