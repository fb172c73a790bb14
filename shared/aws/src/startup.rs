//! What every function does first.

use crate::settings::{Lookup, Place, Reading, SettingErrors};
use crate::telemetry;

/// Starts logging for the function called `function`, and reads where the jobs are and, by `read`, what else it has to
/// know. All that is wrong with any of it is one error, which is in the log as well: a function that does not start says
/// so where its operator looks.
pub fn start<T, E: Into<SettingErrors>>(
    function: &str,
    lookup: Lookup<'_>,
    read: impl FnOnce(Lookup<'_>) -> Result<T, E>,
) -> Result<(Place, T), SettingErrors> {
    let mut reading = Reading::default();
    let logging = reading.take(telemetry::start(function, lookup));
    let place = reading.take(Place::read(lookup));
    let settings = reading.take(read(lookup));
    let read = reading.finish(|| {
        logging?;
        Some((place?, settings?))
    });
    if let Err(errors) = &read {
        tracing::error!(error = %errors, "function.not_started");
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::dead_letter_queue_url;

    #[test]
    fn a_function_is_told_everything_that_is_wrong_before_it_starts() {
        let lookup = |name: &str| name.starts_with("LOG_").then(|| "loud".to_owned());
        let error = start("sweeper", &lookup, dead_letter_queue_url).expect_err("nothing is set").to_string();
        let named: Vec<_> = error.split("; ").filter_map(|told| told.split(' ').next()).collect();
        assert_eq!(named, ["LOG_LEVEL", "LOG_FORMAT", "TABLE_NAME", "QUEUE_URL", "DEAD_LETTER_QUEUE_URL"], "{error}");
    }
}
