//! What happened in a run, and whether it may have: a checker in the manner of Jepsen's total-queue.
//!
//! It knows nothing of how the run was made. It is given what was seen from outside and at the store, in order, and the
//! jobs as they are at the end.

use std::collections::BTreeMap;
use std::fmt;

use shared::job::changes::{EventId, JobChange};
use shared::job::event::{Event, fold};
use shared::job::{Job, State, Status};
use shared::values::id::{JobId, LeaseToken};

use crate::model::Leases;
use crate::simulation::gave_up;

/// One thing that was seen to happen. The order of records is the order in which they happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A client got a 202 for this job.
    Accepted {
        /// The job.
        job: JobId,
        /// The idempotency key of the request, if it had one.
        key: Option<String>,
    },
    /// The store applied the insert of a job.
    Stored {
        /// The job.
        job: JobId,
        /// The idempotency key of the request that it was made for, if that is known.
        key: Option<String>,
    },
    /// The store applied a claim.
    Claimed {
        /// The job.
        job: JobId,
        /// The number of the attempt that it began.
        attempt: u32,
        /// The token of the claim.
        token: LeaseToken,
    },
    /// The store applied the outcome of an attempt, written by this attempt.
    Outcome {
        /// The job.
        job: JobId,
        /// The attempt's number.
        attempt: u32,
        /// The token that the writer showed.
        token: LeaseToken,
        /// The status that it left the job in.
        status: Status,
    },
    /// The store applied an end that no attempt wrote: an expiry, or a cancel.
    Ended {
        /// The job.
        job: JobId,
        /// The status that it left the job in.
        status: Status,
    },
    /// Somebody had a job tried again that had ended.
    Redriven {
        /// The job.
        job: JobId,
    },
    /// A job did something to the world.
    Effect {
        /// The job.
        job: JobId,
        /// The number of the attempt that did it.
        attempt: u32,
        /// The token of its claim.
        token: LeaseToken,
        /// What the attempt will give as its result, as JSON.
        result: String,
    },
    /// A client was told that its cancel is in force: the job is cancelled, or will begin no other attempt.
    CancelAcknowledged {
        /// The job.
        job: JobId,
    },
}

/// Something that must not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Of which kind it is.
    pub kind: Kind,
    /// To which job.
    pub job: JobId,
    /// What exactly.
    pub what: String,
}

/// The kinds of violations, as the summary counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An accepted job is not there.
    Lost,
    /// Something happened more often than it may.
    Doubled,
    /// An accepted job has not ended.
    Stuck,
    /// A job went back, or on after its end.
    Backwards,
    /// What is stored does not agree with what happened.
    Untrue,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: job {}: {}", self.kind, self.job, self.what)
    }
}

/// Everything that is wrong with a run. `jobs` are all jobs as they are after it, when nothing is under way any more.
///
/// Where leases may lapse, an attempt may live on that no longer holds its job: what it does then is no violation as long
/// as it writes nothing.
pub fn check(records: &[Record], jobs: &[Job], leases: Leases) -> Vec<Violation> {
    let jobs: BTreeMap<JobId, &Job> = jobs.iter().map(|job| (job.id, job)).collect();
    let mut seen: BTreeMap<JobId, Seen> = BTreeMap::new();
    let mut keys: BTreeMap<&str, JobId> = BTreeMap::new();
    let mut violations = Violations(vec![]);
    for record in records {
        let job = record.job();
        let seen = seen.entry(job).or_default();
        if let Some(key) = record.key()
            && *keys.entry(key).or_insert(job) != job
        {
            violations.add(Kind::Doubled, job, format!("the key {key} has another job"));
        }
        match record {
            Record::Accepted { .. } => seen.accepted = true,
            Record::Stored { .. } if seen.stored => violations.add(Kind::Doubled, job, "stored twice"),
            Record::Stored { .. } => seen.stored = true,
            Record::Redriven { .. } => seen.redrive(job, &mut violations),
            Record::Claimed { attempt, token, .. } => seen.claim(job, *attempt, *token, &mut violations),
            Record::Outcome { attempt, token, status, .. } => {
                if seen.holder != Some((*attempt, *token)) {
                    violations.add(
                        Kind::Backwards,
                        job,
                        format!("attempt {attempt} wrote {status} without holding the job"),
                    );
                }
                seen.holder = None;
                seen.reach(job, *status, &mut violations);
                if *status == Status::Completed {
                    seen.completed_by = Some((*attempt, *token));
                }
            }
            Record::Ended { status, .. } => {
                seen.holder = None;
                seen.reach(job, *status, &mut violations);
            }
            Record::Effect { attempt, token, result, .. } => {
                seen.have_effect(job, (*attempt, *token), leases, &mut violations);
                seen.effects.push(((*attempt, *token), result.clone()));
            }
            Record::CancelAcknowledged { .. } => (seen.cancelled, seen.may_go_on) = (true, seen.holder),
        }
    }
    for (id, seen) in &seen {
        match jobs.get(id) {
            None if seen.accepted || seen.stored => violations.add(Kind::Lost, *id, "accepted, and not there"),
            None => {}
            Some(job) => seen.agree_with(job, &mut violations),
        }
    }
    for (id, job) in &jobs {
        if !seen.contains_key(id) {
            violations.add(Kind::Untrue, *id, "is there, and nobody stored it");
        }
        itself(job, &mut violations);
    }
    violations.0
}

/// What a job's own history says happened, for runs that are seen from outside only. What the job did to the world, it
/// does not say: that of the attempt that completed it is taken from its result, and whether it is true is to be seen
/// where the job left it.
pub fn records_of(job: &Job) -> Vec<Record> {
    let id = job.id;
    let mut records = vec![];
    let (mut attempt, mut resumes) = (0, false);
    let token = |attempt: u32| LeaseToken::new(u64::from(attempt).to_be_bytes());
    for event in &job.history {
        let outcome = |status| Record::Outcome { job: id, attempt, token: token(attempt), status };
        match event {
            Event::Accepted { .. } => records.push(Record::Stored { job: id, key: None }),
            // The same attempt goes on in another worker.
            Event::Yielded { .. } => {}
            Event::Started { .. } if resumes => {}
            Event::Started { .. } => {
                attempt += 1;
                records.push(Record::Claimed { job: id, attempt, token: token(attempt) });
            }
            Event::Retrying { .. } => records.push(outcome(Status::Pending)),
            Event::Completed { .. } => {
                if let State::Completed { result, .. } = &job.state {
                    let result = result.as_str().to_owned();
                    records.push(Record::Effect { job: id, attempt, token: token(attempt), result });
                }
                records.push(outcome(Status::Completed));
            }
            Event::Failed { .. } => records.push(Record::Ended { job: id, status: Status::Failed }),
            Event::CancelRequested { .. } | Event::Rescheduled { .. } | Event::Unknown(_) => {}
            Event::Redriven { .. } => records.push(Record::Redriven { job: id }),
            Event::Cancelled { .. } | Event::Lapsed { .. } => {
                records.push(Record::Ended { job: id, status: Status::Cancelled });
            }
        }
        resumes = event.leaves_resuming(resumes);
    }
    records
}

/// The jobs by which the owner of a job is told how it ended, each time that it did, and the events that they tell of.
pub fn callbacks_of(job: &Job) -> Vec<(JobId, EventId)> {
    let events = JobChange::of_all(job).new_events().unwrap_or_default(); // an impossible history is told of elsewhere
    let ends = events.iter().filter(|event| event.callback_url.is_some() && event.status.is_terminal());
    ends.map(|event| (JobId::of_callback(event.id.job_id, event.id.index), event.id)).collect()
}

struct Violations(Vec<Violation>);

impl Violations {
    fn add(&mut self, kind: Kind, job: JobId, what: impl Into<String>) {
        self.0.push(Violation { kind, job, what: what.into() });
    }
}

impl Record {
    /// The job that it is about.
    pub fn job(&self) -> JobId {
        match self {
            Self::Accepted { job, .. }
            | Self::Stored { job, .. }
            | Self::Redriven { job }
            | Self::Claimed { job, .. }
            | Self::Outcome { job, .. }
            | Self::Ended { job, .. }
            | Self::Effect { job, .. }
            | Self::CancelAcknowledged { job } => *job,
        }
    }

    /// The idempotency key that it names.
    fn key(&self) -> Option<&str> {
        match self {
            Self::Accepted { key, .. } | Self::Stored { key, .. } => key.as_deref(),
            Self::Claimed { .. }
            | Self::Outcome { .. }
            | Self::Ended { .. }
            | Self::Redriven { .. }
            | Self::Effect { .. }
            | Self::CancelAcknowledged { .. } => None,
        }
    }
}

/// One attempt: its number, and the token of its claim.
type Holder = (u32, LeaseToken);

/// What the records say of one job.
#[derive(Default)]
struct Seen {
    accepted: bool,
    stored: bool,
    attempts: u32,
    holder: Option<Holder>,
    claims: Vec<Holder>,
    ended: Option<Status>,
    completed_by: Option<Holder>,
    effects: Vec<(Holder, String)>,
    /// Whether a cancel has been acknowledged.
    cancelled: bool,
    /// The attempt that held the job then, and may go on.
    may_go_on: Option<Holder>,
}

impl Seen {
    fn claim(&mut self, job: JobId, attempt: u32, token: LeaseToken, violations: &mut Violations) {
        if attempt != self.attempts + 1 {
            violations.add(Kind::Backwards, job, format!("attempt {attempt} began after attempt {}", self.attempts));
        }
        if let Some(ended) = self.ended {
            violations.add(Kind::Backwards, job, format!("attempt {attempt} began after it was {ended}"));
        }
        if self.cancelled {
            violations.add(Kind::Backwards, job, format!("attempt {attempt} began after an acknowledged cancel"));
        }
        self.attempts = attempt;
        self.holder = Some((attempt, token));
        self.claims.push((attempt, token));
    }

    fn have_effect(&self, job: JobId, by: Holder, leases: Leases, violations: &mut Violations) {
        let (attempt, _) = by;
        if !self.stored {
            violations.add(Kind::Untrue, job, "an effect of a job that was never stored");
        } else if !self.claims.contains(&by) {
            violations.add(Kind::Untrue, job, format!("an effect of attempt {attempt}, which never began"));
        } else if leases == Leases::Sound && self.holder != Some(by) {
            violations.add(Kind::Doubled, job, format!("an effect of attempt {attempt}, which did not hold the job"));
        }
        if leases == Leases::Sound && self.cancelled && self.may_go_on != Some(by) {
            violations.add(
                Kind::Backwards,
                job,
                format!("attempt {attempt} had an effect after an acknowledged cancel"),
            );
        }
    }

    fn redrive(&mut self, job: JobId, violations: &mut Violations) {
        if !matches!(self.ended, Some(Status::Failed | Status::Cancelled)) {
            violations.add(Kind::Backwards, job, format!("it was tried again when it was {:?}", self.ended));
        }
        (self.ended, self.holder, self.cancelled) = (None, None, false);
    }

    fn reach(&mut self, job: JobId, status: Status, violations: &mut Violations) {
        if let Some(ended) = self.ended {
            violations.add(Kind::Doubled, job, format!("became {status} after it was {ended}"));
        }
        if status.is_terminal() {
            self.ended = Some(status);
        }
    }

    fn agree_with(&self, job: &Job, violations: &mut Violations) {
        let mut untrue = |what: String| violations.add(Kind::Untrue, job.id, what);
        if self.attempts != job.attempts {
            untrue(format!("{} attempts began, and it says {}", self.attempts, job.attempts));
        }
        let ended = Some(job.status()).filter(|status| status.is_terminal());
        if self.ended != ended {
            untrue(format!("it became {:?}, and is {}", self.ended, job.status()));
        }
        if self.effects.len() > job.max_attempts as usize {
            let effects = self.effects.len();
            violations.add(
                Kind::Doubled,
                job.id,
                format!("{effects} effects in {} attempts allowed", job.max_attempts),
            );
        }
        if !job.status().is_terminal() {
            violations.add(Kind::Stuck, job.id, format!("is {} when nothing is under way any more", job.status()));
        }
        if let State::Completed { result, .. } = &job.state {
            let made = |effect: &&(Holder, String)| Some(effect.0) == self.completed_by;
            if !self.effects.iter().filter(made).any(|(_, effect)| effect == result.as_str()) {
                violations.add(Kind::Untrue, job.id, "its result is not that of the attempt that completed it");
            }
        }
    }
}

/// What a job says of itself must agree.
fn itself(job: &Job, violations: &mut Violations) {
    if fold(&job.history).as_ref() != Some(&job.summary()) {
        violations.add(Kind::Untrue, job.id, "its history does not tell what it is");
    }
    if job.attempts > job.max_attempts {
        violations.add(Kind::Doubled, job.id, format!("{} attempts of {}", job.attempts, job.max_attempts));
    }
    let completions = job.history.iter().filter(|event| matches!(event, Event::Completed { .. })).count();
    if completions > 1 {
        violations.add(Kind::Doubled, job.id, format!("completed {completions} times"));
    }
    let mut cancel_requested = false;
    for event in &job.history {
        match event {
            Event::CancelRequested { .. } => cancel_requested = true,
            Event::Redriven { .. } => cancel_requested = false,
            Event::Started { .. } if cancel_requested => {
                violations.add(Kind::Backwards, job.id, "an attempt began after a cancel had been asked for");
            }
            Event::Accepted { .. }
            | Event::Started { .. }
            | Event::Retrying { .. }
            | Event::Yielded { .. }
            | Event::Completed { .. }
            | Event::Failed { .. }
            | Event::Cancelled { .. }
            | Event::Lapsed { .. }
            | Event::Rescheduled { .. }
            | Event::Unknown(_) => {}
        }
    }
    if job.status() == Status::Failed && job.attempts < job.max_attempts && !gave_up(job) {
        violations.add(Kind::Untrue, job.id, format!("failed at attempt {} of {}", job.attempts, job.max_attempts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::GIVE_UP;
    use shared::job::submission::{Origin, Submission};
    use shared::job::transition::{Change, Fence, transition};
    use shared::values::id::Tenant;
    use shared::values::json::Json;
    use shared::values::time::Timestamp;
    use std::time::Duration;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn token(number: u8) -> LeaseToken {
        LeaseToken::new([number; 8])
    }

    fn accepted(number: u8) -> Job {
        let body = br#"{"type":"csv-generation","payload":{"a":1},"max_attempts":2}"#;
        let origin = Origin { correlation_id: "request".to_owned(), traceparent: None };
        Submission::parse(body, START).expect("fits").into_job(
            JobId::at(START, [number; 10]),
            Tenant::only(),
            START,
            origin,
        )
    }

    fn claim(job: &Job, number: u8) -> Job {
        let claim = Change::Claim { now: START, token: token(number), time_left: Duration::from_secs(60) };
        transition(job, &claim).expect("claimed")
    }

    fn complete(job: &Job, number: u8, result: &str) -> Job {
        let fence = Fence { attempt: job.attempts, token: token(number) };
        let result = Json::of(&result).expect("a text");
        transition(job, &Change::Complete { now: START, fence, result }).expect("held")
    }

    fn effect(job: JobId, attempt: u32, claim: u8, result: &str) -> Record {
        Record::Effect { job, attempt, token: token(claim), result: format!("{result:?}") }
    }

    /// A run in which nothing is wrong: one retry, then completed.
    fn good() -> (Vec<Record>, Vec<Job>) {
        let job = accepted(1);
        let id = job.id;
        let first = claim(&job, 1);
        let fence = Fence { attempt: 1, token: token(1) };
        let retry = Change::Retry { now: START, fence, error: "later".to_owned(), not_before: START };
        let waiting = transition(&first, &retry).expect("held");
        let done = complete(&claim(&waiting, 2), 2, "two");
        let records = vec![
            Record::Stored { job: id, key: Some("k".to_owned()) },
            Record::Accepted { job: id, key: Some("k".to_owned()) },
            Record::Claimed { job: id, attempt: 1, token: token(1) },
            effect(id, 1, 1, "one"),
            Record::Outcome { job: id, attempt: 1, token: token(1), status: Status::Pending },
            Record::Claimed { job: id, attempt: 2, token: token(2) },
            effect(id, 2, 2, "two"),
            Record::Outcome { job: id, attempt: 2, token: token(2), status: Status::Completed },
        ];
        (records, vec![done])
    }

    fn kinds(records: &[Record], jobs: &[Job]) -> Vec<Kind> {
        let mut kinds: Vec<_> =
            check(records, jobs, Leases::Sound).into_iter().map(|violation| violation.kind).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }

    #[test]
    fn a_good_history_is_accepted() {
        let (records, jobs) = good();
        assert_eq!(check(&records, &jobs, Leases::Sound), []);
    }

    #[test]
    fn where_leases_may_lapse_an_attempt_may_live_on_without_its_job() {
        let (mut records, jobs) = good();
        let late = effect(records[0].job(), 1, 1, "one");
        records[3] = late.clone();
        records.swap(3, 4);
        assert_eq!(check(&records, &jobs, Leases::MayLapse), []);
        assert_eq!(kinds(&records, &jobs), [Kind::Doubled]);
    }

    #[test]
    fn a_job_that_went_on_elsewhere_tells_of_one_attempt() {
        let fence = Fence { attempt: 1, token: token(1) };
        let checkpoint = Json::parse("7").expect("JSON");
        let yielded = transition(&claim(&accepted(1), 1), &Change::Yield { now: START, fence, checkpoint });
        let done = complete(&claim(&yielded.expect("held"), 2), 2, "x");
        assert_eq!(done.attempts, 1);
        assert_eq!(check(&records_of(&done), &[done], Leases::Sound), []);
    }

    #[test]
    fn a_failed_job_may_be_tried_again() {
        let job = accepted(1);
        let fence = Fence { attempt: 1, token: token(1) };
        let fail = Change::Fail { now: START, fence, error: GIVE_UP.to_owned(), tenant: Tenant::only() };
        let failed = transition(&claim(&job, 1), &fail).expect("held");
        let again = Change::Redrive { now: START, not_before: START, more_attempts: 1, tenant: Tenant::only() };
        let done = complete(&claim(&transition(&failed, &again).expect("failed"), 2), 2, "two");
        let job = job.id;
        let mut records = vec![
            Record::Stored { job, key: None },
            Record::Claimed { job, attempt: 1, token: token(1) },
            Record::Outcome { job, attempt: 1, token: token(1), status: Status::Failed },
            Record::Redriven { job },
            Record::Claimed { job, attempt: 2, token: token(2) },
            effect(job, 2, 2, "two"),
            Record::Outcome { job, attempt: 2, token: token(2), status: Status::Completed },
        ];
        assert_eq!(check(&records, std::slice::from_ref(&done), Leases::Sound), []);
        records.remove(3);
        assert_eq!(kinds(&records, &[done]), [Kind::Doubled, Kind::Backwards]);
    }

    /// Each of these is the good history with one thing spoilt.
    #[test]
    fn a_spoilt_history_is_rejected() {
        type Spoil = fn(&mut Vec<Record>, &mut Vec<Job>);
        let spoilt: [(&str, Kind, Spoil); 22] = [
            ("the job is gone", Kind::Lost, |_, jobs| jobs.clear()),
            ("the job never ended", Kind::Stuck, |records, jobs| {
                records.truncate(6);
                jobs[0] = claim(&claim_and_retry(), 2);
            }),
            ("completed twice", Kind::Doubled, |records, _| records.push(records[7].clone())),
            ("stored twice", Kind::Doubled, |records, _| records.insert(1, records[0].clone())),
            ("one key, two jobs", Kind::Doubled, |records, jobs| {
                let other = complete(&claim(&accepted(9), 9), 9, "x");
                records.push(Record::Stored { job: other.id, key: None });
                records.push(Record::Accepted { job: other.id, key: Some("k".to_owned()) });
                records.push(Record::Claimed { job: other.id, attempt: 1, token: token(9) });
                records.push(effect(other.id, 1, 9, "x"));
                let outcome = Record::Outcome { job: other.id, attempt: 1, token: token(9), status: Status::Completed };
                records.push(outcome);
                jobs.push(other);
            }),
            ("an attempt after the end", Kind::Backwards, |records, _| {
                let job = records[0].job();
                records.push(Record::Claimed { job, attempt: 3, token: token(3) });
            }),
            ("the same attempt twice", Kind::Backwards, |records, _| records.insert(5, records[5].clone())),
            ("an outcome by an attempt that lost the job", Kind::Backwards, |records, _| {
                let Record::Outcome { token: shown, .. } = &mut records[7] else { panic!("an outcome") };
                *shown = token(1);
            }),
            ("an attempt after a cancel", Kind::Backwards, |records, _| {
                let job = records[0].job();
                records.insert(5, Record::CancelAcknowledged { job });
            }),
            ("an effect of nobody's job", Kind::Untrue, |records, _| {
                let job = accepted(7).id;
                records.push(effect(job, 1, 1, "x"));
            }),
            ("one key, two jobs, of which the client knows one", Kind::Doubled, |records, jobs| {
                let other = complete(&claim(&accepted(9), 9), 9, "x");
                records.insert(0, Record::Stored { job: other.id, key: Some("k".to_owned()) });
                jobs.push(other);
            }),
            ("an effect by an attempt that never began", Kind::Untrue, |records, _| {
                records.insert(4, effect(records[0].job(), 1, 3, "three"));
            }),
            ("an effect by an attempt that lost the job", Kind::Doubled, |records, _| {
                records.insert(6, effect(records[0].job(), 1, 1, "one"));
            }),
            ("an effect after a cancel", Kind::Backwards, |records, _| {
                let job = records[0].job();
                records.insert(5, Record::CancelAcknowledged { job });
                records.insert(6, effect(job, 1, 1, "one"));
            }),
            ("an attempt goes on in spite of a cancel, and so does another", Kind::Backwards, |records, _| {
                let job = records[0].job();
                records.insert(3, Record::CancelAcknowledged { job });
            }),
            ("ended, and nothing ended it", Kind::Untrue, |records, _| drop(records.pop())),
            ("more effects than attempts allowed", Kind::Doubled, |records, _| records.insert(6, records[6].clone())),
            ("a result that no attempt made", Kind::Untrue, |records, _| {
                let Record::Effect { result, .. } = &mut records[6] else { panic!("an effect") };
                *result = "other".to_owned();
            }),
            ("the result of an attempt that did not complete it", Kind::Untrue, |records, _| {
                let Record::Effect { result, .. } = &mut records[6] else { panic!("an effect") };
                *result = "\"three\"".to_owned();
                records[3] = effect(records[0].job(), 1, 1, "two");
            }),
            ("completed without an effect", Kind::Untrue, |records, _| {
                records.retain(|record| !matches!(record, Record::Effect { .. }));
            }),
            ("a history that does not add up", Kind::Untrue, |_, jobs| drop(jobs[0].history.remove(1))),
            ("failed with attempts left", Kind::Untrue, |records, jobs| {
                records.truncate(4);
                let job = claim(&accepted(1), 1);
                let fence = Fence { attempt: 1, token: token(1) };
                let error = "for no good reason".to_owned();
                let fail = Change::Fail { now: START, fence, error, tenant: Tenant::only() };
                jobs[0] = transition(&job, &fail).expect("held");
                let job = job.id;
                records.push(Record::Outcome { job, attempt: 1, token: token(1), status: Status::Failed });
            }),
        ];
        for (name, kind, spoil) in spoilt {
            let (mut records, mut jobs) = good();
            spoil(&mut records, &mut jobs);
            let found = kinds(&records, &jobs);
            assert!(found.contains(&kind), "{name}: {found:?}");
        }
    }

    fn claim_and_retry() -> Job {
        let fence = Fence { attempt: 1, token: token(1) };
        let retry = Change::Retry { now: START, fence, error: "later".to_owned(), not_before: START };
        transition(&claim(&accepted(1), 1), &retry).expect("held")
    }
}
