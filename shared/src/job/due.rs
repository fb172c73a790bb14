//! When a job is overdue, and what the sweeper does about it.

use std::time::Duration;

use crate::job::transition::has_expired;
use crate::job::{FORMAT, Job, State};
use crate::values::time::Timestamp;

/// How long a job may be ready without anything happening before the sweeper looks at it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The longest delay that the queue itself can keep: 15 minutes, an SQS limit.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
pub const LONGEST_QUEUE_DELAY: Duration = Duration::from_secs(900);

/// How long before its time the sweeper picks up a job whose delay the queue cannot keep: two sweeps, so that the
/// message, sent with the rest of the delay, is there on the second.
const LOOK_AHEAD: Duration = Duration::from_secs(120);

/// The longest time between two looks at a job that stays overdue.
pub const LONGEST_BETWEEN_LOOKS: Duration = Duration::from_secs(900);

/// How many copies of messages one sweep sends while the queue has messages of its own to deliver, besides those that
/// are surely lost. Small, so that a long backlog hardly grows; more than none, so that a lost message among them is found.
const COPIES_INTO_A_BACKLOG: usize = 2;

/// The due of a job that may be started from `not_before` on and whose message is on its way.
pub fn due_after(not_before: Timestamp) -> Timestamp {
    not_before + PATIENCE
}

/// The first due of a job accepted at `now`: after the message should have arrived or, if the delay is longer than
/// the queue can keep, in time for the sweeper to send it.
pub fn first_due(not_before: Timestamp, now: Timestamp) -> Timestamp {
    if queue_delay(not_before, now).is_some() { due_after(not_before) } else { not_before - LOOK_AHEAD }
}

/// The delay to send a message with that shall arrive at `not_before`. `None` if the queue cannot keep it so long.
pub fn queue_delay(not_before: Timestamp, now: Timestamp) -> Option<Duration> {
    Some(not_before.since(now)).filter(|delay| *delay <= LONGEST_QUEUE_DELAY)
}

/// What to do about a job whose due is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: it has ended, or is not overdue.
    Leave,
    /// An attempt has it, or its time is far off: look again at this time.
    LookAgain(Timestamp),
    /// It never had a message, because its delay was longer than the queue can keep. Look again at `due_at`, and send
    /// one that arrives after `delay`.
    Announce {
        /// The new due.
        due_at: Timestamp,
        /// How long the queue shall hold the message back.
        delay: Duration,
    },
    /// Its message seems lost, or is waiting its turn. Look again at `due_at`, and send another that arrives after
    /// `delay`, unless the queue is busy; see [`copies_to_send`].
    SendAgain {
        /// The new due.
        due_at: Timestamp,
        /// How long the queue shall hold the message back.
        delay: Duration,
    },
    /// Its worker died. Look again at `due_at`, and send another message: the job's own is hidden until the queue gives
    /// the dead worker up, far longer than the lease.
    Rescue {
        /// The new due.
        due_at: Timestamp,
    },
    /// It was not started before it expired.
    Lapse,
    /// Its last attempt died: it has failed.
    Expire,
    /// Its attempt died after a cancel was asked for: it is cancelled.
    ExpireCancelled,
}

/// What to do about `job` at `now`. One of a newer format is ended by nobody but who knows that format: a worker of that
/// build, to which a message may come.
pub fn decide(job: &Job, now: Timestamp) -> Decision {
    let may_end = job.format <= FORMAT;
    match job.state {
        State::Pending { due_at, .. } | State::Processing { due_at, .. } if due_at >= now => Decision::Leave,
        State::Pending { .. } if may_end && has_expired(job, now) => Decision::Lapse,
        State::Pending { not_before, due_at, resumes: _ } => match queue_delay(not_before, now) {
            None => Decision::LookAgain(first_due(not_before, now)),
            // Only the first due of a long delay lies before the job's time.
            Some(delay) if due_at < not_before => Decision::Announce { due_at: next_look(not_before, now), delay },
            Some(delay) => Decision::SendAgain { due_at: next_look(not_before, now), delay },
        },
        State::Processing { lease_until, .. } if lease_until >= now => Decision::LookAgain(lease_until),
        State::Processing { cancel_requested: true, .. } => Decision::ExpireCancelled,
        State::Processing { .. } if may_end && job.attempts >= job.max_attempts => Decision::Expire,
        State::Processing { .. } if may_end && has_expired(job, now) => Decision::Lapse,
        State::Processing { lease_until, .. } => Decision::Rescue { due_at: next_look(lease_until, now) },
        State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. } => Decision::Leave,
    }
}

/// After as long as the job has been waiting already, but at least [`PATIENCE`] and at most
/// [`LONGEST_BETWEEN_LOOKS`]: so the looks are 60, 120, 240, 480 and then every 900 s apart, with nothing to count.
fn next_look(waiting_since: Timestamp, now: Timestamp) -> Timestamp {
    let waited = now.since(waiting_since);
    waiting_since.max(now) + waited.clamp(PATIENCE, LONGEST_BETWEEN_LOOKS)
}

/// Of `overdue` jobs that seem to have lost their message, how many to send another for while the queue holds
/// `waiting` messages that nobody has received yet.
///
/// With an empty queue, all. Otherwise most of them are simply waiting their turn and a copy would only lengthen the
/// queue: then as many as are surely lost, because there are fewer messages than jobs, and a few more.
pub fn copies_to_send(overdue: usize, waiting: usize) -> usize {
    if waiting == 0 { overdue } else { overdue.min(overdue.saturating_sub(waiting).max(COPIES_INTO_A_BACKLOG)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::submission::{Origin, Submission};
    use crate::job::transition::{Change, Fence, transition};
    use crate::values::id::{JobId, LeaseToken, Tenant};
    use crate::values::json::Json;

    /// A job accepted at the epoch that may start after so many seconds.
    fn waiting(max_attempts: u32, delay_seconds: u64) -> Job {
        let start = Timestamp::from_millis(0);
        let options = format!(r#""max_attempts":{max_attempts},"timeout_seconds":10,"delay_seconds":{delay_seconds}"#);
        let body = format!(r#"{{"type":"csv-generation","payload":{{}},{options}}}"#);
        let origin = Origin { correlation_id: "request".to_owned(), traceparent: None };
        let submission = Submission::parse(body.as_bytes(), start).expect("fits");
        submission.into_job(JobId::at(start, [0; 10]), Tenant::only(), start, origin)
    }

    fn claimed(max_attempts: u32) -> Job {
        let (now, token) = (Timestamp::from_millis(0), LeaseToken::new([1; 8]));
        let claim = Change::Claim { now, token, time_left: PATIENCE };
        transition(&waiting(max_attempts, 0), &claim).expect("claimed")
    }

    #[test]
    fn what_is_done_about_a_running_job_depends_on_its_lease_and_its_attempts() {
        let due = Timestamp::from_millis(60_000);
        let after = due + Duration::from_millis(1);
        let lease_end = Timestamp::from_millis(15_000);
        assert_eq!(decide(&claimed(2), due), Decision::Leave, "due is not yet overdue");
        assert_eq!(
            decide(&claimed(2), after),
            Decision::Rescue { due_at: after + after.since(lease_end).max(PATIENCE) }
        );
        assert_eq!(decide(&claimed(1), after), Decision::Expire);
        let now = Timestamp::from_millis(1);
        let asked = transition(&claimed(1), &Change::RequestCancel { now }).expect("running");
        assert_eq!(decide(&asked, after), Decision::ExpireCancelled);
        let mut live = claimed(2);
        let State::Processing { lease_until, .. } = &mut live.state else { panic!("claimed") };
        *lease_until = after;
        assert_eq!(decide(&live, after), Decision::LookAgain(after), "a lease holds to its last moment");
        let ended = transition(&asked, &Change::ExpireCancelled { now: after }).expect("lease over");
        assert_eq!(decide(&ended, after), Decision::Leave);
    }

    #[test]
    fn a_message_is_the_jobs_first_only_if_the_look_was_due_before_the_jobs_time() {
        let at = Timestamp::from_millis;
        let far = waiting(2, 1_000);
        assert_eq!(decide(&far, at(880_000)), Decision::Leave, "due is not yet overdue");
        let first = Decision::Announce { due_at: at(1_060_000), delay: Duration::from_millis(119_999) };
        assert_eq!(decide(&far, at(880_001)), first);
        let postponed_to = |due_at| {
            let postpone = Change::Postpone { seen_due_at: at(880_000), seen_lease_until: None, due_at };
            transition(&far, &postpone).expect("is due then")
        };
        let another = |due_at| Decision::SendAgain { due_at, delay: Duration::ZERO };
        assert_eq!(decide(&postponed_to(at(1_000_000)), at(1_000_001)), another(at(1_060_001)));
        assert_eq!(decide(&postponed_to(at(1_060_000)), at(1_060_001)), another(at(1_120_002)));
        assert_eq!(decide(&postponed_to(at(10_000)), at(10_001)), Decision::LookAgain(at(880_000)), "far off");
        assert_eq!(decide(&waiting(2, 100), at(160_001)), another(at(220_002)), "its message had been sent at once");
    }

    #[test]
    fn a_job_lapses_from_when_it_expires_if_no_attempt_of_it_goes_on() {
        let at = Timestamp::from_millis;
        let expiring = |job: Job| Job { expires_at: Some(at(200_000)), ..job };
        let never_started = expiring(waiting(2, 0));
        assert!(matches!(decide(&never_started, at(199_999)), Decision::SendAgain { .. }));
        assert_eq!(decide(&never_started, at(200_000)), Decision::Lapse);
        let died = expiring(claimed(2));
        assert!(matches!(decide(&died, at(199_999)), Decision::Rescue { .. }));
        assert_eq!(decide(&died, at(200_000)), Decision::Lapse);
        assert_eq!(decide(&expiring(claimed(1)), at(200_000)), Decision::Expire, "its last attempt was in time");

        let fence = Fence { attempt: 1, token: LeaseToken::new([1; 8]) };
        let checkpoint = Json::parse("7").expect("a number");
        let goes_on = transition(&died, &Change::Yield { now: at(10_000), fence, checkpoint }).expect("held");
        assert!(matches!(decide(&goes_on, at(200_000)), Decision::SendAgain { .. }));
    }

    #[test]
    fn looks_get_rarer_the_longer_a_job_waits() {
        let since = Timestamp::from_millis(0);
        let mut now = since + PATIENCE;
        let mut gaps = vec![];
        for _ in 0..7 {
            let next = next_look(since, now);
            gaps.push(next.since(now).as_secs());
            now = next;
        }
        assert_eq!(gaps, [60, 120, 240, 480, 900, 900, 900]);
    }

    #[test]
    fn a_delay_beyond_the_queues_reach_is_due_before_its_time() {
        let now = Timestamp::from_millis(0);
        let soon = now + LONGEST_QUEUE_DELAY;
        let later = soon + Duration::from_millis(1);
        assert_eq!(first_due(soon, now), soon + PATIENCE);
        assert_eq!(first_due(later, now), later - LOOK_AHEAD);
        assert_eq!(queue_delay(now - PATIENCE, now), Some(Duration::ZERO));
    }

    #[test]
    fn a_backlog_is_not_doubled() {
        assert_eq!(copies_to_send(100, 0), 100);
        assert_eq!(copies_to_send(100, 1_000), 2);
        assert_eq!(copies_to_send(1, 1_000), 1);
        assert_eq!(copies_to_send(100, 40), 60);
    }
}
