//! The store in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::locked;
use crate::job::transition::{Change, transition};
use crate::job::{Job, Status};
use crate::ports::{
    Changed, Cursor, Deleted, Inserted, InsertedWith, JobStore, Lane, ListQuery, Overdue, OwnItem, Page, StoreError,
    Switch, Unreadable,
};
use crate::product::{Product, ProductId, Products};
use crate::values::id::{JobId, Tenant};
use crate::values::time::Timestamp;

/// A [`JobStore`] in memory, with what else is kept beside the jobs.
#[derive(Debug, Default)]
pub struct MemoryStore {
    jobs: Mutex<BTreeMap<JobId, Job>>,
    own_items: Mutex<BTreeMap<String, serde_json::Value>>,
    paused: AtomicBool,
}

impl MemoryStore {
    /// All jobs, by id.
    pub fn all(&self) -> Vec<Job> {
        locked(&self.jobs).values().cloned().collect()
    }

    /// Where all jobs stand, by id.
    pub fn statuses(&self) -> Vec<(JobId, Status)> {
        locked(&self.jobs).values().map(|job| (job.id, job.status())).collect()
    }
}

#[async_trait]
impl JobStore for MemoryStore {
    async fn insert_if_absent(&self, job: &Job) -> Result<Inserted, StoreError> {
        let mut jobs = locked(&self.jobs);
        if let Some(there) = jobs.get(&job.id) {
            return Ok(Inserted::AlreadyThere(Box::new(there.clone())));
        }
        jobs.insert(job.id, job.clone());
        Ok(Inserted::New)
    }

    async fn find(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        Ok(locked(&self.jobs).get(&id).cloned())
    }

    async fn change_if_allowed(&self, id: JobId, change: &Change) -> Result<Changed, StoreError> {
        let mut jobs = locked(&self.jobs);
        let Some(job) = jobs.get_mut(&id) else { return Ok(Changed::Missing) };
        match transition(job, change) {
            Ok(next) => {
                *job = next.clone();
                Ok(Changed::Applied(Box::new(next)))
            }
            Err(refusal) => Ok(Changed::Refused(refusal, Box::new(job.clone()))),
        }
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Overdue, StoreError> {
        let jobs = locked(&self.jobs);
        let mut overdue: Vec<_> = jobs.values().filter(|job| job.due_at().is_some_and(|due| due < now)).collect();
        overdue.sort_by_key(|job| job.due_at());
        Ok(Overdue { jobs: overdue.into_iter().take(limit).cloned().collect(), unreadable: vec![] })
    }

    async fn put_off(&self, _: Unreadable, _: Timestamp) -> Result<bool, StoreError> {
        Ok(false) // there is none
    }

    async fn insert_all_if_absent(&self, jobs: &[Job]) -> Vec<Result<Inserted, StoreError>> {
        let mut outcomes = vec![];
        for job in jobs {
            outcomes.push(self.insert_if_absent(job).await);
        }
        outcomes
    }

    async fn insert_with(&self, job: &Job, own: &OwnItem) -> Result<InsertedWith, StoreError> {
        let mut own_items = locked(&self.own_items);
        let mut jobs = locked(&self.jobs);
        if let Some(there) = jobs.get(&job.id) {
            return Ok(InsertedWith::JobThere(Box::new(there.clone())));
        }
        let Some(key) = own.item.get(&own.key).and_then(serde_json::Value::as_str) else {
            return Err(StoreError::Refused("the item has no key".into()));
        };
        if own_items.contains_key(key) {
            return Ok(InsertedWith::OwnItemThere);
        }
        own_items.insert(key.to_owned(), own.item.clone());
        jobs.insert(job.id, job.clone());
        Ok(InsertedWith::New)
    }

    async fn delete_if_ended(&self, id: JobId) -> Result<Deleted, StoreError> {
        let mut jobs = locked(&self.jobs);
        match jobs.get(&id) {
            None => Ok(Deleted::Missing),
            Some(job) if !job.status().is_terminal() => Ok(Deleted::NotEnded(Box::new(job.clone()))),
            Some(_) => {
                jobs.remove(&id);
                Ok(Deleted::Yes)
            }
        }
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let jobs = locked(&self.jobs);
        let listed = jobs.values().filter(|job| job.tenant == query.tenant);
        let listed = listed.filter(|job| query.lane == Lane::All || job.status() == Status::Failed);
        let mut listed: Vec<_> = listed.map(|job| (Cursor::after(job), job)).collect();
        listed.retain(|(place, _)| query.before.as_ref().is_none_or(|before| place < before));
        listed.sort_by(|(one, _), (other, _)| other.cmp(one));
        listed.truncate(query.limit);
        let next = listed.last().filter(|_| listed.len() == query.limit).map(|(place, _)| place.clone());
        Ok(Page { jobs: listed.into_iter().map(|(_, job)| job.clone()).collect(), next })
    }
}

#[async_trait]
impl Switch for MemoryStore {
    async fn is_paused(&self) -> Result<bool, StoreError> {
        Ok(self.paused.load(Ordering::Relaxed))
    }

    async fn set_paused(&self, paused: bool) -> Result<(), StoreError> {
        self.paused.store(paused, Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl Products for MemoryStore {
    async fn find(&self, tenant: &Tenant, id: ProductId) -> Result<Option<Product>, StoreError> {
        let key = Product::key(tenant, id);
        let found = locked(&self.own_items).get(&key).cloned();
        let product = found.map(serde_json::from_value).transpose();
        product.map_err(|error| StoreError::Unreadable(key, error.into()))
    }

    async fn mark_processed(&self, tenant: &Tenant, id: ProductId, at: Timestamp) -> Result<bool, StoreError> {
        let mut own_items = locked(&self.own_items);
        let Some(item) = own_items.get_mut(&Product::key(tenant, id)) else { return Ok(false) };
        if item.get("processed_at").is_none() {
            item["processed_at"] = at.as_millis().into();
        }
        Ok(true)
    }
}
