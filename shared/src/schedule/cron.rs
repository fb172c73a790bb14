//! Cron expressions: which minutes they name, on a clock that is never changed.

use std::iter::successors;

use croner::parser::{CronParser, Seconds, Year};
use croner::{CronPattern, Weekday};
use jiff::civil::{Date, DateTime, Time};

/// The longest expression, in characters: room for all 60 minutes one by one.
const LONGEST: usize = 256;

/// The minutes that a cron expression of five fields names.
///
/// croner knows the days, `L`, `15W` and `5#2` among them. What it takes without a word, or does not know, is seen to
/// here, and what is left of each field are plain numbers: steps larger than their field, names in a field that has
/// none, ranges that go round (`FRI-MON`), and when both days must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: String,
    pattern: CronPattern,
    /// The times of a day, earliest first.
    times: Vec<Time>,
}

impl Cron {
    /// Reads an expression. An error is a sentence without its subject.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text, |field| field.count)
    }

    /// Reads an expression that an earlier build took, with steps of any size: `*/90` as the minute was taken for `0`.
    pub fn stored(text: &str) -> Result<Self, String> {
        Self::read(text, |_| u16::MAX)
    }

    fn read(text: &str, largest_step: fn(&Field) -> u16) -> Result<Self, String> {
        let text = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        if !text.is_ascii() || text.len() > LONGEST {
            return Err(format!("must be at most {LONGEST} ASCII characters long"));
        }
        let written_out =
            if text.starts_with('@') { of_nickname(&text)?.to_owned() } else { text.to_ascii_uppercase() };
        let mut parts: Vec<_> = written_out.split_ascii_whitespace().collect();
        if parts.len() != FIELDS.len() {
            let five = FIELDS.each_ref().map(|field| field.name).join(", ");
            return Err(format!("must have five fields ({five}), not {}", parts.len()));
        }
        let plus = parts[4].strip_prefix('+');
        parts[4] = plus.unwrap_or(parts[4]);
        // As Vixie cron has it: a day field that begins with a star leaves the choice to the other, so both must fit.
        let both_days = plus.is_some() || [parts[2], parts[4]].iter().any(|part| part.starts_with(['*', '?']));
        let mut plain = vec![];
        for (field, part) in FIELDS.iter().zip(parts) {
            plain.push(field.in_numbers(part, largest_step(field))?);
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).dom_and_dow(both_days);
        let parsed = parser.build().parse(&plain.join(" "));
        let pattern = parsed.map_err(|error| format!("is not a cron expression: {error}"))?.pattern;
        let minutes = pattern.minutes.values();
        let times =
            pattern.hours.values().into_iter().flat_map(|hour| minutes.iter().map(move |minute| (hour, *minute)));
        let times = times.filter_map(|(hour, minute)| {
            Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok() // always: see `FIELDS`
        });
        Ok(Self { text, times: times.collect(), pattern })
    }

    /// The expression, with one space between its fields.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it names one minute of a day, and no more.
    pub fn is_once_a_day(&self) -> bool {
        self.times.len() == 1
    }

    /// The first minute that it names from `from` on and before `until`.
    pub fn first_minute(&self, from: DateTime, until: DateTime) -> Option<DateTime> {
        let days = successors(Some(from.date()), |day| self.next_day(*day));
        let days = days.take_while(|day| day.at(0, 0, 0, 0) < until);
        let minute = days.filter(|day| self.names_month(*day) && self.names_day(*day)).find_map(|day| {
            let first = self.times.partition_point(|time| day.to_datetime(*time) < from);
            self.times.get(first).map(|time| day.to_datetime(*time))
        });
        minute.filter(|minute| *minute < until)
    }

    /// The next day to look at: the one after `day`, or after its month if that is not named.
    fn next_day(&self, day: Date) -> Option<Date> {
        let last = if self.names_month(day) { day } else { day.last_of_month() };
        last.tomorrow().ok()
    }

    fn names_month(&self, day: Date) -> bool {
        matches!(self.pattern.month_match(unsigned(day.month())), Ok(true))
    }

    fn names_day(&self, day: Date) -> bool {
        let weekday = Weekday::from_days_from_sunday(unsigned(day.weekday().to_sunday_zero_offset()));
        let fits = self.pattern.day_match(day.year().into(), unsigned(day.month()), unsigned(day.day()), weekday);
        matches!(fits, Ok(true))
    }
}

/// A part of a date, which is never negative, as croner takes it.
fn unsigned(part: i8) -> u32 {
    part.unsigned_abs().into()
}

/// What stands for a whole expression.
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

fn of_nickname(text: &str) -> Result<&'static str, String> {
    if text.eq_ignore_ascii_case("@reboot") {
        return Err("cannot be `@reboot`: nothing is started anew here; submit a job instead".to_owned());
    }
    let known = NICKNAMES.iter().find(|(nickname, _)| text.eq_ignore_ascii_case(nickname));
    known.map(|(_, written_out)| *written_out).ok_or_else(|| {
        let known = NICKNAMES.map(|(nickname, _)| nickname).join(", ");
        format!("must be five fields, or one of {known}")
    })
}

/// A field of an expression.
struct Field {
    name: &'static str,
    least: u16,
    most: u16,
    /// How many values it has: Sunday is 0 as well as 7.
    count: u16,
    /// What its values are called, from `least` on. What has names goes round: after the last comes the first.
    names: &'static [&'static str],
    /// What may follow a value and makes something else of it. Only days have these. Longer ones first.
    marks: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, count: 60, names: &[], marks: &[] },
    Field { name: "hour", least: 0, most: 23, count: 24, names: &[], marks: &[] },
    Field { name: "day of the month", least: 1, most: 31, count: 31, names: &[], marks: &["LW", "L", "W"] },
    Field {
        name: "month",
        least: 1,
        most: 12,
        count: 12,
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
        marks: &[],
    },
    Field {
        name: "day of the week",
        least: 0,
        most: 7,
        count: 7,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
        marks: &["#L", "L", "#1", "#2", "#3", "#4", "#5"],
    },
];

impl Field {
    /// The same field as a list of numbers, each with its mark, or as a star if it is nothing but one.
    fn in_numbers(&self, part: &str, largest_step: u16) -> Result<String, String> {
        if self.is_star(part) {
            return Ok("*".to_owned());
        }
        let mut list = vec![];
        for item in part.split(',') {
            if item.is_empty() {
                return Err("has a list with nothing between two commas, or at one of its ends".to_owned());
            }
            let marked = self.marks.iter().find_map(|mark| item.strip_suffix(*mark).map(|range| (range, *mark)));
            let (range, mark) = marked.unwrap_or((item, ""));
            if range.is_empty() && mark.starts_with('L') {
                list.push(mark.to_owned());
                continue;
            }
            let values = self.values(range, largest_step);
            let values = values.map_err(|problem| format!("has `{item}` as its {}, {problem}", self.name))?;
            list.extend(values.iter().map(|value| format!("{value}{mark}")));
        }
        Ok(list.join(","))
    }

    /// The values of `*`, `5`, `1-5`, `*/5` or `1-5/2`.
    fn values(&self, text: &str, largest_step: u16) -> Result<Vec<u16>, String> {
        let (range, step) = text.split_once('/').map_or((text, None), |(range, step)| (range, Some(step)));
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            None if self.is_star(range) => (self.least, self.least + self.count - 1),
            None => {
                let value = self.value(range)?;
                (value, value)
            }
        };
        let step = match step {
            None => 1,
            Some(step) if self.is_star(range) || range.contains('-') => {
                let step = number(step).filter(|step| (1..=largest_step).contains(step));
                step.ok_or_else(|| format!("which has {0} values: a step must be from 1 to {0}", self.count))?
            }
            Some(step) => return Err(format!("a step without a range: write `{range}-{}/{step}`", self.most)),
        };
        let goes_round = last < first && !self.names.is_empty();
        let last = if goes_round { last + self.count } else { last };
        if last < first {
            return Err("a range that runs backwards".to_owned());
        }
        let in_field = |value: u16| if value > self.most { value - self.count } else { value };
        Ok((first..=last).step_by(step.into()).map(in_field).collect())
    }

    fn value(&self, text: &str) -> Result<u16, String> {
        let named = (self.least..).zip(self.names).find(|(_, name)| **name == text).map(|(value, _)| value);
        let value = named.or_else(|| number(text).filter(|value| (self.least..=self.most).contains(value)));
        value.ok_or_else(|| {
            let names = self.names.first().zip(self.names.last());
            let names = names.map(|(first, last)| format!(", or {first} to {last}")).unwrap_or_default();
            format!("which goes from {} to {}{names}", self.least, self.most)
        })
    }

    fn is_star(&self, text: &str) -> bool {
        text == "*" || (text == "?" && !self.marks.is_empty())
    }
}

/// The number that stands here in digits, and in nothing else.
fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cron(text: &str) -> Cron {
        Cron::parse(text).expect(text)
    }

    fn problem(text: &str) -> String {
        Cron::parse(text).expect_err(text)
    }

    /// The days of a year that an expression names, as `1-31`, the month before the day.
    fn days(text: &str, year: i16) -> Vec<String> {
        let cron = cron(text);
        let new_year = Date::constant(year, 1, 1);
        let days = successors(Some(new_year), |day| day.tomorrow().ok()).take_while(|day| day.year() == year);
        let named = days.filter(|day| cron.names_month(*day) && cron.names_day(*day));
        named.map(|day| format!("{}-{}", day.month(), day.day())).collect()
    }

    /// For each field: an expression with `part` there, and otherwise as plain as can be.
    fn with(field: usize, part: &str) -> String {
        let mut parts = ["0", "0", "1", "1", "*"];
        if field == 4 {
            parts[2] = "*"; // else either day would do
        }
        parts[field] = part;
        parts.join(" ")
    }

    /// The values of one field of an expression.
    fn values(field: usize, text: &str) -> Vec<u16> {
        let Cron { pattern, .. } = cron(text);
        let fields = [pattern.minutes, pattern.hours, pattern.days, pattern.months, pattern.days_of_week];
        fields[field].values()
    }

    #[test]
    fn a_step_is_at_most_as_large_as_its_field_has_values() {
        for (field, (name, first, second, last, count)) in [
            ("minute", 0_u16, 1_u16, 59_u16, 60_u16),
            ("hour", 0, 1, 23, 24),
            ("day of the month", 1, 2, 31, 31),
            ("month", 1, 2, 12, 12),
            ("day of the week", 0, 1, 6, 7),
        ]
        .into_iter()
        .enumerate()
        {
            let range = format!("{second}-{last}");
            assert_eq!(values(field, &with(field, &format!("*/{count}"))), [first], "{name}: only the first");
            assert_eq!(values(field, &with(field, &format!("*/{}", count - 1))), [first, last], "{name}: the ends");
            assert_eq!(values(field, &with(field, &format!("{range}/{count}"))), [second], "{name}: of a range too");
            assert_eq!(values(field, &with(field, "*/1")).len(), usize::from(count), "{name}: all");
            for step in ["0".to_owned(), (count + 1).to_string(), "90".to_owned(), "65536".to_owned(), "+1".to_owned()]
            {
                for part in [format!("*/{step}"), format!("{range}/{step}"), format!("{first},*/{step}")] {
                    let item = part.rsplit(',').next().expect("one at least");
                    let expected = format!(
                        "has `{item}` as its {name}, which has {count} values: a step must be from 1 to {count}"
                    );
                    assert_eq!(problem(&with(field, &part)), expected, "{part}");
                }
            }
            for step in [1, count, count + 1] {
                let expected = format!("a step without a range: write `{second}-{}/{step}`", FIELDS[field].most);
                assert!(problem(&with(field, &format!("{second}/{step}"))).ends_with(&expected), "{name} {step}");
            }
            for step in ["", "x", "-1", "1.5", "1/1"] {
                assert!(problem(&with(field, &format!("*/{step}"))).starts_with("has `*/"), "{name} {step}");
            }
        }
    }

    #[test]
    fn a_larger_step_that_is_stored_is_still_read() {
        let stored = |text: &str| Cron::stored(text).expect(text);
        assert_eq!(stored("*/90 * * * *").pattern, cron("0 * * * *").pattern);
        assert_eq!(stored("0 */25 */32 */13 *").pattern, cron("0 0 */31 1 *").pattern);
        assert_eq!(stored("*/90 * * * *").as_str(), "*/90 * * * *", "and shown as it was written");
        assert!(Cron::stored("*/0 * * * *").is_err());
    }

    #[test]
    fn what_has_names_goes_round_and_is_read_in_any_case() {
        for (part, expected) in [
            ("FRI-MON", &[0_u16, 1, 5, 6][..]),
            ("fri-Mon", &[0, 1, 5, 6]),
            ("5-1", &[0, 1, 5, 6]),
            ("FRI-MON/2", &[0, 5]),
            ("SAT-SUN", &[0, 6]),
            ("6-7", &[0, 6]),
            ("7-2", &[0, 1, 2]),
            ("SUN-SAT", &[0, 1, 2, 3, 4, 5, 6]),
            ("0-7", &[0, 1, 2, 3, 4, 5, 6]),
            ("SUN-SUN", &[0]),
            ("MON,FRI-SAT", &[1, 5, 6]),
            ("7", &[0]),
        ] {
            assert_eq!(values(4, &with(4, part)), expected, "{part}");
        }
        for (part, expected) in [
            ("NOV-FEB", &[1_u16, 2, 11, 12][..]),
            ("nov-2", &[1, 2, 11, 12]),
            ("NOV-MAR/2", &[1, 3, 11]),
            ("DEC-JAN", &[1, 12]),
            ("JUL", &[7]),
        ] {
            assert_eq!(values(3, &with(3, part)), expected, "{part}");
        }
        assert_eq!(days("0 0 * 1 FRI-MON#1", 2027), ["1-1", "1-2", "1-3", "1-4"], "the first of each of them");
        for (field, part) in [(0, "50-10"), (1, "22-6"), (2, "28-3")] {
            assert!(problem(&with(field, part)).ends_with(", a range that runs backwards"), "{part}");
        }
    }

    #[test]
    fn a_value_at_fault_is_named_with_its_field() {
        for (text, expected) in [
            ("60 * * * *", "has `60` as its minute, which goes from 0 to 59"),
            ("1,2-61 * * * *", "has `2-61` as its minute, which goes from 0 to 59"),
            ("a * * * *", "has `A` as its minute, which goes from 0 to 59"),
            ("JAN * * * *", "has `JAN` as its minute, which goes from 0 to 59"),
            ("-1 * * * *", "has `-1` as its minute, which goes from 0 to 59"),
            ("? * * * *", "has `?` as its minute, which goes from 0 to 59"),
            ("1# * * * *", "has `1#` as its minute, which goes from 0 to 59"),
            ("* 24 * * *", "has `24` as its hour, which goes from 0 to 23"),
            ("* * 0 * *", "has `0` as its day of the month, which goes from 1 to 31"),
            ("* * WED * *", "has `WED` as its day of the month, which goes from 1 to 31"),
            ("* * W * *", "has `W` as its day of the month, which goes from 1 to 31"),
            ("* * * 13 *", "has `13` as its month, which goes from 1 to 12, or JAN to DEC"),
            ("* * * MON *", "has `MON` as its month, which goes from 1 to 12, or JAN to DEC"),
            ("* * * * 8", "has `8` as its day of the week, which goes from 0 to 7, or SUN to SAT"),
            ("* * * * JUL", "has `JUL` as its day of the week, which goes from 0 to 7, or SUN to SAT"),
            ("* * * * 5#6", "has `5#6` as its day of the week, which goes from 0 to 7, or SUN to SAT"),
            ("5-3 * * * *", "has `5-3` as its minute, a range that runs backwards"),
        ] {
            assert_eq!(problem(text), expected, "{text}");
        }
    }

    #[test]
    fn a_nickname_stands_for_five_fields() {
        for (nickname, written_out) in [
            ("@yearly", "0 0 1 JAN *"),
            ("@annually", "0 0 1 JAN *"),
            ("@monthly", "0 0 1 * *"),
            ("@weekly", "0 0 * * SUN"),
            ("@daily", "0 0 * * *"),
            ("@midnight", "0 0 * * *"),
            ("@Midnight", "0 0 * * *"),
            ("@hourly", "0 * * * *"),
        ] {
            assert_eq!(cron(nickname).pattern, cron(written_out).pattern, "{nickname}");
            assert_eq!(cron(nickname).as_str(), nickname, "shown as it was written");
        }
        let reboot = "cannot be `@reboot`: nothing is started anew here; submit a job instead";
        assert_eq!(problem("@reboot"), reboot);
        assert_eq!(problem("@REBOOT"), reboot);
        for unknown in ["@often", "@", "@daily *", "@every 5m"] {
            assert!(problem(unknown).starts_with("must be five fields, or one of @yearly, "), "{unknown}");
        }
    }

    /// As in Vixie cron, which sets `DOM_STAR` and `DOW_STAR` by the first character of each field (entry.c).
    #[test]
    fn both_days_must_fit_if_one_of_them_begins_with_a_star_and_else_either() {
        let first_mondays = ["1-4", "2-1", "3-1", "4-5", "5-3", "6-7", "7-5", "8-2", "9-6", "10-4", "11-1", "12-6"];
        for text in [
            "0 0 */31,1-7 */1 MON",
            "0 0 */31,1-7 * MON",
            "0 0 ?/31,1-7 * MON",
            "0 0 1-7 * +MON",
            "0 0 * * MON#1",
            "0 0 ? * MON#1",
        ] {
            assert_eq!(days(text, 2027), first_mondays, "{text}");
        }
        assert_eq!(days("0 0 1-7 1 */7", 2027), ["1-3"], "the first Sunday");
        assert_eq!(
            days("0 0 */10 1 */2", 2027),
            ["1-21", "1-31"],
            "every other weekday, and the 1st, 11th, 21st, 31st"
        );
        assert_eq!(days("0 0 1-2 1 MON", 2027), ["1-1", "1-2", "1-4", "1-11", "1-18", "1-25"], "either");
        assert_eq!(days("0 0 1,*/31 1 MON", 2027), ["1-1", "1-4", "1-11", "1-18", "1-25"], "it begins with no star");
        assert_eq!(days("0 0 * 1 MON", 2027), ["1-4", "1-11", "1-18", "1-25"]);
        assert_eq!(days("0 0 15 1 *", 2027), ["1-15"]);
        assert_eq!(days("0 0 */15 1 *", 2027), ["1-1", "1-16", "1-31"]);
        assert_eq!(days("0 0 *,5 1 +?", 2027).len(), 31, "a star in a list is all");
    }

    #[test]
    fn days_are_told_from_the_end_of_a_month_by_the_nearest_weekday_and_by_their_count() {
        assert_eq!(days("0 0 L 1-3 *", 2028), ["1-31", "2-29", "3-31"]);
        assert_eq!(days("0 0 LW 1-5 *", 2027), ["1-29", "2-26", "3-31", "4-30", "5-31"]);
        assert_eq!(days("0 0 1W,15W 5 *", 2027), ["5-3", "5-14"]);
        assert_eq!(days("0 0 * 1 5L", 2027), ["1-29"]);
        assert_eq!(days("0 0 * 1 fri#l", 2027), ["1-29"]);
        assert_eq!(days("0 0 * 1 5#2", 2027), ["1-8"]);
        assert_eq!(days("0 0 * 1 MON-WED#5", 2027), [""; 0]);
    }

    #[test]
    fn a_rule_of_one_minute_of_the_day_is_known_however_it_is_written() {
        for text in ["30 2 * * *", "@daily", "*/60 */24 * * *", "0-0 0 L * *", "5,5 3 1 1 MON"] {
            assert!(cron(text).is_once_a_day(), "{text}");
        }
        for text in ["* * * * *", "@hourly", "0,30 2 * * *", "0 1-2 * * *", "*/59 0 * * *"] {
            assert!(!cron(text).is_once_a_day(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_field_means_what_its_parts_mean(
            field in 0..5_usize,
            first in 0_u16..60,
            last in 0_u16..60,
            step in 1_u16..62,
            single in 0_u16..60,
        ) {
            let Field { least, most, count, .. } = FIELDS[field];
            let within = |value: u16| least + value % (most - least + 1);
            let (first, last, single) = (within(first), within(last), within(single));
            let read = Cron::parse(&with(field, &format!("{first}-{last}/{step},{single}")));
            let runs_backwards = last < first && field < 3;
            prop_assert_eq!(read.is_ok(), !runs_backwards && step <= count);
            if read.is_ok() {
                // Step by step, from the first to the last, going round.
                let mut expected = vec![single];
                let way = if last < first { last + count - first } else { last - first };
                for steps in (0..=way).step_by(step.into()) {
                    let value = first + steps;
                    expected.push(if value > most { value - count } else { value });
                }
                let mut expected: Vec<_> = expected.iter().map(|value| if field == 4 { value % 7 } else { *value }).collect();
                expected.sort_unstable();
                expected.dedup();
                prop_assert_eq!(values(field, &with(field, &format!("{first}-{last}/{step},{single}"))), expected);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "([-0-9*,/#LW+?@MONFRI]{1,5} ){5}") {
            if let Ok(cron) = Cron::parse(&text) {
                let (from, until) = (Date::constant(2027, 1, 1).at(0, 0, 0, 0), Date::constant(2028, 1, 1).at(0, 0, 0, 0));
                let minute = cron.first_minute(from, until);
                prop_assert!(minute.is_none_or(|minute| (from..until).contains(&minute)));
            }
        }
    }
}
