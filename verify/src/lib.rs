//! The promises of Dray's protocol, attacked.
//!
//! Everything here runs the code that ships: the transition function, and the handlers of the functions. Only the world
//! around them is made up, so that it can be as bad as it likes.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a check that cannot go on shall say so and stop")]
#![expect(clippy::print_stdout, reason = "it reports to the person who started it")]

mod exploration;
pub mod history;
pub mod model;
pub mod simulation;
mod summary;

use std::process::ExitCode;

use clap::Parser;

use crate::simulation::{Fault, Plan};
use crate::summary::{Line, Summary};

/// Attacks the promises of Dray's protocol and prints what came of it.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// Where all chance comes from; a run with the same seed is the same run
    #[arg(long, default_value_t = 20_261_122)]
    pub seed: u64,
    /// Only this part
    #[arg(long)]
    pub only: Option<Part>,
    /// How many states the model checker generates at most, for each assumption about leases
    #[arg(long, default_value_t = 40_000_000)]
    pub states: usize,
    /// How many jobs the simulation runs in all
    #[arg(long, default_value_t = 100_000)]
    pub jobs: u32,
    /// Only this kind of fault, as the summary names it
    #[arg(long)]
    pub fault: Option<String>,
    /// How often it strikes, in percent of the times that it could; with --fault
    #[arg(long, default_value_t = 5)]
    pub percent: u32,
}

/// Runs everything that `options` ask for and prints the summary. Fails if anything happened that must not.
pub fn run(options: &Options) -> ExitCode {
    let mut summary = Summary::new(options.seed);
    let all = options.fault.is_none() && options.only.is_none();
    let wanted = |part: Part| all || options.only == Some(part);
    let explored = !wanted(Part::Model) || exploration::explore(options.states);
    if wanted(Part::Simulation) || options.fault.is_some() {
        simulate(options, &mut summary);
    }
    summary.print();
    if explored && summary.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The parts of it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Every order of events of one job, by a model checker.
    Model,
    /// Many jobs in a simulated deployment, under faults.
    Simulation,
}

/// How often faults strike, in percent.
const PERCENTS: [u32; 3] = [1, 5, 20];

fn simulate(options: &Options, summary: &mut Summary) {
    if let Some(name) = &options.fault {
        let fault = Fault::ALL.iter().copied().find(|fault| fault.name() == name);
        let plan = Plan { seed: options.seed, jobs: options.jobs, fault, percent: options.percent };
        summary.add(simulate_one(plan, name));
        return;
    }
    let runs = u32::try_from(Fault::ALL.len() * PERCENTS.len() + 1).unwrap_or(u32::MAX);
    let jobs = options.jobs.div_ceil(runs);
    summary.add(simulate_one(Plan { seed: options.seed, jobs, fault: None, percent: 0 }, "no fault"));
    for (number, fault) in (1..).zip(Fault::ALL) {
        let mut lines = PERCENTS.iter().map(|percent| {
            let plan = Plan { seed: options.seed + number, jobs, fault: Some(*fault), percent: *percent };
            simulate_one(plan, fault.name())
        });
        let first = lines.next().expect("at least one rate");
        summary.add(lines.fold(first, Line::and));
    }
}

fn simulate_one(plan: Plan, name: &str) -> Line {
    let outcome = simulation::run(plan);
    if let Some(first) = outcome.violations.first() {
        println!("\n{first}\n  again: cargo run -p verify -- {plan}\n  its story:");
        for record in outcome.records.iter().filter(|record| record.job() == first.job) {
            println!("    {record:?}");
        }
    }
    Line::of_simulation(name, &outcome)
}
