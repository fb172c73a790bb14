//! E-mail by the SES v2 API.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::error::ProvideErrorMetadata;
use aws_sdk_sesv2::operation::send_email::SendEmailError;
use aws_sdk_sesv2::primitives::Blob;
use aws_sdk_sesv2::types::{Destination, EmailContent, RawMessage};

use crate::clients::patient;

/// SES in one region.
#[derive(Clone, Debug)]
pub struct Ses(Client);

/// How long SES may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Why SES did not send an e-mail. Carries SES's own code for it and not its words, which may hold addresses.
#[derive(Debug, thiserror::Error)]
pub enum SesError {
    /// It will never send this one: its content or an address was refused.
    #[error("SES refused the e-mail ({0})")]
    Refused(String),
    /// It did not answer, or sending is held up for now.
    #[error("SES did not send the e-mail now ({0})")]
    NotNow(String),
}

impl Ses {
    /// SES in the region of `config`. Asks once: if the answer is lost, the e-mail may be on its way, and to ask again
    /// would send it twice. That is for the job to decide, which counts its attempts.
    pub fn new(config: &SdkConfig) -> Self {
        let config = aws_sdk_sesv2::config::Builder::from(config).retry_config(RetryConfig::disabled());
        Self(Client::from_conf(config.timeout_config(patient(TIMEOUT, TIMEOUT)).build()))
    }

    /// Sends a whole message (RFC 5322) from and to these bare addresses. Gives the id by which SES knows it: SES puts
    /// its own Message-ID in place of the message's.
    pub async fn send(&self, from: &str, to: Vec<String>, message: Vec<u8>) -> Result<String, SesError> {
        let message = RawMessage::builder().data(Blob::new(message)).build();
        let message = message.map_err(|_| SesError::Refused("no message".to_owned()))?;
        let send = self.0.send_email().from_email_address(from);
        let send = send.destination(Destination::builder().set_to_addresses(Some(to)).build());
        match send.content(EmailContent::builder().raw(message).build()).send().await {
            Ok(answer) => Ok(answer.message_id.unwrap_or_default()),
            Err(error) => {
                let code = error.code().unwrap_or("no answer").to_owned();
                match error.as_service_error() {
                    Some(SendEmailError::BadRequestException(_) | SendEmailError::MessageRejected(_)) => {
                        Err(SesError::Refused(code))
                    }
                    // Everything else may pass: throttling, a paused account, no answer.
                    Some(_) | None => Err(SesError::NotNow(code)),
                }
            }
        }
    }
}
