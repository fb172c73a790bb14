//! What is found by way of the two indexes: keys first, which may be seconds old, and then the jobs as they are now.

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Deserialize;
use serde_dynamo::aws_sdk_dynamodb_1::from_item;
use shared::chain::Chain;
use shared::id::JobId;
use shared::job::Job;
use shared::ports::{Cursor, Lane, ListQuery, Page, StoreError};
use shared::time::Timestamp;
use tokio::task::JoinSet;

use super::item::{DUE_SHARDS, LISTING_SHARDS, listed_at, listing_shard, read};
use super::{DynamoStore, no_answer};

/// An entry of the index `due`.
#[derive(Deserialize)]
struct DueKey {
    id: JobId,
    due_at: Timestamp,
}

/// An entry of the index `listing`.
#[derive(Deserialize)]
struct ListedKey {
    id: JobId,
    listed_at: String,
}

impl DynamoStore {
    /// [`shared::ports::JobStore::overdue`].
    pub(super) async fn find_overdue(&self, now: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError> {
        let mut keys = vec![];
        for shard in 0..DUE_SHARDS {
            keys.extend(self.overdue_keys(shard, now, limit).await?);
        }
        keys.sort_by_key(|key| key.due_at);
        keys.truncate(limit);
        // One that the table has no time for now stays overdue.
        let (mut jobs, _) = self.find_all(keys.iter().map(|key| key.id)).await?;
        // The index lags behind the table: what has moved on since is left out.
        jobs.retain(|job| job.due_at().is_some_and(|due_at| due_at < now));
        jobs.sort_by_key(Job::due_at);
        Ok(jobs)
    }

    async fn overdue_keys(&self, shard: u8, now: Timestamp, limit: usize) -> Result<Vec<DueKey>, StoreError> {
        let mut keys = vec![];
        let mut start = None;
        while keys.len() < limit {
            let page = i32::try_from(limit - keys.len()).unwrap_or(i32::MAX);
            let query = self.client.query().table_name(&self.table).index_name("due").limit(page);
            let query = query.key_condition_expression("#due_shard = :shard AND #due_at < :now");
            let query = query.expression_attribute_names("#due_shard", "due_shard");
            let query = query.expression_attribute_names("#due_at", "due_at");
            let query = query.expression_attribute_values(":shard", AttributeValue::S(shard.to_string()));
            let query = query.expression_attribute_values(":now", AttributeValue::N(now.as_millis().to_string()));
            let answer = query.set_exclusive_start_key(start).send().await.map_err(no_answer)?;
            for item in answer.items.unwrap_or_default() {
                keys.push(from_item(item).map_err(|error| StoreError::Refused(error.into()))?);
            }
            start = answer.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(keys)
    }

    /// [`shared::ports::JobStore::list`].
    pub(super) async fn find_listed(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let lanes: &[Lane] = match query.lane {
            Lane::All => &[Lane::All, Lane::Failed],
            Lane::Failed => &[Lane::Failed],
        };
        let shards = lanes.iter().flat_map(|lane| (0..LISTING_SHARDS).map(|shard| (*lane, shard)));
        let shards: Vec<_> = shards.map(|(lane, shard)| listing_shard(&query.tenant, lane, shard)).collect();
        let mut looks = JoinSet::new();
        for shard in shards {
            let (store, before, limit) = (self.clone(), query.before.clone(), query.limit);
            looks.spawn(async move { store.listed_keys(shard, before, limit).await });
        }
        let mut keys = vec![];
        while let Some(found) = looks.join_next().await {
            keys.extend(found.map_err(|error| StoreError::Unavailable(error.into()))??);
        }
        keys.sort_by(|one, other| other.listed_at.cmp(&one.listed_at));
        // A job that has just failed may be seen in both lanes.
        keys.dedup_by(|one, other| one.id == other.id);
        keys.truncate(query.limit);
        let next = keys.last().filter(|_| keys.len() == query.limit).map(|key| Cursor::at(&key.listed_at));
        let (mut jobs, left_out) = self.find_all(keys.iter().map(|key| key.id)).await?;
        if left_out {
            // The next page would not bring them.
            return Err(StoreError::Unavailable("the table has no time for all the jobs of a page".into()));
        }
        jobs.sort_by_key(|job| std::cmp::Reverse(listed_at(job)));
        Ok(Page { jobs, next })
    }

    async fn listed_keys(
        &self,
        shard: String,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<ListedKey>, StoreError> {
        let mut query = self.client.query().table_name(&self.table).index_name("listing").scan_index_forward(false);
        query = query.limit(i32::try_from(limit).unwrap_or(i32::MAX));
        query = query.expression_attribute_names("#listing", "listing");
        query = query.expression_attribute_values(":shard", AttributeValue::S(shard));
        query = match before {
            None => query.key_condition_expression("#listing = :shard"),
            Some(cursor) => query
                .key_condition_expression("#listing = :shard AND #listed_at < :before")
                .expression_attribute_names("#listed_at", "listed_at")
                .expression_attribute_values(":before", AttributeValue::S(cursor.as_str().to_owned())),
        };
        // Keys are so short that a page of as many as may be asked for is never cut off.
        let answer = query.send().await.map_err(no_answer)?;
        let keys = answer.items.unwrap_or_default().into_iter().map(from_item);
        keys.collect::<Result<_, _>>().map_err(|error| StoreError::Refused(error.into()))
    }

    /// The jobs of these ids, and whether the table had no time for some of them. One that cannot be read is left out: it
    /// must not keep anybody from all the others.
    async fn find_all(&self, ids: impl Iterator<Item = JobId>) -> Result<(Vec<Job>, bool), StoreError> {
        let (items, left_out) = self.find_items(&ids.map(|id| id.to_string()).collect()).await?;
        let mut jobs = vec![];
        for item in items {
            match read(item) {
                Ok(job) => jobs.push(job),
                Err(error) => tracing::error!(error = %Chain(&error), "job.unreadable"),
            }
        }
        Ok((jobs, left_out))
    }
}
