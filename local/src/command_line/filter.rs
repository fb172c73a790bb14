//! Which jobs a command means.

use clap::Args;
use client::{JobFilter, Status};
use jiff::Timestamp;

use super::times::Moment;

const STATUSES: [&str; 5] = ["pending", "processing", "completed", "failed", "cancelled"];

/// Which jobs are meant: those for which all is true that is said
#[derive(Clone, Debug, Args)]
pub struct Filter {
    /// Only with this status; with one of several, if they have commas between them or are given one by one
    #[arg(long = "status", value_name = "STATUS", value_parser = STATUSES, value_delimiter = ',')]
    pub statuses: Vec<String>,
    /// Only of this type
    #[arg(long = "type", value_name = "TYPE")]
    job_type: Option<String>,
    /// Only with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only accepted after this time: in RFC 3339, or how long ago it was, as in 15m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    created_after: Option<Moment>,
    /// Only accepted before this time
    #[arg(long, value_name = "TIME")]
    created_before: Option<Moment>,
}

impl Filter {
    /// What the API is asked for, whatever the status.
    pub fn of_any_status(self) -> anyhow::Result<JobFilter> {
        let now = Timestamp::now();
        let time = |moment: Option<Moment>| moment.map(|moment| moment.seen_from(now)).transpose();
        let filter = self.job_type.into_iter().fold(JobFilter::all(), JobFilter::job_type);
        let filter = self.tag.into_iter().fold(filter, JobFilter::tag);
        let filter = time(self.created_after)?.into_iter().fold(filter, JobFilter::created_after);
        Ok(time(self.created_before)?.into_iter().fold(filter, JobFilter::created_before))
    }

    /// What the API is asked for.
    pub fn with_statuses(mut self) -> anyhow::Result<JobFilter> {
        let statuses = std::mem::take(&mut self.statuses);
        Ok(statuses.into_iter().map(Status::from).fold(self.of_any_status()?, JobFilter::status))
    }
}
