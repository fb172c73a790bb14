//! The command line: every resource of a running Dray, looked at and acted on. One file for each.
//!
//! What was asked for goes to standard output. What goes wrong is one sentence on standard error, and an exit code; see
//! [`Exit`].

mod batch;
mod bulk;
mod console;
mod events;
mod exit;
mod filter;
mod health;
mod input;
mod jobs;
mod logs;
mod queue;
mod schedules;
mod stats;
mod subscriptions;
mod text;
mod times;

use clap::{Args, CommandFactory as _, Subcommand};
use clap_complete::Shell;
use client::{Client, Error, NewJob};

use self::times::Span;
use crate::doctor;

pub use self::console::Console;
pub use self::exit::{Exit, Failure};
pub use self::text::plain;

/// Where `cargo run` serves the API unless it is told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:3000";

/// Under which the help lists what every command takes.
const OF_COMMANDS: &str = "Options of every command";

/// Where the API is, and in which form to tell what it says
#[derive(Clone, Debug, Args)]
pub struct Api {
    /// Where the API is; unless given, what the variable `DRAY_URL` says, or `http://127.0.0.1:3000`
    #[arg(long, global = true, help_heading = OF_COMMANDS)]
    url: Option<String>,
    /// Shows who asks, where the API wants to know; unless given, what the variable `DRAY_TOKEN` says
    #[arg(long, global = true, help_heading = OF_COMMANDS)]
    token: Option<String>,
    /// Tells what the API says in its own words
    #[arg(long, global = true, help_heading = OF_COMMANDS)]
    json: bool,
}

/// What the command line can do with a running Dray
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Looks at jobs, and acts on them
    #[command(subcommand)]
    Jobs(jobs::Action),
    /// Looks at schedules, which make jobs again and again, and changes them
    #[command(subcommand)]
    Schedules(schedules::Action),
    /// Looks at subscriptions, which make jobs of events, and changes them
    #[command(subcommand)]
    Subscriptions(subscriptions::Action),
    /// Publishes events
    #[command(subcommand)]
    Events(events::Action),
    /// Looks at the queue, stops the starting of jobs, and lets it go on
    #[command(subcommand)]
    Queue(queue::Action),
    /// Tells what jobs did in the last hours
    Stats(stats::Options),
    /// Tells whether table and queues can be reached: exit code 0 if they can, else 1
    Health,
    /// Tells what is wrong with a deployed stack, and what to do: exit code 0 if nothing is, 1 if something is
    Doctor(doctor::Options),
    /// Prints a script by which a shell completes these commands
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// What a job may be told, however it is made
#[derive(Clone, Debug, Args)]
pub struct JobOptions {
    /// At most so many attempts
    #[arg(long, value_name = "ATTEMPTS")]
    max_attempts: Option<u32>,
    /// An attempt may run so long: in seconds, or as in 30s, 1m
    #[arg(long, value_name = "TIME")]
    timeout: Option<Span>,
    /// A word to find it by; may be given more than once
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Whoever is at this URL is told how it ended
    #[arg(long, value_name = "URL")]
    callback_url: Option<String>,
}

impl JobOptions {
    /// The job, told all that was given.
    pub fn tell(self, job: NewJob) -> NewJob {
        let job = self.max_attempts.into_iter().fold(job, NewJob::max_attempts);
        let job = self.timeout.into_iter().map(Span::into).fold(job, NewJob::timeout);
        let job = self.tags.into_iter().fold(job, NewJob::tag);
        self.callback_url.into_iter().fold(job, NewJob::callback_url)
    }
}

/// Does what the command says.
pub async fn run(command: Command, api: Api, console: &mut Console<'_>) -> Exit {
    let Api { url, token, json } = api;
    let url = url.or_else(|| variable("DRAY_URL")).unwrap_or_else(|| DEFAULT_URL.to_owned());
    let token = token.or_else(|| variable("DRAY_TOKEN"));
    console.tell_json(json);
    let failure = match carry_out(command, &url, token.as_deref(), console).await {
        Ok(exit) => return exit,
        Err(failure) => failure,
    };
    if let Some(sentence) = failure.sentence(&url) {
        let _ = console.note(&sentence); // whom else to tell?
    }
    failure.exit()
}

async fn carry_out(
    command: Command,
    url: &str,
    token: Option<&str>,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let connect = || connect(url, token);
    match command {
        Command::Jobs(action) => jobs::run(action, &connect()?, console).await,
        Command::Schedules(action) => schedules::run(action, &connect()?, console).await,
        Command::Subscriptions(action) => subscriptions::run(action, &connect()?, console).await,
        Command::Events(action) => events::run(action, &connect()?, console).await,
        Command::Queue(action) => queue::run(action, &connect()?, console).await,
        Command::Stats(options) => stats::run(options, &connect()?, console).await,
        Command::Health => health::run(&connect()?, console).await,
        Command::Doctor(options) => doctor::run(options, console).await,
        Command::Completions { shell } => completions(shell, console),
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

/// Into memory first: the generator does not take it well if nobody reads on.
fn completions(shell: Shell, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut crate::CommandLine::command(), "dray", &mut script);
    console.say(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Done)
}

/// A service on this machine that answers as it is told, for tests of what a command asks it and says.
#[cfg(test)]
mod service {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::Bytes;
    use axum::extract::State;
    use axum::http::{Method, StatusCode, Uri};

    use super::Exit;

    /// A job's id.
    pub const ID: &str = "01938e5c-7a00-7000-8000-000000000000";

    /// What came of a command.
    pub struct Said {
        pub exit: Exit,
        pub out: String,
        pub err: String,
        /// What the service was asked: method, path and query, and the body if there was one.
        pub asked: Vec<String>,
    }

    /// Carries out the command with a service that gives these answers in turn.
    pub async fn said(words: &[&str], replies: &[(u16, &str)]) -> Said {
        type Talk = Arc<Mutex<(VecDeque<(u16, String)>, Vec<String>)>>;
        let reply = |State(talk): State<Talk>, method: Method, uri: Uri, body: Bytes| async move {
            let mut talk = talk.lock().expect("no panic");
            let asked = format!("{method} {uri} {}", String::from_utf8_lossy(&body));
            talk.1.push(asked.trim_end().to_owned());
            let (status, reply) = talk.0.pop_front().expect("as many replies as requests");
            (StatusCode::from_u16(status).expect("a status"), [("x-request-id", "r-1")], reply)
        };
        let replies = replies.iter().map(|(status, reply)| (*status, (*reply).to_owned())).collect();
        let talk: Talk = Arc::new(Mutex::new((replies, vec![])));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(reply).with_state(Arc::clone(&talk));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let words = ["dray", "--url", &url].into_iter().chain(words.iter().copied());
        let (mut out, mut err) = (vec![], vec![]);
        let exit = crate::run_command(words, &mut out, &mut err).await;
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let asked = talk.lock().expect("no panic").1.clone();
        Said { exit, out: text(out), err: text(err), asked }
    }
}

#[cfg(test)]
mod tests {
    use super::service::said;
    use super::*;

    #[tokio::test]
    async fn completions_name_every_resource_in_every_shell() {
        for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
            let said = said(&["completions", shell], &[]).await;
            assert_eq!((said.exit, said.err.as_str()), (Exit::Done, ""));
            for word in
                ["jobs", "schedules", "subscriptions", "events", "queue", "stats", "health", "doctor", "retry-all"]
            {
                assert!(said.out.contains(word), "{shell}: {word}");
            }
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_with_its_code_and_the_request_to_look_for() {
        let problem =
            r#"{"title":"Not Found","status":404,"code":"not_found","detail":"there is no job\nwith this id"}"#;
        let said = said(&["jobs", "get", super::service::ID, "--json"], &[(404, problem)]).await;
        let sentence = "dray: there is no job with this id (not_found, request r-1)\n";
        assert_eq!((said.exit, said.out.as_str(), said.err.as_str()), (Exit::Refused, "", sentence));
    }
}
