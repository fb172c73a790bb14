//! Receipts added up, by day and by job type.

use std::collections::BTreeMap;

use super::Receipt;
use crate::counters::Minute;
use crate::job::Job;
use crate::values::time::Timestamp;

/// What some jobs have cost together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many jobs. Of counted ones, how many were accepted.
    pub jobs: u64,
    /// All that is on their receipts.
    pub receipt: Receipt,
}

impl Sum {
    /// Adds all that `other` has.
    pub fn merge(&mut self, other: &Self) {
        self.jobs += other.jobs;
        self.receipt.merge(&other.receipt);
    }
}

/// Sums by day in UTC (`2026-11-25`), the earliest first, and within each by the name of the job type.
pub type ByDay = BTreeMap<String, BTreeMap<String, Sum>>;

/// Adds up the receipts of these jobs, by the day on which each was accepted.
pub fn sum_of_jobs<'a>(jobs: impl IntoIterator<Item = &'a Job>) -> ByDay {
    let mut days = ByDay::new();
    for job in jobs {
        let sum = Sum { jobs: 1, receipt: Receipt::of(job) };
        sum_of(&mut days, job.created_at, job.job_type.as_str()).merge(&sum);
    }
    days
}

/// Adds up what was counted in these minutes, as exactly as [`Receipt::of_tally`] is, by the day on which it happened.
pub fn sum_of_minutes<'a>(minutes: impl IntoIterator<Item = &'a Minute>) -> ByDay {
    let mut days = ByDay::new();
    for minute in minutes {
        for (job_type, tally) in &minute.by_type {
            let sum = Sum { jobs: tally.counts.accepted, receipt: Receipt::of_tally(job_type, tally) };
            sum_of(&mut days, minute.begins_at, job_type).merge(&sum);
        }
    }
    days
}

fn sum_of<'a>(days: &'a mut ByDay, time: Timestamp, job_type: &str) -> &'a mut Sum {
    let day = time.to_string().chars().take("2026-11-25".len()).collect();
    days.entry(day).or_default().entry(job_type.to_owned()).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Field, Tally};
    use crate::job::submission::{Origin, Submission};
    use crate::job_type::JobType;
    use crate::values::id::{JobId, Tenant};
    use crate::values::json::Json;

    fn accepted(job_type: JobType, time: &str) -> Job {
        let now = Timestamp::parse_rfc3339(time).expect("a time");
        let origin = Origin { correlation_id: "9f0c1d52".to_owned(), traceparent: None };
        let submission = Submission::plain(job_type, Json::parse("{}").expect("JSON"));
        submission.into_job(JobId::at(now, [7; 10]), Tenant::only(), now, origin)
    }

    #[test]
    fn jobs_are_added_up_by_the_day_of_their_acceptance_and_by_type() {
        let jobs = [
            accepted(JobType::CsvGeneration, "2026-11-25T00:00:00Z"),
            accepted(JobType::CsvGeneration, "2026-11-25T23:59:59.999Z"),
            accepted(JobType::EmailSend, "2026-11-25T12:00:00Z"),
            accepted(JobType::EmailSend, "2026-11-26T00:00:00Z"),
        ];
        let days = sum_of_jobs(&jobs);
        let flat: Vec<_> = days
            .iter()
            .flat_map(|(day, types)| types.iter().map(move |(name, sum)| (day.as_str(), name.as_str(), sum.jobs)))
            .collect();
        let expected =
            [("2026-11-25", "csv-generation", 2), ("2026-11-25", "email-send", 1), ("2026-11-26", "email-send", 1)];
        assert_eq!(flat, expected);
        let mut twice = Receipt::of(&jobs[0]);
        twice.merge(&Receipt::of(&jobs[1]));
        assert_eq!(days["2026-11-25"]["csv-generation"].receipt, twice);
    }

    #[test]
    fn minutes_are_added_up_by_day_and_type() {
        let minute = |time: &str, accepted: i64| {
            let mut tally = Tally::default();
            tally.add(Field::Accepted, accepted);
            let by_type = BTreeMap::from([("email-send".to_owned(), tally)]);
            Minute { begins_at: Timestamp::parse_rfc3339(time).expect("a time"), by_type }
        };
        let minutes =
            [minute("2026-11-25T10:00:00Z", 2), minute("2026-11-25T10:01:00Z", 3), minute("2026-11-26T10:00:00Z", 4)];
        let days = sum_of_minutes(&minutes);
        let of = |day: &str| (days[day]["email-send"].jobs, days[day]["email-send"].receipt.write_units);
        assert_eq!((of("2026-11-25"), of("2026-11-26")), ((5, 15), (4, 12)));
    }
}
