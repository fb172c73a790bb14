//! The whole of Dray on this machine: the functions as real Lambda processes, and `template.yaml` deployed to a local
//! AWS. What the template says is what runs; there is no second description of it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to the person who started it")]

mod command_line;
mod doctor;
pub mod engine;
mod stack;

use std::ffi::OsString;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

pub use crate::command_line::Exit;
pub use crate::stack::Stack;
pub use crate::stack::environment::Environment;
pub use crate::stack::proxy::pass_on;

use crate::command_line::{Api, Command, Console};
use crate::stack::aws_env;

/// Dray on this machine: without a command, runs the whole of it: functions, table, queues and schedule
#[derive(Clone, Debug, Parser)]
#[command(name = "dray", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    stack: Options,
    #[command(flatten)]
    api: Api,
}

impl CommandLine {
    /// Understands the words of a command line, the program's name first.
    fn read(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(words)?;
        if let Some(problem) = misplaced(&matches) {
            return Err(command.error(ErrorKind::ArgumentConflict, problem));
        }
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

/// An option of the stack where there is a command, or the other way round.
fn misplaced(matches: &ArgMatches) -> Option<String> {
    let (others, whose): (&[&str], &str) = if matches.subcommand_name().is_some() {
        (&["port", "data_dir", "functions", "allow_host", "bind"], "before a command: it is for running the stack")
    } else {
        (&["url", "token", "json"], "without a command: it is for commands alone")
    };
    let given = others.iter().find(|name| matches.value_source(name) == Some(ValueSource::CommandLine))?;
    Some(format!("--{} cannot stand {whose}", given.replace('_', "-")))
}

/// How the stack is to be run.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The port of the API, on 127.0.0.1
    #[arg(long, default_value_t = 3000)]
    pub port: u16,
    /// Where jobs, messages and logs are kept between runs
    #[arg(long, default_value = ".dray")]
    pub data_dir: PathBuf,
    /// A folder with the functions as `sam build` has made them, .aws-sam/build, or with a zip of each: what runs instead of
    /// functions that are built now
    #[arg(long, value_name = "FOLDER")]
    pub functions: Option<PathBuf>,
    /// Another name by which the API may be called on this machine, as `host.docker.internal`; can be given several times
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// Another address of this machine at which the API and the local AWS listen, for containers: 172.17.0.1 is Docker's.
    /// Whoever reaches it may use both, and run programs here
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub bind: Option<IpAddr>,
    /// For tests that come between the functions and the local AWS
    #[arg(skip)]
    pub detour: Option<Detour>,
}

/// What lies between the functions and the local AWS.
#[derive(Clone, Debug)]
pub struct Detour {
    /// Where the functions are told that AWS is.
    pub url: String,
    /// Where it is: set as soon as that is known, before any function runs.
    pub leads_to: Arc<OnceLock<String>>,
}

/// Does what a command line asks for, the program's name being its first word: runs the stack, or a command on a running
/// one.
pub async fn run(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    match CommandLine::read(words) {
        Ok(CommandLine { command: Some(command), api, .. }) => {
            command_line::run(command, api, &mut Console::of_this_process(&mut out, &mut err)).await.into()
        }
        Ok(CommandLine { command: None, stack, .. }) => run_stack(stack).await,
        Err(error) => {
            let _ = error.print(); // whom else to tell?
            Exit::from(&error).into()
        }
    }
}

/// Does what [`run`] does with a command, but says what there is to say to `out` and `err`. Without a command it does
/// nothing.
pub async fn run_command(
    words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Exit {
    match CommandLine::read(words) {
        Ok(CommandLine { command: Some(command), api, .. }) => {
            command_line::run(command, api, &mut Console::unwatched(out, err)).await
        }
        Ok(CommandLine { command: None, .. }) => Exit::Usage,
        Err(error) => {
            let exit = Exit::from(&error);
            let output: &mut dyn Write = if exit == Exit::Usage { err } else { out };
            let _ = write!(output, "{error}");
            exit
        }
    }
}

/// Runs the stack until Ctrl-C or SIGTERM, or until a part of it breaks. Tells what it does on standard output.
async fn run_stack(options: Options) -> ExitCode {
    match run_until_stopped(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dray: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run_until_stopped(options: Options) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut stopped = async move || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };

    let listener = bind(Ipv4Addr::LOCALHOST.into(), options.port).await?;
    let environment = Environment::of_this_process()?;
    let mut stack = tokio::select! {
        stack = Stack::start(&options, environment, listener, &|step| println!("{step}")) => stack?,
        () = stopped() => return Ok(()),
    };
    let aws_env = options.data_dir.join(aws_env::FILE);
    println!("\nready: {}\n\n{}\n", stack.url(), first_steps(stack.url(), &aws_env));
    if let Some(url) = stack.aws_url_for_containers() {
        println!("Containers, and whoever else reaches it, may use the local AWS at {url} (docs/sam-local.md).\n");
    }
    let broken = tokio::select! {
        error = stack.broken() => Some(error),
        () = stopped() => None,
    };
    println!("stopping");
    stack.stop().await?;
    broken.map_or(Ok(()), Err)
}

async fn bind(address: IpAddr, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((address, port)).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrNotAvailable => anyhow::anyhow!("{address} is no address of this machine"),
        _ => anyhow::Error::new(error)
            .context(format!("port {port} is taken: give another with --port, or stop what listens there")),
    })
}

/// Reads an address for `--bind`. "All of them" is none: callers are known by the address that they call.
fn address(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(address) if !address.is_unspecified() => Ok(address),
        Ok(_) | Err(_) => Err("it must be one address of this machine, as 172.17.0.1".to_owned()),
    }
}

fn first_steps(url: &str, aws_env: &Path) -> String {
    let aws_env = aws_env.display();
    format!(
        "Try a first job:\n\n  curl -X POST {url}/jobs -H 'Content-Type: application/json' \\\n    \
         -d '{{\"type\":\"csv-generation\",\"payload\":{{\"name\":\"Alice\",\"score\":95}}}}'\n\n\
         and look at it by its id:\n\n  curl {url}/jobs/<job_id>\n\n\
         The local AWS, for boto3 and the AWS CLI (docs/local-aws.md):\n\n  . {aws_env}\n\nCtrl-C ends everything. What happens to jobs:"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01938e5c-7a00-7000-8000-000000000000";

    fn read(words: &[&str]) -> Result<CommandLine, clap::Error> {
        CommandLine::read(["dray"].iter().chain(words))
    }

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn what_every_command_takes_may_stand_anywhere() {
        let options = ["--url", "http://localhost:1", "--token", "t", "--json"];
        let command = ["jobs", "get", ID];
        for place in 0..=command.len() {
            let line = [&command[..place], &options[..], &command[place..]].concat();
            let api = read(&line).unwrap_or_else(|error| panic!("{error}")).api;
            let expected = r#"Api { url: Some("http://localhost:1"), token: Some("t"), json: true }"#;
            assert_eq!(format!("{api:?}"), expected, "{line:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_a_usage_error() {
        let wrong = [
            "--prot 3",
            "--port 3 jobs list",
            "--data-dir x jobs list",
            "--allow-host x jobs list",
            "--functions x jobs list",
            "--bind 172.17.0.1 jobs list",
            "--bind 0.0.0.0",
            "--bind ::",
            "--bind docker0",
            "--url http://localhost:1",
            "--json",
            "jobs",
            "jobs lst",
            "jobs list --status done",
            "jobs list --limit 0",
            "jobs list --limit 3 --all",
            "jobs list --created-after yesterday",
            "jobs get 42",
            "jobs reschedule ID",
            "jobs reschedule ID --delay 5 --at 2030-01-31T09:00:00Z",
            "jobs submit t {} --delay 5 --run-at 2030-01-31T09:00:00Z",
            "jobs submit t {} --delay 1w",
            "jobs retry-all --per-second 0",
            "jobs cancel-all --per-second 5",
            "schedules put x",
            "schedules put x --from y --cron z",
            "subscriptions put x --type t",
            "events publish t",
            "stats --window 72h",
            "completions cmd",
            "doctor --region",
            "doctor dray",
        ];
        for line in wrong {
            let line = line.replace("ID", ID);
            let error = read(&line.split(' ').collect::<Vec<_>>()).expect_err(&line);
            assert_eq!(Exit::from(&error), Exit::Usage, "{line}");
        }
        for line in ["--help", "--version", "jobs --help", "help jobs submit"] {
            let error = read(&line.split(' ').collect::<Vec<_>>()).expect_err(line);
            assert_eq!(Exit::from(&error), Exit::Done, "{line}");
        }
    }

    /// The words of a line as a shell takes them, as far as the documentation needs it.
    fn words_of(line: &str) -> Vec<String> {
        let quoted = |(number, part): (usize, &str)| {
            if number % 2 == 1 { part.replace(' ', "\0") } else { part.to_owned() }
        };
        let line: String = line.split('\'').enumerate().map(quoted).collect();
        line.split_whitespace().map(|word| word.replace('\0', " ")).collect()
    }

    #[test]
    fn every_command_in_the_documentation_is_one() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let docs = std::fs::read_dir(root.join("docs")).expect("the folder").map(|page| page.expect("a page").path());
        let mut commands = 0;
        for page in docs.chain([root.join("README.md")]).filter(|page| page.extension() == Some("md".as_ref())) {
            let text = std::fs::read_to_string(&page).expect("a page");
            for line in text.lines().filter_map(|line| line.trim().strip_prefix("cargo run -- ")) {
                let line = line.replace("<job_id>", ID).replace("$JOB_ID", ID);
                // Without comments, pipes and redirections, which are the shell's.
                let line =
                    line.split(" #").next().unwrap_or_default().split(['|', '<', '>']).next().unwrap_or_default();
                let words = words_of(line);
                if let Err(error) = read(&words.iter().map(String::as_str).collect::<Vec<_>>()) {
                    panic!("{}: {line}: {error}", page.display());
                }
                commands += 1;
            }
        }
        assert!(commands > 20, "{commands}");
    }
}
