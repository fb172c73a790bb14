//! `email-send`: one e-mail.

use std::fmt;

use lettre::message::Mailbox;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::invalid::{InvalidField, read_fields};
use crate::job_type::Payload;

/// The most addresses one e-mail may go to, `to` and `cc` together: the limit of Amazon SES.
/// <https://docs.aws.amazon.com/ses/latest/dg/quotas.html>
pub const MOST_RECIPIENTS: usize = 50;

/// The longest line RFC 5322 allows, and so the longest subject that every mail server takes.
const LONGEST_SUBJECT: usize = 998;

/// One e-mail. The sender is the deployment's own, not the payload's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailSend {
    /// Who gets it: one address, or an array of them; `ada@example.com` or `Ada <ada@example.com>`.
    #[serde(deserialize_with = "one_or_several")]
    pub to: Vec<Mailbox>,
    /// Who gets a copy that everyone sees.
    #[serde(default, deserialize_with = "one_or_several")]
    pub cc: Vec<Mailbox>,
    /// Where an answer goes.
    #[serde(default, deserialize_with = "maybe_one")]
    pub reply_to: Option<Mailbox>,
    /// One line.
    pub subject: String,
    /// The text.
    pub body: String,
    /// The same as HTML, for mail programs that show it.
    pub html: Option<String>,
}

impl Payload for EmailSend {
    const NAME: &'static str = "email-send";
    const SCHEMA: &'static str = r#"{
        "description": "One e-mail, to 50 addresses at most. The sender is the deployment's own.",
        "type": "object", "required": ["to", "subject", "body"], "additionalProperties": false,
        "properties": {
            "to": { "description": "Who gets it: one address, or several.", "anyOf": [
                { "type": "string", "format": "email" },
                { "type": "array", "minItems": 1, "maxItems": 50, "items": { "type": "string", "format": "email" } } ] },
            "cc": { "description": "Who gets a copy that everyone sees.", "anyOf": [
                { "type": "string", "format": "email" },
                { "type": "array", "maxItems": 50, "items": { "type": "string", "format": "email" } } ] },
            "reply_to": { "description": "Where an answer goes.", "type": ["string", "null"], "format": "email" },
            "subject": { "description": "One line.", "type": "string", "maxLength": 998 },
            "body": { "description": "The text.", "type": "string" },
            "html": { "description": "The same as HTML.", "type": ["string", "null"] }
        }
    }"#;
    const EXAMPLE: &'static str = r#"{"to":"ada@example.com","subject":"Hello","body":"Dear Ada"}"#;
    const ALIASES: &'static [&'static str] = &["EMAIL_SEND"];

    fn parse(json: &str) -> Result<Self, InvalidField> {
        let email: Self = read_fields(json)?;
        if email.to.is_empty() {
            return Err(InvalidField::new("to", "must have at least one address"));
        }
        if email.to.len() + email.cc.len() > MOST_RECIPIENTS {
            return Err(InvalidField::new("to", format!("and `cc` together may have {MOST_RECIPIENTS} addresses")));
        }
        if email.subject.chars().any(char::is_control) {
            return Err(InvalidField::new("subject", "must be one line without control characters"));
        }
        if email.subject.len() > LONGEST_SUBJECT {
            return Err(InvalidField::new("subject", format!("must be at most {LONGEST_SUBJECT} bytes long")));
        }
        Ok(email)
    }
}

fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Mailbox>, D::Error> {
    deserializer.deserialize_any(Addresses)
}

fn maybe_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Mailbox>, D::Error> {
    Option::<Address>::deserialize(deserializer).map(|found| found.map(|address| address.0))
}

struct Address(Mailbox);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_address(&text).map(Self).map_err(D::Error::custom)
    }
}

struct Addresses;

impl<'de> Visitor<'de> for Addresses {
    type Value = Vec<Mailbox>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an e-mail address or an array of them")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<Mailbox>, E> {
        parse_address(text).map(|address| vec![address]).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut several: A) -> Result<Vec<Mailbox>, A::Error> {
        let mut addresses = vec![];
        while let Some(Address(address)) = several.next_element()? {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

fn parse_address(text: &str) -> Result<Mailbox, String> {
    if text.chars().any(char::is_control) {
        return Err("an e-mail address must not have control characters".to_owned());
    }
    text.parse().map_err(|_| format!("{:?} is not an e-mail address", text.chars().take(100).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_or_several_addresses() {
        let email = EmailSend::parse(r#"{"to":"a@example.com","subject":"s","body":"b"}"#).expect("fits");
        assert_eq!(email.to.len(), 1);
        let json = r#"{"to":["Ada <a@example.com>","b@example.com"],"cc":"c@example.com","reply_to":"d@example.com",
            "subject":"s","body":"b","html":"<b>b</b>"}"#;
        let email = EmailSend::parse(json).expect("fits");
        assert_eq!((email.to.len(), email.cc.len()), (2, 1));
        assert_eq!(email.to[0].to_string(), "Ada <a@example.com>");
        assert_eq!(email.reply_to.expect("given").to_string(), "d@example.com");
        assert_eq!(email.html.as_deref(), Some("<b>b</b>"));
        let json = r#"{"to":"a@example.com","reply_to":null,"subject":"s","body":"b"}"#;
        assert_eq!(EmailSend::parse(json).expect("fits").reply_to, None);
    }

    #[test]
    fn an_email_goes_to_50_addresses_at_most_whether_as_to_or_as_cc() {
        let with = |to: usize, cc: usize| {
            let addresses = |count| vec!["a@example.com"; count];
            let json = serde_json::json!({"to": addresses(to), "cc": addresses(cc), "subject": "s", "body": "b"});
            EmailSend::parse(&json.to_string())
        };
        for (to, cc) in [(50, 0), (1, 49), (30, 20)] {
            let email = with(to, cc).expect("fits");
            assert_eq!((email.to.len(), email.cc.len()), (to, cc));
        }
        for (to, cc) in [(51, 0), (1, 50), (30, 21), (60, 1)] {
            let refused = with(to, cc).expect_err("too many");
            assert_eq!(refused.to_string(), "`to` and `cc` together may have 50 addresses", "{to} and {cc}");
        }
    }

    #[test]
    fn a_subject_is_as_long_as_a_line_of_an_email_may_be() {
        let with = |length: usize| {
            let json = serde_json::json!({"to": "a@example.com", "subject": "s".repeat(length), "body": "b"});
            EmailSend::parse(&json.to_string())
        };
        assert_eq!(with(998).expect("fits").subject.len(), 998);
        for length in [999, 2000] {
            let refused = with(length).expect_err("too long");
            assert_eq!(refused.to_string(), "`subject` must be at most 998 bytes long", "{length}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let of = |json: &str| EmailSend::parse(json).expect_err(json).within("payload").to_string();
        assert_eq!(of(r#"{"subject":"s","body":"b"}"#), "`payload.to` is required");
        assert_eq!(of(r#"{"to":[],"subject":"s","body":"b"}"#), "`payload.to` must have at least one address");
        assert_eq!(
            of(r#"{"to":["a@example.com","nobody"],"subject":"s","body":"b"}"#),
            "`payload.to[1]` does not fit: \"nobody\" is not an e-mail address"
        );
        assert_eq!(
            of(r#"{"to":7,"subject":"s","body":"b"}"#),
            "`payload.to` does not fit: invalid type: integer `7`, expected an e-mail address or an array of them"
        );
        assert_eq!(
            of(r#"{"to":"a@example.com","subject":"s\r\nBcc: e@example.com","body":"b"}"#),
            "`payload.subject` must be one line without control characters"
        );
        assert_eq!(
            of(r#"{"to":"a@example.com","from":"x","subject":"s","body":"b"}"#),
            "`payload.from` is not a known field"
        );
    }

    #[test]
    fn no_address_smuggles_in_a_header() {
        for address in
            ["a@example.com\r\nBcc: e@example.com", "\"a\r\nb\" <a@example.com>", "a@example.com, b@example.com"]
        {
            let json = serde_json::json!({"to": address, "subject": "s", "body": "b"}).to_string();
            assert!(EmailSend::parse(&json).is_err(), "{address:?}");
        }
    }
}
