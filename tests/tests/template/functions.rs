//! The functions themselves, what starts the sweeper, and the names of everything.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use shared::job::due::PATIENCE;
use shared::job::submission::{LONGEST_TIMEOUT_SECONDS, Limits};
use shared::job::transition::LEASE_MARGIN;
use shared_aws::settings::limits;

use crate::invariant::Mutation::{Add, Remove, Set};
use crate::invariant::invariants;
use crate::stack::{Stack, Template, constant, fields, file, number, plain, quoted_after, text, texts};

invariants! {
    each_function_runs_its_own_binary_on_the_runtime_of_binaries, "local/src/stack/functions.rs",
        "A function would not start, or would do another's work.", [
        Set("Globals/Function/Handler", "main"),
        Set("Globals/Function/Runtime", "provided.al2"),
        Set("SweeperFunction/Metadata/BuildProperties/Binary", "worker"),
        Set("ApiFunction/Metadata/BuildMethod", "makefile"),
    ];
    each_function_is_built_in_its_own_folder, "functions/worker/Cargo.toml",
        "Elsewhere Cargo unites the features of all packages, and deployed functions would have those of the tests; \
         and SAM reads nothing of how to build but the binary's name.", [
        Add("WorkerFunction/Metadata/BuildProperties/Flags", "[--package, worker]"),
        Set("WorkerFunction/Properties/CodeUri", "."),
        Set("ApiFunction/Properties/CodeUri", "functions/worker"),
    ];
    a_function_runs_on_the_machine_that_it_was_built_for, "docs/operating.md",
        "Lambda would not find the binary's instructions.", [
        Set("Globals/Function/Architectures", "[arm64]"),
        Set("Parameters/Architecture/AllowedValues", "[arm64, x86]"),
    ];
    a_client_gets_the_functions_own_answer_however_late_it_is, "functions/api/src/lib.rs",
        "A request that waits for a job, or for a slow table, would be cut off without an answer that says so.", [
        Set("ApiFunction/Properties/Timeout", "20"),
        Set("ApiFunction/Properties/Timeout", "28"),
        Set("HttpApiIntegration/Properties/TimeoutInMillis", "29000"),
        Set("HttpApiIntegration/Properties/TimeoutInMillis", "31000"),
    ];
    a_worker_outlives_the_lease_of_the_longest_attempt, "shared/src/job/submission.rs",
        "The longest jobs would be ended before their time, again and again.", [
        Set("WorkerFunction/Properties/Timeout", "60"),
        Set("Mappings/Worker/60/LongestAttempt", "'55'"),
        Set("Mappings/Worker/300/LongestAttempt", "'300'"),
        Set("Mappings/Worker/900/LongestAttempt", "'880'"),
        Set("Parameters/WorkerTimeout/Default", "300"),
        Set("ApiFunction/Properties/Environment/Variables/LONGEST_ATTEMPT_SECONDS", "50"),
    ];
    a_worker_has_the_memory_of_the_largest_picture, "functions/worker/src/image_thumbnail.rs",
        "A large picture would take the worker down, and nine other jobs with it.", [
        Set("WorkerFunction/Properties/MemorySize", "256"),
        Remove("WorkerFunction/Properties/MemorySize"),
    ];
    every_function_lasts_longer_than_the_sdk_tries, "shared/aws/src/clients.rs",
        "A function would be ended while it still asks, and nobody would be told what for.", [
        Set("EventsFunction/Properties/Timeout", "5"),
        Remove("SweeperFunction/Properties/Timeout"),
    ];
    a_sweep_ends_before_the_next_begins, "functions/sweeper/src/lib.rs",
        "Two sweeps at once would send every message twice, and a late one as well.", [
        Set("SweeperFunction/Properties/Timeout", "60"),
        Set("SweeperFunction/Properties/EventInvokeConfig/MaximumRetryAttempts", "2"),
        Set("SweeperFunction/Properties/EventInvokeConfig/MaximumEventAgeInSeconds", "300"),
        Set("SweeperFunction/Properties/Events/Minute/Properties/RetryPolicy/MaximumRetryAttempts", "3"),
        Remove("SweeperFunction/Properties/EventInvokeConfig"),
    ];
    the_sweeper_comes_as_often_as_its_reckoning_says, "shared/src/job/due.rs",
        "Long delays would end late, and lost messages be found late.", [
        Set("SweeperFunction/Properties/Events/Minute/Properties/ScheduleExpression", "rate(5 minutes)"),
        Add("SweeperFunction/Properties/Events/Minute/Properties/State", "DISABLED"),
        Add("SweeperFunction/Properties/Events/Minute/Properties/FlexibleTimeWindow",
            "{ Mode: FLEXIBLE, MaximumWindowInMinutes: 15 }"),
    ];
    the_sweeper_has_time_for_its_messages, "functions/sweeper/src/lib.rs",
        "It would look at jobs until its end, and tell the queue of none.", [
        Set("SweeperFunction/Properties/Timeout", "15"),
    ];
    the_api_is_updated_after_all_that_works_on_what_it_accepts, "docs/upgrading.md",
        "A new API would accept jobs that the old worker does not know.", [
        Remove("ApiFunction/DependsOn"),
        Remove("ApiFunction/DependsOn/0"),
    ];
    what_hears_of_jobs_is_updated_before_what_works_on_them, "docs/upgrading.md",
        "The old events function would hold back what a newer worker or sweeper did, and pass it over at last.", [
        Remove("WorkerFunction/DependsOn"),
        Remove("SweeperFunction/DependsOn"),
        Set("SweeperFunction/DependsOn", "WorkerFunction"),
    ];
    nothing_waits_for_what_waits_for_it, "template.yaml",
        "CloudFormation would refuse the template.", [
        Set("DeadLetterQueue/Properties/RedriveAllowPolicy/sourceQueueArns/0", "!GetAtt JobsQueue.Arn"),
        Add("EventsFunction/DependsOn", "ApiFunction"),
        Add("HttpApi/DependsOn", "HttpApiRoute"),
        Add("WorkerRole/DependsOn", "WorkerRoles"),
    ];
    no_function_reserves_executions, "docs/operating.md",
        "An account limited to ten executions cannot reserve any, and the stack could not be made.", [
        Add("SweeperFunction/Properties/ReservedConcurrentExecutions", "1"),
        Add("ApiFunction/Properties/ReservedConcurrentExecutions", "100"),
    ];
    each_function_logs_where_the_manual_says_and_its_logs_end, "docs/logs.md",
        "Lambda would make a group of its own, which is kept for ever and which no query looks into.", [
        Remove("WorkerFunction/Properties/LoggingConfig"),
        Set("EventsFunction/Properties/LoggingConfig/LogGroup", "!Ref ApiLogs"),
        Remove("SweeperLogs/Properties/RetentionInDays"),
        Set("ApiLogs/Properties/LogGroupName", "!Sub \"/dray/${AWS::StackName}/http\""),
    ];
    an_account_takes_a_second_stack, "docs/operating.md",
        "A name is taken once in an account and region: the second stack could not be made.", [
        Remove("SweeperFunction/Properties/Events/Minute/Properties/OmitName"),
        Set("JobsQueue/Properties/QueueName", "jobs"),
        Add("WorkerFunction/Properties/FunctionName", "dray-worker"),
        Add("JobsTable/Properties/TableName", "jobs"),
        Add("OutputBucket/Properties/BucketName", "!Sub \"dray-output-${AWS::AccountId}\""),
        Add("WorkerRole/Properties/RoleName", "dray-worker"),
        Add("WorkerErrors/Properties/AlarmName", "worker errors"),
        Set("FollowOneJobQuery/Properties/Name", "follow one job"),
        Set("WorkerLogs/Properties/LogGroupName", "/dray/worker"),
    ];
    an_account_takes_the_stack_in_a_second_region, "docs/operating.md",
        "Dashboards, and roles, have one list of names for all regions.", [
        Set("Dashboard/Properties/DashboardName", "!Ref AWS::StackName"),
        Add("ApiRole/Properties/RoleName", "!Sub \"${AWS::StackName}-api\""),
    ];
}

/// The longest that an HTTP API waits for its function, in milliseconds.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>
const LONGEST_INTEGRATION_MS: u64 = 30_000;

/// Each function's name in the template, and that of its binary.
pub const FUNCTIONS: [(&str, &str); 4] = [
    ("ApiFunction", "api"),
    ("WorkerFunction", "worker"),
    ("SweeperFunction", "sweeper"),
    ("EventsFunction", "events"),
];

fn each_function_runs_its_own_binary_on_the_runtime_of_binaries(template: &Template) {
    let stack = template.stack();
    let made: BTreeSet<_> = stack.all("AWS::Lambda::Function").into_iter().map(|(name, _)| name).collect();
    assert_eq!(made, BTreeSet::from(FUNCTIONS.map(|(name, _)| name)));
    for (name, binary) in FUNCTIONS {
        let function = stack.properties(name);
        assert_eq!([&function["Handler"], &function["Runtime"]], ["bootstrap", "provided.al2023"], "{name}");
        let metadata = &stack.resources[name]["Metadata"];
        assert_eq!([&metadata["BuildMethod"], &metadata["BuildProperties"]["Binary"]], ["rust-cargolambda", binary]);
    }
}

fn each_function_is_built_in_its_own_folder(template: &Template) {
    let stack = template.stack();
    for (name, binary) in FUNCTIONS {
        assert!(file(&format!("functions/{binary}/Cargo.toml")).contains(&format!("name = \"{binary}\"")), "{binary}");
        let folder = format!("functions/{binary}");
        assert_eq!(stack.properties(name)["Code"]["S3Key"], folder.as_str(), "{name}");
        // https://github.com/aws/aws-sam-cli/blob/develop/samcli/lib/build/app_builder.py, for rust
        assert_eq!(stack.resources[name]["Metadata"]["BuildProperties"], json!({ "Binary": binary }), "{name}");
    }
}

fn a_function_runs_on_the_machine_that_it_was_built_for(template: &Template) {
    let stacks = template.with_each("Architecture");
    let values: Vec<_> = stacks.iter().map(|stack| plain(stack.parameter("Architecture"))).collect();
    assert_eq!(values, ["arm64", "x86_64"]);
    for (stack, value) in stacks.iter().zip(values) {
        for (name, _) in FUNCTIONS {
            assert_eq!(stack.properties(name)["Architectures"], json!([value]), "{name}");
        }
    }
}

fn a_client_gets_the_functions_own_answer_however_late_it_is(template: &Template) {
    let stack = template.stack();
    let wait = constant("functions/api/src/jobs/show.rs", "LONGEST_WAIT");
    let table = constant("shared/aws/src/clients.rs", "OPERATION_TIMEOUT");
    let own = constant("functions/api/src/lib.rs", "TIME_TO_ANSWER");
    let function = number(&stack.properties("ApiFunction")["Timeout"]);
    let integration = number(&stack.properties("HttpApiIntegration")["TimeoutInMillis"]);
    assert!(wait + table <= own, "a wait of {wait} s, a look of {table} s, an answer after {own} s");
    assert_eq!(function, own + 1);
    assert!(1000 * function < integration && integration <= LONGEST_INTEGRATION_MS, "{function} s, {integration} ms");
}

fn a_worker_outlives_the_lease_of_the_longest_attempt(template: &Template) {
    let mut longest = vec![];
    for (timeout, stack) in template.with_each_worker_timeout() {
        assert_eq!(number(&stack.properties("WorkerFunction")["Timeout"]), timeout);
        let given = stack.variables("ApiFunction");
        let attempt = limits(&|name| given.get(name).cloned()).expect("the API starts").longest_attempt_seconds;
        let lease = u64::from(attempt) + LEASE_MARGIN.as_secs();
        assert!(lease < timeout, "{attempt} s, and {timeout} s for all");
        longest.push(attempt);
    }
    assert_eq!(longest.last(), Some(&LONGEST_TIMEOUT_SECONDS), "nobody asks for more than some deployment allows");
    let by_default = template.stack().variables("ApiFunction")["LONGEST_ATTEMPT_SECONDS"].clone();
    assert_eq!(by_default, Limits::default().longest_attempt_seconds.to_string());
}

fn a_worker_has_the_memory_of_the_largest_picture(template: &Template) {
    let largest = file("docs/operating.md");
    let (_, largest) = largest.split_once("a picture of 32 million pixels takes up to ").expect("it says how much");
    let largest: u64 = largest.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
    assert!(number(&template.stack().properties("WorkerFunction")["MemorySize"]) >= largest * 5 / 4, "{largest} MB");
}

fn every_function_lasts_longer_than_the_sdk_tries(template: &Template) {
    let stack = template.stack();
    let tries = constant("shared/aws/src/clients.rs", "OPERATION_TIMEOUT");
    for (name, _) in FUNCTIONS {
        assert!(number(&stack.properties(name)["Timeout"]) > tries, "{name}");
    }
}

fn a_sweep_ends_before_the_next_begins(template: &Template) {
    let stack = template.stack();
    let period = stack.sweep_period();
    assert!(number(&stack.properties("SweeperFunction")["Timeout"]) < period);
    let (_, invoked) = stack.all("AWS::Lambda::EventInvokeConfig").into_iter().next().expect("one");
    assert!(text(&invoked["FunctionName"]).starts_with("${SweeperFunction"), "{invoked}");
    assert_eq!(number(&invoked["MaximumRetryAttempts"]), 0);
    assert!(number(&invoked["MaximumEventAgeInSeconds"]) <= period, "the next one is due by then");
    let target = &stack.properties("SweeperFunctionMinute")["Target"];
    assert_eq!(number(&target["RetryPolicy"]["MaximumRetryAttempts"]), 0);
}

fn the_sweeper_comes_as_often_as_its_reckoning_says(template: &Template) {
    let stack = template.stack();
    let schedule = stack.properties("SweeperFunctionMinute");
    assert!(text(&schedule["Target"]["Arn"]).starts_with("${SweeperFunction"), "{schedule}");
    assert_eq!(schedule["FlexibleTimeWindow"], json!({ "Mode": "OFF" }));
    assert_ne!(schedule["State"], "DISABLED");
    assert_eq!(stack.sweep_period(), PATIENCE.as_secs());
    assert_eq!(2 * stack.sweep_period(), constant("shared/src/job/due.rs", "LOOK_AHEAD"), "two sweeps");
}

fn the_sweeper_has_time_for_its_messages(template: &Template) {
    let sending = constant("functions/sweeper/src/lib.rs", "TIME_TO_SEND");
    assert!(number(&template.stack().properties("SweeperFunction")["Timeout"]) >= 2 * sending, "{sending} s");
}

fn the_api_is_updated_after_all_that_works_on_what_it_accepts(template: &Template) {
    let stack = template.stack();
    let others: BTreeSet<_> = FUNCTIONS.iter().map(|(name, _)| *name).filter(|name| *name != "ApiFunction").collect();
    assert_eq!(updated_before("ApiFunction", &stack), others);
}

fn what_hears_of_jobs_is_updated_before_what_works_on_them(template: &Template) {
    let stack = template.stack();
    for name in ["WorkerFunction", "SweeperFunction"] {
        assert_eq!(updated_before(name, &stack), BTreeSet::from(["EventsFunction"]), "{name}");
    }
}

/// The functions that are updated before this one, by alias or not.
fn updated_before<'s>(function: &str, stack: &'s Stack) -> BTreeSet<&'s str> {
    let before = texts(&stack.resources[function]["DependsOn"]).into_iter();
    before.map(|name| name.trim_end_matches("Aliaslive")).collect()
}

fn nothing_waits_for_what_waits_for_it(template: &Template) {
    let stack = template.stack();
    let mut waiting: BTreeMap<_, _> =
        fields(&stack.resources).map(|(name, resource)| (name.as_str(), waits_for(resource))).collect();
    while !waiting.is_empty() {
        let is_over = |name: &String| stack.resources.get(name).is_some() && !waiting.contains_key(name.as_str());
        let ready = waiting.iter().filter(|(_, others)| others.iter().all(is_over)).map(|(name, _)| *name);
        let ready: Vec<_> = ready.collect();
        assert!(!ready.is_empty(), "none of these can be the next to be made: {waiting:?}");
        waiting.retain(|name, _| !ready.contains(name));
    }
}

/// The resources that this one names: in what it is, or as those that it is made after.
fn waits_for(resource: &Value) -> BTreeSet<String> {
    let made_after = &resource["DependsOn"];
    let made_after = if made_after.is_null() { vec![] } else { texts(made_after) };
    let all = resource.to_string();
    let named = all.split("${").skip(1).filter_map(|rest| rest.split(['.', '}']).next());
    let named = named.filter(|name| !name.starts_with("AWS::"));
    named.chain(made_after).map(str::to_owned).collect()
}

fn no_function_reserves_executions(template: &Template) {
    for (name, function) in template.stack().all("AWS::Lambda::Function") {
        assert!(function["ReservedConcurrentExecutions"].is_null(), "{name}");
    }
}

fn each_function_logs_where_the_manual_says_and_its_logs_end(template: &Template) {
    let stack = template.with(&[("LogRetentionDays", "30")]);
    for (name, binary) in FUNCTIONS {
        let group = text(&stack.properties(name)["LoggingConfig"]["LogGroup"]);
        let group = group.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).expect("a group of the stack's");
        let group = stack.properties(group);
        assert_eq!(group["LogGroupName"], format!("/dray/${{AWS::StackName}}/{binary}"), "{name}");
        assert_eq!(number(&group["RetentionInDays"]), 30, "{name}");
    }
    let manual = file("docs/logs.md");
    for words in ["`/dray/<stack>/api`", "`…/worker`", "`…/sweeper`", "`…/events`"] {
        assert!(manual.contains(words), "{words}");
    }
}

/// The properties that name something in an account.
const NAMES: [&str; 12] = [
    "AlarmName",
    "BucketName",
    "DashboardName",
    "FunctionName",
    "GroupName",
    "LogGroupName",
    "Name",
    "PolicyName",
    "QueueName",
    "RoleName",
    "TableName",
    "TopicName",
];

/// What has a name only within what the stack makes, or says by it what it belongs to.
const NAMED_WITHIN: [&str; 6] = [
    "AWS::ApiGatewayV2::Authorizer",
    "AWS::Lambda::Alias",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Permission",
    "AWS::Lambda::Version",
];

fn an_account_takes_a_second_stack(template: &Template) {
    let stack = template.stack();
    let mut kinds = quoted_after(&stack.resources.to_string(), "\"Type\":\"");
    kinds.retain(|kind| kind.starts_with("AWS::") && !NAMED_WITHIN.contains(&kind.as_str()));
    for kind in BTreeSet::from_iter(kinds) {
        for (resource, properties) in stack.all(&kind) {
            for name in NAMES.iter().filter_map(|name| properties[*name].as_str()) {
                assert!(name.contains("${AWS::StackName}"), "{resource} is called {name} in every stack");
            }
        }
    }
}

fn an_account_takes_the_stack_in_a_second_region(template: &Template) {
    let stack = template.stack();
    for (kind, property) in [("AWS::CloudWatch::Dashboard", "DashboardName"), ("AWS::IAM::Role", "RoleName")] {
        for (name, properties) in stack.all(kind) {
            assert!(properties[property].as_str().is_none_or(|name| name.contains("${AWS::Region}")), "{name}");
        }
    }
}
