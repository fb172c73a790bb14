//! Errors as clients see them: problem bodies, RFC 9457.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::job::submission::Rejection;
use shared::ports::StoreError;
use shared::values::chain::Chain;
use shared::values::invalid::InvalidField;
use strum::{IntoStaticStr, VariantArray};
use utoipa::ToSchema;

/// What kind of problem it is, in a word that programs can rely on. Each goes with one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, VariantArray, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ProblemCode {
    /// 400: the body is not JSON.
    InvalidJson,
    /// 400: the path or a header cannot be read.
    InvalidRequest,
    /// 401: no token or signature has been verified.
    Unauthenticated,
    /// 403: the caller may not do this.
    Forbidden,
    /// 404: there is nothing there, or it is somebody else's.
    NotFound,
    /// 405: the path does not take this method.
    MethodNotAllowed,
    /// 409: the job's status does not allow this.
    WrongStatus,
    /// 409: there are as many as there may be.
    LimitReached,
    /// 409: others change it at the same time; try again.
    ConcurrentChange,
    /// 412: there is one of this name already.
    AlreadyExists,
    /// 413: the body is too long.
    BodyTooLarge,
    /// 415: the body is not said to be JSON, or is compressed otherwise than by gzip.
    UnsupportedMediaType,
    /// 422: a field does not fit.
    InvalidField,
    /// 422: the key came with another request before.
    IdempotencyKeyReused,
    /// 422: the request has more jobs than the tenant may submit in a minute.
    QuotaTooSmall,
    /// 429: the tenant's quota for this minute is used up.
    QuotaExceeded,
    /// 500: something is wrong here, and time will not mend it.
    Internal,
    /// 503: something does not answer; try again.
    Unavailable,
}

/// Every code, and the status that it goes with.
pub fn problem_codes() -> Vec<(String, StatusCode)> {
    let codes = ProblemCode::VARIANTS.iter();
    codes.map(|code| (<&str>::from(code).to_owned(), code.status())).collect()
}

impl ProblemCode {
    /// The status that it goes with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidJson | Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::WrongStatus | Self::LimitReached | Self::ConcurrentChange => StatusCode::CONFLICT,
            Self::AlreadyExists => StatusCode::PRECONDITION_FAILED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidField | Self::IdempotencyKeyReused | Self::QuotaTooSmall => StatusCode::UNPROCESSABLE_ENTITY,
            Self::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// An error answer. `detail` is for the caller, who can act on it; what happened inside is for the log alone.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    #[serde(rename = "type")]
    /// Always `about:blank`: `code` says what kind of problem it is.
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// What kind of problem it is, for programs.
    code: ProblemCode,
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
    /// The request fails because of `detail`.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        let status = code.status();
        let title = status.canonical_reason().unwrap_or("Error");
        Self { kind: "about:blank", title, code, status, detail: detail.into(), field: None, retry_after: None }
    }

    /// The request fails because of one field.
    pub fn field(code: ProblemCode, invalid: &InvalidField) -> Self {
        Self { field: Some(invalid.field.clone()), ..Self::new(code, invalid.to_string()) }
    }

    /// There is no such job, or it is somebody else's: nobody can tell which.
    pub fn no_such_job() -> Self {
        Self::new(ProblemCode::NotFound, "there is no job with this id")
    }

    /// The same key, which stands in this field, came with another request before.
    pub fn key_used_before(key_field: &str) -> Self {
        let invalid = InvalidField::new(key_field, "was used for another request before");
        Self::field(ProblemCode::IdempotencyKeyReused, &invalid)
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

    /// What kind of problem it is.
    pub fn code(&self) -> ProblemCode {
        self.code
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
                let problem = Self::new(ProblemCode::InvalidJson, rejection.to_string());
                Self { field: Some("body".to_owned()), ..problem }
            }
            Rejection::Field(invalid) => Self::from(invalid),
        }
    }
}

impl From<InvalidField> for Problem {
    fn from(invalid: InvalidField) -> Self {
        Self::field(ProblemCode::InvalidField, &invalid)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if let StoreError::Newer(..) = &error {
            tracing::warn!(error = %Chain(&error), "store.failed");
        } else {
            tracing::error!(error = %Chain(&error), "store.failed");
        }
        match error {
            StoreError::Unavailable(_) => {
                Self::new(ProblemCode::Unavailable, "the job store does not answer; try again")
            }
            // For a moment in the midst of a deployment, or for as long as one is rolled back.
            StoreError::Newer(..) => Self::new(
                ProblemCode::Unavailable,
                "a newer version of Dray wrote this job, which this version does not know; try again",
            ),
            StoreError::Refused(_) | StoreError::Unreadable(..) => {
                Self::new(ProblemCode::Internal, "the request could not be carried out")
            }
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
