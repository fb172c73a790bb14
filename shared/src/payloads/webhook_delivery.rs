//! `webhook-delivery`: one event, posted to the receiver that a caller names.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::job_type::Payload;
use crate::subscription::EventType;
use crate::values::invalid::{InvalidField, read_fields};
use crate::values::json::Json;

/// One event and who shall hear of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookDelivery {
    /// The receiver: https or http, a host, no user name or password. Whether the worker may call it is the
    /// deployment's policy, and checked against the host's addresses when the job runs.
    #[serde(deserialize_with = "receiver")]
    pub url: Url,
    /// What kind of event it is: `order.paid`.
    pub event_type: Option<String>,
    /// The event itself: any JSON, sent on as it came.
    pub data: Json,
}

/// The longest URL of a receiver, in bytes.
const LONGEST_URL: usize = 2048;

impl Payload for WebhookDelivery {
    const NAME: &'static str = "webhook-delivery";
    const SCHEMA: &'static str = r#"{
        "description": "An event for a receiver, posted and signed as Standard Webhooks says.",
        "type": "object", "required": ["url", "data"], "additionalProperties": false,
        "properties": {
            "url": { "description": "Where it goes: https, to an address of the public internet.", "type": "string", "format": "uri" },
            "event_type": { "description": "What kind of event it is.", "type": ["string", "null"] },
            "data": { "description": "The event: any JSON, sent as it is." }
        }
    }"#;
    const EXAMPLE: &'static str =
        r#"{"url":"https://example.com/hooks","event_type":"order.created","data":{"order":7}}"#;
    /// A receiver that is being restarted or deployed is back after some minutes: with the default backoff of 10 s, the
    /// last attempt comes 10 to 21 minutes after the first.
    const MAX_ATTEMPTS: u32 = 8;

    fn parse(json: &str) -> Result<Self, InvalidField> {
        let delivery: Self = read_fields(json)?;
        if let Some(event_type) = &delivery.event_type {
            EventType::parse(event_type)?;
        }
        Ok(delivery)
    }
}

fn receiver<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    receiver_url(&text).map_err(D::Error::custom)
}

/// The URL of a receiver, without its fragment. What is wrong with one does not repeat it: it may hold a secret.
pub fn receiver_url(text: &str) -> Result<Url, String> {
    if text.len() > LONGEST_URL {
        return Err(format!("it is longer than {LONGEST_URL} bytes"));
    }
    let mut url = Url::parse(text).map_err(|_| "it is not a URL with a host".to_owned())?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err("it must start with https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must not hold a user name or a password".to_owned());
    }
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_stays_as_it_was_sent() {
        let json =
            r#"{"url":"https://example.com/hooks?key=1#top","event_type":"order.paid","data":{"z":1.10,"a":[null]}}"#;
        let delivery = WebhookDelivery::parse(json).expect("fits");
        assert_eq!(delivery.url.as_str(), "https://example.com/hooks?key=1");
        assert_eq!(delivery.event_type.as_deref(), Some("order.paid"));
        assert_eq!(delivery.data.as_str(), r#"{"z":1.10,"a":[null]}"#);
        let bare = WebhookDelivery::parse(r#"{"url":"http://127.0.0.1:9000","data":null}"#).expect("fits");
        assert_eq!((bare.event_type, bare.data.as_str()), (None, "null"));
    }

    #[test]
    fn what_does_not_fit_is_named_and_no_url_is_repeated() {
        let of = |json: &str| WebhookDelivery::parse(json).expect_err(json).within("payload").to_string();
        let with_url = |url: &str| of(&serde_json::json!({"url": url, "data": 1}).to_string());
        assert_eq!(of(r#"{"data":1}"#), "`payload.url` is required");
        assert_eq!(of(r#"{"url":"https://example.com"}"#), "`payload.data` is required");
        assert_eq!(with_url("/hooks"), "`payload.url` does not fit: it is not a URL with a host");
        assert_eq!(with_url("https://"), "`payload.url` does not fit: it is not a URL with a host");
        assert_eq!(with_url("file:///etc/passwd"), "`payload.url` does not fit: it must start with https://");
        assert_eq!(with_url("gopher://example.com"), "`payload.url` does not fit: it must start with https://");
        for url in ["https://ada:hunter2@example.com", "https://ada@example.com", "https://:hunter2@example.com"] {
            assert_eq!(with_url(url), "`payload.url` does not fit: it must not hold a user name or a password");
        }
        let long = format!("https://example.com/{}", "a".repeat(LONGEST_URL));
        assert_eq!(with_url(&long), "`payload.url` does not fit: it is longer than 2048 bytes");
        for event_type in ["", "two words", "a\r\nb", "a".repeat(129).as_str()] {
            let json = serde_json::json!({"url": "https://example.com", "event_type": event_type, "data": 1});
            let problem = "must be 1 to 128 letters, digits, `.`, `_` or `-`";
            assert_eq!(of(&json.to_string()), format!("`payload.event_type` {problem}"));
        }
        assert_eq!(
            of(r#"{"url":"https://example.com","data":1,"headers":{}}"#),
            "`payload.headers` is not a known field"
        );
    }

    #[test]
    fn a_url_may_be_2048_and_the_name_of_an_event_128_bytes_long() {
        let url = format!("https://example.com/{}", "a".repeat(2028));
        let event_type = "a".repeat(128);
        let json = serde_json::json!({ "url": url, "event_type": event_type, "data": 1 }).to_string();
        let delivery = WebhookDelivery::parse(&json).expect("fits");
        assert_eq!((delivery.url.as_str().len(), delivery.event_type), (2048, Some(event_type)));
        let longer = serde_json::json!({ "url": format!("{url}a"), "data": 1 }).to_string();
        assert!(WebhookDelivery::parse(&longer).is_err());
    }
}
