//! `email-send`: one e-mail.

mod address;

use std::collections::HashSet;
use std::fmt;

use indexmap::IndexMap;
use lettre::message::Mailbox;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

pub use self::address::parse_address;
use crate::job_type::Payload;
use crate::ports::files::FileName;
use crate::values::base64_text::Base64;
use crate::values::invalid::{InvalidField, read_fields};
use crate::values::json::null_is_absent;

/// The most addresses one e-mail may go to, `to`, `cc` and `bcc` together: the limit of Amazon SES.
/// <https://docs.aws.amazon.com/ses/latest/dg/quotas.html>
pub const MOST_RECIPIENTS: usize = 50;

/// The longest subject, in bytes. On the wire it is folded, so this is no limit of a line.
const LONGEST_SUBJECT: usize = 998;

/// The most headers of the sender's own.
const MOST_HEADERS: usize = 20;

/// The longest value of one, in bytes. A value without a blank cannot be folded, and its line must stay below the 998
/// octets that RFC 5322 allows (section 2.1.1), its name included.
const LONGEST_HEADER: usize = 900;

/// The most attachments.
const MOST_ATTACHMENTS: usize = 10;

/// The longest name of an attachment, in characters.
const LONGEST_FILE_NAME: usize = 200;

/// The longest media type of an attachment, in bytes, parameters included.
const LONGEST_MEDIA_TYPE: usize = 200;

/// One e-mail. The sender is the deployment's own, not the payload's. No address stands in it twice.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailSend {
    /// Who gets it: one address, or an array of them; `ada@example.com` or `Ada <ada@example.com>`.
    #[serde(deserialize_with = "one_or_several")]
    pub to: Vec<Mailbox>,
    /// Who gets a copy that everyone sees.
    #[serde(default, deserialize_with = "one_or_several")]
    pub cc: Vec<Mailbox>,
    /// Who gets a copy that nobody sees.
    #[serde(default, deserialize_with = "one_or_several")]
    pub bcc: Vec<Mailbox>,
    /// Where an answer goes.
    #[serde(default, deserialize_with = "maybe_one")]
    pub reply_to: Option<Mailbox>,
    /// One line.
    pub subject: String,
    /// The text. Its lines end with LF, CR or CRLF.
    pub body: String,
    /// The same as HTML, for mail programs that show it.
    pub html: Option<String>,
    /// Further headers: `List-Unsubscribe`, say. None that the message itself is made of.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub headers: Headers,
    /// Files that go with it.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub attachments: Vec<Attachment>,
}

/// Headers by their names, in the order in which they were given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Headers(pub IndexMap<String, String>);

/// A file that goes with an e-mail: exactly one of `content` and `file`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// What the reader sees it called.
    pub name: String,
    /// The file itself, in base64.
    pub content: Option<Base64>,
    /// Its name below the deployment's place for files: what another job has made, say.
    pub file: Option<FileName>,
    /// Its media type, which may have parameters; `application/octet-stream` unless given.
    pub content_type: Option<String>,
    /// By which `html` shows it: `<img src="cid:logo">`. It is no attachment then.
    pub content_id: Option<String>,
}

impl Payload for EmailSend {
    const NAME: &'static str = "email-send";
    const SCHEMA: &'static str = r##"{
        "description": "One e-mail, to 50 addresses at most. The sender is the deployment's own.",
        "type": "object", "required": ["to", "subject", "body"], "additionalProperties": false,
        "properties": {
            "to": { "description": "Who gets it: one address, or several.", "oneOf": [
                { "type": "string", "format": "email" },
                { "type": "array", "minItems": 1, "maxItems": 50, "items": { "type": "string", "format": "email" } } ] },
            "cc": { "description": "Who gets a copy that everyone sees.", "oneOf": [
                { "type": ["string", "null"], "format": "email" },
                { "type": "array", "maxItems": 50, "items": { "type": "string", "format": "email" } } ] },
            "bcc": { "description": "Who gets a copy that nobody sees.", "oneOf": [
                { "type": ["string", "null"], "format": "email" },
                { "type": "array", "maxItems": 50, "items": { "type": "string", "format": "email" } } ] },
            "reply_to": { "description": "Where an answer goes.", "type": ["string", "null"], "format": "email" },
            "subject": { "description": "One line.", "type": "string", "maxLength": 998, "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]*$" },
            "body": { "description": "The text.", "type": "string", "pattern": "^[^\\x00]*$" },
            "html": { "description": "The same as HTML.", "type": ["string", "null"], "pattern": "^[^\\x00]*$" },
            "headers": { "description": "Further headers, `List-Unsubscribe` say; none that the message itself is made of.",
                "type": ["object", "null"], "maxProperties": 20,
                "propertyNames": { "pattern": "^[A-Za-z0-9-]{1,76}$" },
                "additionalProperties": { "type": "string", "maxLength": 900, "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]*$" } },
            "attachments": { "description": "Files that go with it, 7 MiB together.", "type": ["array", "null"], "maxItems": 10,
                "items": { "$ref": "#/$defs/EmailAttachment" } }
        },
        "$defs": {
            "EmailAttachment": { "type": "object", "required": ["name"], "additionalProperties": false,
                "description": "A file: either its `content` or a `file` of the deployment's.",
                "properties": {
                    "name": { "description": "What the reader sees it called.", "type": "string", "minLength": 1, "maxLength": 200,
                        "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f/\\\\]+$" },
                    "content": { "description": "The file in base64, or as a data URI.", "type": ["string", "null"], "contentEncoding": "base64" },
                    "file": { "description": "Its name below the deployment's place for files.", "type": ["string", "null"],
                        "maxLength": 512, "pattern": "^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$" },
                    "content_type": { "description": "Its media type: `text/csv; charset=utf-8`.", "type": ["string", "null"], "maxLength": 200,
                        "pattern": "^(application|audio|font|image|model|text|video)/[A-Za-z0-9!#$&^_.+-]{1,100}(; *[A-Za-z0-9!#$&^_.+-]{1,100}=[A-Za-z0-9!#$&^_.+-]{1,100})*$" },
                    "content_id": { "description": "By which `html` shows it: `cid:logo`.", "type": ["string", "null"],
                        "pattern": "^[A-Za-z0-9._@-]{1,100}$" } },
                "if": { "required": ["content"], "properties": { "content": { "type": "string" } } },
                "then": { "properties": { "file": { "enum": [null] } } },
                "else": { "required": ["file"], "properties": { "file": { "type": "string" } } } }
        }
    }"##;
    const EXAMPLE: &'static str = r#"{"to":"ada@example.com","subject":"Hello","body":"Dear Ada"}"#;
    const ALIASES: &'static [&'static str] = &["EMAIL_SEND"];

    fn parse(json: &str) -> Result<Self, InvalidField> {
        let mut email: Self = read_fields(json)?;
        if email.to.is_empty() {
            return Err(InvalidField::new("to", "must have at least one address"));
        }
        email.leave_out_repeated();
        if email.to.len() + email.cc.len() + email.bcc.len() > MOST_RECIPIENTS {
            let problem = format!("`cc` and `bcc` together may have {MOST_RECIPIENTS} addresses");
            return Err(InvalidField::new("to", problem));
        }
        if email.subject.chars().any(char::is_control) {
            return Err(InvalidField::new("subject", "must be one line without control characters"));
        }
        if email.subject.len() > LONGEST_SUBJECT {
            return Err(InvalidField::new("subject", format!("must be at most {LONGEST_SUBJECT} bytes long")));
        }
        for (field, text) in [("body", Some(&email.body)), ("html", email.html.as_ref())] {
            if text.is_some_and(|text| text.contains('\0')) {
                return Err(InvalidField::new(field, "must not have the character U+0000 in it"));
            }
        }
        email.headers.check().map_err(|invalid| invalid.within("headers"))?;
        if email.attachments.len() > MOST_ATTACHMENTS {
            return Err(InvalidField::new("attachments", format!("must be at most {MOST_ATTACHMENTS}")));
        }
        let mut content_ids = HashSet::new();
        for (index, attachment) in email.attachments.iter().enumerate() {
            let place = format!("attachments[{index}]");
            attachment.check(email.html.is_some()).map_err(|invalid| invalid.within(&place))?;
            if attachment.content_id.as_ref().is_some_and(|id| !content_ids.insert(id)) {
                return Err(InvalidField::new("content_id", "is that of another attachment").within(&place));
            }
        }
        Ok(email)
    }
}

impl EmailSend {
    /// Who is in several lists, or several times in one, gets it once, by the first of them. No mail server that people
    /// use tells addresses apart by their case.
    fn leave_out_repeated(&mut self) {
        let mut seen = HashSet::new();
        for list in [&mut self.to, &mut self.cc, &mut self.bcc] {
            list.retain(|mailbox| seen.insert(mailbox.email.to_string().to_ascii_lowercase()));
        }
    }
}

impl Headers {
    fn check(&self) -> Result<(), InvalidField> {
        let Self(headers) = self;
        if headers.len() > MOST_HEADERS {
            return Err(InvalidField::new("", format!("must be at most {MOST_HEADERS}")));
        }
        let mut names = HashSet::new();
        for (name, value) in headers {
            let shown: String = name.chars().take(76).collect();
            let wrong = |problem: String| Err(InvalidField::new(shown.clone(), problem));
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if !plain || !(1..=76).contains(&name.len()) {
                return wrong("must be a header's name: 1 to 76 letters, digits and hyphens".to_owned());
            }
            let lower_case = name.to_ascii_lowercase();
            if STRUCTURAL
                .iter()
                .any(|start| lower_case == *start || start.ends_with('-') && lower_case.starts_with(start))
            {
                return wrong("is a header that the message itself is made of".to_owned());
            }
            if value.len() > LONGEST_HEADER || value.chars().any(char::is_control) {
                return wrong(format!("must be one line of at most {LONGEST_HEADER} bytes"));
            }
            if !names.insert(lower_case) {
                return wrong("is given twice".to_owned());
            }
        }
        Ok(())
    }
}

/// The headers that say what a message is, where it goes, and by whom it has come; with a hyphen at the end, all that
/// begin so. `X-SES-` is how a message commands SES.
const STRUCTURAL: [&str; 19] = [
    "from",
    "to",
    "cc",
    "bcc",
    "sender",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-",
    "return-path",
    "received",
    "received-",
    "resent-",
    "authentication-results",
    "dkim-",
    "arc-",
    "x-ses-",
];

impl Attachment {
    fn check(&self, has_html: bool) -> Result<(), InvalidField> {
        let name_fits = (1..=LONGEST_FILE_NAME).contains(&self.name.chars().count())
            && !self.name.chars().any(|character| character.is_control() || matches!(character, '/' | '\\'));
        if !name_fits {
            let problem = format!("must be 1 to {LONGEST_FILE_NAME} characters without slashes and control characters");
            return Err(InvalidField::new("name", problem));
        }
        match (&self.content, &self.file) {
            (Some(_), None) | (None, Some(_)) => {}
            (Some(_), Some(_)) => return Err(InvalidField::new("file", "and `content` cannot both be given")),
            (None, None) => return Err(InvalidField::new("content", "or `file` is required")),
        }
        if self.content_type.as_deref().is_some_and(|text| !is_media_type(text)) {
            let problem = format!(
                "must be a media type such as application/pdf or text/csv; charset=utf-8, not multipart or message, of at \
                 most {LONGEST_MEDIA_TYPE} characters"
            );
            return Err(InvalidField::new("content_type", problem));
        }
        let is_id = |text: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'-');
            (1..=100).contains(&text.len()) && text.bytes().all(plain)
        };
        match &self.content_id {
            Some(id) if !is_id(id) => {
                Err(InvalidField::new("content_id", "must be 1 to 100 letters, digits and characters of . _ @ -"))
            }
            Some(_) if !has_html => Err(InvalidField::new("content_id", "is for what `html` shows, and there is none")),
            Some(_) | None => Ok(()),
        }
    }
}

/// RFC 6838, section 4.2, with parameters that need no quotes; without the two kinds that must not be encoded in base64
/// (RFC 2045, section 6.4).
fn is_media_type(text: &str) -> bool {
    let is_name = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
        (1..=100).contains(&text.len()) && text.bytes().all(plain)
    };
    let is_parameter = |text: &str| {
        let parts = text.trim_start_matches(' ').split_once('=');
        parts.is_some_and(|(name, value)| is_name(name) && is_name(value))
    };
    let mut parts = text.split(';');
    let Some((kind, name)) = parts.next().and_then(|start| start.split_once('/')) else { return false };
    let known = ["application", "audio", "font", "image", "model", "text", "video"].contains(&kind);
    text.len() <= LONGEST_MEDIA_TYPE && known && is_name(name) && parts.all(is_parameter)
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
        parse_address(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

struct Addresses;

impl<'de> Visitor<'de> for Addresses {
    type Value = Vec<Mailbox>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an e-mail address or an array of them")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Vec<Mailbox>, E> {
        Ok(vec![])
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

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = Headers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of headers by their names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
        let mut headers = IndexMap::new();
        while let Some((name, value)) = map.next_entry::<String, String>()? {
            if headers.insert(name.clone(), value).is_some() {
                return Err(serde::de::Error::custom(format_args!("must not have {name} twice")));
            }
        }
        Ok(Headers(headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &str) -> Result<EmailSend, InvalidField> {
        EmailSend::parse(&format!(r#"{{"to":"a@example.com","subject":"s","body":"b"{fields}}}"#))
    }

    fn refused(fields: &str) -> String {
        parse(fields).expect_err(fields).within("payload").to_string()
    }

    fn addresses(list: &[Mailbox]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_or_several_addresses() {
        let email = parse("").expect("fits");
        assert_eq!((email.to.len(), email.cc.len(), email.bcc.len()), (1, 0, 0));
        let json = r#"{"to":["Ada <a@example.com>","b@example.com"],"cc":"c@example.com","bcc":["e@example.com"],
            "reply_to":"d@example.com","subject":"s","body":"b","html":"<b>b</b>"}"#;
        let email = EmailSend::parse(json).expect("fits");
        assert_eq!((email.to.len(), email.cc.len(), email.bcc.len()), (2, 1, 1));
        assert_eq!(email.to[0].to_string(), "Ada <a@example.com>");
        assert_eq!(email.reply_to.expect("given").to_string(), "d@example.com");
        assert_eq!(email.html.as_deref(), Some("<b>b</b>"));
        let nulls = r#","cc":null,"bcc":null,"reply_to":null,"html":null,"headers":null,"attachments":null"#;
        let email = parse(nulls).expect("null is absent");
        assert_eq!((email.cc.len(), email.bcc.len(), email.reply_to, email.attachments.len()), (0, 0, None, 0));
    }

    #[test]
    fn who_is_named_twice_gets_it_once_by_the_first_of_the_lists() {
        let json = r#"{"to":["Ada <a@example.com>","A@Example.com","b@example.com"],"cc":["a@example.COM","c@example.com"],
            "bcc":["C@example.com","d@bücher.example","d@xn--bcher-kva.example"],"subject":"s","body":"b"}"#;
        let email = EmailSend::parse(json).expect("fits");
        assert_eq!(addresses(&email.to), ["Ada <a@example.com>", "b@example.com"]);
        assert_eq!(addresses(&email.cc), ["c@example.com"]);
        assert_eq!(addresses(&email.bcc), ["d@xn--bcher-kva.example"]);
    }

    #[test]
    fn an_email_goes_to_50_addresses_at_most_in_whichever_list() {
        let with = |to: usize, cc: usize, bcc: usize| {
            let several = |list: &str, count| (0..count).map(|n| format!("{list}{n}@example.com")).collect::<Vec<_>>();
            let json = serde_json::json!({
                "to": several("to", to), "cc": several("cc", cc), "bcc": several("bcc", bcc), "subject": "s", "body": "b",
            });
            EmailSend::parse(&json.to_string())
        };
        for (to, cc, bcc) in [(50, 0, 0), (1, 49, 0), (20, 20, 10)] {
            let email = with(to, cc, bcc).expect("fits");
            assert_eq!((email.to.len(), email.cc.len(), email.bcc.len()), (to, cc, bcc));
        }
        for (to, cc, bcc) in [(51, 0, 0), (1, 50, 0), (20, 20, 11), (1, 0, 50)] {
            let refused = with(to, cc, bcc).expect_err("too many");
            assert_eq!(refused.to_string(), "`to` `cc` and `bcc` together may have 50 addresses", "{to} {cc} {bcc}");
        }
        let same = serde_json::json!({ "to": vec!["a@example.com"; 60], "subject": "s", "body": "b" });
        assert_eq!(EmailSend::parse(&same.to_string()).expect("it is one address").to.len(), 1);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let of = |json: &str| EmailSend::parse(json).expect_err(json).within("payload").to_string();
        assert_eq!(of(r#"{"subject":"s","body":"b"}"#), "`payload.to` is required");
        assert_eq!(of(r#"{"to":[],"subject":"s","body":"b"}"#), "`payload.to` must have at least one address");
        let nobody = "`payload.to[1]` must be an e-mail address, which \"nobody\" is not";
        assert_eq!(of(r#"{"to":["a@example.com","nobody"],"subject":"s","body":"b"}"#), nobody);
        let number = "`payload.to` must be an e-mail address or an array of them, not the number 7";
        assert_eq!(of(r#"{"to":7,"subject":"s","body":"b"}"#), number);
        let lines = "`payload.subject` must be one line without control characters";
        assert_eq!(of(r#"{"to":"a@example.com","subject":"s\r\nBcc: e@example.com","body":"b"}"#), lines);
        assert_eq!(refused(r#","from":"x""#), "`payload.from` is not a known field");
        for field in ["cc", "bcc", "reply_to"] {
            let problem = refused(&format!(r#","{field}":"grüße@example.com""#));
            assert!(problem.starts_with(&format!("`payload.{field}` must have only ASCII before its @")), "{problem}");
        }
        for length in [999, 2000] {
            let json = serde_json::json!({ "to": "a@example.com", "subject": "s".repeat(length), "body": "b" });
            assert_eq!(of(&json.to_string()), "`payload.subject` must be at most 998 bytes long", "{length}");
        }
        for field in ["body", "html"] {
            let json = serde_json::json!({ "to": "a@example.com", "subject": "s", "body": "b", field: "a\0b" });
            assert_eq!(of(&json.to_string()), format!("`payload.{field}` must not have the character U+0000 in it"));
        }
    }

    #[test]
    fn headers_of_ones_own_are_taken_and_those_of_the_message_are_not() {
        let json = r#","headers":{"List-Unsubscribe":"<https://example.com/u>","X-Tag":"grün","In-Reply-To":"<a@b>"}"#;
        let Headers(headers) = parse(json).expect("fits").headers;
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["List-Unsubscribe", "X-Tag", "In-Reply-To"]);
        for name in [
            "from",
            "TO",
            "Cc",
            "bcc",
            "Sender",
            "Reply-To",
            "Subject",
            "Date",
            "Message-ID",
            "MIME-Version",
            "Content-Type",
            "content-transfer-encoding",
            "Return-Path",
            "Received",
            "Received-SPF",
            "Resent-To",
            "DKIM-Signature",
            "ARC-Seal",
            "Authentication-Results",
            "X-SES-CONFIGURATION-SET",
        ] {
            let problem = format!("`payload.headers.{name}` is a header that the message itself is made of");
            assert_eq!(refused(&format!(r#","headers":{{"{name}":"x"}}"#)), problem);
        }
        for (headers, problem) in [
            (r#"{"X-A":"a\r\nBcc: e@example.com"}"#, "`payload.headers.X-A` must be one line of at most 900 bytes"),
            (r#"{"X-A":"1","x-a":"2"}"#, "`payload.headers.x-a` is given twice"),
            (r#"{"X-A":"1","X-A":"2"}"#, "`payload.headers` must not have X-A twice"),
            (r#"{"X A":"1"}"#, "`payload.headers.X A` must be a header's name: 1 to 76 letters, digits and hyphens"),
            (r#"{"":"1"}"#, "`payload.headers` must be a header's name: 1 to 76 letters, digits and hyphens"),
            (r#"{"X-A":1}"#, "`payload.headers.X-A` must be a string, not the number 1"),
            (r#"["X-A"]"#, "`payload.headers` must be an object of headers by their names, not an array"),
        ] {
            assert_eq!(refused(&format!(r#","headers":{headers}"#)), problem);
        }
        let many = (0..21).map(|number| format!(r#","X-{number}":"1""#)).collect::<Vec<_>>().concat();
        assert_eq!(refused(&format!(r#","headers":{{{}}}"#, &many[1..])), "`payload.headers` must be at most 20");
        let long = format!(r#","headers":{{"X-A":"{}"}}"#, "x".repeat(901));
        assert_eq!(refused(&long), "`payload.headers.X-A` must be one line of at most 900 bytes");
    }

    #[test]
    fn an_attachment_is_a_file_or_holds_one() {
        let json = r#","html":"<img src='cid:logo'>","attachments":[
            {"name":"Rechnung ü.pdf","content":"JVBERi0=\r\n","content_type":"application/pdf"},
            {"name":"report.csv","file":"reports/1.csv","content":null},
            {"name":"logo.png","content":"data:image/png;base64,iVBORw","content_type":"image/png","content_id":"logo"}]"#;
        let attachments = parse(json).expect("fits").attachments;
        assert_eq!(attachments[0].content.as_ref().expect("given").0, b"%PDF-");
        assert_eq!(attachments[1].file.as_ref().expect("given").as_str(), "reports/1.csv");
        assert_eq!(attachments[2].content_id.as_deref(), Some("logo"));
        for (attachment, problem) in [
            (r#"{"name":"a"}"#, "[0].content` or `file` is required"),
            (r#"{"content":"YQ=="}"#, "[0].name` is required"),
            (r#"{"name":"","content":"YQ=="}"#, "[0].name` must be 1 to 200 characters without slashes"),
            (r#"{"name":"../a","content":"YQ=="}"#, "[0].name` must be 1 to 200 characters without slashes"),
            (r#"{"name":"a\r\nb","content":"YQ=="}"#, "[0].name` must be 1 to 200 characters without slashes"),
            (r#"{"name":"a","content":"*"}"#, "[0].content` must be base64: "),
            (r#"{"name":"a","file":"../a"}"#, "[0].file` does not fit: a file name is made of letters"),
            (r#"{"name":"a","file":"a","content":"YQ=="}"#, "[0].file` and `content` cannot both be given"),
            (r#"{"name":"a","file":"a","content_type":"pdf"}"#, "[0].content_type` must be a media type such as"),
            (r#"{"name":"a","file":"a","content_type":"message/rfc822"}"#, "[0].content_type` must be a media type"),
            (r#"{"name":"a","file":"a","content_type":"text/csv; charset"}"#, "[0].content_type` must be a media type"),
            (r#"{"name":"a","file":"a","content_type":"text/csv;"}"#, "[0].content_type` must be a media type"),
            (r#"{"name":"a","file":"a","content_type":"a/b\r\nBcc: c"}"#, "[0].content_type` must be a media type"),
            (r#"{"name":"a","file":"a","content_id":"logo"}"#, "[0].content_id` is for what `html` shows"),
            (r#"{"name":"a","file":"a","content_id":"<a>"}"#, "[0].content_id` must be 1 to 100 letters"),
        ] {
            let told = refused(&format!(r#","attachments":[{attachment}]"#));
            assert!(told.starts_with(&format!("`payload.attachments{problem}")), "{told}");
        }
        for content_type in ["text/csv; charset=utf-8", "text/calendar;method=REQUEST;  charset=utf-8", "image/svg+xml"]
        {
            let attachment = format!(r#","attachments":[{{"name":"a","file":"a","content_type":"{content_type}"}}]"#);
            assert_eq!(parse(&attachment).expect("fits").attachments[0].content_type.as_deref(), Some(content_type));
        }
        let twice = [r#"{"name":"a","file":"a","content_id":"logo"}"#; 2].join(",");
        assert_eq!(
            refused(&format!(r#","html":"h","attachments":[{twice}]"#)),
            "`payload.attachments[1].content_id` is that of another attachment"
        );
        let many = [r#"{"name":"a","file":"a"}"#; 11].join(",");
        assert_eq!(refused(&format!(r#","attachments":[{many}]"#)), "`payload.attachments` must be at most 10");
    }
}
