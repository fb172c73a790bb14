//! A time that passes only while everything waits: a wait of hours is over at once.

use shared::ports::Clock;
use shared::values::time::Timestamp;
use tokio::time::Instant;

/// Lives through `story` on this thread, in a time of its own.
pub fn in_virtual_time<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(story)
}

/// When every story begins.
pub const EPOCH: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// The true time of a story.
#[derive(Clone, Copy, Debug)]
pub struct VirtualClock {
    began: Instant,
}

impl VirtualClock {
    /// The clock of a story that begins now.
    pub fn start() -> Self {
        Self { began: Instant::now() }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        EPOCH + self.began.elapsed()
    }
}
