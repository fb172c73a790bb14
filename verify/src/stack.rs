//! The local stack under attack: real function processes, killed and cut off.

mod kill;
mod network;
mod rescue;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use local::{Environment, Options, Stack};
use reqwest::Client;
use serde_json::Value;
use shared::id::JobId;
use shared::job::{Job, Status};
use shared::ports::JobStore;
use shared_aws::dynamodb::DynamoStore;
use tests::system::{processes_of, target_dir};
use tests::table::{Meter, client_of};

use crate::history::{Kind, Record, Violation, check, records_of};
use crate::model::Leases;

pub use self::kill::kill_everywhere;
pub use self::network::cut_the_network;
pub use self::rescue::time_rescues;

/// A stack of its own, in a folder below the target folder.
pub struct Attacked {
    stack: Stack,
    /// Where its functions reach AWS.
    functions_aws_url: String,
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
        let data_dir = folder.join("data");
        let options = Options { port: 0, data_dir, functions_reach_aws_at: functions_reach_aws_at.clone() };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let stack = Stack::start(&options, environment, listener, &|_| ()).await.expect("the stack starts");
        let functions_aws_url = functions_reach_aws_at.unwrap_or_else(|| stack.aws_url().to_owned());
        Self { stack, functions_aws_url, accepted: vec![] }
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

    /// The processes of a function that are alive, the function named as the template's output that names it.
    fn processes(&self, function: &str) -> Vec<i32> {
        processes_of(&self.stack.outputs()[function], &self.functions_aws_url)
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

    /// Waits until all jobs have ended, sweeping now and then besides the schedule, for as long as `time`.
    async fn drain(&self, time: Duration) -> Vec<Job> {
        let end = Instant::now() + time;
        loop {
            let jobs = self.jobs().await;
            if have_ended(&jobs) || Instant::now() > end {
                return jobs;
            }
            self.sweep().await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// Waits until all jobs have ended, with no other sweeps than the schedule's, for as long as `time`.
    async fn wait(&self, time: Duration) -> Vec<Job> {
        let end = Instant::now() + time;
        loop {
            let jobs = self.jobs().await;
            if have_ended(&jobs) || Instant::now() > end {
                return jobs;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
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
        let mut violations = check(&records, jobs, Leases::Sound);
        violations.extend(wrong_ends);
        violations
    }
}

fn have_ended(jobs: &[Job]) -> bool {
    jobs.iter().all(|job| job.status().is_terminal())
}

/// The least, the median and the most of some times, in whole seconds; `None` if there are none.
fn spread(mut times: Vec<Duration>) -> Option<String> {
    times.sort();
    let (least, median, most) = (times.first()?, times.get(times.len() / 2)?, times.last()?);
    let [least, median, most] = [least, median, most].map(Duration::as_secs_f64);
    Some(format!("{least:.0} s, {median:.0} s, {most:.0} s (least, median, most of {})", times.len()))
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
