//! Items that tenants name, schedules and subscriptions: how they are stored, found and listed, whatever is in them.
//!
//! The id of such an item is `<kind>#<tenant>#<name>`. It has a `version`, which counts its changes, and `created_at`.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure as OnRefusal,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_dynamo::aws_sdk_dynamodb_1::{from_item, to_item};
use shared::id::Tenant;
use shared::name::Name;
use shared::ports::{Source, StoreError};
use shared::time::Timestamp;

use super::together::text;
use super::{Attributes, DynamoStore, no_answer};

/// How many entries of an index one query asks for at most.
const PAGE: usize = 1_000;

/// As many items as one `BatchGetItem` takes.
const BATCH: usize = 100;

/// How often what a `BatchGetItem` left out is asked for again.
const ROUNDS: u32 = 5;

/// What became of a put.
pub(super) enum Put {
    /// The item is stored.
    Stored,
    /// It is not, because of this one, which is not the one that was seen.
    AnotherThere(Attributes),
    /// It is not, because the one that was seen is gone.
    NoneThere,
}

/// A query of one of the indexes, which hold nothing but keys.
pub(super) struct KeyQuery {
    index: &'static str,
    conditions: Vec<String>,
    names: HashMap<String, String>,
    values: Attributes,
}

impl KeyQuery {
    /// The entries of one index.
    pub fn of(index: &'static str) -> Self {
        Self { index, conditions: vec![], names: HashMap::new(), values: Attributes::new() }
    }

    /// Only those of them whose key is so.
    pub fn only(self, attribute: &str, comparison: &str, value: AttributeValue) -> Self {
        self.on_condition(format!("#{attribute} {comparison} :{attribute}"), attribute, value)
    }

    /// Only those of them whose key begins so.
    pub fn only_beginning(self, attribute: &str, value: AttributeValue) -> Self {
        self.on_condition(format!("begins_with(#{attribute}, :{attribute})"), attribute, value)
    }

    fn on_condition(mut self, condition: String, attribute: &str, value: AttributeValue) -> Self {
        self.conditions.push(condition);
        self.names.insert(format!("#{attribute}"), attribute.to_owned());
        self.values.insert(format!(":{attribute}"), value);
        self
    }
}

impl DynamoStore {
    /// The item of this id as it is now.
    pub(super) async fn find_item(&self, id: &str) -> Result<Option<Attributes>, StoreError> {
        let get = self.client.get_item().table_name(&self.table).key("id", text(id));
        let found = get.consistent_read(true).send().await.map_err(no_answer)?;
        Ok(found.item)
    }

    /// The items of these ids as they are now, in any order, and whether the table had no time for some of them.
    pub(super) async fn find_items(&self, ids: &BTreeSet<String>) -> Result<(Vec<Attributes>, bool), StoreError> {
        let keys: Vec<_> = ids.iter().map(|id| Attributes::from([("id".to_owned(), text(id))])).collect();
        let mut items = vec![];
        let mut left_out = false;
        for batch in keys.chunks(BATCH) {
            let keys = KeysAndAttributes::builder().set_keys(Some(batch.to_vec())).consistent_read(true).build();
            let mut wanted = Some(keys.map_err(|error| StoreError::Refused(error.into()))?);
            for _ in 0..ROUNDS {
                let Some(keys) = wanted else { break };
                let get = self.client.batch_get_item().request_items(&self.table, keys);
                let answer = get.send().await.map_err(no_answer)?;
                items.extend(answer.responses.unwrap_or_default().remove(&self.table).unwrap_or_default());
                // An answer has room for 16 MB.
                wanted = answer.unprocessed_keys.unwrap_or_default().remove(&self.table);
            }
            left_out |= wanted.is_some();
        }
        Ok((items, left_out))
    }

    /// Stores the item, in one atomic step, if what is there is still the one that was `seen`, by the time of its making
    /// and its version (`None`: that there was none).
    pub(super) async fn put_versioned(
        &self,
        item: &impl Serialize,
        seen: Option<(Timestamp, u64)>,
    ) -> Result<Put, StoreError> {
        let item: Attributes = to_item(item).map_err(|error| StoreError::Refused(error.into()))?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = match seen {
            None => put.condition_expression("attribute_not_exists(#id)").expression_attribute_names("#id", "id"),
            // The version alone would take one that was deleted and made again for the one that was seen.
            Some((created_at, version)) => put
                .condition_expression("#created_at = :created_at AND #version = :version")
                .expression_attribute_names("#created_at", "created_at")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":created_at", number(&created_at.as_millis()))
                .expression_attribute_values(":version", number(&version)),
        };
        match put.return_values_on_condition_check_failure(OnRefusal::AllOld).send().await {
            Ok(_) => Ok(Put::Stored),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                    Ok(refused.item.clone().map_or(Put::NoneThere, Put::AnotherThere))
                }
                Some(_) | None => Err(no_answer(error)),
            },
        }
    }

    /// Deletes the item of this id. Says whether it was there.
    pub(super) async fn delete_item(&self, id: &str) -> Result<bool, StoreError> {
        let delete = self.client.delete_item().table_name(&self.table).key("id", text(id));
        let deleted = delete.return_values(ReturnValue::AllOld).send().await.map_err(no_answer)?;
        Ok(deleted.attributes.is_some_and(|attributes| !attributes.is_empty()))
    }

    /// What `read` makes of the entries that an index has, in its order, `limit` at most; one that it makes nothing of is
    /// left out. An index lags behind the table by up to some seconds.
    pub(super) async fn find_entries<T>(
        &self,
        query: &KeyQuery,
        limit: usize,
        read: fn(&Attributes) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut entries = vec![];
        let mut start = None;
        while entries.len() < limit {
            let page = i32::try_from(PAGE.min(limit - entries.len())).unwrap_or(i32::MAX);
            let ask = self.client.query().table_name(&self.table).index_name(query.index).limit(page);
            let ask = ask.key_condition_expression(query.conditions.join(" AND "));
            let ask = ask.set_expression_attribute_names(Some(query.names.clone()));
            let ask = ask.set_expression_attribute_values(Some(query.values.clone()));
            let answer = ask.set_exclusive_start_key(start).send().await.map_err(no_answer)?;
            entries.extend(answer.items.unwrap_or_default().iter().filter_map(read));
            start = answer.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(entries)
    }
}

/// The id of an item; `prefix` is its kind with a `#`. Neither of the other parts has one in it.
pub(super) fn id_of(prefix: &str, tenant: &Tenant, name: &Name) -> String {
    format!("{prefix}{tenant}#{name}")
}

/// Whose the item of this id is, and what it is called. `None` if it is of another kind.
pub(super) fn owner_and_name(prefix: &str, id: &str) -> Option<(Tenant, Name)> {
    let (tenant, name) = id.strip_prefix(prefix)?.split_once('#')?;
    Some((Tenant::named(tenant)?, Name::parse(name).ok()?))
}

/// The `T` in an item that is laid out as `I`.
pub(super) fn read_as<I, T>(item: Attributes) -> Result<T, StoreError>
where
    I: DeserializeOwned,
    T: TryFrom<I, Error = Source>,
{
    let id = text_in(&item, "id");
    let item: I = from_item(item).map_err(|error| StoreError::Unreadable(id.clone(), error.into()))?;
    T::try_from(item).map_err(|source| StoreError::Unreadable(id, source))
}

/// The text of an attribute; empty if it has none.
pub(super) fn text_in(item: &Attributes, attribute: &str) -> String {
    item.get(attribute).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default()
}

/// A number attribute.
pub(super) fn number(value: &impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
