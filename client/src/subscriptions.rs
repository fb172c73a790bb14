//! Events, and the jobs that they make.

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::http::client::Client;
use crate::http::error::{Error, Problem};
use crate::http::verbatim::Verbatim;
use crate::jobs::job::JobId;
use crate::jobs::new_job::{Body, NewJob, json_text, not_json};

/// Something that has happened.
#[derive(Clone, Debug, Serialize)]
pub struct NewEvent {
    #[serde(rename = "type")]
    event_type: String,
    data: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

impl NewEvent {
    /// An event of this type, with what there is to know of it.
    pub fn of<T: Serialize + ?Sized>(event_type: impl Into<String>, data: &T) -> Result<Self, Error> {
        let data = to_raw_value(data).map_err(|error| not_json("the event's data", &error))?;
        Ok(Self { event_type: event_type.into(), data, id: None })
    }

    /// The same, with what there is to know as JSON text.
    pub fn of_json(event_type: impl Into<String>, data: impl Into<String>) -> Result<Self, Error> {
        let data = json_text("the event's data", data.into())?;
        Ok(Self { event_type: event_type.into(), data, id: None })
    }

    /// Under this id: however often it is published under it, each subscription makes one job of it. Without one, each
    /// call has an id of its own, for its own tries.
    #[must_use]
    pub fn id(self, id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..self }
    }
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Published {
    /// Its id, to publish it again by.
    pub event_id: String,
    /// The jobs of its subscriptions.
    pub jobs: Vec<JobOfEvent>,
    /// The subscriptions that have no job of it, and why.
    #[serde(default)]
    pub failed: Vec<WithoutJob>,
}

/// The job that an event made for one of its subscriptions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobOfEvent {
    /// The subscription.
    pub subscription: String,
    /// The job.
    pub job_id: JobId,
    /// Whether it was there before.
    #[serde(default)]
    pub replayed: bool,
}

/// A subscription that has no job of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WithoutJob {
    /// The subscription.
    pub subscription: String,
    /// Why.
    pub problem: Problem,
}

/// What a subscription shall be.
#[derive(Clone, Debug)]
pub struct NewSubscription {
    event_type: String,
    job: NewJob,
}

impl NewSubscription {
    /// Makes this job of each event of this type. Its payload and tags may have placeholders, such as `{{data.order}}`.
    /// Its key is not used: the event's id stands for it.
    pub fn of(event_type: impl Into<String>, job: NewJob) -> Self {
        Self { event_type: event_type.into(), job }
    }
}

/// A subscription, as the service shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Subscription {
    /// What it is called.
    pub name: String,
    /// What kind of event makes the job.
    pub event_type: String,
    /// The job that each such event makes, as it was given.
    pub job: Box<RawValue>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A subscription in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SubscriptionSummary {
    /// What it is called.
    pub name: String,
    /// What kind of event makes the job.
    pub event_type: String,
    /// The type of the job.
    pub job_type: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Client {
    /// Publishes an event: one job for each subscription to its type.
    pub async fn publish(&self, event: &NewEvent) -> Result<Verbatim<Published>, Error> {
        let call = self.post(&["events"]).json(event)?;
        let call = if event.id.is_none() { call.key(None)? } else { call };
        call.read().await
    }

    /// Makes the subscription of this name, or makes it anew.
    pub async fn put_subscription(
        &self,
        name: &str,
        subscription: &NewSubscription,
    ) -> Result<Verbatim<Subscription>, Error> {
        #[derive(Serialize)]
        struct Put<'a> {
            event_type: &'a str,
            job: Body<'a>,
        }
        let NewSubscription { event_type, job } = subscription;
        let body = Put { event_type, job: job.body(None) };
        self.call(Method::PUT, &["subscriptions", name]).json(&body)?.read().await
    }

    /// The same, all of it as JSON text.
    pub async fn put_subscription_json(
        &self,
        name: &str,
        subscription: &RawValue,
    ) -> Result<Verbatim<Subscription>, Error> {
        self.call(Method::PUT, &["subscriptions", name]).json(subscription)?.read().await
    }

    /// The subscription of this name.
    pub async fn subscription(&self, name: &str) -> Result<Verbatim<Subscription>, Error> {
        self.get(&["subscriptions", name]).read().await
    }

    /// All subscriptions, by the type of event and then by their names.
    pub async fn subscriptions(&self) -> Result<Vec<Verbatim<SubscriptionSummary>>, Error> {
        self.all_pages("subscriptions").await
    }

    /// Deletes a subscription. Jobs that it has made stay. Refused (404) if there is none: which may be through this
    /// very call, if the answer to an earlier try got lost.
    pub async fn delete_subscription(&self, name: &str) -> Result<(), Error> {
        self.call(Method::DELETE, &["subscriptions", name]).answer().await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_service::{Reply, Service};

    const ID: &str = "01938e5c-7a00-7000-8000-000000000000";
    const TIMES: &str = r#""created_at":"2026-11-22T02:05:08Z","updated_at":"2026-11-22T02:05:08Z""#;

    #[tokio::test]
    async fn a_subscription_is_made_looked_at_and_deleted() {
        let job = r#"{"type":"csv-generation","payload":{"order":"{{data.order}}"}}"#;
        let whole = format!(r#"{{"name":"orders","event_type":"order.created","job":{job},{TIMES}}}"#);
        let summary =
            format!(r#"{{"name":"orders","event_type":"order.created","job_type":"csv-generation",{TIMES}}}"#);
        let replies = [
            Reply::new(201, whole.clone()),
            Reply::new(200, whole.clone()),
            Reply::new(200, whole),
            Reply::new(200, format!(r#"{{"subscriptions":[{summary}],"next_cursor":"order.created:orders"}}"#)),
            Reply::new(200, r#"{"subscriptions":[],"next_cursor":null}"#),
            Reply::new(204, ""),
        ];
        let service = Service::that_answers(replies).await;
        let client = service.client();
        let new_job = NewJob::of_json("csv-generation", r#"{"order":"{{data.order}}"}"#).expect("JSON");
        let made = client.put_subscription("orders", &NewSubscription::of("order.created", new_job)).await;
        assert_eq!(made.expect("made").job.get(), job);
        let text = format!(r#"{{"event_type":"order.created","job":{job}}}"#);
        let raw = RawValue::from_string(text.clone()).expect("JSON");
        client.put_subscription_json("orders", &raw).await.expect("made again");
        assert_eq!(client.subscription("orders").await.expect("there").event_type, "order.created");
        let all = client.subscriptions().await.expect("a list");
        assert_eq!((all.len(), all[0].json(), all[0].job_type.as_str()), (1, summary.as_str(), "csv-generation"));
        client.delete_subscription("orders").await.expect("deleted");
        let asked = service.asked();
        assert_eq!((&asked[0].body, &asked[1].body), (&text, &text));
        let lines: Vec<_> = asked.iter().map(|asked| asked.line.as_str()).collect();
        let expected = [
            "PUT /subscriptions/orders",
            "PUT /subscriptions/orders",
            "GET /subscriptions/orders",
            "GET /subscriptions?limit=100",
            "GET /subscriptions?limit=100&cursor=order.created%3Aorders",
            "DELETE /subscriptions/orders",
        ];
        assert_eq!(lines, expected);
    }

    #[tokio::test]
    async fn an_event_has_its_own_id_or_one_for_all_tries_of_the_call() {
        let answer = format!(
            r#"{{"event_id":"7","jobs":[{{"subscription":"a","job_id":"{ID}","replayed":false}}],
            "failed":[{{"subscription":"b","problem":{{"code":"invalid_field","status":422,"detail":"no"}}}}]}}"#
        );
        let replies = [Reply::new(503, "{}"), Reply::new(202, answer.clone()), Reply::new(202, answer.clone())];
        let service = Service::that_answers(replies).await;
        let event = NewEvent::of("order.created", &[1, 2]).expect("JSON");
        let published = service.client().publish(&event).await.expect("published");
        assert_eq!((published.jobs[0].subscription.as_str(), published.json()), ("a", answer.as_str()));
        assert_eq!(published.failed[0].problem.code.as_deref(), Some("invalid_field"));
        let event = NewEvent::of_json("order.created", r#"{"b":1,"a":2}"#).expect("JSON").id("7");
        service.client().publish(&event).await.expect("published");
        let asked = service.asked();
        assert_eq!(asked[0].body, r#"{"type":"order.created","data":[1,2]}"#);
        assert_eq!(asked[0].header("idempotency-key"), asked[1].header("idempotency-key"));
        assert!(asked[0].header("idempotency-key").is_some());
        assert_eq!(asked[2].body, r#"{"type":"order.created","data":{"b":1,"a":2},"id":"7"}"#);
        assert_eq!(asked[2].header("idempotency-key"), None);
        let error = NewEvent::of_json("t", "{").expect_err("not JSON");
        assert!(error.to_string().starts_with("the event's data is not JSON: "), "{error}");
    }
}
