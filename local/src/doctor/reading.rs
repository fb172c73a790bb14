//! Asks AWS for all that the checks look at. Every question is one that only reads, and stands in [`PERMISSIONS`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::aws::{
    API_GATEWAY, Answer, Aws, CLOUDFORMATION, CLOUDWATCH, DYNAMODB, LAMBDA, LOGS, Request, S3, SCHEDULER, SES, SNS,
    SQS, Unanswered, escaped, text,
};
use super::deployed::{Deployed, time};
use super::orphans::candidates;
use super::template::{self, Resource};

/// What whoever runs the doctor must be allowed to do. `/health` takes none.
pub const PERMISSIONS: [&str; 24] = [
    "apigateway:GET",
    "cloudformation:DescribeStackResources",
    "cloudformation:DescribeStacks",
    "cloudformation:GetTemplate",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricStatistics",
    "dynamodb:DescribeContinuousBackups",
    "dynamodb:DescribeTable",
    "dynamodb:DescribeTimeToLive",
    "dynamodb:ListTables",
    "lambda:GetAccountSettings",
    "lambda:GetEventSourceMapping",
    "lambda:GetFunctionConcurrency",
    "lambda:GetFunctionConfiguration",
    "lambda:GetFunctionEventInvokeConfig",
    "logs:DescribeLogGroups",
    "s3:GetBucketPublicAccessBlock",
    "s3:ListAllMyBuckets",
    "scheduler:GetSchedule",
    "ses:GetAccount",
    "ses:GetEmailIdentity",
    "sns:GetTopicAttributes",
    "sns:ListSubscriptionsByTopic",
    "sqs:GetQueueAttributes",
];

/// How far back figures of CloudWatch are looked at. Longer than it takes for them to arrive.
const FIGURES_OF: SignedDuration = SignedDuration::from_mins(15);

/// Of so many tables or buckets that may have been a stack's it is asked whether there is one.
const MOST_CANDIDATES: usize = 20;

/// All of it. An error is that there is no such stack, or that nobody may look at it.
pub async fn read(aws: &Aws, stack_name: &str) -> Result<Deployed, Unanswered> {
    let named = || json!({ "StackName": stack_name });
    let stacks = aws.ask(&Request::of(CLOUDFORMATION, "DescribeStacks", named())).await?;
    let stack = &stacks["Stacks"][0];
    let stack_id = text(&stack["StackId"]);
    let template = json!({ "StackName": stack_name, "TemplateStage": "Processed" });
    let template = aws.ask(&Request::of(CLOUDFORMATION, "GetTemplate", template)).await?;
    let template = serde_json::from_str::<Value>(&text(&template["TemplateBody"]))
        .map_err(|_| Unanswered::nothing("the deployed template is not JSON, so SAM has not translated it"))?;
    let listed = aws.ask(&Request::of(CLOUDFORMATION, "DescribeStackResources", named())).await?;
    let resources =
        template::resources(&template, &parameters(stack), &physical_ids(&listed["StackResources"]), &stack_id);
    let mut deployed = Deployed {
        stack_id,
        stack_status: text(&stack["StackStatus"]),
        deployed_at: time(&stack["LastUpdatedTime"]).or_else(|| time(&stack["CreationTime"])),
        resources,
        answers: BTreeMap::new(),
        now: Timestamp::now(),
    };
    for (id, resource) in deployed.resources.clone() {
        for (question, request) in questions_about(&id, &resource, deployed.alias(&id), deployed.now) {
            deployed.answers.insert((question, id.clone()), aws.ask(&request).await);
        }
    }
    for (question, request) in questions_about_the_account(aws.region()) {
        deployed.answers.insert((question, String::new()), aws.ask(&request).await);
    }
    for (question, about, request) in questions_that_follow(&deployed) {
        deployed.answers.insert((question, about), aws.ask(&request).await);
    }
    let health = health(aws, &deployed).await;
    deployed.answers.insert(("GET /health", String::new()), health);
    Ok(deployed)
}

fn parameters(stack: &Value) -> BTreeMap<String, String> {
    let given = stack["Parameters"].as_array().into_iter().flatten();
    let value = |parameter: &Value| text(parameter.get("ResolvedValue").unwrap_or(&parameter["ParameterValue"]));
    given.map(|parameter| (text(&parameter["ParameterKey"]), value(parameter))).collect()
}

fn physical_ids(listed: &Value) -> BTreeMap<String, String> {
    let is_there = |resource: &&Value| resource["ResourceStatus"] != "DELETE_COMPLETE";
    let there = listed.as_array().into_iter().flatten().filter(is_there);
    there.map(|resource| (text(&resource["LogicalResourceId"]), text(&resource["PhysicalResourceId"]))).collect()
}

/// Of a function its alias is asked about, if it has one: what is behind it serves, and not the latest.
pub fn questions_about(
    id: &str,
    resource: &Resource,
    alias: Option<&str>,
    now: Timestamp,
) -> Vec<(&'static str, Request)> {
    let name = resource.physical_id.as_str();
    let path = escaped(name);
    let of = Request::of;
    match resource.kind.as_str() {
        "AWS::Lambda::Function" => {
            let function =
                |version: &str, what: &str| Request::get(LAMBDA, format!("/{version}/functions/{path}/{what}"));
            let mut questions = vec![
                ("lambda:GetFunctionConfiguration", function("2015-03-31", &qualified("configuration", alias))),
                ("lambda:GetFunctionConcurrency", function("2019-09-30", "concurrency")),
            ];
            if id == "EventsFunction" {
                let age = figures("AWS/Lambda", "IteratorAge", "FunctionName", name, now);
                questions.push(("cloudwatch:GetMetricStatistics", age));
            }
            questions
        }
        "AWS::Lambda::EventInvokeConfig" => {
            let function = escaped(&text(&resource.properties["FunctionName"]));
            let config = qualified("event-invoke-config", resource.properties["Qualifier"].as_str());
            let path = format!("/2019-09-25/functions/{function}/{config}");
            vec![("lambda:GetFunctionEventInvokeConfig", Request::get(LAMBDA, path))]
        }
        "AWS::Lambda::EventSourceMapping" => {
            let path = format!("/2015-03-31/event-source-mappings/{path}");
            vec![("lambda:GetEventSourceMapping", Request::get(LAMBDA, path))]
        }
        "AWS::SQS::Queue" => {
            let attributes = json!({ "QueueUrl": name, "AttributeNames": ["All"] });
            let mut questions = vec![("sqs:GetQueueAttributes", of(SQS, "GetQueueAttributes", attributes))];
            if id == "JobsQueue" {
                let queue_name = name.rsplit('/').next().unwrap_or_default();
                let age = figures("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queue_name, now);
                questions.push(("cloudwatch:GetMetricStatistics", age));
            }
            questions
        }
        "AWS::DynamoDB::Table" => questions_about_table(name),
        "AWS::S3::Bucket" => vec![question_about_bucket(name)],
        "AWS::SNS::Topic" => {
            let topic = |action: &str| of(SNS, action, json!({ "TopicArn": name }));
            let mut questions = vec![("sns:GetTopicAttributes", topic("GetTopicAttributes"))];
            if id == "AlarmTopic" {
                questions.push(("sns:ListSubscriptionsByTopic", topic("ListSubscriptionsByTopic")));
            }
            questions
        }
        "AWS::Scheduler::Schedule" => {
            vec![("scheduler:GetSchedule", Request::get(SCHEDULER, format!("/schedules/{path}")))]
        }
        "AWS::Logs::LogGroup" => {
            vec![("logs:DescribeLogGroups", of(LOGS, "DescribeLogGroups", json!({ "logGroupNamePrefix": name })))]
        }
        "AWS::CloudWatch::Alarm" => {
            let alarm = json!({ "AlarmNames": [name] });
            vec![("cloudwatch:DescribeAlarms", of(CLOUDWATCH, "DescribeAlarms", alarm))]
        }
        "AWS::ApiGatewayV2::Api" => {
            let api = |what: &str| Request::get(API_GATEWAY, format!("/v2/apis/{path}/{what}?maxResults=100"));
            vec![
                ("apigateway:GET routes", api("routes")),
                ("apigateway:GET stages", api("stages")),
                ("apigateway:GET integrations", api("integrations")),
                ("apigateway:GET authorizers", api("authorizers")),
            ]
        }
        _ => vec![],
    }
}

fn qualified(path: &str, qualifier: Option<&str>) -> String {
    qualifier.map_or_else(|| path.to_owned(), |qualifier| format!("{path}?Qualifier={}", escaped(qualifier)))
}

fn questions_about_table(name: &str) -> Vec<(&'static str, Request)> {
    let table = |action: &str| Request::of(DYNAMODB, action, json!({ "TableName": name }));
    vec![
        ("dynamodb:DescribeTable", table("DescribeTable")),
        ("dynamodb:DescribeTimeToLive", table("DescribeTimeToLive")),
        ("dynamodb:DescribeContinuousBackups", table("DescribeContinuousBackups")),
    ]
}

fn question_about_bucket(name: &str) -> (&'static str, Request) {
    let path = format!("/{}?publicAccessBlock=", escaped(name));
    ("s3:GetBucketPublicAccessBlock", Request::get(S3, path))
}

/// The largest figures of the last minutes.
fn figures(namespace: &str, metric: &str, dimension: &str, value: &str, now: Timestamp) -> Request {
    let now = now.as_second();
    let arguments = json!({
        "Namespace": namespace, "MetricName": metric, "Dimensions": [{ "Name": dimension, "Value": value }],
        "Statistics": ["Maximum"], "Period": 60, "StartTime": now - FIGURES_OF.as_secs(), "EndTime": now,
    });
    Request::of(CLOUDWATCH, "GetMetricStatistics", arguments)
}

fn questions_about_the_account(region: &str) -> Vec<(&'static str, Request)> {
    vec![
        ("lambda:GetAccountSettings", Request::get(LAMBDA, "/2016-08-19/account-settings".to_owned())),
        ("ses:GetAccount", Request::get(SES, "/v2/email/account".to_owned())),
        ("dynamodb:ListTables", Request::of(DYNAMODB, "ListTables", json!({ "Limit": 100 }))),
        ("s3:ListAllMyBuckets", Request::get(S3, format!("/?bucket-region={region}&max-buckets=1000"))),
    ]
}

/// What to ask once other things are known: SES about the sender that the worker has; about a table and a bucket that the
/// functions use and that are not the stack's; and CloudFormation about tables and buckets that look like those of a stack.
pub fn questions_that_follow(deployed: &Deployed) -> Vec<(&'static str, String, Request)> {
    let mut questions = vec![];
    let sender = deployed.variable("WorkerFunction", "MAIL_FROM").unwrap_or_default();
    let address = sender.rsplit('<').next().unwrap_or_default().trim_end_matches('>');
    let identities: BTreeSet<_> = [address, address.rsplit('@').next().unwrap_or_default()].into();
    for identity in identities.into_iter().filter(|identity| !identity.is_empty()) {
        let request = Request::get(SES, format!("/v2/email/identities/{}", escaped(identity)));
        questions.push(("ses:GetEmailIdentity", identity.to_owned(), request));
    }
    for name in deployed.tables() {
        if deployed.key("AWS::DynamoDB::Table", name) == name {
            let asked = questions_about_table(name).into_iter();
            questions.extend(asked.map(|(question, request)| (question, name.to_owned(), request)));
        }
    }
    for name in deployed.buckets() {
        if deployed.key("AWS::S3::Bucket", name) == name {
            let (question, request) = question_about_bucket(name);
            questions.push((question, name.to_owned(), request));
        }
    }
    for name in candidates(deployed).into_iter().take(MOST_CANDIDATES) {
        let request = Request::of(CLOUDFORMATION, "DescribeStackResources", json!({ "PhysicalResourceId": name }));
        questions.push(("cloudformation:DescribeStackResources", name, request));
    }
    questions
}

/// What the API says of itself. A local AWS has it at an address of its own, whatever name it tells.
async fn health(aws: &Aws, deployed: &Deployed) -> Answer {
    let api_id = deployed.physical_id("HttpApi");
    let url = match aws.endpoint_url() {
        Some(endpoint) => crate::stack::api_url_of(endpoint, api_id),
        None => format!("https://{api_id}.execute-api.{}.{}", aws.region(), aws.domain()),
    };
    aws.get(&format!("{url}/health")).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_is_a_permission_that_is_listed() {
        let kinds = [
            "Lambda::Function",
            "Lambda::EventInvokeConfig",
            "Lambda::EventSourceMapping",
            "SQS::Queue",
            "DynamoDB::Table",
            "S3::Bucket",
            "SNS::Topic",
            "Scheduler::Schedule",
            "Logs::LogGroup",
            "CloudWatch::Alarm",
            "ApiGatewayV2::Api",
        ];
        let mut asked: BTreeSet<&str> = kinds
            .iter()
            .flat_map(|kind| {
                let kind = format!("AWS::{kind}");
                let resource = Resource { kind, physical_id: "x".to_owned(), properties: Value::Null };
                let questions = ["EventsFunction", "AlarmTopic"].map(|id| {
                    let questions = questions_about(id, &resource, None, Timestamp::UNIX_EPOCH);
                    assert!(!questions.is_empty(), "{}", resource.kind);
                    questions
                });
                questions.into_iter().flatten()
            })
            .chain(questions_about_the_account("eu-west-1"))
            .map(|(question, _)| question.split(' ').next().unwrap_or_default())
            .collect();
        // Those that find the stack, and the one that follows from what was found.
        asked.extend([
            "cloudformation:DescribeStacks",
            "cloudformation:GetTemplate",
            "cloudformation:DescribeStackResources",
            "ses:GetEmailIdentity",
        ]);
        assert_eq!(asked.into_iter().collect::<Vec<_>>(), PERMISSIONS);
    }
}
