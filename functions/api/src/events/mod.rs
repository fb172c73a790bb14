//! Events of a tenant's own world: each makes one job for each of its subscriptions.
//!
//! The event is not stored, its jobs are. Their ids follow from the event's type and id and the subscriptions' names,
//! so that whoever does not know what has become of an event publishes it again: what is there stays, what is missing
//! is made.

use std::slice::Iter;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::Value;
use shared::job::Job;
use shared::job::submission::Origin;
use shared::subscription::store::Matching;
use shared::subscription::{Published, Subscription, SubscriptionName, Unfit};
use shared::values::id::JobId;
use shared::values::invalid::InvalidField;
use shared::values::time::Timestamp;
use utoipa::ToSchema;

use crate::Api;
use crate::http::body::{BodyRead, json_body};
use crate::http::caller::Caller;
use crate::http::problem::{Problem, ProblemCode};
use crate::http::request_id::RequestId;
use crate::jobs::accept::{Accepted, IdempotencyKey, announce_all, log_accepted, outcome};

/// Something that has happened.
#[derive(ToSchema)]
#[schema(as = NewEvent)]
#[schema(example = json!({ "type": "order.created", "id": "7", "data": { "order": 7, "customer": { "name": "Ada" } } }))]
#[expect(dead_code, reason = "it describes the body, which `Published` reads")]
pub struct EventBody {
    /// What kind of event it is.
    #[schema(min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$")]
    r#type: String,
    /// What there is to know of it: any JSON.
    data: Value,
    /// Names it among the events of its type, so that publishing it again makes no other jobs; unless given, what the
    /// header `Idempotency-Key` says, or else a new one.
    #[schema(min_length = 1, max_length = 255, pattern = "^[ -~]+$")]
    id: Option<String>,
}

/// What has become of an event.
#[derive(Debug, Serialize, ToSchema)]
pub struct PublishedEvent {
    /// Its id, to publish it again by.
    event_id: String,
    /// The jobs of its subscriptions, the oldest subscription's first.
    jobs: Vec<EventJob>,
    /// The subscriptions that it has made no job for.
    failed: Vec<FailedSubscription>,
}

/// The job that an event has made for one of its subscriptions.
#[derive(Debug, Serialize, ToSchema)]
struct EventJob {
    /// The subscription.
    subscription: String,
    /// The job.
    #[schema(value_type = String, format = "uuid")]
    job_id: JobId,
    /// Whether it was there before.
    replayed: bool,
}

/// A subscription that goes without a job, and why.
#[derive(Debug, Serialize, ToSchema)]
struct FailedSubscription {
    /// The subscription.
    subscription: String,
    /// `field` is the placeholder that the event has no fitting value for, as seen from the event's body; or what is
    /// wrong with the job that came of it, as seen from the subscription: `job.payload.to`.
    problem: Problem,
}

/// Publish an event
///
/// It makes one job for each subscription to its type. Once this is answered with 202 the jobs are stored and will be
/// brought to their ends, each for itself. Publish it again, with the same id, and each subscription that has no job
/// yet gets one: those in `failed` that have been mended since, and those that have been made since. The others keep
/// the job that they have.
#[utoipa::path(post, path = "/events", tag = "events", operation_id = "publishEvent", request_body = EventBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable characters of your choice, in double quotes if there is a comma in them: the event's id, unless the body says it")),
    responses((status = 202, description = "What has become of it", body = PublishedEvent)))]
pub async fn publish(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    body: BodyRead,
) -> Result<(StatusCode, Json<PublishedEvent>), Problem> {
    let body = json_body(&headers, body)?;
    let key = IdempotencyKey::from_headers(&headers)?;
    let now = api.clock.now();
    let other_id = || key.map_or_else(|| api.fresh_id(now).to_string(), |key| key.as_str().to_owned());
    let event = Published::parse(&body, now, other_id)?;

    let Matching { mut subscriptions, unreadable } =
        api.subscriptions.matching(&caller.tenant, &event.event_type).await?;
    subscriptions.sort_by(|one, other| (one.created_at, &one.key.name).cmp(&(other.created_at, &other.key.name)));
    if !subscriptions.is_empty() {
        let jobs = u32::try_from(subscriptions.len()).unwrap_or(u32::MAX);
        api.quota.take(&caller.tenant, jobs, api.clock.now()).await?;
    }

    let origin = request_id.origin(&headers);
    let mut publishing = Publishing { api: &api, event, now, origin, jobs: vec![], failed: vec![] };
    publishing.failed.extend(unreadable.iter().map(FailedSubscription::unreadable));
    publishing.make_jobs(&subscriptions).await?;
    let Publishing { event, origin, jobs, failed, .. } = publishing;
    tracing::info!(
        event.r#type = %event.event_type,
        tenant = %caller.tenant,
        correlation_id = origin.correlation_id,
        jobs = jobs.len(),
        failed = failed.len(),
        "event.published"
    );
    Ok((StatusCode::ACCEPTED, Json(PublishedEvent { event_id: event.id.to_string(), jobs, failed })))
}

/// How many jobs are stored together. They are held in memory, each as long as a job may be.
const AT_ONCE: usize = 25;

/// An event on its way to its subscriptions, and what has become of it so far.
struct Publishing<'a> {
    api: &'a Api,
    event: Published,
    now: Timestamp,
    origin: Origin,
    jobs: Vec<EventJob>,
    failed: Vec<FailedSubscription>,
}

impl Publishing<'_> {
    /// Makes the jobs of these subscriptions, the oldest of which is the first.
    ///
    /// That one goes ahead, alone: its job tells whether the id has stood for another event before. It is the same one
    /// for all who publish under this id, so of two different events at once, one finds the other's job and makes none
    /// itself. Only if it has no job of the earlier event, because it did not fit then, is it left to the others to
    /// notice.
    async fn make_jobs(&mut self, subscriptions: &[Subscription]) -> Result<(), Problem> {
        let mut waiting = subscriptions.iter();
        let first = self.next_jobs(&mut waiting, 1);
        if !self.store(first).await?.is_empty() {
            return Err(id_used_before());
        }
        loop {
            let next = self.next_jobs(&mut waiting, AT_ONCE);
            if next.is_empty() {
                return Ok(());
            }
            for subscription in self.store(next).await? {
                self.failed.push(FailedSubscription { subscription, problem: id_used_before() });
            }
        }
    }

    /// The jobs of the next subscriptions that the event fits, `most` at most, each with its subscription's name.
    fn next_jobs(&mut self, waiting: &mut Iter<'_, Subscription>, most: usize) -> Vec<(String, Job)> {
        let mut jobs = vec![];
        while jobs.len() < most {
            let Some(subscription) = waiting.next() else { break };
            let secret = &self.api.idempotency_secret;
            match subscription.job_of(&self.event, secret, self.now, self.origin.clone()) {
                Ok(job) => jobs.push((subscription.key.name.to_string(), job)),
                Err(unfit) => self.leave_out(subscription, unfit),
            }
        }
        jobs
    }

    /// One that the event does not fit stops no other.
    fn leave_out(&mut self, subscription: &Subscription, unfit: Unfit) {
        let (invalid, at_fault) = match unfit {
            Unfit::Event(invalid) => (invalid.clone(), invalid.field),
            Unfit::Job(invalid) => (invalid, "job".to_owned()), // the names of its fields may be the event's own words
        };
        tracing::warn!(
            subscription = %subscription.key.name,
            tenant = %subscription.key.tenant,
            correlation_id = self.origin.correlation_id,
            at_fault,
            "subscription.unfit"
        );
        self.failed
            .push(FailedSubscription { subscription: subscription.key.name.to_string(), problem: invalid.into() });
    }

    /// Stores the jobs and announces the new ones. Gives the subscriptions whose job of this id is that of another
    /// event. If this process dies in between, the sweeper announces what was stored.
    async fn store(&mut self, jobs: Vec<(String, Job)>) -> Result<Vec<String>, Problem> {
        let (names, jobs): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
        let inserted = self.api.store.insert_all_if_absent(&jobs).await;
        let (mut new, mut taken, mut unanswered) = (vec![], vec![], None);
        for ((subscription, job), inserted) in names.into_iter().zip(&jobs).zip(inserted) {
            match inserted.map(|inserted| outcome(inserted, job, "id")) {
                Ok(Ok(Accepted { id, replayed })) => {
                    new.extend((!replayed).then_some(job));
                    self.jobs.push(EventJob { subscription, job_id: id, replayed });
                }
                Ok(Err(_)) => taken.push(subscription),
                Err(error) => unanswered = Some(Problem::from(error)),
            }
        }
        let unsent = announce_all(self.api, &new).await;
        for job in new {
            log_accepted(self.api, job, !unsent.contains(&job.id));
        }
        match unanswered {
            None => Ok(taken),
            Some(problem) => Err(self.stopped_by(problem)),
        }
    }

    /// The store does not answer, so some subscriptions may be without their job. The rest is for the next try, which
    /// needs the id.
    fn stopped_by(&self, problem: Problem) -> Problem {
        if problem.code() == ProblemCode::Unavailable {
            let id = &self.event.id;
            let detail = format!("not all jobs of this event are stored yet; publish it again, with the id {id}");
            Problem::new(ProblemCode::Unavailable, detail)
        } else {
            problem
        }
    }
}

impl FailedSubscription {
    /// Another version has written it, in the midst of a deployment perhaps.
    fn unreadable(name: &SubscriptionName) -> Self {
        let detail = "this subscription cannot be read; put it again";
        Self { subscription: name.to_string(), problem: Problem::new(ProblemCode::Internal, detail) }
    }
}

fn id_used_before() -> Problem {
    InvalidField::new("id", "was used for an event with other data before").into()
}
