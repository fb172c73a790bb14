//! How many jobs did what, and how long it took: the port that counts events, in memory and as a contract.
//!
//! Events arrive at least once, in batches that are cut anew each time. Whoever counts them must therefore know which
//! ones it has counted, and learn it in the same step in which it counts: a crash between two steps would count an event
//! twice, or never. Each event has an id that follows from its job alone ([`crate::job::changes::EventId`]), so that the same
//! event is the same in every batch.

pub mod contract;
mod durations;
mod histogram;
mod memory;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

pub use self::durations::{Durations, Range};
pub use self::histogram::{Bucket, Histogram};
pub use self::memory::MemoryCounters;
use crate::job::Status;
use crate::job::changes::{Kind, Recorded};
use crate::ports::StoreError;
use crate::values::id::Tenant;
use crate::values::time::Timestamp;

/// Counts events: in all, and minute by minute.
#[async_trait]
pub trait CounterStore: Send + Sync {
    /// Counts these events, unless they have been counted: each exactly once, in whatever order and company it comes,
    /// however often, and whoever else counts at the same moment. Remembers that for [`REMEMBERED`] after `now`.
    ///
    /// After an error some of them may have been counted; to ask again is what is to be done.
    async fn count(&self, events: &[Recorded], now: Timestamp) -> Result<(), StoreError>;

    /// What has been counted so far, of one tenant or of all: everything that was counted before this call. So what only
    /// grows never seems to shrink, which whoever watches it would take for a new beginning.
    async fn totals(&self, tenant: Option<&Tenant>) -> Result<Totals, StoreError>;

    /// What was counted of the events of each minute that begins from `from` on and before `to`, earliest first. What was
    /// counted in the last second may be missing. Minutes without any are left out, and so may be those that began longer
    /// than [`KEPT`] ago.
    async fn minutes(&self, tenant: Option<&Tenant>, from: Timestamp, to: Timestamp)
    -> Result<Vec<Minute>, StoreError>;
}

/// How long it is remembered at least which events have been counted: twice as long as a stream keeps its records, and so
/// as it may deliver one again.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html>
pub const REMEMBERED: Duration = Duration::from_hours(48);

/// How long minutes are kept.
pub const KEPT: Duration = Duration::from_hours(48);

/// Something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Jobs accepted.
    Accepted,
    /// Attempts begun.
    Started,
    /// Attempts that failed with another to follow.
    Retried,
    /// Jobs completed.
    Completed,
    /// Jobs that failed for good. One that is redriven may do so again.
    Failed,
    /// Jobs cancelled, those that expired among them.
    Cancelled,
    /// Jobs that were given another try after they had ended.
    Redriven,
    /// Jobs that wait, those that stopped waiting taken off.
    Waiting,
    /// Jobs that run, those that stopped running taken off.
    Running,
    /// In minutes, attempts that ran for so long.
    Ran(Bucket),
    /// In minutes, attempts that could have begun for so long before they did.
    Waited(Bucket),
    /// In totals, attempts that ran for so long.
    RanWithin(Range),
    /// In totals, how long attempts ran, all together, in milliseconds.
    RanMs,
    /// In totals, attempts that could have begun for so long before they did.
    WaitedWithin(Range),
    /// In totals, for how long attempts could have begun before they did, all together, in milliseconds.
    WaitedMs,
}

impl Field {
    /// The fields without a range.
    const PLAIN: [(Self, &str); 11] = [
        (Self::Accepted, "accepted"),
        (Self::Started, "started"),
        (Self::Retried, "retried"),
        (Self::Completed, "completed"),
        (Self::Failed, "failed"),
        (Self::Cancelled, "cancelled"),
        (Self::Redriven, "redriven"),
        (Self::Waiting, "waiting"),
        (Self::Running, "running"),
        (Self::RanMs, "ran_ms"),
        (Self::WaitedMs, "waited_ms"),
    ];

    /// Whether totals have it. Their durations are in few ranges, so that the items stay small.
    pub fn is_in_totals(self) -> bool {
        !matches!(self, Self::Ran(_) | Self::Waited(_))
    }

    /// Whether minutes have it. Their durations are in narrow ranges, so that percentiles are close.
    pub fn is_in_minutes(self) -> bool {
        !matches!(self, Self::RanWithin(_) | Self::RanMs | Self::WaitedWithin(_) | Self::WaitedMs)
    }
}

/// As stores keep it: `completed`, `ran#17` with the number of the range, or `ran<=250` with its end.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ran(bucket) => write!(f, "ran#{}", bucket.number()),
            Self::Waited(bucket) => write!(f, "waited#{}", bucket.number()),
            Self::RanWithin(range) => write!(f, "ran<={range}"),
            Self::WaitedWithin(range) => write!(f, "waited<={range}"),
            plain => f.write_str(Self::PLAIN.iter().find(|(field, _)| field == plain).map_or("", |(_, name)| name)),
        }
    }
}

/// It is no field that this build knows.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing that is counted is called that")]
pub struct UnknownField;

impl FromStr for Field {
    type Err = UnknownField;

    fn from_str(text: &str) -> Result<Self, UnknownField> {
        if let Some((what, end)) = text.split_once("<=") {
            return match what {
                "ran" => end.parse().map(Self::RanWithin),
                "waited" => end.parse().map(Self::WaitedWithin),
                _ => Err(UnknownField),
            };
        }
        let bucket = |number: &str| number.parse().ok().and_then(Bucket::numbered).ok_or(UnknownField);
        match text.split_once('#') {
            Some(("ran", number)) => bucket(number).map(Self::Ran),
            Some(("waited", number)) => bucket(number).map(Self::Waited),
            Some(_) => Err(UnknownField),
            None => Self::PLAIN.iter().find(|(_, name)| *name == text).map(|(field, _)| *field).ok_or(UnknownField),
        }
    }
}

/// What is counted of this event, and by how much. May be nothing.
pub fn counted_of(event: &Recorded) -> Vec<(Field, i64)> {
    let what = match event.kind {
        Kind::Accepted => Some(Field::Accepted),
        Kind::Started => Some(Field::Started),
        Kind::Retrying => Some(Field::Retried),
        Kind::Completed => Some(Field::Completed),
        Kind::Failed => Some(Field::Failed),
        Kind::Cancelled | Kind::Lapsed => Some(Field::Cancelled),
        Kind::Redriven => Some(Field::Redriven),
        Kind::Resumed | Kind::Yielded | Kind::CancelRequested | Kind::Rescheduled | Kind::Unknown => None,
    };
    let (before, after) = (event.before.and_then(gauge), gauge(event.status));
    let moved = before != after;
    let mut fields: Vec<_> = what.map(|field| (field, 1)).into_iter().collect();
    fields.extend(before.filter(|_| moved).map(|field| (field, -1)));
    fields.extend(after.filter(|_| moved).map(|field| (field, 1)));
    if let Some(ran) = event.ran {
        fields.extend([(Field::Ran(Bucket::of(ran)), 1), (Field::RanWithin(Range::of(ran)), 1)]);
        fields.push((Field::RanMs, millis(ran)));
    }
    if let Some(waited) = event.waited {
        fields.extend([(Field::Waited(Bucket::of(waited)), 1), (Field::WaitedWithin(Range::of(waited)), 1)]);
        fields.push((Field::WaitedMs, millis(waited)));
    }
    fields
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What tells how many jobs have this status now.
fn gauge(status: Status) -> Option<Field> {
    match status {
        Status::Pending => Some(Field::Waiting),
        Status::Processing => Some(Field::Running),
        Status::Completed | Status::Failed | Status::Cancelled => None,
    }
}

/// Counts of what jobs did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Jobs accepted.
    pub accepted: u64,
    /// Attempts begun.
    pub started: u64,
    /// Attempts that failed with another to follow.
    pub retried: u64,
    /// Jobs completed.
    pub completed: u64,
    /// Jobs that failed for good; one that was redriven may have done so again.
    pub failed: u64,
    /// Jobs cancelled, those that expired among them.
    pub cancelled: u64,
    /// Jobs that were given another try after they had ended.
    pub redriven: u64,
    /// In totals, how many jobs wait; in a minute, by how many they have become more. Below the truth by those that
    /// waited already when counting began.
    pub waiting: i64,
    /// The same for jobs that run.
    pub running: i64,
}

impl Counts {
    /// Adds `by` to a field; durations are not among them.
    pub fn add(&mut self, field: Field, by: i64) {
        let count = match field {
            Field::Accepted => &mut self.accepted,
            Field::Started => &mut self.started,
            Field::Retried => &mut self.retried,
            Field::Completed => &mut self.completed,
            Field::Failed => &mut self.failed,
            Field::Cancelled => &mut self.cancelled,
            Field::Redriven => &mut self.redriven,
            Field::Waiting => {
                self.waiting += by;
                return;
            }
            Field::Running => {
                self.running += by;
                return;
            }
            Field::Ran(_)
            | Field::Waited(_)
            | Field::RanWithin(_)
            | Field::RanMs
            | Field::WaitedWithin(_)
            | Field::WaitedMs => return,
        };
        *count = count.saturating_add_signed(by);
    }

    /// Adds all that `other` counts.
    pub fn merge(&mut self, other: &Self) {
        let Self { accepted, started, retried, completed, failed, cancelled, redriven, waiting, running } = *other;
        self.accepted += accepted;
        self.started += started;
        self.retried += retried;
        self.completed += completed;
        self.failed += failed;
        self.cancelled += cancelled;
        self.redriven += redriven;
        self.waiting += waiting;
        self.running += running;
    }
}

/// Counts of what jobs did in a minute, and how long it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// What they did.
    pub counts: Counts,
    /// How long attempts ran, from their start to their end. Of attempts that died nobody knows it.
    pub ran: Histogram,
    /// How long attempts could have begun before they did.
    pub waited: Histogram,
}

impl Tally {
    /// Adds `by` to a field; those of totals alone are not among them.
    pub fn add(&mut self, field: Field, by: i64) {
        match field {
            Field::Ran(bucket) => self.ran.add(bucket, u64::try_from(by).unwrap_or(0)),
            Field::Waited(bucket) => self.waited.add(bucket, u64::try_from(by).unwrap_or(0)),
            other => self.counts.add(other, by),
        }
    }

    /// Adds all that `other` counts.
    pub fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        self.ran.merge(&other.ran);
        self.waited.merge(&other.waited);
    }
}

/// Counts of what jobs did since counting began, and how long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// What they did.
    pub counts: Counts,
    /// How long attempts ran, from their start to their end. Of attempts that died nobody knows it.
    pub ran: Durations,
    /// How long attempts could have begun before they did.
    pub waited: Durations,
}

impl Total {
    /// Adds `by` to a field; those of minutes alone are not among them.
    pub fn add(&mut self, field: Field, by: i64) {
        let more = u64::try_from(by).unwrap_or(0);
        match field {
            Field::RanWithin(range) => self.ran.add(range, more),
            Field::RanMs => self.ran.add_ms(more),
            Field::WaitedWithin(range) => self.waited.add(range, more),
            Field::WaitedMs => self.waited.add_ms(more),
            other => self.counts.add(other, by),
        }
    }

    /// Adds all that `other` counts.
    pub fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        self.ran.merge(&other.ran);
        self.waited.merge(&other.waited);
    }
}

/// What has been counted since counting began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By the name of the job type.
    pub by_type: BTreeMap<String, Total>,
}

impl Totals {
    /// Of all types together.
    pub fn all(&self) -> Counts {
        self.by_type.values().fold(Counts::default(), |mut sum, total| {
            sum.merge(&total.counts);
            sum
        })
    }
}

/// What was counted of the events of one minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minute {
    /// When it began.
    pub begins_at: Timestamp,
    /// By the name of the job type.
    pub by_type: BTreeMap<String, Tally>,
}

impl Minute {
    /// Of all types together.
    pub fn all(&self) -> Tally {
        self.by_type.values().fold(Tally::default(), |mut sum, tally| {
            sum.merge(tally);
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::job::TypeName;
    use crate::job::changes::JobChange;
    use crate::job::event::Event;
    use crate::values::id::JobId;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    /// The plain ones, and one of each kind of range.
    fn fields() -> impl Iterator<Item = Field> {
        let duration = Duration::from_secs(7);
        let (bucket, range) = (Bucket::of(duration), Range::of(duration));
        let ranged = [Field::Ran(bucket), Field::Waited(bucket), Field::RanWithin(range), Field::WaitedWithin(range)];
        Field::PLAIN.into_iter().map(|(field, _)| field).chain(ranged)
    }

    #[test]
    fn every_field_survives_its_text_form() {
        for field in fields() {
            assert_eq!(field.to_string().parse(), Ok(field));
        }
        let unknown =
            ["", "slept", "ran", "ran#", "ran#496", "slept#1", "completed#1", "ran<=", "ran<=11", "slept<=10"];
        for unknown in unknown {
            assert_eq!(unknown.parse::<Field>(), Err(UnknownField), "{unknown}");
        }
    }

    #[test]
    fn every_field_is_in_totals_or_in_minutes_and_adds_up_there() {
        for field in fields() {
            let tally = |by| {
                let mut tally = Tally::default();
                tally.add(field, by);
                tally
            };
            let mut sum = tally(3);
            sum.merge(&tally(4));
            assert_eq!(sum, tally(7), "{field}");
            assert_eq!(sum != Tally::default(), field.is_in_minutes(), "{field}");

            let total = |by| {
                let mut total = Total::default();
                total.add(field, by);
                total
            };
            let mut sum = total(3);
            sum.merge(&total(4));
            assert_eq!(sum, total(7), "{field}");
            assert_eq!(sum != Total::default(), field.is_in_totals(), "{field}");
            assert!(field.is_in_totals() || field.is_in_minutes(), "{field}");
        }
    }

    /// Jobs of many shapes, each with all its events.
    fn events() -> impl Strategy<Value = Vec<Recorded>> {
        prop::collection::vec((0_u64..200, 0_u8..5, 0_u64..90), 1..20).prop_map(|jobs| {
            let numbered = jobs.into_iter().zip(0_u8..);
            numbered.flat_map(|((second, shape, took), number)| job(number, second, shape, took)).collect()
        })
    }

    fn job(number: u8, second: u64, shape: u8, took: u64) -> Vec<Recorded> {
        let at = |rest| START + Duration::from_secs(second + rest);
        let mut history = vec![Event::Accepted { at: at(0), not_before: None }];
        if shape > 0 {
            history.push(Event::Started { at: at(1) });
        }
        match shape {
            2 => history.push(Event::Completed { at: at(took + 1) }),
            3 => history.push(Event::Failed { at: at(took + 1), error: "no".to_owned() }),
            4 => {
                history.push(Event::Retrying { at: at(2), error: "no".to_owned(), not_before: at(took) });
                history.push(Event::Cancelled { at: at(took + 3) });
            }
            _ => {}
        }
        let change = JobChange {
            job_id: JobId::at(START, [number; 10]),
            tenant: Tenant::named(["default", "acme", "other"][usize::from(number % 3)]).expect("a name"),
            job_type: TypeName::new(["csv-generation", "email-send"][usize::from(number % 2)]),
            correlation_id: "request".to_owned(),
            callback_url: None,
            known: 0,
            history,
        };
        change.new_events().expect("possible")
    }

    proptest! {
        #[test]
        fn the_sums_are_those_of_each_event_once_however_they_are_told(
            events in events(),
            batches in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..8), 0..30),
        ) {
            let (once, often) = (MemoryCounters::default(), MemoryCounters::default());
            once.count_each(&events);
            for (start, length) in batches {
                let start = start.index(events.len());
                often.count_each(&events[start..events.len().min(start + length)]);
            }
            often.count_each(&events); // at last, everything has been told
            prop_assert_eq!(once.of(None), often.of(None));
            for tenant in ["default", "acme", "other"].map(|name| Tenant::named(name).expect("a name")) {
                prop_assert_eq!(once.of(Some(&tenant)), often.of(Some(&tenant)));
            }
        }

        #[test]
        fn the_minutes_add_up_to_the_totals(events in events()) {
            let counters = MemoryCounters::default();
            counters.count_each(&events);
            let (totals, minutes) = counters.of(None);
            let mut sum = Counts::default();
            for minute in &minutes {
                sum.merge(&minute.all().counts);
            }
            prop_assert_eq!(sum, totals.all());
            for (job_type, total) in &totals.by_type {
                let mut tally = Tally::default();
                minutes.iter().filter_map(|minute| minute.by_type.get(job_type)).for_each(|more| tally.merge(more));
                prop_assert_eq!((total.ran.count(), total.waited.count()), (tally.ran.count(), tally.waited.count()));
            }
            prop_assert!(sum.waiting >= 0 && sum.running >= 0);
            let ended = sum.completed + sum.failed + sum.cancelled;
            let unfinished = u64::try_from(sum.waiting + sum.running).expect("not below zero");
            prop_assert_eq!(sum.accepted + sum.redriven, ended + unfinished);
        }
    }
}
