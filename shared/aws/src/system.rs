//! This machine's clock and random source.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shared::ports::{Clock, Entropy};
use shared::values::time::Timestamp;

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The operating system's random source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::expect_used, reason = "without random numbers ids would collide: better no function than that")]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random numbers");
    }
}

/// How long it is until `time` by the operating system's clock; zero if it is over.
pub fn time_until(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::now()).unwrap_or_default()
}

/// How long before a function's end it answers, whatever is still under way.
pub const TIME_TO_ANSWER: Duration = Duration::from_millis(500);
