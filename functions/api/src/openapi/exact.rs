//! What the derived document cannot say by itself: the payloads of the job types, which fields go together, which errors
//! there are, and which request may follow on an answer.

use serde_json::{Value, json};
use shared::job_type::JobType;
use utoipa::OpenApi;

use super::Document;

/// The requests that may follow on an answer, as links (<https://spec.openapis.org/oas/v3.1.0#link-object>).
const LINKS: &str = include_str!("links.json");

/// How a key may look that names a request. Blanks around it would be stripped on the wire.
const KEY: &str = "^[!-~]([ -~]*[!-~])?$";

/// The document, made anew.
#[expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "for a test, which shall say so if it cannot be made"
)]
pub fn generate() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).expect("it is JSON");
    say_what_each_type_takes(&mut document["components"]["schemas"]);
    say_what_goes_together(&mut document["components"]["schemas"]);
    for (path, item) in document["paths"].as_object_mut().expect("paths") {
        for (method, operation) in item.as_object_mut().expect("operations") {
            say_how_parameters_look(path, operation);
            say_what_can_go_wrong(method, path, operation);
        }
    }
    let retry_body = &mut document["paths"]["/jobs/{id}/retry"]["post"]["requestBody"];
    *retry_body = json!({
        "required": false,
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/RetryBody" } } },
    });
    let bulk_retry = &mut document["paths"]["/jobs/retry"]["post"]["requestBody"]["content"]["application/json"];
    bulk_retry["schema"] = json!({ "$ref": "#/components/schemas/BulkRetryBody" });
    let links: Vec<Value> = serde_json::from_str(LINKS).expect("JSON");
    for link in links {
        let of = |name: &str| link[name].as_str().expect("a text").to_owned();
        let response = &mut document["paths"][of("path")][of("method")]["responses"][of("status")];
        assert!(response.is_object(), "a link from an answer that there is not: {link}");
        response["links"] = link["links"].clone();
    }
    document
}

/// A schema for each type's payload, and a submission whose `payload` is what its `type` says.
#[expect(clippy::expect_used, reason = "as above")]
fn say_what_each_type_takes(schemas: &mut Value) {
    let types: Vec<&JobType> = JobType::ALL.iter().filter(|job_type| job_type.is_deployed()).collect();
    for job_type in &types {
        let policy = job_type.policy();
        let mut schema: Value = serde_json::from_str(policy.schema).expect("a schema");
        schema["examples"] = json!([serde_json::from_str::<Value>(policy.example).expect("an example")]);
        schemas[format!("Payload-{}", policy.name)] = schema;
    }
    let mut submission = schemas["JobBody"].clone();
    let tag = json!({
        "type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[^\\s\\x00-\\x1f\\x7f-\\x9f]+$",
    });
    submission["properties"]["tags"]["items"] = tag;
    submission["properties"]["tags"]["uniqueItems"] = json!(true);
    schemas["JobBody"] = one_of_each(&submission, &types);

    let mut in_batch = submission.clone();
    in_batch["properties"]["idempotency_key"] = json!({
        "type": ["string", "null"], "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$",
        "description": "Names this job, so that submitting it again does not repeat it.",
    });
    schemas["BatchJob"] = one_of_each(&in_batch, &types);
    schemas["BatchBody"]["properties"]["jobs"]["items"] = json!({ "$ref": "#/components/schemas/BatchJob" });

    let mut scheduled = submission;
    if let Some(properties) = scheduled["properties"].as_object_mut() {
        properties.retain(|name, _| !["delay_seconds", "run_at", "expires_at"].contains(&name.as_str()));
    }
    schemas["ScheduledJob"] = one_of_each(&scheduled, &types);
    schemas["ScheduleBody"]["properties"]["job"] = json!({ "$ref": "#/components/schemas/ScheduledJob" });
    schemas["EmailBody"] = json!({ "$ref": "#/components/schemas/Payload-email-send" });
}

fn one_of_each(submission: &Value, types: &[&JobType]) -> Value {
    let variants = types.iter().map(|job_type| {
        let name = job_type.policy().name;
        let mut properties = submission["properties"].clone();
        properties["type"] = json!({ "type": "string", "const": name });
        properties["payload"] = json!({ "$ref": format!("#/components/schemas/Payload-{name}") });
        json!({
            "title": name, "type": "object", "required": ["type", "payload"], "additionalProperties": false,
            "properties": properties,
        })
    });
    json!({ "description": submission["description"], "oneOf": variants.collect::<Vec<_>>() })
}

/// Which fields belong together, and that there are no others.
fn say_what_goes_together(schemas: &mut Value) {
    for body in ["BatchBody", "EventBody", "JobTemplate", "ScheduleBody", "SubscriptionBody"] {
        schemas[body]["additionalProperties"] = json!(false); // which only what serde reads can say by itself
    }
    let one_of_two = |one: &str, kind: &str, other: &str| json!({ "required": [one], "properties": { one: { "type": kind }, other: { "type": "null" } } });
    schemas["RescheduleBody"]["oneOf"] =
        json!([one_of_two("delay_seconds", "integer", "run_at"), one_of_two("run_at", "string", "delay_seconds"),]);
    // A job as it was at a time has all that a history has, and more.
    if let Some(story) = schemas["Story"].as_object_mut()
        && let Some(variants) = story.remove("oneOf")
    {
        story.insert("anyOf".to_owned(), variants);
    }
    let says = |field: &str| json!({ "required": [field], "properties": { field: { "type": "string" } } });
    let fields = ["status", "type", "tag", "created_after", "created_before"];
    schemas["FilterBody"]["anyOf"] = fields.map(says).to_vec().into();

    let cursor = json!({ "type": ["string", "null"], "pattern": JOBS_CURSOR });
    schemas["BulkBody"]["properties"]["cursor"]["pattern"] = cursor["pattern"].clone();
    let mut retried = schemas["FilterBody"].clone();
    retried["properties"]["status"] = json!({
        "description": "With this status; failed unless given.", "enum": ["failed", "cancelled", null],
    });
    let mut retry = schemas["BulkBody"].clone();
    retry["properties"]["filter"] = json!({ "$ref": "#/components/schemas/RetryFilterBody" });
    schemas["RetryFilterBody"] = retried;
    schemas["BulkRetryBody"] = retry;
    if let Some(properties) = schemas["BulkBody"]["properties"].as_object_mut() {
        properties.remove("per_second");
    }
}

/// How the cursors of lists of jobs look.
const JOBS_CURSOR: &str = "^([0-7][0-9A-Fa-f]){14,64}$";

/// A header or a parameter of a query that is left out is not null: it is not there.
fn say_how_parameters_look(path: &str, operation: &mut Value) {
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = parameter["name"].clone();
        let schema = &mut parameter["schema"];
        if let Some(types) = schema["type"].as_array() {
            schema["type"] = types.iter().find(|name| **name != "null").cloned().unwrap_or(Value::Null);
        }
        if let Some(alternatives) = schema["oneOf"].as_array() {
            let other = alternatives.iter().find(|alternative| alternative["type"] != "null").cloned();
            *schema = other.unwrap_or(Value::Null);
        }
        if name == "Idempotency-Key" {
            (schema["minLength"], schema["maxLength"], schema["pattern"]) = (json!(1), json!(255), json!(KEY));
        }
        if name == "cursor" {
            schema["pattern"] = match path {
                "/schedules" => json!("^[a-z0-9][a-z0-9-]{0,63}$"),
                "/subscriptions" => json!("^[A-Za-z0-9._-]{1,128}:[a-z0-9][a-z0-9-]{0,63}$"),
                _ => json!(JOBS_CURSOR),
            };
        }
    }
}

/// The errors that an operation can be answered with, by what it takes.
fn say_what_can_go_wrong(method: &str, path: &str, operation: &mut Value) {
    let has_body = operation.get("requestBody").is_some();
    let parameters = operation.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
    let has = |place: &str| parameters.iter().any(|parameter| parameter["in"] == place);
    let is_open = matches!(path, "/health" | "/api/health" | "/openapi.json" | "/docs");
    let mut problems = vec![];
    if has_body || has("path") || has("header") {
        problems.push((400, "The request cannot be read"));
    }
    if !is_open {
        problems.extend([(401, "Nobody was let in"), (403, "The caller may not do this")]);
        problems.extend([(500, "It could not be carried out"), (503, "The table does not answer; try again")]);
    }
    if has("path") {
        problems.push((404, "There is none of this name, or it is somebody else's"));
    }
    if has_body {
        problems.extend([(413, "The body is too long"), (415, "The body does not say that it is JSON")]);
    }
    let runs_a_job = path == "/schedules/{name}/run";
    if has_body || has("query") || runs_a_job {
        problems.push((422, "A field does not fit; nothing was done"));
    }
    let submits = matches!(path, "/jobs" | "/jobs/batch" | "/jobs/email" | "/products" | "/events") || runs_a_job;
    if method == "post" && submits {
        problems.push((429, "The tenant's quota for this minute is used up; `Retry-After` says when to come back"));
    }
    let changes_a_schedule = path.starts_with("/schedules/{name}") && (method == "put" || method == "post");
    let makes_a_subscription = path == "/subscriptions/{name}" && method == "put";
    if changes_a_schedule || makes_a_subscription {
        problems.push((409, "There are too many of them, or somebody else changes it at the same time"));
    }
    if method == "put" {
        problems.push((412, "There is one of this name already"));
    }
    let content = json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    for (status, description) in problems {
        let response = &mut operation["responses"][status.to_string()];
        if response.is_null() {
            *response = json!({ "description": description, "content": content });
        }
    }
}
