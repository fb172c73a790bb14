//! When a schedule runs: the minutes of a cron expression, by the clocks of a time zone.

use std::iter::successors;

use jiff::SignedDuration;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::clocks::{Stretch, stretches};
use super::cron::Cron;
use crate::values::invalid::InvalidField;
use crate::values::time::Timestamp;

/// When a schedule runs: the minutes that a cron expression of five fields names, by the clocks of a time zone.
///
/// Where clocks are set forward, a rule of one minute and one hour runs at the first moment after the gap if its own
/// lies in it; any other rule has no run in the gap. Where clocks are set back, the former runs once, the first time
/// its minute comes; the latter each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    cron: Cron,
    time_zone: TimeZone,
}

/// How far ahead a run is looked for. 29 February falls on a given day of the week once in 28 years, or in 40 where a
/// year divisible by 100 has none.
pub const LONGEST_SEARCH_YEARS: i64 = 41;

const LONGEST_SEARCH: SignedDuration = SignedDuration::from_hours(24 * 366 * LONGEST_SEARCH_YEARS);

/// Longer than clocks have ever been set back: by a day, where a country moved to the other side of the date line.
const LONGEST_SETBACK: SignedDuration = SignedDuration::from_hours(48);

/// How far missed runs are counted.
pub const MOST_COUNTED: usize = 1_000;

impl Rule {
    /// Reads a cron expression (`30 9 * * MON-FRI`, or `@daily` and its like) and the name of a time zone
    /// (`Europe/Berlin`, in any case).
    pub fn parse(cron: &str, time_zone: &str) -> Result<Self, InvalidField> {
        Self::of(Cron::parse(cron), time_zone)
    }

    /// Reads a rule that was taken once, perhaps by a build that took more than this one.
    pub fn stored(cron: &str, time_zone: &str) -> Result<Self, InvalidField> {
        Self::of(Cron::stored(cron), time_zone)
    }

    fn of(cron: Result<Cron, String>, time_zone: &str) -> Result<Self, InvalidField> {
        let cron = cron.map_err(|problem| InvalidField::new("cron", problem))?;
        let time_zone = TimeZoneDatabase::bundled().get(time_zone).ok().filter(|zone| zone.iana_name().is_some());
        let unknown = || InvalidField::new("time_zone", "must be an IANA time zone such as Europe/Berlin");
        Ok(Self { cron, time_zone: time_zone.ok_or_else(unknown)? })
    }

    /// The cron expression, with one space between its fields.
    pub fn cron(&self) -> &str {
        self.cron.as_str()
    }

    /// The name of the time zone, as the IANA writes it.
    pub fn time_zone(&self) -> &str {
        self.time_zone.iana_name().unwrap_or("UTC") // it has one: see `of`
    }

    /// The first run after `time`. `None` if there is none within some decades.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let earliest = jiff::Timestamp::from_millisecond(time.as_millis().checked_add(1)?).ok()?;
        let (from, end) = (earliest.checked_sub(LONGEST_SETBACK).ok()?, earliest.checked_add(LONGEST_SEARCH).ok()?);
        let run = stretches(&self.time_zone, from, end).find_map(|stretch| self.first_in(stretch, earliest))?;
        Some(Timestamp::from_millis(run.as_millisecond()))
    }

    /// The first run in this stretch that is not before `earliest`.
    fn first_in(&self, stretch: Stretch, earliest: jiff::Timestamp) -> Option<jiff::Timestamp> {
        // A rule of one minute and one hour looks from where the clocks stood before their change. So it finds what
        // lies in the gap, and passes over what comes a second time.
        let offset = if self.cron.is_once_a_day() { stretch.before } else { stretch.offset };
        let mut from = offset.to_datetime(stretch.start);
        if earliest > stretch.start {
            from = from.max(stretch.offset.to_datetime(earliest));
        }
        let minute = self.cron.first_minute(from, stretch.offset.to_datetime(stretch.end))?;
        Some(stretch.offset.to_timestamp(minute).ok()?.max(stretch.start))
    }

    /// The runs after `time`, earliest first.
    pub fn runs_after(&self, time: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        successors(self.next_after(time), move |run| self.next_after(*run))
    }

    /// The latest run that is not after `end`. `first` is a run, and not after it.
    pub(super) fn latest_until(&self, first: Timestamp, end: Timestamp) -> Timestamp {
        let (mut latest, mut end) = (first, end);
        // `latest` is a run, and none lies after `end`. Years of missed runs take some forty steps.
        while let Some(run) = self.next_after(latest).filter(|run| *run <= end) {
            let middle = Timestamp::from_millis(i64::midpoint(run.as_millis(), end.as_millis()));
            if let Some(later) = self.next_after(middle).filter(|later| *later <= end) {
                latest = later;
            } else {
                (latest, end) = (run, middle);
            }
        }
        latest
    }

    /// How many runs there are from the run `first` to before the run `end`, [`MOST_COUNTED`] at most.
    pub(super) fn count(&self, first: Timestamp, end: Timestamp) -> usize {
        let runs = successors(Some(first), |run| self.next_after(*run));
        runs.take_while(|run| *run < end).take(MOST_COUNTED).count()
    }
}

#[cfg(test)]
mod every_zone;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn time(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).expect(text)
    }

    fn rule(cron: &str, time_zone: &str) -> Rule {
        Rule::parse(cron, time_zone).expect(cron)
    }

    /// The next `count` runs after `from`, to the minute.
    fn runs(cron: &str, time_zone: &str, from: &str, count: usize) -> Vec<String> {
        let minutes = |run: Timestamp| run.to_string().replace(":00.000Z", "Z");
        rule(cron, time_zone).runs_after(time(from)).take(count).map(minutes).collect()
    }

    #[test]
    fn a_rule_runs_by_the_clocks_of_its_time_zone() {
        let midsummer = "2027-06-30T22:10:00Z";
        assert_eq!(runs("0 0 1 * *", "UTC", midsummer, 1), ["2027-07-01T00:00Z"]);
        assert_eq!(runs("0 0 1 * *", "Europe/Berlin", midsummer, 1), ["2027-07-31T22:00Z"]);
        assert_eq!(
            runs("30 9 * * MON-FRI", "Asia/Kolkata", "2027-01-15T08:00:00Z", 2),
            ["2027-01-18T04:00Z", "2027-01-19T04:00Z"]
        );
        assert_eq!(runs("@hourly", "UTC", "2027-01-15T08:00:00.001Z", 1), ["2027-01-15T09:00Z"]);
        assert_eq!(runs("0 0 L * *", "UTC", "2027-01-31T00:00:00Z", 2), ["2027-02-28T00:00Z", "2027-03-31T00:00Z"]);
        assert_eq!(runs("0 0 29 2 +MON", "UTC", "2072-03-01T00:00:00Z", 1), ["2112-02-29T00:00Z"], "40 years on");
    }

    /// Berlin's clocks go from 02:00 to 03:00 at 01:00 UTC, and back from 03:00 to 02:00 at 01:00 UTC.
    #[test]
    fn a_daily_job_runs_once_on_the_days_on_which_berlin_changes_its_clocks() {
        let half_past_two = |from| runs("30 2 * * *", "Europe/Berlin", from, 3);
        let in_spring = ["2027-03-27T01:30Z", "2027-03-28T01:00Z", "2027-03-29T00:30Z"];
        assert_eq!(half_past_two("2027-03-26T12:00:00Z"), in_spring);
        let in_autumn = ["2027-10-30T00:30Z", "2027-10-31T00:30Z", "2027-11-01T01:30Z"];
        assert_eq!(half_past_two("2027-10-29T12:00:00Z"), in_autumn);
        assert_eq!(half_past_two("2027-10-31T01:10:00Z")[0], "2027-11-01T01:30Z", "not in the second pass either");
    }

    /// New York's clocks go from 02:00 to 03:00 at 07:00 UTC, and back from 02:00 to 01:00 at 06:00 UTC.
    #[test]
    fn a_daily_job_runs_once_on_the_days_on_which_new_york_changes_its_clocks() {
        let half_past_two = runs("30 2 * * *", "America/New_York", "2027-03-13T12:00:00Z", 2);
        assert_eq!(half_past_two, ["2027-03-14T07:00Z", "2027-03-15T06:30Z"]);
        let half_past_one = runs("30 1 * * *", "America/New_York", "2027-11-06T12:00:00Z", 2);
        assert_eq!(half_past_one, ["2027-11-07T05:30Z", "2027-11-08T06:30Z"]);
        let half_past_two = runs("30 2 * * *", "America/New_York", "2027-11-06T12:00:00Z", 2);
        assert_eq!(half_past_two, ["2027-11-07T07:30Z", "2027-11-08T07:30Z"]);
    }

    #[test]
    fn a_job_of_each_half_hour_goes_by_the_time_that_passes() {
        let of_night = |from| runs("*/30 * * * *", "Europe/Berlin", from, 4);
        let spring = ["2027-03-28T00:30Z", "2027-03-28T01:00Z", "2027-03-28T01:30Z", "2027-03-28T02:00Z"];
        assert_eq!(of_night("2027-03-28T00:00:00Z"), spring);
        let autumn = ["2027-10-31T00:30Z", "2027-10-31T01:00Z", "2027-10-31T01:30Z", "2027-10-31T02:00Z"];
        assert_eq!(of_night("2027-10-31T00:00:00Z"), autumn);
    }

    #[test]
    fn a_run_in_a_gap_that_ends_on_another_day_is_not_lost() {
        // Nuuk's clocks go from 23:00 on Saturday to 00:00 on Sunday.
        let nuuk = |cron| runs(cron, "America/Nuuk", "2027-03-01T12:00:00Z", 7);
        let saturdays = ["2027-03-07T01:30Z", "2027-03-14T01:30Z", "2027-03-21T01:30Z", "2027-03-28T01:00Z"];
        assert_eq!(nuuk("30 23 * 3 SAT")[..4], saturdays);
        assert_eq!(nuuk("30 23 27 3 *")[0], "2027-03-28T01:00Z");
        assert_eq!(nuuk("0,30 23 * 3 SAT")[6], "2028-03-05T01:00Z", "a rule of two minutes has none there");
        // Where a whole day was left out: Apia went from Thursday, the 29th, to Saturday, the 31st.
        let apia = |cron| runs(cron, "Pacific/Apia", "2011-12-25T00:00:00Z", 1)[0].clone();
        assert_eq!(apia("0 12 30 12 *"), "2011-12-30T10:00Z", "as the 31st begins");
        assert_eq!(apia("0 0 * * FRI"), "2011-12-30T10:00Z");
        assert_eq!(apia("0 0 31 12 *"), "2011-12-30T10:00Z", "the 31st itself, once");
        let daily = runs("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", 3);
        assert_eq!(daily, ["2011-12-29T22:00Z", "2011-12-30T10:00Z", "2011-12-30T22:00Z"]);
    }

    #[test]
    fn what_never_comes_is_given_up_soon() {
        for cron in ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 1 * +2#5", "0 0 */31 2,4 +MON#2"] {
            assert_eq!(rule(cron, "Europe/Berlin").next_after(time("2027-01-15T08:00:00Z")), None, "{cron}");
        }
        assert_eq!(rule("* * * * *", "UTC").next_after(Timestamp::from_millis(i64::MAX)), None, "after all time");
    }

    #[test]
    fn what_is_no_rule_is_refused_by_name() {
        let of = |cron: &str, zone: &str| Rule::parse(cron, zone).expect_err(cron).to_string();
        let five = "`cron` must have five fields (minute, hour, day of the month, month, day of the week)";
        assert_eq!(of("", "UTC"), format!("{five}, not 0"));
        assert_eq!(of("* * * *", "UTC"), format!("{five}, not 4"));
        assert_eq!(of("0 * * * * *", "UTC"), format!("{five}, not 6"));
        assert_eq!(of("0 0 0 1 1 * 2027", "UTC"), format!("{five}, not 7"));
        let not_cron =
            ["60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-3 * * * *", "*/0 * * * *"];
        for cron in not_cron.into_iter().chain(["a * * * *", "-1 * * * *", "1# * * * *", "*/90 * * * *"]) {
            assert!(of(cron, "UTC").starts_with("`cron` has `"), "{cron}");
        }
        for cron in ["@often", "@daily *"] {
            assert!(of(cron, "UTC").starts_with("`cron` must be five fields, or one of @yearly"), "{cron}");
        }
        for cron in [", * * * *", "1,,2 * * * *", "* , * * *", "* * * * +", "* * * * +,"] {
            assert!(of(cron, "UTC").starts_with("`cron` has a list with nothing"), "{cron}");
        }
        for cron in ["\u{e9} * * * *", &"1,".repeat(200)] {
            assert!(of(cron, "UTC").starts_with("`cron` must be at most 256 ASCII"), "{cron}");
        }
        for zone in ["", "Mars/Olympus", "CEST", "+01:00", "Etc/Unknown", "../UTC"] {
            assert_eq!(of("* * * * *", zone), "`time_zone` must be an IANA time zone such as Europe/Berlin", "{zone}");
        }
        assert_eq!(rule(" @daily ", "europe/BERLIN").time_zone(), "Europe/Berlin");
        assert_eq!(rule("0\t 0 * *  *", "utc").cron(), "0 0 * * *");
    }

    #[test]
    fn a_rule_may_name_every_minute_and_hour_one_by_one_in_256_characters() {
        let each = |count: u32| (0..count).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
        let longest = format!("{} {} 1,2,3,4,5,6,7,8,9,10 * *", each(60), each(24));
        assert_eq!(longest.len(), 256);
        assert_eq!(rule(&longest, "UTC").cron(), longest);
        let longer = longest.replace(",10 *", ",10,11 *");
        assert!(Rule::parse(&longer, "UTC").expect_err("too long").to_string().contains("at most 256 ASCII"));
    }

    /// Zones whose clocks change by an hour, by half of one, at midnight, and not at all.
    const ZONES: [&str; 8] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "Africa/Casablanca",
        "America/Santiago",
        "Asia/Kolkata",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_daily_job_runs_once_on_each_day_of_a_year(hour in 0_u32..24, minute in 0_u32..60, zone in 0..ZONES.len()) {
            let daily = rule(&format!("{minute} {hour} * * *"), ZONES[zone]);
            let date = |run: Timestamp| {
                let run = jiff::Timestamp::from_millisecond(run.as_millis()).expect("in range");
                run.to_zoned(daily.time_zone.clone()).date()
            };
            let dates: Vec<_> = daily.runs_after(time("2027-01-01T12:00:00Z")).take(366).map(date).collect();
            for (day, date) in (0_i64..).zip(&dates) {
                prop_assert_eq!(*date, dates[0] + SignedDuration::from_hours(24 * day));
            }
        }

        #[test]
        fn no_run_is_left_out_and_none_invented(
            minute in 0_i64..60,
            every in 1_i64..60,
            hour in prop::option::of(0_i64..24),
            from in 0_i64..30_000_000,
        ) {
            let hours = hour.map_or("*".to_owned(), |hour| hour.to_string());
            let from = Timestamp::from_millis(1_800_000_000_000 + from);
            for (minutes, modulus, remainder) in [(minute.to_string(), 60, minute), (format!("*/{every}"), every, 0)] {
                let is_run = |at: &i64| {
                    at % 60 % modulus == remainder && hour.is_none_or(|hour| at / 60 % 24 == hour)
                };
                let after = (from.as_millis() / 60_000 + 1..).filter(is_run);
                let expected: Vec<_> = after.map(|at| Timestamp::from_millis(at * 60_000)).take(5).collect();
                let cron = format!("{minutes} {hours} * * *");
                let found: Vec<_> = rule(&cron, "UTC").runs_after(from).take(5).collect();
                prop_assert_eq!(found, expected, "{}", cron);
            }
        }

        #[test]
        fn the_latest_missed_run_is_where_walking_there_ends(
            every in 5_u32..60,
            hours in 1_u32..24,
            zone in 0..ZONES.len(),
            minutes in 0_u32..3_000,
        ) {
            let rule = rule(&format!("*/{every} */{hours} * * *"), ZONES[zone]);
            let first = rule.next_after(time("2027-10-30T00:00:00Z")).expect("it comes");
            let now = first + MINUTE * minutes;
            let walk = successors(Some(first), |run| rule.next_after(*run)).take_while(|run| *run <= now);
            let missed: Vec<_> = walk.collect();
            let latest = rule.latest_until(first, now);
            prop_assert_eq!(Some(&latest), missed.last());
            prop_assert_eq!(rule.count(first, latest), missed.len() - 1);
        }
    }
}
