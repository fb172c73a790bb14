//! A job to be submitted.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::http::error::Error;

/// A job to be submitted. What it does not say is as its type says.
#[derive(Clone, Debug)]
pub struct NewJob {
    job_type: String,
    payload: Box<RawValue>,
    max_attempts: Option<u32>,
    timeout_seconds: Option<u64>,
    start: Option<Start>,
    expires_at: Option<Timestamp>,
    tags: Vec<String>,
    callback_url: Option<String>,
    key: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum Start {
    After { seconds: u64 },
    At(Timestamp),
}

impl NewJob {
    /// A job of this type, with what it needs to know. Fields keep their order.
    pub fn of<T: Serialize + ?Sized>(job_type: impl Into<String>, payload: &T) -> Result<Self, Error> {
        let payload = to_raw_value(payload).map_err(|error| not_json("the payload", &error))?;
        Ok(Self::with(job_type.into(), payload))
    }

    /// A job of this type, with what it needs to know as JSON text.
    pub fn of_json(job_type: impl Into<String>, payload: impl Into<String>) -> Result<Self, Error> {
        Ok(Self::with(job_type.into(), json_text("the payload", payload.into())?))
    }

    fn with(job_type: String, payload: Box<RawValue>) -> Self {
        let (max_attempts, timeout_seconds, start, expires_at) = (None, None, None, None);
        let (tags, callback_url, key) = (vec![], None, None);
        Self { job_type, payload, max_attempts, timeout_seconds, start, expires_at, tags, callback_url, key }
    }

    /// Under this idempotency key, 1 to 255 characters of printable ASCII: however often it is submitted under it, it
    /// is one job. Without one, each call has a key of its own, for its own tries.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// At most so many attempts.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// An attempt may run so long, in whole seconds: what is left over counts as one.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout_seconds = Some(whole_seconds(time));
        self
    }

    /// Not to start before this time has passed, in whole seconds: what is left over counts as one. Instead of a time
    /// given by [`Self::run_at`].
    #[must_use]
    pub fn delay(mut self, time: Duration) -> Self {
        self.start = Some(Start::After { seconds: whole_seconds(time) });
        self
    }

    /// Not to start before this time. Instead of a delay given by [`Self::delay`].
    #[must_use]
    pub fn run_at(mut self, time: Timestamp) -> Self {
        self.start = Some(Start::At(time));
        self
    }

    /// Not to start from this time on.
    #[must_use]
    pub fn expires_at(mut self, time: Timestamp) -> Self {
        self.expires_at = Some(time);
        self
    }

    /// To be found by this word too.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Whoever is at this URL is told how it ended.
    #[must_use]
    pub fn callback_url(mut self, url: impl Into<String>) -> Self {
        self.callback_url = Some(url.into());
        self
    }

    /// Its idempotency key, if it was given one.
    pub(crate) fn given_key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// What is sent of it. In a batch, each job carries its own key.
    pub(crate) fn body<'a>(&'a self, idempotency_key: Option<&'a str>) -> Body<'a> {
        let (delay_seconds, run_at) = match self.start {
            None => (None, None),
            Some(Start::After { seconds }) => (Some(seconds), None),
            Some(Start::At(time)) => (None, Some(time)),
        };
        Body {
            job_type: &self.job_type,
            payload: &self.payload,
            max_attempts: self.max_attempts,
            timeout_seconds: self.timeout_seconds,
            delay_seconds,
            run_at,
            expires_at: self.expires_at,
            tags: (!self.tags.is_empty()).then_some(&self.tags),
            callback_url: self.callback_url.as_deref(),
            idempotency_key,
        }
    }
}

/// A submission, as `POST /jobs` takes it.
#[derive(Serialize)]
pub(crate) struct Body<'a> {
    #[serde(rename = "type")]
    job_type: &'a str,
    payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
}

pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

/// The text, which is what `what` names, if it is JSON.
pub(crate) fn json_text(what: &str, text: String) -> Result<Box<RawValue>, Error> {
    RawValue::from_string(text).map_err(|error| not_json(what, &error))
}

pub(crate) fn not_json(what: &str, error: &serde_json::Error) -> Error {
    Error::Unsendable(format!("{what} is not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Score {
        name: &'static str,
        score: u8,
    }

    fn body(job: &NewJob) -> String {
        serde_json::to_string(&job.body(None)).expect("JSON")
    }

    #[test]
    fn only_what_was_said_is_sent() {
        let job = NewJob::of("csv-generation", &Score { name: "Alice", score: 95 }).expect("JSON");
        assert_eq!(body(&job), r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#);
        let job = job.timeout(Duration::from_millis(1_001)).delay(Duration::from_secs(5));
        assert!(body(&job).ends_with(r#","timeout_seconds":2,"delay_seconds":5}"#), "{}", body(&job));
        let time: Timestamp = "2030-01-31T09:00:00Z".parse().expect("a time");
        let job = job.run_at(time).expires_at(time).tag("a").tag("b").callback_url("https://x.example");
        let times = r#","run_at":"2030-01-31T09:00:00Z","expires_at":"2030-01-31T09:00:00Z""#;
        let end = format!(r#"{times},"tags":["a","b"],"callback_url":"https://x.example"}}"#);
        assert!(body(&job).ends_with(&end), "{}", body(&job));
    }

    #[test]
    fn what_is_not_json_is_not_sent() {
        let error = NewJob::of_json("csv-generation", "{").expect_err("not JSON");
        assert!(error.to_string().starts_with("the payload is not JSON: "), "{error}");
        let no_json = std::collections::HashMap::from([((1, 2), 3)]);
        assert!(matches!(NewJob::of("csv-generation", &no_json), Err(Error::Unsendable(_))));
    }
}
