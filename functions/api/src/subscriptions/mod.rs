//! Subscriptions: which jobs an event makes.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Serialize;
use serde_json::Value;
use shared::subscription::{
    Definition, EventType, MOST_PER_EVENT_TYPE, Place, Subscription, SubscriptionKey, SubscriptionName,
};
use shared::values::json::Json as JsonText;
use utoipa::ToSchema;

use crate::Api;
use crate::http::body::{BodyRead, IdRead, json_body};
use crate::http::caller::Caller;
use crate::http::named::{must_be_new, name_in, page, stored, unknown_cursor};
use crate::http::problem::{Problem, ProblemCode};
use crate::openapi::JobTypeName;

/// The routes of this file.
pub fn routes() -> Router<Arc<Api>> {
    Router::new().route("/subscriptions", get(list)).route("/subscriptions/{name}", get(show).put(put).delete(remove))
}

/// What is subscribed to, and what comes of it.
#[derive(ToSchema)]
#[schema(as = NewSubscription)]
#[schema(example = json!({
    "event_type": "order.created",
    "job": { "type": "csv-generation", "payload": { "order": "{{data.order}}", "to": "{{data.customer.name}}" } }
}))]
#[expect(dead_code, reason = "it describes the body, which `Definition` reads")]
pub struct SubscriptionBody {
    /// What kind of event makes the job.
    #[schema(min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$")]
    event_type: String,
    /// The job that each such event makes.
    job: JobTemplate,
}

/// A job with gaps, which an event fills.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the body, which `Definition` reads")]
pub struct JobTemplate {
    /// The job's type; see `payload`.
    #[schema(value_type = JobTypeName)]
    r#type: String,
    /// What its type needs to know, as in `POST /jobs`. A text that is one placeholder, such as `{{data.items[0]}}`,
    /// becomes that value of the event; in a longer text a placeholder becomes the value's text. There are also
    /// `{{event.id}}`, `{{event.type}}` and `{{event.at}}`.
    payload: Value,
    /// Attempts allowed; the type's own number unless given.
    #[schema(minimum = 1, maximum = 10)]
    max_attempts: Option<u32>,
    /// How long one attempt may run, as far as this deployment allows; the type's own number unless given.
    #[schema(minimum = 1, maximum = 890)]
    timeout_seconds: Option<u32>,
    /// Not to be started before so many seconds have gone by since the event.
    #[schema(minimum = 0, maximum = 31_622_400)]
    delay_seconds: Option<u64>,
    /// Words by which to find it, 10 at most; they may hold placeholders too.
    #[schema(max_items = 10)]
    tags: Option<Vec<String>>,
    /// Who is told how it ended, by a `webhook-delivery` job. Not for such jobs themselves.
    #[schema(format = "uri", max_length = 2048)]
    callback_url: Option<String>,
}

/// A subscription. Times are RFC 3339 in UTC.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Subscription)]
pub struct SubscriptionView {
    /// What it is called.
    name: String,
    /// What kind of event makes the job.
    #[schema(example = "order.created")]
    event_type: String,
    /// The job that each such event makes, as it was given.
    #[schema(value_type = Object)]
    job: JsonText,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When its owner last changed it.
    #[schema(format = DateTime)]
    updated_at: String,
}

/// A subscription in a list: without its template.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionSummary {
    /// What it is called.
    name: String,
    /// What kind of event makes the job.
    event_type: String,
    /// The type of the job.
    #[schema(value_type = JobTypeName)]
    job_type: String,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When its owner last changed it.
    #[schema(format = DateTime)]
    updated_at: String,
}

/// Some subscriptions, by the type of event and then by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionList {
    /// The subscriptions.
    subscriptions: Vec<SubscriptionSummary>,
    /// To be given back as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

impl From<&Subscription> for SubscriptionView {
    fn from(subscription: &Subscription) -> Self {
        let Subscription { key, definition, created_at, updated_at, version: _ } = subscription;
        Self {
            name: key.name.to_string(),
            event_type: definition.event_type.to_string(),
            job: definition.job.json().clone(),
            created_at: created_at.to_string(),
            updated_at: updated_at.to_string(),
        }
    }
}

impl From<&Subscription> for SubscriptionSummary {
    fn from(subscription: &Subscription) -> Self {
        let Subscription { key, definition, created_at, updated_at, version: _ } = subscription;
        Self {
            name: key.name.to_string(),
            event_type: definition.event_type.to_string(),
            job_type: definition.job_type.to_string(),
            created_at: created_at.to_string(),
            updated_at: updated_at.to_string(),
        }
    }
}

/// Make or replace a subscription
///
/// The job is checked at once, as if it were submitted, as far as it does not depend on the event. Each event makes one
/// job for each subscription's name, however often the subscription is changed or made again in the meantime.
#[utoipa::path(put, path = "/subscriptions/{name}", tag = "events", operation_id = "putSubscription", request_body = SubscriptionBody,
    params(("name" = String, Path, description = "what it is called", pattern = "^[a-z0-9][a-z0-9-]{0,63}$", example = json!("order-export")),
           ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is no subscription of this name")),
    responses((status = 201, description = "It is new", body = SubscriptionView, headers(("Location" = String))),
              (status = 200, description = "It was there before, and is like this now", body = SubscriptionView),
              (status = 409, description = "The type of event has 100 subscriptions, or others are changing this one", body = Problem, content_type = "application/problem+json"),
              (status = 412, description = "There is one of this name already", body = Problem, content_type = "application/problem+json")))]
pub async fn put(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    name: IdRead,
    headers: HeaderMap,
    body: BodyRead,
) -> Result<Response, Problem> {
    let key = key(&caller, name)?;
    let now = api.clock.now();
    let definition = Definition::parse(&json_body(&headers, body)?, now, api.limits)?;
    let must_be_new = must_be_new(&headers);
    for _ in 0..TRIES {
        let there = api.subscriptions.find(&key).await?;
        let subscription = match &there {
            None => Subscription::new(key.clone(), definition.clone(), now),
            Some(_) if must_be_new => {
                let problem = "there is a subscription of this name already";
                return Err(Problem::new(ProblemCode::AlreadyExists, problem));
            }
            Some(there) => match there.redefined(&definition, now) {
                Some(subscription) => subscription,
                None => return Ok(Json(SubscriptionView::from(there)).into_response()),
            },
        };
        if there.as_ref().is_none_or(|there| there.definition.event_type != definition.event_type) {
            make_sure_of_room(&api, &subscription).await?;
        }
        if api.subscriptions.put_if_unchanged(&subscription, there.as_ref()).await? {
            let SubscriptionKey { tenant, name } = &key;
            tracing::info!(subscription = %name, %tenant, event.r#type = %definition.event_type, "subscription.stored");
            let path = format!("/subscriptions/{name}");
            return Ok(stored(there.is_none(), path, SubscriptionView::from(&subscription)));
        }
    }
    Err(Problem::new(ProblemCode::ConcurrentChange, "others are changing this subscription; look at it and try again"))
}

/// How often a change is tried: between its read and its write somebody else may come.
const TRIES: u32 = 5;

/// What one event costs is bounded. Some that are made at the very same time may still go over it.
async fn make_sure_of_room(api: &Api, subscription: &Subscription) -> Result<(), Problem> {
    let event_type = &subscription.definition.event_type;
    let there = api.subscriptions.matching(&subscription.key.tenant, event_type).await?;
    if there.subscriptions.len() + there.unreadable.len() < MOST_PER_EVENT_TYPE {
        return Ok(());
    }
    let detail = format!("{event_type} has {MOST_PER_EVENT_TYPE} subscriptions, which is the most");
    Err(Problem::new(ProblemCode::LimitReached, detail))
}

/// Look at a subscription
#[utoipa::path(get, path = "/subscriptions/{name}", tag = "events", operation_id = "getSubscription",
    params(("name" = String, Path, description = "what it is called", pattern = "^[a-z0-9][a-z0-9-]{0,63}$", example = json!("order-export"))),
    responses((status = 200, description = "The subscription", body = SubscriptionView)))]
pub async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    name: IdRead,
) -> Result<Json<SubscriptionView>, Problem> {
    let subscription = api.subscriptions.find(&key(&caller, name)?).await?.ok_or_else(missing)?;
    Ok(Json(SubscriptionView::from(&subscription)))
}

/// List subscriptions
///
/// By the type of event and then by name. A subscription that was made, changed or deleted in the last seconds may be
/// missing.
#[utoipa::path(get, path = "/subscriptions", tag = "events", operation_id = "listSubscriptions",
    params(("limit" = Option<u32>, Query, description = "how many; 20 unless given", minimum = 1, maximum = 100),
           ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, description = "A page of subscriptions", body = SubscriptionList)))]
pub async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    query: RawQuery,
) -> Result<Json<SubscriptionList>, Problem> {
    let (limit, cursor) = page(&query)?;
    let after = cursor.map(|cursor| place_of(&cursor).ok_or_else(unknown_cursor)).transpose()?;
    let page = api.subscriptions.list(&caller.tenant, after.as_ref(), limit).await?;
    Ok(Json(SubscriptionList {
        subscriptions: page.subscriptions.iter().map(SubscriptionSummary::from).collect(),
        next_cursor: page.next.as_ref().map(cursor_of),
    }))
}

/// The place as a cursor; `:` is in no part of it, and needs no escape in a query.
fn cursor_of(place: &Place) -> String {
    format!("{}:{}", place.event_type, place.name)
}

fn place_of(cursor: &str) -> Option<Place> {
    let (event_type, name) = cursor.split_once(':')?;
    Some(Place { event_type: EventType::parse(event_type).ok()?, name: SubscriptionName::parse(name).ok()? })
}

/// Delete a subscription
///
/// It makes no further jobs. Those that it has made stay.
#[utoipa::path(delete, path = "/subscriptions/{name}", tag = "events", operation_id = "deleteSubscription",
    params(("name" = String, Path, description = "what it is called", pattern = "^[a-z0-9][a-z0-9-]{0,63}$", example = json!("order-export"))),
    responses((status = 204, description = "It is gone")))]
pub async fn remove(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    name: IdRead,
) -> Result<StatusCode, Problem> {
    let key = key(&caller, name)?;
    if !api.subscriptions.delete(&key).await? {
        return Err(missing());
    }
    tracing::info!(subscription = %key.name, tenant = %key.tenant, "subscription.deleted");
    Ok(StatusCode::NO_CONTENT)
}

fn key(caller: &Caller, name: IdRead) -> Result<SubscriptionKey, Problem> {
    Ok(SubscriptionKey { tenant: caller.tenant.clone(), name: name_in(name)? })
}

fn missing() -> Problem {
    Problem::new(ProblemCode::NotFound, "there is no subscription of this name")
}
