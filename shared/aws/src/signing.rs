//! Signed requests to services of AWS that no function of ours uses: for the doctor, which looks at a deployed stack.
//!
//! It asks eleven services one or two things each. An SDK crate for each would be minutes of compiling for a handful of
//! JSON answers, so it writes the requests itself, and only what must not go wrong is the SDK's own: where credentials
//! come from, and the signature.

use std::time::SystemTime;

use anyhow::Context as _;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;

/// Whoever signs: region and credentials, as the AWS CLI finds them.
#[derive(Clone, Debug)]
pub struct Signer {
    region: String,
    endpoint_url: Option<String>,
    credentials: SharedCredentialsProvider,
}

impl Signer {
    /// Reads environment and profile files. What is given goes before what they say. An error says what is missing.
    pub async fn load(profile: Option<&str>, region: Option<&str>) -> anyhow::Result<Self> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        let config = loader.load().await;
        let region = config.region().context("no region: give --region, or set AWS_REGION")?.to_string();
        let credentials = config.credentials_provider().context("no credentials")?;
        credentials.provide_credentials().await.context("no credentials")?; // before anything is asked
        let endpoint_url = config.endpoint_url().filter(|url| !url.is_empty()).map(str::to_owned);
        Ok(Self { region, endpoint_url, credentials })
    }

    /// The region: `eu-central-1`, say.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Where all services are, if environment or profile say so.
    pub fn endpoint_url(&self) -> Option<&str> {
        self.endpoint_url.as_deref()
    }

    /// The headers that sign this request to a service. `headers` are those that it has already.
    pub async fn sign(
        &self,
        service: &str,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Vec<(String, String)>> {
        let identity = self.credentials.provide_credentials().await.context("no credentials")?.into();
        let mut settings = SigningSettings::default();
        if service == "s3" {
            // https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        }
        let params = v4::SigningParams::builder().identity(&identity).region(&self.region).name(service);
        let params = params.time(SystemTime::now()).settings(settings).build().context("failed to sign")?.into();
        let request = SignableRequest::new(method, url, headers.iter().copied(), SignableBody::Bytes(body))
            .context("failed to sign")?;
        let (instructions, _) = sign(request, &params).context("failed to sign")?.into_parts();
        Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}
