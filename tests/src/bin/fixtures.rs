//! Stores the jobs that the events in `events/` name in the table of a running `cargo run`, for `sam local invoke`:
//! `cargo run --bin fixtures`. Again, and those that have ended since are there anew.

#![expect(clippy::print_stdout, reason = "it talks to the person who started it")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Parser;
use shared::ports::Clock as _;
use shared_aws::dynamodb::DynamoStore;
use shared_aws::system::SystemClock;
use tests::fixtures::FIXTURES;
use tests::table::{Meter, client_of};

/// The jobs that `events/` names, for `sam local invoke` beside `cargo run`.
#[derive(Debug, Parser)]
struct Options {
    /// The data folder of the running stack
    #[arg(long, default_value = ".dray")]
    data_dir: PathBuf,
}

#[tokio::main]
async fn main() {
    let file = Options::parse().data_dir.join("aws.env");
    let variables = dotenvy::from_path_iter(&file).expect("`cargo run` has written aws.env to the data folder");
    let variables: BTreeMap<String, String> = variables.collect::<Result<_, _>>().expect("variables");
    let client = client_of(&variables["AWS_ENDPOINT_URL"], &Meter::default());
    let store = DynamoStore::with_client(client, variables["TABLE_NAME"].clone());
    for fixture in FIXTURES {
        let id = fixture.store(&store, SystemClock.now()).await;
        println!("{id}  events/{}", fixture.event);
    }
}
