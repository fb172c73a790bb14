//! What is found by way of the two indexes: keys first, which may be seconds old, and then the jobs as they are now.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_dynamo::aws_sdk_dynamodb_1::from_item;
use shared::chain::Chain;
use shared::id::JobId;
use shared::job::Job;
use shared::ports::{Cursor, Lane, ListQuery, Page, StoreError};
use shared::time::Timestamp;

use super::DynamoStore;
use super::attributes::{Attributes, number, text, text_in};
use super::find::KeyQuery;
use super::item::{DUE_SHARDS, LISTING_SHARDS, listed_at, listing_shard, read};

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
        let queries = (0..DUE_SHARDS).map(|shard| {
            let query = KeyQuery::of("due").only("due_shard", "=", text(shard.to_string()));
            query.only("due_at", "<", number(&now.as_millis()))
        });
        let mut keys: Vec<DueKey> = self.find_entries_of_all(queries, limit, entry_in).await?;
        keys.sort_by_key(|key| key.due_at);
        keys.truncate(limit);
        // One that the table has no time for now stays overdue.
        let (mut jobs, _) = self.find_all(keys.iter().map(|key| key.id)).await?;
        // The index lags behind the table: what has moved on since is left out.
        jobs.retain(|job| job.due_at().is_some_and(|due_at| due_at < now));
        jobs.sort_by_key(Job::due_at);
        Ok(jobs)
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
        let (mut jobs, left_out) = self.find_all(keys.iter().map(|key| key.id)).await?;
        if left_out {
            // The next page would not bring them.
            return Err(StoreError::Unavailable("the table has no time for all the jobs of a page".into()));
        }
        jobs.sort_by_key(|job| std::cmp::Reverse(listed_at(job)));
        Ok(Page { jobs, next })
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

/// What is in an entry of an index. One that cannot be read must not keep anybody from all the others.
fn entry_in<T: DeserializeOwned>(entry: &Attributes) -> Option<T> {
    from_item(entry.clone())
        .inspect_err(|error| tracing::error!(id = text_in(entry, "id"), error = %Chain(error), "job.unreadable"))
        .ok()
}
