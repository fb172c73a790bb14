//! `email-send`: one e-mail.

use std::time::{Duration, UNIX_EPOCH};

use lettre::Message;
use lettre::message::{Mailbox, MultiPart, SinglePart};
use serde::Serialize;
use shared::id::JobId;
use shared::payloads::email_send::EmailSend;
use shared::time::Timestamp;

use crate::job_types::Run;
use crate::mail::Delivered;
use crate::{Context, JobError};

/// What is known of an e-mail that was sent.
#[derive(Debug, Serialize)]
pub struct Sent {
    /// Its Message-ID or, where SES has put its own in place of it, the id by which SES knows it.
    message_id: String,
    /// Where the e-mail is, if e-mails become files.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl Run for EmailSend {
    type Output = Sent;

    async fn run(self, context: Context) -> Result<Sent, JobError> {
        let mailer = &context.tools.mailer;
        let message_id = message_id(context.job_id, &mailer.from);
        let message = compose(self, &mailer.from, &message_id, context.job_id, context.created_at)
            .map_err(|error| JobError::give_up("the e-mail could not be composed").detail(error))?;
        Ok(match mailer.send(&context.job_id.to_string(), &message).await? {
            Delivered::File(file) => Sent { message_id, file: Some(file) },
            Delivered::AsComposed => Sent { message_id, file: None },
            Delivered::Renamed(message_id) => Sent { message_id, file: None },
        })
    }
}

/// The same for every attempt of a job, so that mail servers and readers can tell a repetition. (SES sends under an id
/// of its own.)
fn message_id(job_id: JobId, from: &Mailbox) -> String {
    format!("<{job_id}@{}>", from.email.domain())
}

/// The message, the same to the byte for every attempt.
fn compose(
    email: EmailSend,
    from: &Mailbox,
    message_id: &str,
    job_id: JobId,
    date: Timestamp,
) -> Result<Message, lettre::error::Error> {
    let date = UNIX_EPOCH + Duration::from_millis(u64::try_from(date.as_millis()).unwrap_or(0));
    let mut message = Message::builder().from(from.clone()).date(date).message_id(Some(message_id.to_owned()));
    for to in email.to {
        message = message.to(to);
    }
    for cc in email.cc {
        message = message.cc(cc);
    }
    if let Some(reply_to) = email.reply_to {
        message = message.reply_to(reply_to);
    }
    let message = message.subject(email.subject);
    let text = SinglePart::plain(email.body);
    match email.html {
        None => message.singlepart(text),
        Some(html) => {
            let both = MultiPart::alternative().boundary(format!("part-{job_id}"));
            message.multipart(both.singlepart(text).singlepart(SinglePart::html(html)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::job_type::Payload;

    fn composed(json: &str) -> String {
        let from: Mailbox = "Dray <dray@example.com>".parse().expect("an address");
        let job_id: JobId = "01938e5c-7a00-7000-8000-000000000000".parse().expect("an id");
        let email = EmailSend::parse(json).expect("fits");
        let date = Timestamp::from_millis(1_800_000_000_000);
        let message = compose(email, &from, &message_id(job_id, &from), job_id, date).expect("composes");
        String::from_utf8(message.formatted()).expect("ASCII")
    }

    #[test]
    fn every_attempt_composes_the_same_message() {
        let json = r#"{"to":"a@example.com","cc":["c@example.com"],"reply_to":"r@example.com","subject":"Grüße",
            "body":"Hello","html":"<p>Hello</p>"}"#;
        let message = composed(json);
        assert_eq!(message, composed(json));
        for line in [
            "From: Dray <dray@example.com>",
            "To: a@example.com",
            "Cc: c@example.com",
            "Reply-To: r@example.com",
            "Message-ID: <01938e5c-7a00-7000-8000-000000000000@example.com>",
            "Date: Fri, 15 Jan 2027 08:00:00 +0000",
        ] {
            assert!(message.lines().any(|there| there == line), "{line} in {message}");
        }
        assert!(message.contains("multipart/alternative"), "{message}");
    }

    #[test]
    fn no_text_becomes_a_header() {
        let message = composed(
            r#"{"to":"\"A: b\" <a@example.com>","subject":"Bcc: e@example.com","body":"Bcc: e@example.com\r\n\r\nx"}"#,
        );
        let headers = message.split("\r\n\r\n").next().expect("headers");
        assert!(!headers.lines().any(|line| line.starts_with("Bcc:")), "{headers}");
    }
}
