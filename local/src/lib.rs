//! The whole of Dray on this machine: the functions as real Lambda processes, and `template.yaml` deployed to a local
//! AWS. What the template says is what runs; there is no second description of it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to the person who started it")]

mod aws_env;
mod cloudformation;
pub mod engine;
mod environment;
mod follow;
mod foreign;
mod functions;
mod jobs_command;
mod proxy;
pub mod python;
mod stack;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

pub use crate::environment::Environment;
pub use crate::stack::Stack;

use crate::jobs_command::JobsCommand;

/// Dray on this machine: without a command, runs the whole of it: functions, table, queues and schedule
#[derive(Clone, Parser)]
#[command(name = "dray", version, args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    stack: Options,
}

#[derive(Clone, Subcommand)]
enum Command {
    /// Looks at the jobs of a running Dray, and acts on them
    Jobs(JobsCommand),
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
    /// Another name by which the API may be called on this machine, as `host.docker.internal`; can be given several times
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
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

/// Does what the command line asks for: runs the stack, or a command on a running one.
pub async fn run(command_line: CommandLine) -> ExitCode {
    match command_line.command {
        Some(Command::Jobs(command)) => jobs_command::run(command).await,
        None => run_stack(command_line.stack).await,
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

    let listener = bind(options.port).await?;
    let environment = Environment::of_this_process()?;
    let mut stack = tokio::select! {
        stack = Stack::start(&options, environment, listener, &|step| println!("{step}")) => stack?,
        () = stopped() => return Ok(()),
    };
    let aws_env = options.data_dir.join(aws_env::FILE);
    println!("\nready: {}\n\n{}\n", stack.url(), first_steps(stack.url(), &aws_env));
    let broken = tokio::select! {
        error = stack.broken() => Some(error),
        () = stopped() => None,
    };
    println!("stopping");
    stack.stop().await?;
    broken.map_or(Ok(()), Err)
}

async fn bind(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("port {port} is taken: give another with --port, or stop what listens there"))
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
