//! The list of job types.

use strum::VariantArray;

use crate::invalid::InvalidField;
use crate::job::TypeName;
use crate::payloads::csv_generation::CsvGeneration;
use crate::payloads::email_send::EmailSend;
#[cfg(debug_assertions)]
use crate::payloads::rehearsal::Rehearsal;

/// The kinds of work that Dray knows. Each has its payload in [`crate::payloads`] and its code in the worker.
///
/// To add one: write its payload, add a variant here, and follow the compiler, which asks for the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, VariantArray)]
pub enum JobType {
    /// Turns JSON into a CSV file.
    CsvGeneration,
    /// Sends an e-mail.
    EmailSend,
    /// Does as it is told: fails, hangs, panics. Only in debug builds, to try things out and to test.
    #[cfg(debug_assertions)]
    Rehearsal,
}

impl JobType {
    /// All of them.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// What is known of the type before any job of it runs.
    pub fn policy(self) -> Policy {
        match self {
            Self::CsvGeneration => Policy::of::<CsvGeneration>(),
            Self::EmailSend => Policy::of::<EmailSend>(),
            #[cfg(debug_assertions)]
            Self::Rehearsal => Policy::of::<Rehearsal>(),
        }
    }

    /// The type of this name, or of this older name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|job_type| {
            let policy = job_type.policy();
            policy.name == name || policy.aliases.contains(&name)
        })
    }

    /// Its name, as stored.
    pub fn name(self) -> TypeName {
        TypeName::new(self.policy().name)
    }
}

/// The payload of a job type: what a job of it needs to know.
pub trait Payload: Sized {
    /// The type's name in the API, the table and the logs.
    const NAME: &'static str;
    /// Other names that the API takes for it.
    const ALIASES: &'static [&'static str] = &[];
    /// How many attempts a job of this type has unless it says otherwise, at most
    /// [`crate::submission::MOST_ATTEMPTS`].
    const MAX_ATTEMPTS: u32 = 3;
    /// How long an attempt may run, in seconds, unless the job says otherwise, at most
    /// [`crate::submission::LONGEST_TIMEOUT_SECONDS`].
    const TIMEOUT_SECONDS: u32 = 30;

    /// Reads and checks a payload, given as JSON text. Called when a job is accepted, so that what cannot work is
    /// refused at once, and again when it runs.
    fn parse(json: &str) -> Result<Self, InvalidField>;
}

/// What a job type has laid down in its [`Payload`].
#[derive(Clone, Copy)]
pub struct Policy {
    /// Its name.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// Attempts unless the job says otherwise.
    pub max_attempts: u32,
    /// Seconds an attempt may run unless the job says otherwise.
    pub timeout_seconds: u32,
    /// Whether a payload fits.
    pub check: fn(&str) -> Result<(), InvalidField>,
}

impl Policy {
    fn of<P: Payload>() -> Self {
        Self {
            name: P::NAME,
            aliases: P::ALIASES,
            max_attempts: P::MAX_ATTEMPTS,
            timeout_seconds: P::TIMEOUT_SECONDS,
            check: |json| P::parse(json).map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::submission::{LONGEST_TIMEOUT_SECONDS, MOST_ATTEMPTS};

    #[test]
    fn every_type_is_found_by_its_names_and_no_name_is_taken_twice() {
        let mut names = std::collections::HashSet::new();
        for job_type in JobType::ALL {
            let policy = job_type.policy();
            for name in std::iter::once(&policy.name).chain(policy.aliases) {
                assert_eq!(JobType::named(name), Some(*job_type));
                assert!(names.insert(*name), "{name} is taken twice");
            }
            assert!((1..=MOST_ATTEMPTS).contains(&policy.max_attempts), "{}", policy.name);
            assert!((1..=LONGEST_TIMEOUT_SECONDS).contains(&policy.timeout_seconds), "{}", policy.name);
        }
        assert_eq!(JobType::named("EMAIL_SEND"), Some(JobType::EmailSend));
        assert_eq!(JobType::named("Email-Send"), None);
    }
}
