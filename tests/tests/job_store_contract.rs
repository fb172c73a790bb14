//! The DynamoDB store keeps the contracts of all that it stores.

use shared_aws::dynamodb::DynamoStore;
use tests::table::{NAME, Table};

#[tokio::test]
async fn the_dynamodb_store_keeps_its_contracts() {
    let table = Table::start().await;
    let store = DynamoStore::with_client(table.client(), NAME.to_owned());
    shared::contract::job_store(&store).await;
    shared::contract::switch(&store).await;
    shared::contract::products(&store).await;
    shared::quota::contract::quota_store(&store).await;
    shared::schedules::contract::schedule_store(&store).await;
}
