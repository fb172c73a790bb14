//! Settings: environment variables, read once at the start. A missing or wrong one ends the start with its name.
//!
//! `.env.example` lists them all.

use std::path::PathBuf;
use std::time::Duration;

use shared::retry::RetryPolicy;
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
}

impl Place {
    /// Reads `TABLE_NAME` and `QUEUE_URL`.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, SettingError> {
        Ok(Self {
            table_name: required(lookup, "TABLE_NAME", "the name of the DynamoDB table that holds the jobs")?,
            queue_url: required(lookup, "QUEUE_URL", "the URL of the SQS queue that announces them")?,
        })
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

/// Where the worker puts what jobs make, and how it retries.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// `OUTPUT_URL`: where files go.
    pub output: OutputUrl,
    /// `MAIL_URL`: where e-mail goes.
    pub mail: MailUrl,
    /// `MAIL_FROM`: who sends it.
    pub mail_from: String,
    /// `RETRY_BASE_SECONDS`: the wait after a first failed attempt.
    pub retry: RetryPolicy,
    /// `CSV_FORMULA_GUARD`: whether cells that a spreadsheet would run are disarmed.
    pub csv_formula_guard: bool,
}

/// No wait between two attempts is longer, a limit of Dray's own.
const LONGEST_BACKOFF: Duration = Duration::from_secs(900);

impl WorkerSettings {
    /// Reads them.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, SettingError> {
        Ok(Self {
            output: OutputUrl::parse(&optional(lookup, "OUTPUT_URL", "file://output"))?,
            mail: MailUrl::parse(&optional(lookup, "MAIL_URL", "file://output/mail"))?,
            mail_from: optional(lookup, "MAIL_FROM", "dray@example.com"),
            retry: RetryPolicy {
                base: retry_base(&optional(lookup, "RETRY_BASE_SECONDS", "10"))?,
                cap: LONGEST_BACKOFF,
            },
            csv_formula_guard: switch("CSV_FORMULA_GUARD", &optional(lookup, "CSV_FORMULA_GUARD", "on"))?,
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
            let forms = "it must be file://folder, smtp://host:port, smtps://user:password@host or ses://";
            SettingError::Wrong("MAIL_URL", forms.to_owned())
        };
        match text.split_once("://") {
            Some(("file", path)) if !path.is_empty() => Ok(Self::Folder(PathBuf::from(path))),
            Some(("smtp" | "smtps", _)) => match Url::parse(text) {
                Ok(url) if url.has_host() => Ok(Self::Smtp(text.to_owned())),
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

fn required(lookup: Lookup<'_>, name: &'static str, meaning: &'static str) -> Result<String, SettingError> {
    lookup(name).ok_or(SettingError::Missing(name, meaning))
}

fn optional(lookup: Lookup<'_>, name: &str, default: &str) -> String {
    lookup(name).unwrap_or_else(|| default.to_owned())
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

    fn worker_with(name: &'static str, value: &'static str) -> Result<WorkerSettings, SettingError> {
        WorkerSettings::read(&move |asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn a_missing_setting_is_named() {
        let error = Place::read(&|_| None).expect_err("nothing is set").to_string();
        assert_eq!(error, "TABLE_NAME is not set: the name of the DynamoDB table that holds the jobs");
    }

    #[test]
    fn a_wrong_setting_is_named_and_its_value_is_not_repeated() {
        let wrong = [
            ("OUTPUT_URL", "ftp://example.com"),
            ("OUTPUT_URL", "s3:///prefix"),
            ("MAIL_URL", "smtp://:25"),
            ("MAIL_URL", "imap://user:hunter2@example.com"),
            ("RETRY_BASE_SECONDS", "0.5"),
            ("RETRY_BASE_SECONDS", "soon"),
            ("CSV_FORMULA_GUARD", "maybe"),
        ];
        for (name, value) in wrong {
            let error = worker_with(name, value).expect_err(value).to_string();
            assert!(error.starts_with(name) && !error.contains(value), "{error}");
        }
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
    }

    #[test]
    fn the_defaults_are_those_of_this_machine() {
        let settings = WorkerSettings::read(&|_| None).expect("all have defaults");
        assert_eq!(settings.output, OutputUrl::Folder("output".into()));
        assert_eq!(settings.mail, MailUrl::Folder("output/mail".into()));
    }
}
