//! `dray jobs`: looking at jobs, submitting them, and acting on them.

mod text;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use client::{Client, Job, JobFilter, JobId, JobSummary, NewJob, Verbatim};
use jiff::Timestamp;

use super::batch::{self, Batch};
use super::bulk::{self, Meant, Verb};
use super::console::bar;
use super::exit::Failure;
use super::filter::Filter;
use super::times::Span;
use super::{Console, Exit, JobOptions, input, logs};

/// What can be done with jobs
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Lists jobs, newest first
    List {
        #[command(flatten)]
        filter: Filter,
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// All of them, however many pages that is
        #[arg(long, conflicts_with = "limit")]
        all: bool,
    },
    /// Shows everything about a job
    Get {
        /// The job's id
        id: JobId,
        /// Only what happened to it, oldest first
        #[arg(long)]
        events: bool,
    },
    /// Says why a job is not running
    Why {
        /// The job's id
        id: JobId,
    },
    /// Submits a job, and prints its id
    Submit(Box<Submit>),
    /// Submits many jobs, and prints the ids of those that were accepted
    Batch(Batch),
    /// Submits the work of a job once more, and prints the id of the copy
    Duplicate {
        /// The job's id
        id: JobId,
        /// Another payload: JSON, or @FILE, or - for what comes on standard input
        payload: Option<String>,
        /// An idempotency key: the same key and request again make no second copy
        #[arg(long)]
        key: Option<String>,
        /// Waits for the copy's end: exit code 0 if it is completed, else 1
        #[arg(long)]
        wait: bool,
    },
    /// Gives a waiting job another time to start
    #[command(group(clap::ArgGroup::new("start").required(true)))]
    Reschedule {
        /// The job's id
        id: JobId,
        /// When so much time has passed: in seconds, or as in 15m, 2h, 7d
        #[arg(long, value_name = "TIME", group = "start")]
        delay: Option<Span>,
        /// At this time, in RFC 3339
        #[arg(long, value_name = "TIME", group = "start")]
        at: Option<Timestamp>,
    },
    /// Lets a failed or cancelled job be tried again
    Retry {
        /// The job's id
        id: JobId,
        /// With so many more attempts
        #[arg(long, value_name = "ATTEMPTS")]
        attempts: Option<u32>,
    },
    /// Lets all failed jobs that fit be tried again; cancelled ones too, if --status says so
    RetryAll {
        #[command(flatten)]
        meant: Meant,
        /// No more than so many start in a second, 1 to 1000
        #[arg(long, value_name = "JOBS", value_parser = clap::value_parser!(u32).range(1..=1000))]
        per_second: Option<u32>,
    },
    /// Cancels a job, or asks its running attempt to be the last
    Cancel {
        /// The job's id
        id: JobId,
    },
    /// Cancels all waiting and running jobs that fit
    CancelAll {
        #[command(flatten)]
        meant: Meant,
    },
    /// Deletes a job that has ended, with its files
    Delete {
        /// The job's id
        id: JobId,
    },
    /// Prints what happens to a job until its end: exit code 0 if it is completed, else 1
    Watch {
        /// The job's id
        id: JobId,
    },
    /// Prints what the functions logged about a job, from the files that `cargo run` writes
    Logs {
        /// The job's id
        id: JobId,
        /// Where `cargo run` keeps its data
        #[arg(long, default_value = ".dray")]
        data_dir: PathBuf,
    },
}

/// A job to be submitted
#[derive(Clone, Debug, Args)]
pub struct Submit {
    /// What kind of work it is
    #[arg(value_name = "TYPE")]
    job_type: String,
    /// What it needs to know: JSON, or @FILE, or - for what comes on standard input
    payload: String,
    /// An idempotency key: the same key and job again make no second job
    #[arg(long)]
    key: Option<String>,
    /// Not to start before so much time has passed: in seconds, or as in 15m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    delay: Option<Span>,
    /// Not to start before this time, in RFC 3339
    #[arg(long, value_name = "TIME", conflicts_with = "delay")]
    run_at: Option<Timestamp>,
    /// Not to start from this time on, in RFC 3339
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
    #[command(flatten)]
    options: JobOptions,
    /// Waits for its end: exit code 0 if it is completed, else 1
    #[arg(long)]
    wait: bool,
}

/// Does what the command says.
pub async fn run(action: Action, client: &Client, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let now = Timestamp::now;
    match action {
        Action::List { filter, limit, all } => {
            let limit = if all { u32::MAX } else { limit };
            let jobs = newest(client, filter.with_statuses()?, limit).await?;
            console.show_all(&jobs, |jobs| text::table(jobs, now()))?;
        }
        Action::Get { id, events: false } => {
            console.show(&client.job(id).await?, |job| text::details(job, now()))?;
        }
        Action::Get { id, events: true } => console.show_all(&client.events(id).await?, text::events)?,
        Action::Why { id } => console.show(&client.why(id).await?, |why| text::why(why, now()))?,
        Action::Submit(submit) => return submit_one(*submit, client, console).await,
        Action::Batch(batch) => return batch::run(batch, client, console).await,
        Action::Duplicate { id, payload, key, wait } => {
            let payload = payload.map(|payload| input::json(&payload)).transpose()?;
            let copy = client.duplicate(id, payload.as_deref(), key.as_deref()).await?;
            return accepted(&copy, copy.job_id, wait, client, console).await;
        }
        Action::Reschedule { id, delay: Some(delay), .. } => {
            console.show(&client.reschedule_after(id, delay.into()).await?, text::changed)?;
        }
        Action::Reschedule { id, at, .. } => {
            let at = at.ok_or_else(|| anyhow::anyhow!("say when, with --delay or --at"))?;
            console.show(&client.reschedule(id, at).await?, text::changed)?;
        }
        Action::Retry { id, attempts } => console.show(&client.retry(id, attempts).await?, text::changed)?,
        Action::RetryAll { meant, per_second } => {
            return bulk::run(meant, Verb::Retry { per_second }, client, console).await;
        }
        Action::Cancel { id } => console.show(&client.cancel(id).await?, text::changed)?,
        Action::CancelAll { meant } => return bulk::run(meant, Verb::Cancel, client, console).await,
        Action::Delete { id } => {
            let cleanup = client.delete(id).await?;
            // In its own words, the API says nothing.
            if !console.tells_json() {
                console.say(&text::deleted(id, cleanup))?;
            }
        }
        Action::Watch { id } => return watch(id, client, console).await,
        Action::Logs { id, data_dir } => return logs::run(id, &data_dir, client, console).await,
    }
    Ok(Exit::Done)
}

async fn newest(client: &Client, filter: JobFilter, limit: u32) -> Result<Vec<Verbatim<JobSummary>>, Failure> {
    let mut listing = client.jobs(filter).in_pages_of(limit.min(100));
    let mut jobs = vec![];
    for _ in 0..limit {
        let Some(job) = listing.next().await? else { break };
        jobs.push(job);
    }
    Ok(jobs)
}

async fn submit_one(submit: Submit, client: &Client, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let job = NewJob::of_json(submit.job_type, input::text(&submit.payload)?)?;
    let job = submit.options.tell(job);
    let job = submit.key.into_iter().fold(job, NewJob::key);
    let job = submit.delay.into_iter().map(Span::into).fold(job, NewJob::delay);
    let job = submit.run_at.into_iter().fold(job, NewJob::run_at);
    let job = submit.expires_at.into_iter().fold(job, NewJob::expires_at);
    let submitted = client.submit(&job).await?;
    accepted(&submitted, submitted.job_id, submit.wait, client, console).await
}

/// Prints the id of a job that was accepted and, if asked to, waits for its end and prints that. As JSON, the later of
/// the two says it all.
pub async fn accepted<T>(
    answer: &Verbatim<T>,
    id: JobId,
    wait: bool,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    if !(wait && console.tells_json()) {
        console.show(answer, |_| id.to_string())?;
    }
    if !wait {
        return Ok(Exit::Done);
    }
    let look = if console.has_bar() { LOOK } else { LONG_LOOK };
    let job = until_its_end(id, look, client, |job| console.bar(&glance(job))).await?;
    console.show(&job, text::ending)?;
    Ok(Exit::of(&job.status))
}

/// How long each look at a watched job lasts, and how late an event may be told: a second, the shortest time for which
/// the service holds an answer back.
const LOOK: Duration = Duration::from_secs(1);

/// How long it lasts where only the end matters.
const LONG_LOOK: Duration = Duration::from_secs(20);

/// The job at its end. Until then, and then too, `see` is shown it as it is.
async fn until_its_end(
    id: JobId,
    look: Duration,
    client: &Client,
    mut see: impl FnMut(&Verbatim<Job>) -> std::io::Result<()>,
) -> Result<Verbatim<Job>, Failure> {
    let mut job = client.job(id).await?;
    loop {
        see(&job)?;
        if job.status.is_terminal() {
            return Ok(job);
        }
        job = client.wait(id, look).await?;
    }
}

/// How far a job has come, on one line.
fn glance(job: &Job) -> String {
    match &job.progress {
        Some(progress) => bar(progress.percent.into(), &progress.message),
        None => format!("{}  attempt {} of {}", job.status, job.attempts, job.max_attempts),
    }
}

async fn watch(id: JobId, client: &Client, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let (mut told, mut progress) = (0, None);
    let see = |job: &Verbatim<Job>| -> std::io::Result<()> {
        let is_new = told < job.history.len() || job.progress != progress;
        if console.tells_json() {
            if is_new {
                console.show_line(job, |_| String::new())?;
            }
        } else {
            for event in job.history.iter().skip(told) {
                console.say(&text::event(event))?;
            }
            let now = job.progress.as_ref().filter(|now| progress.as_ref() != Some(*now));
            if let Some(now) = now.filter(|_| !console.bar_is_enough()) {
                console.say(&text::progress(now))?;
            }
        }
        (told, progress) = (job.history.len(), job.progress.clone());
        if job.status.is_terminal() { Ok(()) } else { console.bar(&glance(job)) }
    };
    let job = until_its_end(id, LOOK, client, see).await?;
    Ok(Exit::of(&job.status))
}

#[cfg(test)]
mod tests {
    use super::super::service::{ID, said};
    use super::*;

    fn job(status: &str, rest: &str) -> String {
        format!(
            r#"{{"job_id":"{ID}","type":"t","status":"{status}","attempts":1,"max_attempts":3,"payload":{{}},
            "created_at":"2026-11-22T02:05:08.030Z","updated_at":"2026-11-22T02:05:08.000Z",{rest}}}"#
        )
    }

    #[tokio::test]
    async fn a_list_ends_at_its_limit_and_is_told_as_the_api_wrote_it() {
        let summary =
            format!(r#"{{"job_id":"{ID}","type":"t","status":"failed","created_at":"2026-11-22T02:05:08.030Z"}}"#);
        let page = format!(r#"{{"jobs":[{summary},{summary}],"next_cursor":"c"}}"#);
        let pages = [(200, page.as_str()), (200, page.as_str())];
        let words = ["jobs", "list", "--status", "failed,cancelled", "--type", "t", "--limit", "3", "--json"];
        let told = said(&words, &pages).await;
        assert_eq!((told.exit, told.out), (Exit::Done, format!("[{summary},\n{summary},\n{summary}]\n")));
        let first = "GET /jobs?status=failed%2Ccancelled&type=t&limit=3";
        assert_eq!(told.asked, [first.to_owned(), format!("{first}&cursor=c")]);
        let last = format!(r#"{{"jobs":[{summary}],"next_cursor":null}}"#);
        let words = ["jobs", "list", "--all", "--created-after", "2030-01-31T09:00:00Z"];
        let told = said(&words, &[(200, &page), (200, &last)]).await;
        assert_eq!((told.exit, told.out.lines().count()), (Exit::Done, 4));
        assert_eq!(told.asked[0], "GET /jobs?created_after=2030-01-31T09%3A00%3A00Z&limit=100");
    }

    #[tokio::test]
    async fn watching_tells_each_event_once_and_ends_as_the_job_does() {
        let accepted = r#"{"event":"accepted","at":"2026-11-22T02:05:08.412Z"}"#;
        let started = r#"{"event":"started","at":"2026-11-22T02:05:08.699Z","attempt":1}"#;
        let failed = r#"{"event":"failed","at":"2026-11-22T02:05:08.708Z","attempt":1,"error":"no\nway"}"#;
        let running = r#""progress":{"percent":40,"message":"halfway","at":"2026-11-22T02:05:08.700Z"}"#;
        let replies = [
            job("pending", &format!(r#""history":[{accepted}]"#)),
            job("processing", &format!(r#""history":[{accepted},{started}],{running}"#)),
            job("processing", &format!(r#""history":[{accepted},{started}],{running}"#)),
            job("failed", &format!(r#""history":[{accepted},{started},{failed}],{running}"#)),
        ];
        let replies: Vec<_> = replies.iter().map(|reply| (200, reply.as_str())).collect();
        let told = said(&["jobs", "watch", ID], &replies).await;
        let lines = [
            "02:05:08.412  accepted",
            "02:05:08.699  started           attempt 1",
            "02:05:08.700  progress          40 %  halfway",
            "02:05:08.708  failed            attempt 1; no way",
        ];
        assert_eq!((told.exit, told.out.lines().collect::<Vec<_>>().as_slice()), (Exit::Refused, lines.as_slice()));
        let look = format!("GET /jobs/{ID}?wait=1");
        assert_eq!(told.asked, [format!("GET /jobs/{ID}"), look.clone(), look.clone(), look]);

        let told = said(&["jobs", "watch", ID, "--json"], &replies).await;
        let each_once: Vec<_> = [0, 1, 3].map(|nth: usize| replies[nth].1.replace('\n', " ")).into();
        assert_eq!(told.out.lines().collect::<Vec<_>>(), each_once);
    }

    #[tokio::test]
    async fn submitting_prints_the_id_and_waits_if_asked_to() {
        let accepted = format!(r#"{{"job_id":"{ID}","status":"pending"}}"#);
        let told = said(&["jobs", "submit", "t", "{}"], &[(202, &accepted)]).await;
        assert_eq!((told.exit, told.out), (Exit::Done, format!("{ID}\n")));
        let completed = job("completed", r#""result":{"rows":2},"duration_ms":9"#);
        let replies = [(202, accepted.as_str()), (200, completed.as_str())];
        let told = said(&["jobs", "submit", "t", "{}", "--wait"], &replies).await;
        let expected = format!("{ID}\ncompleted  attempt 1 of 3, 9 ms: {{\"rows\":2}}\n");
        assert_eq!((told.exit, told.out), (Exit::Done, expected));
        let told = said(&["jobs", "submit", "t", "{}", "--wait", "--json"], &replies).await;
        assert_eq!((told.exit, told.out), (Exit::Done, format!("{completed}\n")));
    }

    #[tokio::test]
    async fn all_that_is_said_of_a_job_is_sent() {
        let accepted = format!(r#"{{"job_id":"{ID}","status":"pending"}}"#);
        let words = "jobs submit t {\"b\":1.50} --delay 2h --expires-at 2030-01-31T09:00:00Z --max-attempts 5 \
                     --timeout 30 --tag a --tag b --callback-url https://example.com/";
        let words: Vec<_> = words.split(' ').collect();
        let told = said(&words, &[(202, &accepted)]).await;
        let body = r#"{"type":"t","payload":{"b":1.50},"max_attempts":5,"timeout_seconds":30,"delay_seconds":7200,"#;
        let rest = r#""expires_at":"2030-01-31T09:00:00Z","tags":["a","b"],"callback_url":"https://example.com/"}"#;
        assert_eq!((told.err.as_str(), told.asked), ("", vec![format!("POST /jobs {body}{rest}")]));
    }

    #[tokio::test]
    async fn acting_on_a_job_says_what_became_of_it() {
        let copy = format!(r#"{{"job_id":"{ID}","status":"pending","duplicate_of":"{ID}"}}"#);
        let changed = format!(r#"{{"job_id":"{ID}","status":"pending","cancel_requested":false}}"#);
        let (copy, changed) = (copy.as_str(), changed.as_str());
        let is_pending = format!("{ID} is pending\n");
        let cases = [
            ("duplicate ID {\"a\":1}", (202, copy), format!("{ID}\n"), "duplicate {\"payload\":{\"a\":1}}"),
            ("retry ID --attempts 2", (202, changed), is_pending.clone(), "retry {\"max_attempts\":2}"),
            ("cancel ID", (200, changed), is_pending.clone(), "cancel"),
            ("reschedule ID --delay 5m", (200, changed), is_pending.clone(), "reschedule {\"delay_seconds\":300}"),
            (
                "reschedule ID --at 2030-01-31T09:00:00Z",
                (200, changed),
                is_pending,
                "reschedule {\"run_at\":\"2030-01-31T09:00:00Z\"}",
            ),
        ];
        for (words, reply, out, asked) in cases {
            let words = format!("jobs {words}").replace("ID", ID);
            let told = said(&words.split(' ').collect::<Vec<_>>(), &[reply]).await;
            assert_eq!((told.exit, told.out), (Exit::Done, out), "{words}");
            assert_eq!(told.asked, [format!("POST /jobs/{ID}/{asked}")], "{words}");
        }
        let told = said(&["jobs", "delete", ID], &[(204, "")]).await;
        assert_eq!((told.out, &told.asked[0]), (format!("{ID} is deleted\n"), &format!("DELETE /jobs/{ID}")));
    }
}
