//! `file-cleanup`: removes the files of long ago.

use serde::Deserialize;

use crate::job_type::Payload;
use crate::ports::files::FileName;
use crate::values::invalid::{InvalidField, read_fields};
use crate::values::json::{Whole, null_is_absent};

/// The longest ago that can be asked for, in days.
pub const MOST_DAYS: u32 = 3650;

/// Which files shall go: those below the deployment's place for files that are old enough, whichever job made them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileCleanup {
    /// Written last more than so many days ago; a day is 24 hours. 0, with a prefix only: however old they are.
    pub older_than_days: Whole<0, MOST_DAYS>,
    /// Only those whose name starts like this: `reports/`, for one.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub prefix: String,
    /// Only count them.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub dry_run: bool,
}

impl Payload for FileCleanup {
    const NAME: &'static str = "file-cleanup";
    const SCHEMA: &'static str = r#"{
        "description": "Deletes the files below the deployment's place for files that are older than some days.",
        "type": "object", "required": ["older_than_days"], "additionalProperties": false,
        "properties": {
            "older_than_days": { "description": "0, with a prefix only: however old they are.", "type": "integer", "minimum": 0, "maximum": 3650 },
            "prefix": { "description": "Only those whose name starts like this.", "type": ["string", "null"], "maxLength": 512,
                "pattern": "^([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*/?)?$" },
            "dry_run": { "description": "Only count them.", "type": ["boolean", "null"] }
        },
        "if": { "properties": { "older_than_days": { "maximum": 0 } } },
        "then": { "required": ["prefix"], "properties": { "prefix": { "type": "string", "minLength": 1 } } }
    }"#;
    const EXAMPLE: &'static str = r#"{"older_than_days":30,"prefix":"reports/","dry_run":true}"#;
    const TIMEOUT_SECONDS: u32 = 50;

    fn parse(json: &str) -> Result<Self, InvalidField> {
        let cleanup: Self = read_fields(json)?;
        if cleanup.older_than_days.get() == 0 && cleanup.prefix.is_empty() {
            return Err(InvalidField::new("older_than_days", "must be 1 or more where there is no `prefix`"));
        }
        let prefix = cleanup.prefix.strip_suffix('/').unwrap_or(&cleanup.prefix);
        if !cleanup.prefix.is_empty() && FileName::parse(prefix).is_none() {
            return Err(InvalidField::new("prefix", format!("does not fit: {}", FileName::FORM)));
        }
        Ok(cleanup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_or_some_and_in_earnest_unless_said_otherwise() {
        let all = FileCleanup::parse(r#"{"older_than_days":30}"#).expect("fits");
        assert_eq!((all.older_than_days.get(), all.prefix.as_str(), all.dry_run), (30, "", false));
        for days in [1, 3650] {
            let cleanup = FileCleanup::parse(&format!(r#"{{"older_than_days":{days}}}"#)).expect("fits");
            assert_eq!(cleanup.older_than_days.get(), days);
        }
        for prefix in ["reports/", "reports", "2026/03/", ".part-"] {
            let json = serde_json::json!({ "older_than_days": 1, "prefix": prefix, "dry_run": true }).to_string();
            assert_eq!(FileCleanup::parse(&json).expect(prefix).prefix, prefix);
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let of = |json: &str| FileCleanup::parse(json).expect_err(json).within("payload").to_string();
        assert_eq!(of("{}"), "`payload.older_than_days` is required");
        for days in ["-1", "3651", "1.5"] {
            let json = format!(r#"{{"older_than_days":{days}}}"#);
            assert_eq!(of(&json), "`payload.older_than_days` must be a whole number from 0 to 3650");
        }
        let all = "`payload.older_than_days` must be 1 or more where there is no `prefix`";
        for json in [r#"{"older_than_days":0}"#, r#"{"older_than_days":0,"prefix":""}"#] {
            assert_eq!(of(json), all, "{json}");
        }
        let of_a_job = FileCleanup::parse(r#"{"older_than_days":0.0,"prefix":"a","dry_run":null}"#).expect("fits");
        assert_eq!((of_a_job.older_than_days.get(), of_a_job.dry_run), (0, false));
        for prefix in ["/", "../", "/etc/", "a//", "reports/*"] {
            let json = serde_json::json!({ "older_than_days": 1, "prefix": prefix }).to_string();
            assert!(of(&json).starts_with("`payload.prefix` does not fit: a file name is"), "{prefix:?}");
        }
        assert_eq!(of(r#"{"older_than_days":1,"force":true}"#), "`payload.force` is not a known field");
    }
}
