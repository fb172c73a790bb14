//! Acting on many jobs at once.

use serde::{Deserialize, Serialize};

use crate::http::client::Client;
use crate::http::error::Error;
use crate::http::verbatim::Verbatim;
use crate::jobs::JobFilter;

/// Which jobs to act on, and how. One call acts on one page of them; [`BulkOutcome::next_cursor`] says where the next
/// begins.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Bulk {
    filter: JobFilter,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_second: Option<u32>,
}

impl Bulk {
    /// To act on these jobs. Something must be said of them, and one status at most.
    pub fn on(filter: JobFilter) -> Self {
        Self { filter, ..Self::default() }
    }

    /// Only to count them: nothing is changed.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// On at most so many in one call, 1 to 100.
    #[must_use]
    pub fn limit(mut self, jobs: u32) -> Self {
        self.limit = Some(jobs);
        self
    }

    /// From here on.
    #[must_use]
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// To retry: letting no more than so many start in a second, 1 to 1,000.
    #[must_use]
    pub fn per_second(mut self, jobs: u32) -> Self {
        self.per_second = Some(jobs);
        self
    }
}

/// What one call did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BulkOutcome {
    /// Whether it only counted.
    pub dry_run: bool,
    /// How many jobs were meant.
    pub matched: u64,
    /// How many of them were changed.
    pub changed: u64,
    /// How many of them were not, because they had moved on by then.
    pub skipped: u64,
    /// Where the next call shall begin; `None` if there is nothing left.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

impl Client {
    /// Cancels many jobs; each as [`Client::cancel`] does.
    pub async fn cancel_all(&self, bulk: &Bulk) -> Result<Verbatim<BulkOutcome>, Error> {
        self.post(&["jobs", "cancel"]).json(bulk)?.read().await
    }

    /// Lets many failed or cancelled jobs be tried again; each as [`Client::retry`] does.
    pub async fn retry_all(&self, bulk: &Bulk) -> Result<Verbatim<BulkOutcome>, Error> {
        self.post(&["jobs", "retry"]).json(bulk)?.read().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_service::{Reply, Service};
    use crate::jobs::job::Status;

    #[tokio::test]
    async fn only_what_was_said_is_sent() {
        let outcome = r#"{"dry_run":true,"matched":7,"changed":0,"skipped":0,"next_cursor":"c"}"#;
        let service = Service::that_answers([Reply::new(200, outcome), Reply::new(200, outcome)]).await;
        let client = service.client();
        let failed = JobFilter::all().status(Status::Failed).job_type("email-send");
        let counted = client.retry_all(&Bulk::on(failed.clone()).dry_run()).await.expect("an outcome");
        assert_eq!((counted.matched, counted.next_cursor.as_deref()), (7, Some("c")));
        let time = "2030-01-31T09:00:00Z".parse().expect("a time");
        let bulk = Bulk::on(failed.created_before(time)).limit(50).cursor("c").per_second(5);
        client.cancel_all(&bulk).await.expect("an outcome");
        let asked: Vec<_> = service.asked().into_iter().map(|asked| (asked.line, asked.body)).collect();
        let filter = r#"{"filter":{"status":"failed","type":"email-send""#;
        assert_eq!(asked[0], ("POST /jobs/retry".to_owned(), format!(r#"{filter}}},"dry_run":true}}"#)));
        let rest = r#","created_before":"2030-01-31T09:00:00Z"},"limit":50,"cursor":"c","per_second":5}"#;
        assert_eq!(asked[1], ("POST /jobs/cancel".to_owned(), format!("{filter}{rest}")));
    }
}
