//! The jobs that the events in `events/` are about.

use shared::job::Job;
use shared::job::submission::{Origin, Submission};
use shared::ports::{Deleted, JobStore};
use shared::values::id::{JobId, Tenant};
use shared::values::time::Timestamp;
use shared_aws::dynamodb::DynamoStore;

/// A job that an event names.
#[derive(Clone, Copy, Debug)]
pub struct Fixture {
    /// The event's file in `events/`.
    pub event: &'static str,
    /// The job's id.
    pub id: &'static str,
    /// What it was submitted as.
    pub body: &'static str,
}

const CSV: &str = r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#;

/// Fails for good at its first attempt, also in a build that knows no `rehearsal`.
const NO_PICTURE: &str = r#"{"type":"image-thumbnail","payload":{"source":"no/such.png","width":8,"height":8}}"#;

/// All of them.
pub const FIXTURES: [Fixture; 5] = [
    Fixture { event: "api-get.json", id: "01938e5c-7a00-7000-8000-00000000000a", body: CSV },
    Fixture { event: "api-cancel.json", id: "01938e5c-7a00-7000-8000-00000000000b", body: CSV },
    Fixture { event: "sqs-job.json", id: "01938e5c-7a00-7000-8000-000000000001", body: CSV },
    Fixture { event: "sqs-mixed-batch.json", id: "01938e5c-7a00-7000-8000-000000000002", body: CSV },
    Fixture { event: "sqs-mixed-batch.json", id: "01938e5c-7a00-7000-8000-000000000003", body: NO_PICTURE },
];

impl Fixture {
    /// The jobs that the event of this file names, in its own order.
    pub fn of(event: &str) -> Vec<Self> {
        FIXTURES.into_iter().filter(|fixture| fixture.event == event).collect()
    }

    /// Stores the job as accepted at `now`, without a message: nobody runs it until the sweeper finds it overdue. One of
    /// an earlier time that has ended makes room; one that has not stays as it is.
    pub async fn store(&self, store: &DynamoStore, now: Timestamp) -> JobId {
        let submission = Submission::parse(self.body.as_bytes(), now).expect("fits");
        let origin = Origin { correlation_id: "fixture".to_owned(), traceparent: None };
        let job: Job = submission.into_job(self.id.parse().expect("an id"), Tenant::only(), now, origin);
        let earlier = store.delete_if_ended(job.id).await.expect("the table answers");
        if !matches!(earlier, Deleted::NotEnded(_)) {
            store.insert_if_absent(&job).await.expect("the table answers");
        }
        job.id
    }
}
