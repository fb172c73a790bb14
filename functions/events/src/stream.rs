//! A batch of the table's stream, as Lambda gives it.

use serde::Deserialize;
use serde_json::value::RawValue;
use shared::job::changes::{ImpossibleHistory, Recorded};
use shared::ports::StoreError;
use shared_aws::dynamodb::stream::read_change;

/// Some changes, in the order in which they happened to each item.
///
/// The images stay text until each is read for itself: one that cannot be read must not keep anybody from the others.
#[derive(Debug, Deserialize)]
pub struct StreamBatch {
    /// One for each change.
    #[serde(rename = "Records")]
    pub records: Vec<StreamRecord>,
}

/// One change of one item.
#[derive(Debug, Deserialize)]
pub struct StreamRecord {
    #[serde(rename = "dynamodb")]
    change: Images,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Images {
    sequence_number: String,
    old_image: Option<Box<RawValue>>,
    new_image: Option<Box<RawValue>>,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// What it shows is not a job as this build knows it.
    #[error(transparent)]
    Item(#[from] StoreError),
    /// What it shows cannot have happened.
    #[error(transparent)]
    History(#[from] ImpossibleHistory),
}

impl StreamRecord {
    /// By what the stream knows it.
    pub fn sequence_number(&self) -> &str {
        &self.change.sequence_number
    }

    /// The events that are new in it. None if the item is gone, or is not a job.
    pub fn new_events(&self) -> Result<Vec<Recorded>, Unreadable> {
        let Some(after) = &self.change.new_image else { return Ok(vec![]) };
        let before = self.change.old_image.as_deref().map(RawValue::get);
        match read_change(before, after.get())? {
            Some(change) => Ok(change.new_events()?),
            None => Ok(vec![]),
        }
    }
}
