//! `dray jobs logs`: what the functions logged about a job.
//!
//! `cargo run` keeps every line in files, so that is where the lines of a Dray on this machine are. Those of a deployed
//! one are in CloudWatch, which is not the API's: there is a query to find them there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use anyhow::Context as _;
use client::{Client, JobId};
use serde_json::Value;

use super::exit::Failure;
use super::text::plain;
use super::{Console, Exit};
use crate::stack::follow::{readable, time_of_day};
use crate::stack::functions::NAMES;

/// Prints the lines about a job, oldest first; or says where they are.
pub async fn run(id: JobId, data_dir: &Path, client: &Client, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let on_this_machine = matches!(client.url().host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    if !on_this_machine {
        let job = client.job(id).await?;
        console.say(&query(id, &job.correlation_id))?;
        return Ok(Exit::Done);
    }
    let folder = data_dir.join("logs");
    let lines = lines_about(&id.to_string(), &folder).with_context(|| {
        format!("failed to read {} (--data-dir says where `cargo run` keeps its data)", folder.display())
    })?;
    if lines.is_empty() {
        console.note(&format!("no line in {} is about this job", folder.display()))?;
        return Ok(Exit::Refused);
    }
    for line in lines {
        let told = if console.tells_json() { line } else { told(&line) };
        console.say(&told)?;
    }
    Ok(Exit::Done)
}

/// For CloudWatch Logs Insights, as the saved query `follow one request` of `template.yaml`.
fn query(id: JobId, correlation_id: &str) -> String {
    let request = Value::from(correlation_id);
    format!(
        "# The lines of a deployed Dray are in CloudWatch. In Logs Insights, for the log groups\n\
         # /dray/<stack>/api, worker, sweeper and events:\n\
         fields @timestamp, message, attempt, duration_ms, error, request_id\n\
         | filter job.id = \"{id}\" or (not ispresent(job.id) and (correlation_id = {request} or request_id = {request}))\n\
         | sort @timestamp asc"
    )
}

/// The lines about a job in the files of `folder`, and those about the request that submitted it.
fn lines_about(id: &str, folder: &Path) -> io::Result<Vec<String>> {
    let id = Value::from(id);
    let own = lines(folder, &[id.to_string()], |line| line.get("job.id") == Some(&id))?;
    let correlation_id = |line: &String| serde_json::from_str::<Value>(line).ok()?.get("correlation_id").cloned();
    let requests: Vec<Value> = own.iter().filter_map(correlation_id).collect();
    let words: BTreeSet<String> = requests.iter().map(Value::to_string).collect();
    let words: Vec<String> = words.into_iter().collect();
    let of_request = lines(folder, &words, |line| {
        let is_one = |name: &str| line.get(name).is_some_and(|value| requests.contains(value));
        line.get("job.id").is_none() && (is_one("correlation_id") || is_one("request_id"))
    })?;
    let mut all = [own, of_request].concat();
    all.sort(); // each begins with its time
    Ok(all)
}

/// The lines that have one of these words in them and fit. Reading them as JSON takes longer than looking for a word.
fn lines(folder: &Path, words: &[String], fits: impl Fn(&Value) -> bool) -> io::Result<Vec<String>> {
    let mut found = vec![];
    for name in NAMES {
        let file = match File::open(folder.join(format!("{name}.log"))) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder.is_dir() => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            if words.iter().any(|word| line.contains(word))
                && serde_json::from_str::<Value>(&line).is_ok_and(|line| fits(&line))
            {
                found.push(line);
            }
        }
    }
    Ok(found)
}

/// A line for people: as the console of `cargo run` tells it, or all that it says beside whose it is.
fn told(line: &str) -> String {
    readable(line).map_or_else(|| whole(line), |told| plain(&told))
}

fn whole(line: &str) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else { return plain(line) };
    let known = ["timestamp", "message", "job.id", "job.type", "correlation_id", "trace_id", "tenant"];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let message = fields.get("message").map(text).unwrap_or_default();
    let time = fields.get("timestamp").and_then(time_of_day).unwrap_or_default();
    let rest = fields.iter().filter(|(name, _)| !known.contains(&name.as_str()));
    let rest: Vec<_> = rest.map(|(name, value)| format!("{name}={}", text(value))).collect();
    plain(format!("{time}  {message}  {}", rest.join(" ")).trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::service::ID;
    use super::*;

    const OTHER: &str = "01938e5c-7a00-7000-8000-000000000001";

    fn line(second: u32, more: &str) -> String {
        format!(r#"{{"timestamp":"2026-03-01T12:00:{second:02}.250000Z","level":"INFO",{more}}}"#)
    }

    #[test]
    fn the_lines_of_a_job_and_of_its_request_are_found_in_all_files_and_no_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let of_job = |id: &str| format!(r#""job.id":"{id}","job.type":"t","correlation_id":"r\"1""#);
        let api = [
            line(1, r#""message":"request.received","method":"POST","route":"/jobs","request_id":"r\"1""#),
            line(2, &format!(r#""message":"job.accepted",{},"duration_ms":6"#, of_job(ID))),
            line(2, &format!(r#""message":"job.accepted",{},"duration_ms":6"#, of_job(OTHER))),
            line(3, r#""message":"request.received","method":"GET","route":"/jobs/{id}","request_id":"r2""#),
            "half a li".to_owned(),
        ];
        let worker = [
            line(5, &format!(r#""message":"job.completed",{},"attempt":1,"duration_ms":9"#, of_job(ID))),
            line(4, &format!(r#""message":"invoice.odd","pages":7,{}"#, of_job(ID))),
            line(6, &format!(r#""message":"told","text":"of {ID}","job.id":"{OTHER}""#)),
        ];
        std::fs::write(folder.path().join("api.log"), api.join("\n")).expect("written");
        std::fs::write(folder.path().join("worker.log"), worker.join("\n")).expect("written");
        let found = lines_about(ID, folder.path()).expect("read");
        assert_eq!(found, [&api[0], &api[1], &worker[1], &worker[0]].map(String::as_str));
        let readable: Vec<_> = found.iter().map(|line| told(line)).collect();
        let expected = [
            "12:00:01.250  → POST /jobs id=r\"1".to_owned(),
            format!("12:00:02.250  accepted   {ID}  t               6 ms"),
            "12:00:04.250  invoice.odd  level=INFO pages=7".to_owned(),
            format!("12:00:05.250  completed  {ID}  t               9 ms  attempt 1"),
        ];
        assert_eq!(readable, expected);
        assert_eq!(lines_about("nobody", folder.path()).expect("read"), Vec::<String>::new());
        assert!(lines_about(ID, &folder.path().join("nowhere")).is_err());
    }

    #[test]
    fn the_lines_of_a_deployed_dray_have_a_query() {
        let query = query(ID.parse().expect("an id"), "order\"7");
        assert!(query.contains(&format!("job.id = \"{ID}\"")), "{query}");
        assert!(query.contains(r#"correlation_id = "order\"7""#), "{query}");
    }
}
