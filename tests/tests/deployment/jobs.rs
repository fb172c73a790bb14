//! One job, from its submission to its end and beyond.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use client::{Job, JobFilter, JobId, NewJob, Status};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::deployment::{LATER, on_the_deployment, refusal, soon, table};

/// A job that fails for good in its first attempt.
fn no_picture() -> NewJob {
    let payload = json!({ "source": { "base64": "bm8gcGljdHVyZQ==" }, "width": 10, "height": 10 });
    NewJob::of("image-thumbnail", &payload).expect("JSON")
}

/// What happened to a job, in order.
fn story(job: &Job) -> Vec<&str> {
    job.history.iter().map(|event| event.event.as_str()).collect()
}

#[tokio::test]
async fn a_job_that_was_accepted_completes_with_a_result_and_tells_its_story() {
    on_the_deployment(|deployment| async move {
        let payload = r#"{"name":"Alice","score":95}"#;
        let id = deployment.submit(NewJob::of_json("csv-generation", payload).expect("JSON")).await;
        let job = deployment.completed(id).await;
        assert_eq!((job.payload.get(), job.error.as_deref()), (payload, None), "{}", job.json());
        let result: String = job.result_as().expect("text").expect("a result");
        assert!(result.ends_with(&format!("{id}.csv")), "{result}");
        assert!(job.tags.contains(&deployment.mark) && job.duration_ms.is_some(), "{}", job.json());
        assert_eq!((story(&job).first(), story(&job).last()), (Some(&"accepted"), Some(&"completed")));
        assert!(story(&job).contains(&"started") && job.attempts >= 1, "{}", job.json());
        let times = [Some(job.created_at), job.started_at, job.finished_at];
        assert!(times.iter().all(Option::is_some), "{}", job.json());
        let cost: Value = serde_json::from_str(job.json()).expect("JSON");
        assert!(cost["cost"]["dollars"].as_f64().is_some_and(|dollars| dollars > 0.0), "{}", job.json());

        let events = deployment.dray.events(id).await.expect("events");
        assert_eq!(events.iter().map(|event| event.event.as_str()).collect::<Vec<_>>(), story(&job));
        let then = deployment.dray.job_at(id, job.created_at).await.expect("a job");
        assert_eq!((&then.status, then.attempts), (&Status::Pending, 0), "{}", then.json());
        let why = deployment.dray.why(id).await.expect("a reason");
        assert_eq!((&why.status, why.reason.as_str()), (&Status::Completed, "ended"), "{}", why.json());
    })
    .await;
}

#[tokio::test]
async fn a_key_sent_many_times_at_once_makes_one_job_and_belongs_to_its_body() {
    on_the_deployment(|deployment| async move {
        let keyed = |number| table(number).tag(&deployment.mark).key(&deployment.mark);
        let mut submits = JoinSet::new();
        for _ in 0..20 {
            let (dray, job) = (deployment.dray.clone(), keyed(1));
            submits.spawn_local(async move { dray.submit(&job).await.expect("accepted").into_value() });
        }
        let submitted = submits.join_all().await;
        let ids: BTreeSet<JobId> = submitted.iter().map(|one| deployment.remember(one.job_id)).collect();
        let new = submitted.iter().filter(|one| !one.replayed).count();
        // None, if the first answer got lost and its call was made again.
        assert!(ids.len() == 1 && new <= 1, "{new} new: {ids:?}");
        let problem = refusal(deployment.dray.submit(&keyed(2)).await);
        assert_eq!((problem.status, problem.code.as_deref()), (422, Some("idempotency_key_reused")), "{problem:?}");
        let again = deployment.dray.submit(&keyed(1)).await.expect("accepted");
        assert!(again.replayed && ids.contains(&again.job_id), "{}", again.json());
    })
    .await;
}

#[tokio::test]
async fn a_job_starts_when_it_is_to_and_not_before() {
    on_the_deployment(|deployment| async move {
        let id = deployment.submit(table(1).delay(Duration::from_secs(5))).await;
        let job = deployment.completed(id).await;
        let waited = job.started_at.expect("it started").duration_since(job.created_at).as_secs();
        assert!(waited >= 4, "{waited} s, by two clocks: {}", job.json());

        let id = deployment.submit(table(2).delay(LATER)).await;
        let job = deployment.dray.job(id).await.expect("a job");
        let delay = job.run_at.expect("a time").duration_since(job.created_at).as_secs();
        assert!(job.status == Status::Pending && (3599..=3601).contains(&delay), "{delay} s: {}", job.json());
        let why = deployment.dray.why(id).await.expect("a reason");
        let reasons = ["delayed", "paused"]; // another user may have paused it
        assert!(reasons.contains(&why.reason.as_str()), "{}", why.json());

        let began = Instant::now();
        let waiting = deployment.dray.wait(id, Duration::from_secs(2)).await.expect("a job");
        assert_eq!(waiting.status, Status::Pending, "{}", waiting.json());
        assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());

        let moved = deployment.dray.reschedule_after(id, Duration::ZERO).await.expect("is moved");
        assert_eq!(moved.job_id, id);
        let job = deployment.completed(id).await;
        assert!(story(&job).contains(&"rescheduled"), "{}", job.json());
        let problem = refusal(deployment.dray.reschedule_after(id, LATER).await);
        assert_eq!((problem.status, problem.code.as_deref()), (409, Some("wrong_status")), "{problem:?}");
    })
    .await;
}

#[tokio::test]
async fn an_attempt_that_fails_is_followed_by_another_later_and_a_failed_job_can_be_tried_again() {
    on_the_deployment(|deployment| async move {
        // A name that can never have an address (RFC 2606): another attempt might find one.
        let payload = json!({ "url": "https://receiver.invalid/", "data": {} });
        let job = NewJob::of("webhook-delivery", &payload).expect("JSON").max_attempts(2);
        let id = deployment.submit(job).await;
        let job = deployment.ended(id).await;
        assert_eq!(job.status, Status::Failed, "{}", job.json());
        let error = job.error.clone().expect("an error");
        // A deployment without the secret signs no webhooks, and says so at the first attempt.
        let (attempts, retries) = if error.contains("WEBHOOK_SECRET") { (1, 0) } else { (2, 1) };
        assert!(job.attempts == attempts && !error.contains("receiver.invalid"), "{}", job.json());
        assert_eq!(story(&job).iter().filter(|event| **event == "retrying").count(), retries, "{}", job.json());
        for retry in job.history.iter().filter(|event| event.event == "retrying") {
            assert!(retry.error.is_some() && retry.run_at.is_some_and(|then| then > retry.at), "{retry:?}");
        }
        let failed = || JobFilter::all().status(Status::Failed).job_type("webhook-delivery");
        let is_listed = async || deployment.listed(failed(), 100).await.contains(&id).then_some(());
        soon("the failed job in the list of failed jobs", is_listed).await;

        let again = deployment.dray.retry(id, Some(1)).await.expect("is tried again");
        assert_eq!(again.job_id, id);
        let job = deployment.ended(id).await;
        assert!(job.attempts == attempts + 1 && story(&job).contains(&"redriven"), "{}", job.json());
    })
    .await;
}

#[tokio::test]
async fn what_can_never_succeed_is_tried_once() {
    on_the_deployment(|deployment| async move {
        let id = deployment.submit(no_picture().max_attempts(5)).await;
        let job = deployment.ended(id).await;
        assert_eq!((&job.status, job.attempts), (&Status::Failed, 1), "{}", job.json());
        assert!(job.error.as_ref().is_some_and(|error| !error.is_empty()), "{}", job.json());
        let problem = refusal(deployment.dray.cancel(id).await);
        assert_eq!((problem.status, problem.code.as_deref()), (409, Some("wrong_status")), "{problem:?}");
    })
    .await;
}

#[tokio::test]
async fn a_waiting_job_can_be_cancelled_and_tried_again_and_a_completed_one_cannot() {
    on_the_deployment(|deployment| async move {
        let id = deployment.submit(table(1).delay(LATER)).await;
        let cancelled = deployment.dray.cancel(id).await.expect("is cancelled");
        assert_eq!(cancelled.status, Status::Cancelled, "{}", cancelled.json());
        assert_eq!(deployment.ended(id).await.status, Status::Cancelled);
        deployment.dray.retry(id, None).await.expect("is tried again");
        let job = deployment.completed(id).await;
        assert!(story(&job).contains(&"cancelled") && story(&job).contains(&"redriven"), "{}", job.json());
        for problem in [refusal(deployment.dray.retry(id, None).await), refusal(deployment.dray.cancel(id).await)] {
            assert_eq!((problem.status, problem.code.as_deref()), (409, Some("wrong_status")), "{problem:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_copy_of_a_job_does_its_work_once_more_with_another_payload_if_one_is_given() {
    on_the_deployment(|deployment| async move {
        let id = deployment.submit(table(1).delay(LATER)).await;
        let payload = serde_json::value::to_raw_value(&json!({ "number": 2 })).expect("JSON");
        for (payload, number) in [(None, 1), (Some(&*payload), 2)] {
            let copy = deployment.dray.duplicate(id, payload, None).await.expect("a copy");
            deployment.remember(copy.job_id);
            assert_eq!((copy.duplicate_of, copy.job_id == id), (id, false), "{}", copy.json());
            let job = deployment.completed(copy.job_id).await;
            assert_eq!(job.payload_as::<Value>().expect("JSON"), json!({ "number": number }));
            assert_eq!(job.duplicate_of, Some(id), "{}", job.json());
        }
    })
    .await;
}

#[tokio::test]
async fn a_deleted_job_is_gone_with_its_files_and_its_key_is_free() {
    on_the_deployment(|deployment| async move {
        let keyed = || table(1).key(&deployment.mark);
        let waiting = deployment.submit(table(2).delay(LATER)).await;
        let problem = refusal(deployment.dray.delete(waiting).await);
        assert_eq!((problem.status, problem.code.as_deref()), (409, Some("wrong_status")), "{problem:?}");
        let id = deployment.submit(keyed()).await;
        deployment.completed(id).await;
        let cleanup = deployment.dray.delete(id).await.expect("is deleted").expect("it has a file");
        deployment.remember(cleanup);
        assert!(refusal(deployment.dray.job(id).await).status == 404);
        let job = deployment.completed(cleanup).await;
        let result: Value = job.result_as().expect("JSON").expect("a result");
        assert_eq!((job.job_type.as_str(), &result["deleted"]), ("file-cleanup", &json!(1)), "{}", job.json());
        let submitted = deployment.dray.submit(&keyed().tag(&deployment.mark)).await.expect("accepted");
        deployment.remember(submitted.job_id);
        assert!(!submitted.replayed, "{}", submitted.json());
    })
    .await;
}
