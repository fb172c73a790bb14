//! A schedule: a job that is made again and again, at the times that a cron expression names in a time zone.

use std::iter::successors;
use std::time::Duration;

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::{CivilDateTime, Cron, CronDateTime, Resolution, Weekday};
use jiff::Zoned;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::id::{JobId, Tenant};
use crate::invalid::{InvalidField, read_fields};
use crate::job::Job;
use crate::json::Json;
use crate::name::Name;
use crate::submission::{Origin, Rejection, Submission, well_formed};
use crate::time::Timestamp;

/// How long before a run its job is made: one and a half times the time between two sweeps. So the queue can hold the
/// job's message back until the very second of the run, and a sweep may be half a minute late.
pub const LOOK_AHEAD: Duration = Duration::from_secs(90);

/// A schedule of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Whose it is, and what it is called.
    pub key: ScheduleKey,
    /// When it runs.
    pub rule: Rule,
    /// The job of each run, as the body of `POST /jobs` says it.
    pub job: Json,
    /// Whether it runs.
    pub state: State,
    /// The latest run that a job was made for; up to [`LOOK_AHEAD`] ahead of its time.
    pub last_run: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its owner last changed it.
    pub updated_at: Timestamp,
    /// Counts its changes, the sweeper's included, from 1.
    pub version: u64,
}

/// Whether a schedule runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Active {
        /// The next run that no job was made for yet.
        next_at: Timestamp,
    },
    /// It does not, until it is resumed.
    Paused,
}

/// The runs of one schedule whose jobs are to be made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// When they run, earliest first; the first one may have been missed.
    pub runs: Vec<Timestamp>,
    /// How many runs before these were missed and are not made up for, as far as [`MOST_COUNTED`].
    pub skipped: usize,
    /// The run after these.
    pub next_at: Option<Timestamp>,
}

/// How far missed runs are counted.
pub const MOST_COUNTED: usize = 1_000;

impl Schedule {
    /// A new schedule, made at `now`.
    pub fn new(key: ScheduleKey, definition: Definition, now: Timestamp) -> Self {
        let Definition { rule, job } = definition;
        let state = State::from_now_on(&rule, now);
        Self { key, rule, job, state, last_run: None, created_at: now, updated_at: now, version: 1 }
    }

    /// The schedule with another definition; `None` if it is the one that it has. What is paused stays paused, and as
    /// long as the rule is the same, no run is missed over it.
    pub fn redefined(&self, definition: &Definition, now: Timestamp) -> Option<Self> {
        let Definition { rule, job } = definition.clone();
        let state = match self.state {
            State::Paused => State::Paused,
            State::Active { .. } if rule == self.rule => self.state,
            State::Active { .. } => State::from_now_on(&rule, now),
        };
        let changes = rule != self.rule || job != self.job;
        changes.then(|| Self { rule, job, ..self.changed_to(state, now) })
    }

    /// The schedule, paused; `None` if it is already. Runs whose jobs have been made are not taken back.
    pub fn paused(&self, now: Timestamp) -> Option<Self> {
        match self.state {
            State::Active { .. } => Some(self.changed_to(State::Paused, now)),
            State::Paused => None,
        }
    }

    /// The schedule, running from now on; `None` if it is not paused. What it missed meanwhile is not made up for.
    pub fn resumed(&self, now: Timestamp) -> Option<Self> {
        match self.state {
            State::Active { .. } => None,
            State::Paused => Some(self.changed_to(State::from_now_on(&self.rule, now), now)),
        }
    }

    fn changed_to(&self, state: State, now: Timestamp) -> Self {
        Self { state, updated_at: now, version: self.version + 1, ..self.clone() }
    }

    /// The time from which on jobs of it are to be made. `None` while it is paused.
    pub fn due_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Active { next_at } => Some(next_at - LOOK_AHEAD),
            State::Paused => None,
        }
    }

    /// The runs whose jobs are to be made at `now`: of those that have been missed only the latest, and all that come
    /// within [`LOOK_AHEAD`].
    pub fn due(&self, now: Timestamp) -> Due {
        let State::Active { next_at } = self.state else { return Due { runs: vec![], skipped: 0, next_at: None } };
        let mut due = Due { runs: vec![], skipped: 0, next_at: Some(next_at) };
        if next_at <= now {
            let latest = self.rule.latest_until(next_at, now);
            due.skipped = self.rule.count(next_at, latest);
            due.runs.push(latest);
            due.next_at = self.rule.next_after(latest);
        }
        while let Some(run) = due.next_at.filter(|run| *run <= now + LOOK_AHEAD) {
            due.runs.push(run);
            due.next_at = self.rule.next_after(run);
        }
        due
    }

    /// The schedule once the jobs of the runs that were due have been made.
    #[must_use]
    pub fn advanced(&self, due: &Due) -> Self {
        let state = due.next_at.map_or(State::Paused, |next_at| State::Active { next_at });
        let last_run = due.runs.last().copied().or(self.last_run);
        Self { state, last_run, version: self.version + 1, ..self.clone() }
    }

    /// The next `count` runs after `now`; none while it is paused.
    pub fn next_runs(&self, now: Timestamp, count: usize) -> Vec<Timestamp> {
        match self.state {
            State::Active { .. } => self.rule.runs_after(now).take(count).collect(),
            State::Paused => vec![],
        }
    }

    /// A job as the schedule makes it, to be accepted at `now`. Fails if this build does not take its type or payload.
    pub fn submission(&self, now: Timestamp) -> Result<Submission, Rejection> {
        Submission::parse(self.job.as_str().as_bytes(), now)
    }

    /// The job of one run, the same whoever makes it and how often, the times of its making aside.
    pub fn job_of(&self, run: Timestamp, now: Timestamp) -> Result<Job, Rejection> {
        let submission = self.submission(now)?.at(run);
        let origin = Origin { correlation_id: format!("schedule/{}/{run}", self.key.name), traceparent: None };
        Ok(submission.into_job(self.key.job_id(run), self.key.tenant.clone(), now, origin))
    }
}

impl State {
    /// The state of a schedule that runs from now on. A rule without any further run would be at rest.
    fn from_now_on(rule: &Rule, now: Timestamp) -> Self {
        rule.next_after(now).map_or(Self::Paused, |next_at| Self::Active { next_at })
    }
}

/// Names a schedule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleKey {
    /// Whose it is.
    pub tenant: Tenant,
    /// What it is called.
    pub name: ScheduleName,
}

impl ScheduleKey {
    /// The id of the job of one run. It depends on nothing else, so a schedule that is deleted and made again makes no
    /// second job for the same run.
    pub fn job_id(&self, run: Timestamp) -> JobId {
        JobId::of_occurrence(&self.tenant, self.name.as_str(), run)
    }
}

/// What a schedule is called.
pub type ScheduleName = Name;

/// What its owner says about a schedule, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// When it runs.
    pub rule: Rule,
    /// The job of each run, as the body of `POST /jobs` says it.
    pub job: Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    cron: String,
    time_zone: Option<String>,
    #[serde(borrow)]
    job: &'a RawValue,
}

impl Definition {
    /// Reads the body of `PUT /schedules/{name}`: `{"cron", "job"}` and optionally `time_zone`. The job is checked as
    /// if it were submitted at `now`.
    pub fn parse(body: &[u8], now: Timestamp) -> Result<Self, Rejection> {
        let whole = well_formed(body)?;
        if !whole.starts_with('{') {
            return Err(InvalidField::new("body", "must be an object").into());
        }
        let body: Body<'_> = read_fields(whole)?;
        let rule = Rule::parse(&body.cron, body.time_zone.as_deref().unwrap_or("UTC"))?;
        if rule.next_after(now).is_none() {
            let problem = format!("never comes: nothing fits it in the next {LONGEST_SEARCH_YEARS} years");
            return Err(InvalidField::new("cron", problem).into());
        }
        check_job(body.job, now)?;
        Ok(Self { rule, job: Json::from(body.job) })
    }
}

fn check_job(job: &RawValue, now: Timestamp) -> Result<(), Rejection> {
    /// What a job may say about its own time when nobody else does.
    #[derive(Deserialize)]
    struct OwnTime {
        delay_seconds: Option<IgnoredAny>,
        run_at: Option<IgnoredAny>,
        expires_at: Option<IgnoredAny>,
    }

    if !job.get().starts_with('{') {
        return Err(InvalidField::new("job", "must be an object").into());
    }
    Submission::parse(job.get().as_bytes(), now).map_err(|rejection| rejection.within("job"))?;
    let OwnTime { delay_seconds, run_at, expires_at } = read_fields(job.get())?;
    for (field, given) in [("delay_seconds", delay_seconds), ("run_at", run_at), ("expires_at", expires_at)] {
        if given.is_some() {
            let problem = "is not for a scheduled job: its schedule says when it runs";
            return Err(InvalidField::new(format!("job.{field}"), problem).into());
        }
    }
    Ok(())
}

/// When a schedule runs: the minutes that a cron expression of five fields names, by the clocks of a time zone.
///
/// Where clocks are set forward, a rule of one minute and one hour runs at the first moment after the gap if its own
/// lies in it; any other rule has no run in the gap. Where clocks are set back, the former runs once, the first time
/// its minute comes; the latter each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    text: String,
    cron: Cron,
    time_zone: TimeZone,
}

/// The longest cron expression, in characters: room for all 60 minutes one by one.
const LONGEST_CRON: usize = 256;

/// How far ahead a run is looked for. 29 February falls on a given day of the week once in 28 years, or in 40 where a
/// year divisible by 100 has none.
const LONGEST_SEARCH_YEARS: i32 = 41;

impl Rule {
    /// Reads a cron expression (`30 9 * * MON-FRI`, or `@daily` and its like) and the name of a time zone
    /// (`Europe/Berlin`, in any case).
    pub fn parse(cron: &str, time_zone: &str) -> Result<Self, InvalidField> {
        let bad = |problem: String| Err(InvalidField::new("cron", problem));
        let fields: Vec<_> = cron.split_ascii_whitespace().collect();
        let text = fields.join(" ");
        if !text.is_ascii() || text.len() > LONGEST_CRON {
            return bad(format!("must be at most {LONGEST_CRON} ASCII characters long"));
        }
        if fields.len() != 5 && !text.starts_with('@') {
            let five = "minute, hour, day of the month, month, day of the week";
            return bad(format!("must have five fields ({five}), not {}", fields.len()));
        }
        // The parser takes a list of nothing, and would then search for it in vain.
        if fields.iter().any(|field| field.trim_start_matches('+').split(',').any(str::is_empty)) {
            return bad("has a list with nothing between two commas, or at one of its ends".to_owned());
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = match parser.parse(&text) {
            Ok(cron) => cron,
            Err(error) => return bad(format!("is not a cron expression: {error}")),
        };
        let time_zone = TimeZoneDatabase::bundled().get(time_zone).ok().filter(|zone| zone.iana_name().is_some());
        let unknown = || InvalidField::new("time_zone", "must be an IANA time zone such as Europe/Berlin");
        Ok(Self { text, cron, time_zone: time_zone.ok_or_else(unknown)? })
    }

    /// The cron expression, with one space between its fields.
    pub fn cron(&self) -> &str {
        &self.text
    }

    /// The name of the time zone, as the IANA writes it.
    pub fn time_zone(&self) -> &str {
        self.time_zone.iana_name().unwrap_or("UTC") // it has one: see `parse`
    }

    /// The first run after `time`. `None` if there is none within some decades.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let from = jiff::Timestamp::from_millisecond(time.as_millis()).ok()?.to_zoned(self.time_zone.clone());
        let last_year = i32::from(from.year()) + LONGEST_SEARCH_YEARS;
        let found = self.cron.find_next_occurrence(&Bounded { time: from, last_year }, false).ok()?;
        let next = Timestamp::from_millis(found.time.timestamp().as_millisecond());
        Some(next).filter(|next| *next > time)
    }

    /// The runs after `time`, earliest first.
    pub fn runs_after(&self, time: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        successors(self.next_after(time), move |run| self.next_after(*run))
    }

    /// The latest run that is not after `end`. `first` is a run, and not after it.
    fn latest_until(&self, first: Timestamp, end: Timestamp) -> Timestamp {
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
    fn count(&self, first: Timestamp, end: Timestamp) -> usize {
        let runs = successors(Some(first), |run| self.next_after(*run));
        runs.take_while(|run| *run < end).take(MOST_COUNTED).count()
    }
}

/// A time to search from, but not beyond the end of `last_year`: croner by itself looks for what never comes until the
/// year 5000.
#[derive(Clone)]
struct Bounded {
    time: Zoned,
    last_year: i32,
}

impl Bounded {
    fn with(&self, time: Zoned) -> Self {
        Self { time, last_year: self.last_year }
    }
}

impl CronDateTime for Bounded {
    fn to_civil(&self) -> CivilDateTime {
        self.time.to_civil()
    }

    fn civil_weekday(&self) -> Weekday {
        self.time.civil_weekday()
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        if civil.year() > self.last_year {
            return Err(CronError::TimeSearchLimitExceeded);
        }
        Ok(match self.time.resolve_civil(civil)? {
            Resolution::Single(time) => Resolution::Single(self.with(time)),
            Resolution::Ambiguous(earlier, later) => Resolution::Ambiguous(self.with(earlier), self.with(later)),
            Resolution::Gap => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.time.checked_add_seconds(seconds).map(|time| self.with(time))
    }

    fn cmp_instant(&self, other: &Self) -> std::cmp::Ordering {
        self.time.cmp_instant(&other.time)
    }
}

#[cfg(test)]
mod tests {
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
    fn what_is_no_rule_is_refused_by_name() {
        let of = |cron: &str, zone: &str| Rule::parse(cron, zone).expect_err(cron).to_string();
        let five = "`cron` must have five fields (minute, hour, day of the month, month, day of the week)";
        assert_eq!(of("", "UTC"), format!("{five}, not 0"));
        assert_eq!(of("* * * *", "UTC"), format!("{five}, not 4"));
        assert_eq!(of("0 * * * * *", "UTC"), format!("{five}, not 6"));
        assert_eq!(of("0 0 0 1 1 * 2027", "UTC"), format!("{five}, not 7"));
        let not_cron =
            ["60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-3 * * * *", "*/0 * * * *"];
        for cron in not_cron.into_iter().chain(["a * * * *", "@often", "@daily *", "-1 * * * *", "1# * * * *"]) {
            assert!(of(cron, "UTC").starts_with("`cron` is not a cron expression: "), "{cron}");
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

    const NOW: &str = "2027-01-15T08:00:00Z";
    const JOB: &str = r#"{"type":"csv-generation","payload":{"a":1}}"#;

    fn parse(body: &str) -> Result<Definition, Rejection> {
        Definition::parse(body.as_bytes(), time(NOW))
    }

    #[test]
    fn a_field_at_fault_is_named() {
        let of = |body: &str| parse(body).expect_err(body).to_string();
        let with = |cron: &str, job: &str| of(&format!(r#"{{"cron":"{cron}","job":{job}}}"#));
        assert_eq!(of("[]"), "`body` must be an object");
        assert_eq!(of("{}"), "`cron` is required");
        assert_eq!(of(r#"{"cron":"* * * * *"}"#), "`job` is required");
        assert_eq!(
            of(&format!(r#"{{"cron":"* * * * *","job":{JOB},"paused":true}}"#)),
            "`paused` is not a known field"
        );
        for cron in ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 1 * +2#5"] {
            assert_eq!(with(cron, JOB), "`cron` never comes: nothing fits it in the next 41 years", "{cron}");
        }
        assert_eq!(with("* * * * *", "[]"), "`job` must be an object");
        assert_eq!(with("* * * * *", "{}"), "`job.type` is required");
        assert!(with("* * * * *", r#"{"type":"csv-generation","payload":{"a":{}}}"#).starts_with("`job.payload.a` "));
        assert_eq!(
            with("* * * * *", &JOB.replace("}}", r#"},"delay_seconds":5}"#)),
            "`job.delay_seconds` is not for a scheduled job: its schedule says when it runs"
        );
        for field in ["run_at", "expires_at"] {
            let job = JOB.replace("}}", &format!(r#"}},"{field}":"2027-06-01T00:00:00Z"}}"#));
            assert!(with("* * * * *", &job).starts_with(&format!("`job.{field}` is not for a scheduled job")), "{job}");
        }
        assert!(matches!(parse("{").expect_err("cut off"), Rejection::NotJson(_)));
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

    #[test]
    fn a_schedule_goes_by_utc_unless_it_names_a_time_zone() {
        let zone = |zone: &str| {
            let definition = parse(&format!(r#"{{"cron":"* * * * *","job":{JOB}{zone}}}"#)).expect(zone);
            definition.rule.time_zone().to_owned()
        };
        assert_eq!(zone(""), "UTC");
        assert_eq!(zone(r#","time_zone":"Asia/Kolkata""#), "Asia/Kolkata");
    }

    #[test]
    fn a_name_is_kept_as_its_text_and_checked_when_it_is_read() {
        let name = ScheduleName::parse("nightly").expect("a name");
        assert_eq!(serde_json::to_value(&name).expect("serialises"), "nightly");
        assert_eq!(serde_json::from_value::<ScheduleName>("nightly".into()).expect("reads back"), name);
        assert!(serde_json::from_value::<ScheduleName>("a#b".into()).is_err());
    }

    #[test]
    fn a_name_is_plain() {
        for name in ["a", "nightly-report", "0", &"x".repeat(64)] {
            assert_eq!(ScheduleName::parse(name).expect(name).as_str(), name);
        }
        for name in ["", "-a", "Nightly", "a_b", "a#b", "a b", "ä", &"x".repeat(65)] {
            assert!(ScheduleName::parse(name).is_err(), "{name:?}");
        }
    }

    fn schedule(cron: &str) -> Schedule {
        let key = ScheduleKey { tenant: Tenant::only(), name: ScheduleName::parse("nightly").expect("a name") };
        Schedule::new(key, parse(&format!(r#"{{"cron":"{cron}","job":{JOB}}}"#)).expect(cron), time(NOW))
    }

    #[test]
    fn runs_are_due_a_little_ahead_and_each_of_them_once() {
        let new = schedule("* * * * *");
        let at = |minute: u32| time(NOW) + MINUTE * minute;
        assert_eq!(new.due_at(), Some(at(1) - LOOK_AHEAD));
        let due = new.due(time(NOW));
        assert_eq!(due, Due { runs: vec![at(1)], skipped: 0, next_at: Some(at(2)) });
        let advanced = new.advanced(&due);
        assert_eq!((advanced.last_run, advanced.due_at()), (Some(at(1)), Some(at(2) - LOOK_AHEAD)));
        assert_eq!((advanced.version, advanced.updated_at), (2, time(NOW)), "a change, but not its owner's");
        assert_eq!(advanced.advanced(&advanced.due(at(1))).version, 3);
        assert_eq!(advanced.due(time(NOW)).runs, [], "not again");
        assert_eq!(advanced.due(at(1)).runs, [at(2)]);
        assert_eq!(advanced.due(at(3)), Due { runs: vec![at(3), at(4)], skipped: 1, next_at: Some(at(5)) });
    }

    #[test]
    fn of_missed_runs_only_the_latest_is_made_up_for() {
        let hourly = schedule("0 * * * *");
        let back = time("2027-01-17T12:34:56Z");
        let latest = time("2027-01-17T12:00:00Z");
        let next_at = Some(time("2027-01-17T13:00:00Z"));
        assert_eq!(hourly.due(back), Due { runs: vec![latest], skipped: 51, next_at });
        let years_later = schedule("* * * * *").due(time("2031-01-01T00:00:30Z"));
        assert_eq!(
            years_later.runs,
            [time("2031-01-01T00:00:00Z"), time("2031-01-01T00:01:00Z"), time("2031-01-01T00:02:00Z")]
        );
        assert_eq!(years_later.skipped, MOST_COUNTED, "counted no further");
    }

    #[test]
    fn a_paused_schedule_is_never_due_and_goes_on_from_when_it_is_resumed() {
        let paused = schedule("0 * * * *").paused(time(NOW)).expect("it was not paused");
        assert_eq!(paused.due_at(), None);
        let later = time("2027-01-17T12:34:56Z");
        assert_eq!(paused.due(later).runs, []);
        assert_eq!(paused.next_runs(later, 5), []);
        assert_eq!(paused.paused(later), None, "nothing to change");
        let resumed = paused.resumed(later).expect("it was paused");
        assert_eq!(resumed.state, State::Active { next_at: time("2027-01-17T13:00:00Z") });
        assert_eq!(resumed.resumed(later), None, "nothing to change");
    }

    #[test]
    fn the_next_runs_are_told_ahead() {
        let next = schedule("0 * * * *").next_runs(time("2027-01-15T09:00:00Z"), 2);
        assert_eq!(next, [time("2027-01-15T10:00:00Z"), time("2027-01-15T11:00:00Z")]);
    }

    #[test]
    fn another_job_keeps_the_runs_and_another_rule_makes_new_ones() {
        let hourly = schedule("0 * * * *");
        let late = time("2027-01-15T09:00:20Z");
        let define = |cron: &str, job: &str| parse(&format!(r#"{{"cron":"{cron}","job":{job}}}"#)).expect(cron);
        assert_eq!(hourly.redefined(&define("0  * * * *", JOB), late), None, "the same");
        let other_job = hourly.redefined(&define("0 * * * *", &JOB.replace('1', "2")), late).expect("changed");
        assert_eq!(other_job.due(late).runs, [time("2027-01-15T09:00:00Z")], "the run of 9 is still to come");
        assert_eq!((other_job.version, other_job.updated_at, other_job.created_at), (2, late, time(NOW)));
        assert_eq!((other_job.job.as_str(), &other_job.rule), (JOB.replace('1', "2").as_str(), &hourly.rule));
        let other_rule = hourly.redefined(&define("30 * * * *", JOB), late).expect("changed");
        assert_eq!(other_rule.state, State::Active { next_at: time("2027-01-15T09:30:00Z") });
        assert_eq!((other_rule.rule.cron(), &other_rule.job), ("30 * * * *", &hourly.job));
        let paused = hourly.paused(late).expect("it was not paused");
        let redefined = paused.redefined(&define("30 * * * *", JOB), late).expect("changed");
        assert_eq!(redefined.state, State::Paused);
    }

    #[test]
    fn the_job_of_a_run_is_the_same_whoever_makes_it() {
        let hourly = schedule("0 * * * *");
        let run = time("2027-01-15T09:00:00Z");
        let job = hourly.job_of(run, run - MINUTE).expect("fits");
        assert_eq!(job.id, hourly.job_of(run, run).expect("fits").id);
        assert_eq!(job.id, Schedule { created_at: run, ..schedule("0 9 * * *") }.job_of(run, run).expect("fits").id);
        assert_ne!(job.id, hourly.job_of(run + MINUTE, run).expect("fits").id);
        assert_eq!(job.correlation_id, "schedule/nightly/2027-01-15T09:00:00.000Z");
        assert_eq!(job.due_at(), Some(crate::sweep::due_after(run)), "found by the sweeper if its message is lost");
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
                prop_assert_eq!(*date, dates[0] + jiff::SignedDuration::from_hours(24 * day));
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

        #[test]
        fn no_text_makes_the_parser_panic(cron in "([-0-9*,/#LW+?@MONFRI]{1,5} ){5}") {
            if let Ok(rule) = Rule::parse(&cron, "Europe/Berlin") {
                let _ = rule.next_after(time(NOW));
            }
        }
    }
}
