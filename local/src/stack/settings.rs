//! Whether the settings fit, before anything runs: by the functions' own readers, then by what `template.yaml` lets its
//! parameters be. Jobs that wait from an earlier run are not run with settings that nobody has given.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;
use shared_aws::settings::{ApiSettings, SettingError, WorkerSettings};
use shared_aws::telemetry;

use crate::stack::environment::{Environment, Setting};

/// What `template.yaml` says of its parameters, and of what follows from them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Template {
    parameters: BTreeMap<String, Parameter>,
    mappings: BTreeMap<String, BTreeMap<String, BTreeMap<String, Value>>>,
}

/// A parameter, and those of its constraints that settings meet. CloudFormation knows them all.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    default: Option<Value>,
    allowed_values: Option<Vec<Value>>,
    allowed_pattern: Option<String>,
    max_length: Option<usize>,
}

/// Refuses settings that do not fit: all of them at once, each by its name. No value is repeated.
pub fn check(template: &str, environment: &Environment, working_dir: &Path) -> anyhow::Result<()> {
    let template: Template = serde_norway::from_str(template).context("failed to read template.yaml")?;
    let wrong = template.wrong(&environment.settings(working_dir));
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("not all settings fit, and nothing is started\n  {}", wrong.join("\n  "))
}

impl Template {
    /// What is wrong with each setting that does not fit. What a function says of one counts before what the template says.
    fn wrong(&self, settings: &[Setting]) -> Vec<String> {
        let lookup = |name: &str| match name {
            "LONGEST_ATTEMPT_SECONDS" => self.longest_attempt(settings),
            _ => settings.iter().find(|setting| setting.name == name).map(|setting| setting.value.clone()),
        };
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let read =
            [telemetry::check(&lookup).err(), ApiSettings::read(&lookup).err(), WorkerSettings::read(&lookup).err()];
        let (mut names, mut wrong) = (vec![], vec![]);
        for error in read.into_iter().flatten().flat_map(|errors| errors.0) {
            // What is missing the stack sets itself: a table, a queue.
            if let SettingError::Wrong(name, _) = error {
                names.push(name);
                wrong.push(error.to_string());
            }
        }
        for setting in settings.iter().filter(|setting| !names.contains(&setting.name)) {
            let parameter = self.parameters.get(setting.parameter);
            if let Some(needed) = parameter.and_then(|parameter| parameter.refuses(&setting.value)) {
                wrong.push(format!("{} does not fit: {needed}", setting.name));
            }
        }
        wrong
    }

    /// What the API is told of the longest attempt, which follows from how long a worker may live.
    fn longest_attempt(&self, settings: &[Setting]) -> Option<String> {
        let given = settings.iter().find(|setting| setting.parameter == "WorkerTimeout");
        let by_default = || self.parameters.get("WorkerTimeout")?.default.as_ref().map(text);
        let timeout = given.map(|setting| setting.value.clone()).or_else(by_default)?;
        self.mappings.get("Worker")?.get(&timeout)?.get("LongestAttempt").map(text)
    }
}

impl Parameter {
    /// What a value must be that this one is not.
    fn refuses(&self, value: &str) -> Option<String> {
        if let Some(allowed) = &self.allowed_values {
            let allowed: Vec<_> = allowed.iter().map(text).collect();
            if !allowed.iter().any(|one| one == value) {
                return Some(format!("it must be one of {}", allowed.join(", ")));
            }
        }
        // A pattern that only CloudFormation can read, it looks at itself.
        if let Some(pattern) = &self.allowed_pattern
            && Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|whole| !whole.is_match(value))
        {
            return Some(format!("it must match {pattern}"));
        }
        let longest = self.max_length.filter(|longest| value.chars().count() > *longest)?;
        Some(format!("it must have {longest} characters at most"))
    }
}

/// A text as it is, a number as it is written.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = include_str!("../../../template.yaml");

    /// What is said about these settings, a line for each that is wrong.
    fn told(given: &[(&str, &str)]) -> Vec<String> {
        let given = given.iter().fold(Environment::default(), |given, (name, value)| given.with(name, *value));
        match check(TEMPLATE, &given, Path::new("/home/ada")) {
            Ok(()) => vec![],
            Err(error) => error.to_string().lines().skip(1).map(|line| line.trim().to_owned()).collect(),
        }
    }

    #[test]
    fn a_setting_that_a_function_or_the_template_refuses_is_named_with_what_it_must_be() {
        let too_long = "hunter2".repeat(600);
        let wrong = [
            ("OUTPUT_URL", "ftp://hunter2", "it must be file://folder or s3://bucket/prefix"),
            ("MAIL_URL", "smtp://relay?tls=hunter2", "it must be file://folder, smtp://host:port (with "),
            ("MAIL_FROM", "hunter2", "it must be an e-mail address: "),
            ("RETRY_BASE_SECONDS", "0.5", "it must be from 1 to 900"),
            ("CSV_FORMULA_GUARD", "hunter2", "it must be on or off"),
            ("OUTBOUND_ALLOW", "hunter2", "it must be public or any"),
            ("WEBHOOK_SECRET", "hunter2", ""),
            ("PUSH_GATEWAY_URL", "hunter2", "it must be https://host/path, "),
            ("PUSH_GATEWAY_TOKEN", "hunter2 and more", "it must be printable ASCII without white space"),
            ("LOG_LEVEL", "hunter2", "it must be error, warn, info, debug or trace"),
            ("LOG_FORMAT", "hunter2", "it must be json or pretty"),
            // These only the template refuses.
            ("WORKER_TIMEOUT_SECONDS", "61", "it must be one of 60, 300, 900"),
            ("LOG_LEVEL", "off", "it must be one of error, warn, info, debug, trace"),
            ("PUSH_GATEWAY_URL", "HTTPS://hunter2.example.com", r"it must match ^$|^https?://\S+$"),
            ("IDEMPOTENCY_SECRET", too_long.as_str(), "it must have 4096 characters at most"),
        ];
        for (name, value, needed) in wrong {
            let told = told(&[(name, value)]);
            assert!(told.len() == 1 && told[0].starts_with(&format!("{name} does not fit: {needed}")), "{told:?}");
            assert!(!told[0].contains("hunter2"), "{told:?}");
        }
        let mut all: BTreeMap<_, _> = wrong.map(|(name, value, _)| (name, value)).into();
        let at_once = told(&all.iter().map(|(name, value)| (*name, *value)).collect::<Vec<_>>());
        for line in &at_once {
            assert!(all.remove(line.split(' ').next().unwrap_or_default()).is_some(), "{line} in {at_once:?}");
        }
        assert!(all.is_empty(), "{all:?} are not in {at_once:?}");
    }

    #[test]
    fn what_fits_is_let_through() {
        let right: [&[(&str, &str)]; 6] = [
            &[],
            &[("MAIL_URL", "smtps://user:hunter2@mail.example.com:465"), ("MAIL_FROM", "Dray <dray@example.com>")],
            &[("OUTPUT_URL", "s3://bucket/prefix"), ("MAIL_URL", "ses://"), ("LOG_LEVEL", "trace")],
            &[("WORKER_TIMEOUT_SECONDS", "300"), ("RETRY_BASE_SECONDS", "900"), ("OUTBOUND_ALLOW", "public")],
            &[("PUSH_GATEWAY_URL", "http://127.0.0.1:9000/send"), ("PUSH_GATEWAY_TOKEN", "hunter2")],
            &[("WEBHOOK_SECRET", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"), ("LOG_FORMAT", "json")],
        ];
        for given in right {
            assert_eq!(told(given), [""; 0], "{given:?}");
        }
    }

    #[test]
    fn the_longest_attempt_is_the_one_that_the_api_will_be_told() {
        let template: Template = serde_norway::from_str(TEMPLATE).expect("YAML");
        for (given, expected) in [(None, Some("50")), (Some("300"), Some("290")), (Some("61"), None)] {
            let environment = Environment::default();
            let environment =
                given.into_iter().fold(environment, |all, value| all.with("WORKER_TIMEOUT_SECONDS", value));
            let settings = environment.settings(Path::new("/"));
            assert_eq!(template.longest_attempt(&settings).as_deref(), expected, "{given:?}");
        }
    }
}
