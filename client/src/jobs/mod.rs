//! Submitting jobs, looking at them, and acting on one.

pub mod bulk;
pub mod job;
pub mod new_job;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::http::client::{Answer, Call, Client};
use crate::http::error::{Error, Problem};
use crate::http::verbatim::Verbatim;
use crate::jobs::job::{Event, Job, JobId, JobSummary, JobThen, Status, Why};
use crate::jobs::new_job::{NewJob, whole_seconds};

/// A job that was taken on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Submitted {
    /// Its id.
    pub job_id: JobId,
    /// Where it stood when it was taken on.
    pub status: Status,
    /// Whether an earlier submission with the same key made it. With a call's own key that was an earlier try of the
    /// call, whose answer got lost.
    #[serde(default)]
    pub replayed: bool,
}

impl Submitted {
    /// Reads the answer to a submission. Whether it was a replay stands in its header.
    pub(crate) fn read(answer: &Answer) -> Result<Verbatim<Self>, Error> {
        let submitted: Verbatim<Self> = answer.read()?;
        Ok(submitted.map(|submitted| Self { replayed: submitted.replayed || answer.replayed, ..submitted }))
    }
}

/// A copy of a job that was taken on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Duplicated {
    /// Its id.
    pub job_id: JobId,
    /// Where it stood when it was taken on.
    pub status: Status,
    /// The job that it is a copy of.
    pub duplicate_of: JobId,
}

/// What became of the jobs of a batch, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct BatchOutcome {
    /// How many were taken on.
    pub accepted: u32,
    /// How many were not.
    pub rejected: u32,
    /// Each one.
    pub jobs: Vec<BatchItem>,
}

/// What became of one job of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawItem")]
pub enum BatchItem {
    /// It was taken on.
    Accepted {
        /// Its id.
        job_id: JobId,
        /// Whether an earlier submission with the same key made it.
        replayed: bool,
    },
    /// It was not.
    Rejected(Problem),
}

#[derive(Deserialize)]
struct RawItem {
    status: u16,
    job_id: Option<JobId>,
    #[serde(default)]
    replayed: bool,
    problem: Option<Problem>,
}

impl TryFrom<RawItem> for BatchItem {
    type Error = &'static str;
    fn try_from(item: RawItem) -> Result<Self, &'static str> {
        match (item.job_id, item.problem) {
            (_, Some(problem)) => Ok(Self::Rejected(Problem { status: item.status, ..problem })),
            (Some(job_id), None) => Ok(Self::Accepted { job_id, replayed: item.replayed }),
            (None, None) => Err("an item has neither `job_id` nor `problem`"),
        }
    }
}

/// Which jobs are meant: those for which all is true that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JobFilter {
    #[serde(rename = "status", skip_serializing_if = "Vec::is_empty", serialize_with = "as_names")]
    statuses: Vec<Status>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    job_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_after: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_before: Option<Timestamp>,
}

/// With commas between them, as the API takes several.
fn names(statuses: &[Status]) -> String {
    statuses.iter().map(Status::as_str).collect::<Vec<_>>().join(",")
}

fn as_names<S: Serializer>(statuses: &[Status], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&names(statuses))
}

impl JobFilter {
    /// All jobs.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those with this status. In a list there may be several: those with one of them.
    #[must_use]
    pub fn status(mut self, status: Status) -> Self {
        self.statuses.push(status);
        self
    }

    /// Those of this type.
    #[must_use]
    pub fn job_type(self, name: impl Into<String>) -> Self {
        Self { job_type: Some(name.into()), ..self }
    }

    /// Those with this tag.
    #[must_use]
    pub fn tag(self, tag: impl Into<String>) -> Self {
        Self { tag: Some(tag.into()), ..self }
    }

    /// Those accepted after this time.
    #[must_use]
    pub fn created_after(self, time: Timestamp) -> Self {
        Self { created_after: Some(time), ..self }
    }

    /// Those accepted before this time.
    #[must_use]
    pub fn created_before(self, time: Timestamp) -> Self {
        Self { created_before: Some(time), ..self }
    }
}

/// A part of a list of jobs, newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<Verbatim<JobSummary>>,
    /// Where the next part begins; `None` if this was the last.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// What became of one job after somebody acted on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Changed {
    /// Its id.
    pub job_id: JobId,
    /// Where it stands now.
    pub status: Status,
    /// Whether a running attempt was asked to be the last.
    #[serde(default)]
    pub cancel_requested: bool,
    /// When it may start.
    #[serde(default)]
    pub run_at: Option<Timestamp>,
}

/// The longest that the service is asked to hold an answer back for: well under the 30 s after which the gateway cuts
/// it off.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// How soon a service is asked again that answered sooner than it was asked to.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// The most jobs in one page.
const LONGEST_PAGE: u32 = 100;

impl Client {
    /// Submits a job. Once this returns, it is durable.
    pub async fn submit(&self, job: &NewJob) -> Result<Verbatim<Submitted>, Error> {
        let call = self.post(&["jobs"]).key(job.given_key())?.json(&job.body(None))?;
        Submitted::read(&call.answer().await?)
    }

    /// Submits 1 to 100 jobs. Each is taken on or refused for itself. Those without a key get one for this call.
    pub async fn submit_batch(&self, jobs: &[NewJob]) -> Result<Verbatim<BatchOutcome>, Error> {
        let jobs: Vec<_> = jobs.iter().map(|job| job.body(job.given_key())).collect();
        self.post_batch(&jobs, None).await
    }

    /// The same with jobs as JSON text, each with an `idempotency_key` of its own if it shall have one. The others have
    /// the key `<key>/<n>`, n from 0; without `key`, one for this call.
    pub async fn submit_batch_json(
        &self,
        jobs: &[Box<RawValue>],
        key: Option<&str>,
    ) -> Result<Verbatim<BatchOutcome>, Error> {
        self.post_batch(jobs, key).await
    }

    async fn post_batch<T: Serialize>(&self, jobs: &[T], key: Option<&str>) -> Result<Verbatim<BatchOutcome>, Error> {
        #[derive(Serialize)]
        struct Batch<'a, T> {
            jobs: &'a [T],
        }
        self.post(&["jobs", "batch"]).key(key)?.json(&Batch { jobs })?.read().await
    }

    /// Everything about a job.
    pub async fn job(&self, id: JobId) -> Result<Verbatim<Job>, Error> {
        self.get(&["jobs", &id.to_string()]).read().await
    }

    /// The job once it is terminal, or as it is when `time` is over. The service is not asked again and again, but
    /// holds its answers back.
    pub async fn wait(&self, id: JobId, time: Duration) -> Result<Verbatim<Job>, Error> {
        let end = Instant::now().checked_add(time); // none: for ever
        loop {
            let asked_at = Instant::now();
            let left = end.map_or(LONGEST_WAIT, |end| end.saturating_duration_since(asked_at));
            let seconds = whole_seconds(left.min(LONGEST_WAIT));
            let seconds = (seconds > 0).then(|| seconds.to_string());
            let call = self.get(&["jobs", &id.to_string()]).query("wait", seconds.as_deref());
            let job: Verbatim<Job> = call.read().await?;
            if job.status.is_terminal() {
                return Ok(job);
            }
            tokio::time::sleep(SHORTEST_WAIT.min(left).saturating_sub(asked_at.elapsed())).await;
            if end.is_some_and(|end| end <= Instant::now()) {
                return Ok(job);
            }
        }
    }

    /// One page of at most `limit` jobs (1 to 100), newest first: the first one, or the one that begins at `cursor`.
    pub async fn list(&self, filter: &JobFilter, limit: u32, cursor: Option<&str>) -> Result<Verbatim<Page>, Error> {
        filter.narrow(self.get(&["jobs"])).query("limit", Some(&limit.to_string())).query("cursor", cursor).read().await
    }

    /// All jobs that are meant, newest first, one after the other; see [`Listing::next`].
    pub fn jobs(&self, filter: JobFilter) -> Listing<'_> {
        Listing { client: self, filter, limit: LONGEST_PAGE, ready: vec![].into_iter(), rest: Rest::From(None) }
    }

    /// What happened to a job, oldest first.
    pub async fn events(&self, id: JobId) -> Result<Vec<Verbatim<Event>>, Error> {
        #[derive(Deserialize)]
        struct Events {
            events: Vec<Verbatim<Event>>,
        }
        let events: Events = self.get(&["jobs", &id.to_string(), "events"]).answer().await?.read()?;
        Ok(events.events)
    }

    /// The job as it was at `time`.
    pub async fn job_at(&self, id: JobId, time: Timestamp) -> Result<Verbatim<JobThen>, Error> {
        self.get(&["jobs", &id.to_string(), "events"]).query("at", Some(&time.to_string())).read().await
    }

    /// Why a job is not running.
    pub async fn why(&self, id: JobId) -> Result<Verbatim<Why>, Error> {
        self.get(&["jobs", &id.to_string(), "why"]).read().await
    }

    /// Cancels a job that waits, or asks the running attempt to be the last one. Refused (409) if it has completed or
    /// failed.
    pub async fn cancel(&self, id: JobId) -> Result<Verbatim<Changed>, Error> {
        self.post(&["jobs", &id.to_string(), "cancel"]).read().await
    }

    /// Lets a failed or cancelled job be tried again, with so many more attempts, or with as many as the service gives.
    /// One that is on its way again already is left as it is. Refused (409) if it has completed.
    pub async fn retry(&self, id: JobId, more_attempts: Option<u32>) -> Result<Verbatim<Changed>, Error> {
        #[derive(Serialize)]
        struct Retry {
            #[serde(skip_serializing_if = "Option::is_none")]
            max_attempts: Option<u32>,
        }
        self.act(id, "retry", &Retry { max_attempts: more_attempts }).await
    }

    /// Gives a waiting job another time to start.
    pub async fn reschedule(&self, id: JobId, run_at: Timestamp) -> Result<Verbatim<Changed>, Error> {
        #[derive(Serialize)]
        struct Reschedule {
            run_at: Timestamp,
        }
        self.act(id, "reschedule", &Reschedule { run_at }).await
    }

    /// Lets a waiting job start when this time has passed, in whole seconds: what is left over counts as one.
    pub async fn reschedule_after(&self, id: JobId, delay: Duration) -> Result<Verbatim<Changed>, Error> {
        #[derive(Serialize)]
        struct Reschedule {
            delay_seconds: u64,
        }
        self.act(id, "reschedule", &Reschedule { delay_seconds: whole_seconds(delay) }).await
    }

    /// Submits the work of a job once more, with its own payload or another one, under this key or one for this call.
    pub async fn duplicate(
        &self,
        id: JobId,
        payload: Option<&RawValue>,
        key: Option<&str>,
    ) -> Result<Verbatim<Duplicated>, Error> {
        #[derive(Serialize)]
        struct Changes<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            payload: Option<&'a RawValue>,
        }
        self.post(&["jobs", &id.to_string(), "duplicate"]).key(key)?.json(&Changes { payload })?.read().await
    }

    /// Deletes a job that has ended. Gives the job that deletes its files, unless it cannot have made any. Refused (409)
    /// if it has not ended, and (404) if it is not there: which may be through this very call, if the answer to an
    /// earlier try got lost.
    pub async fn delete(&self, id: JobId) -> Result<Option<JobId>, Error> {
        let answer = self.call(Method::DELETE, &["jobs", &id.to_string()]).answer().await?;
        Ok(answer.location.and_then(|location| location.rsplit('/').next()?.parse().ok()))
    }

    async fn act(&self, id: JobId, verb: &str, body: &impl Serialize) -> Result<Verbatim<Changed>, Error> {
        self.post(&["jobs", &id.to_string(), verb]).json(body)?.read().await
    }
}

impl JobFilter {
    fn narrow<'a>(&self, call: Call<'a>) -> Call<'a> {
        let statuses = (!self.statuses.is_empty()).then(|| names(&self.statuses));
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        call.query("status", statuses.as_deref())
            .query("type", self.job_type.as_deref())
            .query("tag", self.tag.as_deref())
            .query("created_after", time(self.created_after).as_deref())
            .query("created_before", time(self.created_before).as_deref())
    }
}

/// Jobs, one after the other, fetched page by page.
#[derive(Debug)]
pub struct Listing<'a> {
    client: &'a Client,
    filter: JobFilter,
    limit: u32,
    ready: std::vec::IntoIter<Verbatim<JobSummary>>,
    rest: Rest,
}

/// What has not been fetched.
#[derive(Debug)]
enum Rest {
    From(Option<String>),
    Nothing,
}

impl Listing<'_> {
    /// The same, fetched in pages of at most so many, 1 to 100.
    #[must_use]
    pub fn in_pages_of(self, limit: u32) -> Self {
        Self { limit, ..self }
    }

    /// The next one; `None` after the last. After an error it can be asked again, and goes on where it was.
    pub async fn next(&mut self) -> Result<Option<Verbatim<JobSummary>>, Error> {
        loop {
            if let Some(job) = self.ready.next() {
                return Ok(Some(job));
            }
            let Rest::From(cursor) = &self.rest else { return Ok(None) };
            let page = self.client.list(&self.filter, self.limit, cursor.as_deref()).await?.into_value();
            self.ready = page.jobs.into_iter();
            self.rest = page.next_cursor.map_or(Rest::Nothing, |cursor| Rest::From(Some(cursor)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_service::{Reply, Service, hasty};

    const ID: &str = "01938e5c-7a00-7000-8000-000000000000";

    fn job_json(status: &str) -> String {
        format!(
            r#"{{"job_id":"{ID}","type":"t","status":"{status}","attempts":0,"max_attempts":3,"payload":{{}},
            "created_at":"2026-11-22T02:05:08Z","updated_at":"2026-11-22T02:05:08Z"}}"#
        )
    }

    fn id() -> JobId {
        ID.parse().expect("an id")
    }

    #[tokio::test]
    async fn waiting_ends_when_the_job_does() {
        let service =
            Service::that_answers([Reply::new(200, job_json("processing")), Reply::new(200, job_json("failed"))]).await;
        let job = service.client().wait(id(), Duration::from_secs(60)).await.expect("a job");
        assert_eq!(job.status, Status::Failed);
        let asked: Vec<_> = service.asked().into_iter().map(|asked| asked.line).collect();
        assert_eq!(asked, [format!("GET /jobs/{ID}?wait=20"), format!("GET /jobs/{ID}?wait=20")]);
    }

    #[tokio::test]
    async fn waiting_ends_when_the_time_is_over() {
        let service = Service::that_answers([Reply::new(200, job_json("pending"))]).await;
        let job = service.client().wait(id(), Duration::from_millis(50)).await.expect("a job");
        assert_eq!(job.status, Status::Pending);
        assert_eq!(service.asked()[0].line, format!("GET /jobs/{ID}?wait=1"));
        let service = Service::that_answers([Reply::new(200, job_json("pending"))]).await;
        service.client().wait(id(), Duration::ZERO).await.expect("a job");
        assert_eq!(service.asked()[0].line, format!("GET /jobs/{ID}"));
    }

    #[tokio::test]
    async fn a_listing_goes_through_all_pages() {
        let summary = |tag: &str| {
            let times = r#""created_at":"2026-11-22T02:05:08Z""#;
            format!(r#"{{"job_id":"{ID}","type":"t","status":"failed","tags":["{tag}"],{times}}}"#)
        };
        let pages = [
            format!(r#"{{"jobs":[{},{}],"next_cursor":"a b"}}"#, summary("1"), summary("2")),
            r#"{"jobs":[],"next_cursor":"c"}"#.to_owned(),
            format!(r#"{{"jobs":[{}],"next_cursor":null}}"#, summary("3")),
        ];
        let service = Service::that_answers(pages.map(|page| Reply::new(200, page))).await;
        let client = service.client();
        let mut listing = client.jobs(JobFilter::all().status(Status::Failed).tag("x y")).in_pages_of(2);
        let mut tags = vec![];
        while let Some(job) = listing.next().await.expect("a page") {
            tags.extend(job.into_value().tags);
        }
        assert_eq!(tags, ["1", "2", "3"]);
        assert!(listing.next().await.expect("no call").is_none());
        let asked: Vec<_> = service.asked().into_iter().map(|asked| asked.line).collect();
        let first = "GET /jobs?status=failed&tag=x+y&limit=2";
        assert_eq!(asked, [first, &format!("{first}&cursor=a+b"), &format!("{first}&cursor=c")]);
    }

    #[tokio::test]
    async fn a_list_is_narrowed_by_all_that_is_said() {
        let service = Service::that_answers([Reply::new(200, r#"{"jobs":[],"next_cursor":null}"#)]).await;
        let time = |text: &str| text.parse().expect("a time");
        let filter = JobFilter::all().status(Status::Failed).status(Status::Cancelled).job_type("t").tag("a");
        let filter = filter.created_after(time("2030-01-31T09:00:00Z")).created_before(time("2030-02-01T09:00:00.5Z"));
        service.client().list(&filter, 5, None).await.expect("a page");
        let times = "created_after=2030-01-31T09%3A00%3A00Z&created_before=2030-02-01T09%3A00%3A00.5Z";
        let line = format!("GET /jobs?status=failed%2Ccancelled&type=t&tag=a&{times}&limit=5");
        assert_eq!(service.asked()[0].line, line);
    }

    #[tokio::test]
    async fn a_job_is_duplicated_and_deleted() {
        const OTHER: &str = "01938e5c-7a00-7000-8000-000000000001";
        let copy = format!(r#"{{"job_id":"{OTHER}","status":"pending","duplicate_of":"{ID}"}}"#);
        let location = "/jobs/01938e5c-7a00-7000-8000-000000000001";
        let replies = [
            Reply::new(202, copy.clone()),
            Reply::new(202, copy),
            Reply::new(204, "").header("location", location),
            Reply::new(204, ""),
        ];
        let service = Service::that_answers(replies).await;
        let client = service.client();
        let payload = RawValue::from_string(r#"{"b":1,"a":2}"#.to_owned()).expect("JSON");
        let copy = client.duplicate(id(), Some(&payload), Some("mine")).await.expect("a copy");
        assert_eq!((copy.job_id.to_string().as_str(), copy.duplicate_of), (OTHER, id()));
        client.duplicate(id(), None, None).await.expect("a copy");
        assert_eq!(client.delete(id()).await.expect("deleted"), Some(copy.job_id));
        assert_eq!(client.delete(id()).await.expect("deleted"), None);
        let asked = service.asked();
        let sent: Vec<_> = asked.iter().map(|asked| (asked.line.as_str(), asked.body.as_str())).collect();
        let (duplicate, delete) = (format!("POST /jobs/{ID}/duplicate"), format!("DELETE /jobs/{ID}"));
        let with_payload = r#"{"payload":{"b":1,"a":2}}"#;
        let (duplicate, delete) = (duplicate.as_str(), delete.as_str());
        assert_eq!(sent, [(duplicate, with_payload), (duplicate, "{}"), (delete, ""), (delete, "")]);
        assert_eq!(asked[0].header("idempotency-key"), Some("mine"));
        assert!(asked[1].header("idempotency-key").is_some());
    }

    #[tokio::test]
    async fn a_batch_keeps_its_keys_over_its_tries_and_tells_each_jobs_lot() {
        let outcome = format!(
            r#"{{"accepted":1,"rejected":1,"jobs":[{{"status":202,"job_id":"{ID}","replayed":true}},
            {{"status":422,"problem":{{"title":"Unprocessable Entity","status":422,"detail":"no"}}}}]}}"#
        );
        let service = Service::that_answers([Reply::new(503, "{}"), Reply::new(200, outcome)]).await;
        let jobs = ["1", "2"].map(|payload| NewJob::of_json("t", payload).expect("JSON"));
        let [first, second] = jobs;
        let outcome = service.client().submit_batch(&[first.key("mine"), second]).await.expect("an outcome");
        assert_eq!((outcome.accepted, outcome.rejected), (1, 1));
        assert_eq!(outcome.jobs[0], BatchItem::Accepted { job_id: id(), replayed: true });
        assert!(matches!(&outcome.jobs[1], BatchItem::Rejected(problem) if problem.to_string() == "no"));
        let asked = service.asked();
        assert_eq!((asked.len(), &asked[0].body), (2, &asked[1].body));
        let jobs = r#"{"jobs":[{"type":"t","payload":1,"idempotency_key":"mine"},{"type":"t","payload":2}]}"#;
        assert_eq!(asked[0].body, jobs);
        assert!(asked[0].header("idempotency-key").is_some());
        assert_eq!(asked[0].header("idempotency-key"), asked[1].header("idempotency-key"));
    }

    #[tokio::test]
    async fn acting_on_a_job_says_what_became_of_it() {
        let changed = |status: &str| format!(r#"{{"job_id":"{ID}","status":"{status}","cancel_requested":true}}"#);
        let replies = [
            Reply::new(202, changed("processing")),
            Reply::new(202, changed("pending")),
            Reply::new(200, changed("pending")),
            Reply::new(200, changed("pending")),
            Reply::new(409, r#"{"detail":"the job has ended"}"#),
        ];
        let service = Service::that_answers(replies).await;
        let client = service.client().with_patience(hasty());
        let cancelled = client.cancel(id()).await.expect("cancelled");
        assert_eq!((&cancelled.status, cancelled.cancel_requested), (&Status::Processing, true));
        client.retry(id(), Some(2)).await.expect("retried");
        client.reschedule(id(), "2030-01-31T09:00:00Z".parse().expect("a time")).await.expect("rescheduled");
        client.reschedule_after(id(), Duration::from_millis(1_500)).await.expect("rescheduled");
        assert_eq!(client.cancel(id()).await.expect_err("ended").to_string(), "the job has ended");
        let asked: Vec<_> = service.asked().into_iter().map(|asked| (asked.line, asked.body)).collect();
        let post = |verb: &str, body: &str| (format!("POST /jobs/{ID}/{verb}"), body.to_owned());
        let reschedule = post("reschedule", r#"{"run_at":"2030-01-31T09:00:00Z"}"#);
        let after = post("reschedule", r#"{"delay_seconds":2}"#);
        let (cancel, retry) = (post("cancel", ""), post("retry", r#"{"max_attempts":2}"#));
        assert_eq!(asked, [cancel.clone(), retry, reschedule, after, cancel]);
    }
}
