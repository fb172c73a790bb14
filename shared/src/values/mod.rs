//! Values that everything else is made of: ids, names, times, JSON, and what is wrong with a field.
//! They know nothing of jobs, and nothing of each other but time.

pub mod base64_text;
pub mod chain;
pub mod id;
pub mod invalid;
pub mod json;
pub mod name;
pub mod standard_webhooks;
pub mod time;
