//! The local stack under attack: real function processes, killed and cut off.

mod kill;
mod network;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use local::{Environment, Options, Stack};
use reqwest::Client;
use serde_json::Value;
use shared::event::Event;
use shared::id::{JobId, LeaseToken};
use shared::job::{Job, State, Status};
use shared::ports::JobStore;
use shared_aws::dynamodb::DynamoStore;
use tests::system::target_dir;
use tests::table::{Meter, client_of};

use crate::history::{Kind, Record, Violation, check};

pub use self::kill::kill_everywhere;
pub use self::network::cut_the_network;

/// A stack of its own, in a folder below the target folder.
pub struct Attacked {
    stack: Stack,
    accepted: Vec<Accepted>,
}

/// A job that was answered with 202.
struct Accepted {
    id: JobId,
    key: String,
    /// The status that it must end in; `None` if more than one is right.
    expected: Option<Status>,
}

impl Attacked {
    async fn start(name: &str, functions_reach_aws_at: Option<String>) -> Self {
        let folder = target_dir().join("tmp").join(name);
        let _ = std::fs::remove_dir_all(&folder); // what an earlier run has left
        std::fs::create_dir_all(folder.join("data/kill-points")).expect("a folder");
        let environment = Environment::default()
            .with("OUTPUT_URL", format!("file://{}", folder.join("output").display()))
            .with("RETRY_BASE_SECONDS", "1");
        let options = Options { port: 0, data_dir: folder.join("data"), functions_reach_aws_at };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let stack = Stack::start(&options, environment, listener, &|_| ()).await.expect("the stack starts");
        Self { stack, accepted: vec![] }
    }

    fn store(&self) -> DynamoStore {
        let client = client_of(self.stack.aws_url(), &Meter::default());
        DynamoStore::with_client(client, self.stack.outputs()["TableName"].clone())
    }

    /// Submits a job again and again with the same key until it is accepted.
    async fn submit(&mut self, key: String, body: &str, expected: Option<Status>) {
        let id = submit(self.stack.url(), &key, body).await;
        self.accepted.push(Accepted { id, key, expected });
    }

    /// Runs the sweeper now, besides its schedule. Whether it survived.
    async fn sweep(&self) -> bool {
        let function = &self.stack.outputs()["SweeperFunctionName"];
        let url = format!("{}/2015-03-31/functions/{function}/invocations", self.stack.aws_url());
        let answer = Client::new().post(url).body("{}").send().await.expect("the engine answers");
        !answer.headers().contains_key("x-amz-function-error")
    }

    /// The accepted jobs as they are now.
    async fn jobs(&self) -> Vec<Job> {
        let store = self.store();
        let mut jobs = vec![];
        for accepted in &self.accepted {
            jobs.extend(store.find(accepted.id).await.expect("the engine answers"));
        }
        jobs
    }

    /// Waits until all jobs have ended, sweeping now and then, for as long as `time`.
    async fn drain(&self, time: Duration) -> Vec<Job> {
        let end = Instant::now() + time;
        loop {
            let jobs = self.jobs().await;
            if jobs.iter().all(|job| job.status().is_terminal()) || Instant::now() > end {
                return jobs;
            }
            self.sweep().await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// What must not have happened.
    fn violations(&self, jobs: &[Job]) -> Vec<Violation> {
        let mut records: Vec<Record> = jobs.iter().flat_map(records_of).collect();
        let mut by_id: BTreeMap<JobId, &Job> = BTreeMap::new();
        by_id.extend(jobs.iter().map(|job| (job.id, job)));
        let mut wrong_ends = vec![];
        for accepted in &self.accepted {
            records.push(Record::Accepted { job: accepted.id, key: Some(accepted.key.clone()) });
            if let (Some(job), Some(expected)) = (by_id.get(&accepted.id), accepted.expected)
                && job.status().is_terminal()
                && job.status() != expected
            {
                let what = format!("ended {} and not {expected}: {:?}", job.status(), job.error);
                wrong_ends.push(Violation { kind: Kind::Untrue, job: job.id, what });
            }
        }
        let mut violations = check(&records, jobs);
        violations.extend(wrong_ends);
        violations
    }
}

/// What a job's own history says happened, for runs that are seen from outside only.
fn records_of(job: &Job) -> Vec<Record> {
    let id = job.id;
    let mut records = vec![];
    let mut attempt = 0;
    let token = |attempt: u32| LeaseToken::new(u64::from(attempt).to_be_bytes());
    for event in &job.history {
        let outcome = |status| Record::Outcome { job: id, attempt, token: token(attempt), status };
        match event {
            Event::Accepted { .. } => records.push(Record::Stored { job: id }),
            Event::Started { .. } => {
                attempt += 1;
                records.push(Record::Claimed { job: id, attempt, token: token(attempt) });
            }
            Event::Retrying { .. } => records.push(outcome(Status::Pending)),
            Event::Completed { .. } => {
                if let State::Completed { result, .. } = &job.state {
                    records.push(Record::Effect { job: id, result: result.as_str().to_owned() });
                }
                records.push(outcome(Status::Completed));
            }
            Event::Failed { .. } => records.push(Record::Ended { job: id, status: Status::Failed }),
            Event::CancelRequested { .. } => {}
            Event::Cancelled { .. } => records.push(Record::Ended { job: id, status: Status::Cancelled }),
        }
    }
    records
}

async fn submit(url: &str, key: &str, body: &str) -> JobId {
    for _ in 0..200 {
        let request = Client::new().post(format!("{url}/jobs")).header("content-type", "application/json");
        let request = request.header("idempotency-key", key).body(body.to_owned());
        if let Ok(answer) = request.send().await
            && answer.status().as_u16() == 202
            && let Ok(answer) = answer.json::<Value>().await
        {
            return answer["job_id"].as_str().expect("an id").parse().expect("an id");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no answer to {key} after 200 tries")
}

/// The folder whose files say where to die.
fn kill_points(name: &str) -> std::path::PathBuf {
    Path::new(&target_dir()).join("tmp").join(name).join("data/kill-points")
}
