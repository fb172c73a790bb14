//! The running system, one for all tests of a test binary.
//!
//! It runs on threads of its own, because each test's threads end with the test. When the test process ends, however it
//! does, the stack's engine and the mail server notice and end too. A test that wants a system to itself holds its stack.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use local::{Environment, Options, Stack};
use reqwest::Client;
use serde_json::Value;
use shared_aws::dynamodb::DynamoStore;
use tokio::sync::{Mutex, MutexGuard};

use crate::engines::config_at;
use crate::gate::Gate;
use crate::smtp::SmtpServer;
use crate::table::Meter;

/// A running system.
pub struct System {
    /// Where its API is.
    pub url: String,
    /// Where its AWS is.
    pub aws_url: String,
    /// Where its files go: `output/` is in it.
    pub folder: PathBuf,
    /// Where its e-mail goes.
    pub mail: SmtpServer,
    /// The template's outputs.
    pub outputs: BTreeMap<String, String>,
    /// What its functions are let do.
    pub gate: Arc<Gate>,
    /// Where its functions are told that AWS is: at the gate.
    gate_url: String,
}

/// Where the system listens besides 127.0.0.1, as it would for containers: this machine's own too.
pub const OTHER_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// What the system signs webhooks with.
pub const WEBHOOK_SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Cargo's folder for what is built and for what tests leave.
pub fn target_dir() -> PathBuf {
    let executable = std::env::current_exe().expect("this program has a path"); // target/debug/…
    let is_profile = |folder: &&Path| folder.ends_with("debug") || folder.ends_with("release");
    let profile = executable.ancestors().find(is_profile).expect("built by cargo");
    profile.parent().expect("a target folder").to_owned()
}

/// A folder with functions that somebody has built, as `sam build` does, if `DRAY_FUNCTIONS` names one: the tests are about
/// those then, and not about a debug build. A relative name is one in this repository.
pub fn functions() -> Option<PathBuf> {
    let folder = std::env::var_os("DRAY_FUNCTIONS").filter(|folder| !folder.is_empty())?;
    Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder))
}

/// How the tests run a stack that keeps its data in `data_dir`: with the functions that they are about.
pub fn options(data_dir: PathBuf) -> Options {
    Options { port: 0, data_dir, functions: functions(), allow_host: vec![], bind: None, detour: None }
}

/// The system. The first to ask waits until it is up.
pub fn system() -> &'static System {
    static SYSTEM: OnceLock<System> = OnceLock::new();
    SYSTEM.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let (system, stack) = start("system").await;
                sender.send(system).expect("somebody waits");
                let _stack = stack; // for as long as this process lives
                std::future::pending::<()>().await;
            });
        });
        receiver.recv().expect("the system starts")
    })
}

/// Starts a system in the folder of this name below the target folder. It runs for as long as its stack is held.
pub async fn start(name: &str) -> (System, Stack) {
    start_with(name, &[]).await
}

/// The same with these settings in place of its own.
pub async fn start_with(name: &str, settings: &[(&str, &str)]) -> (System, Stack) {
    let target_dir = target_dir();
    let folder = target_dir.join("tmp").join(name);
    let _ = std::fs::remove_dir_all(&folder); // what an earlier run has left
    std::fs::create_dir_all(&folder).expect("a folder");
    let mail = SmtpServer::start(&target_dir).await;
    let mut environment = Environment::default()
        .with("OUTPUT_URL", format!("file://{}", folder.join("output").display()))
        .with("MAIL_URL", format!("smtp://127.0.0.1:{}", mail.port))
        .with("RETRY_BASE_SECONDS", "1")
        .with("WEBHOOK_SECRET", WEBHOOK_SECRET);
    for (name, value) in settings {
        environment = environment.with(name, *value);
    }
    let (gate, detour) = Gate::open().await;
    let gate_url = detour.url.clone();
    let options = Options { bind: Some(OTHER_ADDRESS), detour: Some(detour), ..options(folder.join("data")) };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let say = |line: &str| eprintln!("{line}");
    let stack = Stack::start(&options, environment, listener, &say).await.expect("the stack starts");
    let system = System {
        url: stack.url().to_owned(),
        aws_url: stack.aws_url().to_owned(),
        folder,
        mail,
        outputs: stack.outputs().clone(),
        gate,
        gate_url,
    };
    (system, stack)
}

/// Held by whoever kills workers, and by whoever would notice.
pub async fn alone_with_the_workers() -> MutexGuard<'static, ()> {
    static WORKERS: Mutex<()> = Mutex::const_new(());
    WORKERS.lock().await
}

impl System {
    /// Posts JSON to the API. Gives the status, whether the answer was a replay, and the body.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, bool, Value) {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.post_bytes(path, &headers, body.as_bytes().to_vec()).await
    }

    /// Posts a body with these headers alone.
    pub async fn post_bytes(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, bool, Value) {
        let mut request = Client::new().post(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.body(body).send().await.expect("the API answers");
        let replayed = answer.headers().contains_key("idempotent-replayed");
        (answer.status().as_u16(), replayed, answer.json().await.expect("JSON"))
    }

    /// Submits a job that must be accepted. Gives its id.
    pub async fn submit(&self, body: &str) -> String {
        let (status, _, answer) = self.post("/jobs", &[], body).await;
        assert_eq!(status, 202, "{answer}");
        answer["job_id"].as_str().expect("an id").to_owned()
    }

    /// The job as the API shows it.
    pub async fn job(&self, id: &str) -> Value {
        let answer = reqwest::get(format!("{}/jobs/{id}", self.url)).await.expect("the API answers");
        answer.json().await.expect("JSON")
    }

    /// The job once it has one of these statuses. Panics if that takes longer than `time`.
    pub async fn job_once(&self, id: &str, statuses: &[&str], time: Duration) -> Value {
        let end = Instant::now() + time;
        loop {
            let job = self.job(id).await;
            if statuses.iter().any(|status| job["status"] == *status) {
                return job;
            }
            assert!(Instant::now() < end, "not {statuses:?} after {time:?}: {job}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// An output of the template.
    pub fn output(&self, name: &str) -> &str {
        self.outputs.get(name).unwrap_or_else(|| panic!("template.yaml has no output {name}"))
    }

    /// Whether there are jobs of the type `rehearsal`, which do as they are told: not where functions are as they are
    /// deployed. If not, says that a test is skipped.
    pub async fn can_rehearse(&self) -> bool {
        let (_, _, answer) = self.post("/jobs", &[], r#"{"type":"rehearsal","payload":{"rows":-1}}"#).await;
        let can = answer["field"] != "type";
        if !can {
            eprintln!("skipped: these functions do not have the job type rehearsal");
        }
        can
    }

    /// Gives a function an event, as `sam local invoke` does. Gives its answer.
    pub async fn invoke(&self, function: &str, event: Vec<u8>) -> Value {
        self.try_invoke(function, event).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, or else what Lambda says of a function that has failed.
    pub async fn try_invoke(&self, function: &str, event: Vec<u8>) -> Result<Value, Value> {
        let path = format!("{}/2015-03-31/functions/{}/invocations", self.aws_url, self.output(function));
        let answer = Client::new().post(path).body(event).send().await.expect("the engine answers");
        let failed = answer.headers().contains_key("x-amz-function-error");
        let body = answer.json().await.expect("JSON");
        if failed { Err(body) } else { Ok(body) }
    }

    /// The store that the functions use.
    pub fn store(&self) -> DynamoStore {
        let client = crate::table::client_of(&self.aws_url, &Meter::default());
        DynamoStore::with_client(client, self.output("TableName").to_owned())
    }

    /// Whether the dead-letter queue gets a message about this job before `time` is over. Takes nothing out of it.
    pub async fn is_dead_letter(&self, id: &str, time: Duration) -> bool {
        let queue = sqs_client(&self.aws_url);
        let end = Instant::now() + time;
        while Instant::now() < end {
            let receive = queue.receive_message().queue_url(self.output("DeadLetterQueueUrl"));
            let receive = receive.max_number_of_messages(10).visibility_timeout(1).wait_time_seconds(1);
            let received = receive.send().await.expect("SQS answers");
            let bodies = received.messages().iter().filter_map(|message| message.body());
            if bodies.into_iter().any(|body| body.contains(id)) {
                return true;
            }
        }
        false
    }

    /// The processes of a function that are alive.
    pub fn processes(&self, function: &str) -> Vec<i32> {
        processes_of(self.output(function), &self.gate_url)
    }

    /// What is in the file at `path` of the system's folder.
    pub fn file(&self, path: impl AsRef<Path>) -> String {
        let path = self.folder.join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// A client of the SQS at this address.
pub fn sqs_client(aws_url: &str) -> aws_sdk_sqs::Client {
    metered_sqs_client(aws_url, &Meter::default())
}

/// A client of the SQS at this address, whose requests are metered.
pub fn metered_sqs_client(aws_url: &str, meter: &Meter) -> aws_sdk_sqs::Client {
    let config = aws_sdk_sqs::config::Builder::from(&config_at(aws_url)).interceptor(meter.clone());
    aws_sdk_sqs::Client::from_conf(config.build())
}

/// The processes of the function of this name that are alive, of the engine that functions reach at `aws_url`.
pub fn processes_of(function_name: &str, aws_url: &str) -> Vec<i32> {
    let name = format!("AWS_LAMBDA_FUNCTION_NAME={function_name}");
    let engine = format!("AWS_ENDPOINT_URL={aws_url}");
    let mut found = vec![];
    for process in std::fs::read_dir("/proc").expect("Linux").flatten() {
        let Ok(id) = process.file_name().to_string_lossy().parse() else { continue };
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        let has = |wanted: &str| environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes());
        if has(&name) && has(&engine) {
            found.push(id);
        }
    }
    found
}
