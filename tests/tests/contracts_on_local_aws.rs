//! The SQS queue and, once more, the DynamoDB store keep their contracts on the local AWS.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use local::engine::{Engine, Folders, install};
use shared::contract::Consumer;
use shared::id::JobId;
use shared::ports::{JobQueue, Message, Receipt};
use shared::time::Timestamp;
use shared_aws::clients::SdkConfig;
use shared_aws::dynamodb::DynamoStore;
use shared_aws::s3::Bucket;
use shared_aws::ses::{Ses, SesError};
use shared_aws::sqs::{SqsDeadLetters, SqsQueue};
use tests::system::{sqs_client, target_dir};
use tests::table::{Meter, NAME, client_of, definition};

#[tokio::test]
async fn the_ports_on_the_local_aws_keep_their_contracts() {
    let folder = tempfile::tempdir().expect("a folder");
    let packages = install(&target_dir(), &|line| eprintln!("{line}")).await.expect("installed");
    let folders = Folders::below(folder.path()).expect("folders");
    let engine = Engine::start(&packages, &folders, None).await.expect("started");
    tokio::join!(
        queue_contract(engine.url()),
        dead_letter_contract(engine.url()),
        store_contract(engine.url()),
        a_file_in_s3_is_written_once(engine.url()),
        a_bucket_keeps_the_contract_for_files(engine.url()),
        an_email_goes_out_by_ses(engine.url()),
    );
}

/// What the functions' clients are made from.
fn sdk_config(aws_url: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(aws_url)
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
        .build()
}

async fn a_file_in_s3_is_written_once(aws_url: &str) {
    let created = reqwest::Client::new().put(format!("{aws_url}/outputs")).send().await.expect("S3 answers");
    assert!(created.status().is_success(), "{created:?}");
    let bucket = Bucket::new(&sdk_config(aws_url), "outputs".to_owned(), "csv".to_owned());
    for content in ["first", "second"] {
        let address = bucket.create("a.csv", content.into(), "text/csv").await.expect("written, or there already");
        assert_eq!(address, "s3://outputs/csv/a.csv");
    }
    let file = reqwest::get(format!("{aws_url}/outputs/csv/a.csv")).await.expect("S3 answers");
    assert_eq!(file.headers()["content-type"], "text/csv");
    assert_eq!(file.text().await.expect("text"), "first");
}

async fn a_bucket_keeps_the_contract_for_files(aws_url: &str) {
    let created = reqwest::Client::new().put(format!("{aws_url}/files")).send().await.expect("S3 answers");
    assert!(created.status().is_success(), "{created:?}");
    for prefix in ["", "output"] {
        let bucket = Bucket::new(&sdk_config(aws_url), "files".to_owned(), prefix.to_owned());
        worker::output_contract::outputs(&bucket).await;
    }
}

async fn an_email_goes_out_by_ses(aws_url: &str) {
    let ses = Ses::new(&sdk_config(aws_url));
    let message = b"From: dray@example.com\r\nTo: ada@example.com\r\nSubject: Hi\r\n\r\nDear Ada\r\n";
    // The second is in the envelope alone, as a blind copy is.
    let to = || vec!["ada@example.com".to_owned(), "blind@example.com".to_owned()];
    let refused = ses.send("dray@example.com", to(), message.to_vec()).await.expect_err("nobody verified the sender");
    assert!(matches!(refused, SesError::Refused(_)), "{refused:?}");

    let verify = reqwest::Client::new().post(format!("{aws_url}/v2/email/identities"));
    let verify = verify.header("content-type", "application/json").body(r#"{"EmailIdentity":"dray@example.com"}"#);
    assert!(verify.send().await.expect("SES answers").status().is_success());
    let id = ses.send("dray@example.com", to(), message.to_vec()).await.expect("sent");
    assert!(!id.is_empty());
    let sent = reqwest::get(format!("{aws_url}/_ministack/ses/messages")).await.expect("the engine answers");
    let sent = sent.text().await.expect("text");
    assert!(sent.contains(&id) && sent.contains("blind@example.com"), "{sent}");
}

async fn queue_contract(aws_url: &str) {
    let client = sqs_client(aws_url);
    let create = client.create_queue().queue_name("jobs");
    let create = create.attributes(aws_sdk_sqs::types::QueueAttributeName::VisibilityTimeout, "2");
    let url = create.send().await.expect("created").queue_url.expect("an address");
    let queue = SqsQueue::with_client(client.clone(), url.clone());
    shared::contract::job_queue(&queue, &SqsConsumer { client, url }).await;
}

async fn dead_letter_contract(aws_url: &str) {
    let client = sqs_client(aws_url);
    let url = client.create_queue().queue_name("dead").send().await.expect("created").queue_url.expect("an address");
    let now = Timestamp::from_millis(1_800_000_000_000);
    let ids: Vec<JobId> = (0..12).map(|number| JobId::at(now, [number; 10])).collect();
    let messages: Vec<_> = ids.iter().map(|job_id| Message::naming(*job_id, Duration::ZERO)).collect();
    assert_eq!(SqsQueue::with_client(client.clone(), url.clone()).send_all(&messages).await, []);
    shared::contract::dead_letters(&SqsDeadLetters::with_client(client, url), &ids, tokio::time::sleep).await;
}

struct SqsConsumer {
    client: aws_sdk_sqs::Client,
    url: String,
}

#[async_trait]
impl Consumer for SqsConsumer {
    async fn receive_within(&self, time: Duration) -> Option<(JobId, Receipt)> {
        let end = tokio::time::Instant::now() + time;
        loop {
            let received = self.client.receive_message().queue_url(&self.url).send().await.expect("SQS answers");
            if let Some(message) = received.messages().first() {
                let job_id = Message::job_named_in(message.body().expect("a body")).expect("a job");
                return Some((job_id, Receipt(message.receipt_handle().expect("a receipt").to_owned())));
            }
            if tokio::time::Instant::now() >= end {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn acknowledge(&self, receipt: &Receipt) {
        let delete = self.client.delete_message().queue_url(&self.url).receipt_handle(&receipt.0);
        delete.send().await.expect("deleted");
    }
}

async fn store_contract(aws_url: &str) {
    let create = reqwest::Client::new().post(aws_url).header("x-amz-target", "DynamoDB_20120810.CreateTable");
    let create = create.header("content-type", "application/x-amz-json-1.0").body(definition().to_string());
    let created = create.send().await.expect("DynamoDB answers");
    assert!(created.status().is_success(), "{created:?}");
    let client = client_of(aws_url, &Meter::default());
    let store = DynamoStore::with_client(client, NAME.to_owned());
    shared::contract::job_store(&store).await;
    shared::contract::switch(&store).await;
    shared::contract::products(&store).await;
    shared::quota::contract::quota_store(&store).await;
    shared::schedules::contract::schedule_store(&store).await;
    shared::subscriptions::contract::subscription_store(&store).await;
}
