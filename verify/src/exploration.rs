//! The model checker's part: the protocol as it is, and weakened in every way that we could think of.

use crate::THREADS;
use crate::model::{Checked, Leases, Weakness, check};
use crate::summary::{Line, Tried};

/// States enough for every weakness to show.
const STATES_OF_A_WEAKENED: usize = 20_000_000;

/// Explores the protocol, at most `at_most_states` generated states under each assumption about leases, and each
/// weakened one: the first must hold, and of the others exactly those fall that must.
pub fn explore(at_most_states: usize) -> Vec<Line> {
    println!("exploring every order of events of one job");
    let mut lines = vec![];
    for leases in Leases::ALL {
        let checked = check(*leases, None, at_most_states, THREADS);
        let extent = if checked.complete { "all of them" } else { "as many as were asked for" };
        let Checked { name, unique_states, violated, counterexample, seconds, .. } = checked;
        println!("  {name}: {unique_states} different states, {extent}, in {seconds:.0} s; violated: {violated:?}");
        for step in counterexample {
            println!("      {step}");
        }
        lines.push(Line::of_exploration(leases.name(), unique_states, Tried::States, violated.len()));
    }
    println!("weakened, it must not hold:");
    let mut misjudged = 0;
    for weakness in Weakness::ALL {
        let checked: Vec<_> =
            Leases::ALL.iter().map(|leases| check(*leases, Some(*weakness), STATES_OF_A_WEAKENED, THREADS)).collect();
        let mut violated: Vec<_> = checked.iter().flat_map(|checked| checked.violated.clone()).collect();
        violated.sort();
        violated.dedup();
        let (name, safe) = (weakness.name(), violated.is_empty());
        let verdict = match (safe, weakness.must_be_safe()) {
            (true, true) => "holds, as it should: the table is the truth".to_owned(),
            (false, false) => format!("caught by: {}", violated.join("; ")),
            (true, false) => "NOT CAUGHT".to_owned(),
            (false, true) => format!("SHOULD HOLD, but violates: {}", violated.join("; ")),
        };
        println!("  {name}: {verdict}");
        misjudged += usize::from(safe != weakness.must_be_safe());
    }
    lines.push(Line::of_exploration("weakened, to be caught", Weakness::ALL.len(), Tried::Variants, misjudged));
    lines
}
