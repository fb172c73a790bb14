//! The sweeper over a real DynamoDB with jobs that it cannot read.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use shared::ports::contract;
use shared::ports::memory::{ManualClock, MemoryQueue};
use shared::ports::{Clock, JobStore, Message};
use shared::schedule::store::MemorySchedules;
use shared::values::id::JobId;
use shared::values::time::Timestamp;
use shared_aws::dynamodb::DynamoStore;
use shared_aws::dynamodb::golden::{ItemJson, item_of};
use sweeper::Sweeper;
use tests::table::{NAME, Table};

/// More than a sweep looks at in one go.
const MANY: u16 = 250;

#[tokio::test]
async fn however_many_jobs_cannot_be_read_the_others_are_swept_and_dead_letters_tidied() {
    let table = Table::start().await;
    let client = table.client();
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_800_000_100_000)));
    let time: Arc<dyn Clock> = clock.clone();
    let queue = Arc::new(MemoryQueue::new(time, Duration::from_secs(360), 1));
    let store = Arc::new(DynamoStore::with_client(client.clone(), NAME.to_owned()));
    let mut unreadable: Vec<JobId> = vec![];
    for number in 1..=MANY {
        let job = contract::job(number);
        let mut item = serde_json::to_value(item_of(&job).expect("an item")).expect("JSON");
        item["status"] = serde_json::json!({ "S": "paused" });
        let item: ItemJson = serde_json::from_value(item).expect("an item");
        client.put_item().table_name(NAME).set_item(Some(item.into())).send().await.expect("stored");
        unreadable.push(job.id);
    }
    let readable = contract::job(MANY + 1);
    store.insert_if_absent(&readable).await.expect("answers");
    // A message of a job that cannot be read has become a dead letter.
    shared::ports::JobQueue::send(queue.as_ref(), &Message::naming(unreadable[0], Duration::ZERO))
        .await
        .expect("taken");
    queue.receive().expect("a message");
    clock.advance(Duration::from_secs(400));
    assert_eq!(queue.receive(), None, "it is among the dead letters");

    let sweeper = Sweeper {
        store: store.clone(),
        queue: queue.clone(),
        schedules: Arc::new(MemorySchedules::default()),
        switch: store.clone(),
        dead_letters: queue.clone(),
        clock: clock.clone(),
    };
    let swept = sweeper.handle(Duration::from_secs(50)).await.expect("a sweep comes to its end");
    assert_eq!((swept.overdue, swept.sent), (usize::from(MANY) + 1, 1), "{swept:?}");
    assert_eq!(queue.receive().map(|delivery| delivery.job_id), Some(readable.id));
    assert_eq!(queue.dead_letters(), [unreadable[0]], "its letter stays");
    let key = AttributeValue::S(unreadable[0].to_string());
    let item = client.get_item().table_name(NAME).key("id", key).send().await.expect("answers").item.expect("there");
    let due_at = (clock.now() + Duration::from_secs(900)).as_millis().to_string();
    assert_eq!(item["due_at"].as_n().ok(), Some(&due_at));
}
