//! Where e-mail goes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use lettre::message::Mailbox;
use lettre::transport::smtp::Error as SmtpError;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use shared::chain::Chain;
use shared_aws::clients::SdkConfig;
use shared_aws::ses::{Ses, SesError};
use shared_aws::settings::MailUrl;

use crate::JobError;
use crate::output::create_in;

/// Sends e-mail, all of it from one sender.
pub struct Mailer {
    /// The sender.
    pub from: Mailbox,
    transport: Transport,
}

enum Transport {
    Folder(PathBuf),
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Ses(Ses),
}

/// How long to wait for a mail server to take a connection. What follows is bound by the job's own timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Mailer {
    /// The way to send that `url` names. Connects to nothing yet.
    pub fn new(url: &MailUrl, from: &str, config: &SdkConfig) -> anyhow::Result<Self> {
        let from = from.parse().context("MAIL_FROM does not fit: it must be an e-mail address")?;
        let transport = match url {
            MailUrl::Folder(path) => Transport::Folder(path.clone()),
            MailUrl::Smtp(url) => {
                let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(url);
                let server = server.context("MAIL_URL does not fit: no SMTP server can be reached by it")?;
                Transport::Smtp(server.timeout(Some(CONNECT_TIMEOUT)).build())
            }
            MailUrl::Ses => Transport::Ses(Ses::new(config)),
        };
        Ok(Self { from, transport })
    }

    /// Sends `message`, under `name` where e-mails become files.
    pub async fn send(&self, name: &str, message: &Message) -> Result<Delivered, JobError> {
        match &self.transport {
            Transport::Folder(folder) => {
                let written = create_in(folder.clone(), format!("{name}.eml"), message.formatted()).await;
                let error = |error: anyhow::Error| {
                    JobError::retry("the e-mail could not be written").because(Chain(error.as_ref()))
                };
                written.map(Delivered::File).map_err(error)
            }
            Transport::Smtp(server) => {
                let sent = server.send_raw(message.envelope(), &message.formatted()).await;
                sent.map(|_| Delivered::AsComposed).map_err(|error| from_smtp(&error))
            }
            Transport::Ses(ses) => {
                let to = message.envelope().to().iter().map(ToString::to_string).collect();
                let sent = ses.send(self.from.email.as_ref(), to, message.formatted()).await;
                sent.map(Delivered::Renamed).map_err(|error| match error {
                    SesError::Refused(_) => JobError::give_up(error.to_string()),
                    SesError::NotNow(_) => JobError::retry(error.to_string()),
                })
            }
        }
    }
}

/// How an e-mail went out.
#[derive(Debug)]
pub enum Delivered {
    /// Into this file.
    File(String),
    /// As it was composed.
    AsComposed,
    /// Under this id instead of the Message-ID that it was composed with.
    Renamed(String),
}

/// A 5xx answer stays what it is however often one asks (RFC 5321, section 4.2.1), and so does a message that the
/// server has no way to take; all else may pass.
fn from_smtp(error: &SmtpError) -> JobError {
    match error.status().map(u16::from) {
        Some(code) if error.is_permanent() => {
            JobError::give_up(format!("the mail server refused the e-mail with {code}")).detail(Chain(error))
        }
        Some(code) => {
            JobError::retry(format!("the mail server did not take the e-mail now, with {code}")).detail(Chain(error))
        }
        None if error.is_client() => {
            JobError::give_up("the mail server has no way to take the e-mail").detail(Chain(error))
        }
        None => JobError::retry("the mail server could not be reached").because(Chain(error)),
    }
}
