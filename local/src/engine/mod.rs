//! MiniStack, the local AWS: installed under the target folder, run as a process of its own.

pub mod python;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStderr, ChildStdin, Command};

/// MiniStack and all that it needs, each version pinned with its hashes.
const REQUIREMENTS: &str = include_str!("../../requirements.txt");

/// Starts it, and ends it with us.
const LAUNCHER: &str = include_str!("engine.py");

/// A running engine. Dropped, it is killed at once, with every process that it started.
pub struct Engine {
    child: Child,
    /// Open for as long as the engine shall run. Held apart from the child, whose `wait` would close it.
    lifeline: Option<ChildStdin>,
    group: Pid,
    url: String,
    also_at: Option<SocketAddr>,
}

/// Where an engine keeps what it has.
#[derive(Clone, Debug)]
pub struct Folders {
    /// State between runs.
    pub data_dir: PathBuf,
    /// Where functions write their logs; see `LOG_DIR`.
    pub logs: PathBuf,
    /// Where tests say at which points a function's process shall die; see `KILL_POINTS`. Debug builds only.
    pub kill_points: PathBuf,
}

impl Folders {
    /// Those of the data folder `data_dir`, made if they are not there.
    pub fn below(data_dir: &Path) -> anyhow::Result<Self> {
        let data_dir = std::path::absolute(data_dir).context("the data folder has no path")?;
        let logs = data_dir.join("logs");
        std::fs::create_dir_all(&logs).with_context(|| format!("failed to make {}", logs.display()))?;
        let kill_points = data_dir.join("kill-points");
        Ok(Self { data_dir, logs, kill_points })
    }
}

impl Engine {
    /// Starts the engine that [`install`] put at `packages`, and waits until it answers.
    /// The functions reach it at its own address or, for tests that want to come between, at `functions_reach_it_at`.
    pub async fn start(
        packages: &Path,
        folders: &Folders,
        functions_reach_it_at: Option<&str>,
    ) -> anyhow::Result<Self> {
        Self::start_also_at(None, packages, folders, functions_reach_it_at).await
    }

    /// The same, listening on this address of the machine as well as on 127.0.0.1, on the same port. Whoever reaches the
    /// address may use the engine.
    pub async fn start_also_at(
        address: Option<IpAddr>,
        packages: &Path,
        folders: &Folders,
        functions_reach_it_at: Option<&str>,
    ) -> anyhow::Result<Self> {
        let port = port_of(&folders.data_dir).await?;
        let url = format!("http://127.0.0.1:{port}");
        let mut command = Command::new("python3");
        command.args(["-c", LAUNCHER]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true).env_clear();
        // The functions inherit all this, and need some of it: the address, the log folder, and where certificates are.
        for inherited in ["PATH", "HOME", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
            if let Some(value) = std::env::var_os(inherited) {
                command.env(inherited, value);
            }
        }
        let in_data_dir = |name: &str| folders.data_dir.join(name);
        std::fs::create_dir_all(in_data_dir("tmp")).context("failed to make the data folder")?;
        command.env("PYTHONPATH", packages).env("TMPDIR", in_data_dir("tmp")).env("LOG_DIR", &folders.logs);
        command.env("BIND_HOST", "127.0.0.1").env("MINISTACK_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string());
        command.env("AWS_ENDPOINT_URL", functions_reach_it_at.unwrap_or(&url)).env("LOG_LEVEL", "ERROR");
        command.env("KILL_POINTS", &folders.kill_points);
        let also_at = address.map(|address| SocketAddr::new(address, port));
        command.envs(also_at.map(|address| ("ALSO_LISTEN_AT", address.to_string())));
        command.env("IOT_MTLS_ENABLED", "0").env("SFTP_ENABLED", "0");
        command.env("PERSIST_STATE", "1").env("STATE_DIR", in_data_dir("state"));
        command.env("S3_PERSIST", "1").env("S3_DATA_DIR", in_data_dir("s3"));

        let mut child = command.spawn().context("failed to start python3")?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = id.context("the engine ended at once")?;
        let (lifeline, stderr) = (child.stdin.take(), child.stderr.take());
        let mut engine = Self { child, lifeline, group, url, also_at };
        engine.wait_until_ready(stderr).await?;
        Ok(engine)
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its other address, if it has one.
    pub fn other_url(&self) -> Option<String> {
        self.also_at.map(|address| format!("http://{address}"))
    }

    /// Returns when the engine ends without having been asked to.
    pub async fn ended(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => anyhow::anyhow!("the local AWS engine ended unexpectedly ({status})"),
            Err(error) => anyhow::Error::new(error).context("the local AWS engine cannot be watched"),
        }
    }

    /// Asks the engine to save its state and end, and sees to it that it does.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.lifeline.take());
        let ended = tokio::time::timeout(Duration::from_secs(15), self.child.wait()).await;
        ensure!(ended.is_ok(), "the local AWS engine did not save its state in time");
        Ok(())
    }

    async fn wait_until_ready(&mut self, stderr: Option<ChildStderr>) -> anyhow::Result<()> {
        let mut stderr = stderr.context("no standard error")?;
        let ready = format!("{}/_ministack/ready", self.url);
        for _ in 0..300 {
            if reqwest::get(&ready).await.is_ok_and(|answer| answer.status().is_success()) {
                // From here on nobody reads what it says, but it must be able to say it.
                tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
                return Ok(());
            }
            if self.child.try_wait().context("the local AWS engine cannot be watched")?.is_some() {
                let mut said = String::new();
                stderr.read_to_string(&mut said).await.unwrap_or_default();
                bail!("the local AWS engine does not start:\n{}", said.trim());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the local AWS engine does not answer at {}", self.url)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The functions' processes are in its group, and would outlive it while they are busy.
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

/// Puts MiniStack under `target_dir`, unless it is there.
pub async fn install(target_dir: &Path, report: &(dyn Fn(&str) + Sync)) -> anyhow::Result<PathBuf> {
    python::install("ministack", REQUIREMENTS, target_dir, &|| {
        report("downloading MiniStack, the local AWS (30 MB, once)");
    })
    .await
}

/// The port that the state in `data_dir` belongs to: addresses with the port in them are part of the state.
async fn port_of(data_dir: &Path) -> anyhow::Result<u16> {
    let file = data_dir.join("engine-port");
    if let Ok(port) = std::fs::read_to_string(&file) {
        let port = port.trim().parse().with_context(|| format!("{} does not hold a port", file.display()))?;
        TcpListener::bind(("127.0.0.1", port)).await.with_context(|| {
            format!(
                "port {port}, on which {} was made, is taken: stop what listens there, or give another --data-dir",
                data_dir.display()
            )
        })?;
        return Ok(port);
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port is free")?;
    let port = listener.local_addr().context("no port is free")?.port();
    std::fs::write(&file, port.to_string()).context("failed to write to the data folder")?;
    Ok(port)
}
