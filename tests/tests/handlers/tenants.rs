//! Who may do what: that nobody sees or changes anything of another tenant, that each route takes its scope, and that a
//! tenant submits no more than its quota.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use api::Quota;
use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode};
use serde_json::{Value, json};
use shared::job::transition::Change;
use shared::ports::{Clock, JobStore};
use shared::quota::{MemoryQuotas, QuotaStore, Taken, minute_of};
use shared::values::id::{JobId, LeaseToken, Tenant};
use shared::values::time::Timestamp;
use shared_aws::dynamodb::DynamoStore;
use shared_aws::settings::AuthMode;
use tests::table::{NAME, Table};
use tests::world::{Answer, World};

const ALICE: &str = r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#;
const NIGHTLY: &str = r#"{"cron":"0 3 * * *","job":{"type":"csv-generation","payload":{"name":"Alice"}}}"#;

/// The routes to one job, and what is sent to them. What ends a job comes last.
const TO_A_JOB: [(&str, &str); 8] = [
    ("GET /jobs/{}", ""),
    ("GET /jobs/{}?wait=1", ""),
    ("GET /jobs/{}/events", ""),
    ("GET /jobs/{}/events?at=2027-01-15T08:00:00Z", ""),
    ("GET /jobs/{}/why", ""),
    ("POST /jobs/{}/reschedule", r#"{"delay_seconds":60}"#),
    ("POST /jobs/{}/retry", "{}"),
    ("POST /jobs/{}/cancel", "{}"),
];

/// The routes to one schedule. What ends it comes last.
const TO_A_SCHEDULE: [(&str, &str); 5] = [
    ("GET /schedules/{}", ""),
    ("POST /schedules/{}/run", "{}"),
    ("POST /schedules/{}/pause", "{}"),
    ("POST /schedules/{}/resume", "{}"),
    ("DELETE /schedules/{}", ""),
];

#[tokio::test]
async fn what_is_another_tenants_is_answered_like_what_is_not_there() {
    let world = World::with_auth(by_token());
    let (acme, beta) = (token("acme", "jobs:admin"), token("beta", "jobs:admin"));
    let things = things_of(&world, &acme).await;
    let before = things.as_seen_by(&world, &acme).await;
    for (route, body, thing, nothing) in things.routes() {
        let foreign = call(&world, &beta, &route.replace("{}", &thing), body).await;
        let missing = call(&world, &beta, &route.replace("{}", nothing), body).await;
        assert_eq!(foreign.status, StatusCode::NOT_FOUND, "{route}: {foreign:?}");
        assert_eq!(shape(&foreign, &thing), shape(&missing, nothing), "{route}");
    }
    assert_eq!(things.as_seen_by(&world, &acme).await, before, "none of it has changed anything");
    for (route, body, thing, _) in things.routes().into_iter().filter(|(route, ..)| !route.contains("wait")) {
        let own = call(&world, &acme, &route.replace("{}", &thing), body).await;
        let there = !matches!(own.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
        assert!(there && !own.status.is_server_error(), "{route}: {own:?}");
    }
}

#[tokio::test]
async fn no_list_shows_what_is_another_tenants() {
    let world = World::with_auth(by_token());
    let (acme, beta) = (token("acme", "jobs:read jobs:write"), token("beta", "jobs:read"));
    let things = things_of(&world, &acme).await;
    let lists = [
        "/jobs",
        "/jobs?status=pending",
        "/jobs?status=failed",
        "/jobs?type=csv-generation",
        "/jobs?tag=mine",
        "/schedules",
        "/subscriptions",
    ];
    for list in lists {
        let own = call(&world, &acme, &format!("GET {list}"), "").await;
        assert!(own.status.is_success() && things.are_in(&own), "{list}: {own:?}");
        let foreign = call(&world, &beta, &format!("GET {list}"), "").await;
        assert!(foreign.status.is_success() && !things.are_in(&foreign), "{list}: {foreign:?}");
        assert!(foreign.body["next_cursor"].is_null(), "{list}: {foreign:?}");
    }
    let page = call(&world, &acme, "GET /jobs?limit=1", "").await;
    let cursor = page.body["next_cursor"].as_str().expect("there are more");
    let foreign = call(&world, &beta, &format!("GET /jobs?limit=100&cursor={cursor}"), "").await;
    assert!(!foreign.status.is_server_error() && !things.are_in(&foreign), "another's cursor: {foreign:?}");
}

#[tokio::test]
async fn acting_on_many_jobs_leaves_those_of_others_alone() {
    let world = World::with_auth(by_token());
    let (acme, beta) = (token("acme", "jobs:admin"), token("beta", "jobs:admin"));
    let things = things_of(&world, &acme).await;
    let before = things.as_seen_by(&world, &acme).await;
    let acts = [
        ("POST /jobs/cancel", r#"{"filter":{"tag":"mine"},"dry_run":true}"#),
        ("POST /jobs/cancel", r#"{"filter":{"type":"csv-generation"}}"#),
        ("POST /jobs/retry", r#"{"filter":{"status":"failed"}}"#),
    ];
    for (route, body) in acts {
        let answer = call(&world, &beta, route, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{route} {body}: {answer:?}");
        assert_eq!([&answer.body["matched"], &answer.body["changed"]], [&json!(0), &json!(0)], "{route} {body}");
    }
    assert_eq!(things.as_seen_by(&world, &acme).await, before);
    for (route, body) in acts {
        let answer = call(&world, &acme, route, body).await;
        assert!(answer.body["matched"].as_u64().is_some_and(|matched| matched > 0), "{route} {body}: {answer:?}");
    }
}

#[tokio::test]
async fn two_tenants_may_use_the_same_names_and_never_meet() {
    let world = World::with_auth(by_token());
    let (acme, beta) = (token("acme", "jobs:admin"), token("beta", "jobs:admin"));
    let key = [("idempotency-key", "order-1")];
    let other = ALICE.replace("95", "96");
    for route in ["POST /jobs", "POST /jobs/email"] {
        let email = r#"{"to":"ada@example.com","subject":"Hello","body":"Dear Ada"}"#;
        let (one, another) = if route == "POST /jobs" { (ALICE, other.as_str()) } else { (email, email) };
        let key = [("idempotency-key", route)];
        let first = call_with(&world, Some(&acme), route, &key, one).await;
        let second = call_with(&world, Some(&beta), route, &key, another).await;
        for answer in [&first, &second] {
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
            assert!(!answer.headers.contains_key("idempotent-replayed"), "{answer:?}");
        }
        assert_ne!(first.body["job_id"], second.body["job_id"]);
        world.clock.advance(Duration::from_secs(1)); // or it could be the very same request, tried twice
        let again = call_with(&world, Some(&acme), route, &key, one).await;
        assert_eq!(
            (&again.body["job_id"], again.headers.contains_key("idempotent-replayed")),
            (&first.body["job_id"], true)
        );
    }
    let product = |name: &str| json!({ "name": name }).to_string();
    let lamp = call_with(&world, Some(&acme), "POST /products", &key, &product("Lamp")).await;
    let desk = call_with(&world, Some(&beta), "POST /products", &key, &product("Desk")).await;
    assert_eq!((lamp.status, desk.status), (StatusCode::ACCEPTED, StatusCode::ACCEPTED), "{lamp:?} {desk:?}");
    assert_ne!(lamp.body["product_id"], desk.body["product_id"]);

    call(&world, &acme, "PUT /schedules/nightly", NIGHTLY).await;
    let own = call(&world, &acme, "GET /schedules/nightly", "").await.body;
    call(&world, &beta, "PUT /schedules/nightly", &NIGHTLY.replace("0 3", "0 4")).await;
    let theirs = call(&world, &beta, "GET /schedules/nightly", "").await.body;
    assert_ne!(own["cron"], theirs["cron"]);
    assert!(call(&world, &beta, "DELETE /schedules/nightly", "").await.status.is_success());
    assert_eq!(call(&world, &acme, "GET /schedules/nightly", "").await.body, own, "as it was");
    let event = r#"{"type":"order.created","id":"7","data":"Alice"}"#;
    let mut told = vec![];
    for caller in [&acme, &beta] {
        call(&world, caller, "PUT /subscriptions/follower", FOLLOWER).await;
        told.push(call(&world, caller, "POST /events", event).await.body["jobs"].clone());
    }
    assert_eq!([&told[0][0]["replayed"], &told[1][0]["replayed"]], [&json!(false), &json!(false)]);
    assert_ne!(told[0][0]["job_id"], told[1][0]["job_id"]);
}

/// What a tenant has: a job in each status, a schedule and a product.
struct Things {
    jobs: Vec<JobId>,
    product: String,
}

async fn things_of(world: &World, owner: &Value) -> Things {
    let mut jobs = vec![];
    let failing = r#"{"type":"rehearsal","payload":{"attempts":["give_up"]}}"#;
    for body in [ALICE, failing] {
        jobs.push(submit(world, owner, body).await);
    }
    world.deliver().await; // the one completes, the other fails
    let tagged = ALICE.replace("}}", r#"},"tags":["mine"],"delay_seconds":600}"#);
    for body in [ALICE, tagged.as_str(), tagged.as_str()] {
        jobs.push(submit(world, owner, body).await);
    }
    let claim =
        Change::Claim { now: world.clock.now(), token: LeaseToken::new([1; 8]), time_left: Duration::from_secs(60) };
    world.store.change_if_allowed(jobs[2], &claim).await.expect("memory answers");
    assert!(call(world, owner, "PUT /subscriptions/follower", FOLLOWER).await.status.is_success());
    call(world, owner, &format!("POST /jobs/{}/cancel", jobs[3]), "{}").await;
    let mut statuses = vec![];
    for id in &jobs {
        statuses.push(call(world, owner, &format!("GET /jobs/{id}"), "").await.body["status"].clone());
    }
    assert_eq!(statuses, ["completed", "failed", "processing", "cancelled", "pending"]);
    let schedule = call(world, owner, "PUT /schedules/nightly", NIGHTLY).await;
    assert!(schedule.status.is_success(), "{schedule:?}");
    let product = call(world, owner, "POST /products", r#"{"name":"Lamp"}"#).await;
    assert_eq!(product.status, StatusCode::ACCEPTED, "{product:?}");
    Things { jobs, product: product.body["product_id"].as_str().expect("an id").to_owned() }
}

impl Things {
    /// Each route to each thing, what is sent there, the thing's name, and one that nothing has.
    fn routes(&self) -> Vec<(&'static str, &'static str, String, &'static str)> {
        let no_id = "01938e5c-7a00-7000-8000-000000000000";
        let mut routes = vec![];
        for id in &self.jobs {
            routes.extend(TO_A_JOB.map(|(route, body)| (route, body, id.to_string(), no_id)));
        }
        routes.extend(TO_A_SCHEDULE.map(|(route, body)| (route, body, "nightly".to_owned(), "weekly")));
        routes.push(("GET /products/{}", "", self.product.clone(), no_id));
        for route in ["GET /subscriptions/{}", "DELETE /subscriptions/{}"] {
            routes.push((route, "", "follower".to_owned(), "nobodys"));
        }
        routes
    }

    /// All that somebody can see of them.
    async fn as_seen_by(&self, world: &World, caller: &Value) -> Vec<Value> {
        let mut paths: Vec<_> = self.jobs.iter().map(|id| format!("GET /jobs/{id}")).collect();
        paths.extend(["GET /schedules/nightly".to_owned(), "GET /subscriptions/follower".to_owned()]);
        paths.extend([format!("GET /products/{}", self.product)]);
        let mut seen = vec![];
        for path in paths {
            let answer = call(world, caller, &path, "").await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
            seen.push(answer.body);
        }
        seen
    }

    /// Whether an answer shows any of them.
    fn are_in(&self, answer: &Answer) -> bool {
        let text = answer.body.to_string();
        self.jobs.iter().any(|id| text.contains(&id.to_string()))
            || text.contains("nightly")
            || text.contains("follower")
            || text.contains(&self.product)
    }
}

/// What there is to an answer, whatever the name of the thing that was asked for.
fn shape(answer: &Answer, thing: &str) -> (StatusCode, Option<HeaderValue>, String) {
    (answer.status, answer.headers.get("content-type").cloned(), answer.body.to_string().replace(thing, "…"))
}

/// A subscription.
const FOLLOWER: &str = r#"{"event_type":"order.created","job":{"type":"csv-generation","payload":{"a":"{{data}}"}}}"#;

/// Every route, what is sent to it, and the scope that it takes.
const ROUTES: [(&str, &str, Option<&str>); 37] = [
    ("GET /health", "", None),
    ("GET /api/health", "", None),
    ("GET /openapi.json", "", None),
    ("GET /docs", "", None),
    ("GET /jobs", "", Some("jobs:read")),
    ("GET /jobs/{id}", "", Some("jobs:read")),
    ("GET /jobs/{id}/events", "", Some("jobs:read")),
    ("GET /jobs/{id}/why", "", Some("jobs:read")),
    ("GET /queue", "", Some("jobs:read")),
    ("GET /stats", "", Some("jobs:read")),
    ("GET /metrics", "", Some("jobs:admin")),
    ("GET /subscriptions", "", Some("jobs:read")),
    ("GET /subscriptions/{name}", "", Some("jobs:read")),
    ("POST /events", r#"{"type":"order.created","data":{}}"#, Some("jobs:write")),
    ("PUT /subscriptions/{name}", FOLLOWER, Some("jobs:write")),
    ("DELETE /subscriptions/{name}", "", Some("jobs:write")),
    ("GET /schedules", "", Some("jobs:read")),
    ("GET /schedules/{name}", "", Some("jobs:read")),
    ("GET /products/{id}", "", Some("jobs:read")),
    ("POST /jobs", ALICE, Some("jobs:write")),
    ("POST /jobs/batch", r#"{"jobs":[]}"#, Some("jobs:write")),
    ("POST /jobs/email", "{}", Some("jobs:write")),
    ("POST /jobs/{id}/cancel", "{}", Some("jobs:write")),
    ("POST /jobs/{id}/retry", "{}", Some("jobs:write")),
    ("POST /jobs/{id}/duplicate", "", Some("jobs:write")),
    ("DELETE /jobs/{id}", "", Some("jobs:write")),
    ("POST /jobs/{id}/reschedule", r#"{"delay_seconds":60}"#, Some("jobs:write")),
    ("PUT /schedules/{name}", NIGHTLY, Some("jobs:write")),
    ("DELETE /schedules/{name}", "", Some("jobs:write")),
    ("POST /schedules/{name}/pause", "{}", Some("jobs:write")),
    ("POST /schedules/{name}/resume", "{}", Some("jobs:write")),
    ("POST /schedules/{name}/run", "{}", Some("jobs:write")),
    ("POST /products", r#"{"name":"Lamp"}"#, Some("jobs:write")),
    ("POST /jobs/cancel", r#"{"filter":{"type":"csv-generation"}}"#, Some("jobs:admin")),
    ("POST /jobs/retry", r#"{"filter":{"status":"failed"}}"#, Some("jobs:admin")),
    ("POST /queue/pause", "{}", Some("jobs:admin")),
    ("POST /queue/resume", "{}", Some("jobs:admin")),
];

/// The route, with names that nothing has.
fn filled(route: &str) -> String {
    route.replace("{id}", "01938e5c-7a00-7000-8000-000000000000").replace("{name}", "weekly")
}

#[tokio::test]
async fn each_route_takes_its_own_scope_or_that_of_an_admin() {
    let world = World::with_auth(by_token());
    for scopes in ["", "openid profile", "jobs:read", "jobs:write", "jobs:admin", "jobs:read jobs:write"] {
        for (route, body, needed) in ROUTES {
            let answer = call(&world, &token("acme", scopes), &filled(route), body).await;
            let held: Vec<_> = scopes.split(' ').collect();
            match needed {
                Some(needed) if !held.contains(&needed) && !held.contains(&"jobs:admin") => {
                    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{route} with {scopes:?}: {answer:?}");
                    assert_eq!(answer.body["detail"], format!("this takes the scope {needed}"), "{route}");
                    assert_eq!(answer.headers["www-authenticate"], r#"Bearer error="insufficient_scope""#, "{route}");
                    assert_eq!(answer.headers["content-type"], "application/problem+json", "{route}");
                    assert!(answer.headers.contains_key("x-request-id"), "{route}");
                }
                Some(_) | None => {
                    let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::METHOD_NOT_ALLOWED];
                    let let_in = !refused.contains(&answer.status) && !answer.status.is_server_error();
                    assert!(let_in, "{route} with {scopes:?}: {answer:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_api_describes_these_routes_and_no_other() {
    let document = World::new().get("/openapi.json").await.body;
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let methods = operations.as_object().expect("operations").keys();
        let methods = methods.filter(|name| ["get", "put", "post", "delete", "patch"].contains(&name.as_str()));
        described.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
    }
    let not_its_own = ["GET /openapi.json", "GET /docs"]; // the document need not describe itself
    described.retain(|route| !not_its_own.contains(&route.as_str()));
    let routes = ROUTES.iter().map(|(route, ..)| (*route).to_owned());
    let routes: BTreeSet<_> = routes.filter(|route| !not_its_own.contains(&route.as_str())).collect();
    assert_eq!(described, routes);
}

#[tokio::test]
async fn a_path_without_such_a_method_says_which_it_takes() {
    let world = World::with_auth(by_token());
    let answer = call(&world, &token("acme", "jobs:admin"), "DELETE /jobs", "").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers["allow"], "GET, POST");
    let answer = call(&world, &token("acme", "jobs:admin"), "GET /nothing", "").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn whoever_the_gateway_has_not_verified_is_nobody() {
    let world = World::with_auth(by_token());
    // A token that says all that is needed, and that nobody has verified.
    let claims = "eyJhbGciOiJub25lIn0.eyJ0ZW5hbnQiOiJhY21lIiwic2NvcGUiOiJqb2JzOmFkbWluIn0.";
    let bearer = format!("Bearer {claims}");
    let context =
        json!({ "authorizer": { "jwt": { "claims": { "tenant": "acme", "scope": "jobs:admin" } } } }).to_string();
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-tenant", "acme"),
        ("x-amzn-oidc-data", claims),
        ("x-amzn-request-context", context.as_str()),
    ];
    let of_another_kind = json!({ "lambda": { "tenant": "acme", "jwt": { "claims": { "tenant": "acme" } } } });
    for (route, body, needed) in ROUTES {
        for caller in [None, Some(&of_another_kind)] {
            let answer = call_with(&world, caller, &filled(route), &headers, body).await;
            if needed.is_some() {
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{route}: {answer:?}");
                assert_eq!(answer.headers["www-authenticate"], "Bearer", "{route}");
            } else {
                assert_eq!(answer.status, StatusCode::OK, "{route}: {answer:?}");
            }
        }
    }
    assert_eq!(world.get("/jobs").await.status, StatusCode::UNAUTHORIZED, "without any context");
    assert_eq!(world.store.all(), []);
}

#[tokio::test]
async fn the_tenant_is_the_tokens_and_never_the_bodys() {
    let world = World::with_auth(by_token());
    let acme = token("acme", "jobs:write");
    let body = ALICE.replace("}}", r#"},"tenant":"beta"}"#);
    let answer = call_with(&world, Some(&acme), "POST /jobs", &[("x-tenant", "beta")], &body).await;
    assert_eq!((answer.status.as_u16(), &answer.body["field"]), (422, &"tenant".into()));
    let id = submit(&world, &acme, ALICE).await;
    assert_eq!(world.job(id).await.tenant.as_str(), "acme");
}

#[tokio::test]
async fn a_token_without_a_fit_tenant_is_refused_by_name() {
    let world = World::with_auth(by_token());
    let claims =
        |tenant: Value| json!({ "jwt": { "claims": { "sub": "ada", "tenant": tenant, "scope": "jobs:admin" } } });
    let mut without = claims(json!("acme"));
    without["jwt"]["claims"].as_object_mut().expect("claims").remove("tenant");
    for caller in [without, claims(json!("")), claims(json!("auth0|42")), claims(json!("[acme beta]"))] {
        let answer = call(&world, &caller, "POST /jobs", ALICE).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{caller}: {answer:?}");
        assert!(answer.body["detail"].as_str().is_some_and(|detail| detail.contains("claim `tenant`")), "{answer:?}");
    }
    assert_eq!(world.store.all(), []);
}

#[tokio::test]
async fn with_iam_each_role_and_user_is_a_tenant_and_may_do_everything() {
    let world = World::with_auth(AuthMode::Iam);
    let signer = |id: &str| json!({ "iam": { "accountId": "123456789012", "userId": id, "cognitoIdentity": null } });
    let id = submit(&world, &signer("AROAEXAMPLE:i-0123"), ALICE).await;
    let path = format!("GET /jobs/{id}");
    for (caller, status) in [("AROAEXAMPLE:i-4567", 200), ("AROAOTHER:i-0123", 404), ("AIDAEXAMPLE", 404)] {
        assert_eq!(call(&world, &signer(caller), &path, "").await.status.as_u16(), status, "{caller}");
    }
    assert_eq!(call(&world, &signer("AIDAEXAMPLE"), "POST /queue/resume", "{}").await.status, StatusCode::OK);
    let unsigned = call(&world, &token("acme", "jobs:admin"), &path, "").await;
    assert_eq!(unsigned.status, StatusCode::UNAUTHORIZED, "a token is no signature");
}

#[tokio::test]
async fn where_nobody_is_asked_a_token_changes_nothing() {
    let world = World::with_auth(AuthMode::None);
    let id = world.submit(ALICE).await;
    assert_eq!(world.job(id).await.tenant, Tenant::only());
    assert_eq!(call(&world, &token("acme", ""), &format!("GET /jobs/{id}"), "").await.status, StatusCode::OK);
}

/// A world in which each tenant may submit so many jobs a minute.
fn with_quota(jobs: u32) -> World {
    let quota = Quota::per_minute(NonZeroU32::new(jobs), Arc::new(MemoryQuotas::default()));
    World::with_access(by_token(), quota)
}

#[tokio::test]
async fn a_tenant_that_has_used_up_its_minute_is_told_when_the_next_begins() {
    let world = with_quota(2);
    let (acme, beta) = (token("acme", "jobs:admin"), token("beta", "jobs:admin"));
    assert_eq!(call(&world, &acme, "POST /jobs", "{}").await.status.as_u16(), 422, "what is refused costs nothing");
    for _ in 0..2 {
        submit(&world, &acme, ALICE).await;
    }
    for (seconds, retry_after) in [(0, "60"), (15, "45"), (44, "1")] {
        world.clock.advance(Duration::from_secs(seconds));
        for (route, body) in [("POST /jobs", ALICE), ("POST /products", r#"{"name":"Lamp"}"#)] {
            let answer = call(&world, &acme, route, body).await;
            assert_eq!((answer.status.as_u16(), &answer.body["status"]), (429, &429.into()), "{route}: {answer:?}");
            assert_eq!(answer.headers["retry-after"], retry_after, "{route}");
        }
    }
    assert_eq!(world.store.all().len(), 2, "what has to wait is not stored");
    submit(&world, &beta, ALICE).await;
    world.clock.advance(Duration::from_secs(1));
    submit(&world, &acme, ALICE).await;
}

#[tokio::test]
async fn a_batch_has_room_as_a_whole_or_not_at_all() {
    let world = with_quota(5);
    let acme = token("acme", "jobs:admin");
    let batch = |jobs: usize| format!(r#"{{"jobs":[{}]}}"#, vec![ALICE; jobs].join(","));
    let larger_than_a_minute = call(&world, &acme, "POST /jobs/batch", &batch(6)).await;
    assert_eq!(larger_than_a_minute.status.as_u16(), 422, "{larger_than_a_minute:?}");
    assert!(!larger_than_a_minute.headers.contains_key("retry-after"), "to wait would not help");
    assert_eq!(call(&world, &acme, "POST /jobs/batch", &batch(4)).await.body["accepted"], 4);
    let second = call(&world, &acme, "POST /jobs/batch", &batch(2)).await;
    assert_eq!((second.status.as_u16(), second.headers.contains_key("retry-after")), (429, true), "{second:?}");
    assert_eq!(world.store.all().len(), 4);
    submit(&world, &acme, ALICE).await;
}

#[tokio::test]
async fn without_a_quota_there_is_no_limit() {
    let world = World::with_access(by_token(), Quota::per_minute(None, Arc::new(MemoryQuotas::default())));
    for _ in 0..100 {
        submit(&world, &token("acme", "jobs:write"), ALICE).await;
    }
}

#[tokio::test]
async fn however_many_ask_at_once_no_more_than_the_limit_are_granted() {
    let table = Table::start().await;
    let store = Arc::new(DynamoStore::with_client(table.client(), NAME.to_owned()));
    let minute = minute_of(Timestamp::from_millis(1_800_000_012_345));
    let asked = (0..40).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.take(&Tenant::only(), minute, 3, 20).await.expect("answers") })
    });
    let mut granted = 0;
    for taken in asked.collect::<Vec<_>>() {
        granted += if taken.await.expect("no panic") == Taken::Granted { 3 } else { 0 };
    }
    assert_eq!(granted, 18);
}

fn by_token() -> AuthMode {
    AuthMode::Jwt { tenant_claim: "tenant".to_owned(), scope_prefix: String::new() }
}

/// What the gateway says of a verified token.
fn token(tenant: &str, scopes: &str) -> Value {
    let claims = json!({
        "iss": "https://issuer.example.com",
        "sub": "someone",
        "exp": "1900000000",
        "tenant": tenant,
        "scope": scopes,
    });
    json!({ "jwt": { "claims": claims, "scopes": null } })
}

async fn submit(world: &World, caller: &Value, body: &str) -> JobId {
    let answer = call(world, caller, "POST /jobs", body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    answer.body["job_id"].as_str().expect("an id").parse().expect("an id")
}

async fn call(world: &World, caller: &Value, route: &str, body: &str) -> Answer {
    call_with(world, Some(caller), route, &[], body).await
}

/// Sends a request, `GET /jobs?limit=1`, through what reads the gateway's events in a Lambda function. `authorizer` is
/// what the gateway found out about the caller.
async fn call_with(
    world: &World,
    authorizer: Option<&Value>,
    route: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let (method, target) = route.split_once(' ').expect("a method and a path");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": { "host": "example.execute-api.eu-central-1.amazonaws.com", "content-type": "application/json" },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "example",
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7" },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": "$default",
            "timeEpoch": 1_800_000_000_000_i64,
        },
        "isBase64Encoded": false,
    });
    for (name, value) in headers {
        event["headers"][*name] = json!(value);
    }
    if let Some(authorizer) = authorizer {
        event["requestContext"]["authorizer"] = authorizer.clone();
    }
    if !body.is_empty() {
        event["body"] = json!(body);
    }
    let request: Request<lambda_http::Body> = lambda_http::request::from_str(&event.to_string()).expect("an event");
    world.send(request.map(|body| Body::from(body.to_vec()))).await
}

#[tokio::test]
async fn the_fixture_of_a_verified_token_is_let_in_as_its_subject() {
    let world = World::with_auth(AuthMode::Jwt { tenant_claim: "sub".to_owned(), scope_prefix: String::new() });
    let event = include_str!("../../../events/api-jwt.json");
    let request: Request<lambda_http::Body> = lambda_http::request::from_str(event).expect("an event");
    let answer = world.send(request.map(|body| Body::from(body.to_vec()))).await;
    assert_eq!((answer.status, &answer.body["jobs"]), (StatusCode::OK, &json!([])), "{answer:?}");
}
