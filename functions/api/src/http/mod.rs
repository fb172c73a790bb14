//! What every route shares: who calls, what a body holds, how a refusal reads.

pub mod body;
pub mod caller;
pub mod named;
pub mod problem;
pub mod quota;
pub mod request_id;
