//! The roles: what each function does, and no more.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use shared_aws::operations::{COUNTERS, On, of};

use crate::functions::FUNCTIONS;
use crate::invariant::Mutation::{Add, Remove, Set, Swap};
use crate::invariant::invariants;
use crate::stack::{Template, fields, list, text, texts, under};

invariants! {
    the_apis_role_is_what_the_api_does, "shared/aws/src/operations.rs",
        "A request would be answered 500; or whoever takes the function over could do what it never does.", [
        Remove("ApiRole/Properties/Policies/0/PolicyDocument/Statement/0/Action/1"),
        Add("ApiRole/Properties/Policies/0/PolicyDocument/Statement/0/Action/-", "dynamodb:Scan"),
        Remove("ApiRole/Properties/Policies/0/PolicyDocument/Statement/1/Resource/1"),
        Set("ApiRole/Properties/Policies/0/PolicyDocument/Statement/1/Resource", "!Sub \"${JobsTable.Arn}/index/*\""),
        Set("ApiRole/Properties/Policies/0/PolicyDocument/Statement/3/Action", "sqs:ReceiveMessage"),
        Set("ApiRole/Properties/Policies/0/PolicyDocument/Statement/4/Resource", "!GetAtt WorkerLogs.Arn"),
    ];
    the_workers_role_is_what_the_worker_does, "shared/aws/src/operations.rs",
        "Jobs would fail; or a job that is taken over could do what none does.", [
        Remove("WorkerRole/Properties/Policies/0/PolicyDocument/Statement/2/Action/2"),
        Remove("WorkerRole/Properties/Policies/0/PolicyDocument/Statement/4"),
        Add("WorkerRole/Properties/Policies/0/PolicyDocument/Statement/0/Action/-", "dynamodb:PutItem"),
        Swap("WorkerRole/Properties/Policies/0/PolicyDocument/Statement/3/Resource", "/output/*", "/*"),
        Swap("WorkerRole/Properties/Policies/0/PolicyDocument/Statement/5", "ses:SendRawEmail", "ses:SendBulkEmail"),
        Set("WorkerRole/Properties/Policies/0/PolicyDocument/Statement/5/Resource", "'*'"),
    ];
    the_sweepers_role_is_what_the_sweeper_does, "shared/aws/src/operations.rs",
        "Lost messages would stay lost.", [
        Remove("SweeperRole/Properties/Policies/0/PolicyDocument/Statement/3"),
        Swap("SweeperRole/Properties/Policies/0/PolicyDocument/Statement/0/Resource", "/index/due", "/index/listing"),
        Add("SweeperRole/Properties/Policies/0/PolicyDocument/Statement/1/Action/-", "dynamodb:DeleteItem"),
        Set("SweeperRole/Properties/Policies/0/PolicyDocument/Statement/3/Resource", "!GetAtt JobsQueue.Arn"),
    ];
    the_events_role_is_what_the_events_function_does, "shared/aws/src/operations.rs",
        "Nothing would be counted or published; or the function could change jobs.", [
        Remove("EventsRole/Properties/Policies/0/PolicyDocument/Statement/4"),
        Remove("EventsRole/Properties/Policies/0/PolicyDocument/Statement/3/Resource/1"),
        Remove("EventsRole/Properties/Policies/0/PolicyDocument/Statement/1/Condition"),
        Swap("EventsRole/Properties/Policies/0/PolicyDocument/Statement/1/Condition", "counted#*", "*"),
        Set("EventsRole/Properties/Policies/0/PolicyDocument/Statement/4/Resource", "!Ref AlarmTopic"),
        Remove("EventsRole/Properties/Policies/0/PolicyDocument/Statement/0/Action/1"),
    ];
    a_condition_on_all_keys_does_not_hold_without_any, "template.yaml",
        "ForAllValues holds for a request that has no such key.", [
        Remove("EventsRole/Properties/Policies/0/PolicyDocument/Statement/1/Condition/Null"),
        Set("EventsRole/Properties/Policies/0/PolicyDocument/Statement/1/Condition/Null/dynamodb:LeadingKeys", "'true'"),
    ];
    every_right_is_named_and_on_something_named, "template.yaml",
        "A star gives what nobody has thought of.", [
        Set("SweeperRole/Properties/Policies/0/PolicyDocument/Statement/1/Action", "dynamodb:*"),
        Set("ApiRole/Properties/Policies/0/PolicyDocument/Statement/2/Resource", "'*'"),
        Add("WorkerRole/Properties/ManagedPolicyArns", "[arn:aws:iam::aws:policy/AmazonS3FullAccess]"),
        Add("EventsRole/Properties/Policies/0/PolicyDocument/Statement/-",
            "{ Effect: Allow, NotAction: dynamodb:DeleteTable, Resource: !GetAtt JobsTable.Arn }"),
        Add("JobsPolicy", "{ Type: AWS::IAM::ManagedPolicy, Properties: { Roles: [!Ref ApiRole], PolicyDocument: { \
             Version: '2012-10-17', Statement: [{ Effect: Allow, Action: sqs:PurgeQueue, Resource: !GetAtt JobsQueue.Arn }] } } }"),
    ];
    each_function_has_a_role_of_its_own_that_nobody_else_can_take, "template.yaml",
        "One function would have the rights of another, or anybody those of one.", [
        Set("EventsFunction/Properties/Role", "!GetAtt WorkerRole.Arn"),
        Swap("ApiRole/Properties/AssumeRolePolicyDocument", "lambda.amazonaws.com", "ec2.amazonaws.com"),
        Set("WorkerRole/Properties/AssumeRolePolicyDocument/Statement/0/Principal", "{ AWS: '*' }"),
        Remove("SweeperFunction/Properties/Role"),
    ];
    the_schedule_may_start_the_sweeper_and_nothing_else, "template.yaml",
        "No sweep would be made; or the schedule could run jobs.", [
        Add("SweeperFunction/Properties/Events/Minute/Properties/RoleArn", "!GetAtt WorkerRole.Arn"),
    ];
    queues_topic_and_bucket_let_nobody_else_in, "template.yaml",
        "Another account could read jobs, or make them.", [
        Add("OpenQueue", "{ Type: AWS::SQS::QueuePolicy, Properties: { Queues: [!Ref JobsQueue], PolicyDocument: { Statement: [] } } }"),
        Add("OpenTopic", "{ Type: AWS::SNS::TopicPolicy, Properties: { Topics: [!Ref EventsTopic], PolicyDocument: { Statement: [] } } }"),
    ];
}

/// A right: an action, and what it may be done to.
type Right = (String, String);

/// What a role allows, and under which condition.
fn allowed_by(role: &Value) -> BTreeMap<Right, BTreeSet<String>> {
    let mut rights: BTreeMap<Right, BTreeSet<String>> = BTreeMap::new();
    for policy in list(&role["Policies"]) {
        for statement in list(&policy["PolicyDocument"]["Statement"]) {
            assert_eq!(statement["Effect"], "Allow");
            for action in texts(&statement["Action"]) {
                for resource in texts(&statement["Resource"]) {
                    let conditions = rights.entry((action.to_owned(), resource.to_owned())).or_default();
                    conditions.insert(statement["Condition"].to_string());
                }
            }
        }
    }
    rights
}

/// The resource of the template that an operation is on, and the condition that holds it to that.
fn place(on: On) -> (&'static str, Value) {
    let resource = match on {
        On::Table | On::Counters => "${JobsTable.Arn}",
        On::ListingIndex => "${JobsTable.Arn}/index/listing",
        On::DueIndex => "${JobsTable.Arn}/index/due",
        On::JobsQueue => "${JobsQueue.Arn}",
        On::DeadLetterQueue => "${DeadLetterQueue.Arn}",
        On::EventsTopic => "${EventsTopic}",
        On::Files => "${OutputBucket.Arn}/output/*",
        On::Bucket => "${OutputBucket.Arn}",
        On::Mail => "arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}:identity/*",
    };
    let condition = match on {
        On::Counters => json!({
            "ForAllValues:StringLike": { "dynamodb:LeadingKeys": COUNTERS.map(|start| format!("{start}*")) },
            "Null": { "dynamodb:LeadingKeys": "false" },
        }),
        _ => Value::Null,
    };
    (resource, condition)
}

/// What Lambda itself does in a function's name: for its event source, and to write its logs.
fn done_by_lambda(binary: &str) -> Vec<(&'static str, String)> {
    let source: &[(&str, &str)] = match binary {
        // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
        "worker" => &[
            ("sqs:ReceiveMessage", "${JobsQueue.Arn}"),
            ("sqs:DeleteMessage", "${JobsQueue.Arn}"),
            ("sqs:GetQueueAttributes", "${JobsQueue.Arn}"),
        ],
        // https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-eventsourcemapping.html
        "events" => &[
            ("dynamodb:DescribeStream", "${JobsTable.StreamArn}"),
            ("dynamodb:GetRecords", "${JobsTable.StreamArn}"),
            ("dynamodb:GetShardIterator", "${JobsTable.StreamArn}"),
            ("dynamodb:ListStreams", "${JobsTable.StreamArn}"),
            ("sqs:SendMessage", "${EventsFailures.Arn}"),
        ],
        _ => &[],
    };
    let mut done: Vec<_> = source.iter().map(|(action, resource)| (*action, (*resource).to_owned())).collect();
    let (first, rest) = binary.split_at(1);
    let logs = format!("${{{}{rest}Logs.Arn}}", first.to_ascii_uppercase());
    done.extend(["logs:CreateLogStream", "logs:PutLogEvents"].map(|action| (action, logs.clone())));
    done
}

/// Panics unless the function's role allows what the function does, and nothing else.
fn assert_role_fits(template: &Template, function: &str, binary: &str) {
    let mut expected: BTreeMap<Right, BTreeSet<String>> = BTreeMap::new();
    let mut add = |action: &str, resource: &str, condition: &Value| {
        expected.entry((action.to_owned(), resource.to_owned())).or_default().insert(condition.to_string());
    };
    for operation in of(binary) {
        let (resource, condition) = place(operation.on);
        operation.actions.iter().for_each(|action| add(action, resource, &condition));
    }
    for (action, resource) in done_by_lambda(binary) {
        add(action, &resource, &Value::Null);
    }
    let stack = template.stack();
    let allowed = allowed_by(stack.properties(&role_of(&stack.properties(function)["Role"])));
    let missing: Vec<_> = expected.iter().filter(|(right, how)| allowed.get(*right) != Some(*how)).collect();
    let unused: Vec<_> = allowed.iter().filter(|(right, how)| expected.get(*right) != Some(*how)).collect();
    assert!(missing.is_empty() && unused.is_empty(), "{function} needs {missing:?}; it is given {unused:?}");
}

/// The name of the role with this ARN.
fn role_of(arn: &Value) -> String {
    let name = text(arn).strip_prefix("${").and_then(|rest| rest.strip_suffix(".Arn}"));
    name.unwrap_or_else(|| panic!("{arn} is no role of the stack's")).to_owned()
}

fn the_apis_role_is_what_the_api_does(template: &Template) {
    assert_role_fits(template, "ApiFunction", "api");
}

fn the_workers_role_is_what_the_worker_does(template: &Template) {
    assert_role_fits(template, "WorkerFunction", "worker");
}

fn the_sweepers_role_is_what_the_sweeper_does(template: &Template) {
    assert_role_fits(template, "SweeperFunction", "sweeper");
}

fn the_events_role_is_what_the_events_function_does(template: &Template) {
    assert_role_fits(template, "EventsFunction", "events");
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html>
fn a_condition_on_all_keys_does_not_hold_without_any(template: &Template) {
    let stack = template.stack();
    let mut seen = 0;
    for condition in stack.all("AWS::IAM::Role").into_iter().flat_map(|(_, role)| under("Condition", role)) {
        for (_, keys) in fields(condition).filter(|(operator, _)| operator.starts_with("ForAllValues:")) {
            for (key, _) in fields(keys) {
                assert_eq!(condition["Null"][key], "false", "{key}");
                seen += 1;
            }
        }
    }
    assert!(seen > 0, "the counters' is one");
}

fn every_right_is_named_and_on_something_named(template: &Template) {
    let stack = template.stack();
    for (name, role) in stack.all("AWS::IAM::Role") {
        assert!(role["ManagedPolicyArns"].is_null(), "{name}: what others may change is no list of rights");
        for other in ["NotAction", "NotResource", "NotPrincipal"] {
            assert!(under(other, role).is_empty(), "{name}: all but some are too many");
        }
        let policies = &role["Policies"];
        for action in under("Action", policies).into_iter().flat_map(texts) {
            assert!(!action.contains('*'), "{name}: {action}");
        }
        for resource in under("Resource", policies).into_iter().flat_map(texts) {
            assert_ne!(resource, "*", "{name}");
        }
    }
    for elsewhere in ["AWS::IAM::ManagedPolicy", "AWS::IAM::Policy", "AWS::IAM::RolePolicy"] {
        assert!(stack.all(elsewhere).is_empty(), "rights stand in the roles alone");
    }
}

fn each_function_has_a_role_of_its_own_that_nobody_else_can_take(template: &Template) {
    let stack = template.stack();
    for (function, binary) in FUNCTIONS {
        let role = role_of(&stack.properties(function)["Role"]);
        assert!(role.eq_ignore_ascii_case(&format!("{binary}Role")), "{function} has {role}");
        let expected = json!([
            { "Effect": "Allow", "Principal": { "Service": "lambda.amazonaws.com" }, "Action": "sts:AssumeRole" }
        ]);
        assert_eq!(stack.properties(&role)["AssumeRolePolicyDocument"]["Statement"], expected, "{role}");
    }
}

fn the_schedule_may_start_the_sweeper_and_nothing_else(template: &Template) {
    let stack = template.stack();
    let target = &stack.properties("SweeperFunctionMinute")["Target"];
    let role = stack.properties(&role_of(&target["RoleArn"]));
    let rights: Vec<_> = allowed_by(role).into_keys().collect();
    assert_eq!(rights, [("lambda:InvokeFunction".to_owned(), text(&target["Arn"]).to_owned())]);
    assert_eq!(under("Service", &role["AssumeRolePolicyDocument"]), [&json!(["scheduler.amazonaws.com"])]);
}

fn queues_topic_and_bucket_let_nobody_else_in(template: &Template) {
    let stack = template.stack();
    for kind in ["AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy", "AWS::S3::BucketPolicy"] {
        assert!(stack.all(kind).is_empty(), "{kind}");
    }
    assert!(under("ResourcePolicy", stack.properties("JobsTable")).is_empty());
}
