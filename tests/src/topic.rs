//! An SNS topic on a local AWS, and queues that subscribe to it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::json;
use shared_aws::clients::SdkConfig;

use crate::engines::unique;

/// A topic.
#[derive(Clone)]
pub struct Topic {
    sns: aws_sdk_sns::Client,
    sqs: aws_sdk_sqs::Client,
    /// Its ARN.
    pub arn: String,
}

impl Topic {
    /// A new topic, whose queues are made by way of `sqs`.
    pub async fn create(sns: &SdkConfig, sqs: &SdkConfig) -> Self {
        let client = aws_sdk_sns::Client::new(sns);
        let created = client.create_topic().name(unique("events")).send().await.expect("created");
        Self { sns: client, sqs: aws_sdk_sqs::Client::new(sqs), arn: created.topic_arn.expect("an ARN") }
    }

    /// The topic of this ARN.
    pub fn of(config: &SdkConfig, arn: String) -> Self {
        Self { sns: aws_sdk_sns::Client::new(config), sqs: aws_sdk_sqs::Client::new(config), arn }
    }

    /// Makes a queue that receives what passes this filter. Gives its URL.
    pub async fn queue(&self, name: &str, filter: &str) -> String {
        let create = self.sqs.create_queue().queue_name(unique(name));
        let url = create.send().await.expect("created").queue_url.expect("a URL");
        let asked = self.sqs.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::QueueArn);
        let attributes = asked.send().await.expect("answers").attributes.expect("attributes");
        let queue_arn = &attributes[&QueueAttributeName::QueueArn];
        let let_in = json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": { "Service": "sns.amazonaws.com" }, "Action": "sqs:SendMessage",
            "Resource": queue_arn, "Condition": { "ArnEquals": { "aws:SourceArn": self.arn } },
        }] });
        let let_in =
            self.sqs.set_queue_attributes().queue_url(&url).attributes(QueueAttributeName::Policy, let_in.to_string());
        let_in.send().await.expect("the topic may send to it");
        let subscribe = self.sns.subscribe().topic_arn(&self.arn).protocol("sqs").endpoint(queue_arn);
        let subscribe = subscribe.attributes("FilterPolicy", filter).attributes("RawMessageDelivery", "true");
        subscribe.send().await.expect("subscribed");
        url
    }

    /// What the queue has received, once there are as many as `expected`, and a moment later.
    pub async fn received(&self, url: &str, expected: usize) -> BTreeSet<String> {
        let mut bodies = BTreeSet::new();
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            let last_look = bodies.len() >= expected;
            let receive = self.sqs.receive_message().queue_url(url).max_number_of_messages(10).wait_time_seconds(1);
            let received = receive.send().await.expect("SQS answers");
            bodies.extend(received.messages().iter().filter_map(|message| message.body().map(ToOwned::to_owned)));
            if last_look {
                break;
            }
        }
        bodies
    }

    /// Deletes the topic with its subscriptions, and these queues.
    pub async fn delete(&self, queues: &[&str]) {
        for url in queues {
            let _ = self.sqs.delete_queue().queue_url(*url).send().await;
        }
        let _ = self.sns.delete_topic().topic_arn(&self.arn).send().await;
    }
}
