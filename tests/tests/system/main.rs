//! The running system: real Lambda processes, queue, table and schedule, over HTTP.

mod containers;
mod counts;
mod events;
mod fixtures;
mod foreign;
mod jobs;
mod rights;
mod streams;
