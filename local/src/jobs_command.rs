//! `dray jobs`: the jobs of a running Dray, looked at and acted on from the command line.

mod payload;
mod text;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use client::{Client, Error, JobFilter, JobId, JobSummary, NewJob, Status};
use jiff::Timestamp;
use serde::Serialize;

/// Looks at the jobs of a running Dray, and acts on them
#[derive(Clone, Args)]
pub struct JobsCommand {
    /// Where its API is; unless given, what the variable `DRAY_URL` says, or `http://127.0.0.1:3000`
    #[arg(long, global = true)]
    url: Option<String>,
    /// Shows who asks, where the API wants to know; unless given, what the variable `DRAY_TOKEN` says
    #[arg(long, global = true)]
    token: Option<String>,
    #[command(subcommand)]
    action: Action,
}

/// Where `cargo run` serves the API unless it is told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:3000";

const STATUSES: [&str; 5] = ["pending", "processing", "completed", "failed", "cancelled"];

#[derive(Clone, Subcommand)]
enum Action {
    /// Lists jobs, newest first
    List {
        /// Only those with this status
        #[arg(long, value_parser = STATUSES)]
        status: Option<String>,
        /// Only those of this type
        #[arg(long = "type", value_name = "TYPE")]
        job_type: Option<String>,
        /// Only those with this tag
        #[arg(long)]
        tag: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows everything about a job
    Get {
        /// The job's id
        id: JobId,
        /// Only what happened to it, oldest first
        #[arg(long)]
        events: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Says why a job is not running
    Why {
        /// The job's id
        id: JobId,
    },
    /// Submits a job, and prints its id
    Submit {
        /// What kind of work it is
        #[arg(value_name = "TYPE")]
        job_type: String,
        /// What it needs to know: JSON, or @FILE, or - for what comes on standard input
        payload: String,
        /// An idempotency key: the same key and job again make no second job
        #[arg(long)]
        key: Option<String>,
        /// Not to start before so many seconds have passed
        #[arg(long, value_name = "SECONDS")]
        delay: Option<u64>,
        /// At most so many attempts
        #[arg(long, value_name = "ATTEMPTS")]
        max_attempts: Option<u32>,
        /// A word to find it by; may be given more than once
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Waits for its end: exit code 0 if it is completed, else 1
        #[arg(long)]
        wait: bool,
    },
    /// Lets a failed or cancelled job be tried again
    Retry {
        /// The job's id
        id: JobId,
        /// With so many more attempts
        #[arg(long, value_name = "ATTEMPTS")]
        attempts: Option<u32>,
    },
    /// Cancels a job, or asks its running attempt to be the last
    Cancel {
        /// The job's id
        id: JobId,
    },
    /// Prints what happens to a job until its end: exit code 0 if it is completed, else 1
    Watch {
        /// The job's id
        id: JobId,
    },
}

/// Does what the command says. What was asked for goes to standard output; what goes wrong, as one sentence, to
/// standard error.
pub async fn run(command: JobsCommand) -> ExitCode {
    let url = command.url.or_else(|| variable("DRAY_URL")).unwrap_or_else(|| DEFAULT_URL.to_owned());
    let token = command.token.or_else(|| variable("DRAY_TOKEN"));
    let done = match connect(&url, token.as_deref()) {
        Ok(client) => carry_out(&client, command.action, &mut std::io::stdout()).await,
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(Ending::Well) => ExitCode::SUCCESS,
        Ok(Ending::Badly) => ExitCode::FAILURE,
        Err(error) if nobody_reads(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dray: {}", sentence(&error, &url));
            ExitCode::FAILURE
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn connect(url: &str, token: Option<&str>) -> Result<Client, Error> {
    let client = Client::new(url)?;
    match token {
        Some(token) => client.with_token(token),
        None => Ok(client),
    }
}

/// Whether whoever read the output has seen enough, as `head` does.
fn nobody_reads(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn sentence(error: &anyhow::Error, url: &str) -> String {
    let sentence = match error.downcast_ref::<Error>() {
        Some(Error::Unreachable { .. }) => {
            let cause = error.root_cause();
            format!("no answer from {url} ({cause}): start it with `cargo run`, or say with --url where it is")
        }
        Some(Error::Refused(problem)) if matches!(problem.status, 401 | 403) => {
            format!("{problem}: show with --token or DRAY_TOKEN who asks")
        }
        Some(_) | None => format!("{error:#}"),
    };
    text::plain(&sentence)
}

/// How it ended with the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Well,
    Badly,
}

impl Ending {
    fn of(status: &Status) -> Self {
        if *status == Status::Completed { Self::Well } else { Self::Badly }
    }
}

async fn carry_out(client: &Client, action: Action, out: &mut dyn Write) -> anyhow::Result<Ending> {
    let said = match action {
        Action::List { status, job_type, tag, limit, json } => {
            let jobs = newest(client, filter(status, job_type, tag), limit).await?;
            if json { as_json(&jobs)? } else { text::table(&jobs, Timestamp::now()) }
        }
        Action::Get { id, events: false, json } => {
            let job = client.job(id).await?;
            if json { as_json(&job)? } else { text::details(&job, Timestamp::now()) }
        }
        Action::Get { id, events: true, json } => {
            let events = client.events(id).await?;
            if json { as_json(&events)? } else { text::events(&events) }
        }
        Action::Why { id } => text::why(&client.why(id).await?, Timestamp::now()),
        Action::Submit { job_type, payload, key, delay, max_attempts, tags, wait } => {
            let payload = payload::read(&payload, &mut std::io::stdin())?;
            let mut job = NewJob::of_json(job_type, payload)?;
            job = key.into_iter().fold(job, NewJob::key);
            job = delay.into_iter().map(Duration::from_secs).fold(job, NewJob::delay);
            job = max_attempts.into_iter().fold(job, NewJob::max_attempts);
            job = tags.into_iter().fold(job, NewJob::tag);
            return submit(client, &job, wait, out).await;
        }
        Action::Retry { id, attempts } => text::changed(&client.retry(id, attempts).await?),
        Action::Cancel { id } => text::changed(&client.cancel(id).await?),
        Action::Watch { id } => return watch(client, id, out).await,
    };
    writeln!(out, "{said}")?;
    Ok(Ending::Well)
}

fn filter(status: Option<String>, job_type: Option<String>, tag: Option<String>) -> JobFilter {
    let filter = status.into_iter().map(Status::from).fold(JobFilter::all(), JobFilter::status);
    let filter = job_type.into_iter().fold(filter, JobFilter::job_type);
    tag.into_iter().fold(filter, JobFilter::tag)
}

async fn newest(client: &Client, filter: JobFilter, limit: u32) -> Result<Vec<JobSummary>, Error> {
    let mut listing = client.jobs(filter).in_pages_of(limit.min(100));
    let mut jobs = vec![];
    for _ in 0..limit {
        let Some(job) = listing.next().await? else { break };
        jobs.push(job);
    }
    Ok(jobs)
}

fn as_json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(value)
}

async fn submit(client: &Client, job: &NewJob, wait: bool, out: &mut dyn Write) -> anyhow::Result<Ending> {
    let id = client.submit(job).await?.job_id;
    writeln!(out, "{id}")?;
    if !wait {
        return Ok(Ending::Well);
    }
    let job = client.wait(id, Duration::MAX).await?;
    writeln!(out, "{}", text::ending(&job))?;
    Ok(Ending::of(&job.status))
}

/// How long each look at a watched job lasts, and how late an event may be told: a second, the shortest time for which
/// the service holds an answer back.
const LOOK: Duration = Duration::from_secs(1);

async fn watch(client: &Client, id: JobId, out: &mut dyn Write) -> anyhow::Result<Ending> {
    let mut job = client.job(id).await?;
    let (mut told, mut progress) = (0, None);
    loop {
        for event in job.history.iter().skip(told) {
            writeln!(out, "{}", text::event(event))?;
        }
        told = job.history.len();
        if let Some(now) = job.progress.filter(|now| progress.as_ref() != Some(now)) {
            writeln!(out, "{}", text::progress(&now))?;
            progress = Some(now);
        }
        if job.status.is_terminal() {
            return Ok(Ending::of(&job.status));
        }
        job = client.wait(id, LOOK).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use axum::http::Uri;
    use clap::{CommandFactory, Parser};

    use super::*;

    const ID: &str = "01938e5c-7a00-7000-8000-000000000000";

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        jobs: JobsCommand,
    }

    fn action(words: &[&str]) -> Action {
        let words = ["dray"].iter().chain(words);
        Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).jobs.action
    }

    /// What the command says to a service that gives these bodies in turn, how it ends, and what the service was asked.
    async fn said(words: &[&str], replies: &[&str]) -> (String, Ending, Vec<String>) {
        type Talk = Arc<Mutex<(VecDeque<String>, Vec<String>)>>;
        let reply = |State(talk): State<Talk>, uri: Uri| async move {
            let mut talk = talk.lock().expect("no panic");
            talk.1.push(uri.to_string());
            talk.0.pop_front().expect("as many replies as requests")
        };
        let replies = replies.iter().map(|reply| (*reply).to_owned()).collect();
        let talk: Talk = Arc::new(Mutex::new((replies, vec![])));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(reply).with_state(Arc::clone(&talk));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client = connect(&url, None).expect("an address");
        let mut out = vec![];
        let ending = carry_out(&client, action(words), &mut out).await.expect("carried out");
        let asked = talk.lock().expect("no panic").1.clone();
        (String::from_utf8(out).expect("text"), ending, asked)
    }

    fn job(status: &str, rest: &str) -> String {
        format!(
            r#"{{"job_id":"{ID}","type":"t","status":"{status}","attempts":1,"max_attempts":3,"payload":{{}},
            "created_at":"2026-11-22T02:05:08Z","updated_at":"2026-11-22T02:05:08Z",{rest}}}"#
        )
    }

    #[test]
    fn every_word_has_its_place() {
        Line::command().debug_assert();
        let words = ["submit", "t", "-", "--tag", "a", "--tag", "b", "--delay", "5", "--url", "http://localhost:1"];
        let Action::Submit { payload, tags, delay: Some(5), wait: false, .. } = action(&words) else { panic!() };
        assert_eq!((payload.as_str(), tags.as_slice()), ("-", ["a".to_owned(), "b".to_owned()].as_slice()));
        for wrong in [vec!["list", "--status", "done"], vec!["get", "42"], vec!["list", "--limit", "0"], vec!["lst"]] {
            assert!(Line::try_parse_from(["dray"].iter().chain(&wrong)).is_err(), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_list_ends_at_its_limit() {
        let summary =
            format!(r#"{{"job_id":"{ID}","type":"t","status":"failed","created_at":"2026-11-22T02:05:08Z"}}"#);
        let page = format!(r#"{{"jobs":[{summary},{summary}],"next_cursor":"c"}}"#);
        let words = ["list", "--status", "failed", "--type", "t", "--limit", "3", "--json"];
        let (said, ending, asked) = said(&words, &[&page, &page]).await;
        let jobs: Vec<JobSummary> = serde_json::from_str(&said).expect("JSON");
        assert_eq!((jobs.len(), ending), (3, Ending::Well));
        assert_eq!(asked, ["/jobs?status=failed&type=t&limit=3", "/jobs?status=failed&type=t&limit=3&cursor=c"]);
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
            job("failed", &format!(r#""history":[{accepted},{started},{failed}],{running}"#)),
        ];
        let (said, ending, asked) = said(&["watch", ID], &[&replies[0], &replies[1], &replies[2]]).await;
        let told = [
            "02:05:08.412  accepted",
            "02:05:08.699  started           attempt 1",
            "02:05:08.700  progress          40 %  halfway",
            "02:05:08.708  failed            attempt 1; no way",
        ];
        assert_eq!((said.lines().collect::<Vec<_>>().as_slice(), ending), (told.as_slice(), Ending::Badly));
        assert_eq!(asked, [format!("/jobs/{ID}"), format!("/jobs/{ID}?wait=1"), format!("/jobs/{ID}?wait=1")]);
    }

    #[tokio::test]
    async fn submitting_prints_the_id_and_waits_if_asked_to() {
        let accepted = format!(r#"{{"job_id":"{ID}","status":"pending"}}"#);
        let (said_first, ending, _) = said(&["submit", "t", "{}"], &[&accepted]).await;
        assert_eq!((said_first, ending), (format!("{ID}\n"), Ending::Well));
        let completed = job("completed", r#""result":{"rows":2},"duration_ms":9"#);
        let (said_then, ending, _) = said(&["submit", "t", "{}", "--wait"], &[&accepted, &completed]).await;
        let expected = format!("{ID}\ncompleted  attempt 1 of 3, 9 ms: {{\"rows\":2}}\n");
        assert_eq!((said_then, ending), (expected, Ending::Well));
    }

    #[test]
    fn an_error_is_one_sentence() {
        let unreachable = Error::Unreachable { attempts: 4, source: "connection refused".into() };
        let expected = "no answer from http://localhost:1 (connection refused): start it with `cargo run`, or say with \
                        --url where it is";
        assert_eq!(sentence(&unreachable.into(), "http://localhost:1"), expected);
        let own = anyhow::anyhow!("no such\nfile").context("failed to read a.json");
        assert_eq!(sentence(&own, ""), "failed to read a.json: no such file");
    }
}
