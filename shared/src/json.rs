//! JSON that is kept as the text it came in.

use std::fmt;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A well-formed JSON value as text, without white space between its tokens.
///
/// Text, because a payload must come back as it was sent: fields in their own order, `1.10` not turned into `1.1`,
/// numbers of any length. Serialises as the value itself when the format is JSON.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Box<str>);

impl Json {
    /// Takes any well-formed JSON text.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let raw: &RawValue = serde_json::from_str(text)?;
        Ok(Self::from(raw))
    }

    /// The JSON form of `value`. Fails where `value` has none (a map whose keys are not strings, say).
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&RawValue> for Json {
    fn from(raw: &RawValue) -> Self {
        Self(without_white_space(raw.get()).into())
    }
}

/// Drops the white space between tokens. The text must be well-formed JSON.
fn without_white_space(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for character in text.chars() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else if character == '"' {
            in_string = true;
        } else if character.is_ascii_whitespace() {
            continue;
        }
        kept.push(character);
    }
    kept
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer).map_err(D::Error::custom)?;
        Ok(Self::from(&*raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_and_order_stay_as_they_were_sent() {
        let sent = "{ \"z\" : 1.10,\n\t\"a\" : [ 123456789012345678901234567890 , \"two  \\\" spaces\" ] }";
        let kept = r#"{"z":1.10,"a":[123456789012345678901234567890,"two  \" spaces"]}"#;
        assert_eq!(Json::parse(sent).expect("valid").as_str(), kept);
    }

    #[test]
    fn within_other_json_it_is_the_value_itself() {
        let json = Json::parse(r#"{"n": 1.10}"#).expect("valid");
        let outer = serde_json::to_string(&(7, &json)).expect("serialises");
        assert_eq!(outer, r#"[7,{"n":1.10}]"#);
        assert_eq!(serde_json::from_str::<(u8, Json)>(&outer).expect("reads back"), (7, json));
    }

    #[test]
    fn a_log_shows_its_text() {
        assert_eq!(format!("{:?}", Json::parse(r#"{"n": 1.10}"#).expect("valid")), r#"{"n":1.10}"#);
    }

    proptest! {
        #[test]
        fn dropping_white_space_changes_no_value(text in "\\PC*", number in any::<i64>()) {
            let value = serde_json::json!({ text.clone(): [number, text, null, true] });
            let pretty = serde_json::to_string_pretty(&value).expect("serialises");
            let json = Json::parse(&pretty).expect("valid");
            prop_assert_eq!(json.as_str(), value.to_string());
        }
    }
}
