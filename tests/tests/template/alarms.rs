//! The alarms.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::job::due::LONGEST_QUEUE_DELAY;

use crate::invariant::Mutation::{Add, Remove, Set};
use crate::invariant::invariants;
use crate::stack::{Stack, Template, constant, file, list, number, text, texts};

invariants! {
    each_alarm_watches_a_metric_that_aws_has_of_something_that_the_stack_makes, "docs/operating.md",
        "An alarm for which there are no figures never goes off, and looks as if all were well.", [
        Set("WorkerErrors/Properties/MetricName", "Error"),
        Set("ApiServerErrors/Properties/MetricName", "5XXError"),
        Set("EventsBehind/Properties/Namespace", "AWS/DynamoDB"),
        Set("DeadLetterQueueNotEmpty/Properties/Dimensions/0/Name", "Queue"),
        Set("DeadLetterQueueNotEmpty/Properties/Dimensions/0/Value", "!GetAtt DeadLetterQueue.Arn"),
        Set("SweeperNotRun/Properties/Dimensions/0/Value", "!GetAtt SweeperFunction.Arn"),
        Remove("WorkerThrottles/Properties/Dimensions"),
    ];
    each_alarm_watches_what_its_name_says, "docs/operating.md",
        "The manual would send its reader to the wrong place.", [
        Set("WorkerErrors/Properties/MetricName", "Throttles"),
        Set("WorkerThrottles/Properties/Dimensions/0/Value", "!Ref SweeperFunction"),
        Set("DeadLetterQueueNotEmpty/Properties/Dimensions/0/Value", "!GetAtt JobsQueue.QueueName"),
        Set("EventsFailed/Properties/MetricName", "NumberOfMessagesSent"),
        Set("ApiServerErrors/Properties/MetricName", "4xx"),
        Set("SweeperNotRun/Properties/MetricName", "Invocations"),
        Remove("EventsBehind"),
    ];
    each_alarm_goes_off_on_the_side_and_at_the_number_that_the_manual_gives, "docs/operating.md",
        "It would go off while all is well, or when it is too late.", [
        Set("OldestMessageTooOld/Properties/Threshold", "1800"),
        Set("Mappings/Worker/300/OldestMessage", "1800"),
        Set("Mappings/Worker/900/OldestMessage", "900"),
        Set("OldestMessageTooOld/Properties/ComparisonOperator", "LessThanThreshold"),
        Set("EventsBehind/Properties/Threshold", "300"),
        Set("DeadLetterQueueNotEmpty/Properties/Threshold", "1"),
        Set("WorkerErrors/Properties/ComparisonOperator", "GreaterThanOrEqualToThreshold"),
        Set("WorkerErrors/Properties/Statistic", "Average"),
        Set("ApiServerErrors/Properties/Statistic", "SampleCount"),
    ];
    an_alarm_takes_no_figures_for_what_they_mean, "docs/operating.md",
        "A sweeper that does not run would be no news; a dead letter would be, over and over.", [
        Set("SweeperNotRun/Properties/TreatMissingData", "notBreaching"),
        Set("DeadLetterQueueNotEmpty/Properties/TreatMissingData", "notBreaching"),
        Set("EventsFailed/Properties/TreatMissingData", "breaching"),
        Set("ApiServerErrors/Properties/TreatMissingData", "missing"),
        Remove("WorkerErrors/Properties/TreatMissingData"),
    ];
    each_alarm_looks_for_as_long_and_as_often_as_the_manual_says, "docs/operating.md",
        "A moment's trouble would wake somebody, or an outage of hours nobody.", [
        Set("OldestMessageTooOld/Properties/Period", "60"),
        Set("OldestMessageTooOld/Properties/EvaluationPeriods", "12"),
        Set("EventsBehind/Properties/Period", "3600"),
        Set("EventsBehind/Properties/EvaluationPeriods", "1"),
        Add("EventsBehind/Properties/DatapointsToAlarm", "1"),
        Set("EventsFailed/Properties/Period", "3600"),
        Set("EventsFailed/Properties/EvaluationPeriods", "3"),
        Set("ApiServerErrors/Properties/Period", "60"),
        Set("ApiServerErrors/Properties/EvaluationPeriods", "2"),
        Set("WorkerThrottles/Properties/Period", "60"),
        Set("WorkerThrottles/Properties/EvaluationPeriods", "12"),
        Remove("WorkerThrottles/Properties/DatapointsToAlarm"),
        Set("DeadLetterQueueNotEmpty/Properties/EvaluationPeriods", "12"),
        Set("WorkerErrors/Properties/Period", "60"),
        Set("Mappings/Worker/300/ErrorPeriods", "12"),
        Set("SweeperNotRun/Properties/EvaluationPeriods", "10"),
    ];
    a_sweep_that_is_missing_is_noticed_after_five, "docs/operating.md",
        "One late sweep would wake somebody, or none for an hour nobody.", [
        Set("SweeperNotRun/Properties/Period", "300"),
        Set("SweeperNotRun/Properties/EvaluationPeriods", "1"),
        Set("SweeperNotRun/Properties/DatapointsToAlarm", "1"),
    ];
    a_dead_letter_that_the_sweeper_hides_ends_no_alarm, "functions/sweeper/src/lib.rs",
        "The alarm would go off and on while the letter lies there.", [
        Set("DeadLetterQueueNotEmpty/Properties/EvaluationPeriods", "1"),
        Set("DeadLetterQueueNotEmpty/Properties/DatapointsToAlarm", "3"),
        Set("DeadLetterQueueNotEmpty/Properties/Period", "10"),
    ];
    two_errors_of_one_message_set_off_an_alarm, "docs/operating.md",
        "A job that takes each of its workers down would go unseen until it is dead.", [
        Set("WorkerErrors/Properties/EvaluationPeriods", "3"),
        Set("Mappings/Worker/900/ErrorPeriods", "3"),
        Set("WorkerErrors/Properties/DatapointsToAlarm", "3"),
    ];
    every_alarm_tells_somebody_when_it_begins_and_when_it_is_over, "docs/operating.md",
        "It would go off unheard.", [
        Remove("WorkerErrors/Properties/AlarmActions"),
        Remove("EventsBehind/Properties/OKActions"),
        Set("ApiServerErrors/Properties/AlarmActions", "[!Ref EventsTopic]"),
        Add("SweeperNotRun/Properties/ActionsEnabled", "false"),
    ];
    every_alarm_says_what_it_means_and_where_to_read_what_to_do, "docs/operating.md",
        "Whoever is woken by it would not know what to do.", [
        Set("EventsFailed/Properties/AlarmDescription", "Changes were given up on."),
        Remove("WorkerThrottles/Properties/AlarmDescription"),
    ];
    whoever_is_to_hear_of_alarms_subscribes, "docs/operating.md",
        "The address that somebody gave would get nothing.", [
        Set("AlarmSubscription/Properties/TopicArn", "!Ref EventsTopic"),
        Set("AlarmSubscription/Properties/Endpoint", "ops@example.org"),
        Remove("AlarmSubscription"),
    ];
    who_wants_no_monitoring_gets_and_pays_none, "docs/operating.md",
        "The stack could not be made: it would name a topic that is not there.", [
        Remove("WorkerErrors/Condition"),
        Remove("Dashboard/Condition"),
        Set("AlarmSubscription/Condition", "IsMonitored"),
        Remove("Outputs/AlarmTopicArn/Condition"),
    ];
    one_stacks_alarms_cost_nothing, "docs/operating.md",
        "The eleventh alarm of an account is paid for.", [
        Add("WorkerErrors/Properties/Metrics", "[{ Id: m1 }, { Id: m2 }, { Id: m3 }, { Id: m4 }]"),
    ];
}

/// Metrics that AWS has: their namespaces, names, and the dimension that tells whose they are.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html>
/// <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html>
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html>
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html>
const METRICS: [(&str, &[&str], &str); 4] = [
    (
        "AWS/SQS",
        &[
            "ApproximateAgeOfOldestMessage",
            "ApproximateNumberOfMessagesDelayed",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesVisible",
            "NumberOfMessagesDeleted",
            "NumberOfMessagesReceived",
            "NumberOfMessagesSent",
        ],
        "QueueName",
    ),
    (
        "AWS/Lambda",
        &["ConcurrentExecutions", "Duration", "Errors", "Invocations", "IteratorAge", "Throttles"],
        "FunctionName",
    ),
    ("AWS/ApiGateway", &["4xx", "5xx", "Count", "DataProcessed", "IntegrationLatency", "Latency"], "ApiId"),
    (
        "AWS/DynamoDB",
        &["ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits", "ReadThrottleEvents", "WriteThrottleEvents"],
        "TableName",
    ),
];

/// Panics unless AWS has this metric, and the stack makes what it is of.
pub fn assert_is_there(stack: &Stack, namespace: &str, metric: &str, dimension: &str, value: &str) {
    let known = METRICS.iter().find(|(known, ..)| *known == namespace);
    let (_, metrics, key) = known.unwrap_or_else(|| panic!("no namespace {namespace}"));
    assert!(metrics.contains(&metric), "{namespace} has no {metric}");
    assert_eq!(dimension, *key, "{namespace} {metric}");
    let name = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).unwrap_or(value);
    let (resource, attribute) = name.split_once('.').unwrap_or((name, ""));
    let kind = match namespace {
        "AWS/SQS" => ("AWS::SQS::Queue", "QueueName"),
        "AWS/Lambda" => ("AWS::Lambda::Function", ""),
        "AWS/ApiGateway" => ("AWS::ApiGatewayV2::Api", ""),
        _ => ("AWS::DynamoDB::Table", ""),
    };
    assert_eq!((text(&stack.resources[resource]["Type"]), attribute), kind, "{value}");
}

fn alarms(stack: &Stack) -> Vec<(&str, &Value)> {
    let alarms = stack.all("AWS::CloudWatch::Alarm");
    assert!(!alarms.is_empty());
    alarms
}

fn each_alarm_watches_a_metric_that_aws_has_of_something_that_the_stack_makes(template: &Template) {
    let stack = template.stack();
    for (name, alarm) in alarms(&stack) {
        let [dimension] = list(&alarm["Dimensions"]) else { panic!("{name} has several dimensions") };
        let [namespace, metric] = ["Namespace", "MetricName"].map(|property| text(&alarm[property]));
        assert_is_there(&stack, namespace, metric, text(&dimension["Name"]), text(&dimension["Value"]));
    }
}

/// Each alarm: its metric, and what that is of.
const WATCHED: [(&str, &str, &str); 8] = [
    ("ApiServerErrors", "5xx", "${HttpApi}"),
    ("DeadLetterQueueNotEmpty", "ApproximateNumberOfMessagesVisible", "${DeadLetterQueue.QueueName}"),
    ("EventsBehind", "IteratorAge", "${EventsFunction}"),
    ("EventsFailed", "ApproximateNumberOfMessagesVisible", "${EventsFailures.QueueName}"),
    ("OldestMessageTooOld", "ApproximateAgeOfOldestMessage", "${JobsQueue.QueueName}"),
    ("SweeperNotRun", "Errors", "${SweeperFunction}"),
    ("WorkerErrors", "Errors", "${WorkerFunction}"),
    ("WorkerThrottles", "Throttles", "${WorkerFunction}"),
];

fn each_alarm_watches_what_its_name_says(template: &Template) {
    let stack = template.stack();
    let made: BTreeSet<_> = alarms(&stack)
        .into_iter()
        .map(|(name, alarm)| (name, text(&alarm["MetricName"]), text(&alarm["Dimensions"][0]["Value"])))
        .collect();
    assert_eq!(made, BTreeSet::from(WATCHED));
}

fn each_alarm_goes_off_on_the_side_and_at_the_number_that_the_manual_gives(template: &Template) {
    for (timeout, stack) in template.with_each_worker_timeout() {
        let delay = LONGEST_QUEUE_DELAY.as_secs(); // a delayed message ages from when it was sent
        let hidden_once_more = delay + number(&stack.properties("JobsQueue")["VisibilityTimeout"]);
        let threshold = number(&stack.properties("OldestMessageTooOld")["Threshold"]);
        assert_eq!(threshold, hidden_once_more.max(2 * delay), "workers live for {timeout} s");
    }
    assert!(file("docs/operating.md").contains("alarm: oldest message 1,800, 2,700 or 6,300 s"));
    let stack = template.stack();
    let above_none = ("GreaterThanThreshold", 0);
    for (name, statistic, goes_off) in [
        ("ApiServerErrors", "Sum", ("GreaterThanOrEqualToThreshold", 5)),
        ("DeadLetterQueueNotEmpty", "Maximum", above_none),
        ("EventsBehind", "Maximum", ("GreaterThanOrEqualToThreshold", 5 * 60 * 1000)), // in milliseconds
        ("EventsFailed", "Maximum", above_none),
        ("OldestMessageTooOld", "Maximum", ("GreaterThanOrEqualToThreshold", 1800)),
        ("SweeperNotRun", "Sum", above_none),
        ("WorkerErrors", "Sum", above_none),
        ("WorkerThrottles", "Sum", above_none),
    ] {
        let alarm = stack.properties(name);
        assert_eq!(alarm["Statistic"], statistic, "{name}");
        assert_eq!((text(&alarm["ComparisonOperator"]), number(&alarm["Threshold"])), goes_off, "{name}");
    }
}

fn an_alarm_takes_no_figures_for_what_they_mean(template: &Template) {
    for (name, alarm) in alarms(&template.stack()) {
        let meaning = match name {
            "SweeperNotRun" => "breaching", // a sweeper that does not run says nothing
            "DeadLetterQueueNotEmpty" | "EventsFailed" => "ignore", // a queue that nobody touches still holds what it held
            _ => "notBreaching",                                    // nothing to do, and nothing to tell
        };
        assert_eq!(alarm["TreatMissingData"], meaning, "{name}");
    }
}

/// Each alarm: what the manual says of when it goes off; the seconds of a period, and how many of how many periods count.
const LOOKS: [(&str, &str, [u64; 3]); 8] = [
    ("ApiServerErrors", "within five minutes", [300, 1, 1]),
    ("DeadLetterQueueNotEmpty", "within the last 15 minutes", [300, 1, 3]),
    ("EventsBehind", "for 10 minutes", [300, 2, 2]),
    ("EventsFailed", "a message is in the queue", [300, 1, 1]),
    ("OldestMessageTooOld", "for 10 minutes", [300, 2, 2]),
    ("SweeperNotRun", "in each of five minutes in a row", [60, 5, 5]),
    ("WorkerErrors", "in two of the last three times five minutes; with", [300, 2, 3]),
    ("WorkerThrottles", "in two of the last three times five minutes", [300, 2, 3]),
];

/// The seconds of an alarm's period, and how many of how many periods count.
fn looks(alarm: &Value) -> [u64; 3] {
    let [period, of] = ["Period", "EvaluationPeriods"].map(|property| number(&alarm[property]));
    let needed = &alarm["DatapointsToAlarm"];
    [period, if needed.is_null() { of } else { number(needed) }, of]
}

fn each_alarm_looks_for_as_long_and_as_often_as_the_manual_says(template: &Template) {
    let (stack, manual) = (template.stack(), file("docs/operating.md"));
    for (name, words, expected) in LOOKS {
        assert_eq!(looks(stack.properties(name)), expected, "{name}");
        let (_, section) = manual.split_once(&format!("\n### {name}\n")).expect(name);
        let line = section.lines().find(|line| line.starts_with("| goes off when |")).expect(name);
        assert!(line.contains(words), "{name}: {line}");
    }
    let stacks = template.with_each_worker_timeout();
    let periods = stacks.iter().map(|(_, stack)| looks(stack.properties("WorkerErrors"))[2]);
    let periods: Vec<_> = periods.collect();
    let [_, at_300, at_900] = periods.as_slice() else { panic!("{periods:?}") };
    let words = format!("with a `WorkerTimeout` of 300 or 900, of the last {at_300} or {at_900} |");
    assert!(manual.contains(&words), "docs/operating.md does not say: {words}");
}

fn a_sweep_that_is_missing_is_noticed_after_five(template: &Template) {
    let stack = template.stack();
    let alarm = stack.properties("SweeperNotRun");
    assert_eq!(number(&alarm["Period"]), stack.sweep_period());
    assert_eq!(["EvaluationPeriods", "DatapointsToAlarm"].map(|property| number(&alarm[property])), [5, 5]);
}

fn a_dead_letter_that_the_sweeper_hides_ends_no_alarm(template: &Template) {
    let stack = template.stack();
    let hidden = constant("functions/sweeper/src/lib.rs", "DEAD_LETTER_REST");
    assert!(hidden < stack.sweep_period(), "it shows between two sweeps");
    let alarm = stack.properties("DeadLetterQueueNotEmpty");
    let [period, looks, needed] = ["Period", "EvaluationPeriods", "DatapointsToAlarm"].map(|name| number(&alarm[name]));
    assert!(period > hidden && looks > 1 && needed == 1, "{needed} of {looks} looks, {period} s apart");
}

fn two_errors_of_one_message_set_off_an_alarm(template: &Template) {
    for (timeout, stack) in template.with_each_worker_timeout() {
        let alarm = stack.properties("WorkerErrors");
        let watched = number(&alarm["Period"]) * number(&alarm["EvaluationPeriods"]);
        let again_after = number(&stack.properties("JobsQueue")["VisibilityTimeout"]) + timeout;
        assert!(watched > again_after && number(&alarm["DatapointsToAlarm"]) == 2, "{timeout}: {watched} s");
    }
}

fn every_alarm_tells_somebody_when_it_begins_and_when_it_is_over(template: &Template) {
    for (name, alarm) in alarms(&template.stack()) {
        assert_eq!(texts(&alarm["AlarmActions"]), ["${AlarmTopic}"], "{name}");
        assert_eq!(texts(&alarm["OKActions"]), ["${AlarmTopic}"], "{name}");
        assert_ne!(alarm["ActionsEnabled"], false, "{name}");
    }
}

fn every_alarm_says_what_it_means_and_where_to_read_what_to_do(template: &Template) {
    let manual = file("docs/operating.md");
    for (name, alarm) in alarms(&template.stack()) {
        let description = text(&alarm["AlarmDescription"]);
        assert!(description.ends_with(&format!("docs/operating.md, Alarms, {name}.")), "{name}: {description}");
        assert!(manual.contains(&format!("\n### {name}\n")), "{name} is no heading of docs/operating.md");
    }
}

fn whoever_is_to_hear_of_alarms_subscribes(template: &Template) {
    let expected = json!({ "TopicArn": "${AlarmTopic}", "Protocol": "email", "Endpoint": "ops@example.com" });
    assert_eq!(*template.stack().properties("AlarmSubscription"), expected);
    let nobody = template.with(&[("AlarmEmail", "")]);
    assert!(nobody.all("AWS::SNS::Subscription").is_empty(), "SNS takes no empty address");
}

fn who_wants_no_monitoring_gets_and_pays_none(template: &Template) {
    for (monitoring, email) in [("off", "ops@example.com"), ("off", ""), ("on", "")] {
        let stack = template.with(&[("Monitoring", monitoring), ("AlarmEmail", email)]);
        let made = stack.resources.to_string() + &stack.outputs.to_string();
        assert_eq!(made.contains("${AlarmTopic}"), monitoring == "on");
        for kind in ["AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard"] {
            assert_eq!(stack.all(kind).is_empty(), monitoring == "off", "{kind}");
        }
        assert!(stack.all("AWS::SNS::Subscription").is_empty());
    }
}

/// How many metrics of alarms cost nothing in an account. <https://aws.amazon.com/cloudwatch/pricing/>
const FREE_ALARMS: usize = 10;

fn one_stacks_alarms_cost_nothing(template: &Template) {
    let metrics = |alarm: &Value| alarm["Metrics"].as_array().map_or(1, Vec::len);
    let watched: usize = alarms(&template.stack()).iter().map(|(_, alarm)| metrics(alarm)).sum();
    assert!(watched <= FREE_ALARMS, "{watched}");
}
