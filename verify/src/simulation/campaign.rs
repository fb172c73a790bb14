//! Many runs: without a fault, and with each kind at each rate.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Fault, Plan, run};
use crate::THREADS;
use crate::summary::Line;

/// How often faults strike, in percent.
const PERCENTS: [u32; 3] = [1, 5, 20];

/// How many jobs one run has: enough to be in each other's way.
const JOBS_OF_A_RUN: u32 = 200;

/// How many runs of each kind there must be for each fault to strike, and from which rate on it must.
const ENOUGH_OF_EACH: usize = 3;
const OFTEN: u32 = 5;

/// A kind of runs.
type Storm = (Option<Fault>, u32);

/// What came of the runs of one kind.
struct Weathered {
    line: Line,
    struck: u64,
    longest_lie: Duration,
}

/// Runs `jobs` jobs in all, spread over all kinds of runs. Gives a line for each kind of fault, and a sentence on the
/// dead-letter queue. Where there are enough runs of each kind, each fault must have struck.
pub fn simulate_all(seed: u64, jobs: u32) -> (Vec<Line>, String) {
    let storms: Vec<Storm> = std::iter::once((None, 0))
        .chain(Fault::ALL.iter().flat_map(|fault| PERCENTS.map(|percent| (Some(*fault), percent))))
        .collect();
    let runs = jobs.div_ceil(JOBS_OF_A_RUN);
    let next = AtomicU32::new(0);
    let weathered = Mutex::new(BTreeMap::<Storm, Weathered>::new());
    std::thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs {
                        break;
                    }
                    let (fault, percent) = storms[number as usize % storms.len()];
                    let plan = Plan { seed: seed + u64::from(number), jobs: JOBS_OF_A_RUN, fault, percent };
                    let more = weather(plan);
                    let mut weathered = weathered.lock().expect("no run panics");
                    let sum = match weathered.remove(&(fault, percent)) {
                        Some(before) => before.and(&more),
                        None => more,
                    };
                    weathered.insert((fault, percent), sum);
                }
            });
        }
    });
    let weathered = weathered.into_inner().expect("no run panics");
    let longest_lie = weathered.values().map(|weathered| weathered.longest_lie).max().unwrap_or_default();
    let must_strike = runs as usize >= ENOUGH_OF_EACH * storms.len();
    let mut lines = BTreeMap::<Option<Fault>, Line>::new();
    for ((fault, percent), Weathered { mut line, struck, .. }) in weathered {
        if must_strike && percent >= OFTEN && struck == 0 {
            println!("{line} never struck at {percent} %");
            line = line.missing(1);
        }
        let line = match lines.remove(&fault) {
            Some(before) => before.and(&line),
            None => line,
        };
        lines.insert(fault, line);
    }
    let note = format!(
        "{runs} runs; the longest that a failed job had no dead letter, or one that is not failed had one: {} s",
        longest_lie.as_secs()
    );
    (lines.into_values().collect(), note)
}

/// Runs some jobs through one fault.
pub fn simulate_one(seed: u64, fault: Fault, percent: u32) -> Line {
    weather(Plan { seed, jobs: JOBS_OF_A_RUN, fault: Some(fault), percent }).line
}

fn weather(plan: Plan) -> Weathered {
    let outcome = run(plan);
    if let Some(first) = outcome.violations.first() {
        println!("\n{first}\n  again: cargo run -p verify -- {plan}\n  its story:");
        for line in outcome.story.iter().filter(|line| line.job == Some(first.job)) {
            println!("    {line}");
        }
    }
    Weathered {
        line: Line::of_simulation(plan.fault.map_or("no fault", Fault::name), &outcome),
        struck: outcome.faults,
        longest_lie: outcome.longest_lie,
    }
}

impl Weathered {
    fn and(self, other: &Self) -> Self {
        Self {
            line: self.line.and(&other.line),
            struck: self.struck + other.struck,
            longest_lie: self.longest_lie.max(other.longest_lie),
        }
    }
}
