//! What follows from what happens to jobs, through the table's stream: webhooks.

use std::time::Duration;

use serde_json::Value;
use tests::system::system;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SOON: Duration = Duration::from_secs(30);

/// The first request that comes to `listener`, which is answered with 204: its head and its body.
async fn first_request(listener: TcpListener) -> (String, Value) {
    let (mut stream, _) = listener.accept().await.expect("a request");
    let mut received = vec![];
    loop {
        let mut chunk = [0; 4096];
        let length = stream.read(&mut chunk).await.expect("readable");
        received.extend_from_slice(&chunk[..length]);
        let text = String::from_utf8_lossy(&received).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            stream.write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").await.expect("answered");
            return (head.to_ascii_lowercase(), body);
        }
        assert!(length > 0, "cut off: {text}");
    }
}

#[tokio::test]
async fn whoever_a_job_is_to_call_back_is_told_how_it_ended_by_a_signed_webhook() {
    let system = system();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}/hook?key=1", listener.local_addr().expect("an address"));
    let body = format!(r#"{{"type":"csv-generation","payload":{{"a":1}},"callback_url":"{url}"}}"#);
    let id = system.submit(&body).await;
    let told = tokio::time::timeout(SOON, first_request(listener)).await.expect("it is told soon");
    let (head, body) = told;
    assert!(head.starts_with("post /hook?key=1 "), "{head}");
    for header in ["webhook-id: ", "webhook-timestamp: ", "webhook-signature: v1,"] {
        assert!(head.contains(&format!("\r\n{header}")), "{head}");
    }
    assert_eq!((&body["type"], &body["data"]["job_id"]), (&"job.completed".into(), &id.into()), "{body}");
}
