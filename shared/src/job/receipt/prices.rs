//! What AWS takes for what is on a receipt.

use std::sync::LazyLock;

use serde::Deserialize;

use super::Request;

/// A price table: the list prices of one region at one time, in US dollars. `shared/src/job/receipt/prices.json` is the one that
/// counts; whoever pays others edits it, its date with it, and builds anew.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The day on which they were looked up, `2026-11-01`.
    pub as_of: String,
    /// Of which region.
    pub region: String,
    /// Of which of Lambda's processors.
    pub architecture: String,
    /// What a million costs.
    pub dollars_per_million: PerMillion,
    /// What a function costs that has 1 GB of memory and runs for a second.
    /// <https://aws.amazon.com/lambda/pricing/>
    pub dollars_per_gb_second: f64,
}

/// What a million of each costs, in US dollars.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerMillion {
    /// Calls of an HTTP API. <https://aws.amazon.com/api-gateway/pricing/>
    pub http_requests: f64,
    /// Invocations of functions. <https://aws.amazon.com/lambda/pricing/>
    pub lambda_requests: f64,
    /// Write units on demand. <https://aws.amazon.com/dynamodb/pricing/on-demand/>
    pub dynamodb_write_units: f64,
    /// Read units on demand.
    pub dynamodb_read_units: f64,
    /// Requests to a standard queue. <https://aws.amazon.com/sqs/pricing/>
    pub sqs_requests: f64,
    /// `PUT` and its like. <https://aws.amazon.com/s3/pricing/>
    pub s3_writes: f64,
    /// `GET` and its like.
    pub s3_reads: f64,
    /// E-mails, each address one. <https://aws.amazon.com/ses/pricing/>
    pub ses_emails: f64,
}

#[expect(clippy::expect_used, reason = "it is part of the program, and a test reads it")]
static CURRENT: LazyLock<Prices> =
    LazyLock::new(|| Prices::read(include_str!("prices.json")).expect("prices.json is a price table"));

impl Prices {
    /// The table that this program was built with.
    pub fn current() -> &'static Self {
        &CURRENT
    }

    /// Reads a table, given as JSON.
    pub fn read(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// What a million requests of this kind cost. DynamoDB's own are free: it takes money for units.
    pub(super) fn of_a_million(&self, request: Request) -> f64 {
        let prices = &self.dollars_per_million;
        match request {
            Request::HttpRequest => prices.http_requests,
            Request::Invoke => prices.lambda_requests,
            Request::PutItem | Request::UpdateItem | Request::GetItem => 0.0,
            Request::SendMessage
            | Request::ReceiveMessage
            | Request::ChangeMessageVisibility
            | Request::DeleteMessageBatch => prices.sqs_requests,
            Request::PutObject => prices.s3_writes,
            Request::GetObject => prices.s3_reads,
            Request::SendEmail => prices.ses_emails,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::time::Timestamp;

    #[test]
    fn the_price_table_can_be_read_and_says_of_when_and_where_it_is() {
        let Prices { as_of, region, architecture, dollars_per_million, dollars_per_gb_second } = Prices::current();
        assert!(Timestamp::parse_rfc3339(&format!("{as_of}T00:00:00Z")).is_some(), "{as_of}");
        assert!(!region.is_empty() && ["arm64", "x86_64"].contains(&architecture.as_str()));
        let PerMillion {
            http_requests,
            lambda_requests,
            dynamodb_write_units,
            dynamodb_read_units,
            sqs_requests,
            s3_writes,
            s3_reads,
            ses_emails,
        } = dollars_per_million;
        let prices = [
            http_requests,
            lambda_requests,
            dynamodb_write_units,
            dynamodb_read_units,
            sqs_requests,
            s3_writes,
            s3_reads,
            ses_emails,
            dollars_per_gb_second,
        ];
        assert!(prices.iter().all(|price| (0.0..1_000_000.0).contains(*price)), "{prices:?}");
    }

    #[test]
    fn a_price_that_nobody_knows_is_refused() {
        assert!(Prices::read(r#"{"as_of":"2026-11-01"}"#).is_err());
        let with_another = include_str!("prices.json").replacen("\"as_of\"", "\"as_off\"", 1);
        assert!(Prices::read(&with_another).is_err());
    }
}
