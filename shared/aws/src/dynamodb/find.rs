//! Reading: items by their ids, and the entries of an index.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use shared::ports::StoreError;
use tokio::task::JoinSet;

use super::attributes::{Attributes, text};
use super::{DynamoStore, no_answer};

/// How many items one `BatchGetItem` takes.
pub(super) const BATCH: usize = 100;

/// How often what a `BatchGetItem` left out is asked for, the first time included.
const ROUNDS: u32 = 5;

/// How long it waits before it asks again; twice as long before each further time, 150 ms in all. What is left out may
/// have had no room in the answer, which holds 16 MB, or the table may have had no time for it.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html>
const FIRST_WAIT: Duration = Duration::from_millis(10);

/// How many entries of an index one query asks for at most.
const PAGE: usize = 1_000;

/// A query of one of the indexes, which hold nothing but keys.
pub(super) struct KeyQuery {
    index: &'static str,
    conditions: Vec<String>,
    names: HashMap<String, String>,
    values: Attributes,
    forward: bool,
}

impl KeyQuery {
    /// The entries of one index, those with the least key first.
    pub fn of(index: &'static str) -> Self {
        Self { index, conditions: vec![], names: HashMap::new(), values: Attributes::new(), forward: true }
    }

    /// The greatest of them first, not the least.
    pub fn backward(self) -> Self {
        Self { forward: false, ..self }
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

    /// The items of these ids as they are now, in any order, and whether the table left some of them out again and again.
    pub(super) async fn find_items(&self, ids: &BTreeSet<String>) -> Result<(Vec<Attributes>, bool), StoreError> {
        let keys: Vec<_> = ids.iter().map(key).collect();
        let (mut items, mut some_are_missing) = (vec![], false);
        for batch in keys.chunks(BATCH) {
            let (found, left_out) = self.find_batch(batch.to_vec(), true).await?;
            items.extend(found);
            some_are_missing |= left_out;
        }
        Ok((items, some_are_missing))
    }

    /// The same for up to [`BATCH`] ids, given as keys. As the items are now, for twice the read units, if `consistent`.
    pub(super) async fn find_batch(
        &self,
        mut keys: Vec<Attributes>,
        consistent: bool,
    ) -> Result<(Vec<Attributes>, bool), StoreError> {
        let mut found = vec![];
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(FIRST_WAIT * 2_u32.pow(round - 1)).await;
            }
            let asked = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(consistent).build();
            let asked = asked.map_err(|error| StoreError::Refused(error.into()))?;
            let get = self.client.batch_get_item().request_items(&self.table, asked);
            let answer = get.send().await.map_err(no_answer)?;
            found.extend(answer.responses.unwrap_or_default().remove(&self.table).unwrap_or_default());
            let left = answer.unprocessed_keys.unwrap_or_default().remove(&self.table);
            keys = left.map_or_else(Vec::new, |left| left.keys);
            if keys.is_empty() {
                return Ok((found, false));
            }
        }
        Ok((found, true))
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
            let ask = ask.scan_index_forward(query.forward);
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

    /// The same by several queries at once, `limit` at most by each, in any order.
    pub(super) async fn find_entries_of_all<T: Send + 'static>(
        &self,
        queries: impl IntoIterator<Item = KeyQuery>,
        limit: usize,
        read: fn(&Attributes) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut looks = JoinSet::new();
        for query in queries {
            let store = self.clone();
            looks.spawn(async move { store.find_entries(&query, limit, read).await });
        }
        let mut entries = vec![];
        while let Some(found) = looks.join_next().await {
            entries.extend(found.map_err(|error| StoreError::Unavailable(error.into()))??);
        }
        Ok(entries)
    }
}

/// The key of the item of this id.
pub(super) fn key(id: impl Into<String>) -> Attributes {
    Attributes::from([("id".to_owned(), text(id))])
}
