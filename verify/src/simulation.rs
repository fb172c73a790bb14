//! A whole deployment in one thread: the real handlers over ports in memory, under faults, in a time of its own.
//!
//! Everything that is left to chance comes from one seed: the same seed gives the same run, to the last record.

mod ports;
mod run;

use std::fmt;

pub use self::run::{Outcome, run};

/// What a job says that gives up: the checker must tell it from one that used up its attempts.
pub const GIVE_UP: &str = "told to give up";

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where all chance comes from.
    pub seed: u64,
    /// How many jobs are submitted.
    pub jobs: u32,
    /// What goes wrong; nothing if `None`.
    pub fault: Option<Fault>,
    /// How often it goes wrong, in percent of the times that it could.
    pub percent: u32,
}

impl Plan {
    /// Whether its fault strikes only where there is something to sweep. There must be much of it then.
    pub fn is_about_sweeping(&self) -> bool {
        matches!(self.fault, Some(Fault::SendPartial | Fault::IndexLag | Fault::TwoSweepers))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = self.fault.map_or("nothing", Fault::name);
        write!(f, "--seed {} --fault {fault:?} --percent {}", self.seed, self.percent)
    }
}

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// The kinds of faults.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($(#[doc = $doc])+ $variant,)+ }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

faults! {
    /// The store does not get an insert.
    PutLost = "put lost",
    /// The store inserts, and its answer gets lost.
    PutUnanswered = "put applied, answer lost",
    /// The queue does not get a message.
    SendLost = "send lost",
    /// The queue takes a message, and its answer gets lost.
    SendUnanswered = "send applied, answer lost",
    /// The queue takes some messages of a batch and not others.
    SendPartial = "partial batch send",
    /// A received message never reaches a worker.
    ReceiveLost = "receive lost",
    /// A message is delivered twice.
    DeliveredTwice = "duplicate delivery",
    /// Messages come in any order, long after one another.
    Reordered = "reorder",
    /// A message becomes visible again while its job runs.
    VisibilityOver = "visibility expires during the run",
    /// The worker is throttled: deliveries count, and nothing runs.
    Throttled = "throttled receives",
    /// The worker dies before the effect.
    KillBeforeEffect = "kill before the effect",
    /// The worker dies after the effect.
    KillAfterEffect = "kill after the effect",
    /// The worker dies before it writes the outcome.
    KillBeforeCommit = "kill before the commit",
    /// The worker dies after it wrote the outcome.
    KillAfterCommit = "kill after the commit",
    /// The store applies a change, and its answer gets lost.
    ChangeUnanswered = "commit applied, answer lost",
    /// Any process dies at any call.
    KillAnywhere = "kill anywhere",
    /// The index lags behind the table, by up to 10 s: what has changed since comes as it was before.
    IndexLag = "index lag to 10 s",
    /// Clocks differ, by up to 300 s either way.
    ClockSkew = "clock skew of 300 s",
    /// Two sweepers run at once.
    TwoSweepers = "two sweepers at once",
    /// Clients cancel jobs.
    Cancel = "cancels",
    /// All of these at once.
    Everything = "everything at once",
}
