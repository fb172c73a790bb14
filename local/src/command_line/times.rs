//! Times as people give them.

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

/// How long something takes: `90` (seconds), `90s`, `15m`, `2h` or `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(Duration);

impl From<Span> for Duration {
    fn from(Span(time): Span) -> Self {
        time
    }
}

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let of = |unit: char| text.strip_suffix(unit);
        let (number, seconds) = match (of('s'), of('m'), of('h'), of('d')) {
            (Some(number), ..) => (number, 1),
            (_, Some(number), ..) => (number, 60),
            (_, _, Some(number), _) => (number, 3_600),
            (_, _, _, Some(number)) => (number, 86_400),
            (None, None, None, None) => (text, 1),
        };
        let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse::<u64>().ok().filter(|_| plain);
        let time = number.and_then(|number| number.checked_mul(seconds)).map(Duration::from_secs);
        time.map(Self).ok_or_else(|| "must be seconds, or as in 90s, 15m, 2h, 7d".to_owned())
    }
}

/// A time in the past: in RFC 3339, or so long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At this time.
    At(Timestamp),
    /// So long ago.
    Ago(Span),
}

impl FromStr for Moment {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let at = |_| text.parse().map(Self::At);
        text.parse().map(Self::Ago).or_else(at).map_err(|_| {
            "must be a time such as 2030-01-31T09:00:00Z, or how long ago it was, as in 15m, 2h, 7d".to_owned()
        })
    }
}

impl Moment {
    /// When that is, as seen from `now`, to the second.
    pub fn seen_from(self, now: Timestamp) -> anyhow::Result<Timestamp> {
        match self {
            Self::At(time) => Ok(time),
            Self::Ago(Span(time)) => {
                let second = now.as_second().saturating_sub_unsigned(time.as_secs());
                Timestamp::from_second(second).map_err(|_| anyhow::anyhow!("{time:?} ago, there were no clocks"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_and_a_unit() {
        let cases = [
            ("90", Some(90)),
            ("0", Some(0)),
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("2h", Some(7_200)),
            ("366d", Some(31_622_400)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("+1", None),
            ("1.5h", None),
            ("1h30m", None),
            ("1 h", None),
            ("1w", None),
            ("99999999999999999999", None),
            ("9999999999999999999d", None),
        ];
        for (text, seconds) in cases {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(text.parse::<Span>().ok().map(Duration::from), expected, "{text}");
        }
    }

    #[test]
    fn a_moment_is_a_time_or_how_long_ago_it_was() {
        let now: Timestamp = "2030-01-31T09:00:00.75Z".parse().expect("a time");
        let cases = [
            ("2030-01-31T09:00:00.5+01:00", Some("2030-01-31T08:00:00.5Z")),
            ("90", Some("2030-01-31T08:58:30Z")),
            ("1d", Some("2030-01-30T09:00:00Z")),
            ("99999999999999d", None),
            ("yesterday", None),
            ("2030-01-31", None),
        ];
        for (text, expected) in cases {
            let moment = text.parse::<Moment>().ok().and_then(|moment| moment.seen_from(now).ok());
            assert_eq!(moment.map(|time| time.to_string()).as_deref(), expected, "{text}");
        }
    }
}
