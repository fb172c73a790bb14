//! The job queue on SQS.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::operation::get_queue_attributes::GetQueueAttributesOutput;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, MessageAttributeValue, MessageSystemAttributeNameForSends,
    MessageSystemAttributeValue, QueueAttributeName, SendMessageBatchRequestEntry,
};
use shared::job::submission::Origin;
use shared::ports::{DeadLetter, DeadLetters, JobQueue, Message, QueueError, Receipt};
use shared::values::chain::Chain;
use shared::values::id::JobId;

/// As many messages as one `SendMessageBatch` takes.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>
const BATCH: usize = 10;

/// The longest a message can be hidden: 12 hours from when it was received, of which some have passed.
const LONGEST_HIDDEN: i32 = 11 * 60 * 60;

/// The message attribute that holds the id of the request that submitted the job.
pub const CORRELATION_ID: &str = "correlation_id";

/// The message attribute that holds the W3C trace context of that request.
pub const TRACEPARENT: &str = "traceparent";

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
        let Attributes { of_ours, of_the_system } = Attributes::of(message);
        let send = send.set_message_attributes(of_ours).set_message_system_attributes(of_the_system);
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
        number_in(&asked.send().await.map_err(not_taken)?, &name)
    }
}

impl SqsQueue {
    /// Sends at most [`BATCH`] messages in one call. Gives the positions of those that the queue did not take.
    async fn send_batch(&self, batch: &[Message]) -> Result<Vec<usize>, QueueError> {
        let entry = |(index, message): (usize, &Message)| {
            let entry = SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(message.body());
            let Attributes { of_ours, of_the_system } = Attributes::of(message);
            let entry = entry.set_message_attributes(of_ours).set_message_system_attributes(of_the_system);
            entry.delay_seconds(whole_seconds(message.delay)).build()
        };
        let entries =
            batch.iter().enumerate().map(entry).collect::<Result<_, _>>().map_err(|e| QueueError(e.into()))?;
        let send = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let answer = send.send().await.map_err(not_taken)?;
        Ok(answer.failed().iter().filter_map(|failed| failed.id().parse().ok()).collect())
    }
}

/// What a message carries beside its body: where its job came from.
struct Attributes {
    of_ours: Option<HashMap<String, MessageAttributeValue>>,
    of_the_system: Option<HashMap<MessageSystemAttributeNameForSends, MessageSystemAttributeValue>>,
}

impl Attributes {
    /// Nothing that SQS would refuse the message for: rather none.
    fn of(message: &Message) -> Self {
        let Some(Origin { correlation_id, traceparent }) = &message.origin else {
            return Self { of_ours: None, of_the_system: None };
        };
        let named = [(CORRELATION_ID, Some(correlation_id)), (TRACEPARENT, traceparent.as_ref())];
        let of_ours = named.into_iter().filter_map(|(name, text)| Some((name.to_owned(), attribute(text?)?)));
        let of_ours = Some(of_ours.collect()).filter(|attributes: &HashMap<_, _>| !attributes.is_empty());
        let header = traceparent.as_deref().and_then(xray_header);
        let of_the_system = header.and_then(|header| {
            let value = MessageSystemAttributeValue::builder().data_type("String").string_value(header).build().ok()?;
            Some(HashMap::from([(MessageSystemAttributeNameForSends::AwsTraceHeader, value)]))
        });
        Self { of_ours, of_the_system }
    }
}

/// `None` for what no attribute can hold: nothing, and characters that SQS refuses.
fn attribute(text: &str) -> Option<MessageAttributeValue> {
    let fits = (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let value = MessageAttributeValue::builder().data_type("String").string_value(text);
    fits.then(|| value.build().ok()).flatten()
}

/// A W3C trace context as X-Ray writes it, by which it links the worker's trace to the submitting one. X-Ray takes trace
/// ids of W3C, whose first digits are not a time. `None` if it is no trace context.
/// <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>
fn xray_header(traceparent: &str) -> Option<String> {
    let mut parts = traceparent.split('-').skip(1);
    let (trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex(trace, 32) || !is_hex(parent, 16) {
        return None;
    }
    let (time, rest) = trace.split_at(8);
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1; // https://www.w3.org/TR/trace-context/#sampled-flag
    Some(format!("Root=1-{time}-{rest};Parent={parent};Sampled={sampled}"))
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

    async fn depth(&self) -> Result<usize, QueueError> {
        let visible = QueueAttributeName::ApproximateNumberOfMessages;
        let hidden = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
        let asked = self.client.get_queue_attributes().queue_url(&self.url);
        let asked = asked.attribute_names(visible.clone()).attribute_names(hidden.clone());
        let answer = asked.send().await.map_err(not_taken)?;
        Ok(number_in(&answer, &visible)? + number_in(&answer, &hidden)?)
    }
}

/// A number that a queue tells of itself.
fn number_in(answer: &GetQueueAttributesOutput, name: &QueueAttributeName) -> Result<usize, QueueError> {
    let number = answer.attributes().and_then(|attributes| attributes.get(name)?.parse().ok());
    number.ok_or_else(|| QueueError(format!("no {name} in the answer").into()))
}

/// Rounded up: a message that comes a moment late is harmless, one that comes early is in vain.
fn whole_seconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}

fn not_taken(error: impl std::error::Error + Send + Sync + 'static) -> QueueError {
    QueueError(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_context_becomes_the_header_of_xray() {
        let context = |flags| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        let header = |sampled| {
            Some(format!("Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled={sampled}"))
        };
        assert_eq!(xray_header(&context("01")), header(1));
        assert_eq!(xray_header(&context("03")), header(1));
        assert_eq!(xray_header(&context("00")), header(0));
        for other in ["", "00", "00-0af7651916cd43dd8448eb211c80319c", "00-x-y-01", &context("zz")] {
            assert_eq!(xray_header(other), None, "{other}");
        }
    }

    #[test]
    fn an_origin_that_sqs_would_refuse_is_left_out_and_the_message_goes() {
        for unfit in ["", "a b", "line\nbreak", "\u{fffe}", &"x".repeat(257)] {
            assert_eq!(attribute(unfit), None, "{unfit:?}");
            let origin = Origin { correlation_id: unfit.to_owned(), traceparent: None };
            let job_id = "01938e5c-7a00-7000-8000-000000000000".parse().expect("an id");
            let message = Message { origin: Some(origin), ..Message::naming(job_id, Duration::ZERO) };
            assert!(Attributes::of(&message).of_ours.is_none(), "{unfit:?}");
        }
        let fits = attribute("schedule/nightly/1800000000000").expect("an attribute");
        assert_eq!(fits.string_value(), Some("schedule/nightly/1800000000000"));
    }
}
