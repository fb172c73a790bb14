//! `file-cleanup`: removes the files of long ago.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::payloads::file_cleanup::FileCleanup;
use shared::ports::files::{FileError, FileName};
use shared::values::time::Timestamp;

use crate::job_types::Run;
use crate::{Context, JobError, Outputs};

/// What became of the files that were looked at. What an attempt deleted before its process died is not counted.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Cleaned {
    /// How many were deleted, or would have been.
    deleted: u64,
    /// How long these were, together.
    bytes: u64,
    /// How many were left, being younger.
    kept: u64,
    /// Whether they were only counted.
    dry_run: bool,
}

impl Run for FileCleanup {
    type Output = Cleaned;

    async fn run(self, context: Context) -> Result<Cleaned, JobError> {
        let outputs = context.outputs.as_ref();
        let now = context.tools.records.clock.now();
        let mut round = context.resumed_from().unwrap_or_else(|| Round::begin(&self, now));
        while round.clean_a_page(outputs, &self, FILES_A_PAGE).await? {
            context.checkpoint(&round)?;
            let so_far = format!("{} of {} files deleted", round.deleted, round.deleted + round.kept);
            context.progress(0, &so_far).await; // how many there are is known when all have been looked at
            if context.cancelled().await {
                return Err(JobError::retry("the cleanup was stopped"));
            }
        }
        Ok(Cleaned { deleted: round.deleted, bytes: round.bytes, kept: round.kept, dry_run: self.dry_run })
    }
}

/// How many files are looked at, and deleted, in one step: as many as S3 lists, and deletes, in one call.
const FILES_A_PAGE: usize = 1000;

/// How far a round through the files has come.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Round {
    /// Files that were written last before this are deleted. Settled once, however long the round takes.
    before: Timestamp,
    /// The name of the last file that was looked at.
    after: Option<String>,
    deleted: u64,
    bytes: u64,
    kept: u64,
}

impl Round {
    fn begin(cleanup: &FileCleanup, now: Timestamp) -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        let before = match cleanup.older_than_days.get() {
            0 => now + day, // the clock that a file's time is from may be ahead of ours
            days => now - day * days,
        };
        Self { before, after: None, deleted: 0, bytes: 0, kept: 0 }
    }

    /// Looks at the next files, `limit` at most. Whether there may be more.
    async fn clean_a_page(
        &mut self,
        outputs: &dyn Outputs,
        cleanup: &FileCleanup,
        limit: usize,
    ) -> Result<bool, FileError> {
        let page = outputs.list(&cleanup.prefix, self.after.as_deref(), limit).await?;
        let looked_at = page.files.len();
        let old: Vec<_> = page.files.into_iter().filter(|file| file.modified < self.before).collect();
        if !cleanup.dry_run {
            let names: Vec<FileName> = old.iter().map(|file| file.name.clone()).collect();
            outputs.delete(&names).await?;
        }
        self.deleted += old.len() as u64;
        self.bytes += old.iter().map(|file| file.bytes).sum::<u64>();
        self.kept += (looked_at - old.len()) as u64;
        self.after = page.next;
        Ok(self.after.is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;
    use std::time::{SystemTime, UNIX_EPOCH};

    use shared::job_type::Payload;
    use tempfile::TempDir;

    use super::*;
    use crate::output::Folder;

    /// A folder with these files, each written last so many days ago and as many bytes long.
    fn folder_with(files: &[(&str, u32)]) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, days) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(&path, vec![b'x'; *days as usize]).expect("written");
            let written = SystemTime::now() - Duration::from_secs(u64::from(*days) * 24 * 60 * 60);
            File::options().write(true).open(&path).expect("opens").set_modified(written).expect("set");
        }
        folder
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(0) + SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
    }

    /// One round, cut short after every page and gone on with from what was kept of it.
    async fn clean(folder: &Path, json: &str, limit: usize) -> (u64, u64, u64) {
        let cleanup = FileCleanup::parse(json).expect("fits");
        let outputs = Folder(folder.to_owned());
        let mut round = Round::begin(&cleanup, now());
        while round.clean_a_page(&outputs, &cleanup, limit).await.expect("answers") {
            let kept = serde_json::to_string(&round).expect("serialises");
            round = serde_json::from_str(&kept).expect("reads back");
        }
        (round.deleted, round.bytes, round.kept)
    }

    fn left(folder: &Path) -> Vec<String> {
        let mut left: Vec<_> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        left.sort_unstable();
        left
    }

    #[tokio::test]
    async fn old_files_go_and_young_ones_stay() {
        for limit in [1, 2, 1000] {
            let files =
                [("a.csv", 31), ("b.csv", 29), ("deep/er/c.csv", 400), ("d.csv", 32), (".part-x", 3), (".part-y", 90)];
            let folder = folder_with(&files);
            let cleaned = clean(folder.path(), r#"{"older_than_days":30}"#, limit).await;
            assert_eq!(cleaned, (4, 31 + 400 + 32 + 90, 2), "{limit} a page");
            assert_eq!(left(folder.path()), [".part-x", "b.csv", "deep"], "no folder is deleted");
            assert_eq!(clean(folder.path(), r#"{"older_than_days":30}"#, limit).await, (0, 0, 2), "a second time");
        }
    }

    #[tokio::test]
    async fn a_prefix_spares_all_others() {
        let folder = folder_with(&[("a.csv", 50), ("reports/b.html", 50), ("reports.html", 50)]);
        let cleaned = clean(folder.path(), r#"{"older_than_days":30,"prefix":"reports/"}"#, 1).await;
        assert_eq!(cleaned, (1, 50, 0));
        assert_eq!(left(folder.path()), ["a.csv", "reports", "reports.html"]);
        assert!(left(&folder.path().join("reports")).is_empty());
    }

    #[tokio::test]
    async fn of_any_age_with_a_prefix() {
        let folder = folder_with(&[("a.csv", 0), ("ab.csv", 50), ("b.csv", 50)]);
        let cleaned = clean(folder.path(), r#"{"older_than_days":0,"prefix":"a"}"#, 1).await;
        assert_eq!(cleaned, (2, 50, 0));
        assert_eq!(left(folder.path()), ["b.csv"]);
    }

    #[tokio::test]
    async fn a_dry_run_only_counts() {
        let folder = folder_with(&[("a.csv", 50), ("b.csv", 5)]);
        let cleaned = clean(folder.path(), r#"{"older_than_days":30,"dry_run":true}"#, 1).await;
        assert_eq!(cleaned, (1, 50, 1));
        assert_eq!(left(folder.path()), ["a.csv", "b.csv"]);
    }

    #[tokio::test]
    async fn nothing_outside_the_folder_is_touched() {
        let outside = folder_with(&[("precious", 400)]);
        let folder = folder_with(&[("a.csv", 400)]);
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).expect("linked");
        std::os::unix::fs::symlink(outside.path().join("precious"), folder.path().join("file")).expect("linked");
        assert_eq!(clean(folder.path(), r#"{"older_than_days":1}"#, 10).await, (1, 400, 0));
        assert_eq!(left(outside.path()), ["precious"]);
        assert_eq!(left(folder.path()), ["file", "link"]);
    }
}
