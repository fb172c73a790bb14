//! The counters in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{CounterStore, Minute, Tally, Totals, counted_of};
use crate::changes::{EventId, Recorded};
use crate::id::Tenant;
use crate::ports::StoreError;
use crate::quota::minute_of;
use crate::time::Timestamp;

/// A [`CounterStore`] in memory. It forgets nothing, so it is for tests.
#[derive(Debug, Default)]
pub struct MemoryCounters(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    counted: BTreeSet<EventId>,
    /// By tenant, minute and job type. The totals are their sum.
    sums: Sums,
}

/// What was counted, by tenant, minute and job type.
pub(super) type Sums = BTreeMap<(Tenant, Timestamp, String), Tally>;

impl MemoryCounters {
    /// What [`CounterStore::count`] does.
    pub(super) fn count_each(&self, events: &[Recorded]) {
        let mut state = self.locked();
        for event in events {
            if state.counted.insert(event.id) {
                let key = (event.tenant.clone(), minute_of(event.at), event.job_type.as_str().to_owned());
                for (field, by) in counted_of(event) {
                    state.sums.entry(key.clone()).or_default().add(field, by);
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn sums(&self) -> Sums {
        self.locked().sums.clone()
    }

    /// The totals and all minutes.
    pub(super) fn of(&self, tenant: Option<&Tenant>) -> (Totals, Vec<Minute>) {
        let mut totals = Totals::default();
        let mut minutes: BTreeMap<Timestamp, BTreeMap<String, Tally>> = BTreeMap::new();
        for ((whose, begins_at, job_type), tally) in &self.locked().sums {
            if tenant.is_none_or(|tenant| tenant == whose) {
                totals.by_type.entry(job_type.clone()).or_default().merge(&tally.counts);
                minutes.entry(*begins_at).or_default().entry(job_type.clone()).or_default().merge(tally);
            }
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
