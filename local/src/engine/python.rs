//! Python packages that the local stack runs, kept apart from the user's own.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest, Sha256};
use tokio::process::Command;
use tokio::sync::Mutex;

/// Held while this process installs something: two at once would use the same folder.
static INSTALLING: Mutex<()> = Mutex::const_new(());

/// Puts the packages of `requirements`, all pinned with their hashes, into a folder of their own under `target_dir`,
/// unless they are there; `downloading` is called if they are not. Gives the folder, which is to be Python's path.
///
/// Fails if `python3` is not Python 3.10 or later with pip, or if pip cannot reach its package index.
pub async fn install(
    name: &str,
    requirements: &str,
    target_dir: &Path,
    downloading: &(dyn Fn() + Sync),
) -> anyhow::Result<PathBuf> {
    check_python().await?;
    let hash = hex::encode(&Sha256::digest(requirements)[..6]);
    let packages = target_dir.join(format!("{name}-{hash}"));
    let _alone = INSTALLING.lock().await;
    if packages.exists() {
        return Ok(packages);
    }
    downloading();
    // Under another name first, so that an interrupted download is not taken for a whole one.
    let part = empty_folder(target_dir.join(format!("{name}-part-{}", std::process::id())))?;
    let list = part.join("requirements.txt");
    std::fs::write(&list, requirements).context("failed to write below the target folder")?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-compile"]);
    pip.args(["--no-warn-conflicts", "--root-user-action=ignore", "--require-hashes", "--only-binary", ":all:"]);
    pip.arg("--target").arg(part.join("packages")).arg("--requirement").arg(&list);
    let status = pip.stdin(Stdio::null()).kill_on_drop(true).status().await.context("failed to run pip")?;
    ensure!(status.success(), "pip could not install {name}; is the Python package index within reach?");
    // Another process may have been faster; then that one's serves as well.
    if std::fs::rename(part.join("packages"), &packages).is_err() && !packages.exists() {
        bail!("failed to move {name} to {}", packages.display());
    }
    std::fs::remove_dir_all(&part).context("failed to tidy up the target folder")?;
    Ok(packages)
}

async fn check_python() -> anyhow::Result<()> {
    let needed = "Python 3.10 or later with pip is needed, as python3";
    let check = "import sys, pip; sys.exit(sys.version_info < (3, 10))";
    let status = Command::new("python3").args(["-c", check]).stderr(Stdio::null()).status().await.context(needed)?;
    ensure!(status.success(), "{needed}");
    Ok(())
}

fn empty_folder(path: PathBuf) -> anyhow::Result<PathBuf> {
    let _ = std::fs::remove_dir_all(&path); // what a dead process of this number left
    std::fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
    Ok(path)
}
