//! Each change of the clocks in each zone of the database, against a reckoning that walks the days and asks of each
//! minute whether it was there.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::iter::successors;

use jiff::civil::{Date, DateTime, date};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use super::Rule;
use crate::schedule::cron::Cron;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// A rule, and the same written out.
struct Case<'a> {
    cron: String,
    /// Hours and minutes.
    times: Vec<(i8, i8)>,
    names: &'a dyn Fn(Date) -> bool,
}

impl Case<'_> {
    /// Its runs on these days, by what `docs/schedules.md` promises.
    fn runs(&self, zone: &TimeZone, days: impl Iterator<Item = Date>) -> BTreeSet<Timestamp> {
        let is_once_a_day = self.times.len() == 1;
        let mut runs = BTreeSet::new();
        for day in days.filter(|day| (self.names)(*day)) {
            for (hour, minute) in &self.times {
                let minute = day.at(*hour, *minute, 0, 0);
                match zone.to_ambiguous_timestamp(minute).offset() {
                    AmbiguousOffset::Unambiguous { offset } => {
                        runs.insert(instant(offset, minute));
                    }
                    AmbiguousOffset::Gap { .. } if is_once_a_day => {
                        runs.insert(first_moment_after(zone, minute));
                    }
                    AmbiguousOffset::Gap { .. } => {}
                    AmbiguousOffset::Fold { before, after } => {
                        runs.insert(instant(before, minute));
                        if !is_once_a_day {
                            runs.insert(instant(after, minute));
                        }
                    }
                }
            }
        }
        runs
    }
}

fn instant(offset: Offset, minute: DateTime) -> Timestamp {
    offset.to_timestamp(minute).expect("in range")
}

/// The first minute after the gap that `minute` lies in.
fn first_moment_after(zone: &TimeZone, minute: DateTime) -> Timestamp {
    let offset_of = |minute: DateTime| match zone.to_ambiguous_timestamp(minute).offset() {
        AmbiguousOffset::Unambiguous { offset } => Some(offset),
        AmbiguousOffset::Gap { .. } => None,
        AmbiguousOffset::Fold { before, .. } => Some(before),
    };
    let mut later = successors(Some(minute), |minute| Some(*minute + MINUTE));
    later.find_map(|minute| Some(instant(offset_of(minute)?, minute))).expect("gaps end")
}

/// A change of a zone's clocks.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Change {
    at: Timestamp,
    before: Offset,
    after: Offset,
}

fn changes(zone: &TimeZone) -> Vec<Change> {
    let [start, end] = [2024, 2041].map(|year| instant(Offset::UTC, date(year, 1, 1).at(0, 0, 0, 0)));
    let mut before = zone.to_offset(start);
    let following = zone.following(start).take_while(|change| change.timestamp() < end);
    let changes = following.map(|change| {
        let change = Change { at: change.timestamp(), before, after: change.offset() };
        before = change.after;
        change
    });
    changes.filter(|change| change.before != change.after).collect()
}

/// Checks the rules that name minutes around and in the gap, or what comes twice, by every way to name its day.
fn check(name: &str, zone: &TimeZone, change: Change, crons: &mut HashMap<String, Cron>) {
    let (one, other) = (change.before.to_datetime(change.at), change.after.to_datetime(change.at));
    let (start, end) = (one.min(other), one.max(other));
    let middle = start + end.duration_since(start) / 2;
    for minute in [start - MINUTE, start, middle, end - MINUTE, end] {
        let (day, hour_and_minute) = (minute.date(), (minute.hour(), minute.minute()));
        let weekday = day.weekday();
        let (d, m, w) = (day.day(), day.month(), weekday.to_sunday_zero_offset());
        let days: [(String, &dyn Fn(Date) -> bool); 7] = [
            ("* * *".to_owned(), &|_| true),
            (format!("* * {w}"), &|other| other.weekday() == weekday),
            (format!("{d} {m} *"), &|other| (other.day(), other.month()) == (d, m)),
            (format!("* {m} {w}"), &|other| other.month() == m && other.weekday() == weekday),
            (format!("*/31,{d} * {w}"), &|other| [1, d].contains(&other.day()) && other.weekday() == weekday),
            ("L * *".to_owned(), &|other| other == other.last_of_month()),
            (format!("* {m} {w}L"), &|other| {
                other.month() == m && other.weekday() == weekday && other.day() + 7 > other.days_in_month()
            }),
        ];
        for (named, names) in days {
            let cron = format!("{} {} {named}", minute.minute(), minute.hour());
            check_case(name, zone, change, &Case { cron, times: vec![hour_and_minute], names }, crons);
        }
    }
    let (weekday, last) = (start.weekday(), end - MINUTE);
    let hours = BTreeSet::from([start.hour(), last.hour()]);
    let times = hours.iter().flat_map(|hour| [(*hour, 0), (*hour, 30)]).collect();
    let hours = hours.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let case = Case { cron: format!("0,30 {hours} * * *"), times, names: &|_| true };
    check_case(name, zone, change, &case, crons);
    let cron = format!("*/30 * * * {}", weekday.to_sunday_zero_offset());
    let times = (0..24).flat_map(|hour| [(hour, 0), (hour, 30)]).collect();
    let case = Case { cron, times, names: &|other| other.weekday() == weekday };
    check_case(name, zone, change, &case, crons);
}

fn check_case(name: &str, zone: &TimeZone, change: Change, case: &Case<'_>, crons: &mut HashMap<String, Cron>) {
    let around = SignedDuration::from_hours(4);
    let (from, until) = (change.at - around, change.at + around);
    let first_day = Offset::UTC.to_datetime(change.at).date() - SignedDuration::from_hours(72);
    let days = successors(Some(first_day), |day| day.tomorrow().ok()).take(7);
    let expected: Vec<_> = case.runs(zone, days).range(from..until).copied().collect();

    let cron = crons.entry(case.cron.clone()).or_insert_with(|| Cron::parse(&case.cron).expect(&case.cron));
    let rule = Rule { cron: cron.clone(), time_zone: zone.clone() };
    let millis = |time: Timestamp| crate::values::time::Timestamp::from_millis(time.as_millisecond());
    let runs = rule.runs_after(millis(from - SignedDuration::from_millis(1)));
    let found: Vec<_> = runs.take_while(|run| *run < millis(until)).collect();
    let expected: Vec<_> = expected.into_iter().map(millis).collect();
    assert_eq!(found, expected, "{} in {name} around {}", case.cron, change.at);
}

#[test]
fn in_every_zone_a_rule_keeps_its_promise_where_the_clocks_change() {
    let database = TimeZoneDatabase::bundled();
    let (mut crons, mut seen) = (HashMap::new(), HashSet::new());
    let (mut zones, mut checked) = (0, 0);
    for name in database.available() {
        let zone = database.get(name.as_str()).expect("it is available");
        zones += 1;
        for change in changes(&zone) {
            // Many zones are the same under another name, or have been since they have had the same rules.
            if seen.insert(change) {
                checked += 1;
                check(name.as_str(), &zone, change, &mut crons);
            }
        }
    }
    assert!(zones > 500 && checked > 500, "{zones} zones, {checked} changes");
}
