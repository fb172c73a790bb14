//! The model checker's part: the protocol as it is, and weakened in every way that we could think of.

use std::fmt;

use crate::THREADS;
use crate::model::{Checked, Leases, Weakness, check};
use crate::summary::{Line, Tried};

/// States enough for every weakness to show.
const STATES_OF_A_WEAKENED: usize = 20_000_000;

/// How many states are generated unless less is asked for, repeated ones included.
pub const GENERATED: usize = 40_000_000;

/// How many different ones must be among them.
const LEAST_STATES: usize = 5_000_000;

/// Explores the protocol, at most `at_most_states` generated states under each assumption about leases, and each
/// weakened one: the first must hold, and of the others exactly those fall that must.
pub fn explore(at_most_states: usize) -> Vec<Line> {
    println!("exploring every order of events of one job");
    let mut lines = vec![];
    for leases in Leases::ALL {
        let checked = check(*leases, None, at_most_states, THREADS);
        let Checked { name, unique_states, violated, counterexample, complete, seconds } = checked;
        let extent = if complete { "all of them" } else { "as many as were asked for" };
        println!("  {name}: {unique_states} different states, {extent}, in {seconds:.0} s; violated: {violated:?}");
        for step in counterexample {
            println!("      {step}");
        }
        let too_few = at_most_states >= GENERATED && !complete && unique_states < LEAST_STATES;
        let line = Line::of_exploration(leases.name(), unique_states, Tried::States, violated.len());
        lines.push(line.missing(usize::from(too_few)));
    }
    println!("weakened, it must not hold:");
    let mut misjudged = 0;
    for weakness in Weakness::ALL {
        let explored = |leases: Leases| {
            let checked = check(leases, Some(*weakness), STATES_OF_A_WEAKENED, THREADS);
            match (checked.violated.join("; "), checked.complete) {
                (violated, _) if !violated.is_empty() => Verdict::Caught(violated),
                (_, true) => Verdict::Holds,
                (_, false) => Verdict::HoldsSoFar(checked.unique_states),
            }
        };
        let [sound, lapsing] = [Leases::Sound, Leases::MayLapse].map(explored);
        println!("  {}: while leases are sound, {sound}; where they may lapse, {lapsing}", weakness.name());
        let (shows_while_sound, shows_where_they_lapse) = weakness.must_show();
        let as_it_should = sound.is_caught() == shows_while_sound && lapsing.is_caught() == shows_where_they_lapse;
        if !as_it_should {
            println!("    NOT AS IT SHOULD BE");
            misjudged += 1;
        }
    }
    lines.push(Line::of_exploration("weakened, to be caught", Weakness::ALL.len(), Tried::Variants, misjudged));
    lines
}

/// What became of a weakened protocol.
enum Verdict {
    /// These properties are violated.
    Caught(String),
    /// None is, in any state within the bounds.
    Holds,
    /// None is, in so many states.
    HoldsSoFar(usize),
}

impl Verdict {
    fn is_caught(&self) -> bool {
        matches!(self, Self::Caught(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caught(violated) => write!(f, "caught by: {violated}"),
            Self::Holds => f.write_str("all holds"),
            Self::HoldsSoFar(states) => write!(f, "all holds in {states} states"),
        }
    }
}
