//! What every release has written is read by this build, and taken through every change; and this build works beside it on
//! one table.
//!
//! `tests/golden/<version>.json` holds what a release has written: items in every state, the updates that it sends, its
//! messages. To keep a new release's, run `GOLDEN=0.2.0 cargo test --workspace --test handlers releases` before it is released;
//! a file of a release that is out is never written again.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use shared::job::due::LONGEST_BETWEEN_LOOKS;
use shared::job::event::fold;
use shared::job::transition::{Change, Refusal, transition};
use shared::job::{FORMAT, Job, Status};
use shared::ports::contract;
use shared::ports::{Changed, Entropy as _, JobStore as _, Message, Overdue, StoreError, Unreadable};
use shared::values::id::JobId;
use shared::values::time::Timestamp;
use shared_aws::dynamodb::DynamoStore;
use shared_aws::dynamodb::golden::{ItemJson, UpdateJson, item_of, updates_of};
use shared_aws::dynamodb::stream::read_change;
use shared_aws::system::SystemEntropy;
use tests::table::{NAME, Table};

/// What one release writes.
#[derive(Serialize, Deserialize)]
struct Golden {
    /// Items of one and the same job, each in another state.
    items: Vec<ItemJson>,
    /// The updates of each change of that job, in the order in which the release tries them.
    changes: BTreeMap<String, Vec<UpdateJson>>,
    /// The body of the message that names the job.
    message: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// What this build writes.
fn of_this_build() -> Golden {
    let job = contract::job(1);
    let mut items = vec![item_of(&contract::job_with_everything(1)).expect("an item")];
    for path in contract::paths() {
        let changed = path.iter().try_fold(job.clone(), |job, change| transition(&job, change)).expect("a way");
        items.push(item_of(&changed).expect("an item"));
    }
    let changes = contract::changes().into_iter().map(|change| {
        let updates = updates_of(job.id, &change).expect("updates");
        (format!("{change:?}"), updates)
    });
    Golden { items, changes: changes.collect(), message: Message::about(&job, Duration::ZERO).body() }
}

#[test]
fn a_release_is_kept_on_request() {
    let Ok(release) = std::env::var("GOLDEN") else { return };
    let file = folder().join(format!("{release}.json"));
    assert!(!file.exists(), "{} is a release that is out", file.display());
    let text = serde_json::to_string(&of_this_build()).expect("JSON");
    std::fs::create_dir_all(folder()).expect("a folder");
    std::fs::write(file, text + "\n").expect("the file is written");
}

/// All that releases have written, by their versions.
fn releases() -> Vec<(String, Golden)> {
    let files = std::fs::read_dir(folder()).expect("the folder is there");
    let mut releases: Vec<_> = files
        .map(|file| {
            let file = file.expect("a file").path();
            let text = std::fs::read_to_string(&file).expect("it is readable");
            (file.display().to_string(), serde_json::from_str(&text).expect("it is what a release writes"))
        })
        .collect();
    releases.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert!(!releases.is_empty());
    releases
}

#[test]
fn of_each_release_it_is_kept_what_it_has_written() {
    let changelog = include_str!("../../../CHANGELOG.md");
    let released =
        changelog.lines().filter_map(|line| line.strip_prefix("## ")).filter(|it| !it.ends_with("unreleased"));
    let released: Vec<_> = released.map(|heading| heading.split([',', ' ']).next().expect("a version")).collect();
    assert!(!released.is_empty());
    for version in &released {
        assert!(
            folder().join(format!("{version}.json")).exists(),
            "GOLDEN={version} cargo test --test handlers releases"
        );
    }
    assert!(!released.contains(&env!("CARGO_PKG_VERSION")), "what is being written has a version of its own");
}

/// A table with one job, which several releases work on.
struct Shared {
    client: Client,
    store: DynamoStore,
    id: JobId,
}

impl Shared {
    async fn with(table: &Table, item: &ItemJson) -> Self {
        let (client, id) = (table.client(), contract::job(1).id);
        let put = client.put_item().table_name(NAME).set_item(Some(item.clone().into()));
        put.send().await.expect("the item is stored");
        Self { store: DynamoStore::with_client(client.clone(), NAME.to_owned()), client, id }
    }

    async fn job(&self) -> Job {
        let job = self.store.find(self.id).await.expect("this build reads it").expect("it is there");
        assert_eq!(fold(&job.history), Some(job.summary()), "{job:?}");
        job
    }

    /// A release makes a change by its own updates: the first of them that the table allows.
    async fn change_as(&self, updates: &[UpdateJson]) {
        for UpdateJson { update, condition, names, values } in updates {
            let values: HashMap<String, AttributeValue> = values.clone().into();
            let request = self.client.update_item().table_name(NAME).key("id", AttributeValue::S(self.id.to_string()));
            let request = request.update_expression(update).condition_expression(condition);
            let request = request.set_expression_attribute_names(Some(names.clone()));
            let request = request.set_expression_attribute_values(Some(values).filter(|values| !values.is_empty()));
            match request.send().await {
                Ok(_) => return,
                Err(error) => {
                    let refused =
                        error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception);
                    assert!(refused, "{error:?}");
                }
            }
        }
    }

    /// This build makes a change, and what comes of it is what [`transition`] says.
    async fn change(&self, change: &Change) {
        let before = self.job().await;
        let answer = self.store.change_if_allowed(self.id, change).await.expect("answers");
        let expected = match transition(&before, change) {
            Ok(after) => Changed::Applied(Box::new(after)),
            Err(refusal) => Changed::Refused(refusal, Box::new(before)),
        };
        assert_eq!(answer, expected, "{change:?}");
    }
}

#[tokio::test]
async fn every_item_that_a_release_has_written_is_read_and_taken_through_every_change() {
    let table = Table::start().await;
    for (release, golden) in releases() {
        for item in &golden.items {
            let image = serde_json::to_string(item).expect("JSON");
            let told = read_change(None, &image).expect("the stream is read").expect("it is a job");
            assert!(told.new_events().is_ok(), "{release}: {image}");
            for change in contract::changes() {
                let shared = Shared::with(&table, item).await;
                shared.change(&change).await;
                shared.job().await;
            }
        }
        assert_eq!(Message::job_named_in(&golden.message), Some(contract::job(1).id), "{release}");
    }
}

fn new_seed() -> u64 {
    let mut seed = [0; 8];
    SystemEntropy.fill(&mut seed);
    u64::from_be_bytes(seed)
}

/// What two releases do in turn to one job. `SEED` repeats a run.
#[tokio::test]
async fn a_release_and_this_build_change_one_job_in_turn_and_it_stays_in_order() {
    let seed = std::env::var("SEED").ok().map_or_else(new_seed, |seed| seed.parse().expect("SEED is a number"));
    eprintln!("SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let table = Table::start().await;
    for (_, golden) in releases() {
        let theirs: Vec<_> = golden.changes.values().collect();
        let mine = contract::changes();
        for _ in 0..150 {
            let item = &golden.items[random.random_range(..golden.items.len())];
            let shared = Shared::with(&table, item).await;
            for _ in 0..6 {
                let before = shared.job().await;
                shared.change_as(theirs[random.random_range(..theirs.len())]).await;
                let after = shared.job().await;
                assert!(after.history.starts_with(&before.history), "what happened stays: {before:?} {after:?}");
                assert!(after.attempts >= before.attempts);
                shared.change(&mine[random.random_range(..mine.len())]).await;
            }
        }
    }
}

/// Items that no build has written yet.
fn of_a_newer_build(edit: impl FnOnce(&mut serde_json::Value)) -> ItemJson {
    let mut item = serde_json::to_value(item_of(&contract::job(1)).expect("an item")).expect("JSON");
    edit(&mut item);
    serde_json::from_value(item).expect("an item")
}

fn claim() -> Change {
    let later = Timestamp::from_millis(1_800_000_020_000);
    Change::Claim { now: later, token: shared::values::id::LeaseToken::new([9; 8]), time_left: Duration::from_secs(60) }
}

#[tokio::test]
async fn an_event_of_a_newer_build_costs_the_job_nothing_and_stays_in_the_table() {
    let table = Table::start().await;
    let paused = serde_json::json!({"M": {
        "event": {"S": "paused"}, "at": {"N": "1800000010000"}, "by": {"S": "ada"}, "until": {"N": "1.5"},
    }});
    let item = of_a_newer_build(|item| {
        item["history"]["L"].as_array_mut().expect("a list").push(paused.clone());
    });
    let shared = Shared::with(&table, &item).await;
    assert_eq!(shared.job().await.history.len(), 2);
    let applied = shared.store.change_if_allowed(shared.id, &claim()).await.expect("answers");
    assert!(matches!(applied, Changed::Applied(job) if job.attempts == 1), "its answer is read");
    let stored = shared.client.get_item().table_name(NAME).key("id", AttributeValue::S(shared.id.to_string()));
    let stored: ItemJson = stored.send().await.expect("answers").item.expect("is there").into();
    let stored = serde_json::to_value(stored).expect("JSON");
    assert_eq!(stored["history"]["L"][1], paused);
    let again = serde_json::to_value(item_of(&shared.job().await).expect("an item")).expect("JSON");
    assert_eq!(again["history"]["L"][1], paused, "it would be written as it was read");
}

#[tokio::test]
async fn a_job_of_a_newer_format_is_left_alone_at_the_cost_of_no_attempt() {
    let table = Table::start().await;
    let newer = (FORMAT + 1).to_string();
    let readable = of_a_newer_build(|item| item["format"] = serde_json::json!({ "N": newer }));
    let shared = Shared::with(&table, &readable).await;
    let refused = shared.store.change_if_allowed(shared.id, &claim()).await.expect("answers");
    assert!(matches!(refused, Changed::Refused(Refusal::NewerFormat, job) if job.attempts == 0));

    let unreadable = of_a_newer_build(|item| {
        item["format"] = serde_json::json!({ "N": newer });
        item["status"] = serde_json::json!({ "S": "paused" });
    });
    let shared = Shared::with(&table, &unreadable).await;
    for error in [
        shared.store.change_if_allowed(shared.id, &claim()).await.expect_err("it cannot be read"),
        shared.store.find(shared.id).await.expect_err("it cannot be read"),
    ] {
        assert!(matches!(&error, StoreError::Newer(_, format) if *format == FORMAT + 1), "{error:?}");
    }
    let item = shared.client.get_item().table_name(NAME).key("id", AttributeValue::S(shared.id.to_string()));
    let item: ItemJson = item.send().await.expect("answers").item.expect("is there").into();
    assert_eq!(serde_json::to_value(&item).expect("JSON"), serde_json::to_value(&unreadable).expect("JSON"));
}

#[tokio::test]
async fn a_job_that_cannot_be_read_does_not_stand_in_the_sweepers_way() {
    let table = Table::start().await;
    let unreadable = of_a_newer_build(|item| {
        item["status"] = serde_json::json!({ "S": "paused" });
        item["due_at"] = serde_json::json!({ "N": "1800000000000" }); // overdue for longest
    });
    let shared = Shared::with(&table, &unreadable).await;
    let readable = contract::job(2);
    shared.store.insert_if_absent(&readable).await.expect("answers");
    let now = Timestamp::from_millis(1_800_000_100_000);
    let found = shared.store.overdue(now, 1).await.expect("answers");
    let unreadable = Unreadable { id: shared.id, due_at: Timestamp::from_millis(1_800_000_000_000) };
    assert_eq!(found, Overdue { jobs: vec![], unreadable: vec![unreadable] }, "it comes first");
    assert!(shared.store.put_off(unreadable, now + LONGEST_BETWEEN_LOOKS).await.expect("answers"));
    assert!(!shared.store.put_off(unreadable, now).await.expect("answers"), "it has moved");
    let found = shared.store.overdue(now, 1).await.expect("answers").jobs;
    assert_eq!(found.iter().map(|job| (job.id, job.status())).collect::<Vec<_>>(), [(readable.id, Status::Pending)]);
    let item = shared.client.get_item().table_name(NAME).key("id", AttributeValue::S(shared.id.to_string()));
    let item = item.send().await.expect("answers").item.expect("is there");
    let later = (now + LONGEST_BETWEEN_LOOKS).as_millis().to_string();
    assert_eq!(item["due_at"].as_n().ok(), Some(&later), "it is looked at again");
}
