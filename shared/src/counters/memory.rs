//! The counters in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{CounterStore, Minute, Tally, Total, Totals, counted_of};
use crate::job::changes::{EventId, Recorded};
use crate::ports::StoreError;
use crate::quota::minute_of;
use crate::values::id::Tenant;
use crate::values::time::Timestamp;

/// A [`CounterStore`] in memory. It forgets nothing, so it is for tests.
#[derive(Debug, Default)]
pub struct MemoryCounters(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    counted: BTreeSet<EventId>,
    /// By tenant, minute and job type.
    minutes: BTreeMap<(Tenant, Timestamp, String), Tally>,
    /// By tenant and job type.
    totals: BTreeMap<(Tenant, String), Total>,
}

impl MemoryCounters {
    /// What [`CounterStore::count`] does.
    pub(super) fn count_each(&self, events: &[Recorded]) {
        let mut state = self.locked();
        for event in events {
            if state.counted.insert(event.id) {
                let (tenant, job_type) = (event.tenant.clone(), event.job_type.as_str().to_owned());
                let fields = counted_of(event);
                if fields.is_empty() {
                    continue;
                }
                let total = state.totals.entry((tenant.clone(), job_type.clone())).or_default();
                for (field, by) in &fields {
                    total.add(*field, *by);
                }
                let tally = state.minutes.entry((tenant, minute_of(event.at), job_type)).or_default();
                for (field, by) in &fields {
                    tally.add(*field, *by);
                }
            }
        }
    }

    /// The totals and all minutes.
    pub(super) fn of(&self, tenant: Option<&Tenant>) -> (Totals, Vec<Minute>) {
        let state = self.locked();
        let is_theirs = |whose: &Tenant| tenant.is_none_or(|tenant| tenant == whose);
        let mut totals = Totals::default();
        for ((_, job_type), total) in state.totals.iter().filter(|((whose, _), _)| is_theirs(whose)) {
            totals.by_type.entry(job_type.clone()).or_default().merge(total);
        }
        let mut minutes: BTreeMap<Timestamp, BTreeMap<String, Tally>> = BTreeMap::new();
        for ((_, begins_at, job_type), tally) in state.minutes.iter().filter(|((whose, ..), _)| is_theirs(whose)) {
            minutes.entry(*begins_at).or_default().entry(job_type.clone()).or_default().merge(tally);
        }
        (totals, minutes.into_iter().map(|(begins_at, by_type)| Minute { begins_at, by_type }).collect())
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl CounterStore for MemoryCounters {
    async fn count(&self, events: &[Recorded], _: Timestamp) -> Result<(), StoreError> {
        self.count_each(events);
        Ok(())
    }

    async fn totals(&self, tenant: Option<&Tenant>) -> Result<Totals, StoreError> {
        Ok(self.of(tenant).0)
    }

    async fn minutes(
        &self,
        tenant: Option<&Tenant>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Minute>, StoreError> {
        let (_, mut minutes) = self.of(tenant);
        minutes.retain(|minute| (from..to).contains(&minute.begins_at));
        Ok(minutes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn counters_in_memory_keep_the_contract() {
        crate::counters::contract::counter_store(&MemoryCounters::default()).await;
    }
}
