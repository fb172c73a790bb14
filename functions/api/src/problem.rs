//! Errors as clients see them: problem bodies, RFC 9457.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::chain::Chain;
use shared::invalid::InvalidField;
use shared::ports::StoreError;
use shared::submission::Rejection;

/// An error answer. `detail` is for the caller, who can act on it; what happened inside is for the log alone.
#[derive(Debug, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

impl Problem {
    /// The request fails with `status`, because of `detail`.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { kind: "about:blank", title, status, detail: detail.into(), field: None }
    }

    /// The request fails with `status`, because of one field.
    pub fn field(status: StatusCode, invalid: &InvalidField) -> Self {
        Self { field: Some(invalid.field.clone()), ..Self::new(status, invalid.to_string()) }
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
            Rejection::Field(invalid) => Self::field(StatusCode::UNPROCESSABLE_ENTITY, &invalid),
        }
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
        let mut response = (self.status, axum::Json(&self)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
