//! Faults put into the data of a sound stack, one at a time: each is found, and has a remedy.

use serde_json::{Value, json};

use super::Severity::{Advice, Problem};
use super::sound::{of_severity, with};
use super::{Severity, examine};
use crate::command_line::Exit;

/// The question, whom it is about, where in the answer the fault is, the fault (`null` takes away what is there), and
/// what is found.
type Fault = (&'static str, &'static str, &'static str, Value, Severity, &'static str);

const FUNCTION: &str = "lambda:GetFunctionConfiguration";
const CONCURRENCY: &str = "lambda:GetFunctionConcurrency";
const ACCOUNT: &str = "lambda:GetAccountSettings";
const SOURCE: &str = "lambda:GetEventSourceMapping";
const QUEUE: &str = "sqs:GetQueueAttributes";
const FIGURES: &str = "cloudwatch:GetMetricStatistics";
const TABLE: &str = "dynamodb:DescribeTable";
const ALARM: &str = "cloudwatch:DescribeAlarms";
const TIME_TO_LIVE: &str = "dynamodb:DescribeTimeToLive";
const SCHEDULE: &str = "scheduler:GetSchedule";
const LISTENERS: &str = "sns:ListSubscriptionsByTopic";
const ROUTES: &str = "apigateway:GET routes";
const STAGES: &str = "apigateway:GET stages";

fn in_functions() -> Vec<Fault> {
    vec![
        (FUNCTION, "WorkerFunction", "/Timeout", json!(1), Problem, "needs more than"),
        (FUNCTION, "WorkerFunction", "/Timeout", json!(61), Problem, "less than 6 times the worker's 61 s"),
        (FUNCTION, "SweeperFunction", "/Timeout", json!(60), Problem, "they may overlap"),
        (FUNCTION, "ApiFunction", "/Timeout", json!(30), Problem, "gateway waits 30000 ms"),
        (FUNCTION, "WorkerFunction", "/State", json!("Failed"), Problem, "WorkerFunction cannot run"),
        (FUNCTION, "EventsFunction", "/LastUpdateStatus", json!("Failed"), Problem, "EventsFunction cannot run"),
        (FUNCTION, "ApiFunction", "/Environment/Variables/TABLE_NAME", Value::Null, Problem, "TABLE_NAME is not set"),
        (FUNCTION, "ApiFunction", "/Environment/Variables/AUTH_MODE", json!("open"), Problem, "AUTH_MODE does not fit"),
        (FUNCTION, "ApiFunction", "/Environment/Variables/JOBS_PER_MINUTE", json!("many"), Problem, "JOBS_PER_MINUTE"),
        (
            FUNCTION,
            "WorkerFunction",
            "/Environment/Variables/OUTPUT_URL",
            json!("ftp://x"),
            Problem,
            "OUTPUT_URL does not",
        ),
        (FUNCTION, "WorkerFunction", "/Environment/Variables/QUEUE_URL", json!(""), Problem, "QUEUE_URL is not set"),
        (
            FUNCTION,
            "SweeperFunction",
            "/Environment/Variables/DEAD_LETTER_QUEUE_URL",
            Value::Null,
            Problem,
            "SweeperFunction does not start",
        ),
        (
            FUNCTION,
            "EventsFunction",
            "/Environment/Variables/EVENTS_TOPIC_ARN",
            Value::Null,
            Problem,
            "nobody is told of events",
        ),
        (FUNCTION, "ApiFunction", "/Environment/Variables/SCOPE_PREFIX", Value::Null, Problem, "lacks SCOPE_PREFIX"),
        (FUNCTION, "ApiFunction", "/Environment/Variables/ADDED", json!("x"), Problem, "has besides ADDED"),
        (
            FUNCTION,
            "WorkerFunction",
            "/LastModified",
            json!("2026-11-28T13:00:00.000+0000"),
            Advice,
            "was changed at 2026",
        ),
        (CONCURRENCY, "ApiFunction", "/ReservedConcurrentExecutions", json!(0), Problem, "ApiFunction is switched off"),
        (CONCURRENCY, "WorkerFunction", "/ReservedConcurrentExecutions", json!(5), Problem, "Lambda lets 5 run"),
        (
            ACCOUNT,
            "",
            "/AccountLimit/UnreservedConcurrentExecutions",
            json!(10),
            Problem,
            "the account lets 10 functions",
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table of faults")]
fn in_queues_and_table() -> Vec<Fault> {
    let redrive = |count: u32, to: &str| {
        json!(format!(
            r#"{{"maxReceiveCount":{count},"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:{to}"}}"#
        ))
    };
    vec![
        (SOURCE, "WorkerFunctionJobs", "/ScalingConfig", Value::Null, Problem, "no maximum concurrency"),
        (SOURCE, "WorkerFunctionJobs", "/State", json!("Disabled"), Problem, "WorkerFunctionJobs is disabled"),
        (SOURCE, "EventsFunctionChanges", "/State", json!("Disabling"), Problem, "EventsFunctionChanges is disabling"),
        (SOURCE, "WorkerFunctionJobs", "/FunctionResponseTypes", json!([]), Problem, "brings back the whole batch"),
        (
            SOURCE,
            "EventsFunctionChanges",
            "/LastProcessingResult",
            json!("PROBLEM: Function call failed"),
            Problem,
            "PROBLEM: Function call failed",
        ),
        (SCHEDULE, "SweeperFunctionMinute", "/State", json!("DISABLED"), Problem, "is off: no sweep is made"),
        (SCHEDULE, "SweeperFunctionMinute", "/ScheduleExpression", json!("rate(1 hour)"), Problem, "rate(1 hour)"),
        (QUEUE, "JobsQueue", "/Attributes/VisibilityTimeout", json!("30"), Problem, "hidden for 30 s"),
        (QUEUE, "JobsQueue", "/Attributes/RedrivePolicy", redrive(3, "dray-dead"), Problem, "a dead letter after 3"),
        (QUEUE, "JobsQueue", "/Attributes/RedrivePolicy", redrive(12, "other"), Problem, "does not move its messages"),
        (QUEUE, "JobsQueue", "/Attributes/RedrivePolicy", Value::Null, Problem, "does not move its messages"),
        (
            QUEUE,
            "DeadLetterQueue",
            "/Attributes/MessageRetentionPeriod",
            json!("60"),
            Problem,
            "Dead letters are kept for 60 s",
        ),
        (
            QUEUE,
            "DeadLetterQueue",
            "/Attributes/ApproximateNumberOfMessages",
            json!("2"),
            Problem,
            "about 2 dead letters",
        ),
        (
            QUEUE,
            "EventsFailures",
            "/Attributes/ApproximateNumberOfMessagesNotVisible",
            json!("1"),
            Problem,
            "about 1 changes",
        ),
        (FIGURES, "JobsQueue", "/Datapoints/0/Maximum", json!(1800), Problem, "the oldest message was 1800 s"),
        (FIGURES, "EventsFunction", "/Datapoints/1/Maximum", json!(400_000), Problem, "was 400000 ms old"),
        (TABLE, "JobsTable", "/Table/TableStatus", json!("ARCHIVED"), Problem, "The table JobsTable is ARCHIVED"),
        (
            TABLE,
            "JobsTable",
            "/Table/KeySchema/0/AttributeName",
            json!("pk"),
            Problem,
            "The key of the table JobsTable is not id",
        ),
        (
            TABLE,
            "JobsTable",
            "/Table/GlobalSecondaryIndexes/0/IndexName",
            json!("x"),
            Problem,
            "JobsTable has no index due",
        ),
        (
            TABLE,
            "JobsTable",
            "/Table/GlobalSecondaryIndexes/1/KeySchema/1/AttributeName",
            json!("x"),
            Problem,
            "an index listing whose key is another",
        ),
        (TABLE, "JobsTable", "/Table/StreamSpecification", Value::Null, Problem, "does not have old and new images"),
        (TABLE, "JobsTable", "/Table/BillingModeSummary", Value::Null, Problem, "BillingMode is PROVISIONED"),
        (
            TIME_TO_LIVE,
            "JobsTable",
            "/TimeToLiveDescription/TimeToLiveStatus",
            json!("DISABLED"),
            Problem,
            "Nothing deletes jobs",
        ),
        (
            TIME_TO_LIVE,
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
    ]
}

fn in_all_else() -> Vec<Fault> {
    vec![
        (ALARM, "WorkerErrors", "/MetricAlarms/0/ActionsEnabled", json!(false), Problem, "its actions are off"),
        (ALARM, "WorkerErrors", "/MetricAlarms/0/AlarmActions", json!([]), Problem, "it has no actions"),
        (ALARM, "WorkerErrors", "/MetricAlarms/0/Dimensions/0/Value", json!("other"), Problem, "can never go off"),
        (ALARM, "SweeperNotRun", "/MetricAlarms/0/StateValue", json!("ALARM"), Problem, "SweeperNotRun has gone off"),
        (ALARM, "EventsFailed", "/MetricAlarms/0/Threshold", json!(9.0), Problem, "Threshold is 9.0"),
        (ALARM, "EventsFailed", "/MetricAlarms", json!([]), Problem, "EventsFailed is not there"),
        (
            LISTENERS,
            "AlarmTopic",
            "/Subscriptions/0/SubscriptionArn",
            json!("PendingConfirmation"),
            Problem,
            "ops@example.com has not confirmed",
        ),
        (LISTENERS, "AlarmTopic", "/Subscriptions", json!(""), Advice, "AlarmTopic has no subscription"),
        (
            "logs:DescribeLogGroups",
            "ApiLogs",
            "/logGroups/0/retentionInDays",
            Value::Null,
            Problem,
            "RetentionInDays is not set",
        ),
        (ROUTES, "HttpApi", "/items/0/authorizationType", json!("AWS_IAM"), Problem, "AuthorizationType is AWS_IAM"),
        (ROUTES, "HttpApi", "/items/0/routeKey", json!("GET /jobs"), Problem, "has a route GET /jobs"),
        ("apigateway:GET integrations", "HttpApi", "/items", json!([]), Problem, "The API has no integration"),
        (
            STAGES,
            "HttpApi",
            "/items/0/defaultRouteSettings/throttlingRateLimit",
            json!(5.0),
            Problem,
            "DefaultRouteSettings",
        ),
        (
            STAGES,
            "HttpApi",
            "/items/0/routeSettings/GET ~1health/throttlingRateLimit",
            json!(9000.0),
            Problem,
            "RouteSettings is",
        ),
        (STAGES, "HttpApi", "/items/0/routeSettings", json!({}), Problem, "RouteSettings is {}"),
        (STAGES, "HttpApi", "/items/0/accessLogSettings", Value::Null, Problem, "AccessLogSettings is not set"),
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
    for (question, about, path, fault, severity, expected) in
        [in_functions(), in_queues_and_table(), in_all_else()].into_iter().flatten()
    {
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
