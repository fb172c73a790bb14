//! Jobs: submitted, shown, changed, one by one or many at once.

pub mod accept;
pub mod at;
pub mod batch;
pub mod bulk;
pub mod cancel;
pub mod delete;
pub mod duplicate;
pub mod show;
pub mod submit;
pub mod view;
pub mod why;
