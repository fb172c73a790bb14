//! Where schedules are kept, and the making of their jobs: the port, an adapter in memory, and the contract suite that
//! every adapter passes.
//!
//! A run is brought about in three steps, each of which may be the last one of its process: its job is stored
//! ([`make_jobs`]), workers are told ([`announcement`]), and the schedule moves on ([`Schedule::advanced`], by
//! [`ScheduleStore::put_if_unchanged`]). Until the last step the schedule stays due, and whoever looks next begins with
//! the first: it finds the job stored, because its id follows from the run, tells the workers once more, which does no
//! harm, and goes on. Any number of processes at once come to the same jobs.
//!
//! Where runs may be skipped ([`Overlap::Skip`]), a step comes before the first: it is decided whether the run's job is
//! made, and the decision is stored with the schedule ([`decide`]). Two processes may see the last run's job before and
//! after its end; of their two decisions only one can be stored, and whoever comes later keeps to that one.

pub mod contract;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::job::due::queue_delay;
use crate::job::submission::Rejection;
use crate::job::{Job, State};
use crate::ports::{Inserted, JobStore, Message, StoreError};
use crate::schedule::{Due, Overlap, Schedule, ScheduleKey, ScheduleName};
use crate::values::id::{JobId, Tenant};
use crate::values::time::Timestamp;

/// The schedules.
#[async_trait]
pub trait ScheduleStore: Send + Sync {
    /// The schedule as it is now; everything that was written before this call is seen.
    async fn find(&self, key: &ScheduleKey) -> Result<Option<Schedule>, StoreError>;

    /// Stores the schedule, in one atomic step, if what is there is still the one that was `seen` (`None`: that there
    /// was none). Says whether it is stored. After an error it may or may not be; to ask again with the same schedule
    /// is safe, and succeeds if it is there already.
    async fn put_if_unchanged(&self, schedule: &Schedule, seen: Option<&Schedule>) -> Result<bool, StoreError>;

    /// Deletes it. Says whether it was there.
    async fn delete(&self, key: &ScheduleKey) -> Result<bool, StoreError>;

    /// The schedules of one tenant by name, those after `after`, `limit` at most. One that was made or deleted in the
    /// last seconds may be missing; what is there is as it is now.
    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&ScheduleName>,
        limit: usize,
    ) -> Result<SchedulePage, StoreError>;

    /// The schedules of all tenants that are due before `now`, those that have been due longest first, `limit` at most.
    /// One that has changed in the last seconds may be missing, or be due no longer.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<ScheduleKey>, StoreError>;
}

/// Some schedules of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulePage {
    /// The schedules, by name.
    pub schedules: Vec<Schedule>,
    /// The name after which the next page begins; `None` if this one is the last.
    pub next: Option<ScheduleName>,
}

/// What is decided about the runs of a schedule that are due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Their jobs are to be made.
    Make {
        /// The schedule as it is stored now.
        schedule: Schedule,
        /// The runs.
        due: Due,
    },
    /// The run is skipped, and the schedule has moved on.
    Skip {
        /// The schedule as it is stored now.
        schedule: Schedule,
        /// The run that was due.
        due: Due,
        /// The job of the last run, which has not ended.
        unended: JobId,
    },
    /// Nothing, or not yet: no run is due, somebody else decides, or the last run's job has not ended but may still do
    /// so before the time of the run.
    Wait,
}

/// Decides whether the jobs of the runs that are due are to be made. Where runs may be skipped, the decision is stored
/// before this returns, and stands. The run is skipped if at its time, or later, the job of the last run has not ended;
/// it is not skipped before its time.
pub async fn decide(
    schedule: &Schedule,
    schedules: &dyn ScheduleStore,
    jobs: &dyn JobStore,
    now: Timestamp,
) -> Result<Decision, StoreError> {
    let due = schedule.due(now);
    let Some(run) = due.runs.first().copied() else { return Ok(Decision::Wait) };
    let is_decided = match schedule.overlap {
        Overlap::Allow => true,
        Overlap::Skip => schedule.has_decided(run),
    };
    if is_decided {
        return Ok(Decision::Make { schedule: schedule.clone(), due });
    }
    let unended = match schedule.last_run.map(|last| schedule.key.job_id(last)) {
        Some(last) => match jobs.find(last).await {
            Ok(job) => job.filter(|job| !job.status().is_terminal()).map(|job| job.id),
            // As a newer build wrote it: nobody here knows whether it has ended.
            Err(StoreError::Newer(..) | StoreError::Unreadable(..)) => Some(last),
            Err(error) => return Err(error),
        },
        None => None,
    };
    let next = match unended {
        None => schedule.decided(run),
        Some(_) if run > now => return Ok(Decision::Wait),
        Some(_) => schedule.skipping(run, &due),
    };
    if !schedules.put_if_unchanged(&next, Some(schedule)).await? {
        return Ok(Decision::Wait);
    }
    Ok(match unended {
        None => Decision::Make { schedule: next, due },
        Some(unended) => Decision::Skip { schedule: next, due, unended },
    })
}

/// A job of one run of a schedule, stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The job, as it is.
    pub job: Job,
    /// Whether it was stored only now.
    pub is_new: bool,
}

/// Why the jobs of a schedule were not made.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// The store of the jobs failed. The same call may succeed later.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This build takes no such job. The build that took the schedule did: another version, in the midst of a
    /// deployment perhaps.
    #[error("its job does not fit any more, because of `{0}`")]
    Unusable(String),
}

/// Stores the jobs of the runs that are `due`, each exactly once: those that are there already are left as they are.
/// After an error some may have been stored.
pub async fn make_jobs(
    schedule: &Schedule,
    due: &Due,
    jobs: &dyn JobStore,
    now: Timestamp,
) -> Result<Vec<Made>, NotMade> {
    let mut made = vec![];
    for run in &due.runs {
        // Only the field's name: what is in it is the owner's own.
        let job = schedule.job_of(*run, now).map_err(|rejection| match rejection {
            Rejection::NotJson(_) => NotMade::Unusable("job".to_owned()),
            Rejection::Field(invalid) => NotMade::Unusable(invalid.within("job").field),
        })?;
        made.push(match jobs.insert_if_absent(&job).await? {
            Inserted::New => Made { job, is_new: true },
            Inserted::AlreadyThere(there) => Made { job: *there, is_new: false },
        });
    }
    Ok(made)
}

/// The message by which workers hear of a run's job at its time. `None` if they have heard of it: it has been started,
/// or has ended.
pub fn announcement(job: &Job, now: Timestamp) -> Option<Message> {
    match job.state {
        State::Pending { not_before, .. } if job.attempts == 0 => {
            queue_delay(not_before, now).map(|delay| Message::about(job, delay))
        }
        State::Pending { .. }
        | State::Processing { .. }
        | State::Completed { .. }
        | State::Failed { .. }
        | State::Cancelled { .. } => None,
    }
}

/// A [`ScheduleStore`] in memory.
#[derive(Debug, Default)]
pub struct MemorySchedules(Mutex<BTreeMap<ScheduleKey, Schedule>>);

impl MemorySchedules {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<ScheduleKey, Schedule>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ScheduleStore for MemorySchedules {
    async fn find(&self, key: &ScheduleKey) -> Result<Option<Schedule>, StoreError> {
        Ok(self.locked().get(key).cloned())
    }

    async fn put_if_unchanged(&self, schedule: &Schedule, seen: Option<&Schedule>) -> Result<bool, StoreError> {
        let mut schedules = self.locked();
        let there = schedules.get(&schedule.key);
        let unchanged =
            there.map(|there| (there.created_at, there.version)) == seen.map(|seen| (seen.created_at, seen.version));
        let is_there_already = there == Some(schedule);
        if unchanged {
            schedules.insert(schedule.key.clone(), schedule.clone());
        }
        Ok(unchanged || is_there_already)
    }

    async fn delete(&self, key: &ScheduleKey) -> Result<bool, StoreError> {
        Ok(self.locked().remove(key).is_some())
    }

    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&ScheduleName>,
        limit: usize,
    ) -> Result<SchedulePage, StoreError> {
        let all = self.locked();
        let mut listed: Vec<_> = all.values().filter(|schedule| schedule.key.tenant == *tenant).cloned().collect();
        listed.retain(|schedule| after.is_none_or(|after| schedule.key.name > *after));
        let more = listed.len() > limit;
        listed.truncate(limit);
        let next = listed.last().filter(|_| more).map(|schedule| schedule.key.name.clone());
        Ok(SchedulePage { schedules: listed, next })
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<ScheduleKey>, StoreError> {
        let all = self.locked();
        let mut due: Vec<_> = all.values().filter(|schedule| schedule.due_at().is_some_and(|due| due < now)).collect();
        due.sort_by_key(|schedule| schedule.due_at());
        Ok(due.into_iter().take(limit).map(|schedule| schedule.key.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::submission::Limits;
    use crate::job::transition::Change;
    use crate::ports::Changed;
    use crate::ports::memory::MemoryStore;
    use crate::schedule::{Definition, Skips};
    use crate::values::json::Json;

    #[tokio::test]
    async fn schedules_in_memory_keep_the_contract() {
        contract::schedule_store(&MemorySchedules::default()).await;
    }

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn every_minute() -> Schedule {
        let body = br#"{"cron":"* * * * *","job":{"type":"csv-generation","payload":{"a":1}}}"#;
        let key = ScheduleKey { tenant: Tenant::only(), name: ScheduleName::parse("often").expect("a name") };
        Schedule::new(key, Definition::parse(body, NOW, Limits::default()).expect("fits"), NOW)
    }

    /// A schedule of every minute that skips, stored; its first run's job has been made and has not ended. The next run
    /// is at `second_run`.
    async fn one_that_skips(schedules: &MemorySchedules, jobs: &MemoryStore) -> Schedule {
        let new = Schedule { overlap: Overlap::Skip, ..every_minute() };
        assert!(schedules.put_if_unchanged(&new, None).await.expect("answers"));
        let decision = decide(&new, schedules, jobs, NOW).await.expect("answers");
        let Decision::Make { schedule, due } = decision else { panic!("{decision:?}") };
        assert_eq!(due.runs, [NOW + MINUTE]);
        make_jobs(&schedule, &due, jobs, NOW).await.expect("made");
        let advanced = schedule.advanced(&due);
        assert!(schedules.put_if_unchanged(&advanced, Some(&schedule)).await.expect("answers"));
        advanced
    }

    const MINUTE: Duration = Duration::from_secs(60);

    fn second_run() -> Timestamp {
        NOW + MINUTE * 2
    }

    async fn end_first_job(schedule: &Schedule, jobs: &MemoryStore) {
        let cancel = Change::CancelPending { now: NOW + MINUTE };
        let ended = jobs.change_if_allowed(schedule.key.job_id(NOW + MINUTE), &cancel).await.expect("answers");
        assert!(matches!(ended, Changed::Applied(_)), "{ended:?}");
    }

    #[tokio::test]
    async fn a_run_is_skipped_at_its_time_and_not_before_if_the_last_ones_job_has_not_ended() {
        let (schedules, jobs) = (MemorySchedules::default(), MemoryStore::default());
        let schedule = one_that_skips(&schedules, &jobs).await;
        let at = |now| decide(&schedule, &schedules, &jobs, now);
        let a_moment_before = second_run() - Duration::from_millis(1);
        assert_eq!(at(second_run() - MINUTE).await.expect("answers"), Decision::Wait);
        assert_eq!(at(a_moment_before).await.expect("answers"), Decision::Wait);
        let Decision::Skip { schedule: skipping, unended, due } = at(second_run()).await.expect("answers") else {
            panic!("not skipped")
        };
        assert_eq!((unended, due.runs), (schedule.key.job_id(NOW + MINUTE), vec![second_run()]));
        assert_eq!(skipping.skips, Some(Skips { count: 1, last_at: second_run() }));
        assert_eq!(schedules.find(&schedule.key).await.expect("answers").as_ref(), Some(&skipping), "stored");
        assert_eq!(jobs.all().len(), 1);

        let third_run = second_run() + MINUTE;
        let third = decide(&skipping, &schedules, &jobs, third_run).await.expect("answers");
        assert!(matches!(third, Decision::Skip { .. }), "still not ended: {third:?}");
    }

    #[tokio::test]
    async fn a_run_is_made_ahead_of_its_time_once_the_last_ones_job_has_ended_or_is_gone() {
        for is_gone in [false, true] {
            let (schedules, jobs) = (MemorySchedules::default(), MemoryStore::default());
            let schedule = one_that_skips(&schedules, &jobs).await;
            end_first_job(&schedule, &jobs).await;
            let jobs = if is_gone { MemoryStore::default() } else { jobs };
            let decision = decide(&schedule, &schedules, &jobs, second_run() - MINUTE).await.expect("answers");
            let Decision::Make { schedule: decided, due } = decision else { panic!("{decision:?}") };
            assert_eq!((decided.last_run, due.runs), (Some(second_run()), vec![second_run()]));
            assert_eq!(schedules.find(&schedule.key).await.expect("answers"), Some(decided), "stored first");
        }
    }

    #[tokio::test]
    async fn of_two_decisions_about_a_run_one_stands() {
        for skips_first in [false, true] {
            let (schedules, jobs) = (MemorySchedules::default(), MemoryStore::default());
            let schedule = one_that_skips(&schedules, &jobs).await;
            // One sees the job before its end, the other after; both have read the same schedule.
            let ended = MemoryStore::default();
            let order: [&MemoryStore; 2] = if skips_first { [&jobs, &ended] } else { [&ended, &jobs] };
            let first = decide(&schedule, &schedules, order[0], second_run()).await.expect("answers");
            assert_eq!(matches!(first, Decision::Skip { .. }), skips_first, "{first:?}");
            let second = decide(&schedule, &schedules, order[1], second_run()).await.expect("answers");
            assert_eq!(second, Decision::Wait, "the other was faster");

            let stored = schedules.find(&schedule.key).await.expect("answers").expect("there");
            let third = decide(&stored, &schedules, order[1], second_run()).await.expect("answers");
            let makes_it = matches!(&third, Decision::Make { due, .. } if due.runs == [second_run()]);
            assert_eq!(makes_it, !skips_first, "nor after that: {third:?}");
        }
    }

    #[tokio::test]
    async fn who_dies_after_a_decision_leaves_it_to_the_next_who_keeps_to_it() {
        let (schedules, jobs) = (MemorySchedules::default(), MemoryStore::default());
        let schedule = one_that_skips(&schedules, &jobs).await;
        end_first_job(&schedule, &jobs).await;
        let now = second_run() - Duration::from_secs(30);
        let first = decide(&schedule, &schedules, &jobs, now).await.expect("answers");
        let Decision::Make { schedule: decided, due } = &first else { panic!("{first:?}") };
        for now in [now, second_run() + Duration::from_secs(30)] {
            let again = decide(decided, &schedules, &jobs, now).await.expect("answers");
            assert_eq!(again, first, "before the job is made");
        }
        make_jobs(decided, due, &jobs, now).await.expect("made");
        let again = decide(decided, &schedules, &jobs, second_run()).await.expect("answers");
        assert_eq!(again, first, "after that, though the job has not ended: it is this run's own");
        assert_eq!(jobs.all().len(), 2);
    }

    #[tokio::test]
    async fn runs_that_may_overlap_are_all_made_whatever_became_of_the_last() {
        let (schedules, jobs) = (MemorySchedules::default(), MemoryStore::default());
        let schedule = every_minute();
        let now = NOW + Duration::from_secs(30);
        let decision = decide(&schedule, &schedules, &jobs, now).await.expect("answers");
        assert_eq!(decision, Decision::Make { due: schedule.due(now), schedule: schedule.clone() });
        let paused = schedule.paused(now).expect("it was not paused");
        assert_eq!(decide(&paused, &schedules, &jobs, now + MINUTE).await.expect("answers"), Decision::Wait);
    }

    #[tokio::test]
    async fn making_the_jobs_again_makes_no_others() {
        let (jobs, schedule) = (MemoryStore::default(), every_minute());
        let due = schedule.due(NOW + Duration::from_secs(30));
        let made = make_jobs(&schedule, &due, &jobs, NOW).await.expect("made");
        assert_eq!(made.iter().map(|made| made.is_new).collect::<Vec<_>>(), [true, true]);
        let again = make_jobs(&schedule, &due, &jobs, NOW + Duration::from_secs(5)).await.expect("made");
        assert_eq!(again.iter().map(|made| made.is_new).collect::<Vec<_>>(), [false, false]);
        assert_eq!(jobs.all().len(), 2);
        for (first, second) in made.iter().zip(&again) {
            assert_eq!(first.job, second.job, "what is there stays as it is");
        }
    }

    #[tokio::test]
    async fn a_run_is_announced_for_its_second_until_it_has_been_started() {
        let (jobs, schedule) = (MemoryStore::default(), every_minute());
        let made = make_jobs(&schedule, &schedule.due(NOW), &jobs, NOW).await.expect("made");
        let job = &made[0].job;
        let delay = |rest: u64| Some(Message::about(job, Duration::from_secs(rest)));
        assert_eq!(announcement(job, NOW), delay(60));
        assert_eq!(announcement(job, NOW + Duration::from_secs(59)), delay(1));
        assert_eq!(announcement(job, NOW + Duration::from_secs(61)), delay(0));
        let started = Job { attempts: 1, ..job.clone() };
        assert_eq!(announcement(&started, NOW), None);
        let cancelled = Job { state: State::Cancelled { finished_at: NOW }, ..job.clone() };
        assert_eq!(announcement(&cancelled, NOW), None);
    }

    #[tokio::test]
    async fn a_job_that_this_build_does_not_take_is_named_by_its_field_and_not_made() {
        let job = Json::parse(r#"{"type":"of-tomorrow","payload":{"secret":1}}"#).expect("valid");
        let (jobs, schedule) = (MemoryStore::default(), Schedule { job, ..every_minute() });
        let refused = make_jobs(&schedule, &schedule.due(NOW), &jobs, NOW).await.expect_err("no such type");
        assert_eq!(refused.to_string(), "its job does not fit any more, because of `job.type`");
        assert_eq!(jobs.all(), []);
    }

    #[tokio::test]
    async fn the_last_page_says_that_it_is_the_last() {
        let schedules = MemorySchedules::default();
        let schedule = every_minute();
        assert!(schedules.put_if_unchanged(&schedule, None).await.expect("answers"));
        let page = schedules.list(&Tenant::only(), None, 1).await.expect("answers");
        assert_eq!(page, SchedulePage { schedules: vec![schedule], next: None });
    }

    /// Schedules in memory with one fault, to see whether the suite finds it.
    struct Faulty {
        schedules: MemorySchedules,
        fault: Fault,
    }

    #[derive(PartialEq)]
    enum Fault {
        FindsAnothers,
        LetsTheLastWriterWin,
        ComparesVersionsOnly,
        IsDueTooEarly,
        BeginsEachPageAnew,
        ForgetsSkips,
    }

    #[async_trait]
    impl ScheduleStore for Faulty {
        async fn find(&self, key: &ScheduleKey) -> Result<Option<Schedule>, StoreError> {
            if self.fault == Fault::FindsAnothers {
                return Ok(self.schedules.locked().values().find(|there| there.key.name == key.name).cloned());
            }
            self.schedules.find(key).await
        }

        async fn put_if_unchanged(&self, schedule: &Schedule, seen: Option<&Schedule>) -> Result<bool, StoreError> {
            let there = self.schedules.find(&schedule.key).await?;
            let seen_as_there = match (&there, seen) {
                _ if self.fault == Fault::LetsTheLastWriterWin => there.clone(),
                (Some(there), Some(seen)) if self.fault == Fault::ComparesVersionsOnly => {
                    Some(Schedule { created_at: there.created_at, ..seen.clone() })
                }
                _ => seen.cloned(),
            };
            let skips = schedule.skips.filter(|_| self.fault != Fault::ForgetsSkips);
            let schedule = Schedule { skips, ..schedule.clone() };
            self.schedules.put_if_unchanged(&schedule, seen_as_there.as_ref()).await
        }

        async fn delete(&self, key: &ScheduleKey) -> Result<bool, StoreError> {
            self.schedules.delete(key).await
        }

        async fn list(
            &self,
            tenant: &Tenant,
            after: Option<&ScheduleName>,
            limit: usize,
        ) -> Result<SchedulePage, StoreError> {
            let after = after.filter(|_| self.fault != Fault::BeginsEachPageAnew);
            self.schedules.list(tenant, after, limit).await
        }

        async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<ScheduleKey>, StoreError> {
            let early = if self.fault == Fault::IsDueTooEarly { Duration::from_millis(1) } else { Duration::ZERO };
            self.schedules.due(now + early, limit).await
        }
    }

    async fn try_the_contract(fault: Fault) {
        contract::schedule_store(&Faulty { schedules: MemorySchedules::default(), fault }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "another's schedule is not there")]
    async fn the_contract_keeps_tenants_apart() {
        try_the_contract(Fault::FindsAnothers).await;
    }

    #[tokio::test]
    #[should_panic(expected = "a skipped run is on record")]
    async fn the_contract_wants_skipped_runs_on_record() {
        try_the_contract(Fault::ForgetsSkips).await;
    }

    #[tokio::test]
    #[should_panic(expected = "there is one already")]
    async fn the_contract_lets_no_writer_overwrite_another() {
        try_the_contract(Fault::LetsTheLastWriterWin).await;
    }

    #[tokio::test]
    #[should_panic(expected = "though their versions are equal")]
    async fn the_contract_tells_a_schedule_from_one_that_was_made_again() {
        try_the_contract(Fault::ComparesVersionsOnly).await;
    }

    #[tokio::test]
    #[should_panic(expected = "due is not yet overdue")]
    async fn the_contract_lets_no_schedule_be_due_early() {
        try_the_contract(Fault::IsDueTooEarly).await;
    }

    #[tokio::test]
    #[should_panic(expected = "no page comes twice")]
    async fn the_contract_wants_pages_that_come_to_an_end() {
        try_the_contract(Fault::BeginsEachPageAnew).await;
    }
}
