//! What a report counts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::values::time::Timestamp;

/// What a report says of one job.
pub struct Seen<'a> {
    pub job_type: &'a str,
    pub accepted_at: Timestamp,
    pub outcome: Outcome,
    /// Attempts begun.
    pub attempts: u32,
    /// From the start of its latest attempt to its end; `None` if it has none of both.
    pub took: Option<Duration>,
}

/// How a job has gone so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    Failed,
    Cancelled,
    /// Waiting or running.
    Unfinished,
}

impl Outcome {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Completed, Self::Failed, Self::Cancelled, Self::Unfinished];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Unfinished => "unfinished",
        }
    }
}

/// The jobs that were accepted in a time, counted. A few kilobytes of JSON, however many they are: it is kept as a
/// checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    from: Timestamp,
    to: Timestamp,
    /// When the last job that was read was accepted.
    read_to: Timestamp,
    by_type: BTreeMap<String, OfType>,
    /// For each step of the time, in order.
    by_time: Vec<Counts>,
}

/// The jobs of one type, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfType {
    pub counts: Counts,
    /// All of them together.
    pub attempts: u64,
    /// How long the completed ones took.
    pub durations: Durations,
}

/// How many jobs went how, in the order of [`Outcome::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts([u32; 4]);

/// The longest time that is shown by the hour: three days. A longer one is shown by the day.
const LONGEST_BY_THE_HOUR: Duration = Duration::from_hours(3 * 24);

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

impl Statistics {
    /// No jobs yet, of the time from one point up to, and without, another.
    pub fn of(from: Timestamp, to: Timestamp) -> Self {
        let mut statistics = Self { from, to, read_to: to, by_type: BTreeMap::new(), by_time: vec![] };
        let last = Timestamp::from_millis(to.as_millis() - 1);
        statistics.by_time = vec![Counts::default(); statistics.step_of(last).map_or(0, |step| step + 1)];
        statistics
    }

    /// Counts a job, if it was accepted in the time that is counted.
    pub fn add(&mut self, job: &Seen<'_>) {
        self.read_to = self.read_to.min(job.accepted_at).max(self.from);
        if !(self.from..self.to).contains(&job.accepted_at) {
            return;
        }
        let of_type = self.by_type.entry(job.job_type.to_owned()).or_default();
        of_type.counts.add(job.outcome);
        of_type.attempts += u64::from(job.attempts);
        if let (Outcome::Completed, Some(took)) = (job.outcome, job.took) {
            of_type.durations.add(took);
        }
        if let Some(counts) = self.step_of(job.accepted_at).and_then(|step| self.by_time.get_mut(step)) {
            counts.add(job.outcome);
        }
    }

    /// The time's beginning.
    pub fn from(&self) -> Timestamp {
        self.from
    }

    /// The time's end, which is not in it.
    pub fn to(&self) -> Timestamp {
        self.to
    }

    /// How many jobs were counted.
    pub fn jobs(&self) -> u64 {
        self.by_type.values().map(|of_type| of_type.counts.all()).sum()
    }

    /// How much of the time has been read, 0 to 100: jobs are read from the newest to the oldest.
    pub fn percent_read(&self) -> u8 {
        let whole = self.to.since(self.from).as_millis().max(1);
        u8::try_from(self.to.since(self.read_to).as_millis() * 100 / whole).unwrap_or(100).min(100)
    }

    /// By type, in the order of their names.
    pub fn by_type(&self) -> impl Iterator<Item = (&str, &OfType)> {
        self.by_type.iter().map(|(name, of_type)| (name.as_str(), of_type))
    }

    /// All types together.
    pub fn in_all(&self) -> OfType {
        let mut all = OfType::default();
        for of_type in self.by_type.values() {
            for (sum, count) in all.counts.0.iter_mut().zip(of_type.counts.0) {
                *sum = sum.saturating_add(count);
            }
            all.attempts += of_type.attempts;
            all.durations.add_all(&of_type.durations);
        }
        all
    }

    /// By the hour or by the day: when each of these begins, and what was counted in it.
    pub fn by_time(&self) -> impl ExactSizeIterator<Item = (Timestamp, Counts)> {
        let start = self.start_of_steps();
        self.by_time.iter().enumerate().map(move |(step, counts)| {
            let begins = start + i64::try_from(step).unwrap_or(i64::MAX).saturating_mul(self.step_ms());
            (Timestamp::from_millis(begins), *counts)
        })
    }

    /// Whether the time is shown by the hour, not by the day.
    pub fn is_by_the_hour(&self) -> bool {
        self.to.since(self.from) <= LONGEST_BY_THE_HOUR
    }

    fn step_ms(&self) -> i64 {
        if self.is_by_the_hour() { HOUR_MS } else { DAY_MS }
    }

    /// The full hour, or the day's beginning in UTC, at or before the time's beginning.
    fn start_of_steps(&self) -> i64 {
        self.from.as_millis().div_euclid(self.step_ms()) * self.step_ms()
    }

    fn step_of(&self, time: Timestamp) -> Option<usize> {
        usize::try_from((time.as_millis() - self.start_of_steps()).div_euclid(self.step_ms())).ok()
    }
}

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        let count = &mut self.0[outcome as usize];
        *count = count.saturating_add(1);
    }

    /// How many went like this.
    pub fn of(self, outcome: Outcome) -> u64 {
        u64::from(self.0[outcome as usize])
    }

    /// How many there are.
    pub fn all(self) -> u64 {
        self.0.into_iter().map(u64::from).sum()
    }
}

/// How long jobs took: how many of them, how long in all, and how many took about how long.
///
/// The milliseconds are sorted into classes: up to 15 each is one of its own, and from there on each doubling is eight.
/// So a quantile is right within a sixteenth, and the whole is never longer than [`CLASSES`] numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations {
    sum_ms: u64,
    classes: Vec<u32>,
}

/// How many classes of durations there are. The last one holds all from 122.88 s on: no attempt takes that long.
const CLASSES: usize = 16 + 8 * 13;

impl Durations {
    fn add(&mut self, took: Duration) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let class = class_of(millis);
        if self.classes.len() <= class {
            self.classes.resize(class + 1, 0);
        }
        self.classes[class] = self.classes[class].saturating_add(1);
        self.sum_ms = self.sum_ms.saturating_add(millis);
    }

    fn add_all(&mut self, other: &Self) {
        if self.classes.len() < other.classes.len() {
            self.classes.resize(other.classes.len(), 0);
        }
        for (sum, count) in self.classes.iter_mut().zip(&other.classes) {
            *sum = sum.saturating_add(*count);
        }
        self.sum_ms = self.sum_ms.saturating_add(other.sum_ms);
    }

    /// The mean, in milliseconds; `None` if there are none.
    pub fn mean_ms(&self) -> Option<u64> {
        self.sum_ms.checked_div(self.count())
    }

    /// What `percent` of them took at most, in milliseconds; `None` if there are none.
    pub fn quantile_ms(&self, percent: u64) -> Option<u64> {
        // The nearest rank: of 20, 95 % is the 19th.
        let rank = (self.count() * percent).div_ceil(100).max(1);
        let mut reached = 0;
        let class = self.classes.iter().position(|count| {
            reached += u64::from(*count);
            reached >= rank
        })?;
        Some(middle_of(class))
    }

    fn count(&self) -> u64 {
        self.classes.iter().copied().map(u64::from).sum()
    }
}

/// The class that a duration is in.
fn class_of(millis: u64) -> usize {
    let class = match millis.checked_ilog2() {
        None | Some(0..4) => millis,
        Some(doublings) => 16 + u64::from(doublings - 4) * 8 + ((millis >> (doublings - 3)) & 7),
    };
    usize::try_from(class).unwrap_or(usize::MAX).min(CLASSES - 1)
}

/// The duration in the middle of a class, in milliseconds.
fn middle_of(class: usize) -> u64 {
    let class = class as u64;
    let Some(above) = class.checked_sub(16) else { return class };
    let width = 2 << (above / 8);
    (8 + above % 8) * width + width / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).expect(text)
    }

    fn seen(job_type: &str, at: &str, outcome: Outcome, took_ms: u64) -> Statistics {
        let mut statistics = Statistics::of(time("2026-03-01T10:30:00Z"), time("2026-03-01T13:30:00Z"));
        let took = Some(Duration::from_millis(took_ms));
        statistics.add(&Seen { job_type, accepted_at: time(at), outcome, attempts: 2, took });
        statistics
    }

    #[test]
    fn a_short_time_is_counted_by_the_hour_and_a_long_one_by_the_day() {
        let statistics = seen("a", "2026-03-01T12:59:59.999Z", Outcome::Failed, 5);
        let steps: Vec<_> = statistics.by_time().map(|(begins, counts)| (begins.to_string(), counts.all())).collect();
        let at = |hour: &str| format!("2026-03-01T{hour}:00:00.000Z");
        assert_eq!(steps, [(at("10"), 0), (at("11"), 0), (at("12"), 1), (at("13"), 0)]);

        let days = Statistics::of(time("2026-02-27T23:00:00Z"), time("2026-03-03T00:00:00Z"));
        let days: Vec<_> = days.by_time().map(|(begins, _)| begins.to_string()).collect();
        assert_eq!(days.len(), 4);
        assert_eq!((days[0].as_str(), days[3].as_str()), ("2026-02-27T00:00:00.000Z", "2026-03-02T00:00:00.000Z"));
    }

    #[test]
    fn types_are_counted_apart_and_together() {
        let mut statistics = seen("b", "2026-03-01T11:00:00Z", Outcome::Completed, 10);
        let accepted_at = time("2026-03-01T11:00:00Z");
        for (job_type, outcome, millis) in
            [("b", Outcome::Completed, 14), ("b", Outcome::Failed, 9000), ("a", Outcome::Unfinished, 0)]
        {
            let took = Some(Duration::from_millis(millis));
            statistics.add(&Seen { job_type, accepted_at, outcome, attempts: 1, took });
        }
        let types: Vec<_> = statistics.by_type().map(|(name, of_type)| (name, of_type.counts.all())).collect();
        assert_eq!(types, [("a", 1), ("b", 3)]);
        let all = statistics.in_all();
        assert_eq!(Outcome::ALL.map(|outcome| all.counts.of(outcome)), [2, 1, 0, 1]);
        assert_eq!((all.attempts, statistics.jobs()), (5, 4));
        assert_eq!(all.durations.mean_ms(), Some(12), "of the completed ones");
        assert_eq!((all.durations.quantile_ms(50), all.durations.quantile_ms(95)), (Some(10), Some(14)));
        assert_eq!(OfType::default().durations.quantile_ms(50), None);
    }

    #[test]
    fn it_is_known_how_much_has_been_read() {
        let read = |at| seen("a", at, Outcome::Completed, 1).percent_read();
        assert_eq!(read("2026-03-01T14:00:00Z"), 0, "newer than the time that is asked for");
        assert_eq!(read("2026-03-01T12:00:00Z"), 50);
        assert_eq!(read("2026-02-01T00:00:00Z"), 100);
    }

    #[test]
    fn the_longest_time_with_many_types_and_durations_fits_into_a_checkpoint() {
        let mut statistics = Statistics::of(time("2026-01-01T12:00:00Z"), time("2026-04-03T12:00:00Z"));
        for number in 0..20_000 {
            let accepted_at = statistics.from + Duration::from_secs(number % 92 * 86_400);
            let job_type = format!("a-type-of-some-length-{}", number % 10);
            let took = Some(Duration::from_millis(number * 7));
            let outcome = Outcome::ALL[usize::try_from(number % 4).expect("small")];
            statistics.add(&Seen { job_type: &job_type, accepted_at, outcome, attempts: 1, took });
        }
        let json = serde_json::to_string(&statistics).expect("serialises");
        assert!(json.len() < 8 * 1024, "{} bytes", json.len());
        assert_eq!(serde_json::from_str::<Statistics>(&json).expect("reads back"), statistics);
    }

    proptest! {
        #[test]
        fn a_quantile_is_right_within_a_sixteenth(
            mut millis in prop::collection::vec(0_u64..120_000, 1..200),
            percent in 1_u64..=100,
        ) {
            let mut durations = Durations::default();
            for millis in &millis {
                durations.add(Duration::from_millis(*millis));
            }
            millis.sort_unstable();
            let rank = (millis.len() as u64 * percent).div_ceil(100);
            let exact = millis[usize::try_from(rank).expect("small") - 1];
            let quantile = durations.quantile_ms(percent).expect("there are some");
            prop_assert!(quantile.abs_diff(exact) * 16 <= exact, "{quantile} for {exact}");
            prop_assert_eq!(durations.mean_ms(), Some(millis.iter().sum::<u64>() / millis.len() as u64));
        }

        #[test]
        fn a_longer_duration_is_in_no_lower_class(millis in 0_u64..1_000_000) {
            let (class, next) = (class_of(millis), class_of(millis + 1));
            prop_assert!(next == class || next == class + 1);
            prop_assert!(next < CLASSES);
        }
    }
}
