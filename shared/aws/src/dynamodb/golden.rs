//! What this build writes, as JSON: for tests that keep what each release has written, and hold later builds against it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_dynamo::to_item;
use shared::job::Job;
use shared::job::transition::Change;
use shared::ports::StoreError;
use shared::values::id::JobId;

use super::item::Item;
use super::update::updates_for;

/// An item in the JSON that DynamoDB writes: `{"id":{"S":"…"},…}`.
pub type ItemJson = serde_dynamo::Item;

/// An `UpdateItem` of one job, without table and key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateJson {
    /// Its `UpdateExpression`.
    pub update: String,
    /// Its `ConditionExpression`.
    pub condition: String,
    /// Its `ExpressionAttributeNames`.
    pub names: HashMap<String, String>,
    /// Its `ExpressionAttributeValues`.
    pub values: ItemJson,
}

/// The item that this build stores for `job`.
pub fn item_of(job: &Job) -> Result<ItemJson, StoreError> {
    to_item(Item::from(job)).map_err(|error| StoreError::Refused(error.into()))
}

/// The updates by which this build makes `change` happen to the job `id`, in the order in which it tries them.
pub fn updates_of(id: JobId, change: &Change) -> Result<Vec<UpdateJson>, StoreError> {
    let updates = updates_for(id, change)?.into_iter().map(|update| UpdateJson {
        update: update.expression(),
        condition: update.condition(),
        names: update.names(),
        values: update.values.into(),
    });
    Ok(updates.collect())
}
