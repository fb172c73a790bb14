//! Why a call did not do what it was asked to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a call did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The service answered that it will not do it. For 429, 502, 503 and 504: at every try.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// No whole answer came. What was asked for may have been done all the same.
    #[error("no answer after {attempts} attempts")]
    Unreachable {
        /// How often it was tried.
        attempts: u32,
        /// What happened to the latest try.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer came that is none of this API's.
    #[error("an answer came (HTTP status {status}) that is none of this API's: {problem}")]
    Unexpected {
        /// Its HTTP status.
        status: u16,
        /// What is wrong with it.
        problem: String,
    },
    /// Nothing was sent, because it could not be: an address, a key or a payload that is none.
    #[error("{0}")]
    Unsendable(String),
}

impl Error {
    /// The problem, if the service answered with one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            Self::Unreachable { .. } | Self::Unexpected { .. } | Self::Unsendable(_) => None,
        }
    }

    /// Whether the answer was 404: there is no such job, schedule or product.
    pub fn is_not_found(&self) -> bool {
        self.problem().is_some_and(|problem| problem.status == 404)
    }
}

/// An error answer of the service, a problem body of RFC 9457.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Problem {
    /// The kind of problem, a URI; `about:blank` if the status says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in words.
    pub title: String,
    /// The kind of problem in a word for programs, such as `invalid_field`; `None` if it is not the service itself that
    /// answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, for a person.
    pub detail: String,
    /// The part of the request that is wrong, such as `payload.to`.
    pub field: Option<String>,
    /// The request's id (`X-Request-Id`), by which the service's logs tell more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The answer's whole body, as it came.
    #[serde(skip)]
    pub body: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.detail.as_str(), self.title.as_str()) {
            ("", "") => write!(f, "the service answered with HTTP status {}", self.status),
            ("", title) => f.write_str(title),
            (detail, _) => f.write_str(detail),
        }
    }
}

/// What may be in the body of an error answer: the service's own, or the gateway's before it, `{"message"}`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(rename = "type")]
    kind: Option<String>,
    title: Option<String>,
    code: Option<String>,
    detail: Option<String>,
    field: Option<String>,
    message: Option<String>,
}

impl Problem {
    /// Reads an error answer, whoever it came from. `reason` is the status in words.
    pub(crate) fn read(status: u16, reason: Option<&str>, body: &[u8], request_id: Option<String>) -> Self {
        let text = String::from_utf8_lossy(body).into_owned();
        let body: Body = serde_json::from_str(&text).unwrap_or_default();
        Self {
            kind: body.kind.unwrap_or_else(|| "about:blank".to_owned()),
            title: body.title.unwrap_or_else(|| reason.unwrap_or_default().to_owned()),
            code: body.code,
            status,
            detail: body.detail.or(body.message).unwrap_or_default(),
            field: body.field,
            request_id,
            body: text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_refuses_is_understood() {
        let of = |status, reason, body: &str| Problem::read(status, reason, body.as_bytes(), None);
        let body = r#"{"type":"about:blank","title":"Unprocessable Entity","code":"invalid_field","status":422,
            "detail":"`payload.to` is required","field":"payload.to","new":1}"#;
        let own = of(422, Some("Unprocessable Entity"), body);
        assert_eq!(own.to_string(), "`payload.to` is required");
        assert_eq!((own.field.as_deref(), own.code.as_deref()), (Some("payload.to"), Some("invalid_field")));
        assert_eq!(own.body, body);
        let gateway = of(401, Some("Unauthorized"), r#"{"message":"Unauthorized"}"#);
        assert_eq!((gateway.to_string(), gateway.status, gateway.code), ("Unauthorized".to_owned(), 401, None));
        assert_eq!(of(502, Some("Bad Gateway"), "<html>").to_string(), "Bad Gateway");
        assert_eq!(of(599, None, "").to_string(), "the service answered with HTTP status 599");
    }
}
