//! The promises of Dray's protocol, attacked.
//!
//! Everything here runs the code that ships: the transition function, and the handlers of the functions. Only the world
//! around them is made up, so that it can be as bad as it likes.

#![expect(clippy::expect_used, reason = "a check that cannot go on shall say so and stop")]
#![expect(clippy::print_stdout, reason = "it reports to the person who started it")]

mod deployment;
mod event_source;
mod exploration;
mod functions;
pub mod history;
pub mod model;
mod outputs;
mod overload;
mod resident;
pub mod simulation;
mod stack;
mod summary;
mod virtual_time;

use std::process::ExitCode;

use clap::Parser;

use crate::simulation::Fault;
use crate::summary::Summary;

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
    #[arg(long, default_value_t = exploration::GENERATED)]
    pub states: usize,
    /// How many jobs are queued while no worker runs; of few, the sweeper's two copies a sweep are more than 1 %
    #[arg(long, default_value_t = 50_000)]
    pub overload_jobs: u32,
    /// How many jobs lose their worker while nothing else goes wrong
    #[arg(long, default_value_t = 4)]
    pub rescue_jobs: u32,
    /// How many jobs go through the network with faults
    #[arg(long, default_value_t = 3_000)]
    pub network_jobs: u32,
    /// How many jobs the simulation runs in all
    #[arg(long, default_value_t = 100_000)]
    pub jobs: u32,
    /// Only this kind of fault, as the summary names it
    #[arg(long)]
    pub fault: Option<Fault>,
    /// How often it strikes, in percent of the times that it could; with --fault
    #[arg(long, default_value_t = 5)]
    pub percent: u32,
}

/// Runs everything that `options` ask for and prints the summary. Fails if anything happened that must not, or was missed
/// that was to be tried.
pub fn run(options: &Options) -> ExitCode {
    let mut summary = Summary::new(options.seed);
    let all = options.fault.is_none() && options.only.is_none();
    let wanted = |part: Part| all || options.only == Some(part);
    // First: it looks at this process's memory, which the others would swell.
    if wanted(Part::Overload) {
        summary.add_with_note(overload::overload(options.seed, options.overload_jobs));
    }
    if wanted(Part::EventSource) {
        summary.add_with_note(event_source::answer_in_every_way(options.seed));
    }
    if wanted(Part::Model) {
        for line in exploration::explore(options.states) {
            summary.add(line);
        }
    }
    if wanted(Part::Simulation) || options.fault.is_some() {
        match options.fault {
            Some(fault) => summary.add(simulation::simulate_one(options.seed, fault, options.percent)),
            None => summary.add_all_with_note(simulation::simulate_all(options.seed, options.jobs)),
        }
    }
    if wanted(Part::Kill) {
        if tests::system::functions().is_some() {
            println!("skipped: only functions of a debug build can be killed at points of their code");
        } else {
            summary.add_with_note(in_real_time(stack::kill_everywhere()));
        }
    }
    if wanted(Part::Rescue) {
        summary.add_with_note(in_real_time(stack::time_rescues(options.rescue_jobs)));
    }
    if wanted(Part::Network) {
        summary.add_with_note(in_real_time(stack::cut_the_network(options.seed, options.network_jobs, 10)));
    }
    summary.print();
    if summary.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn in_real_time<T>(attack: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(attack)
}

/// The parts of it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Every order of events of one job, by a model checker.
    Model,
    /// Many jobs in a simulated deployment, under faults.
    Simulation,
    /// A backlog of many jobs while no worker runs, and its drain.
    Overload,
    /// Every answer that the worker could give to its event source.
    #[value(name = "responses")]
    EventSource,
    /// The local stack, its processes killed before and after the calls that a job's life takes.
    Kill,
    /// The local stack, its workers killed, to time how long jobs wait for their next attempt.
    Rescue,
    /// The local stack, behind a network with faults.
    Network,
}

/// How many things are tried at once.
const THREADS: usize = 2;
