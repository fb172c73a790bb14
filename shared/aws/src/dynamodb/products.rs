//! The products, in the table that holds the jobs.

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use serde_dynamo::aws_sdk_dynamodb_1::from_item;
use shared::ports::StoreError;
use shared::product::{Product, ProductId, Products};
use shared::values::id::Tenant;
use shared::values::time::Timestamp;

use super::attributes::{number, text};
use super::{DynamoStore, no_answer};

#[async_trait]
impl Products for DynamoStore {
    async fn find(&self, tenant: &Tenant, id: ProductId) -> Result<Option<Product>, StoreError> {
        let key = Product::key(tenant, id);
        let product = self.find_item(&key).await?.map(from_item).transpose();
        product.map_err(|error| StoreError::Unreadable(key, error.into()))
    }

    async fn mark_processed(&self, tenant: &Tenant, id: ProductId, at: Timestamp) -> Result<bool, StoreError> {
        let update = self.client.update_item().table_name(&self.table).key("id", text(Product::key(tenant, id)));
        let update = update.update_expression("SET #processed_at = if_not_exists(#processed_at, :at)");
        let update = update.condition_expression("attribute_exists(#id)");
        let update = update.expression_attribute_names("#processed_at", "processed_at");
        let update = update.expression_attribute_names("#id", "id");
        let update = update.expression_attribute_values(":at", number(&at.as_millis()));
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
                Some(_) | None => Err(no_answer(error)),
            },
        }
    }
}
