//! `push-notification`: one notification for one device or topic, by way of the deployment's push gateway.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::job_type::Payload;
use crate::values::invalid::{InvalidField, read_fields};
use crate::values::json::Json;

/// One notification. Which service brings it to the device is the gateway's affair.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushNotification {
    /// A device's token or a topic's name, as the gateway knows it.
    pub to: String,
    /// What is shown first.
    pub title: String,
    /// The text.
    pub body: String,
    /// For the app on the device.
    pub data: Option<FlatObject>,
}

/// One flat object: a text, a number, `true`, `false` or `null` for each field, in the sender's order and as it was
/// written.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FlatObject(IndexMap<String, Json>);

/// The longest name of a device or topic, in bytes.
const LONGEST_TO: usize = 4096;

impl Payload for PushNotification {
    const NAME: &'static str = "push-notification";
    const SCHEMA: &'static str = r#"{
        "description": "A notification for a device or a topic, handed to the deployment's push gateway.",
        "type": "object", "required": ["to", "title", "body"], "additionalProperties": false,
        "properties": {
            "to": { "description": "The device or the topic.", "type": "string" },
            "title": { "type": "string" },
            "body": { "type": "string" },
            "data": { "description": "A flat object for the app.", "type": ["object", "null"],
                "additionalProperties": {
                    "description": "A text, a number, true, false or null.", "if": {}, "then": { "type": ["string", "number", "boolean", "null"] } } }
        }
    }"#;
    const EXAMPLE: &'static str = r#"{"to":"orders","title":"Shipped","body":"Order 7 is on its way"}"#;
    /// With the default backoff of 10 s, the last attempt comes 1 to 3 minutes after the first: a notification that is
    /// later than that is old news.
    const MAX_ATTEMPTS: u32 = 5;

    fn parse(json: &str) -> Result<Self, InvalidField> {
        let notification: Self = read_fields(json)?;
        let to = &notification.to;
        if to.is_empty() || to.len() > LONGEST_TO || to.chars().any(char::is_control) {
            let form = format!("must be 1 to {LONGEST_TO} bytes without control characters");
            return Err(InvalidField::new("to", form));
        }
        Ok(notification)
    }
}

impl<'de> Deserialize<'de> for FlatObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = FlatObject;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a flat object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FlatObject, A::Error> {
        let mut fields = IndexMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let Plain(value) = map.next_value()?;
            if fields.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
            }
        }
        Ok(FlatObject(fields))
    }
}

/// A value without others in it.
struct Plain(Json);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Json::deserialize(deserializer)?;
        if value.as_str().starts_with(['{', '[']) {
            return Err(D::Error::custom("must be a text, a number, true, false or null"));
        }
        Ok(Self(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_keeps_its_order_and_its_numbers() {
        let json = r#"{"to":"device-1","title":"Paid","body":"Thank you","data":{"z":1.10,"a":"x","n":null}}"#;
        let notification = PushNotification::parse(json).expect("fits");
        let data = serde_json::to_string(&notification.data).expect("serialises");
        assert_eq!(data, r#"{"z":1.10,"a":"x","n":null}"#);
        let bare = PushNotification::parse(r#"{"to":"news","title":"","body":"Hello"}"#).expect("fits");
        assert_eq!(bare.data, None);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let of = |json: &str| PushNotification::parse(json).expect_err(json).within("payload").to_string();
        assert_eq!(of(r#"{"title":"t","body":"b"}"#), "`payload.to` is required");
        let to = "`payload.to` must be 1 to 4096 bytes without control characters";
        assert_eq!(of(r#"{"to":"","title":"t","body":"b"}"#), to);
        assert_eq!(of(r#"{"to":"a\nb","title":"t","body":"b"}"#), to);
        for length in [4097, 5000] {
            let json = serde_json::json!({ "to": "d".repeat(length), "title": "t", "body": "b" });
            assert_eq!(of(&json.to_string()), to, "{length}");
        }
        assert_eq!(
            of(r#"{"to":"d","title":"t","body":"b","data":{"a":[1]}}"#),
            "`payload.data.a` must be a text, a number, true, false or null"
        );
        assert_eq!(of(r#"{"to":"d","title":"t","body":"b","data":{"a":1,"a":2}}"#), "`payload.data.a` is given twice");
        assert_eq!(
            of(r#"{"to":"d","title":"t","body":"b","data":3}"#),
            "`payload.data` must be a flat object, not the number 3"
        );
        assert_eq!(of(r#"{"to":"d","title":"t","body":"b","icon":"x"}"#), "`payload.icon` is not a known field");
    }

    #[test]
    fn a_token_may_be_4096_bytes_long() {
        let json = serde_json::json!({ "to": "d".repeat(4096), "title": "t", "body": "b" });
        assert_eq!(PushNotification::parse(&json.to_string()).expect("fits").to.len(), 4096);
    }
}
