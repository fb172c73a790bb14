//! How a job says that it failed.

use std::fmt;
use std::time::Duration;

use shared::values::json::Json;

/// Why an attempt failed, and what that means for the next one.
#[derive(Debug, PartialEq, Eq)]
pub enum JobError {
    /// Another attempt may succeed.
    Retry(Reason),
    /// Another attempt may succeed, but not before so long.
    RetryAfter(Duration, Reason),
    /// No attempt will succeed: the job fails now.
    GiveUp(Reason),
    /// The work is not done, and this worker's time is nearly over: the same attempt goes on in another one, from this
    /// checkpoint. [`crate::Context::checkpoint`] makes it.
    Yield(Json),
}

/// Why, for people.
#[derive(Debug, PartialEq, Eq)]
pub struct Reason {
    /// One sentence that says nothing of the payload and nothing of the deployment: it is stored and logged.
    pub message: String,
    /// More, which may speak of the payload: it is stored, for those who may see the job, and not logged.
    pub detail: Option<String>,
    /// More, which may speak of the deployment: it is logged and not stored.
    pub cause: Option<String>,
}

impl Reason {
    /// Only a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), detail: None, cause: None }
    }
}

impl JobError {
    /// Another attempt may succeed.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::Retry(Reason::new(message))
    }

    /// Another attempt may succeed, but not before `wait` is over.
    pub fn retry_after(wait: Duration, message: impl Into<String>) -> Self {
        Self::RetryAfter(wait, Reason::new(message))
    }

    /// No attempt will succeed.
    pub fn give_up(message: impl Into<String>) -> Self {
        Self::GiveUp(Reason::new(message))
    }

    /// The same, with more for those who may see the job.
    #[must_use]
    pub fn detail(mut self, detail: impl fmt::Display) -> Self {
        if let Some(reason) = self.reason_mut() {
            reason.detail = Some(detail.to_string());
        }
        self
    }

    /// The same, with its cause for the operators' log.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        if let Some(reason) = self.reason_mut() {
            reason.cause = Some(cause.to_string());
        }
        self
    }

    /// Why it failed; `None` if it did not fail and only goes on elsewhere.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Retry(reason) | Self::RetryAfter(_, reason) | Self::GiveUp(reason) => Some(reason),
            Self::Yield(_) => None,
        }
    }

    fn reason_mut(&mut self) -> Option<&mut Reason> {
        match self {
            Self::Retry(reason) | Self::RetryAfter(_, reason) | Self::GiveUp(reason) => Some(reason),
            Self::Yield(_) => None,
        }
    }
}

/// The longest error that is stored, in characters. Each attempt may leave one in the job's history.
const LONGEST: usize = 500;

impl fmt::Display for Reason {
    /// The error as it is stored with the job.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = match &self.detail {
            Some(detail) => format!("{}: {detail}", self.message),
            None => self.message.clone(),
        };
        if whole.chars().count() <= LONGEST {
            return f.write_str(&whole);
        }
        let start: String = whole.chars().take(LONGEST - 1).collect();
        write!(f, "{start}…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let error = JobError::retry("no").detail("é".repeat(1_000)).reason().expect("a failure").to_string();
        assert_eq!(error.chars().count(), LONGEST);
        assert!(error.starts_with("no: éé") && error.ends_with("é…"));
    }
}
