//! What must hold together in `template.yaml`: in itself, with the code, and with the manual.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::Value as Json;
use serde_norway::Value;
use shared::submission::{LONGEST_TIMEOUT_SECONDS, Limits, MOST_ATTEMPTS};
use shared::sweep::LONGEST_QUEUE_DELAY;
use shared::transition::LEASE_MARGIN;

/// The longest that an HTTP API waits for its function, in milliseconds.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>
const LONGEST_INTEGRATION_MS: u64 = 30_000;

/// The fewest and the most invocations that an SQS event source may be held to.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>
const CONCURRENCIES: RangeInclusive<u64> = 2..=1000;

/// The longest that SQS hides a message, in seconds.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const LONGEST_VISIBILITY: u64 = 12 * 60 * 60;

/// How many alarms of an account cost nothing. <https://aws.amazon.com/cloudwatch/pricing/>
const FREE_ALARMS: usize = 10;

/// How many metrics a dashboard may have that shall cost nothing. <https://aws.amazon.com/cloudwatch/pricing/>
const FREE_METRICS: usize = 50;

/// How many columns a row of a dashboard has.
const COLUMNS: u64 = 24;

/// The template of this repository.
struct Template(Value);

impl Template {
    fn read() -> Self {
        Self(serde_norway::from_str(&file("template.yaml")).expect("YAML"))
    }

    /// The properties of this resource.
    fn properties(&self, resource: &str) -> &Value {
        &self.0["Resources"][resource]["Properties"]
    }

    /// The resources of this type, by name.
    fn resources(&self, kind: &str) -> Vec<(&str, &Value)> {
        let resources = self.0["Resources"].as_mapping().expect("there are resources").iter();
        let named = resources.map(|(name, resource)| (text(name), resource));
        named.filter(|(_, resource)| resource["Type"] == kind).collect()
    }

    /// The event source that brings jobs to the worker.
    fn event_source(&self) -> &Value {
        &self.properties("WorkerFunction")["Events"]["Jobs"]["Properties"]
    }

    /// The seconds from one sweep to the next.
    fn sweep_period(&self) -> u64 {
        let expression =
            text(&self.properties("SweeperFunction")["Events"]["Minute"]["Properties"]["ScheduleExpression"]);
        assert_eq!(expression, "rate(1 minute)", "this test knows no other period");
        60
    }

    /// Each time that a worker may live, in seconds, the default first, and what the template derives from it.
    fn worker_timeouts(&self) -> Vec<(u64, &Value)> {
        let parameter = &self.0["Parameters"]["WorkerTimeout"];
        let timeouts: Vec<_> = list(&parameter["AllowedValues"]).iter().map(number).collect();
        assert_eq!(timeouts.first(), Some(&number(&parameter["Default"])));
        timeouts.into_iter().map(|timeout| (timeout, &self.0["Mappings"]["Worker"][timeout.to_string()])).collect()
    }

    /// The widgets of the dashboard, as they are before names are put in, for the default time that a worker may live.
    fn widgets(&self) -> Vec<Json> {
        let (timeout, derived) = self.worker_timeouts()[0];
        let oldest = number(&derived["OldestMessage"]);
        let widgets = &self.properties("Dashboard")["DashboardBody"][1]["Widgets"][1];
        let texts = list(widgets).iter().map(|widget| widget.as_str().unwrap_or_else(|| text(&widget[0])));
        let texts = texts.map(|text| text.replace("${WorkerTimeout}", &timeout.to_string()));
        let texts = texts.map(|text| text.replace("${OldestMessage}", &oldest.to_string()));
        texts.map(|text| serde_json::from_str(&text).expect("JSON")).collect()
    }
}

#[test]
fn whoever_deploys_decides_who_may_call_the_api() {
    let template = Template::read();
    let auth_mode = &template.0["Parameters"]["AuthMode"];
    assert!(auth_mode["AllowedValues"].is_sequence());
    assert!(auth_mode["Default"].is_null(), "that the API is open, or is not, is nothing to be found out later");
}

/// SAM names a schedule after its function and event alone, and a name is taken once in an account and region.
/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-property-function-schedulev2.html>
#[test]
fn an_account_takes_a_second_stack() {
    let template = Template::read();
    let tick = &template.properties("SweeperFunction")["Events"]["Minute"]["Properties"];
    assert!(tick["Name"].is_null() && tick["OmitName"] == true, "CloudFormation names it, with the stack's name");
    for (kind, property) in [
        ("AWS::Serverless::Function", "FunctionName"),
        ("AWS::IAM::Role", "RoleName"),
        ("AWS::DynamoDB::Table", "TableName"),
        ("AWS::S3::Bucket", "BucketName"),
        ("AWS::SNS::Topic", "TopicName"),
    ] {
        for (name, resource) in template.resources(kind) {
            assert!(resource["Properties"][property].is_null(), "{name} has a name of its own");
        }
    }
}

/// `cargo lambda build` sets `-C panic=abort` unless the profile says otherwise, and a panic would then take the other
/// jobs of its batch with it. <https://www.cargo-lambda.info/commands/build.html>
#[test]
fn what_is_deployed_unwinds_as_what_is_tested_does() {
    let manifest = file("Cargo.toml");
    let (_, profile) = manifest.split_once("[profile.release]").expect("a profile");
    let profile = profile.split("\n[").next().expect("its lines");
    assert!(profile.lines().any(|line| line == r#"panic = "unwind""#), "{profile}");
}

/// The features of other packages, which tests need, are in none of them: `rehearsal` is one. And all four are linked at
/// once, by as many cores as there are; the builds of the second to the fourth function have nothing left to do.
#[test]
fn one_build_makes_all_functions_and_nothing_of_the_tests() {
    let template = Template::read();
    let mut built = vec![];
    for (name, function) in template.resources("AWS::Serverless::Function") {
        let properties = &function["Metadata"]["BuildProperties"];
        let binary = text(&properties["Binary"]);
        assert!(name.to_lowercase().starts_with(binary), "{name} is made of {binary}");
        built.push((binary, texts(&properties["Flags"])));
    }
    let packages = ["api", "worker", "sweeper", "events"];
    assert_eq!(built.iter().map(|(binary, _)| *binary).collect::<Vec<_>>(), packages);
    let expected: Vec<_> = packages.into_iter().flat_map(|package| ["--package", package]).chain(["--bins"]).collect();
    for (binary, flags) in built {
        assert_eq!(flags, expected, "{binary}");
    }
    let tests = file("tests/Cargo.toml");
    for package in ["api", "worker"] {
        let line = format!(r#"{package} = {{ workspace = true, features = ["rehearsal"] }}"#);
        assert!(tests.lines().any(|there| there == line), "{line}");
        let manifest = file(&format!("functions/{package}/Cargo.toml"));
        assert!(
            manifest.contains("rehearsal = [\"shared/rehearsal\"]") && !manifest.contains("default ="),
            "{package}"
        );
    }
}

/// `start-api` decides by the first resource of a kind that it knows, where it looks for an API; and `sam local` passes on
/// the value of a plain reference to a parameter, but an empty one for a condition.
#[test]
fn sam_local_finds_the_api_and_each_function_aws() {
    let template = Template::read();
    let mut resources = template.0["Resources"].as_mapping().expect("there are resources").iter();
    let kinds = ["AWS::Serverless::Function", "AWS::ApiGatewayV2::Api"];
    let first = resources.find(|(_, resource)| kinds.contains(&text(&resource["Type"])));
    assert_eq!(first.map(|(name, _)| text(name)), Some("HttpApi"));
    let variable = &template.0["Globals"]["Function"]["Environment"]["Variables"]["ENDPOINT_URL"];
    assert!(matches!(variable, Value::Tagged(tagged) if tagged.tag == "Ref"), "{variable:?}");
    assert_eq!(template.0["Parameters"][text(variable)]["Default"], "", "AWS itself");
}

#[test]
fn every_parameter_says_what_it_is() {
    let template = Template::read();
    for (name, parameter) in template.0["Parameters"].as_mapping().expect("there are parameters") {
        assert!(parameter["Description"].as_str().is_some_and(|text| !text.is_empty()), "{name:?} has no description");
    }
}

#[test]
fn every_function_has_logs_that_end_and_a_role_of_its_own_that_names_each_action() {
    let template = Template::read();
    let mut roles = BTreeSet::new();
    for (name, function) in template.resources("AWS::Serverless::Function") {
        let function = &function["Properties"];
        let logs = template.properties(text(&function["LoggingConfig"]["LogGroup"]));
        assert!(!logs["RetentionInDays"].is_null(), "{name}: its logs are kept for ever");

        let role = text(&function["Role"]).strip_suffix(".Arn").expect("the ARN of a role");
        assert!(roles.insert(role), "{name}: {role} is another's too");
        let role = template.properties(role);
        assert!(role["ManagedPolicyArns"].is_null(), "{name}: what others may change is no list of rights");
        let actions: Vec<_> = under("Action", &role["Policies"]).into_iter().flat_map(texts).collect();
        assert!(!actions.is_empty(), "{name}: it has no rights, not even to write its logs");
        assert!(actions.iter().all(|action| !action.contains('*')), "{name}: {actions:?}");
        assert!(under("NotAction", role).is_empty(), "{name}: all but some actions are too many");
    }
    for role in ["ApiRole", "WorkerRole", "SweeperRole"] {
        assert!(roles.contains(role), "{roles:?}");
    }
}

#[test]
fn a_message_is_hidden_for_six_times_as_long_as_a_worker_may_take() {
    let template = Template::read();
    let visibility = &template.properties("JobsQueue")["VisibilityTimeout"];
    assert_eq!(texts(visibility), ["Worker", "WorkerTimeout", "Visibility"]);
    for (timeout, derived) in template.worker_timeouts() {
        assert_eq!(number(&derived["Visibility"]), 6 * timeout);
        assert!(6 * timeout <= LONGEST_VISIBILITY, "{timeout}");
    }
}

#[test]
fn a_worker_outlives_the_lease_of_the_longest_attempt() {
    let template = Template::read();
    assert_eq!(text(&template.properties("WorkerFunction")["Timeout"]), "WorkerTimeout");
    let mut longest = vec![];
    for (timeout, derived) in template.worker_timeouts() {
        let attempt: u32 = text(&derived["LongestAttempt"]).parse().expect("seconds");
        assert!(u64::from(attempt) + LEASE_MARGIN.as_secs() < timeout, "{timeout}");
        longest.push(attempt);
    }
    assert_eq!(longest[0], Limits::default().longest_attempt_seconds);
    assert_eq!(longest.last(), Some(&LONGEST_TIMEOUT_SECONDS), "nobody may ask for more than some deployment allows");
}

#[test]
fn two_errors_of_one_message_set_off_an_alarm_however_long_a_worker_lives() {
    let template = Template::read();
    let alarm = template.properties("WorkerErrors");
    assert_eq!(texts(&alarm["EvaluationPeriods"]), ["Worker", "WorkerTimeout", "ErrorPeriods"]);
    for (timeout, derived) in template.worker_timeouts() {
        let watched = number(&alarm["Period"]) * number(&derived["ErrorPeriods"]);
        assert!(watched > number(&derived["Visibility"]) + timeout, "{timeout}: {watched} s");
    }
}

#[test]
fn a_message_is_delivered_more_often_than_a_job_is_attempted() {
    let template = Template::read();
    let deliveries = number(&template.properties("JobsQueue")["RedrivePolicy"]["maxReceiveCount"]);
    assert!(deliveries >= u64::from(MOST_ATTEMPTS) + 2, "{deliveries}");
}

#[test]
fn a_dead_letter_outlasts_the_queue_that_it_came_from() {
    let template = Template::read();
    let retention = |queue| number(&template.properties(queue)["MessageRetentionPeriod"]);
    assert!(retention("DeadLetterQueue") > retention("JobsQueue"), "its age counts from when it was first sent");
}

#[test]
fn one_job_of_a_batch_does_not_bring_back_its_neighbours() {
    let template = Template::read();
    assert_eq!(texts(&template.event_source()["FunctionResponseTypes"]), ["ReportBatchItemFailures"]);
}

#[test]
fn the_number_of_workers_is_one_that_sqs_takes() {
    let template = Template::read();
    let parameter = text(&template.event_source()["ScalingConfig"]["MaximumConcurrency"]);
    let parameter = &template.0["Parameters"][parameter];
    let (fewest, most) = (number(&parameter["MinValue"]), number(&parameter["MaxValue"]));
    assert!(CONCURRENCIES.contains(&fewest) && CONCURRENCIES.contains(&most), "{fewest} to {most}");
    assert!((fewest..=most).contains(&number(&parameter["Default"])));
}

#[test]
fn a_client_gets_the_functions_own_answer_however_late_it_is() {
    let template = Template::read();
    let function = 1000 * number(&template.properties("ApiFunction")["Timeout"]);
    let integration = number(&template.properties("HttpApiIntegration")["TimeoutInMillis"]);
    assert!(function < integration && integration <= LONGEST_INTEGRATION_MS, "{function} ms, {integration} ms");
}

#[test]
fn a_sweep_ends_before_the_next_begins_and_is_never_repeated() {
    let template = Template::read();
    let sweeper = template.properties("SweeperFunction");
    assert!(number(&sweeper["Timeout"]) < template.sweep_period());
    assert_eq!(number(&sweeper["EventInvokeConfig"]["MaximumRetryAttempts"]), 0);
    assert_eq!(number(&sweeper["Events"]["Minute"]["Properties"]["RetryPolicy"]["MaximumRetryAttempts"]), 0);
}

#[test]
fn every_alarm_tells_somebody_what_it_means_and_where_to_read_what_to_do() {
    let template = Template::read();
    let manual = file("docs/operating.md");
    let alarms = template.resources("AWS::CloudWatch::Alarm");
    assert!(!alarms.is_empty());
    for (name, alarm) in alarms {
        let alarm = &alarm["Properties"];
        let description = text(&alarm["AlarmDescription"]);
        assert!(description.ends_with(&format!("docs/operating.md, Alarms, {name}.")), "{name}: {description}");
        assert!(manual.contains(&format!("\n### {name}\n")), "{name} is no heading of docs/operating.md");
        assert_eq!(texts(&alarm["AlarmActions"]), ["AlarmTopic"], "{name}");
        assert_eq!(texts(&alarm["OKActions"]), ["AlarmTopic"], "{name}");
        assert!(!alarm["TreatMissingData"].is_null(), "{name}: what if there is nothing to look at?");
    }
}

#[test]
fn a_sweeper_that_says_nothing_sets_off_an_alarm() {
    let template = Template::read();
    let alarm = template.properties("SweeperNotRun");
    assert_eq!(alarm["TreatMissingData"], "breaching");
    assert_eq!(number(&alarm["Period"]), template.sweep_period());
}

#[test]
fn a_message_that_is_only_delayed_sets_off_no_alarm() {
    let template = Template::read();
    let threshold = &template.properties("OldestMessageTooOld")["Threshold"];
    assert_eq!(texts(threshold), ["Worker", "WorkerTimeout", "OldestMessage"]);
    for (timeout, derived) in template.worker_timeouts() {
        let once_hidden = LONGEST_QUEUE_DELAY.as_secs() + number(&derived["Visibility"]);
        assert!(number(&derived["OldestMessage"]) >= once_hidden, "{timeout}");
    }
}

#[test]
fn one_stack_is_watched_for_nothing() {
    let template = Template::read();
    let alarms = template.resources("AWS::CloudWatch::Alarm").len();
    assert!(alarms <= FREE_ALARMS, "{alarms} alarms");
    let metrics: usize =
        template.widgets().iter().filter_map(|widget| widget["properties"]["metrics"].as_array()).map(Vec::len).sum();
    assert!((1..=FREE_METRICS).contains(&metrics), "{metrics} metrics");
}

#[test]
fn the_dashboard_has_whole_rows_all_alarms_and_the_limits_that_are_in_force() {
    let template = Template::read();
    let widgets = template.widgets();

    let mut filled = 0;
    for widget in &widgets {
        filled += widget["width"].as_u64().expect("a width");
        assert!(filled <= COLUMNS, "{} does not fit into its row", title(widget));
        filled %= COLUMNS;
    }
    assert_eq!(filled, 0, "the last row has a gap");

    let shown = widgets.iter().filter_map(|widget| widget["properties"]["alarms"].as_array()).flatten();
    let shown: BTreeSet<_> = shown.filter_map(Json::as_str).map(str::to_owned).collect();
    let alarms = template.resources("AWS::CloudWatch::Alarm");
    let alarms: BTreeSet<_> = alarms.iter().map(|(name, _)| format!("${{{name}.Arn}}")).collect();
    assert_eq!(shown, alarms);

    let (timeout, derived) = template.worker_timeouts()[0];
    let limits = [
        ("Age of the oldest message (s)", number(&derived["OldestMessage"])),
        ("Worker: time for a batch (ms)", 1000 * timeout),
        ("Sweeper: time for a sweep (ms)", 1000 * number(&template.properties("SweeperFunction")["Timeout"])),
    ];
    for (name, limit) in limits {
        let widget = widgets.iter().find(|widget| title(widget) == name).unwrap_or_else(|| panic!("no widget {name}"));
        assert_eq!(widget["properties"]["annotations"]["horizontal"][0]["value"], limit, "{name}");
    }
}

#[test]
fn saved_queries_are_those_of_the_manual() {
    let template = Template::read();
    let manual = file("docs/operating.md");
    let queries = template.resources("AWS::Logs::QueryDefinition");
    assert!(!queries.is_empty());
    for (name, query) in queries {
        // Not all that deploys this template knows the type: `cargo run` leaves it out.
        assert_eq!(query["Condition"], "SavesQueries", "{name}");
        let query = &query["Properties"];
        let called = text(&query["Name"]).strip_prefix("${AWS::StackName}/").expect("a folder for each stack");
        assert!(manual.contains(called), "docs/operating.md does not know the query {called}");
        assert!(manual.contains(text(&query["QueryString"])), "docs/operating.md has another text for {called}");
    }
}

/// A new API function may accept jobs that an old worker does not know.
#[test]
fn the_api_is_updated_after_all_that_works_on_what_it_accepts() {
    let template = Template::read();
    let before = texts(&template.0["Resources"]["ApiFunction"]["DependsOn"]);
    let all = template.resources("AWS::Serverless::Function");
    let others: BTreeSet<_> = all.iter().map(|(name, _)| *name).filter(|name| *name != "ApiFunction").collect();
    assert_eq!(BTreeSet::from_iter(before), others);
}

#[test]
fn what_is_open_to_everybody_does_not_use_up_the_limit_of_those_who_may_call() {
    let template = Template::read();
    let routes = template.resources("AWS::ApiGatewayV2::Route");
    let open = routes.iter().filter(|(_, route)| route["Properties"]["AuthorizationType"] == "NONE");
    let open: Vec<_> = open.map(|(name, route)| (*name, text(&route["Properties"]["RouteKey"]))).collect();
    assert!(!open.is_empty());
    let stage = template.properties("HttpApiStage");
    let all = number(&stage["DefaultRouteSettings"]["ThrottlingRateLimit"]);
    let there_before_the_stage = texts(&template.0["Resources"]["HttpApiStage"]["DependsOn"]);
    for (name, route) in open {
        let limit = number(&stage["RouteSettings"][route]["ThrottlingRateLimit"]);
        assert!(limit < all / 10, "{route}");
        assert!(there_before_the_stage.contains(&name), "{name}: API Gateway knows no such route yet");
    }
}

#[test]
fn a_table_that_is_given_takes_the_place_of_the_stacks_own_everywhere() {
    /// Texts that name the stack's own table where none may be.
    fn own_table<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Tagged(tagged) if tagged.tag == "If" && tagged.value[0] == "OwnsTable" => {
                own_table(&tagged.value[2], found);
            }
            Value::Tagged(tagged) => own_table(&tagged.value, found),
            Value::Mapping(fields) => fields.values().for_each(|field| own_table(field, found)),
            Value::Sequence(items) => items.iter().for_each(|item| own_table(item, found)),
            Value::String(text) if text.contains("JobsTable") => found.push(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let template = Template::read();
    assert_eq!(template.0["Resources"]["JobsTable"]["Condition"], "OwnsTable");
    for part in ["Globals", "Resources", "Outputs"] {
        let mut found = vec![];
        own_table(&template.0[part], &mut found);
        assert_eq!(found, Vec::<&str>::new(), "{part}");
    }
}

#[test]
fn a_line_of_the_access_log_is_json() {
    let template = Template::read();
    let line = text(&template.properties("HttpApiStage")["AccessLogSettings"][1]["Format"]);
    let line: Json = serde_json::from_str(line).expect("JSON");
    assert!(
        line.as_object()
            .expect("an object")
            .values()
            .all(|value| value.as_str().is_some_and(|v| v.starts_with("$context.")))
    );
    assert_eq!(line["request_id"], "$context.requestId", "what a line is found by");
}

/// The text of a file of this repository.
fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(path).expect("it is readable")
}

fn title(widget: &Json) -> &str {
    widget["properties"]["title"].as_str().expect("a title")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value:?}"))
}

/// A text; of `!Ref`, `!GetAtt` and the like, what they name.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value:?}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_sequence().unwrap_or_else(|| panic!("no list: {value:?}"))
}

/// Texts, in a list or one alone.
fn texts(value: &Value) -> Vec<&str> {
    if value.is_sequence() { list(value).iter().map(text).collect() } else { vec![text(value)] }
}

/// All that stands under this key, however deep.
fn under<'v>(key: &str, value: &'v Value) -> Vec<&'v Value> {
    match value {
        Value::Mapping(fields) => {
            fields.iter().flat_map(|(name, value)| if name == key { vec![value] } else { under(key, value) }).collect()
        }
        Value::Sequence(items) => items.iter().flat_map(|item| under(key, item)).collect(),
        Value::Tagged(tagged) => under(key, &tagged.value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![],
    }
}
