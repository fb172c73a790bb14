//! What a Dray job is, what may happen to it, and the ports it lives behind.
//!
//! Nothing in this crate opens a socket or reads a clock, an environment variable or a random source: times, ids and
//! jitter are parameters. That is what lets the same code run in a Lambda function and under a test's own clock.
//!
//! Where to start: [`job::Job`] is the data, [`transition::transition`] is the only way its status changes,
//! [`ports`] is where it is kept, and [`job_type::JobType`] lists the work Dray knows how to do.

pub mod base64_text;
pub mod chain;
pub mod changes;
pub mod contract;
pub mod counters;
pub mod event;
pub mod files;
pub mod id;
pub mod invalid;
pub mod job;
pub mod job_type;
pub mod json;
pub mod memory;
pub mod name;
pub mod payloads;
pub mod ports;
pub mod product;
pub mod quota;
pub mod receipt;
pub mod retry;
pub mod schedule;
pub mod schedules;
pub mod standard_webhooks;
pub mod submission;
pub mod subscription;
pub mod subscriptions;
pub mod sweep;
pub mod time;
pub mod transition;
