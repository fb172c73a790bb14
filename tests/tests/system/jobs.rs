//! Jobs from their submission to their end.

use std::time::Duration;

use shared::job::submission::{Origin, Submission};
use shared::ports::JobStore;
use shared::values::time::Timestamp;
use tests::system::system;

const ENDS: [&str; 3] = ["completed", "failed", "cancelled"];
const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_csv_job_ends_completed_with_its_file_on_disk() {
    let system = system();
    let id = system.submit(r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#).await;
    let job = system.job_once(&id, &ENDS, SOON).await;
    assert_eq!((&job["status"], &job["attempts"]), (&"completed".into(), &1.into()), "{job}");
    assert_eq!(job["result"], format!("output/{id}.csv"));
    assert_eq!(system.file(format!("output/{id}.csv")), "key,value\nname,Alice\nscore,95\n");
}

#[tokio::test]
async fn an_email_job_reaches_a_real_mail_server() {
    let system = system();
    let email =
        r#"{"to":["ada@example.com","bob@example.com"],"subject":"Grüße","body":"Dear both","html":"<p>Dear both"}"#;
    let (status, _, answer) = system.post("/jobs/email", &[], email).await;
    assert_eq!(status, 202, "{answer}");
    let id = answer["job_id"].as_str().expect("an id");
    let job = system.job_once(id, &ENDS, SOON).await;
    let message_id = format!("<{id}@example.com>");
    assert_eq!(
        (&job["status"], &job["result"]["message_id"]),
        (&"completed".into(), &message_id.clone().into()),
        "{job}"
    );
    let taken = system.mail.taken_for("ada@example.com");
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0]["to"], serde_json::json!(["ada@example.com", "bob@example.com"]));
    let message = taken[0]["message"].as_str().expect("text");
    assert!(message.contains(&format!("Message-ID: {message_id}")), "{message}");
}

#[tokio::test]
async fn what_a_mail_server_refuses_for_good_is_not_tried_again() {
    let system = system();
    let (_, _, answer) =
        system.post("/jobs/email", &[], r#"{"to":"refused@example.com","subject":"s","body":"b"}"#).await;
    let job = system.job_once(answer["job_id"].as_str().expect("an id"), &ENDS, SOON).await;
    assert_eq!((&job["status"], &job["attempts"]), (&"failed".into(), &1.into()), "{job}");
    assert!(job["error"].as_str().is_some_and(|error| error.contains("550")), "{job}");
}

#[tokio::test]
async fn if_one_recipient_is_refused_nobody_gets_the_email_and_the_error_says_who_it_was() {
    let system = system();
    let email =
        r#"{"to":["first@example.com","refused@bücher.example"],"bcc":"last@example.com","subject":"s","body":"b"}"#;
    let (_, _, answer) = system.post("/jobs/email", &[], email).await;
    let job = system.job_once(answer["job_id"].as_str().expect("an id"), &ENDS, SOON).await;
    let error = job["error"].as_str().expect("an error");
    assert!(error.contains("550") && error.contains("refused@xn--bcher-kva.example"), "{error}");
    let (_, _, answer) =
        system.post("/jobs/email", &[], r#"{"to":"first@example.com","subject":"later","body":"b"}"#).await;
    system.job_once(answer["job_id"].as_str().expect("an id"), &ENDS, SOON).await;
    assert_eq!(system.mail.taken_for("first@example.com").len(), 1, "only the later one");
}

/// At our own limits: 50 addresses, a subject of 998 letters, and texts that would be commands.
#[tokio::test]
async fn a_real_mail_server_takes_what_the_api_takes() {
    let system = system();
    let to: Vec<_> = (0..50).map(|number| format!("{number:064}@bücher{number}.example")).collect();
    let email = serde_json::json!({
        "to": to[..30], "cc": to[30..49], "bcc": ["bcc@limits.example", "BCC@limits.example"], "subject": "x".repeat(998),
        "reply_to": "ada@bücher.example", "body": "hi\r.\r\nMAIL FROM:<evil@x>\r\n", "html": "x".repeat(2000),
        "headers": { "List-Unsubscribe": "<https://example.com/u>" },
        "attachments": [
            { "name": "Rechnung ü.pdf", "content": "JVBERi0=" },
            // "hi\r.\r\nMAIL FROM:<evil@x>\n.\nx\0"
            { "name": "lines.txt", "content": "aGkNLg0KTUFJTCBGUk9NOjxldmlsQHg+Ci4KeAA=", "content_type": "text/plain" },
        ],
    });
    let (status, _, answer) = system.post("/jobs/email", &[], &email.to_string()).await;
    assert_eq!(status, 202, "{answer}");
    let job = system.job_once(answer["job_id"].as_str().expect("an id"), &ENDS, SOON).await;
    assert_eq!(job["status"], "completed", "{job}");
    let taken = system.mail.taken_for("bcc@limits.example");
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0]["to"].as_array().map(Vec::len), Some(50), "each one once");
    let message = taken[0]["message"].as_str().expect("text");
    assert!(message.contains("Reply-To: ada@xn--bcher-kva.example\r\n"), "{message}");
    assert!(message.contains("\r\n.\r\nMAIL FROM:<evil@x>\r\n"), "the text is all there: {message}");
    assert!(message.contains("\r\naGkNLg0KTUFJTCBGUk9NOjxldmlsQHg+Ci4KeAA=\r\n"), "the file is too: {message}");
    assert!(!message.replace("\r\n", "").contains(['\r', '\n', '\0']), "{message:?}");
    assert!(!message.contains("bcc@limits.example") && message.is_ascii(), "{message}");
}

#[tokio::test]
async fn what_a_mail_server_refuses_for_now_is_tried_three_times_and_becomes_a_dead_letter() {
    let system = system();
    let (_, _, answer) = system.post("/jobs/email", &[], r#"{"to":"busy@example.com","subject":"s","body":"b"}"#).await;
    let id = answer["job_id"].as_str().expect("an id");
    let job = system.job_once(id, &ENDS, SOON).await;
    assert_eq!((&job["status"], &job["attempts"]), (&"failed".into(), &3.into()), "{job}");
    assert!(job["error"].as_str().is_some_and(|error| error.contains("451")), "{job}");
    let events: Vec<_> = job["history"].as_array().expect("a history").iter().map(|event| &event["event"]).collect();
    assert_eq!(events, ["accepted", "started", "retrying", "started", "retrying", "started", "failed"]);
    assert!(system.is_dead_letter(id, SOON).await);
}

#[tokio::test]
async fn the_schedule_brings_a_job_without_a_message_to_its_end() {
    let system = system();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    let long_ago = Timestamp::from_millis(i64::try_from(now).expect("before 292277026596")) - Duration::from_secs(120);
    let submission = Submission::parse(br#"{"type":"csv-generation","payload":{"a":1}}"#, long_ago).expect("fits");
    let origin = Origin { correlation_id: "lost".to_owned(), traceparent: None };
    let id = shared::values::id::JobId::at(long_ago, [5; 10]);
    let job = submission.into_job(id, shared::values::id::Tenant::only(), long_ago, origin);
    system.store().insert_if_absent(&job).await.expect("stored");
    let job = system.job_once(&id.to_string(), &ENDS, Duration::from_secs(150)).await;
    assert_eq!(job["status"], "completed", "{job}");
}
