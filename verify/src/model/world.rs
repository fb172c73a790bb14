//! What the world looks like at one moment, as small as it can be: millions of these are kept.

use std::fmt::Debug;
use std::time::Duration;

use shared::job::due::PATIENCE;
use shared::job::{Job, State};
use shared::values::id::LeaseToken;
use shared::values::json::Json;
use shared::values::time::Timestamp;

/// One step of the clock. All times of the model are whole ticks: a lease lasts one, the sweeper's patience is one,
/// the longest time between two of its looks is 15.
pub const TICK: Duration = PATIENCE;

const TICK_MS: i64 = 60_000;
const _: () = assert!(TICK.as_millis() == 60_000, "TICK_MS is out of date");

/// A time that never comes: what the due of a job is that has none.
pub const NEVER: u8 = u8::MAX;

/// The tick as shared's own kind of time.
pub fn time(tick: u8) -> Timestamp {
    Timestamp::from_millis(i64::from(tick) * TICK_MS)
}

/// The tick of a time.
pub fn tick(time: Timestamp) -> u8 {
    u8::try_from(time.as_millis() / TICK_MS).expect("no exploration gets as far as 255 ticks")
}

/// The row's token and one for each of two workers, and one more, so that one of them is always free.
const TOKENS: u8 = 4;

/// The token of this number.
pub fn token(number: u8) -> LeaseToken {
    LeaseToken::new([0, 0, 0, 0, 0, 0, 0, number])
}

/// What changes about the job in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// Where it stands.
    pub place: Place,
    /// Attempts begun.
    pub attempts: u8,
    /// The number of its token; 0 if it has none.
    pub token: u8,
}

/// [`State`], in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Waiting.
    Pending {
        /// Not to be started before.
        not_before: u8,
        /// When the sweeper looks.
        due: u8,
    },
    /// Claimed.
    Processing {
        /// Until when.
        lease: u8,
        /// Whether a cancel was asked for.
        cancel_requested: bool,
        /// When the sweeper looks.
        due: u8,
    },
    /// Done, then.
    Completed(u8),
    /// Failed, then.
    Failed(u8),
    /// Cancelled, then.
    Cancelled(u8),
}

impl Row {
    /// What is kept of a job.
    pub fn of(job: &Job) -> Self {
        let place = match &job.state {
            State::Pending { not_before, due_at, resumes: _ } => {
                Place::Pending { not_before: tick(*not_before), due: tick(*due_at) }
            }
            State::Processing { lease_until, cancel_requested, due_at } => {
                Place::Processing { lease: tick(*lease_until), cancel_requested: *cancel_requested, due: tick(*due_at) }
            }
            State::Completed { finished_at, result: _ } => Place::Completed(tick(*finished_at)),
            State::Failed { finished_at } => Place::Failed(tick(*finished_at)),
            State::Cancelled { finished_at } => Place::Cancelled(tick(*finished_at)),
        };
        let number_of =
            |there: LeaseToken| (1..=TOKENS).find(|number| token(*number) == there).expect("a token of this model");
        Self {
            place,
            attempts: u8::try_from(job.attempts).expect("few attempts"),
            token: job.lease_token.map_or(0, number_of),
        }
    }

    /// The job again; what never changes is taken from `template`.
    pub fn job(self, template: &Job, result: &Json) -> Job {
        let state = match self.place {
            Place::Pending { not_before, due } => {
                State::Pending { not_before: time(not_before), due_at: time(due), resumes: false }
            }
            Place::Processing { lease, cancel_requested, due } => {
                State::Processing { lease_until: time(lease), cancel_requested, due_at: time(due) }
            }
            Place::Completed(at) => State::Completed { finished_at: time(at), result: result.clone() },
            Place::Failed(at) => State::Failed { finished_at: time(at) },
            Place::Cancelled(at) => State::Cancelled { finished_at: time(at) },
        };
        let mut job = template.clone();
        job.state = state;
        job.attempts = self.attempts.into();
        job.lease_token = (self.token > 0).then(|| token(self.token));
        job
    }

    /// Whether it has reached a terminal status.
    pub fn ended(self) -> bool {
        match self.place {
            Place::Pending { .. } | Place::Processing { .. } => false,
            Place::Completed(_) | Place::Failed(_) | Place::Cancelled(_) => true,
        }
    }

    /// When the sweeper looks at it. `None` exactly if it has ended.
    pub fn due(self) -> Option<u8> {
        match self.place {
            Place::Pending { due, .. } | Place::Processing { due, .. } => Some(due),
            Place::Completed(_) | Place::Failed(_) | Place::Cancelled(_) => None,
        }
    }

    /// Takes its due away, if it has one.
    pub fn forget_due(&mut self) {
        match &mut self.place {
            Place::Pending { due, .. } | Place::Processing { due, .. } => *due = NEVER,
            Place::Completed(_) | Place::Failed(_) | Place::Cancelled(_) => {}
        }
    }

    /// Whether this attempt has the job to itself.
    pub fn is_held_by(self, hold: Hold) -> bool {
        let mine = self.attempts == hold.attempt && self.token == hold.token;
        match self.place {
            Place::Processing { .. } => mine,
            Place::Pending { .. } | Place::Completed(_) | Place::Failed(_) | Place::Cancelled(_) => false,
        }
    }

    /// When its lease ends; 0 if nobody has one.
    pub fn lease(self) -> u8 {
        match self.place {
            Place::Processing { lease, .. } => lease,
            Place::Pending { .. } | Place::Completed(_) | Place::Failed(_) | Place::Cancelled(_) => 0,
        }
    }

    /// Whether it is cancelled.
    pub fn cancelled(self) -> bool {
        match self.place {
            Place::Cancelled(_) => true,
            Place::Pending { .. } | Place::Processing { .. } | Place::Completed(_) | Place::Failed(_) => false,
        }
    }

    /// Whether it has failed.
    pub fn failed(self) -> bool {
        match self.place {
            Place::Failed(_) => true,
            Place::Pending { .. } | Place::Processing { .. } | Place::Completed(_) | Place::Cancelled(_) => false,
        }
    }
}

/// What a worker knows of the attempt it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hold {
    /// The attempt's number.
    pub attempt: u8,
    /// The number of its token.
    pub token: u8,
    /// The end of its lease. 0 where leases may lapse, since nobody asks then.
    pub until: u8,
}

/// How an attempt is to be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It succeeded.
    Complete,
    /// It failed, and another follows.
    Retry,
    /// It failed, and was the last.
    Fail,
    /// It failed in a way that no other attempt would mend.
    GiveUp,
    /// It failed, and a cancel had been asked for.
    Yield,
}

/// What a worker is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Worker {
    /// Nothing. One that has died is replaced by one that is idle.
    Idle,
    /// It has received a message.
    Received,
    /// It has asked for the job and got no answer; it will ask again.
    Asking {
        /// The number of its token.
        token: u8,
        /// When it first asked.
        at: u8,
    },
    /// The job's last attempt, or one after which no other may follow, is dead: it will write that down.
    Ending {
        /// As cancelled, rather than failed.
        cancelled: bool,
    },
    /// It has the job, and has done nothing yet.
    Claimed(Hold),
    /// The effect is under way.
    Executing(Hold),
    /// The attempt has ended, and is to be written down.
    Ended(Hold, Outcome),
    /// It was written down at that time, but the answer got lost; it will be written again.
    Unanswered(Hold, Outcome, u8),
    /// The message has done its duty, and is to be deleted.
    Settling,
}

impl Worker {
    /// The number of the token that it has in hand; 0 if it has none.
    fn token(self) -> u8 {
        match self {
            Self::Idle | Self::Received | Self::Ending { .. } | Self::Settling => 0,
            Self::Asking { token, .. } => token,
            Self::Claimed(hold) | Self::Executing(hold) | Self::Ended(hold, _) | Self::Unanswered(hold, ..) => {
                hold.token
            }
        }
    }

    /// The attempt that lives in it.
    pub fn living(self) -> Option<Hold> {
        match self {
            Self::Claimed(hold) | Self::Executing(hold) => Some(hold),
            Self::Idle
            | Self::Received
            | Self::Asking { .. }
            | Self::Ending { .. }
            | Self::Ended(..)
            | Self::Unanswered(..)
            | Self::Settling => None,
        }
    }

    /// The tick that it does not outlive where leases are sound. An attempt's time counts from when it first asked.
    pub fn ends_by(self) -> Option<u8> {
        match self {
            Self::Asking { at, .. } => Some(at + 1),
            Self::Claimed(hold) | Self::Executing(hold) => Some(hold.until),
            Self::Idle
            | Self::Received
            | Self::Ending { .. }
            | Self::Ended(..)
            | Self::Unanswered(..)
            | Self::Settling => None,
        }
    }
}

/// How far the request for the job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// The job is to be stored.
    Storing,
    /// It is stored, but the answer got lost: the SDK will try again.
    Asking,
    /// The message is to be sent.
    Announcing,
    /// The client has its 202.
    Answered,
    /// The client has its 202, but the job is yet to be stored. Only with a weakness.
    Promised,
    /// The process died. The client may repeat the request.
    Gone,
}

/// What the sweeper is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sweeper {
    /// Nothing.
    Idle,
    /// It has found the job overdue.
    Looking {
        /// As it was then.
        seen: Row,
        /// When that was.
        at: u8,
    },
    /// It will send a message.
    Sending {
        /// Which the queue shall hold back.
        held_back: bool,
    },
    /// The job's last attempt is dead. It will send the message that is to become a dead letter, and write that down.
    SendingLast {
        /// When it found that.
        at: u8,
    },
    /// That message is sent.
    Ending {
        /// When it found the last attempt dead.
        at: u8,
    },
}

/// The messages about the job. Which is which does not matter, so they are only counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Queue {
    /// To be received at once.
    pub visible: u8,
    /// Held back, or received and not deleted. Each becomes visible at some time, however long it should be hidden: a
    /// worker that still has it then works on a double.
    pub hidden: u8,
}

impl Queue {
    /// All of them.
    pub fn count(self) -> u8 {
        self.visible + self.hidden
    }

    /// One more, or a lost one if there are `most` already.
    pub fn send(&mut self, held_back: bool, most: u8) {
        if self.count() < most {
            *(if held_back { &mut self.hidden } else { &mut self.visible }) += 1;
        }
    }

    /// Forgets a message that was received. One that is visible again by now stays.
    pub fn acknowledge(&mut self) {
        self.hidden = self.hidden.saturating_sub(1);
    }
}

/// What an onlooker remembers. No process knows of it.
#[expect(clippy::struct_excessive_bools, reason = "each is something that was seen, or was not")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Remembered {
    /// Effects begun.
    pub effects: u8,
    /// How often the job was written as completed, up to 2.
    pub completions: u8,
    /// Attempts begun when a cancel was first acknowledged.
    pub cancel_at: Option<u8>,
    /// Some attempt failed in a way that no other would mend, and that was written.
    pub gave_up: bool,
    /// Messages received. Only with a weakness that counts them.
    pub receives: u8,
    /// The job changed after it had ended.
    pub changed_after_end: bool,
    /// The job lost an attempt, or came back from the dead.
    pub went_back: bool,
    /// An attempt that did not have the job wrote its outcome.
    pub stale_outcome: bool,
    /// An effect began although a cancel of it had been acknowledged.
    pub late_effect: bool,
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// Ticks since the job was stored.
    pub now: u8,
    /// Whether the job's delay is longer than the queue can keep.
    pub delayed: bool,
    /// The table.
    pub row: Option<Row>,
    /// The API.
    pub api: Api,
    /// The queue.
    pub queue: Queue,
    /// The workers. Which is which does not matter, so they are kept in order.
    pub workers: [Worker; 2],
    /// The sweeper.
    pub sweeper: Sweeper,
    /// The onlooker.
    pub remembered: Remembered,
}

impl World {
    /// Before anything has happened.
    pub fn new(api: Api, delayed: bool) -> Self {
        Self {
            now: 0,
            delayed,
            row: None,
            api,
            queue: Queue { visible: 0, hidden: 0 },
            workers: [Worker::Idle; 2],
            sweeper: Sweeper::Idle,
            remembered: Remembered::default(),
        }
    }

    /// The job, where it is sure to be stored.
    pub fn stored(&self) -> Row {
        self.row.expect("a stored job stays in the table")
    }

    /// Puts the row in the place of the one that is there.
    pub fn replace(&mut self, row: Row) {
        let before = self.stored();
        self.remembered.changed_after_end |= before.ended() && row != before;
        self.remembered.went_back |= row.attempts < before.attempts || (before.ended() && !row.ended());
        self.row = Some(row);
    }

    /// The number of a token that nobody has. One that nobody has any more is as good as new.
    pub fn fresh_token(&self) -> u8 {
        let stored = self.row.map_or(0, |row| row.token);
        let taken = |number: u8| number == stored || self.workers.iter().any(|worker| worker.token() == number);
        (1..=TOKENS).find(|number| !taken(*number)).expect("there are more tokens than holders")
    }

    /// Whether the sweeper's query would find the job now.
    pub fn overdue(&self) -> bool {
        self.row.and_then(Row::due).is_some_and(|due| due < self.now)
    }

    /// One line of a story: what the world is like, and what happens next.
    pub fn then(&self, next: Option<&impl Debug>) -> String {
        let Self { now, delayed: _, row, api, queue, workers, sweeper, remembered: _ } = self;
        let then = next.map_or_else(String::new, |action| format!(" then {action:?}"));
        format!("at {now}: {row:?}, {api:?}, {queue:?}, {workers:?}, {sweeper:?};{then}")
    }
}
