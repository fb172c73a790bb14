//! The deployment's figures, over all tenants, in the text format of Prometheus.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>
//!
//! What jobs did are counters, since counting began. How long they took is known minute by minute, and only of the last
//! two days; so it is a summary of the last minutes, without the sum and the count that would have to grow for ever.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use shared::counters::{Counts, Histogram, Minute, Tally, Totals};
use shared::quota::{MINUTE, minute_of};

use crate::Api;
use crate::health::{at_least_none, oldest_waiting};
use crate::problem::Problem;

/// What the page is, for whoever scrapes it.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Over how long the quantiles of durations are taken: ten minutes, as the clients of Prometheus do unless told
/// otherwise. The present minute is among them.
const WINDOW: Duration = Duration::from_secs(600);

/// The quantiles, as labels have them and in percent.
const QUANTILES: [(&str, u8); 3] = [("0.5", 50), ("0.95", 95), ("0.99", 99)];

/// All figures, for Prometheus
///
/// In its text format, over all tenants. docs/metrics.md says what each of them means, and how Prometheus gets in.
#[utoipa::path(get, path = "/metrics", tag = "service", operation_id = "getMetrics",
    responses((status = 200, description = "The figures, in the text format 0.0.4", body = String, content_type = "text/plain")))]
pub async fn show(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let now = api.clock.now();
    let end = minute_of(now) + MINUTE;
    let (totals, minutes, paused, oldest_waiting, waiting_messages, dead_letters) = tokio::join!(
        api.counters.totals(None),
        api.counters.minutes(None, end - WINDOW, end),
        api.switch.is_paused(),
        oldest_waiting(&api, now),
        api.queue.waiting(),
        api.dead_letters.depth(),
    );
    let figures = Figures {
        totals: totals?,
        minutes: minutes?,
        paused: paused?,
        oldest_waiting: oldest_waiting?.wait(now),
        waiting_messages: waiting_messages.ok(),
        dead_letters: dead_letters.ok(),
    };
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], figures.page().to_string()).into_response())
}

/// What the page is made of.
struct Figures {
    totals: Totals,
    /// The minutes of [`WINDOW`].
    minutes: Vec<Minute>,
    paused: bool,
    /// How long the job has waited that has waited longest, if that is known; see [`oldest_waiting`].
    oldest_waiting: Option<Duration>,
    /// `None` if the queue does not tell: no figure is better than a wrong one.
    waiting_messages: Option<usize>,
    dead_letters: Option<usize>,
}

/// A counter: its name, what it counts, and how much that is.
type Counter = (&'static str, &'static str, fn(&Counts) -> u64);

/// What is counted for ever, by type: the name, what it means, and where it is.
const COUNTERS: [Counter; 7] = [
    ("dray_jobs_accepted_total", "Jobs accepted.", |counts: &Counts| counts.accepted),
    ("dray_attempts_started_total", "Attempts begun.", |counts: &Counts| counts.started),
    ("dray_attempts_retried_total", "Attempts that failed with another to follow.", |counts: &Counts| counts.retried),
    ("dray_jobs_completed_total", "Jobs completed.", |counts: &Counts| counts.completed),
    (
        "dray_jobs_failed_total",
        "Jobs that failed for good. One that was redriven may do so again.",
        |counts: &Counts| counts.failed,
    ),
    ("dray_jobs_cancelled_total", "Jobs cancelled, those that expired among them.", |counts: &Counts| counts.cancelled),
    ("dray_jobs_redriven_total", "Jobs that were given another try after they had ended.", |counts: &Counts| {
        counts.redriven
    }),
];

impl Figures {
    fn page(&self) -> Page {
        let version =
            Sample { labels: vec![("version", env!("CARGO_PKG_VERSION").to_owned())], value: Value::Whole(1) };
        let build = "The version of the deployed code, as a label.";
        let mut families = vec![Family::new("dray_build_info", Kind::Gauge, build, [version])];
        families.extend(COUNTERS.map(|(name, help, count)| self.by_type(name, Kind::Counter, help, count)));
        families.extend([
            self.by_type(
                "dray_jobs_waiting",
                Kind::Gauge,
                "Jobs that wait, those among them that are to start later.",
                |counts| at_least_none(counts.waiting),
            ),
            self.by_type("dray_jobs_running", Kind::Gauge, "Jobs that run.", |counts| at_least_none(counts.running)),
            Family::alone(
                "dray_queue_paused",
                "1 if no job is started because somebody has paused the queue, else 0.",
                Some(Value::Whole(self.paused.into())),
            ),
            Family::alone(
                "dray_queue_messages",
                "Messages that wait to be received, roughly.",
                self.waiting_messages.map(Value::of),
            ),
            Family::alone(
                "dray_dead_letters",
                "Messages in the dead-letter queue, roughly.",
                self.dead_letters.map(Value::of),
            ),
            Family::alone(
                "dray_oldest_waiting_job_seconds",
                "How long the job has waited that has waited longest, of those that the sweeper looks at next.",
                self.oldest_waiting.map(Value::Seconds),
            ),
        ]);
        let lately = self.lately();
        families.push(summary(
            &lately,
            "dray_attempt_duration_seconds",
            "How long attempts ran that ended in the last ten minutes, give or take 6.25 %.",
            |tally| &tally.ran,
        ));
        families.push(summary(
            &lately,
            "dray_job_wait_seconds",
            "How long jobs could have been started before they were, in the last ten minutes, give or take 6.25 %.",
            |tally| &tally.waited,
        ));
        Page(families)
    }

    /// One number for each type.
    fn by_type(&self, name: &'static str, kind: Kind, help: &'static str, count: impl Fn(&Counts) -> u64) -> Family {
        let samples = self.totals.by_type.iter().map(|(job_type, counts)| Sample {
            labels: vec![("type", job_type.clone())],
            value: Value::Whole(count(counts)),
        });
        Family::new(name, kind, help, samples)
    }

    /// All minutes of the window together.
    fn lately(&self) -> BTreeMap<&str, Tally> {
        let mut lately: BTreeMap<&str, Tally> = BTreeMap::new();
        for (job_type, tally) in self.minutes.iter().flat_map(|minute| &minute.by_type) {
            lately.entry(job_type.as_str()).or_default().merge(tally);
        }
        lately
    }
}

/// The quantiles of durations, for each type that has any.
fn summary(
    lately: &BTreeMap<&str, Tally>,
    name: &'static str,
    help: &'static str,
    durations: impl Fn(&Tally) -> &Histogram,
) -> Family {
    let mut samples = vec![];
    for (job_type, tally) in lately {
        for (quantile, percent) in QUANTILES {
            let Some(duration) = durations(tally).percentile(percent) else { continue };
            let labels = vec![("type", (*job_type).to_owned()), ("quantile", quantile.to_owned())];
            samples.push(Sample { labels, value: Value::Seconds(duration) });
        }
    }
    Family::new(name, Kind::Summary, help, samples)
}

/// A whole page. Its text ends with a line feed, as the format asks.
struct Page(Vec<Family>);

/// All that is said under one name.
struct Family {
    /// Letters, digits and `_`.
    name: &'static str,
    kind: Kind,
    /// What it means.
    help: &'static str,
    /// Each with labels of its own.
    samples: Vec<Sample>,
}

/// What a number is.
#[derive(Clone, Copy)]
enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Quantiles.
    Summary,
}

/// One number.
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: Value,
}

enum Value {
    Whole(u64),
    Seconds(Duration),
}

impl Family {
    fn new(name: &'static str, kind: Kind, help: &'static str, samples: impl IntoIterator<Item = Sample>) -> Self {
        Self { name, kind, help, samples: samples.into_iter().collect() }
    }

    /// One gauge without labels, if it is known.
    fn alone(name: &'static str, help: &'static str, value: Option<Value>) -> Self {
        Self::new(name, Kind::Gauge, help, value.map(|value| Sample { labels: vec![], value }))
    }
}

impl Value {
    fn of(number: usize) -> Self {
        Self::Whole(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().filter(|family| !family.samples.is_empty()).try_for_each(|family| write!(f, "{family}"))
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, help, samples } = self;
        writeln!(f, "# HELP {name} {}", help.replace('\\', r"\\").replace('\n', r"\n"))?;
        writeln!(f, "# TYPE {name} {kind}")?;
        for Sample { labels, value } in samples {
            let labels: Vec<_> = labels.iter().map(|(name, value)| format!(r#"{name}="{}""#, escaped(value))).collect();
            if labels.is_empty() {
                writeln!(f, "{name} {value}")?;
            } else {
                writeln!(f, "{name}{{{}}} {value}", labels.join(","))?;
            }
        }
        Ok(())
    }
}

/// As it stands between the quotes of a label.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "{number}"),
            Self::Seconds(duration) => write!(f, "{}", duration.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use shared::counters::{Bucket, Field};
    use shared::time::Timestamp;

    use super::*;

    fn figures() -> Figures {
        let counts =
            Counts { accepted: 7, started: 6, completed: 4, failed: 1, waiting: 2, running: -1, ..Counts::default() };
        let mut tally = Tally::default();
        for millis in [8, 8, 8, 12] {
            tally.add(Field::Ran(Bucket::of(Duration::from_millis(millis))), 1);
        }
        let minute = |at, by_type| Minute { begins_at: Timestamp::from_millis(at), by_type: BTreeMap::from(by_type) };
        Figures {
            totals: Totals { by_type: [("csv-generation".to_owned(), counts)].into() },
            minutes: vec![
                minute(0, [("csv-generation".to_owned(), tally.clone())]),
                minute(60_000, [("csv-generation".to_owned(), tally)]),
            ],
            paused: false,
            oldest_waiting: Some(Duration::from_millis(1500)),
            waiting_messages: Some(3),
            dead_letters: None,
        }
    }

    #[test]
    fn a_page_reads_like_this() {
        let page = figures().page().to_string();
        let expected = concat!(
            "# HELP dray_jobs_accepted_total Jobs accepted.\n",
            "# TYPE dray_jobs_accepted_total counter\n",
            "dray_jobs_accepted_total{type=\"csv-generation\"} 7\n",
        );
        assert!(page.contains(expected), "{page}");
        for line in [
            r#"dray_jobs_completed_total{type="csv-generation"} 4"#,
            r#"dray_jobs_waiting{type="csv-generation"} 2"#,
            r#"dray_jobs_running{type="csv-generation"} 0"#,
            "dray_queue_paused 0",
            "dray_queue_messages 3",
            "dray_oldest_waiting_job_seconds 1.5",
            "# TYPE dray_attempt_duration_seconds summary",
            r#"dray_attempt_duration_seconds{type="csv-generation",quantile="0.5"} 0.008"#,
            r#"dray_attempt_duration_seconds{type="csv-generation",quantile="0.99"} 0.012"#,
        ] {
            assert!(page.lines().any(|there| there == line), "no {line} in\n{page}");
        }
        for nothing in ["dray_dead_letters", "dray_job_wait_seconds"] {
            assert!(!page.contains(nothing), "{nothing} is not known");
        }
    }

    #[test]
    fn a_page_keeps_the_rules_of_the_format() {
        assert!(samples_in(&figures().page().to_string()) > 10);
        let nothing = Figures { totals: Totals::default(), minutes: vec![], waiting_messages: None, ..figures() };
        assert_eq!(samples_in(&nothing.page().to_string()), 3);
    }

    #[test]
    fn what_would_end_a_label_or_a_line_is_escaped() {
        let odd = "a \"quoted\" \\ name\nof two lines, with } and = in it";
        let mut figures = figures();
        let counts = figures.totals.by_type["csv-generation"];
        figures.totals.by_type.insert(odd.to_owned(), counts);
        let page = figures.page().to_string();
        samples_in(&page);
        assert!(page.contains(r#"{type="a \"quoted\" \\ name\nof two lines, with } and = in it"} 7"#), "{page}");
        let labels = page.lines().filter_map(|line| sample(line).ok()).map(|(_, labels, _)| labels);
        assert!(labels.into_iter().any(|labels| labels == [("type".to_owned(), odd.to_owned())]), "it reads back");
    }

    #[test]
    fn a_page_that_breaks_a_rule_is_found_out() {
        let broken = [
            ("no line feed at the end", "# HELP a b\n# TYPE a gauge\na 1"),
            ("no HELP", "a 1\n"),
            ("no TYPE", "# HELP a b\na 1\n"),
            ("a counter that is not called so", "# HELP a b\n# TYPE a counter\na 1\n"),
            ("a sample twice", "# HELP a b\n# TYPE a gauge\na 1\na 1\n"),
            ("no number", "# HELP a b\n# TYPE a gauge\na one\n"),
            ("another's sample", "# HELP a b\n# TYPE a gauge\nb 1\n"),
            ("an open label", "# HELP a b\n# TYPE a gauge\na{c=\"d} 1\n"),
            ("an odd name", "# HELP a b\n# TYPE a gauge\na{9c=\"d\"} 1\n"),
            ("two groups", "# HELP a b\n# TYPE a gauge\na 1\n# HELP a b\n# TYPE a gauge\na{c=\"d\"} 2\n"),
            ("falling quantiles", "# HELP a b\n# TYPE a summary\na{quantile=\"0.9\"} 1\na{quantile=\"0.5\"} 1\n"),
        ];
        assert_eq!(samples_in("# HELP a b\n# TYPE a gauge\na 1\na{c=\"d\"} 2\n"), 2);
        for (fault, page) in broken {
            assert!(std::panic::catch_unwind(|| samples_in(page)).is_err(), "{fault}");
        }
    }

    /// How many samples are in a page. Panics where it breaks a rule of the format.
    fn samples_in(page: &str) -> usize {
        assert!(page.ends_with('\n'), "the last line ends with a line feed");
        let (mut families, mut series, mut quantiles) = (HashSet::new(), HashSet::new(), BTreeMap::new());
        let mut lines = page.lines().peekable();
        while let Some(line) = lines.next() {
            let help = line.strip_prefix("# HELP ").unwrap_or_else(|| panic!("no HELP before {line}"));
            let (name, _) = help.split_once(' ').expect("it says what it means");
            assert!(is_name(name), "{name}");
            assert!(families.insert(name), "{name} is one single group");
            let kind =
                lines.next().and_then(|line| line.strip_prefix("# TYPE ")?.strip_prefix(name)).expect("its TYPE");
            assert!([" counter", " gauge", " summary"].contains(&kind), "{kind}");
            assert_eq!(kind == " counter", name.ends_with("_total"), "{name}");
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (of, labels, value) = sample(line).unwrap_or_else(|problem| panic!("{problem}: {line}"));
                assert_eq!(of, name, "a sample of another family");
                assert!(value.is_finite() && value >= 0.0, "{line}");
                let names: BTreeSet<_> = labels.iter().map(|(name, _)| name).collect();
                assert_eq!(names.len(), labels.len(), "a label twice: {line}");
                assert!(series.insert((of, labels.clone())), "twice: {line}");
                if let Some((last, others)) = labels.split_last()
                    && last.0 == "quantile"
                {
                    let quantile: f64 = last.1.parse().expect("a number");
                    let before = quantiles.insert((name, others.to_vec()), quantile);
                    assert!(before.is_none_or(|before| before < quantile), "quantiles in their order: {line}");
                }
            }
        }
        series.len()
    }

    type Labels = Vec<(String, String)>;

    /// The name, the labels and the value of a sample, or what is wrong with it.
    fn sample(line: &str) -> Result<(&str, Labels, f64), &'static str> {
        let end = line.find(['{', ' ']).ok_or("neither labels nor a value")?;
        let (name, mut rest) = line.split_at(end);
        if !is_name(name) {
            return Err("no name");
        }
        let mut labels = vec![];
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            while !rest.starts_with('}') {
                let (label, value) = rest.trim_start_matches(',').split_once("=\"").ok_or("no label")?;
                if !is_name(label) {
                    return Err("no name of a label");
                }
                let (text, after) = quoted(value)?;
                labels.push((label.to_owned(), text));
                rest = after;
            }
            rest = &rest[1..];
        }
        let value = rest.strip_prefix(' ').and_then(|value| value.parse().ok()).ok_or("no number")?;
        Ok((name, labels, value))
    }

    /// What stands before the closing quote, and what stands behind it.
    fn quoted(text: &str) -> Result<(String, &str), &'static str> {
        let (mut value, mut characters) = (String::new(), text.char_indices());
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => return Ok((value, &text[at + 1..])),
                '\\' => value.push(match characters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, same @ ('\\' | '"'))) => same,
                    _ => return Err("no such escape"),
                }),
                other => value.push(other),
            }
        }
        Err("no closing quote")
    }

    fn is_name(name: &str) -> bool {
        let fits = |character: char| character.is_ascii_alphanumeric() || character == '_';
        name.chars().all(fits) && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
    }
}
