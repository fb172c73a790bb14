//! `rehearsal`: does as it is told. Only with the feature `rehearsal`.

use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::payloads::rehearsal::{Act, Rehearsal};
use shared::ports::files::{FileError, FileName, Upload};
use shared::values::id::JobId;

use crate::job_types::Run;
use crate::{Context, JobError, Outputs};

/// What a rehearsal results in.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Rehearsed {
    /// The number of the attempt that succeeded.
    Attempt(u32),
    /// That, and the address of the file of rows.
    Rows {
        /// The number of the attempt.
        attempt: u32,
        /// The file's address.
        file: String,
    },
}

impl Run for Rehearsal {
    type Output = Rehearsed;

    async fn run(self, context: Context) -> Result<Rehearsed, JobError> {
        let (attempt, takes) = (context.attempt, Duration::from_millis(self.takes_ms));
        let rehearsed = if self.rows == 0 {
            tokio::time::sleep(takes).await;
            Rehearsed::Attempt(attempt)
        } else {
            Rehearsed::Rows { attempt, file: write_rows(&context, self.rows, takes).await? }
        };
        let index = usize::try_from(attempt - 1).unwrap_or(usize::MAX);
        match self.attempts.get(index).or(self.attempts.last()).copied().unwrap_or(Act::Succeed) {
            Act::Succeed => Ok(rehearsed),
            Act::Fail => Err(JobError::retry("told to fail")),
            Act::GiveUp => Err(JobError::give_up("told to give up")),
            #[expect(clippy::panic, reason = "it is told to")]
            Act::Panic => panic!("told to panic"),
            Act::Hang => std::future::pending().await,
            Act::Spin => loop {
                std::hint::spin_loop();
            },
            Act::Crash => std::process::abort(),
        }
    }
}

/// Writes a file of so many rows, going on where an earlier worker stopped. Gives its address.
async fn write_rows(context: &Context, rows: u64, a_part_takes: Duration) -> Result<String, JobError> {
    let outputs = context.outputs.as_ref();
    let mut file = match context.resumed_from() {
        Some(file) => file,
        None => RowFile::begin(outputs, context.job_id).await?,
    };
    loop {
        tokio::time::sleep(a_part_takes).await;
        match file.write_a_part(outputs, rows).await {
            Ok(true) => context.checkpoint(&file)?,
            Ok(false) => return Ok(file.finish(outputs).await?),
            // The job lay still for so long that the file was cleaned away, or has been finished before.
            Err(FileError::Gone) => file = RowFile::begin(outputs, context.job_id).await?,
            Err(error) => return Err(error.into()),
        }
        let percent = u8::try_from(file.rows * 100 / rows).unwrap_or(100);
        context.progress(percent, &format!("{} of {rows} rows", file.rows)).await;
        if context.cancelled().await {
            return Err(JobError::retry("told to stop"));
        }
    }
}

/// A part is at least so long, unless it is the last: 6 MiB. S3 wants [`shared::ports::files::SMALLEST_PART`].
const PART_BYTES: usize = 6 * 1024 * 1024;

/// A file of numbers and their squares, as far as it is written.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RowFile {
    upload: Upload,
    /// How many parts are written.
    parts: u32,
    /// How many rows are in them.
    rows: u64,
}

impl RowFile {
    async fn begin(outputs: &dyn Outputs, job_id: JobId) -> Result<Self, FileError> {
        let upload = outputs.begin(&FileName::of_job(job_id, "csv"), "text/csv; charset=utf-8").await?;
        Ok(Self { upload, parts: 0, rows: 0 })
    }

    /// Writes the next part of a file that is to have so many rows. Whether there is more to write.
    async fn write_a_part(&mut self, outputs: &dyn Outputs, rows: u64) -> Result<bool, FileError> {
        let (part, written) = part(self.rows, rows);
        outputs.append(&self.upload, self.parts + 1, part.into_bytes()).await?;
        self.parts += 1;
        self.rows = written;
        Ok(written < rows)
    }

    async fn finish(&self, outputs: &dyn Outputs) -> Result<String, FileError> {
        outputs.finish(&self.upload, self.parts).await
    }
}

/// The part that follows when `written` of `rows` rows are written, and how many are when it is too.
fn part(mut written: u64, rows: u64) -> (String, u64) {
    let mut part = String::with_capacity(PART_BYTES + 64);
    if written == 0 {
        part.push_str("row,square\n");
    }
    while written < rows && part.len() < PART_BYTES {
        written += 1;
        let _ = writeln!(part, "{written},{}", written * written); // a string takes everything
    }
    (part, written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Folder;

    const ROWS: u64 = 600_000;

    #[tokio::test]
    async fn a_file_that_outlasts_its_worker_is_the_same_to_the_byte() {
        let mut whole = String::from("row,square\n");
        for row in 1..=ROWS {
            writeln!(whole, "{row},{}", row * row).expect("written");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let outputs = Folder(folder.path().to_owned());
        let job_id: JobId = "01938e5c-7a00-7000-8000-000000000000".parse().expect("an id");

        let mut file = RowFile::begin(&outputs, job_id).await.expect("begun");
        let mut more = true;
        while more {
            let checkpoint = serde_json::to_string(&file).expect("serialises");
            assert!(checkpoint.len() < 1000, "{checkpoint}");
            // One worker dies when it has written the part and not yet said so; the next one writes it again.
            file.write_a_part(&outputs, ROWS).await.expect("written");
            file = serde_json::from_str(&checkpoint).expect("reads back");
            more = file.write_a_part(&outputs, ROWS).await.expect("written");
        }
        assert!(file.parts > 1, "{file:?}");
        file.finish(&outputs).await.expect("finished");
        file.finish(&outputs).await.expect("finished already");
        let written = std::fs::read_to_string(folder.path().join(format!("{job_id}.csv"))).expect("a file");
        assert!(written == whole, "{} bytes, not {}", written.len(), whole.len());
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else is left");
    }
}
