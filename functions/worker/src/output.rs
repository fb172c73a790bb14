//! Where jobs put the files they make.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use shared::chain::Chain;
use shared_aws::clients::SdkConfig;
#[cfg(debug_assertions)]
use shared_aws::kill_points::{Guarded, KillPoints};
use shared_aws::s3::Bucket;
use shared_aws::settings::{Lookup, OutputUrl};

use crate::JobError;

/// A place for files.
#[async_trait]
pub trait Outputs: Send + Sync {
    /// Writes a file whole, unless there is one of this name already: then an earlier attempt has written it, and it is
    /// left as it is. Gives its address: `s3://bucket/key`, or the folder's own name and the file's
    /// (`output/report.csv`), which does not tell where on the machine the folder is.
    async fn create(&self, file_name: &str, content: Vec<u8>, content_type: &str) -> Result<String, JobError>;
}

/// The place at this address. In debug builds, with kill points around it if `KILL_POINTS` asks for it.
pub fn outputs_at(url: OutputUrl, config: &SdkConfig, lookup: Lookup<'_>) -> Arc<dyn Outputs> {
    let outputs: Arc<dyn Outputs> = match url {
        OutputUrl::Folder(path) => Arc::new(Folder(path)),
        OutputUrl::Bucket { name, prefix } => Arc::new(Bucket::new(config, name, prefix)),
    };
    #[cfg(debug_assertions)]
    if let Some(points) = KillPoints::read("worker", lookup) {
        return Arc::new(points.around(outputs));
    }
    let _ = lookup;
    outputs
}

#[cfg(debug_assertions)]
#[async_trait]
impl Outputs for Guarded<dyn Outputs> {
    async fn create(&self, file_name: &str, content: Vec<u8>, content_type: &str) -> Result<String, JobError> {
        self.points.pass("effect.before");
        let answer = self.inner.create(file_name, content, content_type).await;
        self.points.pass("effect.after");
        answer
    }
}

/// A folder on this machine.
struct Folder(PathBuf);

#[async_trait]
impl Outputs for Folder {
    async fn create(&self, file_name: &str, content: Vec<u8>, _: &str) -> Result<String, JobError> {
        create_in(self.0.clone(), file_name.to_owned(), content).await.map_err(|error| unwritten(&error))
    }
}

#[async_trait]
impl Outputs for Bucket {
    async fn create(&self, file_name: &str, content: Vec<u8>, content_type: &str) -> Result<String, JobError> {
        self.create(file_name, content, content_type).await.map_err(|error| unwritten(&error))
    }
}

fn unwritten(error: &anyhow::Error) -> JobError {
    JobError::retry("the output could not be written").because(Chain(error.as_ref()))
}

/// Writes a file into a folder, whole or not at all, without replacing one that is there. Gives `folder/file`.
pub async fn create_in(folder: PathBuf, file_name: String, content: Vec<u8>) -> anyhow::Result<String> {
    let written = tokio::task::spawn_blocking(move || create_blocking(&folder, &file_name, &content));
    written.await.context("the writing task ended early")?
}

fn create_blocking(folder: &Path, file_name: &str, content: &[u8]) -> anyhow::Result<String> {
    std::fs::create_dir_all(folder).context("failed to make the folder")?;
    // Under another name first: a process that dies half-way leaves no half of a file under the right one.
    let readable = std::fs::Permissions::from_mode(0o644);
    let mut part = tempfile::Builder::new().prefix(".part-").permissions(readable).tempfile_in(folder)?;
    part.write_all(content).context("failed to write")?;
    part.as_file().sync_all().context("failed to write")?;
    match part.persist_noclobber(folder.join(file_name)) {
        Ok(_) => {}
        Err(there) if there.error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).context("failed to name the file"),
    }
    let folder = folder.file_name().unwrap_or_default();
    Ok(Path::new(folder).join(file_name).display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_there_is_left_as_it_is() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("output");
        for content in ["first", "second"] {
            let name = create_in(folder.clone(), "a.csv".to_owned(), content.into()).await.expect("written");
            assert_eq!(name, "output/a.csv");
        }
        assert_eq!(std::fs::read_to_string(folder.join("a.csv")).expect("readable"), "first");
        assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 1, "nothing else is left");
    }
}
