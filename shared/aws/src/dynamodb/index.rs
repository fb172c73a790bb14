//! What is found by way of the two indexes: keys first, which may be seconds old, and then the jobs as they are now.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_dynamo::aws_sdk_dynamodb_1::from_item;
use shared::job::Job;
use shared::ports::{Cursor, Lane, ListQuery, Overdue, Page, StoreError, Unreadable};
use shared::values::chain::Chain;
use shared::values::id::JobId;
use shared::values::time::Timestamp;

use super::attributes::{Attributes, number, text, text_in};
use super::find::KeyQuery;
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
    pub(super) async fn find_overdue(&self, now: Timestamp, limit: usize) -> Result<Overdue, StoreError> {
        let queries = (0..DUE_SHARDS).map(|shard| {
            let query = KeyQuery::of("due").only("due_shard", "=", text(shard.to_string()));
            query.only("due_at", "<", number(&now.as_millis()))
        });
        let mut keys: Vec<DueKey> = self.find_entries_of_all(queries, limit, entry_in).await?;
        keys.sort_by_key(|key| key.due_at);
        keys.truncate(limit);
        // One that the table has no time for now stays overdue.
        let Found { mut jobs, unreadable, left_out: _ } = self.find_all(keys.iter().map(|key| key.id)).await?;
        let unreadable = keys.iter().filter(|key| unreadable.contains(&key.id.to_string()));
        let unreadable = unreadable.map(|DueKey { id, due_at }| Unreadable { id: *id, due_at: *due_at }).collect();
        // The index lags behind the table: what has moved on since is left out.
        jobs.retain(|job| job.due_at().is_some_and(|due_at| due_at < now));
        jobs.sort_by_key(Job::due_at);
        Ok(Overdue { jobs, unreadable })
    }

    /// [`shared::ports::JobStore::list`].
    pub(super) async fn find_listed(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let lanes: &[Lane] = match query.lane {
            Lane::All => &[Lane::All, Lane::Failed],
            Lane::Failed => &[Lane::Failed],
        };
        let shards = lanes.iter().flat_map(|lane| (0..LISTING_SHARDS).map(|shard| (*lane, shard)));
        let queries = shards.map(|(lane, shard)| {
            let shard = listing_shard(&query.tenant, lane, shard);
            let latest_first = KeyQuery::of("listing").backward().only("listing", "=", text(shard));
            match &query.before {
                None => latest_first,
                Some(cursor) => latest_first.only("listed_at", "<", text(cursor.as_str())),
            }
        });
        let mut keys: Vec<ListedKey> = self.find_entries_of_all(queries, query.limit, entry_in).await?;
        keys.sort_by(|one, other| other.listed_at.cmp(&one.listed_at));
        // A job that has just failed may be seen in both lanes.
        keys.dedup_by(|one, other| one.id == other.id);
        keys.truncate(query.limit);
        let next = keys.last().filter(|_| keys.len() == query.limit).map(|key| Cursor::at(&key.listed_at));
        let Found { mut jobs, unreadable: _, left_out } = self.find_all(keys.iter().map(|key| key.id)).await?;
        if left_out {
            // The next page would not bring them.
            return Err(StoreError::Unavailable("the table has no time for all the jobs of a page".into()));
        }
        jobs.sort_by_key(|job| std::cmp::Reverse(listed_at(job)));
        Ok(Page { jobs, next })
    }

    /// The jobs of these ids.
    async fn find_all(&self, ids: impl Iterator<Item = JobId>) -> Result<Found, StoreError> {
        let (items, left_out) = self.find_items(&ids.map(|id| id.to_string()).collect()).await?;
        let mut found = Found { jobs: vec![], unreadable: vec![], left_out };
        for item in items {
            let id = text_in(&item, "id");
            match read(item) {
                Ok(job) => found.jobs.push(job),
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "job.unreadable");
                    found.unreadable.push(id);
                }
            }
        }
        Ok(found)
    }

    /// [`shared::ports::JobStore::put_off`].
    pub(super) async fn move_due(&self, seen: Unreadable, due_at: Timestamp) -> Result<bool, StoreError> {
        let update = self.client.update_item().table_name(&self.table).key("id", text(seen.id.to_string()));
        let update = update.update_expression("SET due_at = :due_at").condition_expression("due_at = :seen");
        let update = update.expression_attribute_values(":due_at", number(&due_at.as_millis()));
        let update = update.expression_attribute_values(":seen", number(&seen.due_at.as_millis()));
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
                Some(_) | None => Err(no_answer(error)),
            },
        }
    }
}

/// What was found of some jobs.
struct Found {
    jobs: Vec<Job>,
    /// The ids of those that cannot be read: they must not keep anybody from all the others.
    unreadable: Vec<String>,
    /// Whether the table had no time for some of them.
    left_out: bool,
}

/// What is in an entry of an index. One that cannot be read must not keep anybody from all the others.
fn entry_in<T: DeserializeOwned>(entry: &Attributes) -> Option<T> {
    from_item(entry.clone())
        .inspect_err(|error| tracing::error!(id = text_in(entry, "id"), error = %Chain(error), "job.unreadable"))
        .ok()
}
