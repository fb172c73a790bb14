//! What a job has cost, reckoned from its history, its size and its outcome. These are there anyway: for a receipt nothing
//! is measured, written or asked for, so it costs nothing itself.
//!
//! A history names each change of a job, and each change is a step of the protocol that always takes the same requests: a
//! receipt is the sum over the steps. What no history tells is left out rather than guessed, and of a request that
//! several jobs share, each has the whole on its receipt. `docs/receipts.md` says how exact that is;
//! `tests/tests/handlers/receipts.rs` holds it against what is counted at the clients.

mod item;
mod prices;
mod sums;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use self::item::Item;
pub use self::item::stored_bytes;
pub use self::prices::Prices;
pub use self::sums::{ByDay, Sum, sum_of_jobs, sum_of_minutes};
use crate::counters::{Counts, Tally};
use crate::job::due::queue_delay;
use crate::job::event::Event;
use crate::job::transition::LEASE_MARGIN;
use crate::job::{Job, State, Status};
use crate::job_type::{JobType, Payload};
use crate::payloads::email_send::EmailSend;
use crate::values::json::Json;
use crate::values::time::Timestamp;

/// How often a message is delivered before SQS moves it to the dead-letter queue: `maxReceiveCount` in `template.yaml`.
pub const MOST_DELIVERIES: u64 = 12;

/// The memory of the worker's function in MB: its `MemorySize` in `template.yaml`.
pub const WORKER_MEMORY_MB: u64 = 512;

/// What a job has cost so far, or what several have together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Requests to AWS by their kind; a kind of which there was none is not in it.
    pub requests: BTreeMap<Request, u64>,
    /// DynamoDB's write units, those of the indexes among them.
    pub write_units: u64,
    /// DynamoDB's read units.
    pub read_units: u64,
    /// Milliseconds that attempts have run, each 1 at least.
    pub billed_ms: u64,
}

/// A kind of request to AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request {
    /// A call of the HTTP API, by which somebody submits a job or acts on it.
    HttpRequest,
    /// An invocation of a function, the API or the worker.
    Invoke,
    /// Stores a job. Where many are submitted at once, its share of a `BatchExecuteStatement`.
    PutItem,
    /// Changes a job, or is refused.
    UpdateItem,
    /// Reads a job before somebody acts on it.
    GetItem,
    /// Announces a job; a share of a `SendMessageBatch` where there are many.
    SendMessage,
    /// Lambda's own: brings a message.
    ReceiveMessage,
    /// Puts a message off.
    ChangeMessageVisibility,
    /// Lambda's own: removes a message that has done its duty.
    DeleteMessageBatch,
    /// Writes a file.
    PutObject,
    /// Reads a file.
    GetObject,
    /// Sends an e-mail to one address. SES counts addresses, however many there are in one call.
    SendEmail,
}

impl Request {
    /// Its name: that of the operation in AWS, if it has one.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HttpRequest => "HttpRequest",
            Self::Invoke => "Invoke",
            Self::PutItem => "PutItem",
            Self::UpdateItem => "UpdateItem",
            Self::GetItem => "GetItem",
            Self::SendMessage => "SendMessage",
            Self::ReceiveMessage => "ReceiveMessage",
            Self::ChangeMessageVisibility => "ChangeMessageVisibility",
            Self::DeleteMessageBatch => "DeleteMessageBatch",
            Self::PutObject => "PutObject",
            Self::GetObject => "GetObject",
            Self::SendEmail => "SendEmail",
        }
    }
}

impl Receipt {
    /// The receipt of `job` up to its latest event.
    pub fn of(job: &Job) -> Self {
        let mut reckoning = Reckoning::of(job);
        for event in &job.history {
            reckoning.follow(event);
        }
        reckoning.receipt
    }

    /// The receipt of all jobs of one type together of which so much was counted. Coarser than the sum of their own:
    /// each is taken for up to 1 KB large, and to have been done with files in S3 and e-mail by SES to one address. Of a
    /// failed job's message all deliveries but one are taken to be in vain, whatever attempts it had; and time is missing.
    pub fn of_counts(job_type: &str, counts: &Counts) -> Self {
        let steps = [
            (ACCEPT, counts.accepted),
            (SEND, counts.accepted + counts.redriven),
            (CLAIM, counts.started),
            (PUT_OFF, counts.retried),
            (COMPLETE, counts.completed),
            (FAIL, counts.failed),
            (FIND_FAILED, counts.failed * (MOST_DELIVERIES - 1)),
            (LOOK, counts.cancelled + counts.redriven),
            (CANCEL, counts.cancelled),
            (FIND_CANCELLED, counts.cancelled),
            (REDRIVE, counts.redriven),
            (LEAVE_FAILURES, counts.redriven),
        ];
        let mut receipt = Self::default();
        for (step, times) in steps {
            receipt.take(&step, 1, times);
        }
        receipt.add_usual_effects(job_type, counts.completed);
        receipt
    }

    /// The same with the time that attempts ran, to 1/8 too much.
    pub fn of_tally(job_type: &str, tally: &Tally) -> Self {
        let mut receipt = Self::of_counts(job_type, &tally.counts);
        for (range, attempts) in tally.ran.ranges() {
            let together = billed_ms(range.longest()).saturating_mul(attempts);
            receipt.billed_ms = receipt.billed_ms.saturating_add(together);
        }
        receipt
    }

    /// How many requests of this kind there were.
    pub fn number_of(&self, request: Request) -> u64 {
        self.requests.get(&request).copied().unwrap_or(0)
    }

    /// Adds all that is on `other`.
    pub fn merge(&mut self, other: &Self) {
        for (request, times) in &other.requests {
            self.request(*request, *times);
        }
        self.write_units += other.write_units;
        self.read_units += other.read_units;
        self.billed_ms = self.billed_ms.saturating_add(other.billed_ms);
    }

    /// What it comes to in US dollars, to a millionth of a millionth.
    pub fn dollars(&self, prices: &Prices) -> f64 {
        let requests = self.requests.iter().map(|(request, times)| float(*times) * prices.of_a_million(*request));
        let units = [
            float(self.write_units) * prices.dollars_per_million.dynamodb_write_units,
            float(self.read_units) * prices.dollars_per_million.dynamodb_read_units,
        ];
        let gb_seconds = float(self.billed_ms) / 1000.0 * float(WORKER_MEMORY_MB) / 1024.0;
        let millionths = requests.chain(units).sum::<f64>() + gb_seconds * prices.dollars_per_gb_second * 1e6;
        (millionths * 1e6).round() / 1e12
    }

    fn request(&mut self, request: Request, times: u64) {
        if times > 0 {
            *self.requests.entry(request).or_default() += times;
        }
    }

    /// Adds a step, taken so many times with an item of so many KB.
    fn take(&mut self, step: &Step, kilobytes: u64, times: u64) {
        for request in step.requests {
            self.request(*request, times);
        }
        self.write_units += times * (step.writes * kilobytes + step.index_entries);
        self.read_units += times * step.reads * kilobytes.div_ceil(4);
    }

    /// Adds what the attempt that completed the job has done besides, as far as its result tells.
    fn add_effects(&mut self, job: &Job, result: &Json) {
        match JobType::named(job.job_type.as_str()) {
            Some(JobType::CsvGeneration | JobType::ReportGeneration) => {
                self.request(Request::PutObject, files_in_s3(result));
            }
            Some(JobType::ImageThumbnail) => {
                let written = files_in_s3(result);
                self.request(Request::PutObject, written);
                self.request(Request::GetObject, if picture_is_a_file(&job.payload) { written } else { 0 });
            }
            Some(JobType::EmailSend) => {
                self.request(Request::SendEmail, if went_by_ses(result) { addresses(&job.payload) } else { 0 });
            }
            Some(JobType::ProductProcessing) => self.take(&MARK_PRODUCT, 1, 1),
            Some(JobType::FileCleanup | JobType::PushNotification | JobType::WebhookDelivery) | None => {}
            #[cfg(feature = "rehearsal")]
            Some(JobType::Rehearsal) => {}
        }
    }

    /// The same for jobs of which no more is known than how many there were.
    fn add_usual_effects(&mut self, job_type: &str, completed: u64) {
        match JobType::named(job_type) {
            Some(JobType::CsvGeneration | JobType::ImageThumbnail) => self.request(Request::PutObject, completed),
            Some(JobType::ReportGeneration) => self.request(Request::PutObject, 2 * completed),
            Some(JobType::EmailSend) => self.request(Request::SendEmail, completed),
            Some(JobType::ProductProcessing) => self.take(&MARK_PRODUCT, 1, completed),
            Some(JobType::FileCleanup | JobType::PushNotification | JobType::WebhookDelivery) | None => {}
            #[cfg(feature = "rehearsal")]
            Some(JobType::Rehearsal) => {}
        }
    }
}

/// What one step on a job's way takes.
struct Step {
    requests: &'static [Request],
    /// How often the job's item is written, or a write of it is refused: a write unit each time for each KB begun.
    writes: u64,
    /// Entries that are put into indexes or taken out of them: a write unit each. To move one is both.
    index_entries: u64,
    /// How often the item is read: a read unit each time for each 4 KB begun.
    reads: u64,
}

/// A caller submits the job: its item, its entry in `due` and its entry in `listing`.
const ACCEPT: Step = Step {
    requests: &[Request::HttpRequest, Request::Invoke, Request::PutItem],
    writes: 1,
    index_entries: 2,
    reads: 0,
};

/// The job is announced.
const SEND: Step = Step { requests: &[Request::SendMessage], writes: 0, index_entries: 0, reads: 0 };

/// The sweeper announces a job whose delay was too long for the queue, and moves its due before.
const SEND_LATE: Step =
    Step { requests: &[Request::UpdateItem, Request::SendMessage], writes: 1, index_entries: 2, reads: 0 };

/// A message comes to a worker, which claims the job.
const CLAIM: Step = Step {
    requests: &[Request::Invoke, Request::ReceiveMessage, Request::UpdateItem],
    writes: 1,
    index_entries: 0,
    reads: 0,
};

/// The attempt succeeded: the job leaves `due`, and its message is done with.
const COMPLETE: Step =
    Step { requests: &[Request::UpdateItem, Request::DeleteMessageBatch], writes: 1, index_entries: 1, reads: 0 };

/// The job is tried again later, or goes on in another worker: its due moves, and its message is hidden till then.
const PUT_OFF: Step =
    Step { requests: &[Request::UpdateItem, Request::ChangeMessageVisibility], writes: 1, index_entries: 2, reads: 0 };

/// The job has failed for good: it leaves `due`, moves to another lane of `listing`, and its message is returned.
const FAIL: Step =
    Step { requests: &[Request::UpdateItem, Request::ChangeMessageVisibility], writes: 1, index_entries: 3, reads: 0 };

/// The message of a failed job comes again, on its way to the dead-letter queue: the claim is refused.
const FIND_FAILED: Step = Step {
    requests: &[Request::Invoke, Request::ReceiveMessage, Request::UpdateItem, Request::ChangeMessageVisibility],
    writes: 1,
    index_entries: 0,
    reads: 0,
};

/// Somebody wants to act on the job, which is read first.
const LOOK: Step = Step {
    requests: &[Request::HttpRequest, Request::Invoke, Request::GetItem],
    writes: 0,
    index_entries: 0,
    reads: 1,
};

/// A running job is asked to be cancelled.
const ASK_TO_CANCEL: Step = Step { requests: &[Request::UpdateItem], writes: 1, index_entries: 0, reads: 0 };

/// An attempt that was asked to ends without success: it may not be tried again, and is cancelled instead.
const MAKE_WAY: Step = Step {
    requests: &[Request::UpdateItem, Request::UpdateItem, Request::DeleteMessageBatch],
    writes: 2,
    index_entries: 1,
    reads: 0,
};

/// A waiting job is cancelled.
const CANCEL: Step = Step { requests: &[Request::UpdateItem], writes: 1, index_entries: 1, reads: 0 };

/// The message of a job that was cancelled while it waited comes: the claim is refused.
const FIND_CANCELLED: Step = Step {
    requests: &[Request::Invoke, Request::ReceiveMessage, Request::UpdateItem, Request::DeleteMessageBatch],
    writes: 1,
    index_entries: 0,
    reads: 0,
};

/// A message comes to a worker, which may not claim the job, because it has expired, and cancels it.
const LAPSE: Step = Step {
    requests: &[
        Request::Invoke,
        Request::ReceiveMessage,
        Request::UpdateItem,
        Request::UpdateItem,
        Request::DeleteMessageBatch,
    ],
    writes: 2,
    index_entries: 1,
    reads: 0,
};

/// A waiting job gets another time: its due moves.
const RESCHEDULE: Step = Step { requests: &[Request::UpdateItem], writes: 1, index_entries: 2, reads: 0 };

/// A job that has ended is to be tried again: it comes back into `due`.
const REDRIVE: Step = Step { requests: &[Request::UpdateItem], writes: 1, index_entries: 1, reads: 0 };

/// By the same update a failed job moves back to its old lane of `listing`.
const LEAVE_FAILURES: Step = Step { requests: &[], writes: 0, index_entries: 2, reads: 0 };

/// A product, which takes up to 1 KB, is marked as processed.
const MARK_PRODUCT: Step = Step { requests: &[Request::UpdateItem], writes: 1, index_entries: 0, reads: 0 };

/// A receipt that is being drawn up, event by event.
struct Reckoning<'a> {
    job: &'a Job,
    receipt: Receipt,
    /// The job's item after the events so far.
    item: Item<'a>,
    /// How many KB DynamoDB counts for the write of the latest event.
    kilobytes: u64,
    /// When the attempt began that is running.
    began: Option<Timestamp>,
    /// Whether there is a message of the job.
    announced: bool,
    /// How often it has been delivered.
    deliveries: u64,
}

impl<'a> Reckoning<'a> {
    fn of(job: &'a Job) -> Self {
        let receipt = Receipt::default();
        Self { job, receipt, item: Item::of(job), kilobytes: 0, began: None, announced: false, deliveries: 0 }
    }

    fn follow(&mut self, event: &'a Event) {
        let (was, bytes_before) = (self.item.status, self.item.bytes());
        self.item.follow(event);
        // A write costs as much as the larger of what it finds and what it leaves.
        self.kilobytes = kilobytes(bytes_before.max(self.item.bytes()));
        match event {
            Event::Accepted { at, not_before } => {
                self.take(&ACCEPT);
                self.announce(not_before.unwrap_or(*at), *at);
            }
            Event::Started { at } => self.start(*at, was),
            Event::Retrying { at, .. } | Event::Yielded { at } => {
                self.end_attempt(*at);
                self.take(&PUT_OFF);
            }
            Event::Completed { at } => {
                self.end_attempt(*at);
                self.take(&COMPLETE);
                if let State::Completed { result, .. } = &self.job.state {
                    self.receipt.add_effects(self.job, result);
                }
            }
            Event::Failed { at, error: _ } => {
                self.end_attempt(*at);
                self.take(&FAIL);
                let in_vain = MOST_DELIVERIES.saturating_sub(self.deliveries);
                self.receipt.take(&FIND_FAILED, kilobytes(self.item.bytes()), in_vain);
            }
            Event::CancelRequested { at: _ } => {
                self.take(&LOOK);
                self.take(&ASK_TO_CANCEL);
            }
            Event::Cancelled { at } if was == Status::Processing => {
                self.end_attempt(*at);
                self.take(&MAKE_WAY);
            }
            Event::Cancelled { at: _ } => {
                self.take(&LOOK);
                self.take(&CANCEL);
                if self.announced {
                    self.take(&FIND_CANCELLED);
                }
            }
            Event::Lapsed { at } => {
                self.end_attempt(*at);
                self.take(&LAPSE);
            }
            Event::Rescheduled { at, not_before } => {
                self.take(&LOOK);
                self.take(&RESCHEDULE);
                self.announce(*not_before, *at);
            }
            Event::Redriven { at, not_before } => {
                self.take(&LOOK);
                self.take(&REDRIVE);
                if was == Status::Failed {
                    self.take(&LEAVE_FAILURES);
                }
                self.deliveries = 0;
                self.announce(*not_before, *at);
            }
            // What it cost, only the build knows that wrote it.
            Event::Unknown(_) => {}
        }
    }

    fn take(&mut self, step: &Step) {
        self.receipt.take(step, self.kilobytes, 1);
    }

    /// A message is sent, unless the queue cannot keep it for so long.
    fn announce(&mut self, not_before: Timestamp, now: Timestamp) {
        self.announced = queue_delay(not_before, now).is_some();
        if self.announced {
            self.take(&SEND);
        }
    }

    fn start(&mut self, at: Timestamp, was: Status) {
        if was == Status::Processing {
            // The attempt before has died. It takes another message to notice.
            self.end_attempt(at);
            self.deliveries = 0;
        }
        if !self.announced {
            self.take(&SEND_LATE);
            self.announced = true;
        }
        self.take(&CLAIM);
        self.deliveries += 1;
        self.began = Some(at);
    }

    /// The attempt has ended, or is known to have died: then nobody knows when, but not after its lease.
    fn end_attempt(&mut self, at: Timestamp) {
        if let Some(began) = self.began.take() {
            let ran = at.since(began).min(self.job.timeout + LEASE_MARGIN);
            self.receipt.billed_ms = self.receipt.billed_ms.saturating_add(billed_ms(ran));
        }
    }
}

/// What DynamoDB counts for a write of so many bytes: a KB, which has 1,024, for each that is begun.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html>
fn kilobytes(bytes: usize) -> u64 {
    bytes.div_ceil(1024).max(1) as u64
}

/// In whole milliseconds, 1 at least.
fn billed_ms(ran: Duration) -> u64 {
    u64::try_from(ran.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[expect(clippy::cast_precision_loss, reason = "nobody needs the last cent of a bill of so many trillions")]
fn float(count: u64) -> f64 {
    count as f64
}

/// How many of the addresses in a result are those of files in S3.
fn files_in_s3(result: &Json) -> u64 {
    result.as_str().matches("\"s3://").count() as u64
}

/// Whether a thumbnail's picture is a file, and not in the payload itself.
fn picture_is_a_file(payload: &Json) -> bool {
    #[derive(Deserialize)]
    struct Thumbnail<'a> {
        #[serde(borrow)]
        source: &'a RawValue,
    }
    serde_json::from_str::<Thumbnail<'_>>(payload.as_str())
        .is_ok_and(|thumbnail| thumbnail.source.get().starts_with('"'))
}

/// Whether it was SES that sent an e-mail: then it did so under an id of its own, which has no angle brackets.
fn went_by_ses(result: &Json) -> bool {
    #[derive(Deserialize)]
    struct Sent {
        message_id: String,
        #[serde(default)]
        file: Option<String>,
    }
    let sent = serde_json::from_str::<Sent>(result.as_str());
    sent.is_ok_and(|sent| sent.file.is_none() && !sent.message_id.starts_with('<'))
}

/// How many addresses an e-mail goes to.
fn addresses(payload: &Json) -> u64 {
    EmailSend::parse(payload.as_str()).map_or(1, |email| (email.to.len() + email.cc.len() + email.bcc.len()) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Bucket, Field};
    use crate::job::submission::{Origin, Submission};
    use crate::job::transition::{Change, Fence, transition};
    use crate::values::id::{JobId, LeaseToken, Tenant};

    const START: Timestamp = Timestamp::from_millis(1_800_000_012_345);

    const ALICE: &str = r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#;

    fn at(millis: u64) -> Timestamp {
        START + Duration::from_millis(millis)
    }

    fn accepted(body: &str) -> Job {
        let submission = Submission::parse(body.as_bytes(), START).expect("fits");
        let origin = Origin { correlation_id: "9f0c1d52".to_owned(), traceparent: None };
        submission.into_job(JobId::at(START, [7; 10]), Tenant::only(), START, origin)
    }

    fn after(job: &Job, change: &Change) -> Job {
        transition(job, change).unwrap_or_else(|refusal| panic!("{change:?}: {refusal:?}"))
    }

    fn claim(job: &Job, millis: u64) -> Job {
        let token = LeaseToken::new(millis.to_be_bytes());
        after(job, &Change::Claim { now: at(millis), token, time_left: Duration::from_secs(60) })
    }

    fn fence(job: &Job) -> Fence {
        Fence { attempt: job.attempts, token: job.lease_token.expect("it is claimed") }
    }

    fn complete(job: &Job, millis: u64, result: &str) -> Job {
        let result = Json::parse(result).expect("JSON");
        after(job, &Change::Complete { now: at(millis), fence: fence(job), result })
    }

    fn retry(job: &Job, millis: u64) -> Job {
        let (now, not_before) = (at(millis), at(millis + 1000));
        after(job, &Change::Retry { now, fence: fence(job), error: "it said no".to_owned(), not_before })
    }

    fn fail(job: &Job, millis: u64) -> Job {
        let (now, tenant) = (at(millis), Tenant::only());
        after(job, &Change::Fail { now, fence: fence(job), error: "it said no".to_owned(), tenant })
    }

    fn prices() -> Prices {
        Prices::read(
            r#"{"as_of":"2026-11-01","region":"us-east-1","architecture":"arm64","dollars_per_million":{
            "http_requests":1.0,"lambda_requests":0.2,"dynamodb_write_units":0.625,"dynamodb_read_units":0.125,
            "sqs_requests":0.4,"s3_writes":5.0,"s3_reads":0.4,"ses_emails":100.0},"dollars_per_gb_second":0.00002}"#,
        )
        .expect("a table")
    }

    fn requests(receipt: &Receipt) -> Vec<(&'static str, u64)> {
        receipt.requests.iter().map(|(request, times)| (request.as_str(), *times)).collect()
    }

    fn units_and_time(receipt: &Receipt) -> (u64, u64, u64) {
        (receipt.write_units, receipt.read_units, receipt.billed_ms)
    }

    #[test]
    fn a_successful_job_has_three_writes_no_read_one_send_and_six_write_units_on_its_receipt() {
        let job = complete(&claim(&accepted(ALICE), 50), 59, r#""output/a.csv""#);
        let receipt = Receipt::of(&job);
        let expected = [
            ("HttpRequest", 1),
            ("Invoke", 2),
            ("PutItem", 1),
            ("UpdateItem", 2),
            ("SendMessage", 1),
            ("ReceiveMessage", 1),
            ("DeleteMessageBatch", 1),
        ];
        assert_eq!(requests(&receipt), expected);
        assert_eq!(units_and_time(&receipt), (6, 0, 9));
    }

    #[test]
    fn a_retry_adds_a_claim_and_a_move_of_the_due() {
        let once = retry(&claim(&accepted(ALICE), 0), 10);
        let twice = retry(&claim(&once, 2000), 2020);
        let receipt = Receipt::of(&complete(&claim(&twice, 4000), 4003, "1"));
        let expected = [
            ("HttpRequest", 1),
            ("Invoke", 4),
            ("PutItem", 1),
            ("UpdateItem", 6),
            ("SendMessage", 1),
            ("ReceiveMessage", 3),
            ("ChangeMessageVisibility", 2),
            ("DeleteMessageBatch", 1),
        ];
        assert_eq!(requests(&receipt), expected);
        assert_eq!(units_and_time(&receipt), (3 + 3 + 2 * 3 + 2, 0, 10 + 20 + 3));
    }

    #[test]
    fn a_failed_job_pays_for_the_way_of_its_message_to_the_dead_letter_queue() {
        let receipt = Receipt::of(&fail(&claim(&accepted(ALICE), 0), 10));
        let expected = [
            ("HttpRequest", 1),
            ("Invoke", 2 + 11),
            ("PutItem", 1),
            ("UpdateItem", 2 + 11),
            ("SendMessage", 1),
            ("ReceiveMessage", 12),
            ("ChangeMessageVisibility", 12),
        ];
        assert_eq!(requests(&receipt), expected);
        assert_eq!(units_and_time(&receipt), (3 + 1 + 4 + 11, 0, 10));

        let second = Receipt::of(&fail(&claim(&retry(&claim(&accepted(ALICE), 0), 10), 2000), 2010));
        assert_eq!(second.number_of(Request::ReceiveMessage), 12, "twelve deliveries, whatever they were for");
        assert_eq!(second.write_units, 3 + 1 + 3 + 1 + 4 + 10);
    }

    #[test]
    fn who_acts_on_a_job_pays_for_the_look_at_it_and_for_what_follows() {
        let waiting = after(&accepted(ALICE), &Change::CancelPending { now: at(1) });
        let receipt = Receipt::of(&waiting);
        let expected = [
            ("HttpRequest", 2),
            ("Invoke", 3),
            ("PutItem", 1),
            ("UpdateItem", 2),
            ("GetItem", 1),
            ("SendMessage", 1),
            ("ReceiveMessage", 1),
            ("DeleteMessageBatch", 1),
        ];
        assert_eq!(requests(&receipt), expected);
        assert_eq!(units_and_time(&receipt), (3 + 2 + 1, 1, 0));

        let asked = after(&claim(&accepted(ALICE), 0), &Change::RequestCancel { now: at(5) });
        let made_way = after(&asked, &Change::YieldToCancel { now: at(30), fence: fence(&asked) });
        let receipt = Receipt::of(&made_way);
        assert_eq!((receipt.number_of(Request::HttpRequest), receipt.number_of(Request::UpdateItem)), (2, 4));
        assert_eq!(units_and_time(&receipt), (3 + 1 + 1 + 3, 1, 30), "the refused retry is paid for too");

        let redrive = Change::Redrive { now: at(9000), not_before: at(9000), more_attempts: 1, tenant: Tenant::only() };
        let of_failed = fail(&claim(&accepted(ALICE), 0), 10);
        let dearer = |job: &Job| Receipt::of(&after(job, &redrive)).write_units - Receipt::of(job).write_units;
        assert_eq!((dearer(&of_failed), dearer(&waiting)), (4, 2), "only failures stand in a lane of their own");

        let reschedule = Change::Reschedule { now: at(1), not_before: at(60_000) };
        let receipt = Receipt::of(&after(&accepted(ALICE), &reschedule));
        assert_eq!((receipt.number_of(Request::SendMessage), receipt.write_units), (2, 3 + 3));
    }

    #[test]
    fn a_job_that_the_queue_cannot_keep_is_announced_by_the_sweeper() {
        let delayed = accepted(r#"{"type":"csv-generation","payload":{},"delay_seconds":1000}"#);
        assert_eq!(Receipt::of(&delayed).number_of(Request::SendMessage), 0);
        let receipt = Receipt::of(&complete(&claim(&delayed, 1_000_000), 1_000_001, "1"));
        assert_eq!((receipt.number_of(Request::SendMessage), receipt.number_of(Request::UpdateItem)), (1, 3));
        assert_eq!(receipt.write_units, 3 + 3 + 1 + 2);
        let cancelled = Receipt::of(&after(&delayed, &Change::CancelPending { now: at(1) }));
        assert_eq!(cancelled.number_of(Request::ReceiveMessage), 0, "nobody has a message of it");
    }

    #[test]
    fn an_expired_job_is_refused_and_then_cancelled() {
        let expiring = Job { expires_at: Some(at(1000)), ..accepted(ALICE) };
        let receipt = Receipt::of(&after(&expiring, &Change::Lapse { now: at(1000) }));
        assert_eq!((receipt.number_of(Request::UpdateItem), receipt.write_units), (2, 3 + 3));
    }

    #[test]
    fn an_attempt_that_died_is_taken_to_have_run_until_the_end_of_its_lease() {
        let body = r#"{"type":"csv-generation","payload":{},"timeout_seconds":10}"#;
        let died = claim(&accepted(body), 0);
        assert_eq!(Receipt::of(&died).billed_ms, 0, "what runs is not billed yet");
        let done = complete(&claim(&died, 120_000), 120_004, "1");
        assert_eq!(Receipt::of(&done).billed_ms, 15_000 + 4);
        assert_eq!(Receipt::of(&complete(&claim(&accepted(body), 0), 0, "1")).billed_ms, 1, "1 ms at least");
    }

    #[test]
    fn each_kilobyte_begun_is_paid_for_with_each_write_of_the_item() {
        let body =
            |letters: usize| format!(r#"{{"type":"csv-generation","payload":{{"a":"{}"}}}}"#, "x".repeat(letters));
        let job = accepted(&body(2_000));
        let bytes = stored_bytes(&job);
        assert!((2_049..3_072 - 200).contains(&bytes), "{bytes}");
        let receipt = Receipt::of(&complete(&claim(&job, 0), 5, "1"));
        assert_eq!(receipt.write_units, (3 + 2) + 3 + (3 + 1));
        let cancelled = after(&accepted(&body(10_000)), &Change::CancelPending { now: at(1) });
        assert_eq!(Receipt::of(&cancelled).read_units, 3, "read by fours");

        // The item grows: what it is large when it is left counts.
        let job = accepted(&body(2_048 - stored_bytes(&accepted(&body(0)))));
        assert_eq!(stored_bytes(&job), 2_048);
        assert_eq!(Receipt::of(&job).write_units, 2 + 2);
        assert_eq!(Receipt::of(&claim(&job, 0)).write_units, 2 + 2 + 3);
    }

    #[test]
    fn what_a_job_did_besides_is_told_by_its_result() {
        let receipt = |body: &str, result: &str| Receipt::of(&complete(&claim(&accepted(body), 0), 5, result));
        let effects = |body: &str, result: &str| {
            let of = receipt(body, result);
            [Request::PutObject, Request::GetObject, Request::SendEmail].map(|request| of.number_of(request))
        };
        assert_eq!(effects(ALICE, r#""output/a.csv""#), [0, 0, 0]);
        assert_eq!(effects(ALICE, r#""s3://bucket/output/a.csv""#), [1, 0, 0]);
        let report = r#"{"type":"report-generation","payload":{"last_hours":24}}"#;
        assert_eq!(effects(report, r#"{"html":"s3://b/a.html","csv":"s3://b/a.csv","jobs":7}"#), [2, 0, 0]);
        let thumbnail = |source: &str| {
            format!(r#"{{"type":"image-thumbnail","payload":{{"source":{source},"width":32,"height":32}}}}"#)
        };
        let small = r#"{"file":"s3://b/a.png","width":32,"height":24}"#;
        assert_eq!(effects(&thumbnail(r#""photos/cat.jpg""#), small), [1, 1, 0]);
        assert_eq!(effects(&thumbnail(r#"{"base64":"aGVsbG8="}"#), small), [1, 0, 0]);
        let email = r#"{"type":"email-send","payload":{"to":["a@example.com","b@example.com"],"cc":"c@example.com",
            "bcc":["A@example.com","d@example.com"],"subject":"Hello","body":"Dear all"}}"#;
        assert_eq!(effects(email, r#"{"message_id":"0100018c-7b"}"#), [0, 0, 4], "SES counts addresses");
        assert_eq!(effects(email, r#"{"message_id":"<a@example.com>"}"#), [0, 0, 0], "another server sent it");
        assert_eq!(effects(email, r#"{"message_id":"<a@example.com>","file":"output/mail/a.eml"}"#), [0, 0, 0]);
    }

    #[test]
    fn what_it_comes_to_is_a_matter_of_the_prices() {
        let prices = prices();
        let job = complete(&claim(&accepted(ALICE), 50), 60, r#""s3://bucket/a.csv""#);
        let of_a_million = Receipt::of(&job).dollars(&prices) * 1e6;
        // Calls, invocations, messages, write units, a file, and 10 ms of half a GB.
        assert_eq!(format!("{of_a_million:.4}"), format!("{:.4}", 1.0 + 0.4 + 3.0 * 0.4 + 6.0 * 0.625 + 5.0 + 0.1));
        assert_eq!(format!("{:.1}", Receipt::default().dollars(&prices)), "0.0");
    }

    #[test]
    fn what_is_read_is_added_up_and_paid_for() {
        let mut sum = Receipt { read_units: 3, ..Receipt::default() };
        sum.merge(&Receipt { read_units: 4, ..Receipt::default() });
        assert_eq!(sum, Receipt { read_units: 7, ..Receipt::default() });
        assert_eq!(format!("{:.3}", sum.dollars(&prices()) * 1e6), "0.875");
    }

    #[test]
    fn counts_of_what_people_did_have_what_it_took() {
        let counts = Counts { accepted: 5, cancelled: 3, redriven: 2, ..Counts::default() };
        let receipt = Receipt::of_counts("webhook-delivery", &counts);
        let of = |request: Request| receipt.number_of(request);
        // Five submissions and five looks; the messages of five jobs, two of them sent a second time.
        assert_eq!((of(Request::HttpRequest), of(Request::GetItem), of(Request::SendMessage)), (10, 5, 7));
    }

    #[test]
    fn a_report_is_two_files() {
        let counts = Counts { completed: 3, ..Counts::default() };
        assert_eq!(Receipt::of_counts("report-generation", &counts).number_of(Request::PutObject), 6);
    }

    #[test]
    fn the_jobs_of_a_batch_add_up() {
        let job = complete(&claim(&accepted(ALICE), 50), 59, "1");
        let mut ten = Receipt::default();
        for _ in 0..10 {
            ten.merge(&Receipt::of(&job));
        }
        assert_eq!((ten.number_of(Request::UpdateItem), ten.number_of(Request::SendMessage)), (20, 10));
        assert_eq!(units_and_time(&ten), (60, 0, 90));
    }

    #[test]
    fn counts_of_small_successful_jobs_give_the_sum_of_their_receipts() {
        let job = complete(&claim(&accepted(ALICE), 50), 59, r#""s3://bucket/a.csv""#);
        let (mut sum, mut tally) = (Receipt::default(), Tally::default());
        for _ in 0..1000 {
            sum.merge(&Receipt::of(&job));
        }
        for field in
            [Field::Accepted, Field::Started, Field::Completed, Field::Ran(Bucket::of(Duration::from_millis(9)))]
        {
            tally.add(field, 1000);
        }
        assert_eq!(Receipt::of_tally("csv-generation", &tally), sum);
    }

    #[test]
    fn counts_of_other_jobs_give_no_less_than_the_sum_of_their_receipts() {
        let failed = fail(&claim(&retry(&claim(&accepted(ALICE), 0), 10), 2000), 2010);
        let cancelled = after(&accepted(ALICE), &Change::CancelPending { now: at(1) });
        let mut exact = Receipt::of(&failed);
        exact.merge(&Receipt::of(&cancelled));
        let counts = Counts { accepted: 2, started: 2, retried: 1, failed: 1, cancelled: 1, ..Counts::default() };
        let coarse = Receipt::of_counts("csv-generation", &counts);
        for (request, times) in &exact.requests {
            assert!(coarse.number_of(*request) >= *times, "{request:?}: {exact:?} {coarse:?}");
        }
        assert_eq!(coarse.write_units, exact.write_units + 1, "one delivery in vain too many");
    }
}
