//! What real clients send: bodies that others could not read, compressed ones, null for what is absent, `3.0` for 3, times,
//! keys and paths as people write them. And what they are told.

use std::io::Write;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tests::world::{Answer, World};

const ALICE: &str = r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#;

async fn send(world: &World, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let method: Method = method.to_uppercase().parse().expect("a method");
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.send(request.body(body.into()).expect("a request")).await
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    encoder.write_all(content).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// Every request of the document that takes JSON, with an example that fits: method, path, body.
fn requests_with_bodies() -> Vec<(String, String, Value)> {
    let of = |kind: &str, path: &str, body: Value| (kind.to_owned(), path.to_owned(), body);
    let job: Value = serde_json::from_str(ALICE).expect("JSON");
    let id = "01938e5c-7a00-7000-8000-000000000000";
    vec![
        of("post", "/jobs", job.clone()),
        of("post", "/jobs/batch", json!({ "jobs": [job] })),
        of("post", "/jobs/email", json!({ "to": "ada@example.com", "subject": "Hello", "body": "Dear Ada" })),
        of("post", "/jobs/cancel", json!({ "filter": { "tag": "red" } })),
        of("post", "/jobs/retry", json!({ "filter": { "tag": "red" } })),
        of("post", &format!("/jobs/{id}/retry"), json!({})),
        of("post", &format!("/jobs/{id}/duplicate"), json!({})),
        of("post", &format!("/jobs/{id}/reschedule"), json!({ "delay_seconds": 5 })),
        of("post", "/events", json!({ "type": "order.created", "data": {} })),
        of("post", "/products", json!({ "name": "Lamp" })),
        of("put", "/schedules/nightly", json!({ "cron": "0 3 * * *", "job": job })),
        of("put", "/subscriptions/orders", json!({ "event_type": "order.created", "job": job })),
    ]
}

#[test]
fn no_request_of_the_document_is_left_out_here() {
    let document = api::openapi::generate();
    let mut documented = vec![];
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            documented.extend(operation.get("requestBody").map(|_| format!("{method} {path}")));
        }
    }
    let id = "01938e5c-7a00-7000-8000-000000000000";
    let tried = requests_with_bodies().into_iter().map(|(method, path, _)| {
        let path = path.replace(id, "{id}").replace("nightly", "{name}").replace("orders", "{name}");
        format!("{method} {path}")
    });
    let mut tried: Vec<_> = tried.collect();
    documented.sort_unstable();
    tried.sort_unstable();
    assert_eq!(documented, tried);
}

#[tokio::test]
async fn what_others_could_not_read_is_refused_by_every_route_and_its_place_named() {
    let world = World::new();
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (method, path, body) in requests_with_bodies() {
        let body = body.to_string();
        let rest = if body == "{}" { "}".to_owned() } else { format!(",{}", &body[1..]) };
        let with = |value: &str| format!(r#"{{"first":{value}{rest}"#);
        for (value, place, problem) in [
            (r#""x\ud800""#, "first", "has half of a surrogate pair"),
            (r#"{"a":["\udc00"]}"#, "first.a[0]", "has half of a surrogate pair"),
            ("1e999", "first", "is a number that other programs read as infinite"),
            (&deep(128), "first[0]", "is nested more than 128 levels deep"),
            (&deep(60_000), "first[0]", "is nested more than 128 levels deep"),
        ] {
            let answer = send(&world, &method, &path, &[], with(value)).await;
            let shown = &answer.body;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{method} {path} {shown}");
            assert_eq!(shown["code"], "invalid_field", "{method} {path}");
            // What a batch is, is read before what is in it.
            if path != "/jobs/batch" {
                assert!(shown["field"].as_str().is_some_and(|field| field.starts_with(place)), "{shown}");
                assert!(shown["detail"].as_str().is_some_and(|detail| detail.contains(problem)), "{shown}");
            }
        }
        for broken in ["", "{", "{\"a\":1}x", "\u{feff}\u{feff}{}", "nul", "{'a':1}", "{\"a\":01}", "[1,]", "\"\u{1}\""]
        {
            let optional = broken.is_empty() && (path.ends_with("/retry") || path.ends_with("/duplicate"));
            if optional && path != "/jobs/retry" {
                continue;
            }
            let answer = send(&world, &method, &path, &[], broken).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method} {path} {broken:?} {}", answer.body);
            assert_eq!((&answer.body["code"], &answer.body["field"]), (&json!("invalid_json"), &json!("body")));
        }
    }
}

#[tokio::test]
async fn a_job_that_cannot_be_read_spoils_no_other_of_its_batch() {
    let world = World::new();
    let bad = [
        (r#"{"type":"csv-generation","payload":{"name":"\ud800"}}"#, "jobs[1].payload.name"),
        (r#"{"type":"csv-generation","payload":{"n":1e999}}"#, "jobs[1].payload.n"),
        ("7", "jobs[1]"),
        (r#"{"type":"csv-generation","payload":{"a":1},"max_attempts":1.5}"#, "jobs[1].max_attempts"),
    ];
    for (bad, field) in bad {
        let answer = world.post("/jobs/batch", &[], format!(r#"{{"jobs":[{ALICE},{bad},{ALICE}]}}"#)).await;
        assert_eq!((&answer.body["accepted"], &answer.body["rejected"]), (&json!(2), &json!(1)), "{bad}");
        let problem = &answer.body["jobs"][1]["problem"];
        assert_eq!((&problem["field"], &problem["code"]), (&json!(field), &json!("invalid_field")), "{problem}");
    }
}

#[tokio::test]
async fn every_answer_about_what_was_accepted_is_json_to_anybody() {
    let world = World::new();
    let payload = format!(r#"{{"text":"\ud83d\ude00 \u0000 ü","deep":{}1{}}}"#, "[".repeat(124), "]".repeat(124));
    let body = format!(r#"{{"type":"webhook-delivery","payload":{{"url":"https://example.com","data":{payload}}}}}"#);
    let id = world.submit(&body).await;
    let answer = world.get(&format!("/jobs/{id}")).await;
    assert_eq!(answer.body["payload"]["data"]["text"], "😀 \0 ü", "a reader that takes 127 levels");
}

#[tokio::test]
async fn a_body_may_begin_with_a_byte_order_mark_or_be_compressed() {
    let world = World::new();
    for (method, path, body) in requests_with_bodies() {
        let plain = send(&world, &method, &path, &[], body.to_string()).await.status;
        let marked = send(&world, &method, &path, &[], format!("\u{feff}{body}\r\n")).await;
        let zipped = gzip(body.to_string().as_bytes());
        let zipped = send(&world, &method, &path, &[("content-encoding", "gzip")], zipped).await;
        let plainly = send(&world, &method, &path, &[("content-encoding", "identity")], body.to_string()).await;
        for answer in [marked, zipped, plainly] {
            let created = plain == StatusCode::CREATED && answer.status == StatusCode::OK;
            assert!(answer.status == plain || created, "{method} {path} {answer:?}");
        }
        for encoding in ["br", "deflate", "zstd", "gzip, gzip", "x"] {
            let answer = send(&world, &method, &path, &[("content-encoding", encoding)], body.to_string()).await;
            assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{method} {path} {encoding} {}", answer.body);
            let told = (&answer.body["code"], &answer.body["field"]);
            assert_eq!(told, (&json!("unsupported_media_type"), &json!("Content-Encoding")));
        }
    }
}

#[tokio::test]
async fn a_compressed_body_is_as_long_as_what_is_in_it_and_must_be_whole() {
    let world = World::new();
    let long = |length: usize| {
        let frame = r#"{"type":"csv-generation","payload":{"a":""}}"#.len();
        let body = format!(r#"{{"type":"csv-generation","payload":{{"a":"{}"}}}}"#, "x".repeat(length - frame));
        gzip(body.as_bytes())
    };
    let zipped: &[(&str, &str)] = &[("content-encoding", "gzip")];
    assert_eq!(world.post("/jobs", zipped, long(262_144)).await.status, StatusCode::ACCEPTED);
    for length in [262_145, 100_000_000] {
        let answer = world.post("/jobs", zipped, long(length)).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{length}");
        assert_eq!(answer.body["code"], "body_too_large");
    }
    let whole = gzip(ALICE.as_bytes());
    for broken in [&whole[..whole.len() - 9], &whole[..1], ALICE.as_bytes()] {
        let answer = world.post("/jobs", zipped, broken.to_vec()).await;
        let told = (answer.status, &answer.body["code"], &answer.body["field"]);
        let expected = (json!("unsupported_media_type"), json!("Content-Encoding"));
        assert_eq!(told, (StatusCode::UNSUPPORTED_MEDIA_TYPE, &expected.0, &expected.1), "{}", answer.body);
    }
}

/// The schema that this one stands for.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => resolved(document, document.pointer(&reference[1..]).expect("is there")),
        None => schema,
    }
}

/// What an object of this schema may have, and whether it must, whatever the schema is put together from.
fn properties<'a>(document: &'a Value, schema: &'a Value, found: &mut Vec<(&'a str, &'a Value, bool)>) {
    let schema = resolved(document, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let required = schema["required"].as_array().is_some_and(|names| names.iter().any(|other| other == name));
        found.push((name, property, required));
    }
    for part in ["allOf", "oneOf", "anyOf"].iter().filter_map(|word| schema[word].as_array()).flatten() {
        properties(document, part, found);
    }
}

/// The kinds of JSON that a value of this schema may be.
fn kinds(document: &Value, schema: &Value) -> Vec<String> {
    let schema = resolved(document, schema);
    let own = match &schema["type"] {
        Value::String(kind) => vec![kind.clone()],
        Value::Array(kinds) => kinds.iter().filter_map(|kind| kind.as_str().map(str::to_owned)).collect(),
        _ => vec![],
    };
    let parts = ["allOf", "oneOf", "anyOf"].iter().filter_map(|word| schema[word].as_array()).flatten();
    own.into_iter().chain(parts.flat_map(|part| kinds(document, part))).collect()
}

/// Whether the answer finds no fault with the field called `name`.
fn takes(answer: &Answer, name: &str) -> bool {
    let fields = [&answer.body, &answer.body["jobs"][0]["problem"]].map(|problem| problem["field"].as_str());
    fields.iter().flatten().all(|field| !field.ends_with(name))
}

/// The body with `name` in the object at `pointer` set to `value`.
fn with(body: &Value, pointer: &str, name: &str, value: Value) -> String {
    let mut body = body.clone();
    body.pointer_mut(pointer).expect("an object")[name] = value;
    body.to_string()
}

#[tokio::test]
async fn what_is_optional_may_be_null_and_a_whole_number_may_have_a_point_as_the_document_says() {
    let world = World::new();
    let document = api::openapi::generate();
    let (mut nulls, mut numbers) = (0, 0);
    // The bodies, the objects within them, and a job of each type with each field of its payload.
    let mut places: Vec<(String, String, Value, &str, Value)> = vec![];
    for (method, path, body) in requests_with_bodies() {
        let id = "01938e5c-7a00-7000-8000-000000000000";
        let documented = path.replace(id, "{id}").replace("nightly", "{name}").replace("orders", "{name}");
        let schema =
            document["paths"][&documented][&method]["requestBody"]["content"]["application/json"]["schema"].clone();
        places.push((method.clone(), path.clone(), body.clone(), "", schema.clone()));
        for inner in ["job", "filter"].into_iter().filter(|inner| body.get(inner).is_some()) {
            let mut found = vec![];
            properties(&document, &schema, &mut found);
            let (_, schema, _) = found.iter().find(|(name, ..)| *name == inner).expect("in the document");
            let pointer = if inner == "job" { "/job" } else { "/filter" };
            places.push((method.clone(), path.clone(), body.clone(), pointer, (*schema).clone()));
        }
        if path == "/jobs/batch" {
            let mut found = vec![];
            properties(&document, &schema, &mut found);
            let jobs = resolved(&document, found[0].1);
            places.push((method, path, body, "/jobs/0", jobs["items"].clone()));
        }
    }
    for job_type in shared::job_type::JobType::ALL.iter().filter(|job_type| job_type.is_deployed()) {
        let policy = job_type.policy();
        let example: Value = serde_json::from_str(policy.example).expect("JSON");
        let body = json!({ "type": policy.name, "payload": example });
        let job = &document["components"]["schemas"]["NewJob"]["discriminator"]["mapping"][policy.name];
        let job = document.pointer(&job.as_str().expect("a reference")[1..]).expect("is there");
        let schema = job["properties"]["payload"].clone();
        places.push(("post".to_owned(), "/jobs".to_owned(), body, "/payload", schema));
    }
    for (method, path, body, pointer, schema) in &places {
        let mut found = vec![];
        properties(&document, schema, &mut found);
        assert!(!found.is_empty() || *pointer == "/payload", "{method} {path} {pointer}");
        for (name, property, required) in found {
            let place = format!("{method} {path} {pointer}/{name}");
            let kinds = kinds(&document, property);
            if !required && !kinds.is_empty() && body.pointer(pointer).expect("an object").get(name).is_none() {
                assert!(
                    kinds.iter().any(|kind| kind == "null"),
                    "{place} may be null, and the document does not say so"
                );
                let answer = send(&world, method, path, &[], with(body, pointer, name, Value::Null)).await;
                assert!(takes(&answer, name), "{place}: {}", answer.body);
                nulls += 1;
            }
            if kinds.iter().any(|kind| kind == "integer") {
                let least = resolved(&document, property)["minimum"].as_f64().unwrap_or(0.0).max(1.0);
                let answer = send(&world, method, path, &[], with(body, pointer, name, json!(least))).await;
                let problem =
                    [&answer.body, &answer.body["jobs"][0]["problem"]].map(|problem| problem["detail"].clone());
                assert!(
                    !problem.iter().any(|text| text.as_str().is_some_and(|text| text.contains("whole"))),
                    "{place}"
                );
                let answer = send(&world, method, path, &[], with(body, pointer, name, json!(least + 0.5))).await;
                assert!(!takes(&answer, name) || answer.status.is_client_error(), "{place} is no whole number");
                numbers += 1;
            }
        }
    }
    assert!(nulls > 60 && numbers > 20, "{nulls} and {numbers}");
}

#[tokio::test]
async fn a_number_out_of_its_bounds_is_told_the_bounds() {
    let world = World::new();
    let id = world.submit(ALICE).await;
    let job = |field: &str| format!(r#"{{"type":"csv-generation","payload":{{"a":1}},{field}}}"#);
    let whole = |field: &str, least: u32, most: u32| format!("`{field}` must be a whole number from {least} to {most}");
    for (path, body, detail) in [
        ("/jobs".to_owned(), job(r#""delay_seconds":-1"#), whole("delay_seconds", 0, 31_622_400)),
        ("/jobs".to_owned(), job(r#""delay_seconds":31622401"#), whole("delay_seconds", 0, 31_622_400)),
        ("/jobs".to_owned(), job(r#""max_attempts":3.5"#), whole("max_attempts", 1, 10)),
        ("/jobs".to_owned(), job(r#""max_attempts":1e30"#), whole("max_attempts", 1, 10)),
        ("/jobs".to_owned(), job(r#""timeout_seconds":0"#), whole("timeout_seconds", 1, 50)),
        (format!("/jobs/{id}/retry"), r#"{"max_attempts":11}"#.to_owned(), whole("max_attempts", 1, 10)),
        (format!("/jobs/{id}/reschedule"), r#"{"delay_seconds":-5}"#.to_owned(), whole("delay_seconds", 0, 31_622_400)),
        ("/jobs/cancel".to_owned(), r#"{"filter":{"tag":"a"},"limit":0}"#.to_owned(), whole("limit", 1, 100)),
        (
            "/jobs/retry".to_owned(),
            r#"{"filter":{"tag":"a"},"per_second":-1}"#.to_owned(),
            whole("per_second", 1, 1000),
        ),
        (
            "/jobs".to_owned(),
            job(r#""max_attempts":"3""#),
            "`max_attempts` must be a whole number from 1 to 10, not a string".to_owned(),
        ),
        (
            "/products".to_owned(),
            r#"{"name":"Lamp","price":-1}"#.to_owned(),
            "`price` must be a whole number from 0 to 9007199254740991".to_owned(),
        ),
    ] {
        let answer = world.post(&path, &[], body.clone()).await;
        assert_eq!(answer.body["detail"], detail, "{path} {body}");
    }
}

#[tokio::test]
async fn a_slash_at_the_end_of_a_path_changes_nothing() {
    let world = World::new();
    let id = world.submit(ALICE).await;
    for path in ["/jobs", &format!("/jobs/{id}"), "/queue", "/stats", "/health", "/openapi.json", "/schedules"] {
        let (plain, slashed) = (world.get(path).await, world.get(&format!("{path}/")).await);
        assert_eq!((plain.status, slashed.status), (StatusCode::OK, StatusCode::OK), "{path}");
    }
    assert_eq!(world.post("/jobs/", &[], ALICE).await.status, StatusCode::ACCEPTED);
    assert_eq!(world.get("/jobs/?status=pending").await.body["jobs"].as_array().map(Vec::len), Some(2));
    let nothing = world.get("/nothing/").await;
    assert_eq!((nothing.status, &nothing.body["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));
    let not_taken = send(&world, "PATCH", "/jobs/", &[], "").await;
    assert_eq!(
        (not_taken.status, &not_taken.body["code"]),
        (StatusCode::METHOD_NOT_ALLOWED, &json!("method_not_allowed"))
    );
}

#[tokio::test]
async fn a_type_that_there_is_not_is_no_filter() {
    let world = World::new();
    for answer in [
        world.get("/jobs?type=nope").await,
        world.post("/jobs/cancel", &[], r#"{"filter":{"type":"nope"}}"#).await,
        world.post("/jobs/retry", &[], r#"{"filter":{"type":"nope"}}"#).await,
    ] {
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.body);
        let detail = answer.body["detail"].as_str().expect("a text");
        assert!(detail.contains("type` is not a known job type; known are csv-generation, email-send"), "{detail}");
    }
    for (query, field) in [
        ("status=", "status"),
        ("status=failed,", "status"),
        ("status=failed,nope", "status"),
        ("created_after=today", "created_after"),
        ("created_before=2030-01-01", "created_before"),
    ] {
        let answer = world.get(&format!("/jobs?{query}")).await;
        let told = (answer.status, &answer.body["field"]);
        assert_eq!(told, (StatusCode::UNPROCESSABLE_ENTITY, &json!(field)), "{query}");
    }
}

#[tokio::test]
async fn a_quoted_key_is_the_same_key_and_two_are_none() {
    let world = World::new();
    let submit = async |key: &str| world.post("/jobs", &[("idempotency-key", key)], ALICE).await;
    let first = submit("key-1").await;
    for same in [r#""key-1""#, "key-1"] {
        let again = submit(same).await;
        assert_eq!(again.body["job_id"], first.body["job_id"], "{same}");
        assert_eq!(again.headers["idempotent-replayed"], "true", "{same}");
    }
    let escaped = submit(r#""a\"b\\c, d""#).await;
    assert_eq!(escaped.status, StatusCode::ACCEPTED, "a comma within the quotes is the key's own");
    let in_a_batch = format!(r#"{{"jobs":[{}]}}"#, ALICE.replace("}}", r#"},"idempotency_key":"a\"b\\c, d"}"#));
    let again = world.post("/jobs/batch", &[], in_a_batch).await;
    assert_eq!(again.body["jobs"][0]["job_id"], escaped.body["job_id"], "a body's key is not quoted once more");
    // The gateway makes one header of two.
    for wrong in
        ["one,two", "one, one", r#""one","two""#, r#""one"#, r#"""#, r#""a"b"#, r#""a\b""#, r#""""#, r#""a";x=1"#]
    {
        let answer = submit(wrong).await;
        let told = (answer.status, &answer.body["code"], &answer.body["field"]);
        let expected = (StatusCode::BAD_REQUEST, &json!("invalid_request"), &json!("Idempotency-Key"));
        assert_eq!(told, expected, "{wrong} {}", answer.body);
    }
    let twice = world.post("/jobs", &[("idempotency-key", "a"), ("idempotency-key", "a")], ALICE).await;
    assert_eq!(twice.status, StatusCode::BAD_REQUEST);
}

#[test]
fn every_code_of_an_error_is_in_the_documentation_with_its_status() {
    let page = include_str!("../../../docs/requests.md");
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        let (code, status) = (cells.next()?.trim().trim_end_matches('`'), cells.next()?.trim());
        Some((code.to_owned(), status.parse::<u16>().ok()?))
    });
    let codes = api::problem_codes().into_iter().map(|(code, status)| (code, status.as_u16()));
    assert_eq!(rows.collect::<Vec<_>>(), codes.collect::<Vec<_>>());
}
