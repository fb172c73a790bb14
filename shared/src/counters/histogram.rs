//! How long things took, as counts of durations in fixed ranges: two histograms merge by adding.

use std::collections::BTreeMap;
use std::time::Duration;

/// A range of durations in milliseconds. Up to 15 ms each has its own; beyond, each doubling is cut into eight, so that no
/// duration is further than 1/16 (6.25 %) of itself from the middle of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    /// The highest there is.
    const LAST: u16 = 495; // 8 × (64 bits − 4) + 15

    /// The range that this duration is in.
    pub fn of(duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        // All but the four leading bits are dropped: those are the range's place within its doubling.
        let dropped = (u64::BITS - millis.leading_zeros()).saturating_sub(4);
        let index = u64::from(dropped) * 8 + (millis >> dropped);
        Self(u16::try_from(index).unwrap_or(Self::LAST))
    }

    /// The range of this number; `None` if there is none.
    pub fn numbered(number: u16) -> Option<Self> {
        (number <= Self::LAST).then_some(Self(number))
    }

    /// Its number: the longer the durations, the higher.
    pub fn number(self) -> u16 {
        self.0
    }

    /// The shortest duration in it.
    pub fn shortest(self) -> Duration {
        Duration::from_millis(self.leading_bits() << self.dropped_bits())
    }

    /// The longest duration in it.
    pub fn longest(self) -> Duration {
        self.shortest() + Duration::from_millis(self.span())
    }

    fn middle(self) -> Duration {
        self.shortest() + Duration::from_millis(self.span() / 2)
    }

    /// The longest less the shortest, in milliseconds.
    fn span(self) -> u64 {
        (1_u64 << self.dropped_bits()) - 1
    }

    fn dropped_bits(self) -> u16 {
        (self.0 / 8).saturating_sub(1)
    }

    fn leading_bits(self) -> u64 {
        u64::from(self.0 - 8 * self.dropped_bits())
    }
}

/// Counts of durations by range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram(BTreeMap<Bucket, u64>);

impl Histogram {
    /// Counts `more` durations in this range.
    pub fn add(&mut self, bucket: Bucket, more: u64) {
        let count = self.0.entry(bucket).or_default();
        *count = count.saturating_add(more);
    }

    /// Counts all that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            self.add(*bucket, *count);
        }
    }

    /// How many durations it has counted.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The duration that `percent` of all are not longer than, give or take 6.25 % of itself: 95 for p95. `None` if it
    /// has counted none.
    pub fn percentile(&self, percent: u8) -> Option<Duration> {
        let rank = (u128::from(self.count()) * u128::from(percent)).div_ceil(100).max(1);
        let mut passed = 0;
        for (bucket, count) in &self.0 {
            passed += u128::from(*count);
            if passed >= rank {
                return Some(bucket.middle());
            }
        }
        None
    }

    /// The ranges in which it has counted any, the shortest durations first, and how many.
    pub fn ranges(&self) -> impl Iterator<Item = (Bucket, u64)> + '_ {
        self.0.iter().map(|(bucket, count)| (*bucket, *count))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ranges_follow_each_other_without_a_gap() {
        assert_eq!(Bucket(0).shortest(), Duration::ZERO);
        for number in 1..=Bucket::LAST {
            let (previous, bucket) = (Bucket(number - 1), Bucket(number));
            assert_eq!(previous.longest() + Duration::from_millis(1), bucket.shortest(), "{number}");
        }
        assert_eq!(Bucket(Bucket::LAST).longest(), Duration::from_millis(u64::MAX));
        assert_eq!(Bucket::of(Duration::MAX), Bucket(Bucket::LAST));
        assert_eq!((Bucket::numbered(495), Bucket::numbered(496)), (Some(Bucket(495)), None));
    }

    #[test]
    fn without_durations_there_is_no_percentile() {
        assert_eq!(Histogram::default().percentile(50), None);
    }

    fn of(durations: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for millis in durations {
            histogram.add(Bucket::of(Duration::from_millis(*millis)), 1);
        }
        histogram
    }

    /// From a millisecond to a fortnight, short ones as likely as long ones.
    fn durations() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec((0_u32..31).prop_flat_map(|bits| 0..1_u64 << bits), 1..100)
    }

    proptest! {
        #[test]
        fn a_duration_is_in_its_range(millis in any::<u64>()) {
            let bucket = Bucket::of(Duration::from_millis(millis));
            prop_assert!((bucket.shortest()..=bucket.longest()).contains(&Duration::from_millis(millis)));
        }

        #[test]
        fn a_percentile_is_a_sixteenth_off_at_most(mut durations in durations(), percent in 1_u8..=100) {
            let estimate = of(&durations).percentile(percent).expect("there are some").as_millis();
            durations.sort_unstable();
            let rank = (durations.len() * usize::from(percent)).div_ceil(100);
            let truth = u128::from(durations[rank - 1]);
            prop_assert!(estimate.abs_diff(truth) * 16 <= truth, "{estimate} for {truth}");
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
