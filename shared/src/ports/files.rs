//! The files that jobs make: how they are named and listed, and how one is made in parts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ports::Source;
use crate::values::id::JobId;
use crate::values::time::Timestamp;

/// The name of a file below the place for files: `report.csv`, or `2026/03/report.csv`.
///
/// Its segments, between slashes, are 1 to 200 ASCII letters, digits, `.`, `_` and `-`, none of them `.` or `..`; all
/// of it is at most 512 bytes long. So it is a key in any bucket, a path on any machine, and leads out of no folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

impl FileName {
    /// The longest name, in bytes. With a prefix of as many again it is a key that S3 takes.
    pub const LONGEST: usize = 512;

    /// The longest segment, in bytes: with what an unfinished file has around it, it stays under the 255 that file
    /// systems take.
    pub const LONGEST_SEGMENT: usize = 200;

    /// What a name looks like, for whoever gave another.
    pub const FORM: &str =
        "a file name is made of letters, digits, dots, hyphens and underscores, with slashes between";

    /// The name, if `text` is one.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let fits = |segment: &str| {
            let length = (1..=Self::LONGEST_SEGMENT).contains(&segment.len());
            length && segment.bytes().all(plain) && !matches!(segment, "." | "..")
        };
        (text.len() <= Self::LONGEST && text.split('/').all(fits)).then(|| Self(text.to_owned()))
    }

    /// The name of what a job makes: the same in every attempt, and no other job's. `extension` is letters and digits.
    pub fn of_job(id: JobId, extension: &'static str) -> Self {
        debug_assert!(extension.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{extension}");
        Self(format!("{id}.{extension}"))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FileName {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        Self::parse(&text).ok_or(Self::FORM)
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> Self {
        name.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Its name.
    pub name: FileName,
    /// How long it is.
    pub bytes: u64,
    /// When it was written last, by the clock of the place where it is.
    pub modified: Timestamp,
}

/// Some files of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePage {
    /// The files, by their names in the order of their bytes.
    pub files: Vec<StoredFile>,
    /// After which name the next page begins; `None` if this one is the last. It need not be a [`FileName`].
    pub next: Option<String>,
}

/// A file that is being made in parts. Whoever has this can go on with it: another worker, for one, that found it in
/// the checkpoint of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// What its name will be.
    pub name: FileName,
    /// By which the place tells it from others under the same name.
    pub id: String,
}

/// No part of an unfinished file but the last may be smaller, a limit of S3: 5 MiB.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub const SMALLEST_PART: usize = 5 * 1024 * 1024;

/// The most parts a file may have, a limit of S3.
pub const MOST_PARTS: u32 = 10_000;

/// Why the place for files did not do it.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be reached, or did not take the call. The same call may succeed later.
    #[error("the place for files did not take the call")]
    NotNow(#[source] Source),
    /// The file is larger than whoever asked for it wants it: this many bytes.
    #[error("the file is larger than {0} bytes")]
    TooLarge(u64),
    /// The unfinished file is no longer there, or not all of its parts: it must be begun anew.
    #[error("the unfinished file is no longer there")]
    Gone,
    /// A part before the last one is smaller than [`SMALLEST_PART`].
    #[error("a part of the file is too small")]
    PartTooSmall,
}

impl FileError {
    /// The place did not take the call, because of this.
    pub fn not_now(source: impl Into<Source>) -> Self {
        Self::NotNow(source.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_out_of_no_folder() {
        for name in ["a", "report.csv", "2026/03/a-b_c.PDF", ".part-x", "...", &"x".repeat(200)] {
            assert_eq!(FileName::parse(name).expect(name).as_str(), name);
        }
        let long = ["x"; 300].join("/");
        let wide = "x".repeat(201);
        let short = "|.|..|../a|a/../b|a/.|/a|a/|a//b|a b|a\0|a\n|a\\b|C:a|é|a\u{2024}|%2e%2e|~";
        for name in short.split('|').chain([long.as_str(), wide.as_str()]) {
            assert_eq!(FileName::parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn what_a_job_makes_is_named_by_its_id() {
        let id: JobId = "01938e5c-7a00-7000-8000-000000000000".parse().expect("an id");
        let name = FileName::of_job(id, "csv");
        assert_eq!(name.as_str(), "01938e5c-7a00-7000-8000-000000000000.csv");
        assert_eq!(FileName::parse(name.as_str()), Some(name));
    }

    #[test]
    fn an_unfinished_file_can_be_kept_as_json() {
        let upload = Upload { name: FileName::parse("a/b.csv").expect("a name"), id: "7".to_owned() };
        let json = serde_json::to_string(&upload).expect("serialises");
        assert_eq!(json, r#"{"name":"a/b.csv","id":"7"}"#);
        assert_eq!(serde_json::from_str::<Upload>(&json).expect("reads back"), upload);
        assert!(serde_json::from_str::<Upload>(r#"{"name":"../b.csv","id":"7"}"#).is_err());
    }

    #[test]
    fn a_name_is_at_most_512_bytes_long_and_shown_as_it_is() {
        let (x, longest) = ("x".repeat(200), format!("{0}/{0}/{1}", "x".repeat(200), "x".repeat(110)));
        assert_eq!(longest.len(), 512);
        assert_eq!(FileName::parse(&longest).expect("fits").to_string(), longest);
        assert_eq!(FileName::parse(&format!("{x}/{x}/{}", "x".repeat(111))), None);
    }

    #[test]
    fn a_part_is_at_least_5_mib() {
        assert_eq!(SMALLEST_PART, 5_242_880);
    }
}
