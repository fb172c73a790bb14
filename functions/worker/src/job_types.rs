//! The job types, and how one is run.

use std::future::Future;

use serde::Serialize;
use shared::job_type::{JobType, Payload};
use shared::payloads::csv_generation::CsvGeneration;
use shared::payloads::email_send::EmailSend;
use shared::payloads::file_cleanup::FileCleanup;
use shared::payloads::image_thumbnail::ImageThumbnail;
use shared::payloads::product_processing::ProductProcessing;
use shared::payloads::push_notification::PushNotification;
#[cfg(feature = "rehearsal")]
use shared::payloads::rehearsal::Rehearsal;
use shared::payloads::report_generation::ReportGeneration;
use shared::payloads::webhook_delivery::WebhookDelivery;
use shared::values::json::Json;

use crate::{Context, JobError};

/// Runs one attempt of a job of type `job_type`. One arm for each type.
pub async fn run(job_type: JobType, payload: &str, context: Context) -> Result<Json, JobError> {
    match job_type {
        JobType::CsvGeneration => run_as::<CsvGeneration>(payload, context).await,
        JobType::EmailSend => run_as::<EmailSend>(payload, context).await,
        JobType::FileCleanup => run_as::<FileCleanup>(payload, context).await,
        JobType::ImageThumbnail => run_as::<ImageThumbnail>(payload, context).await,
        JobType::ProductProcessing => run_as::<ProductProcessing>(payload, context).await,
        JobType::PushNotification => run_as::<PushNotification>(payload, context).await,
        JobType::ReportGeneration => run_as::<ReportGeneration>(payload, context).await,
        JobType::WebhookDelivery => run_as::<WebhookDelivery>(payload, context).await,
        #[cfg(feature = "rehearsal")]
        JobType::Rehearsal => run_as::<Rehearsal>(payload, context).await,
    }
}

/// What a job type does with its payload.
pub trait Run: Payload {
    /// What a job of this type results in.
    type Output: Serialize;

    /// Does the work of one attempt. May be called again for the same job, even after it succeeded: when this process
    /// dies before the outcome is written down. Name by `context.job_id` what it makes, and that does no harm.
    fn run(self, context: Context) -> impl Future<Output = Result<Self::Output, JobError>> + Send;
}

/// The longest result that is stored with a job, in bytes of JSON. With the payload (256 KB) and the history it stays
/// under DynamoDB's limit of 400 KB for an item.
const LONGEST_RESULT: usize = 64 * 1024;

async fn run_as<T: Run>(payload: &str, context: Context) -> Result<Json, JobError> {
    let payload =
        T::parse(payload).map_err(|error| JobError::give_up("the payload does not fit its type").detail(error))?;
    let output = payload.run(context).await?;
    let result = Json::of(&output).map_err(|error| JobError::give_up("the result has no JSON form").detail(error))?;
    if result.as_str().len() > LONGEST_RESULT {
        return Err(JobError::give_up(format!("the result is longer than {LONGEST_RESULT} bytes")));
    }
    Ok(result)
}
