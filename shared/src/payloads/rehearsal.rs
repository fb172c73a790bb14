//! `rehearsal`: a job that does as it is told. Only in debug builds.

use serde::Deserialize;

use crate::invalid::{InvalidField, read_fields};
use crate::job_type::Payload;

/// What each attempt shall do, in order; the last one is repeated. Nothing said: succeed.
///
/// `{"attempts":["fail","fail","succeed"]}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rehearsal {
    /// The script.
    #[serde(default)]
    pub attempts: Vec<Act>,
    /// How long each attempt takes before it does it, in milliseconds.
    #[serde(default)]
    pub takes_ms: u64,
}

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

    fn parse(json: &str) -> Result<Self, InvalidField> {
        read_fields(json)
    }
}
