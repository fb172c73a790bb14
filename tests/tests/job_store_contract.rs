//! The DynamoDB store keeps the contract of job stores.

use shared_aws::dynamodb::DynamoStore;
use tests::table::{NAME, Table};

#[tokio::test]
async fn the_dynamodb_store_keeps_the_contract() {
    let table = Table::start().await;
    let store = DynamoStore::with_client(table.client(), NAME.to_owned());
    shared::contract::job_store(&store).await;
}
