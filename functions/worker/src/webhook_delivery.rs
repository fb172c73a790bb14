//! `webhook-delivery`: one event, posted and signed as Standard Webhooks says.

use serde::Serialize;
use shared::payloads::webhook_delivery::WebhookDelivery;
use shared::values::json::Json;
use shared::values::time::Timestamp;

use crate::job_types::Run;
use crate::outbound::{Delivered, Post, deliver};
use crate::{Context, JobError};

impl Run for WebhookDelivery {
    type Output = Delivered;

    async fn run(self, context: Context) -> Result<Delivered, JobError> {
        let tools = &context.tools;
        let Some(secret) = &tools.webhook_secret else {
            return Err(JobError::give_up("this deployment signs no webhooks: WEBHOOK_SECRET is not set"));
        };
        let body = body_of(&self, context.created_at)
            .map_err(|error| JobError::give_up("the event could not be written as JSON").detail(error))?;
        let now = tools.records.clock.now();
        let headers = secret.headers(&context.job_id.to_string(), now, &body);
        let post = Post { url: &self.url, headers, body };
        deliver(&tools.outbound, "the receiver", post, context.remaining(), now).await
    }
}

/// What is sent, the same to the byte in every attempt.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    event_type: Option<&'a str>,
    /// When the job was accepted, as RFC 3339.
    timestamp: String,
    data: &'a Json,
}

fn body_of(delivery: &WebhookDelivery, created_at: Timestamp) -> Result<String, serde_json::Error> {
    let event_type = delivery.event_type.as_deref();
    serde_json::to_string(&Body { event_type, timestamp: created_at.to_string(), data: &delivery.data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::job_type::Payload;
    use shared::values::standard_webhooks::WebhookSecret;

    fn body(json: &str) -> String {
        let delivery = WebhookDelivery::parse(json).expect("fits");
        body_of(&delivery, Timestamp::from_millis(1_800_000_000_007)).expect("writes")
    }

    #[test]
    fn every_attempt_sends_the_same_body_with_the_event_as_it_came() {
        let json = r#"{"url":"https://example.com","event_type":"order.paid","data":{"z":1.10, "a":[null]}}"#;
        let expected = r#"{"type":"order.paid","timestamp":"2027-01-15T08:00:00.007Z","data":{"z":1.10,"a":[null]}}"#;
        assert_eq!(body(json), expected);
        assert_eq!(body(json), body(json));
    }

    #[test]
    fn the_example_in_the_documentation_is_genuine() {
        let sent = body(r#"{"url":"https://example.com","event_type":"order.paid","data":{"order":7,"sum":"1.10"}}"#);
        let secret = WebhookSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").expect("a secret");
        let now = Timestamp::from_millis(1_800_000_009_000);
        let example = include_str!("../../../docs/webhooks.md");
        assert!(example.contains(&format!("\n{sent}\n")), "{sent}");
        for (name, value) in secret.headers("01938e5c-7a00-7000-8000-000000000000", now, &sent) {
            assert!(example.contains(&format!("\n{name}: {value}\n")), "{name}: {value}");
        }
    }

    #[test]
    fn an_event_without_a_type_has_none() {
        let sent = body(r#"{"url":"https://example.com","data":"x"}"#);
        assert_eq!(sent, r#"{"timestamp":"2027-01-15T08:00:00.007Z","data":"x"}"#);
    }
}
