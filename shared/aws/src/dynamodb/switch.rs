//! The switch that stops the starting of jobs: one small item.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use shared::ports::{StoreError, Switch};

use super::attributes::text;
use super::{DynamoStore, no_answer};

/// The id of its item. No job has such an id.
const SWITCH: &str = "switch";

#[async_trait]
impl Switch for DynamoStore {
    /// An eventually consistent read: half a read unit.
    async fn is_paused(&self) -> Result<bool, StoreError> {
        let get = self.client.get_item().table_name(&self.table).key("id", text(SWITCH));
        let found = get.send().await.map_err(no_answer)?;
        Ok(found.item.is_some_and(|item| item.get("paused") == Some(&AttributeValue::Bool(true))))
    }

    async fn set_paused(&self, paused: bool) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(&self.table).item("id", text(SWITCH));
        put.item("paused", AttributeValue::Bool(paused)).send().await.map_err(no_answer)?;
        Ok(())
    }
}
