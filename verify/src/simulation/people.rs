//! Who uses the deployment: clients that submit jobs, and people who act on them, all by way of the API.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use shared::job::Status;
use shared::job::submission::Limits;
use shared::ports::JobStore;
use shared::values::id::JobId;
use tower::ServiceExt;

use super::Fault;
use super::ports::{Cosmos, Process};
use crate::functions::{Ports, accepted_in, submission};
use crate::history::Record;
use crate::virtual_time::EPOCH;

/// How often a request is repeated that got no answer.
const TRIES: u32 = 50;

/// How long after.
const TRIES_APART: Duration = Duration::from_secs(1);

/// Submits one job, again and again with the same key until it is accepted, and acts on it. Whether it was accepted.
pub async fn client(cosmos: Arc<Cosmos>, number: u32) -> bool {
    let Some(job) = submit(&cosmos, number).await else { return false };
    if number.is_multiple_of(10) {
        // It has forgotten that it has its answer.
        tokio::time::sleep(Duration::from_millis(cosmos.below(60_000))).await;
        let _ = submit(&cosmos, number).await;
    }
    if cosmos.strikes_at(Fault::Reschedule, Some(job)) {
        tokio::time::sleep(Duration::from_millis(cosmos.below(5_000))).await;
        let body = format!(r#"{{"delay_seconds":{}}}"#, cosmos.below(1_500));
        let _ = act(&cosmos, job, "reschedule", body).await;
    }
    if cosmos.strikes_at(Fault::Cancel, Some(job)) {
        tokio::time::sleep(Duration::from_millis(cosmos.below(20_000))).await;
        if act(&cosmos, job, "cancel", String::new()).await {
            cosmos.record(Record::CancelAcknowledged { job });
        }
    }
    // Whoever looks after failures, now and then.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(20_000 + cosmos.below(20_000))).await;
        match cosmos.store.find(job).await.expect("memory answers") {
            Some(there) if there.status() == Status::Failed && cosmos.strikes_at(Fault::Redrive, Some(job)) => {
                let _ = act(&cosmos, job, "retry", String::new()).await;
            }
            Some(there) if there.status().is_terminal() => break,
            Some(_) | None => {}
        }
    }
    true
}

async fn submit(cosmos: &Arc<Cosmos>, number: u32) -> Option<JobId> {
    let key = format!("order-{number}");
    let body = payload_of(cosmos, number);
    for _ in 0..TRIES {
        let process = Process::answering(cosmos, Some(key.clone()));
        let answer = answer_of(&process, submission(Some(&key), body.clone())).await;
        if let Some(job) = answer.as_ref().and_then(accepted_in) {
            cosmos.record(Record::Accepted { job, key: Some(key) });
            return Some(job);
        }
        tokio::time::sleep(TRIES_APART).await;
    }
    None
}

/// Asks for something to be done about a job, a few times if there is no answer. Whether it is granted.
async fn act(cosmos: &Arc<Cosmos>, job: JobId, what: &str, body: String) -> bool {
    for _ in 0..3 {
        cosmos.tell(Some(job), &format_args!("somebody asks to {what} it"));
        let request = Request::post(format!("/jobs/{job}/{what}")).header("content-type", "application/json");
        let request = request.body(Body::from(body.clone())).expect("a request");
        match answer_of(&Process::new(cosmos), request).await {
            Some(answer) if !answer.status().is_server_error() => return answer.status().is_success(),
            Some(_) | None => tokio::time::sleep(TRIES_APART).await,
        }
    }
    false
}

/// The API's answer; `None` if its process dies before it gives one.
async fn answer_of(process: &Arc<Process>, request: Request<Body>) -> Option<Response> {
    let router = Ports::of(process).api(Limits::default());
    tokio::select! {
        biased;
        () = process.died.notified() => None,
        answer = router.oneshot(request) => answer.ok(),
    }
}

/// The same for each number: some jobs are slow, some fail now and then, some give up, some are for later, some expire,
/// and some call back.
fn payload_of(cosmos: &Cosmos, number: u32) -> String {
    let slow_ones = if cosmos.plan.fault == Some(Fault::VisibilityOver) { 6 } else { 2 };
    let hopeless_ones = if cosmos.plan.fault == Some(Fault::Redrive) { 3 } else { 1 };
    let wish = match (u64::from(number) ^ cosmos.plan.seed) % 10 {
        place if place < slow_ones => "slow",
        6 => "fail",
        place if place >= 10 - hopeless_ones => "give_up",
        _ => "",
    };
    let rest = match number % 50 {
        0 => r#","delay_seconds":30"#.to_owned(),
        1 => r#","delay_seconds":1200"#.to_owned(),
        // Time enough to be started, unless its message gets lost.
        2 => format!(r#","expires_at":"{}""#, EPOCH + Duration::from_secs(600)),
        3 | 13 | 23 | 33 | 43 => r#","callback_url":"https://example.com/hooks""#.to_owned(),
        _ => String::new(),
    };
    format!(r#"{{"type":"csv-generation","payload":{{"wish":"{wish}"}},"timeout_seconds":10{rest}}}"#)
}
