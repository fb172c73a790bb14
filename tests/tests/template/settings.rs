//! Parameters, the variables that functions get by them, and outputs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use shared_aws::settings::{
    ApiSettings, AuthMode, Lookup, Place, WorkerSettings, dead_letter_queue_url, jobs_per_minute, limits,
};

use crate::functions::FUNCTIONS;
use crate::invariant::Mutation::{Add, Remove, Set, Swap};
use crate::invariant::invariants;
use crate::stack::{Template, code_below, fields, file, plain, quoted_after, text};

invariants! {
    each_function_gets_the_variables_that_it_reads, "shared/aws/src/settings.rs",
        "A function would not start, or would do as if nobody had said anything.", [
        Remove("ApiFunction/Properties/Environment/Variables/JOBS_PER_MINUTE"),
        Remove("WorkerFunction/Properties/Environment/Variables/OUTBOUND_ALLOW"),
        Remove("SweeperFunction/Properties/Environment"),
        Remove("EventsFunction/Properties/Environment/Variables/EVENTS_TOPIC_ARN"),
        Remove("Globals/Function/Environment/Variables/LOG_LEVEL"),
    ];
    no_function_gets_a_variable_that_it_does_not_read, "shared/aws/src/settings.rs",
        "A setting would seem to be one, and secrets would lie where nobody needs them.", [
        Add("SweeperFunction/Properties/Environment/Variables/WEBHOOK_SECRET", "!Ref WebhookSecret"),
        Add("Globals/Function/Environment/Variables/RUST_LOG", "debug"),
    ];
    a_setting_has_on_aws_the_parameter_that_it_has_on_a_machine, "local/src/stack/environment.rs",
        "What somebody sets would become something else.", [
        Set("WorkerFunction/Properties/Environment/Variables/MAIL_FROM", "!Ref MailUrl"),
        Set("WorkerFunction/Properties/Environment/Variables/PUSH_GATEWAY_URL", "!Ref PushGatewayToken"),
        Set("Globals/Function/Environment/Variables/LOG_LEVEL", "info"),
        Set("ApiFunction/Properties/Environment/Variables/IDEMPOTENCY_SECRET", "!Ref AWS::StackId"),
    ];
    what_nobody_says_is_what_the_code_takes_for_said, "shared/aws/src/settings.rs",
        "A default would be another on AWS than the one that is tested.", [
        Set("Parameters/RetryBaseSeconds/Default", "20"),
        Set("Parameters/CsvFormulaGuard/Default", "'off'"),
        Set("Parameters/OutboundAllow/Default", "any"),
        Set("Parameters/JobsPerMinute/Default", "60"),
        Set("Parameters/TenantClaim/Default", "client_id"),
        Set("Parameters/MailFrom/Default", "jobs@example.com"),
    ];
    each_value_that_a_parameter_may_have_is_one_that_the_code_takes, "shared/aws/src/settings.rs",
        "The stack would be made, and its functions would not start.", [
        Set("Parameters/RetryBaseSeconds/MaxValue", "3600"),
        Set("Parameters/RetryBaseSeconds/MinValue", "0"),
        Add("Parameters/OutboundAllow/AllowedValues/-", "private"),
        Set("Parameters/CsvFormulaGuard/AllowedValues", "['on', 'off', 'auto']"),
        Add("Parameters/AuthMode/AllowedValues/-", "key"),
        Set("Parameters/LogLevel/AllowedValues", "[error, warn, info, debug, trace, fatal]"),
        Set("Parameters/LogFormat/AllowedValues", "[json, text]"),
    ];
    the_variables_name_what_the_stack_made, "shared/aws/src/settings.rs",
        "A function would look for the table, a queue or the topic of another stack.", [
        Set("Globals/Function/Environment/Variables/QUEUE_URL", "!Ref DeadLetterQueue"),
        Set("SweeperFunction/Properties/Environment/Variables/DEAD_LETTER_QUEUE_URL", "!Ref EventsFailures"),
        Set("EventsFunction/Properties/Environment/Variables/EVENTS_TOPIC_ARN", "!Ref AlarmTopic"),
        Set("Globals/Function/Environment/Variables/TABLE_NAME", "jobs"),
        Swap("Globals/Function/Environment/Variables/TABLE_NAME", "[1, {", "[0, {"),
        Swap("WorkerFunction/Properties/Environment/Variables/OUTPUT_URL", "/output", "/files"),
    ];
    an_idempotency_secret_is_there_unless_somebody_gives_one, "shared/aws/src/settings.rs",
        "The API would not start; or every stack would have the same secret, and clients could guess it.", [
        Set("ApiFunction/Properties/Environment/Variables/IDEMPOTENCY_SECRET", "!Ref IdempotencySecret"),
        Swap("ApiFunction/Properties/Environment/Variables/IDEMPOTENCY_SECRET", "AWS::StackId", "AWS::AccountId"),
    ];
    every_parameter_is_used_says_what_it_is_and_takes_not_just_anything, "docs/operating.md",
        "Whoever deploys would learn of a mistake from a function that does not start.", [
        Remove("Parameters/LogLevel/Description"),
        Remove("Parameters/MailFrom/AllowedPattern"),
        Add("Parameters/Colour", "{ Type: String, Description: Nothing., AllowedValues: [red], Default: red }"),
        Remove("WorkerFunction/Properties/Environment/Variables/RETRY_BASE_SECONDS"),
    ];
    the_address_of_a_local_aws_reaches_functions_as_it_is, "shared/aws/src/settings.rs",
        "`sam local` passes what it cannot resolve as an empty value, and the function would call AWS itself.", [
        Set("Globals/Function/Environment/Variables/ENDPOINT_URL", "!If [IsMonitored, !Ref EndpointUrl, '']"),
        Set("Parameters/EndpointUrl/Default", "http://localhost:4566"),
    ];
    what_is_secret_is_shown_nowhere, "shared/aws/src/settings.rs",
        "Whoever may look at the stack would see it.", [
        Remove("Parameters/WebhookSecret/NoEcho"),
        Set("Parameters/PushGatewayToken/NoEcho", "false"),
        Remove("Parameters/IdempotencySecret/NoEcho"),
        Remove("Parameters/MailUrl/NoEcho"),
        Add("Outputs/WebhookSecret", "{ Value: !Ref WebhookSecret }"),
    ];
    whoever_deploys_decides_who_may_call, "docs/access.md",
        "That the API is open, or is not, would be found out later.", [
        Add("Parameters/AuthMode/Default", "none"),
        Set("Parameters/AuthMode/AllowedValues", "[none]"),
        Remove("Rules/TokensHaveAnIssuerAndAnAudience/Assertions/1"),
        Remove("Rules/TokensHaveAnIssuerAndAnAudience/RuleCondition"),
        Swap("Rules/TokensHaveAnIssuerAndAnAudience/Assertions/0", "JwtIssuer\"}", "JwtAudience\"}"),
        Remove("Rules"),
    ];
    the_outputs_are_those_that_programs_and_the_manual_ask_for, "local/src/stack/aws_env.rs",
        "The local stack, and the manual's commands, would not find what they are about.", [
        Remove("Outputs/ApiUrl"),
        Remove("Outputs/DeadLetterQueueUrl"),
        Remove("Outputs/SweeperFunctionName"),
        Set("Outputs/TableName/Value", "!GetAtt JobsTable.Arn"),
    ];
}

/// Reads variables.
type Reader = fn(Lookup<'_>);

/// What reads variables, by the words in a function's `main.rs` that name it.
const READERS: [(&str, Reader); 4] = [
    ("start(\"", |lookup| drop(Place::read(lookup))),
    ("ApiSettings::read", |lookup| drop(ApiSettings::read(lookup))),
    ("dead_letter_queue_url", |lookup| drop(dead_letter_queue_url(lookup))),
    ("WorkerSettings::read", |lookup| drop(WorkerSettings::read(lookup))),
];

/// What is set on one machine only. So is what begins with `AWS_`, unless Lambda sets it.
const NOT_OURS: [&str; 2] = ["KILL_POINTS", "LOG_DIR"];

fn is_ours(name: &str) -> bool {
    !NOT_OURS.contains(&name) && !name.starts_with("AWS_")
}

/// The names of variables that stand in this code as arguments of what looks them up.
fn looked_up_in(code: &str) -> BTreeSet<String> {
    let ways = ["lookup(\"", "environment(\"", "required(lookup, \"", "optional(lookup, \""];
    ways.iter().flat_map(|way| quoted_after(code, way)).filter(|name| is_ours(name)).collect()
}

/// The variables that this function reads: all that its readers ask for when everything is set.
fn read_by(binary: &str) -> BTreeSet<String> {
    let main = file(&format!("functions/{binary}/src/main.rs"));
    let mut names = looked_up_in(&main);
    names.extend(looked_up_in(&file("shared/aws/src/telemetry.rs")));
    for (_, read) in READERS.iter().filter(|(words, _)| main.contains(words)) {
        let asked = RefCell::new(BTreeSet::new());
        read(&|name: &str| {
            if is_ours(name) {
                asked.borrow_mut().insert(name.to_owned());
            }
            VALUES.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        });
        names.extend(asked.into_inner());
    }
    names
}

/// Values with which every reader comes to its end.
const VALUES: [(&str, &str); 7] = [
    ("AUTH_MODE", "jwt"),
    ("TABLE_NAME", "jobs"),
    ("QUEUE_URL", "https://queue.example"),
    ("DEAD_LETTER_QUEUE_URL", "https://queue.example"),
    ("IDEMPOTENCY_SECRET", "secret"),
    ("WEBHOOK_SECRET", "secret"),
    ("PUSH_GATEWAY_TOKEN", "secret"),
];

fn each_function_gets_the_variables_that_it_reads(template: &Template) {
    let stack = template.stack();
    let mut known = BTreeSet::new();
    for (name, binary) in FUNCTIONS {
        let (given, read) = (stack.variables(name), read_by(binary));
        let missing: Vec<_> = read.iter().filter(|variable| !given.contains_key(*variable)).collect();
        assert!(missing.is_empty(), "{name} reads {missing:?}");
        known.extend(read);
    }
    let anywhere = looked_up_in(&(code_below("shared/aws/src") + &code_below("functions")));
    let unknown: Vec<_> = anywhere.difference(&known).collect();
    assert!(unknown.is_empty(), "this test does not know who reads {unknown:?}");
}

fn no_function_gets_a_variable_that_it_does_not_read(template: &Template) {
    let stack = template.stack();
    for (name, binary) in FUNCTIONS {
        let read = read_by(binary);
        let unread: Vec<_> = stack.variables(name).into_keys().filter(|variable| !read.contains(variable)).collect();
        assert!(unread.is_empty(), "{name} does not read {unread:?}");
    }
}

fn a_setting_has_on_aws_the_parameter_that_it_has_on_a_machine(template: &Template) {
    let code = file("local/src/stack/environment.rs");
    let (_, table) = code.split_once("const SETTINGS").expect("a table of settings");
    let (table, _) = table.split_once("];").expect("its end");
    let read: BTreeSet<_> = FUNCTIONS.iter().flat_map(|(_, binary)| read_by(binary)).collect();
    let mut settings = 0;
    for line in table.lines().filter(|line| line.trim_start().starts_with("(\"")) {
        let mut words = line.split('"').skip(1).step_by(2);
        let (variable, parameter) = words.next().zip(words.next()).expect("a variable and a parameter");
        if !read.contains(variable) {
            continue; // it is the template's own
        }
        let stack = template.with(&[(parameter, "marker")]);
        let values: Vec<_> = FUNCTIONS.iter().filter_map(|(name, _)| stack.variables(name).remove(variable)).collect();
        assert!(!values.is_empty() && values.iter().all(|value| value == "marker"), "{variable}: {values:?}");
        settings += 1;
    }
    assert!(settings > 10, "{settings}");
}

/// What the worker makes of the variables that it gets unless somebody says otherwise.
fn worker_settings(template: &Template) -> WorkerSettings {
    let given = template.stack().variables("WorkerFunction");
    WorkerSettings::read(&|name| given.get(name).filter(|value| !value.is_empty()).cloned()).expect("it starts")
}

fn what_nobody_says_is_what_the_code_takes_for_said(template: &Template) {
    let (on_aws, by_itself) = (worker_settings(template), WorkerSettings::read(&|_| None).expect("it starts"));
    let shown = |settings: &WorkerSettings| {
        // Not where files and e-mail go: the bucket and SES are there on AWS alone.
        let others = (&settings.mail_from, settings.retry, settings.csv_formula_guard, settings.outbound);
        let optional = (&settings.webhook_secret, &settings.push_gateway_url, &settings.push_gateway_token);
        format!("{others:?} {optional:?}")
    };
    assert_eq!(shown(&on_aws), shown(&by_itself));
    let given = template.stack().variables("ApiFunction");
    let lookup = |name: &str| given.get(name).filter(|value| !value.is_empty()).cloned();
    let only_mode = |name: &str| (name == "AUTH_MODE").then(|| "jwt".to_owned());
    assert_eq!(AuthMode::read(&lookup), AuthMode::read(&only_mode));
    assert_eq!(jobs_per_minute(&lookup), jobs_per_minute(&|_| None));
    assert_eq!(limits(&lookup), limits(&|_| None));
    assert_eq!([given["LOG_LEVEL"].as_str(), given["LOG_FORMAT"].as_str()], ["info", "json"]);
}

fn each_value_that_a_parameter_may_have_is_one_that_the_code_takes(template: &Template) {
    let allowed = |parameter: &str| -> Vec<String> {
        let parameter = &template.0["Parameters"][parameter];
        let values = parameter["AllowedValues"].as_array().into_iter().flatten();
        let limits =
            ["MinValue", "MaxValue"].map(|limit| &parameter[limit]).into_iter().filter(|limit| !limit.is_null());
        values.chain(limits).map(plain).collect()
    };
    let worker =
        |name: &str, value: &str| WorkerSettings::read(&|asked| (asked == name).then(|| value.to_owned())).is_ok();
    for (parameter, variable) in [
        ("RetryBaseSeconds", "RETRY_BASE_SECONDS"),
        ("CsvFormulaGuard", "CSV_FORMULA_GUARD"),
        ("OutboundAllow", "OUTBOUND_ALLOW"),
    ] {
        let values = allowed(parameter);
        assert!(values.len() > 1 && values.iter().all(|value| worker(variable, value)), "{parameter}: {values:?}");
    }
    let values = allowed("JobsPerMinute");
    assert!(values.len() > 1 && values.iter().all(|value| jobs_per_minute(&|_| Some(value.clone())).is_ok()));
    let values = allowed("AuthMode");
    let mode = |value: &String| AuthMode::read(&|name| (name == "AUTH_MODE").then(|| value.clone())).is_ok();
    assert!(values.iter().all(mode), "{values:?}");
    let telemetry = file("shared/aws/src/telemetry.rs");
    for (parameter, setting) in [("LogLevel", "LOG_LEVEL"), ("LogFormat", "LOG_FORMAT")] {
        let (_, forms) = telemetry.split_once(&format!("Wrong(\"{setting}\", \"it must be ")).expect("it says which");
        let forms = forms.split('"').next().unwrap_or_default().replace(" or ", ", ");
        assert_eq!(allowed(parameter), forms.split(", ").map(str::to_owned).collect::<Vec<_>>(), "{parameter}");
    }
}

fn the_variables_name_what_the_stack_made(template: &Template) {
    let restored = "arn:aws:dynamodb:eu-central-1:123456789012:table/restored";
    let restored = template.with(&[("ExistingTableArn", restored), ("ExistingTableStreamArn", "stream")]);
    assert_eq!(restored.variables("WorkerFunction")["TABLE_NAME"], "restored");
    let stack = template.stack();
    let expected: BTreeMap<_, _> = [
        ("TABLE_NAME", "${JobsTable}"),
        ("QUEUE_URL", "${JobsQueue}"),
        ("DEAD_LETTER_QUEUE_URL", "${DeadLetterQueue}"),
        ("EVENTS_TOPIC_ARN", "${EventsTopic}"),
        ("OUTPUT_URL", "s3://${OutputBucket}/output"), // below the prefix that the worker's role is about
    ]
    .into();
    for (name, _) in FUNCTIONS {
        for (variable, value) in stack.variables(name) {
            if let Some(expected) = expected.get(variable.as_str()) {
                assert_eq!(value, *expected, "{variable} of {name}");
            }
        }
    }
}

fn an_idempotency_secret_is_there_unless_somebody_gives_one(template: &Template) {
    let given =
        |value| template.with(&[("IdempotencySecret", value)]).variables("ApiFunction")["IDEMPOTENCY_SECRET"].clone();
    assert_eq!(given(""), "${AWS::StackId}");
    assert_eq!(given("a secret"), "a secret");
}

fn every_parameter_is_used_says_what_it_is_and_takes_not_just_anything(template: &Template) {
    let uses = ["Conditions", "Resources", "Outputs", "Rules"].map(|section| template.0[section].to_string()).concat();
    for (name, parameter) in template.parameters() {
        let is_used = uses.contains(&format!("{{\"Ref\":\"{name}\"}}")) || uses.contains(&format!("${{{name}}}"));
        assert!(is_used, "{name} changes nothing");
        assert!(parameter["Description"].as_str().is_some_and(|text| text.ends_with('.')), "{name} is not described");
        let limits = ["AllowedValues", "AllowedPattern", "MinValue", "MinLength", "MaxLength"];
        assert!(limits.iter().any(|limit| !parameter[*limit].is_null()), "{name} takes anything");
    }
}

fn the_address_of_a_local_aws_reaches_functions_as_it_is(template: &Template) {
    for (name, _) in FUNCTIONS {
        let variables = &template.0["Resources"][name]["Properties"]["Environment"]["Variables"];
        assert_eq!(variables["ENDPOINT_URL"], serde_json::json!({ "Ref": "EndpointUrl" }), "{name}");
    }
    assert_eq!(template.0["Parameters"]["EndpointUrl"]["Default"], "", "AWS itself");
}

fn what_is_secret_is_shown_nowhere(template: &Template) {
    for name in ["WebhookSecret", "PushGatewayToken", "IdempotencySecret", "MailUrl"] {
        assert_eq!(template.0["Parameters"][name]["NoEcho"], true, "{name}");
        assert!(!template.0["Outputs"].to_string().contains(&format!("\"{name}\"}}")), "{name} is in an output");
    }
}

fn whoever_deploys_decides_who_may_call(template: &Template) {
    let mode = &template.0["Parameters"]["AuthMode"];
    assert!(mode["Default"].is_null());
    assert_eq!(mode["AllowedValues"].as_array().map(Vec::len), Some(3));
    for needed in ["JwtIssuer", "JwtAudience"] {
        let refusals = template.refusals(&[(needed, "")]);
        let says = format!("AuthMode jwt needs {needed}, ");
        assert!(matches!(refusals.as_slice(), [one] if one.starts_with(&says)), "{needed}: {refusals:?}");
    }
    for mode in ["iam", "none"] {
        let refusals = template.refusals(&[("AuthMode", mode), ("JwtIssuer", ""), ("JwtAudience", "")]);
        assert_eq!(refusals, Vec::<String>::new(), "{mode}");
    }
}

/// `DeadLetterQueueUrl` as `DEAD_LETTER_QUEUE_URL`: what the local stack calls an output in its file for the shell.
fn variable(output: &str) -> String {
    let words = output
        .chars()
        .map(|letter| if letter.is_ascii_uppercase() { format!("_{letter}") } else { letter.to_string() });
    words.collect::<String>().trim_start_matches('_').to_ascii_uppercase()
}

fn the_outputs_are_those_that_programs_and_the_manual_ask_for(template: &Template) {
    let stack = template.stack();
    let made: BTreeMap<_, _> = fields(&stack.outputs).map(|(name, output)| (name.as_str(), &output["Value"])).collect();
    let programs = code_below("local/src")
        + &code_below("tests/src")
        + &code_below("tests/tests/system")
        + &code_below("verify/src");
    let ways = ["outputs.get(\"", "output(\"", "outputs()[\"", "invoke(\"", "processes(\""];
    let asked =
        ways.iter().flat_map(|way| quoted_after(&programs, way)).filter(|name| name.starts_with(char::is_uppercase));
    let asked: BTreeSet<_> = asked.collect();
    assert!(asked.len() > 4, "{asked:?}");
    for name in &asked {
        assert!(made.contains_key(name.as_str()), "no output {name}");
    }
    let manual = file("docs/operating.md") + &file("docs/local-aws.md");
    let variables: BTreeSet<_> = made.keys().map(|name| variable(name)).collect();
    for words in manual.split('$').skip(1) {
        let name: String = words.chars().take_while(|letter| letter.is_ascii_uppercase() || *letter == '_').collect();
        if ["QUEUE_URL", "TABLE_NAME", "FUNCTION_NAME", "BUCKET_NAME", "TOPIC_ARN"]
            .iter()
            .any(|end| name.ends_with(*end))
        {
            assert!(variables.contains(&name), "the manual has ${name}, and the template no output for it");
        }
    }
    for (name, value) in [
        ("ApiUrl", "${HttpApi.ApiEndpoint}"),
        ("TableName", "${JobsTable}"),
        ("QueueUrl", "${JobsQueue}"),
        ("DeadLetterQueueUrl", "${DeadLetterQueue}"),
        ("OutputBucketName", "${OutputBucket}"),
        ("EventsTopicArn", "${EventsTopic}"),
    ] {
        assert_eq!(made.get(name).map(|value| text(value)), Some(value), "{name}");
    }
}
