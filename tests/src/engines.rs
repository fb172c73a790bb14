//! On which AWS a contract is kept: the local one, or any endpoint that the environment names.
//!
//! `AWS_ENDPOINT_URL` names one for all services, `AWS_ENDPOINT_URL_SQS` and the like one for a single service, as for
//! AWS's own tools: moto, `LocalStack`, or AWS itself (`https://sqs.eu-central-1.amazonaws.com`).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use local::engine::{Engine, Folders, install};
use shared_aws::clients::{SdkConfig, sdk_config};
use shared_aws::settings::{Endpoints, environment};
use tokio::task::LocalSet;

use crate::system::target_dir;

/// A service of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Tables.
    DynamoDb,
    /// Queues.
    Sqs,
    /// Topics.
    Sns,
    /// Files.
    S3,
    /// E-mail.
    Ses,
}

impl Service {
    /// The endpoint that the environment names for it.
    pub fn given(self) -> Option<String> {
        let id = match self {
            Self::DynamoDb => "DynamoDB",
            Self::Sqs => "SQS",
            Self::Sns => "SNS",
            Self::S3 => "S3",
            Self::Ses => "SESv2",
        };
        Endpoints::read(&environment).unwrap_or_else(|errors| panic!("{errors}")).of(id).map(str::to_owned)
    }

    /// What its clients are made from: at the endpoint that the environment names, or at the local AWS.
    pub async fn config(self) -> SdkConfig {
        match self.given() {
            // As the functions' own: with the region and the credentials of the environment.
            Some(url) if url.starts_with("https://") => {
                let config = sdk_config("tests", &Endpoints::default()).await;
                config.into_builder().endpoint_url(url).build()
            }
            // A stand-in. What AWS would believe is not sent to it.
            Some(url) => config_at(&url),
            None => config_at(ministack()),
        }
    }
}

/// What clients of a stand-in for AWS are made from.
pub fn config_at(url: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(url)
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
        .build()
}

/// The address of a local AWS with nothing in it, one for all tests of a test binary. The first to ask waits until it is
/// up. It runs on a thread of its own, and ends with this process.
pub fn ministack() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let folder = target_dir().join("tmp").join("ministack");
                let _ = std::fs::remove_dir_all(&folder); // what an earlier run has left
                let packages = install(&target_dir(), &|line| eprintln!("{line}")).await.expect("installed");
                let folders = Folders::below(&folder).expect("folders");
                let engine = Engine::start(&packages, &folders, None).await.expect("started");
                sender.send(engine.url().to_owned()).expect("somebody waits");
                let _engine = engine; // for as long as this process lives
                std::future::pending::<()>().await;
            });
        });
        receiver.recv().expect("the local AWS starts")
    })
}

/// A name that nothing else has: an endpoint may be in use by others.
pub fn unique(what: &str) -> String {
    static NAMES: AtomicU32 = AtomicU32::new(0);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let (process, number) = (std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed));
    format!("{what}-{since_1970:x}-{process:x}-{number}")
}

/// Runs a test, and then whatever takes away what it has made, however it went.
pub async fn and_tidy_up(test: impl Future<Output = ()> + 'static, tidy_up: impl Future<Output = ()>) {
    let local = LocalSet::new();
    let test = local.spawn_local(test);
    let outcome = local.run_until(test).await;
    tidy_up.await;
    if let Err(failure) = outcome {
        std::panic::resume_unwind(failure.into_panic());
    }
}
