//! What the processes do next, what can go wrong, and what must hold all the same.

use shared::job::due::{Decision, LONGEST_QUEUE_DELAY, decide, queue_delay};
use shared::job::submission::{Origin, Submission};
use shared::job::transition::{Change, Fence, LEASE_MARGIN, Refusal, transition};
use shared::job::{Job, State, Status};
use shared::values::id::{JobId, Tenant};
use shared::values::json::Json;
use shared::values::time::Timestamp;
use stateright::{Model, Property};

use super::weakness::pretend_lease_over;
use super::world::{Api, Hold, NEVER, Outcome, Row, Sweeper, TICK, Worker, World, tick, time, token};
use super::{Bounds, Leases, Weakness};

/// The system, as it is explored.
pub struct Dray {
    leases: Leases,
    weakness: Option<Weakness>,
    bounds: Bounds,
    /// The job as the API accepts it: to start at once.
    prompt: Job,
    /// The same with a delay that the queue cannot keep.
    delayed: Job,
    /// What every successful attempt returns.
    result: Json,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The API stores the job, or tries again because it got no answer.
    Store {
        /// Whether it gets one now.
        answered: bool,
    },
    /// The API sends the job's message and answers its client.
    Announce {
        /// Whether the queue took the message.
        sent: bool,
    },
    /// The API's process dies.
    ApiDies,
    /// The client, left without an answer, sends its request again under the same key.
    RepeatRequest,
    /// The queue loses a message.
    LoseMessage,
    /// The queue doubles a message.
    DoubleMessage,
    /// A hidden message becomes visible.
    MessageReappears,
    /// A worker does something.
    Worker(usize, Step),
    /// The sweeper asks what is overdue.
    Look,
    /// The sweeper does something about the job it found.
    Sweep {
        /// Whether it gets an answer. If not, it tries again.
        answered: bool,
    },
    /// The sweeper sends a message.
    SendAgain {
        /// Whether the queue took it, or had enough messages waiting.
        sent: bool,
    },
    /// The sweeper's process dies.
    SweeperDies,
    /// The client wants the job cancelled if it is waiting.
    CancelPending,
    /// The client wants the job cancelled if it is running.
    RequestCancel,
    /// Time passes.
    Tick,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// What comes next: receive, claim, begin the effect, write down, delete the message. The answer arrives.
    Go,
    /// It asks for the job, and the answer gets lost.
    ClaimUnanswered {
        /// Whether the claim got to the table.
        landed: bool,
    },
    /// Its attempt ends.
    Finish(Finish),
    /// It writes the outcome down, and the answer gets lost.
    WriteUnanswered,
    /// It dies.
    Die,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It succeeds.
    Success,
    /// It fails with an error that may pass.
    Retryable,
    /// It fails with an error that no other attempt will mend.
    Permanent,
}

/// How many steps a job may need to its end once nothing goes wrong any more. The longest wait is for a due 15 ticks
/// away, with some messages to be received at each tick.
const STEPS_TO_THE_END: usize = 150;

impl Dray {
    /// The protocol, or the protocol with one thing wrong.
    pub fn new(leases: Leases, weakness: Option<Weakness>, bounds: Bounds) -> Self {
        Self {
            leases,
            weakness,
            bounds,
            prompt: submitted(bounds.max_attempts, 0),
            // One tick more than the queue can keep.
            delayed: submitted(bounds.max_attempts, LONGEST_QUEUE_DELAY.as_secs() + TICK.as_secs()),
            result: Json::parse("null").expect("JSON"),
        }
    }

    fn is_weak(&self, weakness: Weakness) -> bool {
        self.weakness == Some(weakness)
    }

    /// The job as it is accepted in this world, at time 0.
    fn accepted(&self, world: &World) -> &Job {
        if world.delayed { &self.delayed } else { &self.prompt }
    }

    /// The whole job of which a row is kept.
    fn job(&self, row: Row) -> Job {
        row.job(&self.prompt, &self.result)
    }

    /// What `change` makes of the job, or why it may not happen.
    fn changed(&self, row: Row, change: &Change) -> Result<Row, Refusal> {
        let mut job = self.job(row);
        let Some(weakness) = self.weakness else {
            return transition(&job, change).map(|job| Row::of(&job));
        };
        weakness.pretend(&mut job, change);
        let after = Row::of(&transition(&job, change)?);
        Ok(weakness.spoil(row, after, change))
    }

    /// What the store does: changes the job in one step, if that is allowed.
    fn change_if_allowed(&self, world: &mut World, change: &Change) -> Result<(), Refusal> {
        let after = self.changed(world.stored(), change)?;
        world.replace(after);
        Ok(())
    }

    /// Lets `action` happen. False if it makes no difference.
    fn step(&self, world: &mut World, action: Action) -> bool {
        let now = time(world.now);
        match action {
            Action::Store { answered } => self.store(world, answered),
            Action::Announce { sent } => self.announce(world, sent),
            Action::ApiDies => {
                world.api = Api::Gone;
                true
            }
            Action::RepeatRequest => {
                world.api = if world.row.is_some() { Api::Answered } else { self.first_of_api() };
                true
            }
            Action::LoseMessage => {
                world.queue.visible -= 1;
                true
            }
            Action::DoubleMessage => {
                world.queue.visible += 1;
                true
            }
            Action::MessageReappears => {
                world.queue.hidden -= 1;
                world.queue.visible += 1;
                true
            }
            Action::Worker(worker, step) => self.work(world, worker, step),
            Action::Look => {
                world.sweeper = Sweeper::Looking { seen: world.stored(), at: world.now };
                true
            }
            Action::Sweep { answered } => self.sweep(world, answered),
            Action::SendAgain { sent } => self.send_again(world, sent),
            Action::SweeperDies => {
                world.sweeper = Sweeper::Idle;
                true
            }
            Action::CancelPending => self.cancel(world, &Change::CancelPending { now }),
            Action::RequestCancel => self.cancel(world, &Change::RequestCancel { now }),
            Action::Tick => {
                world.now = self.next_tick(world);
                true
            }
        }
    }
}

/// The job that a submission makes. Its type does not matter here.
fn submitted(max_attempts: u8, delay_seconds: u64) -> Job {
    let body = format!(
        r#"{{"type":"csv-generation","payload":{{"a":1}},"max_attempts":{max_attempts},"delay_seconds":{delay_seconds}}}"#
    );
    let submission = Submission::parse(body.as_bytes(), time(0)).expect("a submission");
    let origin = Origin { correlation_id: String::new(), traceparent: None };
    let job = submission.into_job(JobId::at(time(0), [0; 10]), Tenant::only(), time(0), origin);
    // So that a lease lasts one tick. What has happened makes no difference to what may happen: it is not kept.
    Job { timeout: TICK.saturating_sub(LEASE_MARGIN), history: vec![], ..job }
}

/// Accepting the job: `functions/api/src/jobs/accept.rs`.
impl Dray {
    fn first_of_api(&self) -> Api {
        if self.is_weak(Weakness::SendBeforePut) { Api::Announcing } else { Api::Storing }
    }

    fn store(&self, world: &mut World, answered: bool) -> bool {
        match world.api {
            Api::Storing => {
                world.row = Some(self.new_row(world));
                world.api = if answered { Api::Announcing } else { Api::Asking };
                true
            }
            // It finds its own job there.
            Api::Asking => {
                world.api = Api::Announcing;
                true
            }
            Api::Promised => {
                world.row = Some(self.new_row(world));
                world.api = Api::Answered;
                true
            }
            Api::Announcing | Api::Answered | Api::Gone => false,
        }
    }

    fn new_row(&self, world: &World) -> Row {
        let mut row = Row::of(self.accepted(world));
        if self.is_weak(Weakness::AcceptWithoutDue) {
            row.forget_due();
        }
        row
    }

    fn announce(&self, world: &mut World, sent: bool) -> bool {
        let State::Pending { not_before, .. } = self.accepted(world).state else { return false };
        if let Some(delay) = queue_delay(not_before, time(0)).filter(|_| sent) {
            world.queue.send(!delay.is_zero(), self.bounds.copies);
        }
        world.api = if world.row.is_some() { Api::Answered } else { Api::Promised };
        true
    }

    fn cancel(&self, world: &mut World, change: &Change) -> bool {
        let attempts = world.stored().attempts;
        let acknowledged = self.change_if_allowed(world, change).is_ok();
        if acknowledged {
            world.remembered.cancel_at.get_or_insert(attempts);
        }
        acknowledged
    }
}

/// Working on the job: `functions/worker/src/attempt.rs`. Where that returns a message to the queue, here the worker
/// is idle at once: the message is hidden anyway, and reappears at some time.
impl Dray {
    fn work(&self, world: &mut World, worker: usize, step: Step) -> bool {
        match step {
            Step::Go => self.go_on(world, worker),
            Step::ClaimUnanswered { landed } => self.claim_unanswered(world, worker, landed),
            Step::Finish(finish) => self.finish(world, worker, finish),
            Step::WriteUnanswered => self.write_down(world, worker, false),
            Step::Die => {
                world.workers[worker] = Worker::Idle;
                true
            }
        }
    }

    fn go_on(&self, world: &mut World, worker: usize) -> bool {
        match world.workers[worker] {
            Worker::Idle => self.receive(world, worker),
            Worker::Received => {
                let (token, at) = (world.fresh_token(), world.now);
                self.claim(world, worker, token, at)
            }
            Worker::Asking { token, at } => self.claim(world, worker, token, at),
            Worker::Ending { cancelled } => self.end(world, worker, cancelled),
            Worker::Claimed(hold) => {
                let forbidden = world.stored().cancelled();
                let too_late = world.remembered.cancel_at.is_some_and(|attempts| hold.attempt > attempts);
                world.remembered.late_effect |= forbidden || too_late;
                world.remembered.effects += 1;
                world.workers[worker] = Worker::Executing(hold);
                true
            }
            Worker::Executing(_) => false,
            Worker::Ended(..) | Worker::Unanswered(..) => self.write_down(world, worker, true),
            Worker::Settling => {
                world.queue.acknowledge();
                world.workers[worker] = Worker::Idle;
                true
            }
        }
    }

    fn receive(&self, world: &mut World, worker: usize) -> bool {
        if world.queue.visible == 0 {
            return false;
        }
        world.queue.visible -= 1;
        if !self.is_weak(Weakness::AcknowledgeBeforeClaim) {
            world.queue.hidden += 1;
        }
        if self.is_weak(Weakness::CountReceives) {
            world.remembered.receives = (world.remembered.receives + 1).min(self.bounds.max_attempts + 1);
        }
        world.workers[worker] = Worker::Received;
        true
    }

    /// What a worker does whose message has done its duty.
    fn done(&self) -> Worker {
        let deleted = self.is_weak(Weakness::AcknowledgeBeforeClaim) || self.is_weak(Weakness::AcknowledgeBeforeCommit);
        if deleted { Worker::Idle } else { Worker::Settling }
    }

    fn claim(&self, world: &mut World, worker: usize, token: u8, at: u8) -> bool {
        let Some(row) = world.row else {
            world.workers[worker] = self.done();
            return true;
        };
        if self.is_weak(Weakness::CountReceives) && world.remembered.receives > self.bounds.max_attempts && !row.ended()
        {
            world.replace(self.worn_out(row, at));
            world.workers[worker] = Worker::Idle;
            return true;
        }
        world.workers[worker] = match self.change_if_allowed(world, &claim(token, at)) {
            Ok(()) | Err(Refusal::AlreadyApplied) => {
                let row = world.stored();
                let until = match self.leases {
                    Leases::Sound => row.lease(),
                    Leases::MayLapse => 0,
                };
                Worker::Claimed(Hold { attempt: row.attempts, token, until })
            }
            Err(refusal) => self.leave(refusal),
        };
        true
    }

    /// The job given up, whatever its attempts. Only with [`Weakness::CountReceives`].
    fn worn_out(&self, row: Row, at: u8) -> Row {
        let mut job = self.job(row);
        job.attempts = job.max_attempts;
        job.state = State::Processing { lease_until: time(at), cancel_requested: false, due_at: time(at) };
        pretend_lease_over(&mut job, time(at));
        let expire = Change::Expire { now: time(at), tenant: Tenant::only() };
        let failed = transition(&job, &expire).expect("its lease is over and its attempts are used up");
        Row { attempts: row.attempts, ..Row::of(&failed) }
    }

    fn leave(&self, refusal: Refusal) -> Worker {
        match refusal {
            Refusal::Ended(Status::Failed) | Refusal::NotYetDue(_) | Refusal::TimeLeftTooShort => Worker::Idle,
            Refusal::Ended(Status::Completed | Status::Cancelled | Status::Pending | Status::Processing)
            | Refusal::Leased(_) => self.done(),
            Refusal::AttemptsUsedUp => Worker::Ending { cancelled: false },
            Refusal::CancelRequested => Worker::Ending { cancelled: true },
            // All jobs here are of a type and a format that every worker knows, and no job expires.
            Refusal::UnknownType
            | Refusal::NewerFormat
            | Refusal::Expired
            | Refusal::AlreadyApplied
            | Refusal::Fenced
            | Refusal::HistoryFull
            | Refusal::MovedOn => Worker::Idle,
        }
    }

    fn claim_unanswered(&self, world: &mut World, worker: usize, landed: bool) -> bool {
        let (token, at) = match world.workers[worker] {
            Worker::Received => (world.fresh_token(), world.now),
            Worker::Asking { token, at } => (token, at),
            Worker::Idle
            | Worker::Ending { .. }
            | Worker::Claimed(_)
            | Worker::Executing(_)
            | Worker::Ended(..)
            | Worker::Unanswered(..)
            | Worker::Settling => return false,
        };
        // A claim that is refused and whose answer gets lost is as good as one that never got there.
        if landed && (world.row.is_none() || self.change_if_allowed(world, &claim(token, at)).is_err()) {
            return false;
        }
        world.workers[worker] = Worker::Asking { token, at };
        true
    }

    fn end(&self, world: &mut World, worker: usize, cancelled: bool) -> bool {
        let now = time(world.now);
        let (change, then) = if cancelled {
            (Change::ExpireCancelled { now }, self.done())
        } else {
            (Change::Expire { now, tenant: Tenant::only() }, Worker::Idle)
        };
        // Refused: then somebody else has seen to it, and the same becomes of the message.
        let _applied_or_refused = self.change_if_allowed(world, &change);
        world.workers[worker] = then;
        true
    }

    fn finish(&self, world: &mut World, worker: usize, finish: Finish) -> bool {
        let Worker::Executing(hold) = world.workers[worker] else { return false };
        let outcome = match finish {
            Finish::Success => Outcome::Complete,
            Finish::Retryable if hold.attempt < self.bounds.max_attempts => Outcome::Retry,
            Finish::Retryable => Outcome::Fail,
            Finish::Permanent => Outcome::GiveUp,
        };
        if self.is_weak(Weakness::AcknowledgeBeforeCommit) {
            world.queue.acknowledge();
        }
        world.workers[worker] = Worker::Ended(hold, outcome);
        true
    }

    fn write_down(&self, world: &mut World, worker: usize, answered: bool) -> bool {
        let (hold, outcome, at) = match world.workers[worker] {
            Worker::Ended(hold, outcome) => (hold, outcome, world.now),
            Worker::Unanswered(hold, outcome, at) => (hold, outcome, at),
            Worker::Idle
            | Worker::Received
            | Worker::Asking { .. }
            | Worker::Ending { .. }
            | Worker::Claimed(_)
            | Worker::Executing(_)
            | Worker::Settling => return false,
        };
        let has_it = world.stored().is_held_by(hold);
        let written = self.change_if_allowed(world, &self.outcome_of(hold, outcome, at));
        if written.is_ok() {
            world.remembered.stale_outcome |= !has_it;
            match outcome {
                Outcome::Complete => world.remembered.completions = (world.remembered.completions + 1).min(2),
                Outcome::GiveUp => world.remembered.gave_up = true,
                Outcome::Retry | Outcome::Fail | Outcome::Yield => {}
            }
        }
        if !answered {
            world.workers[worker] = Worker::Unanswered(hold, outcome, at);
            return written.is_ok();
        }
        world.workers[worker] = match (written, outcome) {
            (Ok(()) | Err(Refusal::AlreadyApplied), Outcome::Complete | Outcome::Yield) => self.done(),
            (Ok(()) | Err(Refusal::AlreadyApplied), Outcome::Retry | Outcome::Fail | Outcome::GiveUp) => Worker::Idle,
            (Err(Refusal::CancelRequested), Outcome::Retry | Outcome::Fail | Outcome::GiveUp) => {
                Worker::Ended(hold, Outcome::Yield)
            }
            // Fenced.
            (
                Err(
                    Refusal::CancelRequested
                    | Refusal::Ended(_)
                    | Refusal::NotYetDue(_)
                    | Refusal::Leased(_)
                    | Refusal::AttemptsUsedUp
                    | Refusal::Expired
                    | Refusal::HistoryFull
                    | Refusal::TimeLeftTooShort
                    | Refusal::UnknownType
                    | Refusal::NewerFormat
                    | Refusal::Fenced
                    | Refusal::MovedOn,
                ),
                Outcome::Complete | Outcome::Retry | Outcome::Fail | Outcome::GiveUp | Outcome::Yield,
            ) => self.done(),
        };
        true
    }

    fn outcome_of(&self, hold: Hold, outcome: Outcome, at: u8) -> Change {
        let now = time(at);
        let fence = Fence { attempt: hold.attempt.into(), token: token(hold.token) };
        let error = String::new();
        match outcome {
            Outcome::Complete => Change::Complete { now, fence, result: self.result.clone() },
            Outcome::Retry => Change::Retry { now, fence, error, not_before: now + TICK },
            Outcome::Fail | Outcome::GiveUp => Change::Fail { now, fence, error, tenant: Tenant::only() },
            Outcome::Yield => Change::YieldToCancel { now, fence },
        }
    }
}

fn claim(number: u8, at: u8) -> Change {
    Change::Claim { now: time(at), token: token(number), time_left: TICK }
}

/// Looking after the job: `functions/sweeper/src/lib.rs`.
impl Dray {
    fn sweep(&self, world: &mut World, answered: bool) -> bool {
        let before = world.row;
        let then = match world.sweeper {
            Sweeper::Looking { seen, at } => self.look_at(world, seen, at),
            Sweeper::Ending { at } => {
                self.end_at(world, &Change::Expire { now: time(at), tenant: Tenant::only() });
                Sweeper::Idle
            }
            Sweeper::Idle | Sweeper::Sending { .. } | Sweeper::SendingLast { .. } => return false,
        };
        if answered {
            world.sweeper = then;
            return true;
        }
        world.row != before
    }

    fn look_at(&self, world: &mut World, seen: Row, at: u8) -> Sweeper {
        let now = time(at);
        let mut job = self.job(seen);
        if self.is_weak(Weakness::ExpireDespiteLease) {
            pretend_lease_over(&mut job, now);
        }
        let (moved, held_back) = match decide(&job, now) {
            Decision::Leave | Decision::Lapse => return Sweeper::Idle, // no job here expires
            Decision::LookAgain(due_at) => {
                self.postpone(world, seen, due_at);
                return Sweeper::Idle;
            }
            Decision::Announce { due_at, delay } | Decision::SendAgain { due_at, delay } => {
                (self.postpone(world, seen, due_at), !delay.is_zero())
            }
            Decision::Rescue { due_at } => (self.postpone(world, seen, due_at), false),
            Decision::Expire => return Sweeper::SendingLast { at },
            Decision::ExpireCancelled => {
                self.end_at(world, &Change::ExpireCancelled { now });
                return Sweeper::Idle;
            }
        };
        if moved { Sweeper::Sending { held_back } } else { Sweeper::Idle }
    }

    fn postpone(&self, world: &mut World, seen: Row, due_at: Timestamp) -> bool {
        let Some(seen_due) = seen.due() else { return false };
        let seen_lease_until = self.job(seen).lease_until();
        let change = Change::Postpone { seen_due_at: time(seen_due), seen_lease_until, due_at };
        if self.is_weak(Weakness::SweepWithoutCondition) {
            let Ok(after) = self.changed(seen, &change) else { return false };
            world.replace(after);
            return true;
        }
        match self.change_if_allowed(world, &change) {
            Ok(()) => true,
            Err(Refusal::MovedOn) => world.stored().due() == Some(tick(due_at)),
            Err(
                Refusal::AlreadyApplied
                | Refusal::Ended(_)
                | Refusal::NotYetDue(_)
                | Refusal::Leased(_)
                | Refusal::AttemptsUsedUp
                | Refusal::Expired
                | Refusal::HistoryFull
                | Refusal::CancelRequested
                | Refusal::TimeLeftTooShort
                | Refusal::UnknownType
                | Refusal::NewerFormat
                | Refusal::Fenced,
            ) => false,
        }
    }

    /// Refused: then somebody else has seen to it.
    fn end_at(&self, world: &mut World, change: &Change) {
        let _applied_or_refused = self.change_if_allowed(world, change);
    }

    fn send_again(&self, world: &mut World, sent: bool) -> bool {
        let (held_back, then) = match world.sweeper {
            Sweeper::Sending { held_back } => (held_back, Sweeper::Idle),
            // Not sent: it is left for the next look.
            Sweeper::SendingLast { at } => (false, if sent { Sweeper::Ending { at } } else { Sweeper::Idle }),
            Sweeper::Idle | Sweeper::Looking { .. } | Sweeper::Ending { .. } => return false,
        };
        if sent {
            world.queue.send(held_back, self.bounds.copies);
        }
        world.sweeper = then;
        true
    }
}

/// Time.
impl Dray {
    /// When the sweeper may first look at a job that is delayed beyond the queue's reach. Before that nothing happens
    /// to it but a cancel, so the clock goes there in one leap.
    fn first_look(&self) -> u8 {
        Row::of(&self.delayed).due().expect("it has not ended")
    }

    fn next_tick(&self, world: &World) -> u8 {
        if world.delayed { (world.now + 1).max(self.first_look()) } else { world.now + 1 }
    }

    /// Time counts from when the job is stored. It stands still while an attempt lives that would outlive its
    /// sound lease otherwise: that one ends or dies first.
    fn may_tick(&self, world: &World) -> bool {
        let first = if world.delayed { self.first_look() } else { 0 };
        let next = self.next_tick(world);
        let outlived = |worker: &Worker| worker.ends_by().is_some_and(|end| end < next);
        let allowed = match self.leases {
            Leases::Sound => !world.workers.iter().any(outlived),
            Leases::MayLapse => true,
        };
        world.row.is_some() && next <= first + self.bounds.ticks && allowed
    }
}

/// Whether the job can still end.
impl Dray {
    /// Whether it does end if from now on nothing goes wrong and every process takes its turn.
    fn ends_if_all_goes_well(&self, world: &World) -> bool {
        let mut world = world.clone();
        for _ in 0..STEPS_TO_THE_END {
            match world.row {
                Some(row) if row.ended() => return true,
                // It was never accepted.
                None if world.api == Api::Gone => return true,
                Some(_) | None => {}
            }
            let action = next_if_all_goes_well(&world);
            self.step(&mut world, action);
            if action == Action::Tick {
                world.queue.visible += world.queue.hidden;
                world.queue.hidden = 0;
            }
        }
        false
    }
}

/// What a process that has something to do does next; else time passes.
fn next_if_all_goes_well(world: &World) -> Action {
    match world.api {
        Api::Storing | Api::Asking | Api::Promised => return Action::Store { answered: true },
        Api::Announcing => return Action::Announce { sent: true },
        Api::Answered | Api::Gone => {}
    }
    for (number, worker) in world.workers.iter().enumerate() {
        match worker {
            Worker::Idle => {}
            Worker::Executing(_) => return Action::Worker(number, Step::Finish(Finish::Success)),
            Worker::Received
            | Worker::Asking { .. }
            | Worker::Ending { .. }
            | Worker::Claimed(_)
            | Worker::Ended(..)
            | Worker::Unanswered(..)
            | Worker::Settling => return Action::Worker(number, Step::Go),
        }
    }
    match world.sweeper {
        Sweeper::Idle if world.overdue() => return Action::Look,
        Sweeper::Idle => {}
        Sweeper::Looking { .. } | Sweeper::Ending { .. } => return Action::Sweep { answered: true },
        Sweeper::Sending { .. } | Sweeper::SendingLast { .. } => return Action::SendAgain { sent: true },
    }
    if world.queue.visible > 0 { Action::Worker(0, Step::Go) } else { Action::Tick }
}

impl Model for Dray {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut worlds = vec![World::new(self.first_of_api(), false)];
        if self.bounds.delayed_too {
            worlds.push(World::new(self.first_of_api(), true));
        }
        worlds
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions_of_api(world, actions);
        self.actions_of_queue(world, actions);
        actions_of_workers(world, actions);
        actions_of_sweeper(world, actions);
        if world.row.is_some() {
            actions.extend([Action::CancelPending, Action::RequestCancel]);
        }
        if self.may_tick(world) {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        let something_happened = self.step(&mut next, action);
        next.workers.sort_unstable();
        something_happened.then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = recorded();
        properties.extend(promised());
        properties.extend(promised_while_leases_are_sound());
        properties
    }
}

fn actions_of_api(world: &World, actions: &mut Vec<Action>) {
    match world.api {
        Api::Storing => {
            actions.extend([Action::Store { answered: true }, Action::Store { answered: false }, Action::ApiDies]);
        }
        Api::Asking | Api::Promised => actions.extend([Action::Store { answered: true }, Action::ApiDies]),
        Api::Announcing => {
            actions.extend([Action::Announce { sent: true }, Action::Announce { sent: false }, Action::ApiDies]);
        }
        Api::Answered => {}
        Api::Gone => actions.push(Action::RepeatRequest),
    }
}

impl Dray {
    fn actions_of_queue(&self, world: &World, actions: &mut Vec<Action>) {
        if world.queue.visible > 0 {
            actions.push(Action::LoseMessage);
        }
        if (1..self.bounds.copies).contains(&world.queue.count()) {
            actions.push(Action::DoubleMessage);
        }
        if world.queue.hidden > 0 {
            actions.push(Action::MessageReappears);
        }
    }
}

fn actions_of_workers(world: &World, actions: &mut Vec<Action>) {
    let [first, second] = world.workers;
    // Two that are about the same need be asked only once.
    let different = if first == second { 1 } else { 2 };
    for (number, worker) in world.workers.iter().enumerate().take(different) {
        let steps: &[Step] = match worker {
            Worker::Idle if world.queue.visible > 0 => &[Step::Go],
            Worker::Idle => &[],
            Worker::Received => {
                &[Step::Go, Step::ClaimUnanswered { landed: true }, Step::ClaimUnanswered { landed: false }, Step::Die]
            }
            Worker::Asking { .. } => &[Step::Go, Step::ClaimUnanswered { landed: true }, Step::Die],
            Worker::Executing(_) => &[
                Step::Finish(Finish::Success),
                Step::Finish(Finish::Retryable),
                Step::Finish(Finish::Permanent),
                Step::Die,
            ],
            Worker::Ended(..) => &[Step::Go, Step::WriteUnanswered, Step::Die],
            Worker::Ending { .. } | Worker::Claimed(_) | Worker::Unanswered(..) | Worker::Settling => {
                &[Step::Go, Step::Die]
            }
        };
        actions.extend(steps.iter().map(|step| Action::Worker(number, *step)));
    }
}

fn actions_of_sweeper(world: &World, actions: &mut Vec<Action>) {
    match world.sweeper {
        Sweeper::Idle if world.overdue() => actions.push(Action::Look),
        Sweeper::Idle => {}
        Sweeper::Looking { .. } | Sweeper::Ending { .. } => {
            actions.extend([Action::Sweep { answered: true }, Action::Sweep { answered: false }, Action::SweeperDies]);
        }
        // To die now and not to send are the same.
        Sweeper::Sending { .. } | Sweeper::SendingLast { .. } => {
            actions.extend([Action::SendAgain { sent: true }, Action::SendAgain { sent: false }]);
        }
    }
}

/// What the table says.
fn recorded() -> Vec<Property<Dray>> {
    vec![
        Property::<Dray>::always("a job that has ended never changes", |_, world| !world.remembered.changed_after_end),
        Property::<Dray>::always("a job is completed at most once", |_, world| world.remembered.completions <= 1),
        Property::<Dray>::always("a job's progress never goes back", |_, world| !world.remembered.went_back),
        Property::<Dray>::always("no more attempts begin than are allowed", |dray, world| {
            world.row.is_none_or(|row| row.attempts <= dray.bounds.max_attempts)
        }),
        Property::<Dray>::always("only the attempt that has the job writes its outcome", |_, world| {
            !world.remembered.stale_outcome
        }),
        Property::<Dray>::always("a job fails only if its attempts are used up or one gave up", |dray, world| {
            let enough = |row: Row| row.attempts >= dray.bounds.max_attempts;
            world.row.is_none_or(|row| !row.failed() || enough(row) || world.remembered.gave_up)
        }),
        Property::<Dray>::always("no attempt begins after an acknowledged cancel", |_, world| {
            let before = |attempts: u8| world.row.is_none_or(|row| row.attempts <= attempts);
            world.remembered.cancel_at.is_none_or(before)
        }),
    ]
}

/// What a client can count on.
fn promised() -> Vec<Property<Dray>> {
    vec![
        Property::<Dray>::always("a job that was answered for is stored", |_, world| match world.api {
            Api::Answered | Api::Promised => world.row.is_some(),
            Api::Storing | Api::Asking | Api::Announcing | Api::Gone => true,
        }),
        Property::<Dray>::always("no message goes ahead of its job", |_, world| {
            world.row.is_some() || world.queue.count() == 0
        }),
        Property::<Dray>::always("no more effects begin than attempts are allowed", |dray, world| {
            world.remembered.effects <= dray.bounds.max_attempts
        }),
        Property::<Dray>::always("every job that has not ended has a due", |_, world| {
            world.row.is_none_or(|row| row.ended() || row.due().is_some_and(|due| due != NEVER))
        }),
        Property::<Dray>::always("every job can still end", Dray::ends_if_all_goes_well),
    ]
}

/// What holds besides for as long as no attempt outlives its lease.
fn promised_while_leases_are_sound() -> Vec<Property<Dray>> {
    vec![
        Property::<Dray>::always(
            "while leases are sound, no effect begins after an acknowledged cancel",
            |dray, world| dray.leases == Leases::MayLapse || !world.remembered.late_effect,
        ),
        Property::<Dray>::always("while leases are sound, no two attempts live at once", |dray, world| {
            let living = world.workers.iter().filter(|worker| worker.living().is_some()).count();
            dray.leases == Leases::MayLapse || living <= 1
        }),
        Property::<Dray>::always("while leases are sound, a living attempt has the job", |dray, world| {
            let holds = |hold: Hold| world.row.is_some_and(|row| row.is_held_by(hold));
            dray.leases == Leases::MayLapse || world.workers.iter().filter_map(|worker| worker.living()).all(holds)
        }),
    ]
}
