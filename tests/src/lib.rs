//! What the tests of the whole share.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a test that cannot go on shall say so and stop")]

pub mod dynamodb_local;
pub mod engines;
pub mod fixtures;
pub mod gate;
pub mod metered;
pub mod postman;
pub mod smtp;
pub mod system;
pub mod table;
pub mod topic;
pub mod world;
