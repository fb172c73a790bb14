//! What tenants call the things that they make: schedules and subscriptions.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::values::invalid::InvalidField;

/// A name that a tenant has chosen: 1 to 64 of `a-z`, `0-9` and `-`, no `-` first. Never contains `#` or a line break.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The longest name, in characters.
    const LONGEST: usize = 64;

    /// The name in `text`.
    pub fn parse(text: &str) -> Result<Self, InvalidField> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=Self::LONGEST).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-') {
            return Ok(Self(text.to_owned()));
        }
        let problem = format!("must be 1 to {} of a-z, 0-9 and -, and not start with -", Self::LONGEST);
        Err(InvalidField::new("name", problem))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidField;
    fn try_from(text: String) -> Result<Self, InvalidField> {
        Self::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}
