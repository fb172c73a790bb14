//! What the README promises, asked of a deployment from outside: by HTTP alone, of any deployment, one on AWS included.
//!
//! ```sh
//! DRAY_URL=https://example.execute-api.eu-central-1.amazonaws.com DRAY_TOKEN=… \
//!     cargo test --workspace --test deployment
//! ```
//!
//! Without `DRAY_URL` it is asked of the local stack. The token needs the scopes `jobs:read` and `jobs:write`; what needs
//! `jobs:admin` is left out without it.
//!
//! A deployment may have other users, clocks that differ, cold starts, lists that lag behind and a stream that comes
//! later. So each test marks what it makes with a word of its own, looks again until a deadline, leaves times of two
//! clocks a second, and deletes in the end what it has made. Nothing here pauses the queue: that would hold up the jobs
//! of others.

mod deployment;
mod http;
mod jobs;
mod many;
mod triggers;
