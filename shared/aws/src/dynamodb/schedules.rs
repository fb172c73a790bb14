//! The schedules, in the table that holds the jobs: one item each, and an entry in each of the two indexes.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shared::ports::{Source, StoreError};
use shared::schedule::store::{SchedulePage, ScheduleStore};
use shared::schedule::{Overlap, Rule, Schedule, ScheduleKey, ScheduleName, Skips, State};
use shared::values::chain::Chain;
use shared::values::id::Tenant;
use shared::values::json::Json;
use shared::values::time::Timestamp;

use super::DynamoStore;
use super::attributes::{Attributes, number, read_as, text, text_in};
use super::find::KeyQuery;
use super::named::{Put, id_of, owner_and_name};

/// The partition of the index `due` that holds the schedules that are not paused. No job is in it.
const DUE_SHARD: &str = "schedules";

/// What the ids of schedules begin with. No job's id does.
const PREFIX: &str = "schedule#";

#[async_trait]
impl ScheduleStore for DynamoStore {
    async fn find(&self, key: &ScheduleKey) -> Result<Option<Schedule>, StoreError> {
        self.find_item(&id(key)).await?.map(read).transpose()
    }

    async fn put_if_unchanged(&self, schedule: &Schedule, seen: Option<&Schedule>) -> Result<bool, StoreError> {
        let seen = seen.map(|seen| (seen.created_at, seen.version));
        match self.put_versioned(&Item::from(schedule), seen).await? {
            Put::Stored => Ok(true),
            // The put may have been tried twice, and the answer to the first try got lost.
            Put::AnotherThere(there) => Ok(read(there)? == *schedule),
            Put::NoneThere => Ok(false),
        }
    }

    async fn delete(&self, key: &ScheduleKey) -> Result<bool, StoreError> {
        self.delete_item(&id(key)).await
    }

    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&ScheduleName>,
        limit: usize,
    ) -> Result<SchedulePage, StoreError> {
        let query = KeyQuery::of("listing").only("listing", "=", text(listing(tenant)));
        let query = match after {
            Some(name) => query.only("listed_at", ">", text(name.as_str())),
            None => query,
        };
        // One more than asked for tells whether others follow.
        let mut keys = self.find_entries(&query, limit.saturating_add(1), key_in).await?;
        let more = keys.len() > limit;
        keys.truncate(limit);
        let next = keys.last().filter(|_| more).map(|key| key.name.clone());
        let mut schedules = self.find_schedules(&keys).await?;
        schedules.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(SchedulePage { schedules, next })
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<ScheduleKey>, StoreError> {
        let query = KeyQuery::of("due").only("due_shard", "=", text(DUE_SHARD));
        self.find_entries(&query.only("due_at", "<", number(&now.as_millis())), limit, key_in).await
    }
}

impl DynamoStore {
    /// The schedules of these keys, in any order. One that is gone, or cannot be read, is left out.
    async fn find_schedules(&self, keys: &[ScheduleKey]) -> Result<Vec<Schedule>, StoreError> {
        let (items, left_out) = self.find_items(&keys.iter().map(id).collect()).await?;
        if left_out {
            return Err(StoreError::Unavailable("some schedules were left out again and again".into()));
        }
        let mut schedules = vec![];
        for item in items {
            match read(item) {
                Ok(schedule) => schedules.push(schedule),
                Err(error) => tracing::error!(error = %Chain(&error), "schedule.unreadable"),
            }
        }
        Ok(schedules)
    }
}

/// `schedule#<tenant>#<name>`
fn id(key: &ScheduleKey) -> String {
    id_of(PREFIX, &key.tenant, &key.name)
}

/// The key in an entry of an index. One that cannot be read must not keep anybody from all the others.
fn key_in(entry: &Attributes) -> Option<ScheduleKey> {
    let id = text_in(entry, "id");
    let key = owner_and_name(PREFIX, &id).map(|(tenant, name)| ScheduleKey { tenant, name });
    if key.is_none() {
        tracing::error!(id, "schedule.unreadable");
    }
    key
}

/// The partition of the index `listing` that holds a tenant's schedules.
fn listing(tenant: &Tenant) -> String {
    format!("{tenant}#schedules")
}

/// A schedule as the table keeps it. Times are in milliseconds; the job is JSON text.
#[derive(Serialize, Deserialize)]
struct Item {
    id: String,
    tenant: Tenant,
    name: ScheduleName,
    cron: String,
    time_zone: String,
    job: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    version: u64,
    listing: String,
    listed_at: ScheduleName,
    /// Absent while it is paused, like the two below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_shard: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_run: Option<Timestamp>,
    /// Absent if runs may overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overlap: Option<Overlap>,
    /// How many runs were skipped because of that, and the latest of them; absent if none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skipped: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_skipped_at: Option<Timestamp>,
}

impl From<&Schedule> for Item {
    fn from(schedule: &Schedule) -> Self {
        let ScheduleKey { tenant, name } = &schedule.key;
        let next_at = match schedule.state {
            State::Active { next_at } => Some(next_at),
            State::Paused => None,
        };
        Self {
            id: id(&schedule.key),
            tenant: tenant.clone(),
            name: name.clone(),
            cron: schedule.rule.cron().to_owned(),
            time_zone: schedule.rule.time_zone().to_owned(),
            job: schedule.job.as_str().to_owned(),
            created_at: schedule.created_at,
            updated_at: schedule.updated_at,
            version: schedule.version,
            listing: listing(tenant),
            listed_at: name.clone(),
            next_at,
            due_shard: schedule.due_at().map(|_| DUE_SHARD.to_owned()),
            due_at: schedule.due_at(),
            last_run: schedule.last_run,
            overlap: Some(schedule.overlap).filter(|overlap| *overlap != Overlap::default()),
            skipped: schedule.skips.map(|skips| skips.count),
            last_skipped_at: schedule.skips.map(|skips| skips.last_at),
        }
    }
}

impl TryFrom<Item> for Schedule {
    type Error = Source;

    fn try_from(item: Item) -> Result<Self, Source> {
        Ok(Self {
            key: ScheduleKey { tenant: item.tenant, name: item.name },
            // Not as `PUT` reads it: what an earlier build took is still to be carried out, shown and mended.
            rule: Rule::stored(&item.cron, &item.time_zone)?,
            job: Json::parse(&item.job)?,
            overlap: item.overlap.unwrap_or_default(),
            state: item.next_at.map_or(State::Paused, |next_at| State::Active { next_at }),
            last_run: item.last_run,
            skips: item.skipped.zip(item.last_skipped_at).map(|(count, last_at)| Skips { count, last_at }),
            created_at: item.created_at,
            updated_at: item.updated_at,
            version: item.version,
        })
    }
}

fn read(item: Attributes) -> Result<Schedule, StoreError> {
    read_as::<Item, _>(item)
}

#[cfg(test)]
mod tests {
    use serde_dynamo::aws_sdk_dynamodb_1::to_item;
    use shared::job::submission::Limits;
    use shared::schedule::Definition;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn schedule() -> Schedule {
        let body = br#"{"cron":"0 * * * *","job":{"type":"csv-generation","payload":{"a":1}}}"#;
        let name = ScheduleName::parse("hourly").expect("a name");
        let definition = Definition::parse(body, NOW, Limits::default()).expect("fits");
        Schedule::new(ScheduleKey { tenant: Tenant::only(), name }, definition, NOW)
    }

    fn item(schedule: &Schedule) -> Attributes {
        to_item(Item::from(schedule)).expect("serialises")
    }

    #[test]
    fn a_schedule_of_an_earlier_build_is_read_whatever_it_lacks_or_has_too_much_of() {
        let plain = item(&schedule());
        for attribute in ["overlap", "skipped", "last_skipped_at", "last_run"] {
            assert!(!plain.contains_key(attribute), "an earlier build would not know `{attribute}`");
        }
        let mut with_large_step = plain.clone();
        with_large_step.insert("cron".to_owned(), text("*/90 * * * *"));
        let read_back = read(with_large_step).expect("readable");
        assert_eq!(read_back.rule.cron(), "*/90 * * * *");
        assert_eq!(read_back.next_runs(NOW, 2), schedule().next_runs(NOW, 2), "hourly, as it has always been");

        let mut of_a_later_build = plain;
        of_a_later_build.insert("colour".to_owned(), text("red"));
        assert_eq!(read(of_a_later_build).expect("readable"), schedule());
    }

    #[test]
    fn what_is_said_of_overlaps_is_stored() {
        let skips = Some(Skips { count: 3, last_at: NOW });
        let skipping = Schedule { overlap: Overlap::Skip, skips, ..schedule() };
        let stored = item(&skipping);
        assert_eq!(stored["overlap"], text("skip"));
        assert_eq!((&stored["skipped"], &stored["last_skipped_at"]), (&number(&3), &number(&NOW.as_millis())));
        assert_eq!(read(stored).expect("readable"), skipping);
    }
}
