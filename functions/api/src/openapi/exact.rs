//! What the derived document cannot say by itself: the payloads of the job types, which fields go together, what is
//! always sent, which errors there are, and which request may follow on an answer.
//!
//! Generators of clients make a class of every alternative of `oneOf` and `anyOf`, and of what stands below `not`; so each
//! alternative is a whole schema of its own here, and which fields go together is said by `if`, which they leave alone.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::job_type::{JobType, Policy};
use utoipa::OpenApi;

use super::Document;

/// The requests that may follow on an answer, as links (<https://spec.openapis.org/oas/v3.1.0#link-object>).
const LINKS: &str = include_str!("links.json");

/// How a key may look that names a request: bare, or a string of RFC 9651. Blanks around it would be stripped on the wire.
const KEY: &str = r#"^([!#-+\--~]([ -+\--~]{0,253}[!-+\--~])?|"([ !#-\[\]-~]|\\["\\]){1,255}")$"#;

/// Where schemas are that have names.
const SCHEMAS: &str = "#/components/schemas/";

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
    document["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]["examples"] = submissions();
    let bulk_retry = &mut document["paths"]["/jobs/retry"]["post"]["requestBody"]["content"]["application/json"];
    bulk_retry["schema"] = named("BulkRetry");
    for (path, item) in document["paths"].as_object_mut().expect("paths") {
        for (method, operation) in item.as_object_mut().expect("operations") {
            say_how_parameters_look(path, operation);
            say_whether_a_body_is_needed(operation);
            say_what_can_go_wrong(method, path, operation);
        }
    }
    say_what_is_always_sent(&mut document);
    document["components"]["securitySchemes"] = json!({
        "jwt": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "Where the deployment's `AuthMode` is `jwt`: a token of its issuer.",
        },
        "iam": {
            "type": "apiKey", "in": "header", "name": "Authorization", "x-amazon-apigateway-authtype": "awsSigv4",
            "description": "Where it is `iam`: the request is signed by AWS Signature Version 4.",
        },
    });
    add_links(&mut document["paths"]);
    document
}

fn named(schema: &str) -> Value {
    json!({ "$ref": format!("{SCHEMAS}{schema}") })
}

/// What is laid down of each type that every build has.
fn types() -> impl Iterator<Item = Policy> {
    JobType::ALL.iter().filter(|job_type| job_type.is_deployed()).map(|job_type| job_type.policy())
}

/// `csv-generation` as the beginning of a schema's name.
fn pascal_case(name: &str) -> String {
    let word = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    name.split('-').map(word).collect()
}

/// A schema for each type's payload, and submissions whose `payload` is what their `type` says.
#[expect(clippy::expect_used, reason = "as above")]
fn say_what_each_type_takes(schemas: &mut Value) {
    for policy in types() {
        let text = policy.schema.replace("#/$defs/", SCHEMAS);
        let mut schema: Value = serde_json::from_str(&text).expect("a schema");
        if let Some(Value::Object(parts)) = schema.as_object_mut().and_then(|schema| schema.remove("$defs")) {
            for (name, part) in parts {
                assert!(schemas[&name].is_null(), "there are two schemas of the name {name}");
                schemas[name] = part;
            }
        }
        schema["examples"] = json!([serde_json::from_str::<Value>(policy.example).expect("an example")]);
        schemas[format!("{}Payload", pascal_case(policy.name))] = schema;
    }
    schemas["JobTypeName"] = json!({
        "description": "What kind of work a job is. `cargo run` also has `rehearsal`, for trying things out.",
        "type": "string", "enum": types().map(|policy| policy.name).collect::<Vec<_>>(),
    });

    let mut submission = schemas["NewJob"].take();
    submission["properties"]["tags"]["uniqueItems"] = json!(true);
    submission["properties"]["tags"]["items"] = json!({
        "type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[^\\s\\x00-\\x1f\\x7f-\\x9f]+$",
    });
    let mut in_batch = submission.clone();
    in_batch["description"] = json!("A job of a batch.");
    in_batch["properties"]["idempotency_key"] = json!({
        "type": ["string", "null"], "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$",
        "description": "Names this job, so that submitting it again does not repeat it.",
    });
    let mut scheduled = submission.clone();
    scheduled["description"] = json!("The job of a schedule's runs.");
    if let Some(properties) = scheduled["properties"].as_object_mut() {
        properties.retain(|name, _| !["delay_seconds", "run_at", "expires_at"].contains(&name.as_str()));
    }
    one_of_each_type(schemas, "NewJob", "Job", &submission);
    one_of_each_type(schemas, "BatchJob", "BatchJob", &in_batch);
    one_of_each_type(schemas, "ScheduledJob", "ScheduledJob", &scheduled);
    schemas["NewBatch"]["properties"]["jobs"]["items"] = named("BatchJob");
    schemas["NewSchedule"]["properties"]["job"] = named("ScheduledJob");
}

/// A submission of each type, called after the type and `suffix`; and `union`, which is one of them.
fn one_of_each_type(schemas: &mut Value, union: &str, suffix: &str, submission: &Value) {
    let (mut variants, mut mapping) = (vec![], json!({}));
    for policy in types() {
        let type_name = pascal_case(policy.name);
        let mut variant = submission.clone();
        variant["additionalProperties"] = json!(false);
        variant["properties"]["type"] = json!({ "type": "string", "const": policy.name });
        variant["properties"]["payload"] = named(&format!("{type_name}Payload"));
        let name = format!("{type_name}{suffix}");
        variants.push(named(&name));
        mapping[policy.name] = json!(format!("{SCHEMAS}{name}"));
        schemas[name] = variant;
    }
    schemas[union] = json!({
        "description": submission["description"], "oneOf": variants,
        "discriminator": { "propertyName": "type", "mapping": mapping },
    });
}

/// An example of each type, and one with options.
#[expect(clippy::expect_used, reason = "as above")]
fn submissions() -> Value {
    let mut examples = json!({ "with-options": { "summary": "with options, in an hour", "value": {
        "type": "csv-generation", "payload": { "name": "Alice", "score": 95 },
        "delay_seconds": 3600, "max_attempts": 5, "timeout_seconds": 20, "tags": ["march"],
    } } });
    for policy in types() {
        let payload: Value = serde_json::from_str(policy.example).expect("an example");
        examples[policy.name] = json!({ "value": { "type": policy.name, "payload": payload } });
    }
    examples
}

/// Which fields belong together, and that there are no others.
fn say_what_goes_together(schemas: &mut Value) {
    for body in ["JobTemplate", "NewBatch", "NewEvent", "NewSchedule", "NewSubscription"] {
        schemas[body]["additionalProperties"] = json!(false); // which only what serde reads can say by itself
    }
    let given = |field: &str, kind: &str| json!({ "required": [field], "properties": { field: { "type": kind } } });
    let none = |fields: &[&str]| {
        let none = fields.iter().map(|field| ((*field).to_owned(), json!({ "enum": [null] })));
        json!({ "properties": none.collect::<serde_json::Map<_, _>>() })
    };
    let start = &mut schemas["NewStart"];
    start["if"] = given("delay_seconds", "integer");
    start["then"] = none(&["run_at"]);
    start["else"] = given("run_at", "string");

    // At least one.
    let filter = &mut schemas["CancelFilter"];
    filter["if"] = none(&["status", "type", "tag", "created_after"]);
    filter["then"] = given("created_before", "string");
    schemas["RetryFilter"] = schemas["CancelFilter"].clone();
    for (filter, about, statuses) in [
        ("CancelFilter", "With this status; either unless given.", ["pending", "processing"]),
        ("RetryFilter", "With this status; failed unless given.", ["failed", "cancelled"]),
    ] {
        schemas[filter]["properties"]["status"] = json!({
            "description": about, "type": ["string", "null"], "enum": [statuses[0], statuses[1], null],
        });
    }

    schemas["BulkCancel"]["properties"]["cursor"]["pattern"] = json!(JOBS_CURSOR);
    schemas["BulkRetry"] = schemas["BulkCancel"].clone();
    schemas["BulkRetry"]["properties"]["filter"] = named("RetryFilter");
    if let Some(properties) = schemas["BulkCancel"]["properties"].as_object_mut() {
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
        if let Some(other) = other_than_null(schema) {
            *schema = other;
        }
        if name == "Idempotency-Key" {
            schema["pattern"] = json!(KEY);
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

/// What a schema is unless it is null, if it is said by two alternatives.
fn other_than_null(schema: &Value) -> Option<Value> {
    schema["oneOf"].as_array()?.iter().find(|alternative| alternative["type"] != "null").cloned()
}

/// A body that can be left out is not null: it is not there.
fn say_whether_a_body_is_needed(operation: &mut Value) {
    let Some(body) = operation.get_mut("requestBody") else { return };
    if let Some(other) = other_than_null(&body["content"]["application/json"]["schema"])
        && body["required"] != true
    {
        body["content"]["application/json"]["schema"] = other;
        body["required"] = json!(false);
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
    if is_open {
        operation["security"] = json!([]);
    } else {
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
    let submits =
        matches!(path, "/jobs" | "/jobs/batch" | "/jobs/email" | "/jobs/{id}/duplicate" | "/products" | "/events")
            || runs_a_job;
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
    let content = json!({ "application/problem+json": { "schema": named("Problem") } });
    for (status, description) in problems {
        let response = &mut operation["responses"][status.to_string()];
        if response.is_null() {
            *response = json!({ "description": description, "content": content });
        }
    }
}

/// An answer's field is left out or null, never now this and now that: what may be null is always sent.
fn say_what_is_always_sent(document: &mut Value) {
    let mut answers = BTreeSet::new();
    let paths = document["paths"].as_object().into_iter().flat_map(|paths| paths.values());
    for operation in paths.filter_map(Value::as_object).flat_map(|operations| operations.values()) {
        schemas_in(document, &operation["responses"], &mut answers);
    }
    let schemas = &mut document["components"]["schemas"];
    schemas["Problem"]["properties"]["field"]["type"] = json!("string"); // it is left out
    for name in &answers {
        let schema = &mut schemas[name];
        let fields = schema["properties"].as_object().into_iter().flatten();
        let nullable = fields.filter(|(_, field)| may_be_null(field)).map(|(name, _)| json!(name));
        let required = schema["required"].as_array().into_iter().flatten().cloned();
        let mut sent: Vec<Value> = required.chain(nullable).collect();
        let mut seen = BTreeSet::new();
        sent.retain(|name| seen.insert(name.to_string()));
        if !sent.is_empty() {
            schema["required"] = Value::Array(sent);
        }
    }
    // The rest is only there with `at`.
    schemas["JobHistory"]["required"] = json!(["job_id", "events"]);
}

/// Finds the named schemas that `value` refers to, and those that these refer to.
fn schemas_in(document: &Value, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let reference = fields.get("$ref").and_then(Value::as_str);
            if let Some(name) = reference.and_then(|reference| reference.strip_prefix(SCHEMAS))
                && found.insert(name.to_owned())
            {
                schemas_in(document, &document["components"]["schemas"][name], found);
            }
            fields.values().for_each(|field| schemas_in(document, field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| schemas_in(document, item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn may_be_null(schema: &Value) -> bool {
    let listed =
        |types: &Value| *types == "null" || types.as_array().is_some_and(|types| types.contains(&json!("null")));
    let says_nothing =
        ["type", "$ref", "oneOf", "anyOf", "allOf", "enum", "const"].iter().all(|word| schema[word].is_null());
    says_nothing
        || listed(&schema["type"])
        || schema["oneOf"].as_array().is_some_and(|kinds| kinds.iter().any(may_be_null))
}

#[expect(clippy::expect_used, reason = "as above")]
fn add_links(paths: &mut Value) {
    let links: Vec<Value> = serde_json::from_str(LINKS).expect("JSON");
    for link in &links {
        for answer in link["after"].as_array().expect("answers") {
            let words: Vec<&str> = answer.as_str().expect("a text").split(' ').collect();
            let response = &mut paths[words[1]][words[0]]["responses"][words[2]];
            assert!(response.is_object(), "a link from an answer that there is not: {answer}");
            for (operation, description) in link["follow"].as_object().expect("operations") {
                response["links"][operation] = json!({ "operationId": operation, "description": description });
                if let Some(parameters) = link.get("parameters") {
                    response["links"][operation]["parameters"] = parameters.clone();
                }
            }
        }
    }
}
