//! What others are told of events, on SNS.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sns::Client;
use aws_sdk_sns::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_sns::operation::publish_batch::PublishBatchError;
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use shared::job::changes::{EventId, Notice, Publisher};
use shared::values::chain::Chain;

/// As many messages as one `PublishBatch` takes.
/// <https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html>
const BATCH: usize = 10;

/// A [`Publisher`] on one SNS topic.
///
/// A topic whose name ends with `.fifo` keeps the notices of each job in their order, and drops those that come again
/// within five minutes.
#[derive(Clone, Debug)]
pub struct SnsPublisher {
    client: Client,
    topic_arn: String,
}

impl SnsPublisher {
    /// The topic of this ARN.
    pub fn new(config: &SdkConfig, topic_arn: String) -> Self {
        Self { client: Client::new(config), topic_arn }
    }
}

#[async_trait]
impl Publisher for SnsPublisher {
    /// Stops at the first batch of which something was not taken: what follows must not overtake it.
    async fn publish_all(&self, notices: &[Notice]) -> Vec<EventId> {
        let mut rest = notices.chunks(BATCH);
        let mut unpublished = vec![];
        for batch in rest.by_ref() {
            unpublished = self.publish_batch(batch).await;
            if !unpublished.is_empty() {
                break;
            }
        }
        unpublished.extend(rest.flatten().map(|notice| notice.id));
        unpublished
    }
}

impl SnsPublisher {
    /// Publishes at most [`BATCH`] in one call. Gives those that SNS did not take and may take later.
    async fn publish_batch(&self, batch: &[Notice]) -> Vec<EventId> {
        let entries = batch.iter().enumerate().map(|(index, notice)| self.entry(index, notice)).collect();
        let publish = self.client.publish_batch().topic_arn(&self.topic_arn).set_publish_batch_request_entries(entries);
        match publish.send().await {
            Ok(answer) => {
                let mut unpublished = vec![];
                for failed in answer.failed() {
                    let Some(notice) = failed.id().parse().ok().and_then(|index: usize| batch.get(index)) else {
                        continue;
                    };
                    if failed.sender_fault() {
                        tracing::error!(event.id = %notice.id, error = failed.code(), "event.refused");
                    } else {
                        unpublished.push(notice.id);
                    }
                }
                unpublished
            }
            Err(error) if stays(&error) => {
                tracing::error!(events = batch.len(), error = %Chain(&error), "events.refused");
                vec![]
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "events.unpublished");
                batch.iter().map(|notice| notice.id).collect()
            }
        }
    }

    /// `None` cannot be: everything that an entry needs is there.
    fn entry(&self, index: usize, notice: &Notice) -> Option<PublishBatchRequestEntry> {
        let mut entry =
            PublishBatchRequestEntry::builder().id(index.to_string()).message(serde_json::to_string(notice).ok()?);
        let attributes = [
            ("event", notice.event),
            ("job_type", notice.job_type.as_str()),
            ("tenant", notice.tenant.as_str()),
            ("status", notice.status.as_str()),
        ];
        for (name, value) in attributes {
            entry = entry.message_attributes(name, attribute(value).ok()?);
        }
        // The end of a name, whatever the lint takes it for: topics of the other kind must not end so.
        if self.topic_arn.strip_suffix(".fifo").is_some() {
            entry = entry.message_group_id(notice.job_id.to_string()).message_deduplication_id(notice.id.to_string());
        }
        entry.build().ok()
    }
}

fn attribute(value: &str) -> Result<MessageAttributeValue, BuildError> {
    MessageAttributeValue::builder().data_type("String").string_value(value).build()
}

/// Whether SNS will never take the call. A topic that is not there has no subscribers who could miss anything; whatever
/// else is wrong may be mended while the stream still has the events.
fn stays(error: &SdkError<PublishBatchError>) -> bool {
    matches!(error.code(), Some("NotFound" | "InvalidParameter"))
}
