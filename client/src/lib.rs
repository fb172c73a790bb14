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

#[cfg(test)]
mod fake_service;
mod http;
mod jobs;
mod products;
mod schedules;
mod service;
mod subscriptions;

pub use crate::http::client::Client;
pub use crate::http::error::{Error, Problem};
pub use crate::http::retries::Patience;
pub use crate::http::verbatim::Verbatim;
pub use crate::jobs::bulk::{Bulk, BulkOutcome};
pub use crate::jobs::job::{Event, Job, JobId, JobSummary, JobThen, NotAnId, Progress, Status, Why};
pub use crate::jobs::new_job::NewJob;
pub use crate::jobs::{BatchItem, BatchOutcome, Changed, Duplicated, JobFilter, Listing, Page, Submitted};
pub use crate::products::{NewProduct, Product, ProductAccepted};
pub use crate::schedules::{NewSchedule, Run, Schedule, ScheduleSummary, Skipped};
pub use crate::service::queue::Queue;
pub use crate::service::stats::{
    Cost, CostOfJobs, Figures, Health, JobCounts, OldestJob, Part, Percentiles, Stats, Step,
};
pub use crate::subscriptions::{
    JobOfEvent, NewEvent, NewSubscription, Published, Subscription, SubscriptionSummary, WithoutJob,
};
