//! The deployment's figures, over all tenants, in the text format of Prometheus.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>
//!
//! What jobs did and how long it took is read from the totals, which count since counting began and are the same in
//! every process. So counters and histograms only grow.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use shared::counters::{Counts, Durations, Total, Totals};

use crate::Api;
use crate::http::problem::Problem;
use crate::service::health::{at_least_none, oldest_waiting};

/// What the page is, for whoever scrapes it.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All figures, for Prometheus
///
/// In its text format, over all tenants. docs/metrics.md says what each of them means, and how Prometheus gets in.
#[utoipa::path(get, path = "/metrics", tag = "service", operation_id = "getMetrics",
    responses((status = 200, description = "The figures, in the text format 0.0.4", body = String, content_type = "text/plain")))]
pub async fn show(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let now = api.clock.now();
    let (totals, paused, oldest_waiting, waiting_messages, dead_letters) = tokio::join!(
        api.counters.totals(None),
        api.switch.is_paused(),
        oldest_waiting(&api, now),
        api.queue.waiting(),
        api.dead_letters.depth(),
    );
    let figures = Figures {
        totals: totals?,
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
    paused: bool,
    /// How long the job has waited that has waited longest, if that is known; see [`oldest_waiting`].
    oldest_waiting: Option<Duration>,
    /// `None` if the queue does not tell: no figure is better than a wrong one.
    waiting_messages: Option<usize>,
    dead_letters: Option<usize>,
}

/// A metric that each type has: its name, what it means, and where it is.
type Metric<Whole, Part> = (&'static str, &'static str, fn(&Whole) -> Part);

const COUNTERS: [Metric<Counts, u64>; 7] = [
    ("dray_jobs_accepted_total", "Jobs accepted.", |counts| counts.accepted),
    ("dray_attempts_started_total", "Attempts begun.", |counts| counts.started),
    ("dray_attempts_retried_total", "Attempts that failed with another to follow.", |counts| counts.retried),
    ("dray_jobs_completed_total", "Jobs completed.", |counts| counts.completed),
    ("dray_jobs_failed_total", "Jobs that failed for good. One that was redriven may do so again.", |counts| {
        counts.failed
    }),
    ("dray_jobs_cancelled_total", "Jobs cancelled, those that expired among them.", |counts| counts.cancelled),
    ("dray_jobs_redriven_total", "Jobs that were given another try after they had ended.", |counts| counts.redriven),
];

const GAUGES: [Metric<Counts, u64>; 2] = [
    ("dray_jobs_waiting", "Jobs that wait, those among them that are to start later.", |counts| {
        at_least_none(counts.waiting)
    }),
    ("dray_jobs_running", "Jobs that run.", |counts| at_least_none(counts.running)),
];

const HISTOGRAMS: [Metric<Total, Durations>; 2] = [
    ("dray_attempt_duration_seconds", "How long attempts ran that have ended.", |total| total.ran),
    ("dray_job_wait_seconds", "How long jobs could have been started before they were.", |total| total.waited),
];

impl Figures {
    fn page(&self) -> Page {
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        let version = Sample { suffix: "", labels: version, value: Value::Whole(1) };
        let build = "The version of the deployed code, as a label.";
        let mut families = vec![Family::new("dray_build_info", Kind::Gauge, build, [version])];
        families.extend(COUNTERS.map(|metric| self.numbers(Kind::Counter, metric)));
        families.extend(GAUGES.map(|metric| self.numbers(Kind::Gauge, metric)));
        families.extend(HISTOGRAMS.map(|metric| self.histogram(metric)));
        families.extend([
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
        Page(families)
    }

    /// One number for each type.
    fn numbers(&self, kind: Kind, (name, help, count): Metric<Counts, u64>) -> Family {
        let samples = self.totals.by_type.iter().map(|(job_type, total)| Sample {
            suffix: "",
            labels: vec![("type", job_type.clone())],
            value: Value::Whole(count(&total.counts)),
        });
        Family::new(name, kind, help, samples)
    }

    /// One histogram for each type; also before the first attempt, so that `increase()` sees that one.
    fn histogram(&self, (name, help, durations): Metric<Total, Durations>) -> Family {
        let samples = self.totals.by_type.iter().flat_map(|(job_type, total)| {
            let durations = durations(total);
            let sample = |suffix, value| Sample { suffix, labels: vec![("type", job_type.clone())], value };
            let mut samples: Vec<_> = durations
                .cumulative()
                .map(|(range, count)| {
                    let end = range.longest().map_or_else(|| "+Inf".to_owned(), |end| end.as_secs_f64().to_string());
                    let mut bucket = sample("_bucket", Value::Whole(count));
                    bucket.labels.push(("le", end));
                    bucket
                })
                .collect();
            samples.push(sample("_sum", Value::Seconds(durations.sum())));
            samples.push(sample("_count", Value::Whole(durations.count())));
            samples
        });
        Family::new(name, Kind::Histogram, help, samples)
    }
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
    /// How many were at most so large, for several sizes; their sum; and their number.
    Histogram,
}

/// One number.
struct Sample {
    /// What follows the name of the family.
    suffix: &'static str,
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
        Self::new(name, Kind::Gauge, help, value.map(|value| Sample { suffix: "", labels: vec![], value }))
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
        for Sample { suffix, labels, value } in samples {
            let labels: Vec<_> = labels.iter().map(|(name, value)| format!(r#"{name}="{}""#, escaped(value))).collect();
            if labels.is_empty() {
                writeln!(f, "{name}{suffix} {value}")?;
            } else {
                writeln!(f, "{name}{suffix}{{{}}} {value}", labels.join(","))?;
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
            Self::Histogram => "histogram",
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
    use std::collections::{BTreeMap, BTreeSet, HashSet};

    use shared::counters::{Field, Range};

    use super::*;

    fn figures() -> Figures {
        let counts =
            Counts { accepted: 7, started: 6, completed: 4, failed: 1, waiting: 2, running: -1, ..Counts::default() };
        let mut total = Total { counts, ..Total::default() };
        for millis in [8, 8, 10, 11, 70_000, 7_200_000] {
            total.add(Field::RanWithin(Range::of(Duration::from_millis(millis))), 1);
            total.add(Field::RanMs, i64::try_from(millis).expect("small"));
        }
        Figures {
            totals: Totals { by_type: [("csv-generation".to_owned(), total)].into() },
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
        ] {
            assert!(page.lines().any(|there| there == line), "no {line} in\n{page}");
        }
        assert!(!page.contains("dray_dead_letters"), "it is not known");
    }

    #[test]
    fn durations_are_cumulative_histograms_in_seconds() {
        let page = figures().page().to_string();
        let of = |name: &str| -> Vec<_> {
            page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix("{type=\"csv-generation\"")).collect()
        };
        assert!(page.contains("# TYPE dray_attempt_duration_seconds histogram\n"), "{page}");
        assert_eq!(
            of("dray_attempt_duration_seconds_bucket"),
            [
                r#",le="0.01"} 3"#,
                r#",le="0.05"} 4"#,
                r#",le="0.1"} 4"#,
                r#",le="0.25"} 4"#,
                r#",le="0.5"} 4"#,
                r#",le="1"} 4"#,
                r#",le="2.5"} 4"#,
                r#",le="5"} 4"#,
                r#",le="10"} 4"#,
                r#",le="30"} 4"#,
                r#",le="60"} 4"#,
                r#",le="300"} 5"#,
                r#",le="3600"} 5"#,
                r#",le="+Inf"} 6"#,
            ]
        );
        assert_eq!(of("dray_attempt_duration_seconds_sum"), ["} 7270.037"]);
        assert_eq!(of("dray_attempt_duration_seconds_count"), ["} 6"]);
        assert_eq!(of("dray_job_wait_seconds_count"), ["} 0"], "there before the first");
    }

    #[test]
    fn a_page_keeps_the_rules_of_the_format() {
        assert!(samples_in(&figures().page().to_string()) > 10);
        let nothing = Figures { totals: Totals::default(), waiting_messages: None, ..figures() };
        assert_eq!(samples_in(&nothing.page().to_string()), 3);
    }

    #[test]
    fn what_would_end_a_label_or_a_line_is_escaped() {
        let odd = "a \"quoted\" \\ name\nof two lines, with } and = in it";
        let mut figures = figures();
        let total = figures.totals.by_type["csv-generation"];
        figures.totals.by_type.insert(odd.to_owned(), total);
        let page = figures.page().to_string();
        samples_in(&page);
        assert!(page.contains(r#"{type="a \"quoted\" \\ name\nof two lines, with } and = in it"} 7"#), "{page}");
        let labels = page.lines().filter_map(|line| sample(line).ok()).map(|(_, labels, _)| labels);
        assert!(labels.into_iter().any(|labels| labels == [("type".to_owned(), odd.to_owned())]), "it reads back");
    }

    #[test]
    fn a_page_that_breaks_a_rule_is_found_out() {
        let histogram = |samples: &str| format!("# HELP a b\n# TYPE a histogram\n{samples}");
        let broken: &[(&str, &str)] = &[
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
            ("a summary", "# HELP a b\n# TYPE a summary\na{quantile=\"0.9\"} 1\n"),
            ("a gauge with a bucket", "# HELP a b\n# TYPE a gauge\na_bucket{le=\"1\"} 1\n"),
            ("a histogram without a suffix", "# HELP a b\n# TYPE a histogram\na{le=\"1\"} 1\n"),
            ("a bucket without an end", &histogram("a_bucket 1\na_sum 2\na_count 1\n")),
            ("no last bucket", &histogram("a_bucket{le=\"1\"} 1\na_sum 2\na_count 1\n")),
            ("falling counts", &histogram("a_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 2\na_count 1\n")),
            (
                "falling ends",
                &histogram("a_bucket{le=\"2\"} 1\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1\na_sum 2\na_count 1\n"),
            ),
            ("another count", &histogram("a_bucket{le=\"+Inf\"} 1\na_sum 2\na_count 2\n")),
            ("no sum", &histogram("a_bucket{le=\"+Inf\"} 1\na_count 1\n")),
            ("no count", &histogram("a_bucket{le=\"+Inf\"} 1\na_sum 2\n")),
        ];
        assert_eq!(samples_in("# HELP a b\n# TYPE a gauge\na 1\na{c=\"d\"} 2\n"), 2);
        assert_eq!(samples_in(&histogram("a_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1\na_sum 2\na_count 1\n")), 4);
        for (fault, page) in broken {
            assert!(std::panic::catch_unwind(|| samples_in(page)).is_err(), "{fault}");
        }
    }

    /// How many samples are in a page. Panics where it breaks a rule of the format.
    fn samples_in(page: &str) -> usize {
        assert!(page.ends_with('\n'), "the last line ends with a line feed");
        let (mut families, mut series) = (HashSet::new(), HashSet::new());
        let mut lines = page.lines().peekable();
        while let Some(line) = lines.next() {
            let help = line.strip_prefix("# HELP ").unwrap_or_else(|| panic!("no HELP before {line}"));
            let (name, _) = help.split_once(' ').expect("it says what it means");
            assert!(is_name(name), "{name}");
            assert!(families.insert(name), "{name} is one single group");
            let kind =
                lines.next().and_then(|line| line.strip_prefix("# TYPE ")?.strip_prefix(name)).expect("its TYPE");
            assert!([" counter", " gauge", " histogram"].contains(&kind), "{kind}");
            assert_eq!(kind == " counter", name.ends_with("_total"), "{name}");
            let mut samples = vec![];
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (of, labels, value) = sample(line).unwrap_or_else(|problem| panic!("{problem}: {line}"));
                let suffix = of.strip_prefix(name).expect("a sample of this family");
                assert!(value.is_finite() && value >= 0.0, "{line}");
                let names: BTreeSet<_> = labels.iter().map(|(name, _)| name).collect();
                assert_eq!(names.len(), labels.len(), "a label twice: {line}");
                assert!(series.insert((of, labels.clone())), "twice: {line}");
                samples.push((suffix, labels, value));
            }
            if kind == " histogram" {
                check_histograms(&samples);
            } else {
                assert!(samples.iter().all(|(suffix, ..)| suffix.is_empty()), "a sample of another family than {name}");
            }
        }
        series.len()
    }

    /// The samples of one histogram: by suffix, each with the end of its bucket if it has one.
    type Parts<'a> = BTreeMap<&'a str, Vec<(f64, f64)>>;

    /// Panics unless each histogram among these has buckets that grow, the last of them up to `+Inf` with as many as its
    /// count says, and a sum.
    fn check_histograms(samples: &[(&str, Labels, f64)]) {
        let mut parts: BTreeMap<Labels, Parts<'_>> = BTreeMap::new();
        for (suffix, labels, value) in samples {
            let mut labels = labels.clone();
            let end =
                labels.pop_if(|(name, _)| name == "le").map_or(f64::NAN, |(_, end)| end.parse().expect("a number"));
            parts.entry(labels).or_default().entry(*suffix).or_default().push((end, *value));
        }
        for (labels, parts) in parts {
            assert_eq!(parts.keys().copied().collect::<Vec<_>>(), ["_bucket", "_count", "_sum"], "{labels:?}");
            let (buckets, counts, sums) = (&parts["_bucket"], &parts["_count"], &parts["_sum"]);
            assert!(buckets.is_sorted_by(|(end, count), (next, more)| end < next && count <= more), "{labels:?}");
            let [(_, count)] = counts[..] else { panic!("one count: {labels:?}") };
            assert_eq!((buckets.last(), sums.len()), (Some(&(f64::INFINITY, count)), 1), "{labels:?}");
        }
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
