//! `kill -9` at every call that a job's life takes, before and after it.

use std::time::{Duration, Instant};

use reqwest::Client;
use shared::job::event::Event;
use shared::job::{Job, Status};
use shared::ports::Clock;
use shared_aws::system::SystemClock;
use tokio::task::JoinSet;

use super::{Attacked, spread};
use crate::summary::Line;

/// What people do until a process has died at each point of some calls.
struct Scene {
    /// The calls. Each has a point before it and one after it.
    calls: &'static [&'static str],
    /// What they do, once for each try.
    act: Act,
    /// A point at which a process dies besides, in each try: that is how a message gets lost, or an attempt.
    besides: Option<&'static str>,
    /// How long a try may take until a process dies.
    patience: Duration,
}

/// What people do.
#[derive(Clone, Copy)]
enum Act {
    /// They submit a job that must end so.
    Submit(&'static str, Status),
    /// They submit two jobs at once.
    SubmitBatch,
    /// They store a product, with its job.
    CreateProduct,
    /// They submit a job for later, and cancel it.
    CancelWaiting,
    /// They submit a job for later, and have it start at once.
    Reschedule,
    /// They submit a job that expires as soon as it may start.
    LetExpire,
    /// They submit a job that waits for ever, and cancel it while it runs.
    CancelRunning,
    /// They submit a job that fails, and have it tried again until it is completed.
    TryAgain,
}

const ONE_CSV: &str = r#"{"type":"csv-generation","payload":{"a":1},"max_attempts":10,"timeout_seconds":5}"#;
const LATE_CSV: &str = r#"{"type":"csv-generation","payload":{"a":1},"max_attempts":10,"delay_seconds":600}"#;
/// The address is refused before anybody connects to it.
const CALLS_BACK: &str =
    r#"{"type":"csv-generation","payload":{"a":1},"max_attempts":10,"callback_url":"https://127.0.0.1/hooks"}"#;
const FAILS_ONCE: &str = r#"{"type":"rehearsal","payload":{"attempts":["fail","succeed"]},"max_attempts":10}"#;
const GIVES_UP: &str = r#"{"type":"rehearsal","payload":{"attempts":["give_up"]},"max_attempts":10}"#;
const FAILS_OFTEN: &str = r#"{"type":"rehearsal","payload":{"attempts":["give_up","give_up","give_up","succeed"]}}"#;
const CRASHES: &str = r#"{"type":"rehearsal","payload":{"attempts":["crash"]},"max_attempts":1,"timeout_seconds":1}"#;
const HANGS: &str = r#"{"type":"rehearsal","payload":{"attempts":["hang"]},"max_attempts":3,"timeout_seconds":5}"#;
/// So many parts that they take more than one turn of ten seconds.
const IS_LARGE: &str =
    r#"{"type":"rehearsal","payload":{"rows":3000000,"takes_ms":1500},"max_attempts":10,"timeout_seconds":10}"#;

/// Long enough for what happens at once.
const SOON: Duration = Duration::from_secs(20);

/// Long enough for the sweeper to miss a message.
const LATER: Duration = Duration::from_secs(100);

const SCENES: [Scene; 16] = [
    Scene::of(
        &["api.insert", "api.send", "worker.claim", "worker.effect", "worker.complete"],
        Act::Submit(ONE_CSV, Status::Completed),
    ),
    Scene::of(&["api.insert_all", "api.send_all"], Act::SubmitBatch),
    Scene::of(&["api.insert_with"], Act::CreateProduct),
    Scene::of(&["worker.retry", "worker.hide"], Act::Submit(FAILS_ONCE, Status::Completed)),
    Scene::of(&["worker.fail"], Act::Submit(GIVES_UP, Status::Failed)),
    Scene::of(&["api.find", "api.cancel_pending"], Act::CancelWaiting),
    Scene::of(&["api.reschedule"], Act::Reschedule),
    Scene::of(&["api.request_cancel", "worker.yield_to_cancel"], Act::CancelRunning),
    Scene::of(&["worker.report", "worker.yield"], Act::Submit(IS_LARGE, Status::Completed)).within(LATER),
    Scene::of(&["events.insert_all", "events.send_all"], Act::Submit(CALLS_BACK, Status::Completed)),
    Scene::of(&["worker.lapse"], Act::LetExpire),
    Scene::of(
        &["sweeper.overdue", "sweeper.send_all", "sweeper.expire", "sweeper.dead_letters", "sweeper.find"],
        Act::Submit(CRASHES, Status::Failed),
    ),
    Scene::of(&["api.redrive", "sweeper.delete_dead_letters"], Act::TryAgain).within(LATER),
    Scene::of(&["sweeper.expire_cancelled"], Act::CancelRunning).with("worker.yield_to_cancel.before").within(LATER),
    Scene::of(&["sweeper.lapse"], Act::LetExpire).with("worker.claim.before").within(LATER),
    Scene::of(&["sweeper.postpone", "sweeper.waiting"], Act::Submit(ONE_CSV, Status::Completed))
        .with("worker.claim.before")
        .within(LATER),
];

impl Scene {
    const fn of(calls: &'static [&'static str], act: Act) -> Self {
        Self { calls, act, besides: None, patience: SOON }
    }

    const fn with(self, point: &'static str) -> Self {
        Self { besides: Some(point), ..self }
    }

    const fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    fn points(&self) -> Vec<String> {
        self.calls.iter().flat_map(|call| [format!("{call}.before"), format!("{call}.after")]).collect()
    }
}

/// How often a scene is played until a process has died at each of its points.
const TRIES: u32 = 12;

/// How long jobs may take to their ends when all is over.
const PATIENCE: Duration = Duration::from_secs(420);

/// How long after another two sweeps begin, besides those of the schedule.
const SWEEPS_APART: Duration = Duration::from_secs(2);

/// Kills a process of each function at each of its points and waits for every job's right end. Gives a sentence on what
/// was reached besides.
pub async fn kill_everywhere() -> (Line, String) {
    let mut attacked = Attacked::start("verify-kill", None).await;
    let mut sweeping = JoinSet::new();
    sweeping.spawn(sweep_again_and_again(attacked.sweeper_url()));
    let (mut points, mut unreached) = (0, vec![]);
    for (number, scene) in SCENES.iter().enumerate() {
        points += scene.points().len();
        unreached.extend(play(&mut attacked, number, scene).await);
    }
    sweeping.shutdown().await;
    let jobs = attacked.drain(PATIENCE).await;
    let violations = attacked.violations(&jobs).await;
    for violation in &violations {
        println!("{violation}");
    }
    let reached = points - unreached.len();
    let note =
        format!("kill -9 at {reached} of {points} points, never reached: {unreached:?}; {}", rescue_times(&jobs));
    let line = Line::of("local stack: kill -9 everywhere", jobs.len(), reached as u64, &violations);
    (line.missing(unreached.len()), note)
}

/// Plays a scene until a process has died at each of its points. Gives those at which none has.
async fn play(attacked: &mut Attacked, number: usize, scene: &Scene) -> Vec<String> {
    let folder = attacked.kill_points();
    let left = || scene.points().into_iter().filter(|point| folder.join(point).exists()).collect::<Vec<_>>();
    // The process that comes to one of them next dies there.
    let arm = |point: &str| std::fs::write(folder.join(point), "").expect("written");
    scene.points().iter().for_each(|point| arm(point));
    for one_try in 0..TRIES {
        if let Some(point) = scene.besides {
            arm(point);
        }
        let before = left().len();
        attacked.act(scene.act, &format!("kill-{number}-{one_try}")).await;
        let end = Instant::now() + scene.patience;
        while left().len() == before && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if left().is_empty() {
            break;
        }
    }
    let unreached = left();
    for point in unreached.iter().map(String::as_str).chain(scene.besides) {
        // Not in a later scene, where nobody would wait for it. It may be reached in this very moment.
        let _ = std::fs::remove_file(attacked.kill_points().join(point));
    }
    unreached
}

async fn sweep_again_and_again(sweeper_url: String) {
    loop {
        tokio::time::sleep(SWEEPS_APART).await;
        let _ = Client::new().post(&sweeper_url).body("{}").send().await; // it may die
    }
}

impl Attacked {
    async fn act(&mut self, act: Act, key: &str) {
        match act {
            Act::Submit(body, end) => self.submit(key.to_owned(), body, Some(end)).await,
            Act::SubmitBatch => {
                let answer = self.post("/jobs/batch", Some(key), &format!(r#"{{"jobs":[{ONE_CSV},{ONE_CSV}]}}"#)).await;
                for (number, job) in answer["jobs"].as_array().expect("an outcome for each").iter().enumerate() {
                    self.expect(&job["job_id"], format!("{key}/{number}"), Some(Status::Completed));
                }
            }
            Act::CreateProduct => {
                let answer = self.post("/products", Some(key), r#"{"name":"a lamp","price":1999}"#).await;
                self.expect(&answer["job_id"], key.to_owned(), Some(Status::Completed));
            }
            Act::CancelWaiting => {
                self.submit(key.to_owned(), LATE_CSV, Some(Status::Cancelled)).await;
                self.act_on_latest("cancel", "").await;
            }
            Act::Reschedule => {
                self.submit(key.to_owned(), LATE_CSV, Some(Status::Completed)).await;
                self.act_on_latest("reschedule", r#"{"delay_seconds":0}"#).await;
            }
            Act::LetExpire => {
                // A message is held back for whole seconds, so it comes too late; unless the job expires, it is done.
                let run_at = SystemClock.now() + Duration::from_secs(5);
                let expires_at = run_at + Duration::from_millis(1);
                let job = r#""type":"csv-generation","payload":{"a":1}"#;
                let body = format!(r#"{{{job},"run_at":"{run_at}","expires_at":"{expires_at}"}}"#);
                self.submit(key.to_owned(), &body, None).await;
            }
            Act::CancelRunning => {
                self.submit(key.to_owned(), HANGS, Some(Status::Cancelled)).await;
                self.until_latest(|job| job.status() != Status::Pending).await;
                self.act_on_latest("cancel", "").await;
            }
            Act::TryAgain => {
                self.submit(key.to_owned(), FAILS_OFTEN, Some(Status::Completed)).await;
                let mut tries = 0;
                while self.until_latest(|job| job.status().is_terminal()).await == Status::Failed {
                    tokio::time::sleep(A_LETTER_TAKES).await;
                    self.act_on_latest("retry", "").await;
                    tries += 1;
                    self.until_latest(|job| times_redriven(job) == tries).await;
                }
            }
        }
    }
}

/// How long the message of a failed job is on its way to the dead-letter queue: it is delivered twelve times.
const A_LETTER_TAKES: Duration = Duration::from_secs(15);

fn times_redriven(job: &Job) -> usize {
    job.history.iter().filter(|event| matches!(event, Event::Redriven { .. })).count()
}

/// How long jobs waited from the beginning of an attempt that died to the beginning of the next.
fn rescue_times(jobs: &[Job]) -> String {
    let mut waits = vec![];
    for pair in jobs.iter().flat_map(|job| job.history.windows(2)) {
        if let [Event::Started { at: died }, Event::Started { at: next }] = pair {
            waits.push(next.since(*died));
        }
    }
    spread(waits).map_or_else(
        || "no attempt died and was followed by another".to_owned(),
        |spread| format!("from an attempt that died to the next: {spread}"),
    )
}
