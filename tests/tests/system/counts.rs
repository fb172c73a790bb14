//! Whoever counts jobs counts the same ones, however they came in and however they ended.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tests::engines::config_at;
use tests::system::{System, start};
use tests::topic::Topic;

const SINGLE: usize = 100;
const BATCHES: [usize; 4] = [100, 100, 100, 50];
/// Each becomes a job of two subscriptions.
const EVENTS: usize = 25;
const ALL: u64 = 500;

/// What is counted: its name in `/stats`, and in `/metrics`.
const COUNTERS: [(&str, &str); 6] = [
    ("accepted", "dray_jobs_accepted_total"),
    ("completed", "dray_jobs_completed_total"),
    ("failed", "dray_jobs_failed_total"),
    ("cancelled", "dray_jobs_cancelled_total"),
    ("started", "dray_attempts_started_total"),
    ("retried", "dray_attempts_retried_total"),
];

/// By type, what each counter must say at the end. Of five jobs that are submitted two complete, one fails, one is tried
/// again and completes, and one is cancelled; those that follow events complete.
const EXPECTED: [(&str, [u64; 6]); 2] =
    [("csv-generation", [320, 230, 0, 90, 230, 0]), ("rehearsal", [180, 90, 90, 0, 270, 90])];

fn job(number: usize) -> Value {
    match number % 5 {
        0 | 1 => json!({ "type": "csv-generation", "payload": { "number": number } }),
        2 => json!({ "type": "rehearsal", "payload": { "attempts": ["give_up"] } }),
        3 => json!({ "type": "rehearsal", "payload": { "attempts": ["fail", "succeed"] } }),
        _ => json!({ "type": "csv-generation", "payload": { "late": true }, "delay_seconds": 3600, "tags": ["late"] }),
    }
}

/// The API of a system.
struct Api<'a> {
    client: Client,
    system: &'a System,
}

impl Api<'_> {
    async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let request = self.client.request(method, format!("{}{path}", self.system.url)).json(body);
        let answer = request.send().await.expect("the API answers");
        let is_success = answer.status().is_success();
        let body: Value = answer.json().await.expect("JSON");
        assert!(is_success, "{path}: {body}");
        body
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.call(Method::POST, path, body).await
    }

    async fn get(&self, path: &str) -> String {
        let answer = self.client.get(format!("{}{path}", self.system.url)).send().await.expect("the API answers");
        answer.text().await.expect("text")
    }

    async fn get_json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await).expect("JSON")
    }

    /// Submits them all.
    async fn submit(&self) {
        for number in 0..SINGLE {
            self.post("/jobs", &job(number)).await;
        }
        for size in BATCHES {
            let jobs: Vec<_> = (0..size).map(job).collect();
            let answer = self.post("/jobs/batch", &json!({ "jobs": jobs })).await;
            assert_eq!(answer["accepted"], size, "{answer}");
        }
        for name in ["stock", "shipping"] {
            let job = json!({ "type": "csv-generation", "payload": { "order": "{{data.order}}" } });
            let subscription = json!({ "event_type": "order.created", "job": job });
            self.call(Method::PUT, &format!("/subscriptions/{name}"), &subscription).await;
        }
        for number in 0..EVENTS {
            let event = json!({ "type": "order.created", "id": number.to_string(), "data": { "order": number } });
            let answer = self.post("/events", &event).await;
            assert_eq!(answer["jobs"].as_array().map(Vec::len), Some(2), "{answer}");
        }
    }

    /// Cancels those that are to start late, and waits until all have ended. Gives what `/health` says of jobs then.
    async fn end(&self) -> Value {
        let answer = self.post("/jobs/cancel", &json!({ "filter": { "tag": "late" } })).await;
        assert_eq!(answer["changed"], 90, "{answer}");
        let end = Instant::now() + Duration::from_secs(90);
        loop {
            let health = self.get_json("/health").await;
            let jobs = &health["jobs"];
            let ended =
                ["completed", "failed", "cancelled"].iter().filter_map(|name| jobs[*name].as_u64()).sum::<u64>();
            if ended >= ALL {
                return jobs.clone();
            }
            assert!(Instant::now() < end, "{jobs}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// The sample of this counter for jobs of this type on a page for Prometheus.
fn sample(page: &str, counter: &str, job_type: &str) -> u64 {
    let of_type = format!("=\"{job_type}\"");
    let is_it =
        |line: &&str| line.strip_prefix(counter).is_some_and(|rest| rest.starts_with('{') && rest.contains(&of_type));
    let value = page.lines().find(is_it).and_then(|line| line.rsplit(' ').next());
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {counter} of {job_type} in:\n{page}"))
}

/// The cell of a report's table that is in this column, in the line of this type.
fn cell(table: &str, column: &str, job_type: &str) -> u64 {
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let place = lines.next().and_then(|names| names.iter().position(|name| *name == column));
    let value = lines.find(|line| line[0] == job_type).zip(place).and_then(|(line, place)| line[place].parse().ok());
    value.unwrap_or_else(|| panic!("no {column} of {job_type} in:\n{table}"))
}

#[tokio::test]
async fn health_statistics_metrics_a_report_and_the_topic_tell_the_same_of_500_jobs() {
    let (system, _stack) = start("counts").await;
    if !system.can_rehearse().await {
        return;
    }
    let topic = Topic::of(&config_at(&system.aws_url), system.output("EventsTopicArn").to_owned());
    let told = topic.queue("accepted", r#"{"event":["job.accepted"]}"#).await;
    let api = Api { client: Client::new(), system: &system };
    api.submit().await;
    let health = api.end().await;
    let (stats, metrics) = (api.get_json("/stats").await, api.get("/metrics").await);
    let report = api.post("/jobs", &json!({ "type": "report-generation", "payload": { "last_hours": 1 } })).await;
    let id = report["job_id"].as_str().expect("an id");
    let report = system.job_once(id, &["completed", "failed"], Duration::from_secs(60)).await;
    assert_eq!((&report["status"], &report["result"]["jobs"]), (&"completed".into(), &ALL.into()), "{report}");
    let table = system.file(report["result"]["csv"].as_str().expect("a file"));

    for (job_type, expected) in EXPECTED {
        for ((name, counter), count) in COUNTERS.into_iter().zip(expected) {
            assert_eq!(stats["by_type"][job_type][name], count, "{name} of {job_type}: {stats}");
            assert_eq!(sample(&metrics, counter, job_type), count, "{metrics}");
        }
        for (column, count) in ["accepted", "completed", "failed", "cancelled", "attempts"].into_iter().zip(expected) {
            assert_eq!(cell(&table, column, job_type), count, "{column} of {job_type}: {table}");
        }
    }
    let total = |place: usize| EXPECTED.map(|(_, counts)| counts[place]).iter().sum::<u64>();
    for (place, (name, _)) in COUNTERS.into_iter().enumerate() {
        let in_steps = stats["steps"].as_array().expect("steps").iter().filter_map(|step| step["all"][name].as_u64());
        assert_eq!(
            (in_steps.sum::<u64>(), &stats["all"][name]),
            (total(place), &total(place).into()),
            "{name}: {stats}"
        );
    }
    for (place, name) in ["total_added", "completed", "failed", "cancelled"].into_iter().enumerate() {
        assert_eq!(health[name], total(place), "{name}: {health}");
    }
    for none in ["in_progress", "waiting"] {
        assert_eq!(health[none], 0, "{health}");
    }
    let told = topic.received(&told, 501).await; // one tells of the report
    let told = told.iter().map(|notice| serde_json::from_str::<Value>(notice).expect("JSON"));
    let told = told.filter(|notice| notice["type"] != "report-generation");
    let jobs: BTreeSet<_> = told.map(|notice| notice["job_id"].to_string()).collect();
    assert_eq!(jobs.len(), 500);
}
