//! `kill -9` at every call that the functions make, before and after it.

use std::time::{Duration, Instant};

use shared::event::Event;
use shared::job::{Job, Status};

use super::{Attacked, kill_points, spread};
use crate::summary::Line;

/// The calls of each function. Each has a point before it and one after it.
const CALLS: [(&str, &[&str]); 3] = [
    ("api", &["insert", "send"]),
    ("worker", &["claim", "effect", "complete", "retry", "fail", "hide"]),
    ("sweeper", &["overdue", "postpone", "waiting", "send_all", "expire", "find", "dead_letters"]),
];

/// What jobs are submitted, over and over: the body, and the end that each must reach.
const JOBS: [(&str, Status); 4] = [
    (r#"{"type":"csv-generation","payload":{"a":1},"max_attempts":10,"timeout_seconds":5}"#, Status::Completed),
    (
        r#"{"type":"rehearsal","payload":{"attempts":["fail","succeed"]},"max_attempts":10,"timeout_seconds":5}"#,
        Status::Completed,
    ),
    (
        r#"{"type":"rehearsal","payload":{"attempts":["give_up"]},"max_attempts":10,"timeout_seconds":5}"#,
        Status::Failed,
    ),
    (r#"{"type":"rehearsal","payload":{"attempts":["crash"]},"max_attempts":1,"timeout_seconds":1}"#, Status::Failed),
];

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(420);

/// Kills a process of each function at each of its points and waits for every job's right end. Four jobs are submitted
/// so many times as there are `rounds`. Gives a sentence on what was reached besides.
pub async fn kill_everywhere(rounds: u32) -> (Line, String) {
    const NAME: &str = "verify-kill";
    let mut attacked = Attacked::start(NAME, None).await;
    let calls = CALLS.iter().flat_map(|(function, calls)| calls.iter().map(move |call| format!("{function}.{call}")));
    let points: Vec<String> = calls.flat_map(|call| [format!("{call}.before"), format!("{call}.after")]).collect();
    for point in &points {
        std::fs::write(kill_points(NAME).join(point), "").expect("written");
    }
    for round in 0..rounds {
        for (number, (body, expected)) in JOBS.iter().enumerate() {
            attacked.submit(format!("kill-{round}-{number}"), body, Some(*expected)).await;
        }
    }
    let began = Instant::now();
    attacked.drain(PATIENCE).await;
    let left = || points.iter().filter(|point| kill_points(NAME).join(point).exists()).cloned().collect::<Vec<_>>();
    // A last attempt's death is written down by a worker as soon as its message comes, or by the sweeper just after it
    // has sent that. The sweeper's turn came while it was being killed elsewhere; here are more, a few seconds apart.
    for number in 0..4 {
        let (body, expected) = JOBS[3];
        attacked.submit(format!("kill-late-{number}"), body, Some(expected)).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    let jobs = attacked.drain(PATIENCE).await;
    while !left().is_empty() && began.elapsed() < PATIENCE {
        attacked.sweep().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let violations = attacked.violations(&jobs);
    for violation in &violations {
        println!("{violation}");
    }
    let reached = points.len() - left().len();
    let note = format!(
        "kill -9 at {reached} of {} points, never reached: {:?}; {}",
        points.len(),
        left(),
        rescue_times(&jobs)
    );
    (Line::of("local stack: kill -9 everywhere", jobs.len(), reached as u64, &violations), note)
}

/// How long jobs waited from the beginning of an attempt that died to the beginning of the next.
fn rescue_times(jobs: &[Job]) -> String {
    let mut waits = vec![];
    for pair in jobs.iter().flat_map(|job| job.history.windows(2)) {
        if let [Event::Started { at: died }, Event::Started { at: next }] = pair {
            waits.push(next.since(*died));
        }
    }
    spread(waits).map_or_else(
        || "no attempt died and was followed by another".to_owned(),
        |spread| format!("from an attempt that died to the next: {spread}"),
    )
}
