//! How the deployment is, and its figures: `/health`, `/metrics` and `/stats`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::Api;
use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use shared::counters::{CounterStore, KEPT, Minute, Totals};
use shared::job::TypeName;
use shared::job::changes::{JobChange, Recorded};
use shared::job::event::Event;
use shared::job::transition::Change;
use shared::job_type::JobType;
use shared::ports::{
    Clock, DeadLetter, DeadLetters, JobQueue, JobStore, Message, QueueError, Receipt, Source, StoreError, Switch,
};
use shared::values::id::{JobId, LeaseToken, Tenant};
use shared::values::time::Timestamp;
use shared_aws::dynamodb::DynamoStore;
use shared_aws::settings::AuthMode;
use tests::table::{NAME, Table};
use tests::world::{Answer, World};
use tokio::time::Instant;
use tower::ServiceExt;

const ALICE: &str = r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#;
const FAILING: &str = r#"{"type":"rehearsal","payload":{"attempts":["give_up"]}}"#;
const SECOND: Duration = Duration::from_secs(1);
const TWO_SECONDS: Duration = Duration::from_secs(2);

/// One job has completed and one has failed, after they had waited for seven seconds; one has been ready for a minute
/// and a half, and one is to start later. All that has been counted.
async fn a_little_of_everything(world: &World) {
    world.submit(ALICE).await;
    world.submit(FAILING).await;
    world.clock.advance(SECOND * 7);
    while world.deliver().await > 0 {}
    world.submit(ALICE).await;
    world.submit(&ALICE.replace("}}", r#"},"delay_seconds":600}"#)).await;
    let jobs = world.store.all().into_iter();
    let events: Vec<_> = jobs.flat_map(|job| events(job.id, &job.tenant, job.job_type, job.history)).collect();
    count(world, &events).await;
    world.clock.advance(SECOND * 90);
}

/// Counts these events, as the function does that reads the stream.
async fn count(world: &World, events: &[Recorded]) {
    world.counters.count(events, world.clock.now()).await.expect("memory answers");
}

/// The events of a job with this history.
fn events(job_id: JobId, tenant: &Tenant, job_type: TypeName, history: Vec<Event>) -> Vec<Recorded> {
    let (tenant, correlation_id, callback_url) = (tenant.clone(), "request".to_owned(), None);
    let change = JobChange { job_id, tenant, job_type, correlation_id, callback_url, known: 0, history };
    change.new_events().expect("a job can have this history")
}

#[tokio::test]
async fn health_tells_what_there_is_and_when_each_figure_was_read() {
    let world = World::new();
    a_little_of_everything(&world).await;
    let answer = world.get("/health").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let read_at = "2027-01-15T08:01:37.000Z";
    let body = &answer.body;
    assert_eq!((&body["status"], &body["version"]), (&json!("ok"), &json!(env!("CARGO_PKG_VERSION"))));
    assert_eq!(body["table"], json!({ "reachable": true, "read_at": read_at }));
    assert_eq!(body["queue"], json!({ "reachable": true, "waiting_messages": 1, "read_at": read_at }));
    assert_eq!(body["dead_letter_queue"], json!({ "reachable": true, "messages": 1, "read_at": read_at }));
    assert_eq!(body["oldest_job"], json!({ "waiting_seconds": 90, "read_at": read_at }));
    let jobs = json!({
        "total_added": 4, "completed": 1, "failed": 1, "cancelled": 0, "in_progress": 0, "waiting": 2, "read_at": read_at,
    });
    assert_eq!(body["jobs"], jobs);
    let function = &body["function"];
    assert_eq!(
        (&function["started_at"], &function["uptime_seconds"]),
        (&"2027-01-15T08:00:00.000Z".into(), &97.into())
    );
    assert_eq!(function["read_at"], read_at);
    if cfg!(target_os = "linux") {
        let (now, most) = (function["memory_bytes"].as_u64(), function["peak_memory_bytes"].as_u64());
        assert!(now > Some(100_000) && most >= now, "{function}");
    }
}

#[tokio::test]
async fn jobs_that_nobody_starts_are_told_unless_workers_are_busy_or_paused() {
    let world = World::new();
    let id = world.submit(ALICE).await;
    let told = async || {
        let health = world.get("/health").await;
        assert_eq!(health.status, StatusCode::OK, "{health:?}");
        let why = world.get(&format!("/jobs/{id}/why")).await.body;
        (health.body["status"].clone(), health.body["warning"].clone(), why["detail"].clone())
    };
    let usual = "it is ready, and starts as soon as a worker is free";
    let well = (json!("ok"), Value::Null, json!(usual));
    world.clock.advance(SECOND * 119);
    assert_eq!(told().await, well);

    world.clock.advance(SECOND * 301);
    let idle = "has been ready for 7 minutes, and in the last 2 no worker has started any: see the worker's log";
    let stalled = (json!("stalled"), json!(format!("a job {idle}")), json!(format!("{usual}; but it {idle}")));
    assert_eq!(told().await, stalled);

    // Somebody has started another one lately.
    let history = |began: Timestamp, ended: Option<Timestamp>| {
        let history = vec![Event::Accepted { at: began, not_before: None }, Event::Started { at: began }];
        history.into_iter().chain(ended.map(|at| Event::Completed { at })).collect::<Vec<_>>()
    };
    let of_a_job = |number: u8, history: Vec<Event>| {
        let job_id = JobId::at(world.clock.now(), [number; 10]);
        events(job_id, &Tenant::only(), JobType::CsvGeneration.name(), history)
    };
    let a_minute_ago = world.clock.now() - SECOND * 60;
    count(&world, &of_a_job(1, history(a_minute_ago, Some(a_minute_ago)))).await;
    world.clock.advance(SECOND);
    assert_eq!(told().await, well);
    world.clock.advance(SECOND * 180);
    assert_eq!(told().await.0, "stalled", "that was long ago");

    // Nobody is to start any.
    world.post("/queue/pause", &[], "").await;
    world.clock.advance(SECOND);
    assert_eq!(told().await.0, "ok");
    world.post("/queue/resume", &[], "").await;
    world.clock.advance(SECOND);
    assert_eq!(told().await.0, "stalled");

    // All workers may be busy with jobs that take long.
    count(&world, &of_a_job(2, history(a_minute_ago, None))).await;
    world.clock.advance(SECOND);
    assert_eq!(told().await, well);
}

#[tokio::test]
async fn an_empty_deployment_is_well() {
    let health = World::new().get("/health").await;
    assert_eq!((health.status, &health.body["status"]), (StatusCode::OK, &json!("ok")));
    assert_eq!(
        (&health.body["jobs"]["total_added"], &health.body["oldest_job"]["waiting_seconds"]),
        (&json!(0), &json!(0))
    );
}

/// A part of the system, and how to break it.
type Part = (&'static str, fn(&mut Api, Broken));

#[tokio::test]
async fn both_paths_tell_the_same() {
    let world = World::new();
    a_little_of_everything(&world).await;
    let [mut one, mut other] = [world.get("/health").await.body, world.get("/api/health").await.body];
    for body in [&mut one, &mut other] {
        body["function"].take(); // its memory may have changed
    }
    assert_eq!(one, other);
}

#[tokio::test(start_paused = true)]
async fn whatever_cannot_be_reached_is_named_within_two_seconds() {
    let parts: [Part; 4] = [
        ("the table", |api, broken| api.switch = Arc::new(broken)),
        ("the queue", |api, broken| api.queue = Arc::new(broken)),
        ("the dead-letter queue", |api, broken| api.dead_letters = Arc::new(broken)),
        ("the counters", |api, broken| api.counters = Arc::new(broken)),
    ];
    let ways = [(Broken::Silent, "has not answered within 1.5 s"), (Broken::Refusing, "cannot be reached: ")];
    for (name, break_it) in parts {
        for (broken, how) in ways {
            let world = World::with_api(|api| break_it(api, broken));
            let began = Instant::now();
            let answer = world.get("/health").await;
            assert!(began.elapsed() < TWO_SECONDS, "{name}");
            assert_eq!((answer.status.as_u16(), &answer.body["status"]), (503, &json!(503)), "{name}: {answer:?}");
            assert_eq!(answer.headers["content-type"], "application/problem+json");
            assert_eq!(answer.headers["retry-after"], "1");
            let detail = answer.body["detail"].as_str().expect("a sentence");
            assert!(detail.starts_with(&format!("{name} {how}")) && !detail.contains("; "), "{detail}");
            assert!(!answer.body.to_string().contains(INSIDE), "strangers are not told what is within: {detail}");
            assert_eq!(answer.body["health"]["status"], "unavailable");
            assert_eq!(
                answer.body["health"]["table"]["reachable"],
                json!(name != "the table"),
                "all else is still told"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn if_nothing_answers_nobody_waits_longer_and_all_is_named() {
    let world = Arc::new(World::with_api(|api| {
        api.switch = Arc::new(Broken::Silent);
        api.queue = Arc::new(Broken::Silent);
        api.dead_letters = Arc::new(Broken::Silent);
        api.counters = Arc::new(Broken::Silent);
    }));
    let began = Instant::now();
    let asked = (0..10).map(|_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.get("/health").await })
    });
    for answer in asked.collect::<Vec<_>>() {
        let answer = answer.await.expect("no panic");
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        let detail = answer.body["detail"].as_str().expect("a sentence").to_owned();
        for name in ["the table", "the queue", "the dead-letter queue", "the counters"] {
            assert!(detail.contains(&format!("{name} has not answered")), "{detail}");
        }
    }
    assert!(began.elapsed() < TWO_SECONDS, "{:?}", began.elapsed());
}

#[tokio::test]
async fn however_often_somebody_asks_there_is_one_look_a_second() {
    let looks = Arc::new(AtomicUsize::new(0));
    let world = World::with_api(|api| api.dead_letters = Arc::new(Counted(Arc::clone(&looks))));
    for path in ["/health", "/api/health", "/health", "/health"] {
        assert_eq!(world.get(path).await.body["dead_letter_queue"]["messages"], 7);
    }
    assert_eq!(looks.load(Ordering::Relaxed), 1);
    world.clock.advance(SECOND);
    world.get("/health").await;
    assert_eq!(looks.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn where_callers_are_told_apart_strangers_get_no_figures() {
    let jwt = AuthMode::Jwt { tenant_claim: "tenant".to_owned(), scope_prefix: String::new() };
    for auth in [jwt, AuthMode::Iam] {
        let world = World::with_api(|api| {
            api.auth = auth;
            api.counters = Arc::new(Broken::Silent); // nobody looks at them
        });
        let answer = world.get("/health").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let fields = |part: &Value| part.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
        let whole = fields(&answer.body);
        assert!(!whole.contains(&"jobs".to_owned()) && !whole.contains(&"oldest_job".to_owned()), "{whole:?}");
        for part in ["table", "queue", "dead_letter_queue"] {
            let mut fields = fields(&answer.body[part]);
            fields.sort();
            assert_eq!(fields, ["reachable", "read_at"], "{part}");
        }
    }
}

#[tokio::test]
async fn metrics_are_a_page_for_prometheus() {
    let world = World::new();
    a_little_of_everything(&world).await;
    let (content_type, page) = page(&world, "/metrics").await;
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "# TYPE dray_jobs_accepted_total counter",
        r#"dray_jobs_accepted_total{type="csv-generation"} 3"#,
        r#"dray_jobs_completed_total{type="csv-generation"} 1"#,
        r#"dray_jobs_failed_total{type="rehearsal"} 1"#,
        r#"dray_jobs_waiting{type="csv-generation"} 2"#,
        r#"dray_jobs_running{type="csv-generation"} 0"#,
        "dray_queue_paused 0",
        "dray_queue_messages 1",
        "dray_dead_letters 1",
        "dray_oldest_waiting_job_seconds 90",
        "# TYPE dray_attempt_duration_seconds histogram",
        r#"dray_attempt_duration_seconds_bucket{type="csv-generation",le="0.01"} 1"#,
        r#"dray_attempt_duration_seconds_sum{type="csv-generation"} 0"#,
        r#"dray_attempt_duration_seconds_count{type="csv-generation"} 1"#,
        r#"dray_job_wait_seconds_bucket{type="rehearsal",le="5"} 0"#,
        r#"dray_job_wait_seconds_bucket{type="rehearsal",le="10"} 1"#,
        r#"dray_job_wait_seconds_bucket{type="rehearsal",le="+Inf"} 1"#,
        r#"dray_job_wait_seconds_sum{type="rehearsal"} 7"#,
        r#"dray_job_wait_seconds_count{type="rehearsal"} 1"#,
    ] {
        assert!(page.lines().any(|there| there == line), "no {line} in\n{page}");
    }
    // For .ci/metrics-lint: what a linter of Prometheus says of it.
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/metrics.txt"), page).expect("writes");
}

#[tokio::test]
async fn counters_and_histograms_outlast_the_minutes_that_they_were_counted_in() {
    let world = World::new();
    a_little_of_everything(&world).await;
    let lasting = async || -> Vec<String> {
        let (_, page) = page(&world, "/metrics").await;
        let counted = |line: &&str| ["_total{", "_bucket{", "_sum{", "_count{"].iter().any(|end| line.contains(end));
        page.lines().filter(counted).map(ToOwned::to_owned).collect()
    };
    let before = lasting().await;
    assert!(before.len() > 20, "{before:?}");
    world.clock.advance(KEPT * 2);
    assert_eq!(lasting().await, before);
}

#[tokio::test]
async fn what_a_queue_does_not_tell_is_no_metric() {
    let world = World::with_api(|api| {
        api.queue = Arc::new(Broken::Refusing);
        api.dead_letters = Arc::new(Broken::Refusing);
    });
    let (_, page) = page(&world, "/metrics").await;
    assert!(page.contains("dray_queue_paused 0\n"), "{page}");
    assert!(!page.contains("dray_queue_messages") && !page.contains("dray_dead_letters"), "{page}");
}

#[tokio::test]
async fn stats_have_every_step_and_add_up() {
    let world = World::new();
    a_little_of_everything(&world).await;
    for (window, steps, seconds) in [("1h", 60, 60), ("24h", 288, 300), ("48h", 48, 3600)] {
        let answer = world.get(&format!("/stats?window={window}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let stats = &answer.body;
        assert_eq!((&stats["window"], &stats["step_seconds"]), (&json!(window), &json!(seconds)));
        assert_eq!((&stats["waiting"], &stats["running"]), (&json!(2), &json!(0)));
        let all = stats["steps"].as_array().expect("steps");
        assert_eq!(all.len(), steps, "{window}");
        for (field, expected) in [("accepted", 4), ("started", 2), ("completed", 1), ("failed", 1), ("retried", 0)] {
            let sum: u64 = all.iter().filter_map(|step| step["all"][field].as_u64()).sum();
            assert_eq!((sum, &stats["all"][field]), (expected, &json!(expected)), "{window}: {field}");
        }
        assert_eq!(stats["by_type"]["csv-generation"]["completed"], 1);
        assert_eq!(stats["by_type"]["rehearsal"]["failed"], 1);
        let wait = stats["all"]["wait_ms"]["p50"].as_u64().expect("some have waited");
        assert!(wait.abs_diff(7000) * 16 <= 7000, "{wait}");
        let cost = &stats["cost_by_day"]["2027-01-15"]["csv-generation"];
        assert_eq!(cost["jobs"], 3);
        assert!(cost["cost"]["dollars"].as_f64().is_some_and(|dollars| dollars > 0.0 && dollars < 0.001), "{cost}");
        let busy = all.iter().filter(|step| step["all"]["accepted"] != 0).map(|step| &step["begins_at"]);
        assert_eq!(busy.collect::<Vec<_>>(), ["2027-01-15T08:00:00.000Z"], "{window}");
    }
    assert_eq!(world.get("/stats").await.body["window"], "1h");
    for (query, field) in [("window=2h", "window"), ("window=", "window"), ("windows=1h", "windows")] {
        let refused = world.get(&format!("/stats?{query}")).await;
        assert_eq!((refused.status.as_u16(), &refused.body["field"]), (422, &json!(field)), "{query}");
    }
}

#[tokio::test]
async fn stats_are_those_of_the_callers_tenant() {
    let auth = AuthMode::Jwt { tenant_claim: "tenant".to_owned(), scope_prefix: String::new() };
    let world = World::with_auth(auth);
    let now = world.clock.now();
    for (number, name) in [(1, "acme"), (2, "acme"), (3, "beta")] {
        let tenant = Tenant::named(name).expect("a name");
        let accepted = vec![Event::Accepted { at: now, not_before: None }];
        let (job_id, job_type) = (JobId::at(now, [number; 10]), JobType::CsvGeneration.name());
        count(&world, &events(job_id, &tenant, job_type, accepted)).await;
    }
    for (tenant, jobs) in [("acme", 2), ("beta", 1), ("nobody", 0)] {
        let stats = get_as(&world, tenant, "/stats").await;
        assert_eq!(stats.status, StatusCode::OK, "{stats:?}");
        assert_eq!((&stats.body["all"]["accepted"], &stats.body["waiting"]), (&json!(jobs), &json!(jobs)), "{tenant}");
    }
}

#[tokio::test]
async fn looks_cost_reads_and_nothing_else() {
    let table = Table::start().await;
    let store = Arc::new(DynamoStore::with_client(table.client(), NAME.to_owned()));
    let world = World::with_api(|api| {
        api.store = store.clone();
        api.switch = store.clone();
        api.counters = store.clone();
    });
    let cost_of = async |path: &str| {
        let before = table.meter.readings().requests;
        let answer = world.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        let mut requests = table.meter.readings().requests;
        requests.retain(|operation, times| {
            *times -= before.get(operation).copied().unwrap_or(0);
            *times > 0
        });
        requests.into_iter().collect::<Vec<_>>()
    };
    let requests = |expected: &[(&str, u32)]| -> Vec<(String, u32)> {
        expected.iter().map(|(operation, times)| ((*operation).to_owned(), *times)).collect()
    };
    assert_eq!(cost_of("/health").await, requests(&[("BatchGetItem", 1), ("GetItem", 1), ("Query", 4)]));
    assert_eq!(cost_of("/health").await, [], "told again");
    assert_eq!(cost_of("/metrics").await, requests(&[("BatchGetItem", 1), ("GetItem", 1), ("Query", 4)]));
    // A minute is four items, and a request takes a hundred; one more is for what is there now.
    assert_eq!(cost_of("/stats?window=1h").await, requests(&[("BatchGetItem", 3 + 1)]));
    assert_eq!(cost_of("/stats?window=48h").await, requests(&[("BatchGetItem", 116 + 1)]));
}

/// The content type and the text of a page.
async fn page(world: &World, path: &str) -> (String, String) {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = world.router.clone().oneshot(request).await.expect("the router always answers");
    assert_eq!(response.status(), StatusCode::OK);
    let content_type = response.headers()["content-type"].to_str().expect("a text").to_owned();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a whole body");
    (content_type, String::from_utf8(body.to_vec()).expect("UTF-8"))
}

/// Gets what a caller of this tenant gets, whose token the gateway has verified.
async fn get_as(world: &World, tenant: &str, path: &str) -> Answer {
    let claims = json!({ "tenant": tenant, "scope": "jobs:read" });
    let event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": { "host": "example.execute-api.eu-central-1.amazonaws.com" },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "example",
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": "$default",
            "http": { "method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7" },
            "authorizer": { "jwt": { "claims": claims, "scopes": null } },
            "timeEpoch": 1_800_000_000_000_i64,
        },
        "isBase64Encoded": false,
    });
    let request: Request<lambda_http::Body> = lambda_http::request::from_str(&event.to_string()).expect("an event");
    world.send(request.map(|body| Body::from(body.to_vec()))).await
}

/// What only the log may say.
const INSIDE: &str = "sqs.internal:443 refused";

/// A port that never answers, or refuses.
#[derive(Clone, Copy)]
enum Broken {
    Silent,
    Refusing,
}

impl Broken {
    async fn answer<T, E>(self, refusal: fn(Source) -> E) -> Result<T, E> {
        match self {
            Self::Silent => std::future::pending().await,
            Self::Refusing => Err(refusal(INSIDE.into())),
        }
    }
}

#[async_trait]
impl Switch for Broken {
    async fn is_paused(&self) -> Result<bool, StoreError> {
        self.answer(StoreError::Refused).await
    }
    async fn set_paused(&self, _: bool) -> Result<(), StoreError> {
        self.answer(StoreError::Refused).await
    }
}

#[async_trait]
impl CounterStore for Broken {
    async fn count(&self, _: &[Recorded], _: Timestamp) -> Result<(), StoreError> {
        self.answer(StoreError::Unavailable).await
    }
    async fn totals(&self, _: Option<&Tenant>) -> Result<Totals, StoreError> {
        self.answer(StoreError::Unavailable).await
    }
    async fn minutes(&self, _: Option<&Tenant>, _: Timestamp, _: Timestamp) -> Result<Vec<Minute>, StoreError> {
        self.answer(StoreError::Unavailable).await
    }
}

#[async_trait]
impl JobQueue for Broken {
    async fn send(&self, _: &Message) -> Result<(), QueueError> {
        self.answer(QueueError).await
    }
    async fn send_all(&self, messages: &[Message]) -> Vec<JobId> {
        messages.iter().map(|message| message.job_id).collect()
    }
    async fn hide(&self, _: &Receipt, _: Duration) -> Result<(), QueueError> {
        self.answer(QueueError).await
    }
    async fn waiting(&self) -> Result<usize, QueueError> {
        self.answer(QueueError).await
    }
}

#[async_trait]
impl DeadLetters for Broken {
    async fn receive(&self, _: Duration) -> Result<Vec<DeadLetter>, QueueError> {
        self.answer(QueueError).await
    }
    async fn delete(&self, _: &[Receipt]) -> Result<(), QueueError> {
        self.answer(QueueError).await
    }
    async fn depth(&self) -> Result<usize, QueueError> {
        self.answer(QueueError).await
    }
}

/// Seven dead letters, and how often somebody has asked.
struct Counted(Arc<AtomicUsize>);

#[async_trait]
impl DeadLetters for Counted {
    async fn receive(&self, _: Duration) -> Result<Vec<DeadLetter>, QueueError> {
        Ok(vec![])
    }
    async fn delete(&self, _: &[Receipt]) -> Result<(), QueueError> {
        Ok(())
    }
    async fn depth(&self) -> Result<usize, QueueError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(7)
    }
}

#[tokio::test]
async fn a_job_that_may_wait_behind_running_ones_is_not_said_to_be_none() {
    let world = World::new();
    let mut running = vec![];
    for number in 0..30 {
        running.push(world.submit(&format!(r#"{{"type":"rehearsal","payload":{{"takes_ms":{number}}}}}"#)).await);
    }
    world.clock.advance(Duration::from_secs(1));
    world.submit(r#"{"type":"rehearsal","payload":{}}"#).await;
    for (number, id) in (0_u8..).zip(running) {
        let (now, token) = (world.clock.now(), LeaseToken::new([number; 8]));
        let claim = Change::Claim { now, token, time_left: Duration::from_secs(60) };
        world.store.change_if_allowed(id, &claim).await.expect("memory answers");
    }
    let health = world.get("/health").await;
    assert_eq!(health.body["oldest_job"]["waiting_seconds"], serde_json::Value::Null, "{health:?}");
}
