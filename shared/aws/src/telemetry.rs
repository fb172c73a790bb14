//! Log lines: one per decision, JSON for CloudWatch, to standard output.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::Layer;
use tracing_subscriber::fmt::format::{Format, Json, JsonFields};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

use crate::settings::{Lookup, SettingError};

/// Starts logging for the function called `function`. Reads `LOG_LEVEL` (error, warn, info, debug or trace; `info`
/// unless set), `LOG_FORMAT` (`json` or `pretty`; `json` unless set), and `LOG_DIR`: a folder where the lines are also
/// appended to `<function>.log`, always as JSON, for whoever reads along on one machine.
pub fn start(function: &str, lookup: Lookup<'_>) -> Result<(), SettingError> {
    let level = level(lookup("LOG_LEVEL"))?;
    // What a panic says may quote what it was working on.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(location = panic.location().map(ToString::to_string), "panicked");
    }));
    // Of our own code everything from that level on; of the libraries' only what goes wrong.
    let ours = ["api", "worker", "sweeper", "events", "shared", "shared_aws"].map(|target| (target, level));
    let targets = Targets::new().with_default(level.min(LevelFilter::WARN)).with_targets(ours);
    let file = lookup("LOG_DIR").map(|folder| append_to(Path::new(&folder), function)).transpose()?.map(Arc::new);
    let registry = tracing_subscriber::registry().with(targets).with(file.map(|file| json().with_writer(file)));
    // A second start in one process (in tests) leaves the first one's logging in place.
    let _ = match lookup("LOG_FORMAT").as_deref() {
        None | Some("json") => registry.with(json()).try_init(),
        Some("pretty") => {
            registry.with(tracing_subscriber::fmt::layer().with_target(false).with_ansi(false)).try_init()
        }
        Some(_) => return Err(SettingError::Wrong("LOG_FORMAT", "it must be json or pretty".to_owned())),
    };
    Ok(())
}

fn level(setting: Option<String>) -> Result<LevelFilter, SettingError> {
    match setting {
        None => Ok(LevelFilter::INFO),
        Some(text) => text
            .parse()
            .map_err(|_| SettingError::Wrong("LOG_LEVEL", "it must be error, warn, info, debug or trace".to_owned())),
    }
}

fn append_to(folder: &Path, function: &str) -> Result<File, SettingError> {
    let path = folder.join(format!("{function}.log"));
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| SettingError::Wrong("LOG_DIR", format!("its file cannot be written: {error}")))
}

/// One line of JSON per event, its fields at the top level. Each line is written in one call, so lines of several
/// processes that append to the same file do not run into each other.
fn json<S: Subscriber + for<'a> LookupSpan<'a>>() -> Layer<S, JsonFields, Format<Json>> {
    tracing_subscriber::fmt::layer()
        .json()
        .with_target(false)
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
}
