//! Faults put into the data of a sound stack, one at a time: each is found, and has a remedy.

use serde_json::{Value, json};

use super::aws::{Answer, Unanswered};
use super::sound::{DENIED, of_severity, sound, with};
use super::{Severity, examine};
use crate::command_line::Exit;

/// The question, whom it is about, where in the answer the fault is, the fault (`null` takes away what is there), and
/// what is found.
type Fault = (&'static str, &'static str, &'static str, Value, Severity, &'static str);

fn faults() -> Vec<Fault> {
    use Severity::{Advice, Problem};
    let function = "lambda:GetFunctionConfiguration";
    let source = "lambda:GetEventSourceMapping";
    let queue = "sqs:GetQueueAttributes";
    let table = "dynamodb:DescribeTable";
    let alarm = "cloudwatch:DescribeAlarms";
    let figures = "cloudwatch:GetMetricStatistics";
    let concurrency = "lambda:GetFunctionConcurrency";
    let account = "lambda:GetAccountSettings";
    let redrive = |count: u32, to: &str| {
        json!(format!(
            r#"{{"maxReceiveCount":{count},"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:{to}"}}"#
        ))
    };
    vec![
        (function, "WorkerFunction", "/Timeout", json!(1), Problem, "needs more than"),
        (function, "WorkerFunction", "/Timeout", json!(61), Problem, "less than 6 times the worker's 61 s"),
        (function, "SweeperFunction", "/Timeout", json!(60), Problem, "they may overlap"),
        (function, "ApiFunction", "/Timeout", json!(30), Problem, "gateway waits 30000 ms"),
        (function, "WorkerFunction", "/State", json!("Failed"), Problem, "WorkerFunction cannot run"),
        (function, "EventsFunction", "/LastUpdateStatus", json!("Failed"), Problem, "EventsFunction cannot run"),
        (function, "ApiFunction", "/Environment/Variables/TABLE_NAME", Value::Null, Problem, "TABLE_NAME is not set"),
        (function, "ApiFunction", "/Environment/Variables/AUTH_MODE", json!("open"), Problem, "AUTH_MODE does not fit"),
        (function, "ApiFunction", "/Environment/Variables/JOBS_PER_MINUTE", json!("many"), Problem, "JOBS_PER_MINUTE"),
        (
            function,
            "WorkerFunction",
            "/Environment/Variables/OUTPUT_URL",
            json!("ftp://x"),
            Problem,
            "OUTPUT_URL does not",
        ),
        (function, "WorkerFunction", "/Environment/Variables/QUEUE_URL", json!(""), Problem, "QUEUE_URL is not set"),
        (
            function,
            "SweeperFunction",
            "/Environment/Variables/DEAD_LETTER_QUEUE_URL",
            Value::Null,
            Problem,
            "SweeperFunction does not start",
        ),
        (
            function,
            "EventsFunction",
            "/Environment/Variables/EVENTS_TOPIC_ARN",
            Value::Null,
            Problem,
            "nobody is told of events",
        ),
        (function, "ApiFunction", "/Environment/Variables/SCOPE_PREFIX", Value::Null, Problem, "lacks SCOPE_PREFIX"),
        (function, "ApiFunction", "/Environment/Variables/ADDED", json!("x"), Problem, "has besides ADDED"),
        (
            function,
            "WorkerFunction",
            "/LastModified",
            json!("2026-11-28T13:00:00.000+0000"),
            Advice,
            "was changed at 2026",
        ),
        (concurrency, "ApiFunction", "/ReservedConcurrentExecutions", json!(0), Problem, "ApiFunction is switched off"),
        (concurrency, "WorkerFunction", "/ReservedConcurrentExecutions", json!(5), Problem, "Lambda lets 5 run"),
        (
            account,
            "",
            "/AccountLimit/UnreservedConcurrentExecutions",
            json!(10),
            Problem,
            "the account lets 10 functions",
        ),
        (source, "WorkerFunctionJobs", "/ScalingConfig", Value::Null, Problem, "no maximum concurrency"),
        (source, "WorkerFunctionJobs", "/State", json!("Disabled"), Problem, "WorkerFunctionJobs is disabled"),
        (source, "EventsFunctionChanges", "/State", json!("Disabling"), Problem, "EventsFunctionChanges is disabling"),
        (source, "WorkerFunctionJobs", "/FunctionResponseTypes", json!([]), Problem, "brings back the whole batch"),
        (
            source,
            "EventsFunctionChanges",
            "/LastProcessingResult",
            json!("PROBLEM: Function call failed"),
            Problem,
            "PROBLEM: Function call failed",
        ),
        (
            "scheduler:GetSchedule",
            "SweeperFunctionMinute",
            "/State",
            json!("DISABLED"),
            Problem,
            "is off: no sweep is made",
        ),
        (
            "scheduler:GetSchedule",
            "SweeperFunctionMinute",
            "/ScheduleExpression",
            json!("rate(1 hour)"),
            Problem,
            "rate(1 hour)",
        ),
        (queue, "JobsQueue", "/Attributes/VisibilityTimeout", json!("30"), Problem, "hidden for 30 s"),
        (queue, "JobsQueue", "/Attributes/RedrivePolicy", redrive(3, "dray-dead"), Problem, "a dead letter after 3"),
        (queue, "JobsQueue", "/Attributes/RedrivePolicy", redrive(12, "other"), Problem, "does not move its messages"),
        (queue, "JobsQueue", "/Attributes/RedrivePolicy", Value::Null, Problem, "does not move its messages"),
        (
            queue,
            "DeadLetterQueue",
            "/Attributes/MessageRetentionPeriod",
            json!("60"),
            Problem,
            "Dead letters are kept for 60 s",
        ),
        (
            queue,
            "DeadLetterQueue",
            "/Attributes/ApproximateNumberOfMessages",
            json!("2"),
            Problem,
            "about 2 dead letters",
        ),
        (
            queue,
            "EventsFailures",
            "/Attributes/ApproximateNumberOfMessagesNotVisible",
            json!("1"),
            Problem,
            "about 1 changes",
        ),
        (figures, "JobsQueue", "/Datapoints/0/Maximum", json!(1800), Problem, "the oldest message was 1800 s"),
        (figures, "EventsFunction", "/Datapoints/1/Maximum", json!(400_000), Problem, "was 400000 ms old"),
        (table, "JobsTable", "/Table/TableStatus", json!("ARCHIVED"), Problem, "The table is ARCHIVED"),
        (table, "JobsTable", "/Table/KeySchema/0/AttributeName", json!("pk"), Problem, "key is not id"),
        (table, "JobsTable", "/Table/GlobalSecondaryIndexes/0/IndexName", json!("x"), Problem, "no index due"),
        (
            table,
            "JobsTable",
            "/Table/GlobalSecondaryIndexes/1/KeySchema/1/AttributeName",
            json!("x"),
            Problem,
            "index listing has another key",
        ),
        (table, "JobsTable", "/Table/StreamSpecification", Value::Null, Problem, "does not have old and new images"),
        (table, "JobsTable", "/Table/BillingModeSummary", Value::Null, Problem, "BillingMode is PROVISIONED"),
        (
            "dynamodb:DescribeTimeToLive",
            "JobsTable",
            "/TimeToLiveDescription/TimeToLiveStatus",
            json!("DISABLED"),
            Problem,
            "Nothing deletes jobs",
        ),
        (
            "dynamodb:DescribeTimeToLive",
            "JobsTable",
            "/TimeToLiveDescription/AttributeName",
            json!("expires"),
            Problem,
            "Nothing deletes jobs",
        ),
        (
            "dynamodb:DescribeContinuousBackups",
            "JobsTable",
            "/ContinuousBackupsDescription/PointInTimeRecoveryDescription/PointInTimeRecoveryStatus",
            json!("DISABLED"),
            Problem,
            "PointInTimeRecoverySpecification",
        ),
        (alarm, "WorkerErrors", "/MetricAlarms/0/ActionsEnabled", json!(false), Problem, "its actions are off"),
        (alarm, "WorkerErrors", "/MetricAlarms/0/AlarmActions", json!([]), Problem, "it has no actions"),
        (alarm, "WorkerErrors", "/MetricAlarms/0/Dimensions/0/Value", json!("other"), Problem, "can never go off"),
        (alarm, "SweeperNotRun", "/MetricAlarms/0/StateValue", json!("ALARM"), Problem, "SweeperNotRun has gone off"),
        (alarm, "EventsFailed", "/MetricAlarms/0/Threshold", json!(9.0), Problem, "Threshold is 9.0"),
        (alarm, "EventsFailed", "/MetricAlarms", json!([]), Problem, "EventsFailed is not there"),
        (
            "sns:ListSubscriptionsByTopic",
            "AlarmTopic",
            "/Subscriptions/0/SubscriptionArn",
            json!("PendingConfirmation"),
            Problem,
            "ops@example.com has not confirmed",
        ),
        (
            "sns:ListSubscriptionsByTopic",
            "AlarmTopic",
            "/Subscriptions",
            json!(""),
            Advice,
            "AlarmTopic has no subscription",
        ),
        (
            "logs:DescribeLogGroups",
            "ApiLogs",
            "/logGroups/0/retentionInDays",
            Value::Null,
            Problem,
            "RetentionInDays is not set",
        ),
        (
            "apigateway:GET routes",
            "HttpApi",
            "/items/0/authorizationType",
            json!("AWS_IAM"),
            Problem,
            "AuthorizationType is AWS_IAM",
        ),
        ("apigateway:GET routes", "HttpApi", "/items/0/routeKey", json!("GET /jobs"), Problem, "has a route GET /jobs"),
        ("apigateway:GET integrations", "HttpApi", "/items", json!([]), Problem, "The API has no integration"),
        (
            "apigateway:GET stages",
            "HttpApi",
            "/items/0/defaultRouteSettings/throttlingRateLimit",
            json!(5.0),
            Problem,
            "DefaultRouteSettings",
        ),
        (
            "s3:GetBucketPublicAccessBlock",
            "OutputBucket",
            "/BlockPublicPolicy",
            json!("false"),
            Problem,
            "PublicAccessBlockConfiguration",
        ),
        (
            "ses:GetEmailIdentity",
            "dray@example.com",
            "/VerifiedForSendingStatus",
            json!(false),
            Problem,
            "SES refuses all mail",
        ),
        ("ses:GetAccount", "", "/SendingEnabled", json!(false), Problem, "its sending is paused"),
        ("ses:GetAccount", "", "/ProductionAccessEnabled", json!(false), Advice, "in SES's sandbox"),
        ("GET /health", "", "/version", json!("0.0.1"), Advice, "The API is of release 0.0.1"),
    ]
}

#[test]
fn every_fault_is_found_and_has_a_remedy() {
    for (question, about, path, fault, severity, expected) in faults() {
        let deployed = with(question, about, |answer| {
            let answer = answer.as_mut().expect("an answer");
            let (parent, name) = path.rsplit_once('/').expect("a path");
            let parent = answer.pointer_mut(parent).unwrap_or_else(|| panic!("{question} {about}: no {path}"));
            match (parent, name.parse::<usize>()) {
                (Value::Array(items), Ok(at)) => items[at] = fault,
                (Value::Object(fields), _) if fault.is_null() => drop(fields.remove(name).expect("it is there")),
                (Value::Object(fields), _) => drop(fields.insert(name.to_owned(), fault)),
                (other, _) => panic!("{path} is in {other}"),
            }
        });
        let report = examine(&deployed);
        let found = of_severity(&report, severity);
        assert!(found.iter().any(|what| what.contains(expected)), "{question} {about} {path}: {}", report.text());
        assert_eq!(report.exit(), if severity == Severity::Problem { Exit::Refused } else { Exit::Done }, "{expected}");
        for finding in report.findings.iter().filter(|finding| finding.severity != Severity::Fine) {
            let sentences = [Some(&finding.what), finding.remedy.as_ref()];
            assert!(sentences.into_iter().all(|one| one.is_some_and(|one| one.ends_with('.'))), "{finding:?}");
        }
    }
}

#[test]
fn what_a_stack_is_and_what_others_have_left_is_looked_at_too() {
    let mut deployed = sound();
    deployed.stack_status = "UPDATE_ROLLBACK_COMPLETE".to_owned();
    assert!(examine(&deployed).text().contains("is UPDATE_ROLLBACK_COMPLETE"));

    let mut deployed = sound();
    deployed.resources.retain(|_, resource| resource.kind != "AWS::CloudWatch::Alarm");
    assert!(examine(&deployed).text().contains("The stack has no alarms"));

    let alarm = |answer: &mut Answer| {
        answer.as_mut().expect("answered")["MetricAlarms"][0]["StateValue"] = json!("INSUFFICIENT_DATA");
    };
    let mut deployed = with("cloudwatch:DescribeAlarms", "WorkerErrors", alarm);
    assert_eq!(examine(&deployed).count(Severity::Advice), 0, "it is new");
    deployed.now = "2026-11-29T00:00:00Z".parse().expect("a time");
    assert!(examine(&deployed).text().contains("WorkerErrors has had no data for more than 6 hours"));

    let stack_id = sound().stack_id;
    let secret = |answer: &mut Answer| {
        answer.as_mut().expect("answered")["Environment"]["Variables"]["IDEMPOTENCY_SECRET"] = json!(stack_id);
    };
    let found = examine(&with("lambda:GetFunctionConfiguration", "ApiFunction", secret));
    assert!(of_severity(&found, Severity::Advice)[0].contains("is the stack's id"), "{}", found.text());

    let unwell = Unanswered { code: "unavailable".to_owned(), message: "the queue cannot be reached".to_owned() };
    let found = examine(&with("GET /health", "", |answer| *answer = Err(unwell)));
    assert!(of_severity(&found, Severity::Problem)[0].contains("not well: the queue cannot be reached"));

    let left = ["old-JobsTable-1", "other-JobsTable-2", "unknown-JobsTable-3"];
    let tables = |answer: &mut Answer| answer.as_mut().expect("answered")["TableNames"] = json!(left);
    let mut deployed = with("dynamodb:ListTables", "", tables);
    let refusals = [("ValidationError", "Stack for old-JobsTable-1 does not exist"), ("", ""), (DENIED, "no")];
    for (name, (code, message)) in left.into_iter().zip(refusals) {
        let refusal = Err(Unanswered { code: code.to_owned(), message: message.to_owned() });
        let answer = if message.is_empty() { Ok(json!({})) } else { refusal };
        deployed.answers.insert(("cloudformation:DescribeStackResources", name.to_owned()), answer);
    }
    let found = examine(&deployed);
    assert_eq!(
        of_severity(&found, Severity::Advice),
        ["The table old-JobsTable-1 is called as a stack's is, and belongs to none."]
    );
    assert_eq!(found.count(Severity::Unchecked), 1, "{}", found.text());
}
