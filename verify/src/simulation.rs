//! A whole deployment in one thread: the real handlers over ports in memory, under faults, in a time of its own.
//!
//! Everything that is left to chance comes from one seed: the same seed gives the same run, to the last record.

mod campaign;
mod people;
mod ports;
mod run;
mod stream;

use std::fmt;
use std::str::FromStr;

use shared::job::Job;

use crate::model::Leases;

pub(crate) use self::campaign::{simulate_all, simulate_one};
pub use self::ports::Line;
pub use self::run::{Outcome, run};

/// What a job says that gives up: the checker must tell it from one that used up its attempts.
pub const GIVE_UP: &str = "told to give up";

/// What a callback's job says, which gives up here, too: in the simulation nothing signs it, and on the local stack it leads
/// nowhere.
const CALLBACKS: [&str; 2] = ["signs no webhooks", "its address is not public"];

/// Whether the job ended because an attempt gave up.
pub fn gave_up(job: &Job) -> bool {
    let says = |what: &str| job.error.as_deref().is_some_and(|error| error.contains(what));
    says(GIVE_UP) || CALLBACKS.into_iter().any(says)
}

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

    /// Whether leases can be relied on: clocks that differ much make an attempt outlive its own.
    pub fn leases(&self) -> Leases {
        match self.fault {
            Some(Fault::ClockSkew | Fault::Everything) => Leases::MayLapse,
            _ => Leases::Sound,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Some(fault) => write!(f, "--seed {} --fault {:?} --percent {}", self.seed, fault.name(), self.percent),
            None => write!(f, "--seed {} --jobs {} --only simulation", self.seed, self.jobs),
        }
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
    /// People try jobs again that have failed.
    Redrive = "retries by hand",
    /// People put waiting jobs off.
    Reschedule = "reschedules",
    /// The function at the stream's end gets batches again, and its calls get lost.
    EventsDisturbed = "events read again, or not answered",
    /// All of these at once.
    Everything = "everything at once",
}

/// It is the name of no fault.
#[derive(Debug)]
pub struct NoSuchFault(String);

impl fmt::Display for NoSuchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        write!(f, "there is no fault {:?}; there are: {}", self.0, names.join(", "))
    }
}

impl std::error::Error for NoSuchFault {}

impl FromStr for Fault {
    type Err = NoSuchFault;

    fn from_str(text: &str) -> Result<Self, NoSuchFault> {
        Self::ALL.iter().copied().find(|fault| fault.name() == text).ok_or_else(|| NoSuchFault(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_run_to_the_last_record() {
        let plan = Plan { seed: 7, jobs: 60, fault: Some(Fault::Everything), percent: 5 };
        let (one, other) = (run(plan), run(plan));
        assert!(one.faults > 0 && one.story.len() > 60 * 5);
        assert_eq!(one.story, other.story);
        assert_ne!(one.story, run(Plan { seed: 8, ..plan }).story);
    }

    #[test]
    fn a_fault_is_known_by_its_name() {
        assert!(Fault::ALL.iter().all(|fault| fault.name().parse::<Fault>().is_ok_and(|read| read == *fault)));
        let error = "put lots".parse::<Fault>().expect_err("no such fault").to_string();
        assert!(error.starts_with("there is no fault \"put lots\"; there are: put lost, "), "{error}");
    }
}
