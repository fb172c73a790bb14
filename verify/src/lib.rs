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
mod stack;
mod summary;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

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
    /// How many times four jobs are submitted while processes are killed
    #[arg(long, default_value_t = 3)]
    pub kill_rounds: u32,
    /// How many jobs go through the network with faults
    #[arg(long, default_value_t = 3_000)]
    pub network_jobs: u32,
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
    if wanted(Part::Kill) {
        attack_with(
            async |summary: &mut Summary| {
                let (line, note) = stack::kill_everywhere(options.kill_rounds).await;
                println!("{note}");
                summary.add(line);
            },
            &mut summary,
        );
    }
    if wanted(Part::Network) {
        attack_with(
            async |summary: &mut Summary| {
                summary.add(stack::cut_the_network(options.seed, options.network_jobs, 10).await);
            },
            &mut summary,
        );
    }
    summary.print();
    if explored && summary.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn attack_with(attack: impl AsyncFnOnce(&mut Summary), summary: &mut Summary) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(attack(summary));
}

/// The parts of it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Every order of events of one job, by a model checker.
    Model,
    /// Many jobs in a simulated deployment, under faults.
    Simulation,
    /// The local stack, its processes killed at every call.
    Kill,
    /// The local stack, behind a network with faults.
    Network,
}

/// How often faults strike, in percent.
const PERCENTS: [u32; 3] = [1, 5, 20];

/// How many things are tried at once.
const THREADS: usize = 2;

/// How many jobs one simulated run has: enough to be in each other's way.
const JOBS_OF_A_RUN: u32 = 200;

fn simulate(options: &Options, summary: &mut Summary) {
    if let Some(name) = &options.fault {
        let fault = Fault::ALL.iter().copied().find(|fault| fault.name() == name);
        let plan = Plan { seed: options.seed, jobs: JOBS_OF_A_RUN, fault, percent: options.percent };
        summary.add(simulate_one(plan));
        return;
    }
    let kinds: Vec<_> = std::iter::once((None, 0))
        .chain(Fault::ALL.iter().flat_map(|fault| PERCENTS.map(|percent| (Some(*fault), percent))))
        .collect();
    let runs = options.jobs.div_ceil(JOBS_OF_A_RUN);
    let next = AtomicU32::new(0);
    let lines = Mutex::new(BTreeMap::<Option<Fault>, Line>::new());
    std::thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs {
                        break;
                    }
                    let (fault, percent) = kinds[number as usize % kinds.len()];
                    let seed = options.seed + u64::from(number);
                    let line = simulate_one(Plan { seed, jobs: JOBS_OF_A_RUN, fault, percent });
                    let mut lines = lines.lock().expect("no run panics");
                    let line = match lines.remove(&fault) {
                        Some(before) => before.and(&line),
                        None => line,
                    };
                    lines.insert(fault, line);
                }
            });
        }
    });
    for line in lines.into_inner().expect("no run panics").into_values() {
        summary.add(line);
    }
}

fn simulate_one(plan: Plan) -> Line {
    let outcome = simulation::run(plan);
    if let Some(first) = outcome.violations.first() {
        println!("\n{first}\n  again: cargo run -p verify -- {plan}\n  its story:");
        for record in outcome.records.iter().filter(|record| record.job() == first.job) {
            println!("    {record:?}");
        }
    }
    Line::of_simulation(plan.fault.map_or("no fault", Fault::name), &outcome)
}
