//! The functions' rights on the local AWS, which itself knows none: a proxy between both.
//!
//! It lets through what [`shared_aws::operations`] names for each function, and refuses the rest as AWS would. So what a
//! test sees a function do is named, and by that held against the function's role in `template.yaml`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use local::{Detour, pass_on};
use reqwest::Client;
use serde_json::Value;
use shared_aws::operations::{COUNTERS, On, of};
use tokio::net::TcpListener;

/// What a function asked for: its name, the operation, and what that was on; `None` is nothing that it has to do with.
pub type Call = (String, String, Option<On>);

/// The proxy. It serves for as long as the runtime that it was opened on.
pub struct Gate {
    client: Client,
    aws: Arc<OnceLock<String>>,
    seen: Mutex<BTreeSet<Call>>,
    refused: Mutex<BTreeSet<Call>>,
}

impl Gate {
    /// Opens it on a free port of this machine. Gives what the local stack is to be told of it.
    pub async fn open() -> (Arc<Self>, Detour) {
        let aws = Arc::new(OnceLock::new());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let gate = Arc::new(Self {
            client: Client::new(),
            aws: Arc::clone(&aws),
            seen: Mutex::default(),
            refused: Mutex::default(),
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&gate));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (gate, Detour { url, leads_to: aws })
    }

    /// What has been let through so far.
    pub fn seen(&self) -> BTreeSet<Call> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What has been refused so far.
    pub fn refused(&self) -> BTreeSet<Call> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether all of these calls are named, which is noted.
    fn admits(&self, calls: &[Call]) -> bool {
        let is_named = |(function, name, on): &Call| {
            of(function).iter().any(|operation| operation.name == name && Some(operation.on) == *on)
        };
        let (named, unnamed): (Vec<_>, Vec<_>) = calls.iter().cloned().partition(is_named);
        let admits = unnamed.is_empty() && !named.is_empty();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(named);
        for call in &unnamed {
            eprintln!("not named in shared/aws/src/operations.rs: {call:?}");
        }
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).extend(unnamed);
        admits
    }
}

async fn pass(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let Some(aws) = gate.aws.get() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    if !gate.admits(&calls_in(&parts, &body)) {
        let refusal = r#"{"__type":"AccessDeniedException","message":"this function has no right to do so"}"#;
        return (StatusCode::BAD_REQUEST, [("content-type", "application/x-amz-json-1.0")], refusal).into_response();
    }
    pass_on(&gate.client, aws, parts, body).await.unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
}

/// What a request asks for: each part of a transaction for itself.
fn calls_in(parts: &Parts, body: &Bytes) -> Vec<Call> {
    let function = function_of(&parts.headers);
    let asked = match parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok()) {
        Some(target) => in_json(target, &serde_json::from_slice(body).unwrap_or_default()),
        None => vec![in_rest(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default(), body)],
    };
    asked.into_iter().map(|(name, on)| (function.clone(), name, on)).collect()
}

/// Who asks: every client of a function says so, `… app/worker …`.
fn function_of(headers: &HeaderMap) -> String {
    let agents = ["x-amz-user-agent", "user-agent"].into_iter().filter_map(|name| headers.get(name)?.to_str().ok());
    let mut words = agents.flat_map(|agent| agent.split(' '));
    words.find_map(|word| word.strip_prefix("app/")).unwrap_or("nobody").to_owned()
}

/// An operation of a JSON protocol: `DynamoDB_20120810.GetItem`, `AmazonSQS.SendMessage`.
fn in_json(target: &str, body: &Value) -> Vec<(String, Option<On>)> {
    let (service, name) = target.split_once('.').unwrap_or(("", target));
    if service == "AmazonSQS" {
        let url = body["QueueUrl"].as_str().unwrap_or_default();
        let queues = [("-jobs", On::JobsQueue), ("-dead", On::DeadLetterQueue)];
        let queue = queues.into_iter().find(|(end, _)| url.ends_with(end)).map(|(_, queue)| queue);
        return vec![(name.to_owned(), queue)];
    }
    if name == "TransactWriteItems" {
        let items = body["TransactItems"].as_array().into_iter().flatten().filter_map(Value::as_object).flatten();
        return items.map(|(kind, item)| (format!("{name}.{kind}"), Some(item_of(&item["Key"])))).collect();
    }
    let on = match body["IndexName"].as_str() {
        None => Some(On::Table),
        Some("listing") => Some(On::ListingIndex),
        Some("due") => Some(On::DueIndex),
        Some(_) => None,
    };
    vec![(name.to_owned(), on)]
}

fn item_of(key: &Value) -> On {
    let is_counter = |id: &str| COUNTERS.iter().any(|start| id.starts_with(start));
    if key["id"]["S"].as_str().is_some_and(is_counter) { On::Counters } else { On::Table }
}

/// An operation that its path, its query or its form names.
fn in_rest(method: &Method, path: &str, query: &str, body: &Bytes) -> (String, Option<On>) {
    let text = String::from_utf8_lossy(body);
    if path == "/"
        && let Some(action) = text.strip_prefix("Action=")
    {
        return (action.split('&').next().unwrap_or_default().to_owned(), Some(On::EventsTopic));
    }
    if path == "/v2/email/outbound-emails" {
        return ("SendEmail".to_owned(), Some(On::Mail));
    }
    let parameter = |name: &str| {
        let mut parameters = query.split('&').map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
        parameters.find_map(|(known, value)| (known == name).then_some(value))
    };
    let name = match (method.as_str(), parameter("x-id")) {
        (_, Some(name)) => name,
        ("HEAD", None) => "HeadObject",
        ("GET", None) if parameter("list-type").is_some() => "ListObjectsV2",
        ("POST", None) if parameter("delete").is_some() => "DeleteObjects",
        ("POST", None) if parameter("uploads").is_some() => "CreateMultipartUpload",
        ("POST", None) if parameter("uploadId").is_some() => "CompleteMultipartUpload",
        _ => "unknown",
    };
    let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
    let on = if name == "DeleteObjects" {
        let all = text.matches("<Key>").count();
        (all == text.matches("<Key>output/").count()).then_some(On::Files)
    } else if key.is_empty() {
        Some(On::Bucket)
    } else {
        key.starts_with("output/").then_some(On::Files)
    };
    (name.to_owned(), on)
}

#[cfg(test)]
mod tests {
    use axum::http;

    use super::*;

    fn calls(method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Vec<Call> {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        calls_in(&parts, &Bytes::copy_from_slice(body.as_bytes()))
    }

    /// Method, address, target, body; what is asked for on what.
    type Case = (&'static str, &'static str, Option<&'static str>, &'static str, &'static [(&'static str, Option<On>)]);

    #[test]
    fn every_request_is_known_by_who_makes_it_what_it_asks_for_and_on_what() {
        let agent = ("x-amz-user-agent", "aws-sdk-rust/1.3 ua/2.1 api/sqs/1.1 os/linux lang/rust/1.94 app/worker");
        let target = |name| ("x-amz-target", name);
        let transaction = r#"{"TransactItems":[{"Put":{"Item":{"id":{"S":"counters#"}}}},
            {"Update":{"Key":{"id":{"S":"counters##total#0"}}}},{"Update":{"Key":{"id":{"S":"0193"}}}}]}"#;
        let queue = r#"{"QueueUrl":"http://127.0.0.1:4566/000000000000/dray-dead"}"#;
        let delete = "<Delete><Object><Key>output/a</Key></Object><Object><Key>b</Key></Object></Delete>";
        let cases: [Case; 12] = [
            ("POST", "/", Some("DynamoDB_20120810.GetItem"), r#"{"TableName":"t"}"#, &[("GetItem", Some(On::Table))]),
            ("POST", "/", Some("DynamoDB_20120810.Query"), r#"{"IndexName":"due"}"#, &[("Query", Some(On::DueIndex))]),
            ("POST", "/", Some("DynamoDB_20120810.Query"), r#"{"IndexName":"other"}"#, &[("Query", None)]),
            (
                "POST",
                "/",
                Some("DynamoDB_20120810.TransactWriteItems"),
                transaction,
                &[
                    ("TransactWriteItems.Put", Some(On::Table)),
                    ("TransactWriteItems.Update", Some(On::Counters)),
                    ("TransactWriteItems.Update", Some(On::Table)),
                ],
            ),
            ("POST", "/", Some("AmazonSQS.ReceiveMessage"), queue, &[("ReceiveMessage", Some(On::DeadLetterQueue))]),
            ("POST", "/", None, "Action=PublishBatch&Version=1", &[("PublishBatch", Some(On::EventsTopic))]),
            ("POST", "/v2/email/outbound-emails", None, "{}", &[("SendEmail", Some(On::Mail))]),
            ("PUT", "/bucket/output/a.csv?x-id=PutObject", None, "a", &[("PutObject", Some(On::Files))]),
            ("PUT", "/bucket/other/a.csv?x-id=PutObject", None, "a", &[("PutObject", None)]),
            ("GET", "/bucket?list-type=2&prefix=output%2F", None, "", &[("ListObjectsV2", Some(On::Bucket))]),
            ("POST", "/bucket/?delete", None, delete, &[("DeleteObjects", None)]),
            ("POST", "/bucket/output/a?uploads", None, "", &[("CreateMultipartUpload", Some(On::Files))]),
        ];
        for (method, uri, name, body, expected) in cases {
            let headers: Vec<_> = [agent].into_iter().chain(name.map(target)).collect();
            let expected: Vec<Call> =
                expected.iter().map(|(name, on)| ("worker".to_owned(), (*name).to_owned(), *on)).collect();
            assert_eq!(calls(method, uri, &headers, body), expected, "{method} {uri}");
        }
        assert_eq!(calls("GET", "/", &[("user-agent", "curl/8")], "")[0].0, "nobody");
    }
}
