//! What may happen to a worker's process: jobs that panic, hang or never let go of their thread, and signals in the middle.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use shared::job::submission::{Origin, Submission};
use shared::job::{Job, Status};
use shared::ports::JobStore;
use shared::values::id::{JobId, Tenant};
use shared::values::time::Timestamp;
use tests::system::{System, alone_with_the_workers, functions, system};

const CSV: &str = r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#;

/// As many messages as SQS gives to a worker at once.
const BATCH: u8 = 10;

/// Stores a job without a message. No other job has the same `number`.
async fn store(system: &System, number: u8, body: &str) -> JobId {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let now = Timestamp::from_millis(i64::try_from(now).expect("before 292277026596"));
    let submission = Submission::parse(body.as_bytes(), now).expect("fits");
    let origin = Origin { correlation_id: "fault".to_owned(), traceparent: None };
    let job = submission.into_job(JobId::at(now, [number; 10]), Tenant::only(), now, origin);
    system.store().insert_if_absent(&job).await.expect("stored");
    job.id
}

async fn job(system: &System, id: JobId) -> Job {
    system.store().find(id).await.expect("answers").expect("is there")
}

/// What SQS gives to a worker: a message for each of these jobs, whose id is the message's too.
fn batch(jobs: &[JobId]) -> Vec<u8> {
    let record = |id: &JobId| {
        json!({
            "messageId": id, "receiptHandle": format!("receipt-of-{id}"), "body": json!({ "job_id": id }).to_string(),
            "attributes": { "ApproximateReceiveCount": "1" }, "messageAttributes": {}, "md5OfBody": "",
            "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:dray-jobs",
            "awsRegion": "us-east-1",
        })
    };
    json!({ "Records": jobs.iter().map(record).collect::<Vec<_>>() }).to_string().into_bytes()
}

#[tokio::test]
async fn however_a_job_fails_its_nine_neighbours_complete() {
    let system = system();
    if !system.can_rehearse().await {
        return;
    }
    let _alone = alone_with_the_workers().await;
    let faults = [("panic", "the job panicked"), ("hang", "longer than 1 s"), ("spin", "longer than 1 s")];
    for (number, (act, error)) in (0..).zip(faults) {
        let script = json!({ "attempts": [act] });
        let faulty = json!({ "type": "rehearsal", "payload": script, "max_attempts": 1, "timeout_seconds": 1 });
        let mut jobs = vec![store(system, number * BATCH, &faulty.to_string()).await];
        for neighbour in 1..BATCH {
            jobs.push(store(system, number * BATCH + neighbour, CSV).await);
        }
        let answer = system.try_invoke("WorkerFunctionName", batch(&jobs)).await;

        let (faulty, neighbours) = jobs.split_first().expect("ten");
        for neighbour in neighbours {
            assert_eq!(job(system, *neighbour).await.status(), Status::Completed, "{act}");
        }
        let failed = job(system, *faulty).await;
        assert_eq!(failed.status(), Status::Failed, "{act}");
        assert!(failed.error.as_ref().is_some_and(|told| told.contains(error)), "{act}: {:?}", failed.error);
        if act == "spin" {
            // Nothing else takes its thread from it. All outcomes are in the table by then.
            let error = answer.expect_err("the process has ended itself");
            assert_eq!(error["errorType"], "Runtime.ExitError", "{error}");
        } else {
            let only_it = json!({ "batchItemFailures": [{ "itemIdentifier": faulty }] });
            assert_eq!(answer.expect("the process lives"), only_it, "{act}");
        }
        let next = system.invoke("WorkerFunctionName", batch(&[])).await;
        assert_eq!(next, json!({ "batchItemFailures": [] }), "{act}: there is a worker for the next batch");
    }
}

#[tokio::test]
async fn a_job_whose_worker_process_is_ended_in_the_middle_completes_on_another_attempt() {
    let system = system();
    if !system.can_rehearse().await {
        return;
    }
    let mut jobs = vec![];
    for signal in [Signal::KILL, Signal::TERM] {
        let _alone = alone_with_the_workers().await;
        let hangs = r#"{"type":"rehearsal","payload":{"attempts":["hang","succeed"]},"timeout_seconds":20}"#;
        let id = system.submit(hangs).await;
        system.job_once(&id, &["processing"], Duration::from_secs(30)).await;
        // Whichever of them has the job; the jobs of the others are rescued just so.
        for process in system.processes("WorkerFunctionName") {
            let _ = kill_process(Pid::from_raw(process).expect("a process"), signal);
        }
        jobs.push((signal, id));
    }
    for (signal, id) in jobs {
        // The job's first due, a minute, and two sweeps.
        let job = system.job_once(&id, &["completed", "failed", "cancelled"], Duration::from_secs(190)).await;
        let found = [&job["status"], &job["attempts"], &job["result"]];
        assert_eq!(found, [&json!("completed"), &json!(2), &json!(2)], "{signal:?}: {job}");
    }
}

#[tokio::test]
async fn what_is_deployed_cannot_be_told_to_fail() {
    let Some(folder) = functions().filter(|folder| folder.join("template.yaml").is_file()) else {
        eprintln!("skipped: DRAY_FUNCTIONS names no folder that `sam build` has made");
        return;
    };
    let (status, _, answer) = system().post("/jobs", &[], r#"{"type":"rehearsal","payload":{}}"#).await;
    assert_eq!((status, &answer["field"]), (422, &Value::from("type")), "{answer}");
    for function in ["ApiFunction", "WorkerFunction", "SweeperFunction", "EventsFunction"] {
        let code = std::fs::read(folder.join(function).join("bootstrap")).expect("sam has built it");
        let code = String::from_utf8_lossy(&code);
        for words in ["told to panic", "KILL_POINTS"] {
            assert!(!code.contains(words), "{function} has {words:?} in it");
        }
    }
}
