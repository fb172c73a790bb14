//! Jobs that no worker of this deployment can run: of a type or a format of another version, or with more time than any
//! worker lives. They wait at the cost of no attempt, say why, and do not wait for ever.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use axum::http::StatusCode;
use serde_json::Value;
use shared::job::transition::Fence;
use shared::job::{FORMAT, HeldBack, Job, Status};
use shared::ports::{JobQueue as _, JobStore as _, Message, Receipt};
use shared::values::id::JobId;
use tests::world::{World, body, record};

const MINUTE: Duration = Duration::from_secs(60);

/// Stores what the API has accepted, changed so, and tells the workers.
async fn accept(world: &World, change: impl FnOnce(&mut Job)) -> JobId {
    let elsewhere = World::new();
    let accepted = elsewhere.submit(r#"{"type":"csv-generation","payload":{"name":"Alice"},"max_attempts":2}"#).await;
    let mut job = elsewhere.job(accepted).await;
    change(&mut job);
    world.store.insert_if_absent(&job).await.expect("memory answers");
    world.queue.send(&Message::about(&job, Duration::ZERO)).await.expect("memory answers");
    job.id
}

/// Jobs that none of this world's workers can run, and why.
async fn not_for_us(world: &World) -> [(JobId, &'static str); 2] {
    let unknown = accept(world, |job| {
        job.id = JobId::at(job.created_at, [1; 10]);
        job.job_type = serde_json::from_value("invoice".into()).expect("a name");
    });
    let long = accept(world, |job| {
        job.id = JobId::at(job.created_at, [2; 10]);
        job.timeout = Duration::from_secs(290);
    });
    [
        (unknown.await, "this version of Dray has no job type invoice"),
        (long.await, "an attempt may take 290 s, and a worker has 59 s for everything"),
    ]
}

/// Minute by minute, with a sweep in each.
async fn pass(world: &World, time: Duration) -> usize {
    let mut deliveries = 0;
    for _ in 0..time.as_secs() / 60 {
        world.clock.advance(MINUTE);
        world.sweep().await;
        while let delivered @ 1.. = world.deliver().await {
            deliveries += delivered;
        }
    }
    deliveries
}

async fn why(world: &World, id: JobId) -> Value {
    world.get(&format!("/jobs/{id}/why")).await.body
}

#[tokio::test]
async fn a_job_that_no_worker_can_run_waits_for_a_day_without_an_attempt_and_fails_in_plain_words() {
    let world = World::new();
    let jobs = not_for_us(&world).await;
    while world.deliver().await > 0 {}
    let deliveries = pass(&world, MINUTE * (24 * 60 - 1)).await;
    // Of each job, one after 1, 2, 4 and 8 minutes, and then every quarter of an hour.
    assert!(deliveries <= 2 * (4 + 24 * 4), "{deliveries}");
    assert_eq!(world.queue.dead_letters(), []);
    for (id, reason) in jobs {
        let job = world.job(id).await;
        assert_eq!((job.status(), job.attempts, job.history.len()), (Status::Pending, 0, 1), "{reason}");
        let told = why(&world, id).await;
        assert_eq!(told["reason"], "held_back", "{told}");
        let detail = format!("no worker can run it: {reason}; if none comes that can, it fails then");
        assert_eq!((&told["detail"], &told["until"]), (&detail.into(), &"2027-01-16T08:00:00.000Z".into()));
    }
    pass(&world, MINUTE * 30).await;
    for (id, reason) in jobs {
        let seen = world.get(&format!("/jobs/{id}")).await.body;
        assert_eq!((&seen["status"], &seen["attempts"]), (&"failed".into(), &0.into()), "{seen}");
        assert_eq!(seen["error"], format!("no worker could run it within a day: {reason}"));
    }
    assert_eq!(world.queue.dead_letters().len(), 2, "one for each, as for any other failed job");

    let (id, _) = jobs[0];
    let again = world.post(&format!("/jobs/{id}/retry"), &[], "").await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "{again:?}");
    pass(&world, MINUTE * 30).await;
    assert_eq!(why(&world, id).await["reason"], "held_back", "it has another day");
}

#[tokio::test]
async fn a_job_that_was_held_back_runs_as_soon_as_a_worker_comes_that_lives_long_enough() {
    let world = World::new();
    let [_, (id, _)] = not_for_us(&world).await;
    while world.deliver().await > 0 {}
    pass(&world, MINUTE * 90).await;
    assert!(world.job(id).await.held_back.is_some());
    let mut event = SqsEvent::default();
    event.records = vec![record(&Receipt("one".to_owned()), &body(id))];
    let answer = Arc::clone(&world.worker).handle(event, Duration::from_secs(300)).await.expect("an answer");
    assert!(answer.batch_item_failures.is_empty());
    let job = world.job(id).await;
    assert_eq!((job.status(), job.attempts, job.held_back), (Status::Completed, 1, None));
}

#[tokio::test]
async fn a_job_that_an_older_worker_left_unfinished_can_be_held_back_as_well() {
    let world = World::new();
    let id = accept(&world, |job| job.timeout = Duration::from_secs(55)).await; // and 5 s more for the lease
    let fence: Fence = world.claim(id).await;
    assert_eq!(fence.attempt, 1);
    pass(&world, MINUTE * 10).await;
    let job = world.job(id).await;
    assert_eq!((job.status(), job.attempts), (Status::Processing, 1), "another attempt is left");
    assert_eq!(why(&world, id).await["reason"], "held_back");
    pass(&world, HeldBack::LONGEST + MINUTE * 15).await;
    assert_eq!((world.job(id).await.status(), world.job(id).await.attempts), (Status::Failed, 1));
}

#[tokio::test]
async fn a_job_of_a_newer_format_waits_for_the_newer_version_and_can_be_cancelled() {
    let world = World::new();
    let id = accept(&world, |job| job.format = FORMAT + 1).await;
    while world.deliver().await > 0 {}
    pass(&world, HeldBack::LONGEST * 2).await;
    let job = world.job(id).await;
    assert_eq!((job.status(), job.attempts, job.history.len()), (Status::Pending, 0, 1));
    let told = why(&world, id).await;
    assert_eq!(told["reason"], "newer_version", "{told}");
    let health = world.get("/health").await.body;
    assert_eq!(health["status"], "ok", "nobody waits who could be started: {health}");
    let rescheduled = world.post(&format!("/jobs/{id}/reschedule"), &[], r#"{"delay_seconds":60}"#).await;
    assert_eq!(rescheduled.status, StatusCode::CONFLICT, "{rescheduled:?}");
    let cancelled = world.post(&format!("/jobs/{id}/cancel"), &[], "").await;
    assert_eq!((cancelled.status, &cancelled.body["status"]), (StatusCode::OK, &"cancelled".into()));
    let retried = world.post(&format!("/jobs/{id}/retry"), &[], "").await;
    assert_eq!(retried.status, StatusCode::CONFLICT, "{retried:?}");
}

#[tokio::test]
async fn a_job_of_a_newer_format_whose_worker_died_can_be_cancelled_and_one_that_has_ended_is_done_with() {
    let world = World::new();
    let id = accept(&world, |_| ()).await;
    world.claim(id).await;
    let claimed = world.job(id).await;
    let newer = accept(&world, |job| {
        *job = Job { id: JobId::at(job.created_at, [3; 10]), format: FORMAT + 1, ..claimed };
    });
    let newer = newer.await;
    world.post(&format!("/jobs/{newer}/cancel"), &[], "").await;
    pass(&world, MINUTE * 5).await;
    assert_eq!(world.job(newer).await.status(), Status::Cancelled);
    world.queue.send(&Message::naming(newer, Duration::ZERO)).await.expect("memory answers");
    assert_eq!(world.deliver().await, 1);
    pass(&world, MINUTE * 60).await;
    assert_eq!(world.queue.dead_letters(), [], "its late message was done with");
}
