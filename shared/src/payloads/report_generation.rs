//! `report-generation`: how the jobs of a time went.

use std::time::Duration;

use serde::Deserialize;

use crate::job::submission::parse_time;
use crate::job_type::Payload;
use crate::values::invalid::{InvalidField, read_fields};
use crate::values::json::Whole;
use crate::values::time::Timestamp;

/// The longest time that can be asked for in hours: 31 days.
pub const MOST_HOURS: u32 = 744;

/// The longest time that can be asked for: 92 days. Jobs are kept for [`crate::job::KEEP_ENDED`] after their end.
pub const LONGEST_PERIOD: Duration = Duration::from_hours(92 * 24);

/// Of which time the report is: the jobs that were accepted in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportGeneration {
    /// From one point up to, and without, another.
    Between {
        /// The first.
        from: Timestamp,
        /// The second, later than the first.
        to: Timestamp,
    },
    /// So many hours, up to when the report is begun; 1 to [`MOST_HOURS`].
    LastHours(u32),
}

impl ReportGeneration {
    /// The time that is meant by a report that is begun `now`: from, and up to.
    pub fn period(self, now: Timestamp) -> (Timestamp, Timestamp) {
        match self {
            Self::Between { from, to } => (from, to),
            Self::LastHours(hours) => (now - Duration::from_secs(u64::from(hours) * 60 * 60), now),
        }
    }
}

impl Payload for ReportGeneration {
    const NAME: &'static str = "report-generation";
    const SCHEMA: &'static str = r#"{
        "description": "How the jobs of a time went: of the last hours, or from one point to another.",
        "type": "object", "additionalProperties": false,
        "properties": {
            "last_hours": { "type": ["integer", "null"], "minimum": 1, "maximum": 744 },
            "from": { "type": ["string", "null"], "format": "date-time" },
            "to": { "type": ["string", "null"], "format": "date-time" }
        },
        "if": { "required": ["last_hours"], "properties": { "last_hours": { "type": "integer" } } },
        "then": { "properties": { "from": { "enum": [null] }, "to": { "enum": [null] } } },
        "else": { "required": ["from", "to"], "properties": { "from": { "type": "string" }, "to": { "type": "string" } } }
    }"#;
    const EXAMPLE: &'static str = r#"{"last_hours":24}"#;
    const TIMEOUT_SECONDS: u32 = 50;

    fn parse(json: &str) -> Result<Self, InvalidField> {
        let period: Period = read_fields(json)?;
        match period {
            Period { last_hours: Some(hours), from: None, to: None } => Ok(Self::LastHours(hours.get())),
            Period { last_hours: None, from: Some(from), to: Some(to) } => between(&from, &to),
            Period { last_hours: Some(_), .. } => {
                Err(InvalidField::new("last_hours", "cannot stand beside `from` and `to`"))
            }
            Period { from: None, .. } => Err(InvalidField::new("from", "is required, or `last_hours`")),
            Period { to: None, .. } => Err(InvalidField::new("to", "is required")),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Period {
    from: Option<String>,
    to: Option<String>,
    last_hours: Option<Whole<1, MOST_HOURS>>,
}

fn between(from: &str, to: &str) -> Result<ReportGeneration, InvalidField> {
    let (from, to) = (parse_time("from", from)?, parse_time("to", to)?);
    if to <= from {
        return Err(InvalidField::new("to", "must be later than `from`"));
    }
    if to.since(from) > LONGEST_PERIOD {
        let days = LONGEST_PERIOD.as_secs() / (24 * 60 * 60);
        return Err(InvalidField::new("to", format!("must be at most {days} days later than `from`")));
    }
    Ok(ReportGeneration::Between { from, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_given_by_its_ends_or_by_its_length_up_to_now() {
        let time = |text: &str| Timestamp::parse_rfc3339(text).expect(text);
        let now = time("2026-03-02T12:00:00Z");
        let json = r#"{"from":"2026-03-01T00:00:00+01:00","to":"2026-03-02T00:00:00+01:00"}"#;
        let (from, to) = ReportGeneration::parse(json).expect("fits").period(now);
        assert_eq!((from, to), (time("2026-02-28T23:00:00Z"), time("2026-03-01T23:00:00Z")));
        let (from, to) = ReportGeneration::parse(r#"{"last_hours":36}"#).expect("fits").period(now);
        assert_eq!((from, to), (time("2026-03-01T00:00:00Z"), now));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let of = |json: &str| ReportGeneration::parse(json).expect_err(json).within("payload").to_string();
        assert_eq!(of("{}"), "`payload.from` is required, or `last_hours`");
        assert_eq!(of(r#"{"from":"2026-03-01T00:00:00Z"}"#), "`payload.to` is required");
        assert_eq!(of(r#"{"last_hours":0}"#), "`payload.last_hours` must be a whole number from 1 to 744");
        assert_eq!(of(r#"{"last_hours":745}"#), "`payload.last_hours` must be a whole number from 1 to 744");
        assert_eq!(
            of(r#"{"last_hours":1,"to":"2026-03-01T00:00:00Z"}"#),
            "`payload.last_hours` cannot stand beside `from` and `to`"
        );
        assert_eq!(
            of(r#"{"from":"2026-03-01","to":"2026-03-02T00:00:00Z"}"#),
            "`payload.from` must be an RFC 3339 time such as 2030-01-31T09:00:00Z"
        );
        assert_eq!(
            of(r#"{"from":"2026-03-02T00:00:00Z","to":"2026-03-02T00:00:00Z"}"#),
            "`payload.to` must be later than `from`"
        );
        assert_eq!(
            of(r#"{"from":"2026-01-01T00:00:00Z","to":"2026-04-03T00:00:01Z"}"#),
            "`payload.to` must be at most 92 days later than `from`"
        );
    }

    #[test]
    fn the_longest_report_is_of_31_days_up_to_now_or_of_92_days() {
        let longest = ReportGeneration::parse(r#"{"last_hours":744}"#).expect("fits");
        assert_eq!(longest, ReportGeneration::LastHours(744));
        let json = r#"{"from":"2026-01-01T00:00:00Z","to":"2026-04-03T00:00:00Z"}"#;
        let (from, to) = ReportGeneration::parse(json).expect("fits").period(Timestamp::from_millis(0));
        assert_eq!(to.since(from).as_secs() / 3600, 92 * 24);
    }
}
