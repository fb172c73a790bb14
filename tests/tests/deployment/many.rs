//! Many jobs: in one request, in lists, and by a filter.

use std::time::Duration;

use client::{BatchItem, Bulk, JobFilter, JobId, Status};
use serde_json::json;

use crate::deployment::{LATER, on_the_deployment, soon, table};

#[tokio::test]
async fn each_job_of_a_batch_is_accepted_or_refused_for_itself_also_if_two_have_one_key() {
    on_the_deployment(|deployment| async move {
        let mark = &deployment.mark;
        let csv = |key: &str| {
            json!({ "type": "csv-generation", "payload": { "a": 1 }, "tags": [mark], "idempotency_key": key })
        };
        let (one, other) = (format!("{mark}/one"), format!("{mark}/other"));
        let jobs = [csv(&one), json!({ "type": "no-such-type", "payload": {} }), csv(&other), csv(&one)];
        let jobs: Vec<_> = jobs.iter().map(|job| serde_json::value::to_raw_value(job).expect("JSON")).collect();
        let outcome = deployment.dray.submit_batch_json(&jobs, None).await.expect("an outcome");
        assert_eq!((outcome.accepted, outcome.rejected), (3, 1), "{}", outcome.json());
        let id = |place: usize| match &outcome.jobs[place] {
            BatchItem::Accepted { job_id, .. } => deployment.remember(*job_id),
            BatchItem::Rejected(problem) => panic!("{problem:?}"),
        };
        assert!(id(0) == id(3) && id(0) != id(2), "{}", outcome.json());
        assert!(matches!(outcome.jobs[3], BatchItem::Accepted { replayed: true, .. }), "{}", outcome.json());
        let BatchItem::Rejected(problem) = &outcome.jobs[1] else { panic!("{}", outcome.json()) };
        assert_eq!((problem.code.as_deref(), problem.field.as_deref()), (Some("invalid_field"), Some("jobs[1].type")));
        for place in [0, 2] {
            deployment.completed(id(place)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn jobs_are_found_by_tag_type_status_and_time_newest_first_and_page_by_page() {
    on_the_deployment(|deployment| async move {
        let mut made = vec![];
        for number in 0..5 {
            let id = deployment.submit(table(number).delay(LATER)).await;
            made.push((deployment.dray.job(id).await.expect("a job").created_at, id));
            // Of two that were accepted in one millisecond, either may be the newer one.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // By the clock of whoever accepted each.
        made.sort();
        made.reverse();
        let (newest, oldest) = (made[0].0, made[4].0);
        let made: Vec<JobId> = made.into_iter().map(|(_, id)| id).collect();
        let all = async || Some(deployment.listed(JobFilter::all(), 100).await).filter(|listed| listed.len() == 5);
        assert_eq!(soon("five jobs in the list of their tag", all).await, made);
        let cases = [
            (JobFilter::all().job_type("csv-generation"), &made[..]),
            (JobFilter::all().job_type("email-send"), &made[..0]),
            (JobFilter::all().status(Status::Pending).status(Status::Failed), &made[..]),
            (JobFilter::all().status(Status::Completed), &made[..0]),
            (JobFilter::all().created_after(oldest), &made[..4]),
            (JobFilter::all().created_before(newest), &made[1..]),
        ];
        for (filter, expected) in cases {
            for page in [2, 100] {
                assert_eq!(deployment.listed(filter.clone(), page).await, expected, "{filter:?} by {page}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn all_jobs_that_fit_a_filter_are_counted_or_acted_on_in_one_call() {
    on_the_deployment(|deployment| async move {
        for number in 0..3 {
            deployment.submit(table(number).delay(LATER)).await;
        }
        let all = async || Some(deployment.listed(JobFilter::all(), 100).await).filter(|listed| listed.len() == 3);
        let listed = soon("three jobs in the list of their tag", all).await;
        let marked = || JobFilter::all().tag(&deployment.mark);
        let counted = match deployment.dray.cancel_all(&Bulk::on(marked()).dry_run()).await {
            Ok(counted) => counted,
            // The token lacks the scope jobs:admin.
            Err(error) if error.problem().is_some_and(|problem| problem.status == 403) => return,
            Err(error) => panic!("{error}"),
        };
        assert_eq!((counted.dry_run, counted.matched, counted.changed), (true, 3, 0), "{}", counted.json());
        let outcome = deployment.dray.cancel_all(&Bulk::on(marked())).await.expect("an outcome");
        assert_eq!((outcome.matched, outcome.changed), (3, 3), "{}", outcome.json());
        for id in listed {
            assert_eq!(deployment.dray.job(id).await.expect("a job").status, Status::Cancelled);
        }
    })
    .await;
}
