//! The functions over ports of one's own, put together as their `main.rs` does it.

use std::sync::Arc;
use std::time::Duration;

use crate::outputs::{Creates, OnlyCreates};
use api::{Api, Quota};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use shared::counters::MemoryCounters;
use shared::job::backoff::RetryPolicy;
use shared::job::submission::Limits;
use shared::ports::memory::{ManualClock, MemoryStore};
use shared::ports::{Clock, DeadLetters, Entropy, JobQueue, JobStore};
use shared::schedule::store::MemorySchedules;
use shared::subscription::store::MemorySubscriptions;
use shared::values::id::JobId;
use shared::values::time::Timestamp;
use shared_aws::settings::AuthMode;
use sweeper::Sweeper;
use tests::world::{records_of, tools};
use worker::{Isolation, Outputs, PauseWatch, Tools, Worker};

/// Whatever the functions see of the world.
pub struct Ports {
    /// The jobs.
    pub store: Arc<dyn JobStore>,
    /// Where workers hear of them.
    pub queue: Arc<dyn JobQueue>,
    /// Where the messages of failed jobs end up.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// All chance.
    pub entropy: Arc<dyn Entropy>,
    /// Where jobs leave their files.
    pub outputs: Arc<dyn Outputs>,
    /// What else there is, and does not matter here: the switch and the products.
    pub beside: Arc<MemoryStore>,
    /// No schedules.
    pub schedules: Arc<MemorySchedules>,
}

impl Ports {
    /// One thing that is all of them.
    pub fn of<P>(all: &Arc<P>) -> Self
    where
        P: JobStore + JobQueue + DeadLetters + Clock + Entropy + Creates + 'static,
    {
        Self {
            store: all.clone(),
            queue: all.clone(),
            dead_letters: all.clone(),
            clock: all.clone(),
            entropy: all.clone(),
            outputs: Arc::new(OnlyCreates(all.clone())),
            beside: Arc::default(),
            schedules: Arc::default(),
        }
    }

    /// The HTTP function of a deployment whose jobs may ask for so much.
    pub fn api(&self, limits: Limits) -> Router {
        api::router(Api {
            store: self.store.clone(),
            queue: self.queue.clone(),
            dead_letters: self.dead_letters.clone(),
            switch: self.beside.clone(),
            schedules: self.schedules.clone(),
            subscriptions: Arc::new(MemorySubscriptions::default()),
            counters: Arc::new(MemoryCounters::default()),
            products: self.beside.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            idempotency_secret: "secret".to_owned(),
            auth: AuthMode::None,
            quota: Quota::Off,
            limits,
        })
    }

    /// The SQS function. Its jobs run as tasks: on threads of their own, time would not wait for them.
    pub fn worker(&self) -> Arc<Worker> {
        let records = records_of(&self.beside, &Arc::new(ManualClock::at(Timestamp::from_millis(0))));
        Arc::new(Worker {
            store: self.store.clone(),
            queue: self.queue.clone(),
            pause: PauseWatch::new(self.beside.clone()),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            retry: RetryPolicy { base: Duration::from_secs(2), cap: Duration::from_secs(900) },
            tools: Arc::new(Tools { outputs: self.outputs.clone(), ..tools(&[], records) }),
            isolation: Isolation::Task,
            stuck: false.into(),
        })
    }

    /// The scheduled function.
    pub fn sweeper(&self) -> Sweeper {
        Sweeper {
            store: self.store.clone(),
            queue: self.queue.clone(),
            schedules: self.schedules.clone(),
            switch: self.beside.clone(),
            dead_letters: self.dead_letters.clone(),
            clock: self.clock.clone(),
        }
    }
}

/// The request that submits a job.
pub fn submission(key: Option<&str>, body: String) -> Request<Body> {
    let mut request = Request::post("/jobs").header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    request.body(Body::from(body)).expect("a request")
}

/// The job that an answer to a submission says is accepted; `None` if it says anything else.
pub fn accepted_in(answer: &Response) -> Option<JobId> {
    let location = answer.headers().get("location")?.to_str().ok()?;
    let job = location.strip_prefix("/jobs/")?.parse().ok()?;
    (answer.status() == StatusCode::ACCEPTED).then_some(job)
}
