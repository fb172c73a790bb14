//! How large a job's item in the table is, and was at each point of its history.

use crate::job::event::{Event, LAPSED, UnknownEvent};
use crate::job::{Job, Progress, State, Status, Tag};
use crate::values::time::Timestamp;

/// How many bytes the item of `job` has, as DynamoDB counts: a few too many, because a time that ends in zeros takes less
/// than is reckoned for one; and too few only by what the job has told of its progress since its latest event.
pub fn stored_bytes(job: &Job) -> usize {
    let mut item = Item::of(job);
    for event in &job.history {
        item.follow(event);
    }
    item.bytes()
}

/// The item of a job after some of its events, as far as its size goes.
///
/// What a job no longer has, nobody knows any more: the checkpoint of a completed job, the expiry of one that was tried
/// again.
#[expect(clippy::struct_excessive_bools, reason = "each says whether some attribute is there")]
pub struct Item<'a> {
    job: &'a Job,
    /// Where the job stands after these events.
    pub status: Status,
    /// The bytes of the events themselves.
    history: usize,
    latest: Option<Timestamp>,
    has_started: bool,
    has_token: bool,
    has_yielded: bool,
    cancel_requested: bool,
    resumes: bool,
    error: Option<&'a str>,
}

/// A number takes a byte for two digits, zeros at its end aside, and one more. Here: 13 digits.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
const MILLISECONDS: usize = 8;

/// A time in seconds: 10 digits.
const SECONDS: usize = 6;

/// A number of one or two digits.
const SMALL_NUMBER: usize = 2;

/// Beside what is in a list or a map.
const CONTAINER: usize = 3;

/// For each element of a list, and each field of a map.
const ELEMENT: usize = 1;

impl<'a> Item<'a> {
    /// The item before the first event, of a job that is like this now.
    pub fn of(job: &'a Job) -> Self {
        Self {
            job,
            status: Status::Pending,
            history: 0,
            latest: None,
            has_started: false,
            has_token: false,
            has_yielded: false,
            cancel_requested: false,
            resumes: false,
            error: None,
        }
    }

    /// The next event happens.
    pub fn follow(&mut self, event: &'a Event) {
        self.history += ELEMENT + event_bytes(event);
        self.latest = Some(event.at());
        self.resumes = event.leaves_resuming(self.resumes);
        self.cancel_requested = matches!(event, Event::CancelRequested { .. });
        match event {
            Event::Accepted { .. } | Event::CancelRequested { .. } | Event::Rescheduled { .. } | Event::Unknown(_) => {}
            Event::Started { .. } => {
                self.status = Status::Processing;
                (self.has_started, self.has_token) = (true, true);
            }
            Event::Retrying { error, .. } => (self.status, self.error) = (Status::Pending, Some(error.as_str())),
            Event::Yielded { .. } => (self.status, self.has_yielded) = (Status::Pending, true),
            Event::Completed { .. } => (self.status, self.error) = (Status::Completed, None),
            Event::Failed { error, .. } => (self.status, self.error) = (Status::Failed, Some(error.as_str())),
            Event::Cancelled { .. } => self.status = Status::Cancelled,
            Event::Lapsed { .. } => (self.status, self.error) = (Status::Cancelled, Some(LAPSED)),
            Event::Redriven { .. } => (self.status, self.has_token) = (Status::Pending, false),
        }
    }

    /// Its bytes: the name and the value of each attribute.
    pub fn bytes(&self) -> usize {
        let always = self.always().into_iter().map(|(name, value)| name.len() + value);
        let sometimes = self.sometimes().into_iter().map(|(name, value)| value.map_or(0, |value| name.len() + value));
        always.chain(sometimes).sum()
    }

    fn always(&self) -> [(&'static str, usize); 15] {
        let job = self.job;
        let lane = if self.status == Status::Failed { "#failed#0" } else { "#jobs#0" };
        [
            ("id", "01938e5c-7a00-7000-8000-000000000000".len()),
            ("tenant", job.tenant.as_str().len()),
            ("type", job.job_type.as_str().len()),
            ("status", self.status.as_str().len()),
            ("payload", job.payload.as_str().len()),
            ("fingerprint", 32),
            ("attempts", SMALL_NUMBER),
            ("max_attempts", SMALL_NUMBER),
            ("timeout", number_bytes(job.timeout.as_millis())),
            ("not_before", MILLISECONDS),
            ("created_at", MILLISECONDS),
            ("correlation_id", job.correlation_id.len()),
            ("history", CONTAINER + self.history),
            ("listing", job.tenant.as_str().len() + lane.len()),
            ("listed_at", "1800000000000#01938e5c-7a00-7000-8000-000000000000".len()),
        ]
    }

    fn sometimes(&self) -> [(&'static str, Option<usize>); 17] {
        let job = self.job;
        let (runs, has_ended) = (self.status == Status::Processing, self.status.is_terminal());
        let result = match &job.state {
            State::Completed { result, .. } if self.status == Status::Completed => Some(result.as_str().len()),
            State::Completed { .. }
            | State::Pending { .. }
            | State::Processing { .. }
            | State::Failed { .. }
            | State::Cancelled { .. } => None,
        };
        let checkpoint = job.checkpoint.as_ref().filter(|_| self.has_yielded);
        let progress = job.progress.as_ref().filter(|progress| self.latest.is_some_and(|latest| latest >= progress.at));
        [
            ("due_shard", (!has_ended).then_some(1)),
            ("due_at", (!has_ended).then_some(MILLISECONDS)),
            ("lease_until", runs.then_some(MILLISECONDS)),
            ("lease_token", self.has_token.then_some(16)),
            ("cancel_requested", self.cancel_requested.then_some(1)),
            ("started_at", self.has_started.then_some(MILLISECONDS)),
            ("finished_at", has_ended.then_some(MILLISECONDS)),
            ("ttl", has_ended.then_some(SECONDS)),
            ("result", result),
            ("error", self.error.map(str::len)),
            ("traceparent", job.traceparent.as_ref().map(String::len)),
            ("step", self.resumes.then_some(1)),
            ("tags", Some(&job.tags).filter(|tags| !tags.is_empty()).map(|tags| tags_bytes(tags))),
            ("expires_at", job.expires_at.map(|_| MILLISECONDS)),
            ("callback_url", job.callback_url.as_ref().map(String::len)),
            ("checkpoint", checkpoint.map(|checkpoint| checkpoint.as_str().len())),
            ("progress", progress.map(progress_bytes)),
        ]
    }
}

fn tags_bytes(tags: &[Tag]) -> usize {
    CONTAINER + tags.iter().map(|tag| ELEMENT + tag.as_str().len()).sum::<usize>()
}

fn progress_bytes(progress: &Progress) -> usize {
    let Progress { percent: _, message, at: _ } = progress;
    let message = if message.is_empty() { 0 } else { field_bytes("message", message.len()) };
    CONTAINER + field_bytes("percent", SMALL_NUMBER) + message + field_bytes("at", MILLISECONDS)
}

/// As [`MILLISECONDS`] has it, of any number.
fn number_bytes(number: u128) -> usize {
    number.to_string().trim_end_matches('0').len().div_ceil(2) + 1
}

fn event_bytes(event: &Event) -> usize {
    let (name, error, has_not_before) = match event {
        Event::Accepted { not_before, .. } => ("accepted", None, not_before.is_some()),
        Event::Started { .. } => ("started", None, false),
        Event::Retrying { error, .. } => ("retrying", Some(error), true),
        Event::Yielded { .. } => ("yielded", None, false),
        Event::Completed { .. } => ("completed", None, false),
        Event::Failed { error, .. } => ("failed", Some(error), false),
        Event::CancelRequested { .. } => ("cancel_requested", None, false),
        Event::Cancelled { .. } => ("cancelled", None, false),
        Event::Lapsed { .. } => ("lapsed", None, false),
        Event::Rescheduled { .. } => ("rescheduled", None, true),
        Event::Redriven { .. } => ("redriven", None, true),
        // Its content is left out: a newer build's receipts count it.
        Event::Unknown(UnknownEvent { event, .. }) => (event.as_str(), None, false),
    };
    let error = error.map_or(0, |error| field_bytes("error", error.len()));
    let not_before = if has_not_before { field_bytes("not_before", MILLISECONDS) } else { 0 };
    CONTAINER + field_bytes("event", name.len()) + field_bytes("at", MILLISECONDS) + error + not_before
}

/// A field of a map.
fn field_bytes(name: &str, value: usize) -> usize {
    ELEMENT + name.len() + value
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::submission::{Origin, Submission};
    use crate::job::transition::{Change, Fence, transition};
    use crate::values::id::{JobId, LeaseToken, Tenant};
    use crate::values::json::Json;

    const START: Timestamp = Timestamp::from_millis(1_800_000_012_345);
    const TOKEN: LeaseToken = LeaseToken::new([7; 8]);
    const FENCE: Fence = Fence { attempt: 1, token: TOKEN };

    #[test]
    fn a_number_takes_a_byte_for_two_digits_and_none_for_zeros_at_its_end() {
        assert_eq!([1_000, 30_000, 50_000, 290_000, 890_000, 125_000].map(number_bytes), [2, 2, 2, 2, 2, 3]);
        assert_eq!(number_bytes(1_800_000_012_345), MILLISECONDS);
    }

    /// `accepted` in a history: `event`, `at`, and what a list and a map take beside.
    const ACCEPTED: usize = 1 + 3 + (1 + 5 + 8) + (1 + 2 + 8);
    const STARTED: usize = 1 + 3 + (1 + 5 + 7) + (1 + 2 + 8);

    /// What is in every item of these jobs but its status and its history: names, then values.
    const ALWAYS: usize = (2 + 36) // id
        + (6 + 7) // tenant: default
        + (4 + 14) // type: csv-generation
        + (7 + 7) // payload: {"a":1}
        + (11 + 32) // fingerprint
        + (8 + 2) + (12 + 2) + (7 + 2) // attempts, max_attempts, timeout
        + (10 + 8) + (10 + 8) // not_before, created_at
        + (14 + 8) // correlation_id: 9f0c1d52
        + (7 + 3) // history, without what is in it
        + (7 + 14) // listing: default#jobs#0
        + (9 + 50); // listed_at
    const DUE: usize = (9 + 1) + (6 + 8); // due_shard, due_at
    const CLAIMED: usize = (11 + 16) + (10 + 8); // lease_token, started_at
    const ENDED: usize = (11 + 8) + (3 + 6); // finished_at, ttl

    fn status(status: &str) -> usize {
        "status".len() + status.len()
    }

    fn accepted(more: &str, traceparent: Option<&str>) -> Job {
        let body = format!(r#"{{"type":"csv-generation","payload":{{"a":1}}{more}}}"#);
        let submission = Submission::parse(body.as_bytes(), START).expect("fits");
        let origin = Origin { correlation_id: "9f0c1d52".to_owned(), traceparent: traceparent.map(str::to_owned) };
        submission.into_job(JobId::at(START, [7; 10]), Tenant::only(), START, origin)
    }

    fn after(job: &Job, change: &Change) -> Job {
        transition(job, change).unwrap_or_else(|refusal| panic!("{change:?}: {refusal:?}"))
    }

    fn claim(job: &Job) -> Job {
        after(job, &Change::Claim { now: START, token: TOKEN, time_left: Duration::from_secs(60) })
    }

    #[test]
    fn a_waiting_job_is_as_large_as_its_attributes() {
        assert_eq!(stored_bytes(&accepted("", None)), ALWAYS + status("pending") + ACCEPTED + DUE);
    }

    #[test]
    fn what_its_owner_says_besides_is_counted() {
        let plain = stored_bytes(&accepted("", None));
        let more = |more: &str| stored_bytes(&accepted(more, None)) - plain;
        assert_eq!(more(r#","delay_seconds":60"#), 1 + 10 + 8); // not_before of its first event
        assert_eq!(more(r#","tags":["one","three"]"#), 4 + 3 + (1 + 3) + (1 + 5));
        assert_eq!(more(r#","expires_at":"2027-02-01T00:00:00Z""#), 10 + 8);
        assert_eq!(more(r#","callback_url":"https://example.com/hook""#), 12 + 24);
        assert_eq!(stored_bytes(&accepted("", Some("00-1-2-01"))) - plain, 11 + 9);
    }

    #[test]
    fn a_running_job_has_a_lease_and_may_have_been_asked_to_stop() {
        let running = claim(&accepted("", None));
        let expected = ALWAYS + status("processing") + ACCEPTED + STARTED + DUE + CLAIMED + (11 + 8);
        assert_eq!(stored_bytes(&running), expected);
        let asked = after(&running, &Change::RequestCancel { now: START });
        let event = 1 + 3 + (1 + 5 + 16) + (1 + 2 + 8);
        assert_eq!(stored_bytes(&asked), expected + event + (16 + 1));
    }

    #[test]
    fn a_job_that_is_tried_again_has_its_error_twice() {
        let error = "it said no".to_owned();
        let retry = Change::Retry { now: START, fence: FENCE, error, not_before: START + Duration::from_secs(60) };
        let event = 1 + 3 + (1 + 5 + 8) + (1 + 2 + 8) + (1 + 5 + 10) + (1 + 10 + 8);
        let expected = ALWAYS + status("pending") + ACCEPTED + STARTED + event + DUE + CLAIMED + (5 + 10);
        assert_eq!(stored_bytes(&after(&claim(&accepted("", None)), &retry)), expected);
    }

    #[test]
    fn a_job_that_goes_on_elsewhere_has_its_checkpoint() {
        let checkpoint = Json::parse(r#"{"row":7}"#).expect("JSON");
        let yielded = after(&claim(&accepted("", None)), &Change::Yield { now: START, fence: FENCE, checkpoint });
        let event = 1 + 3 + (1 + 5 + 7) + (1 + 2 + 8);
        let waiting = ALWAYS + status("pending") + ACCEPTED + STARTED + event + DUE + CLAIMED;
        assert_eq!(stored_bytes(&yielded), waiting + (10 + 9) + (4 + 1)); // checkpoint, step
    }

    #[test]
    fn progress_is_counted_from_the_next_event_on() {
        let running = claim(&accepted("", None));
        let report = |message: &str| {
            let at = START + Duration::from_secs(1);
            let progress = Progress { percent: 50, message: message.to_owned(), at };
            after(&running, &Change::Report { fence: FENCE, progress })
        };
        assert_eq!(stored_bytes(&report("half")), stored_bytes(&running), "not before");
        let asked = |job: &Job, seconds| {
            stored_bytes(&after(job, &Change::RequestCancel { now: START + Duration::from_secs(seconds) }))
        };
        let without = asked(&running, 1);
        assert_eq!(asked(&report(""), 1), without + 8 + 3 + (1 + 7 + 2) + (1 + 2 + 8));
        assert_eq!(asked(&report("half"), 2), asked(&report(""), 1) + (1 + 7 + 4));
    }

    #[test]
    fn an_ended_job_has_its_end() {
        let running = claim(&accepted("", None));
        let ended = ALWAYS + ACCEPTED + STARTED + CLAIMED + ENDED;
        let result = Json::parse(r#""a.csv""#).expect("JSON");
        let completed = after(&running, &Change::Complete { now: START, fence: FENCE, result });
        let event = |name: usize| 1 + 3 + (1 + 5 + name) + (1 + 2 + 8);
        assert_eq!(stored_bytes(&completed), ended + status("completed") + event(9) + (6 + 7)); // result

        let error = "it said no".to_owned();
        let failed = after(&running, &Change::Fail { now: START, fence: FENCE, error, tenant: Tenant::only() });
        let errors = (1 + 5 + 10) + (5 + 10);
        let lane = "failed".len() - "jobs".len();
        assert_eq!(stored_bytes(&failed), ended + status("failed") + event(6) + errors + lane);

        let again = Change::Redrive { now: START, not_before: START, more_attempts: 1, tenant: Tenant::only() };
        let waiting = ALWAYS + ACCEPTED + STARTED + event(6) + errors + event(8) + (1 + 10 + 8);
        // The old token is gone, the old start is not.
        assert_eq!(stored_bytes(&after(&failed, &again)), waiting + status("pending") + DUE + (10 + 8));
    }

    #[test]
    fn a_result_is_there_only_at_the_end() {
        let result = Json::parse(r#""a.csv""#).expect("JSON");
        let running = claim(&accepted("", None));
        let completed = after(&running, &Change::Complete { now: START, fence: FENCE, result });
        let mut item = Item::of(&completed);
        for event in &completed.history[..2] {
            item.follow(event);
        }
        assert_eq!(item.bytes(), stored_bytes(&running));
    }
}
