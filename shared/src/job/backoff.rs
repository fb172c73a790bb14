//! How long to wait between attempts.

use std::time::Duration;

/// Exponential backoff with jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The wait after the first attempt, before jitter.
    pub base: Duration,
    /// No wait is longer, whatever the attempt; `Retry-After` is bound by it too.
    pub cap: Duration,
}

impl RetryPolicy {
    /// How long to wait after attempt number `attempt` (from 1) has failed.
    ///
    /// Between half and all of min(cap, base × 2^(attempt-1)), chosen by `random`: jobs that failed together do not
    /// all come back together. If what the attempt called upon said when to come back (`retry_after`), not before that.
    pub fn backoff(&self, attempt: u32, retry_after: Option<Duration>, random: u32) -> Duration {
        let doubled = self.base.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
        let longest = doubled.min(self.cap);
        let jittered = longest.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX));
        retry_after.map_or(jittered, |asked| jittered.max(asked.min(self.cap)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: RetryPolicy = RetryPolicy { base: Duration::from_secs(10), cap: Duration::from_secs(900) };

    #[test]
    fn the_wait_doubles_up_to_the_cap() {
        let longest = |attempt| POLICY.backoff(attempt, None, u32::MAX).as_secs();
        assert_eq!([1, 2, 3, 4, 8, 40].map(longest), [10, 20, 40, 80, 900, 900]);
        assert_eq!(POLICY.backoff(1, None, 0).as_secs(), 5);
    }

    #[test]
    fn retry_after_is_honoured_up_to_the_cap() {
        assert_eq!(POLICY.backoff(1, Some(Duration::from_secs(60)), 0).as_secs(), 60);
        assert_eq!(POLICY.backoff(1, Some(Duration::from_secs(1)), 0).as_secs(), 5);
        assert_eq!(POLICY.backoff(1, Some(Duration::from_secs(86_400)), 0).as_secs(), 900);
    }

    proptest! {
        #[test]
        fn jitter_stays_between_half_and_all(attempt in 1_u32..100, random: u32) {
            let longest = POLICY.backoff(attempt, None, u32::MAX);
            let wait = POLICY.backoff(attempt, None, random);
            prop_assert!(wait <= longest && wait * 2 >= longest);
        }
    }
}
