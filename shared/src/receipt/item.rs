//! How large a job's item in the table is, and was at each point of its history.

use crate::event::{Event, LAPSED};
use crate::job::{Job, Progress, State, Status, Tag};
use crate::time::Timestamp;

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

/// A number of one or two digits; a timeout in milliseconds too, whose last three are zeros.
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
            Event::Accepted { .. } | Event::CancelRequested { .. } | Event::Rescheduled { .. } => {}
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
            ("timeout", SMALL_NUMBER),
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
    };
    let error = error.map_or(0, |error| field_bytes("error", error.len()));
    let not_before = if has_not_before { field_bytes("not_before", MILLISECONDS) } else { 0 };
    CONTAINER + field_bytes("event", name.len()) + field_bytes("at", MILLISECONDS) + error + not_before
}

/// A field of a map.
fn field_bytes(name: &str, value: usize) -> usize {
    ELEMENT + name.len() + value
}
