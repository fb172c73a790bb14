//! The counters, in the table that holds the jobs.
//!
//! Sums are items to which numbers are added: for each tenant one for all time and one for each minute, each in
//! [`LANES`] parts. Which events are in them is written down beside: the marks of all events of one fifth of a second are
//! a set in an item of that time. **One transaction adds events to the sums and their marks to the sets, on condition that none
//! of those marks is there.** So an event is in the sums exactly if its mark is in its set:
//!
//! - Which set, and which mark, follows from the event alone. Batches that overlap, that are cut anew, that come again
//!   or in another order, from a shard or from those it was split into, all meet in the same set.
//! - Of any number of transactions with one event, one succeeds. The others come back with the marks that were there,
//!   and are tried again without those.
//! - A process that dies has counted its events with their marks, or none of them; whoever is told of them next finds
//!   out which.
//! - The sets outlive the stream's own memory ([`REMEMBERED`]), so no event can come when its mark is gone.
//!
//! A watermark would be smaller: the last sequence number of each shard. But an event of the stream does not say which
//! shard it is from; sequence numbers of several shards, read at once, interleave; and after a failed batch was given
//! up, what is read again later lies below the mark. The sets depend on none of this.
//!
//! One transaction takes up to [`MOST_EVENTS`] events, and a batch of neighbours in time is 3 to 5 small items. In a
//! transaction each costs two write units per KB.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, ReturnValuesOnConditionCheckFailure as OnRefusal, TransactWriteItem, Update,
};
use shared::counters::{CounterStore, Field, KEPT, Minute, REMEMBERED, Tally, Totals, counted_of};
use shared::job::changes::{Mark, Recorded};
use shared::ports::StoreError;
use shared::quota::{MINUTE, minute_of};
use shared::values::id::Tenant;
use shared::values::time::Timestamp;
use tokio::task::JoinSet;

use super::attributes::{Attributes, number, text};
use super::find::{BATCH, key};
use super::{DynamoStore, no_answer};

/// In how many parts each sum is kept, so that those who count at the same moment seldom need the same item: of two
/// transactions that do, one is refused and has to try again.
const LANES: u8 = 4;

/// How many events one transaction counts at most: their conditions and sums stay well within the 4 KB that an
/// expression may have.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
const MOST_EVENTS: usize = 50;

/// How many items a transaction may write.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>
const MOST_ITEMS: usize = 100;

/// How often a transaction is tried that others were in the way of.
const TRIES: u8 = 8;

/// How long it waits after the first try; twice as long after each further one, 2.6 s in all.
const FIRST_WAIT: Duration = Duration::from_millis(10);

/// How many `BatchGetItem` are under way at once.
const BATCHES_AT_ONCE: usize = 8;

/// The attribute that holds the marks of a fifth of a second.
const MARKS: &str = "marks";

/// Stands for all tenants but the one of a deployment that does not tell its callers apart: where there is only that
/// one, nothing is written twice. No tenant's name is empty.
const OTHERS: &str = "";

#[async_trait]
impl CounterStore for DynamoStore {
    async fn count(&self, events: &[Recorded], now: Timestamp) -> Result<(), StoreError> {
        let mut rest: Vec<_> = events.iter().filter(|event| !counted_of(event).is_empty()).collect();
        while !rest.is_empty() {
            let later = rest.split_off(fitting(&rest));
            self.count_together(rest, now).await?;
            rest = later;
        }
        Ok(())
    }

    async fn totals(&self, tenant: Option<&Tenant>) -> Result<Totals, StoreError> {
        let mut totals = Totals::default();
        let mut add = |item: &Attributes| {
            for (job_type, field, by) in numbers(item) {
                totals.by_type.entry(job_type.to_owned()).or_default().add(field, by);
            }
        };
        self.add_sums(sums_of(tenant, &[Span::Ever]), true, &mut add).await?;
        Ok(totals)
    }

    async fn minutes(
        &self,
        tenant: Option<&Tenant>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Minute>, StoreError> {
        let first = minute_of(from.max(to - KEPT) + MINUTE.saturating_sub(Duration::from_millis(1)));
        let begun = std::iter::successors(Some(first), |minute| Some(*minute + MINUTE));
        let spans: Vec<_> = begun.take_while(|minute| *minute < to).map(Span::Minute).collect();
        let mut minutes: BTreeMap<Timestamp, BTreeMap<String, Tally>> = BTreeMap::new();
        let mut add = |item: &Attributes| {
            let Some(begins_at) = minute_in(item) else { return };
            let by_type = minutes.entry(begins_at).or_default();
            for (job_type, field, by) in numbers(item) {
                by_type.entry(job_type.to_owned()).or_default().add(field, by);
            }
        };
        self.add_sums(sums_of(tenant, &spans), false, &mut add).await?;
        Ok(minutes.into_iter().map(|(begins_at, by_type)| Minute { begins_at, by_type }).collect())
    }
}

impl DynamoStore {
    /// Counts these events in one transaction, or those of them that were not counted yet in another.
    async fn count_together(&self, mut events: Vec<&Recorded>, now: Timestamp) -> Result<(), StoreError> {
        let mut wait = FIRST_WAIT;
        for attempt in 0..TRIES {
            let Some(first) = events.first() else { return Ok(()) };
            // As good as random, and another one each time.
            let [spread, ..] = first.id.mark();
            let plan = Plan::of(&events, spread.wrapping_add(attempt) % LANES);
            let transaction = self.client.transact_write_items();
            let transaction = transaction.set_transact_items(Some(plan.to_items(&self.table, now)?));
            // The SDK gives it a token: if an answer gets lost and the SDK asks again, it is the same transaction.
            let Err(error) = transaction.send().await else { return Ok(()) };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
            else {
                return Err(no_answer(error));
            };
            let reasons = cancelled.cancellation_reasons();
            let counted = plan.counted_before(reasons);
            if reasons.iter().any(|reason| reason.code() == Some("ValidationError")) {
                return Err(StoreError::Refused(error.into()));
            }
            if counted.is_empty() {
                tokio::time::sleep(wait + Duration::from_millis((spread % 8).into())).await;
                wait *= 2;
            }
            events.retain(|event| !counted.contains(&event.id.mark()));
        }
        if events.is_empty() {
            Ok(())
        } else {
            Err(StoreError::Unavailable("others were counting all the time".into()))
        }
    }

    /// Gives `add` those of these items that there are, in any order. As they are now, for twice the read units, if
    /// `consistent`. Few are held at a time: two days have more than ten thousand of them.
    async fn add_sums(
        &self,
        sums: Vec<Sum>,
        consistent: bool,
        add: &mut (dyn FnMut(&Attributes) + Send),
    ) -> Result<(), StoreError> {
        let keys: Vec<_> = sums.iter().map(|sum| key(sum.id())).collect();
        for some in keys.chunks(BATCH * BATCHES_AT_ONCE) {
            let mut looks = JoinSet::new();
            for batch in some.chunks(BATCH) {
                let (store, batch) = (self.clone(), batch.to_vec());
                looks.spawn(async move { store.find_batch(batch, consistent).await });
            }
            while let Some(batch) = looks.join_next().await {
                let (items, left_out) = batch.map_err(|error| StoreError::Unavailable(error.into()))??;
                if left_out {
                    // A sum without one of its parts would be wrong.
                    return Err(StoreError::Unavailable("the table has no time for all counters".into()));
                }
                items.iter().for_each(&mut *add);
            }
        }
        Ok(())
    }
}

/// How many of these events, from the first on, fit into one transaction. At least one: it writes at most five items.
fn fitting(events: &[&Recorded]) -> usize {
    let mut most = events.len().min(MOST_EVENTS);
    while most > 1 && Plan::of(&events[..most], 0).items() > MOST_ITEMS {
        most /= 2;
    }
    most
}

/// What one transaction writes.
#[derive(Default)]
struct Plan {
    /// The marks to be added, by the fifth of a second in which their events happened.
    marks: BTreeMap<i64, BTreeSet<Mark>>,
    /// What is to be added to which attribute of which sum.
    sums: BTreeMap<Sum, BTreeMap<String, i64>>,
}

impl Plan {
    /// Counts these events, in this lane.
    fn of(events: &[&Recorded], lane: u8) -> Self {
        let mut plan = Self::default();
        for event in events {
            if plan.marks.entry(fifth_of(event.at)).or_default().insert(event.id.mark()) {
                plan.add(event, lane);
            }
        }
        plan
    }

    fn add(&mut self, event: &Recorded, lane: u8) {
        let fields = counted_of(event);
        for scope in scopes_of(&event.tenant) {
            for span in [Span::Ever, Span::Minute(minute_of(event.at))] {
                let sum = self.sums.entry(Sum { scope: scope.to_owned(), span, lane }).or_default();
                let kept = fields.iter().filter(|(field, _)| match span {
                    Span::Ever => field.is_in_totals(),
                    Span::Minute(_) => field.is_in_minutes(),
                });
                for (field, by) in kept {
                    *sum.entry(format!("{}#{field}", event.job_type)).or_default() += by;
                }
            }
        }
    }

    fn items(&self) -> usize {
        self.marks.len() + self.sums.len()
    }

    /// The marks first, fifth by fifth, and then the sums.
    fn to_items(&self, table: &str, now: Timestamp) -> Result<Vec<TransactWriteItem>, StoreError> {
        let mut items = vec![];
        for (fifth, marks) in &self.marks {
            items.push(update(Update::builder().table_name(table).key("id", text(marks_id(*fifth))), |update| {
                let each: Vec<_> = (0..marks.len()).map(|index| format!("contains(#marks, :m{index})")).collect();
                let blobs = marks.iter().map(|mark| Blob::new(mark.as_slice()));
                let values =
                    blobs.clone().enumerate().map(|(index, blob)| (format!(":m{index}"), AttributeValue::B(blob)));
                let mut values: HashMap<_, _> = values.collect();
                values.insert(":marks".to_owned(), AttributeValue::Bs(blobs.collect()));
                values.insert(":ttl".to_owned(), number(&(now + REMEMBERED).as_secs()));
                update
                    .update_expression("ADD #marks :marks SET #ttl = :ttl")
                    .condition_expression(format!("NOT ({})", each.join(" OR ")))
                    .return_values_on_condition_check_failure(OnRefusal::AllOld)
                    .expression_attribute_names("#marks", MARKS)
                    .expression_attribute_names("#ttl", "ttl")
                    .set_expression_attribute_values(Some(values))
            })?);
        }
        for (sum, numbers) in &self.sums {
            let numbers: Vec<_> = numbers.iter().filter(|(_, by)| **by != 0).collect();
            if numbers.is_empty() {
                continue; // what goes up and down again
            }
            items.push(update(Update::builder().table_name(table).key("id", text(sum.id())), |mut update| {
                let mut added = vec![];
                for (index, (name, by)) in numbers.into_iter().enumerate() {
                    added.push(format!("#n{index} :v{index}"));
                    update = update.expression_attribute_names(format!("#n{index}"), name);
                    update = update.expression_attribute_values(format!(":v{index}"), number(by));
                }
                let added = added.join(", ");
                match sum.span {
                    Span::Ever => update.update_expression(format!("ADD {added}")),
                    Span::Minute(begins_at) => update
                        .update_expression(format!("ADD {added} SET #ttl = :ttl"))
                        .expression_attribute_names("#ttl", "ttl")
                        .expression_attribute_values(":ttl", number(&(begins_at + KEPT + MINUTE).as_secs())),
                }
            })?);
        }
        Ok(items)
    }

    /// The marks that were there already, as the refusals say: one for each item, in the order of the items.
    fn counted_before(&self, refusals: &[CancellationReason]) -> BTreeSet<Mark> {
        let mut counted = BTreeSet::new();
        for (marks, refusal) in self.marks.values().zip(refusals) {
            if let Some(AttributeValue::Bs(there)) = refusal.item().and_then(|item| item.get(MARKS)) {
                let there: BTreeSet<&[u8]> = there.iter().map(AsRef::as_ref).collect();
                counted.extend(marks.iter().filter(|mark| there.contains(mark.as_slice())));
            }
        }
        counted
    }
}

fn update(
    update: UpdateBuilder,
    filled: impl FnOnce(UpdateBuilder) -> UpdateBuilder,
) -> Result<TransactWriteItem, StoreError> {
    let update = filled(update).build().map_err(|error| StoreError::Refused(error.into()))?;
    Ok(TransactWriteItem::builder().update(update).build())
}

/// One part of one sum.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sum {
    /// Whose: a tenant's name, or [`OTHERS`].
    scope: String,
    /// Of which time.
    span: Span,
    /// Which part.
    lane: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Span {
    Ever,
    Minute(Timestamp),
}

impl Sum {
    /// `counters#<tenant>#total#<lane>` or `counters#<tenant>#<minute>#<lane>`. No job has such an id, and no tenant's
    /// name has a `#`.
    fn id(&self) -> String {
        let Self { scope, span, lane } = self;
        match span {
            Span::Ever => format!("counters#{scope}#total#{lane}"),
            Span::Minute(begins_at) => format!("counters#{scope}#{begins_at}#{lane}"),
        }
    }
}

/// When the minute began that this item is about.
fn minute_in(item: &Attributes) -> Option<Timestamp> {
    let id = item.get("id")?.as_s().ok()?;
    id.split('#').nth(2).and_then(Timestamp::parse_rfc3339)
}

/// The fifth of a second that a time is in, as the milliseconds at which it began: so many marks are in one item that it
/// stays small, and so cheap to write, at thousands of events a second.
fn fifth_of(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(200) * 200
}

/// The id of the item that says which events of this fifth of a second have been counted.
fn marks_id(fifth: i64) -> String {
    format!("counted#{}", Timestamp::from_millis(fifth))
}

/// Whose sums an event of this tenant is added to.
fn scopes_of(tenant: &Tenant) -> Vec<&str> {
    if *tenant == Tenant::only() { vec![tenant.as_str()] } else { vec![tenant.as_str(), OTHERS] }
}

/// The sums that make up what was counted of this tenant, or of all, in these spans of time.
fn sums_of(tenant: Option<&Tenant>, spans: &[Span]) -> Vec<Sum> {
    let only = Tenant::only();
    let scopes = match tenant {
        Some(tenant) => vec![tenant.as_str()],
        None => vec![only.as_str(), OTHERS],
    };
    let mut sums = vec![];
    for scope in scopes {
        for span in spans {
            sums.extend((0..LANES).map(|lane| Sum { scope: scope.to_owned(), span: *span, lane }));
        }
    }
    sums
}

/// The numbers in a sum: of which job type, which field, and how much.
fn numbers(item: &Attributes) -> impl Iterator<Item = (&str, Field, i64)> {
    item.iter().filter_map(|(name, value)| {
        let (job_type, field) = name.split_once('#')?;
        Some((job_type, field.parse::<Field>().ok()?, value.as_n().ok()?.parse::<i64>().ok()?))
    })
}
