//! Whether every function starts, with the settings that the template gives it. A process that dies at its start would else
//! be nobody's business: its queue waits, and the API is well.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use reqwest::Client;
use serde::Deserialize;

/// Each function, the template's output that names it, and an event that changes nothing: a question, no messages, no
/// changes. The sweeper looks for what is overdue, as it does each minute.
const FIRST_EVENTS: [(&str, &str, &str); 4] = [
    ("api", "ApiFunctionName", HEALTH),
    ("worker", "WorkerFunctionName", r#"{"Records":[]}"#),
    ("sweeper", "SweeperFunctionName", "{}"),
    ("events", "EventsFunctionName", r#"{"Records":[]}"#),
];

/// `GET /health`, as API Gateway puts it.
const HEALTH: &str = r#"{
    "version": "2.0", "routeKey": "GET /health", "rawPath": "/health", "rawQueryString": "",
    "headers": { "host": "localhost", "x-request-id": "first-start" }, "isBase64Encoded": false,
    "requestContext": {
        "accountId": "000000000000", "apiId": "local", "domainName": "localhost", "domainPrefix": "local",
        "http": { "method": "GET", "path": "/health", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "dray" },
        "requestId": "first-start", "routeKey": "GET /health", "stage": "$default",
        "time": "01/Mar/2026:12:00:00 +0000", "timeEpoch": 1772366400000
    }
}"#;

/// What Lambda answers about an invocation that failed.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FunctionError {
    error_type: String,
    error_message: String,
}

/// Starts each function once. The error is all that they say.
pub async fn check(engine_url: &str, outputs: &BTreeMap<String, String>) -> anyhow::Result<()> {
    // By what they say: what is wrong with all of them is told once.
    let mut dead: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, output, event) in FIRST_EVENTS {
        let function = outputs.get(output).with_context(|| format!("template.yaml has no output {output}"))?;
        let url = format!("{engine_url}/2015-03-31/functions/{function}/invocations");
        let answer = Client::new().post(url).body(event).send().await.context("the local AWS does not answer")?;
        let failed = answer.headers().contains_key("x-amz-function-error");
        let body = answer.bytes().await.context("the local AWS does not answer")?;
        let error: FunctionError = serde_json::from_slice(&body).unwrap_or_default();
        if failed && error.is_of_the_process() {
            dead.entry(error.own_words().to_owned()).or_default().push(name);
        }
    }
    if dead.is_empty() {
        return Ok(());
    }
    let told: Vec<_> = dead.iter().map(|(words, names)| format!("{}: {words}", names.join(", "))).collect();
    bail!("not every function starts as it is set up\n  {}", told.join("\n  "))
}

impl FunctionError {
    /// Whether the function's process is what failed, and not its code for this event.
    /// <https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html>
    fn is_of_the_process(&self) -> bool {
        ["Runtime.", "Sandbox."].iter().any(|of_lambda| self.error_type.starts_with(of_lambda))
    }

    /// What the function itself said last, if it did: Rust begins so what `main` returns. Or else what Lambda says.
    fn own_words(&self) -> &str {
        self.error_message.split_once("Error: ").map_or(self.error_message.as_str(), |(_, words)| words).trim()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_died_is_told_from_an_event_that_failed_and_in_its_own_words() {
        let answers = [
            (
                r#"{"errorType":"Runtime.Unknown","errorMessage":"bootstrap exited during init with code 1: 12:00 ERROR\nError: X does not fit"}"#,
                true,
                "X does not fit",
            ),
            (
                r#"{"errorType":"Runtime.InvalidEntrypoint","errorMessage":"Couldn't execute the bootstrap binary"}"#,
                true,
                "Couldn't execute the bootstrap binary",
            ),
            (
                r#"{"errorType":"Sandbox.Timedout","errorMessage":"Task timed out after 60.00 seconds"}"#,
                true,
                "Task timed out after 60.00 seconds",
            ),
            (
                r#"{"errorType":"sweeper::Unswept","errorMessage":"the table does not answer"}"#,
                false,
                "the table does not answer",
            ),
            (r#"{"batchItemFailures":[]}"#, false, ""),
        ];
        for (body, of_the_process, words) in answers {
            let error: FunctionError = serde_json::from_str(body).expect(body);
            assert_eq!((error.is_of_the_process(), error.own_words()), (of_the_process, words), "{body}");
        }
    }
}
