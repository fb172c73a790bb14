//! The dashboard and the saved queries: what they look at, and whether it is written.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::alarms::assert_is_there;
use crate::invariant::Mutation::{Add, Remove, Set, Swap};
use crate::invariant::invariants;
use crate::stack::{Stack, Template, code_below, file, list, number, text, texts};

invariants! {
    the_dashboard_fills_its_rows, "docs/operating.md",
        "It would have gaps, or be refused.", [
        Swap("Dashboard/Properties/DashboardBody", "\\\"width\\\": 24", "\\\"width\\\": 20"),
        Swap("Dashboard/Properties/DashboardBody", "\\\"start\\\": ", "\\\"start\\\" "),
    ];
    the_dashboard_shows_every_alarm, "docs/operating.md",
        "Whoever looks at it would think that all is well.", [
        Swap("Dashboard/Properties/DashboardBody", "${EventsBehind.Arn}", "${EventsFailed.Arn}"),
    ];
    the_dashboard_shows_the_limits_that_are_in_force, "docs/operating.md",
        "The line in a chart would not be where the alarm goes off, or where the function ends.", [
        Swap("Dashboard/Properties/DashboardBody", "${OldestMessage}", "1800"),
        Swap("Dashboard/Properties/DashboardBody", "${WorkerTimeout}000", "60000"),
        Swap("Dashboard/Properties/DashboardBody", "\\\"value\\\": 50000", "\\\"value\\\": 55000"),
        Swap("Dashboard/Properties/DashboardBody", "\\\"value\\\": 300000", "\\\"value\\\": 600000"),
    ];
    the_dashboard_shows_metrics_that_there_are_of_what_there_is, "docs/operating.md",
        "A chart would stay empty.", [
        Swap("Dashboard/Properties/DashboardBody", "ConcurrentExecutions", "Concurrency"),
        Swap("Dashboard/Properties/DashboardBody", "${EventsFailures.QueueName}", "${EventsFailures.Arn}"),
        Swap("Dashboard/Properties/DashboardBody", "${SweeperFunction}", "${SweeperRole}"),
        Swap("Dashboard/Properties/DashboardBody", "AWS/ApiGateway", "AWS/Api"),
        Swap("Dashboard/Properties/DashboardBody", "\\\"GlobalSecondaryIndexName\\\", \\\"due\\\"",
            "\\\"GlobalSecondaryIndexName\\\", \\\"overdue\\\""),
        Swap("Dashboard/Properties/DashboardBody", "\\\"Latency\\\"", "\\\"Duration\\\""),
    ];
    one_stacks_dashboard_costs_nothing, "docs/operating.md",
        "With more than 50 metrics it is none of the three free ones.", [
        Swap("Dashboard/Properties/DashboardBody", "[\\\".\\\", \\\"Throttles\\\", \\\".\\\", \\\".\\\"]",
            "[\\\".\\\", \\\"Throttles\\\", \\\".\\\", \\\".\\\"], [\\\".\\\", \\\"Invocations\\\", \\\".\\\", \\\".\\\"], \
             [\\\".\\\", \\\"Invocations\\\", \\\".\\\", \\\".\\\"], [\\\".\\\", \\\"Errors\\\", \\\".\\\", \\\".\\\"], \
             [\\\".\\\", \\\"Duration\\\", \\\".\\\", \\\".\\\"], [\\\".\\\", \\\"Errors\\\", \\\".\\\", \\\".\\\"]"),
    ];
    queries_look_for_lines_that_the_code_writes, "docs/logs.md",
        "A query would find nothing, as if nothing had happened.", [
        Swap("WhatFailedQuery/Properties/QueryString", "job.failed", "job.error"),
        Swap("Dashboard/Properties/DashboardBody", "job.lapsed", "job.expired"),
        Swap("Dashboard/Properties/DashboardBody", "filter message = 'job.failed'", "filter message = 'job.fail'"),
    ];
    queries_name_fields_that_the_manual_has, "docs/logs.md",
        "A column would stay empty.", [
        Swap("WhatFailedQuery/Properties/QueryString", "job.type", "job_type"),
        Swap("FollowOneJobQuery/Properties/QueryString", "duration_ms", "duration"),
        Swap("FollowOneRequestQuery/Properties/QueryString", "correlation_id", "correlation"),
        Swap("Dashboard/Properties/DashboardBody", "by job.type, error, cause", "by job.type, wrong, cause"),
    ];
    queries_look_into_the_logs_of_the_functions_that_write_what_they_look_for, "docs/logs.md",
        "Half of the story would be missing.", [
        Set("FollowOneJobQuery/Properties/LogGroupNames", "[!Ref ApiLogs, !Ref WorkerLogs]"),
        Remove("WhatFailedQuery/Properties/LogGroupNames/1"),
        Swap("Dashboard/Properties/DashboardBody", "SOURCE '${SweeperLogs}' | filter", "SOURCE '${ApiLogs}' | filter"),
    ];
    saved_queries_are_those_of_the_manual, "docs/log-events.md",
        "What the manual tells people to choose would not be there, or be something else.", [
        Set("WhatFailedCountedQuery/Properties/Name", "!Sub \"${AWS::StackName}/failures\""),
        Swap("WhatWentWrongQuery/Properties/QueryString", "Runtime exited", "Runtime error"),
        Remove("WhatWentWrongQuery"),
        Remove("FollowOneJobQuery/Condition"),
        Add("WhoCalledQuery", "{ Type: AWS::Logs::QueryDefinition, Condition: SavesQueries, Properties: { \
             Name: !Sub '${AWS::StackName}/who called', LogGroupNames: [!Ref ApiLogs], QueryString: fields route } }"),
    ];
}

/// How many columns a row of a dashboard has.
const COLUMNS: u64 = 24;

/// How many metrics a dashboard may have that shall cost nothing. <https://aws.amazon.com/cloudwatch/pricing/>
const FREE_METRICS: usize = 50;

fn widgets(stack: &Stack) -> Vec<Value> {
    let body = text(&stack.properties("Dashboard")["DashboardBody"]);
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert!(body["start"].is_string());
    list(&body["widgets"]).to_vec()
}

fn the_dashboard_fills_its_rows(template: &Template) {
    let mut filled = 0;
    for widget in widgets(&template.stack()) {
        filled += number(&widget["width"]);
        assert!(filled <= COLUMNS, "{} does not fit into its row", widget["properties"]["title"]);
        filled %= COLUMNS;
    }
    assert_eq!(filled, 0, "the last row has a gap");
}

fn the_dashboard_shows_every_alarm(template: &Template) {
    let stack = template.stack();
    let widgets = widgets(&stack);
    let shown = widgets.iter().filter_map(|widget| widget["properties"]["alarms"].as_array()).flatten().map(text);
    let alarms = stack.all("AWS::CloudWatch::Alarm").into_iter().map(|(name, _)| format!("${{{name}.Arn}}"));
    assert_eq!(shown.map(str::to_owned).collect::<BTreeSet<_>>(), alarms.collect::<BTreeSet<_>>());
}

fn the_dashboard_shows_the_limits_that_are_in_force(template: &Template) {
    for (_, stack) in template.with_each_worker_timeout() {
        assert_limits_are_shown(&stack);
    }
}

fn assert_limits_are_shown(stack: &Stack) {
    let widgets = widgets(stack);
    let threshold = |alarm| number(&stack.properties(alarm)["Threshold"]);
    let timeout = |function| 1000 * number(&stack.properties(function)["Timeout"]);
    let limits = [
        ("Age of the oldest message (s)", threshold("OldestMessageTooOld")),
        ("Worker: time for a batch (ms)", timeout("WorkerFunction")),
        ("Sweeper: time for a sweep (ms)", timeout("SweeperFunction")),
        ("Events: behind the table by (ms)", threshold("EventsBehind")),
    ];
    for (name, limit) in limits {
        let widget = widgets.iter().find(|widget| widget["properties"]["title"] == name);
        let shown = &widget.unwrap_or_else(|| panic!("no widget {name}"))["properties"]["annotations"]["horizontal"];
        assert_eq!(number(&shown[0]["value"]), limit, "{name}");
    }
}

/// The metrics of a widget, written out: `.` stands for what stands there in the one before.
fn metrics(widget: &Value) -> Vec<Vec<String>> {
    let mut written: Vec<Vec<String>> = vec![];
    for metric in widget["properties"]["metrics"].as_array().into_iter().flatten() {
        let before = written.last().cloned().unwrap_or_default();
        let words = list(metric).iter().filter_map(Value::as_str).enumerate();
        let words = words.map(|(place, word)| if word == "." { before[place].clone() } else { word.to_owned() });
        written.push(words.collect());
    }
    written
}

fn the_dashboard_shows_metrics_that_there_are_of_what_there_is(template: &Template) {
    let stack = template.stack();
    let indexes = list(&stack.properties("JobsTable")["GlobalSecondaryIndexes"]);
    let indexes: BTreeSet<_> = indexes.iter().map(|index| text(&index["IndexName"])).collect();
    for metric in widgets(&stack).iter().flat_map(metrics) {
        let [namespace, name, dimension, value, rest @ ..] = metric.as_slice() else { panic!("{metric:?}") };
        assert_is_there(&stack, namespace, name, dimension, value);
        match rest {
            [] => {}
            [dimension, index] => {
                assert_eq!(dimension, "GlobalSecondaryIndexName");
                assert!(indexes.contains(index.as_str()), "no index {index}");
            }
            _ => panic!("{metric:?}"),
        }
    }
}

fn one_stacks_dashboard_costs_nothing(template: &Template) {
    let shown = widgets(&template.stack()).iter().flat_map(metrics).count();
    assert!((1..=FREE_METRICS).contains(&shown), "{shown} metrics");
}

/// A query: its name, its text, and the log groups that it looks into.
struct Query {
    name: String,
    text: String,
    groups: BTreeSet<String>,
}

/// The queries of the dashboard, and those that are saved.
fn queries(stack: &Stack) -> Vec<Query> {
    let mut queries = vec![];
    for widget in widgets(stack).iter().filter(|widget| widget["type"] == "log") {
        let query = text(&widget["properties"]["query"]);
        let (sources, rest): (Vec<&str>, Vec<&str>) = query.split(" | ").partition(|part| part.starts_with("SOURCE "));
        queries.push(Query {
            name: text(&widget["properties"]["title"]).to_owned(),
            text: rest.join(" | "),
            groups: sources.into_iter().filter_map(|source| source.split('\'').nth(1)).map(str::to_owned).collect(),
        });
    }
    for (name, query) in stack.all("AWS::Logs::QueryDefinition") {
        queries.push(Query {
            name: name.to_owned(),
            text: text(&query["QueryString"]).to_owned(),
            groups: texts(&query["LogGroupNames"]).into_iter().map(str::to_owned).collect(),
        });
    }
    assert!(queries.len() > 5);
    queries
}

/// The names of events in a query: `job.failed`.
fn events_in(query: &str) -> Vec<&str> {
    query.split(['\'', '"']).skip(1).step_by(2).filter(|word| word.starts_with("job.")).collect()
}

fn queries_look_for_lines_that_the_code_writes(template: &Template) {
    let code = code_below("functions");
    for Query { name, text, .. } in queries(&template.stack()) {
        for event in events_in(&text) {
            assert!(code.contains(&format!("\"{event}\"")), "{name}: no line says {event}");
        }
    }
}

/// Words of the query language, and what CloudWatch adds to every line.
const WORDS: [&str; 19] = [
    "as",
    "asc",
    "bin",
    "by",
    "coalesce",
    "count",
    "desc",
    "fields",
    "filter",
    "like",
    "limit",
    "m",
    "or",
    "sort",
    "stats",
    "strcontains",
    "sum",
    "level",
    "message",
];

/// The fields that a query names.
fn fields_in(query: &str) -> BTreeSet<String> {
    let lines = query.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let mut plain = String::new();
    let mut inside = None; // what is quoted, and regular expressions
    for letter in lines.chars() {
        match inside {
            Some(end) if letter == end => inside = None,
            Some(_) => {}
            None if ['\'', '"', '/'].contains(&letter) => inside = Some(letter),
            None => plain.push(letter),
        }
    }
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || ['_', '.', '@'].contains(&letter);
    let words: Vec<_> = plain.split(|letter| !is_part(letter)).filter(|word| !word.is_empty()).collect();
    let names = words.iter().zip(words.iter().skip(1)).filter(|(before, _)| **before == "as").map(|(_, name)| *name);
    let own: BTreeSet<_> = names.collect();
    let is_field = |word: &&str| {
        word.starts_with(|first: char| first.is_ascii_lowercase()) && !WORDS.contains(word) && !own.contains(*word)
    };
    words.iter().filter(|word| is_field(word)).map(|word| (*word).to_owned()).collect()
}

fn queries_name_fields_that_the_manual_has(template: &Template) {
    let manual = file("docs/logs.md");
    for Query { name, text, .. } in queries(&template.stack()) {
        for field in fields_in(&text) {
            assert!(manual.contains(&format!("`{field}`")), "{name}: docs/logs.md has no field {field}");
        }
    }
}

fn queries_look_into_the_logs_of_the_functions_that_write_what_they_look_for(template: &Template) {
    let writers = [("ApiLogs", "api"), ("WorkerLogs", "worker"), ("SweeperLogs", "sweeper"), ("EventsLogs", "events")];
    let writers =
        writers.map(|(group, binary)| (format!("${{{group}}}"), code_below(&format!("functions/{binary}/src"))));
    for Query { name, text, groups } in queries(&template.stack()) {
        let events = events_in(&text);
        for (group, code) in &writers {
            // One that looks for no event of ours looks for one job or request, wherever it came by.
            let writes = events.is_empty() || events.iter().any(|event| code.contains(&format!("\"{event}\"")));
            assert_eq!(groups.contains(group), writes, "{name} and {group}");
        }
    }
}

fn saved_queries_are_those_of_the_manual(template: &Template) {
    let stack = template.stack();
    let manual = file("docs/log-events.md");
    let queries = stack.all("AWS::Logs::QueryDefinition");
    assert_eq!(queries.len(), 5);
    for (name, query) in queries {
        let called = text(&query["Name"]).strip_prefix("${AWS::StackName}/").expect("a folder for each stack");
        assert!(manual.contains(called), "docs/log-events.md does not know the query {called}");
        assert!(manual.contains(text(&query["QueryString"])), "docs/log-events.md has another text for {name}");
    }
    // Not all that deploys this template knows the type: `cargo run` leaves it out.
    assert!(template.with(&[("SavedQueries", "off")]).all("AWS::Logs::QueryDefinition").is_empty());
}
