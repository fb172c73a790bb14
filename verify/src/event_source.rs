//! What becomes of jobs, whatever the worker answers to its event source.
//!
//! The event source takes those messages out of the queue that the answer does not name as failed. Some answers it takes
//! for "all done" though they were meant otherwise, and messages are gone whose jobs are not done. The shipped worker
//! gives no such answer, and if it did, every job would reach its right end all the same: the table is the truth. Both
//! is shown here, by the shipped worker on real batches, its answer replaced by every other in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::tests::world::{body, record};
use aws_lambda_events::event::sqs::SqsMessage;
use serde_json::{Value, json};
use shared::job::Status;
use shared::ports::{JobQueue, Message, Receipt};
use shared::values::id::JobId;
use shared::values::time::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::deployment::{BATCH, Deployment, WORKER_TIMEOUT, WORKERS};
use crate::history::{Kind, Violation};
use crate::summary::Line;
use crate::virtual_time::in_virtual_time;

/// What an event source gets back from an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This text, which may be anything.
    Text(String),
    /// An error.
    Error,
    /// Nothing until the function's time was over.
    Timeout,
}

/// What an event source does with the messages of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes all of them out of the queue.
    AllDone,
    /// It leaves all of them in the queue, which delivers them again.
    AllFailed,
    /// It leaves those in the queue that have these ids.
    Failed(BTreeSet<String>),
    /// Nobody says.
    Undocumented,
}

/// What an event source that reports failures of batch items does with the messages of the `batch`, by AWS's rules.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting>
pub fn judge(answer: &Answer, batch: &[String]) -> Verdict {
    let text = match answer {
        Answer::Text(text) => text,
        Answer::Error | Answer::Timeout => return Verdict::AllFailed,
    };
    if text.is_empty() {
        return Verdict::Undocumented;
    }
    let failures = match serde_json::from_str(text) {
        Err(_) => return Verdict::AllFailed,
        Ok(Value::Null) => return Verdict::AllDone,
        Ok(Value::Object(response)) if response.is_empty() => return Verdict::AllDone,
        Ok(Value::Object(mut response)) => match response.remove(LIST) {
            Some(Value::Null) => return Verdict::AllDone,
            Some(Value::Array(failures)) => failures,
            Some(_) | None => return Verdict::Undocumented,
        },
        Ok(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => return Verdict::Undocumented,
    };
    if failures.is_empty() {
        return Verdict::AllDone;
    }
    let mut named = BTreeSet::new();
    let mut documented = true;
    for failure in failures {
        match failure {
            Value::Object(mut failure) => match failure.remove(IDENTIFIER) {
                Some(Value::String(id)) if batch.contains(&id) => documented &= named.insert(id),
                // An identifier that is empty, of no message in the batch, null, or under another name.
                Some(Value::String(_) | Value::Null) | None => return Verdict::AllFailed,
                Some(_) => documented = false,
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => documented = false,
        }
    }
    if documented { Verdict::Failed(named) } else { Verdict::Undocumented }
}

const LIST: &str = "batchItemFailures";
const IDENTIFIER: &str = "itemIdentifier";

/// What is wrong with an answer, if it is not of the one shape that leaves no doubt: an object with nothing but the list
/// of failures, and in that nothing but identifiers, each of a message in the batch, none of them twice.
fn doubt_about(answer: &str, batch: &[String]) -> Option<String> {
    let Ok(Value::Object(response)) = serde_json::from_str(answer) else { return Some("it is no object".to_owned()) };
    let (1, Some(Value::Array(failures))) = (response.len(), response.get(LIST)) else {
        return Some("it has something else than the list of failures".to_owned());
    };
    let mut named = BTreeSet::new();
    for failure in failures {
        let fields = failure.as_object().filter(|fields| fields.len() == 1);
        let Some(id) = fields.and_then(|fields| fields.get(IDENTIFIER)).and_then(Value::as_str) else {
            return Some("a failure has something else than an identifier".to_owned());
        };
        if id.is_empty() || !batch.iter().any(|known| known == id) {
            return Some(format!("it names {id:?}, which is not in the batch"));
        }
        if !named.insert(id) {
            return Some(format!("it names {id} twice"));
        }
    }
    None
}

/// One way to answer.
struct Shape {
    name: &'static str,
    /// What is answered instead of the worker's own answer to a batch of these ids.
    instead: fn(&str, &[String]) -> Answer,
}

/// The worker's own answer, and all others that we could think of.
static SHAPES: &[Shape] = &[
    Shape { name: "the worker's own answer", instead: |own, _| text(own) },
    Shape { name: "an empty list", instead: |_, _| text(r#"{"batchItemFailures":[]}"#) },
    Shape { name: "null for the list", instead: |_, _| text(r#"{"batchItemFailures":null}"#) },
    Shape { name: "an empty object", instead: |_, _| text("{}") },
    Shape { name: "null", instead: |_, _| text("null") },
    Shape { name: "an empty text", instead: |_, _| text("") },
    Shape { name: "the list under another name", instead: |own, _| text(&own.replace(LIST, "batch_item_failures")) },
    Shape { name: "the list alone", instead: |own, _| text(&list(failed_in(own)).to_string()) },
    Shape { name: "ids without their name", instead: |own, _| text(&json!({ LIST: failed_in(own) }).to_string()) },
    Shape { name: "no JSON", instead: |_, _| text("{ done") },
    Shape { name: "an empty identifier", instead: |_, _| naming([json!("")]) },
    Shape { name: "null for an identifier", instead: |_, _| naming([Value::Null]) },
    Shape { name: "a number for an identifier", instead: |_, _| naming([json!(1)]) },
    Shape {
        name: "an identifier under another name",
        instead: |_, batch| text(&json!({ LIST: [{ "messageId": batch[0] }] }).to_string()),
    },
    Shape { name: "an identifier of another batch", instead: |_, _| naming([json!("elsewhere")]) },
    Shape {
        name: "such a one among the right ones",
        instead: |own, _| naming(failed_in(own).into_iter().chain([json!("elsewhere")])),
    },
    Shape { name: "an identifier twice", instead: |_, batch| naming([json!(batch[0]), json!(batch[0])]) },
    Shape { name: "one of the failed not named", instead: |own, _| naming(failed_in(own).into_iter().skip(1)) },
    Shape {
        name: "the done named instead of the failed",
        instead: |own, batch| {
            let failed = failed_in(own);
            naming(batch.iter().map(|id| json!(id)).filter(|id| !failed.contains(id)))
        },
    },
    Shape { name: "an error", instead: |_, _| Answer::Error },
    Shape { name: "nothing before the timeout", instead: |_, _| Answer::Timeout },
];

fn text(text: &str) -> Answer {
    Answer::Text(text.to_owned())
}

fn naming(ids: impl IntoIterator<Item = Value>) -> Answer {
    text(&json!({ LIST: list(ids) }).to_string())
}

fn list(ids: impl IntoIterator<Item = Value>) -> Value {
    ids.into_iter().map(|id| json!({ IDENTIFIER: id })).collect()
}

/// The ids that the worker's own answer names.
fn failed_in(own: &str) -> Vec<Value> {
    let response: Value = serde_json::from_str(own).unwrap_or_default();
    let failures = response[LIST].as_array().cloned().unwrap_or_default();
    failures.into_iter().map(|failure| failure[IDENTIFIER].clone()).collect()
}

/// How an answer is taken that nobody says anything about: one way and the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    AsDone,
    AsFailed,
}

/// Lets the worker be misunderstood in every way, always, and looks how its jobs end. Gives a table.
pub fn answer_in_every_way(seed: u64) -> (Line, String) {
    let mut rows = vec![format!(
        "{:<38} {:<36} {:>5} {:>10} {:>14}",
        "the worker answers", "its event source", "jobs", "right end", "dead letters"
    )];
    let (mut jobs, mut misunderstood, mut violations) = (0, 0, vec![]);
    for shape in SHAPES {
        for doubt in [Doubt::AsDone, Doubt::AsFailed] {
            let seen = in_virtual_time(live_through(seed, shape, doubt));
            jobs += seen.jobs;
            misunderstood += seen.misunderstood;
            rows.push(seen.row(shape, doubt));
            let undocumented = seen.first == Some(Verdict::Undocumented);
            violations.extend(seen.violations);
            if !undocumented {
                break;
            }
        }
    }
    for violation in &violations {
        println!("{violation}");
    }
    (Line::of("event source: every answer", jobs, misunderstood, &violations), rows.join("\n"))
}

/// Jobs of one round: what each wishes for, and the status and the attempt at which it must end.
const JOBS: [(&str, Status, u32); 7] = [
    ("", Status::Completed, 1),
    ("", Status::Completed, 1),
    ("", Status::Completed, 1),
    ("fail_once", Status::Completed, 2),
    ("fail_once", Status::Completed, 2),
    ("give_up", Status::Failed, 1),
    ("always_fail", Status::Failed, 3),
];

/// How many rounds there are.
const ROUNDS: usize = 4;

/// How long an attempt takes.
const AN_ATTEMPT_TAKES: Duration = Duration::from_millis(100);

/// How long all jobs may take to end: longer than any wait between two looks of the sweeper.
const PATIENCE: Duration = Duration::from_hours(4);

/// How long after that the dead letters are looked at: a message may be received twelve times, 360 s apart, before it is
/// one.
const CALM: Duration = Duration::from_hours(2);

/// The worker under one event source.
struct Run {
    deployment: Deployment,
    shape: &'static Shape,
    doubt: Doubt,
    seen: Mutex<Seen>,
}

/// What came of it.
#[derive(Default)]
struct Seen {
    /// What the event source did with the first batch, in which every kind of record is.
    first: Option<Verdict>,
    /// Answers that were not the worker's own.
    misunderstood: u64,
    jobs: usize,
    ended_right: usize,
    failed: usize,
    /// Failed jobs that have a dead letter.
    failed_with_letter: usize,
    violations: Vec<Violation>,
}

async fn live_through(seed: u64, shape: &'static Shape, doubt: Doubt) -> Seen {
    let deployment = Deployment::new(seed, AN_ATTEMPT_TAKES);
    let jobs = submit_all(&deployment).await;
    let run = Arc::new(Run { deployment, shape, doubt, seen: Mutex::default() });
    let mut background = JoinSet::new();
    background.spawn(deliver(Arc::clone(&run)));
    background.spawn(sweep_each_minute(Arc::clone(&run)));

    let began = Instant::now();
    while !run.deployment.store.all().iter().all(|job| job.status().is_terminal()) && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    tokio::time::sleep(CALM).await;
    background.shutdown().await;
    run.look_at(&jobs)
}

/// Gives the jobs, and the end that each must reach.
async fn submit_all(deployment: &Deployment) -> BTreeMap<JobId, (Status, u32)> {
    let mut jobs = BTreeMap::new();
    for _ in 0..ROUNDS {
        let mut first = None;
        for (wish, status, attempts) in JOBS {
            let body = format!(r#"{{"type":"csv-generation","payload":{{"wish":"{wish}"}}}}"#);
            let job = deployment.submit(body).await;
            jobs.insert(job, (status, attempts));
            first = first.or(Some(job));
        }
        // A second message of one of them, and one that names no job.
        for job_id in first.into_iter().chain([undecodable()]) {
            deployment.queue.send(&Message::naming(job_id, Duration::ZERO)).await.expect("memory takes all");
        }
    }
    jobs
}

/// The id by which messages are known here that shall reach the worker with a body that nobody can read.
fn undecodable() -> JobId {
    JobId::at(Timestamp::from_millis(0), [0; 10])
}

/// The event source: batches of up to ten records, several at once.
async fn deliver(run: Arc<Run>) {
    let mut invocations = JoinSet::new();
    loop {
        while invocations.try_join_next().is_some() {}
        let records = if invocations.len() < WORKERS { run.next_batch() } else { vec![] };
        if records.is_empty() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        } else {
            invocations.spawn(invoke(Arc::clone(&run), records));
        }
    }
}

async fn sweep_each_minute(run: Arc<Run>) {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        run.deployment.sweep().await;
    }
}

/// One invocation of the worker, and what the event source makes of the answer that it gets instead of the worker's own.
async fn invoke(run: Arc<Run>, records: Vec<SqsMessage>) {
    let batch: Vec<String> = records.iter().filter_map(|record| record.message_id.clone()).collect();
    let response = run.deployment.work_on(records).await;
    let own = serde_json::to_string(&response).expect("an answer has a JSON form");
    let answer = (run.shape.instead)(&own, &batch);
    if answer == Answer::Timeout {
        tokio::time::sleep(WORKER_TIMEOUT).await;
    }
    let verdict = judge(&answer, &batch);
    run.note(&own, &answer, &verdict, &batch);
    let stays = |id: &String| match (&verdict, run.doubt) {
        (Verdict::AllDone, _) | (Verdict::Undocumented, Doubt::AsDone) => false,
        (Verdict::AllFailed, _) | (Verdict::Undocumented, Doubt::AsFailed) => true,
        (Verdict::Failed(named), _) => named.contains(id),
    };
    for id in batch.iter().filter(|id| !stays(id)) {
        run.deployment.queue.acknowledge(&Receipt(id.clone())); // a record is named by its receipt
    }
}

impl Run {
    /// Up to ten records. A message that nobody can read comes twice where there is room: queues may do that.
    fn next_batch(&self) -> Vec<SqsMessage> {
        let mut records = vec![];
        while records.len() < BATCH {
            let Some(delivery) = self.deployment.queue.receive() else { break };
            if delivery.job_id == undecodable() {
                let unreadable = record(&delivery.receipt, "{ not JSON");
                if records.len() + 2 <= BATCH {
                    records.push(unreadable.clone());
                }
                records.push(unreadable);
            } else {
                records.push(record(&delivery.receipt, &body(delivery.job_id)));
            }
        }
        records
    }

    fn note(&self, own: &str, answer: &Answer, verdict: &Verdict, batch: &[String]) {
        let mut seen = self.seen();
        if seen.first.is_none() {
            seen.first = Some(verdict.clone());
        }
        seen.misunderstood += u64::from(*answer != text(own));
        if let Some(doubt) = doubt_about(own, batch) {
            let what = format!("the worker's own answer is in doubt: {doubt}: {own}");
            seen.violations.push(Violation { kind: Kind::Untrue, job: undecodable(), what });
        }
    }

    /// What has come of it all, with what must not have happened.
    fn look_at(&self, expected: &BTreeMap<JobId, (Status, u32)>) -> Seen {
        let mut seen = std::mem::take(&mut *self.seen());
        let accepted: Vec<_> = expected.keys().copied().collect();
        seen.violations.extend(self.deployment.violations(&accepted));
        let letters = self.deployment.queue.dead_letters();
        seen.jobs = expected.len();
        let untrue = |job: JobId, what: String| Violation { kind: Kind::Untrue, job, what };
        for job in self.deployment.store.all() {
            let end = (job.status(), job.attempts);
            if expected.get(&job.id) == Some(&end) {
                seen.ended_right += 1;
            } else if job.status().is_terminal() {
                let what = format!("after {:?}: ended {} at attempt {}", self.shape.name, end.0, end.1);
                seen.violations.push(untrue(job.id, what));
            }
            if job.status() == Status::Failed {
                seen.failed += 1;
                seen.failed_with_letter += usize::from(letters.contains(&job.id));
            }
        }
        let is_own = seen.misunderstood == 0;
        if is_own && (seen.failed_with_letter != seen.failed || letters.len() != seen.failed) {
            let what = format!("{} failed jobs, and dead letters of {letters:?}", seen.failed);
            seen.violations.push(untrue(undecodable(), what));
        }
        seen
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn row(&self, shape: &Shape, doubt: Doubt) -> String {
        let does = match (&self.first, doubt) {
            (Some(Verdict::AllDone), _) => "forgets the whole batch".to_owned(),
            (Some(Verdict::AllFailed), _) => "delivers the whole batch again".to_owned(),
            (Some(Verdict::Failed(named)), _) => format!("delivers again what is named: {}", named.len()),
            (Some(Verdict::Undocumented), Doubt::AsDone) => "not documented: if it forgets all".to_owned(),
            (Some(Verdict::Undocumented), Doubt::AsFailed) => "not documented: if it delivers again".to_owned(),
            (None, _) => "never heard of it".to_owned(),
        };
        let Self { jobs, ended_right, failed, failed_with_letter, .. } = self;
        let letters = format!("{failed_with_letter} of {failed}");
        format!("{:<38} {does:<36} {jobs:>5} {ended_right:>10} {letters:>14}", shape.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).to_vec()
    }

    #[test]
    fn an_event_source_takes_answers_as_aws_says() {
        let one = Verdict::Failed(BTreeSet::from(["b".to_owned()]));
        let rules = [
            (r#"{"batchItemFailures":[{"itemIdentifier":"b"}]}"#, one),
            (r#"{"batchItemFailures":[]}"#, Verdict::AllDone),
            (r#"{"batchItemFailures":null}"#, Verdict::AllDone),
            ("{}", Verdict::AllDone),
            ("null", Verdict::AllDone),
            ("{ done", Verdict::AllFailed),
            (r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#, Verdict::AllFailed),
            (r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#, Verdict::AllFailed),
            (r#"{"batchItemFailures":[{"messageId":"b"}]}"#, Verdict::AllFailed),
            (r#"{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"z"}]}"#, Verdict::AllFailed),
            (r#"{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"b"}]}"#, Verdict::Undocumented),
            (r#"{"batchItemFailures":["b"]}"#, Verdict::Undocumented),
            (r#"{"failures":[]}"#, Verdict::Undocumented),
            ("", Verdict::Undocumented),
        ];
        for (answer, verdict) in rules {
            assert_eq!(judge(&text(answer), &batch()), verdict, "{answer}");
        }
        assert_eq!(judge(&Answer::Error, &batch()), Verdict::AllFailed);
        assert_eq!(judge(&Answer::Timeout, &batch()), Verdict::AllFailed);
    }

    #[test]
    fn only_one_shape_leaves_no_doubt() {
        let own = r#"{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"c"}]}"#;
        assert_eq!(doubt_about(own, &batch()), None);
        for shape in SHAPES {
            if let Answer::Text(answer) = (shape.instead)(own, &batch())
                && !matches!(judge(&text(&answer), &batch()), Verdict::Failed(_) | Verdict::AllDone)
            {
                assert!(doubt_about(&answer, &batch()).is_some(), "{}: {answer}", shape.name);
            }
        }
    }
}
