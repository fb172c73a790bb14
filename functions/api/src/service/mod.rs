//! The deployment itself: its health, its figures, its queue.

pub mod health;
pub mod metrics;
pub mod queue;
pub mod stall;
pub mod stats;
