//! How many jobs a tenant may submit in one minute: the port that counts them, in memory and as a contract.

pub mod contract;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::ports::StoreError;
use crate::values::id::Tenant;
use crate::values::time::Timestamp;

/// Counts the jobs that each tenant submits, minute by minute.
#[async_trait]
pub trait QuotaStore: Send + Sync {
    /// Counts `jobs` more for this tenant in the minute that began at `minute`, if that makes no more than `limit`;
    /// else counts none of them. One atomic step: however many ask at once, never are more than `limit` granted.
    ///
    /// After an error they may or may not be counted. To ask again may count them twice, which grants a tenant less
    /// than its limit, never more.
    async fn take(&self, tenant: &Tenant, minute: Timestamp, jobs: u32, limit: u32) -> Result<Taken, StoreError>;
}

/// What came of asking for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The jobs are counted, and may be submitted.
    Granted,
    /// There is no room for all of them in this minute. None is counted.
    LimitReached,
}

/// What one count is about.
pub const MINUTE: Duration = Duration::from_secs(60);

/// When the minute began that `time` is in.
pub fn minute_of(time: Timestamp) -> Timestamp {
    let into_the_minute = time.as_millis().rem_euclid(60_000);
    time - Duration::from_millis(into_the_minute.unsigned_abs())
}

/// A [`QuotaStore`] in memory. It forgets nothing, so it is for tests.
#[derive(Debug, Default)]
pub struct MemoryQuotas(Mutex<BTreeMap<(Tenant, Timestamp), u32>>);

#[async_trait]
impl QuotaStore for MemoryQuotas {
    async fn take(&self, tenant: &Tenant, minute: Timestamp, jobs: u32, limit: u32) -> Result<Taken, StoreError> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry((tenant.clone(), minute)).or_default();
        match count.checked_add(jobs).filter(|sum| *sum <= limit) {
            Some(sum) => {
                *count = sum;
                Ok(Taken::Granted)
            }
            None => Ok(Taken::LimitReached),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_memory_keeps_the_contract() {
        contract::quota_store(&MemoryQuotas::default()).await;
    }

    #[test]
    fn a_minute_begins_at_its_full_second() {
        let minute = |text| minute_of(Timestamp::parse_rfc3339(text).expect(text)).to_string();
        assert_eq!(minute("2026-03-01T12:34:00Z"), "2026-03-01T12:34:00.000Z");
        assert_eq!(minute("2026-03-01T12:34:59.999Z"), "2026-03-01T12:34:00.000Z");
        assert_eq!(minute("1969-12-31T23:59:30Z"), "1969-12-31T23:59:00.000Z", "before the epoch, too");
    }

    /// Counts in memory with one fault, to see whether the suite finds it.
    struct Faulty {
        counts: MemoryQuotas,
        fault: Fault,
    }

    enum Fault {
        GrantsWhatThereIsRoomFor,
        CountsAllMinutesAsOne,
        ForgetsWhenTheLimitChanges,
    }

    #[async_trait]
    impl QuotaStore for Faulty {
        async fn take(&self, tenant: &Tenant, minute: Timestamp, jobs: u32, limit: u32) -> Result<Taken, StoreError> {
            match self.fault {
                Fault::GrantsWhatThereIsRoomFor => {
                    let mut taken = Taken::LimitReached;
                    for _ in 0..jobs {
                        if self.counts.take(tenant, minute, 1, limit).await? == Taken::Granted {
                            taken = Taken::Granted;
                        }
                    }
                    Ok(taken)
                }
                Fault::CountsAllMinutesAsOne => self.counts.take(tenant, Timestamp::from_millis(0), jobs, limit).await,
                Fault::ForgetsWhenTheLimitChanges => {
                    let apart = Tenant::named(&format!("{tenant}-{limit}")).expect("a name");
                    self.counts.take(&apart, minute, jobs, limit).await
                }
            }
        }
    }

    async fn try_the_contract(fault: Fault) {
        contract::quota_store(&Faulty { counts: MemoryQuotas::default(), fault }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "more than there ever is")]
    async fn the_contract_grants_no_part_of_what_is_asked_for() {
        try_the_contract(Fault::GrantsWhatThereIsRoomFor).await;
    }

    #[tokio::test]
    #[should_panic(expected = "one 2027-01-15T08:01:00.000Z")]
    async fn the_contract_gives_each_minute_its_own_count() {
        try_the_contract(Fault::CountsAllMinutesAsOne).await;
    }

    #[tokio::test]
    #[should_panic(expected = "less than is counted already")]
    async fn the_contract_keeps_the_count_when_the_limit_changes() {
        try_the_contract(Fault::ForgetsWhenTheLimitChanges).await;
    }
}
