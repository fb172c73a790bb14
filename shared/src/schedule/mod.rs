//! A schedule: a job that is made again and again, at the times that a cron expression names in a time zone.

mod clocks;
mod cron;
mod rule;
pub mod store;

use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::job::Job;
use crate::job::submission::{Limits, Origin, Rejection, Submission, well_formed};
use crate::schedule::rule::LONGEST_SEARCH_YEARS;
use crate::values::id::{JobId, Tenant};
use crate::values::invalid::{InvalidField, read_fields};
use crate::values::json::Json;
use crate::values::name::Name;
use crate::values::time::Timestamp;

pub use crate::schedule::rule::{MOST_COUNTED, Rule};

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
    /// What becomes of a run while the job of the last one has not ended.
    pub overlap: Overlap,
    /// Whether it runs.
    pub state: State,
    /// The latest run that a job was made for, or is being made for; up to [`LOOK_AHEAD`] ahead of its time.
    pub last_run: Option<Timestamp>,
    /// The runs that were skipped because of [`Overlap::Skip`]; `None` if none was.
    pub skips: Option<Skips>,
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

/// What becomes of a run while the job of the schedule's last run has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", rename_all = "lowercase")]
pub enum Overlap {
    /// Its job is made, and the two may run at once.
    #[default]
    Allow,
    /// It is skipped: no job is made for it.
    Skip,
}

impl TryFrom<String> for Overlap {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "allow" => Ok(Self::Allow),
            "skip" => Ok(Self::Skip),
            _ => Err("must be allow or skip"),
        }
    }
}

/// The runs that a schedule has skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skips {
    /// How many.
    pub count: u64,
    /// The latest.
    pub last_at: Timestamp,
}

/// The runs of one schedule whose jobs are to be made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// When they run, earliest first; the first one may have been missed. One at most if runs may be skipped: whether
    /// the next one is depends on this one's job.
    pub runs: Vec<Timestamp>,
    /// How many runs before these were missed and are not made up for, as far as [`MOST_COUNTED`].
    pub missed: usize,
    /// The run after these.
    pub next_at: Option<Timestamp>,
}

impl Schedule {
    /// A new schedule, made at `now`.
    pub fn new(key: ScheduleKey, definition: Definition, now: Timestamp) -> Self {
        let Definition { rule, job, overlap } = definition;
        let state = State::from_now_on(&rule, now);
        let (last_run, skips) = (None, None);
        Self { key, rule, job, overlap, state, last_run, skips, created_at: now, updated_at: now, version: 1 }
    }

    /// The schedule with another definition; `None` if it is the one that it has. What is paused stays paused, and as
    /// long as the rule is the same, no run is missed over it.
    pub fn redefined(&self, definition: &Definition, now: Timestamp) -> Option<Self> {
        let Definition { rule, job, overlap } = definition.clone();
        let state = match self.state {
            State::Paused => State::Paused,
            State::Active { .. } if rule == self.rule => self.state,
            State::Active { .. } => State::from_now_on(&rule, now),
        };
        let changes = rule != self.rule || job != self.job || overlap != self.overlap;
        changes.then(|| Self { rule, job, overlap, ..self.changed_to(state, now) })
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
        let State::Active { next_at } = self.state else { return Due { runs: vec![], missed: 0, next_at: None } };
        let most = match self.overlap {
            Overlap::Allow => usize::MAX,
            Overlap::Skip => 1,
        };
        let mut due = Due { runs: vec![], missed: 0, next_at: Some(next_at) };
        if next_at <= now {
            let latest = self.rule.latest_until(next_at, now);
            due.missed = self.rule.count(next_at, latest);
            due.runs.push(latest);
            due.next_at = self.rule.next_after(latest);
        }
        while let Some(run) = due.next_at.filter(|run| due.runs.len() < most && *run <= now + LOOK_AHEAD) {
            due.runs.push(run);
            due.next_at = self.rule.next_after(run);
        }
        due
    }

    /// The schedule once the jobs of the runs that were due have been made.
    #[must_use]
    pub fn advanced(&self, due: &Due) -> Self {
        let last_run = due.runs.last().copied().or(self.last_run);
        Self { state: State::after(due), last_run, version: self.version + 1, ..self.clone() }
    }

    /// The schedule once it is decided that the job of `run`, which is due, shall be made. Until the job has been made
    /// it stays due.
    #[must_use]
    pub fn decided(&self, run: Timestamp) -> Self {
        Self { last_run: Some(run), version: self.version + 1, ..self.clone() }
    }

    /// Whether it is decided that the job of `run`, which is due, shall be made: nothing else does away with that.
    pub fn has_decided(&self, run: Timestamp) -> bool {
        self.last_run == Some(run)
    }

    /// The schedule once it is decided that `run`, the one that is due, is skipped.
    #[must_use]
    pub fn skipping(&self, run: Timestamp, due: &Due) -> Self {
        let count = self.skips.map_or(0, |skips| skips.count) + 1;
        let skips = Some(Skips { count, last_at: run });
        Self { state: State::after(due), skips, version: self.version + 1, ..self.clone() }
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
        let origin = Origin { correlation_id: self.key.correlation_id(run), traceparent: None };
        Ok(submission.into_job(self.key.job_id(run), self.key.tenant.clone(), now, origin))
    }
}

impl State {
    /// The state of a schedule that runs from now on. A rule without any further run would be at rest.
    fn from_now_on(rule: &Rule, now: Timestamp) -> Self {
        rule.next_after(now).map_or(Self::Paused, |next_at| Self::Active { next_at })
    }

    /// The state once the runs that were due have been dealt with.
    fn after(due: &Due) -> Self {
        due.next_at.map_or(Self::Paused, |next_at| Self::Active { next_at })
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

    /// What one run is called in the logs, and the correlation id of its job.
    pub fn correlation_id(&self, run: Timestamp) -> String {
        format!("schedule/{}/{run}", self.name)
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
    /// What becomes of a run while the job of the last one has not ended.
    pub overlap: Overlap,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    cron: String,
    time_zone: Option<String>,
    overlap: Option<Overlap>,
    #[serde(borrow)]
    job: &'a RawValue,
}

impl Definition {
    /// Reads the body of `PUT /schedules/{name}`: `{"cron", "job"}` and optionally `time_zone` and `overlap`. The
    /// job is checked as if it were submitted at `now`.
    pub fn parse(body: &[u8], now: Timestamp, limits: Limits) -> Result<Self, Rejection> {
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
        check_job(body.job, now, limits)?;
        Ok(Self { rule, job: Json::from(body.job), overlap: body.overlap.unwrap_or_default() })
    }
}

fn check_job(job: &RawValue, now: Timestamp, limits: Limits) -> Result<(), Rejection> {
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
    Submission::parse_within(job.get().as_bytes(), now, limits).map_err(|rejection| rejection.within("job"))?;
    let OwnTime { delay_seconds, run_at, expires_at } = read_fields(job.get())?;
    for (field, given) in [("delay_seconds", delay_seconds), ("run_at", run_at), ("expires_at", expires_at)] {
        if given.is_some() {
            let problem = "is not for a scheduled job: its schedule says when it runs";
            return Err(InvalidField::new(format!("job.{field}"), problem).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn time(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).expect(text)
    }

    const NOW: &str = "2027-01-15T08:00:00Z";
    const JOB: &str = r#"{"type":"csv-generation","payload":{"a":1}}"#;

    fn parse(body: &str) -> Result<Definition, Rejection> {
        Definition::parse(body.as_bytes(), time(NOW), Limits::default())
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
        let overlap = |overlap: &str| of(&format!(r#"{{"cron":"* * * * *","overlap":{overlap},"job":{JOB}}}"#));
        assert_eq!(overlap("\"queue\""), "`overlap` must be allow or skip");
        assert_eq!(overlap("\"Skip\""), "`overlap` must be allow or skip");
        assert_eq!(overlap("true"), "`overlap` must be a string, not true");
        assert!(matches!(parse("{").expect_err("cut off"), Rejection::NotJson(_)));
    }

    #[test]
    fn a_schedule_goes_by_utc_unless_it_names_a_time_zone() {
        let zone = |zone: &str| {
            let definition = parse(&format!(r#"{{"cron":"* * * * *","job":{JOB}{zone}}}"#)).expect(zone);
            definition.rule.time_zone().to_owned()
        };
        assert_eq!(zone(""), "UTC");
        assert_eq!(zone(r#","time_zone":null"#), "UTC");
        assert_eq!(zone(r#","time_zone":"Asia/Kolkata""#), "Asia/Kolkata");
    }

    #[test]
    fn runs_overlap_unless_the_schedule_says_otherwise() {
        for (field, expected) in [
            ("", Overlap::Allow),
            (r#","overlap":null"#, Overlap::Allow),
            (r#","overlap":"allow""#, Overlap::Allow),
            (r#","overlap":"skip""#, Overlap::Skip),
        ] {
            let definition = parse(&format!(r#"{{"cron":"* * * * *","job":{JOB}{field}}}"#)).expect(field);
            assert_eq!(definition.overlap, expected, "{field}");
        }
        assert_eq!(
            serde_json::to_value([Overlap::Allow, Overlap::Skip]).expect("serialises"),
            json!(["allow", "skip"])
        );
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
        assert_eq!(due, Due { runs: vec![at(1)], missed: 0, next_at: Some(at(2)) });
        let advanced = new.advanced(&due);
        assert_eq!((advanced.last_run, advanced.due_at()), (Some(at(1)), Some(at(2) - LOOK_AHEAD)));
        assert_eq!((advanced.version, advanced.updated_at), (2, time(NOW)), "a change, but not its owner's");
        assert_eq!(advanced.advanced(&advanced.due(at(1))).version, 3);
        assert_eq!(advanced.due(time(NOW)).runs, [], "not again");
        assert_eq!(advanced.due(at(1)).runs, [at(2)]);
        assert_eq!(advanced.due(at(3)), Due { runs: vec![at(3), at(4)], missed: 1, next_at: Some(at(5)) });
    }

    #[test]
    fn of_missed_runs_only_the_latest_is_made_up_for() {
        let hourly = schedule("0 * * * *");
        let back = time("2027-01-17T12:34:56Z");
        let latest = time("2027-01-17T12:00:00Z");
        let next_at = Some(time("2027-01-17T13:00:00Z"));
        assert_eq!(hourly.due(back), Due { runs: vec![latest], missed: 51, next_at });
        let years_later = schedule("* * * * *").due(time("2031-01-01T00:00:30Z"));
        assert_eq!(
            years_later.runs,
            [time("2031-01-01T00:00:00Z"), time("2031-01-01T00:01:00Z"), time("2031-01-01T00:02:00Z")]
        );
        assert_eq!(years_later.missed, MOST_COUNTED, "counted no further");
    }

    #[test]
    fn runs_that_may_be_skipped_are_due_one_at_a_time() {
        let skipping = Schedule { overlap: Overlap::Skip, ..schedule("* * * * *") };
        let at = |minute: u32| time(NOW) + MINUTE * minute;
        assert_eq!(skipping.due(at(1)), Due { runs: vec![at(1)], missed: 0, next_at: Some(at(2)) });
        assert_eq!(skipping.due(at(3)), Due { runs: vec![at(3)], missed: 2, next_at: Some(at(4)) });

        let due = skipping.due(time(NOW));
        let decided = skipping.decided(at(1));
        assert_eq!((decided.has_decided(at(1)), skipping.has_decided(at(1))), (true, false));
        assert_eq!((decided.due(time(NOW)), decided.due_at()), (due.clone(), skipping.due_at()), "it stays due");
        let advanced = decided.advanced(&due);
        assert_eq!((advanced.last_run, advanced.state), (Some(at(1)), State::Active { next_at: at(2) }));

        let once = advanced.skipping(at(2), &advanced.due(at(2)));
        assert_eq!(once.skips, Some(Skips { count: 1, last_at: at(2) }));
        assert_eq!((once.last_run, once.state), (Some(at(1)), State::Active { next_at: at(3) }), "it has had no run");
        let twice = once.skipping(at(3), &once.due(at(3)));
        assert_eq!(twice.skips, Some(Skips { count: 2, last_at: at(3) }));
        assert_eq!((twice.version, twice.updated_at), (advanced.version + 2, time(NOW)), "changes, not its owner's");
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
        let skipping = Definition { overlap: Overlap::Skip, ..define("0 * * * *", JOB) };
        let skipping = hourly.redefined(&skipping, late).expect("changed");
        assert_eq!((skipping.overlap, skipping.state), (Overlap::Skip, hourly.state), "as another job does");
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
        assert_eq!(job.due_at(), Some(crate::job::due::due_after(run)), "found by the sweeper if its message is lost");
    }
}
