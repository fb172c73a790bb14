//! Points in time, in whole milliseconds.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
///
/// Serialises as that number, which is how the table keeps it. [`fmt::Display`] gives RFC 3339 in UTC, as the API does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The point `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down: the form DynamoDB's time to live wants.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Reads RFC 3339, with any offset. `None` if it is not that, or not within the years 1 to 9999.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let parsed: jiff::Timestamp = text.parse().ok()?;
        Some(Self(parsed.as_millisecond()))
    }

    /// How long after `earlier` this is; zero if it is not after it (clocks differ, and jump).
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rest: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(rest.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rest: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(rest.as_millis()).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_any_offset_and_writes_utc() {
        let noon = Timestamp::parse_rfc3339("2026-03-01T14:00:00.25+02:00").expect("valid");
        assert_eq!(noon.to_string(), "2026-03-01T12:00:00.250Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-03-01"), None);
        assert_eq!(Timestamp::parse_rfc3339("soon"), None);
    }

    #[test]
    fn the_time_since_a_later_point_is_zero() {
        assert_eq!(Timestamp::from_millis(5).since(Timestamp::from_millis(9)), Duration::ZERO);
    }

    #[test]
    fn whole_seconds_are_rounded_down_before_the_epoch_too() {
        let seconds = |millis| Timestamp::from_millis(millis).as_secs();
        assert_eq!([0, 999, 1_999, 2_000].map(seconds), [0, 0, 1, 2]);
        assert_eq!([-1, -1_000, -1_001].map(seconds), [-1, -1, -2]);
    }
}
