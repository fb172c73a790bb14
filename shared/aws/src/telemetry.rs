//! Log lines: one per decision, JSON for CloudWatch, to standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use crate::settings::{Lookup, SettingError};

/// Starts logging for the function called `function`. Reads `LOG_LEVEL` (error, warn, info, debug or trace; `info`
/// unless set), `LOG_FORMAT` (`json` or `pretty`; `json` unless set), and `LOG_DIR`: a folder where the lines are also
/// appended to `<function>.log`, for whoever wants to read along on one machine.
pub fn start(function: &str, lookup: Lookup<'_>) -> Result<(), SettingError> {
    let level = level(lookup("LOG_LEVEL"))?;
    // What a panic says may quote what it was working on.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(location = panic.location().map(ToString::to_string), "panicked");
    }));
    // Of our own code everything from that level on; of the libraries' only what goes wrong.
    let ours = ["api", "worker", "sweeper", "shared", "shared_aws"].map(|target| (target, level));
    let targets = Targets::new().with_default(level.min(LevelFilter::WARN)).with_targets(ours);
    let file = lookup("LOG_DIR").map(|folder| append_to(Path::new(&folder), function)).transpose()?;
    let out = Output(file.map(Arc::new));
    let writer = move || out.clone();
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    let registry = tracing_subscriber::registry().with(targets);
    // A second start in one process (in tests) leaves the first one's logging in place.
    let _ = match lookup("LOG_FORMAT").as_deref() {
        None | Some("json") => {
            registry.with(lines.json().flatten_event(true).with_current_span(false).with_span_list(false)).try_init()
        }
        Some("pretty") => registry.with(lines.with_ansi(false)).try_init(),
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

/// Standard output, and a file if there is one. Each line is written in one call, so lines of several processes that
/// append to the same file do not run into each other.
#[derive(Clone)]
struct Output(Option<Arc<File>>);

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(file) = &self.0 {
            file.as_ref().write_all(line)?;
        }
        io::stdout().write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}
