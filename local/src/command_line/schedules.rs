//! `dray schedules`: jobs that are made again and again.

use clap::{Args, Subcommand};
use client::{Client, NewJob, NewSchedule, Run, Schedule, ScheduleSummary, Skipped, Verbatim};
use jiff::Timestamp;

use super::exit::Failure;
use super::text::{distance, fields, moment, table};
use super::{Console, Exit, JobOptions, input, jobs};

/// What can be done with schedules
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Lists all schedules, by name
    List,
    /// Shows a schedule and its next runs
    Show {
        /// What it is called
        name: String,
    },
    /// Makes a schedule, or makes it anew
    Put(Box<Put>),
    /// Lets a schedule make no jobs until it is resumed
    Pause {
        /// What it is called
        name: String,
    },
    /// Lets a paused schedule make jobs again, from now on
    Resume {
        /// What it is called
        name: String,
    },
    /// Makes the job of a schedule now, besides those of its times, and prints its id
    Run {
        /// What it is called
        name: String,
        /// Waits for the job's end: exit code 0 if it is completed, else 1
        #[arg(long)]
        wait: bool,
    },
    /// Deletes a schedule. The jobs that it has made stay
    Delete {
        /// What it is called
        name: String,
    },
}

/// What a schedule shall be
#[derive(Clone, Debug, Args)]
pub struct Put {
    /// What it is called
    name: String,
    /// All the rest, from a file with what `PUT /schedules/{name}` takes; - for what comes on standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "cron", "time_zone", "overlap", "job_type", "payload", "max_attempts", "timeout", "tags", "callback_url"])]
    from: Option<String>,
    /// When it runs: minute, hour, day of the month, month, day of the week, as in '30 9 * * MON-FRI'
    #[arg(long, required_unless_present = "from")]
    cron: Option<String>,
    /// By the clocks of this IANA time zone, as in Europe/Berlin; UTC unless given
    #[arg(long, value_name = "NAME")]
    time_zone: Option<String>,
    /// What becomes of a run while the job of the last one has not ended; allow unless given
    #[arg(long, value_parser = ["allow", "skip"])]
    overlap: Option<String>,
    /// What kind of work its job is
    #[arg(long = "type", value_name = "TYPE", required_unless_present = "from")]
    job_type: Option<String>,
    /// What its job needs to know: JSON, or @FILE, or - for what comes on standard input
    #[arg(long, required_unless_present = "from")]
    payload: Option<String>,
    #[command(flatten)]
    options: JobOptions,
}

/// Does what the command says.
pub async fn run(action: Action, client: &Client, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let whole = |schedule: &Schedule| details(schedule, Timestamp::now());
    match action {
        Action::List => {
            console.show_all(&client.schedules().await?, |schedules| list(schedules, Timestamp::now()))?;
        }
        Action::Show { name } => console.show(&client.schedule(&name).await?, whole)?,
        Action::Put(schedule) => console.show(&put(*schedule, client).await?, whole)?,
        Action::Pause { name } => console.show(&client.pause_schedule(&name).await?, whole)?,
        Action::Resume { name } => console.show(&client.resume_schedule(&name).await?, whole)?,
        Action::Run { name, wait } => {
            let submitted = client.run_schedule(&name).await?;
            return jobs::accepted(&submitted, submitted.job_id, wait, client, console).await;
        }
        Action::Delete { name } => {
            client.delete_schedule(&name).await?;
            if !console.tells_json() {
                console.say(&format!("{name} is deleted"))?;
            }
        }
    }
    Ok(Exit::Done)
}

async fn put(schedule: Put, client: &Client) -> Result<Verbatim<Schedule>, Failure> {
    let Put { name, from, cron, time_zone, overlap, job_type, payload, options } = schedule;
    let (cron, job_type, payload) = match (from, cron, job_type, payload) {
        (Some(file), ..) => return Ok(client.put_schedule_json(&name, &input::json_file(&file)?).await?),
        (None, Some(cron), Some(job_type), Some(payload)) => (cron, job_type, payload),
        _ => return Err(anyhow::anyhow!("say --cron, --type and --payload, or --from").into()),
    };
    let job = options.tell(NewJob::of_json(job_type, input::text(&payload)?)?);
    let schedule = time_zone.into_iter().fold(NewSchedule::of(cron, job), NewSchedule::time_zone);
    let schedule = overlap.into_iter().fold(schedule, NewSchedule::overlap);
    Ok(client.put_schedule(&name, &schedule).await?)
}

fn list(schedules: &[Verbatim<ScheduleSummary>], now: Timestamp) -> String {
    let rows = schedules.iter().map(|schedule| {
        let next = schedule.next_run.map(|time| distance(time, now)).unwrap_or_default();
        [
            schedule.name.clone(),
            schedule.cron.clone(),
            schedule.time_zone.clone(),
            if schedule.paused { "paused".to_owned() } else { next },
            schedule.last_run.as_ref().map(|run| distance(run.at, now)).unwrap_or_default(),
        ]
    });
    table(["NAME", "CRON", "TIME ZONE", "NEXT RUN", "LAST RUN"], rows, "no schedules")
}

fn details(schedule: &Schedule, now: Timestamp) -> String {
    let mut runs = schedule.next_runs.iter().map(|time| moment(*time, now));
    let last = |run: &Run| format!("{}, job {}", moment(run.at, now), run.job_id);
    let skipped = |runs: &Skipped| format!("{}, the latest of {}", runs.count, moment(runs.last_at, now));
    let known = fields([
        ("schedule", Some(schedule.name.clone())),
        ("cron", Some(schedule.cron.clone())),
        ("time zone", Some(schedule.time_zone.clone())),
        ("overlap", schedule.overlap.clone()),
        ("job", Some(schedule.job.get().to_owned())),
        ("last run", schedule.last_run.as_ref().map(last)),
        ("skipped", schedule.skipped.as_ref().map(skipped)),
        ("next run", if schedule.paused { Some("none: it is paused".to_owned()) } else { runs.next() }),
    ]);
    runs.fold(known, |known, run| format!("{known}\n{:<11}{run}", ""))
}

#[cfg(test)]
mod tests {
    use super::super::service::{ID, said};
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T02:08:08Z".parse().expect("a time")
    }

    fn common() -> String {
        format!(
            r#""name":"nightly","cron":"0 2 * * *","time_zone":"Europe/Berlin",
            "last_run":{{"at":"2026-11-22T01:00:00.000Z","job_id":"{ID}"}},
            "created_at":"2026-11-20T02:05:08.030Z","updated_at":"2026-11-20T02:05:08.000Z""#
        )
    }

    #[test]
    fn a_schedule_is_told_with_its_runs() {
        let job = r#""job":{"type":"t","payload":{"b":1,"a":2}}"#;
        let skipped = r#""skipped":{"count":2,"last_at":"2026-11-21T01:00:00.000Z"}"#;
        let runs = r#""next_runs":["2026-11-23T01:00:00.000Z","2026-11-24T01:00:00.000Z"]"#;
        let schedule = format!(r#"{{{},"paused":false,"overlap":"skip",{skipped},{job},{runs}}}"#, common());
        let schedule: Schedule = serde_json::from_str(&schedule).expect("a schedule");
        let last = format!("last run   2026-11-22 01:00:00, 1h ago, job {ID}");
        let lines = [
            "schedule   nightly",
            "cron       0 2 * * *",
            "time zone  Europe/Berlin",
            "overlap    skip",
            r#"job        {"type":"t","payload":{"b":1,"a":2}}"#,
            &last,
            "skipped    2, the latest of 2026-11-21 01:00:00, 1d ago",
            "next run   2026-11-23 01:00:00, in 22h",
            "           2026-11-24 01:00:00, in 1d",
        ];
        assert_eq!(details(&schedule, now()), lines.join("\n"));
        let paused = format!(r#"{{{},"paused":true,{job},"next_runs":[]}}"#, common());
        let paused: Schedule = serde_json::from_str(&paused).expect("a schedule");
        assert!(details(&paused, now()).ends_with("next run   none: it is paused"));
    }

    #[test]
    fn a_list_says_when_each_runs() {
        let next = r#""next_run":"2026-11-22T02:09:00.000Z""#;
        let json = format!(r#"[{{{0},"paused":false,{next}}},{{{0},"paused":true}}]"#, common());
        let schedules: Vec<Verbatim<ScheduleSummary>> = serde_json::from_str(&json).expect("schedules");
        let lines = [
            "NAME     CRON       TIME ZONE      NEXT RUN  LAST RUN",
            "nightly  0 2 * * *  Europe/Berlin  in 52s    1h ago",
            "nightly  0 2 * * *  Europe/Berlin  paused    1h ago",
        ];
        assert_eq!(list(&schedules, now()), lines.join("\n"));
        assert_eq!(list(&[], now()), "no schedules");
    }

    #[tokio::test]
    async fn a_schedule_is_put_from_what_is_said_or_from_a_file() {
        let job = r#""job":{"type":"t","payload":{"b":1,"a":2},"tags":["x"]}"#;
        let answer = format!(r#"{{{},"paused":false,{job},"next_runs":[]}}"#, common());
        let body = format!(r#"{{"cron":"0 2 * * *","time_zone":"Europe/Berlin","overlap":"skip",{job}}}"#);
        let words = ["schedules", "put", "nightly", "--cron", "0 2 * * *", "--time-zone", "Europe/Berlin"];
        let rest = ["--overlap", "skip", "--type", "t", "--payload", r#"{"b":1,"a":2}"#, "--tag", "x", "--json"];
        let told = said(&[&words[..], &rest[..]].concat(), &[(201, &answer)]).await;
        assert_eq!((told.exit, told.out), (Exit::Done, format!("{answer}\n")));
        assert_eq!(told.asked, [format!("PUT /schedules/nightly {body}")]);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("nightly.json");
        std::fs::write(&file, &body).expect("written");
        let file = file.display().to_string();
        let told = said(&["schedules", "put", "nightly", "--from", &file], &[(200, &answer)]).await;
        assert_eq!((told.exit, told.asked), (Exit::Done, vec![format!("PUT /schedules/nightly {body}")]));
        for wrong in [vec!["--cron", "0 2 * * *"], vec!["--from", file.as_str(), "--type", "t"], vec![]] {
            let told = said(&[vec!["schedules", "put", "nightly"], wrong.clone()].concat(), &[]).await;
            assert_eq!((told.exit, told.asked.len()), (Exit::Usage, 0), "{wrong:?}");
        }
    }
}
