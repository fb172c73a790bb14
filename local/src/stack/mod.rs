//! The whole stack: built, started, deployed, served.

pub mod aws_env;
pub mod cloudformation;
pub mod environment;
pub mod first_start;
pub mod follow;
pub mod foreign;
pub mod functions;
pub mod proxy;
pub mod sam;
pub mod settings;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::StatusCode;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::Options;
use crate::engine::{self, Engine, Folders};
use crate::stack::environment::Environment;
use crate::stack::follow::follow;
use crate::stack::foreign::Guard;

/// A running stack. Dropped, it ends at once, and what happened since its start may be forgotten; [`Stack::stop`] keeps it.
pub struct Stack {
    engine: Engine,
    /// The proxy and the reader of logs, neither of which ends by itself.
    tasks: JoinSet<anyhow::Error>,
    url: String,
    outputs: BTreeMap<String, String>,
    /// Held for as long as the stack uses its data folder.
    _lock: File,
}

impl Stack {
    /// Starts the stack and serves its API on `listener`. Says what it does by `report`: while it starts, and then one
    /// line for each event of a job.
    pub async fn start(
        options: &Options,
        environment: Environment,
        listener: TcpListener,
        report: &(impl Fn(&str) + Clone + Send + Sync + 'static),
    ) -> anyhow::Result<Self> {
        let working_dir = std::env::current_dir().context("there is no working directory")?;
        let template =
            std::fs::read_to_string(workspace().join("template.yaml")).context("failed to read template.yaml")?;
        // First of all: the engine would go on with the jobs of an earlier run.
        settings::check(&template, &environment, &working_dir)?;
        let folders = Folders::below(&options.data_dir)?;
        let lock = lock(&folders.data_dir)?;
        let address = listener.local_addr().context("the API has no address")?;
        let mut listeners = vec![listener];
        if let Some(also_at) = options.bind {
            listeners.push(crate::bind(also_at, address.port()).await?);
        }

        let built = match &options.functions {
            None => {
                report("building the functions");
                functions::build(&workspace()).await?
            }
            Some(folder) => {
                report(&format!("taking the functions from {}", folder.display()));
                functions::built_in(folder, &workspace()).await?
            }
        };
        for function in &built.functions {
            report(&format!("  {:<8} {:>6.2} MB zipped", function.name, megabytes(function.zip.len())));
        }
        let packages = engine::install(&built.target_dir, report).await?;
        report("starting the local AWS");
        let detour = options.detour.as_ref();
        let detour_url = detour.map(|detour| detour.url.as_str());
        let engine = Engine::start_also_at(options.bind, &packages, &folders, detour_url).await?;
        if let Some(detour) = detour {
            detour.leads_to.get_or_init(|| engine.url().to_owned());
        }
        report("deploying template.yaml");
        let parameters = environment.parameters(&working_dir);
        let deployed = cloudformation::deploy(engine.url(), &template, &built.functions, &parameters).await;
        let outputs = deployed.map_err(|error| {
            let refused = environment.refused(&format!("{error:#}"));
            refused.map_or(error, anyhow::Error::msg)
        })?;
        report("starting each function once");
        first_start::check(engine.url(), &outputs).await?;

        let url = format!("http://{address}");
        aws_env::write(&folders.data_dir, engine.url(), &url, &outputs)?;
        sam::write(&folders.data_dir, engine.url(), engine.other_url().as_deref(), &outputs).await?;
        let api_url = api_url(engine.url(), &outputs)?;
        let guard = Guard::new(options.allow_host.clone(), options.bind);
        let mut tasks = JoinSet::new();
        for listener in listeners {
            let (api_url, guard) = (api_url.clone(), guard.clone());
            tasks.spawn(async move {
                let ended = proxy::serve(listener, api_url, guard).await;
                anyhow::anyhow!("the API is no longer served ({ended:?})")
            });
        }
        let tell = report.clone();
        let logs = folders.logs;
        tasks.spawn(async move {
            follow(logs, tell).await;
            anyhow::anyhow!("the logs are no longer read")
        });
        let stack = Self { engine, tasks, url, outputs, _lock: lock };
        stack.check_health().await?;
        Ok(stack)
    }

    /// Where the API is: `http://127.0.0.1:3000`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the local AWS is.
    pub fn aws_url(&self) -> &str {
        self.engine.url()
    }

    /// Where containers reach the local AWS, if they do.
    pub fn aws_url_for_containers(&self) -> Option<String> {
        self.engine.other_url()
    }

    /// The outputs of the template by name: `QueueUrl`, say.
    pub fn outputs(&self) -> &BTreeMap<String, String> {
        &self.outputs
    }

    /// Returns when a part of the stack breaks.
    pub async fn broken(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.engine.ended() => error,
            ended = self.tasks.join_next() => match ended {
                Some(Ok(error)) => error,
                Some(Err(error)) => anyhow::Error::new(error),
                None => anyhow::anyhow!("nothing runs any more"),
            },
        }
    }

    /// Ends everything, with jobs and messages kept for the next start from the same data folder.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.tasks.shutdown().await;
        self.engine.stop().await
    }

    /// Asks the API how it is, the first time that a function of the stack runs: not all that is wrong with a function
    /// shows when it is deployed. On a busy machine its first looks at table and queues may take too long.
    async fn check_health(&self) -> anyhow::Result<()> {
        for looks_left in (0..HEALTH_LOOKS).rev() {
            let health = reqwest::get(format!("{}/health", self.url)).await.context("the API does not answer")?;
            let status = health.status();
            if status.is_success() {
                break;
            }
            if status != StatusCode::SERVICE_UNAVAILABLE || looks_left == 0 {
                bail!("the API is not well: {}", health.text().await.unwrap_or_default());
            }
            tokio::time::sleep(BETWEEN_HEALTH_LOOKS).await;
        }
        Ok(())
    }
}

/// How often the API may say that it cannot reach something, before that counts.
const HEALTH_LOOKS: u32 = 10;

/// How long it is left alone after that. Longer than it tells the same again.
const BETWEEN_HEALTH_LOOKS: Duration = Duration::from_millis(1100);

/// This repository.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn lock(data_dir: &Path) -> anyhow::Result<File> {
    let file = File::create(data_dir.join("lock")).context("failed to write to the data folder")?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("{} is in use by another dray: stop it, or give another --data-dir", data_dir.display())
        }
        Err(TryLockError::Error(error)) => Err(error).context("failed to lock the data folder"),
    }
}

/// Where the engine serves the stack's HTTP API by path, whatever the `Host` header says.
fn api_url(engine_url: &str, outputs: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let url = outputs.get("ApiUrl").context("template.yaml has no output ApiUrl")?;
    let host = url.split("://").nth(1).and_then(|rest| rest.split('.').next());
    let api_id = host.context("the output ApiUrl is no address")?;
    Ok(api_url_of(engine_url, api_id))
}

/// Where the engine serves the HTTP API of this id.
pub fn api_url_of(engine_url: &str, api_id: &str) -> String {
    format!("{engine_url}/_aws/execute-api/{api_id}/$default")
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1_000_000.0
}
