//! How often, and for how long, a call is tried.

use std::time::Duration;

use jiff::Timestamp;

/// How often, and for how long, a call is tried. Tried again are calls that got no answer (no connection, a broken one,
/// none in time) or one that may be another in a moment: 429, 502, 503 and 504. Nothing else is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How many times a call is tried in all.
    pub attempts: u32,
    /// The pause after the first try, before jitter. Each further one is twice as long.
    pub first_pause: Duration,
    /// No pause is longer, unless the service asks for it (`Retry-After`).
    pub longest_pause: Duration,
    /// How long one try may take. The gateway itself ends what takes longer than 30 s.
    pub attempt_time: Duration,
    /// How long all tries and pauses may take together. A pause that would go beyond it is not begun.
    pub whole_time: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 4,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
            attempt_time: Duration::from_secs(35),
            whole_time: Duration::from_secs(100),
        }
    }
}

impl Patience {
    /// How long to pause after try number `attempt` (from 1) has failed: between half and all of
    /// min(longest, first × 2^(attempt-1)), chosen by `random`, and no less than the service asked for.
    pub(crate) fn pause(&self, attempt: u32, retry_after: Option<Duration>, random: u32) -> Duration {
        let doubled = self.first_pause.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
        let longest = doubled.min(self.longest_pause);
        let jittered = longest.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX));
        retry_after.map_or(jittered, |asked| jittered.max(asked))
    }
}

/// Reads the header `Retry-After`: seconds, or an HTTP date (RFC 9110, section 10.2.3). A number of seconds that is too
/// large to count is the largest that can be counted: whoever says it does not want to be asked again soon.
pub(crate) fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(time.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_the_longest() {
        let patience = Patience::default();
        let longest = |attempt| patience.pause(attempt, None, u32::MAX).as_millis();
        assert_eq!([1, 2, 3, 5, 6, 40].map(longest), [200, 400, 800, 3200, 5000, 5000]);
        assert_eq!(patience.pause(1, None, 0).as_millis(), 100);
    }

    #[test]
    fn no_pause_is_shorter_than_the_service_asked_for() {
        let patience = Patience::default();
        assert_eq!(patience.pause(1, Some(Duration::from_secs(30)), 0).as_secs(), 30);
        assert_eq!(patience.pause(1, Some(Duration::ZERO), 0).as_millis(), 100);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "1994-11-06T08:49:37Z".parse().expect("a time");
        let thousand_digits = "9".repeat(1000);
        let cases = [
            ("120", Some(120)),
            (" 120 ", Some(120)),
            ("0", Some(0)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", Some(u64::MAX)),
            ("99999999999999999999", Some(u64::MAX)),
            (thousand_digits.as_str(), Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("1e3", None),
            ("\u{661}", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse_retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn however_long_a_service_asks_to_wait_the_sum_can_be_reckoned() {
        let longest = parse_retry_after("99999999999999999999", Timestamp::UNIX_EPOCH);
        let pause = Patience::default().pause(1, longest, 0);
        assert!(Duration::from_secs(7).saturating_add(pause) > Patience::default().whole_time);
    }
}
