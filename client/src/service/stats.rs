//! How the deployment is, and what its jobs did.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::http::client::Client;
use crate::http::error::Error;
use crate::http::verbatim::Verbatim;

/// How the deployment is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Health {
    /// `ok`, `stalled` if jobs wait and no worker starts any, or `unavailable`.
    pub status: String,
    /// What is the matter if it is stalled.
    pub warning: Option<String>,
    /// What cannot be reached; `None` if all can.
    #[serde(skip)]
    pub problem: Option<String>,
    /// The version of the deployed code.
    pub version: String,
    /// The table.
    pub table: Part,
    /// The queue.
    pub queue: Part,
    /// Where the messages of failed jobs end up.
    pub dead_letter_queue: Part,
    /// What jobs did; `None` if callers are told apart.
    pub jobs: Option<JobCounts>,
    /// The job that has waited longest; `None` if callers are told apart.
    pub oldest_job: Option<OldestJob>,
}

/// A part of the deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Part {
    /// Whether it answers.
    pub reachable: bool,
    /// How many messages are in it, about, if it is a queue and they are for everybody.
    #[serde(alias = "waiting_messages")]
    pub messages: Option<u64>,
}

/// What jobs did since counting began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct JobCounts {
    /// Jobs accepted.
    pub total_added: u64,
    /// Jobs completed.
    pub completed: u64,
    /// Jobs that failed for good.
    pub failed: u64,
    /// Jobs cancelled.
    pub cancelled: u64,
    /// Jobs that run now.
    pub in_progress: u64,
    /// Jobs that wait now.
    pub waiting: u64,
}

/// The job that has waited longest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct OldestJob {
    /// For how long; `None` if that is not known.
    pub waiting_seconds: Option<u64>,
}

/// What jobs did in some hours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// How far back: `1h`, `24h` or `48h`.
    pub window: String,
    /// When the first step begins.
    pub from: Timestamp,
    /// When the last step ends.
    pub to: Timestamp,
    /// Jobs that wait now.
    #[serde(default)]
    pub waiting: u64,
    /// Jobs that run now.
    #[serde(default)]
    pub running: u64,
    /// All types together, in the whole window.
    pub all: Figures,
    /// Each type of which something happened, in the whole window.
    #[serde(default)]
    pub by_type: BTreeMap<String, Figures>,
    /// Every step, the earliest first.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What jobs have cost, by day and by type.
    #[serde(default)]
    pub cost_by_day: BTreeMap<String, BTreeMap<String, CostOfJobs>>,
}

/// One step of [`Stats`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Step {
    /// When it begins.
    pub begins_at: Timestamp,
    /// All types together.
    pub all: Figures,
    /// Each type of which something happened.
    #[serde(default)]
    pub by_type: BTreeMap<String, Figures>,
}

/// What jobs did in a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Figures {
    /// Jobs accepted.
    pub accepted: u64,
    /// Attempts begun.
    pub started: u64,
    /// Attempts that failed with another to follow.
    pub retried: u64,
    /// Jobs completed.
    pub completed: u64,
    /// Jobs that failed for good.
    pub failed: u64,
    /// Jobs cancelled.
    pub cancelled: u64,
    /// Jobs that were given another try after they had ended.
    pub redriven: u64,
    /// How long attempts ran, in milliseconds.
    pub duration_ms: Option<Percentiles>,
    /// How long jobs waited, in milliseconds.
    pub wait_ms: Option<Percentiles>,
}

/// So many percent are not longer than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Percentiles {
    /// Half of them.
    pub p50: u64,
    /// 95 of 100.
    pub p95: u64,
    /// 99 of 100.
    pub p99: u64,
}

/// What jobs of one type have cost on one day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CostOfJobs {
    /// Jobs accepted on that day.
    pub jobs: u64,
    /// What was spent on it.
    pub cost: Cost,
}

/// What something has cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Cost {
    /// In US dollars, at list prices.
    pub dollars: f64,
}

impl Client {
    /// How the deployment is: [`Health::problem`] says what cannot be reached. Asked once, however it goes: whoever
    /// wants to know means now.
    pub async fn health(&self) -> Result<Verbatim<Health>, Error> {
        #[derive(Deserialize)]
        struct Unwell {
            detail: String,
            health: Health,
        }
        match self.get(&["health"]).once().read().await {
            Err(Error::Refused(problem)) => match serde_json::from_str::<Verbatim<Unwell>>(&problem.body) {
                Ok(unwell) => Ok(unwell.map(|Unwell { detail, health }| Health { problem: Some(detail), ..health })),
                Err(_) => Err(Error::Refused(problem)),
            },
            answer => answer,
        }
    }

    /// What the caller's jobs did in a window of `1h`, `24h` or `48h`.
    pub async fn stats(&self, window: &str) -> Result<Verbatim<Stats>, Error> {
        self.get(&["stats"]).query("window", Some(window)).read().await
    }
}

#[cfg(test)]
mod tests {
    use crate::fake_service::{Reply, Service};

    #[tokio::test]
    async fn a_deployment_that_is_not_well_says_so_with_what_is_known() {
        let health = |status: &str, reachable: bool| {
            format!(
                r#"{{"status":"{status}","version":"0.1.0","table":{{"reachable":true}},
                "queue":{{"reachable":{reachable},"waiting_messages":3}},
                "dead_letter_queue":{{"reachable":true,"messages":1}},"oldest_job":{{"waiting_seconds":60}}}}"#
            )
        };
        let detail = "the queue cannot be reached";
        let unwell = format!(
            r#"{{"title":"Service Unavailable","status":503,"detail":"{detail}","health":{}}}"#,
            health("unavailable", false)
        );
        let replies = [
            Reply::new(200, health("ok", true)),
            Reply::new(503, unwell.clone()),
            Reply::new(503, r#"{"message":"Service Unavailable"}"#),
        ];
        let service = Service::that_answers(replies).await;
        let client = service.client();
        let well = client.health().await.expect("an answer");
        assert_eq!((well.problem.as_deref(), well.queue.messages, well.jobs), (None, Some(3), None));
        let told = client.health().await.expect("an answer");
        assert_eq!((told.problem.as_deref(), told.json()), (Some(detail), unwell.as_str()));
        assert_eq!((told.queue.reachable, told.dead_letter_queue.messages), (false, Some(1)));
        let gateway = client.health().await.expect_err("none of its own");
        assert_eq!((gateway.to_string().as_str(), service.asked().len()), ("Service Unavailable", 3));
    }

    #[tokio::test]
    async fn statistics_are_read() {
        let figures = r#"{"accepted":2,"started":2,"duration_ms":{"p50":5,"p95":6,"p99":7},"wait_ms":null}"#;
        let stats = format!(
            r#"{{"window":"24h","from":"2026-11-22T02:05:00.000Z","to":"2026-11-23T02:05:00.000Z","step_seconds":300,
            "waiting":1,"running":0,"all":{figures},"by_type":{{"t":{figures}}},
            "steps":[{{"begins_at":"2026-11-22T02:05:00.000Z","all":{figures},"by_type":{{}}}}],
            "cost_by_day":{{"2026-11-22":{{"t":{{"jobs":2,"cost":{{"dollars":0.5,"requests":{{}}}}}}}}}}}}"#
        );
        let service = Service::that_answers([Reply::new(200, stats)]).await;
        let stats = service.client().stats("24h").await.expect("figures");
        assert_eq!((stats.waiting, stats.by_type["t"].accepted, stats.steps.len()), (1, 2, 1));
        assert_eq!(stats.all.duration_ms.map(|run| run.p95), Some(6));
        assert!((stats.cost_by_day["2026-11-22"]["t"].cost.dollars - 0.5).abs() < 1e-9);
        assert_eq!(service.asked()[0].line, "GET /stats?window=24h");
    }
}
