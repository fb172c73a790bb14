//! What a job costs in requests and write units, counted at the clients.

#![expect(clippy::print_stdout, reason = "the figures are for people too")]

use std::sync::Arc;
use std::time::Duration;

use api::{Api, Quota};
use aws_lambda_events::event::sqs::SqsEvent;
use axum::body::Body;
use axum::http::Request;
use local::engine::{Engine, Folders, install};
use shared::ports::{JobStore, Receipt};
use shared::retry::RetryPolicy;
use shared_aws::dynamodb::DynamoStore;
use shared_aws::settings::AuthMode;
use shared_aws::sqs::{SqsDeadLetters, SqsQueue};
use shared_aws::system::{SystemClock, SystemEntropy};
use sweeper::Sweeper;
use tests::system::{metered_sqs_client, target_dir};
use tests::table::{Meter, NAME, Readings, Table};
use tests::world::{body, record, tools_in};
use tower::ServiceExt;
use worker::{PauseWatch, Records, Worker};

/// The real handlers on an in-process DynamoDB and a local SQS, every request counted.
struct Metered {
    table: Table,
    queue: Arc<SqsQueue>,
    queue_meter: Meter,
    client: aws_sdk_sqs::Client,
    url: String,
    folder: tempfile::TempDir,
    _engine: Engine,
}

impl Metered {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let packages = install(&target_dir(), &|line| eprintln!("{line}")).await.expect("installed");
        let folders = Folders::below(&folder.path().join("aws")).expect("folders");
        let engine = Engine::start(&packages, &folders, None).await.expect("started");
        let unmetered = metered_sqs_client(engine.url(), &Meter::default());
        let url = unmetered.create_queue().queue_name("jobs").send().await.expect("created").queue_url.expect("a URL");
        let queue_meter = Meter::default();
        let client = metered_sqs_client(engine.url(), &queue_meter);
        let queue = Arc::new(SqsQueue::with_client(client.clone(), url.clone()));
        Self { table: Table::start().await, queue, queue_meter, client, url, folder, _engine: engine }
    }

    fn store(&self) -> Arc<DynamoStore> {
        Arc::new(DynamoStore::with_client(self.table.client(), NAME.to_owned()))
    }

    fn dead_letters(&self) -> SqsDeadLetters {
        SqsDeadLetters::with_client(self.client.clone(), self.url.clone())
    }

    /// Submits a job. Gives its id.
    async fn submit(&self, json: &str, key: Option<&str>) -> String {
        let answer = self.post("/jobs", json, key).await;
        answer["job_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Posts JSON to the API. Gives its answer.
    async fn post(&self, path: &str, json: &str, key: Option<&str>) -> serde_json::Value {
        let api = Api {
            store: self.store(),
            queue: self.queue.clone(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            switch: self.store(),
            schedules: self.store(),
            subscriptions: self.store(),
            products: self.store(),
            idempotency_secret: "secret".to_owned(),
            auth: AuthMode::None,
            quota: Quota::Off,
        };
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Body::from(json.to_owned())).expect("a request");
        let response = api::router(api).oneshot(request).await.expect("an answer");
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        serde_json::from_slice(&body).expect("JSON")
    }

    /// Lets a worker have the message of this job.
    async fn work(&self, id: &str) {
        self.work_on(&[id.to_owned()]).await;
    }

    /// Lets a worker have the messages of these jobs in one batch.
    async fn work_on(&self, ids: &[String]) {
        let store = self.store();
        let records = Records { store: store.clone(), products: store.clone(), clock: Arc::new(SystemClock) };
        let worker = Worker {
            store: self.store(),
            queue: self.queue.clone(),
            pause: PauseWatch::new(store),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            retry: RetryPolicy { base: Duration::from_secs(1), cap: Duration::from_secs(1) },
            tools: Arc::new(tools_in(&self.folder, records)),
            isolation: worker::Isolation::Thread,
            stuck: false.into(),
        };
        let mut event = SqsEvent::default();
        let record_of = |id: &String| record(&Receipt(id.clone()), &body(id.parse().expect("an id")));
        event.records = ids.iter().map(record_of).collect();
        Arc::new(worker).handle(event, Duration::from_secs(60)).await.expect("an answer");
    }

    fn readings(&self) -> (Readings, Readings) {
        (self.table.meter.readings(), self.queue_meter.readings())
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
    let job = metered.store().find(id.parse().expect("an id")).await.expect("answers").expect("is there");
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
    let sweeper = Sweeper {
        store: metered.store(),
        queue: metered.queue.clone(),
        schedules: metered.store(),
        switch: metered.store(),
        dead_letters: Arc::new(metered.dead_letters()),
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
    let item = metered.table.client().get_item().table_name(NAME).key("id", key).send().await.expect("answers");
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
