//! Where jobs put the files they make.

pub mod contract;
mod folder;
mod of_tenant;

use std::sync::Arc;

use async_trait::async_trait;
use shared::ports::files::{FileError, FileName, FilePage, Upload};
use shared::values::chain::Chain;
use shared_aws::clients::SdkConfig;
#[cfg(debug_assertions)]
use shared_aws::kill_points::{Guarded, KillPoints};
use shared_aws::s3::Bucket;
use shared_aws::settings::{Lookup, OutputUrl};

pub(crate) use self::folder::{Folder, create_in};
pub(crate) use self::of_tenant::outputs_of;
use crate::JobError;

/// A place for files, all of them below one folder or one prefix: no name leads out of it.
#[async_trait]
pub trait Outputs: Send + Sync {
    /// Writes a file whole, unless there is one of this name already: then an earlier attempt has written it, and it is
    /// left as it is. Gives its address: `s3://bucket/key`, or the folder's own name and the file's
    /// (`output/report.csv`), which does not tell where on the machine the folder is.
    async fn create(&self, file_name: &str, content: Vec<u8>, content_type: &str) -> Result<String, JobError>;

    /// What is in a file; `None` if there is no such file. One that is larger than `at_most` bytes is not read.
    async fn read(&self, name: &FileName, at_most: u64) -> Result<Option<Vec<u8>>, FileError>;

    /// The files whose name starts with `start` (`""`: all) and comes after `after`, by their names in the order of
    /// their bytes, `limit` at most (1 to 1,000). A file whose name is not a [`FileName`] is not one of a job's, and
    /// passed over.
    async fn list(&self, start: &str, after: Option<&str>, limit: usize) -> Result<FilePage, FileError>;

    /// Deletes these files. Those that are not there are none to delete.
    async fn delete(&self, names: &[FileName]) -> Result<(), FileError>;

    /// Begins a file that is too large to be held in memory, or takes longer than one worker has time. Nothing is to be
    /// seen under its name before it is finished.
    async fn begin(&self, name: &FileName, content_type: &str) -> Result<Upload, FileError>;

    /// Writes one part of it, numbered from 1 to [`shared::ports::files::MOST_PARTS`], in place of any that was written under
    /// this number before: to do it twice does no harm. All but the last are at least
    /// [`shared::ports::files::SMALLEST_PART`] bytes long.
    async fn append(&self, upload: &Upload, number: u32, content: Vec<u8>) -> Result<(), FileError>;

    /// Makes the file of its first `parts` parts, unless there is one of its name already, which is left as it is.
    /// Gives its address as [`Self::create`] does. To do it again does no harm, and gives the address again.
    async fn finish(&self, upload: &Upload, parts: u32) -> Result<String, FileError>;
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

impl From<FileError> for JobError {
    fn from(error: FileError) -> Self {
        match &error {
            FileError::NotNow(_) => Self::retry(error.to_string()).because(Chain(&error)),
            FileError::Gone => Self::retry(error.to_string()),
            FileError::TooLarge(_) | FileError::PartTooSmall => Self::give_up(error.to_string()),
        }
    }
}

/// The name, for whoever has it only as text.
fn checked(file_name: &str) -> Result<FileName, JobError> {
    FileName::parse(file_name)
        .ok_or_else(|| JobError::give_up("the output would have a wrong name").detail(FileName::FORM))
}

fn unwritten(error: &FileError) -> JobError {
    JobError::retry("the output could not be written").because(Chain(error))
}

#[async_trait]
impl Outputs for Bucket {
    async fn create(&self, file_name: &str, content: Vec<u8>, content_type: &str) -> Result<String, JobError> {
        let name = checked(file_name)?;
        self.create(name.as_str(), content, content_type).await.map_err(|error| unwritten(&error))
    }

    async fn read(&self, name: &FileName, at_most: u64) -> Result<Option<Vec<u8>>, FileError> {
        self.read(name.as_str(), at_most).await
    }

    async fn list(&self, start: &str, after: Option<&str>, limit: usize) -> Result<FilePage, FileError> {
        self.list(start, after, limit).await
    }

    async fn delete(&self, names: &[FileName]) -> Result<(), FileError> {
        self.delete(names).await
    }

    async fn begin(&self, name: &FileName, content_type: &str) -> Result<Upload, FileError> {
        self.begin(name.clone(), content_type).await
    }

    async fn append(&self, upload: &Upload, number: u32, content: Vec<u8>) -> Result<(), FileError> {
        self.append(upload, number, content).await
    }

    async fn finish(&self, upload: &Upload, parts: u32) -> Result<String, FileError> {
        self.finish(upload, parts).await
    }
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

    async fn read(&self, name: &FileName, at_most: u64) -> Result<Option<Vec<u8>>, FileError> {
        self.inner.read(name, at_most).await
    }

    async fn list(&self, start: &str, after: Option<&str>, limit: usize) -> Result<FilePage, FileError> {
        self.inner.list(start, after, limit).await
    }

    async fn delete(&self, names: &[FileName]) -> Result<(), FileError> {
        self.points.pass("delete.before");
        let answer = self.inner.delete(names).await;
        self.points.pass("delete.after");
        answer
    }

    async fn begin(&self, name: &FileName, content_type: &str) -> Result<Upload, FileError> {
        self.points.pass("begin.before");
        let answer = self.inner.begin(name, content_type).await;
        self.points.pass("begin.after");
        answer
    }

    async fn append(&self, upload: &Upload, number: u32, content: Vec<u8>) -> Result<(), FileError> {
        self.points.pass("append.before");
        let answer = self.inner.append(upload, number, content).await;
        self.points.pass("append.after");
        answer
    }

    async fn finish(&self, upload: &Upload, parts: u32) -> Result<String, FileError> {
        self.points.pass("finish.before");
        let answer = self.inner.finish(upload, parts).await;
        self.points.pass("finish.after");
        answer
    }
}
