//! What makes jobs besides a submission: schedules, events, products.

use std::collections::BTreeSet;

use client::{JobId, NewEvent, NewJob, NewProduct, NewSchedule, NewSubscription, Published};
use serde_json::{Value, json};

use crate::deployment::{on_the_deployment, refusal, soon, table};

/// The jobs that an event made.
fn jobs_of(published: &Published) -> BTreeSet<JobId> {
    published.jobs.iter().map(|job| job.job_id).collect()
}

#[tokio::test]
async fn a_schedule_makes_a_job_for_each_of_its_times_and_when_it_is_told_to() {
    on_the_deployment(|deployment| async move {
        let (dray, mark) = (&deployment.dray, &deployment.mark);
        let each_minute = NewSchedule::of("* * * * *", table(1).tag(mark));
        let made = dray.put_schedule(mark, &each_minute).await.expect("is made");
        assert_eq!((made.next_runs.len(), made.paused), (5, false), "{}", made.json());
        // The first of its times is a minute away at most; its job may be there before that.
        let run =
            soon("a run of the schedule", async || dray.schedule(mark).await.expect("is there").last_run.clone()).await;
        dray.pause_schedule(mark).await.expect("is paused");
        deployment.remember(run.job_id);
        let job = deployment.completed(run.job_id).await;
        let late = job.started_at.expect("it started").duration_since(run.at).as_secs();
        assert!(late >= -1, "{late} s, by two clocks: {}", job.json());
        assert!(job.correlation_id.contains(mark.as_str()), "{}", job.json());

        let yearly = format!("{mark}-yearly");
        let once_a_year = NewSchedule::of("0 9 1 1 *", table(2).tag(mark)).time_zone("Europe/Berlin");
        let made = dray.put_schedule(&yearly, &once_a_year).await.expect("is made");
        // Nine o'clock of a winter's day in Berlin.
        assert!(made.next_runs.iter().all(|run| run.to_string().contains("-01-01T08:00:00")), "{}", made.json());
        let by_hand = deployment.remember(dray.run_schedule(&yearly).await.expect("is run").job_id);
        deployment.completed(by_hand).await;
        let paused = dray.pause_schedule(&yearly).await.expect("is paused");
        assert!(paused.paused && paused.next_runs.is_empty(), "{}", paused.json());
        let resumed = dray.resume_schedule(&yearly).await.expect("is resumed");
        assert!(!resumed.paused && resumed.next_runs == made.next_runs, "{}", resumed.json());
        let is_listed =
            async || dray.schedules().await.expect("a list").iter().any(|one| one.name == yearly).then_some(());
        soon("the schedule in the list", is_listed).await;
        let wrong = NewSchedule::of("0 0 31 2 *", table(3));
        let problem = refusal(dray.put_schedule(mark, &wrong).await);
        assert_eq!((problem.status, problem.field.as_deref()), (422, Some("cron")), "{problem:?}");
        for name in [mark, &yearly] {
            dray.delete_schedule(name).await.expect("is deleted");
            assert!(refusal(dray.schedule(name).await).status == 404);
        }
    })
    .await;
}

#[tokio::test]
async fn an_event_becomes_one_job_for_each_subscription_however_often_it_is_sent() {
    on_the_deployment(|deployment| async move {
        let (dray, mark) = (&deployment.dray, &deployment.mark);
        let event_type = format!("{mark}.created");
        let names = ["shipping", "stock"].map(|name| format!("{mark}-{name}"));
        for name in &names {
            let job = NewJob::of("csv-generation", &json!({ "order": "{{data.order}}" })).expect("JSON").tag(mark);
            let put = dray.put_subscription(name, &NewSubscription::of(&event_type, job)).await.expect("is made");
            assert_eq!(&put.name, name);
        }
        let event = NewEvent::of(&event_type, &json!({ "order": 7 })).expect("JSON").id("order-7");
        let to_both = async || Some(dray.publish(&event).await.expect("published")).filter(|told| told.jobs.len() == 2);
        let first = soon("a job for each of two subscriptions", to_both).await;
        assert!(first.failed.is_empty() && first.event_id == "order-7", "{}", first.json());
        let again = dray.publish(&event).await.expect("published");
        assert!(again.jobs.len() == 2 && again.jobs.iter().all(|job| job.replayed), "{}", again.json());
        assert_eq!(jobs_of(&first), jobs_of(&again));
        for id in jobs_of(&first) {
            let job = deployment.completed(deployment.remember(id)).await;
            assert_eq!(job.payload_as::<Value>().expect("JSON"), json!({ "order": 7 }), "{}", job.json());
        }
        let unfit = NewEvent::of(&event_type, &json!({})).expect("JSON").id("order-8");
        let published = dray.publish(&unfit).await.expect("published");
        assert_eq!((published.jobs.len(), published.failed.len()), (0, 2), "{}", published.json());
        assert_eq!(published.failed[0].problem.field.as_deref(), Some("data.order"), "{}", published.json());
        for name in &names {
            dray.delete_subscription(name).await.expect("is deleted");
            assert!(refusal(dray.subscription(name).await).status == 404);
        }
    })
    .await;
}

#[tokio::test]
async fn a_product_is_stored_together_with_the_job_that_processes_it() {
    on_the_deployment(|deployment| async move {
        let (dray, mark) = (&deployment.dray, &deployment.mark);
        let lamp = || NewProduct::named(mark).price(1999).key(mark);
        let created = dray.create_product(&lamp()).await.expect("stored");
        deployment.remember(created.job_id);
        let again = dray.create_product(&lamp()).await.expect("stored");
        assert_eq!((&again.product_id, again.job_id, again.replayed), (&created.product_id, created.job_id, true));
        deployment.completed(created.job_id).await;
        let product = dray.product(&created.product_id).await.expect("a product");
        assert_eq!((&product.name, product.price), (mark, Some(1999)), "{}", product.json());
        assert!(product.processed_at.is_some(), "{}", product.json());
    })
    .await;
}
