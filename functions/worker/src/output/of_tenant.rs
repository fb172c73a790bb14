//! The files of one tenant, apart from those of all others.

use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use shared::ports::files::{FileError, FileName, FilePage, StoredFile, Upload};
use shared::values::id::Tenant;

use super::{Outputs, checked};
use crate::JobError;

/// Where the files of `tenant` are: below a folder of its own, which the jobs of others cannot name. Those of the one
/// tenant of a deployment that does not tell its callers apart are below no folder; it does not reach into those of the
/// tenants that there are later.
pub fn outputs_of(tenant: &Tenant, outputs: &Arc<dyn Outputs>) -> Arc<dyn Outputs> {
    // A tenant's name may have characters that a file's name must not have.
    let folder = if *tenant == Tenant::only() {
        String::new()
    } else {
        format!("{FOLDER}{}/", hex::encode(&Sha256::digest(tenant.as_str())[..16]))
    };
    Arc::new(OfTenant { folder, outputs: Arc::clone(outputs) })
}

/// What the folders of tenants begin with.
const FOLDER: &str = "tenant-";

struct OfTenant {
    /// With its slash. Empty for the one tenant of a deployment that does not tell its callers apart.
    folder: String,
    outputs: Arc<dyn Outputs>,
}

impl OfTenant {
    /// The name of the file in the place of all. `None` if that would be a file of somebody else, or too long a name.
    fn within(&self, name: &FileName) -> Option<FileName> {
        let somebody_elses = self.folder.is_empty() && name.as_str().starts_with(FOLDER);
        FileName::parse(&format!("{}{name}", self.folder)).filter(|_| !somebody_elses)
    }

    /// The name that its owner knows the file by; `None` if it is somebody else's.
    fn without(&self, name: &FileName) -> Option<FileName> {
        let own = FileName::parse(name.as_str().strip_prefix(&self.folder)?)?;
        self.within(&own).map(|_| own)
    }
}

fn no_name() -> JobError {
    JobError::give_up("the file's name is too long, or begins like a tenant's folder")
}

#[async_trait]
impl Outputs for OfTenant {
    async fn create(&self, file_name: &str, content: Vec<u8>, content_type: &str) -> Result<String, JobError> {
        let name = self.within(&checked(file_name)?).ok_or_else(no_name)?;
        self.outputs.create(name.as_str(), content, content_type).await
    }

    async fn read(&self, name: &FileName, at_most: u64) -> Result<Option<Vec<u8>>, FileError> {
        match self.within(name) {
            Some(name) => self.outputs.read(&name, at_most).await,
            None => Ok(None),
        }
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
        let names: Vec<_> = names.iter().filter_map(|name| self.within(name)).collect();
        self.outputs.delete(&names).await
    }

    async fn begin(&self, name: &FileName, content_type: &str) -> Result<Upload, FileError> {
        let name = self.within(name).ok_or_else(|| FileError::NotNow("that is no name for it".into()))?;
        self.outputs.begin(&name, content_type).await
    }

    async fn append(&self, upload: &Upload, number: u32, content: Vec<u8>) -> Result<(), FileError> {
        self.outputs.append(upload, number, content).await
    }

    async fn finish(&self, upload: &Upload, parts: u32) -> Result<String, FileError> {
        self.outputs.finish(upload, parts).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Folder;

    fn name(text: &str) -> FileName {
        FileName::parse(text).expect("a name")
    }

    async fn names(outputs: &dyn Outputs) -> Vec<String> {
        let page = outputs.list("", None, 100).await.expect("answers");
        page.files.iter().map(|file| file.name.to_string()).collect()
    }

    #[tokio::test]
    async fn no_tenant_reaches_the_files_of_another_whatever_it_is_called() {
        let folder = tempfile::tempdir().expect("a folder");
        let all: Arc<dyn Outputs> = Arc::new(Folder(folder.path().to_owned()));
        let tenants = ["default", "acme", "beta"].map(|name| Tenant::named(name).expect("a name"));
        let places = tenants.each_ref().map(|tenant| outputs_of(tenant, &all));
        for (tenant, place) in tenants.iter().zip(&places) {
            place.create("report.csv", tenant.as_str().into(), "text/csv").await.expect("written");
        }
        let everything = names(&*all).await;
        assert_eq!(everything.len(), 3, "{everything:?}");
        for (tenant, place) in tenants.iter().zip(&places) {
            assert_eq!(names(&**place).await, ["report.csv"]);
            let content = place.read(&name("report.csv"), 100).await.expect("answers");
            assert_eq!(content.as_deref(), Some(tenant.as_str().as_bytes()));
            for file in everything.iter().filter(|file| file.contains('/')) {
                assert_eq!(place.read(&name(file), 100).await.expect("answers"), None, "{tenant} {file}");
                place.delete(&[name(file)]).await.expect("answers");
            }
        }
        assert_eq!(names(&*all).await, everything, "nobody has deleted anything of another");
    }

    #[tokio::test]
    async fn the_files_of_a_tenant_keep_the_contract() {
        let folder = tempfile::tempdir().expect("a folder");
        let all: Arc<dyn Outputs> = Arc::new(Folder(folder.path().to_owned()));
        for tenant in ["default", "acme"] {
            crate::output::contract::outputs(&*outputs_of(&Tenant::named(tenant).expect("a name"), &all)).await;
        }
    }
}
