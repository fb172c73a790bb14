//! E-mail by SMTP.
//!
//! The conversation is held here, command by command, because the library's own says that a recipient was refused and not
//! which.

use std::time::Duration;

use anyhow::{Context as _, bail};
use lettre::Address;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Tls, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use shared::values::chain::Chain;
use url::Url;

use crate::JobError;

/// A mail server.
pub struct SmtpServer {
    host: String,
    port: u16,
    tls: Tls,
    hello: ClientId,
    credentials: Option<Credentials>,
}

/// How long to wait for a mail server to take a connection. What follows is bound by the job's own timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl SmtpServer {
    /// The server that `url` names: `smtp://host:port`, with `?tls=required` or `?tls=opportunistic` for STARTTLS, or
    /// `smtps://user:password@host`. A path is the name by which we greet it.
    pub fn at(url: &str) -> anyhow::Result<Self> {
        let url = Url::parse(url)?;
        let host = url.host_str().context("it names no host")?.to_owned();
        let tls = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
        let parameters = || TlsParameters::new(host.clone()).context("failed to set up TLS");
        let (tls, port) = match (url.scheme(), tls.as_deref()) {
            ("smtp", None) => (Tls::None, 25),
            ("smtp", Some("required")) => (Tls::Required(parameters()?), 587),
            ("smtp", Some("opportunistic")) => (Tls::Opportunistic(parameters()?), 587),
            ("smtps", _) => (Tls::Wrapper(parameters()?), 465),
            (_, _) => bail!("it must be smtp:// or smtps://, and `tls` required or opportunistic"),
        };
        let decoded = |text: &str| {
            let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
            decoded.map(std::borrow::Cow::into_owned).context("its user name or password is not UTF-8")
        };
        let credentials = match url.password() {
            None => None,
            Some(password) => Some(Credentials::new(decoded(url.username())?, decoded(password)?)),
        };
        let hello = match url.path().trim_matches('/') {
            "" => ClientId::default(),
            name => ClientId::Domain(name.to_owned()),
        };
        Ok(Self { port: url.port().unwrap_or(port), host, tls, hello, credentials })
    }

    /// Sends a message, which must be ASCII, to all of these recipients or to none.
    pub async fn send(&self, from: &Address, to: &[Address], message: &[u8]) -> Result<(), JobError> {
        let mut connection = self.connect().await.map_err(|error| unsent(&error, None))?;
        let sent = deliver(&mut connection, from, to, message).await;
        match sent {
            Ok(()) => {
                let _ = connection.quit().await; // the server has the message, whatever it says to this
                Ok(())
            }
            Err((error, recipient)) => {
                connection.abort().await;
                Err(unsent(&error, recipient))
            }
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let wrapper = match &self.tls {
            Tls::Wrapper(parameters) => Some(parameters.clone()),
            _ => None,
        };
        let server = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(CONNECT_TIMEOUT), &self.hello, wrapper, None).await?;
        match &self.tls {
            Tls::Required(parameters) => connection.starttls(parameters.clone(), &self.hello).await?,
            Tls::Opportunistic(parameters) if connection.can_starttls() => {
                connection.starttls(parameters.clone(), &self.hello).await?;
            }
            _ => {}
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }
}

/// Says why the server did not take the message and, if it was because of one of the recipients, which.
async fn deliver<'a>(
    connection: &mut AsyncSmtpConnection,
    from: &Address,
    to: &'a [Address],
    message: &[u8],
) -> Result<(), (SmtpError, Option<&'a Address>)> {
    let all = |error| (error, None);
    connection.command(Mail::new(Some(from.clone()), vec![])).await.map_err(all)?;
    for recipient in to {
        let rcpt = Rcpt::new(recipient.clone(), vec![]);
        connection.command(rcpt).await.map_err(|error| (error, Some(recipient)))?;
    }
    connection.command(Data).await.map_err(all)?;
    connection.message(message).await.map_err(all)?;
    Ok(())
}

/// A 5xx answer stays what it is however often one asks (RFC 5321, section 4.2.1), and so does a message that the
/// server has no way to take; all else may pass. Addresses are for those who may see the job, and in no log.
fn unsent(error: &SmtpError, recipient: Option<&Address>) -> JobError {
    let what = if recipient.is_some() { "a recipient of the e-mail" } else { "the e-mail" };
    let detail = match recipient {
        Some(address) => format!("{address}: {}", Chain(error)),
        None => Chain(error).to_string(),
    };
    match error.status().map(u16::from) {
        Some(code) if error.is_permanent() => {
            JobError::give_up(format!("the mail server refused {what} with {code}")).detail(detail)
        }
        Some(code) => JobError::retry(format!("the mail server did not take {what} now, with {code}")).detail(detail),
        None if error.is_client() => JobError::give_up("the mail server has no way to take the e-mail").detail(detail),
        None => JobError::retry("the mail server could not be reached").because(Chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_the_server_is_and_how_to_speak_to_it() {
        let greeted_by = |name: &str| ClientId::Domain(name.to_owned());
        let as_ada = || Some(Credentials::new("ada@example.com".to_owned(), "a:b/c".to_owned()));
        for (url, port, tls, hello, credentials) in [
            ("smtp://mail.example.com", 25, "none", ClientId::default(), None),
            ("smtp://mail.example.com:2525/", 2525, "none", ClientId::default(), None),
            ("smtp://mail.example.com/dray.example.com", 25, "none", greeted_by("dray.example.com"), None),
            ("smtp://mail.example.com?tls=required", 587, "required", ClientId::default(), None),
            ("smtp://mail.example.com:25?tls=opportunistic", 25, "opportunistic", ClientId::default(), None),
            ("smtps://ada%40example.com:a%3Ab%2Fc@mail.example.com", 465, "wrapper", ClientId::default(), as_ada()),
        ] {
            let server = SmtpServer::at(url).expect(url);
            let found = match &server.tls {
                Tls::None => "none",
                Tls::Opportunistic(_) => "opportunistic",
                Tls::Required(_) => "required",
                Tls::Wrapper(_) => "wrapper",
            };
            assert_eq!((server.host.as_str(), server.port, found), ("mail.example.com", port, tls), "{url}");
            assert_eq!((server.hello, server.credentials), (hello, credentials), "{url}");
        }
        for url in ["mail.example.com", "http://mail.example.com", "smtp://mail.example.com?tls=perhaps"] {
            assert!(SmtpServer::at(url).is_err(), "{url}");
        }
    }
}
