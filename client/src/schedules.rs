//! Jobs that are made again and again.

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::http::client::Client;
use crate::http::error::Error;
use crate::http::verbatim::Verbatim;
use crate::jobs::Submitted;
use crate::jobs::job::JobId;
use crate::jobs::new_job::NewJob;

/// What a schedule shall be.
#[derive(Clone, Debug)]
pub struct NewSchedule {
    cron: String,
    time_zone: Option<String>,
    overlap: Option<String>,
    job: NewJob,
}

impl NewSchedule {
    /// Makes this job at the times that a cron expression of five fields names, such as `0 9 * * MON`. The job says
    /// nothing of its own time, and its key is not used: each run has its own.
    pub fn of(cron: impl Into<String>, job: NewJob) -> Self {
        Self { cron: cron.into(), time_zone: None, overlap: None, job }
    }

    /// By the clocks of this IANA time zone, such as `Europe/Berlin`, rather than UTC.
    #[must_use]
    pub fn time_zone(self, name: impl Into<String>) -> Self {
        Self { time_zone: Some(name.into()), ..self }
    }

    /// What becomes of a run while the job of the last one has not ended: `allow` or `skip`.
    #[must_use]
    pub fn overlap(self, what: impl Into<String>) -> Self {
        Self { overlap: Some(what.into()), ..self }
    }
}

/// A schedule, as the service shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Schedule {
    /// What it is called.
    pub name: String,
    /// When it runs, a cron expression.
    pub cron: String,
    /// By the clocks of this IANA time zone.
    pub time_zone: String,
    /// What becomes of a run while the job of the last one has not ended: `allow` or `skip`.
    #[serde(default)]
    pub overlap: Option<String>,
    /// The job of each run, as it would be submitted.
    pub job: Box<RawValue>,
    /// Whether it makes no jobs until it is resumed.
    pub paused: bool,
    /// Its next runs, the first five; none while it is paused.
    #[serde(default)]
    pub next_runs: Vec<Timestamp>,
    /// The latest run that a job was made for.
    #[serde(default)]
    pub last_run: Option<Run>,
    /// The runs that were skipped; `None` if none was.
    #[serde(default)]
    pub skipped: Option<Skipped>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A run of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Run {
    /// The time that the schedule names.
    pub at: Timestamp,
    /// Its job.
    pub job_id: JobId,
}

/// The runs of a schedule that were skipped, because the job of the last one had not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Skipped {
    /// How many.
    pub count: u64,
    /// The time of the latest, as the schedule names it.
    pub last_at: Timestamp,
}

/// A schedule in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScheduleSummary {
    /// What it is called.
    pub name: String,
    /// When it runs, a cron expression.
    pub cron: String,
    /// By the clocks of this IANA time zone.
    pub time_zone: String,
    /// Whether it makes no jobs until it is resumed.
    pub paused: bool,
    /// Its next run; `None` while it is paused.
    #[serde(default)]
    pub next_run: Option<Timestamp>,
    /// The latest run that a job was made for.
    #[serde(default)]
    pub last_run: Option<Run>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Client {
    /// Makes the schedule of this name, or makes it anew.
    pub async fn put_schedule(&self, name: &str, schedule: &NewSchedule) -> Result<Verbatim<Schedule>, Error> {
        #[derive(Serialize)]
        struct Put<'a> {
            cron: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            time_zone: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            overlap: Option<&'a str>,
            job: crate::jobs::new_job::Body<'a>,
        }
        let NewSchedule { cron, time_zone, overlap, job } = schedule;
        let (time_zone, overlap) = (time_zone.as_deref(), overlap.as_deref());
        let body = Put { cron, time_zone, overlap, job: job.body(None) };
        self.call(Method::PUT, &["schedules", name]).json(&body)?.read().await
    }

    /// The same, all of it as JSON text.
    pub async fn put_schedule_json(&self, name: &str, schedule: &RawValue) -> Result<Verbatim<Schedule>, Error> {
        self.call(Method::PUT, &["schedules", name]).json(schedule)?.read().await
    }

    /// The schedule of this name.
    pub async fn schedule(&self, name: &str) -> Result<Verbatim<Schedule>, Error> {
        self.get(&["schedules", name]).read().await
    }

    /// All schedules, by their names.
    pub async fn schedules(&self) -> Result<Vec<Verbatim<ScheduleSummary>>, Error> {
        self.all_pages("schedules").await
    }

    /// Deletes a schedule. Jobs that it has made stay. Refused (404) if there is none: which may be through this very
    /// call, if the answer to an earlier try got lost.
    pub async fn delete_schedule(&self, name: &str) -> Result<(), Error> {
        self.call(Method::DELETE, &["schedules", name]).answer().await.map(|_| ())
    }

    /// Lets a schedule make no jobs until it is resumed.
    pub async fn pause_schedule(&self, name: &str) -> Result<Verbatim<Schedule>, Error> {
        self.post(&["schedules", name, "pause"]).read().await
    }

    /// Lets a schedule make jobs again, from now on.
    pub async fn resume_schedule(&self, name: &str) -> Result<Verbatim<Schedule>, Error> {
        self.post(&["schedules", name, "resume"]).read().await
    }

    /// Makes a job of this schedule now, besides those of its times, paused or not.
    pub async fn run_schedule(&self, name: &str) -> Result<Verbatim<Submitted>, Error> {
        let answer = self.post(&["schedules", name, "run"]).key(None)?.answer().await?;
        Submitted::read(&answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_service::{ACCEPTED, Reply, Service};

    const COMMON: &str = r#""name":"nightly","cron":"0 2 * * *","time_zone":"Europe/Berlin","paused":false,
        "last_run":{"at":"2030-01-30T01:00:00Z","job_id":"01938e5c-7a00-7000-8000-000000000000"},
        "created_at":"2026-11-22T02:05:08Z","updated_at":"2026-11-22T02:05:08Z""#;

    #[tokio::test]
    async fn a_schedule_is_made_looked_at_run_and_deleted() {
        let job = r#"{"type":"report-generation","payload":{}}"#;
        let whole = format!(r#"{{{COMMON},"job":{job},"next_runs":["2030-01-31T01:00:00Z"]}}"#);
        let summary = format!(r#"{{{COMMON},"next_run":"2030-01-31T01:00:00Z"}}"#);
        let replies = [
            Reply::new(201, whole.clone()),
            Reply::new(200, whole),
            Reply::new(200, format!(r#"{{"schedules":[{summary}],"next_cursor":"nightly"}}"#)),
            Reply::new(200, r#"{"schedules":[],"next_cursor":null}"#),
            Reply::new(202, ACCEPTED),
            Reply::new(204, ""),
        ];
        let service = Service::that_answers(replies).await;
        let client = service.client();
        let new_job = NewJob::of_json("report-generation", "{}").expect("JSON");
        let schedule = NewSchedule::of("0 2 * * *", new_job).time_zone("Europe/Berlin");
        let schedule = client.put_schedule("nightly", &schedule).await.expect("made");
        assert_eq!((schedule.next_runs.len(), schedule.job.get()), (1, job));
        let text = format!(r#"{{"cron":"0 2 * * *","time_zone":"Europe/Berlin","job":{job}}}"#);
        let raw = RawValue::from_string(text.clone()).expect("JSON");
        client.put_schedule_json("nightly", &raw).await.expect("made again");
        let all = client.schedules().await.expect("a list");
        assert_eq!((all.len(), &all[0].name, &all[0].last_run), (1, &schedule.name, &schedule.last_run));
        client.run_schedule("nightly").await.expect("run");
        client.delete_schedule("nightly").await.expect("deleted");
        let asked = service.asked();
        let lines: Vec<_> = asked.iter().map(|asked| asked.line.as_str()).collect();
        let expected = [
            "PUT /schedules/nightly",
            "PUT /schedules/nightly",
            "GET /schedules?limit=100",
            "GET /schedules?limit=100&cursor=nightly",
            "POST /schedules/nightly/run",
            "DELETE /schedules/nightly",
        ];
        assert_eq!(lines, expected);
        assert_eq!((&asked[0].body, &asked[1].body), (&text, &text));
        assert!(asked[4].header("idempotency-key").is_some());
    }
}
