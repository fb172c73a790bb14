//! What is wrong with what a caller sent, said so that the caller can mend it.

use std::fmt;

use serde::Deserialize;

/// One field that cannot be accepted, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}")]
pub struct InvalidField {
    /// Where it is, from the body's root: `payload.to[1]`. Header names stand as they are.
    pub field: String,
    /// What is wrong with it, to be read after the field's name: `is required`.
    pub problem: String,
}

impl InvalidField {
    /// The field at `field` is wrong: `problem`.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// The same fault, seen from outside the object that `outer` names: `to` within `payload` is `payload.to`.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        let separator = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{outer}{separator}{}", self.field);
        self
    }
}

/// Reads JSON that is known to be well-formed into `T`, and names the field where it does not fit.
pub fn read_fields<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, InvalidField> {
    let mut reader = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let parent = if path == "." { String::new() } else { path };
        describe(parent, error.inner())
    })
}

/// Turns serde's sentence into a field and a problem. For a field that is missing or too many, the path that serde
/// gives is the object around it, and the field's own name stands in the sentence between back-ticks.
fn describe(parent: String, error: &serde_json::Error) -> InvalidField {
    let sentence = WithoutPosition(error).to_string();
    let quoted = sentence.split('`').nth(1).unwrap_or_default().to_owned();
    let inner = |problem: &str| {
        let field = InvalidField::new(quoted.clone(), problem);
        if parent.is_empty() || parent == quoted {
            field
        } else {
            field.within(parent.trim_end_matches(&format!(".{quoted}")))
        }
    };
    if sentence.starts_with("missing field") {
        inner("is required")
    } else if sentence.starts_with("unknown field") {
        inner("is not a known field")
    } else if sentence.starts_with("duplicate field") {
        inner("is given twice")
    } else {
        InvalidField::new(parent, in_the_callers_terms(sentence))
    }
}

/// What serde says of a value, without its words for Rust's types.
fn in_the_callers_terms(sentence: String) -> String {
    if sentence.starts_with("must ") {
        return sentence; // one of our own
    }
    if let Some((_, variants)) =
        sentence.split_once("unknown variant ").and_then(|(_, rest)| rest.split_once("expected "))
    {
        let variants = variants.trim_start_matches("one of ").replace('`', "");
        return format!("must be one of {variants}");
    }
    if sentence.starts_with("invalid length") && sentence.contains("expected struct") {
        return "must be an object, not an array".to_owned();
    }
    let found = sentence.strip_prefix("invalid type: ").or_else(|| sentence.strip_prefix("invalid value: "));
    let Some((found, expected)) = found.and_then(|rest| rest.rsplit_once(", expected ")) else {
        return format!("does not fit: {sentence}");
    };
    let expected = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "i64" | "i128" => "a whole number",
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    };
    let quoted = found.split('`').nth(1).unwrap_or_default();
    let found = match found.split_once(' ').map_or(found, |(kind, _)| kind) {
        // `null` is the same as absent.
        "null" => return "is required".to_owned(),
        "integer" | "floating" => format!("the number {quoted}"),
        "boolean" => quoted.to_owned(),
        "string" => "a string".to_owned(),
        "sequence" => "an array".to_owned(),
        "map" => "an object".to_owned(),
        _ => found.to_owned(),
    };
    format!("must be {expected}, not {found}")
}

/// `serde_json`'s message without its " at line 1 column 2", which would count from the wrong start.
struct WithoutPosition<'a>(&'a serde_json::Error);

impl fmt::Display for WithoutPosition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.to_string();
        f.write_str(whole.split(" at line ").next().unwrap_or(&whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Outer {
        inner: Inner,
        count: Option<u8>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Inner {
        name: String,
    }

    #[test]
    fn the_field_at_fault_is_named() {
        let of = |json: &str| read_fields::<Outer>(json).expect_err(json).to_string();
        assert_eq!(of("{}"), "`inner` is required");
        assert_eq!(of(r#"{"inner":{}}"#), "`inner.name` is required");
        assert_eq!(of(r#"{"inner":{"name":"a"},"extra":1}"#), "`extra` is not a known field");
        assert_eq!(of(r#"{"inner":{"name":"a","extra":1}}"#), "`inner.extra` is not a known field");
        assert_eq!(of(r#"{"inner":{"name":"a","name":"b"}}"#), "`inner.name` is given twice");
        let with = |value: &str| of(&format!(r#"{{"inner":{{"name":"a"}},"count":{value}}}"#));
        assert_eq!(with("300"), "`count` must be a whole number from 0 to 255, not the number 300");
        assert_eq!(with("-1"), "`count` must be a whole number from 0 to 255, not the number -1");
        assert_eq!(with("1.5"), "`count` must be a whole number from 0 to 255, not the number 1.5");
        assert_eq!(with("\"3, expected 4\""), "`count` must be a whole number from 0 to 255, not a string");
        assert_eq!(with("[]"), "`count` must be a whole number from 0 to 255, not an array");
        assert_eq!(with("true"), "`count` must be a whole number from 0 to 255, not true");
        assert_eq!(of(r#"{"inner":[]}"#), "`inner` must be an object, not an array");
        assert_eq!(of(r#"{"inner":7}"#), "`inner` must be an object, not the number 7");
        assert_eq!(of(r#"{"inner":null}"#), "`inner` is required", "null is the same as absent");
        assert_eq!(of(r#"{"inner":{"name":null}}"#), "`inner.name` is required");
        assert_eq!(of(r#"{"inner":{"name":{}}}"#), "`inner.name` must be a string, not an object");
    }
}
