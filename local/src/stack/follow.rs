//! What happens, told as it happens: one line for each event of a job, two for each request, and one for a function whose
//! process dies, read from the functions' own logs and from what the engine writes beside them.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::stack::functions::NAMES;

/// Reads along in the logs of all functions, from their present ends on, and gives `tell` the lines for people. Never
/// returns.
pub async fn follow(logs: PathBuf, tell: impl Fn(&str)) {
    let names = NAMES.into_iter().chain(["lambda"]); // which is the engine's, see engine.py
    let mut tails: Vec<_> = names.map(|name| Tail::at_end(&logs.join(format!("{name}.log")))).collect();
    loop {
        for tail in &mut tails {
            for line in tail.new_lines() {
                if let Some(told) = readable(&line) {
                    tell(&told);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The part of a growing file that has not been read.
struct Tail {
    path: PathBuf,
    position: u64,
    half_line: String,
}

impl Tail {
    fn at_end(path: &Path) -> Self {
        let position = std::fs::metadata(path).map_or(0, |file| file.len());
        Self { path: path.to_owned(), position, half_line: String::new() }
    }

    fn new_lines(&mut self) -> Vec<String> {
        let mut bytes = vec![];
        let read = std::fs::File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.position))?;
            file.read_to_end(&mut bytes)
        });
        self.position += read.unwrap_or(0) as u64;
        self.half_line.push_str(&String::from_utf8_lossy(&bytes));
        let whole = self.half_line.rfind('\n').map_or(0, |end| end + 1);
        let rest = self.half_line.split_off(whole);
        std::mem::replace(&mut self.half_line, rest).lines().map(ToOwned::to_owned).collect()
    }
}

/// A log line for people, if it tells of a job, of a request or of a function's death. `None` for everything else, and for logs that are not
/// JSON.
pub fn readable(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let time = time_of_day(line.get("timestamp")?)?;
    let told = of_job(&line).or_else(|| of_request(&line)).or_else(|| of_function(&line))?;
    Some(format!("{time}  {told}").trim_end().to_owned())
}

/// The time of day in a line's `timestamp`.
pub fn time_of_day(timestamp: &Value) -> Option<String> {
    let time: jiff::Timestamp = timestamp.as_str()?.parse().ok()?;
    Some(time.strftime("%H:%M:%S%.3f").to_string())
}

/// A request, in and out again. Nothing of those that only ask whether anybody is there.
fn of_request(line: &Value) -> Option<String> {
    let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| line.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (method, route, id) = (text("method"), text("route"), text("request_id"));
    match text("message") {
        _ if route.ends_with("/health") => None,
        "request.received" => Some(format!("→ {method} {route} id={id}")),
        "request.answered" => Some(format!("← {} {} ms id={id}", number("status"), number("duration_ms"))),
        _ => None,
    }
}

/// A function that did not start, or whose process ended in the middle, with what it said last.
fn of_function(line: &Value) -> Option<String> {
    let text = |name: &str| line.get(name).and_then(Value::as_str);
    let said = text("error").unwrap_or_default().lines().collect::<Vec<_>>().join("; ");
    (text("message") == Some("function.died")).then(|| format!("✗ {}: {said}", text("function").unwrap_or_default()))
}

/// An event of a job.
fn of_job(line: &Value) -> Option<String> {
    let text = |name: &str| line.get(name).and_then(Value::as_str);
    let number = |name: &str| line.get(name).and_then(Value::as_u64);
    let event = text("message")?.strip_prefix("job.")?;
    let id = text("job.id")?;
    let job_type = text("job.type").unwrap_or_default();
    let attempt = number("attempt").unwrap_or_default();
    let of = number("max_attempts").map_or_else(String::new, |max| format!(" of {max}"));
    let millis = |name: &str| number(name).map_or_else(String::new, |millis| format!("{millis} ms"));
    let error = text("error").unwrap_or_default();
    let what = match event {
        "accepted" if line.get("announced") == Some(&Value::Bool(false)) => {
            format!("{}  (the sweeper will announce it)", millis("duration_ms"))
        }
        "accepted" => millis("duration_ms"),
        "started" => format!("attempt {attempt}, after waiting {}", millis("wait_ms")),
        "retrying" => format!(
            "attempt {attempt}{of} failed after {}: {error}; next in {}",
            millis("duration_ms"),
            millis("retry_in_ms")
        ),
        "completed" => format!("{}  attempt {attempt}", millis("duration_ms")),
        "failed" => format!("attempt {attempt}{of} after {}: {error}", millis("duration_ms")),
        "left" => return None,
        _ => text("outcome").unwrap_or(error).to_owned(),
    };
    Some(format!("{event:<10} {id}  {job_type:<15} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_job_becomes_a_readable_line() {
        let line = r#"{"timestamp":"2026-03-01T12:00:00.250000Z","level":"INFO","message":"job.completed",
            "job.id":"01938e5c-7a00-7000-8000-000000000000","job.type":"csv-generation","attempt":1,"duration_ms":12}"#;
        assert_eq!(
            readable(&line.replace('\n', "")).as_deref(),
            Some("12:00:00.250  completed  01938e5c-7a00-7000-8000-000000000000  csv-generation  12 ms  attempt 1")
        );
        assert_eq!(readable("START RequestId: x"), None);
        assert_eq!(readable(r#"{"message":"sweeper.swept"}"#), None);
    }

    #[test]
    fn a_request_is_an_arrow_in_and_an_arrow_out() {
        let line = |more: &str| format!(r#"{{"timestamp":"2026-03-01T12:00:00.250Z","level":"DEBUG",{more}}}"#);
        let asked = |message: &str, route: &str| {
            let route = format!(r#""method":"POST","route":"{route}","status":202,"duration_ms":12"#);
            readable(&line(&format!(r#""message":"{message}","request_id":"7",{route}"#)))
        };
        assert_eq!(asked("request.received", "/jobs").as_deref(), Some("12:00:00.250  → POST /jobs id=7"));
        assert_eq!(asked("request.answered", "/jobs").as_deref(), Some("12:00:00.250  ← 202 12 ms id=7"));
        assert_eq!(asked("request.received", "/health"), None);
        assert_eq!(asked("request.answered", "/api/health"), None);
        assert_eq!(asked("request.refused", "/jobs"), None);
    }

    #[test]
    fn a_function_that_dies_is_told_with_what_it_said() {
        let line = r#"{"timestamp":"2026-03-01T12:00:00.250Z","level":"ERROR","message":"function.died",
            "function":"dray-WorkerFunction-1","error":"exited with code 1\nError: OUTPUT_URL does not fit"}"#;
        let told = "12:00:00.250  ✗ dray-WorkerFunction-1: exited with code 1; Error: OUTPUT_URL does not fit";
        assert_eq!(readable(&line.replace('\n', "")).as_deref(), Some(told));
    }

    #[test]
    fn half_a_line_waits_for_its_other_half() {
        let path = std::env::temp_dir().join(format!("dray-follow-{}", std::process::id()));
        std::fs::write(&path, "old\n").expect("written");
        let mut tail = Tail::at_end(&path);
        let append = |text: &str| {
            let file = std::fs::OpenOptions::new().append(true).open(&path);
            std::io::Write::write_all(&mut file.expect("open"), text.as_bytes()).expect("written");
        };
        append("one\ntw");
        assert_eq!(tail.new_lines(), ["one"]);
        append("o\n");
        assert_eq!(tail.new_lines(), ["two"]);
        std::fs::remove_file(&path).expect("removed");
    }
}
