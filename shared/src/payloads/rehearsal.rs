//! `rehearsal`: a job that does as it is told. Only with the feature `rehearsal`.

use serde::Deserialize;

use crate::job_type::Payload;
use crate::values::invalid::{InvalidField, read_fields};
use crate::values::json::null_is_absent;

/// What each attempt shall do, in order; the last one is repeated. Nothing said: succeed.
///
/// `{"attempts":["fail","fail","succeed"]}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rehearsal {
    /// The script.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub attempts: Vec<Act>,
    /// How long each attempt takes before it does it, in milliseconds. With `rows`, each part of the file takes so
    /// long.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub takes_ms: u64,
    /// How many rows each attempt writes into a file before it does it, at most [`MOST_ROWS`].
    #[serde(default, deserialize_with = "null_is_absent")]
    pub rows: u64,
}

/// The most rows of a file: some 3 GB.
pub const MOST_ROWS: u64 = 100_000_000;

/// What one attempt does.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Ends well.
    Succeed,
    /// Fails; another attempt may help.
    Fail,
    /// Fails; no other attempt would help.
    GiveUp,
    /// Panics.
    Panic,
    /// Waits for ever.
    Hang,
    /// Computes for ever, never letting go of its thread.
    Spin,
    /// Takes the whole worker process down.
    Crash,
}

impl Payload for Rehearsal {
    const NAME: &'static str = "rehearsal";
    const SCHEMA: &'static str = r#"{ "description": "What each attempt shall do.", "type": "object" }"#;
    const EXAMPLE: &'static str = r#"{"attempts":["fail","succeed"]}"#;

    fn parse(json: &str) -> Result<Self, InvalidField> {
        let rehearsal: Self = read_fields(json)?;
        if rehearsal.rows > MOST_ROWS {
            return Err(InvalidField::new("rows", format!("must be at most {MOST_ROWS}")));
        }
        Ok(rehearsal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_at_most_a_hundred_million_rows() {
        let with = |rows: u64| Rehearsal::parse(&format!(r#"{{"rows":{rows}}}"#));
        for rows in [0, 100_000_000] {
            assert_eq!(with(rows).expect("fits").rows, rows);
        }
        for rows in [100_000_001, u64::MAX] {
            assert_eq!(with(rows).expect_err("too many").to_string(), "`rows` must be at most 100000000");
        }
    }
}
