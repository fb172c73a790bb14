//! The job store on DynamoDB. This module and those below it are the only ones that know what is in the table.
//!
//! Each change is one `UpdateItem` whose condition says what [`shared::job::transition::transition`] says, so that nothing
//! has to be read first and no two writers can both succeed. A claim of a job that has waited long is the second of two.

mod attributes;
mod counters;
mod find;
pub mod golden;
mod index;
mod item;
mod named;
mod products;
mod quota;
mod schedules;
pub mod stream;
mod subscriptions;
mod switch;
mod together;
mod update;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure as OnRefusal};
use serde_dynamo::aws_sdk_dynamodb_1::to_item;
use shared::job::transition::{Change, transition};
use shared::job::{Job, Status};
use shared::ports::{
    Changed, Deleted, Inserted, InsertedWith, JobStore, ListQuery, Overdue, OwnItem, Page, Source, StoreError,
    Unreadable,
};
use shared::values::id::JobId;
use shared::values::time::Timestamp;

use self::attributes::{Attributes, text};
use self::item::{Item, read};
use self::update::{Update, updates_for};

/// The indexes of the table: the name of each, the attribute that is asked for what is equal, and that for a range.
pub const INDEXES: [(&str, &str, &str); 2] = [("due", "due_shard", "due_at"), ("listing", "listing", "listed_at")];

/// The attribute by which DynamoDB deletes what has ended long ago, in seconds since 1970.
pub const TIME_TO_LIVE: &str = "ttl";

/// A [`JobStore`] on one DynamoDB table.
#[derive(Clone, Debug)]
pub struct DynamoStore {
    client: Client,
    table: String,
}

impl DynamoStore {
    /// The store in the table `table`.
    pub fn new(config: &SdkConfig, table: String) -> Self {
        Self::with_client(Client::new(config), table)
    }

    /// The store in the table `table`, by way of this client.
    pub fn with_client(client: Client, table: String) -> Self {
        Self { client, table }
    }

    async fn update(&self, id: JobId, update: Update) -> Result<Updated, StoreError> {
        let request = self.client.update_item().table_name(&self.table);
        let request = request.key("id", text(id.to_string()));
        let request = request.update_expression(update.expression()).condition_expression(update.condition());
        let request = request.set_expression_attribute_names(Some(update.names()));
        let request = request.set_expression_attribute_values(Some(update.values).filter(|values| !values.is_empty()));
        let request = request.return_values(ReturnValue::AllNew);
        match request.return_values_on_condition_check_failure(OnRefusal::AllOld).send().await {
            Ok(answer) => Ok(Updated::Yes(Box::new(read(answer.attributes.unwrap_or_default())?))),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => match refused.item.clone() {
                    None => Ok(Updated::Missing),
                    Some(item) => Ok(Updated::No(Box::new(read(item)?))),
                },
                Some(_) | None => Err(no_answer(error)),
            },
        }
    }
}

#[async_trait]
impl JobStore for DynamoStore {
    async fn insert_if_absent(&self, job: &Job) -> Result<Inserted, StoreError> {
        let item: Attributes = to_item(Item::from(job)).map_err(|error| StoreError::Refused(error.into()))?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = put.condition_expression("attribute_not_exists(#id)").expression_attribute_names("#id", "id");
        match put.return_values_on_condition_check_failure(OnRefusal::AllOld).send().await {
            Ok(_) => Ok(Inserted::New),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                    let there = refused.item.clone().unwrap_or_default();
                    Ok(Inserted::AlreadyThere(Box::new(read(there)?)))
                }
                Some(_) | None => Err(no_answer(error)),
            },
        }
    }

    async fn find(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.find_item(&id.to_string()).await?.map(read).transpose()
    }

    async fn change_if_allowed(&self, id: JobId, change: &Change) -> Result<Changed, StoreError> {
        for update in updates_for(id, change)? {
            let job = match self.update(id, update).await? {
                Updated::Yes(job) => return Ok(Changed::Applied(job)),
                Updated::Missing => return Ok(Changed::Missing),
                Updated::No(job) => job,
            };
            if let Err(refusal) = transition(&job, change) {
                return Ok(Changed::Refused(refusal, job));
            }
        }
        let refused = format!("the table refused what is allowed to {id}").into();
        Err(match change {
            // Somebody moved the job's due between the two updates.
            Change::Claim { .. } => StoreError::Unavailable(refused),
            // Cannot be: the condition and the function say the same, and the contract suite holds one against the other.
            _ => StoreError::Refused(refused),
        })
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Overdue, StoreError> {
        self.find_overdue(now, limit).await
    }

    async fn put_off(&self, unreadable: Unreadable, due_at: Timestamp) -> Result<bool, StoreError> {
        self.move_due(unreadable, due_at).await
    }

    async fn insert_all_if_absent(&self, jobs: &[Job]) -> Vec<Result<Inserted, StoreError>> {
        self.insert_in_batches(jobs).await
    }

    async fn insert_with(&self, job: &Job, own: &OwnItem) -> Result<InsertedWith, StoreError> {
        self.insert_in_one_transaction(job, own).await
    }

    async fn delete_if_ended(&self, id: JobId) -> Result<Deleted, StoreError> {
        let ended = [Status::Completed, Status::Failed, Status::Cancelled];
        let names = [":completed", ":failed", ":cancelled"];
        let delete = self.client.delete_item().table_name(&self.table).key("id", text(id.to_string()));
        let delete = delete.condition_expression("#status IN (:completed, :failed, :cancelled)");
        let delete = delete.expression_attribute_names("#status", "status");
        let values = names.map(str::to_owned).into_iter().zip(ended.map(|status| text(status.as_str())));
        let delete = delete.set_expression_attribute_values(Some(values.collect()));
        match delete.return_values_on_condition_check_failure(OnRefusal::AllOld).send().await {
            Ok(_) => Ok(Deleted::Yes),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(refused)) => match refused.item.clone() {
                    None => Ok(Deleted::Missing),
                    Some(item) => Ok(Deleted::NotEnded(Box::new(read(item)?))),
                },
                Some(_) | None => Err(no_answer(error)),
            },
        }
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.find_listed(query).await
    }
}

/// What became of an update.
enum Updated {
    /// It happened. The job as it is now.
    Yes(Box<Job>),
    /// Its condition did not hold. The job as it is.
    No(Box<Job>),
    /// There is no such job.
    Missing,
}

/// Tells errors that pass from those that stay. An unknown one passes: to try again costs little, to give up a job.
fn no_answer<E>(error: SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let stays =
        matches!(error.code(), Some("ValidationException" | "ResourceNotFoundException" | "AccessDeniedException"));
    let source: Source = Box::new(error);
    if stays { StoreError::Refused(source) } else { StoreError::Unavailable(source) }
}
