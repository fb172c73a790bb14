//! Stopping the starting of jobs, and letting it go on.
//!
//! Time passes twice here: the jobs' (the world's clock), and that by which a worker knows how old its last look at the
//! switch is, which passes only while everything waits.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use shared::job::Status;
use shared::values::id::JobId;
use tests::world::World;
use worker::Isolation;

const ALICE: &str = r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// ALICE, with further fields.
fn alice(fields: &str) -> String {
    ALICE.replace("}}", &format!("}},{fields}}}"))
}

/// A world whose jobs and worker know no other time than the test.
fn world() -> World {
    let mut world = World::new();
    Arc::get_mut(&mut world.worker).expect("nobody else has it").isolation = Isolation::Task;
    world
}

/// Pauses or resumes the queue, and lets the worker's last look at the switch become too old to count.
async fn switch(world: &World, verb: &str) -> Value {
    let answer = world.post(&format!("/queue/{verb}"), &[], "").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    tokio::time::advance(SECOND * 10).await;
    answer.body
}

fn lose_the_message(world: &World) {
    let lost = world.queue.receive().expect("a message");
    world.queue.acknowledge(&lost.receipt);
}

/// Where these jobs stand, and how many attempts each has had.
async fn figures<const N: usize>(world: &World, ids: [JobId; N]) -> Vec<(Status, u32)> {
    let mut figures = vec![];
    for id in ids {
        let job = world.job(id).await;
        figures.push((job.status(), job.attempts));
    }
    figures
}

#[tokio::test(start_paused = true)]
async fn the_queue_says_whether_it_is_paused_and_how_many_messages_wait() {
    let world = world();
    assert_eq!(world.get("/queue").await.body, json!({ "paused": false, "waiting_messages": 0 }));
    world.submit(ALICE).await;
    world.submit(&alice(r#""delay_seconds":60"#)).await;
    for (verb, paused) in [("pause", true), ("pause", true), ("resume", false), ("resume", false)] {
        let expected = json!({ "paused": paused, "waiting_messages": 1 });
        assert_eq!(switch(&world, verb).await, expected);
        assert_eq!(world.get("/queue").await.body, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn while_it_is_paused_jobs_are_accepted_and_none_is_started() {
    let world = world();
    switch(&world, "pause").await;
    let id = world.submit(ALICE).await;
    let accepted = world.job(id).await;
    assert_eq!(world.deliver().await, 1);
    assert_eq!(world.job(id).await, accepted, "no attempt is spent, and nothing is written");
    for _ in 0..3 {
        assert_eq!(world.deliver().await, 0, "its message is hidden for a while");
        world.clock.advance(MINUTE * 5);
        assert_eq!(world.deliver().await, 1, "and comes back");
    }
    assert_eq!(world.job(id).await, accepted);
}

#[tokio::test(start_paused = true)]
async fn after_a_short_pause_the_messages_come_back_by_themselves() {
    let world = world();
    switch(&world, "pause").await;
    let ids = [world.submit(ALICE).await, world.submit(ALICE).await, world.submit(ALICE).await];
    assert_eq!(world.deliver().await, 3);
    switch(&world, "resume").await;
    world.clock.advance(MINUTE * 5);
    assert_eq!(world.deliver().await, 3);
    assert_eq!(figures(&world, ids).await, [(Status::Completed, 1); 3]);
}

#[tokio::test(start_paused = true)]
async fn while_it_is_paused_the_sweeper_sends_nothing_for_what_is_overdue() {
    let world = world();
    let lost = world.submit(ALICE).await;
    lose_the_message(&world);
    let later = world.submit(&alice(r#""delay_seconds":2000"#)).await;
    switch(&world, "pause").await;
    let before = [world.job(lost).await, world.job(later).await];
    for _ in 0..60 {
        world.clock.advance(MINUTE);
        let swept = world.sweep().await;
        assert_eq!((swept.moved, swept.sent, swept.unsent, swept.ended), (0, 0, 0, 0));
    }
    assert_eq!([world.job(lost).await, world.job(later).await], before);
    assert_eq!(world.deliver().await, 0);

    switch(&world, "resume").await;
    assert_eq!(world.sweep().await.sent, 2, "the first sweep after it announces them");
    world.deliver().await;
    assert_eq!(figures(&world, [lost, later]).await, [(Status::Completed, 1); 2]);
}

#[tokio::test(start_paused = true)]
async fn after_a_long_pause_everything_ends_and_the_dead_letters_are_the_failures() {
    let world = world();
    let failed = world.submit(r#"{"type":"rehearsal","payload":{"attempts":["give_up"]}}"#).await;
    while world.deliver().await > 0 {}
    let failing_once = world.submit(r#"{"type":"rehearsal","payload":{"attempts":["fail","succeed"]}}"#).await;
    world.deliver().await;
    let lost = world.submit(ALICE).await;
    lose_the_message(&world);
    switch(&world, "pause").await;
    let (ready, later) = (world.submit(ALICE).await, world.submit(&alice(r#""delay_seconds":1000"#)).await);
    for _ in 0..120 {
        world.pass(MINUTE).await;
        world.sweep().await;
        assert_eq!(world.queue.dead_letters(), [failed], "none of a message that has only come back too often");
    }
    let waiting = [failing_once, lost, ready, later];
    let attempts = [(Status::Pending, 1), (Status::Pending, 0), (Status::Pending, 0), (Status::Pending, 0)];
    assert_eq!(figures(&world, waiting).await, attempts);

    switch(&world, "resume").await;
    world.pass(MINUTE * 2).await;
    let attempts = [(Status::Completed, 2), (Status::Completed, 1), (Status::Completed, 1), (Status::Completed, 1)];
    assert_eq!(figures(&world, waiting).await, attempts);
    assert_eq!((world.job(failed).await.attempts, world.queue.dead_letters()), (1, vec![failed]));
}

#[tokio::test(start_paused = true)]
async fn a_pause_lets_those_that_run_go_on_and_no_retry_begin() {
    let world = world();
    let running = world.submit(r#"{"type":"rehearsal","payload":{"takes_ms":5000}}"#).await;
    let failing = world.submit(r#"{"type":"rehearsal","payload":{"takes_ms":5000,"attempts":["fail"]}}"#).await;
    let pause = async {
        tokio::time::sleep(SECOND).await;
        switch(&world, "pause").await
    };
    let (delivered, _) = tokio::join!(world.deliver(), pause);
    assert_eq!(delivered, 2);
    assert_eq!(figures(&world, [running, failing]).await, [(Status::Completed, 1), (Status::Pending, 1)]);
    world.pass(MINUTE).await;
    assert_eq!(figures(&world, [failing]).await, [(Status::Pending, 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_expires_or_is_cancelled_during_a_pause_ends_in_it() {
    let world = world();
    switch(&world, "pause").await;
    let expiring = world.submit(&alice(r#""expires_at":"2027-01-15T08:00:30Z""#)).await;
    let cancelled = world.submit(ALICE).await;
    world.post(&format!("/jobs/{cancelled}/cancel"), &[], "").await;
    world.pass(MINUTE * 2).await;
    assert_eq!(figures(&world, [expiring, cancelled]).await, [(Status::Cancelled, 0); 2]);
}
