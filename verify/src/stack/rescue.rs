//! How long a job waits for its next attempt when its worker has been killed, and nothing else has.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use shared::job::event::Event;
use shared::job::transition::LEASE_MARGIN;
use shared::job::{Job, Status};
use shared::ports::{Clock, JobStore};
use shared::values::id::JobId;
use shared::values::time::Timestamp;
use shared_aws::system::SystemClock;

use super::{Attacked, spread};
use crate::history::{Kind, Violation};
use crate::summary::Line;

/// A job whose first attempt waits for ever.
const JOB: &str = r#"{"type":"rehearsal","payload":{"attempts":["hang","succeed"]},"timeout_seconds":20}"#;

/// Its timeout.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How often the schedule in `template.yaml` sweeps.
const SWEEPS_APART: Duration = Duration::from_secs(60);

/// How long after another two jobs lose their workers: so that each meets the schedule at another point.
const KILLS_APART: Duration = Duration::from_secs(17);

/// How long a job may take to be started at first, and all of them to end at last.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));

/// Starts `jobs` jobs, kills the worker of each and times how long it is until their next attempts. That may be at most
/// the lease and two sweeps: the first may come just before the lease is over.
pub async fn time_rescues(jobs: u32) -> (Line, String) {
    let mut attacked = Attacked::start("verify-rescue", None).await;
    let mut killed = vec![];
    for number in 0..jobs {
        attacked.submit(format!("rescue-{number}"), JOB, Some(Status::Completed)).await;
        let job = attacked.accepted.last().expect("just submitted").id;
        until_it_runs(&attacked, job).await;
        kill_workers(&attacked);
        killed.push((job, SystemClock.now()));
        tokio::time::sleep(KILLS_APART).await;
    }
    let jobs = attacked.wait(PATIENCE.1).await;

    let bound = TIMEOUT + LEASE_MARGIN + 2 * SWEEPS_APART;
    let mut violations = attacked.violations(&jobs).await;
    let mut waits = vec![];
    for (id, killed_at) in killed {
        let next = jobs.iter().find(|job| job.id == id).and_then(|job| first_start_after(job, killed_at));
        let Some(next) = next else { continue }; // stuck or lost, as the violations say
        let wait = next.since(killed_at);
        if wait > bound {
            let what = format!("waited {} s for its next attempt; {} s is the most", wait.as_secs(), bound.as_secs());
            violations.push(Violation { kind: Kind::Stuck, job: id, what });
        }
        waits.push(wait);
    }
    for violation in &violations {
        println!("{violation}");
    }
    let struck = waits.len() as u64;
    let waits = spread(waits).unwrap_or_else(|| "no job had another attempt".to_owned());
    let note = format!(
        "from kill -9 of a worker to the next attempt of its job: {waits}; the lease and two sweeps are {} s",
        bound.as_secs()
    );
    (Line::of("local stack: rescue from a dead worker", jobs.len(), struck, &violations), note)
}

async fn until_it_runs(attacked: &Attacked, job: JobId) {
    let end = Instant::now() + PATIENCE.0;
    let store = attacked.store();
    loop {
        let job = store.find(job).await.expect("the engine answers").expect("it was accepted");
        if job.status() == Status::Processing {
            return;
        }
        assert!(Instant::now() < end, "no worker started job {} within {:?}", job.id, PATIENCE.0);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Kills the worker's processes: whichever of them has the job is among them.
fn kill_workers(attacked: &Attacked) {
    let workers = attacked.processes("WorkerFunctionName");
    assert!(!workers.is_empty(), "a job runs, so a worker does");
    for worker in workers.into_iter().filter_map(Pid::from_raw) {
        let _ = kill_process(worker, Signal::KILL); // it may have ended by itself
    }
}

fn first_start_after(job: &Job, time: Timestamp) -> Option<Timestamp> {
    let starts = job.history.iter().filter(|event| matches!(event, Event::Started { .. }));
    starts.map(Event::at).find(|at| *at > time)
}
