//! Places at which a process can be made to die, to see that nothing is lost. Only in debug builds.
//!
//! With `KILL_POINTS` naming a folder, each call that a job's life takes passes two points: `<function>.<call>.before` and
//! `….after`. The process that first comes to a point whose name is that of a file in the folder takes the file away and kills
//! itself, as `kill -9` would.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Signal, getpid, kill_process};
use shared::job::Job;
use shared::job::transition::Change;
use shared::ports::{
    Changed, DeadLetter, DeadLetters, Deleted, Inserted, InsertedWith, JobQueue, JobStore, ListQuery, Message, Overdue,
    OwnItem, Page, QueueError, Receipt, StoreError, Unreadable,
};
use shared::values::id::JobId;
use shared::values::time::Timestamp;

use crate::settings::Lookup;

/// The kill points of one function.
#[derive(Clone, Debug)]
pub struct KillPoints {
    function: &'static str,
    folder: PathBuf,
}

impl KillPoints {
    /// Those of the function called `function`; `None` unless `KILL_POINTS` is set.
    pub fn read(function: &'static str, lookup: Lookup<'_>) -> Option<Self> {
        Some(Self { function, folder: lookup("KILL_POINTS")?.into() })
    }

    /// Dies here if it is to.
    pub fn pass(&self, point: &str) {
        let file = self.folder.join(format!("{}.{point}", self.function));
        if std::fs::remove_file(file).is_ok() {
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }

    /// The same port, with a point before and after each call.
    pub fn around<P: ?Sized>(&self, inner: Arc<P>) -> Guarded<P> {
        Guarded { inner, points: self.clone() }
    }
}

/// A port with kill points around its calls.
pub struct Guarded<P: ?Sized> {
    /// The port.
    pub inner: Arc<P>,
    /// The points.
    pub points: KillPoints,
}

#[async_trait]
impl JobStore for Guarded<dyn JobStore> {
    async fn insert_if_absent(&self, job: &Job) -> Result<Inserted, StoreError> {
        self.points.pass("insert.before");
        let answer = self.inner.insert_if_absent(job).await;
        self.points.pass("insert.after");
        answer
    }

    async fn find(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.points.pass("find.before");
        let answer = self.inner.find(id).await;
        self.points.pass("find.after");
        answer
    }

    async fn change_if_allowed(&self, id: JobId, change: &Change) -> Result<Changed, StoreError> {
        let name = name(change);
        self.points.pass(&format!("{name}.before"));
        let answer = self.inner.change_if_allowed(id, change).await;
        self.points.pass(&format!("{name}.after"));
        answer
    }

    async fn put_off(&self, unreadable: Unreadable, due_at: Timestamp) -> Result<bool, StoreError> {
        self.inner.put_off(unreadable, due_at).await
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Overdue, StoreError> {
        self.points.pass("overdue.before");
        let answer = self.inner.overdue(now, limit).await;
        self.points.pass("overdue.after");
        answer
    }

    async fn insert_all_if_absent(&self, jobs: &[Job]) -> Vec<Result<Inserted, StoreError>> {
        self.points.pass("insert_all.before");
        let answer = self.inner.insert_all_if_absent(jobs).await;
        self.points.pass("insert_all.after");
        answer
    }

    async fn insert_with(&self, job: &Job, own: &OwnItem) -> Result<InsertedWith, StoreError> {
        self.points.pass("insert_with.before");
        let answer = self.inner.insert_with(job, own).await;
        self.points.pass("insert_with.after");
        answer
    }

    async fn delete_if_ended(&self, id: JobId) -> Result<Deleted, StoreError> {
        self.points.pass("delete.before");
        let answer = self.inner.delete_if_ended(id).await;
        self.points.pass("delete.after");
        answer
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.inner.list(query).await
    }
}

fn name(change: &Change) -> &'static str {
    match change {
        Change::Claim { .. } => "claim",
        Change::Complete { .. } => "complete",
        Change::Retry { .. } => "retry",
        Change::Fail { .. } => "fail",
        Change::YieldToCancel { .. } => "yield_to_cancel",
        Change::Expire { .. } => "expire",
        Change::ExpireCancelled { .. } => "expire_cancelled",
        Change::Postpone { .. } => "postpone",
        Change::Yield { .. } => "yield",
        Change::Report { .. } => "report",
        Change::HoldBack { .. } => "hold_back",
        Change::EndHeldBack { .. } => "end_held_back",
        Change::Lapse { .. } => "lapse",
        Change::Reschedule { .. } => "reschedule",
        Change::Redrive { .. } => "redrive",
        Change::CancelPending { .. } => "cancel_pending",
        Change::RequestCancel { .. } => "request_cancel",
    }
}

#[async_trait]
impl JobQueue for Guarded<dyn JobQueue> {
    async fn send(&self, message: &Message) -> Result<(), QueueError> {
        self.points.pass("send.before");
        let answer = self.inner.send(message).await;
        self.points.pass("send.after");
        answer
    }

    async fn send_all(&self, messages: &[Message]) -> Vec<JobId> {
        if messages.is_empty() {
            return vec![];
        }
        self.points.pass("send_all.before");
        let answer = self.inner.send_all(messages).await;
        self.points.pass("send_all.after");
        answer
    }

    async fn hide(&self, receipt: &Receipt, rest: Duration) -> Result<(), QueueError> {
        self.points.pass("hide.before");
        let answer = self.inner.hide(receipt, rest).await;
        self.points.pass("hide.after");
        answer
    }

    async fn waiting(&self) -> Result<usize, QueueError> {
        self.points.pass("waiting.before");
        let answer = self.inner.waiting().await;
        self.points.pass("waiting.after");
        answer
    }
}

#[async_trait]
impl DeadLetters for Guarded<dyn DeadLetters> {
    async fn receive(&self, rest: Duration) -> Result<Vec<DeadLetter>, QueueError> {
        self.points.pass("dead_letters.before");
        let answer = self.inner.receive(rest).await;
        self.points.pass("dead_letters.after");
        answer
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), QueueError> {
        self.points.pass("delete_dead_letters.before");
        let answer = self.inner.delete(receipts).await;
        self.points.pass("delete_dead_letters.after");
        answer
    }

    async fn depth(&self) -> Result<usize, QueueError> {
        self.inner.depth().await
    }
}
