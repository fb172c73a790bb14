//! `email-send`: one e-mail.

mod headers;

use std::time::{Duration, UNIX_EPOCH};

use lettre::Message;
use lettre::address::Envelope;
use lettre::message::header::{ContentId, ContentTransferEncoding, ContentType};
use lettre::message::{Mailbox, MultiPart, MultiPartBuilder, SinglePart};
use serde::Serialize;
use shared::payloads::email_send::{Attachment, EmailSend, Headers};
use shared::values::id::JobId;
use shared::values::time::Timestamp;

use crate::job_types::Run;
use crate::mail::Delivered;
use crate::{Context, JobError, Outputs};

/// What is known of an e-mail that was sent.
#[derive(Debug, Serialize)]
pub struct Sent {
    /// Its Message-ID or, where SES has put its own in place of it, the id by which SES knows it.
    message_id: String,
    /// Where the e-mail is, if e-mails become files.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

/// The most bytes of attachments in one e-mail, before they become base64. Many mail servers take messages of 10 MB.
const MOST_ATTACHED: u64 = 7 * 1024 * 1024;

impl Run for EmailSend {
    type Output = Sent;

    async fn run(self, context: Context) -> Result<Sent, JobError> {
        let mailer = &context.tools.mailer;
        let contents = contents_of(&self.attachments, context.outputs.as_ref()).await?;
        let frame = Frame { from: &mailer.from, job_id: context.job_id, date: context.created_at };
        let message = frame.compose(self, contents);
        let message = message.map_err(|error| JobError::give_up("the e-mail could not be composed").detail(error))?;
        let message_id = frame.message_id();
        Ok(match mailer.send(&context.job_id.to_string(), &message).await? {
            Delivered::File(file) => Sent { message_id, file: Some(file) },
            Delivered::AsComposed => Sent { message_id, file: None },
            Delivered::Renamed(message_id) => Sent { message_id, file: None },
        })
    }
}

/// What is in the attachments, in their order.
async fn contents_of(attachments: &[Attachment], outputs: &dyn Outputs) -> Result<Vec<Vec<u8>>, JobError> {
    let too_large = || JobError::give_up(format!("the attachments are together more than {MOST_ATTACHED} bytes long"));
    let (mut contents, mut left) = (vec![], MOST_ATTACHED);
    for attachment in attachments {
        let content = match (&attachment.content, &attachment.file) {
            (Some(content), _) => content.0.clone(),
            (None, Some(name)) => match outputs.read(name, left).await {
                Ok(Some(content)) => content,
                Ok(None) => return Err(JobError::give_up("there is no such file to attach").detail(name)),
                Err(shared::ports::files::FileError::TooLarge(_)) => return Err(too_large()),
                Err(error) => return Err(error.into()),
            },
            (None, None) => vec![], // no such attachment passes the door
        };
        left = left.checked_sub(content.len() as u64).ok_or_else(too_large)?;
        contents.push(content);
    }
    Ok(contents)
}

/// What of a message comes from the job and the deployment. The message is the same to the byte for every attempt.
struct Frame<'a> {
    from: &'a Mailbox,
    job_id: JobId,
    date: Timestamp,
}

impl Frame<'_> {
    /// The same for every attempt of a job, so that mail servers and readers can tell a repetition. (SES sends under an
    /// id of its own.)
    fn message_id(&self) -> String {
        format!("<{}@{}>", self.job_id, self.from.email.domain())
    }

    /// The message, with these contents of its attachments.
    fn compose(&self, email: EmailSend, contents: Vec<Vec<u8>>) -> anyhow::Result<Message> {
        let EmailSend { to, cc, bcc, reply_to, subject, body, html, headers: Headers(own), attachments } = email;
        let everybody = to.iter().chain(&cc).chain(&bcc).map(|mailbox| mailbox.email.clone()).collect();
        let date = UNIX_EPOCH + Duration::from_millis(u64::try_from(self.date.as_millis()).unwrap_or(0));
        let mut message = Message::builder()
            .envelope(Envelope::new(Some(self.from.email.clone()), everybody)?)
            .raw_header(headers::addresses("From", std::slice::from_ref(self.from)))
            .date(date)
            .message_id(Some(self.message_id()))
            .raw_header(headers::addresses("To", &to));
        if !cc.is_empty() {
            message = message.raw_header(headers::addresses("Cc", &cc));
        }
        if let Some(reply_to) = &reply_to {
            message = message.raw_header(headers::addresses("Reply-To", std::slice::from_ref(reply_to)));
        }
        message = message.raw_header(headers::text("Subject".to_owned(), subject)?);
        for (name, value) in own {
            message = message.raw_header(headers::text(name, value.trim_ascii().to_owned())?);
        }
        let (shown, attached): (Vec<_>, Vec<_>) =
            attachments.into_iter().zip(contents).partition(|(attachment, _)| attachment.content_id.is_some());
        let text = SinglePart::plain(with_line_ends(&body));
        let html = html.map(|html| SinglePart::html(with_line_ends(&html)));
        let Some(html) = html else {
            return Ok(if attached.is_empty() {
                message.singlepart(text)?
            } else {
                message
                    .multipart(with_parts(self.multipart("files", MultiPart::mixed()).singlepart(text), attached)?)?
            });
        };
        let both = self.multipart("part", MultiPart::alternative()).singlepart(text);
        let both = if shown.is_empty() {
            both.singlepart(html)
        } else {
            both.multipart(with_parts(self.multipart("shown", MultiPart::related()).singlepart(html), shown)?)
        };
        Ok(if attached.is_empty() {
            message.multipart(both)?
        } else {
            message.multipart(with_parts(self.multipart("files", MultiPart::mixed()).multipart(both), attached)?)?
        })
    }

    /// The same boundary in every attempt, and another for each kind.
    fn multipart(&self, kind: &str, builder: MultiPartBuilder) -> MultiPartBuilder {
        builder.boundary(format!("{kind}-{}", self.job_id))
    }
}

/// CR, LF and CRLF are all the end of a line. A CR that stays alone gets to some servers as a line's end, and what the
/// client took to be within the line is then the beginning of one: a dot, say, which ends the message.
/// <https://www.rfc-editor.org/rfc/rfc5322#section-2.3>
fn with_line_ends(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n") // the library makes CRLF of each LF
}

fn with_parts(mut parts: MultiPart, files: Vec<(Attachment, Vec<u8>)>) -> anyhow::Result<MultiPart> {
    for (Attachment { name, content_type, content_id, .. }, content) in files {
        let content_type = ContentType::parse(content_type.as_deref().unwrap_or("application/octet-stream"))?;
        let part = SinglePart::builder().header(headers::Disposition::of(&name, content_id.is_some()));
        let part = match content_id {
            Some(id) => part.header(ContentId::from(format!("<{id}>"))),
            None => part,
        };
        // Left to itself the library sends a file of ASCII as it is, with its own ends of lines: the file would arrive
        // as another, and what comes after a lone CR or LF in it may be a command to the server.
        let part = part.header(content_type).header(ContentTransferEncoding::Base64);
        parts = parts.singlepart(part.body(content));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    use serde_json::{Value, json};
    use shared::job_type::Payload;
    use shared::payloads::email_send::parse_address;

    use super::*;

    fn message(payload: &Value) -> Message {
        message_from("Dray <dray@example.com>", payload)
    }

    fn message_from(from: &str, payload: &Value) -> Message {
        let from = parse_address(from).expect("an address");
        let job_id: JobId = "01938e5c-7a00-7000-8000-000000000000".parse().expect("an id");
        let email = EmailSend::parse(&payload.to_string()).expect("fits");
        let frame = Frame { from: &from, job_id, date: Timestamp::from_millis(1_800_000_000_000) };
        let contents = email.attachments.iter().map(|one| one.content.clone().expect("none is in a file").0).collect();
        frame.compose(email, contents).expect("composes")
    }

    fn composed(payload: &Value) -> String {
        String::from_utf8(message(payload).formatted()).expect("ASCII")
    }

    /// An e-mail with these fields beside those that it needs, in place of them.
    fn email(fields: &Value) -> Value {
        let mut email = json!({ "to": "a@example.com", "subject": "s", "body": "b" });
        for (name, value) in fields.as_object().expect("an object") {
            email[name] = value.clone();
        }
        email
    }

    #[test]
    fn every_attempt_composes_the_same_message() {
        let payload = email(&json!({ "cc": ["c@example.com"], "reply_to": "r@example.com", "subject": "Grüße",
            "body": "Hello", "html": "<p>Hello</p>", "headers": { "List-Unsubscribe": "<https://example.com/u>" },
            "attachments": [{ "name": "a.txt", "content": "YQ==" }, { "name": "l", "content": "YQ", "content_id": "l" }] }));
        let message = composed(&payload);
        assert_eq!(message, composed(&payload));
        for line in [
            "From: Dray <dray@example.com>",
            "To: a@example.com",
            "Cc: c@example.com",
            "Reply-To: r@example.com",
            "Message-ID: <01938e5c-7a00-7000-8000-000000000000@example.com>",
            "Date: Fri, 15 Jan 2027 08:00:00 +0000",
            "List-Unsubscribe: <https://example.com/u>",
        ] {
            assert!(message.lines().any(|there| there == line), "{line} in {message}");
        }
        for kind in ["multipart/mixed", "multipart/alternative", "multipart/related"] {
            assert_eq!(message.matches(kind).count(), 1, "{message}");
        }
    }

    #[test]
    fn a_blind_copy_is_in_the_envelope_alone() {
        let message =
            message(&email(&json!({ "cc": "c@example.com", "bcc": ["b@example.com", "Bob <d@example.com>"] })));
        let to: Vec<_> = message.envelope().to().iter().map(ToString::to_string).collect();
        assert_eq!(to, ["a@example.com", "c@example.com", "b@example.com", "d@example.com"]);
        let text = String::from_utf8(message.formatted()).expect("ASCII");
        assert!(!text.contains("b@example.com") && !text.contains("d@example.com") && !text.contains("Bcc"), "{text}");
    }

    /// What Python's reader makes of messages: a reader that we did not write, and that knows RFC 2047 and 2231.
    fn read_by_python(messages: &[String]) -> Vec<Value> {
        const READ: &str = r#"
import base64, email, email.header, email.policy, email.utils, json, re, sys

def people(value):  # the policy's own reader puts blanks between the encoded words of a name
    decoded = lambda name: str(email.header.make_header(email.header.decode_header(name)))
    return [[decoded(name), address] for name, address in email.utils.getaddresses([re.sub("\r?\n", "", value)])]

for line in sys.stdin:
    message = email.message_from_string(json.loads(line), policy=email.policy.default)
    plainly = email.message_from_string(json.loads(line))
    parts = [part for part in message.walk() if not part.is_multipart()]
    print(json.dumps({
        "names": [name.lower() for name in message.keys()],
        "subject": str(message["subject"]),
        "from": people(plainly["from"]),
        "to": people(plainly["to"]),
        "headers": {name: str(value) for name, value in message.items()},
        "defects": [str(defect) for part in message.walk() for defect in part.defects],
        "texts": [part.get_content() for part in parts if part.get_content_maintype() == "text"],
        "files": [[part.get_filename(), part.get_content_type(), base64.b64encode(part.get_payload(decode=True)).decode()]
                  for part in parts if part.get_filename()],
    }))
"#;
        let mut command = Command::new("python3");
        let mut python =
            command.args(["-c", READ]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        let mut input = python.stdin.take().expect("piped");
        let lines = messages.iter().map(|text| format!("{}\n", json!(text))).collect::<Vec<_>>().concat();
        let writing = std::thread::spawn(move || input.write_all(lines.as_bytes()).expect("it reads"));
        let output = python.wait_with_output().expect("it ends");
        writing.join().expect("written");
        assert!(output.status.success());
        let answers = String::from_utf8(output.stdout).expect("ASCII");
        let answers: Vec<_> = answers.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(answers.len(), messages.len());
        answers
    }

    /// No line is longer than a mail server takes, or than one with an encoded word may be (RFC 2047, section 2), no line
    /// end stands alone, and all is ASCII.
    fn check_lines(message: &str) {
        assert!(message.is_ascii());
        assert!(!message.replace("\r\n", "").contains(['\r', '\n', '\0']), "{message:?}");
        for line in message.split("\r\n") {
            let most = if line.contains("=?utf-8?b?") { 76 } else { 998 };
            assert!(line.len() <= most, "{} octets: {line}", line.len());
        }
    }

    #[test]
    fn a_reader_sees_the_text_that_was_sent_and_no_other_header() {
        let long = |word: &str, times: usize| word.repeat(times);
        let texts = [
            "Hello",
            "",
            "a  b   c",
            " leading and trailing ",
            "Grüße aus Köln",
            "日本語の件名です",
            "=?utf-8?q?a=0D=0ABcc:_evil@example.com?=",
            "x =?utf-8?b?YQ==?= y",
            "=?",
            "a=?b c?=d",
            "Bcc: e@example.com",
            "quotes \" and \\ and 'these'",
            "<b>, (c); d: e@f",
            &long("x", 998),
            &long("ü", 499),
            &long("word ", 199),
            &long("日", 332),
            "🦀 emoji 👩‍👩‍👧 end",
        ];
        let payloads: Vec<_> = texts.iter().map(|text| email(&json!({ "subject": text }))).collect();
        let messages: Vec<_> = payloads.iter().map(composed).collect();
        for (message, (read, text)) in messages.iter().zip(read_by_python(&messages).iter().zip(texts)) {
            check_lines(message);
            assert_eq!(read["subject"], text, "{message}");
            assert_eq!(read["defects"], json!([]), "{message}");
            assert!(!read["names"].as_array().expect("names").contains(&json!("bcc")), "{message}");
        }
    }

    #[test]
    fn a_reader_sees_the_names_and_addresses_that_were_sent_at_our_own_limits() {
        let names = [
            "Ada",
            "Lovelace, Ada",
            "Grüße",
            "a \"b\" c",
            "=?utf-8?q?a=0D=0ABcc:_evil@x.example?=",
            "日本語",
            "O'Neill-Smith_x",
            "Dr. Who",
            &"n".repeat(300),
            &"ü".repeat(300),
            "e@example.com",
            "a\\b",
            "(c) d;",
        ];
        let named = |name: &str| format!("\"{}\" <a@example.com>", name.replace('\\', "\\\\").replace('"', "\\\""));
        let mut payloads: Vec<_> = names.iter().map(|name| email(&json!({ "to": named(name) }))).collect();
        let domain = ["d".repeat(60), "e".repeat(60), "f".repeat(60), "example".to_owned()].join(".");
        let many = |count: usize| -> Vec<_> { (0..count).map(|n| format!("{n:064}@{domain}")).collect() };
        payloads.push(email(&json!({ "to": many(50) })));
        let messages: Vec<_> = payloads.iter().map(composed).collect();
        let read = read_by_python(&messages);
        for (message, (read, name)) in messages.iter().zip(read.iter().zip(names)) {
            check_lines(message);
            assert_eq!(read["to"], json!([[name, "a@example.com"]]), "{message}");
            assert_eq!(read["from"], json!([["Dray", "dray@example.com"]]));
        }
        check_lines(&messages[names.len()]);
        let expected: Vec<_> = many(50).into_iter().map(|address| json!(["", address])).collect();
        assert_eq!(read[names.len()]["to"], json!(expected), "50 addresses, as long as they can be");
    }

    #[test]
    fn a_lone_end_of_a_line_is_one_and_no_line_of_a_text_is_a_command() {
        for (text, lines) in [
            ("hi\r.\r\nMAIL FROM:<evil@x>", "hi\n.\nMAIL FROM:<evil@x>"),
            ("a\rb\nc\r\nd", "a\nb\nc\nd"),
            ("\r", "\n"),
            ("\r\r\n\n", "\n\n\n"),
            ("a\u{1}\u{7f}b", "a\u{1}\u{7f}b"),
            ("Grüße\rü", "Grüße\nü"),
            (".\r\n..\r\n", ".\n..\n"),
        ] {
            let message = composed(&email(&json!({ "body": text, "html": text })));
            check_lines(&message);
            for read in read_by_python(&[message])[0]["texts"].as_array().expect("texts") {
                let read = read.as_str().expect("a text").replace("\r\n", "\n");
                assert_eq!(read.trim_end_matches('\n'), lines.trim_end_matches('\n'), "{text:?}");
            }
        }
        let long = "x".repeat(100_000);
        check_lines(&composed(&email(&json!({ "body": long, "html": long }))));
    }

    #[test]
    fn a_reader_finds_the_attachments_by_their_names() {
        let names =
            ["a.pdf", "Rechnung ü.pdf", "a \"b\".txt", "日本語.txt", &"n".repeat(200), &"ü".repeat(200), "=?x?q?y?="];
        let attachments: Vec<_> = names.iter().map(|name| json!({ "name": name, "content": "JVBERi0=" })).collect();
        let types =
            json!([{ "name": "logo.png", "content": "iVBORw==", "content_type": "image/png", "content_id": "logo" }]);
        let messages = [
            composed(&email(&json!({ "attachments": attachments }))),
            composed(&email(&json!({ "attachments": types, "html": "<img src='cid:logo'>" }))),
        ];
        let read = read_by_python(&messages);
        let expected: Vec<_> = names.iter().map(|name| json!([name, "application/octet-stream", "JVBERi0="])).collect();
        assert_eq!(read[0]["files"], json!(expected), "{}", messages[0]);
        assert_eq!(read[1]["files"], json!([["logo.png", "image/png", "iVBORw=="]]));
        assert!(messages[1].contains("Content-ID: <logo>\r\n"), "{}", messages[1]);
        for message in &messages {
            check_lines(message);
        }
    }

    /// The library would send those of ASCII as they are.
    #[test]
    fn a_file_arrives_byte_for_byte_and_nothing_in_it_is_a_command() {
        let contents: [&[u8]; 8] = [
            b"hi\r.\r\nMAIL FROM:<evil@x>",
            b"a,b\n.\n1,2\n",
            b"a\0b",
            b"\r",
            b"trailing \t \r\n\r\n",
            b"--files-01938e5c-7a00-7000-8000-000000000000--\r\n",
            b"",
            &[b'x'; 2_000],
        ];
        let encoded = contents.map(|content| STANDARD.encode(content));
        for html in [Value::Null, json!("<img src='cid:logo'>")] {
            let attachment = |content: &String| json!({ "name": "f", "content": content, "content_type": "text/csv" });
            let mut attachments: Vec<_> = encoded.iter().map(attachment).collect();
            if html.is_string() {
                attachments[0]["content_id"] = json!("logo");
            }
            let message = composed(&email(&json!({ "html": html, "attachments": attachments })));
            check_lines(&message);
            assert!(!message.contains("MAIL FROM"), "{message}");
            let expected: Vec<_> = encoded.iter().map(|content| json!(["f", "text/csv", content])).collect();
            assert_eq!(read_by_python(&[message])[0]["files"], json!(expected));
        }
    }

    #[test]
    fn what_the_media_type_of_a_file_says_arrives_with_it() {
        for content_type in ["text/csv; charset=utf-8", "text/calendar;method=REQUEST; charset=UTF-8", "image/svg+xml"]
        {
            let attachments = json!([{ "name": "f", "content": "YQ==", "content_type": content_type }]);
            let message = composed(&email(&json!({ "attachments": attachments })));
            let sent = message.to_ascii_lowercase().replace("\r\n ", " ");
            let expected = format!("content-type: {}\r\n", content_type.to_ascii_lowercase());
            assert!(sent.contains(&expected), "{expected} in {message}");
        }
    }

    #[test]
    fn any_sender_that_the_settings_take_can_send() {
        for (from, name, address) in [
            ("\"john doe\"@example.com", "", "\"john doe\"@example.com"),
            ("Dray <dray@[127.0.0.1]>", "Dray", "dray@[127.0.0.1]"),
            ("\"Grüße, \\\"Dray\\\"\" <dray@bücher.example>", "Grüße, \"Dray\"", "dray@xn--bcher-kva.example"),
        ] {
            let message = message_from(from, &email(&json!({})));
            assert_eq!(message.envelope().from().map(ToString::to_string).as_deref(), Some(address));
            let message = String::from_utf8(message.formatted()).expect("ASCII");
            check_lines(&message);
            assert_eq!(read_by_python(&[message])[0]["from"], json!([[name, address]]));
        }
    }

    #[test]
    fn names_that_look_encoded_only_together_do_not() {
        let to = ["\"=?utf-8?q?a=0D=0ABcc:_e\" <a@example.com>", "b?= <b@example.com>"];
        let message = composed(&email(&json!({ "to": to })));
        assert!(!message.contains("=?utf-8?q?"), "{message}");
        let expected = json!([["=?utf-8?q?a=0D=0ABcc:_e", "a@example.com"], ["b?=", "b@example.com"]]);
        assert_eq!(read_by_python(&[message])[0]["to"], expected);
    }

    /// Texts up to a number of bytes, of what goes wrong elsewhere: blanks, quotes, half and whole encoded words, words
    /// without end.
    fn text(most: usize) -> impl Strategy<Value = String> {
        let pieces: Vec<_> = r#"a|=?|?=|=?utf-8?q?=0D=0A?=|"|\|<|>|,|:|;|@|ü|日|🦀| |  "#.split('|').collect();
        let pieces = prop::collection::vec(prop::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat());
        prop_oneof![
            3 => pieces,
            1 => prop::string::string_regex(&format!("[a-z]{{0,{most}}}")).expect("a pattern"),
            1 => "(([a-z]{1,12}|ü日) {1,3}){0,80}",
            1 => "\\PC{0,250}",
        ]
        .prop_map(move |mut text| {
            while text.len() > most {
                text.pop();
            }
            text
        })
    }

    #[test]
    fn whatever_the_api_takes_arrives_as_it_was_given() {
        let names = || prop::collection::vec(text(300), 1..4);
        let content = prop::collection::vec(any::<u8>(), 0..300);
        // Python strips blanks, quotes and angle brackets around the name of a file.
        let file_name = "[a-zü日=?_%*' ;\"]{0,150}".prop_map(|middle| format!("a{middle}z"));
        let payloads = (names(), names(), text(998), text(900), "[ -~\r\nü\t]{0,300}", file_name, content).prop_map(
            |(to, cc, subject, value, body, file_name, content)| {
                let named = |(index, name): (usize, &String)| {
                    let name = name.replace('\\', "\\\\").replace('"', "\\\"");
                    format!("\"{name}\" <{index}.{}@example.com>", name.len())
                };
                email(&json!({
                    "to": to.iter().enumerate().map(named).collect::<Vec<_>>(),
                    "cc": cc.iter().enumerate().map(named).collect::<Vec<_>>(),
                    "subject": subject, "headers": { "X-Own": value.trim_ascii() }, "body": body,
                    "attachments": [{ "name": file_name, "content": STANDARD.encode(content) }],
                }))
            },
        );
        let mut runner = TestRunner::deterministic();
        let payloads: Vec<_> = (0..300).map(|_| payloads.new_tree(&mut runner).expect("a payload").current()).collect();
        let messages: Vec<_> = payloads.iter().map(composed).collect();
        for (payload, (message, read)) in payloads.iter().zip(messages.iter().zip(read_by_python(&messages))) {
            check_lines(message);
            let email = EmailSend::parse(&payload.to_string()).expect("fits");
            let people = |list: &[Mailbox]| {
                let of = |one: &Mailbox| json!([one.name.as_deref().unwrap_or_default(), one.email.to_string()]);
                Value::Array(list.iter().map(of).collect())
            };
            assert_eq!(read["to"], people(&email.to), "{message}");
            assert_eq!(
                (&read["subject"], &read["headers"]["X-Own"]),
                (&json!(email.subject), &payload["headers"]["X-Own"])
            );
            let attachment = &payload["attachments"][0];
            let files = json!([[attachment["name"], "application/octet-stream", attachment["content"]]]);
            assert_eq!((&read["files"], &read["defects"]), (&files, &json!([])), "{message}");
            let mut names: Vec<_> = read["names"].as_array().expect("names").iter().map(Value::as_str).collect();
            names.sort_unstable();
            let mut expected =
                vec!["content-type", "date", "from", "message-id", "mime-version", "subject", "to", "x-own"];
            expected.extend((!email.cc.is_empty()).then_some("cc"));
            expected.sort_unstable();
            assert_eq!(names, expected.into_iter().map(Some).collect::<Vec<_>>(), "{message}");
        }
    }

    #[test]
    fn ones_own_headers_arrive_as_they_were_given() {
        let long = format!("<https://example.com/{}>", "u".repeat(870));
        let two = format!("<https://example.com/{}>,  <mailto:u@example.com>", "u".repeat(60));
        let headers = json!({ "List-Unsubscribe": long, "X-Name": "Grüße", "X-Two": "a b", "X-Blanks": two,
            "List-Id": "news <news.example.com>" });
        let message = composed(&email(&json!({ "headers": headers })));
        check_lines(&message);
        assert!(message.contains("\r\n <mailto:u@example.com>\r\n"), "a program can read it: {message}");
        let read = &read_by_python(&[message])[0]["headers"];
        for (name, value) in headers.as_object().expect("an object") {
            assert_eq!(&read[name], value);
        }
    }
}
