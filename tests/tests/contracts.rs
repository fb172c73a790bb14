//! Every port on AWS keeps its contract: on the local AWS, on DynamoDB Local, and on any endpoint that the environment
//! names (see [`tests::engines`]), where what a contract leaves behind is deleted after it.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use aws_sdk_sqs::types::QueueAttributeName;
use shared::ports::contract::Consumer;
use shared::ports::{JobQueue, Message, Receipt};
use shared::values::id::JobId;
use shared::values::time::Timestamp;
use shared_aws::clients::SdkConfig;
use shared_aws::dynamodb::DynamoStore;
use shared_aws::s3::Bucket;
use shared_aws::ses::{Ses, SesError};
use shared_aws::settings::environment;
use shared_aws::sqs::{SqsDeadLetters, SqsQueue};
use tests::dynamodb_local::DynamoDbLocal;
use tests::engines::{Service, and_tidy_up, config_at, ministack, unique};
use tests::system::target_dir;
use tests::table::{NAME, Table, create};

#[tokio::test]
async fn the_table_keeps_its_contracts_in_this_process() {
    let table = Table::start().await;
    table_contracts(DynamoStore::with_client(table.client(), NAME.to_owned())).await;
}

#[tokio::test]
async fn the_table_keeps_its_contracts_on_the_local_aws_or_another_endpoint() {
    table_contracts_at(&Service::DynamoDb.config().await).await;
}

#[tokio::test]
#[ignore = "downloads 50 MB and takes half a minute; CI runs it: cargo test --test contracts -- --ignored"]
async fn the_table_keeps_its_contracts_on_dynamodb_local() {
    match DynamoDbLocal::start(&target_dir()) {
        Ok(engine) => table_contracts_at(&config_at(engine.url())).await,
        Err(missing) => eprintln!("skipped: DynamoDB Local needs {missing}"),
    }
}

async fn table_contracts_at(config: &SdkConfig) {
    let client = aws_sdk_dynamodb::Client::new(config);
    let name = unique("contract");
    create(&client, &name).await;
    let store = DynamoStore::with_client(client.clone(), name.clone());
    let delete =
        async { assert!(client.delete_table().table_name(&name).send().await.is_ok(), "{name} is left behind") };
    and_tidy_up(table_contracts(store), delete).await;
}

async fn table_contracts(store: DynamoStore) {
    shared::ports::contract::job_store(&store).await;
    shared::ports::contract::switch(&store).await;
    shared::ports::contract::products(&store).await;
    shared::quota::contract::quota_store(&store).await;
    shared::schedule::store::contract::schedule_store(&store).await;
    shared::subscription::store::contract::subscription_store(&store).await;
    shared::counters::contract::counter_store(&store).await;
}

#[tokio::test]
async fn the_queue_keeps_its_contract() {
    let client = aws_sdk_sqs::Client::new(&Service::Sqs.config().await);
    let create = client.create_queue().queue_name(unique("contract"));
    let create = create.attributes(QueueAttributeName::VisibilityTimeout, "2");
    let url = create.send().await.expect("created").queue_url.expect("an address");
    let queue = SqsQueue::with_client(client.clone(), url.clone());
    let consumer = SqsConsumer { client: client.clone(), url: url.clone() };
    let contract = async move { shared::ports::contract::job_queue(&queue, &consumer, tokio::time::sleep).await };
    and_tidy_up(contract, delete_queue(&client, &url)).await;
}

#[tokio::test]
async fn the_dead_letter_queue_keeps_its_contract() {
    let client = aws_sdk_sqs::Client::new(&Service::Sqs.config().await);
    let create = client.create_queue().queue_name(unique("contract-dead"));
    let url = create.send().await.expect("created").queue_url.expect("an address");
    let now = Timestamp::from_millis(1_800_000_000_000);
    let ids: Vec<JobId> = (0..12).map(|number| JobId::at(now, [number; 10])).collect();
    let messages: Vec<_> = ids.iter().map(|job_id| Message::naming(*job_id, Duration::ZERO)).collect();
    let queue = SqsQueue::with_client(client.clone(), url.clone());
    let dead_letters = SqsDeadLetters::with_client(client.clone(), url.clone());
    let contract = async move {
        assert_eq!(queue.send_all(&messages).await, []);
        shared::ports::contract::dead_letters(&dead_letters, &ids, tokio::time::sleep).await;
    };
    and_tidy_up(contract, delete_queue(&client, &url)).await;
}

async fn delete_queue(client: &aws_sdk_sqs::Client, url: &str) {
    assert!(client.delete_queue().queue_url(url).send().await.is_ok(), "{url} is left behind");
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

#[tokio::test]
async fn a_bucket_keeps_the_contract_for_files() {
    let config = Service::S3.config().await;
    let client = s3_client(&config);
    let name = unique("contract");
    create_bucket(&client, &config, &name).await;
    let buckets = ["", "output"].map(|prefix| Bucket::new(&config, name.clone(), prefix.to_owned()));
    let contract = async move {
        for bucket in &buckets {
            worker::output_contract::outputs(bucket).await;
        }
    };
    Box::pin(and_tidy_up(contract, delete_bucket(&client, &name))).await;
}

#[tokio::test]
async fn a_file_in_s3_is_written_once_and_says_what_it_is() {
    let config = Service::S3.config().await;
    let client = s3_client(&config);
    let name = unique("contract");
    create_bucket(&client, &config, &name).await;
    let (reader, place, bucket) = (client.clone(), name.clone(), Bucket::new(&config, name.clone(), "csv".to_owned()));
    let contract = async move {
        for content in ["first", "second"] {
            let address = bucket.create("a.csv", content.into(), "text/csv").await.expect("written, or there already");
            assert_eq!(address, format!("s3://{place}/csv/a.csv"));
        }
        let file = reader.get_object().bucket(&place).key("csv/a.csv").send().await.expect("is there");
        assert_eq!(file.content_type(), Some("text/csv"));
        assert_eq!(file.body.collect().await.expect("whole").to_vec(), b"first");
    };
    Box::pin(and_tidy_up(contract, delete_bucket(&client, &name))).await;
}

/// Each bucket's host has no name of its own at a stand-in.
fn s3_client(config: &SdkConfig) -> aws_sdk_s3::Client {
    aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(config).force_path_style(true).build())
}

async fn create_bucket(client: &aws_sdk_s3::Client, config: &SdkConfig, name: &str) {
    let region = config.region().map(ToString::to_string).filter(|region| region != "us-east-1");
    let place = region.map(|region| {
        let constraint = BucketLocationConstraint::from(region.as_str());
        CreateBucketConfiguration::builder().location_constraint(constraint).build()
    });
    client.create_bucket().bucket(name).set_create_bucket_configuration(place).send().await.expect("created");
}

async fn delete_bucket(client: &aws_sdk_s3::Client, name: &str) {
    let listed = client.list_objects_v2().bucket(name).send().await.expect("listed");
    for key in listed.contents().iter().filter_map(|object| object.key()) {
        client.delete_object().bucket(name).key(key).send().await.expect("deleted");
    }
    assert!(client.delete_bucket().bucket(name).send().await.is_ok(), "{name} is left behind");
}

/// Whom AWS's own mailbox simulator takes e-mail for.
const SIMULATOR: &str = "success@simulator.amazonses.com";

#[tokio::test]
async fn an_email_goes_out_by_ses_from_a_verified_sender_and_no_other() {
    let ses = Ses::new(&Service::Ses.config().await);
    let from =
        |sender: &str| format!("From: {sender}\r\nTo: {SIMULATOR}\r\nSubject: Hi\r\n\r\nDear Ada\r\n").into_bytes();
    let to = || vec![SIMULATOR.to_owned()];
    let nobody = "nobody@example.com";
    let refused = ses.send(nobody, to(), from(nobody)).await.expect_err("nobody verified the sender");
    assert!(matches!(refused, SesError::Refused(_)), "{refused:?}");

    if Service::Ses.given().is_some() {
        let Some(sender) = environment("MAIL_FROM") else {
            eprintln!("skipped: MAIL_FROM names no verified sender at this endpoint");
            return;
        };
        let id = ses.send(&sender, to(), from(&sender)).await.expect("sent");
        assert!(!id.is_empty());
        return;
    }
    let aws_url = ministack();
    let sender = "dray@example.com";
    let verify = reqwest::Client::new().post(format!("{aws_url}/v2/email/identities"));
    let verify = verify.header("content-type", "application/json").body(r#"{"EmailIdentity":"dray@example.com"}"#);
    assert!(verify.send().await.expect("SES answers").status().is_success());
    // The second is in the envelope alone, as a blind copy is.
    let both = vec![SIMULATOR.to_owned(), "blind@example.com".to_owned()];
    let id = ses.send(sender, both, from(sender)).await.expect("sent");
    assert!(!id.is_empty());
    let sent = reqwest::get(format!("{aws_url}/_ministack/ses/messages")).await.expect("the engine answers");
    let sent = sent.text().await.expect("text");
    assert!(sent.contains(&id) && sent.contains("blind@example.com"), "{sent}");
}
