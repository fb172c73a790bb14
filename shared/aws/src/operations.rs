//! What each function asks of AWS: every operation that its code can make, and what it makes it on.
//!
//! `template.yaml` gives each role the rights that these need and no others, and the functions that the tests run are
//! refused everything else: what is not named here is not done.

/// What an operation is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// Any item of the table.
    Table,
    /// Items of the table whose id begins with one of [`COUNTERS`].
    Counters,
    /// The index `listing`.
    ListingIndex,
    /// The index `due`.
    DueIndex,
    /// The queue that brings jobs to the worker.
    JobsQueue,
    /// The queue of dead letters.
    DeadLetterQueue,
    /// The topic of what happens to jobs.
    EventsTopic,
    /// Objects below the prefix `output/` of the bucket.
    Files,
    /// The bucket itself.
    Bucket,
    /// E-mail of any sender that SES has verified.
    Mail,
}

/// What the ids of counters, and of the marks of what is counted, begin with.
pub const COUNTERS: [&str; 2] = ["counters#", "counted#"];

/// One operation of an AWS API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    /// Its name in the API: `GetItem`. What a transaction does is named with it: `TransactWriteItems.Put`.
    pub name: &'static str,
    /// The IAM actions that it takes.
    /// <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>
    pub actions: &'static [&'static str],
    /// What it is on.
    pub on: On,
}

const fn operation(name: &'static str, actions: &'static [&'static str], on: On) -> Operation {
    Operation { name, actions, on }
}

const GET: Operation = operation("GetItem", &["dynamodb:GetItem"], On::Table);
const PUT: Operation = operation("PutItem", &["dynamodb:PutItem"], On::Table);
const UPDATE: Operation = operation("UpdateItem", &["dynamodb:UpdateItem"], On::Table);
const DELETE: Operation = operation("DeleteItem", &["dynamodb:DeleteItem"], On::Table);
const BATCH_GET: Operation = operation("BatchGetItem", &["dynamodb:BatchGetItem"], On::Table);
/// Its statements are `INSERT`.
const BATCH_INSERT: Operation = operation("BatchExecuteStatement", &["dynamodb:PartiQLInsert"], On::Table);
const PUT_TOGETHER: Operation = operation("TransactWriteItems.Put", &["dynamodb:PutItem"], On::Table);
const COUNT: Operation = operation("TransactWriteItems.Update", &["dynamodb:UpdateItem"], On::Counters);
const QUERY_LISTING: Operation = operation("Query", &["dynamodb:Query"], On::ListingIndex);
const QUERY_DUE: Operation = operation("Query", &["dynamodb:Query"], On::DueIndex);
const SEND: Operation = operation("SendMessage", &["sqs:SendMessage"], On::JobsQueue);
const SEND_ALL: Operation = operation("SendMessageBatch", &["sqs:SendMessage"], On::JobsQueue);
const DEPTH: Operation = operation("GetQueueAttributes", &["sqs:GetQueueAttributes"], On::JobsQueue);

/// The API's.
pub const API: &[Operation] = &[
    GET,
    PUT,
    UPDATE,
    DELETE,
    BATCH_GET,
    BATCH_INSERT,
    PUT_TOGETHER,
    QUERY_LISTING,
    QUERY_DUE,
    SEND,
    SEND_ALL,
    DEPTH,
    operation("GetQueueAttributes", &["sqs:GetQueueAttributes"], On::DeadLetterQueue),
];

/// The worker's. It is given messages, and asks for none.
pub const WORKER: &[Operation] = &[
    GET,
    UPDATE,
    BATCH_GET,
    QUERY_LISTING,
    operation("ChangeMessageVisibility", &["sqs:ChangeMessageVisibility"], On::JobsQueue),
    operation("PutObject", &["s3:PutObject"], On::Files),
    operation("GetObject", &["s3:GetObject"], On::Files),
    operation("HeadObject", &["s3:GetObject"], On::Files),
    operation("DeleteObjects", &["s3:DeleteObject"], On::Files),
    operation("CreateMultipartUpload", &["s3:PutObject"], On::Files),
    operation("UploadPart", &["s3:PutObject"], On::Files),
    operation("ListParts", &["s3:ListMultipartUploadParts"], On::Files),
    operation("CompleteMultipartUpload", &["s3:PutObject"], On::Files),
    operation("AbortMultipartUpload", &["s3:AbortMultipartUpload"], On::Files),
    // Also what lets a read of a file that is not there say so: without it that is a forbidden one.
    operation("ListObjectsV2", &["s3:ListBucket"], On::Bucket),
    // A raw message by the v2 API takes the right of the v1 API as well.
    operation("SendEmail", &["ses:SendEmail", "ses:SendRawEmail"], On::Mail),
];

/// The sweeper's.
pub const SWEEPER: &[Operation] = &[
    GET,
    PUT,
    UPDATE,
    BATCH_GET,
    QUERY_DUE,
    SEND_ALL,
    DEPTH,
    operation("ReceiveMessage", &["sqs:ReceiveMessage"], On::DeadLetterQueue),
    operation("DeleteMessageBatch", &["sqs:DeleteMessage"], On::DeadLetterQueue),
];

/// Those of the function that sees to events. It is given the stream's records, and asks for none.
pub const EVENTS: &[Operation] = &[
    COUNT,
    BATCH_INSERT,
    // Where a batch is not answered, each of its jobs alone; where one is there, what it is.
    PUT,
    GET,
    SEND_ALL,
    operation("PublishBatch", &["sns:Publish"], On::EventsTopic),
];

/// The operations of the function with this name: `worker`. None if there is no such function.
pub fn of(function: &str) -> &'static [Operation] {
    match function {
        "api" => API,
        "worker" => WORKER,
        "sweeper" => SWEEPER,
        "events" => EVENTS,
        _ => &[],
    }
}
