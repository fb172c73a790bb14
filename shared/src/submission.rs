//! What a caller asks for, checked, and the job it becomes.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::Event;
use crate::id::{JobId, Tenant};
use crate::invalid::{InvalidField, read_fields};
use crate::job::{Fingerprint, Job, State, Tag};
use crate::job_type::JobType;
use crate::json::Json;
use crate::sweep;
use crate::time::Timestamp;

/// The most attempts a job may ask for.
pub const MOST_ATTEMPTS: u32 = 10;

/// The longest an attempt may ask to run, in seconds: the worker's function timeout (60 s), less the lease's margin
/// (5 s), less the time the worker may spend on other things before it claims (5 s).
pub const LONGEST_TIMEOUT_SECONDS: u32 = 50;

/// How far ahead a job may be accepted.
pub const LONGEST_DELAY: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The most tags a job may have.
pub const MOST_TAGS: usize = 10;

/// The longest request body, in bytes. Leaves room for a job's history and result under DynamoDB's item limit of 400 KB.
pub const LONGEST_BODY: usize = 256 * 1024;

/// A request for one job, every part of it checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    job_type: JobType,
    payload: Json,
    max_attempts: Option<u32>,
    timeout_seconds: Option<u32>,
    start: Start,
    expires_at: Option<Timestamp>,
    tags: Vec<Tag>,
    /// What is stored together with it, as text.
    together_with: Option<String>,
}

/// When the job may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Now,
    After(Duration),
    At(Timestamp),
}

/// Why a request body is no submission.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// It is not JSON at all.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// A field cannot be accepted.
    #[error(transparent)]
    Field(#[from] InvalidField),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(rename = "type")]
    job_type: String,
    #[serde(borrow)]
    payload: &'a RawValue,
    max_attempts: Option<u32>,
    timeout_seconds: Option<u32>,
    delay_seconds: Option<u64>,
    run_at: Option<String>,
    expires_at: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    /// Only in a batch, where a header cannot say it of each.
    idempotency_key: Option<String>,
}

impl Submission {
    /// Reads the body of `POST /jobs`: `{"type", "payload"}` and optionally `max_attempts`, `timeout_seconds`,
    /// `delay_seconds` or `run_at`, `expires_at`, and `tags`. `now` is needed to bound the times.
    pub fn parse(body: &[u8], now: Timestamp) -> Result<Self, Rejection> {
        let (submission, key) = Self::parse_of_batch(well_formed(body)?, now)?;
        match key {
            None => Ok(submission),
            Some(_) => {
                Err(InvalidField::new("idempotency_key", "is for batches; give the header Idempotency-Key").into())
            }
        }
    }

    /// Reads one job of a batch, given as well-formed JSON: the same, and its `idempotency_key` if it has one.
    pub fn parse_of_batch(whole: &str, now: Timestamp) -> Result<(Self, Option<String>), Rejection> {
        if !whole.starts_with('{') {
            return Err(InvalidField::new("body", "must be an object").into());
        }
        let body: Body<'_> = read_fields(whole)?;
        let Some(job_type) = JobType::named(&body.job_type) else {
            let known: Vec<_> = JobType::ALL.iter().map(|known| known.policy().name).collect();
            return Err(
                InvalidField::new("type", format!("is not a known job type; known are {}", known.join(", "))).into()
            );
        };
        (job_type.policy().check)(body.payload.get()).map_err(|invalid| invalid.within("payload"))?;
        let start = Start::parse(body.delay_seconds, body.run_at.as_deref(), now)?;
        let submission = Self {
            job_type,
            payload: Json::from(body.payload),
            max_attempts: within("max_attempts", body.max_attempts, MOST_ATTEMPTS)?,
            timeout_seconds: within("timeout_seconds", body.timeout_seconds, LONGEST_TIMEOUT_SECONDS)?,
            start,
            expires_at: parse_expiry(body.expires_at.as_deref(), start.after(now))?,
            tags: parse_tags(&body.tags)?,
            together_with: None,
        };
        Ok((submission, body.idempotency_key))
    }

    /// Reads a body that is itself the payload of a job of this type.
    pub fn parse_payload(job_type: JobType, body: &[u8]) -> Result<Self, Rejection> {
        let whole = well_formed(body)?;
        let raw: &RawValue = serde_json::from_str(whole).map_err(|error| Rejection::NotJson(error.to_string()))?;
        (job_type.policy().check)(raw.get()).map_err(|invalid| {
            if invalid.field.is_empty() { InvalidField { field: "body".to_owned(), ..invalid } } else { invalid }
        })?;
        let payload = Json::from(raw);
        Ok(Self::plain(job_type, payload))
    }

    /// A job of this type with a payload that is known to fit it, and nothing else said.
    pub fn plain(job_type: JobType, payload: Json) -> Self {
        Self {
            job_type,
            payload,
            max_attempts: None,
            timeout_seconds: None,
            start: Start::Now,
            expires_at: None,
            tags: vec![],
            together_with: None,
        }
    }

    /// The same, stored together with something else that the request asks for: what that is, as text.
    #[must_use]
    pub fn together_with(self, own: String) -> Self {
        Self { together_with: Some(own), ..self }
    }

    /// The same, to start at `time`.
    #[must_use]
    pub fn at(self, time: Timestamp) -> Self {
        Self { start: Start::At(time), ..self }
    }

    /// Equal for two submissions exactly if they ask for the same: white space aside, and a delay counted from each
    /// one's own arrival. What was left to the defaults is not part of it, so that these may change.
    pub fn fingerprint(&self) -> Fingerprint {
        let start = match self.start {
            Start::Now => "now".to_owned(),
            Start::After(delay) => format!("after {}", delay.as_secs()),
            Start::At(time) => format!("at {}", time.as_millis()),
        };
        let (max_attempts, timeout) = (format!("{:?}", self.max_attempts), format!("{:?}", self.timeout_seconds));
        let mut parts = vec![self.job_type.policy().name, self.payload.as_str(), &max_attempts, &timeout, &start];
        // Named, and absent unless given: what was submitted before there were these has the fingerprint it had.
        let expiry = self.expires_at.map(|time| format!("expires {}", time.as_millis()));
        parts.extend(expiry.as_deref());
        parts.extend(self.tags.iter().map(Tag::as_str));
        parts.extend(self.together_with.as_deref());
        Fingerprint::of(parts)
    }

    /// The job, accepted at `now`.
    pub fn into_job(self, id: JobId, tenant: Tenant, now: Timestamp, origin: Origin) -> Job {
        let fingerprint = self.fingerprint();
        let policy = self.job_type.policy();
        let timeout_seconds = self.timeout_seconds.unwrap_or(policy.timeout_seconds);
        let not_before = self.start.after(now);
        Job {
            id,
            tenant,
            job_type: self.job_type.name(),
            payload: self.payload,
            fingerprint,
            attempts: 0,
            max_attempts: self.max_attempts.unwrap_or(policy.max_attempts),
            timeout: Duration::from_secs(timeout_seconds.into()),
            state: State::Pending { not_before, due_at: sweep::first_due(not_before, now), resumes: false },
            lease_token: None,
            created_at: now,
            started_at: None,
            error: None,
            correlation_id: origin.correlation_id,
            traceparent: origin.traceparent,
            tags: self.tags,
            expires_at: self.expires_at,
            checkpoint: None,
            progress: None,
            history: vec![Event::Accepted { at: now, not_before: Some(not_before).filter(|time| *time > now) }],
        }
    }
}

/// Where a submission came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The id of its request.
    pub correlation_id: String,
    /// The W3C trace context of its request.
    pub traceparent: Option<String>,
}

/// Reads when a job shall start that is there already: exactly one of `delay_seconds` and `run_at`.
pub fn parse_start(
    delay_seconds: Option<u64>,
    run_at: Option<&str>,
    now: Timestamp,
) -> Result<Timestamp, InvalidField> {
    if delay_seconds.is_none() && run_at.is_none() {
        return Err(InvalidField::new("run_at", "or `delay_seconds` is required"));
    }
    Ok(Start::parse(delay_seconds, run_at, now)?.after(now))
}

impl Start {
    /// When that is, for a job accepted at `now`.
    fn after(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Now => now,
            Self::After(delay) => now + delay,
            Self::At(time) => time.max(now),
        }
    }

    fn parse(delay_seconds: Option<u64>, run_at: Option<&str>, now: Timestamp) -> Result<Self, InvalidField> {
        let too_far = |field| {
            InvalidField::new(field, format!("must be at most {} days ahead", LONGEST_DELAY.as_secs() / 86_400))
        };
        match (delay_seconds, run_at) {
            (None | Some(0), None) => Ok(Self::Now),
            (Some(_), Some(_)) => Err(InvalidField::new("run_at", "and `delay_seconds` cannot both be given")),
            (Some(seconds), None) if seconds > LONGEST_DELAY.as_secs() => Err(too_far("delay_seconds")),
            (Some(seconds), None) => Ok(Self::After(Duration::from_secs(seconds))),
            (None, Some(text)) => match parse_time("run_at", text)? {
                time if time > now + LONGEST_DELAY => Err(too_far("run_at")),
                time => Ok(Self::At(time)),
            },
        }
    }
}

/// Reads the time in `field`.
pub fn parse_time(field: &str, text: &str) -> Result<Timestamp, InvalidField> {
    let problem = "must be an RFC 3339 time such as 2030-01-31T09:00:00Z";
    Timestamp::parse_rfc3339(text).ok_or_else(|| InvalidField::new(field, problem))
}

fn parse_expiry(text: Option<&str>, not_before: Timestamp) -> Result<Option<Timestamp>, InvalidField> {
    let Some(text) = text else { return Ok(None) };
    let expires_at = parse_time("expires_at", text)?;
    if expires_at > not_before {
        Ok(Some(expires_at))
    } else {
        Err(InvalidField::new("expires_at", "must be later than the time at which the job may start"))
    }
}

fn parse_tags(texts: &[String]) -> Result<Vec<Tag>, InvalidField> {
    if texts.len() > MOST_TAGS {
        return Err(InvalidField::new("tags", format!("must be at most {MOST_TAGS}")));
    }
    let mut tags: Vec<Tag> = vec![];
    for (index, text) in texts.iter().enumerate() {
        let field = format!("tags[{index}]");
        let problem = || format!("must be 1 to {} characters without white space", Tag::LONGEST);
        let tag = Tag::parse(text).ok_or_else(|| InvalidField::new(field.clone(), problem()))?;
        if tags.contains(&tag) {
            return Err(InvalidField::new(field, "is given twice"));
        }
        tags.push(tag);
    }
    Ok(tags)
}

/// The text of a body that is JSON.
pub fn well_formed(body: &[u8]) -> Result<&str, Rejection> {
    let text = std::str::from_utf8(body).map_err(|error| Rejection::NotJson(error.to_string()))?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| Rejection::NotJson(error.to_string()))?;
    Ok(text.trim())
}

fn within(field: &str, value: Option<u32>, most: u32) -> Result<Option<u32>, InvalidField> {
    match value {
        Some(number) if !(1..=most).contains(&number) => {
            Err(InvalidField::new(field, format!("must be from 1 to {most}")))
        }
        Some(_) | None => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn parse(body: &str) -> Result<Submission, Rejection> {
        Submission::parse(body.as_bytes(), NOW)
    }

    fn job(body: &str) -> Job {
        let origin = Origin { correlation_id: "request".to_owned(), traceparent: None };
        parse(body).expect(body).into_job(JobId::at(NOW, [0; 10]), Tenant::only(), NOW, origin)
    }

    #[test]
    fn a_field_at_fault_is_named() {
        let of = |body: &str| parse(body).expect_err(body).to_string();
        assert_eq!(of("[]"), "`body` must be an object");
        assert_eq!(of("{}"), "`type` is required");
        assert_eq!(of(r#"{"type":"csv-generation"}"#), "`payload` is required");
        assert_eq!(
            of(r#"{"type":5,"payload":{}}"#),
            "`type` does not fit: invalid type: integer `5`, expected a string"
        );
        assert!(of(r#"{"type":"nope","payload":{}}"#).starts_with("`type` is not a known job type; known are csv-"));
        let with = |option: &str| of(&format!(r#"{{"type":"csv-generation","payload":{{"a":1}},{option}}}"#));
        assert_eq!(with(r#""extra":1"#), "`extra` is not a known field");
        assert_eq!(with(r#""max_attempts":0"#), "`max_attempts` must be from 1 to 10");
        assert_eq!(with(r#""max_attempts":11"#), "`max_attempts` must be from 1 to 10");
        assert_eq!(with(r#""timeout_seconds":51"#), "`timeout_seconds` must be from 1 to 50");
        assert_eq!(
            with(r#""delay_seconds":-1"#),
            "`delay_seconds` does not fit: invalid value: integer `-1`, expected u64"
        );
        assert_eq!(with(r#""delay_seconds":99999999"#), "`delay_seconds` must be at most 366 days ahead");
        assert_eq!(with(r#""run_at":"soon""#), "`run_at` must be an RFC 3339 time such as 2030-01-31T09:00:00Z");
        assert_eq!(
            with(r#""run_at":"2030-01-31T09:00:00Z","delay_seconds":1"#),
            "`run_at` and `delay_seconds` cannot both be given"
        );
        assert_eq!(
            with(r#""expires_at":"2001-01-01T00:00:00Z""#),
            "`expires_at` must be later than the time at which the job may start"
        );
        assert_eq!(with(r#""tags":["a","b c"]"#), "`tags[1]` must be 1 to 64 characters without white space");
        assert_eq!(with(r#""tags":["a","a"]"#), "`tags[1]` is given twice");
        assert_eq!(with(r#""tags":["1","2","3","4","5","6","7","8","9","10","11"]"#), "`tags` must be at most 10");
        assert!(matches!(parse("{").expect_err("cut off"), Rejection::NotJson(_)));
        assert!(matches!(Submission::parse(b"\xff{}", NOW).expect_err("not UTF-8"), Rejection::NotJson(_)));
    }

    #[test]
    fn the_alias_of_a_type_is_stored_under_its_name() {
        let job = job(r#"{"type":"EMAIL_SEND","payload":{"to":"a@example.com","subject":"s","body":"b"}}"#);
        assert_eq!(job.job_type.as_str(), "email-send");
    }

    #[test]
    fn white_space_does_not_make_another_submission_but_order_does() {
        let of = |body: &str| parse(body).expect(body).fingerprint();
        let plain = of(r#"{"type":"csv-generation","payload":{"a":1,"b":2}}"#);
        assert_eq!(plain, of("{ \"payload\" : { \"a\": 1,\n\"b\": 2 }, \"type\": \"csv-generation\" }"));
        assert_ne!(plain, of(r#"{"type":"csv-generation","payload":{"b":2,"a":1}}"#));
        assert_ne!(plain, of(r#"{"type":"csv-generation","payload":{"a":1,"b":2},"max_attempts":4}"#));
        assert_ne!(plain, of(r#"{"type":"csv-generation","payload":{"a":1,"b":2},"delay_seconds":4}"#));
    }

    #[test]
    fn a_time_that_has_passed_means_now() {
        let job = job(r#"{"type":"csv-generation","payload":{"a":1},"run_at":"2001-01-01T00:00:00Z"}"#);
        let due_at = NOW + sweep::PATIENCE;
        assert_eq!(job.state, State::Pending { not_before: NOW, due_at, resumes: false });
        assert_eq!(job.history, [Event::Accepted { at: NOW, not_before: None }]);
    }
}
