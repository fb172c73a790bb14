//! Dray's ports on AWS, and what every function needs to start. The only crate that names an AWS SDK.

pub mod clients;
pub mod dynamodb;
#[cfg(debug_assertions)]
pub mod kill_points;
pub mod operations;
pub mod ports;
pub mod s3;
pub mod ses;
pub mod settings;
#[cfg(feature = "signing")]
pub mod signing;
pub mod sns;
pub mod sqs;
pub mod startup;
pub mod system;
pub mod telemetry;
