//! `report-generation`: how the jobs of a time went, as a page to read and a table to reckon with.

mod csv;
mod html;
mod statistics;

use serde::{Deserialize, Serialize};
use shared::job::{Job, State};
use shared::payloads::report_generation::ReportGeneration;
use shared::ports::files::FileName;
use shared::ports::{Cursor, JobStore, Lane, ListQuery, StoreError};
use shared::values::chain::Chain;
use shared::values::id::{JobId, Tenant};

use self::statistics::{Outcome, Seen, Statistics};
use crate::job_types::Run;
use crate::{Context, JobError};

/// A report that was written.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The address of the page.
    html: String,
    /// The address of the table.
    csv: String,
    /// How many jobs it is about.
    jobs: u64,
}

impl Run for ReportGeneration {
    type Output = Report;

    async fn run(self, context: Context) -> Result<Report, JobError> {
        let records = &context.tools.records;
        let mut reading = context.resumed_from().unwrap_or_else(|| {
            let (from, to) = self.period(context.created_at);
            Reading { next: Some(Cursor::before(to)), statistics: Statistics::of(from, to) }
        });
        while reading.read_a_page(records.store.as_ref(), &context.tenant, context.job_id, JOBS_A_PAGE).await? {
            context.checkpoint(&reading)?;
            let statistics = &reading.statistics;
            context.progress(statistics.percent_read(), &format!("{} jobs read", statistics.jobs())).await;
            if context.cancelled().await {
                return Err(JobError::retry("the report was stopped"));
            }
        }
        let statistics = &reading.statistics;
        let table = csv::table(statistics)
            .map_err(|error| JobError::give_up("the report could not be written as CSV").detail(error))?;
        let page = html::page(statistics, &context.tenant);
        let outputs = &context.outputs;
        let name = |extension| FileName::of_job(context.job_id, extension);
        let csv = outputs.create(name("csv").as_str(), table, "text/csv; charset=utf-8").await?;
        let html = outputs.create(name("html").as_str(), page.into_bytes(), "text/html; charset=utf-8").await?;
        Ok(Report { html, csv, jobs: statistics.jobs() })
    }
}

/// How many jobs are read in one step, with their payloads.
const JOBS_A_PAGE: usize = 20;

/// How far the reading of the jobs has come. They are read from the newest to the oldest.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Reading {
    next: Option<Cursor>,
    statistics: Statistics,
}

impl Reading {
    /// Reads the next jobs of the tenant, `limit` at most, all but the report's own. Whether there are more of the time
    /// that the report is about.
    async fn read_a_page(
        &mut self,
        store: &dyn JobStore,
        tenant: &Tenant,
        own: JobId,
        limit: usize,
    ) -> Result<bool, JobError> {
        let before = self.next.take();
        let query = ListQuery { tenant: tenant.clone(), lane: Lane::All, before, limit };
        let page = store.list(&query).await.map_err(|error| unlisted(&error))?;
        for job in page.jobs.iter().filter(|job| job.id != own) {
            self.statistics.add(&seen(job));
        }
        self.next = page.next;
        let past_the_start = page.jobs.last().is_some_and(|job| job.created_at < self.statistics.from());
        Ok(self.next.is_some() && !past_the_start)
    }
}

fn unlisted(error: &StoreError) -> JobError {
    let message = "the jobs could not be listed";
    let why = if error.retryable() { JobError::retry(message) } else { JobError::give_up(message) };
    why.because(Chain(error))
}

/// What a report says of a job.
fn seen(job: &Job) -> Seen<'_> {
    Seen {
        job_type: job.job_type.as_str(),
        accepted_at: job.created_at,
        outcome: match job.state {
            State::Completed { .. } => Outcome::Completed,
            State::Failed { .. } => Outcome::Failed,
            State::Cancelled { .. } => Outcome::Cancelled,
            State::Pending { .. } | State::Processing { .. } => Outcome::Unfinished,
        },
        attempts: job.attempts,
        took: job.finished_at().zip(job.started_at).map(|(end, start)| end.since(start)),
    }
}

#[cfg(test)]
mod tests {
    use shared::ports::memory::MemoryStore;
    use shared::values::time::Timestamp;

    use super::*;

    const HOUR: i64 = 60 * 60 * 1000;
    const START: i64 = 1_800_000_000_000;

    #[test]
    fn the_first_and_the_last_of_a_time_are_in_it_and_its_end_is_not() {
        let mut statistics = Statistics::of(Timestamp::from_millis(START), Timestamp::from_millis(START + HOUR));
        for (millis, counts) in [(START - 1, 0), (START, 1), (START + HOUR - 1, 2), (START + HOUR, 2)] {
            statistics.add(&Seen {
                job_type: "csv-generation",
                accepted_at: Timestamp::from_millis(millis),
                outcome: Outcome::Completed,
                attempts: 1,
                took: None,
            });
            assert_eq!(statistics.jobs(), counts, "{millis}");
        }
    }

    #[tokio::test]
    async fn no_jobs_make_a_report_too() {
        let (from, to) = (Timestamp::from_millis(START), Timestamp::from_millis(START + HOUR));
        let mut reading = Reading { next: Some(Cursor::before(to)), statistics: Statistics::of(from, to) };
        let own = JobId::at(from, [0; 10]);
        let store = MemoryStore::default();
        let more = reading.read_a_page(&store, &Tenant::only(), own, 10).await.expect("memory answers");
        assert!(!more && reading.statistics.jobs() == 0);
        assert!(html::page(&reading.statistics, &Tenant::only()).contains("No jobs were accepted"));
    }
}
