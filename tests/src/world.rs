//! The three functions over ports in memory, with a clock that only moves when it is told to.

use std::sync::Arc;
use std::time::Duration;

use api::{Api, Quota};
use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use shared::counters::MemoryCounters;
use shared::job::Job;
use shared::job::backoff::RetryPolicy;
use shared::job::submission::Limits;
use shared::job::transition::{Change, Fence};
use shared::ports::memory::{ManualClock, MemoryQueue, MemoryStore, SeededEntropy};
use shared::ports::{Changed, Clock, JobQueue, JobStore, Message, Receipt};
use shared::schedule::store::MemorySchedules;
use shared::subscription::store::MemorySubscriptions;
use shared::values::id::{JobId, LeaseToken};
use shared::values::time::Timestamp;
use shared_aws::settings::{AuthMode, WorkerSettings};
use sweeper::{Sweeper, Swept};
use tempfile::TempDir;
use tower::ServiceExt;
use worker::{Mailer, PauseWatch, Records, Tools, Worker};

/// As many records as the event-source mapping gives the worker at once.
const BATCH: usize = 10;

/// The whole system, without AWS. The numbers are those of `template.yaml`.
pub struct World {
    /// The truth.
    pub store: Arc<MemoryStore>,
    /// The queue, with its dead letters.
    pub queue: Arc<MemoryQueue>,
    /// The schedules.
    pub schedules: Arc<MemorySchedules>,
    /// The subscriptions.
    pub subscriptions: Arc<MemorySubscriptions>,
    /// The counters. No stream is there to fill them.
    pub counters: Arc<MemoryCounters>,
    /// The time, for all three functions.
    pub clock: Arc<ManualClock>,
    /// The HTTP function.
    pub router: Router,
    /// The SQS function.
    pub worker: Arc<Worker>,
    /// The scheduled function.
    pub sweeper: Sweeper,
    /// The folder that holds `output` and `output/mail`.
    pub folder: TempDir,
}

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, which is always JSON.
    pub body: Value,
}

impl World {
    /// A world in which nothing has happened yet.
    pub fn new() -> Self {
        Self::with_api(|_| ())
    }

    /// A world whose API sends by way of another queue, made from the true one.
    pub fn with_queue(api_queue: impl FnOnce(Arc<dyn JobQueue>) -> Arc<dyn JobQueue>) -> Self {
        Self::with_api(|api| api.queue = api_queue(api.queue.clone()))
    }

    /// A world whose API lets these callers in.
    pub fn with_auth(auth: AuthMode) -> Self {
        Self::with_access(auth, Quota::Off)
    }

    /// A world whose API lets these callers in, and lets each tenant submit so much.
    pub fn with_access(auth: AuthMode, quota: Quota) -> Self {
        Self::with_api(|api| {
            api.auth = auth;
            api.quota = quota;
        })
    }

    /// A world whose API has been changed so. Unless it is, it lets everybody in and has no limits.
    pub fn with_api(change: impl FnOnce(&mut Api)) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_800_000_000_000)));
        let store = Arc::new(MemoryStore::default());
        let (visibility_timeout, most_receives) = (Duration::from_secs(360), 12);
        let time: Arc<dyn Clock> = clock.clone();
        let queue = Arc::new(MemoryQueue::new(time, visibility_timeout, most_receives));
        let schedules = Arc::new(MemorySchedules::default());
        let subscriptions = Arc::new(MemorySubscriptions::default());
        let counters = Arc::new(MemoryCounters::default());
        let entropy = Arc::new(SeededEntropy::new(1));
        let folder = tempfile::tempdir().expect("a folder");
        let mut api = Api {
            store: store.clone(),
            queue: queue.clone(),
            dead_letters: queue.clone(),
            switch: store.clone(),
            schedules: schedules.clone(),
            subscriptions: subscriptions.clone(),
            counters: counters.clone(),
            products: store.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            idempotency_secret: "secret".to_owned(),
            auth: AuthMode::None,
            quota: Quota::Off,
            limits: Limits::default(),
        };
        change(&mut api);
        let worker = Worker {
            store: store.clone(),
            queue: queue.clone(),
            pause: PauseWatch::new(store.clone()),
            clock: clock.clone(),
            entropy,
            retry: RetryPolicy { base: Duration::from_secs(10), cap: Duration::from_secs(900) },
            tools: Arc::new(tools_in(&folder, records_of(&store, &clock))),
            isolation: worker::Isolation::Thread,
            stuck: false.into(),
        };
        let sweeper = Sweeper {
            store: store.clone(),
            queue: queue.clone(),
            schedules: schedules.clone(),
            switch: store.clone(),
            dead_letters: queue.clone(),
            clock: clock.clone(),
        };
        Self {
            store,
            queue,
            schedules,
            subscriptions,
            counters,
            clock,
            router: api::router(api),
            worker: Arc::new(worker),
            sweeper,
            folder,
        }
    }

    /// Sends a request to the API.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router always answers");
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("a whole body");
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Posts JSON, with further headers.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::post(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).expect("a request")).await
    }

    /// Submits a job that must be accepted. Gives its id.
    pub async fn submit(&self, body: &str) -> JobId {
        let answer = self.post("/jobs", &[], body.to_owned()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        answer.body["job_id"].as_str().expect("an id").parse().expect("an id")
    }

    /// Asks the API for a job.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    /// The job as it is stored.
    pub async fn job(&self, id: JobId) -> Job {
        self.store.find(id).await.expect("memory answers").expect("the job is stored")
    }

    /// A worker with a minute left claims the job, and is heard of no more unless the caller speaks for it.
    pub async fn claim(&self, id: JobId) -> Fence {
        let token = LeaseToken::new([1; 8]);
        let claim = Change::Claim { now: self.clock.now(), token, time_left: Duration::from_secs(60) };
        match self.store.change_if_allowed(id, &claim).await.expect("memory answers") {
            Changed::Applied(job) => Fence { attempt: job.attempts, token },
            other => panic!("{other:?}"),
        }
    }

    /// Lets the worker have one batch, if there are messages. Gives how many records it had.
    pub async fn deliver(&self) -> usize {
        let deliveries: Vec<_> = std::iter::from_fn(|| self.queue.receive()).take(BATCH).collect();
        let records = deliveries.iter().map(|delivery| {
            let mut record = record(&delivery.receipt, &body(delivery.job_id));
            record.attributes.insert("ApproximateReceiveCount".to_owned(), delivery.receives.to_string());
            record
        });
        let records = records.collect();
        let mut event = SqsEvent::default();
        event.records = records;
        let failed = self.handle(event).await;
        for delivery in &deliveries {
            if !failed.contains(&delivery.receipt.0) {
                self.queue.acknowledge(&delivery.receipt);
            }
        }
        deliveries.len()
    }

    /// Lets the worker have these records. Gives the ids of those it returned.
    pub async fn handle(&self, event: SqsEvent) -> Vec<String> {
        let response = Arc::clone(&self.worker).handle(event, Duration::from_secs(60)).await.expect("an answer");
        response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
    }

    /// Sweeps once.
    pub async fn sweep(&self) -> Swept {
        self.sweeper.handle(Duration::from_secs(50)).await.expect("memory answers")
    }

    /// Lets time pass second by second, delivering whatever is there and sweeping once a minute.
    pub async fn pass(&self, time: Duration) {
        for second in 1..=time.as_secs() {
            while self.deliver().await > 0 {}
            self.clock.advance(Duration::from_secs(1));
            if second % 60 == 0 {
                self.sweep().await;
            }
        }
        while self.deliver().await > 0 {}
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// A record as the event-source mapping makes it. Its message id is its receipt.
pub fn record(receipt: &Receipt, body: &str) -> SqsMessage {
    let mut record = SqsMessage::default();
    record.message_id = Some(receipt.0.clone());
    record.receipt_handle = Some(receipt.0.clone());
    record.body = Some(body.to_owned());
    record
}

/// The body of a message about this job.
pub fn body(job_id: JobId) -> String {
    Message::naming(job_id, Duration::ZERO).body()
}

/// Job types' tools that write below `folder`, as the defaults do below the working directory.
pub fn tools_in(folder: &TempDir, records: Records) -> Tools {
    let output = format!("file://{}", folder.path().join("output").display());
    let mail = format!("file://{}", folder.path().join("output/mail").display());
    tools(&[("OUTPUT_URL", &output), ("MAIL_URL", &mail)], records)
}

/// Job types' tools with these settings.
pub fn tools(settings: &[(&str, &str)], records: Records) -> Tools {
    let lookup = |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let settings = WorkerSettings::read(&lookup).expect("settings that fit");
    let no_aws = shared_aws::clients::SdkConfig::builder().build();
    Tools::new(&settings, &no_aws, &|_| None, records).expect("tools")
}

/// What is on record in memory.
pub fn records_of(store: &Arc<MemoryStore>, clock: &Arc<ManualClock>) -> Records {
    Records { store: store.clone(), products: store.clone(), clock: clock.clone() }
}

/// A way to send e-mail that nothing sends.
pub fn mailer_nowhere() -> Mailer {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
    let Tools { mailer, .. } = tools(&[], records_of(&Arc::default(), &clock));
    mailer
}
