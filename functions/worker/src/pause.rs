//! Whether jobs may be started at all.

use std::sync::Arc;
use std::time::Duration;

use shared::ports::Switch;
use shared::values::chain::Chain;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The switch as a worker sees it: looked at now and then, not for each job.
pub struct PauseWatch {
    switch: Arc<dyn Switch>,
    seen: Mutex<Option<Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    at: Instant,
    paused: bool,
}

/// How long an answer counts. A pause, or its end, is seen by every worker after so long; and a busy worker asks once in
/// so long, however many jobs it runs.
pub const BETWEEN_LOOKS: Duration = Duration::from_secs(10);

impl PauseWatch {
    /// Watches this switch.
    pub fn new(switch: Arc<dyn Switch>) -> Self {
        Self { switch, seen: Mutex::new(None) }
    }

    /// Whether no job shall be started now. If that cannot be learned, the last answer counts: the table that does not
    /// tell will not let a job be claimed either.
    pub async fn is_paused(&self) -> bool {
        let mut seen = self.seen.lock().await;
        if let Some(Seen { at, paused }) = *seen
            && at.elapsed() < BETWEEN_LOOKS
        {
            return paused;
        }
        let last = seen.is_some_and(|seen| seen.paused);
        let paused = match self.switch.is_paused().await {
            Ok(paused) => paused,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "switch.unseen");
                last
            }
        };
        *seen = Some(Seen { at: Instant::now(), paused });
        paused
    }
}
