//! The functions' handlers over ports in memory, or over DynamoDB in this process.

mod accepting;
mod acting;
mod budget;
mod continuing;
mod deadlines;
mod file_jobs;
mod held_back;
mod input;
mod limits;
mod looking;
mod many;
mod pausing;
mod products;
mod receipts;
mod releases;
mod schedules;
mod subscriptions;
mod sweeping;
mod tenants;
mod webhooks;
mod working;
