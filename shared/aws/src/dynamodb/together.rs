//! Several jobs in one request, and a job together with an item that is not ours.

use std::collections::HashSet;

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    BatchStatementErrorCodeEnum as Code, BatchStatementRequest, Put, ReturnValuesOnConditionCheckFailure as OnRefusal,
    TransactWriteItem,
};
use serde_dynamo::aws_sdk_dynamodb_1::to_item;
use shared::job::Job;
use shared::ports::{Inserted, InsertedWith, JobStore, OwnItem, Source, StoreError};
use shared::values::chain::Chain;

use super::attributes::Attributes;
use super::item::{Item, read};
use super::{DynamoStore, no_answer};

/// As many statements as one `BatchExecuteStatement` takes.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchExecuteStatement.html>
const STATEMENTS: usize = 25;

impl DynamoStore {
    /// [`JobStore::insert_all_if_absent`]. DynamoDB refuses a batch as a whole that names an id twice: it is given each id
    /// once, and jobs that repeat one are put when the batches are through, to find what is there.
    pub(super) async fn insert_in_batches(&self, jobs: &[Job]) -> Vec<Result<Inserted, StoreError>> {
        let mut ids = HashSet::new();
        let distinct: Vec<&Job> = jobs.iter().filter(|job| ids.insert(job.id)).collect();
        let inserted = self.insert_distinct(&distinct).await;
        if distinct.len() == jobs.len() {
            return inserted;
        }
        let mut inserted = inserted.into_iter();
        let mut outcomes = vec![];
        for job in jobs {
            let of_batch = if ids.remove(&job.id) { inserted.next() } else { None };
            outcomes.push(match of_batch {
                Some(outcome) => outcome,
                None => self.insert_if_absent(job).await,
            });
        }
        outcomes
    }

    /// `BatchWriteItem` knows no conditions; a `PartiQL` `INSERT` is one by itself, and each statement of a batch has an
    /// outcome of its own.
    async fn insert_distinct(&self, jobs: &[&Job]) -> Vec<Result<Inserted, StoreError>> {
        let mut outcomes = vec![];
        for batch in jobs.chunks(STATEMENTS) {
            match self.insert_batch(batch).await {
                Ok(answers) => outcomes.extend(answers),
                // The batch was not answered: what has become of each of its jobs, only each for itself can tell.
                Err(error) if error.retryable() => outcomes.extend(self.insert_one_by_one(batch).await),
                Err(error) => {
                    let said = Chain(&error).to_string();
                    outcomes.extend(batch.iter().map(|_| Err(StoreError::Refused(said.clone().into()))));
                }
            }
        }
        outcomes
    }

    /// Until the table does not answer one of them: then it has no time for the rest either.
    async fn insert_one_by_one(&self, jobs: &[&Job]) -> Vec<Result<Inserted, StoreError>> {
        let mut outcomes = vec![];
        for job in jobs {
            let outcome = self.insert_if_absent(job).await;
            let gone = matches!(outcome, Err(StoreError::Unavailable(_)));
            outcomes.push(outcome);
            if gone {
                break;
            }
        }
        let unasked = || Err(StoreError::Unavailable("the table does not answer".into()));
        outcomes.resize_with(jobs.len(), unasked);
        outcomes
    }

    async fn insert_batch(&self, jobs: &[&Job]) -> Result<Vec<Result<Inserted, StoreError>>, StoreError> {
        let statements = jobs.iter().map(|job| self.insert_statement(job)).collect::<Result<Vec<_>, _>>()?;
        let batch = self.client.batch_execute_statement().set_statements(Some(statements));
        let answer = batch.send().await.map_err(no_answer)?;
        let answers = answer.responses.unwrap_or_default();
        if answers.len() != jobs.len() {
            return Err(StoreError::Unavailable("not every statement was answered".into()));
        }
        let mut outcomes = vec![];
        for (job, answer) in jobs.iter().zip(answers) {
            outcomes.push(match answer.error.map(|error| (error.code, error.message)) {
                None => Ok(Inserted::New),
                Some((Some(Code::DuplicateItem), _)) => self.what_is_there(job).await,
                Some((Some(Code::ValidationError | Code::AccessDenied | Code::ResourceNotFound), message)) => {
                    Err(StoreError::Refused(message.unwrap_or_default().into()))
                }
                Some((_, message)) => Err(StoreError::Unavailable(message.unwrap_or_default().into())),
            });
        }
        Ok(outcomes)
    }

    /// `INSERT INTO "table" VALUE {'id': ?, …}`
    fn insert_statement(&self, job: &Job) -> Result<BatchStatementRequest, StoreError> {
        let item: Attributes = to_item(Item::from(job)).map_err(refused)?;
        let (names, values): (Vec<_>, Vec<_>) = item.into_iter().unzip();
        let fields: Vec<_> = names.iter().map(|name| format!("'{name}': ?")).collect();
        let statement = format!("INSERT INTO \"{}\" VALUE {{{}}}", self.table, fields.join(", "));
        let request = BatchStatementRequest::builder().statement(statement).set_parameters(Some(values));
        request.build().map_err(refused)
    }

    /// The job that is in the way of `job`. A batch does not tell, other than a put.
    async fn what_is_there(&self, job: &Job) -> Result<Inserted, StoreError> {
        match self.find(job.id).await? {
            Some(there) => Ok(Inserted::AlreadyThere(Box::new(there))),
            // Deleted in this very moment.
            None => self.insert_if_absent(job).await,
        }
    }

    /// [`JobStore::insert_with`]: `TransactWriteItems`, which costs twice the write units of two puts.
    pub(super) async fn insert_in_one_transaction(&self, job: &Job, own: &OwnItem) -> Result<InsertedWith, StoreError> {
        let job_item: Attributes = to_item(Item::from(job)).map_err(refused)?;
        let own_item: Attributes = to_item(&own.item).map_err(refused)?;
        let own_table = own.table.as_ref().unwrap_or(&self.table);
        let puts = [put(&self.table, "id", job_item)?, put(own_table, &own.key, own_item)?];
        // The SDK gives the request a token, by which DynamoDB knows the tries of this one call.
        let transaction = self.client.transact_write_items();
        let Err(error) = transaction.set_transact_items(Some(puts.into())).send().await else {
            return Ok(InsertedWith::New);
        };
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() else {
            return Err(no_answer(error));
        };
        let reasons = cancelled.cancellation_reasons();
        let refused_by =
            |index: usize| reasons.get(index).and_then(|reason| reason.code()) == Some("ConditionalCheckFailed");
        match reasons.first().and_then(|reason| reason.item.clone()) {
            Some(there) if refused_by(0) => Ok(InsertedWith::JobThere(Box::new(read(there)?))),
            _ if refused_by(0) => match self.find(job.id).await? {
                Some(there) => Ok(InsertedWith::JobThere(Box::new(there))),
                None => Err(StoreError::Unavailable("the job was there a moment ago".into())),
            },
            _ if refused_by(1) => Ok(InsertedWith::OwnItemThere),
            // Another transaction on the same items, or throttling.
            _ => Err(no_answer(error)),
        }
    }
}

fn put(table: &str, key: &str, item: Attributes) -> Result<TransactWriteItem, StoreError> {
    let put = Put::builder().table_name(table).set_item(Some(item)).condition_expression("attribute_not_exists(#key)");
    let put = put.expression_attribute_names("#key", key);
    let put = put.return_values_on_condition_check_failure(OnRefusal::AllOld).build().map_err(refused)?;
    Ok(TransactWriteItem::builder().put(put).build())
}

fn refused(error: impl Into<Source>) -> StoreError {
    StoreError::Refused(error.into())
}
