//! The functions, built from this workspace and packed as Lambda wants them.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::process::Command;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// The binaries that `template.yaml` deploys.
pub(crate) const NAMES: [&str; 4] = ["api", "worker", "sweeper", "events"];

/// One function, packed.
pub struct Function {
    /// The name of its binary.
    pub name: &'static str,
    /// A zip file with the binary as `bootstrap`.
    pub zip: Vec<u8>,
    /// The name of the zip: another for other code.
    pub file_name: String,
}

/// What a build leaves.
pub struct Built {
    /// The functions.
    pub functions: Vec<Function>,
    /// Cargo's target folder.
    pub target_dir: PathBuf,
}

/// Builds and packs the functions, in the profile that this program itself was built in. Cargo says on standard error
/// what it does.
pub async fn build(workspace: &Path) -> anyhow::Result<Built> {
    let executables = cargo_build(workspace).await?;
    let target_dir = executables[0].1.ancestors().nth(2).context("no target folder")?.to_owned();
    let packing = tokio::task::spawn_blocking(move || {
        executables.iter().map(|(name, path)| pack(name, path)).collect::<anyhow::Result<Vec<_>>>()
    });
    Ok(Built { functions: packing.await.context("packing ended early")??, target_dir })
}

/// A line of Cargo's `--message-format=json`, as far as it matters here.
#[derive(Deserialize)]
struct CargoMessage {
    reason: String,
    target: Option<CargoTarget>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct CargoTarget {
    name: String,
}

async fn cargo_build(workspace: &Path) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // The whole workspace's features, so that what `cargo test` has built serves here, and the other way round.
    command.args(["build", "--workspace", "--message-format=json-render-diagnostics"]);
    command.args(NAMES.iter().flat_map(|name| ["--bin", name]));
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let cargo = command.current_dir(workspace).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
    let output = cargo.context("failed to start cargo")?.wait_with_output().await.context("failed to run cargo")?;
    ensure!(output.status.success(), "the functions do not build");

    let messages: Vec<CargoMessage> =
        String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let find = |name: &'static str| {
        let is_it = |message: &&CargoMessage| message.target.as_ref().is_some_and(|target| target.name == name);
        let built = messages.iter().filter(|message| message.reason == "compiler-artifact").filter(is_it);
        let path = built.filter_map(|message| message.executable.clone()).next_back();
        path.map(|path| (name, path)).with_context(|| format!("cargo built no {name}"))
    };
    NAMES.into_iter().map(find).collect()
}

fn pack(name: &'static str, executable: &Path) -> anyhow::Result<Function> {
    let code = std::fs::read(executable).with_context(|| format!("failed to read {}", executable.display()))?;
    let fast = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).compression_level(Some(1));
    let mut zip = ZipWriter::new(Cursor::new(vec![]));
    zip.start_file("bootstrap", fast.unix_permissions(0o755)).context("failed to pack")?;
    zip.write_all(&code).context("failed to pack")?;
    let zip = zip.finish().context("failed to pack")?.into_inner();
    let hash = hex::encode(&Sha256::digest(&code)[..8]);
    Ok(Function { name, zip, file_name: format!("{name}-{hash}.zip") })
}
