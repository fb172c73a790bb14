//! The settings that a person may give the local stack, and the template's parameters that they become.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;

/// Settings by name, as in `.env.example`.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

/// A setting as it is deployed.
pub struct Setting {
    /// The variable.
    pub name: &'static str,
    /// The parameter of `template.yaml` that carries it.
    pub parameter: &'static str,
    /// What the parameter is given.
    pub value: String,
}

/// Each setting, the parameter of `template.yaml` that carries it, and what it is on this machine unless given. No
/// value: what the template says.
const SETTINGS: [(&str, &str, Option<&str>); 13] = [
    ("OUTPUT_URL", "OutputUrl", Some("file://output")),
    ("MAIL_URL", "MailUrl", Some("file://output/mail")),
    ("MAIL_FROM", "MailFrom", None),
    ("WORKER_TIMEOUT_SECONDS", "WorkerTimeout", None),
    ("RETRY_BASE_SECONDS", "RetryBaseSeconds", Some("2")),
    ("CSV_FORMULA_GUARD", "CsvFormulaGuard", None),
    ("OUTBOUND_ALLOW", "OutboundAllow", Some("any")), // receivers on this machine can be tried out
    ("WEBHOOK_SECRET", "WebhookSecret", None),
    ("PUSH_GATEWAY_URL", "PushGatewayUrl", None),
    ("PUSH_GATEWAY_TOKEN", "PushGatewayToken", None),
    ("IDEMPOTENCY_SECRET", "IdempotencySecret", None),
    ("LOG_LEVEL", "LogLevel", Some("debug")), // a job's start is told at this level
    ("LOG_FORMAT", "LogFormat", Some("pretty")), // for people; files in LOG_DIR are JSON all the same
];

impl Environment {
    /// The environment variables of this process, and what a file `.env` in the working directory adds to them.
    pub fn of_this_process() -> anyhow::Result<Self> {
        let mut settings = BTreeMap::new();
        if Path::new(".env").exists() {
            for line in dotenvy::from_path_iter(".env").context("failed to read .env")? {
                let (name, value) = line.context("failed to read .env")?;
                settings.insert(name, value);
            }
        }
        settings.extend(std::env::vars());
        settings.retain(|name, value| !value.is_empty() && SETTINGS.iter().any(|(known, ..)| known == name));
        Ok(Self(settings))
    }

    /// The same with `name` set to `value`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// The setting whose parameter CloudFormation has refused with `error`: `Parameter 'LogLevel' value 'loud' is not in
    /// AllowedValues: …`. Gives its name and what is wrong with it; its value is not repeated.
    pub fn refused(&self, error: &str) -> Option<String> {
        let (_, about) = error.split_once("Parameter '")?;
        let (parameter, rest) = about.split_once("' ")?;
        let (name, ..) = SETTINGS.iter().find(|(_, known, _)| *known == parameter)?;
        let value = self.0.get(*name)?;
        let wrong = rest.strip_prefix(&format!("value '{value}' ")).unwrap_or(rest);
        Some(format!("{name} does not fit: its parameter {parameter} {}", wrong.trim()))
    }

    /// The settings that are not left to the template. Folders are relative to `working_dir`; the functions run elsewhere.
    pub fn settings(&self, working_dir: &Path) -> Vec<Setting> {
        let deployed = SETTINGS.into_iter().filter_map(|(name, parameter, default)| {
            let value = self.0.get(name).map(String::as_str).or(default)?;
            Some(Setting { name, parameter, value: absolute(value, working_dir) })
        });
        deployed.collect()
    }

    /// The template's parameters, with these settings among them.
    pub fn parameters(&self, working_dir: &Path) -> Vec<(String, String)> {
        let mut parameters = vec![
            ("Architecture".to_owned(), architecture().to_owned()),
            ("SavedQueries".to_owned(), "off".to_owned()), // the local AWS does not know the type
            ("AuthMode".to_owned(), "none".to_owned()),    // nobody but this machine reaches it
        ];
        let settings = self.settings(working_dir).into_iter();
        parameters.extend(settings.map(|setting| (setting.parameter.to_owned(), setting.value)));
        parameters
    }
}

fn absolute(value: &str, working_dir: &Path) -> String {
    match value.strip_prefix("file://") {
        Some(folder) => format!("file://{}", working_dir.join(folder).display()),
        None => value.to_owned(),
    }
}

/// The instruction set of this machine, as the template calls it.
pub fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_the_template_refuses_is_named() {
        let given = Environment::default().with("LOG_LEVEL", "loud").with("MAIL_FROM", "ada@example.com");
        let error = "failed to deploy template.yaml: CreateStack: Parameter 'LogLevel' value 'loud' is not in AllowedValues: \
                     ['error', 'warn']";
        let expected = "LOG_LEVEL does not fit: its parameter LogLevel is not in AllowedValues: ['error', 'warn']";
        assert_eq!(given.refused(error).as_deref(), Some(expected));
        assert_eq!(Environment::default().refused(error), None, "nobody has given it");
        for other in ["Parameter 'AuthMode' value 'x' is not in AllowedValues", "the engine does not answer", ""] {
            assert_eq!(given.refused(other), None, "{other}");
        }
    }

    #[test]
    fn folders_are_those_of_the_working_directory() {
        let given = Environment::default().with("MAIL_URL", "smtp://127.0.0.1:25");
        let parameters = given.parameters(Path::new("/home/ada"));
        let value = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(value("OutputUrl"), Some("file:///home/ada/output"));
        assert_eq!(value("MailUrl"), Some("smtp://127.0.0.1:25"));
        assert_eq!(value("MailFrom"), None);
    }
}
