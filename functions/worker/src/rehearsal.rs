//! `rehearsal`: does as it is told. Only in debug builds.

use std::time::Duration;

use shared::payloads::rehearsal::{Act, Rehearsal};

use crate::job_types::Run;
use crate::{Context, JobError};

impl Run for Rehearsal {
    /// The number of the attempt that succeeded.
    type Output = u32;

    async fn run(self, context: Context) -> Result<u32, JobError> {
        tokio::time::sleep(Duration::from_millis(self.takes_ms)).await;
        let index = usize::try_from(context.attempt - 1).unwrap_or(usize::MAX);
        match self.attempts.get(index).or(self.attempts.last()).copied().unwrap_or(Act::Succeed) {
            Act::Succeed => Ok(context.attempt),
            Act::Fail => Err(JobError::retry("told to fail")),
            Act::GiveUp => Err(JobError::give_up("told to give up")),
            #[expect(clippy::panic, reason = "it is told to")]
            Act::Panic => panic!("told to panic"),
            Act::Hang => std::future::pending().await,
            Act::Spin => loop {
                std::hint::spin_loop();
            },
            Act::Crash => std::process::abort(),
        }
    }
}
