//! The files of one tenant, apart from those of all others.

use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use shared::files::{FileError, FileName, FilePage, StoredFile, Upload};
use shared::id::Tenant;

use super::{Outputs, checked};
use crate::JobError;

/// Where the files of `tenant` are: below a folder of its own, which the jobs of others cannot name. The one tenant of a
/// deployment that does not tell its callers apart has the whole place.
pub fn outputs_of(tenant: &Tenant, outputs: &Arc<dyn Outputs>) -> Arc<dyn Outputs> {
    if *tenant == Tenant::only() {
        return Arc::clone(outputs);
    }
    // A tenant's name may have characters that a file's name must not have.
    let folder = format!("tenant-{}/", hex::encode(&Sha256::digest(tenant.as_str())[..16]));
    Arc::new(OfTenant { folder, outputs: Arc::clone(outputs) })
}

struct OfTenant {
    folder: String,
    outputs: Arc<dyn Outputs>,
}

impl OfTenant {
    fn within(&self, name: &FileName) -> Result<FileName, FileError> {
        let inner = FileName::parse(&format!("{}{name}", self.folder));
        inner.ok_or_else(|| FileError::NotNow("the name is too long".into()))
    }

    /// The name that its owner knows the file by.
    fn without(&self, name: &FileName) -> Option<FileName> {
        FileName::parse(name.as_str().strip_prefix(&self.folder)?)
    }
}

#[async_trait]
impl Outputs for OfTenant {
    async fn create(&self, file_name: &str, content: Vec<u8>, content_type: &str) -> Result<String, JobError> {
        let name = self.within(&checked(file_name)?)?;
        self.outputs.create(name.as_str(), content, content_type).await
    }

    async fn read(&self, name: &FileName, at_most: u64) -> Result<Option<Vec<u8>>, FileError> {
        self.outputs.read(&self.within(name)?, at_most).await
    }

    async fn list(&self, start: &str, after: Option<&str>, limit: usize) -> Result<FilePage, FileError> {
        let (start, after) = (format!("{}{start}", self.folder), after.map(|name| format!("{}{name}", self.folder)));
        let mut page = self.outputs.list(&start, after.as_deref(), limit).await?;
        let own = |file: StoredFile| Some(StoredFile { name: self.without(&file.name)?, ..file });
        page.files = page.files.into_iter().filter_map(own).collect();
        page.next = page.next.and_then(|name| name.strip_prefix(&self.folder).map(ToOwned::to_owned));
        Ok(page)
    }

    async fn delete(&self, names: &[FileName]) -> Result<(), FileError> {
        let names = names.iter().map(|name| self.within(name)).collect::<Result<Vec<_>, _>>()?;
        self.outputs.delete(&names).await
    }

    async fn begin(&self, name: &FileName, content_type: &str) -> Result<Upload, FileError> {
        self.outputs.begin(&self.within(name)?, content_type).await
    }

    async fn append(&self, upload: &Upload, number: u32, content: Vec<u8>) -> Result<(), FileError> {
        self.outputs.append(upload, number, content).await
    }

    async fn finish(&self, upload: &Upload, parts: u32) -> Result<String, FileError> {
        self.outputs.finish(upload, parts).await
    }
}
