//! A product and the job about it: stored together, and processed.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use shared::job::{Job, Status};
use shared::ports::{Clock, InsertedWith, JobQueue, JobStore};
use shared::product::{Product, ProductId};
use shared::values::id::{JobId, Tenant};
use tests::world::{Answer, World};

const LAMP: &str = r#"{"name":"Lamp","price":1999}"#;
const KEY: [(&str, &str); 1] = [("idempotency-key", "lamp-1")];
const SECOND: Duration = Duration::from_secs(1);

/// Stores a product. Gives its id and its job's.
async fn create(world: &World, headers: &[(&str, &str)], body: &str) -> (ProductId, JobId) {
    let answer = world.post("/products", headers, body.to_owned()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    ids(&answer)
}

fn ids(answer: &Answer) -> (ProductId, JobId) {
    let text = |field: &str| answer.body[field].as_str().expect("an id");
    (ProductId::parse(text("product_id")).expect("an id"), text("job_id").parse().expect("an id"))
}

async fn product(world: &World, id: ProductId) -> Value {
    let answer = world.get(&format!("/products/{id}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.body
}

#[tokio::test]
async fn a_product_and_its_job_are_stored_together_and_the_job_processes_the_product() {
    let world = World::new();
    let answer = world.post("/products", &[], LAMP).await;
    let (product_id, job_id) = ids(&answer);
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.body, json!({ "product_id": product_id, "job_id": job_id }));
    assert_eq!(answer.headers["location"], format!("/products/{product_id}"));
    let mut expected = json!({
        "product_id": product_id,
        "name": "Lamp",
        "price": 1999,
        "created_at": "2027-01-15T08:00:00.000Z",
        "processed_at": null,
    });
    assert_eq!(product(&world, product_id).await, expected);
    let job = world.get(&format!("/jobs/{job_id}")).await.body;
    assert_eq!((&job["type"], &job["status"]), (&json!("product-processing"), &json!("pending")));
    assert_eq!(job["payload"], json!({ "product_id": product_id }));

    world.clock.advance(SECOND * 5);
    assert_eq!(world.deliver().await, 1);
    let job = world.get(&format!("/jobs/{job_id}")).await.body;
    assert_eq!((&job["status"], &job["result"]), (&json!("completed"), &json!({ "product_id": product_id })));
    expected["processed_at"] = json!("2027-01-15T08:00:05.000Z");
    assert_eq!(product(&world, product_id).await, expected);
}

#[tokio::test]
async fn what_a_product_costs_need_not_be_known() {
    let world = World::new();
    for body in [r#"{"name":"Lamp"}"#, r#"{"name":"Lamp","price":null}"#] {
        let (id, _) = create(&world, &[], body).await;
        assert_eq!(product(&world, id).await["price"], Value::Null);
    }
    let dear = r#"{"name":"Lamp","price":9007199254740991}"#;
    let (id, _) = create(&world, &[], dear).await;
    assert_eq!(product(&world, id).await["price"], json!(9_007_199_254_740_991_u64));
}

#[tokio::test]
async fn where_one_of_the_two_can_not_be_stored_neither_is() {
    let elsewhere = World::new();
    let (product_id, job_id) = create(&elsewhere, &KEY, LAMP).await;

    // The same key leads to the same ids. Here the product's place is taken: its job is no longer kept.
    let world = World::new();
    let (now, tenant) = (world.clock.now(), Tenant::only());
    let name = "Other".to_owned();
    let there = Product { product_id, tenant, name, price: None, created_at: now, processed_at: None };
    let its_job = Job { id: JobId::at(now, [7; 10]), ..elsewhere.job(job_id).await };
    let inserted = world.store.insert_with(&its_job, &there.to_own_item()).await.expect("memory answers");
    assert_eq!(inserted, InsertedWith::New);

    let answer = world.post("/products", &KEY, LAMP).await;
    let found = (answer.status.as_u16(), answer.body["field"].as_str());
    assert_eq!(found, (422, Some("Idempotency-Key")), "{answer:?}");
    assert_eq!(world.get(&format!("/jobs/{job_id}")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.store.all(), [its_job]);
    assert_eq!(product(&world, product_id).await["name"], "Other");
    assert_eq!(world.queue.waiting().await.expect("memory answers"), 0, "nothing is announced");
}

#[tokio::test]
async fn a_product_whose_message_got_lost_is_processed_all_the_same() {
    let world = World::new();
    let (product_id, job_id) = create(&world, &[], LAMP).await;
    let lost = world.queue.receive().expect("a message");
    world.queue.acknowledge(&lost.receipt);
    world.pass(SECOND * 121).await;
    assert_eq!(world.job(job_id).await.status(), Status::Completed);
    assert!(product(&world, product_id).await["processed_at"].is_string());
}

#[tokio::test]
async fn a_repeated_request_makes_no_second_product() {
    let world = World::new();
    let first = create(&world, &KEY, LAMP).await;
    world.deliver().await;
    let processed = product(&world, first.0).await;
    for body in [LAMP, r#"{ "price": 1999, "name": "Lamp" }"#] {
        world.clock.advance(SECOND);
        let again = world.post("/products", &KEY, body).await;
        assert_eq!((again.status, ids(&again)), (StatusCode::ACCEPTED, first));
        assert_eq!(again.headers["idempotent-replayed"], "true");
    }
    assert_eq!(world.deliver().await, 0, "nothing is announced twice");
    assert_eq!((world.store.all().len(), product(&world, first.0).await), (1, processed));
    assert_ne!(create(&world, &[], LAMP).await, first, "without a key each request is another");
}

#[tokio::test]
async fn a_key_means_one_product_and_no_other() {
    let world = World::new();
    let (product_id, _) = create(&world, &KEY, LAMP).await;
    for other in [r#"{"name":"Lamp","price":2000}"#, r#"{"name":"Lamp"}"#, r#"{"name":"lamp","price":1999}"#] {
        let answer = world.post("/products", &KEY, other).await;
        let found = (answer.status.as_u16(), answer.body["field"].as_str());
        assert_eq!(found, (422, Some("Idempotency-Key")), "{other}: {answer:?}");
    }
    let stored = product(&world, product_id).await;
    assert_eq!((&stored["name"], &stored["price"]), (&json!("Lamp"), &json!(1999)));
    assert_eq!(world.store.all().len(), 1);
}

#[tokio::test]
async fn the_same_key_may_name_a_product_and_a_job() {
    let world = World::new();
    let (_, job_id) = create(&world, &KEY, LAMP).await;
    let job = world.post("/jobs", &KEY, r#"{"type":"csv-generation","payload":{"a":1}}"#).await;
    assert_eq!((job.status, job.headers.get("idempotent-replayed")), (StatusCode::ACCEPTED, None));
    assert_ne!(job.body["job_id"], json!(job_id));
}

#[tokio::test]
async fn a_product_that_does_not_fit_is_refused_by_name_and_nothing_is_stored() {
    let world = World::new();
    let long = json!({ "name": "é".repeat(201) }).to_string();
    let cases: [(&str, u16, &str); 11] = [
        ("{", 400, "body"),
        ("", 400, "body"),
        ("[]", 422, "body"),
        ("{}", 422, "name"),
        (r#"{"name":7}"#, 422, "name"),
        (r#"{"name":""}"#, 422, "name"),
        (&long, 422, "name"),
        (r#"{"name":"Lamp","price":-1}"#, 422, "price"),
        (r#"{"name":"Lamp","price":1.5}"#, 422, "price"),
        (r#"{"name":"Lamp","price":9007199254740992}"#, 422, "price"),
        (r#"{"name":"Lamp","colour":"red"}"#, 422, "colour"),
    ];
    for (body, status, field) in cases {
        let answer = world.post("/products", &[], body.to_owned()).await;
        let found = (answer.status.as_u16(), answer.body["field"].as_str());
        assert_eq!(found, (status, Some(field)), "{body}: {answer:?}");
    }
    let untyped = Request::post("/products").body(Body::from(LAMP)).expect("a request");
    assert_eq!(world.send(untyped).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(world.post("/products", &[("idempotency-key", "")], LAMP).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.store.all(), []);

    let (id, _) = create(&world, &[], &json!({ "name": "é".repeat(200) }).to_string()).await;
    assert_eq!(product(&world, id).await["name"], "é".repeat(200), "characters count, not bytes");
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_is_no_id_is_said_to_be_none() {
    let world = World::new();
    let (_, job_id) = create(&world, &[], LAMP).await;
    let answer = world.get(&format!("/products/{job_id}")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "the job's id is not the product's");
    assert_eq!(answer.body["detail"], "there is no product with this id");
    for id in ["42", "01938e5c7a0070008000000000000000", "%FF"] {
        let answer = world.get(&format!("/products/{id}")).await;
        let found = (answer.status.as_u16(), answer.body["field"].as_str());
        assert_eq!(found, (400, Some("product_id")), "{id}: {answer:?}");
    }
}

#[tokio::test]
async fn a_job_about_a_product_that_is_not_there_fails_at_once() {
    let world = World::new();
    let payload = r#"{"product_id":"01938e5c-7a00-7000-8000-000000000000"}"#;
    let id = world.submit(&format!(r#"{{"type":"product-processing","payload":{payload}}}"#)).await;
    world.deliver().await;
    let job = world.job(id).await;
    let found = (job.status(), job.attempts, job.error.as_deref());
    assert_eq!(found, (Status::Failed, 1, Some("there is no such product")));
}
