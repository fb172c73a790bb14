//! The job.

pub mod backoff;
pub mod changes;
pub mod due;
pub mod event;
pub mod receipt;
pub mod submission;
pub mod transition;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::job::event::{Event, Summary};
use crate::values::id::{JobId, LeaseToken, Tenant};
use crate::values::json::Json;
use crate::values::time::Timestamp;

/// One unit of work: what to do, how far it has come, and everything that has happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Its owner.
    pub tenant: Tenant,
    /// What kind of work it is.
    pub job_type: TypeName,
    /// What its type needs to know, in the sender's own words.
    pub payload: Json,
    /// What the submission said, so that a repeated one can be told from a different one under the same key.
    pub fingerprint: Fingerprint,
    /// Attempts begun. Counted when claimed, never reset.
    pub attempts: u32,
    /// Attempts allowed.
    pub max_attempts: u32,
    /// How long one attempt may run.
    pub timeout: Duration,
    /// Where it stands.
    pub state: State,
    /// The token of its latest claim, kept after the attempt has ended: by it a worker whose answer was lost learns
    /// that its write had landed.
    pub lease_token: Option<LeaseToken>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its latest attempt began.
    pub started_at: Option<Timestamp>,
    /// Why its latest failed attempt failed; `None` once completed.
    pub error: Option<String>,
    /// The id of the request that submitted it, to be found in every log line about it.
    pub correlation_id: String,
    /// The W3C trace context of that request, if it had one.
    pub traceparent: Option<String>,
    /// Words by which its owner finds it.
    pub tags: Vec<Tag>,
    /// It makes no sense to start it from this time on.
    pub expires_at: Option<Timestamp>,
    /// Who is told how it ended, by a webhook.
    pub callback_url: Option<String>,
    /// The job that it is a copy of.
    pub duplicate_of: Option<JobId>,
    /// How far its work has come, in words of its type: where an attempt that goes on, or the next one, begins.
    pub checkpoint: Option<Json>,
    /// How far its work has come, for people.
    pub progress: Option<Progress>,
    /// Why no worker that came upon it could run it.
    pub held_back: Option<HeldBack>,
    /// What a build must know to go on with it: at most [`FORMAT`], unless a newer build wrote it.
    pub format: u32,
    /// What happened, oldest first.
    pub history: Vec<Event>,
}

/// The format of what this build writes. A build that begins to write what older builds would misread raises it, and
/// writes its number with each item that has such a thing in it: builds of a lower format then leave the job alone.
pub const FORMAT: u32 = 1;

/// A ready job that no worker could run so far: it may be of a newer version, or of a deployment that has been changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// Why, as the first of them said.
    pub reason: String,
    /// When it came.
    pub since: Timestamp,
}

impl HeldBack {
    /// How long a job is held back before it fails: the time to put the deployment right.
    pub const LONGEST: Duration = Duration::from_hours(24);

    /// When the job fails unless a worker has come that can run it.
    pub fn until(&self) -> Timestamp {
        self.since + Self::LONGEST
    }

    /// The error of a job that was held back for so long.
    pub fn error(&self) -> String {
        format!("{}: {}", Self::ERROR, self.reason)
    }

    /// What that error begins with.
    pub const ERROR: &str = "no worker could run it within a day";
}

/// How far a job's work has come, as its type last told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// A few words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it was told.
    pub at: Timestamp,
}

/// A word by which jobs are found: 1 to 64 characters, none of them white space or a control character.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tag(String);

impl Tag {
    /// The longest tag, in characters.
    pub const LONGEST: usize = 64;

    /// The tag, if `text` is one.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::LONGEST).contains(&text.chars().count());
        let plain = !text.chars().any(|character| character.is_whitespace() || character.is_control());
        (fits && plain).then(|| Self(text.to_owned()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How long a job is kept after it has ended.
pub const KEEP_ENDED: Duration = Duration::from_hours(30 * 24);

/// Where a job stands, with what is true only there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Waiting for its first or its next attempt.
    Pending {
        /// Not to be started before.
        not_before: Timestamp,
        /// The time by which something must have happened, or the sweeper looks.
        due_at: Timestamp,
        /// Whether its next start goes on with the latest attempt instead of beginning another.
        resumes: bool,
    },
    /// An attempt is running, or its worker has died.
    Processing {
        /// Until when the attempt has the job to itself.
        lease_until: Timestamp,
        /// Somebody wants it cancelled: this attempt may complete, but no other may follow.
        cancel_requested: bool,
        /// The time by which something must have happened, or the sweeper looks.
        due_at: Timestamp,
    },
    /// Done.
    Completed {
        /// When.
        finished_at: Timestamp,
        /// What its attempt returned.
        result: Json,
    },
    /// Failed for good.
    Failed {
        /// When.
        finished_at: Timestamp,
    },
    /// Cancelled.
    Cancelled {
        /// When.
        finished_at: Timestamp,
    },
}

impl State {
    /// The job's status.
    pub fn status(&self) -> Status {
        match self {
            Self::Pending { .. } => Status::Pending,
            Self::Processing { .. } => Status::Processing,
            Self::Completed { .. } => Status::Completed,
            Self::Failed { .. } => Status::Failed,
            Self::Cancelled { .. } => Status::Cancelled,
        }
    }
}

impl Job {
    /// Its status.
    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// When it reached a terminal status.
    pub fn finished_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Pending { .. } | State::Processing { .. } => None,
            State::Completed { finished_at, .. } | State::Failed { finished_at } | State::Cancelled { finished_at } => {
                Some(finished_at)
            }
        }
    }

    /// The time by which something must have happened to it. `None` exactly if it is terminal.
    pub fn due_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Pending { due_at, .. } | State::Processing { due_at, .. } => Some(due_at),
            State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. } => None,
        }
    }

    /// Until when an attempt has it to itself. `None` exactly if it is not running.
    pub fn lease_until(&self) -> Option<Timestamp> {
        match self.state {
            State::Processing { lease_until, .. } => Some(lease_until),
            State::Pending { .. } | State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. } => None,
        }
    }

    /// Since when a worker of this build could have started it, or will be able to, while it waits. `None` if none can.
    pub fn ready_since(&self) -> Option<Timestamp> {
        match self.state {
            _ if self.held_back.is_some() || self.format > FORMAT => None,
            State::Pending { not_before, .. } => Some(not_before),
            State::Processing { .. } | State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. } => None,
        }
    }

    /// When it last changed.
    pub fn updated_at(&self) -> Timestamp {
        self.history.last().map_or(self.created_at, Event::at)
    }

    /// What its own fields say. Always equal to what [`crate::job::event::fold`] reads from its history.
    pub fn summary(&self) -> Summary {
        Summary {
            status: self.status(),
            attempts: self.attempts,
            created_at: self.created_at,
            updated_at: self.updated_at(),
            started_at: self.started_at,
            finished_at: self.finished_at(),
            error: self.error.clone(),
            resumes: matches!(self.state, State::Pending { resumes: true, .. }),
        }
    }
}

/// A job's status, as the table, the API and the logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waiting for its first or next attempt.
    Pending,
    /// An attempt is running.
    Processing,
    /// Done. Terminal.
    Completed,
    /// Failed for good. Terminal.
    Failed,
    /// Cancelled. Terminal.
    Cancelled,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Processing, Self::Completed, Self::Failed, Self::Cancelled];

    /// Whether nothing can happen to the job any more, unless somebody asks for a failed job to be tried again.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Processing => false,
            Self::Completed | Self::Failed | Self::Cancelled => true,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a job type as stored. It need not be one that this build knows: during a deployment a newer API may
/// have accepted what an older worker reads. [`crate::job_type::JobType::named`] finds the type behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TypeName(String);

impl TypeName {
    pub(crate) fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first 128 bits of a SHA-256 over a submission, in hexadecimal: equal exactly if the submissions are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of these parts in this order. Each is counted with its length, so that moving a boundary
    /// between two parts changes it.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        let bytes = digest.finalize();
        Self(hex::encode(&bytes[..16]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_is_kept_for_thirty_days() {
        let time = |text: &str| Timestamp::parse_rfc3339(text).expect(text);
        assert_eq!(time("2027-01-15T08:00:00Z") + KEEP_ENDED, time("2027-02-14T08:00:00Z"));
    }

    #[test]
    fn a_status_has_one_name_everywhere() {
        let named = [
            (Status::Pending, "pending"),
            (Status::Processing, "processing"),
            (Status::Completed, "completed"),
            (Status::Failed, "failed"),
            (Status::Cancelled, "cancelled"),
        ];
        for (status, name) in named {
            assert_eq!((status.as_str(), status.to_string().as_str()), (name, name));
            assert_eq!(serde_json::to_value(status).expect("serialises"), name);
            assert_eq!(serde_json::from_value::<Status>(name.into()).expect("reads back"), status);
        }
    }

    #[test]
    fn a_type_is_shown_by_its_name() {
        assert_eq!(TypeName::new("email-send").to_string(), "email-send");
    }

    #[test]
    fn a_tag_is_one_word_of_up_to_64_characters_in_any_script() {
        for text in ["a", "order:7", "größe", "注文", &"é".repeat(64)] {
            assert_eq!(Tag::parse(text).expect(text).as_str(), text);
        }
        for text in ["", "a b", "a\t", "a\0", "a\u{a0}b", &"é".repeat(65)] {
            assert_eq!(Tag::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_fingerprint_is_the_same_in_every_build_and_knows_where_its_parts_end() {
        // SHA-256 over the length (eight bytes, the highest first) and the text of each part, computed elsewhere.
        let fingerprint = Fingerprint::of(["csv-generation", r#"{"a":1}"#]);
        assert_eq!(fingerprint.0, "8fd0d88175bc7b2def98450ff5327d2b");
        assert_ne!(Fingerprint::of(["ab", "c"]), Fingerprint::of(["a", "bc"]));
    }
}
