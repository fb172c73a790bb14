//! What becomes of jobs: attempts, retries, failures, duplicates, and bad neighbours.

use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use shared::job::Status;
use shared::job::event::Event;
use shared::job::transition::{Change, Refusal};
use shared::ports::{Changed, Clock, JobQueue, JobStore, Message, Receipt};
use shared::values::id::{JobId, LeaseToken};
use tests::world::{World, body, record};

fn rehearsal(attempts: &str, options: &str) -> String {
    format!(r#"{{"type":"rehearsal","payload":{{"attempts":{attempts}}}{options}}}"#)
}

/// Time enough for three attempts and the waits between them, and for the redrive policy.
const A_WHILE: Duration = Duration::from_secs(60);

fn names(history: &[Event]) -> Vec<&'static str> {
    let name = |event: &Event| match event {
        Event::Accepted { .. } => "accepted",
        Event::Started { .. } => "started",
        Event::Retrying { .. } => "retrying",
        Event::Completed { .. } => "completed",
        Event::Failed { .. } => "failed",
        Event::CancelRequested { .. } => "cancel_requested",
        Event::Cancelled { .. } => "cancelled",
        Event::Yielded { .. } => "yielded",
        Event::Lapsed { .. } => "lapsed",
        Event::Rescheduled { .. } => "rescheduled",
        Event::Redriven { .. } => "redriven",
        Event::Unknown(_) => "unknown",
    };
    history.iter().map(name).collect()
}

#[tokio::test]
async fn a_job_that_fails_twice_and_then_works_completes_at_its_third_attempt() {
    let world = World::new();
    let id = world.submit(&rehearsal(r#"["fail","fail","succeed"]"#, "")).await;
    world.pass(A_WHILE).await;
    let job = world.job(id).await;
    assert_eq!((job.status(), job.attempts, job.error.as_ref()), (Status::Completed, 3, None));
    let expected = ["accepted", "started", "retrying", "started", "retrying", "started", "completed"];
    assert_eq!(names(&job.history), expected);
    let times: Vec<_> = job.history.iter().map(Event::at).collect();
    assert!(times.is_sorted(), "{times:?}");
    let second_wait = times[5].since(times[4]);
    assert!((Duration::from_secs(10)..=Duration::from_secs(21)).contains(&second_wait), "{second_wait:?}");
    assert_eq!(world.queue.dead_letters(), []);
}

#[tokio::test]
async fn a_job_that_always_fails_ends_after_exactly_three_attempts_as_a_dead_letter() {
    let world = World::new();
    let id = world.submit(&rehearsal(r#"["fail"]"#, "")).await;
    world.pass(A_WHILE).await;
    let job = world.job(id).await;
    assert_eq!((job.status(), job.attempts, job.error.as_deref()), (Status::Failed, 3, Some("told to fail")));
    assert_eq!(names(&job.history).iter().filter(|name| **name == "started").count(), 3);
    assert_eq!(world.queue.dead_letters(), [id]);
    assert_eq!(job.due_at(), None, "nothing is left to be swept");
}

#[tokio::test]
async fn as_many_attempts_as_the_job_asked_for() {
    for most in [1, 5, 10] {
        let world = World::new();
        let id = world.submit(&rehearsal(r#"["fail"]"#, &format!(r#","max_attempts":{most}"#))).await;
        world.pass(Duration::from_secs(6_000)).await;
        let job = world.job(id).await;
        assert_eq!((job.status(), job.attempts), (Status::Failed, most));
        assert_eq!(world.queue.dead_letters(), [id]);
    }
}

#[tokio::test]
async fn a_permanent_error_is_not_tried_again() {
    let world = World::new();
    let id = world.submit(&rehearsal(r#"["give_up","succeed"]"#, "")).await;
    world.pass(A_WHILE).await;
    let job = world.job(id).await;
    assert_eq!((job.status(), job.attempts, job.error.as_deref()), (Status::Failed, 1, Some("told to give up")));
    assert_eq!(world.queue.dead_letters(), [id]);
}

#[tokio::test]
async fn a_panic_a_hang_and_a_broken_body_leave_their_neighbours_alone() {
    let world = World::new();
    let mut records = vec![record(&Receipt("broken".to_owned()), "{ not JSON")];
    let mut good = vec![];
    let mut bad = vec![];
    for number in 0..7 {
        good.push(world.submit(&format!(r#"{{"type":"csv-generation","payload":{{"n":{number}}}}}"#)).await);
    }
    bad.push(world.submit(&rehearsal(r#"["panic"]"#, "")).await);
    bad.push(world.submit(&rehearsal(r#"["hang"]"#, r#","timeout_seconds":1"#)).await);
    for id in good.iter().chain(&bad) {
        records.push(record(&Receipt(id.to_string()), &body(*id)));
    }
    assert_eq!(records.len(), 10);
    let mut event = SqsEvent::default();
    event.records = records;
    let mut returned = world.handle(event).await;
    returned.sort();
    let mut expected = vec!["broken".to_owned(), bad[0].to_string(), bad[1].to_string()];
    expected.sort();
    assert_eq!(returned, expected);
    for id in good {
        let job = world.job(id).await;
        assert_eq!((job.status(), job.attempts), (Status::Completed, 1));
    }
    let errors = ["the job panicked", "the attempt took longer than 1 s"];
    for (id, error) in bad.into_iter().zip(errors) {
        let job = world.job(id).await;
        assert_eq!((job.status(), job.attempts, job.error.as_deref()), (Status::Pending, 1, Some(error)));
    }
}

#[tokio::test]
async fn a_second_copy_of_a_message_does_not_run_the_job_twice() {
    let world = World::new();
    let id = world.submit(r#"{"type":"rehearsal","payload":{"takes_ms":100}}"#).await;
    for _ in 0..9 {
        world.queue.send(&Message::naming(id, Duration::ZERO)).await.expect("sent");
    }
    assert_eq!(world.deliver().await, 10, "all copies in one batch");
    let job = world.job(id).await;
    assert_eq!((job.status(), job.attempts), (Status::Completed, 1));
    world.queue.send(&Message::naming(id, Duration::ZERO)).await.expect("sent");
    world.pass(A_WHILE).await;
    assert_eq!(world.job(id).await, job, "a late copy changes nothing");
    assert_eq!(world.queue.dead_letters(), []);
}

#[tokio::test]
async fn a_message_about_no_job_is_forgotten() {
    let world = World::new();
    let id = JobId::at(world.clock.now(), [7; 10]);
    world.queue.send(&Message::naming(id, Duration::ZERO)).await.expect("sent");
    assert_eq!(world.deliver().await, 1);
    world.pass(Duration::from_secs(400)).await;
    assert_eq!(world.queue.dead_letters(), []);
}

#[tokio::test]
async fn a_worker_that_was_taken_for_dead_cannot_overwrite_its_successor() {
    let world = World::new();
    let id = world.submit(r#"{"type":"rehearsal","payload":{"takes_ms":400},"timeout_seconds":1}"#).await;
    let slow = world.deliver();
    let successor = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.clock.advance(Duration::from_secs(7)); // the lease: 1 s and a margin of 5 s
        let claim = Change::Claim {
            now: world.clock.now(),
            token: LeaseToken::new([9; 8]),
            time_left: Duration::from_secs(60),
        };
        let claimed = world.store.change_if_allowed(id, &claim).await.expect("memory answers");
        assert!(matches!(claimed, Changed::Applied(_)), "{claimed:?}");
    };
    tokio::join!(slow, successor);
    let job = world.job(id).await;
    assert_eq!((job.status(), job.attempts), (Status::Processing, 2), "still the successor's");
}

#[tokio::test]
async fn a_worker_without_time_for_a_job_leaves_it_to_another() {
    let world = World::new();
    let id = world.submit(r#"{"type":"csv-generation","payload":{"a":1},"timeout_seconds":50}"#).await;
    let mut event = SqsEvent::default();
    event.records = vec![record(&Receipt("r".to_owned()), &body(id))];
    let response =
        std::sync::Arc::clone(&world.worker).handle(event, Duration::from_secs(50)).await.expect("an answer");
    assert!(response.batch_item_failures.is_empty(), "the sweeper sends another message");
    let job = world.job(id).await;
    assert_eq!((job.status(), job.attempts), (Status::Pending, 0));
    let reason = "an attempt may take 50 s, and a worker has 49 s for everything";
    assert_eq!(job.held_back.map(|held_back| held_back.reason).as_deref(), Some(reason));
}

#[tokio::test]
async fn a_job_whose_worker_dies_is_rescued_and_one_without_attempts_left_fails() {
    let world = World::new();
    let ids = [
        world.submit(r#"{"type":"csv-generation","payload":{"a":1}}"#).await,
        world.submit(r#"{"type":"csv-generation","payload":{"a":1},"max_attempts":1}"#).await,
    ];
    while let Some(delivery) = world.queue.receive() {
        // A worker takes the message, claims the job, and is heard of no more.
        let token = LeaseToken::new([1; 8]);
        let claim = Change::Claim { now: world.clock.now(), token, time_left: Duration::from_secs(60) };
        let claimed = world.store.change_if_allowed(delivery.job_id, &claim).await.expect("memory answers");
        assert!(matches!(claimed, Changed::Applied(_)));
    }
    world.pass(Duration::from_secs(121)).await; // the lease, 35 s; two sweeps
    let jobs = [world.job(ids[0]).await, world.job(ids[1]).await];
    assert_eq!((jobs[0].status(), jobs[0].attempts), (Status::Completed, 2));
    assert_eq!((jobs[1].status(), jobs[1].attempts), (Status::Failed, 1));
    assert_eq!(world.queue.dead_letters(), [ids[1]]);
}

#[tokio::test]
async fn a_cancel_lets_a_running_attempt_end_and_no_other_begin() {
    let world = World::new();
    let id = world.submit(r#"{"type":"rehearsal","payload":{"attempts":["fail"],"takes_ms":300}}"#).await;
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let change = Change::RequestCancel { now: world.clock.now() };
        let changed = world.store.change_if_allowed(id, &change).await.expect("memory answers");
        assert!(matches!(changed, Changed::Applied(_)), "{changed:?}");
    };
    tokio::join!(world.deliver(), cancel);
    world.pass(A_WHILE).await;
    let job = world.job(id).await;
    assert_eq!((job.status(), job.attempts), (Status::Cancelled, 1));
    let again = world.store.change_if_allowed(id, &Change::CancelPending { now: world.clock.now() }).await;
    assert!(matches!(again, Ok(Changed::Refused(Refusal::Ended(Status::Cancelled), _))));
    assert_eq!(world.queue.dead_letters(), []);
}

#[tokio::test]
async fn two_sweepers_at_once_do_no_harm() {
    let world = World::new();
    let id = world.submit(r#"{"type":"csv-generation","payload":{"a":1}}"#).await;
    let lost = world.queue.receive().expect("a message");
    world.queue.acknowledge(&lost.receipt);
    world.clock.advance(Duration::from_secs(61));
    let (one, other) = tokio::join!(world.sweep(), world.sweep());
    assert!((1..=2).contains(&(one.sent + other.sent)), "at the very same moment, each may");
    assert_eq!(world.sweep().await.sent, 0, "later, none");
    world.pass(A_WHILE).await;
    let job = world.job(id).await;
    assert_eq!((job.status(), job.attempts), (Status::Completed, 1));
}

#[tokio::test]
async fn a_mass_of_lost_messages_is_made_good_in_one_sweep_even_behind_a_backlog() {
    let world = World::new();
    let mut lost = vec![];
    for number in 0..600 {
        lost.push(world.submit(&format!(r#"{{"type":"csv-generation","payload":{{"n":{number}}}}}"#)).await);
        let delivery = world.queue.receive().expect("a message");
        world.queue.acknowledge(&delivery.receipt);
    }
    for number in 0..100 {
        world.submit(&format!(r#"{{"type":"csv-generation","payload":{{"waiting":{number}}}}}"#)).await;
    }
    world.clock.advance(Duration::from_secs(61));
    // Of 700 overdue jobs, 100 have their message; who they are nobody knows.
    assert_eq!(world.sweep().await.sent, 600);
}

#[tokio::test]
async fn a_backlog_gets_few_copies_but_long_delays_are_announced_in_time() {
    let world = World::new();
    for number in 0..300 {
        world.submit(&format!(r#"{{"type":"csv-generation","payload":{{"n":{number}}}}}"#)).await;
    }
    let body = r#"{"type":"csv-generation","payload":{"a":1},"delay_seconds":1000}"#;
    let later = world.submit(body).await;
    world.clock.advance(Duration::from_secs(940));
    let swept = world.sweep().await;
    assert_eq!((swept.overdue >= 301, swept.sent), (true, 3), "two copies, and the delayed job's own message");
    world.clock.advance(Duration::from_secs(60));
    while world.deliver().await > 0 {}
    assert_eq!(world.job(later).await.status(), Status::Completed);
}
