//! The running system: real Lambda processes, queue, table and schedule, over HTTP.

mod containers;
mod counts;
mod events;
mod faults;
mod fixtures;
mod foreign;
mod jobs;
mod rights;
mod starting;
mod streams;
