//! The deployment that is asked, and what every test of it needs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use client::{Client, Job, JobFilter, JobId, NewJob, NewSchedule, NewSubscription, Problem, Status, Verbatim};
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use shared_aws::settings::environment;
use tests::engines::{and_tidy_up, unique};
use tests::system::system;

/// How long anything may take that does not wait for a time of its own.
pub const SOON: Duration = Duration::from_secs(180);

/// An hour: what is to start then starts after the test.
pub const LATER: Duration = Duration::from_secs(3600);

/// A deployment, as one test uses it.
#[derive(Clone)]
pub struct Deployment {
    pub dray: Client,
    http: reqwest::Client,
    pub token: Option<String>,
    /// Whether it is there for others too, and goes on when the test has ended.
    is_shared: bool,
    /// A word that nothing else has: the tag of this test's jobs, and how the names of its schedules and subscriptions
    /// begin.
    pub mark: String,
    /// Jobs that it has made.
    made: Arc<Mutex<BTreeSet<JobId>>>,
}

/// Runs a test on the deployment, and deletes what it has made, however it went.
pub async fn on_the_deployment<F: Future<Output = ()> + 'static>(test: impl FnOnce(Deployment) -> F) {
    let deployment = Deployment::for_one_test();
    let tidy_up = async {
        // The local stack is thrown away as a whole.
        if deployment.is_shared {
            deployment.clean().await;
        }
    };
    and_tidy_up(test(deployment.clone()), tidy_up).await;
}

/// What `look` finds, once it finds something.
pub async fn soon<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + SOON;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "not after {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// A job that completes.
pub fn table(number: u32) -> NewJob {
    NewJob::of("csv-generation", &json!({ "number": number })).expect("JSON")
}

/// Why a call was refused.
pub fn refusal<T>(outcome: Result<T, client::Error>) -> Problem {
    match outcome {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.problem().cloned().unwrap_or_else(|| panic!("{error}")),
    }
}

impl Deployment {
    pub fn for_one_test() -> Self {
        let given = environment("DRAY_URL");
        let is_shared = given.is_some();
        let token = environment("DRAY_TOKEN").filter(|_| is_shared); // the local stack lets everybody in
        let url = given.unwrap_or_else(|| system().url.clone());
        let dray = Client::new(&url).expect("DRAY_URL is an address");
        let dray = match &token {
            Some(token) => dray.with_token(token).expect("DRAY_TOKEN is a token"),
            None => dray,
        };
        Self { dray, http: reqwest::Client::new(), token, is_shared, mark: unique("test"), made: Arc::default() }
    }

    /// Submits a marked job, which must be accepted.
    pub async fn submit(&self, job: NewJob) -> JobId {
        let submitted = self.dray.submit(&job.tag(&self.mark)).await.expect("accepted");
        self.remember(submitted.job_id)
    }

    pub fn remember(&self, id: JobId) -> JobId {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        id
    }

    /// The job once it has ended.
    pub async fn ended(&self, id: JobId) -> Verbatim<Job> {
        let job = self.dray.wait(id, SOON).await.expect("a job");
        assert!(job.status.is_terminal(), "not ended after {SOON:?}: {}", job.json());
        job
    }

    pub async fn completed(&self, id: JobId) -> Verbatim<Job> {
        let job = self.ended(id).await;
        assert_eq!(job.status, Status::Completed, "{}", job.json());
        job
    }

    /// Those of this test's jobs that are listed under this filter, newest first, read page by page.
    pub async fn listed(&self, filter: JobFilter, page: u32) -> Vec<JobId> {
        let mut jobs = self.dray.jobs(filter.tag(&self.mark)).in_pages_of(page);
        let mut listed = vec![];
        while let Some(job) = jobs.next().await.expect("a list") {
            listed.push(job.job_id);
        }
        listed
    }

    /// A request that is made once, and answered whatever it is.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.request_of_nobody(method, path);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub fn request_of_nobody(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.dray.url().as_str().trim_end_matches('/')))
    }

    /// Deletes the schedules, subscriptions and jobs that bear the mark, with the jobs' files.
    pub async fn clean(&self) {
        for schedule in self.dray.schedules().await.unwrap_or_default() {
            if self.is_marked(&schedule.name) {
                let _ = self.dray.delete_schedule(&schedule.name).await;
            }
        }
        for subscription in self.dray.subscriptions().await.unwrap_or_default() {
            if self.is_marked(&subscription.name) {
                let _ = self.dray.delete_subscription(&subscription.name).await;
            }
        }
        for id in self.listed(JobFilter::all(), 100).await {
            self.remember(id);
        }
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        let mut cleanups = vec![];
        for id in made {
            cleanups.extend(self.delete(id).await);
        }
        for id in cleanups {
            self.delete(id).await;
        }
    }

    fn is_marked(&self, name: &str) -> bool {
        name.strip_prefix(&self.mark).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    /// Deletes a job, which is cancelled unless it has ended. Gives the job that deletes its files.
    async fn delete(&self, id: JobId) -> Option<JobId> {
        let job = self.dray.job(id).await.ok()?;
        let is_cleanup = job.job_type == "file-cleanup";
        if !job.status.is_terminal() {
            if !is_cleanup {
                let _ = self.dray.cancel(id).await;
            }
            let _ = self.dray.wait(id, SOON).await;
        }
        self.dray.delete(id).await.unwrap_or_else(|error| {
            eprintln!("left behind: job {id}: {error}");
            None
        })
    }
}

#[tokio::test]
async fn what_a_test_has_made_here_is_gone_when_it_has_ended() {
    on_the_deployment(|deployment| async move {
        let (dray, mark) = (&deployment.dray, &deployment.mark);
        let schedule = NewSchedule::of("0 9 1 1 *", table(1).tag(mark));
        dray.put_schedule(mark, &schedule).await.expect("is made");
        let job = NewJob::of("csv-generation", &json!({ "order": "{{data.order}}" })).expect("JSON");
        dray.put_subscription(mark, &NewSubscription::of(mark, job)).await.expect("is made");
        let waiting = deployment.submit(table(1).delay(LATER)).await;
        let done = deployment.submit(table(2)).await;
        deployment.completed(done).await;
        let is_listed =
            async || dray.subscriptions().await.expect("a list").iter().any(|one| &one.name == mark).then_some(());
        soon("the subscription in the list", is_listed).await;
        let is_listed =
            async || dray.schedules().await.expect("a list").iter().any(|one| &one.name == mark).then_some(());
        soon("the schedule in the list", is_listed).await;

        deployment.clean().await;
        for id in [waiting, done] {
            assert!(refusal(dray.job(id).await).status == 404);
        }
        assert!(refusal(dray.schedule(mark).await).status == 404);
        assert!(refusal(dray.subscription(mark).await).status == 404);
    })
    .await;
}
