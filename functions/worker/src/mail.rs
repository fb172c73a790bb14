//! Where e-mail goes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use lettre::message::Mailbox;
use lettre::transport::smtp::Error as SmtpError;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
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

/// How long to wait for a mail server to take a connection.
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

    /// Sends `message`. Where e-mail becomes files, gives the file's name, made of `name`.
    pub async fn send(&self, name: &str, message: &Message) -> Result<Option<String>, JobError> {
        match &self.transport {
            Transport::Folder(folder) => {
                let written = create_in(folder.clone(), format!("{name}.eml"), message.formatted()).await;
                let error = |error| JobError::retry("the e-mail could not be written").detail(format!("{error:#}"));
                written.map(Some).map_err(error)
            }
            Transport::Smtp(server) => {
                let sent = server.send_raw(message.envelope(), &message.formatted()).await;
                sent.map(|_| None).map_err(|error| from_smtp(&error))
            }
            Transport::Ses(ses) => {
                let to = message.envelope().to().iter().map(ToString::to_string).collect();
                let sent = ses.send(&self.from.to_string(), to, message.formatted()).await;
                sent.map(|()| None).map_err(|error| from_ses(&error))
            }
        }
    }
}

/// A 5xx answer stays what it is however often one asks (RFC 5321, section 4.2.1); all else may pass.
fn from_smtp(error: &SmtpError) -> JobError {
    let detail = chain(error);
    let code = error.status().map(u16::from);
    match code {
        Some(code) if error.is_permanent() => {
            JobError::give_up(format!("the mail server refused the e-mail with {code}")).detail(detail)
        }
        Some(code) => JobError::retry(format!("the mail server did not take the e-mail now, with {code}")).detail(detail),
        None => JobError::retry("the mail server could not be reached").detail(detail),
    }
}

fn from_ses(error: &SesError) -> JobError {
    let detail = chain(error);
    match error {
        SesError::Refused(_) => JobError::give_up("SES refused the e-mail").detail(detail),
        SesError::NotNow(_) => JobError::retry("SES did not send the e-mail now").detail(detail),
    }
}

/// What an error says, and all that lie beneath it, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut said = vec![error.to_string()];
    let mut beneath = error.source();
    while let Some(error) = beneath {
        let text = error.to_string();
        if !said.iter().any(|earlier| earlier.contains(&text)) {
            said.push(text);
        }
        beneath = error.source();
    }
    said.join(": ")
}
