//! What the API takes and answers, as an `OpenAPI` document that is made from this code.
//!
//! The document is made by a test, which also holds it against the routes, and served from the file: a function that
//! starts does not spend time on it.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Map, Value, json};
use shared::job_type::JobType;
use utoipa::{OpenApi, ToSchema};

use crate::problem::Problem;
use crate::{act, batch, bulk, events, look, products, queue, schedules, submit, subscriptions, why};

/// The document, as the last run of the test has left it.
const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

/// The page that shows it.
const PAGE: &str = include_str!("docs.html");

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "service", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")], DOCUMENT).into_response()
}

/// The same, to be read
#[utoipa::path(get, path = "/docs", tag = "service", responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
pub async fn page() -> Response {
    ([(CACHE_CONTROL, "public, max-age=300")], Html(PAGE)).into_response()
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Dray", description = "Background jobs: submit them, look at them, act on them. Errors are problem bodies (RFC 9457) that name the field at fault; every answer carries `X-Request-Id`. The order in which jobs run is not promised."),
    paths(
        submit::submit, submit::submit_email, batch::submit_batch,
        look::list, look::show, look::events, why::why,
        act::cancel, act::retry, act::reschedule, bulk::cancel_many, bulk::retry_many,
        queue::show, queue::pause, queue::resume,
        schedules::list, schedules::put, schedules::show, schedules::remove, schedules::pause, schedules::resume, schedules::run,
        events::publish, subscriptions::list, subscriptions::put, subscriptions::show, subscriptions::remove,
        products::create, products::show,
        crate::health, document, page
    ),
    components(schemas(Problem)),
    tags(
        (name = "jobs", description = "Submit jobs, look at them, act on them"),
        (name = "schedules", description = "Jobs that come again and again"),
        (name = "events", description = "Events of your own, and the jobs that follow from them"),
        (name = "queue", description = "All jobs at once"),
        (name = "products", description = "An example: data of your own, and a job about it, in one write"),
        (name = "service", description = "About the API itself"),
    ),
)]
struct Document;

/// A job to be submitted.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the document alone: shared reads the body itself, to name what does not fit")]
pub struct JobBody {
    /// The job's type; see `payload`.
    #[schema(example = "csv-generation")]
    r#type: String,
    /// What its type needs to know; one schema for each type, named `Payload-<type>`.
    #[schema(value_type = Object)]
    payload: Value,
    /// Attempts allowed; the type's own number unless given.
    #[schema(minimum = 1, maximum = 10)]
    max_attempts: Option<u32>,
    /// How long one attempt may run; the type's own number unless given.
    #[schema(minimum = 1, maximum = 50)]
    timeout_seconds: Option<u32>,
    /// Not to be started before so many seconds are over. Not together with `run_at`.
    #[schema(minimum = 0, maximum = 31_622_400)]
    delay_seconds: Option<u64>,
    /// Not to be started before this time, at most 366 days ahead.
    #[schema(format = DateTime)]
    run_at: Option<String>,
    /// Not to be started from this time on: if it has not been, it is cancelled.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Words by which to find it, 10 at most.
    #[schema(max_items = 10)]
    tags: Option<Vec<String>>,
    /// Who is told how it ended, by a `webhook-delivery` job. Not for such jobs themselves.
    #[schema(format = "uri", max_length = 2048)]
    callback_url: Option<String>,
}

/// 1 to 100 jobs.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the document alone")]
pub struct BatchBody {
    /// The jobs: each as it would be submitted alone, and it may have an `idempotency_key`.
    #[schema(min_items = 1, max_items = 100)]
    jobs: Vec<JobBody>,
}

/// An e-mail: the payload of an `email-send` job.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the document alone")]
pub struct EmailBody {
    /// Who gets it: one address, or several.
    #[schema(value_type = Object)]
    to: Value,
}

/// The document, made anew.
#[expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "for a test, which shall say so if it cannot be made"
)]
pub fn generate() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).expect("it is JSON");
    let schemas = document["components"]["schemas"].as_object_mut().expect("schemas");
    let types: Vec<&JobType> = JobType::ALL.iter().filter(|job_type| job_type.is_deployed()).collect();
    for job_type in &types {
        let policy = job_type.policy();
        let mut schema: Value = serde_json::from_str(policy.schema).expect("a schema");
        schema["examples"] = json!([serde_json::from_str::<Value>(policy.example).expect("an example")]);
        schemas.insert(format!("Payload-{}", policy.name), schema);
    }
    let submission = schemas["JobBody"].clone();
    schemas.insert("JobBody".to_owned(), one_of_each(&submission, &types, false));
    schemas.insert("BatchJob".to_owned(), one_of_each(&submission, &types, true));
    for body in ["BatchBody", "EventBody", "JobTemplate", "ScheduleBody", "SubscriptionBody"] {
        schemas[body]["additionalProperties"] = json!(false); // which only what serde reads can say by itself
    }
    schemas["BatchBody"]["properties"]["jobs"]["items"] = json!({ "$ref": "#/components/schemas/BatchJob" });
    schemas.insert("EmailBody".to_owned(), json!({ "$ref": "#/components/schemas/Payload-email-send" }));
    for (path, item) in document["paths"].as_object_mut().expect("paths") {
        for operation in item.as_object_mut().expect("operations").values_mut() {
            add_problems(path, operation);
        }
    }
    document
}

/// A submission whose `payload` is what its `type` says.
fn one_of_each(submission: &Value, types: &[&JobType], with_key: bool) -> Value {
    let mut properties = submission["properties"].clone();
    if with_key {
        properties["idempotency_key"] = json!({
            "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$",
            "description": "Names this job, so that submitting it again does not repeat it.",
        });
    }
    let variants = types.iter().map(|job_type| {
        let name = job_type.policy().name;
        let mut properties = properties.clone();
        properties["type"] = json!({ "type": "string", "const": name });
        properties["payload"] = json!({ "$ref": format!("#/components/schemas/Payload-{name}") });
        json!({
            "title": name, "type": "object", "required": ["type", "payload"], "additionalProperties": false,
            "properties": properties,
        })
    });
    json!({ "description": submission["description"], "oneOf": variants.collect::<Vec<_>>() })
}

/// A header or a parameter of a query that is left out is not null: it is not there.
fn not_null(schema: &mut Value) {
    if let Some(types) = schema["type"].as_array() {
        schema["type"] = types.iter().find(|name| **name != "null").cloned().unwrap_or(Value::Null);
    }
    if let Some(alternatives) = schema["oneOf"].as_array() {
        let other = alternatives.iter().find(|alternative| alternative["type"] != "null").cloned();
        *schema = other.unwrap_or(Value::Null);
    }
}

/// The errors that an operation can be answered with, by what it takes.
fn add_problems(path: &str, operation: &mut Value) {
    let has_body = operation.get("requestBody").is_some();
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        not_null(&mut parameter["schema"]);
    }
    let parameters = operation.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
    let has = |place: &str| parameters.iter().any(|parameter| parameter["in"] == place);
    let is_open = matches!(path, "/health" | "/openapi.json" | "/docs");
    let mut problems = vec![];
    if has_body || has("path") || has("header") {
        problems.push((400, "The request cannot be read"));
    }
    if !is_open {
        problems.extend([(401, "Nobody was let in"), (403, "The caller may not do this")]);
        problems.extend([(500, "It could not be carried out"), (503, "The table does not answer; try again")]);
    }
    if has("path") {
        problems.push((404, "There is none of this id, or it is somebody else's"));
    }
    if has_body {
        problems.extend([(413, "The body is too long"), (415, "The body does not say that it is JSON")]);
    }
    if has_body || has("query") {
        problems.push((422, "A field does not fit; nothing was done"));
    }
    let creates = operation["responses"].get("202").is_some() || path == "/jobs/batch";
    if has_body && creates {
        problems.push((429, "The tenant's quota for this minute is used up; `Retry-After` says when to come back"));
    }
    let content = json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    let responses = operation["responses"].as_object_mut();
    let mut empty = Map::new();
    let responses = responses.unwrap_or(&mut empty);
    for (status, description) in problems {
        let problem = json!({ "description": description, "content": content });
        responses.entry(status.to_string()).or_insert(problem);
    }
}
