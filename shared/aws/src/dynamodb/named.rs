//! Items that tenants name, schedules and subscriptions: how they are stored, deleted and named, whatever is in them.
//!
//! The id of such an item is `<kind>#<tenant>#<name>`. It has a `version`, which counts its changes, and `created_at`.

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure as OnRefusal};
use serde::Serialize;
use serde_dynamo::aws_sdk_dynamodb_1::to_item;
use shared::ports::StoreError;
use shared::values::id::Tenant;
use shared::values::name::Name;
use shared::values::time::Timestamp;

use super::attributes::{Attributes, number, text};
use super::{DynamoStore, no_answer};

/// What became of a put.
pub(super) enum Put {
    /// The item is stored.
    Stored,
    /// It is not, because of this one, which is not the one that was seen.
    AnotherThere(Attributes),
    /// It is not, because the one that was seen is gone.
    NoneThere,
}

impl DynamoStore {
    /// Stores the item, in one atomic step, if what is there is still the one that was `seen`, by the time of its making
    /// and its version (`None`: that there was none).
    pub(super) async fn put_versioned(
        &self,
        item: &impl Serialize,
        seen: Option<(Timestamp, u64)>,
    ) -> Result<Put, StoreError> {
        let item: Attributes = to_item(item).map_err(|error| StoreError::Refused(error.into()))?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = match seen {
            None => put.condition_expression("attribute_not_exists(#id)").expression_attribute_names("#id", "id"),
            // The version alone would take one that was deleted and made again for the one that was seen.
            Some((created_at, version)) => put
                .condition_expression("#created_at = :created_at AND #version = :version")
                .expression_attribute_names("#created_at", "created_at")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":created_at", number(&created_at.as_millis()))
                .expression_attribute_values(":version", number(&version)),
        };
        match put.return_values_on_condition_check_failure(OnRefusal::AllOld).send().await {
            Ok(_) => Ok(Put::Stored),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                    Ok(refused.item.clone().map_or(Put::NoneThere, Put::AnotherThere))
                }
                Some(_) | None => Err(no_answer(error)),
            },
        }
    }

    /// Deletes the item of this id. Says whether it was there.
    pub(super) async fn delete_item(&self, id: &str) -> Result<bool, StoreError> {
        let delete = self.client.delete_item().table_name(&self.table).key("id", text(id));
        let deleted = delete.return_values(ReturnValue::AllOld).send().await.map_err(no_answer)?;
        Ok(deleted.attributes.is_some_and(|attributes| !attributes.is_empty()))
    }
}

/// The id of an item; `prefix` is its kind with a `#`. Neither of the other parts has one in it.
pub(super) fn id_of(prefix: &str, tenant: &Tenant, name: &Name) -> String {
    format!("{prefix}{tenant}#{name}")
}

/// Whose the item of this id is, and what it is called. `None` if it is of another kind.
pub(super) fn owner_and_name(prefix: &str, id: &str) -> Option<(Tenant, Name)> {
    let (tenant, name) = id.strip_prefix(prefix)?.split_once('#')?;
    Some((Tenant::named(tenant)?, Name::parse(name).ok()?))
}
