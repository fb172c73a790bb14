//! The local stack under attack: real function processes, killed and cut off.

mod kill;
mod network;
mod rescue;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use local::{Detour, Environment, Options, Stack};
use reqwest::Client;
use serde_json::Value;
use shared::job::{Job, State, Status};
use shared::job_type::Payload as _;
use shared::payloads::csv_generation::CsvGeneration;
use shared::ports::{JobStore, Lane, ListQuery};
use shared::values::id::{JobId, Tenant};
use shared_aws::dynamodb::DynamoStore;
use tests::system::{options, processes_of, target_dir};
use tests::table::{Meter, client_of};

use crate::history::{Kind, Record, Violation, callbacks_of, check, records_of};
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
    folder: PathBuf,
}

/// A job that was answered with 202.
struct Accepted {
    id: JobId,
    key: String,
    /// The status that it must end in; `None` if more than one is right.
    expected: Option<Status>,
}

impl Attacked {
    async fn start(name: &str, detour: Option<Detour>) -> Self {
        let folder = target_dir().join("tmp").join(name);
        let _ = std::fs::remove_dir_all(&folder); // what an earlier run has left
        std::fs::create_dir_all(folder.join("data/kill-points")).expect("a folder");
        let environment = Environment::default()
            .with("OUTPUT_URL", format!("file://{}", folder.join("output").display()))
            .with("RETRY_BASE_SECONDS", "1");
        let data_dir = folder.join("data");
        let options = Options { detour: detour.clone(), ..options(data_dir) };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let stack = Stack::start(&options, environment, listener, &|_| ()).await.expect("the stack starts");
        let functions_aws_url = detour.map_or_else(|| stack.aws_url().to_owned(), |detour| detour.url);
        Self { stack, functions_aws_url, accepted: vec![], folder }
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

    /// What the API answers to a request in the end.
    async fn post(&self, path: &str, key: Option<&str>, body: &str) -> Value {
        let (_, answer) = ask(self.stack.url(), path, key, body).await;
        answer
    }

    /// Notes a job that was answered as accepted.
    fn expect(&mut self, id: &Value, key: String, expected: Option<Status>) {
        let id = id.as_str().and_then(|id| id.parse().ok()).expect("an id");
        self.accepted.push(Accepted { id, key, expected });
    }

    /// Asks for something to be done about the job that was accepted last.
    async fn act_on_latest(&self, what: &str, body: &str) {
        let job = self.accepted.last().expect("one was accepted").id;
        self.post(&format!("/jobs/{job}/{what}"), None, body).await;
    }

    /// Waits for the job that was accepted last. Gives its status then.
    async fn until_latest(&self, is_so: impl Fn(&Job) -> bool) -> Status {
        let (store, id) = (self.store(), self.accepted.last().expect("one was accepted").id);
        let end = Instant::now() + Duration::from_secs(600);
        loop {
            let job = store.find(id).await.expect("the engine answers").expect("it was accepted");
            if is_so(&job) {
                return job.status();
            }
            assert!(Instant::now() < end, "job {id} does not come as far as it should");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The folder whose files say where to die.
    fn kill_points(&self) -> PathBuf {
        self.folder.join("data/kill-points")
    }

    /// Runs the sweeper now, besides its schedule. Whether it survived.
    async fn sweep(&self) -> bool {
        let answer = Client::new().post(self.sweeper_url()).body("{}").send().await.expect("the engine answers");
        !answer.headers().contains_key("x-amz-function-error")
    }

    /// Where the sweeper is invoked.
    fn sweeper_url(&self) -> String {
        let function = &self.stack.outputs()["SweeperFunctionName"];
        format!("{}/2015-03-31/functions/{function}/invocations", self.stack.aws_url())
    }

    /// The processes of a function that are alive, the function named as the template's output that names it.
    fn processes(&self, function: &str) -> Vec<i32> {
        processes_of(&self.stack.outputs()[function], &self.functions_aws_url)
    }

    /// The accepted jobs as they are now.
    async fn jobs(&self) -> Vec<Job> {
        let store = self.store();
        let mut jobs = vec![];
        let ids: BTreeSet<JobId> = self.accepted.iter().map(|accepted| accepted.id).collect();
        for id in ids {
            jobs.extend(store.find(id).await.expect("the engine answers"));
        }
        jobs
    }

    /// Waits until all jobs and their callbacks have ended, sweeping now and then besides the schedule, for as long as
    /// `time`.
    async fn drain(&self, time: Duration) -> Vec<Job> {
        let end = Instant::now() + time;
        loop {
            let jobs = self.jobs().await;
            if (have_ended(&jobs) && self.callbacks_have_ended(&jobs).await) || Instant::now() > end {
                return jobs;
            }
            self.sweep().await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    async fn callbacks_have_ended(&self, jobs: &[Job]) -> bool {
        let store = self.store();
        for (callback, _) in jobs.iter().flat_map(callbacks_of) {
            let there = store.find(callback).await.expect("the engine answers");
            if !there.is_some_and(|job| job.status().is_terminal()) {
                return false;
            }
        }
        true
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

    /// All jobs that are in the table, which must be those that were accepted.
    async fn listed(&self) -> Vec<Job> {
        let (store, mut listed, mut before) = (self.store(), vec![], None);
        loop {
            let query = ListQuery { tenant: Tenant::only(), lane: Lane::All, before, limit: 100 };
            let page = store.list(&query).await.expect("the engine answers");
            listed.extend(page.jobs);
            before = page.next;
            if before.is_none() {
                return listed;
            }
        }
    }

    /// What must not have happened.
    async fn violations(&self, jobs: &[Job]) -> Vec<Violation> {
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
        violations.extend(jobs.iter().filter_map(|job| self.what_is_wrong_with_the_file_of(job)));
        let callbacks: BTreeSet<JobId> = jobs.iter().flat_map(callbacks_of).map(|(id, _)| id).collect();
        let listed = self.listed().await;
        let of_nobody = listed.iter().filter(|job| !by_id.contains_key(&job.id) && !callbacks.contains(&job.id));
        violations.extend(of_nobody.map(|job| {
            let what = "is in the table, and nobody got it accepted".to_owned();
            Violation { kind: Kind::Doubled, job: job.id, what }
        }));
        for callback in callbacks {
            if let Some(job) = listed.iter().find(|job| job.id == callback) {
                violations.extend(check(&records_of(job), std::slice::from_ref(job), Leases::Sound));
            } else {
                let what = "nobody is called back".to_owned();
                violations.push(Violation { kind: Kind::Lost, job: callback, what });
            }
        }
        violations
    }
}

impl Attacked {
    /// A completed CSV job must have left the file that it names, with what its payload asks for.
    fn what_is_wrong_with_the_file_of(&self, job: &Job) -> Option<Violation> {
        let State::Completed { .. } = &job.state else { return None };
        if job.job_type.as_str() != CsvGeneration::NAME {
            return None;
        }
        let payload: serde_json::Map<String, Value> = serde_json::from_str(job.payload.as_str()).expect("an object");
        let lines: Vec<_> = payload.iter().map(|(key, value)| format!("{key},{value}")).collect();
        let file = self.folder.join("output").join(format!("{}.csv", job.id));
        let what = match std::fs::read_to_string(&file) {
            Ok(content) if lines.iter().all(|line| content.lines().any(|there| there == line)) => return None,
            Ok(content) => format!("its file has {content:?}, and not {lines:?}"),
            Err(error) => format!("its file cannot be read: {error}"),
        };
        Some(Violation { kind: Kind::Lost, job: job.id, what })
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

/// How often a request is repeated that gets no answer.
const TRIES: u32 = 200;

/// Sends a request again and again until it is answered, and not by a failure. Gives the status and the body.
async fn ask(url: &str, path: &str, key: Option<&str>, body: &str) -> (u16, Value) {
    for _ in 0..TRIES {
        let request = Client::new().post(format!("{url}{path}")).body(body.to_owned());
        let request = request.header("content-type", "application/json");
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        if let Ok(answer) = request.send().await
            && !answer.status().is_server_error()
            && let status = answer.status().as_u16()
            && let Ok(body) = answer.json().await
        {
            return (status, body);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no answer to {path} after {TRIES} tries")
}

/// Submits a job that must be accepted.
async fn submit(url: &str, key: &str, body: &str) -> JobId {
    let (status, answer) = ask(url, "/jobs", Some(key), body).await;
    assert_eq!(status, 202, "{key}: {answer}");
    answer["job_id"].as_str().expect("an id").parse().expect("an id")
}
