//! What each job type needs to know, one file per type.

pub mod csv_generation;
pub mod email_send;
#[cfg(debug_assertions)]
pub mod rehearsal;
