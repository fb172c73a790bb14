//! `dray health`: how the deployment is.

use std::time::Duration;

use client::{Client, Health, JobCounts, Part};

use super::exit::Failure;
use super::text::{fields, short};
use super::{Console, Exit};

/// Tells how the deployment is.
pub async fn run(client: &Client, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let health = client.health().await?;
    console.show(&health, text)?;
    let is_well = health.problem.is_none() && health.warning.is_none();
    Ok(if is_well { Exit::Done } else { Exit::Refused })
}

fn text(health: &Health) -> String {
    let counts = |jobs: &JobCounts| {
        format!(
            "{} accepted, {} completed, {} failed, {} cancelled; {} running, {} waiting",
            jobs.total_added, jobs.completed, jobs.failed, jobs.cancelled, jobs.in_progress, jobs.waiting
        )
    };
    let oldest = health.oldest_job.and_then(|job| job.waiting_seconds).filter(|seconds| *seconds > 0);
    fields([
        ("status", Some(health.status.clone())),
        ("problem", health.problem.clone()),
        ("warning", health.warning.clone()),
        ("version", Some(health.version.clone())),
        ("table", Some(part(health.table, "items"))),
        ("queue", Some(part(health.queue, "messages wait"))),
        ("dead letters", Some(part(health.dead_letter_queue, "messages"))),
        ("jobs", health.jobs.as_ref().map(counts)),
        ("oldest job", oldest.map(|seconds| format!("has waited {}", short(Duration::from_secs(seconds))))),
    ])
}

fn part(part: Part, what: &str) -> String {
    let state = if part.reachable { "reachable" } else { "cannot be reached" };
    part.messages.map_or_else(|| state.to_owned(), |messages| format!("{state}, about {messages} {what}"))
}

#[cfg(test)]
mod tests {
    use super::super::service::said;
    use super::*;

    #[tokio::test]
    async fn a_deployment_tells_how_it_is_and_ends_with_1_if_it_is_not_well() {
        let parts = |queue: &str| {
            format!(
                r#""table":{{"reachable":true}},"queue":{{"reachable":{queue},"waiting_messages":3}},
                "dead_letter_queue":{{"reachable":true,"messages":0}}"#
            )
        };
        let jobs = r#"{"total_added":9,"completed":4,"failed":2,"cancelled":0,"in_progress":1,"waiting":2}"#;
        let well = format!(
            r#"{{"status":"ok","version":"0.1.0",{},"jobs":{jobs},"oldest_job":{{"waiting_seconds":61}}}}"#,
            parts("true")
        );
        let told = said(&["health"], &[(200, &well)]).await;
        let lines = [
            "status        ok",
            "version       0.1.0",
            "table         reachable",
            "queue         reachable, about 3 messages wait",
            "dead letters  reachable, about 0 messages",
            "jobs          9 accepted, 4 completed, 2 failed, 0 cancelled; 1 running, 2 waiting",
            "oldest job    has waited 1m",
        ];
        assert_eq!((told.exit, told.out), (Exit::Done, lines.join("\n") + "\n"));

        let stalled = well.replace(r#""ok""#, r#""stalled","warning":"a job has been ready for 7 minutes""#);
        let told = said(&["health"], &[(200, &stalled)]).await;
        assert_eq!(told.exit, Exit::Refused);
        assert!(told.out.starts_with("status        stalled\nwarning       a job has been ready for 7 minutes\n"));

        let health = format!(r#"{{"status":"unavailable","version":"0.1.0",{}}}"#, parts("false"));
        let unwell = format!(r#"{{"status":503,"detail":"the queue cannot be reached","health":{health}}}"#);
        let told = said(&["health"], &[(503, &unwell)]).await;
        assert_eq!(told.exit, Exit::Refused);
        assert!(told.out.starts_with("status        unavailable\nproblem       the queue cannot be reached\n"));
        let told = said(&["health", "--json"], &[(503, &unwell)]).await;
        assert_eq!((told.exit, told.out), (Exit::Refused, format!("{unwell}\n")));
    }
}
