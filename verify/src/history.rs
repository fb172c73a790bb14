//! What happened in a run, and whether it may have: a checker in the manner of Jepsen's total-queue.
//!
//! It knows nothing of how the run was made. It is given what was seen from outside and at the store, in order, and the
//! jobs as they are at the end.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use shared::event::{Event, fold};
use shared::id::{JobId, LeaseToken};
use shared::job::{Job, State, Status};

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
    /// A job did something to the world.
    Effect {
        /// The job.
        job: JobId,
        /// What its attempt will give as its result, as JSON.
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
pub fn check(records: &[Record], jobs: &[Job]) -> Vec<Violation> {
    let jobs: HashMap<JobId, &Job> = jobs.iter().map(|job| (job.id, job)).collect();
    let mut seen: BTreeMap<JobId, Seen> = BTreeMap::new();
    let mut keys: HashMap<&str, JobId> = HashMap::new();
    let mut violations = Violations(vec![]);
    for record in records {
        let job = record.job();
        let seen = seen.entry(job).or_default();
        match record {
            Record::Accepted { key, .. } => {
                seen.accepted = true;
                if let Some(key) = key
                    && *keys.entry(key).or_insert(job) != job
                {
                    violations.add(Kind::Doubled, job, format!("the key {key} has another job"));
                }
            }
            Record::Stored { .. } if seen.stored => violations.add(Kind::Doubled, job, "stored twice"),
            Record::Stored { .. } => seen.stored = true,
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
            }
            Record::Ended { status, .. } => {
                seen.holder = None;
                seen.reach(job, *status, &mut violations);
            }
            Record::Effect { result, .. } => {
                if !seen.stored {
                    violations.add(Kind::Untrue, job, "an effect of a job that was never stored");
                }
                seen.effects.push(result.clone());
            }
            Record::CancelAcknowledged { .. } => seen.cancelled = true,
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

/// What a job's own history says happened, for runs that are seen from outside only.
pub fn records_of(job: &Job) -> Vec<Record> {
    let id = job.id;
    let mut records = vec![];
    let mut attempt = 0;
    let token = |attempt: u32| LeaseToken::new(u64::from(attempt).to_be_bytes());
    for event in &job.history {
        let outcome = |status| Record::Outcome { job: id, attempt, token: token(attempt), status };
        match event {
            Event::Accepted { .. } => records.push(Record::Stored { job: id }),
            Event::Started { .. } => {
                attempt += 1;
                records.push(Record::Claimed { job: id, attempt, token: token(attempt) });
            }
            Event::Retrying { .. } | Event::Yielded { .. } => records.push(outcome(Status::Pending)),
            Event::Completed { .. } => {
                if let State::Completed { result, .. } = &job.state {
                    records.push(Record::Effect { job: id, result: result.as_str().to_owned() });
                }
                records.push(outcome(Status::Completed));
            }
            Event::Failed { .. } => records.push(Record::Ended { job: id, status: Status::Failed }),
            Event::CancelRequested { .. } | Event::Rescheduled { .. } | Event::Redriven { .. } => {}
            Event::Cancelled { .. } | Event::Lapsed { .. } => {
                records.push(Record::Ended { job: id, status: Status::Cancelled });
            }
        }
    }
    records
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
            | Self::Stored { job }
            | Self::Claimed { job, .. }
            | Self::Outcome { job, .. }
            | Self::Ended { job, .. }
            | Self::Effect { job, .. }
            | Self::CancelAcknowledged { job } => *job,
        }
    }
}

/// What the records say of one job.
#[derive(Default)]
struct Seen {
    accepted: bool,
    stored: bool,
    attempts: u32,
    holder: Option<(u32, LeaseToken)>,
    ended: Option<Status>,
    effects: Vec<String>,
    cancelled: bool,
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
        if self.ended.is_some_and(|ended| ended != job.status()) {
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
        if let State::Completed { result, .. } = &job.state
            && !self.effects.is_empty()
            && !self.effects.iter().any(|effect| effect == result.as_str())
        {
            violations.add(Kind::Untrue, job.id, "its result is that of no attempt".to_owned());
        }
        if job.status() == Status::Completed && self.effects.is_empty() {
            violations.add(Kind::Untrue, job.id, "is completed, and had no effect".to_owned());
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
    let gave_up = job.error.as_deref().is_some_and(|error| error.contains(crate::simulation::GIVE_UP));
    if job.status() == Status::Failed && job.attempts < job.max_attempts && !gave_up {
        violations.add(Kind::Untrue, job.id, format!("failed at attempt {} of {}", job.attempts, job.max_attempts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::id::Tenant;
    use shared::json::Json;
    use shared::submission::{Origin, Submission};
    use shared::time::Timestamp;
    use shared::transition::{Change, Fence, transition};
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
            Record::Stored { job: id },
            Record::Accepted { job: id, key: Some("k".to_owned()) },
            Record::Claimed { job: id, attempt: 1, token: token(1) },
            Record::Effect { job: id, result: "\"one\"".to_owned() },
            Record::Outcome { job: id, attempt: 1, token: token(1), status: Status::Pending },
            Record::Claimed { job: id, attempt: 2, token: token(2) },
            Record::Effect { job: id, result: "\"two\"".to_owned() },
            Record::Outcome { job: id, attempt: 2, token: token(2), status: Status::Completed },
        ];
        (records, vec![done])
    }

    fn kinds(records: &[Record], jobs: &[Job]) -> Vec<Kind> {
        let mut kinds: Vec<_> = check(records, jobs).into_iter().map(|violation| violation.kind).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }

    #[test]
    fn a_good_history_is_accepted() {
        let (records, jobs) = good();
        assert_eq!(check(&records, &jobs), []);
    }

    /// Each of these is the good history with one thing spoilt.
    #[test]
    fn a_spoilt_history_is_rejected() {
        type Spoil = fn(&mut Vec<Record>, &mut Vec<Job>);
        let spoilt: [(&str, Kind, Spoil); 15] = [
            ("the job is gone", Kind::Lost, |_, jobs| jobs.clear()),
            ("the job never ended", Kind::Stuck, |records, jobs| {
                records.truncate(6);
                jobs[0] = claim(&claim_and_retry(), 2);
            }),
            ("completed twice", Kind::Doubled, |records, _| records.push(records[7].clone())),
            ("stored twice", Kind::Doubled, |records, _| records.insert(1, records[0].clone())),
            ("one key, two jobs", Kind::Doubled, |records, jobs| {
                let other = complete(&claim(&accepted(9), 9), 9, "x");
                records.push(Record::Stored { job: other.id });
                records.push(Record::Accepted { job: other.id, key: Some("k".to_owned()) });
                records.push(Record::Claimed { job: other.id, attempt: 1, token: token(9) });
                records.push(Record::Effect { job: other.id, result: "\"x\"".to_owned() });
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
                records.push(Record::Effect { job, result: "x".to_owned() });
            }),
            ("more effects than attempts allowed", Kind::Doubled, |records, _| records.insert(6, records[6].clone())),
            ("a result that no attempt made", Kind::Untrue, |records, _| {
                let Record::Effect { result, .. } = &mut records[6] else { panic!("an effect") };
                *result = "other".to_owned();
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
