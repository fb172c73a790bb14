//! Each change as one update, or a claim as one of two, whose condition says what [`shared::job::transition::transition`] says.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use serde_dynamo::aws_sdk_dynamodb_1::to_attribute_value;
use shared::job::due;
use shared::job::event::{Event, LAPSED};
use shared::job::transition::{
    ABANDONED, Change, Fence, LEASE_MARGIN, MOST_ATTEMPTS_IN_ALL, MOST_EVENTS, latest_kept_due,
};
use shared::job::{FORMAT, HeldBack, KEEP_ENDED, Status};
use shared::job_type::JobType;
use shared::ports::{Lane, StoreError};
use shared::values::id::{JobId, LeaseToken, Tenant};
use shared::values::time::Timestamp;

use super::Attributes;
use super::item::{due_shard, listing};

/// The updates that make `change` happen, each under a condition: what is not allowed by one may be by the next, and if it
/// is by none, `change` may not happen.
pub fn updates_for(id: JobId, change: &Change) -> Result<Vec<Update>, StoreError> {
    let mut updates = vec![update_for(id, change)?];
    if let Change::Claim { now, token, time_left } = change {
        let late = claim(*now, *token, *time_left)?.only_if("#due_at > :latest_kept_due");
        updates.push(late.set_to("due_at", LEASE_END, ":lease_from", *now + LEASE_MARGIN)?);
    }
    if !change.needs_known_format() {
        return Ok(updates);
    }
    let known = |update: Update| {
        update.only_if("attribute_not_exists(#format) OR #format <= :known_format").value(":known_format", FORMAT)
    };
    updates.into_iter().map(known).collect()
}

/// The end of the lease of a job that is being claimed: `:lease_from` is now and a margin.
const LEASE_END: &str = "#timeout + :lease_from";

/// A claim, whatever the job's due.
fn claim(now: Timestamp, token: LeaseToken, time_left: Duration) -> Result<Update, StoreError> {
    Update::default()
        .set("status", Status::Processing)?
        .set("lease_token", token)?
        .set("started_at", now)?
        // An attempt that goes on has left a step of 0.
        .set_to("attempts", "#attempts + if_not_exists(#step, :one)", ":one", 1)?
        .remove("step")
        .remove("held_back")
        .set_to("lease_until", LEASE_END, ":lease_from", now + LEASE_MARGIN)?
        .happens(&Event::Started { at: now })?
        .only_if(&claimable())
        .only_if("#attempts < #max_attempts OR attribute_exists(#step)")
        .only_if(&format!("NOT ({EXPIRED})"))
        .only_if("#timeout <= :longest_timeout")
        .only_if_type_is_known()?
        .value(":now", now)?
        .value(":pending", Status::Pending)?
        .value(":processing", Status::Processing)?
        .value(":token", token)?
        .value(":longest_timeout", millis(time_left.checked_sub(LEASE_MARGIN)))?
        .value(":latest_kept_due", latest_kept_due(now))
}

/// The first of them, and for all changes but a claim the only one.
fn update_for(id: JobId, change: &Change) -> Result<Update, StoreError> {
    let update = match change {
        Change::Claim { now, token, time_left } => {
            claim(*now, *token, *time_left)?.only_if("#due_at <= :latest_kept_due")
        }
        Change::Complete { now, fence, result } => Update::default()
            .held_by(fence)?
            .ends(*now, Status::Completed)?
            .set("result", result.as_str())?
            .remove("error")
            .remove("checkpoint")
            .happens(&Event::Completed { at: *now })?,
        Change::Retry { now, fence, error, not_before } => Update::default()
            .held_by(fence)?
            .only_if("attribute_not_exists(#cancel_requested)")
            .only_if("#attempts < #max_attempts")
            .set("status", Status::Pending)?
            .set("error", error)?
            .set("not_before", not_before)?
            .set("due_at", due::due_after(*not_before))?
            .remove("lease_until")
            .happens(&Event::Retrying { at: *now, error: error.clone(), not_before: *not_before })?,
        Change::Fail { now, fence, error, tenant } => Update::default()
            .held_by(fence)?
            .only_if("attribute_not_exists(#cancel_requested)")
            .fails(id, *now, error, tenant)?,
        Change::YieldToCancel { now, fence } => {
            Update::default().held_by(fence)?.only_if("attribute_exists(#cancel_requested)").cancels(*now)?
        }
        Change::Yield { now, fence, checkpoint } => Update::default()
            .held_by(fence)?
            .only_if("attribute_not_exists(#cancel_requested)")
            .set("status", Status::Pending)?
            .set("checkpoint", checkpoint.as_str())?
            .set("step", 0)?
            .set("not_before", now)?
            .set("due_at", due::due_after(*now))?
            .remove("lease_until")
            .happens(&Event::Yielded { at: *now })?,
        Change::Report { fence, progress } => Update::default().held_by(fence)?.set("progress", progress)?,
        Change::HoldBack { now, reason } => Update::default()
            .startable_at(*now)?
            .only_if("#status <> :pending OR #not_before <= :now")
            .only_if("attribute_not_exists(#held_back) OR #held_back.#since < #started_at")
            .set("held_back", HeldBack { reason: reason.clone(), since: *now })?,
        Change::EndHeldBack { now, error, tenant } => Update::default()
            .startable_at(*now)?
            .only_if("#held_back.#since <= :latest_since")
            .only_if("attribute_not_exists(#started_at) OR #started_at <= #held_back.#since")
            .value(":latest_since", *now - HeldBack::LONGEST)?
            .remove("step")
            .fails(id, *now, error, tenant)?,
        Change::Lapse { now } => {
            let update = Update::default().startable_at(*now)?.only_if(EXPIRED);
            let update = update.ends(*now, Status::Cancelled)?.set("error", LAPSED)?.remove("step");
            update.happens(&Event::Lapsed { at: *now })?
        }
        Change::Reschedule { now, not_before } => Update::default()
            .only_if("#status = :pending")
            .value(":pending", Status::Pending)?
            .has_room()?
            .set("not_before", not_before)?
            .set("due_at", due::first_due(*not_before, *now))?
            .remove("held_back")
            .happens(&Event::Rescheduled { at: *now, not_before: *not_before })?,
        Change::Redrive { now, not_before, more_attempts, tenant } => {
            redrive(id, *now, *not_before, *more_attempts, tenant)?
        }
        Change::Expire { now, tenant } => Update::default()
            .abandoned_before(*now)?
            .only_if("attribute_not_exists(#cancel_requested)")
            .only_if("#attempts >= #max_attempts")
            .fails(id, *now, ABANDONED, tenant)?,
        Change::ExpireCancelled { now } => {
            Update::default().abandoned_before(*now)?.only_if("attribute_exists(#cancel_requested)").cancels(*now)?
        }
        Change::Postpone { seen_due_at, seen_lease_until, due_at } => {
            let update = Update::default().only_if("#due_at = :seen").value(":seen", seen_due_at)?;
            let update = match seen_lease_until {
                Some(lease) => update.only_if("#lease_until = :seen_lease").value(":seen_lease", lease)?,
                None => update.only_if("attribute_not_exists(#lease_until)"),
            };
            update.set("due_at", due_at)?
        }
        Change::CancelPending { now } => {
            let update = Update::default().only_if("#status = :pending").value(":pending", Status::Pending)?;
            update.cancels(*now)?.remove("step")
        }
        Change::RequestCancel { now } => Update::default()
            .only_if("#status = :processing")
            .value(":processing", Status::Processing)?
            .only_if("attribute_not_exists(#cancel_requested)")
            .set("cancel_requested", true)?
            .happens(&Event::CancelRequested { at: *now })?,
    };
    Ok(update)
}

fn redrive(
    id: JobId,
    now: Timestamp,
    not_before: Timestamp,
    more_attempts: u32,
    tenant: &Tenant,
) -> Result<Update, StoreError> {
    Update::default()
        .only_if("#status = :failed OR #status = :cancelled")
        .value(":failed", Status::Failed)?
        .value(":cancelled", Status::Cancelled)?
        .has_room()?
        .only_if("#attempts <= :attempts_with_room")
        .value(":attempts_with_room", i64::from(MOST_ATTEMPTS_IN_ALL) - i64::from(more_attempts))?
        .set("status", Status::Pending)?
        .set_to("max_attempts", "#attempts + :more", ":more", more_attempts)?
        .set("not_before", not_before)?
        .set("due_shard", due_shard(id))?
        .set("due_at", due::first_due(not_before, now))?
        .set("listing", listing(tenant, Lane::All, id))?
        .remove("finished_at")
        .remove("ttl")
        .remove("lease_token")
        .remove("expires_at")
        .remove("held_back")
        .happens(&Event::Redriven { at: now, not_before })
}

/// Whether it makes no sense any more to start the job: [`shared::job::transition::has_expired`].
const EXPIRED: &str = "attribute_exists(#expires_at) AND #expires_at <= :now AND attribute_not_exists(#step)";

/// When a worker may take a job, its attempts and its timeout aside.
fn claimable() -> String {
    let ready = "#status = :pending AND #not_before <= :now";
    let lease_over = "#status = :processing AND #lease_until < :now";
    let not_mine_already = "#lease_token <> :token";
    let wanted = "attribute_not_exists(#cancel_requested)";
    format!("({ready}) OR ({lease_over} AND {not_mine_already} AND {wanted})")
}

/// As many values as an `IN` takes.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html>
const IN_A_LIST: usize = 100;

/// An update expression and its condition, put together piece by piece. Every attribute is written as `#name`: half
/// of ours are reserved words.
#[derive(Default)]
pub struct Update {
    set: Vec<String>,
    remove: Vec<String>,
    conditions: Vec<String>,
    /// What the `:name`s in the two expressions stand for.
    pub values: Attributes,
}

impl Update {
    fn held_by(self, fence: &Fence) -> Result<Self, StoreError> {
        self.only_if("#status = :processing AND #attempts = :my_attempt AND #lease_token = :my_token")
            .value(":processing", Status::Processing)?
            .value(":my_attempt", fence.attempt)?
            .value(":my_token", fence.token)
    }

    /// Nobody has the job, and another start of it may come.
    fn startable_at(self, now: Timestamp) -> Result<Self, StoreError> {
        let lease_over = "#status = :processing AND #lease_until < :now AND #attempts < #max_attempts";
        self.only_if(&format!("#status = :pending OR ({lease_over} AND attribute_not_exists(#cancel_requested))"))
            .value(":now", now)?
            .value(":pending", Status::Pending)?
            .value(":processing", Status::Processing)
    }

    /// This build has the job's type, under one of its names.
    fn only_if_type_is_known(mut self) -> Result<Self, StoreError> {
        let policies = JobType::ALL.iter().map(|job_type| job_type.policy());
        let names: Vec<&str> = policies.flat_map(|policy| [&[policy.name], policy.aliases].concat()).collect();
        let mut lists = vec![];
        for (place, names) in names.chunks(IN_A_LIST).enumerate() {
            let placeholders: Vec<_> = (0..names.len()).map(|name| format!(":type_{place}_{name}")).collect();
            for (placeholder, name) in placeholders.iter().zip(names) {
                self = self.value(placeholder, name)?;
            }
            lists.push(format!("#type IN ({})", placeholders.join(", ")));
        }
        Ok(self.only_if(&lists.join(" OR ")))
    }

    /// The history has room for what people add to it.
    fn has_room(self) -> Result<Self, StoreError> {
        self.only_if("size(#history) < :most_events").value(":most_events", MOST_EVENTS)
    }

    fn abandoned_before(self, now: Timestamp) -> Result<Self, StoreError> {
        self.only_if("#status = :processing AND #lease_until < :now")
            .value(":processing", Status::Processing)?
            .value(":now", now)
    }

    fn ends(self, now: Timestamp, status: Status) -> Result<Self, StoreError> {
        let update = self.set("status", status)?.set("finished_at", now)?.set("ttl", (now + KEEP_ENDED).as_secs())?;
        let update = update.remove("due_shard").remove("due_at").remove("lease_until");
        Ok(update.remove("cancel_requested").remove("held_back"))
    }

    fn fails(self, id: JobId, now: Timestamp, error: &str, tenant: &Tenant) -> Result<Self, StoreError> {
        self.ends(now, Status::Failed)?
            .set("error", error)?
            .set("listing", listing(tenant, Lane::Failed, id))?
            .happens(&Event::Failed { at: now, error: error.to_owned() })
    }

    fn cancels(self, now: Timestamp) -> Result<Self, StoreError> {
        self.ends(now, Status::Cancelled)?.happens(&Event::Cancelled { at: now })
    }

    fn happens(self, event: &Event) -> Result<Self, StoreError> {
        self.set_to("history", "list_append(#history, :event)", ":event", [event])
    }

    fn set(self, name: &str, value: impl Serialize) -> Result<Self, StoreError> {
        let placeholder = format!(":new_{name}");
        self.set_to(name, &placeholder, &placeholder, value)
    }

    fn set_to(
        mut self,
        name: &str,
        expression: &str,
        placeholder: &str,
        value: impl Serialize,
    ) -> Result<Self, StoreError> {
        self.set.push(format!("#{name} = {expression}"));
        self.value(placeholder, value)
    }

    fn remove(mut self, name: &str) -> Self {
        self.remove.push(format!("#{name}"));
        self
    }

    fn only_if(mut self, condition: &str) -> Self {
        self.conditions.push(format!("({condition})"));
        self
    }

    fn value(mut self, placeholder: &str, value: impl Serialize) -> Result<Self, StoreError> {
        let value = to_attribute_value(value).map_err(|error| StoreError::Refused(error.into()))?;
        self.values.insert(placeholder.to_owned(), value);
        Ok(self)
    }

    /// What it does.
    pub fn expression(&self) -> String {
        let removed =
            if self.remove.is_empty() { String::new() } else { format!(" REMOVE {}", self.remove.join(", ")) };
        format!("SET {}{removed}", self.set.join(", "))
    }

    /// When it may.
    pub fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }

    /// What each `#name` in the two expressions stands for.
    pub fn names(&self) -> HashMap<String, String> {
        let both = self.expression() + " " + &self.condition();
        let words = both.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '#'));
        words.filter_map(|word| Some((word.to_owned(), word.strip_prefix('#')?.to_owned()))).collect()
    }
}

fn millis(time: Option<Duration>) -> i64 {
    time.map_or(-1, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}
