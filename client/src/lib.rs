//! A typed client of Dray's HTTP API.
//!
//! ```no_run
//! # async fn example() -> Result<(), client::Error> {
//! use client::{Client, NewJob};
//!
//! let dray = Client::new("http://127.0.0.1:3000")?;
//! let payload = serde_json::json!({ "name": "Alice", "score": 95 });
//! let submitted = dray.submit(&NewJob::of("csv-generation", &payload)?).await?;
//! let job = dray.wait(submitted.job_id, std::time::Duration::from_secs(60)).await?;
//! println!("{}: {:?}", job.status, job.result);
//! # Ok(()) }
//! ```
//!
//! A call that meets a busy or unreachable service is tried again, as [`Patience`] says. What creates something carries
//! an `Idempotency-Key`, the same at every try, so that trying again creates nothing twice.
//!
//! Fields that this version does not know are ignored, so that a newer service can be asked by an older client. They are
//! there all the same, in the answer's own words: see [`Verbatim`].

mod bulk;
mod client;
mod error;
mod figures;
mod job;
mod jobs;
mod new_job;
mod pages;
mod patience;
mod products;
mod queue;
mod schedules;
#[cfg(test)]
mod service;
mod subscriptions;
mod verbatim;

pub use crate::bulk::{Bulk, BulkOutcome};
pub use crate::client::Client;
pub use crate::error::{Error, Problem};
pub use crate::figures::{Cost, CostOfJobs, Figures, Health, JobCounts, OldestJob, Part, Percentiles, Stats, Step};
pub use crate::job::{Event, Job, JobId, JobSummary, JobThen, NotAnId, Progress, Status, Why};
pub use crate::jobs::{BatchItem, BatchOutcome, Changed, Duplicated, JobFilter, Listing, Page, Submitted};
pub use crate::new_job::NewJob;
pub use crate::patience::Patience;
pub use crate::products::{NewProduct, Product, ProductAccepted};
pub use crate::queue::Queue;
pub use crate::schedules::{NewSchedule, Run, Schedule, ScheduleSummary, Skipped};
pub use crate::subscriptions::{
    JobOfEvent, NewEvent, NewSubscription, Published, Subscription, SubscriptionSummary, WithoutJob,
};
pub use crate::verbatim::Verbatim;
