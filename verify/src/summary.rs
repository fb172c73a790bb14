//! What came of it all, as a table.

use std::fmt;

use crate::history::{Kind, Violation};
use crate::simulation::Outcome;

/// The table.
pub struct Summary {
    seed: u64,
    lines: Vec<Line>,
}

/// One kind of attack.
#[derive(Clone, Debug)]
pub struct Line {
    name: String,
    tried: usize,
    of: Tried,
    struck: u64,
    lost: usize,
    doubled: usize,
    stuck: usize,
    backwards: usize,
    untrue: usize,
    missed: usize,
}

/// What an attack tries many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// Jobs.
    Jobs,
    /// States of one job and the world around it.
    States,
    /// Weakened protocols.
    Variants,
}

impl Tried {
    fn name(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::States => "states",
            Self::Variants => "variants",
        }
    }
}

impl Line {
    /// The line of an exploration by the model checker, in which so many things were not as they must be.
    pub fn of_exploration(name: &str, tried: usize, of: Tried, untrue: usize) -> Self {
        Self { of, untrue, ..Self::of(&format!("model: {name}"), tried, 0, &[]) }
    }

    /// The line of a simulated run.
    pub fn of_simulation(name: &str, outcome: &Outcome) -> Self {
        Self::of(&format!("simulation: {name}"), outcome.accepted, outcome.faults, &outcome.violations)
    }

    /// The line of an attack on `tried` jobs in which faults struck so many times.
    pub fn of(name: &str, tried: usize, struck: u64, violations: &[Violation]) -> Self {
        let count = |kind: Kind| violations.iter().filter(|violation| violation.kind == kind).count();
        Self {
            name: name.to_owned(),
            tried,
            of: Tried::Jobs,
            struck,
            lost: count(Kind::Lost),
            doubled: count(Kind::Doubled),
            stuck: count(Kind::Stuck),
            backwards: count(Kind::Backwards),
            untrue: count(Kind::Untrue),
            missed: 0,
        }
    }

    /// The same with so many things that were to be tried, and were not.
    pub fn missing(mut self, missed: usize) -> Self {
        self.missed += missed;
        self
    }

    /// Both together, under this one's name.
    pub fn and(mut self, other: &Self) -> Self {
        self.tried += other.tried;
        self.struck += other.struck;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.stuck += other.stuck;
        self.backwards += other.backwards;
        self.untrue += other.untrue;
        self.missed += other.missed;
        self
    }

    fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.stuck + self.backwards + self.untrue + self.missed == 0
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Summary {
    /// An empty table for a run with this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, lines: vec![] }
    }

    /// Adds a line.
    pub fn add(&mut self, line: Line) {
        self.lines.push(line);
    }

    /// Adds a line, and prints what else there is to say of it.
    pub fn add_with_note(&mut self, (line, note): (Line, String)) {
        println!("{note}");
        self.add(line);
    }

    /// Adds some lines, and prints what else there is to say of them.
    pub fn add_all_with_note(&mut self, (lines, note): (Vec<Line>, String)) {
        println!("{note}");
        self.lines.extend(lines);
    }

    /// Whether nothing happened that must not, and all was tried that should be.
    pub fn is_clean(&self) -> bool {
        self.lines.iter().all(Line::is_clean)
    }

    /// Prints the table.
    pub fn print(&self) {
        println!();
        println!(
            "{:<46} {:>9} {:<8} {:>7} {:>6} {:>8} {:>6} {:>10} {:>7} {:>7}",
            "attack", "tried", "", "faults", "lost", "doubled", "stuck", "backwards", "untrue", "missed"
        );
        let of_jobs = self.lines.iter().filter(|line| line.of == Tried::Jobs);
        let total = of_jobs.cloned().reduce(|sum, line| sum.and(&line));
        let total = total.map(|line| Line { name: "all jobs".to_owned(), ..line });
        for line in self.lines.iter().chain(&total) {
            let Line { name, tried, of, struck, lost, doubled, stuck, backwards, untrue, missed } = line;
            let of = of.name();
            print!("{name:<46} {tried:>9} {of:<8} {struck:>7} {lost:>6} {doubled:>8} ");
            println!("{stuck:>6} {backwards:>10} {untrue:>7} {missed:>7}");
        }
        println!("seed {}", self.seed);
    }
}
