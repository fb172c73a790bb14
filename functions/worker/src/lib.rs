//! The SQS Lambda: runs jobs.
//!
//! Where to start: [`job_types`] lists them, one file each; `attempt` is what happens to one message.

mod attempt;
mod context;
mod csv_generation;
mod email_send;
mod file_cleanup;
mod image_thumbnail;
mod job_error;
pub mod job_types;
mod mail;
mod outbound;
mod output;
mod pause;
mod product_processing;
mod push_notification;
#[cfg(feature = "rehearsal")]
mod rehearsal;
mod report_generation;
mod spreadsheet;
mod tools;
mod webhook_delivery;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use shared::job::backoff::RetryPolicy;
use shared::ports::{Clock, Entropy, JobQueue, JobStore};
use shared_aws::system::TIME_TO_ANSWER;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::attempt::{Delivery, Shift, Verdict};
pub use crate::context::Context;
pub use crate::job_error::JobError;
pub use crate::mail::Mailer;
pub use crate::outbound::{Outbound, OutboundPolicy};
pub use crate::output::{Outputs, contract as output_contract};
pub use crate::pause::PauseWatch;
pub use crate::push_notification::PushGateway;
pub use crate::tools::{Records, Tools};

/// What it takes to run jobs.
pub struct Worker {
    /// The jobs.
    pub store: Arc<dyn JobStore>,
    /// Where their messages came from.
    pub queue: Arc<dyn JobQueue>,
    /// Whether jobs may be started.
    pub pause: PauseWatch,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random numbers for lease tokens and jitter.
    pub entropy: Arc<dyn Entropy>,
    /// How long to wait between attempts.
    pub retry: RetryPolicy,
    /// What the job types work with.
    pub tools: Arc<Tools>,
    /// What a job runs on.
    pub isolation: Isolation,
    /// Whether a job in this process does not stop, though its time is over.
    pub stuck: AtomicBool,
}

/// What keeps jobs of one batch apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// A thread for each: even a job that never lets go of its thread is alone with that.
    Thread,
    /// A task for each: for tests whose clock is not the machine's, with jobs that are known to let go.
    Task,
}

impl Worker {
    /// Works on all records of a batch at once, each in a task of its own, and names those whose message must stay in
    /// the queue. Answers before `time_left` is over, when the platform would end this process.
    ///
    /// Fails as a whole only if a record to be returned has no id to name it by: all of them are delivered again then,
    /// and what is done already is found done.
    pub async fn handle(
        self: Arc<Self>,
        event: SqsEvent,
        time_left: Duration,
    ) -> Result<SqsBatchResponse, lambda_runtime::Error> {
        let length = time_left.saturating_sub(TIME_TO_ANSWER);
        let shift = Shift { length, ends_at: Instant::now() + length };

        let mut tasks = JoinSet::new();
        let mut unfinished = vec![];
        for record in event.records {
            let worker = Arc::clone(&self);
            let message_id = record.message_id.clone();
            let delivery = Delivery::from(record);
            let task = tasks.spawn(async move {
                tokio::time::timeout_at(shift.ends_at, attempt::work_on(&worker, &delivery, shift)).await
            });
            unfinished.push((task.id(), message_id));
        }

        while let Some(ended) = tasks.join_next_with_id().await {
            let (task, verdict) = match ended {
                Ok((task, Ok(verdict))) => (task, verdict),
                Ok((task, Err(_elapsed))) => (task, Verdict::Return),
                Err(error) => (error.id(), Verdict::Return),
            };
            match verdict {
                Verdict::Done => unfinished.retain(|(id, _)| *id != task),
                Verdict::Return => {}
            }
        }
        if self.stuck.load(Ordering::Relaxed) {
            end_process();
        }
        let mut response = SqsBatchResponse::default();
        // A queue may deliver a message twice in one batch, and nobody says how an id is taken that is named twice.
        let mut named = HashSet::new();
        for (_, message_id) in unfinished {
            let message_id = message_id.ok_or("a record without a message id cannot be returned alone")?;
            if named.insert(message_id.clone()) {
                response.add_failure(message_id);
            }
        }
        Ok(response)
    }
}

/// Ends this process because a job would not stop and still has one of its threads. The platform starts a fresh one.
/// Nothing is lost: the outcomes are in the table, and the batch's messages are delivered again and found done.
fn end_process() -> ! {
    tracing::error!(error = "a job whose time is over does not stop", "worker.ended");
    std::process::exit(1)
}
