//! What each request and answer is like, and what the service tells of itself.

use client::JobId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::deployment::{Deployment, on_the_deployment, soon, table};

#[tokio::test]
async fn a_refusal_has_a_code_for_programs_and_names_the_field() {
    const JSON: &str = "application/json";
    let too_long = format!(r#"{{"type":"csv-generation","payload":{{"a":"{}"}}}}"#, "x".repeat(300_000));
    let nowhere = "/jobs/01938e5c-7a00-7000-8000-000000000000";
    let cases = [
        (Method::POST, "/jobs", JSON, "{", 400, "invalid_json", Some("body")),
        (Method::POST, "/jobs", JSON, r#"{"type":"no-such-type","payload":{}}"#, 422, "invalid_field", Some("type")),
        (
            Method::POST,
            "/jobs",
            JSON,
            r#"{"type":"email-send","payload":{"subject":"s","body":"b"}}"#,
            422,
            "invalid_field",
            Some("payload.to"),
        ),
        (
            Method::POST,
            "/jobs",
            JSON,
            r#"{"type":"csv-generation","payload":{"a":1},"max_attempts":11}"#,
            422,
            "invalid_field",
            Some("max_attempts"),
        ),
        (Method::POST, "/jobs", "text/plain", "{}", 415, "unsupported_media_type", Some("Content-Type")),
        (Method::POST, "/jobs", JSON, too_long.as_str(), 413, "body_too_large", Some("body")),
        (Method::GET, "/jobs?limit=0", JSON, "", 422, "invalid_field", Some("limit")),
        (Method::GET, "/jobs/42", JSON, "", 400, "invalid_request", Some("job_id")),
        (Method::GET, nowhere, JSON, "", 404, "not_found", None),
    ];
    let deployment = Deployment::for_one_test();
    for (method, path, content_type, body, status, code, field) in cases {
        let request = deployment.request(method.clone(), path).header("content-type", content_type);
        let answer = request.body(body.to_owned()).send().await.expect("an answer");
        let shown = format!("{method} {path} {}", &body[..body.len().min(100)]);
        assert_eq!(answer.status().as_u16(), status, "{shown}");
        let headers = answer.headers().clone();
        assert_eq!(headers["content-type"], "application/problem+json", "{shown}");
        assert!(!headers["x-request-id"].is_empty(), "{shown}");
        let problem: Value = answer.json().await.expect("JSON");
        let told = (problem["code"].as_str(), problem["field"].as_str(), problem["status"].as_u64());
        assert_eq!(told, (Some(code), field, Some(status.into())), "{shown}: {problem}");
        assert!(problem["detail"].is_string() && problem["title"].is_string(), "{problem}");
    }
}

#[tokio::test]
async fn a_request_id_is_in_the_answer_and_stays_with_the_job() {
    on_the_deployment(|deployment| async move {
        let job = json!({ "type": "csv-generation", "payload": { "a": 1 }, "tags": [deployment.mark] });
        let request = deployment.request(Method::POST, "/jobs").header("x-request-id", &deployment.mark).json(&job);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 202);
        assert_eq!(answer.headers()["x-request-id"], deployment.mark.as_str());
        let location = answer.headers()["location"].to_str().expect("text").to_owned();
        let accepted: Value = answer.json().await.expect("JSON");
        assert_eq!(location, format!("/jobs/{}", accepted["job_id"].as_str().expect("an id")));
        let id: JobId = accepted["job_id"].as_str().expect("an id").parse().expect("an id");
        let job = deployment.completed(deployment.remember(id)).await;
        assert_eq!(job.correlation_id, deployment.mark);
    })
    .await;
}

#[tokio::test]
async fn a_compressed_request_survives_the_gateway_if_it_does_not_call_itself_text() {
    on_the_deployment(|deployment| async move {
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
        let job = json!({ "type": "csv-generation", "payload": { "a": "ü" }, "tags": [deployment.mark] });
        std::io::Write::write_all(&mut encoder, job.to_string().as_bytes()).expect("memory");
        let body = encoder.finish().expect("memory");
        for (content_type, status) in [("application/vnd.dray+json", 202), ("application/json", 415)] {
            let request = deployment.request(Method::POST, "/jobs").header("content-encoding", "gzip");
            let answer = request.header("content-type", content_type).body(body.clone()).send().await;
            let answer = answer.expect("an answer");
            let (got, said) = (answer.status().as_u16(), answer.text().await.expect("text"));
            assert_eq!(got, status, "{content_type}: {said}");
        }
    })
    .await;
}

#[tokio::test]
async fn health_statistics_and_metrics_tell_of_the_jobs() {
    on_the_deployment(|deployment| async move {
        let dray = &deployment.dray;
        let health = dray.health().await.expect("an answer");
        assert_eq!((health.problem.as_deref(), health.status.as_str()), (None, "ok"), "{}", health.json());
        for part in [health.table, health.queue, health.dead_letter_queue] {
            assert!(part.reachable, "{}", health.json());
        }
        dray.queue().await.expect("tells whether it is paused");
        let id = deployment.submit(table(1)).await;
        let finished_at = deployment.completed(id).await.finished_at.expect("a time");
        // They are made of the stream, which comes later.
        let counted = async || {
            let stats = dray.stats("1h").await.expect("figures");
            let step = stats.steps.iter().rev().find(|step| step.begins_at <= finished_at);
            let csv = step.and_then(|step| step.by_type.get("csv-generation"));
            csv.is_some_and(|figures| figures.completed > 0).then_some(stats)
        };
        let stats = soon("a completed job in the statistics", counted).await;
        assert_eq!(stats.steps.len(), 60, "{}", stats.window);
        let metrics = deployment.request(Method::GET, "/metrics").send().await.expect("an answer");
        match metrics.status().as_u16() {
            200 => {
                let page = metrics.text().await.expect("text");
                assert!(page.contains("# TYPE dray_jobs_accepted_total counter"), "{page}");
            }
            403 => assert!(deployment.token.is_some(), "the token lacks the scope jobs:admin"),
            other => panic!("/metrics is answered with {other}"),
        }
    })
    .await;
}

#[tokio::test]
async fn the_api_describes_itself_to_everybody() {
    let deployment = Deployment::for_one_test();
    let open = async |path: &str| {
        let answer = deployment.request_of_nobody(Method::GET, path).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        answer
    };
    let description: Value = open("/openapi.json").await.json().await.expect("JSON");
    assert!(description["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{description}");
    for path in ["/jobs", "/jobs/{id}", "/schedules/{name}", "/events", "/stats"] {
        assert!(description["paths"][path].is_object(), "{path}");
    }
    let page = open("/docs").await;
    assert!(page.headers()["content-type"].to_str().is_ok_and(|kind| kind.starts_with("text/html")));
    for path in ["/health", "/api/health"] {
        let health: Value = open(path).await.json().await.expect("JSON");
        assert_eq!(health["status"], "ok", "{path}: {health}");
    }
}

#[tokio::test]
async fn without_a_token_that_holds_nobody_gets_in_where_there_are_tokens() {
    let deployment = Deployment::for_one_test();
    let id = "01938e5c-7a00-7000-8000-000000000000";
    let closed = [
        (Method::GET, "/jobs".to_owned()),
        (Method::POST, "/jobs".to_owned()),
        (Method::GET, format!("/jobs/{id}")),
        (Method::DELETE, format!("/jobs/{id}")),
        (Method::POST, "/queue/pause".to_owned()),
        (Method::GET, "/stats".to_owned()),
        (Method::GET, "/metrics".to_owned()),
        (Method::POST, "/events".to_owned()),
    ];
    if deployment.token.is_none() {
        let answer = deployment.request_of_nobody(Method::GET, "/jobs").send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "without DRAY_TOKEN, only an open deployment can be asked");
        eprintln!("skipped: DRAY_TOKEN is not set, and the deployment lets everybody in");
        return;
    }
    for (method, path) in closed {
        for token in [None, Some("of-nobody")] {
            let request = deployment.request_of_nobody(method.clone(), &path);
            let request = match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), 401, "{method} {path} with {token:?}");
        }
    }
}
