//! Settings: environment variables, read once at the start. Missing and wrong ones end the start with their names, all of
//! them at once.
//!
//! `.env.example` lists them all.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use shared::job::backoff::RetryPolicy;
use shared::job::submission::{LONGEST_TIMEOUT_SECONDS, Limits};
use shared::job_type::JobType;
use shared::payloads::email_send::parse_address;
use shared::values::standard_webhooks::WebhookSecret;
use url::Url;

/// What is wrong with a setting.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// It has no default and is not set.
    #[error("{0} is not set: {1}")]
    Missing(&'static str, &'static str),
    /// Its value does not fit. The value itself is not repeated: it may be secret.
    #[error("{0} does not fit: {1}")]
    Wrong(&'static str, String),
}

/// All that is wrong with a function's settings, in one line.
#[derive(PartialEq, Eq, thiserror::Error)]
#[error("{}", one_line(.0))]
pub struct SettingErrors(pub Vec<SettingError>);

/// As people read it: what `main` returns is printed so.
impl std::fmt::Debug for SettingErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl From<SettingError> for SettingErrors {
    fn from(error: SettingError) -> Self {
        Self(vec![error])
    }
}

fn one_line(errors: &[SettingError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Settings that are being read. Notes what is wrong, so that whoever set them learns all of it at once.
#[derive(Debug, Default)]
pub struct Reading(Vec<SettingError>);

impl Reading {
    /// The setting, if it fits.
    pub fn take<T>(&mut self, setting: Result<T, impl Into<SettingErrors>>) -> Option<T> {
        let noted = setting.map_err(|errors| {
            let errors: SettingErrors = errors.into();
            self.0.extend(errors.0);
        });
        noted.ok()
    }

    /// What `settings` makes of those that were taken, unless something is wrong with one of them.
    pub fn finish<T>(self, settings: impl FnOnce() -> Option<T>) -> Result<T, SettingErrors> {
        match settings() {
            Some(settings) if self.0.is_empty() => Ok(settings),
            Some(_) | None => Err(SettingErrors(self.0)),
        }
    }
}

/// Looks a variable up by its name.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Looks a variable up in the environment of this process. An empty one counts as not set.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where the jobs are.
#[derive(Clone, Debug)]
pub struct Place {
    /// `TABLE_NAME`: the DynamoDB table.
    pub table_name: String,
    /// `QUEUE_URL`: the SQS queue.
    pub queue_url: String,
    /// Where the AWS is that has them.
    pub endpoints: Endpoints,
}

impl Place {
    /// Reads `TABLE_NAME` and `QUEUE_URL`, and the addresses of AWS.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, SettingErrors> {
        let mut reading = Reading::default();
        let table_name =
            reading.take(required(lookup, "TABLE_NAME", "the name of the DynamoDB table that holds the jobs"));
        let queue_url = reading.take(required(lookup, "QUEUE_URL", "the URL of the SQS queue that announces them"));
        let endpoints = reading.take(Endpoints::read(lookup));
        reading.finish(|| Some(Self { table_name: table_name?, queue_url: queue_url?, endpoints: endpoints? }))
    }
}

/// Reads `DEAD_LETTER_QUEUE_URL`, where the messages of failed jobs end up.
pub fn dead_letter_queue_url(lookup: Lookup<'_>) -> Result<String, SettingError> {
    required(lookup, "DEAD_LETTER_QUEUE_URL", "the URL of the SQS queue that the redrive policy names")
}

/// Reads `IDEMPOTENCY_SECRET`, by which idempotency keys become job ids.
pub fn idempotency_secret(lookup: Lookup<'_>) -> Result<String, SettingError> {
    required(lookup, "IDEMPOTENCY_SECRET", "any text that clients cannot guess and that never changes")
}

/// Who may use the API, how much, and where what fails goes.
pub struct ApiSettings {
    /// `AUTH_MODE`, and what it needs besides.
    pub auth: AuthMode,
    /// `JOBS_PER_MINUTE`: the most jobs that a tenant may submit in a minute. `None` is no limit.
    pub jobs_per_minute: Option<NonZeroU32>,
    /// `LONGEST_ATTEMPT_SECONDS`: what jobs may ask for.
    pub limits: Limits,
    /// `DEAD_LETTER_QUEUE_URL`: where the messages of failed jobs end up.
    pub dead_letter_queue_url: String,
    /// `IDEMPOTENCY_SECRET`: by which idempotency keys become job ids.
    pub idempotency_secret: String,
}

impl ApiSettings {
    /// Reads them.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, SettingErrors> {
        let mut reading = Reading::default();
        let auth = reading.take(AuthMode::read(lookup));
        let jobs_per_minute = reading.take(jobs_per_minute(lookup));
        let limits = reading.take(limits(lookup));
        let dead_letter_queue_url = reading.take(dead_letter_queue_url(lookup));
        let idempotency_secret = reading.take(idempotency_secret(lookup));
        reading.finish(|| {
            Some(Self {
                auth: auth?,
                jobs_per_minute: jobs_per_minute?,
                limits: limits?,
                dead_letter_queue_url: dead_letter_queue_url?,
                idempotency_secret: idempotency_secret?,
            })
        })
    }
}

/// The services that functions call, by the SDK's ids, and the variable that says where each is.
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>
const SERVICES: [(&str, &str); 5] = [
    ("DynamoDB", "AWS_ENDPOINT_URL_DYNAMODB"),
    ("S3", "AWS_ENDPOINT_URL_S3"),
    ("SESv2", "AWS_ENDPOINT_URL_SESV2"),
    ("SNS", "AWS_ENDPOINT_URL_SNS"),
    ("SQS", "AWS_ENDPOINT_URL_SQS"),
];

/// Where AWS is, if elsewhere than where its region has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// `ENDPOINT_URL`.
    local: Option<String>,
    /// `AWS_ENDPOINT_URL_SQS` and its like, by the SDK's id of the service.
    by_service: BTreeMap<&'static str, String>,
    /// `AWS_ENDPOINT_URL`.
    others: Option<String>,
}

impl Endpoints {
    /// Reads `ENDPOINT_URL`, then the variables that all SDKs know. An empty one counts as not set, whatever `lookup`
    /// says: the SDK itself takes it for an address.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, SettingErrors> {
        let mut reading = Reading::default();
        let local = reading.take(address(lookup, "ENDPOINT_URL"));
        let others = reading.take(address(lookup, "AWS_ENDPOINT_URL"));
        let mut by_service = BTreeMap::new();
        for (service, variable) in SERVICES {
            let url = reading.take(address(lookup, variable)).flatten();
            by_service.extend(url.map(|url| (service, url)));
        }
        reading.finish(|| Some(Self { local: local?, by_service, others: others? }))
    }

    /// Where the service of this id is: `SQS`. `None`: where AWS has it.
    pub fn of(&self, service: &str) -> Option<&str> {
        let as_sdks_know_it = || self.by_service.get(service).or(self.others.as_ref());
        self.local.as_ref().or_else(as_sdks_know_it).map(String::as_str)
    }

    /// Whether they are those of a local AWS, which nobody's credentials are for: `ENDPOINT_URL` is set.
    pub fn are_local(&self) -> bool {
        self.local.is_some()
    }
}

/// Reads an address as SDKs take it.
fn address(lookup: Lookup<'_>, name: &'static str) -> Result<Option<String>, SettingError> {
    let Some(text) = lookup(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    match Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Some(url.as_str().trim_end_matches('/').to_owned())),
        Ok(_) | Err(_) => Err(SettingError::Wrong(name, "it must be http://host:port or https://host".to_owned())),
    }
}

/// Who may call the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Whoever has a token that API Gateway has verified.
    Jwt {
        /// `TENANT_CLAIM`: the claim that names the tenant.
        tenant_claim: String,
        /// `SCOPE_PREFIX`: what the token's scopes have before `jobs:read` and its like. May be empty.
        scope_prefix: String,
    },
    /// Whoever IAM allows `execute-api:Invoke`.
    Iam,
    /// Everybody.
    None,
}

impl AuthMode {
    /// Reads `AUTH_MODE`, which has no default: an open API shall be somebody's decision. And what it needs besides.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, SettingError> {
        match required(lookup, "AUTH_MODE", "who may call the API: jwt, iam or none")?.as_str() {
            "jwt" => Ok(Self::Jwt {
                tenant_claim: optional(lookup, "TENANT_CLAIM", "sub"),
                scope_prefix: optional(lookup, "SCOPE_PREFIX", ""),
            }),
            "iam" => Ok(Self::Iam),
            "none" => Ok(Self::None),
            _ => Err(SettingError::Wrong("AUTH_MODE", "it must be jwt, iam or none".to_owned())),
        }
    }
}

/// Reads `JOBS_PER_MINUTE`, the most jobs that a tenant may submit in a minute. `None`, or 0, is no limit.
pub fn jobs_per_minute(lookup: Lookup<'_>) -> Result<Option<NonZeroU32>, SettingError> {
    let jobs = optional(lookup, "JOBS_PER_MINUTE", "0").parse::<u32>();
    let wrong = || SettingError::Wrong("JOBS_PER_MINUTE", "it must be a whole number, where 0 is no limit".to_owned());
    jobs.map(NonZeroU32::new).map_err(|_| wrong())
}

/// Reads `LONGEST_ATTEMPT_SECONDS`, the longest that an attempt of a job may ask to run. No type of job may take longer of
/// itself: its jobs would be accepted, and never run.
pub fn limits(lookup: Lookup<'_>) -> Result<Limits, SettingError> {
    const NAME: &str = "LONGEST_ATTEMPT_SECONDS";
    let Some(text) = lookup(NAME) else { return Ok(Limits::default()) };
    let seconds = text.parse::<u32>().ok().filter(|seconds| (1..=LONGEST_TIMEOUT_SECONDS).contains(seconds));
    let Some(longest_attempt_seconds) = seconds else {
        let bounds = format!("it must be a whole number from 1 to {LONGEST_TIMEOUT_SECONDS}");
        return Err(SettingError::Wrong(NAME, bounds));
    };
    let policies = JobType::ALL.iter().map(|job_type| job_type.policy());
    match policies.max_by_key(|policy| policy.timeout_seconds) {
        Some(policy) if policy.timeout_seconds > longest_attempt_seconds => {
            let (name, seconds) = (policy.name, policy.timeout_seconds);
            let problem =
                format!("jobs of the type {name} may take {seconds} s: let workers live longer (WorkerTimeout)");
            Err(SettingError::Wrong(NAME, problem))
        }
        Some(_) | None => Ok(Limits { longest_attempt_seconds }),
    }
}

/// Where the worker puts what jobs make, and how it retries.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// `OUTPUT_URL`: where files go.
    pub output: OutputUrl,
    /// `MAIL_URL`: where e-mail goes.
    pub mail: MailUrl,
    /// `MAIL_FROM`: who sends it.
    pub mail_from: Mailbox,
    /// `RETRY_BASE_SECONDS`: the wait after a first failed attempt.
    pub retry: RetryPolicy,
    /// `CSV_FORMULA_GUARD`: whether cells that a spreadsheet would run are disarmed.
    pub csv_formula_guard: bool,
    /// `OUTBOUND_ALLOW`: where jobs may call to.
    pub outbound: OutboundAllow,
    /// `WEBHOOK_SECRET`: what webhooks are signed with. None: there are no webhooks.
    pub webhook_secret: Option<WebhookSecret>,
    /// `PUSH_GATEWAY_URL`: who brings push notifications to devices. None: there are no push notifications.
    pub push_gateway_url: Option<Url>,
    /// `PUSH_GATEWAY_TOKEN`: what the gateway asks for, if it asks.
    pub push_gateway_token: Option<Secret>,
}

/// No wait between two attempts is longer, a limit of Dray's own.
const LONGEST_BACKOFF: Duration = Duration::from_secs(900);

impl WorkerSettings {
    /// Reads them.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, SettingErrors> {
        let mut reading = Reading::default();
        let output = reading.take(OutputUrl::parse(&optional(lookup, "OUTPUT_URL", "file://output")));
        let mail = reading.take(MailUrl::parse(&optional(lookup, "MAIL_URL", "file://output/mail")));
        let mail_from = reading.take(sender(&optional(lookup, "MAIL_FROM", "dray@example.com")));
        let base = reading.take(retry_base(&optional(lookup, "RETRY_BASE_SECONDS", "10")));
        let guard = reading.take(switch("CSV_FORMULA_GUARD", &optional(lookup, "CSV_FORMULA_GUARD", "on")));
        let outbound = reading.take(OutboundAllow::parse(&optional(lookup, "OUTBOUND_ALLOW", "public")));
        let webhook_secret = reading.take(lookup("WEBHOOK_SECRET").as_deref().map(webhook_secret).transpose());
        let push_gateway_url = reading.take(lookup("PUSH_GATEWAY_URL").as_deref().map(gateway_url).transpose());
        let push_gateway_token = reading.take(lookup("PUSH_GATEWAY_TOKEN").map(token).transpose());
        reading.finish(|| {
            Some(Self {
                output: output?,
                mail: mail?,
                mail_from: mail_from?,
                retry: RetryPolicy { base: base?, cap: LONGEST_BACKOFF },
                csv_formula_guard: guard?,
                outbound: outbound?,
                webhook_secret: webhook_secret?,
                push_gateway_url: push_gateway_url?,
                push_gateway_token: push_gateway_token?,
            })
        })
    }
}

/// Where files go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputUrl {
    /// `file://output` (relative to the working directory) or `file:///var/output`.
    Folder(PathBuf),
    /// `s3://bucket/prefix`.
    Bucket {
        /// The bucket.
        name: String,
        /// What keys start with, without a slash at its end. May be empty.
        prefix: String,
    },
}

impl OutputUrl {
    fn parse(text: &str) -> Result<Self, SettingError> {
        let wrong = || SettingError::Wrong("OUTPUT_URL", "it must be file://folder or s3://bucket/prefix".to_owned());
        match text.split_once("://") {
            Some(("file", path)) if !path.is_empty() => Ok(Self::Folder(PathBuf::from(path))),
            Some(("s3", place)) => {
                let (name, prefix) = place.split_once('/').unwrap_or((place, ""));
                if name.is_empty() {
                    return Err(wrong());
                }
                Ok(Self::Bucket { name: name.to_owned(), prefix: prefix.trim_end_matches('/').to_owned() })
            }
            _ => Err(wrong()),
        }
    }
}

/// Where e-mail goes.
#[derive(Clone, PartialEq, Eq)]
pub enum MailUrl {
    /// `file://output/mail`: one `.eml` file per job.
    Folder(PathBuf),
    /// `smtp://host:port` or `smtps://user:password@host`, passed to the SMTP client as it is.
    Smtp(String),
    /// `ses://`: the SES v2 API.
    Ses,
}

impl MailUrl {
    fn parse(text: &str) -> Result<Self, SettingError> {
        let wrong = || {
            let forms = "it must be file://folder, smtp://host:port (with ?tls=required or ?tls=opportunistic, or \
                         without), smtps://user:password@host or ses://";
            SettingError::Wrong("MAIL_URL", forms.to_owned())
        };
        match text.split_once("://") {
            Some(("file", path)) if !path.is_empty() => Ok(Self::Folder(PathBuf::from(path))),
            Some(("smtp" | "smtps", _)) => match Url::parse(text) {
                Ok(url) if url.has_host() && says_how_to_encrypt(&url) => Ok(Self::Smtp(text.to_owned())),
                Ok(_) | Err(_) => Err(wrong()),
            },
            Some(("ses", "")) => Ok(Self::Ses),
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Debug for MailUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => f.debug_tuple("Folder").field(path).finish(),
            Self::Smtp(_) => f.write_str("Smtp(…)"), // it may hold a password
            Self::Ses => f.write_str("Ses"),
        }
    }
}

/// Whether `tls`, if it is there, is something that an SMTP client can do. Over `smtps` all is encrypted anyway.
fn says_how_to_encrypt(url: &Url) -> bool {
    let mut words = url.query_pairs().filter(|(name, _)| name == "tls");
    url.scheme() == "smtps" || words.all(|(_, word)| matches!(&*word, "required" | "opportunistic"))
}

/// Where jobs whose URL a caller has a say in may call to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboundAllow {
    /// `public`: https, to addresses of the public internet.
    Public,
    /// `any`: plain http and private addresses as well. For one's own machine.
    Any,
}

impl OutboundAllow {
    fn parse(text: &str) -> Result<Self, SettingError> {
        match text {
            "public" => Ok(Self::Public),
            "any" => Ok(Self::Any),
            _ => Err(SettingError::Wrong("OUTBOUND_ALLOW", "it must be public or any".to_owned())),
        }
    }
}

/// A value that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn required(lookup: Lookup<'_>, name: &'static str, meaning: &'static str) -> Result<String, SettingError> {
    lookup(name).ok_or(SettingError::Missing(name, meaning))
}

fn optional(lookup: Lookup<'_>, name: &str, default: &str) -> String {
    lookup(name).unwrap_or_else(|| default.to_owned())
}

fn sender(text: &str) -> Result<Mailbox, SettingError> {
    let form = "it must be an e-mail address: dray@example.com, or Dray <dray@example.com>";
    parse_address(text).map_err(|_| SettingError::Wrong("MAIL_FROM", form.to_owned()))
}

fn webhook_secret(text: &str) -> Result<WebhookSecret, SettingError> {
    WebhookSecret::parse(text).map_err(|error| SettingError::Wrong("WEBHOOK_SECRET", error.to_string()))
}

fn retry_base(text: &str) -> Result<Duration, SettingError> {
    match text.parse::<u64>() {
        Ok(seconds) if (1..=LONGEST_BACKOFF.as_secs()).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        Ok(_) | Err(_) => {
            let range = format!("it must be from 1 to {}", LONGEST_BACKOFF.as_secs());
            Err(SettingError::Wrong("RETRY_BASE_SECONDS", range))
        }
    }
}

fn gateway_url(text: &str) -> Result<Url, SettingError> {
    let wrong = || {
        let form = "it must be https://host/path, without a user name or password";
        SettingError::Wrong("PUSH_GATEWAY_URL", form.to_owned())
    };
    let url = Url::parse(text).map_err(|_| wrong())?;
    let is_http = matches!(url.scheme(), "https" | "http"); // OUTBOUND_ALLOW says whether http is used
    if is_http && url.username().is_empty() && url.password().is_none() { Ok(url) } else { Err(wrong()) }
}

fn token(text: String) -> Result<Secret, SettingError> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Secret(text))
    } else {
        let form = "it must be printable ASCII without white space".to_owned();
        Err(SettingError::Wrong("PUSH_GATEWAY_TOKEN", form))
    }
}

fn switch(name: &'static str, text: &str) -> Result<bool, SettingError> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(SettingError::Wrong(name, "it must be on or off".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker_with(name: &'static str, value: &'static str) -> Result<WorkerSettings, SettingErrors> {
        WorkerSettings::read(&move |asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn a_missing_setting_is_named() {
        let error = dead_letter_queue_url(&|_| None).expect_err("nothing is set").to_string();
        assert_eq!(error, "DEAD_LETTER_QUEUE_URL is not set: the URL of the SQS queue that the redrive policy names");
    }

    /// The names at the beginnings of what is told.
    fn named<T>(read: Result<T, SettingErrors>) -> Vec<String> {
        let error = read.err().expect("something is wrong").to_string();
        error.split("; ").filter_map(|told| told.split(' ').next()).map(ToOwned::to_owned).collect()
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        assert_eq!(named(Place::read(&|_| None)), ["TABLE_NAME", "QUEUE_URL"]);
        let of_the_api = ["AUTH_MODE", "JOBS_PER_MINUTE", "DEAD_LETTER_QUEUE_URL", "IDEMPOTENCY_SECRET"];
        let many = |name: &str| (name == "JOBS_PER_MINUTE").then(|| "many".to_owned());
        assert_eq!(named(ApiSettings::read(&many)), of_the_api);
        let of_the_worker = [
            "OUTPUT_URL",
            "MAIL_URL",
            "MAIL_FROM",
            "RETRY_BASE_SECONDS",
            "CSV_FORMULA_GUARD",
            "OUTBOUND_ALLOW",
            "WEBHOOK_SECRET",
            "PUSH_GATEWAY_URL",
            "PUSH_GATEWAY_TOKEN",
        ];
        assert_eq!(named(WorkerSettings::read(&|_| Some("not this".to_owned()))), of_the_worker);
    }

    #[test]
    fn what_fits_is_read_and_what_is_printed_is_for_people() {
        let settings = |name: &str| match name {
            "AUTH_MODE" => Some("none".to_owned()),
            "LONGEST_ATTEMPT_SECONDS" => Some("290".to_owned()),
            _ => Some("7".to_owned()),
        };
        let settings = ApiSettings::read(&settings).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!((settings.auth, settings.jobs_per_minute), (AuthMode::None, NonZeroU32::new(7)));
        assert_eq!(settings.limits, Limits { longest_attempt_seconds: 290 });
        let errors = worker_with("OUTBOUND_ALLOW", "all").expect_err("does not fit");
        assert_eq!(format!("{errors:?}"), "OUTBOUND_ALLOW does not fit: it must be public or any");
    }

    #[test]
    fn a_wrong_setting_is_named_and_its_value_is_not_repeated() {
        let wrong = [
            ("OUTPUT_URL", "ftp://example.com"),
            ("OUTPUT_URL", "s3:///prefix"),
            ("MAIL_URL", "smtp://:25"),
            ("MAIL_URL", "imap://user:hunter2@example.com"),
            ("MAIL_URL", "smtp://example.com?tls=perhaps"),
            ("MAIL_FROM", "nobody"),
            ("WEBHOOK_SECRET", "whsec_hunter2"),
            ("RETRY_BASE_SECONDS", "0.5"),
            ("RETRY_BASE_SECONDS", "soon"),
            ("CSV_FORMULA_GUARD", "maybe"),
            ("OUTBOUND_ALLOW", "everything"),
            ("PUSH_GATEWAY_URL", "push.example.com"),
            ("PUSH_GATEWAY_URL", "ftp://push.example.com"),
            ("PUSH_GATEWAY_URL", "https://user:hunter2@push.example.com"),
            ("PUSH_GATEWAY_TOKEN", "two words"),
        ];
        for (name, value) in wrong {
            let error = worker_with(name, value).expect_err(value).to_string();
            assert!(error.starts_with(name) && !error.contains(value), "{error}");
        }
    }

    #[test]
    fn an_attempt_may_take_what_its_setting_says_and_as_long_as_any_type_asks_for_at_least() {
        let limits = |value: &'static str| {
            limits(&move |asked| {
                assert_eq!(asked, "LONGEST_ATTEMPT_SECONDS");
                (!value.is_empty()).then(|| value.to_owned())
            })
        };
        for (value, seconds) in [("", 50), ("50", 50), ("290", 290), ("890", 890)] {
            assert_eq!(limits(value), Ok(Limits { longest_attempt_seconds: seconds }), "{value}");
        }
        for wrong in ["0", "891", "-1", "50.0", "long"] {
            let error = limits(wrong).expect_err(wrong).to_string();
            assert_eq!(error, "LONGEST_ATTEMPT_SECONDS does not fit: it must be a whole number from 1 to 890");
        }
        let error = limits("49").expect_err("a type asks for more").to_string();
        assert!(error.starts_with("LONGEST_ATTEMPT_SECONDS does not fit: jobs of the type "), "{error}");
        assert!(error.ends_with(" may take 50 s: let workers live longer (WorkerTimeout)"), "{error}");
    }

    #[test]
    fn addresses_are_read() {
        let output = |value| worker_with("OUTPUT_URL", value).expect(value).output;
        assert_eq!(output("file:///var/output"), OutputUrl::Folder("/var/output".into()));
        assert_eq!(output("s3://b"), OutputUrl::Bucket { name: "b".to_owned(), prefix: String::new() });
        assert_eq!(output("s3://b/a/c/"), OutputUrl::Bucket { name: "b".to_owned(), prefix: "a/c".to_owned() });
        let mail = |value| worker_with("MAIL_URL", value).expect(value).mail;
        assert_eq!(mail("ses://"), MailUrl::Ses);
        let smtp = mail("smtps://user:hunter2@example.com");
        assert!(matches!(smtp, MailUrl::Smtp(_)) && !format!("{smtp:?}").contains("hunter2"));
        for url in ["smtp://h?tls=required", "smtp://h:25?tls=opportunistic", "smtps://h?tls=of-course"] {
            assert_eq!(mail(url), MailUrl::Smtp(url.to_owned()));
        }
    }

    #[test]
    fn the_defaults_are_those_of_this_machine() {
        let settings = WorkerSettings::read(&|_| None).expect("all have defaults");
        assert_eq!(settings.output, OutputUrl::Folder("output".into()));
        assert_eq!(settings.mail, MailUrl::Folder("output/mail".into()));
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = worker_with("PUSH_GATEWAY_TOKEN", "hunter2").expect("fits");
        assert_eq!(settings.push_gateway_token.as_ref().map(Secret::expose), Some("hunter2"));
        assert!(!format!("{settings:?}").contains("hunter2"));
        let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let settings = worker_with("WEBHOOK_SECRET", secret).expect("fits");
        assert!(settings.webhook_secret.is_some() && !format!("{settings:?}").contains("C2FV"));
    }

    #[test]
    fn jobs_call_only_the_public_internet_unless_told_otherwise() {
        let settings = WorkerSettings::read(&|_| None).expect("all have defaults");
        assert_eq!(settings.outbound, OutboundAllow::Public);
        assert!(settings.webhook_secret.is_none() && settings.push_gateway_url.is_none());
        assert_eq!(worker_with("OUTBOUND_ALLOW", "any").expect("fits").outbound, OutboundAllow::Any);
        let url = worker_with("PUSH_GATEWAY_URL", "https://push.example.com/send").expect("fits").push_gateway_url;
        assert_eq!(url.as_ref().map(Url::as_str), Some("https://push.example.com/send"));
    }

    /// Where SQS and SNS are, with these variables set.
    fn endpoints(given: &[(&str, &str)]) -> Result<[Option<String>; 2], SettingErrors> {
        let lookup = |asked: &str| given.iter().find(|(name, _)| *name == asked).map(|(_, value)| (*value).to_owned());
        let endpoints = Endpoints::read(&lookup)?;
        Ok(["SQS", "SNS"].map(|service| endpoints.of(service).map(ToOwned::to_owned)))
    }

    #[test]
    fn the_address_of_aws_is_ours_then_the_services_then_that_of_all_and_an_empty_one_is_none() {
        // Of each variable: not set, empty, set.
        for number in 0..27 {
            let variables = [
                ("ENDPOINT_URL", "http://ours:1"),
                ("AWS_ENDPOINT_URL_SQS", "http://sqs:2"),
                ("AWS_ENDPOINT_URL", "http://aws:3"),
            ];
            let kinds = [number / 9, number / 3 % 3, number % 3];
            let given: Vec<_> = variables.into_iter().zip(kinds).filter(|(_, kind)| *kind > 0).collect();
            let given: Vec<_> =
                given.iter().map(|((name, url), kind)| (*name, if *kind == 2 { *url } else { "" })).collect();
            let of = |variable: usize| (kinds[variable] == 2).then(|| variables[variable].1.to_owned());
            let expected = [of(0).or(of(1)).or(of(2)), of(0).or(of(2))];
            assert_eq!(endpoints(&given), Ok(expected), "{given:?}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_told_by_its_variable() {
        let variables = ["ENDPOINT_URL", "AWS_ENDPOINT_URL"].into_iter().chain(SERVICES.map(|(_, variable)| variable));
        for variable in variables {
            for wrong in ["4566", "localhost:4566", "ftp://localhost", "http://", "http://a b", "//localhost", "none"] {
                let error = endpoints(&[(variable, wrong)]).expect_err(wrong).to_string();
                assert_eq!(error, format!("{variable} does not fit: it must be http://host:port or https://host"));
            }
        }
        let right = [
            ("http://localhost:4566/", "http://localhost:4566"),
            ("HTTPS://Example.com/aws", "https://example.com/aws"),
        ];
        for (given, taken) in right {
            assert_eq!(endpoints(&[("ENDPOINT_URL", given)]), Ok([Some(taken.to_owned()), Some(taken.to_owned())]));
        }
    }

    #[test]
    fn an_open_api_must_be_chosen_by_name() {
        let mode = |value: Option<&'static str>| {
            AuthMode::read(&move |name| value.filter(|_| name == "AUTH_MODE").map(ToOwned::to_owned))
        };
        assert_eq!(mode(Some("none")), Ok(AuthMode::None));
        assert_eq!(mode(Some("iam")), Ok(AuthMode::Iam));
        let jwt = AuthMode::Jwt { tenant_claim: "sub".to_owned(), scope_prefix: String::new() };
        assert_eq!(mode(Some("jwt")), Ok(jwt));
        assert_eq!(mode(None), Err(SettingError::Missing("AUTH_MODE", "who may call the API: jwt, iam or none")));
        for wrong in ["None", "open", "JWT"] {
            let error = mode(Some(wrong)).expect_err(wrong).to_string();
            assert_eq!(error, "AUTH_MODE does not fit: it must be jwt, iam or none");
        }
    }

    #[test]
    fn the_claim_and_the_prefix_are_the_operators() {
        let given = [("AUTH_MODE", "jwt"), ("TENANT_CLAIM", "org_id"), ("SCOPE_PREFIX", "dray/")];
        let lookup = |name: &str| given.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let jwt = AuthMode::Jwt { tenant_claim: "org_id".to_owned(), scope_prefix: "dray/".to_owned() };
        assert_eq!(AuthMode::read(&lookup), Ok(jwt));
    }

    #[test]
    fn there_is_no_quota_unless_one_is_given() {
        let quota = |value: Option<&'static str>| {
            jobs_per_minute(&move |_| value.map(ToOwned::to_owned)).map(|jobs| jobs.map(NonZeroU32::get))
        };
        assert_eq!(quota(None), Ok(None));
        assert_eq!(quota(Some("0")), Ok(None));
        assert_eq!(quota(Some("600")), Ok(Some(600)));
        for wrong in ["-1", "many", "1.5", "4294967296"] {
            assert!(quota(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
