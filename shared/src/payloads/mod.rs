//! What each job type needs to know, one file per type.

pub mod csv_generation;
pub mod email_send;
pub mod file_cleanup;
pub mod image_thumbnail;
pub mod product_processing;
pub mod push_notification;
#[cfg(feature = "rehearsal")]
pub mod rehearsal;
pub mod report_generation;
pub mod webhook_delivery;
