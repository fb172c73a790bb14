//! The API over ports in memory, for what tests it from outside: `cargo run -p tests --bin serve -- --port 0`.
//!
//! Prints `ready: http://127.0.0.1:PORT` once it can be called, works on the jobs that come, and ends when its standard
//! input is closed, which is when whoever started it is gone.

#![expect(clippy::print_stdout, reason = "whoever started it reads where it can be called")]

use std::io;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use tests::world::World;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// The API over ports in memory, until the standard input is closed.
#[derive(Debug, Parser)]
struct Options {
    /// Where to listen on 127.0.0.1; 0 is any port that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let Options { port } = Options::parse();
    let world = World::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("ready: http://{}", listener.local_addr()?);
    tokio::select! {
        served = axum::serve(listener, world.router.clone()).into_future() => served,
        () = live(&world) => Ok(()),
        () = input_closed() => Ok(()),
    }
}

/// How often the worker is given what waits for it.
const BETWEEN_DELIVERIES: Duration = Duration::from_millis(50);

/// How many batches it is given in a row, before the clock moves on.
const MOST_BATCHES: usize = 20;

/// How often the sweeper comes. In the cloud it is once a minute; here nobody waits so long.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(5);

/// Moves the world's clock on as time passes, and lets its worker and its sweeper do their part, for ever.
async fn live(world: &World) {
    let mut seen = Instant::now();
    let mut swept = seen;
    loop {
        sleep(BETWEEN_DELIVERIES).await;
        let now = Instant::now();
        world.clock.advance(now - seen);
        seen = now;
        for _ in 0..MOST_BATCHES {
            if world.deliver().await == 0 {
                break;
            }
        }
        if now - swept >= BETWEEN_SWEEPS {
            world.sweep().await;
            swept = now;
        }
    }
}

/// Ends once nobody can write to the standard input any more.
async fn input_closed() {
    let (closed, told) = oneshot::channel();
    // A thread, not a task: reading cannot be called off, and a runtime waits for its tasks.
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = closed.send(());
    });
    let _ = told.await;
}
