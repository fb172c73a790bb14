//! `cargo run`: the whole of Dray on this machine.

use clap::Parser;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    local::run(local::CommandLine::parse()).await
}
