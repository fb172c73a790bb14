//! Subscriptions: that an event makes one job for each of them, however often it is published, and that none of them
//! depends on another.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::Quota;
use aws_sdk_dynamodb::types::AttributeValue;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use shared::job::submission::Origin;
use shared::job::{Job, Status};
use shared::ports::{Clock, JobStore};
use shared::quota::MemoryQuotas;
use shared::subscription::store::SubscriptionStore;
use shared::subscription::{
    EventType, MOST_PER_EVENT_TYPE, Published, Subscription, SubscriptionKey, SubscriptionName,
};
use shared::values::id::Tenant;
use shared_aws::dynamodb::DynamoStore;
use shared_aws::settings::AuthMode;
use tests::table::{NAME, Table};
use tests::world::{Answer, World};

const SECOND: Duration = Duration::from_secs(1);
const ORDER: &str = r#"{"type":"order.created","id":"7","data":{"order":7,"customer":{"name":"Ada"}}}"#;

/// Makes a file of the order and the customer's name.
const FILE: &str = r#"{"type":"csv-generation","payload":{"order":"{{data.order}}","to":"{{data.customer.name}}"}}"#;

/// Cannot do without an address.
const EMAIL: &str = r#"{"type":"email-send","payload":{"to":"{{data.customer.email}}","subject":"Hi","body":"Ho"}}"#;

fn body(job: &str) -> String {
    format!(r#"{{"event_type":"order.created","job":{job}}}"#)
}

async fn put(world: &World, name: &str, body: &str) -> Answer {
    let request = Request::put(format!("/subscriptions/{name}")).header("content-type", "application/json");
    world.send(request.body(Body::from(body.to_owned())).expect("a request")).await
}

async fn delete(world: &World, name: &str) -> Answer {
    world.send(Request::delete(format!("/subscriptions/{name}")).body(Body::empty()).expect("a request")).await
}

/// Makes a subscription that must be taken; a second later, so that each is older than the next.
async fn subscribe(world: &World, name: &str, job: &str) {
    world.clock.advance(SECOND);
    let answer = put(world, name, &body(job)).await;
    assert!(answer.status.is_success(), "{answer:?}");
}

/// Publishes an event that must be taken; a second later, so that it is not the very same request, tried twice.
async fn publish(world: &World, event: &str) -> Told {
    world.clock.advance(SECOND);
    let answer = world.post("/events", &[], event.to_owned()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    Told::by(&answer)
}

/// What an answer tells of an event.
#[derive(Debug, PartialEq)]
struct Told {
    id: String,
    /// Subscriptions, the ids of their jobs, and whether these were there before.
    jobs: Vec<(String, String, bool)>,
    /// Subscriptions and the fields at fault.
    failed: Vec<(String, Option<String>)>,
}

impl Told {
    fn by(answer: &Answer) -> Self {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let list = |field: &str| answer.body[field].as_array().expect("a list").clone();
        let job = |job: &Value| {
            (text(&job["subscription"]), text(&job["job_id"]), job["replayed"].as_bool().expect("true or false"))
        };
        let failure =
            |failure: &Value| (text(&failure["subscription"]), failure["problem"]["field"].as_str().map(str::to_owned));
        Self {
            id: text(&answer.body["event_id"]),
            jobs: list("jobs").iter().map(job).collect(),
            failed: list("failed").iter().map(failure).collect(),
        }
    }

    /// The subscriptions that have a job, those whose job is new first.
    fn new_and_replayed(&self) -> (Vec<&str>, Vec<&str>) {
        let those = |replayed: bool| self.jobs.iter().filter(move |job| job.2 == replayed).map(|job| job.0.as_str());
        (those(false).collect(), those(true).collect())
    }
}

async fn stored(world: &World, name: &str) -> Subscription {
    let name = SubscriptionName::parse(name).expect("a name");
    let key = SubscriptionKey { tenant: Tenant::only(), name };
    world.subscriptions.find(&key).await.expect("memory answers").expect("it is there")
}

fn payloads(world: &World) -> BTreeSet<String> {
    world.store.all().iter().map(|job| job.payload.as_str().to_owned()).collect()
}

/// The requests of the walk-through, as they stand in the documentation.
fn documented_requests() -> Vec<(String, String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/publish-subscribe.md");
    let page = std::fs::read_to_string(page).expect("it is there");
    let between = |text: &str, before: &str, ends: &[char]| {
        let found = text.split_once(before).and_then(|(_, rest)| rest.split(ends).next());
        found.map(str::to_owned)
    };
    let request = |block: &str| {
        let block = block.split("```").next().expect("it ends");
        let method = between(block, "-X ", &[' ']).unwrap_or_else(|| "GET".to_owned());
        let path = between(block, "$API_URL", &['"']).expect("a path");
        (method, path, between(block, "-d '", &['\'']).unwrap_or_default())
    };
    page.split("```sh\n").skip(1).map(request).collect()
}

#[tokio::test]
async fn the_documented_subscribers_follow_an_order_independently() {
    let world = World::new();
    let mut told = None;
    let requests = documented_requests();
    assert_eq!(requests.len(), 5);
    for (method, path, body) in &requests {
        world.clock.advance(SECOND);
        let request = Request::builder().method(method.as_str()).uri(path).header("content-type", "application/json");
        let answer = world.send(request.body(Body::from(body.clone())).expect("a request")).await;
        assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
        if path == "/events" {
            told = Some(Told::by(&answer));
        }
        if method == "GET" {
            assert_eq!(answer.body["jobs"].as_array().expect("a list").len(), 3, "found by the order's tag");
        }
    }
    let told = told.expect("an event was published");
    assert_eq!(told.new_and_replayed(), (vec!["stock", "shipping", "e-mail"], vec![]));
    assert_eq!(told.id, "7");
    assert_eq!(told.failed, []);
    let expected = [
        r#"{"order":7,"to":"Ada","street":"Mill Lane 1"}"#,
        r#"{"to":"ada@example.com","subject":"Your order 7","body":"Dear Ada,\n\nthank you for your order of 2027-01-15T08:00:04.000Z."}"#,
        r#"{"url":"https://stock.example.com/hooks","event_type":"order.created","data":[{"sku":"A-1","count":2},{"sku":"B-2","count":1}]}"#,
    ];
    assert_eq!(payloads(&world), BTreeSet::from(expected.map(str::to_owned)));

    // There is no secret here to sign webhooks with, so this one fails; the others do not notice.
    while world.deliver().await > 0 {}
    let mut ends = vec![];
    for (subscription, job_id, _) in &told.jobs {
        let job = world.job(job_id.parse().expect("an id")).await;
        ends.push((subscription.as_str(), job.status(), job.max_attempts));
    }
    let expected = [("stock", Status::Failed, 8), ("shipping", Status::Completed, 3), ("e-mail", Status::Completed, 5)];
    assert_eq!(ends, expected);
}

#[tokio::test]
async fn however_often_an_event_is_published_each_subscription_has_one_job_of_it() {
    let world = World::new();
    let names = ["a", "b", "c"];
    for name in names {
        subscribe(&world, name, FILE).await;
    }
    let first = publish(&world, ORDER).await;
    assert_eq!(first.new_and_replayed(), (names.to_vec(), vec![]));
    let jobs = world.store.all();
    assert_eq!(jobs.len(), 3);
    let again = publish(&world, &ORDER.replace(',', " , ")).await;
    assert_eq!(again.new_and_replayed(), (vec![], names.to_vec()));
    let ids = |told: &Told| told.jobs.iter().map(|job| job.1.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&first), ids(&again));
    assert_eq!(world.store.all(), jobs, "what is there stays as it is");

    while world.deliver().await > 0 {}
    let third = publish(&world, ORDER).await;
    assert_eq!(third.new_and_replayed(), (vec![], names.to_vec()), "nor when they have ended");
    assert!(world.store.all().iter().all(|job| (job.status(), job.attempts) == (Status::Completed, 1)));
}

#[tokio::test]
async fn of_any_number_who_publish_an_event_at_once_one_makes_each_job() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        subscribe(&world, name, FILE).await;
    }
    let headers = ["1", "2", "3", "4"].map(|id| [("x-request-id", id)]);
    let [one, two, three, four] = &headers;
    let (one, two, three, four) = tokio::join!(
        world.post("/events", one, ORDER),
        world.post("/events", two, ORDER),
        world.post("/events", three, ORDER),
        world.post("/events", four, ORDER),
    );
    let told = [one, two, three, four].map(|answer| Told::by(&answer));
    let new: usize = told.iter().map(|told| told.new_and_replayed().0.len()).sum();
    assert_eq!((new, world.store.all().len()), (3, 3));
}

#[tokio::test]
async fn a_publisher_that_dies_after_any_of_its_steps_leaves_nothing_that_cannot_be_made_good() {
    for steps in 0..=3 {
        let world = World::new();
        for name in ["a", "b", "c"] {
            subscribe(&world, name, FILE).await;
        }
        let event = Published::parse(ORDER.as_bytes(), world.clock.now(), String::new).expect("an event");
        for name in &["a", "b", "c"][..steps] {
            let origin = Origin { correlation_id: "died".to_owned(), traceparent: None };
            let job = stored(&world, name).await.job_of(&event, "secret", world.clock.now(), origin).expect("fits");
            world.store.insert_if_absent(&job).await.expect("memory answers");
        }
        let told = publish(&world, ORDER).await;
        assert_eq!(told.new_and_replayed().1.len(), steps);
        world.pass(SECOND * 125).await; // the sweeper finds what was stored and not announced
        let jobs = world.store.all();
        assert_eq!(jobs.len(), 3, "after {steps} steps");
        assert!(jobs.iter().all(|job| job.status() == Status::Completed), "after {steps} steps");
    }
}

#[tokio::test]
async fn one_that_an_event_does_not_fit_stops_no_other_and_gets_its_job_once_it_is_mended() {
    let world = World::new();
    subscribe(&world, "e-mail", EMAIL).await;
    subscribe(&world, "file", FILE).await;
    subscribe(&world, "nested", &FILE.replace(".name", "")).await;
    let told = publish(&world, ORDER).await;
    assert_eq!(told.new_and_replayed(), (vec!["file"], vec![]));
    let at_fault = |name: &str, field: &str| (name.to_owned(), Some(field.to_owned()));
    assert_eq!(told.failed, [at_fault("e-mail", "data.customer.email"), at_fault("nested", "job.payload.to")]);
    let answer = world.post("/events", &[], ORDER).await;
    let problem = json!({
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "code": "invalid_field",
        "status": 422,
        "detail": "`data.customer.email` is not in the event",
        "field": "data.customer.email",
    });
    assert_eq!(answer.body["failed"][0]["problem"], problem);

    let mended = EMAIL.replace("{{data.customer.email}}", "orders@example.com");
    subscribe(&world, "e-mail", &mended).await;
    let told = publish(&world, ORDER).await;
    assert_eq!(told.new_and_replayed(), (vec!["e-mail"], vec!["file"]));
    assert_eq!(told.failed, [at_fault("nested", "job.payload.to")]);
    assert_eq!(world.store.all().len(), 2);
}

#[tokio::test]
async fn a_subscription_that_comes_later_gets_its_job_when_the_event_is_published_again() {
    let world = World::new();
    assert_eq!(publish(&world, ORDER).await.jobs, [], "nobody is subscribed");
    subscribe(&world, "a", FILE).await;
    assert_eq!(publish(&world, ORDER).await.new_and_replayed(), (vec!["a"], vec![]));
    subscribe(&world, "b", FILE).await;
    assert_eq!(publish(&world, ORDER).await.new_and_replayed(), (vec!["b"], vec!["a"]));
}

#[tokio::test]
async fn a_subscription_that_is_changed_or_made_again_makes_no_second_job_for_an_event() {
    let world = World::new();
    subscribe(&world, "a", FILE).await;
    let first = publish(&world, ORDER).await;
    subscribe(&world, "a", &FILE.replace("\"to\"", "\"for\"")).await;
    assert_eq!(publish(&world, ORDER).await.jobs[0], (first.jobs[0].0.clone(), first.jobs[0].1.clone(), true));
    assert_eq!(delete(&world, "a").await.status, StatusCode::NO_CONTENT);
    assert_eq!(publish(&world, ORDER).await.jobs, []);
    subscribe(&world, "a", FILE).await;
    assert_eq!(publish(&world, ORDER).await.jobs[0].1, first.jobs[0].1);
    assert_eq!(payloads(&world), BTreeSet::from([r#"{"order":7,"to":"Ada"}"#.to_owned()]));
}

#[tokio::test]
async fn the_same_id_with_other_data_is_refused_and_makes_nothing() {
    let world = World::new();
    subscribe(&world, "a", FILE).await;
    publish(&world, ORDER).await;
    subscribe(&world, "b", FILE).await;
    let before = world.store.all();
    world.clock.advance(SECOND);
    let other = world.post("/events", &[], ORDER.replace("Ada", "Bob")).await;
    assert_eq!((other.status.as_u16(), other.body["field"].as_str()), (422, Some("id")), "{other:?}");
    assert_eq!(other.body["detail"], "`id` was used for an event with other data before");
    assert_eq!(world.store.all(), before, "not even for who has no job yet");

    let other_type = ORDER.replace("order.created", "order.paid");
    assert_eq!(publish(&world, &other_type).await.jobs, [], "of another type, it is another event");
    let other_id = publish(&world, &ORDER.replace("\"7\"", "\"8\"").replace("Ada", "Bob")).await;
    assert_eq!(other_id.new_and_replayed(), (vec!["a", "b"], vec![]));
}

#[tokio::test]
async fn where_the_oldest_did_not_fit_before_the_others_notice_that_an_id_was_used() {
    let world = World::new();
    subscribe(&world, "e-mail", EMAIL).await;
    subscribe(&world, "file", FILE).await;
    assert_eq!(publish(&world, ORDER).await.new_and_replayed(), (vec!["file"], vec![]));
    let other = publish(&world, &ORDER.replace(r#""Ada""#, r#""Bob","email":"bob@example.com""#)).await;
    assert_eq!(other.new_and_replayed(), (vec!["e-mail"], vec![]));
    assert_eq!(other.failed, [("file".to_owned(), Some("id".to_owned()))]);
}

#[tokio::test]
async fn an_event_without_an_id_has_that_of_its_request_or_a_new_one() {
    let world = World::new();
    subscribe(&world, "a", &FILE.replace("{{data.order}}", "{{event.id}}")).await;
    let event = ORDER.replace(r#""id":"7","#, "");
    let key = [("idempotency-key", "key-1")];
    for replayed in [false, true] {
        world.clock.advance(SECOND);
        let told = Told::by(&world.post("/events", &key, event.clone()).await);
        assert_eq!((told.id.as_str(), told.jobs[0].2), ("key-1", replayed));
    }
    let own = Told::by(&world.post("/events", &key, ORDER).await);
    assert_eq!((own.id.as_str(), own.jobs[0].2), ("7", false), "the body's own counts");
    let (one, other) = (publish(&world, &event).await, publish(&world, &event).await);
    assert_ne!(one.id, other.id);
    assert_eq!(world.store.all().len(), 4);
    assert!(payloads(&world).contains(&format!(r#"{{"order":"{}","to":"Ada"}}"#, one.id)));
}

#[tokio::test]
async fn as_many_as_may_be_subscribed_get_their_jobs_and_no_more_may() {
    let world = World::new();
    let name = |number: usize| format!("number-{number:03}");
    for number in 0..MOST_PER_EVENT_TYPE {
        subscribe(&world, &name(number), FILE).await;
    }
    let one_more = put(&world, "one-more", &body(FILE)).await;
    assert_eq!(one_more.status, StatusCode::CONFLICT, "{one_more:?}");
    let replaced = put(&world, &name(0), &body(&FILE.replace("\"to\"", "\"for\""))).await;
    assert_eq!(replaced.status, StatusCode::OK, "those that there are can still be changed");
    let elsewhere = put(&world, "one-more", &body(FILE).replace("order.created", "order.paid")).await;
    assert_eq!(elsewhere.status, StatusCode::CREATED);

    let told = publish(&world, ORDER).await;
    let names: Vec<_> = (0..MOST_PER_EVENT_TYPE).map(name).collect();
    assert_eq!(told.new_and_replayed().0, names);
    while world.deliver().await > 0 {}
    let completed = |job: &Job| job.status() == Status::Completed;
    assert_eq!(world.store.all().iter().filter(|job| completed(job)).count(), MOST_PER_EVENT_TYPE);
}

#[tokio::test]
async fn an_event_has_room_in_the_quota_as_a_whole_or_not_at_all() {
    let quota = Quota::per_minute(NonZeroU32::new(3), Arc::new(MemoryQuotas::default()));
    let world = World::with_access(AuthMode::None, quota);
    for name in ["a", "b"] {
        subscribe(&world, name, FILE).await;
    }
    publish(&world, ORDER).await;
    let second = world.post("/events", &[], ORDER.replace("\"7\"", "\"8\"")).await;
    assert_eq!((second.status.as_u16(), second.headers.contains_key("retry-after")), (429, true), "{second:?}");
    assert_eq!(world.store.all().len(), 2);
    let nobodys = world.post("/events", &[], ORDER.replace("created", "paid")).await;
    assert_eq!(nobodys.status, StatusCode::ACCEPTED, "what makes no job needs no room");
}

#[tokio::test]
async fn bad_input_is_refused_by_name_and_nothing_is_stored() {
    let world = World::new();
    let cases = [
        ("a", "{".to_owned(), 400, "body"),
        ("a", "[]".to_owned(), 422, "body"),
        ("a", "{}".to_owned(), 422, "event_type"),
        ("a", r#"{"event_type":"a"}"#.to_owned(), 422, "job"),
        ("a", body(FILE).replace("order.created", "order created"), 422, "event_type"),
        ("a", body("[]"), 422, "job"),
        ("a", body("{}"), 422, "job.type"),
        ("a", body(&FILE.replace("csv", "cvs")), 422, "job.type"),
        ("a", body(&FILE.replace("{{data.order}}", "{{order}}")), 422, "job"),
        ("a", body(r#"{"type":"csv-generation","payload":{"a":{}}}"#), 422, "job.payload.a"),
        ("a", body(&FILE.replace("}}\"}}", "}}\"},\"max_attempts\":11}")), 422, "job.max_attempts"),
        ("a", body(&FILE.replace("}}\"}}", "}}\"},\"run_at\":\"2030-01-01T00:00:00Z\"}")), 422, "job.run_at"),
        ("A", body(FILE), 400, "name"),
        ("-a", body(FILE), 400, "name"),
        ("%FF", body(FILE), 400, "name"),
    ];
    for (name, body, status, field) in cases {
        let answer = put(&world, name, &body).await;
        let found = (answer.status.as_u16(), answer.body["field"].as_str());
        assert_eq!(found, (status, Some(field)), "{name} {body}: {answer:?}");
    }
    assert_eq!(world.get("/subscriptions").await.body, json!({ "subscriptions": [], "next_cursor": null }));
    let events = [
        ("{", 400, "body"),
        ("[]", 422, "body"),
        (r#"{"data":1}"#, 422, "type"),
        (r#"{"type":"order.created"}"#, 422, "data"),
        (r#"{"type":"order created","data":1}"#, 422, "type"),
        (r#"{"type":"order.created","data":1,"id":""}"#, 422, "id"),
        (r#"{"type":"order.created","data":1,"tenant":"other"}"#, 422, "tenant"),
    ];
    for (event, status, field) in events {
        let answer = world.post("/events", &[], event).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body["field"].as_str()),
            (status, Some(field)),
            "{event}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_subscription_is_stored_and_the_same_again_changes_nothing() {
    let world = World::new();
    let expected = json!({
        "name": "a",
        "event_type": "order.created",
        "job": serde_json::from_str::<Value>(FILE).expect("JSON"),
        "created_at": "2027-01-15T08:00:00.000Z",
        "updated_at": "2027-01-15T08:00:00.000Z",
    });
    let made = put(&world, "a", &body(FILE)).await;
    assert_eq!((made.status, &made.body), (StatusCode::CREATED, &expected));
    assert_eq!(made.headers["location"], "/subscriptions/a");
    assert_eq!(world.get("/subscriptions/a").await.body, expected);
    world.clock.advance(SECOND);
    let again = put(&world, "a", &body(FILE)).await;
    assert_eq!((again.status, &again.body), (StatusCode::OK, &expected));
    let other = put(&world, "a", &body(&FILE.replace("\"to\"", "\"for\""))).await;
    assert_eq!((other.status, &other.body["updated_at"]), (StatusCode::OK, &json!("2027-01-15T08:00:01.000Z")));
    assert_eq!(other.body["created_at"], expected["created_at"]);

    let request = Request::put("/subscriptions/a").header("content-type", "application/json");
    let only_new = request.header("if-none-match", "*").body(Body::from(body(FILE))).expect("a request");
    assert_eq!(world.send(only_new).await.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(delete(&world, "a").await.status, StatusCode::NO_CONTENT);
    for gone in [delete(&world, "a").await, world.get("/subscriptions/a").await] {
        assert_eq!(gone.status, StatusCode::NOT_FOUND, "{gone:?}");
        assert_eq!(gone.body["detail"], "there is no subscription of this name");
    }
}

#[tokio::test]
async fn subscriptions_are_listed_in_pages() {
    let world = World::new();
    let of_paid = body(FILE).replace("order.created", "order.paid");
    for name in ["d", "b", "e"] {
        subscribe(&world, name, FILE).await;
    }
    for name in ["c", "a"] {
        assert_eq!(put(&world, name, &of_paid).await.status, StatusCode::CREATED);
    }
    let (mut found, mut path) = (vec![], "/subscriptions?limit=2".to_owned());
    loop {
        let page = world.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        let subscriptions = page.body["subscriptions"].as_array().expect("a list").clone();
        assert!(subscriptions.len() <= 2);
        found.extend(subscriptions);
        let Some(cursor) = page.body["next_cursor"].as_str() else { break };
        path = format!("/subscriptions?limit=2&cursor={cursor}");
    }
    let names: Vec<_> = found.iter().map(|subscription| subscription["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["b", "d", "e", "a", "c"]);
    assert_eq!((&found[0]["event_type"], &found[3]["event_type"]), (&json!("order.created"), &json!("order.paid")));
    assert_eq!(found[0]["job_type"], "csv-generation");
    for (query, field) in
        [("limit=0", "limit"), ("limit=101", "limit"), ("cursor=a", "cursor"), ("cursor=a:%23", "cursor"), ("x=1", "x")]
    {
        let answer = world.get(&format!("/subscriptions?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.body["field"].as_str()), (422, Some(field)), "{query}");
    }
}

#[tokio::test]
async fn a_subscription_that_cannot_be_read_is_not_passed_over_in_silence() {
    let table = Table::start().await;
    let store = DynamoStore::with_client(table.client(), NAME.to_owned());
    let world = World::new();
    for name in ["good", "spoilt"] {
        subscribe(&world, name, FILE).await;
        let subscription = stored(&world, name).await;
        assert!(SubscriptionStore::put_if_unchanged(&store, &subscription, None).await.expect("answers"));
    }
    let spoil = table.client().update_item().table_name(NAME);
    let spoil = spoil.key("id", AttributeValue::S("subscription#default#spoilt".to_owned()));
    let spoil = spoil.update_expression("SET #job = :job").expression_attribute_names("#job", "job");
    let spoil = spoil.expression_attribute_values(":job", AttributeValue::S("{".to_owned()));
    spoil.send().await.expect("updated");

    let event_type = EventType::parse("order.created").expect("a type");
    let found = store.matching(&Tenant::only(), &event_type).await.expect("answers");
    assert_eq!(found.subscriptions, [stored(&world, "good").await]);
    assert_eq!(found.unreadable.iter().map(SubscriptionName::as_str).collect::<Vec<_>>(), ["spoilt"]);
}
