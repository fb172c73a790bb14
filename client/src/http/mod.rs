//! One call of the API: sent, tried again, read.

pub mod client;
pub mod error;
pub mod pages;
pub mod retries;
pub mod verbatim;
