//! Jobs, as people read them. Times are UTC.

use std::time::Duration;

use client::{Changed, Event, Job, JobSummary, Progress, Why};
use jiff::Timestamp;

/// One line for each job, under headings.
pub fn table(jobs: &[JobSummary], now: Timestamp) -> String {
    if jobs.is_empty() {
        return "no jobs".to_owned();
    }
    let mut rows = vec![["ID", "TYPE", "STATUS", "ATTEMPTS", "AGE", "TAGS"].map(str::to_owned)];
    rows.extend(jobs.iter().map(|job| {
        [
            job.job_id.to_string(),
            plain(&job.job_type),
            plain(job.status.as_str()),
            format!("{}/{}", job.attempts, job.max_attempts),
            short(between(job.created_at, now)),
            plain(&job.tags.join(" ")),
        ]
    }));
    aligned(&rows)
}

fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Everything about a job, its history aside.
pub fn details(job: &Job, now: Timestamp) -> String {
    let moment = |time: Timestamp| moment(time, now);
    let asked = if job.cancel_requested { ", asked to be the last" } else { "" };
    let rows = [
        ("job", Some(job.job_id.to_string())),
        ("type", Some(job.job_type.clone())),
        ("status", Some(job.status.to_string())),
        ("attempts", Some(format!("{} of {}{asked}", job.attempts, job.max_attempts))),
        ("progress", job.progress.as_ref().map(|progress| format!("{} %  {}", progress.percent, progress.message))),
        ("error", job.error.clone()),
        ("result", job.result.as_ref().map(|result| result.get().to_owned())),
        ("payload", Some(job.payload.get().to_owned())),
        ("tags", (!job.tags.is_empty()).then(|| job.tags.join(" "))),
        ("created", Some(moment(job.created_at))),
        ("may start", job.run_at.map(moment)),
        ("expires", job.expires_at.map(moment)),
        ("started", job.started_at.map(moment)),
        ("finished", job.finished_at.map(moment)),
        ("took", job.duration_ms.map(|millis| format!("{millis} ms"))),
        ("request", Some(job.correlation_id.clone()).filter(|id| !id.is_empty())),
    ];
    let given = rows.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let lines = given.map(|(name, value)| format!("{name:<10}{}", plain(&value)).trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// What happened to a job, one line each.
pub fn events(events: &[Event]) -> String {
    events.iter().map(event).collect::<Vec<_>>().join("\n")
}

/// What happened to a job at one time.
pub fn event(event: &Event) -> String {
    let attempt = event.attempt.map(|attempt| format!("attempt {attempt}"));
    let run_at = event.run_at.map(|time| format!("may start at {}", time.strftime("%Y-%m-%d %H:%M:%S")));
    let what: Vec<_> = [attempt, event.error.clone(), run_at].into_iter().flatten().collect();
    happened(Some(event.at), &event.event, &what.join("; "))
}

/// How far a job's work has come.
pub fn progress(progress: &Progress) -> String {
    happened(progress.at, "progress", &format!("{} %  {}", progress.percent, progress.message))
}

fn happened(at: Option<Timestamp>, event: &str, what: &str) -> String {
    let time = at.map_or_else(String::new, |at| at.strftime("%H:%M:%S%.3f").to_string());
    plain(format!("{time:<12}  {event:<16}  {what}").trim_end())
}

/// How a job ended.
pub fn ending(job: &Job) -> String {
    let took = job.duration_ms.map_or_else(String::new, |millis| format!(", {millis} ms"));
    let outcome = job.error.as_deref().or(job.result.as_ref().map(|result| result.get()));
    let outcome = outcome.map_or_else(String::new, |outcome| format!(": {outcome}"));
    plain(&format!("{}  attempt {} of {}{took}{outcome}", job.status, job.attempts, job.max_attempts))
}

/// Why a job is not running.
pub fn why(why: &Why, now: Timestamp) -> String {
    let detail = if why.detail.is_empty() { &why.reason } else { &why.detail };
    let until = why.until.map_or_else(String::new, |time| format!(" (until {})", moment(time, now)));
    plain(&format!("{}: {detail}{until}", why.status))
}

/// What became of a job after somebody acted on it.
pub fn changed(changed: &Changed) -> String {
    let running = changed.cancel_requested && !changed.status.is_terminal();
    let asked = if running { ", and its attempt was asked to be the last" } else { "" };
    plain(&format!("{} is {}{asked}", changed.job_id, changed.status))
}

/// The text on one line, without what a terminal would obey.
pub fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn moment(time: Timestamp, now: Timestamp) -> String {
    let date = time.strftime("%Y-%m-%d %H:%M:%S");
    if time > now {
        format!("{date}, in {}", short(between(now, time)))
    } else {
        format!("{date}, {} ago", short(between(time, now)))
    }
}

fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// Whole seconds, minutes, hours or days, the longest that fits.
fn short(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => format!("{}m", seconds / 60),
        seconds @ 3_600..86_400 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01938e5c-7a00-7000-8000-000000000000";

    fn now() -> Timestamp {
        "2026-11-22T02:08:08Z".parse().expect("a time")
    }

    fn read<T: serde::de::DeserializeOwned>(json: &str) -> T {
        serde_json::from_str(&json.replace("ID", ID)).expect(json)
    }

    #[test]
    fn a_table_is_aligned() {
        let jobs: Vec<JobSummary> = read(
            r#"[{"job_id":"ID","type":"csv-generation","status":"completed","attempts":1,"max_attempts":3,
                 "tags":["a","b"],"created_at":"2026-11-22T02:05:08Z"},
                {"job_id":"ID","type":"t","status":"pending","attempts":10,"max_attempts":10,
                 "created_at":"2026-11-19T02:05:08Z"}]"#,
        );
        let lines = [
            "ID                                    TYPE            STATUS     ATTEMPTS  AGE  TAGS".to_owned(),
            format!("{ID}  csv-generation  completed  1/3       3m   a b"),
            format!("{ID}  t               pending    10/10     3d"),
        ];
        assert_eq!(table(&jobs, now()), lines.join("\n"));
        assert_eq!(table(&[], now()), "no jobs");
    }

    #[test]
    fn details_say_what_there_is_to_say() {
        let job: Job = read(
            r#"{"job_id":"ID","type":"csv-generation","status":"processing","attempts":2,"max_attempts":3,
                "payload":{"b":1,"a":2},"result":null,"error":"too \u001b[31mred","cancel_requested":true,
                "created_at":"2026-11-22T02:05:08Z","updated_at":"2026-11-22T02:05:08Z",
                "expires_at":"2026-11-22T04:08:08Z","progress":{"percent":40,"message":"halfway"}}"#,
        );
        let first = format!("job       {ID}");
        let lines = [
            first.as_str(),
            "type      csv-generation",
            "status    processing",
            "attempts  2 of 3, asked to be the last",
            "progress  40 %  halfway",
            "error     too  [31mred",
            r#"payload   {"b":1,"a":2}"#,
            "created   2026-11-22 02:05:08, 3m ago",
            "expires   2026-11-22 04:08:08, in 2h",
        ];
        assert_eq!(details(&job, now()), lines.join("\n"));
    }

    #[test]
    fn an_event_is_one_line() {
        let retrying: Event = read(
            r#"{"event":"retrying","at":"2026-11-22T02:05:08.412Z","attempt":1,"error":"busy",
                "run_at":"2026-11-22T02:05:10.1Z"}"#,
        );
        let line = "02:05:08.412  retrying          attempt 1; busy; may start at 2026-11-22 02:05:10";
        assert_eq!(event(&retrying), line);
        assert_eq!(events(&[retrying.clone(), retrying]), format!("{line}\n{line}"));
    }

    #[test]
    fn reasons_and_changes_are_sentences() {
        let delayed: Why = read(
            r#"{"job_id":"ID","status":"pending","reason":"delayed","detail":"it is not to start yet",
                "until":"2026-11-22T02:08:38Z"}"#,
        );
        assert_eq!(why(&delayed, now()), "pending: it is not to start yet (until 2026-11-22 02:08:38, in 30s)");
        let asked: Changed = read(r#"{"job_id":"ID","status":"processing","cancel_requested":true}"#);
        assert_eq!(changed(&asked), format!("{ID} is processing, and its attempt was asked to be the last"));
        let again: Changed = read(r#"{"job_id":"ID","status":"pending"}"#);
        assert_eq!(changed(&again), format!("{ID} is pending"));
    }
}
