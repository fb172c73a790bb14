//! An SNS topic on a local AWS, and queues that subscribe to it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aws_sdk_sns::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::QueueAttributeName;

use crate::system::sqs_client;

/// A topic.
pub struct Topic {
    sns: aws_sdk_sns::Client,
    sqs: aws_sdk_sqs::Client,
    /// Its ARN.
    pub arn: String,
}

impl Topic {
    /// A new topic in the AWS at this address.
    pub async fn create(aws_url: &str) -> Self {
        let created = sns_client(aws_url).create_topic().name("events").send().await.expect("created");
        Self::of(aws_url, created.topic_arn.expect("an ARN"))
    }

    /// The topic of this ARN in the AWS at this address.
    pub fn of(aws_url: &str, arn: String) -> Self {
        Self { sns: sns_client(aws_url), sqs: sqs_client(aws_url), arn }
    }

    /// Makes a queue that receives what passes this filter. Gives its URL.
    pub async fn queue(&self, name: &str, filter: &str) -> String {
        let url = self.sqs.create_queue().queue_name(name).send().await.expect("created").queue_url.expect("a URL");
        let asked = self.sqs.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::QueueArn);
        let attributes = asked.send().await.expect("answers").attributes.expect("attributes");
        let subscribe = self.sns.subscribe().topic_arn(&self.arn).protocol("sqs");
        let subscribe = subscribe.endpoint(&attributes[&QueueAttributeName::QueueArn]);
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
}

fn sns_client(aws_url: &str) -> aws_sdk_sns::Client {
    let config = aws_sdk_sns::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(aws_url)
        .credentials_provider(Credentials::new("test", "test", None, None, "test"));
    aws_sdk_sns::Client::from_conf(config.build())
}
