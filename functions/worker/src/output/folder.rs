//! Files in a folder of this machine.
//!
//! A file comes to its name in one step, whole: until then it is `.part-…` beside it. What a process leaves of that
//! when it dies harms nobody, and `file-cleanup` removes it one day. Nothing here goes through a symbolic link below
//! the folder to read, to list or to delete.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use async_trait::async_trait;
use shared::ports::files::{FileError, FileName, FilePage, SMALLEST_PART, StoredFile, Upload};
use shared::values::chain::Chain;
use shared::values::time::Timestamp;
use tempfile::NamedTempFile;

use super::{Outputs, checked};
use crate::JobError;

/// A folder on this machine.
pub struct Folder(pub PathBuf);

#[async_trait]
impl Outputs for Folder {
    async fn create(&self, file_name: &str, content: Vec<u8>, _: &str) -> Result<String, JobError> {
        let name = checked(file_name)?;
        create_in(self.0.clone(), name.into(), content)
            .await
            .map_err(|error| JobError::retry("the output could not be written").because(Chain(error.as_ref())))
    }

    async fn read(&self, name: &FileName, at_most: u64) -> Result<Option<Vec<u8>>, FileError> {
        let (folder, name) = (self.0.clone(), name.clone());
        blocking(move || {
            let Some((path, file)) = find(&folder, &name)? else { return Ok(None) };
            if file.len() > at_most {
                return Err(FileError::TooLarge(at_most));
            }
            fs::read(path).map(Some).map_err(FileError::not_now)
        })
        .await
    }

    async fn list(&self, start: &str, after: Option<&str>, limit: usize) -> Result<FilePage, FileError> {
        let (folder, start, after) = (self.0.clone(), start.to_owned(), after.map(str::to_owned));
        blocking(move || {
            let mut walk = Walk { start: &start, after: after.as_deref().unwrap_or_default(), limit, found: vec![] };
            let whole = walk.go_through(&folder, "").map_err(FileError::not_now)?;
            let last = walk.found.last().map(|file| file.name.to_string());
            Ok(FilePage { files: walk.found, next: if whole { None } else { last } })
        })
        .await
    }

    async fn delete(&self, names: &[FileName]) -> Result<(), FileError> {
        let (folder, names) = (self.0.clone(), names.to_vec());
        blocking(move || {
            for name in &names {
                if let Some((path, _)) = find(&folder, name)? {
                    remove(&path)?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn begin(&self, name: &FileName, _: &str) -> Result<Upload, FileError> {
        let (folder, name) = (self.0.clone(), name.clone());
        blocking(move || {
            let (beside, own_name) = place(&folder, &name);
            fs::create_dir_all(&beside).map_err(FileError::not_now)?;
            // An empty file with a name that nothing else has; those of the parts start with it.
            let mark = part_file(&beside, &format!(".part-{own_name}-")).map_err(FileError::not_now)?;
            let (_, path) = mark.keep().map_err(FileError::not_now)?;
            let id = path.file_name().and_then(|name| name.to_str());
            let id = id.ok_or_else(|| FileError::not_now("the name of an unfinished file is not UTF-8"))?;
            Ok(Upload { name, id: id.to_owned() })
        })
        .await
    }

    async fn append(&self, upload: &Upload, number: u32, content: Vec<u8>) -> Result<(), FileError> {
        let unfinished = Unfinished::of(&self.0, upload)?;
        blocking(move || unfinished.write(number, &content)).await
    }

    async fn finish(&self, upload: &Upload, parts: u32) -> Result<String, FileError> {
        let unfinished = Unfinished::of(&self.0, upload)?;
        blocking(move || unfinished.finish(parts)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    tokio::task::spawn_blocking(work).await.map_err(FileError::not_now)?
}

/// Writes a file into a folder, whole or not at all, without replacing one that is there. Gives `folder/file`.
pub async fn create_in(folder: PathBuf, file_name: String, content: Vec<u8>) -> anyhow::Result<String> {
    let written = tokio::task::spawn_blocking(move || create_blocking(&folder, &file_name, &content));
    written.await.context("the writing task ended early")?
}

fn create_blocking(folder: &Path, file_name: &str, content: &[u8]) -> anyhow::Result<String> {
    let path = folder.join(file_name);
    let beside = path.parent().unwrap_or(folder);
    fs::create_dir_all(beside).context("failed to make the folder")?;
    // Under another name first: a process that dies half-way leaves no half of a file under the right one.
    let mut part = part_file(beside, ".part-")?;
    part.write_all(content).context("failed to write")?;
    part.as_file().sync_all().context("failed to write")?;
    name_unless_there(part, &path).context("failed to name the file")?;
    Ok(address(folder, file_name))
}

fn part_file(folder: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    let readable = fs::Permissions::from_mode(0o644);
    tempfile::Builder::new().prefix(prefix).rand_bytes(12).permissions(readable).tempfile_in(folder)
}

fn name_unless_there(part: NamedTempFile, path: &Path) -> io::Result<()> {
    match part.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(there) if there.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}

fn address(folder: &Path, file_name: &str) -> String {
    let folder = folder.file_name().unwrap_or_default();
    Path::new(folder).join(file_name).display().to_string()
}

/// The folder that a file stands in, and what it is called there.
fn place(folder: &Path, name: &FileName) -> (PathBuf, String) {
    match name.as_str().rsplit_once('/') {
        Some((below, own_name)) => (folder.join(below), own_name.to_owned()),
        None => (folder.to_owned(), name.to_string()),
    }
}

/// Where a file is. `None` if it is not there, is no plain file, or lies behind a symbolic link.
fn find(folder: &Path, name: &FileName) -> Result<Option<(PathBuf, fs::Metadata)>, FileError> {
    let mut path = folder.to_owned();
    let mut found = None;
    for segment in name.as_str().split('/') {
        path.push(segment);
        match fs::symlink_metadata(&path) {
            Ok(there) if there.is_symlink() => return Ok(None),
            Ok(there) => found = Some(there),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(FileError::not_now(error)),
        }
    }
    Ok(found.filter(fs::Metadata::is_file).map(|file| (path, file)))
}

fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::not_now(error)),
    }
}

/// Goes through a folder and those below it in the order of the files' names.
struct Walk<'a> {
    start: &'a str,
    after: &'a str,
    limit: usize,
    found: Vec<StoredFile>,
}

impl Walk<'_> {
    /// Goes through `folder`, whose files' names start with `below`. Whether it came to the end.
    fn go_through(&mut self, folder: &Path, below: &str) -> io::Result<bool> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error),
        };
        // A folder's files come where `folder/` comes among its neighbours: `a-b` before `a/b`, as in S3.
        let mut names = vec![];
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if let Some(name) = entry.file_name().to_str() {
                if kind.is_dir() {
                    names.push(format!("{below}{name}/"));
                } else if kind.is_file() {
                    names.push(format!("{below}{name}"));
                }
            }
        }
        names.sort_unstable();
        for name in names {
            let own_name = name.strip_prefix(below).unwrap_or(&name);
            if name.ends_with('/') {
                let may_start_so = name.starts_with(self.start) || self.start.starts_with(&name);
                let may_come_after = name.as_str() > self.after || self.after.starts_with(&name);
                if may_start_so && may_come_after && !self.go_through(&folder.join(own_name), &name)? {
                    return Ok(false);
                }
            } else if name.starts_with(self.start) && name.as_str() > self.after {
                if self.found.len() == self.limit {
                    return Ok(false);
                }
                self.found.extend(stored_file(&folder.join(own_name), &name)?);
            }
        }
        Ok(true)
    }
}

/// The file; `None` if it has gone by now, or its name is not one of a job's.
fn stored_file(path: &Path, name: &str) -> io::Result<Option<StoredFile>> {
    let Some(name) = FileName::parse(name) else { return Ok(None) };
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let modified = file.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Some(StoredFile { name, bytes: file.len(), modified: Timestamp::from_millis(0) + modified }))
}

/// A file that is being made in parts. While its mark is there it may be gone on with.
struct Unfinished {
    folder: PathBuf,
    name: FileName,
    /// The folder in which the parts and the file itself stand.
    beside: PathBuf,
    /// The mark's name, with which those of the parts start.
    id: String,
}

impl Unfinished {
    fn of(folder: &Path, upload: &Upload) -> Result<Self, FileError> {
        let plain = FileName::parse(&upload.id).is_some_and(|id| !id.as_str().contains('/'));
        if !plain || !upload.id.starts_with(".part-") {
            return Err(FileError::Gone);
        }
        let (beside, _) = place(folder, &upload.name);
        Ok(Self { folder: folder.to_owned(), name: upload.name.clone(), beside, id: upload.id.clone() })
    }

    fn is_there(&self) -> bool {
        self.beside.join(&self.id).exists()
    }

    fn part(&self, number: u32) -> PathBuf {
        self.beside.join(format!("{}-{number}", self.id))
    }

    fn write(&self, number: u32, content: &[u8]) -> Result<(), FileError> {
        if !self.is_there() {
            return Err(FileError::Gone);
        }
        let write = || {
            let mut part = part_file(&self.beside, ".part-")?;
            part.write_all(content)?;
            part.as_file().sync_all()?;
            part.persist(self.part(number)).map(|_| ()).map_err(|error| error.error)
        };
        write().map_err(FileError::not_now)
    }

    fn finish(&self, parts: u32) -> Result<String, FileError> {
        let (_, own_name) = place(&self.folder, &self.name);
        let path = self.beside.join(own_name);
        if !path.exists() {
            if !self.is_there() {
                return Err(FileError::Gone);
            }
            let mut whole = part_file(&self.beside, ".part-").map_err(FileError::not_now)?;
            for number in 1..=parts {
                let bytes = self.copy(number, whole.as_file_mut())?;
                if number < parts && bytes < SMALLEST_PART as u64 {
                    return Err(FileError::PartTooSmall);
                }
            }
            whole.as_file().sync_all().map_err(FileError::not_now)?;
            name_unless_there(whole, &path).map_err(FileError::not_now)?;
        }
        self.remove_parts()?;
        Ok(address(&self.folder, self.name.as_str()))
    }

    fn copy(&self, number: u32, whole: &mut File) -> Result<u64, FileError> {
        match File::open(self.part(number)) {
            Ok(mut part) => io::copy(&mut part, whole).map_err(FileError::not_now),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(FileError::Gone),
            Err(error) => Err(FileError::not_now(error)),
        }
    }

    /// Removes the parts, and the mark last: whoever dies in between leaves it, and what is left is found by it.
    fn remove_parts(&self) -> Result<(), FileError> {
        let start = format!("{}-", self.id);
        for entry in fs::read_dir(&self.beside).map_err(FileError::not_now)? {
            let entry = entry.map_err(FileError::not_now)?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(&start)) {
                remove(&entry.path())?;
            }
        }
        remove(&self.beside.join(&self.id))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn name(text: &str) -> FileName {
        FileName::parse(text).expect(text)
    }

    fn names(page: &FilePage) -> Vec<&str> {
        page.files.iter().map(|file| file.name.as_str()).collect()
    }

    #[tokio::test]
    async fn a_folder_keeps_the_contract() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("output");
        crate::output::contract::outputs(&Folder(folder.clone())).await;
        let outputs = Folder(folder);
        let left = outputs.list("", None, 1000).await.expect("listed");
        assert!(left.files.iter().all(|file| !file.name.as_str().contains(".part-")), "{:?}", names(&left));
    }

    #[tokio::test]
    async fn a_file_that_is_there_is_left_as_it_is() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("output");
        for content in ["first", "second"] {
            let name = create_in(folder.clone(), "a.csv".to_owned(), content.into()).await.expect("written");
            assert_eq!(name, "output/a.csv");
        }
        assert_eq!(fs::read_to_string(folder.join("a.csv")).expect("readable"), "first");
        assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 1, "nothing else is left");
    }

    #[tokio::test]
    async fn a_name_that_leads_out_of_the_folder_is_refused() {
        let root = tempfile::tempdir().expect("a folder");
        let outputs = Folder(root.path().join("output"));
        for name in ["../a.csv", "/tmp/a.csv", "a\0.csv", ""] {
            let refused = outputs.create(name, b"x".to_vec(), "text/csv").await.expect_err(name);
            assert!(matches!(refused, JobError::GiveUp(_)), "{refused:?}");
        }
        let elsewhere = Upload { name: name("a.csv"), id: "../.part-x".to_owned() };
        assert!(matches!(outputs.append(&elsewhere, 1, vec![]).await, Err(FileError::Gone)));
        assert_eq!(fs::read_dir(root.path()).expect("a folder").count(), 0, "nothing is written");
    }

    #[tokio::test]
    async fn nothing_behind_a_symbolic_link_is_read_listed_or_deleted() {
        let root = tempfile::tempdir().expect("a folder");
        let (folder, outside) = (root.path().join("output"), root.path().join("outside"));
        for folder in [&folder, &outside] {
            fs::create_dir(folder).expect("made");
        }
        fs::write(outside.join("secret"), "x").expect("written");
        symlink(&outside, folder.join("folder")).expect("linked");
        symlink(outside.join("secret"), folder.join("file")).expect("linked");
        fs::write(folder.join("own"), "x").expect("written");

        let outputs = Folder(folder.clone());
        assert_eq!(names(&outputs.list("", None, 10).await.expect("listed")), ["own"]);
        for behind in ["folder/secret", "file"] {
            assert_eq!(outputs.read(&name(behind), 10).await.expect("answers"), None);
            outputs.delete(&[name(behind)]).await.expect("nothing to delete");
        }
        assert!(outside.join("secret").exists() && folder.join("file").is_symlink());
    }

    #[tokio::test]
    async fn a_part_that_s3_would_not_take_is_not_taken_here() {
        let root = tempfile::tempdir().expect("a folder");
        let outputs = Folder(root.path().to_owned());
        let upload = outputs.begin(&name("a.csv"), "text/csv").await.expect("begun");
        for number in [1, 2] {
            outputs.append(&upload, number, b"x".to_vec()).await.expect("written");
        }
        assert!(matches!(outputs.finish(&upload, 2).await, Err(FileError::PartTooSmall)));
        assert_eq!(outputs.finish(&upload, 1).await.expect("the last may be small"), address(root.path(), "a.csv"));
    }

    #[tokio::test]
    async fn names_that_no_job_gives_are_left_alone() {
        let root = tempfile::tempdir().expect("a folder");
        let outputs = Folder(root.path().to_owned());
        for there in ["holiday photo.jpg", "a.csv", ".part-a.csv-x"] {
            fs::write(root.path().join(there), "x").expect("written");
        }
        assert_eq!(names(&outputs.list("", None, 10).await.expect("listed")), [".part-a.csv-x", "a.csv"]);
        assert_eq!(names(&outputs.list("", None, 1).await.expect("listed")), [".part-a.csv-x"]);
    }
}
