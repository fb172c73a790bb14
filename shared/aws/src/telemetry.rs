//! Log lines, one per decision: as JSON, or in a form for people. `docs/logs.md` names every field.
//!
//! What is true of many lines is said once, by a span: the id of a request, the job that an attempt is about. A line
//! has the fields of all spans around it and its own.

use std::borrow::Cow;
use std::fmt::{Debug, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serializer as _;
use serde_json::{Value, json};
use shared::job::Job;
use shared::ports::Clock as _;
use shared::values::id::Tenant;
use shared::values::time::Timestamp;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Span, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

use crate::settings::{Lookup, Reading, SettingError, SettingErrors};
use crate::system::SystemClock;

/// Starts logging for the function called `function`, to standard output. Reads `LOG_LEVEL` (error, warn, info, debug
/// or trace; `info` unless set), `LOG_FORMAT` (`json` or `pretty`; `json` unless set), and `LOG_DIR`: a folder where the
/// lines are also appended to `<function>.log`, always as JSON, for whoever reads along on one machine.
pub fn start(function: &str, lookup: Lookup<'_>) -> Result<(), SettingErrors> {
    start_on(io::stdout(), function, lookup)
}

/// The same, to `output`: for tests that read the lines.
pub fn start_on(output: impl Write + Send + 'static, function: &str, lookup: Lookup<'_>) -> Result<(), SettingErrors> {
    let (level, form) = read(lookup)?;
    let mut outputs = vec![Output::new(form, output)];
    if let Some(folder) = lookup("LOG_DIR") {
        outputs.push(Output::new(Form::Whole, append_to(Path::new(&folder), function)?));
    }
    let function_name = lookup("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|| function.to_owned());
    // What a panic says may quote what it was working on.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(location = panic.location().map(ToString::to_string), "panicked");
    }));
    // Of our own code everything from that level on; of the libraries' only what goes wrong.
    let ours = ["api", "worker", "sweeper", "events", "shared", "shared_aws"].map(|target| (target, level));
    let targets = Targets::new().with_default(level.min(LevelFilter::WARN)).with_targets(ours);
    // A second start in one process (in tests) leaves the first one's logging in place.
    let _ = tracing_subscriber::registry().with(targets).with(Lines { outputs, function_name }).try_init();
    Ok(())
}

/// What every line about this job has, whoever writes it: log within this span. Once an attempt has begun, also its
/// number, and the trace of the request that submitted the job.
pub fn about(job: &Job) -> Span {
    let attempted = job.attempts > 0;
    // At the level `error`, so that no line goes without it, whatever `LOG_LEVEL` says.
    tracing::error_span!(
        "job",
        job.id = %job.id,
        job.r#type = %job.job_type,
        attempt = attempted.then_some(job.attempts),
        correlation_id = job.correlation_id,
        tenant = (job.tenant != Tenant::only()).then_some(job.tenant.as_str()),
        trace_id = job.traceparent.as_deref().filter(|_| attempted).and_then(trace_id)
    )
}

/// The id of the trace that a W3C trace context belongs to: its second part, 32 hexadecimal digits.
/// <https://www.w3.org/TR/trace-context/#traceparent-header>
pub fn trace_id(traceparent: &str) -> Option<&str> {
    let id = traceparent.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// Reads `LOG_LEVEL` and `LOG_FORMAT`, and starts nothing.
pub fn check(lookup: Lookup<'_>) -> Result<(), SettingErrors> {
    read(lookup)?;
    Ok(())
}

fn read(lookup: Lookup<'_>) -> Result<(LevelFilter, Form), SettingErrors> {
    let mut reading = Reading::default();
    let level = reading.take(level(lookup("LOG_LEVEL")));
    let form = reading.take(form(lookup("LOG_FORMAT").as_deref()));
    reading.finish(|| Some((level?, form?)))
}

fn form(setting: Option<&str>) -> Result<Form, SettingError> {
    match setting {
        None | Some("json") => Ok(Form::Brief),
        Some("pretty") => Ok(Form::Pretty),
        Some(_) => Err(SettingError::Wrong("LOG_FORMAT", "it must be json or pretty".to_owned())),
    }
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

/// Makes a line of each event, and writes it to every output.
struct Lines {
    outputs: Vec<Output>,
    /// Whose they are, for CloudWatch's metrics.
    function_name: String,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().replace(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(fields) = extensions.get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Line::of(event, &context);
        if let Some(names) = line.fields.take("metrics") {
            line.metrics = embedded(&plain(&names), line.at, &self.function_name);
        }
        for output in &self.outputs {
            output.write(&line);
        }
    }
}

/// Where lines go, and in which form.
struct Output {
    form: Form,
    to: Mutex<Box<dyn Write + Send>>,
}

/// How a line looks.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// JSON for CloudWatch, which is paid by the byte: without the time, which CloudWatch adds itself, and without a
    /// level where that is `INFO`.
    Brief,
    /// JSON with both, for files.
    Whole,
    /// For people.
    Pretty,
}

impl Output {
    fn new(form: Form, to: impl Write + Send + 'static) -> Self {
        Self { form, to: Mutex::new(Box::new(to)) }
    }

    /// Writes the line in one call, so that lines of several processes that append to one file do not run into each
    /// other. One that cannot be written is lost: there is nowhere to say so.
    fn write(&self, line: &Line) {
        let mut text = match self.form {
            Form::Brief => line.json(false),
            Form::Whole => line.json(true),
            Form::Pretty => line.pretty(),
        };
        text.push('\n');
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
    }
}

/// One line, before it has a form.
struct Line {
    at: Timestamp,
    level: Level,
    /// The name of what happened: `job.accepted`.
    message: String,
    fields: Fields,
    /// What makes metrics of some of the fields.
    metrics: Fields,
}

/// What CloudWatch makes metrics of a line's fields by: its embedded metric format. `names` has the fields and their units,
/// `overdue:Count longest_wait_s:Seconds`; metrics of the same name are told apart by the function.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
fn embedded(names: &str, at: Timestamp, function_name: &str) -> Fields {
    let named = names.split(' ').filter_map(|named| named.split_once(':'));
    let metrics: Vec<_> = named.map(|(name, unit)| json!({ "Name": name, "Unit": unit })).collect();
    let directive = json!({ "Namespace": "Dray", "Dimensions": [["function"]], "Metrics": metrics });
    let aws = json!({ "Timestamp": at.as_millis(), "CloudWatchMetrics": [directive] });
    Fields(vec![("function", function_name.into()), ("_aws", aws)])
}

impl Line {
    fn of<S: Subscriber + for<'a> LookupSpan<'a>>(event: &Event<'_>, context: &Context<'_, S>) -> Self {
        let mut fields = Fields::default();
        if let Some(scope) = context.event_scope(event) {
            for span in scope.from_root() {
                if let Some(around) = span.extensions().get::<Fields>() {
                    fields.add_all(around);
                }
            }
        }
        event.record(&mut fields);
        let message = fields.take("message").as_ref().map(plain).unwrap_or_default();
        // Whoever looks for a job's lines has its correlation id; this one would say the same again.
        if fields.get("request_id").is_some_and(|id| fields.get("correlation_id") == Some(id)) {
            fields.take("request_id");
        }
        Self { at: SystemClock.now(), level: *event.metadata().level(), message, fields, metrics: Fields::default() }
    }

    /// One JSON object, its fields at the top level: with time and level if it shall be `whole`, else with what CloudWatch
    /// makes metrics by.
    fn json(&self, whole: bool) -> String {
        let (at, level) = (Value::from(self.at.to_string()), Value::from(self.level.as_str()));
        let message = Value::from(self.message.as_str());
        let head = [
            ("timestamp", &at, whole),
            ("level", &level, whole || self.level != Level::INFO),
            ("message", &message, true),
        ];
        let head = head.into_iter().filter(|(.., is_said)| *is_said).map(|(name, value, _)| (name, value));
        let metrics = self.metrics.0.iter().filter(|_| !whole);
        let rest = self.fields.0.iter().chain(metrics).map(|(name, value)| (*name, value));
        let mut json = vec![];
        let written = serde_json::Serializer::new(&mut json).collect_map(head.chain(rest));
        match written {
            Ok(()) => String::from_utf8(json).unwrap_or_default(),
            Err(_) => String::new(), // cannot be: texts and numbers all have a JSON form
        }
    }

    /// `02:05:08.412  INFO  job.accepted job.id=…`, and requests as arrows: in, and out again. The time is UTC.
    fn pretty(&self) -> String {
        let at = self.at.to_string();
        let time = at.get(11..23).unwrap_or(&at); // of 2026-11-22T02:05:08.412Z
        let field = |name: &str| self.fields.get(name).map(shown).unwrap_or_default();
        match self.message.as_str() {
            "request.received" => {
                format!("{time}  → {} {} id={}", field("method"), field("route"), field("request_id"))
            }
            "request.answered" => {
                format!("{time}  ← {} {} ms id={}", field("status"), field("duration_ms"), field("request_id"))
            }
            message => {
                let mut line = format!("{time}  {:<5} {message}", self.level.as_str());
                for (name, value) in self.fields.0.iter().filter(|(name, _)| *name != METRICS) {
                    let _ = write!(line, " {name}={}", shown(value)); // a string takes everything
                }
                line
            }
        }
    }
}

/// The field that tells CloudWatch which others are metrics: an object, given as JSON text because an event has no
/// objects. Nothing for people.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
const METRICS: &str = "_aws";

/// Named values, in the order in which they were first given.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    /// Gives `name` this value, in place of the one that it may have.
    fn set(&mut self, name: &'static str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, there)) => *there = value,
            None => self.0.push((name, value)),
        }
    }

    fn add_all(&mut self, others: &Self) {
        for (name, value) in &others.0 {
            self.set(name, value.clone());
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let place = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(place).1)
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value: Value = match field.name() {
            METRICS => serde_json::from_str(value).unwrap_or_default(),
            "error" | "cause" => discreet(value).into(),
            _ => value.into(),
        };
        self.set(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), value.into());
    }
}

/// The text without what the errors of libraries and servers may quote: the values that a reader of JSON or of items did
/// not expect, words with an `@`, which may be addresses, and all of a URL but its scheme and host. Our own errors quote
/// none of it; this is the net beneath them.
fn discreet(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    // As serde writes them: `invalid type: string "a", expected u32`.
    for (before, after) in [("string \"", "\", expected"), ("unknown variant `", "`"), ("unknown field `", "`")] {
        if let Some((start, quoted)) = text.split_once(before) {
            let rest = quoted.rfind(after).map_or("", |end| &quoted[end..]);
            text = Cow::Owned(format!("{start}{before}…{rest}"));
        }
    }
    if !text.contains('@') && !text.contains("://") {
        return text;
    }
    let words = text.split(char::is_whitespace).map(|word| match word.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('@') => {
            let (authority, more) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            Cow::Owned(format!("{scheme}://{host}{}", if more.is_empty() { "" } else { "/…" }))
        }
        Some(_) => Cow::Borrowed("…"),
        None if word.contains('@') => Cow::Borrowed("…"),
        None => Cow::Borrowed(word),
    });
    Cow::Owned(words.collect::<Vec<Cow<'_, str>>>().join(" "))
}

/// A text as it is; anything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The same, but a text that could be taken for more than one value, or for the end of a line, in quotes.
fn shown(value: &Value) -> String {
    let splits = |character: char| character.is_whitespace() || character.is_control() || character == '"';
    match value {
        Value::String(text) if text.is_empty() || text.contains(splits) => value.to_string(),
        other => plain(other),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no writer panicked").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that are written in this form while `log` runs.
    fn lines(form: Form, log: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let outputs = vec![Output::new(form, written.clone())];
        let lines = Lines { outputs, function_name: "dray-SweeperFunction-1".to_owned() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
        let text = String::from_utf8(written.0.lock().expect("no writer panicked").clone()).expect("UTF-8");
        text.lines().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn cloudwatch_is_told_nothing_that_it_knows() {
        let told = lines(Form::Brief, || {
            tracing::info!(job.id = "7", job.r#type = "csv-generation", announced = true, "job.accepted");
            tracing::error!(attempt = 2_u32, error = "a \"quote\"\nand a line", "job.failed");
        });
        assert_eq!(
            told,
            [
                r#"{"message":"job.accepted","job.id":"7","job.type":"csv-generation","announced":true}"#,
                r#"{"level":"ERROR","message":"job.failed","attempt":2,"error":"a \"quote\"\nand a line"}"#
            ]
        );
    }

    #[test]
    fn what_is_a_metric_is_told_to_cloudwatch_as_an_object_and_to_nobody_else() {
        let log = || tracing::info!(overdue = 7_u64, _aws = r#"{"Timestamp":1}"#, "sweeper.swept");
        assert_eq!(lines(Form::Brief, log), [r#"{"message":"sweeper.swept","overdue":7,"_aws":{"Timestamp":1}}"#]);
        let [line]: [String; 1] = lines(Form::Pretty, log).try_into().expect("one line");
        assert!(line.ends_with("  INFO  sweeper.swept overdue=7"), "{line}");
    }

    #[test]
    fn a_file_has_time_and_level_on_every_line() {
        let [line]: [String; 1] = lines(Form::Whole, || tracing::info!("sweeper.swept")).try_into().expect("one line");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&line["level"], &line["message"]), (&Value::from("INFO"), &Value::from("sweeper.swept")));
        let time = line["timestamp"].as_str().expect("a time");
        assert_eq!((time.len(), Timestamp::parse_rfc3339(time).is_some()), (24, true), "{time}");
    }

    #[test]
    fn cloudwatch_makes_metrics_of_the_fields_that_a_line_names() {
        let log = || {
            tracing::info!(
                overdue = 3_u64,
                longest_wait_s = 90_u64,
                metrics = "overdue:Count longest_wait_s:Seconds",
                "sweeper.swept"
            );
        };
        let [line]: [String; 1] = lines(Form::Brief, log).try_into().expect("one line");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert!(line["metrics"].is_null() && line["_aws"]["Timestamp"].is_i64(), "{line}");
        let [directive] = line["_aws"]["CloudWatchMetrics"].as_array().expect("a list").as_slice() else {
            panic!("one directive: {line}")
        };
        assert_eq!(directive["Namespace"], "Dray");
        assert_eq!(directive["Dimensions"], json!([["function"]]));
        assert_eq!(line["function"], "dray-SweeperFunction-1", "a dimension is a text at the top");
        let metrics = json!([
            { "Name": "overdue", "Unit": "Count" },
            { "Name": "longest_wait_s", "Unit": "Seconds" },
        ]);
        assert_eq!(directive["Metrics"], metrics);
        assert_eq!((&line["overdue"], &line["longest_wait_s"]), (&json!(3), &json!(90)), "and a metric a number");
        for form in [Form::Whole, Form::Pretty] {
            let [line]: [String; 1] = lines(form, log).try_into().expect("one line");
            assert!(line.contains("overdue") && !line.contains("_aws") && !line.contains("metrics"), "{line}");
        }
    }

    #[test]
    fn a_line_says_what_the_spans_around_it_say_and_the_inner_one_is_right() {
        let told = lines(Form::Brief, || {
            let message = tracing::error_span!("message", job.id = "7", correlation_id = "of the message");
            let job = tracing::error_span!(parent: &message, "job", correlation_id = "of the table", attempt = 1_u32);
            job.in_scope(|| tracing::info!(duration_ms = 12_u64, "job.completed"));
        });
        let expected =
            r#"{"message":"job.completed","job.id":"7","correlation_id":"of the table","attempt":1,"duration_ms":12}"#;
        assert_eq!(told, [expected]);
    }

    #[test]
    fn the_request_that_submitted_a_job_is_not_named_twice() {
        let told = lines(Form::Brief, || {
            tracing::error_span!("request", request_id = "one").in_scope(|| {
                tracing::info!(correlation_id = "one", "job.accepted");
                tracing::info!(correlation_id = "other", "job.redriven");
                tracing::error!("store.failed");
            });
        });
        assert_eq!(
            told,
            [
                r#"{"message":"job.accepted","correlation_id":"one"}"#,
                r#"{"message":"job.redriven","request_id":"one","correlation_id":"other"}"#,
                r#"{"level":"ERROR","message":"store.failed","request_id":"one"}"#
            ]
        );
    }

    #[test]
    fn people_read_requests_as_arrows_and_the_rest_as_name_and_values() {
        let told = lines(Form::Pretty, || {
            tracing::debug!(method = "POST", route = "/jobs", request_id = "7", "request.received");
            tracing::debug!(
                method = "POST",
                route = "/jobs",
                status = 202_u16,
                duration_ms = 12_u64,
                request_id = "7",
                "request.answered"
            );
            tracing::warn!(job.id = "7", error = "told to fail", cause = "a\nb", "job.retrying");
        });
        let told: Vec<_> = told.iter().map(|line| line.get(12..).expect("a time")).collect();
        assert_eq!(
            told,
            [
                "  → POST /jobs id=7",
                "  ← 202 12 ms id=7",
                r#"  WARN  job.retrying job.id=7 error="told to fail" cause="a\nb""#
            ]
        );
    }

    #[test]
    fn what_libraries_quote_in_their_errors_is_left_out() {
        for (text, left) in [
            ("connection refused (os error 111)", "connection refused (os error 111)"),
            ("550 <ada@example.com> unknown", "550 … unknown"),
            ("GET https://example.com/hooks/T0/x?key=1#a failed", "GET https://example.com/… failed"),
            ("smtps://user:secret@mail.example.com:465 is down", "smtps://mail.example.com:465 is down"),
            ("https://example.com", "https://example.com"),
            ("ada@example.com,https://example.com/?key=1", "…"),
            (r#"invalid type: string "a\", expected b", expected u32"#, r#"invalid type: string "…", expected u32"#),
            (r#"invalid value: string "a"#, r#"invalid value: string "…"#),
            ("unknown variant `a`, expected `b` or `c`", "unknown variant `…`"),
        ] {
            assert_eq!(discreet(text), left);
        }
        let told = lines(Form::Brief, || tracing::warn!(cause = "no ada@example.com", job.id = "a@b", "job.retrying"));
        assert_eq!(told, [r#"{"level":"WARN","message":"job.retrying","cause":"no …","job.id":"a@b"}"#]);
    }

    #[test]
    fn a_trace_is_known_by_the_second_part_of_its_context() {
        let context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(trace_id(context), Some("0af7651916cd43dd8448eb211c80319c"));
        for other in ["", "00-0af7", "00-x-y-z", "no context"] {
            assert_eq!(trace_id(other), None, "{other}");
        }
    }
}
