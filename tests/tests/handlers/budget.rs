//! What a job costs in requests and write units, counted at the clients.

#![expect(clippy::print_stdout, reason = "the figures are for people too")]

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use shared::job::transition::Change;
use shared::ports::{Changed, JobStore, Receipt};
use shared_aws::system::SystemClock;
use sweeper::Sweeper;
use tests::metered::Functions;
use tests::table::{NAME, Readings};
use tests::world::{body, record};

/// The real handlers on an in-process DynamoDB and a local SQS, every request counted.
struct Metered {
    functions: Functions,
}

impl Metered {
    async fn start() -> Self {
        Self { functions: Functions::start().await }
    }

    /// Submits a job. Gives its id.
    async fn submit(&self, json: &str, key: Option<&str>) -> String {
        let answer = self.post("/jobs", json, key).await;
        answer["job_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Posts JSON to the API. Gives its answer.
    async fn post(&self, path: &str, json: &str, key: Option<&str>) -> serde_json::Value {
        let (_, answer) = self.functions.post(path, json, key).await;
        answer
    }

    /// Lets a worker have the message of this job.
    async fn work(&self, id: &str) {
        self.work_on(&[id.to_owned()]).await;
    }

    /// Lets a worker have the messages of these jobs in one batch.
    async fn work_on(&self, ids: &[String]) {
        let mut event = SqsEvent::default();
        let record_of = |id: &String| record(&Receipt(id.clone()), &body(id.parse().expect("an id")));
        event.records = ids.iter().map(record_of).collect();
        Arc::new(self.functions.worker()).handle(event, Duration::from_secs(60)).await.expect("an answer");
    }

    fn readings(&self) -> (Readings, Readings) {
        self.functions.readings()
    }
}

fn requests(readings: &Readings) -> Vec<(&str, u32)> {
    readings.requests.iter().map(|(operation, count)| (operation.as_str(), *count)).collect()
}

const ALICE: &str = r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#;

#[tokio::test]
async fn a_successful_job_costs_three_writes_no_read_and_one_send() {
    let metered = Metered::start().await;
    let id = metered.submit(ALICE, Some("order-1")).await;
    metered.work(&id).await;
    let job = metered.functions.store.find(id.parse().expect("an id")).await.expect("answers").expect("is there");
    assert_eq!(job.status().as_str(), "completed");

    let (table, queue) = metered.readings();
    // Not of the job: this test's own look at it, and the worker's at the switch, which it has every 10 s at most.
    assert_eq!(requests(&table), [("GetItem", 2), ("PutItem", 1), ("UpdateItem", 2)]);
    assert_eq!(requests(&queue), [("SendMessage", 1)]);
    // The item and both indexes; the item and nothing else; the item and its way out of the index `due`.
    let names = ["accept", "claim", "commit"];
    for (name, units) in names.iter().zip(&table.write_units) {
        println!("write units of {name}: {units}");
    }
    println!("write units of a successful job: {}", table.write_units.iter().sum::<f64>());
    assert_eq!(table.write_units, [3.0, 1.0, 2.0]);
}

#[tokio::test]
async fn claiming_a_job_that_waited_long_costs_a_request_and_three_write_units_more() {
    let metered = Metered::start().await;
    let id = metered.submit(ALICE, None).await;
    let store = &metered.functions.store;
    let job = store.find(id.parse().expect("an id")).await.expect("answers").expect("is there");
    let seen_due_at = job.due_at().expect("it waits");
    let postpone =
        Change::Postpone { seen_due_at, seen_lease_until: None, due_at: seen_due_at + Duration::from_mins(15) };
    let postponed = store.change_if_allowed(job.id, &postpone).await.expect("answers");
    assert!(matches!(postponed, Changed::Applied(_)), "{postponed:?}");
    let (before, _) = metered.readings();
    metered.work(&id).await;
    let (after, _) = metered.readings();
    let count = |readings: &Readings| readings.requests.get("UpdateItem").copied().unwrap_or(0);
    assert_eq!(count(&after) - count(&before), 3, "a claim that is refused, one that is not, and the commit");
    // The due moves: an entry of the index is deleted, and another is written. DynamoDB takes a unit for the refusal, too.
    assert_eq!(after.write_units[before.write_units.len()..], [3.0, 2.0]);
    let job = store.find(job.id).await.expect("answers").expect("is there");
    assert_eq!(job.status().as_str(), "completed");
}

#[tokio::test]
async fn ten_jobs_of_a_batch_cost_one_request_to_store_and_one_to_announce() {
    let metered = Metered::start().await;
    let jobs = format!(r#"{{"jobs":[{}]}}"#, [ALICE; 10].join(","));
    let answer = metered.post("/jobs/batch", &jobs, Some("orders")).await;
    assert_eq!(answer["accepted"], 10, "{answer}");
    let (table, queue) = metered.readings();
    assert_eq!(requests(&table), [("BatchExecuteStatement", 1)]);
    assert_eq!(requests(&queue), [("SendMessageBatch", 1)]);
    println!("10 jobs in one call: 1 BatchExecuteStatement, 1 SendMessageBatch");

    let ids = answer["jobs"].as_array().expect("outcomes").iter();
    let ids: Vec<_> = ids.map(|outcome| outcome["job_id"].as_str().expect("an id").to_owned()).collect();
    metered.work_on(&ids).await;
    let (table, _) = metered.readings();
    assert_eq!(requests(&table), [("BatchExecuteStatement", 1), ("GetItem", 1), ("UpdateItem", 20)]);
    println!("10 jobs in one invocation: 20 UpdateItem, and one look at the switch");

    let again = metered.post("/jobs/batch", &jobs, Some("orders")).await;
    let replayed = again["jobs"].as_array().expect("outcomes").iter().all(|outcome| outcome["replayed"] == true);
    assert!(replayed, "{again}");
    assert_eq!(requests(&metered.readings().1), [("SendMessageBatch", 1)], "nothing is announced twice");
}

#[tokio::test]
async fn a_repeated_submission_costs_one_write_and_no_send() {
    let metered = Metered::start().await;
    metered.submit(ALICE, Some("order-1")).await;
    let (_, queue) = metered.readings();
    metered.submit(ALICE, Some("order-1")).await;
    let (table, queue_after) = metered.readings();
    assert_eq!(requests(&table), [("PutItem", 2)]);
    assert_eq!(queue, queue_after);
}

#[tokio::test]
async fn a_sweep_over_nothing_costs_a_query_per_shard_one_for_schedules_and_a_look_at_switch_and_dead_letters() {
    let metered = Metered::start().await;
    let Functions { store, queue, dead_letters, .. } = &metered.functions;
    let sweeper = Sweeper {
        store: store.clone(),
        queue: queue.clone(),
        schedules: store.clone(),
        switch: store.clone(),
        dead_letters: dead_letters.clone(),
        clock: Arc::new(SystemClock),
    };
    sweeper.handle(Duration::from_secs(50)).await.expect("swept");
    let (table, queue) = metered.readings();
    assert_eq!(requests(&table), [("GetItem", 1), ("Query", 5)]);
    assert_eq!(requests(&queue), [("ReceiveMessage", 1)]);
}

#[tokio::test]
async fn a_typical_job_is_one_write_unit_large() {
    let metered = Metered::start().await;
    let id = metered.submit(ALICE, None).await;
    metered.work(&id).await;
    let key = aws_sdk_dynamodb::types::AttributeValue::S(id);
    let item =
        metered.functions.table.client().get_item().table_name(NAME).key("id", key).send().await.expect("answers");
    let item = item.item.expect("is there");
    let bytes: usize = item.iter().map(|(name, value)| name.len() + size(value)).sum();
    println!("bytes of a completed job's item: {bytes}");
    assert!(bytes <= 1024, "{bytes} bytes");
}

/// The size of a value as DynamoDB counts it, rounded up where its documentation is vague.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
fn size(value: &aws_sdk_dynamodb::types::AttributeValue) -> usize {
    use aws_sdk_dynamodb::types::AttributeValue as Value;
    match value {
        Value::S(text) => text.len(),
        Value::N(digits) => digits.len() / 2 + 2,
        Value::L(list) => 3 + list.iter().map(|value| size(value) + 1).sum::<usize>(),
        Value::M(map) => 3 + map.iter().map(|(name, value)| name.len() + size(value) + 1).sum::<usize>(),
        _ => 1,
    }
}
