//! How long things took since counting began: how many of them at most how long, and how long in all.
//!
//! A [`super::Histogram`] is finer, and has up to 496 ranges: too many for an item that is kept for ever, and costs the
//! more to write the larger it is.

use std::array;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::UnknownField;

/// Where the ranges end, in milliseconds. A stored count has its range's end in its name. So an end may be added: what
/// was counted before stays in the wider range. None may be taken away: what it has counted would be lost.
const ENDS_MS: [u64; 13] = [10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 3_600_000];

/// A range of durations: longer than those of the range before it, and at most as long as its end. The last one has no
/// end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range(usize);

impl Range {
    /// The range that this duration is in. Parts of a millisecond count.
    pub fn of(duration: Duration) -> Self {
        Self(ENDS_MS.partition_point(|end| Duration::from_millis(*end) < duration))
    }

    /// All of them, the shortest durations first.
    pub fn all() -> [Self; ENDS_MS.len() + 1] {
        array::from_fn(Self)
    }

    /// The longest duration in it; `None` if it has no end.
    pub fn longest(self) -> Option<Duration> {
        ENDS_MS.get(self.0).copied().map(Duration::from_millis)
    }
}

/// As stores keep it: the milliseconds of its end, or `inf`.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ENDS_MS.get(self.0) {
            Some(end) => write!(f, "{end}"),
            None => f.write_str("inf"),
        }
    }
}

impl FromStr for Range {
    type Err = UnknownField;

    fn from_str(text: &str) -> Result<Self, UnknownField> {
        Self::all().into_iter().find(|range| range.to_string() == text).ok_or(UnknownField)
    }
}

/// Counts of durations by range, and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    counts: [u64; ENDS_MS.len() + 1],
    sum_ms: u64,
}

impl Durations {
    /// Counts `more` durations in this range.
    pub fn add(&mut self, range: Range, more: u64) {
        let count = &mut self.counts[range.0];
        *count = count.saturating_add(more);
    }

    /// Adds so many milliseconds to the sum.
    pub fn add_ms(&mut self, more: u64) {
        self.sum_ms = self.sum_ms.saturating_add(more);
    }

    /// Counts all that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for (range, more) in Range::all().into_iter().zip(other.counts) {
            self.add(range, more);
        }
        self.add_ms(other.sum_ms);
    }

    /// How many durations it has counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_millis(self.sum_ms)
    }

    /// Each range, and how many durations are in it or in a shorter one.
    pub fn cumulative(&self) -> impl Iterator<Item = (Range, u64)> {
        Range::all().into_iter().zip(self.counts).scan(0_u64, |so_far, (range, count)| {
            *so_far = so_far.saturating_add(count);
            Some((range, *so_far))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_duration_is_in_the_first_range_that_does_not_end_before_it() {
        for (micros, longest_ms) in [
            (0, Some(10)),
            (10_000, Some(10)),
            (10_001, Some(50)),
            (1_000_000, Some(1000)),
            (1_001_000, Some(2500)),
            (3_600_000_000, Some(3_600_000)),
            (3_600_000_001, None),
            (u64::MAX, None),
        ] {
            let range = Range::of(Duration::from_micros(micros));
            assert_eq!(range.longest(), longest_ms.map(Duration::from_millis), "{micros} µs");
        }
        assert!(ENDS_MS.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn every_range_survives_its_text_form() {
        for range in Range::all() {
            assert_eq!(range.to_string().parse(), Ok(range));
        }
        for unknown in ["", "11", "010", "+10", "Inf", "3600001"] {
            assert_eq!(unknown.parse::<Range>(), Err(UnknownField), "{unknown}");
        }
    }

    fn of(durations: &[u64]) -> Durations {
        let mut counted = Durations::default();
        for millis in durations {
            counted.add(Range::of(Duration::from_millis(*millis)), 1);
            counted.add_ms(*millis);
        }
        counted
    }

    /// From a millisecond to a fortnight, short ones as likely as long ones.
    fn durations() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec((0_u32..31).prop_flat_map(|bits| 0..1_u64 << bits), 0..100)
    }

    proptest! {
        #[test]
        fn what_is_counted_up_to_an_end_is_what_took_no_longer(durations in durations()) {
            let counted = of(&durations);
            for (range, count) in counted.cumulative() {
                let longest = range.longest().unwrap_or(Duration::MAX);
                let fitting = durations.iter().filter(|millis| Duration::from_millis(**millis) <= longest);
                prop_assert_eq!(count, fitting.count() as u64);
            }
            prop_assert_eq!(counted.count(), durations.len() as u64);
            prop_assert_eq!(counted.sum(), Duration::from_millis(durations.iter().sum()));
        }

        #[test]
        fn merging_is_counting_together(one in durations(), other in durations()) {
            let mut merged = of(&one);
            merged.merge(&of(&other));
            let together: Vec<_> = one.into_iter().chain(other).collect();
            prop_assert_eq!(merged, of(&together));
        }
    }
}
