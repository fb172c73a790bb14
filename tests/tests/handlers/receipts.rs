//! Receipts say what is counted at the clients while a job goes its way, for every kind of end.

#![expect(clippy::print_stdout, reason = "the figures are for people too")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use aws_sdk_dynamodb::types::AttributeValue;
use axum::http::StatusCode;
use shared::job::backoff::RetryPolicy;
use shared::job::receipt::{MOST_DELIVERIES, Prices, Receipt, Request, WORKER_MEMORY_MB, stored_bytes, sum_of_jobs};
use shared::job::submission::{Origin, Submission};
use shared::job::transition::{Change, Fence};
use shared::job::{Job, Progress, Status};
use shared::ports::memory::MemoryStore;
use shared::ports::{self, Changed, JobStore};
use shared::values::id::{JobId, LeaseToken, Tenant};
use shared::values::json::Json;
use shared::values::time::Timestamp;
use shared_aws::dynamodb::DynamoStore;
use tests::metered::Functions;
use tests::table::{NAME, Table};
use tests::world::record;
use worker::{PauseWatch, Worker};

/// The real handlers on an in-process DynamoDB and a local SQS. What they ask for is counted, what the test and Lambda
/// itself ask for is not.
struct Metered {
    functions: Functions,
    worker: Arc<Worker>,
}

impl Metered {
    async fn start() -> Self {
        let functions = Functions::start().await;
        let worker = Worker {
            // The looks at the switch are nobody's in particular.
            pause: PauseWatch::new(Arc::new(MemoryStore::default())),
            retry: RetryPolicy { base: Duration::from_millis(1), cap: Duration::from_millis(1) },
            ..functions.worker()
        };
        Self { functions, worker: Arc::new(worker) }
    }

    /// Posts JSON to the API. Gives its answer.
    async fn post(&self, path: &str, json: &str) -> (StatusCode, serde_json::Value) {
        self.functions.post(path, json, None).await
    }

    /// Submits a job. Gives its id.
    async fn submit(&self, json: &str) -> JobId {
        let (status, answer) = self.post("/jobs", json).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        answer["job_id"].as_str().expect("an id").parse().expect("an id")
    }

    /// Waits for messages, ten at most.
    async fn receive(&self) -> Vec<SqsMessage> {
        for _ in 0..30 {
            let Functions { poller, queue_url, .. } = &self.functions;
            let receive = poller.receive_message().queue_url(queue_url).max_number_of_messages(10);
            let received = receive.wait_time_seconds(1).send().await.expect("answered").messages.unwrap_or_default();
            if !received.is_empty() {
                let record_of = |message: aws_sdk_sqs::types::Message| {
                    let receipt = ports::Receipt(message.receipt_handle.expect("a receipt"));
                    record(&receipt, &message.body.expect("a body"))
                };
                return received.into_iter().map(record_of).collect();
            }
        }
        panic!("no message came");
    }

    /// Lets the worker have the messages that are there, and removes those that it is done with, as Lambda does. Gives how
    /// many there were.
    async fn deliver(&self) -> usize {
        let mut event = SqsEvent::default();
        event.records = self.receive().await;
        let receipts: Vec<_> = event.records.iter().filter_map(|record| record.receipt_handle.clone()).collect();
        let answer = Arc::clone(&self.worker).handle(event, Duration::from_secs(60)).await.expect("an answer");
        let returned: Vec<_> = answer.batch_item_failures.into_iter().map(|failed| failed.item_identifier).collect();
        for receipt in receipts.iter().filter(|receipt| !returned.contains(receipt)) {
            self.delete(receipt).await;
        }
        receipts.len()
    }

    /// The redrive policy: the message of a failed job is delivered so often, and then it goes.
    async fn deliver_until_it_is_dead(&self) {
        for _ in 0..MOST_DELIVERIES {
            assert_eq!(self.deliver().await, 1);
        }
        for record in self.receive().await {
            self.delete(&record.receipt_handle.expect("a receipt")).await;
        }
    }

    async fn delete(&self, receipt: &str) {
        let Functions { poller, queue_url, .. } = &self.functions;
        let delete = poller.delete_message().queue_url(queue_url).receipt_handle(receipt);
        delete.send().await.expect("deleted");
    }

    /// The receipt of the only job there is, which must say what was counted.
    async fn checked_receipt(&self, id: JobId, status: Status) -> Receipt {
        let (table, queue) = self.functions.readings();
        let job = self.functions.store.find(id).await.expect("answers").expect("is there");
        assert_eq!(job.status(), status);
        let receipt = Receipt::of(&job);
        assert_eq!(asked_for_by_us(&receipt), counted(&[table.requests.clone(), queue.requests]));

        // A refused write is paid for like any other, but its answer does not say how much that is. None of ours is of an
        // item of more than 1 KB.
        let writes = ["PutItem", "UpdateItem"].map(|name| table.requests.get(name).copied().unwrap_or(0));
        let refused = writes.iter().sum::<u32>() - u32::try_from(table.write_units.len()).expect("a few");
        assert!(refused == 0 || stored_bytes(&job) <= 1024, "{} bytes", stored_bytes(&job));
        let units = table.write_units.iter().sum::<f64>() + f64::from(refused);
        assert_eq!(receipt.write_units.to_string(), units.to_string());
        receipt
    }
}

/// What is on the receipt of requests that our own clients send.
fn asked_for_by_us(receipt: &Receipt) -> BTreeMap<String, u64> {
    let ours = [
        Request::PutItem,
        Request::UpdateItem,
        Request::GetItem,
        Request::SendMessage,
        Request::ChangeMessageVisibility,
    ];
    let with_number = ours.into_iter().map(|request| (request.as_str().to_owned(), receipt.number_of(request)));
    with_number.filter(|(_, number)| *number > 0).collect()
}

fn counted(meters: &[BTreeMap<String, u32>]) -> BTreeMap<String, u64> {
    let requests = meters.iter().flatten();
    requests.map(|(operation, count)| (operation.clone(), u64::from(*count))).collect()
}

/// A job that does as it is told.
fn rehearsal(attempts: &str, rest: &str) -> String {
    format!(r#"{{"type":"rehearsal","payload":{{"attempts":{attempts}{rest}}}}}"#)
}

const ALICE: &str = r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#;

#[tokio::test]
async fn a_success_costs_what_its_receipt_says() {
    let metered = Metered::start().await;
    let id = metered.submit(ALICE).await;
    metered.deliver().await;
    let receipt = metered.checked_receipt(id, Status::Completed).await;
    assert_eq!((receipt.write_units, receipt.read_units), (6, 0));

    let prices = Prices::current();
    let mut with_a_file = receipt.clone();
    with_a_file.requests.insert(Request::PutObject, 1);
    println!("a million successful jobs, at the prices of {} in {}:", prices.as_of, prices.region);
    println!("  {:.2} dollars", receipt.dollars(prices) * 1e6);
    println!("  {:.2} dollars with a file in S3 for each", with_a_file.dollars(prices) * 1e6);
    assert!(receipt.dollars(prices) > 0.0);
}

#[tokio::test]
async fn a_large_job_costs_what_its_receipt_says() {
    let metered = Metered::start().await;
    let letters = "x".repeat(2_750);
    let id = metered.submit(&format!(r#"{{"type":"csv-generation","payload":{{"letters":"{letters}"}}}}"#)).await;
    metered.deliver().await;
    let receipt = metered.checked_receipt(id, Status::Completed).await;
    assert_eq!(receipt.write_units, (4 + 2) + 4 + (4 + 1), "four for each write of the item, and the indexes");
}

#[tokio::test]
async fn a_success_at_the_third_attempt_costs_what_its_receipt_says() {
    let metered = Metered::start().await;
    let id = metered.submit(&rehearsal(r#"["fail","fail","succeed"]"#, "")).await;
    for _ in 0..3 {
        metered.deliver().await;
    }
    let receipt = metered.checked_receipt(id, Status::Completed).await;
    println!("write units of a job with two retries: {}", receipt.write_units);
    assert_eq!(receipt.write_units, 3 + 3 + 2 * 3 + 2);
}

#[tokio::test]
async fn a_failure_costs_what_its_receipt_says_the_way_to_the_dead_letter_queue_included() {
    let metered = Metered::start().await;
    let id = metered.submit(&rehearsal(r#"["fail","give_up"]"#, "")).await;
    metered.deliver_until_it_is_dead().await;
    let receipt = metered.checked_receipt(id, Status::Failed).await;
    println!("write units of a job that failed at its second attempt: {}", receipt.write_units);
    assert_eq!(receipt.number_of(Request::ReceiveMessage), MOST_DELIVERIES);
}

#[tokio::test]
async fn another_try_by_hand_costs_what_its_receipt_says() {
    let metered = Metered::start().await;
    let id = metered.submit(&rehearsal(r#"["give_up","succeed"]"#, "")).await;
    metered.deliver_until_it_is_dead().await;
    let (status, answer) = metered.post(&format!("/jobs/{id}/retry"), "").await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    metered.deliver().await;
    metered.checked_receipt(id, Status::Completed).await;
}

#[tokio::test]
async fn a_waiting_job_that_is_cancelled_costs_what_its_receipt_says() {
    let metered = Metered::start().await;
    let id = metered.submit(ALICE).await;
    let (status, answer) = metered.post(&format!("/jobs/{id}/cancel"), "").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    metered.deliver().await;
    metered.checked_receipt(id, Status::Cancelled).await;
}

#[tokio::test]
async fn a_running_job_that_is_cancelled_costs_what_its_receipt_says() {
    let metered = Metered::start().await;
    let id = metered.submit(&rehearsal(r#"["fail"]"#, r#","takes_ms":2000"#)).await;
    let cancel = async {
        // The second write to be answered is the claim.
        while metered.functions.table.meter.readings().write_units.len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        metered.post(&format!("/jobs/{id}/cancel"), "").await
    };
    let (_, (status, answer)) = tokio::join!(metered.deliver(), cancel);
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    metered.checked_receipt(id, Status::Cancelled).await;
}

#[tokio::test]
async fn the_receipts_of_a_batch_have_its_writes_to_the_last_and_no_less_than_its_requests() {
    let metered = Metered::start().await;
    let (_, answer) = metered.post("/jobs/batch", &format!(r#"{{"jobs":[{}]}}"#, [ALICE; 10].join(","))).await;
    assert_eq!(answer["accepted"], 10, "{answer}");
    let mut delivered = 0;
    while delivered < 10 {
        delivered += metered.deliver().await;
    }
    let (table, queue) = metered.functions.readings();
    let mut jobs = vec![];
    for outcome in answer["jobs"].as_array().expect("outcomes") {
        let id = outcome["job_id"].as_str().expect("an id").parse().expect("an id");
        jobs.push(metered.functions.store.find(id).await.expect("answers").expect("is there"));
    }
    let mut sum = Receipt::default();
    for of_type in sum_of_jobs(&jobs).values().flat_map(BTreeMap::values) {
        sum.merge(&of_type.receipt);
    }
    let counted = counted(&[table.requests, queue.requests]);
    let expected = [("BatchExecuteStatement", 1), ("SendMessageBatch", 1), ("UpdateItem", 20)];
    assert_eq!(counted, expected.map(|(name, count)| (name.to_owned(), count)).into());
    let on_receipts = [Request::PutItem, Request::SendMessage, Request::UpdateItem];
    assert_eq!(on_receipts.map(|request| sum.number_of(request)), [10, 10, 20]);
    // Of the statement that stores them the meter knows no units.
    let updates = table.write_units.iter().sum::<f64>();
    assert_eq!((updates + 10.0 * 3.0).to_string(), sum.write_units.to_string());
}

#[tokio::test]
async fn a_receipt_knows_how_large_the_jobs_item_is_whatever_has_happened_to_it() {
    let table = Table::start().await;
    let store = DynamoStore::with_client(table.client(), NAME.to_owned());
    let start = Timestamp::from_millis(1_800_000_012_345);
    let at = |millis: u64| start + Duration::from_millis(millis);
    let body = r#"{"type":"csv-generation","payload":{"name":"Zoë"},"delay_seconds":3,"tags":["blue","größe"],
        "expires_at":"2027-01-16T08:00:00.123Z","callback_url":"https://example.com/hooks"}"#;
    let traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    let origin = Origin { correlation_id: "9f0c1d52".to_owned(), traceparent };
    let tenant = Tenant::named("acme").expect("a name");
    let submission = Submission::parse(body.as_bytes(), start).expect("fits");
    let job = submission.into_job(JobId::at(start, [7; 10]), tenant.clone(), start, origin);
    store.insert_if_absent(&job).await.expect("stored");
    let id = job.id;
    assert_as_large(&table, &job).await;

    let claim = |millis: u64| {
        let token = LeaseToken::new(millis.to_be_bytes());
        Change::Claim { now: at(millis), token, time_left: Duration::from_secs(60) }
    };
    let fence = |attempt, claimed: u64| Fence { attempt, token: LeaseToken::new(claimed.to_be_bytes()) };
    let (checkpoint, error) = (Json::parse(r#"{"row":7}"#).expect("JSON"), "it said no".to_owned());
    let progress = Progress { percent: 70, message: "row 7".to_owned(), at: at(4_321) };
    let changes = [
        Change::Reschedule { now: at(1), not_before: at(3_999) },
        claim(4_001),
        Change::Report { fence: fence(1, 4_001), progress },
        Change::Yield { now: at(5_001), fence: fence(1, 4_001), checkpoint },
        claim(6_001),
        Change::Retry { now: at(7_001), fence: fence(1, 6_001), error: error.clone(), not_before: at(8_001) },
        claim(9_001),
        Change::RequestCancel { now: at(9_501) },
        Change::YieldToCancel { now: at(9_999), fence: fence(2, 9_001) },
        Change::Redrive { now: at(11_001), not_before: at(11_001), more_attempts: 2, tenant: tenant.clone() },
        claim(12_001),
        Change::Fail { now: at(13_001), fence: fence(3, 12_001), error, tenant: tenant.clone() },
        Change::Redrive { now: at(14_001), not_before: at(14_001), more_attempts: 1, tenant },
        claim(15_001),
        Change::Complete { now: at(16_001), fence: fence(4, 15_001), result: Json::parse("[1]").expect("JSON") },
    ];
    for change in changes {
        match store.change_if_allowed(id, &change).await.expect("answers") {
            Changed::Applied(_) if matches!(change, Change::Report { .. }) => {} // seen from the next event on
            Changed::Applied(job) => assert_as_large(&table, &job).await,
            other => panic!("{change:?}: {other:?}"),
        }
    }
}

/// An attribute that the reckoning has forgotten would be missing here.
async fn assert_as_large(table: &Table, job: &Job) {
    let key = AttributeValue::S(job.id.to_string());
    let item = table.client().get_item().table_name(NAME).key("id", key).send().await.expect("answers").item;
    let bytes: usize = item.expect("is there").iter().map(|(name, value)| name.len() + size(value)).sum();
    let reckoned = stored_bytes(job);
    assert!((bytes..=bytes + 16).contains(&reckoned), "{reckoned} bytes for {bytes} of {job:?}");
}

/// The size of a value as DynamoDB counts it.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.trim_end_matches('0').len().div_ceil(2) + 1,
        AttributeValue::Bool(_) => 1,
        AttributeValue::L(list) => 3 + list.iter().map(|value| size(value) + 1).sum::<usize>(),
        AttributeValue::M(map) => 3 + map.iter().map(|(name, value)| name.len() + size(value) + 1).sum::<usize>(),
        other => panic!("no job has {other:?}"),
    }
}

#[test]
fn receipts_go_by_the_memory_and_the_deliveries_that_the_template_gives() {
    let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml");
    let template = std::fs::read_to_string(template).expect("the template is readable");
    let template: serde_norway::Value = serde_norway::from_str(&template).expect("the template is YAML");
    let properties = |name: &str| template["Resources"][name]["Properties"].clone();
    assert_eq!(properties("WorkerFunction")["MemorySize"].as_u64(), Some(WORKER_MEMORY_MB));
    assert_eq!(properties("JobsQueue")["RedrivePolicy"]["maxReceiveCount"].as_u64(), Some(MOST_DELIVERIES));
}
