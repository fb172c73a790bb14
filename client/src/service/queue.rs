//! Pausing all work.

use serde::{Deserialize, Serialize};

use crate::http::client::Client;
use crate::http::error::Error;
use crate::http::verbatim::Verbatim;

/// The queue behind the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Queue {
    /// Whether no attempts are begun.
    pub paused: bool,
    /// How many messages wait in it, about.
    #[serde(default)]
    pub waiting_messages: Option<u64>,
}

impl Client {
    /// The queue as it is.
    pub async fn queue(&self) -> Result<Verbatim<Queue>, Error> {
        self.get(&["queue"]).read().await
    }

    /// Lets no attempt begin until the queue is resumed. Running ones go on, and none is used up by waiting.
    pub async fn pause_queue(&self) -> Result<Verbatim<Queue>, Error> {
        self.post(&["queue", "pause"]).read().await
    }

    /// Lets attempts begin again.
    pub async fn resume_queue(&self) -> Result<Verbatim<Queue>, Error> {
        self.post(&["queue", "resume"]).read().await
    }
}
