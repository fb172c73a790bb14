//! Explores every order in which things can happen to one job: two workers, a sweeper, the API and a client take
//! their steps in any order, the queue loses, doubles and delays, answers get lost, processes die between any two
//! steps, and the clock goes on.
//!
//! What may happen to the job is not described here: every change goes through [`shared::job::transition::transition`],
//! every look of the sweeper through [`shared::job::due::decide`]. Here is the world around them: what a process does next,
//! as `functions/` does it, and what can go wrong. [`Weakness`] tells the rule small lies, to see that the properties
//! would notice.

mod dray;
mod weakness;
mod world;

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use dray::Dray;
pub use weakness::Weakness;

/// Whether an attempt can outlive its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leases {
    /// It cannot: before its lease is over, an attempt has ended or its process has died. What is still to be written
    /// down may come at any time all the same.
    Sound,
    /// It can: clocks differ, a job does not stop at its timeout, a process sleeps and wakes.
    MayLapse,
}

impl Leases {
    /// Both.
    pub const ALL: &[Self] = &[Self::Sound, Self::MayLapse];

    /// What it says of the leases.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sound => "leases are sound",
            Self::MayLapse => "leases may lapse",
        }
    }
}

/// How much of the world is explored. Nothing else is bounded: any number of crashes, losses and lost answers fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Attempts that the job may have.
    pub max_attempts: u8,
    /// Messages that are in the queue at one time, those held back or being worked on included. One more is lost.
    pub copies: u8,
    /// How often the clock ticks. A lease lasts one tick, and so does the sweeper's patience.
    pub ticks: u8,
    /// Whether to look as well at a job whose delay is longer than the queue can keep.
    pub delayed_too: bool,
}

impl Bounds {
    /// Enough for every [`Weakness`] to show.
    pub const fn small() -> Self {
        Self { max_attempts: 2, copies: 2, ticks: 4, delayed_too: false }
    }

    /// For the protocol as it is.
    pub const fn large() -> Self {
        Self { max_attempts: 2, copies: 3, ticks: 5, delayed_too: true }
    }
}

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What was explored.
    pub name: String,
    /// Different states seen.
    pub unique_states: usize,
    /// The properties that do not hold, by their names.
    pub violated: Vec<String>,
    /// What happens until the first of them is violated, each step after what the world was like before it; empty if
    /// none is.
    pub counterexample: Vec<String>,
    /// Whether these were all states within the bounds. If not, the exploration stopped at its limit, or at a
    /// violation.
    pub complete: bool,
    /// How long it took.
    pub seconds: f64,
}

/// Explores the protocol, or a weakened one, until a property is violated, there is nothing new to be seen, or
/// `at_most_states` states have been generated: repeated ones count, so fewer different ones.
pub fn check(leases: Leases, weakness: Option<Weakness>, at_most_states: usize, threads: usize) -> Checked {
    let bounds = if weakness.is_some() { Bounds::small() } else { Bounds::large() };
    check_within(bounds, leases, weakness, at_most_states, threads)
}

/// [`check`] within bounds of one's own.
pub fn check_within(
    bounds: Bounds,
    leases: Leases,
    weakness: Option<Weakness>,
    at_most_states: usize,
    threads: usize,
) -> Checked {
    let began = Instant::now();
    let checker = Dray::new(leases, weakness, bounds)
        .checker()
        .threads(threads.max(1))
        .target_state_count(at_most_states)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let mut found: Vec<_> = checker.discoveries().into_iter().collect();
    found.sort_by_key(|(name, _)| *name);
    let violated: Vec<_> = found.iter().map(|(name, _)| (*name).to_owned()).collect();
    let complete = violated.is_empty() && (at_most_states == 0 || checker.state_count() < at_most_states);
    let counterexample = found.into_iter().next().map_or_else(Vec::new, |(_, path)| {
        path.into_vec().iter().map(|(world, action)| world.then(action.as_ref())).collect()
    });
    let what = weakness.map_or("the protocol", Weakness::name);
    Checked {
        name: format!("{what}, {}", leases.name()),
        unique_states: checker.unique_state_count(),
        violated,
        counterexample,
        complete,
        seconds: began.elapsed().as_secs_f64(),
    }
}
