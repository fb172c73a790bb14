//! The webhook by which the owner of a job hears that it has ended.

use serde::Serialize;
use shared::job::Job;
use shared::job::changes::{Notice, Recorded};
use shared::job::submission::{Origin, Submission};
use shared::job_type::{JobType, Payload};
use shared::payloads::webhook_delivery::WebhookDelivery;
use shared::values::id::JobId;
use shared::values::json::Json;
use shared::values::time::Timestamp;

/// What a delivery needs to know, as [`WebhookDelivery`] reads it.
#[derive(Serialize)]
struct Delivery<'a> {
    url: &'a str,
    event_type: &'a str,
    data: &'a Notice,
}

/// The job that delivers the news of this event to whoever is to be called back, the same each time: its id follows from
/// the event. `None` if nobody is. Nobody is called back for a delivery itself, or one would follow another for ever.
pub fn job_of(event: &Recorded, now: Timestamp) -> Option<Job> {
    let url = event.callback_url.as_deref()?;
    if !event.status.is_terminal() || event.job_type.as_str() == WebhookDelivery::NAME {
        return None;
    }
    let notice = event.notice()?;
    let payload = Json::of(&Delivery { url, event_type: notice.event, data: &notice }).ok()?;
    let id = JobId::of_callback(event.id.job_id, event.id.index);
    let origin = Origin { correlation_id: event.correlation_id.clone(), traceparent: None };
    Some(Submission::plain(JobType::WebhookDelivery, payload).into_job(id, event.tenant.clone(), now, origin))
}
