//! The variant of `docs/canary.py`: it deploys by alias, and alarms take a rollout back.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::functions::FUNCTIONS;
use crate::invariant::Mutation::{Add, Remove, Set};
use crate::invariant::invariants;
use crate::stack::{Template, file, number, text, texts};

invariants! {
    each_function_has_a_version_and_an_alias_on_it, "docs/canary.py",
        "What calls the alias would call nothing, or another function.", [
        Set("Globals/Function/AutoPublishAlias", "next"),
        Add("OldAlias", "{ Type: AWS::Lambda::Alias, Properties: { Name: old, FunctionName: !Ref ApiFunction, FunctionVersion: '1' } }"),
    ];
    a_new_release_makes_new_versions_whatever_is_new_in_it, "docs/canary.py",
        "The alias would go on with the settings of before.", [
        Remove("WorkerFunction/Properties/AutoPublishCodeSha256"),
        Set("EventsFunction/Properties/AutoPublishCodeSha256", "abc"),
        Add("Parameters/Release/Default", "'1'"),
        Set("Parameters/Release/AllowedPattern", "^.*$"),
    ];
    what_calls_a_function_calls_its_alias, "docs/canary.py",
        "It would call the new build at once, and go on to when the rollout has been taken back.", [
        Set("HttpApiIntegration/Properties/IntegrationUri", "!GetAtt ApiFunction.Arn"),
        Set("HttpApiPermission/Properties/FunctionName", "!Ref ApiFunction"),
        Add("OldJobs", "{ Type: AWS::Lambda::EventSourceMapping, Properties: { FunctionName: !Ref WorkerFunction, \
             EventSourceArn: !GetAtt JobsQueue.Arn } }"),
        Add("Hourly", "{ Type: AWS::Scheduler::Schedule, Properties: { ScheduleExpression: rate(1 hour), \
             Target: { Arn: !GetAtt SweeperFunction.Arn, RoleArn: !GetAtt SweeperRole.Arn } } }"),
    ];
    an_alarm_takes_the_rollout_of_its_function_back, "docs/upgrading.md",
        "A build that fails would get all of the work.", [
        Remove("WorkerFunction/Properties/DeploymentPreference/Alarms"),
        Set("EventsFunction/Properties/DeploymentPreference/Alarms", "[!Ref WorkerRollout]"),
        Add("SweeperFunction/Properties/DeploymentPreference/Enabled", "false"),
        Remove("ApiFunction/Properties/DeploymentPreference"),
    ];
    the_alarm_of_a_rollout_sees_each_error_of_its_function_within_a_minute, "docs/upgrading.md",
        "The rollout would be over before its alarm goes off; or what is well would be taken back.", [
        Remove("WorkerRollout"),
        Add("WorkerRollout/Condition", "IsMonitored"),
        Set("EventsRollout/Properties/Dimensions/0/Value", "!Ref WorkerFunction"),
        Set("ApiRollout/Properties/MetricName", "4xx"),
        Set("SweeperRollout/Properties/Period", "300"),
        Set("SweeperRollout/Properties/EvaluationPeriods", "3"),
        Set("WorkerRollout/Properties/Threshold", "5"),
        Set("ApiRollout/Properties/TreatMissingData", "breaching"),
        Set("EventsRollout/Properties/Statistic", "Average"),
        Set("ApiRollout/Properties/ComparisonOperator", "LessThanThreshold"),
    ];
    work_moves_in_a_way_that_codedeploy_and_the_manual_know, "docs/upgrading.md",
        "The stack could not be made.", [
        Add("Parameters/Rollout/AllowedValues/-", "Canary10Percent1Minute"),
        Set("Parameters/Rollout/Default", "AllAtOnce"),
        Set("WorkerFunction/Properties/DeploymentPreference/Type", "AllAtOnce"),
    ];
    a_function_follows_when_the_rollouts_before_it_are_over, "docs/upgrading.md",
        "A new API would accept jobs while nine in ten workers are old ones.", [
        Set("ApiFunction/DependsOn", "[WorkerFunction, SweeperFunction, EventsFunction]"),
        Remove("ApiFunction/DependsOn/1"),
        Set("WorkerFunction/DependsOn", "EventsFunction"),
    ];
    codedeploy_may_do_what_aws_says_that_it_needs, "docs/canary.py",
        "No rollout would begin; or CodeDeploy could do what a function may.", [
        Add("WorkerFunction/Properties/DeploymentPreference/Role", "!GetAtt WorkerRole.Arn"),
    ];
}

/// Invariants of the template that the variant does not keep, and why it need not.
pub const EXCEPTIONS: [(&str, &str); 8] = [
    (
        "every_parameter_is_used_says_what_it_is_and_takes_not_just_anything",
        "`Release` and `Rollout` are in no translation: SAM puts their values in.",
    ),
    ("every_right_is_named_and_on_something_named", "CodeDeploy's role has AWS's own policy for it."),
    ("each_alarm_watches_what_its_name_says", "There are four more, of invariants of their own."),
    ("every_alarm_tells_somebody_when_it_begins_and_when_it_is_over", "The alarm of a rollout tells CodeDeploy."),
    ("every_alarm_says_what_it_means_and_where_to_read_what_to_do", "What to do is in `docs/upgrading.md`."),
    ("who_wants_no_monitoring_gets_and_pays_none", "Without its alarms a rollout would be taken back by nothing."),
    ("one_stacks_alarms_cost_nothing", "Two of twelve are paid for, as `docs/upgrading.md` says."),
    ("the_dashboard_shows_every_alarm", "CodeDeploy shows those of a rollout."),
];

/// The variant, as the script writes it.
pub fn by_alias() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/canary.py");
    let output = Command::new("python3").arg(script).output().expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The release that the variant is translated with.
const RELEASE: &str = "1";

fn each_function_has_a_version_and_an_alias_on_it(template: &Template) {
    let stack = template.stack();
    assert_eq!(stack.all("AWS::Lambda::Alias").len(), FUNCTIONS.len());
    for (name, _) in FUNCTIONS {
        let alias = stack.properties(&format!("{name}Aliaslive"));
        assert_eq!([&alias["Name"], &alias["FunctionName"]], ["live", format!("${{{name}}}").as_str()], "{name}");
        let version = text(&alias["FunctionVersion"]);
        let version = version.strip_prefix("${").and_then(|rest| rest.strip_suffix(".Version}")).expect("a version");
        assert_eq!(stack.resources[version]["Type"], "AWS::Lambda::Version", "{name}");
        assert_eq!(stack.properties(version)["FunctionName"], format!("${{{name}}}"), "{name}");
        // Invocations that go on, and a rollback, need the version of before.
        assert_eq!(stack.resources[version]["DeletionPolicy"], "Retain", "{name}");
    }
}

fn a_new_release_makes_new_versions_whatever_is_new_in_it(template: &Template) {
    let stack = template.stack();
    for (name, _) in FUNCTIONS {
        assert_eq!(stack.resources[format!("{name}Version{RELEASE}")]["Type"], "AWS::Lambda::Version", "{name}");
        // Lambda makes no version of a function that is as it was.
        let description = text(&stack.properties(name)["Description"]);
        assert!(description.ends_with(&format!(" {RELEASE}")), "{name}: {description}");
    }
    let parameter = &template.0["Parameters"]["Release"];
    assert!(parameter["Default"].is_null(), "the same one would make none");
    assert_eq!(parameter["AllowedPattern"], "^[0-9A-Za-z]{1,10}$", "what SAM takes of it into a name");
}

fn what_calls_a_function_calls_its_alias(template: &Template) {
    let stack = template.stack();
    let of = |kind: &str, property: &str| -> Vec<String> {
        stack.all(kind).into_iter().map(|(_, properties)| text(&properties[property]).to_owned()).collect()
    };
    let mut called = of("AWS::Lambda::EventSourceMapping", "FunctionName");
    called.extend(of("AWS::Lambda::Permission", "FunctionName"));
    called.extend(of("AWS::ApiGatewayV2::Integration", "IntegrationUri"));
    let schedules = stack.all("AWS::Scheduler::Schedule").into_iter();
    called.extend(schedules.map(|(_, schedule)| text(&schedule["Target"]["Arn"]).to_owned()));
    assert!(called.iter().all(|name| name.ends_with("Aliaslive}")), "{called:?}");
    assert_eq!(called.iter().collect::<BTreeSet<_>>().len(), FUNCTIONS.len(), "{called:?}");
    let (_, invoked) = stack.all("AWS::Lambda::EventInvokeConfig").into_iter().next().expect("the sweeper's");
    assert_eq!(invoked["Qualifier"], "live");
}

/// What the alarm of a function's rollout is called.
fn alarm_of(function: &str) -> String {
    function.replace("Function", "Rollout")
}

fn an_alarm_takes_the_rollout_of_its_function_back(template: &Template) {
    let stack = template.stack();
    for (name, _) in FUNCTIONS {
        let update = &stack.resources[format!("{name}Aliaslive")]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"];
        assert_eq!(update["ApplicationName"], "${ServerlessDeploymentApplication}", "{name}");
        assert_eq!(update["DeploymentGroupName"], format!("${{{name}DeploymentGroup}}"), "{name}");
        let group = stack.properties(&format!("{name}DeploymentGroup"));
        let alarm = format!("${{{}}}", alarm_of(name));
        assert_eq!(group["AlarmConfiguration"], json!({ "Enabled": true, "Alarms": [{ "Name": alarm }] }), "{name}");
        assert_eq!(group["AutoRollbackConfiguration"]["Enabled"], true, "{name}");
        assert!(texts(&group["AutoRollbackConfiguration"]["Events"]).contains(&"DEPLOYMENT_STOP_ON_ALARM"), "{name}");
        assert_eq!(group["DeploymentStyle"]["DeploymentOption"], "WITH_TRAFFIC_CONTROL", "{name}");
    }
}

fn the_alarm_of_a_rollout_sees_each_error_of_its_function_within_a_minute(template: &Template) {
    let stack = template.with(&[("Monitoring", "off")]); // also if nobody wants the others
    let manual = file("docs/upgrading.md");
    for (name, _) in FUNCTIONS {
        let called = alarm_of(name);
        assert!(manual.contains(&format!("`{called}`")), "docs/upgrading.md does not know {called}");
        let alarm = stack.properties(&called);
        // Of the API what clients see: an invocation that fails is answered 5xx.
        let watched = match name {
            "ApiFunction" => ["AWS/ApiGateway", "5xx", "ApiId", "${HttpApi}"].map(str::to_owned),
            _ => ["AWS/Lambda", "Errors", "FunctionName", &format!("${{{name}}}")].map(str::to_owned),
        };
        let [namespace, metric, dimension, value] = watched;
        assert_eq!([&alarm["Namespace"], &alarm["MetricName"]], [namespace.as_str(), metric.as_str()], "{called}");
        assert_eq!(alarm["Dimensions"], json!([{ "Name": dimension, "Value": value }]), "{called}");
        let numbers = ["Period", "EvaluationPeriods", "Threshold"].map(|property| number(&alarm[property]));
        assert_eq!(numbers, [60, 1, 0], "{called}");
        let rest = [&alarm["Statistic"], &alarm["ComparisonOperator"], &alarm["TreatMissingData"]];
        assert_eq!(rest, ["Sum", "GreaterThanThreshold", "notBreaching"], "{called}");
        assert!(alarm["DatapointsToAlarm"].is_null(), "{called}");
    }
}

/// How `CodeDeploy` moves work from one version to another, without `CodeDeployDefault.Lambda`.
/// <https://docs.aws.amazon.com/codedeploy/latest/userguide/deployment-configurations.html>
const ROLLOUTS: [&str; 9] = [
    "AllAtOnce",
    "Canary10Percent10Minutes",
    "Canary10Percent15Minutes",
    "Canary10Percent30Minutes",
    "Canary10Percent5Minutes",
    "Linear10PercentEvery10Minutes",
    "Linear10PercentEvery1Minute",
    "Linear10PercentEvery2Minutes",
    "Linear10PercentEvery3Minutes",
];

fn work_moves_in_a_way_that_codedeploy_and_the_manual_know(template: &Template) {
    let parameter = &template.0["Parameters"]["Rollout"];
    assert_eq!(texts(&parameter["AllowedValues"]).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(ROLLOUTS));
    let default = text(&parameter["Default"]);
    assert!(file("docs/upgrading.md").contains(&format!("| `Rollout` | `{default}` (default), ")), "{default}");
    let stack = template.stack();
    for (name, _) in FUNCTIONS {
        let moved = &stack.properties(&format!("{name}DeploymentGroup"))["DeploymentConfigName"];
        assert_eq!(*moved, format!("CodeDeployDefault.Lambda{default}"), "{name}");
    }
}

fn a_function_follows_when_the_rollouts_before_it_are_over(template: &Template) {
    let stack = template.stack();
    for (name, others) in [
        ("ApiFunction", ["EventsFunction", "SweeperFunction", "WorkerFunction"].as_slice()),
        ("SweeperFunction", ["EventsFunction"].as_slice()),
        ("WorkerFunction", ["EventsFunction"].as_slice()),
    ] {
        let before: BTreeSet<_> = texts(&stack.resources[name]["DependsOn"]).into_iter().map(str::to_owned).collect();
        let expected: BTreeSet<_> = others.iter().map(|other| format!("{other}Aliaslive")).collect();
        assert_eq!(before, expected, "{name}");
    }
}

fn codedeploy_may_do_what_aws_says_that_it_needs(template: &Template) {
    let stack = template.stack();
    for (name, group) in stack.all("AWS::CodeDeploy::DeploymentGroup") {
        assert_eq!(group["ServiceRoleArn"], "${CodeDeployServiceRole.Arn}", "{name}");
    }
    let role = stack.properties("CodeDeployServiceRole");
    let policies = texts(&role["ManagedPolicyArns"]);
    assert!(
        matches!(policies.as_slice(), [one] if one.ends_with(":aws:policy/service-role/AWSCodeDeployRoleForLambda")),
        "{policies:?}"
    );
    assert!(role["Policies"].is_null());
    let statement = &role["AssumeRolePolicyDocument"]["Statement"];
    let expected = json!([
        { "Effect": "Allow", "Principal": { "Service": ["codedeploy.amazonaws.com"] }, "Action": ["sts:AssumeRole"] }
    ]);
    assert_eq!(*statement, expected);
}
