//! E-mail by the SES v2 API.

use aws_config::SdkConfig;
use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::operation::send_email::SendEmailError;
use aws_sdk_sesv2::primitives::Blob;
use aws_sdk_sesv2::types::{Destination, EmailContent, RawMessage};

/// SES in one region.
#[derive(Clone, Debug)]
pub struct Ses(Client);

/// Why SES did not send an e-mail.
#[derive(Debug, thiserror::Error)]
pub enum SesError {
    /// It will never send this one: its content or an address was refused.
    #[error("SES refused the e-mail")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It did not answer, or sending is held up for now.
    #[error("SES did not send the e-mail")]
    NotNow(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Ses {
    /// SES in the region of `config`.
    pub fn new(config: &SdkConfig) -> Self {
        Self(Client::new(config))
    }

    /// Sends a whole message (RFC 5322) to these addresses.
    pub async fn send(&self, from: &str, to: Vec<String>, message: Vec<u8>) -> Result<(), SesError> {
        let message = RawMessage::builder().data(Blob::new(message)).build().map_err(|e| SesError::Refused(e.into()))?;
        let sent = self.0.send_email().from_email_address(from);
        let sent = sent.destination(Destination::builder().set_to_addresses(Some(to)).build());
        let sent = sent.content(EmailContent::builder().raw(message).build()).send().await;
        sent.map(drop).map_err(|error| {
            let refused = match error.as_service_error() {
                Some(SendEmailError::BadRequestException(_) | SendEmailError::MessageRejected(_)) => true,
                // Everything else passes: throttling, a paused account, a sender yet to be verified, no answer at all.
                Some(_) | None => false,
            };
            if refused { SesError::Refused(error.into()) } else { SesError::NotNow(error.into()) }
        })
    }
}
