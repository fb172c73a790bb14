//! A network between the functions and AWS that drops, answers wrongly, stalls and repeats.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use reqwest::Client;
use shared::job::Status;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Accepted, Attacked, submit};
use crate::resident::{megabytes, resident_kib};
use crate::summary::Line;

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
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
    /// It arrives after five seconds, when the caller has given up.
    Stalled,
    /// It arrives twice.
    Twice,
}

/// Those of them that are faults.
const FAULTS: [Fate; 6] =
    [Fate::Dropped, Fate::Unanswered, Fate::ServerError, Fate::Throttled, Fate::Stalled, Fate::Twice];

/// How many clients submit at once.
const CLIENTS: u32 = 16;

struct Network {
    client: Client,
    aws: OnceLock<String>,
    chance: Mutex<SmallRng>,
    percent: u32,
    faults: AtomicU64,
}

impl Network {
    fn fate(&self) -> Fate {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        if chance.random_range(0..100) >= self.percent {
            return Fate::Arrives;
        }
        self.faults.fetch_add(1, Ordering::Relaxed);
        FAULTS[chance.random_range(0..FAULTS.len())]
    }
}

/// The functions, by what the template's output that names each is called.
const FUNCTIONS: [(&str, &str); 3] =
    [("api", "ApiFunctionName"), ("worker", "WorkerFunctionName"), ("sweeper", "SweeperFunctionName")];

/// Runs `jobs` jobs through a network in which `percent` of all requests meet a fault, and waits for their ends. Gives a
/// sentence on how much memory the functions held meanwhile.
pub async fn cut_the_network(seed: u64, jobs: u32, percent: u32) -> (Line, String) {
    let network = Arc::new(Network {
        client: Client::new(),
        aws: OnceLock::new(),
        chance: Mutex::new(SmallRng::seed_from_u64(seed)),
        percent,
        faults: AtomicU64::new(0),
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new().fallback(pass).with_state(Arc::clone(&network));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });

    let mut attacked = Attacked::start("verify-network", Some(address)).await;
    network.aws.set(attacked.stack.aws_url().to_owned()).expect("set once");
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
    let violations = attacked.violations(&ended);
    for violation in &violations {
        println!("{violation}");
    }
    serving.abort();
    let struck = network.faults.load(Ordering::Relaxed);
    (Line::of("local stack: network faults", ended.len(), struck, &violations), memory_note(&memory))
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
        accepted.push(Accepted { id, key, expected: Some(Status::Completed) });
        submitted.fetch_add(1, Ordering::Relaxed);
    }
    accepted
}

async fn pass(State(network): State<Arc<Network>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let Some(aws) = network.aws.get() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = parts.headers;
    headers.remove("host");
    let arrive = async || {
        let request = network.client.request(parts.method.clone(), format!("{aws}{path}")).headers(headers.clone());
        request.body(body.clone()).send().await
    };
    match network.fate() {
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
            tokio::time::sleep(Duration::from_secs(5)).await;
            answer(arrive().await).await
        }
        Fate::Twice => {
            let _ = arrive().await;
            answer(arrive().await).await
        }
    }
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
