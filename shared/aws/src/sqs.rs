//! The job queue on SQS.

use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, QueueAttributeName, SendMessageBatchRequestEntry};
use shared::chain::Chain;
use shared::id::JobId;
use shared::ports::{DeadLetter, DeadLetters, JobQueue, Message, QueueError, Receipt};

/// As many messages as one `SendMessageBatch` takes.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>
const BATCH: usize = 10;

/// The longest a message can be hidden: 12 hours from when it was received, of which some have passed.
const LONGEST_HIDDEN: i32 = 11 * 60 * 60;

/// A [`JobQueue`] on one standard SQS queue.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    url: String,
}

impl SqsQueue {
    /// The queue at `url`.
    pub fn new(config: &SdkConfig, url: String) -> Self {
        Self::with_client(Client::new(config), url)
    }

    /// The queue at `url`, by way of this client.
    pub fn with_client(client: Client, url: String) -> Self {
        Self { client, url }
    }
}

#[async_trait]
impl JobQueue for SqsQueue {
    async fn send(&self, message: &Message) -> Result<(), QueueError> {
        let send = self.client.send_message().queue_url(&self.url).message_body(message.body());
        send.delay_seconds(whole_seconds(message.delay)).send().await.map_err(not_taken)?;
        Ok(())
    }

    async fn send_all(&self, messages: &[Message]) -> Vec<JobId> {
        let mut unsent = vec![];
        for batch in messages.chunks(BATCH) {
            match self.send_batch(batch).await {
                Ok(failed) => unsent.extend(failed.into_iter().filter_map(|index| Some(batch.get(index)?.job_id))),
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "messages.unsent");
                    unsent.extend(batch.iter().map(|message| message.job_id));
                }
            }
        }
        unsent
    }

    async fn hide(&self, receipt: &Receipt, rest: Duration) -> Result<(), QueueError> {
        let change = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(&receipt.0);
        let seconds = whole_seconds(rest).min(LONGEST_HIDDEN);
        change.visibility_timeout(seconds).send().await.map_err(not_taken)?;
        Ok(())
    }

    async fn waiting(&self) -> Result<usize, QueueError> {
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let asked = self.client.get_queue_attributes().queue_url(&self.url).attribute_names(name.clone());
        let answer = asked.send().await.map_err(not_taken)?;
        let number = answer.attributes().and_then(|attributes| attributes.get(&name)?.parse().ok());
        number.ok_or_else(|| QueueError(format!("no {name} in the answer").into()))
    }
}

impl SqsQueue {
    /// Sends at most [`BATCH`] messages in one call. Gives the positions of those that the queue did not take.
    async fn send_batch(&self, batch: &[Message]) -> Result<Vec<usize>, QueueError> {
        let entry = |(index, message): (usize, &Message)| {
            let entry = SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(message.body());
            entry.delay_seconds(whole_seconds(message.delay)).build()
        };
        let entries =
            batch.iter().enumerate().map(entry).collect::<Result<_, _>>().map_err(|e| QueueError(e.into()))?;
        let send = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let answer = send.send().await.map_err(not_taken)?;
        Ok(answer.failed().iter().filter_map(|failed| failed.id().parse().ok()).collect())
    }
}

/// The [`DeadLetters`] in one SQS queue.
#[derive(Clone, Debug)]
pub struct SqsDeadLetters {
    client: Client,
    url: String,
}

impl SqsDeadLetters {
    /// Those in the queue at `url`.
    pub fn new(config: &SdkConfig, url: String) -> Self {
        Self::with_client(Client::new(config), url)
    }

    /// Those in the queue at `url`, by way of this client.
    pub fn with_client(client: Client, url: String) -> Self {
        Self { client, url }
    }
}

#[async_trait]
impl DeadLetters for SqsDeadLetters {
    async fn receive(&self, rest: Duration) -> Result<Vec<DeadLetter>, QueueError> {
        let receive = self.client.receive_message().queue_url(&self.url).max_number_of_messages(10);
        let received = receive.visibility_timeout(whole_seconds(rest)).send().await.map_err(not_taken)?;
        let dead_letter = |message: &aws_sdk_sqs::types::Message| DeadLetter {
            job_id: message.body().and_then(Message::job_named_in),
            receipt: Receipt(message.receipt_handle().unwrap_or_default().to_owned()),
        };
        Ok(received.messages().iter().map(dead_letter).collect())
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), QueueError> {
        let entry = |(index, receipt): (usize, &Receipt)| {
            DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(&receipt.0).build()
        };
        let entries = receipts.iter().enumerate().map(entry).collect::<Result<_, _>>().map_err(not_taken)?;
        let delete = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries));
        delete.send().await.map_err(not_taken)?;
        Ok(())
    }
}

/// Rounded up: a message that comes a moment late is harmless, one that comes early is in vain.
fn whole_seconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}

fn not_taken(error: impl std::error::Error + Send + Sync + 'static) -> QueueError {
    QueueError(Box::new(error))
}
