//! Jobs, as people read them. Times are UTC.

use client::{Changed, Event, Job, JobId, JobSummary, Progress, Verbatim, Why};
use jiff::Timestamp;

use crate::command_line::text::{age, date, fields, moment, plain, table as aligned};

/// One line for each job, under headings.
pub fn table(jobs: &[Verbatim<JobSummary>], now: Timestamp) -> String {
    let rows = jobs.iter().map(|job| {
        [
            job.job_id.to_string(),
            job.job_type.clone(),
            job.status.to_string(),
            format!("{}/{}", job.attempts, job.max_attempts),
            age(job.created_at, now),
            job.tags.join(" "),
        ]
    });
    aligned(["ID", "TYPE", "STATUS", "ATTEMPTS", "AGE", "TAGS"], rows, "no jobs")
}

/// Everything about a job, its history aside.
pub fn details(job: &Job, now: Timestamp) -> String {
    let moment = |time: Timestamp| moment(time, now);
    let asked = if job.cancel_requested { ", asked to be the last" } else { "" };
    fields([
        ("job", Some(job.job_id.to_string())),
        ("type", Some(job.job_type.clone())),
        ("status", Some(job.status.to_string())),
        ("attempts", Some(format!("{} of {}{asked}", job.attempts, job.max_attempts))),
        ("progress", job.progress.as_ref().map(|progress| format!("{} %  {}", progress.percent, progress.message))),
        ("error", job.error.clone()),
        ("result", job.result.as_ref().map(|result| result.get().to_owned())),
        ("payload", Some(job.payload.get().to_owned())),
        ("tags", (!job.tags.is_empty()).then(|| job.tags.join(" "))),
        ("copy of", job.duplicate_of.map(|id| id.to_string())),
        ("created", Some(moment(job.created_at))),
        ("may start", job.run_at.map(moment)),
        ("expires", job.expires_at.map(moment)),
        ("started", job.started_at.map(moment)),
        ("finished", job.finished_at.map(moment)),
        ("took", job.duration_ms.map(|millis| format!("{millis} ms"))),
        ("request", Some(job.correlation_id.clone()).filter(|id| !id.is_empty())),
    ])
}

/// What happened to a job, one line each.
pub fn events(events: &[Verbatim<Event>]) -> String {
    events.iter().map(|each| event(each)).collect::<Vec<_>>().join("\n")
}

/// What happened to a job at one time.
pub fn event(event: &Event) -> String {
    let attempt = event.attempt.map(|attempt| format!("attempt {attempt}"));
    let run_at = event.run_at.map(|time| format!("may start at {}", date(time)));
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

/// What became of a job that somebody deleted.
pub fn deleted(id: JobId, cleanup: Option<JobId>) -> String {
    let files = cleanup.map_or_else(String::new, |cleanup| format!("; {cleanup} deletes its files"));
    format!("{id} is deleted{files}")
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
        let jobs: Vec<Verbatim<JobSummary>> = read(
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
                "created_at":"2026-11-22T02:05:08Z","updated_at":"2026-11-22T02:05:08Z","duplicate_of":"ID",
                "expires_at":"2026-11-22T04:08:08Z","progress":{"percent":40,"message":"halfway"}}"#,
        );
        let (first, copy) = (format!("job        {ID}"), format!("copy of    {ID}"));
        let lines = [
            first.as_str(),
            "type       csv-generation",
            "status     processing",
            "attempts   2 of 3, asked to be the last",
            "progress   40 %  halfway",
            "error      too  [31mred",
            r#"payload    {"b":1,"a":2}"#,
            &copy,
            "created    2026-11-22 02:05:08, 3m ago",
            "expires    2026-11-22 04:08:08, in 2h",
        ];
        assert_eq!(details(&job, now()), lines.join("\n"));
    }

    #[test]
    fn an_event_is_one_line() {
        let retrying: Vec<Verbatim<Event>> = read(
            r#"[{"event":"retrying","at":"2026-11-22T02:05:08.412Z","attempt":1,"error":"busy",
                 "run_at":"2026-11-22T02:05:10.1Z"},
                {"event":"completed","at":"2026-11-22T02:05:10.200Z"}]"#,
        );
        let lines = [
            "02:05:08.412  retrying          attempt 1; busy; may start at 2026-11-22 02:05:10",
            "02:05:10.200  completed",
        ];
        assert_eq!(events(&retrying), lines.join("\n"));
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
        assert_eq!(deleted(again.job_id, Some(asked.job_id)), format!("{ID} is deleted; {ID} deletes its files"));
    }
}
