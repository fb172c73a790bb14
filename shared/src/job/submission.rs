//! What a caller asks for, checked, and the job it becomes.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::job::due;
use crate::job::event::Event;
use crate::job::{FORMAT, Fingerprint, Job, State, Tag};
use crate::job_type::JobType;
use crate::payloads::webhook_delivery::receiver_url;
use crate::values::id::{JobId, Tenant};
use crate::values::invalid::{InvalidField, read_fields};
use crate::values::json::{Json, NotReadable, Whole, check_readable, null_is_absent};
use crate::values::time::Timestamp;

/// The most attempts a job may ask for.
pub const MOST_ATTEMPTS: u32 = 10;

/// The longest an attempt may ask to run in any deployment, in seconds: the longest that Lambda lets a function run
/// (900 s), less the lease's margin (5 s), less the time the worker may spend on other things before it claims (5 s).
pub const LONGEST_TIMEOUT_SECONDS: u32 = 890;

/// How far ahead a job may be accepted, in seconds.
const LONGEST_DELAY_SECONDS: u32 = 366 * 24 * 60 * 60;

/// How far ahead a job may be accepted.
pub const LONGEST_DELAY: Duration = Duration::from_secs(LONGEST_DELAY_SECONDS as u64);

/// How many attempts a job asks for.
pub type Attempts = Whole<1, MOST_ATTEMPTS>;

/// In how many seconds a job shall start.
pub type DelaySeconds = Whole<0, LONGEST_DELAY_SECONDS>;

/// The most tags a job may have.
pub const MOST_TAGS: usize = 10;

/// The longest request body, in bytes. Leaves room for a job's history and result under DynamoDB's item limit of 400 KB.
pub const LONGEST_BODY: usize = 256 * 1024;

/// What a deployment lets a job ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest an attempt may ask to run, in seconds: as [`LONGEST_TIMEOUT_SECONDS`], of as long as this deployment's
    /// workers live (`WorkerTimeout` in `template.yaml`).
    pub longest_attempt_seconds: u32,
}

impl Limits {
    /// What some deployment may have let a job ask for.
    pub const WIDEST: Self = Self { longest_attempt_seconds: LONGEST_TIMEOUT_SECONDS };
}

impl Default for Limits {
    /// Those of workers that live 60 s.
    fn default() -> Self {
        Self { longest_attempt_seconds: 50 }
    }
}

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
    callback_url: Option<String>,
    duplicate_of: Option<JobId>,
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

impl Rejection {
    /// The same of a submission that stands in the field `parent` of the body.
    pub(crate) fn within(self, parent: &str) -> Self {
        match self {
            Self::NotJson(_) => self,
            Self::Field(invalid) => Self::Field(invalid.within(parent)),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(rename = "type")]
    job_type: String,
    #[serde(borrow)]
    payload: &'a RawValue,
    max_attempts: Option<Attempts>,
    #[serde(borrow)]
    timeout_seconds: Option<&'a RawValue>,
    delay_seconds: Option<DelaySeconds>,
    run_at: Option<String>,
    expires_at: Option<String>,
    #[serde(default, deserialize_with = "null_is_absent")]
    tags: Vec<String>,
    callback_url: Option<String>,
    /// Only in a batch, where a header cannot say it of each.
    idempotency_key: Option<String>,
}

impl Submission {
    /// Reads what was accepted before, when the limits may have been others: see [`Submission::parse_within`].
    pub fn parse(body: &[u8], now: Timestamp) -> Result<Self, Rejection> {
        Self::parse_within(body, now, Limits::WIDEST)
    }

    /// Reads the body of `POST /jobs`: `{"type", "payload"}` and optionally `max_attempts`, `timeout_seconds`,
    /// `delay_seconds` or `run_at`, `expires_at`, `tags`, and `callback_url`. `now` is needed to bound the times.
    pub fn parse_within(body: &[u8], now: Timestamp, limits: Limits) -> Result<Self, Rejection> {
        let (submission, key) = Self::parse_of_batch(well_formed(body)?, now, limits)?;
        match key {
            None => Ok(submission),
            Some(_) => {
                Err(InvalidField::new("idempotency_key", "is for batches; give the header Idempotency-Key").into())
            }
        }
    }

    /// Reads one job of a batch, given as well-formed JSON: the same, and its `idempotency_key` if it has one.
    pub fn parse_of_batch(whole: &str, now: Timestamp, limits: Limits) -> Result<(Self, Option<String>), Rejection> {
        if !whole.starts_with('{') {
            return Err(InvalidField::new("body", "must be an object").into());
        }
        let body: Body<'_> = read_fields(whole)?;
        let Some(job_type) = JobType::named(&body.job_type) else {
            return Err(JobType::unknown("type").into());
        };
        (job_type.policy().check)(body.payload.get()).map_err(|invalid| invalid.within("payload"))?;
        let start = Start::parse(body.delay_seconds, body.run_at.as_deref(), now)?;
        let submission = Self {
            job_type,
            payload: Json::from(body.payload),
            max_attempts: body.max_attempts.map(Whole::get),
            timeout_seconds: body.timeout_seconds.map(|asked| parse_timeout(asked, limits)).transpose()?,
            start,
            expires_at: parse_expiry(body.expires_at.as_deref(), start.after(now))?,
            tags: parse_tags(&body.tags)?,
            callback_url: parse_callback(job_type, body.callback_url)?,
            duplicate_of: None,
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
            callback_url: None,
            duplicate_of: None,
            together_with: None,
        }
    }

    /// The work of `original` once more, with another payload if one is given. What it asked for under other limits is
    /// cut down to these.
    pub fn duplicate(original: &Job, payload: Option<&RawValue>, limits: Limits) -> Result<Self, InvalidField> {
        let Some(job_type) = JobType::named(original.job_type.as_str()) else {
            return Err(InvalidField::new("type", "of the job is not one that this deployment knows"));
        };
        let payload = payload.map_or_else(|| original.payload.clone(), Json::from);
        (job_type.policy().check)(payload.as_str()).map_err(|invalid| invalid.within("payload"))?;
        Ok(Self {
            max_attempts: Some(original.max_attempts.min(MOST_ATTEMPTS)),
            timeout_seconds: u32::try_from(original.timeout.as_secs())
                .ok()
                .map(|seconds| seconds.min(limits.longest_attempt_seconds)),
            tags: original.tags.clone(),
            callback_url: original.callback_url.clone(),
            duplicate_of: Some(original.id),
            ..Self::plain(job_type, payload)
        })
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
        // A tag has no space in it.
        let callback = self.callback_url.as_ref().map(|url| format!("calls back {url}"));
        parts.extend(callback.as_deref());
        let together_with = self.together_with.as_ref().map(|own| format!("together with {own}"));
        parts.extend(together_with.as_deref());
        let duplicate_of = self.duplicate_of.map(|id| format!("duplicate of {id}"));
        parts.extend(duplicate_of.as_deref());
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
            state: State::Pending { not_before, due_at: due::first_due(not_before, now), resumes: false },
            lease_token: None,
            created_at: now,
            started_at: None,
            error: None,
            correlation_id: origin.correlation_id,
            traceparent: origin.traceparent,
            tags: self.tags,
            expires_at: self.expires_at,
            callback_url: self.callback_url,
            duplicate_of: self.duplicate_of,
            checkpoint: None,
            progress: None,
            held_back: None,
            format: FORMAT,
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
    delay_seconds: Option<DelaySeconds>,
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

    fn parse(delay_seconds: Option<DelaySeconds>, run_at: Option<&str>, now: Timestamp) -> Result<Self, InvalidField> {
        let too_far = || format!("must be at most {} days ahead", LONGEST_DELAY.as_secs() / 86_400);
        match (delay_seconds.map(Whole::get), run_at) {
            (None | Some(0), None) => Ok(Self::Now),
            (Some(_), Some(_)) => Err(InvalidField::new("run_at", "and `delay_seconds` cannot both be given")),
            (Some(seconds), None) => Ok(Self::After(Duration::from_secs(seconds.into()))),
            (None, Some(text)) => match parse_time("run_at", text)? {
                time if time > now + LONGEST_DELAY => Err(InvalidField::new("run_at", too_far())),
                time => Ok(Self::At(time)),
            },
        }
    }
}

/// Read by itself: how much is too much is not known to the type, and is to be told all the same.
fn parse_timeout(asked: &RawValue, limits: Limits) -> Result<u32, InvalidField> {
    let longest = limits.longest_attempt_seconds;
    let seconds = serde_json::from_str::<Whole<1, LONGEST_TIMEOUT_SECONDS>>(asked.get()).ok().map(Whole::get);
    seconds
        .filter(|seconds| *seconds <= longest)
        .ok_or_else(|| InvalidField::new("timeout_seconds", format!("must be a whole number from 1 to {longest}")))
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

/// A webhook about a webhook's end would go on for ever.
fn parse_callback(job_type: JobType, url: Option<String>) -> Result<Option<String>, InvalidField> {
    let Some(url) = url else { return Ok(None) };
    if job_type == JobType::WebhookDelivery {
        return Err(InvalidField::new("callback_url", "is not for webhooks themselves"));
    }
    match receiver_url(&url) {
        Ok(_) => Ok(Some(url)),
        Err(problem) => Err(InvalidField::new("callback_url", format!("does not fit: {problem}"))),
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

/// The text of a body that is JSON, and that every other program can read, too.
pub fn well_formed(body: &[u8]) -> Result<&str, Rejection> {
    let text = text_of(body)?;
    check(text)?;
    Ok(text)
}

/// The text of a body that is to be checked part by part. A byte-order mark in front of it is passed over, as RFC 8259,
/// section 8.1, allows.
pub fn text_of(body: &[u8]) -> Result<&str, Rejection> {
    let text = std::str::from_utf8(body).map_err(|error| Rejection::NotJson(error.to_string()))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text).trim_matches([' ', '\t', '\r', '\n']))
}

/// Whether `text` is JSON that others can read, too.
pub fn check(text: &str) -> Result<(), Rejection> {
    check_readable(text).map_err(|reason| match reason {
        NotReadable::NotJson(problem) => Rejection::NotJson(problem),
        NotReadable::At(path, problem) if path.is_empty() => InvalidField::new("body", problem).into(),
        NotReadable::At(path, problem) => InvalidField::new(path, problem).into(),
    })
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
        assert_eq!(of(r#"{"type":5,"payload":{}}"#), "`type` must be a string, not the number 5");
        assert!(of(r#"{"type":"nope","payload":{}}"#).starts_with("`type` is not a known job type; known are csv-"));
        let with = |option: &str| of(&format!(r#"{{"type":"csv-generation","payload":{{"a":1}},{option}}}"#));
        assert_eq!(with(r#""extra":1"#), "`extra` is not a known field");
        assert_eq!(with(r#""max_attempts":0"#), "`max_attempts` must be a whole number from 1 to 10");
        assert_eq!(with(r#""max_attempts":11"#), "`max_attempts` must be a whole number from 1 to 10");
        assert_eq!(with(r#""delay_seconds":-1"#), "`delay_seconds` must be a whole number from 0 to 31622400");
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
        let due_at = NOW + due::PATIENCE;
        assert_eq!(job.state, State::Pending { not_before: NOW, due_at, resumes: false });
        assert_eq!(job.history, [Event::Accepted { at: NOW, not_before: None }]);
    }

    /// A job whose body says this besides its type and payload.
    fn job_with(option: &str) -> Job {
        job(&format!(r#"{{"type":"csv-generation","payload":{{"a":1}},{option}}}"#))
    }

    fn time(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).expect(text)
    }

    #[test]
    fn what_is_null_is_absent_and_a_whole_number_may_have_a_point() {
        let plain = parse(r#"{"type":"csv-generation","payload":{"a":1}}"#).expect("fits");
        let nulls = r#"{"type":"csv-generation","payload":{"a":1},"max_attempts":null,"timeout_seconds":null,
            "delay_seconds":null,"run_at":null,"expires_at":null,"tags":null,"callback_url":null,"idempotency_key":null}"#;
        assert_eq!(parse(nulls).expect("fits"), plain);
        assert_eq!(parse(&format!("\u{feff}{nulls}\n")).expect("a byte-order mark is no part of it"), plain);
        assert_eq!(
            (job_with(r#""max_attempts":3.0"#).max_attempts, job_with(r#""max_attempts":4e0"#).max_attempts),
            (3, 4)
        );
        assert_eq!(parse(r#"{"type":null,"payload":{}}"#).expect_err("null").to_string(), "`type` is required");
    }

    #[test]
    fn what_others_could_not_read_of_a_job_is_refused_at_the_door() {
        let of = |payload: &str| {
            parse(&format!(r#"{{"type":"csv-generation","payload":{payload}}}"#)).expect_err(payload).to_string()
        };
        assert!(of(r#"{"name":"\ud800"}"#).starts_with("`payload.name` has half of a surrogate pair"));
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(of(&deep).ends_with("is nested more than 128 levels deep"), "{}", of(&deep));
    }

    #[test]
    fn a_body_may_be_256_kib_long() {
        assert_eq!(LONGEST_BODY, 262_144);
    }

    #[test]
    fn an_attempt_may_ask_for_as_long_as_a_worker_of_this_deployment_lives_and_is_told_how_long_that_is() {
        let asking = |seconds: &str, longest_attempt_seconds: u32| {
            let body = format!(r#"{{"type":"csv-generation","payload":{{"a":1}},"timeout_seconds":{seconds}}}"#);
            Submission::parse_within(body.as_bytes(), NOW, Limits { longest_attempt_seconds })
        };
        assert_eq!(Limits::default().longest_attempt_seconds, 50);
        for longest in [50, 290, LONGEST_TIMEOUT_SECONDS] {
            for fits in ["1".to_owned(), "2.0".to_owned(), longest.to_string(), format!("{longest}.0")] {
                assert!(asking(&fits, longest).is_ok(), "{fits} of {longest}");
            }
            let none = Submission::parse_within(br#"{"type":"csv-generation","payload":{"a":1}}"#, NOW, Limits::WIDEST);
            assert_eq!(asking("null", longest).expect("null is absent"), none.expect("fits"));
            let problem = format!("`timeout_seconds` must be a whole number from 1 to {longest}");
            let above = (longest + 1).to_string();
            for wrong in [above.as_str(), "891", "0", "-1", "1.5", "1e300", r#""9""#, "true", "[]", "{}"] {
                assert_eq!(asking(wrong, longest).expect_err(wrong).to_string(), problem, "{wrong} of {longest}");
            }
        }
    }

    #[test]
    fn a_copy_of_a_job_asks_for_no_more_than_this_deployment_allows() {
        let mut original = job(r#"{"type":"csv-generation","payload":{"a":1},"timeout_seconds":300}"#);
        for (longest_attempt_seconds, seconds) in [(50, 50), (290, 290), (LONGEST_TIMEOUT_SECONDS, 300)] {
            let copy = Submission::duplicate(&original, None, Limits { longest_attempt_seconds }).expect("a copy");
            assert_eq!(copy.timeout_seconds, Some(seconds));
        }
        original.timeout = Duration::from_secs(7);
        let copy = Submission::duplicate(&original, None, Limits::default()).expect("a copy");
        assert_eq!(copy.timeout_seconds, Some(7));
    }

    #[test]
    fn a_job_is_what_was_asked_for_and_otherwise_what_its_type_lays_down() {
        let tags = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
        let asked = job_with(&format!(r#""max_attempts":10,"timeout_seconds":50,"tags":{tags:?}"#));
        assert_eq!((asked.max_attempts, asked.timeout), (10, Duration::from_secs(50)));
        assert_eq!(asked.tags.iter().map(Tag::as_str).collect::<Vec<_>>(), tags, "ten are taken");
        let least = job_with(r#""max_attempts":1,"timeout_seconds":1"#);
        assert_eq!((least.max_attempts, least.timeout), (1, Duration::from_secs(1)));
        let plain = job(r#"{"type":"webhook-delivery","payload":{"url":"https://example.com","data":1}}"#);
        assert_eq!((plain.max_attempts, plain.timeout), (8, Duration::from_secs(30)));
        assert_eq!((plain.tags, plain.expires_at), (vec![], None));
    }

    #[test]
    fn a_job_may_start_up_to_366_days_ahead() {
        let not_before = |option: &str| match job_with(option).state {
            State::Pending { not_before, .. } => not_before,
            state => panic!("{state:?}"),
        };
        assert_eq!(not_before(r#""delay_seconds":0"#), NOW);
        assert_eq!(not_before(r#""delay_seconds":60"#), time("2027-01-15T08:01:00Z"));
        assert_eq!(not_before(r#""run_at":"2027-01-15T09:00:00+00:30""#), time("2027-01-15T08:30:00Z"));
        let last = time("2028-01-16T08:00:00Z");
        assert_eq!(not_before(r#""delay_seconds":31622400"#), last);
        assert_eq!(not_before(r#""run_at":"2028-01-16T08:00:00Z""#), last);
        let refused = |option: &str| {
            let body = format!(r#"{{"type":"csv-generation","payload":{{"a":1}},{option}}}"#);
            parse(&body).expect_err(option).to_string()
        };
        assert_eq!(refused(r#""delay_seconds":31622401"#), "`delay_seconds` must be a whole number from 0 to 31622400");
        for run_at in ["2028-01-16T08:00:00.001Z", "2030-01-01T00:00:00Z"] {
            let problem = "`run_at` must be at most 366 days ahead";
            assert_eq!(refused(&format!(r#""run_at":"{run_at}""#)), problem, "{run_at}");
        }
    }

    #[test]
    fn a_job_that_expires_has_a_moment_to_start_in() {
        let with = |expires_at: &str| format!(r#""delay_seconds":60,"expires_at":"{expires_at}""#);
        let too_soon = format!(r#"{{"type":"csv-generation","payload":{{}},{}}}"#, with("2027-01-15T08:01:00Z"));
        assert_eq!(
            parse(&too_soon).expect_err("at the very start").to_string(),
            "`expires_at` must be later than the time at which the job may start"
        );
        for expires_at in ["2027-01-15T08:01:00.001Z", "2099-01-01T00:00:00Z"] {
            assert_eq!(job_with(&with(expires_at)).expires_at, Some(time(expires_at)));
        }
    }

    #[test]
    fn another_start_is_said_in_exactly_one_way() {
        let of = |delay_seconds: Option<u32>, run_at: Option<&str>| {
            let seconds = serde_json::from_value(serde_json::json!(delay_seconds)).expect("fits");
            parse_start(seconds, run_at, NOW).map_err(|invalid| invalid.to_string())
        };
        let (nine, text) = (time("2027-01-15T09:00:00Z"), Some("2027-01-15T09:00:00Z"));
        assert_eq!(of(Some(3600), None), Ok(nine));
        assert_eq!(of(None, text), Ok(nine));
        assert_eq!(of(Some(0), None), Ok(NOW));
        assert_eq!(of(None, None), Err("`run_at` or `delay_seconds` is required".to_owned()));
        assert_eq!(of(Some(3600), text), Err("`run_at` and `delay_seconds` cannot both be given".to_owned()));
    }

    #[test]
    fn a_key_stands_in_the_body_only_within_a_batch() {
        let with_key = r#"{"type":"csv-generation","payload":{"a":1},"idempotency_key":"order-1"}"#;
        assert_eq!(
            parse(with_key).expect_err("alone").to_string(),
            "`idempotency_key` is for batches; give the header Idempotency-Key"
        );
        let (submission, key) = Submission::parse_of_batch(with_key, NOW, Limits::default()).expect("one of a batch");
        assert_eq!(key.as_deref(), Some("order-1"));
        assert_eq!(submission, parse(r#"{"type":"csv-generation","payload":{"a":1}}"#).expect("fits"));
    }

    #[test]
    fn a_body_that_is_all_payload_is_named_as_the_body() {
        let of = |body: &str| Submission::parse_payload(JobType::CsvGeneration, body.as_bytes());
        let payload = Json::parse(r#"{"a":1}"#).expect("valid");
        assert_eq!(of(" {\"a\": 1}\n").expect("fits"), Submission::plain(JobType::CsvGeneration, payload));
        assert_eq!(of("3").expect_err("a number").to_string(), "`body` must be an object, or an array of objects");
        assert_eq!(
            of(r#"{"a":{}}"#).expect_err("not flat").to_string(),
            "`a` must be a text, a number, true, false or null"
        );
        assert!(matches!(of("{").expect_err("cut off"), Rejection::NotJson(_)));
    }

    #[test]
    fn what_goes_with_a_job_and_when_it_starts_are_part_of_what_is_asked_for() {
        let plain = Submission::plain(JobType::CsvGeneration, Json::parse("{}").expect("valid"));
        let with = |own: &str| plain.clone().together_with(own.to_owned()).fingerprint();
        assert_eq!(with("a lamp"), with("a lamp"));
        assert_ne!(with("a lamp"), with("a chair"));
        assert_ne!(with("a lamp"), plain.fingerprint());

        let nine = time("2027-01-15T09:00:00Z");
        let at_nine = plain.clone().at(nine);
        assert_ne!(at_nine.fingerprint(), plain.fingerprint());
        let origin = Origin { correlation_id: "request".to_owned(), traceparent: None };
        let job = at_nine.into_job(JobId::at(NOW, [0; 10]), Tenant::only(), NOW, origin);
        assert_eq!(job.history, [Event::Accepted { at: NOW, not_before: Some(nine) }]);
    }

    #[test]
    fn a_callback_url_is_kept_as_it_was_given_and_no_webhook_has_one() {
        let url = "https://example.com/hooks?key=1#top";
        let with = |url: &str| format!(r#"{{"type":"csv-generation","payload":{{"a":1}},"callback_url":"{url}"}}"#);
        assert_eq!(job(&with(url)).callback_url.as_deref(), Some(url));
        let fingerprint = |url: &str| parse(&with(url)).expect(url).fingerprint();
        assert_ne!(fingerprint(url), fingerprint("https://example.com/"));
        let refused = parse(&with("ftp://example.com/")).expect_err("no web address").to_string();
        assert!(refused.starts_with("`callback_url` ") && refused.ends_with("must start with https://"), "{refused}");
        let webhook = r#"{"type":"webhook-delivery","payload":{"url":"https://example.com","data":1},
            "callback_url":"https://example.com"}"#;
        assert_eq!(
            parse(webhook).expect_err("it would go on for ever").to_string(),
            "`callback_url` is not for webhooks themselves"
        );
    }
}
