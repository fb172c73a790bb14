//! A subscription: a tenant's wish that each event of one type makes one job.
//!
//! Whoever publishes an event knows none of its subscribers, and they know nothing of each other. The id of a
//! subscriber's job follows from the event and the subscription, so an event makes one job for each, however often it
//! is published. Events themselves are not kept.

pub mod store;
mod template;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::job::submission::{Attempts, DelaySeconds, Limits, Origin, Rejection, Submission, well_formed};
use crate::job::{Fingerprint, Job, TypeName};
use crate::job_type::JobType;
use crate::values::id::{JobId, Tenant};
use crate::values::invalid::{InvalidField, read_fields};
use crate::values::json::{Json, null_is_absent};
use crate::values::name::Name;
use crate::values::time::Timestamp;

pub use self::template::{LONGEST_TEMPLATE, MOST_PLACEHOLDERS, MOST_STEPS, Template, Unfit};

/// The most subscriptions that a tenant may have to one type of event, which is the most jobs that one event makes.
pub const MOST_PER_EVENT_TYPE: usize = 100;

/// A subscription of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Whose it is, and what it is called.
    pub key: SubscriptionKey,
    /// What it does.
    pub definition: Definition,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its owner last changed it.
    pub updated_at: Timestamp,
    /// Counts its changes, from 1.
    pub version: u64,
}

impl Subscription {
    /// A new subscription, made at `now`.
    pub fn new(key: SubscriptionKey, definition: Definition, now: Timestamp) -> Self {
        Self { key, definition, created_at: now, updated_at: now, version: 1 }
    }

    /// The subscription with another definition; `None` if it is the one that it has.
    pub fn redefined(&self, definition: &Definition, now: Timestamp) -> Option<Self> {
        let changes = *definition != self.definition;
        changes.then(|| Self {
            key: self.key.clone(),
            definition: definition.clone(),
            created_at: self.created_at,
            updated_at: now,
            version: self.version + 1,
        })
    }

    /// Where it stands in the list of its tenant's subscriptions.
    pub fn place(&self) -> Place {
        Place { event_type: self.definition.event_type.clone(), name: self.key.name.clone() }
    }

    /// The job that the event makes for it, to be accepted at `now`; `secret` is the deployment's, see
    /// [`JobId::from_key`].
    ///
    /// Its fingerprint is the event's: what the subscription says may change, and the event is still the same one.
    pub fn job_of(&self, event: &Published, secret: &str, now: Timestamp, origin: Origin) -> Result<Job, Unfit> {
        let job = self.definition.job.render(event)?;
        let submission = Submission::parse(job.as_str().as_bytes(), now).map_err(|rejection| match rejection {
            Rejection::NotJson(problem) => Unfit::Job(InvalidField::new("job", format!("is not JSON: {problem}"))),
            Rejection::Field(invalid) => Unfit::Job(invalid.within("job")),
        })?;
        let job = submission.into_job(self.key.job_id(event, secret), self.key.tenant.clone(), now, origin);
        Ok(Job { fingerprint: event.fingerprint(), ..job })
    }
}

/// Names a subscription.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionKey {
    /// Whose it is.
    pub tenant: Tenant,
    /// What it is called.
    pub name: SubscriptionName,
}

impl SubscriptionKey {
    /// The id of the job that an event makes for it. It depends on the event's type and id, and on nothing else of it,
    /// so a subscription that is changed, or deleted and made again, makes no second job for the same event.
    pub fn job_id(&self, event: &Published, secret: &str) -> JobId {
        // No part has a line break in it, and no idempotency key does.
        let key = format!("event\n{}\n{}\n{}", event.event_type, event.id, self.name);
        JobId::from_key(secret, &self.tenant, &key)
    }
}

/// A place in the list of a tenant's subscriptions, which is ordered by the type of event and then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// What is subscribed to.
    pub event_type: EventType,
    /// The subscription there.
    pub name: SubscriptionName,
}

/// What a subscription is called.
pub type SubscriptionName = Name;

/// What kind of event it is, `order.created`: 1 to 128 letters, digits, `.`, `_` and `-`, so that it can also be the
/// type of a webhook's event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventType(String);

impl EventType {
    /// The longest type, in characters.
    const LONGEST: usize = 128;

    /// The type in `text`.
    pub fn parse(text: &str) -> Result<Self, InvalidField> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=Self::LONGEST).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        let problem = format!("must be 1 to {} letters, digits, `.`, `_` or `-`", Self::LONGEST);
        Err(InvalidField::new("event_type", problem))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for EventType {
    type Error = InvalidField;
    fn try_from(text: String) -> Result<Self, InvalidField> {
        Self::parse(&text)
    }
}

impl From<EventType> for String {
    fn from(event_type: EventType) -> Self {
        event_type.0
    }
}

/// Names an event among those of its type, so that publishing it again makes no other jobs: 1 to 255 printable ASCII
/// characters, as an idempotency key has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventId(String);

impl EventId {
    /// The longest id, in characters.
    const LONGEST: usize = 255;

    /// The id in `text`.
    pub fn parse(text: &str) -> Result<Self, InvalidField> {
        if !(1..=Self::LONGEST).contains(&text.len()) {
            return Err(InvalidField::new("id", format!("must be 1 to {} characters long", Self::LONGEST)));
        }
        if text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidField::new("id", "must be printable ASCII"))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that has happened in a tenant's own world, as it was published; not to be confused with what happens to a
/// job ([`crate::job::event`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Names it among those of its type.
    pub id: EventId,
    /// What kind of event it is.
    pub event_type: EventType,
    /// What there is to know of it: any JSON.
    pub data: Json,
    /// When it was received.
    pub at: Timestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishBody<'a> {
    #[serde(rename = "type")]
    event_type: String,
    #[serde(borrow)]
    data: &'a RawValue,
    id: Option<String>,
}

impl Published {
    /// Reads the body of `POST /events`, received at `now`: `{"type", "data"}` and optionally `id`. An event that says
    /// no id of its own has `other_id`.
    pub fn parse(body: &[u8], now: Timestamp, other_id: impl FnOnce() -> String) -> Result<Self, Rejection> {
        let body: PublishBody<'_> = read_fields(object(well_formed(body)?, "body")?)?;
        let event_type = EventType::parse(&body.event_type);
        let event_type = event_type.map_err(|invalid| InvalidField { field: "type".to_owned(), ..invalid })?;
        let id = EventId::parse(&body.id.unwrap_or_else(other_id))?;
        Ok(Self { id, event_type, data: Json::from(body.data), at: now })
    }

    /// Equal for two events of one id exactly if they are the same event.
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(["event", self.event_type.as_str(), self.data.as_str()])
    }
}

/// What its owner says about a subscription, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// What is subscribed to.
    pub event_type: EventType,
    /// The type of the job that each event makes.
    pub job_type: TypeName,
    /// The job, as the body of `POST /jobs` says it, with placeholders in its texts, the type aside.
    pub job: Template,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    event_type: String,
    #[serde(borrow)]
    job: &'a RawValue,
}

/// What a subscription may say about its job.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct JobBody<'a> {
    #[serde(rename = "type")]
    job_type: String,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<Attempts>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_seconds: Option<DelaySeconds>,
    #[serde(default, deserialize_with = "null_is_absent")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback_url: Option<String>,
}

impl Definition {
    /// Reads the body of `PUT /subscriptions/{name}`: `{"event_type", "job"}`. The job is checked as if it were
    /// submitted at `now`, as far as it does not depend on the event.
    pub fn parse(body: &[u8], now: Timestamp, limits: Limits) -> Result<Self, Rejection> {
        let body: Body<'_> = read_fields(object(well_formed(body)?, "body")?)?;
        let event_type = EventType::parse(&body.event_type)?;
        let job = object(body.job.get(), "job")?;
        let within_job = |invalid: InvalidField| invalid.within("job");
        let job_body: JobBody<'_> = read_fields(job).map_err(within_job)?;
        let template = Template::parse(Json::from(body.job)).map_err(within_job)?;
        let job_type = check(job_body, now, limits).map_err(|rejection| rejection.within("job"))?;
        Ok(Self { event_type, job_type, job: template })
    }
}

/// Submits the job for a try, with something that fits in the place of all that depends on the event. Gives its type.
fn check(job: JobBody<'_>, now: Timestamp, limits: Limits) -> Result<TypeName, Rejection> {
    let payload = Template::parse(Json::from(job.payload)).map_err(|invalid| invalid.within("payload"))?;
    let may_be_one = job.payload.get().starts_with(['{', '[']) || payload.is_placeholder();
    if payload.has_placeholders() && !may_be_one {
        return Err(InvalidField::new("payload", "must be an object, an array or one placeholder").into());
    }
    let job_type = JobType::named(&job.job_type);
    let example = job_type.map_or("null", |known| known.policy().example);
    let example: &RawValue = serde_json::from_str(example).map_err(|error| Rejection::NotJson(error.to_string()))?;
    let stand_in = |(index, tag): (usize, &String)| {
        // Equal to no other tag: all that hold a placeholder are replaced.
        if tag.contains("{{") { format!("{{{{{index}}}}}") } else { tag.clone() }
    };
    let tried = JobBody {
        payload: if payload.has_placeholders() { example } else { job.payload },
        tags: job.tags.iter().enumerate().map(stand_in).collect(),
        // One that is a placeholder from its start shows only in the event whether it is an address.
        callback_url: job
            .callback_url
            .map(|url| if url.starts_with("{{") { "https://example.com".to_owned() } else { url }),
        ..job
    };
    let body = serde_json::to_vec(&tried).map_err(|error| Rejection::NotJson(error.to_string()))?;
    Submission::parse_within(&body, now, limits)?;
    Ok(job_type.map_or_else(|| TypeName::new(&tried.job_type), JobType::name))
}

/// The text of an object.
fn object<'a>(json: &'a str, field: &str) -> Result<&'a str, InvalidField> {
    if json.starts_with('{') { Ok(json) } else { Err(InvalidField::new(field, "must be an object")) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::{State, Tag};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const LATER: Timestamp = Timestamp::from_millis(1_800_000_060_000);

    const EMAIL: &str = r#"{"type":"email-send","payload":{"to":"{{data.customer.email}}",
        "subject":"Order {{data.order}}","body":"Dear {{data.customer.name}}"},
        "tags":["order-{{data.order}}","mail"]}"#;
    const ORDER: &str = r#"{"order":7,"customer":{"name":"Ada","email":"ada@example.com"}}"#;

    fn define(job: &str) -> Result<Definition, Rejection> {
        Definition::parse(format!(r#"{{"event_type":"order.created","job":{job}}}"#).as_bytes(), NOW, Limits::default())
    }

    fn subscription(job: &str) -> Subscription {
        let name = SubscriptionName::parse("e-mail").expect("a name");
        Subscription::new(SubscriptionKey { tenant: Tenant::only(), name }, define(job).expect(job), NOW)
    }

    fn publish(body: &str) -> Result<Published, Rejection> {
        Published::parse(body.as_bytes(), NOW, || "another".to_owned())
    }

    fn order(data: &str) -> Published {
        publish(&format!(r#"{{"type":"order.created","id":"7","data":{data}}}"#)).expect(data)
    }

    fn job(subscription: &Subscription, event: &Published, now: Timestamp) -> Result<Job, Unfit> {
        let origin = Origin { correlation_id: "request".to_owned(), traceparent: None };
        subscription.job_of(event, "secret", now, origin)
    }

    #[test]
    fn an_event_makes_a_job_by_the_template() {
        let options =
            r#""max_attempts":5,"delay_seconds":60,"callback_url":"https://example.com/orders/{{data.order}}""#;
        let subscription = subscription(&EMAIL.replace(r#""tags""#, &format!(r#"{options},"tags""#)));
        assert_eq!(subscription.definition.job_type.as_str(), "email-send");
        let job = self::job(&subscription, &order(ORDER), NOW).expect("fits");
        assert_eq!(job.job_type.as_str(), "email-send");
        let payload = r#"{"to":"ada@example.com","subject":"Order 7","body":"Dear Ada"}"#;
        assert_eq!((job.payload.as_str(), job.max_attempts), (payload, 5));
        assert_eq!(job.tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["order-7", "mail"]);
        assert!(matches!(job.state, State::Pending { not_before, .. } if not_before == NOW + Duration::from_secs(60)));
        assert_eq!(job.correlation_id, "request");
        assert_eq!(job.callback_url.as_deref(), Some("https://example.com/orders/7"));
    }

    #[test]
    fn the_job_of_an_event_is_the_same_however_often_it_is_published_and_whatever_the_subscription_says_by_then() {
        let first = subscription(EMAIL);
        let changed = first.redefined(&define(&EMAIL.replace("Dear", "Hello")).expect("fits"), LATER);
        let one = job(&first, &order(ORDER), NOW).expect("fits");
        let other = job(&changed.expect("changed"), &order(ORDER), LATER).expect("fits");
        assert_eq!((one.id, &one.fingerprint), (other.id, &other.fingerprint));
        assert_ne!(one.payload, other.payload);
    }

    #[test]
    fn another_event_or_another_subscription_makes_another_job() {
        let subscribed = subscription(EMAIL);
        let one = job(&subscribed, &order(ORDER), NOW).expect("fits");
        let ids = [
            job(&subscribed, &Published { id: EventId::parse("8").expect("an id"), ..order(ORDER) }, NOW),
            job(
                &subscribed,
                &Published { event_type: EventType::parse("order.paid").expect("a type"), ..order(ORDER) },
                NOW,
            ),
            job(&named(&subscribed, "default", "e-mail-2"), &order(ORDER), NOW),
            job(&named(&subscribed, "other", "e-mail"), &order(ORDER), NOW),
        ];
        for other in ids {
            assert_ne!(one.id, other.expect("fits").id);
        }
        let other_data = job(&subscribed, &order(&ORDER.replace("Ada", "Bob")), NOW).expect("fits");
        assert_eq!(one.id, other_data.id, "its data are no part of an event's name");
        assert_ne!(one.fingerprint, other_data.fingerprint, "but are told apart");
        assert_eq!(
            one.fingerprint,
            job(&subscribed, &order(&ORDER.replace(':', " : ")), NOW).expect("fits").fingerprint
        );
    }

    fn named(subscription: &Subscription, tenant: &str, name: &str) -> Subscription {
        let tenant = Tenant::named(tenant).expect("a tenant");
        let name = SubscriptionName::parse(name).expect("a name");
        Subscription { key: SubscriptionKey { tenant, name }, ..subscription.clone() }
    }

    #[test]
    fn why_an_event_makes_no_job_is_told() {
        let of = |data: &str| job(&subscription(EMAIL), &order(data), NOW).expect_err(data);
        assert_eq!(of("{}").to_string(), "`data.customer.email` is not in the event");
        assert!(matches!(of("null"), Unfit::Event(_)));
        let nobody = of(&ORDER.replace("ada@example.com", "nobody"));
        assert_eq!(nobody.to_string(), "`job.payload.to` must be an e-mail address, which \"nobody\" is not");
        assert!(matches!(nobody, Unfit::Job(_)));
        let spaced = of(&ORDER.replace('7', "\"7 8\""));
        assert_eq!(spaced.to_string(), "`job.tags[0]` must be 1 to 64 characters without white space");
    }

    #[test]
    fn a_field_at_fault_is_named() {
        let of = |body: &str| Definition::parse(body.as_bytes(), NOW, Limits::default()).expect_err(body).to_string();
        assert_eq!(of("[]"), "`body` must be an object");
        assert_eq!(of("{}"), "`event_type` is required");
        assert_eq!(of(r#"{"event_type":"a"}"#), "`job` is required");
        assert_eq!(
            of(r#"{"event_type":"a b","job":{}}"#),
            "`event_type` must be 1 to 128 letters, digits, `.`, `_` or `-`"
        );
        assert_eq!(
            of(&format!(r#"{{"event_type":"a","job":{EMAIL},"paused":true}}"#)),
            "`paused` is not a known field"
        );
        let of = |job: &str| define(job).expect_err(job).to_string();
        assert_eq!(of("7"), "`job` must be an object");
        assert_eq!(of("{}"), "`job.type` is required");
        assert_eq!(of(r#"{"type":"csv-generation"}"#), "`job.payload` is required");
        for unknown in ["nope", "{{event.type}}"] {
            let problem = of(&format!(r#"{{"type":"{unknown}","payload":{{}}}}"#));
            assert!(problem.starts_with("`job.type` is not a known job type; known are csv-"), "{problem}");
        }
        let with = |option: &str| of(&EMAIL.replace(r#""tags""#, &format!(r#"{option},"tags""#)));
        assert_eq!(with(r#""max_attempts":11"#), "`job.max_attempts` must be a whole number from 1 to 10");
        assert_eq!(with(r#""timeout_seconds":51"#), "`job.timeout_seconds` must be a whole number from 1 to 50");
        assert_eq!(
            with(r#""delay_seconds":99999999"#),
            "`job.delay_seconds` must be a whole number from 0 to 31622400"
        );
        for field in ["run_at", "expires_at", "idempotency_key"] {
            assert_eq!(with(&format!(r#""{field}":"x""#)), format!("`job.{field}` is not a known field"));
        }
        assert_eq!(
            of(&EMAIL.replace("mail\"]", "a b\"]")),
            "`job.tags[1]` must be 1 to 64 characters without white space"
        );
        assert_eq!(
            of(&EMAIL.replace("{{data.order}}", "{{order}}")).split(", which").next(),
            Some("`job` has the placeholder `{{order}}`")
        );
        let greeting = r#"{"type":"csv-generation","payload":"Dear {{data.name}}"}"#;
        assert_eq!(of(greeting), "`job.payload` must be an object, an array or one placeholder");
    }

    #[test]
    fn a_payload_is_checked_at_once_unless_it_depends_on_the_event() {
        let of = |payload: &str| define(&format!(r#"{{"type":"csv-generation","payload":{payload}}}"#));
        for payload in [
            r#"{"a":1}"#,
            r#"{"a":"{{data}}"}"#,
            r#"[{"a":"{{data}}"}]"#,
            r#""{{ data.rows }}""#,
            r#"{"a":{"b":"{{data}}"}}"#,
        ] {
            assert!(of(payload).is_ok(), "{payload}");
        }
        let nested = of(r#"{"a":{"b":1}}"#).expect_err("not flat").to_string();
        assert!(nested.starts_with("`job.payload.a` must be a text"), "{nested}");
        let tagged = define(r#"{"type":"csv-generation","payload":{"a":{}},"tags":["{{data}}"]}"#);
        assert!(tagged.expect_err("not flat").to_string().starts_with("`job.payload.a`"), "only its tags depend on it");
    }

    #[test]
    fn a_tag_or_callback_url_that_depends_on_the_event_is_not_checked_before_it() {
        let spaced = r#"{"type":"csv-generation","payload":{"a":1},"tags":["{{ data.tag }}"]}"#;
        assert!(define(spaced).is_ok(), "white space within a placeholder is not in the tag");
        let address = r#"{"type":"csv-generation","payload":{"a":1},"callback_url":"{{data.url}}"}"#;
        assert!(define(address).is_ok(), "the event may have the whole address");
    }

    #[test]
    fn the_same_definition_changes_nothing() {
        let first = subscription(EMAIL);
        assert_eq!(first.redefined(&define(EMAIL).expect("fits"), LATER), None);
        let other = first.redefined(&define(&EMAIL.replace("Dear", "Hello")).expect("fits"), LATER).expect("changed");
        assert_eq!((other.version, other.created_at, other.updated_at), (2, NOW, LATER));
    }

    #[test]
    fn what_is_no_event_is_refused_by_name() {
        let of = |body: &str| publish(body).expect_err(body).to_string();
        assert_eq!(of("[]"), "`body` must be an object");
        assert_eq!(of("{}"), "`type` is required");
        assert_eq!(of(r#"{"type":"a"}"#), "`data` is required");
        assert_eq!(of(r#"{"type":"a#b","data":1}"#), "`type` must be 1 to 128 letters, digits, `.`, `_` or `-`");
        assert_eq!(of(r#"{"type":"a","data":1,"id":""}"#), "`id` must be 1 to 255 characters long");
        assert_eq!(of(r#"{"type":"a","data":1,"id":"a\nb"}"#), "`id` must be printable ASCII");
        assert_eq!(of(r#"{"type":"a","data":1,"at":"now"}"#), "`at` is not a known field");
        assert!(matches!(publish("{").expect_err("cut off"), Rejection::NotJson(_)));
        let event = publish(r#"{"type":"a","data": null}"#).expect("fits");
        assert_eq!((event.id.as_str(), event.data.as_str(), event.at), ("another", "null", NOW));
    }

    #[test]
    fn an_event_type_is_its_text_wherever_it_is_kept() {
        let event_type = EventType::parse("order.created").expect("a type");
        let json = serde_json::to_string(&event_type).expect("writes");
        assert_eq!((json.as_str(), String::from(event_type.clone()).as_str()), ("\"order.created\"", "order.created"));
        assert_eq!(serde_json::from_str::<EventType>(&json).expect("reads"), event_type);
        assert!(serde_json::from_str::<EventType>("\"a#b\"").is_err());
    }

    #[test]
    fn places_are_ordered_by_type_and_then_by_name() {
        let place = |event_type: &str, name: &str| Place {
            event_type: EventType::parse(event_type).expect("a type"),
            name: SubscriptionName::parse(name).expect("a name"),
        };
        let ordered = [place("order", "b"), place("order", "c"), place("order-2", "a"), place("order.created", "a")];
        assert!(ordered.is_sorted());
    }
}
