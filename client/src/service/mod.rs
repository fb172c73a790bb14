//! The deployment itself: its figures and its queue.

pub mod queue;
pub mod stats;
