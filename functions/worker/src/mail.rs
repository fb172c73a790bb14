//! Where e-mail goes.

mod smtp;

use std::path::PathBuf;

use anyhow::Context as _;
use lettre::Message;
use lettre::message::Mailbox;
use shared::values::chain::Chain;
use shared_aws::clients::SdkConfig;
use shared_aws::ses::{Ses, SesError};
use shared_aws::settings::MailUrl;

use self::smtp::SmtpServer;
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
    Smtp(SmtpServer),
    Ses(Ses),
}

impl Mailer {
    /// The way to send that `url` names. Connects to nothing yet.
    pub fn new(url: &MailUrl, from: Mailbox, config: &SdkConfig) -> anyhow::Result<Self> {
        let transport = match url {
            MailUrl::Folder(path) => Transport::Folder(path.clone()),
            MailUrl::Smtp(url) => {
                let server = SmtpServer::at(url);
                Transport::Smtp(server.context("MAIL_URL does not fit: no SMTP server can be reached by it")?)
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
                server.send(&self.from.email, message.envelope().to(), &message.formatted()).await?;
                Ok(Delivered::AsComposed)
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
