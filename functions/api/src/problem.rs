//! Errors as clients see them: problem bodies, RFC 9457.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::chain::Chain;
use shared::invalid::InvalidField;
use shared::ports::StoreError;
use shared::submission::Rejection;
use utoipa::ToSchema;

/// An error answer. `detail` is for the caller, who can act on it; what happened inside is for the log alone.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    #[serde(rename = "type")]
    /// Always `about:blank`: the status says what kind of problem it is.
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The answer's status.
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16)]
    status: StatusCode,
    /// What is wrong, for people.
    detail: String,
    /// The field at fault, seen from the body's root: `payload.to[1]`. Headers and parameters stand as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

impl Problem {
    /// The request fails with `status`, because of `detail`.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { kind: "about:blank", title, status, detail: detail.into(), field: None, retry_after: None }
    }

    /// The request fails with `status`, because of one field.
    pub fn field(status: StatusCode, invalid: &InvalidField) -> Self {
        Self { field: Some(invalid.field.clone()), ..Self::new(status, invalid.to_string()) }
    }

    /// There is no such job, or it is somebody else's: nobody can tell which.
    pub fn no_such_job() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no job with this id")
    }

    /// The same key, which stands in this field, came with another request before.
    pub fn key_used_before(key_field: &str) -> Self {
        let invalid = InvalidField::new(key_field, "was used for another request before");
        Self::field(StatusCode::UNPROCESSABLE_ENTITY, &invalid)
    }

    /// The same, and the caller may try again after so long.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// The status that it is answered with.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::NotJson(_) => {
                let problem = Self::new(StatusCode::BAD_REQUEST, rejection.to_string());
                Self { field: Some("body".to_owned()), ..problem }
            }
            Rejection::Field(invalid) => Self::from(invalid),
        }
    }
}

impl From<InvalidField> for Problem {
    fn from(invalid: InvalidField) -> Self {
        Self::field(StatusCode::UNPROCESSABLE_ENTITY, &invalid)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %Chain(&error), "store.failed");
        if error.retryable() {
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "the job store does not answer; try again")
        } else {
            Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be carried out")
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let unavailable = self.status == StatusCode::SERVICE_UNAVAILABLE;
        let retry_after = self.retry_after.or(unavailable.then_some(Duration::from_secs(1)));
        let mut response = (self.status, axum::Json(&self)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = retry_after {
            // Whole seconds (RFC 9110, section 10.2.3), rounded up: sooner would be in vain.
            let seconds = u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
