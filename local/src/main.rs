//! `cargo run`: the whole of Dray on this machine.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    local::run(std::env::args_os()).await
}
