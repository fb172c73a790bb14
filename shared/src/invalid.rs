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
        InvalidField::new(parent, format!("does not fit: {sentence}"))
    }
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
        assert_eq!(
            of(r#"{"inner":{"name":"a"},"count":300}"#),
            "`count` does not fit: invalid value: integer `300`, expected u8"
        );
    }
}
