//! Files in S3.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::clients::patient;

/// One try of one upload: a file of many megabytes takes its time.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);

/// All tries. The longest timeout of a job; a shorter one ends the upload before.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(50);

/// A bucket, or the part of one below a prefix.
#[derive(Clone, Debug)]
pub struct Bucket {
    client: Client,
    name: String,
    prefix: String,
}

impl Bucket {
    /// The bucket `name`; keys start with `prefix` and a slash unless it is empty.
    pub fn new(config: &SdkConfig, name: String, prefix: String) -> Self {
        // A stand-in on one address has no bucket.host names.
        let path_style = config.endpoint_url().is_some();
        let timeouts = patient(ATTEMPT_TIMEOUT, OPERATION_TIMEOUT);
        let config = aws_sdk_s3::config::Builder::from(config).timeout_config(timeouts);
        let config = config.force_path_style(path_style).build();
        Self { client: Client::from_conf(config), name, prefix }
    }

    /// Writes a file unless there is one of this name already. Gives its address, `s3://bucket/key`, in both cases.
    pub async fn create(&self, file_name: &str, content: Vec<u8>, content_type: &str) -> Result<String, anyhow::Error> {
        let key = if self.prefix.is_empty() { file_name.to_owned() } else { format!("{}/{file_name}", self.prefix) };
        let put = self.client.put_object().bucket(&self.name).key(&key).if_none_match("*");
        let written = put.content_type(content_type).body(content.into()).send().await;
        match written {
            Ok(_) => {}
            Err(error) if is_there_already(&error) => {}
            Err(error) => return Err(anyhow::Error::new(error).context("S3 did not take the file")),
        }
        Ok(format!("s3://{}/{key}", self.name))
    }
}

fn is_there_already<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    error.code() == Some("PreconditionFailed") || error.raw_response().is_some_and(|raw| raw.status().as_u16() == 412)
}
