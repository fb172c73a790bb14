//! What a command is given: on its line, in a file, or on standard input.

use std::io::Read;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The text that the argument means: the file after `@`, all of standard input for `-`, else the argument itself.
pub fn text(argument: &str) -> anyhow::Result<String> {
    match argument.strip_prefix('@') {
        Some(path) => file(path),
        None if argument == "-" => file(argument),
        None => Ok(argument.to_owned()),
    }
}

/// All of a file, or of standard input for `-`.
pub fn file(path: &str) -> anyhow::Result<String> {
    if path == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("failed to read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("failed to read {path}"))
}

/// The JSON text that the argument means.
pub fn json(argument: &str) -> anyhow::Result<Box<RawValue>> {
    parse(&text(argument)?)
}

/// The JSON text in a file, or on standard input for `-`.
pub fn json_file(path: &str) -> anyhow::Result<Box<RawValue>> {
    parse(&file(path)?).with_context(|| format!("failed to read {path}"))
}

fn parse(text: &str) -> anyhow::Result<Box<RawValue>> {
    serde_json::from_str(text.trim_start_matches(BYTE_ORDER_MARK)).context("this is not JSON")
}

/// Some editors put it at the start of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The jobs in a text: one after the other, on a line each perhaps; or in an array; or as `POST /jobs/batch` takes them.
pub fn jobs(text: &str) -> anyhow::Result<Vec<Box<RawValue>>> {
    #[derive(Deserialize)]
    struct Whole {
        jobs: Vec<Box<RawValue>>,
    }
    let text = text.trim_start_matches(BYTE_ORDER_MARK).trim();
    let jobs = if text.starts_with('[') {
        serde_json::from_str(text).context("this is no array of jobs")?
    } else if let Ok(Whole { jobs }) = serde_json::from_str(text) {
        jobs
    } else {
        let one_after_the_other = serde_json::Deserializer::from_str(text).into_iter();
        one_after_the_other.collect::<Result<Vec<Box<RawValue>>, _>>().context("this is not JSON")?
    };
    anyhow::ensure!(!jobs.is_empty(), "there are no jobs in it");
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_argument_or_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("payload.json");
        std::fs::write(&path, "\u{feff}[1.50]").expect("written");
        let path = path.display().to_string();
        assert_eq!(text("[0]").expect("itself"), "[0]");
        assert_eq!(json(&format!("@{path}")).expect("a file").get(), "[1.50]");
        assert_eq!(json_file(&path).expect("a file").get(), "[1.50]");
        let error = text("@/nowhere/a.json").expect_err("no file");
        assert!(error.to_string().contains("/nowhere/a.json"), "{error:#}");
        assert!(format!("{:#}", json("{").expect_err("no JSON")).starts_with("this is not JSON: "));
    }

    #[test]
    fn jobs_come_in_four_forms_and_stay_as_they_are_written() {
        let one = r#"{"type":"t","payload":{"b":1.50,"a":2}}"#;
        let texts = [
            (one.to_owned(), 1),
            (format!("{one}\n{one}\n"), 2),
            (format!("\u{feff}\r\n{one}\r\n\r\n{one}"), 2),
            (format!("[{one},\n{one}]"), 2),
            (format!(r#"{{"jobs":[{one},{one}]}}"#), 2),
            (format!("{one} {one} {one}"), 3),
        ];
        for (text, count) in texts {
            let jobs = jobs(&text).expect("jobs");
            assert!(jobs.len() == count && jobs.iter().all(|job| job.get() == one), "{text}: {jobs:?}");
        }
        let wrong = [
            ("", "there are no jobs in it"),
            ("[]", "there are no jobs in it"),
            ("[1", "this is no array of jobs: EOF while parsing a list"),
            ("{}\n{", "this is not JSON: EOF while parsing an object at line 2"),
        ];
        for (text, problem) in wrong {
            let error = format!("{:#}", jobs(text).expect_err("no jobs"));
            assert!(error.starts_with(problem), "{text}: {error}");
        }
    }
}
