//! Stacks of other forms than the usual one: each is as sound, and what is wrong with it is found all the same.

use serde_json::{Value, json};

use super::aws::{Answer, Unanswered};
use super::code::FUNCTIONS;
use super::deployed::Deployed;
use super::reading::{questions_about, questions_that_follow};
use super::sound::{DENIED, of_severity, sound};
use super::template::Resource;
use super::{Severity, examine};

const FUNCTION: &str = "lambda:GetFunctionConfiguration";
const INVOCATIONS: &str = "lambda:GetFunctionEventInvokeConfig";
const BUCKET: &str = "s3:GetBucketPublicAccessBlock";
const STACK_OF: &str = "cloudformation:DescribeStackResources";

fn refusal(code: &str) -> Unanswered {
    Unanswered { code: code.to_owned(), message: "it says no".to_owned() }
}

fn answer<'a>(deployed: &'a mut Deployed, question: &'static str, about: &str) -> &'a mut Value {
    let answer = deployed.answers.get_mut(&(question, about.to_owned())).expect("it was asked");
    answer.as_mut().expect("it was answered")
}

fn is_sound(deployed: &Deployed) {
    let report = examine(deployed);
    for severity in [Severity::Problem, Severity::Advice, Severity::Unchecked] {
        assert_eq!(of_severity(&report, severity), [""; 0], "{severity}");
    }
}

fn has(deployed: &Deployed, severity: Severity, expected: &str) -> bool {
    of_severity(&examine(deployed), severity).iter().any(|what| what.contains(expected))
}

/// On a table that was restored, as with `ExistingTableArn`: the stack has no `JobsTable`, and the table's name may be one
/// that CloudFormation gave to a stack's own. Gives the name, too.
fn on_an_existing_table() -> (Deployed, String) {
    let mut deployed = sound();
    let name = deployed.resources.remove("JobsTable").expect("it is there").physical_id;
    let moved: Vec<_> = deployed.answers.keys().filter(|(_, about)| about == "JobsTable").cloned().collect();
    assert_eq!(moved.len(), 3);
    for (question, about) in moved {
        let answer = deployed.answers.remove(&(question, about)).expect("it was asked");
        deployed.answers.insert((question, name.clone()), answer);
    }
    (deployed, name)
}

#[test]
fn a_table_that_the_stack_did_not_make_is_looked_at_and_never_called_left_behind() {
    let (deployed, name) = on_an_existing_table();
    is_sound(&deployed);
    let asked = questions_that_follow(&deployed);
    let asks = |question: &str| asked.iter().any(|(one, about, _)| *one == question && *about == name);
    assert!(asks("dynamodb:DescribeTable") && asks("dynamodb:DescribeTimeToLive") && !asks(STACK_OF));
    assert!(
        questions_that_follow(&sound()).iter().all(|(_, about, _)| *about != name),
        "its own is asked about by its id"
    );

    let faults = [
        ("dynamodb:DescribeTable", "/Table/TableStatus", "is ARCHIVED"),
        ("dynamodb:DescribeTable", "/Table/GlobalSecondaryIndexes/0/IndexName", "has no index due"),
        ("dynamodb:DescribeTable", "/Table/StreamSpecification/StreamViewType", "does not have old and new images"),
        ("dynamodb:DescribeTimeToLive", "/TimeToLiveDescription/TimeToLiveStatus", "Nothing deletes jobs"),
    ];
    for (question, path, expected) in faults {
        let mut deployed = deployed.clone();
        *answer(&mut deployed, question, &name).pointer_mut(path).expect("it is there") = json!("ARCHIVED");
        assert!(has(&deployed, Severity::Problem, expected), "{expected}: {}", examine(&deployed).text());
        assert!(has(&deployed, Severity::Problem, &name), "{expected}");
    }

    let mut unsaved = deployed.clone();
    let backups = answer(&mut unsaved, "dynamodb:DescribeContinuousBackups", &name);
    backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"] = Value::Null;
    assert!(has(&unsaved, Severity::Advice, "has no point-in-time recovery"));

    let mut gone = deployed.clone();
    gone.answers.insert(("dynamodb:DescribeTable", name.clone()), Err(refusal("ResourceNotFoundException")));
    assert!(has(&gone, Severity::Problem, &format!("use the table {name}, which is not there")));

    // Who may not see which table is in use does not call it one that nobody needs.
    let mut unseen = deployed;
    let unowned =
        Unanswered { code: "ValidationError".to_owned(), message: format!("Stack for {name} does not exist") };
    unseen.answers.insert((STACK_OF, name.clone()), Err(unowned));
    for id in FUNCTIONS {
        unseen.answers.insert((FUNCTION, id.to_owned()), Err(refusal(DENIED)));
        assert!(!has(&unseen, Severity::Advice, &name), "{id}: {}", examine(&unseen).text());
    }
    assert!(has(&unseen, Severity::Unchecked, "whether the table is one that the code can use"));
}

#[test]
fn a_bucket_that_the_stack_did_not_make_is_looked_for_and_never_called_left_behind() {
    let (name, url) = ("old-outputbucket-1", "s3://old-outputbucket-1/a/b");
    let mut deployed = sound();
    answer(&mut deployed, FUNCTION, "WorkerFunction")["Environment"]["Variables"]["OUTPUT_URL"] = json!(url);
    let worker = deployed.resources.get_mut("WorkerFunction").expect("it is there");
    worker.properties["Environment"]["Variables"]["OUTPUT_URL"] = json!(url);
    let buckets =
        answer(&mut deployed, "s3:ListAllMyBuckets", "")["Buckets"]["Bucket"].as_array_mut().expect("buckets");
    buckets.push(json!({ "Name": name }));
    let asked: Vec<_> = questions_that_follow(&deployed).into_iter().filter(|(_, about, _)| about == name).collect();
    assert_eq!(asked.iter().map(|(question, ..)| *question).collect::<Vec<_>>(), [BUCKET]);

    let mut with = |answer: Answer| {
        deployed.answers.insert((BUCKET, name.to_owned()), answer);
        deployed.clone()
    };
    is_sound(&with(Ok(json!({ "BlockPublicAcls": "true" }))));
    is_sound(&with(Err(refusal("NoSuchPublicAccessBlockConfiguration"))));
    assert!(has(&with(Err(refusal("NoSuchBucket"))), Severity::Problem, "The bucket old-outputbucket-1, which"));
    assert!(has(
        &with(Err(refusal("AccessDenied"))),
        Severity::Unchecked,
        "whether there is a bucket old-outputbucket-1"
    ));
}

#[test]
fn the_oldest_message_is_too_old_at_the_age_of_its_alarm_whatever_the_workers_timeout() {
    // What the template's mapping has for WorkerTimeout 60, 300 and 900: Visibility and OldestMessage.
    for (hidden, alarm) in [(360, 1800), (1800, 2700), (5400, 6300)] {
        for age in [alarm - 1, alarm] {
            let mut deployed = sound();
            answer(&mut deployed, "sqs:GetQueueAttributes", "JobsQueue")["Attributes"]["VisibilityTimeout"] =
                json!(hidden.to_string());
            answer(&mut deployed, "cloudwatch:GetMetricStatistics", "JobsQueue")["Datapoints"] =
                json!([{ "Maximum": age }]);
            let told = has(&deployed, Severity::Problem, &format!("the oldest message was {age} s old"));
            assert_eq!(told, age == alarm, "hidden for {hidden} s, {age} s old");
        }
    }
}

/// Deployed by alias, as SAM makes it of what `docs/canary.py` prints.
fn by_alias() -> Deployed {
    let mut deployed = sound();
    for id in FUNCTIONS {
        let name = deployed.physical_id(id);
        let alias = Resource {
            kind: "AWS::Lambda::Alias".to_owned(),
            physical_id: format!("arn:aws:lambda:us-east-1:000000000000:function:{name}:live"),
            properties: json!({ "Name": "live", "FunctionName": name }),
        };
        deployed.resources.insert(format!("{id}Aliaslive"), alias);
    }
    let invocations = deployed.resources.get_mut("SweeperFunctionEventInvokeConfig").expect("it is there");
    invocations.properties["Qualifier"] = json!("live");
    for id in ["ApiRollout", "WorkerRollout", "SweeperRollout", "EventsRollout"] {
        let mut alarm = deployed.resources["WorkerErrors"].clone();
        let mut said = answer(&mut deployed, "cloudwatch:DescribeAlarms", "WorkerErrors").clone();
        alarm.physical_id = format!("dray-{id}-1");
        said["MetricAlarms"][0]["AlarmName"] = json!(alarm.physical_id);
        said["MetricAlarms"][0]["StateValue"] = json!("ALARM"); // for a minute, after any error
        for actions in ["AlarmActions", "OKActions"] {
            alarm.properties.as_object_mut().expect("properties").remove(actions);
            said["MetricAlarms"][0][actions] = json!([]);
        }
        deployed.resources.insert(id.to_owned(), alarm);
        deployed.answers.insert(("cloudwatch:DescribeAlarms", id.to_owned()), Ok(said));
    }
    deployed
}

#[test]
fn a_stack_that_deploys_by_alias_is_looked_at_by_its_alias() {
    let deployed = by_alias();
    is_sound(&deployed);
    for (deployed, function, invocations) in [
        (deployed, "configuration?Qualifier=live\"", "Qualifier=live"),
        (sound(), "configuration\"", "Qualifier=%24LATEST"),
    ] {
        let mut asked = 0;
        for (id, resource) in &deployed.resources {
            for (question, request) in questions_about(id, resource, deployed.alias(id), deployed.now) {
                let request = format!("{request:?}");
                let expected = match question {
                    FUNCTION => function,
                    INVOCATIONS => invocations,
                    _ => continue,
                };
                assert!(request.contains(expected), "{id}: {request}");
                asked += 1;
            }
        }
        assert_eq!(asked, 5);
    }

    // The API's version is made when the others' rollouts are over.
    let mut deployed = by_alias();
    answer(&mut deployed, FUNCTION, "ApiFunction")["LastModified"] = json!("2026-11-28T12:50:00.000+0000");
    is_sound(&deployed);
    answer(&mut deployed, FUNCTION, "ApiFunction")["LastModified"] = json!("2026-11-28T15:00:00.000+0000");
    assert!(has(&deployed, Severity::Advice, "ApiFunction was changed at 2026"));
    answer(&mut deployed, FUNCTION, "ApiFunction")["Environment"]["Variables"]["AUTH_MODE"] = json!("iam");
    assert!(has(&deployed, Severity::Problem, "has another value for AUTH_MODE"));
}
