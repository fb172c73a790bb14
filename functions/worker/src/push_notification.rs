//! `push-notification`: one notification, handed to the deployment's push gateway.

use serde::Serialize;
use shared::payloads::push_notification::{FlatObject, PushNotification};
use shared::values::id::JobId;
use url::Url;

use crate::job_types::Run;
use crate::outbound::{Delivered, Post, deliver};
use crate::{Context, JobError};

/// The service that brings notifications to devices: it takes them as JSON and knows FCM, APNs or whatever it is.
pub struct PushGateway {
    url: Url,
    /// `Bearer …`
    authorization: Option<String>,
}

impl PushGateway {
    /// The gateway at `url`, which lets in whoever knows `token`, if it asks for one.
    pub fn new(url: Url, token: Option<&str>) -> Self {
        Self { url, authorization: token.map(|token| format!("Bearer {token}")) }
    }
}

impl Run for PushNotification {
    type Output = Delivered;

    async fn run(self, context: Context) -> Result<Delivered, JobError> {
        let tools = &context.tools;
        let Some(gateway) = &tools.push_gateway else {
            return Err(JobError::give_up("this deployment has no push gateway: PUSH_GATEWAY_URL is not set"));
        };
        let post = compose(&self, gateway, context.job_id)
            .map_err(|error| JobError::give_up("the notification could not be written as JSON").detail(error))?;
        deliver(&tools.outbound, "the push gateway", post, context.remaining(), tools.records.clock.now()).await
    }
}

/// What the gateway gets, the same to the byte in every attempt.
#[derive(Serialize)]
struct Body<'a> {
    to: &'a str,
    title: &'a str,
    body: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a FlatObject>,
    /// The job's: by it the gateway can tell a repetition.
    id: JobId,
}

fn compose<'a>(
    notification: &PushNotification,
    gateway: &'a PushGateway,
    id: JobId,
) -> Result<Post<'a>, serde_json::Error> {
    let PushNotification { to, title, body, data } = notification;
    let body = serde_json::to_string(&Body { to, title, body, data: data.as_ref(), id })?;
    let mut headers = vec![("idempotency-key", id.to_string())];
    headers.extend(gateway.authorization.clone().map(|value| ("authorization", value)));
    Ok(Post { url: &gateway.url, headers, body })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::outbound::tests::server;
    use crate::outbound::{Outbound, OutboundPolicy};
    use shared::job_type::Payload;
    use shared::values::time::Timestamp;

    const ID: &str = "01938e5c-7a00-7000-8000-000000000000";

    fn notification() -> PushNotification {
        let json = r#"{"to":"device-1","title":"Paid","body":"Thank you","data":{"order":7,"sum":"1.10"}}"#;
        PushNotification::parse(json).expect("fits")
    }

    #[tokio::test]
    async fn the_gateway_gets_the_notification_its_token_and_the_jobs_id() {
        let (address, mut requests) = server("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await;
        let url = Url::parse(&format!("http://{address}/push")).expect("a URL");
        let gateway = PushGateway::new(url, Some("hunter2"));
        let post = compose(&notification(), &gateway, ID.parse().expect("an id")).expect("writes");
        let outbound = Outbound::new(OutboundPolicy::ANY);
        let (time, now) = (Duration::from_secs(10), Timestamp::from_millis(0));
        deliver(&outbound, "the push gateway", post, time, now).await.expect("delivered");
        let request = requests.recv().await.expect("a request");
        let (head, body) = request.split_once("\r\n\r\n").expect("a head");
        let expected = r#"{"to":"device-1","title":"Paid","body":"Thank you","data":{"order":7,"sum":"1.10"},"id":"#;
        assert_eq!(body, format!("{expected}\"{ID}\"}}"));
        let key = format!("idempotency-key: {ID}");
        for line in ["POST /push HTTP/1.1", "authorization: Bearer hunter2", key.as_str()] {
            assert!(head.lines().any(|there| there == line), "{line} in {head}");
        }
    }

    #[test]
    fn without_token_and_data_there_is_neither() {
        let url = Url::parse("https://push.example.com/").expect("a URL");
        let gateway = PushGateway::new(url, None);
        let notification = PushNotification::parse(r#"{"to":"d","title":"t","body":"b"}"#).expect("fits");
        let post = compose(&notification, &gateway, ID.parse().expect("an id")).expect("writes");
        assert_eq!(post.headers, [("idempotency-key", ID.to_owned())]);
        assert_eq!(post.body, format!(r#"{{"to":"d","title":"t","body":"b","id":"{ID}"}}"#));
    }
}
