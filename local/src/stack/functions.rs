//! The functions, built from this workspace or by somebody else, and packed as Lambda wants them.

use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::process::Command;
use zip::CompressionMethod;
use zip::read::ZipArchive;
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

/// Packs the functions that are in `folder` as `sam build` leaves them (`ApiFunction/bootstrap`), as `cargo lambda build`
/// does (`api/bootstrap`), or as zip files (`ApiFunction.zip`, `api.zip`, `api/bootstrap.zip`).
pub async fn built_in(folder: &Path, workspace: &Path) -> anyhow::Result<Built> {
    let folder = folder.to_owned();
    let packing = tokio::task::spawn_blocking(move || {
        ensure!(folder.is_dir(), "there is no folder {}: `sam build` makes .aws-sam/build", folder.display());
        NAMES.into_iter().map(|name| find(&folder, name)).collect::<anyhow::Result<Vec<_>>>()
    });
    let target_dir = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    Ok(Built { functions: packing.await.context("packing ended early")??, target_dir })
}

/// What `template.yaml` calls the function of this binary: `ApiFunction`.
fn logical_id(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    format!("{}{rest}Function", first.to_ascii_uppercase())
}

fn find(folder: &Path, name: &'static str) -> anyhow::Result<Function> {
    let logical_id = logical_id(name);
    let places = [
        format!("{logical_id}/bootstrap"),
        format!("{name}/bootstrap"),
        format!("{logical_id}.zip"),
        format!("{name}.zip"),
        format!("{name}/bootstrap.zip"),
    ];
    let Some(path) = places.iter().map(|place| folder.join(place)).find(|path| path.is_file()) else {
        bail!("{} has no {name}: one of {} must be there", folder.display(), places.join(", "));
    };
    let function = if path.extension().is_some_and(|extension| extension == "zip") {
        packed(name, &path)?
    } else {
        pack(name, &path)?
    };
    let code = bootstrap_of(&function.zip).with_context(|| format!("{} is no package", path.display()))?;
    runs_here(&code).with_context(|| format!("{} does not run on this machine", path.display()))?;
    Ok(function)
}

/// The function in a zip file that is ready to be uploaded.
fn packed(name: &'static str, path: &Path) -> anyhow::Result<Function> {
    let zip = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    let hash = hex::encode(&Sha256::digest(&zip)[..8]);
    Ok(Function { name, zip, file_name: format!("{name}-{hash}.zip") })
}

/// The first bytes of the program in a package: as many as say what it is.
fn bootstrap_of(zip: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut archive = ZipArchive::new(Cursor::new(zip)).context("it cannot be unpacked")?;
    let program = archive.by_name("bootstrap").context("it has no file called bootstrap")?;
    let mut start = vec![];
    program.take(HEADER as u64).read_to_end(&mut start).context("it cannot be unpacked")?;
    Ok(start)
}

/// As much of a program as says what machine it is for.
/// <https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html>
const HEADER: usize = 20;

/// The machines of Lambda: their numbers in a program's header, and what Rust and `template.yaml` call them.
const MACHINES: [(u16, &str, &str); 2] = [(62, "x86_64", "x86_64"), (183, "aarch64", "arm64")];

/// Whether a program that begins so is one of this machine.
fn runs_here(header: &[u8]) -> anyhow::Result<()> {
    let machine = header.get(18..HEADER).filter(|_| header.starts_with(b"\x7fELF"));
    let Some(&[low, high]) = machine else { bail!("it is no program of Linux") };
    let there = MACHINES.iter().find(|(number, ..)| *number == u16::from_le_bytes([low, high]));
    let here = MACHINES.iter().find(|(_, name, _)| *name == std::env::consts::ARCH);
    match (there, here) {
        (Some(there), Some(here)) if there == here => Ok(()),
        (Some((.., there)), Some((.., here))) => {
            bail!(
                "it is for {there}, and this machine is {here}: `sam build --parameter-overrides Architecture={here}` makes \
                 one that is"
            )
        }
        (None, _) => bail!("it is for a machine that Lambda does not have"),
        (_, None) => bail!("this machine is {}, which Lambda does not have", std::env::consts::ARCH),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The start of a program of Linux for the machine of this number.
    fn program(machine: u16) -> Vec<u8> {
        let mut header = vec![0; 64];
        header[..4].copy_from_slice(b"\x7fELF");
        header[18..20].copy_from_slice(&machine.to_le_bytes());
        header
    }

    fn of_this_machine() -> Vec<u8> {
        let here = MACHINES.iter().find(|(_, name, _)| *name == std::env::consts::ARCH);
        program(here.expect("a machine that Lambda has").0)
    }

    fn write(folder: &Path, place: &str, content: &[u8]) {
        let path = folder.join(place);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, content).expect("written");
    }

    fn zip_with(name: &str, content: &[u8]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(vec![]));
        zip.start_file(name, SimpleFileOptions::default()).expect("packed");
        zip.write_all(content).expect("packed");
        zip.finish().expect("packed").into_inner()
    }

    #[tokio::test]
    async fn functions_are_found_wherever_a_build_leaves_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let (program, zip) = (of_this_machine(), zip_with("bootstrap", &of_this_machine()));
        write(folder.path(), "ApiFunction/bootstrap", &program);
        write(folder.path(), "worker/bootstrap", &program);
        write(folder.path(), "SweeperFunction.zip", &zip);
        write(folder.path(), "events.zip", &zip);
        let built = built_in(folder.path(), Path::new("/workspace")).await.expect("all are there");
        assert_eq!(built.functions.iter().map(|function| function.name).collect::<Vec<_>>(), NAMES);
        for function in &built.functions {
            assert_eq!(bootstrap_of(&function.zip).expect("a package"), program[..HEADER], "{}", function.name);
        }
        assert_eq!(built.functions[3].zip, zip, "as it is");
    }

    #[tokio::test]
    async fn what_cannot_be_run_is_named_with_what_is_wrong() {
        let [other, here] = if cfg!(target_arch = "aarch64") { ["x86_64", "arm64"] } else { ["arm64", "x86_64"] };
        let foreign = program(if other == "arm64" { 183 } else { 62 });
        let for_another = format!("it is for {other}, and this machine is {here}");
        let cases: [(&str, Vec<u8>, &str); 7] = [
            ("other/bootstrap", of_this_machine(), "has no api: one of ApiFunction/bootstrap, api/bootstrap, "),
            ("ApiFunction/bootstrap", foreign.clone(), for_another.as_str()),
            ("api.zip", zip_with("bootstrap", &foreign), for_another.as_str()),
            ("api/bootstrap", program(243), "it is for a machine that Lambda does not have"),
            ("api/bootstrap", b"#!/bin/sh".to_vec(), "it is no program of Linux"),
            ("api.zip", b"no zip".to_vec(), "it cannot be unpacked"),
            ("api.zip", zip_with("main", &of_this_machine()), "it has no file called bootstrap"),
        ];
        for (place, content, expected) in cases {
            let folder = tempfile::tempdir().expect("a folder");
            write(folder.path(), place, &content);
            let error = built_in(folder.path(), Path::new("/workspace")).await.err().expect(place);
            let told = format!("{error:#}");
            assert!(told.contains(expected) && told.contains(&*folder.path().to_string_lossy()), "{place}: {told}");
        }
        let error = built_in(Path::new("/nowhere"), Path::new("/workspace")).await.err().expect("no folder");
        assert!(error.to_string().starts_with("there is no folder /nowhere"), "{error}");
    }
}
