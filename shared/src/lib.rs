//! What a Dray job is, what may happen to it, and the ports it lives behind.
//!
//! Nothing in this crate opens a socket or reads a clock, an environment variable or a random source: times, ids and
//! jitter are parameters. That is what lets the same code run in a Lambda function and under a test's own clock.
//!
//! Where to start: [`job::Job`] is the data, [`job::transition::transition`] is the only way its status changes,
//! [`ports`] is where it is kept, and [`job_type::JobType`] lists the work Dray knows how to do.

pub mod counters;
pub mod job;
pub mod job_type;
pub mod payloads;
pub mod ports;
pub mod product;
pub mod quota;
pub mod schedule;
pub mod subscription;
pub mod values;
