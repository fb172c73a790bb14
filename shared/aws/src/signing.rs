//! Signed requests to services of AWS that no function of ours uses: for the doctor, which looks at a deployed stack.
//!
//! It asks eleven services one or two things each. An SDK crate for each would be minutes of compiling for a handful of
//! JSON answers, so it writes the requests itself, and only what must not go wrong is the SDK's own: where credentials
//! come from, and the signature.

use std::time::SystemTime;

use anyhow::Context as _;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use url::Url;

/// Whoever signs: region and credentials, as the AWS CLI finds them.
#[derive(Clone, Debug)]
pub struct Signer {
    region: String,
    endpoint_url: Option<String>,
    credentials: SharedCredentialsProvider,
}

impl Signer {
    /// Reads environment and profile files. What is given goes before what they say. An error says what is missing.
    ///
    /// An engine on this machine, which checks no signatures, is shown no real credentials, and needs none.
    pub async fn load(profile: Option<&str>, region: Option<&str>, endpoint_url: Option<&str>) -> anyhow::Result<Self> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        let is_local = endpoint_url.is_some_and(is_on_this_machine);
        if is_local {
            loader = loader.credentials_provider(Credentials::new("test", "test", None, None, "local"));
        }
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = region.or(is_local.then_some("us-east-1")) {
            loader = loader.region(Region::new(region.to_owned()));
        }
        let config = loader.load().await;
        let region = config.region().context("no region: give --region, or set AWS_REGION")?.to_string();
        let credentials = config.credentials_provider().context("no credentials")?;
        credentials.provide_credentials().await.context("no credentials")?; // before anything is asked
        let endpoint_url = endpoint_url.or(config.endpoint_url()).filter(|url| !url.is_empty()).map(str::to_owned);
        Ok(Self { region, endpoint_url, credentials })
    }

    /// The region: `eu-central-1`, say.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Where all services are, unless they are where AWS has them.
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

fn is_on_this_machine(url: &str) -> bool {
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.is_some_and(|host| ["127.0.0.1", "localhost", "[::1]"].contains(&host.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_on_this_machine_is_shown_no_real_credentials() {
        let url = "http://127.0.0.1:4566/";
        let signer = Signer::load(None, None, Some(url)).await.expect("nothing else is needed");
        assert_eq!((signer.region(), signer.endpoint_url()), ("us-east-1", Some(url)));
        let headers = signer.sign("s3", "GET", url, &[("x-a", "b")], b"").await.expect("signed");
        let value = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let authorization = value("authorization").expect("signed");
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=test/"), "{authorization}");
        assert!(authorization.contains("/us-east-1/s3/aws4_request, SignedHeaders=host;x-a;"), "{authorization}");
        // Of nothing: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(value("x-amz-content-sha256"), Some(of_nothing));
    }

    #[test]
    fn only_this_machine_is_this_machine() {
        for url in ["http://127.0.0.1:4566", "http://localhost", "http://[::1]:1/"] {
            assert!(is_on_this_machine(url), "{url}");
        }
        for url in ["https://localhost.example.com", "https://127.0.0.1.example.com", "https://10.0.0.1", "localhost"] {
            assert!(!is_on_this_machine(url), "{url}");
        }
    }
}
