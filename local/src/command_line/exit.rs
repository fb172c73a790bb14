//! How a command ends, and what is said if it goes wrong.

use std::io;
use std::process::ExitCode;

use client::{Error, Problem, Status};

use super::text::plain;

/// How a command ended: its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: it is done.
    Done,
    /// 1: the API refused something, or the job that was waited for did not complete.
    Refused,
    /// 2: no answer came. What was asked for may have been done all the same.
    NoAnswer,
    /// 64, `EX_USAGE` of `sysexits.h`: nothing was sent, because what was given cannot be understood.
    Usage,
}

impl Exit {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::NoAnswer => 2,
            Self::Usage => 64,
        }
    }

    /// For whoever waited for a job that has ended like this.
    pub fn of(status: &Status) -> Self {
        if *status == Status::Completed { Self::Done } else { Self::Refused }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Help that was asked for is no error.
impl From<&clap::Error> for Exit {
    fn from(error: &clap::Error) -> Self {
        if error.use_stderr() { Self::Usage } else { Self::Done }
    }
}

/// Why a command was not carried out to its end.
#[derive(Debug)]
pub enum Failure {
    /// What was given cannot be understood, or read.
    Input(anyhow::Error),
    /// The API did not do it.
    Api(Error),
    /// What it said cannot be passed on.
    Output(io::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Input(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Api(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    /// How the command ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Input(_) | Self::Api(Error::Unsendable(_)) => Exit::Usage,
            Self::Api(Error::Unreachable { .. }) => Exit::NoAnswer,
            Self::Api(_) => Exit::Refused,
            Self::Output(error) if is_nobody_reading(error) => Exit::Done,
            Self::Output(_) => Exit::Refused,
        }
    }

    /// What there is to say about it, to whoever asked the API at `url`.
    pub fn sentence(&self, url: &str) -> Option<String> {
        let sentence = match self {
            Self::Input(error) => format!("{error:#}"),
            Self::Api(error @ Error::Unreachable { .. }) => {
                let cause = root_of(error);
                format!("no answer from {url} ({cause}): start it with `cargo run`, or say with --url where it is")
            }
            Self::Api(Error::Refused(problem)) if matches!(problem.status, 401 | 403) => {
                format!("{}: show with --token or DRAY_TOKEN who asks", refusal(problem))
            }
            Self::Api(Error::Refused(problem)) => refusal(problem),
            Self::Api(error) => error.to_string(),
            Self::Output(error) if is_nobody_reading(error) => return None,
            Self::Output(error) => format!("failed to write: {error}"),
        };
        Some(plain(&sentence))
    }
}

/// Whether whoever read the output has seen enough, as `head` does.
fn is_nobody_reading(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

fn root_of(mut error: &dyn std::error::Error) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// A problem, with the word for programs and the request to look for in the logs.
pub fn refusal(problem: &Problem) -> String {
    let code = problem.code.clone().unwrap_or_else(|| format!("HTTP status {}", problem.status));
    let request = problem.request_id.as_ref().map_or_else(String::new, |id| format!(", request {id}"));
    format!("{problem} ({code}{request})")
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    fn problem(json: &str) -> Failure {
        Error::Refused(Box::new(serde_json::from_str(json).expect("a problem"))).into()
    }

    #[test]
    fn each_failure_has_its_exit_code_and_is_one_sentence() {
        let unreachable = || Error::Unreachable { attempts: 4, source: "connection refused".into() };
        let own = r#"{"status":422,"code":"invalid_field","detail":"`payload.to` is required","request_id":"r-1"}"#;
        let foreign = r#"{"status":401,"title":"Unauthorized"}"#;
        let cases: [(Failure, u8, Option<&str>); 9] = [
            (
                unreachable().into(),
                2,
                Some(
                    "no answer from http://localhost:1 (connection refused): start it with `cargo run`, or say with \
                     --url where it is",
                ),
            ),
            (problem(own), 1, Some("`payload.to` is required (invalid_field, request r-1)")),
            (problem(foreign), 1, Some("Unauthorized (HTTP status 401): show with --token or DRAY_TOKEN who asks")),
            (problem(r#"{"status":503,"detail":"try\nagain"}"#), 1, Some("try again (HTTP status 503)")),
            (
                Error::Unexpected { status: 200, problem: "expected value".to_owned() }.into(),
                1,
                Some("an answer came (HTTP status 200) that is none of this API's: expected value"),
            ),
            (Error::Unsendable("the payload is not JSON".to_owned()).into(), 64, Some("the payload is not JSON")),
            (
                anyhow::anyhow!("no such\nfile").context("failed to read a.json").into(),
                64,
                Some("failed to read a.json: no such file"),
            ),
            (io::Error::new(ErrorKind::StorageFull, "full").into(), 1, Some("failed to write: full")),
            (io::Error::from(ErrorKind::BrokenPipe).into(), 0, None),
        ];
        for (failure, code, sentence) in cases {
            assert_eq!((failure.exit().code(), failure.sentence("http://localhost:1").as_deref()), (code, sentence));
        }
    }
}
