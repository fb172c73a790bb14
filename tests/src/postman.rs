//! The API's description (`OpenAPI` 3.1) as a Postman collection (format 2.1).
//! <https://schema.postman.com/collection/json/v2.1.0/draft-07/docs/index.html>

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// The collection of all that `openapi` describes: a folder for each tag, in it a request for each operation, or for
/// each example of its body. The same description always gives the same collection.
///
/// The address is the variable `baseUrl`, the bearer token the variable `token`. What a request may leave out is in it,
/// but switched off unless its description has an example.
///
/// Sent one after another, all requests succeed: they come in the order of [`WALK`], what the description's links take
/// from an answer goes into the later requests by a variable, and each request has a test of its answer's status.
pub fn collection(openapi: &Value) -> Value {
    let document = Document(openapi);
    let mut variables =
        vec![json!({ "key": "baseUrl", "value": document.base_url() }), json!({ "key": "token", "value": "" })];
    variables.extend(document.variables().iter().map(|name| json!({ "key": name, "value": "" })));
    json!({
        "info": {
            "name": text(&openapi["info"]["title"]),
            "description": text(&openapi["info"]["description"]),
            "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
        },
        "item": document.folders(),
        "auth": { "type": "bearer", "bearer": [{ "key": "token", "value": "{{token}}", "type": "string" }] },
        "variable": variables,
    })
}

/// The operations in an order in which each finds what it needs: the last job submitted waits, is cancelled, tried again,
/// and deleted when it has ended. Others come after them.
pub const WALK: [&str; 37] = [
    "sendEmail",
    "submitBatch",
    "submitJob",
    "rescheduleJob",
    "cancelJob",
    "retryJob",
    "getJob",
    "getJobHistory",
    "explainJob",
    "listJobs",
    "getStats",
    "duplicateJob",
    "deleteJob",
    "cancelJobs",
    "retryJobs",
    "putSchedule",
    "getSchedule",
    "listSchedules",
    "pauseSchedule",
    "resumeSchedule",
    "runSchedule",
    "deleteSchedule",
    "putSubscription",
    "getSubscription",
    "listSubscriptions",
    "publishEvent",
    "deleteSubscription",
    "getQueue",
    "pauseQueue",
    "resumeQueue",
    "createProduct",
    "getProduct",
    "getHealth",
    "getApiHealth",
    "getMetrics",
    "getApiDescription",
    "getApiDocs",
];

/// Methods in the order in which people meet them: to make something, then to look at it.
const METHODS: [&str; 7] = ["post", "get", "put", "patch", "delete", "head", "options"];

/// How deep examples of nested schemas go: enough for bodies, and an end for schemas that contain themselves.
const DEEPEST: usize = 8;

/// A whole description.
struct Document<'a>(&'a Value);

/// One operation of it.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    /// What is common to all methods of the path.
    shared: &'a Value,
    /// What is its own.
    own: &'a Value,
}

/// One body to try an operation with.
struct Body {
    /// What tells it from the operation's other bodies; `None` if there is no other.
    name: Option<String>,
    /// The body, as Postman has it.
    body: Value,
    content_type: String,
}

impl<'a> Document<'a> {
    fn base_url(&self) -> &'a str {
        let server = self.0["servers"][0]["url"].as_str().filter(|url| url.starts_with("http"));
        server.map_or("http://127.0.0.1:3000", |url| url.trim_end_matches('/'))
    }

    /// A folder for each tag: first those that the description lists, in its order, then others as they come.
    fn folders(&self) -> Vec<Value> {
        let described = list(&self.0["tags"]);
        let mut folders: Vec<(&str, Vec<Value>)> = described.iter().map(|tag| (text(&tag["name"]), vec![])).collect();
        for operation in self.operations() {
            let tag = operation.own["tags"][0].as_str().unwrap_or("other");
            let place = folders.iter().position(|(name, _)| *name == tag).unwrap_or_else(|| {
                folders.push((tag, vec![]));
                folders.len() - 1
            });
            folders[place].1.extend(self.items(&operation));
        }
        folders.retain(|(_, items)| !items.is_empty());
        let description = |name: &str| described.iter().find(|tag| tag["name"] == name).map(|tag| &tag["description"]);
        let folder = |(name, items): (&str, Vec<Value>)| {
            let description = description(name).map_or("", text);
            json!({ "name": name, "description": description, "item": items })
        };
        folders.into_iter().map(folder).collect()
    }

    /// All operations: in the order of [`WALK`], then paths by their names, methods in the order of [`METHODS`].
    fn operations(&self) -> Vec<Operation<'a>> {
        let mut paths: Vec<_> = fields(&self.0["paths"]).collect();
        paths.sort_unstable_by_key(|(path, _)| *path);
        let mut operations = vec![];
        for (path, shared) in paths {
            let shared = self.resolve(shared);
            for method in METHODS {
                if let Some(own) = shared.get(method) {
                    operations.push(Operation { method, path, shared, own });
                }
            }
        }
        let place = |operation: &Operation<'_>| WALK.iter().position(|id| operation.own["operationId"] == **id);
        operations.sort_by_key(|operation| place(operation).unwrap_or(WALK.len()));
        operations
    }

    /// The links from all answers: the operation that each leads to, and its parameters.
    fn links(&self) -> impl Iterator<Item = &'a Value> {
        let operations = self.operations().into_iter();
        let answers = operations.flat_map(|operation| fields(&operation.own["responses"]));
        answers.flat_map(|(_, answer)| fields(&answer["links"])).map(|(_, link)| link)
    }

    /// What is remembered from one request to the next.
    fn variables(&self) -> BTreeSet<&'a str> {
        self.links().flat_map(|link| fields(&link["parameters"])).filter_map(|(_, value)| in_answer(value)).collect()
    }

    /// The variable that the operation's parameter of a path comes from, if a link says so.
    fn variable_of(&self, operation: &Operation<'_>, parameter: &Value) -> Option<&'a str> {
        let name = format!("path.{}", text(&parameter["name"]));
        let leads_here = |link: &&Value| link["operationId"] == operation.own["operationId"];
        self.links().filter(leads_here).find_map(|link| in_answer(&link["parameters"][&name]))
    }

    /// The tests of an operation's answer: whether its status is one that the description calls a success; and what is
    /// remembered of it. What acts on something does not name another thing for others to act on.
    fn tests(&self, operation: &Operation<'a>) -> Vec<String> {
        let statuses = fields(&operation.own["responses"]).map(|(status, _)| status.as_str());
        let good: Vec<_> = statuses.filter(|status| status.starts_with('2')).collect();
        if good.is_empty() {
            return vec![];
        }
        let parameters = self.parameters(operation);
        let used: Vec<_> = parameters.iter().filter_map(|parameter| self.variable_of(operation, parameter)).collect();
        let answers = fields(&operation.own["responses"]).flat_map(|(_, answer)| fields(&answer["links"]));
        let taken = answers.flat_map(|(_, link)| fields(&link["parameters"])).filter_map(|(_, value)| in_answer(value));
        let taken: BTreeSet<_> = taken.filter(|name| !used.contains(name)).collect();
        let remember = |name: &str| format!("pm.collectionVariables.set(\"{name}\", pm.response.json().{name});");
        let status = format!(
            "pm.test(\"is answered as documented\", () => pm.expect(pm.response.code).to.be.oneOf([{}]));",
            good.join(", ")
        );
        std::iter::once(status).chain(taken.into_iter().map(remember)).collect()
    }

    /// The requests of one operation.
    fn items(&self, operation: &Operation<'a>) -> Vec<Value> {
        let named = ["summary", "operationId"].iter().find_map(|field| operation.own[field].as_str());
        let name =
            named.map_or_else(|| format!("{} {}", operation.method.to_uppercase(), operation.path), str::to_owned);
        let bodies = self.bodies(&operation.own["requestBody"]);
        if bodies.is_empty() {
            return vec![item(&name, &self.request(operation, None), &self.tests(operation))];
        }
        let with_body = |body: &Body| {
            let name = body.name.as_ref().map_or_else(|| name.clone(), |of_body| format!("{name}: {of_body}"));
            item(&name, &self.request(operation, Some(body)), &self.tests(operation))
        };
        bodies.iter().map(with_body).collect()
    }

    fn request(&self, operation: &Operation<'a>, body: Option<&Body>) -> Value {
        let parameters = self.parameters(operation);
        let content_type = body.map(|body| json!({ "key": "Content-Type", "value": body.content_type }));
        let headers = content_type.into_iter().chain(self.entries(operation, &parameters, "header"));
        let mut request = json!({
            "method": operation.method.to_uppercase(),
            "header": headers.collect::<Vec<_>>(),
            "url": self.url(operation, &parameters),
            "description": text(&operation.own["description"]),
        });
        if let Some(body) = body {
            request["body"] = body.body.clone();
        }
        if operation.own["security"].as_array().is_some_and(Vec::is_empty) {
            request["auth"] = json!({ "type": "noauth" });
        }
        request
    }

    /// The parameters of the path and of the operation; where both name one, the operation's.
    fn parameters(&self, operation: &Operation<'a>) -> Vec<&'a Value> {
        let mut parameters: Vec<&Value> = vec![];
        let all = list(&operation.shared["parameters"]).iter().chain(list(&operation.own["parameters"]));
        for parameter in all.map(|parameter| self.resolve(parameter)) {
            let same = |other: &&Value| other["name"] == parameter["name"] && other["in"] == parameter["in"];
            match parameters.iter().position(same) {
                Some(place) => parameters[place] = parameter,
                None => parameters.push(parameter),
            }
        }
        parameters
    }

    /// The parameters that are in this place, switched off unless they are required or have an example.
    fn entries(&self, operation: &Operation<'_>, parameters: &[&Value], place: &str) -> Vec<Value> {
        let here = parameters.iter().filter(|parameter| parameter["in"] == place);
        let entry = |parameter: &&Value| {
            let example = self.example(parameter).map(|example| plain(&example));
            let variable = || self.variable_of(operation, parameter).map(|name| format!("{{{{{name}}}}}"));
            let mut entry = json!({
                "key": parameter["name"],
                "value": example.or_else(variable).unwrap_or_default(),
                "description": text(&parameter["description"]),
            });
            if place != "path" && parameter["required"] != true && parameter["example"].is_null() {
                entry["disabled"] = json!(true);
            }
            entry
        };
        here.map(entry).collect()
    }

    fn url(&self, operation: &Operation<'_>, parameters: &[&Value]) -> Value {
        let segments: Vec<_> = operation.path.trim_matches('/').split('/').map(variable).collect();
        let queries = self.entries(operation, parameters, "query");
        let on = queries.iter().filter(|query| query["disabled"] != true);
        let on: Vec<_> = on.map(|query| format!("{}={}", plain(&query["key"]), plain(&query["value"]))).collect();
        let question_mark = if on.is_empty() { "" } else { "?" };
        json!({
            "raw": format!("{{{{baseUrl}}}}/{}{question_mark}{}", segments.join("/"), on.join("&")),
            "host": ["{{baseUrl}}"],
            "path": segments,
            "query": queries,
            "variable": self.entries(operation, parameters, "path"),
        })
    }

    /// A value for the parameter or the body, if its description has one.
    fn example(&self, described: &Value) -> Option<Value> {
        let first = self.examples(described).into_iter().next().map(|(_, value)| value);
        let own = described.get("example").cloned();
        own.or(first).or_else(|| given(self.resolve(&described["schema"])).cloned())
    }

    /// The named examples of a parameter or a body, by their names.
    fn examples(&self, described: &Value) -> Vec<(String, Value)> {
        let mut examples: Vec<_> = fields(&described["examples"]).collect();
        examples.sort_unstable_by_key(|(name, _)| *name);
        let read = |(name, example): (&String, &Value)| {
            let example = self.resolve(example);
            let name = example["summary"].as_str().unwrap_or(name).to_owned();
            Some((name, example.get("value")?.clone()))
        };
        examples.into_iter().filter_map(read).collect()
    }

    /// The bodies to try: one for each example, else one for each kind of body that there is, else one.
    fn bodies(&self, request_body: &Value) -> Vec<Body> {
        let contents = &self.resolve(request_body)["content"];
        let json = fields(contents).find(|(content_type, _)| is_json(content_type));
        let Some((content_type, content)) = json else {
            // Not JSON: a file of one's own.
            let file = |content_type: &String| Body {
                name: None,
                body: json!({ "mode": "file", "file": {} }),
                content_type: content_type.clone(),
            };
            return fields(contents).next().map(|(content_type, _)| file(content_type)).into_iter().collect();
        };
        let mut values: Vec<(Option<String>, Value)> = match content.get("example") {
            Some(example) => vec![(None, example.clone())],
            None => self.examples(content).into_iter().map(|(name, value)| (Some(name), value)).collect(),
        };
        if values.is_empty() {
            values = self.kinds(&content["schema"]);
        }
        if let [(name, _)] = values.as_mut_slice() {
            *name = None;
        }
        let raw = |value: &Value| {
            let options = json!({ "raw": { "language": "json" } });
            json!({ "mode": "raw", "raw": format!("{value:#}"), "options": options })
        };
        let body = |(name, value): (Option<String>, Value)| Body {
            name,
            body: raw(&value),
            content_type: content_type.clone(),
        };
        values.into_iter().map(body).collect()
    }

    /// An example of each kind of body: of each alternative of the schema, if it has any and no example of its own.
    fn kinds(&self, schema: &Value) -> Vec<(Option<String>, Value)> {
        let whole = self.resolve(schema);
        let alternatives = ["oneOf", "anyOf"].iter().map(|field| list(&whole[field])).find(|list| !list.is_empty());
        let Some(alternatives) = alternatives.filter(|_| given(whole).is_none()) else {
            return vec![(None, self.sample(whole, DEEPEST))];
        };
        let kind = |alternative: &Value| {
            let title = self.resolve(alternative)["title"].as_str();
            let reference = alternative["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
            (title.or(reference).map(str::to_owned), self.sample(alternative, DEEPEST))
        };
        alternatives.iter().filter(|alternative| kind_of(self.resolve(alternative)) != "null").map(kind).collect()
    }

    /// A value that fits the schema, as far as can be told without looking at patterns.
    fn sample(&self, schema: &Value, depth: usize) -> Value {
        let schema = self.resolve(schema);
        if let Some(given) = given(schema) {
            return given.clone();
        }
        let Some(depth) = depth.checked_sub(1) else { return Value::Null };
        let mut alternatives = list(&schema["oneOf"]).iter().chain(list(&schema["anyOf"]));
        let real = |alternative: &&Value| kind_of(self.resolve(alternative)) != "null";
        if let Some(first) = alternatives.find(real) {
            return self.sample(first, depth);
        }
        let parts = list(&schema["allOf"]);
        match kind_of(schema) {
            "object" => Value::Object(self.sample_object(schema, depth)),
            "array" => json!([self.sample(&schema["items"], depth)]),
            "string" => json!(sample_string(text(&schema["format"]))),
            "integer" | "number" => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
            "boolean" => json!(false),
            _ if parts.len() == 1 => self.sample(&parts[0], depth),
            _ => Value::Object(self.sample_object(schema, depth)),
        }
    }

    /// The required fields, or, of an object without any, those that have a value of their own.
    fn sample_object(&self, schema: &Value, depth: usize) -> Map<String, Value> {
        let mut object = Map::new();
        for part in list(&schema["allOf"]) {
            if let Value::Object(fields) = self.sample(part, depth) {
                object.extend(fields);
            }
        }
        let required = list(&schema["required"]);
        for (name, property) in fields(&schema["properties"]) {
            let wanted = if required.is_empty() {
                given(self.resolve(property)).is_some()
            } else {
                required.iter().any(|required| required == name)
            };
            if wanted {
                object.insert(name.clone(), self.sample(property, depth));
            }
        }
        object
    }

    /// What a `$ref` within the document refers to; anything else is itself.
    fn resolve<'v>(&self, value: &'v Value) -> &'v Value
    where
        'a: 'v,
    {
        let mut resolved = value;
        for _ in 0..DEEPEST {
            let pointer = resolved["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
            let Some(target) = pointer.and_then(|pointer| self.0.pointer(pointer)) else { return resolved };
            resolved = target;
        }
        resolved
    }
}

fn item(name: &str, request: &Value, tests: &[String]) -> Value {
    let mut item = json!({ "name": name, "request": request, "response": [] });
    if !tests.is_empty() {
        item["event"] = json!([{ "listen": "test", "script": { "type": "text/javascript", "exec": tests } }]);
    }
    item
}

/// The field of the answer that a link takes a parameter from.
fn in_answer(expression: &Value) -> Option<&str> {
    expression.as_str()?.strip_prefix("$response.body#/")
}

/// A segment of a path; what the description calls `{id}`, Postman calls `:id`.
fn variable(segment: &str) -> String {
    match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => format!(":{name}"),
        None => segment.to_owned(),
    }
}

/// A value that the schema itself names.
fn given(schema: &Value) -> Option<&Value> {
    let first_of = |field: &str| list(&schema[field]).first();
    let own = schema.get("example").or_else(|| first_of("examples")).or_else(|| schema.get("const"));
    own.or_else(|| schema.get("default")).or_else(|| first_of("enum"))
}

/// The schema's type; of several, the first that is not `null`.
fn kind_of(schema: &Value) -> &str {
    let mut kinds = list(&schema["type"]).iter().filter_map(Value::as_str);
    schema["type"].as_str().or_else(|| kinds.find(|kind| *kind != "null")).unwrap_or_default()
}

fn sample_string(format: &str) -> &'static str {
    match format {
        "date-time" => "2030-01-31T09:00:00Z",
        "date" => "2030-01-31",
        "uuid" => "01938e5c-7a00-7000-8000-000000000000",
        "email" => "ada@example.com",
        "uri" | "url" => "https://example.com/",
        _ => "text",
    }
}

fn is_json(content_type: &str) -> bool {
    content_type == "application/json" || content_type.ends_with("+json")
}

/// A value as it stands in a query or a header.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const API: &str = r##"{
        "openapi": "3.1.0",
        "info": { "title": "Dray", "description": "Background jobs" },
        "tags": [{ "name": "jobs", "description": "Jobs" }, { "name": "unused" }],
        "paths": {
            "/jobs/{id}": {
                "parameters": [{ "$ref": "#/components/parameters/Id" }],
                "get": {
                    "summary": "Shows a job", "tags": ["jobs"],
                    "parameters": [
                        { "name": "wait", "in": "query", "schema": { "type": "integer", "example": 20 } },
                        { "name": "view", "in": "query", "required": true, "schema": { "enum": ["whole", "short"] } }
                    ]
                }
            },
            "/jobs": {
                "get": { "summary": "Lists jobs", "tags": ["jobs"] },
                "post": {
                    "summary": "Submits a job", "tags": ["jobs"], "description": "Once accepted, it is durable.",
                    "parameters": [{ "name": "Idempotency-Key", "in": "header", "schema": { "type": "string" } }],
                    "requestBody": { "content": { "application/json": { "schema": { "oneOf": [
                        { "$ref": "#/components/schemas/CsvJob" },
                        {
                            "title": "email-send", "type": "object", "required": ["to", "at", "copies"],
                            "properties": {
                                "to": { "type": "string", "format": "email" },
                                "at": { "type": ["null", "string"], "format": "date-time" },
                                "copies": { "type": "array", "items": { "type": "integer", "minimum": 3 } },
                                "subject": { "type": "string" }
                            }
                        }
                    ] } } } }
                }
            },
            "/health": { "get": { "operationId": "health", "security": [] } }
        },
        "components": {
            "parameters": { "Id": { "name": "id", "in": "path", "required": true, "description": "The job's id" } },
            "schemas": {
                "CsvJob": {
                    "allOf": [{ "$ref": "#/components/schemas/Options" }],
                    "type": "object", "required": ["type", "payload", "child"],
                    "properties": {
                        "type": { "const": "csv-generation" },
                        "payload": { "type": "object", "example": { "name": "Alice" } },
                        "child": { "$ref": "#/components/schemas/CsvJob" }
                    }
                },
                "Options": { "type": "object", "properties": { "max_attempts": { "default": 3 }, "tags": {} } }
            }
        }
    }"##;

    fn api() -> Value {
        serde_json::from_str(API).expect("JSON")
    }

    fn names(items: &Value) -> Vec<&str> {
        list(items).iter().map(|item| text(&item["name"])).collect()
    }

    #[test]
    fn each_tag_is_a_folder_of_requests_in_a_fixed_order() {
        let collection = collection(&api());
        assert_eq!(names(&collection["item"]), ["jobs", "other"]);
        let jobs = &collection["item"][0];
        assert_eq!(jobs["description"], "Jobs");
        let expected = ["Submits a job: CsvJob", "Submits a job: email-send", "Lists jobs", "Shows a job"];
        assert_eq!(names(&jobs["item"]), expected);
        assert_eq!(names(&collection["item"][1]["item"]), ["health"]);
        assert_eq!(collection["variable"][0], json!({ "key": "baseUrl", "value": "http://127.0.0.1:3000" }));
        assert_eq!(collection, super::collection(&api()));
    }

    #[test]
    fn an_address_has_its_variables_and_only_what_is_required_is_switched_on() {
        let collection = collection(&api());
        let url = &collection["item"][0]["item"][3]["request"]["url"];
        let expected = json!({
            "raw": "{{baseUrl}}/jobs/:id?view=whole",
            "host": ["{{baseUrl}}"],
            "path": ["jobs", ":id"],
            "query": [
                { "key": "wait", "value": "20", "description": "", "disabled": true },
                { "key": "view", "value": "whole", "description": "" },
            ],
            "variable": [{ "key": "id", "value": "", "description": "The job's id" }],
        });
        assert_eq!(*url, expected);
    }

    #[test]
    fn a_body_is_made_from_its_schema_and_names_itself() {
        let collection = collection(&api());
        let request = &collection["item"][0]["item"][1]["request"];
        let body: Value = serde_json::from_str(text(&request["body"]["raw"])).expect("JSON");
        assert_eq!(body, json!({ "to": "ada@example.com", "at": "2030-01-31T09:00:00Z", "copies": [3] }));
        let headers = json!([
            { "key": "Content-Type", "value": "application/json" },
            { "key": "Idempotency-Key", "value": "", "description": "", "disabled": true },
        ]);
        assert_eq!((&request["header"], &request["method"]), (&headers, &json!("POST")));
        assert_eq!(request["description"], "Once accepted, it is durable.");
    }

    #[test]
    fn a_schema_that_contains_itself_has_an_end() {
        let collection = collection(&api());
        let raw = text(&collection["item"][0]["item"][0]["request"]["body"]["raw"]);
        let body: Value = serde_json::from_str(raw).expect("JSON");
        assert_eq!((&body["type"], &body["max_attempts"]), (&json!("csv-generation"), &json!(3)));
        assert_eq!((&body["payload"], &body["child"]["type"]), (&json!({ "name": "Alice" }), &json!("csv-generation")));
    }

    #[test]
    fn each_example_is_a_request_and_one_alone_needs_no_name() {
        let of = |content: Value| {
            let operation =
                json!({ "summary": "Submits", "requestBody": { "content": { "application/json": content } } });
            collection(&json!({ "paths": { "/jobs": { "post": operation } } }))["item"][0]["item"].clone()
        };
        let two = of(json!({ "examples": { "b": { "value": 2 }, "a": { "value": 1, "summary": "the first" } } }));
        assert_eq!(names(&two), ["Submits: the first", "Submits: b"]);
        assert_eq!(two[0]["request"]["body"]["raw"], "1");
        assert_eq!(names(&of(json!({ "examples": { "a": { "value": 1 } } }))), ["Submits"]);
        assert_eq!(of(json!({ "example": [1] }))[0]["request"]["body"]["raw"], "[\n  1\n]");
    }

    #[test]
    fn what_one_request_makes_the_next_ones_act_on() {
        let to = |operation: &str| json!({ "operationId": operation, "parameters": { "path.id": "$response.body#/job_id" } });
        let by_id = json!([{ "name": "id", "in": "path", "required": true }]);
        let collection = collection(&json!({ "paths": {
            "/jobs": { "post": { "operationId": "submitJob", "responses": {
                "202": { "links": { "show": to("getJob"), "copy": to("duplicateJob") } }, "422": {},
            } } },
            "/jobs/{id}": { "get": { "operationId": "getJob", "parameters": by_id, "responses": { "200": {} } } },
            "/jobs/{id}/duplicate": { "post": {
                "operationId": "duplicateJob", "parameters": by_id, "responses": { "202": { "links": { "show": to("getJob") } } },
            } },
        } }));
        let items = &collection["item"][0]["item"];
        assert_eq!(names(items), ["submitJob", "getJob", "duplicateJob"], "in the order of the walk");
        let script = |item: &Value| item["event"][0]["script"]["exec"].clone();
        let answered = |status: u16| {
            format!(
                "pm.test(\"is answered as documented\", () => pm.expect(pm.response.code).to.be.oneOf([{status}]));"
            )
        };
        let remembered = "pm.collectionVariables.set(\"job_id\", pm.response.json().job_id);";
        assert_eq!(script(&items[0]), json!([answered(202), remembered]));
        assert_eq!(script(&items[1]), json!([answered(200)]));
        assert_eq!(script(&items[2]), json!([answered(202)]), "the others go on with the job itself");
        assert_eq!(items[1]["request"]["url"]["variable"][0]["value"], "{{job_id}}");
        assert_eq!(collection["variable"][2], json!({ "key": "job_id", "value": "" }));
    }

    #[test]
    fn what_may_be_left_out_is_switched_on_by_an_example() {
        let parameters = json!([{ "name": "wait", "in": "query", "example": 20 }, { "name": "view", "in": "query" }]);
        let collection = collection(&json!({ "paths": { "/jobs": { "get": { "parameters": parameters } } } }));
        let url = &collection["item"][0]["item"][0]["request"]["url"];
        assert_eq!(url["raw"], "{{baseUrl}}/jobs?wait=20");
        assert_eq!((url["query"][0].get("disabled"), &url["query"][1]["disabled"]), (None, &json!(true)));
    }

    #[test]
    fn only_what_needs_no_token_says_so() {
        let collection = collection(&api());
        assert_eq!(collection["auth"]["bearer"][0]["value"], "{{token}}");
        assert_eq!(collection["item"][1]["item"][0]["request"]["auth"]["type"], "noauth");
        assert_eq!(collection["item"][0]["item"][0]["request"].get("auth"), None);
    }
}
