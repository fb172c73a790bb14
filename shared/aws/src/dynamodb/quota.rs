//! How many jobs each tenant has submitted in a minute: one small item for each, deleted some time after.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use shared::ports::StoreError;
use shared::quota::{QuotaStore, Taken};
use shared::values::id::Tenant;
use shared::values::time::Timestamp;

use super::attributes::{number, text};
use super::{DynamoStore, no_answer};

/// How long after its minute began an item is kept at least: longer than any clock of ours is slow.
const KEEP: Duration = Duration::from_secs(3600);

#[async_trait]
impl QuotaStore for DynamoStore {
    /// One write unit, granted or not.
    async fn take(&self, tenant: &Tenant, minute: Timestamp, jobs: u32, limit: u32) -> Result<Taken, StoreError> {
        let Some(room) = limit.checked_sub(jobs) else { return Ok(Taken::LimitReached) };
        let update = self.client.update_item().table_name(&self.table).key("id", key(tenant, minute));
        let update = update.update_expression("ADD #taken :jobs SET #ttl = :ttl");
        let update = update.condition_expression("attribute_not_exists(#taken) OR #taken <= :room");
        let update = update.expression_attribute_names("#taken", "taken").expression_attribute_names("#ttl", "ttl");
        let update = update.expression_attribute_values(":jobs", number(&jobs));
        let update = update.expression_attribute_values(":room", number(&room));
        let ttl = (minute + KEEP).as_secs();
        let update = update.expression_attribute_values(":ttl", number(&ttl));
        match update.send().await {
            Ok(_) => Ok(Taken::Granted),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(Taken::LimitReached),
                Some(_) | None => Err(no_answer(error)),
            },
        }
    }
}

/// `quota#<tenant>#<minute>`. No job has such an id, and no tenant's name has a `#`.
fn key(tenant: &Tenant, minute: Timestamp) -> AttributeValue {
    text(format!("quota#{tenant}#{minute}"))
}
