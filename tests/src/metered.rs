//! The API and the worker on an in-process DynamoDB and a local SQS, every request of theirs counted.

use std::sync::Arc;
use std::time::Duration;

use api::{Api, Quota};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use local::engine::{Engine, Folders, install};
use serde_json::Value;
use shared::job::backoff::RetryPolicy;
use shared::job::submission::Limits;
use shared_aws::dynamodb::DynamoStore;
use shared_aws::settings::AuthMode;
use shared_aws::sqs::{SqsDeadLetters, SqsQueue};
use shared_aws::system::{SystemClock, SystemEntropy};
use tempfile::TempDir;
use tower::ServiceExt;
use worker::{PauseWatch, Records, Worker};

use crate::system::{metered_sqs_client, target_dir};
use crate::table::{Meter, NAME, Readings, Table};
use crate::world::tools_in;

/// The real functions, and what they have asked for. What a test asks of `poller` is not counted.
pub struct Functions {
    /// The table, with the meter of all its clients.
    pub table: Table,
    /// The jobs in it, and all else.
    pub store: Arc<DynamoStore>,
    /// The queue.
    pub queue: Arc<SqsQueue>,
    /// The same queue, in the place of the one for dead letters.
    pub dead_letters: Arc<SqsDeadLetters>,
    /// Another client of the queue, in the place of Lambda's own poller.
    pub poller: aws_sdk_sqs::Client,
    /// The queue's URL.
    pub queue_url: String,
    queue_meter: Meter,
    folder: TempDir,
    _engine: Engine,
}

impl Functions {
    /// Starts what they work on. Nothing has been counted yet.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let packages = install(&target_dir(), &|line| eprintln!("{line}")).await.expect("installed");
        let folders = Folders::below(&folder.path().join("aws")).expect("folders");
        let engine = Engine::start(&packages, &folders, None).await.expect("started");
        let poller = metered_sqs_client(engine.url(), &Meter::default());
        let url = poller.create_queue().queue_name("jobs").send().await.expect("created").queue_url.expect("a URL");
        let queue_meter = Meter::default();
        let client = metered_sqs_client(engine.url(), &queue_meter);
        let table = Table::start().await;
        Self {
            store: Arc::new(DynamoStore::with_client(table.client(), NAME.to_owned())),
            table,
            queue: Arc::new(SqsQueue::with_client(client.clone(), url.clone())),
            dead_letters: Arc::new(SqsDeadLetters::with_client(client, url.clone())),
            poller,
            queue_url: url,
            queue_meter,
            folder,
            _engine: engine,
        }
    }

    /// Posts JSON to the API. Gives its answer.
    pub async fn post(&self, path: &str, json: &str, key: Option<&str>) -> (StatusCode, Value) {
        let api = Api {
            store: self.store.clone(),
            queue: self.queue.clone(),
            dead_letters: self.dead_letters.clone(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            switch: self.store.clone(),
            schedules: self.store.clone(),
            subscriptions: self.store.clone(),
            counters: self.store.clone(),
            products: self.store.clone(),
            idempotency_secret: "secret".to_owned(),
            auth: AuthMode::None,
            quota: Quota::Off,
            limits: Limits::default(),
        };
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Body::from(json.to_owned())).expect("a request");
        let response = api::router(api).oneshot(request).await.expect("an answer");
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    /// A worker that has looked at nothing yet.
    pub fn worker(&self) -> Worker {
        let store = &self.store;
        let records = Records { store: store.clone(), products: store.clone(), clock: Arc::new(SystemClock) };
        Worker {
            store: store.clone(),
            queue: self.queue.clone(),
            pause: PauseWatch::new(store.clone()),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            retry: RetryPolicy { base: Duration::from_secs(1), cap: Duration::from_secs(1) },
            tools: Arc::new(tools_in(&self.folder, records)),
            isolation: worker::Isolation::Thread,
            stuck: false.into(),
        }
    }

    /// What has been asked of the table and of the queue.
    pub fn readings(&self) -> (Readings, Readings) {
        (self.table.meter.readings(), self.queue_meter.readings())
    }
}
