//! A network between the functions and AWS that drops, answers wrongly, stalls and repeats.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use local::Detour;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use reqwest::Client;
use shared::job::Status;
use shared::values::id::JobId;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Accepted, Attacked, ask, submit};
use crate::resident::{megabytes, resident_kib};
use crate::summary::Line;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// It arrives, and so does its answer.
    Arrives,
    /// It never arrives.
    Dropped,
    /// It arrives, and its answer gets lost.
    Unanswered,
    /// It is answered with a 500 and does not arrive.
    ServerError,
    /// It is answered with a throttling error and does not arrive.
    Throttled,
    /// It arrives after five seconds, when the caller has given up and may have asked again.
    Stalled,
    /// It arrives twice.
    Twice,
}

/// Those of them that are faults, and what each is called.
const FAULTS: [(Fate, &str); 6] = [
    (Fate::Dropped, "dropped"),
    (Fate::Unanswered, "unanswered"),
    (Fate::ServerError, "500"),
    (Fate::Throttled, "throttled"),
    (Fate::Stalled, "5 s late"),
    (Fate::Twice, "twice"),
];

/// With how many jobs each fault must have met each vital operation.
const ENOUGH: u32 = 1_000;

/// The operations that a job cannot do without.
const VITAL: [&str; 3] = ["PutItem", "UpdateItem", "SendMessage"];

/// How many clients submit at once.
const CLIENTS: u32 = 16;

struct Network {
    client: Client,
    aws: Arc<OnceLock<String>>,
    chance: Mutex<SmallRng>,
    /// How many requests in a hundred meet a fault; none until the stack has started.
    percent: AtomicU32,
    met: Mutex<BTreeMap<String, Met>>,
}

/// What the requests of one operation have met.
#[derive(Clone, Debug, Default)]
struct Met {
    requests: u64,
    faults: BTreeMap<Fate, u64>,
}

impl Network {
    /// What becomes of a request of this operation. Whether it meets a fault is left to chance; the faults take turns, so
    /// that even an operation of which there are few requests meets each.
    fn fate(&self, operation: &str) -> Fate {
        let drawn = self.chance.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..100);
        let strikes = drawn < self.percent.load(Ordering::Relaxed);
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let met = met.entry(operation.to_owned()).or_default();
        met.requests += 1;
        if !strikes {
            return Fate::Arrives;
        }
        let so_far: u64 = met.faults.values().sum();
        let (fate, _) = FAULTS[usize::try_from(so_far).unwrap_or(0) % FAULTS.len()];
        *met.faults.entry(fate).or_default() += 1;
        fate
    }

    fn met(&self) -> BTreeMap<String, Met> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The functions, by what the template's output that names each is called.
const FUNCTIONS: [(&str, &str); 3] =
    [("api", "ApiFunctionName"), ("worker", "WorkerFunctionName"), ("sweeper", "SweeperFunctionName")];

/// Runs `jobs` jobs through a network in which `percent` of all requests meet a fault, and waits for their ends. Gives a
/// sentence on how much memory the functions held meanwhile.
pub async fn cut_the_network(seed: u64, jobs: u32, percent: u32) -> (Line, String) {
    let aws = Arc::new(OnceLock::new());
    let network = Arc::new(Network {
        client: Client::new(),
        aws: Arc::clone(&aws),
        chance: Mutex::new(SmallRng::seed_from_u64(seed)),
        percent: AtomicU32::new(0),
        met: Mutex::default(),
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new().fallback(pass).with_state(Arc::clone(&network));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });

    let mut attacked = Attacked::start("verify-network", Some(Detour { url, leads_to: aws })).await;
    network.percent.store(percent, Ordering::Relaxed);
    let submitted = Arc::new(AtomicU32::new(0));
    let client = |first| submit_every(CLIENTS, first, jobs, attacked.stack.url().to_owned(), Arc::clone(&submitted));
    let clients: Vec<_> = (0..CLIENTS).map(|first| tokio::spawn(client(first))).collect();
    let mut memory = vec![];
    for part in [jobs / 10, jobs / 2] {
        while submitted.load(Ordering::Relaxed) < part && !clients.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        memory.push(most_memory(&attacked));
    }
    for client in clients {
        attacked.accepted.extend(client.await.expect("every job is accepted at last"));
    }
    let ended = attacked.drain(Duration::from_secs(900)).await;
    memory.push(most_memory(&attacked));
    let violations = attacked.violations(&ended).await;
    for violation in &violations {
        println!("{violation}");
    }
    serving.abort();
    let met = network.met();
    let struck = met.values().flat_map(|met| met.faults.values()).sum();
    let unmet = if jobs < ENOUGH { vec![] } else { unmet(&met) };
    for (operation, fault) in &unmet {
        println!("no {operation} was {fault}");
    }
    let cancelled = ended.iter().filter(|job| job.status() == Status::Cancelled).count();
    let note = format!("{}{cancelled} jobs were cancelled\n{}", table(&met), memory_note(&memory));
    (Line::of("local stack: network faults", ended.len(), struck, &violations).missing(unmet.len()), note)
}

/// The faults that no request of a vital operation has met.
fn unmet(met: &BTreeMap<String, Met>) -> Vec<(&'static str, &'static str)> {
    let has_met = |operation: &str, fate: Fate| met.get(operation).is_some_and(|met| met.faults.contains_key(&fate));
    let pairs = VITAL.iter().flat_map(|operation| FAULTS.map(|(fate, name)| (*operation, fate, name)));
    pairs
        .filter(|(operation, fate, _)| !has_met(operation, *fate))
        .map(|(operation, _, name)| (operation, name))
        .collect()
}

/// Which operation met which fault, and how often.
fn table(met: &BTreeMap<String, Met>) -> String {
    let heads = FAULTS.map(|(_, name)| format!("{name:>11}")).concat();
    let lines = met.iter().map(|(operation, Met { requests, faults })| {
        let times = FAULTS.map(|(fate, _)| format!("{:>11}", faults.get(&fate).copied().unwrap_or(0))).concat();
        format!("{operation:<24}{requests:>10}{times}\n")
    });
    let head = format!("{:<24}{:>10}{heads}\n", "operation", "requests");
    std::iter::once(head).chain(lines).collect()
}

/// The resident memory of the largest process of each function, in KiB; `None` where none is alive.
fn most_memory(attacked: &Attacked) -> [Option<u32>; 3] {
    FUNCTIONS.map(|(_, output)| {
        let processes = attacked.processes(output);
        processes.iter().filter_map(|process| resident_kib(&process.to_string())).max()
    })
}

fn memory_note(memory: &[[Option<u32>; 3]]) -> String {
    let of = |function: usize| memory.iter().map(|at| megabytes(at[function])).collect::<Vec<_>>().join(", ");
    let functions = FUNCTIONS.iter().enumerate().map(|(number, (name, _))| format!("{name} {}", of(number)));
    let functions = functions.collect::<Vec<_>>().join("; ");
    format!("memory of each function's largest process at a tenth of the jobs, at half, and at the end: {functions}")
}

async fn submit_every(step: u32, first: u32, jobs: u32, url: String, submitted: Arc<AtomicU32>) -> Vec<Accepted> {
    let mut accepted = vec![];
    for number in (first..jobs).step_by(step as usize) {
        let payload = format!(r#"{{"number":{number}}}"#);
        let body = format!(r#"{{"type":"csv-generation","payload":{payload},"max_attempts":10,"timeout_seconds":10}}"#);
        let key = format!("network-{number}");
        let id = submit(&url, &key, &body).await;
        let expected = if number % 20 == 7 { cancel(&url, id).await } else { Some(Status::Completed) };
        accepted.push(Accepted { id, key: key.clone(), expected });
        if number % 20 == 3 {
            // A client that does not know any more that it has its answer.
            accepted.push(Accepted { id: submit(&url, &key, &body).await, key, expected });
        }
        submitted.fetch_add(1, Ordering::Relaxed);
    }
    accepted
}

/// Cancels a job. Gives the end that it must have; `None` if it ran already, and may complete.
async fn cancel(url: &str, job: JobId) -> Option<Status> {
    match ask(url, &format!("/jobs/{job}/cancel"), None, "").await {
        (200, _) => Some(Status::Cancelled),
        (202, _) => None,
        (409, _) => Some(Status::Completed),
        (status, answer) => panic!("{status} to a cancel: {answer}"),
    }
}

async fn pass(State(network): State<Arc<Network>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let Some(aws) = network.aws.get() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = parts.headers;
    headers.remove("host");
    let operation = operation_of(&headers);
    let request = network.client.request(parts.method, format!("{aws}{path}")).headers(headers).body(body);
    let arrive = async || request.try_clone().expect("its body is bytes").send().await;
    match network.fate(&operation) {
        Fate::Arrives => answer(arrive().await).await,
        Fate::Dropped => cut().await,
        Fate::Unanswered => {
            let _ = arrive().await;
            cut().await
        }
        Fate::ServerError => (StatusCode::INTERNAL_SERVER_ERROR, "{}").into_response(),
        Fate::Throttled => {
            let body = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"slow down"}"#;
            (StatusCode::BAD_REQUEST, [("content-type", "application/x-amz-json-1.0")], body).into_response()
        }
        Fate::Stalled => {
            // In a task of its own: this one ends when the caller hangs up.
            let arriving = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(5)).await;
                request.send().await
            });
            match arriving.await {
                Ok(arrived) => answer(arrived).await,
                Err(_) => StatusCode::BAD_GATEWAY.into_response(),
            }
        }
        Fate::Twice => {
            let _ = arrive().await;
            answer(arrive().await).await
        }
    }
}

/// The operation that a request asks for: `DynamoDB_20120810.PutItem`, without what comes before the dot.
fn operation_of(headers: &HeaderMap) -> String {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or("other");
    target.rsplit('.').next().unwrap_or(target).to_owned()
}

async fn answer(answer: Result<reqwest::Response, reqwest::Error>) -> Response {
    let Ok(answer) = answer else { return StatusCode::BAD_GATEWAY.into_response() };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    for own in ["connection", "transfer-encoding", "content-length"] {
        response.headers_mut().remove(own);
    }
    *response.body_mut() = Body::from(answer.bytes().await.unwrap_or_default());
    response
}

/// No answer, for longer than any caller waits: as if the connection were cut.
async fn cut() -> Response {
    tokio::time::sleep(Duration::from_secs(3)).await;
    StatusCode::GATEWAY_TIMEOUT.into_response()
}
