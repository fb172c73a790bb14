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

    /// Reads RFC 3339, with any offset, and nothing else that ISO 8601 or its relatives allow. `None` if it is not that,
    /// or not within the years 1 to 9999. <https://www.rfc-editor.org/rfc/rfc3339#section-5.6>
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let (time, fraction, offset) = parts_of_rfc3339(text)?;
        // Milliseconds count; the library takes no more than nanoseconds.
        let fraction = fraction.get(..9).unwrap_or(fraction);
        let parsed: jiff::Timestamp = format!("{time}.{fraction}{offset}").parse().ok()?;
        (!text.starts_with("0000")).then(|| Self(parsed.as_millisecond()))
    }

    /// How long after `earlier` this is; zero if it is not after it (clocks differ, and jump).
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The time up to its seconds, the digits of their fraction and the offset, if the text has the form of RFC 3339. The
/// library takes more: no seconds, a comma, `[Europe/Berlin]`, `+24:00`.
fn parts_of_rfc3339(text: &str) -> Option<(&str, &str, &str)> {
    /// Whether `text` looks like `form`, in which a 0 is any digit.
    fn looks_like(text: &str, form: &str) -> bool {
        let fits = |(byte, form): (u8, u8)| if form == b'0' { byte.is_ascii_digit() } else { byte == form };
        text.len() == form.len() && text.bytes().map(|byte| byte.to_ascii_uppercase()).zip(form.bytes()).all(fits)
    }
    let (time, rest) = text.split_at_checked("0000-00-00T00:00:00".len())?;
    let (fraction, offset) = match rest.strip_prefix('.') {
        None => ("0", rest),
        Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
    };
    let known = ["Z", "+00:00", "-00:00"].iter().any(|form| looks_like(offset, form));
    let hours: Option<u8> = offset.get(1..3).and_then(|hours| hours.parse().ok());
    let fits = looks_like(time, "0000-00-00T00:00:00") && !fraction.is_empty() && known;
    (fits && hours.is_none_or(|hours| hours < 24)).then_some((time, fraction, offset))
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
    fn nothing_but_rfc_3339_is_read() {
        for (text, utc) in [
            ("2030-01-31T09:00:00Z", "2030-01-31T09:00:00.000Z"),
            ("2030-01-31t09:00:00z", "2030-01-31T09:00:00.000Z"),
            ("2030-01-31T09:00:00.1234567899Z", "2030-01-31T09:00:00.123Z"),
            ("2030-01-31T09:00:00-00:00", "2030-01-31T09:00:00.000Z"),
            ("2030-01-31T09:00:00+23:59", "2030-01-30T09:01:00.000Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(Timestamp::parse_rfc3339(text).map(|time| time.to_string()).as_deref(), Some(utc), "{text}");
        }
        for text in [
            "2030-01-31T09:00Z",
            "2030-01-31T09Z",
            "2030-01-31T09:00:00,5Z",
            "2030-01-31T09:00:00.Z",
            "2030-01-31T09:00:00",
            "2030-01-31T09:00:00+24:00",
            "2030-01-31T09:00:00+01",
            "2030-01-31T09:00:00+0100",
            "2030-01-31T09:00:00+01:00:30",
            "2030-01-31T09:00:00+01:60",
            "2030-01-31T09:00:00+01:00[Europe/Berlin]",
            "2030-01-31T09:00:00Z[UTC]",
            "2030-01-31 09:00:00Z",
            "20300131T090000Z",
            "2030-W05-4T09:00:00Z",
            "2030-031T09:00:00Z",
            "+002030-01-31T09:00:00Z",
            "-0001-01-31T09:00:00Z",
            "0000-01-31T09:00:00Z",
            "2030-02-30T09:00:00Z",
            "2030-01-31T24:00:00Z",
            "2030-01-31T09:00:61Z",
            " 2030-01-31T09:00:00Z",
            "2030-01-31T09:00:00Z\n",
            "２030-01-31T09:00:00Z",
            "1893456000",
            "",
        ] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text:?}");
        }
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
