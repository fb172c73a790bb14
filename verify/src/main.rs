//! One command that attacks every promise and prints what came of it.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    verify::run(&verify::Options::parse())
}
