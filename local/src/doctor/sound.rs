//! The data of a sound stack, and what holds for all of them: nothing is wrong with it; whatever is changed, gone or not to
//! be asked is told.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::aws::{Answer, Unanswered, text};
use super::deployed::{Deployed, time};
use super::live::live;
use super::template::resources;
use super::{Finding, Report, Severity, examine};
use crate::command_line::Exit;

/// Not told of any stack's: what a service says to whoever may not ask it.
pub const DENIED: &str = "AccessDeniedException";

/// What the local AWS says of `template.yaml`, with what its CloudFormation leaves out set by hand, and with mail by SES.
pub fn sound() -> Deployed {
    let recorded: Value = serde_json::from_str(include_str!("sound.json")).expect("JSON");
    let texts = |list: &Value, name: &str, value: &str| -> BTreeMap<String, String> {
        list.as_array().expect("a list").iter().map(|entry| (text(&entry[name]), text(&entry[value]))).collect()
    };
    let stack = &recorded["stack"];
    let template = json!({ "Resources": recorded["resources"], "Conditions": recorded["conditions"] });
    let parameters = texts(&stack["Parameters"], "ParameterKey", "ParameterValue");
    let physical_ids = texts(&recorded["listed"], "LogicalResourceId", "PhysicalResourceId");
    let stack_id = text(&stack["StackId"]);
    let answer = |(key, answer): (&String, &Value)| {
        let (question, about) = key.split_once('|').expect("two parts");
        // Questions are constants, which a recording cannot have.
        let question: &'static str = Box::leak(question.to_owned().into_boxed_str());
        ((question, about.to_owned()), Ok(answer.clone()))
    };
    let mut answers: BTreeMap<(&'static str, String), Answer> =
        recorded["answers"].as_object().expect("answers").iter().map(answer).collect();
    // The version is this program's, whatever it was when this was recorded.
    let health = answers.get_mut(&("GET /health", String::new())).expect("asked").as_mut().expect("answered");
    health["version"] = json!(env!("CARGO_PKG_VERSION"));
    Deployed {
        stack_status: text(&stack["StackStatus"]),
        deployed_at: time(&stack["LastUpdatedTime"]),
        resources: resources(&template, &parameters, &physical_ids, &stack_id),
        answers,
        now: "2026-11-28T11:20:00Z".parse::<Timestamp>().expect("a time"),
        stack_id,
    }
}

/// The same with one answer changed.
pub fn with(question: &'static str, about: &str, change: impl FnOnce(&mut Answer)) -> Deployed {
    let mut deployed = sound();
    let answer = deployed.answers.get_mut(&(question, about.to_owned()));
    change(answer.unwrap_or_else(|| panic!("{question} was not asked about {about:?}")));
    deployed
}

pub fn of_severity(report: &Report, severity: Severity) -> Vec<String> {
    report.findings.iter().filter(|one| one.severity == severity).map(|one| one.what.clone()).collect()
}

#[test]
fn a_sound_stack_has_nothing_that_is_not_fine() {
    let report = examine(&sound());
    for severity in [Severity::Problem, Severity::Advice, Severity::Unchecked] {
        assert_eq!(of_severity(&report, severity), [""; 0], "{severity}");
    }
    assert_eq!(report.exit(), Exit::Done);
    assert!(report.count(Severity::Fine) > 15, "{}", report.text());
}

#[test]
fn every_setting_that_is_not_the_templates_is_a_problem() {
    let sound = sound();
    let mut compared = 0;
    for (id, resource) in &sound.resources {
        let properties = live(&sound, id, resource).into_iter().flat_map(|live| live.properties);
        for property in properties.filter(|property| resource.properties.get(*property).is_some()) {
            let mut deployed = sound.clone();
            let resource = deployed.resources.get_mut(id).expect("it is there");
            resource.properties[property] = json!({ "Variables": { "ANOTHER": "x" }, "another": "x" });
            let found = of_severity(&examine(&deployed), Severity::Problem);
            let name = if *property == "Environment" { "ANOTHER" } else { *property };
            assert!(found.iter().any(|what| what.starts_with(id) && what.contains(name)), "{id} {property}: {found:?}");
            compared += 1;
        }
    }
    assert!(compared > 150, "{compared}");
}

#[test]
fn a_resource_that_is_gone_is_a_problem() {
    let sound = sound();
    let gone = Unanswered { code: "ResourceNotFoundException".to_owned(), message: "it is not there".to_owned() };
    for (id, resource) in &sound.resources {
        let mut deployed = sound.clone();
        for ((_, about), answer) in &mut deployed.answers {
            if about == id {
                *answer = Err(gone.clone());
            }
        }
        if live(&deployed, id, resource).is_empty() {
            continue;
        }
        let found = of_severity(&examine(&deployed), Severity::Problem);
        let is_gone = |what: &String| what.starts_with(&format!("{id} is not there"));
        // Routes and the like are in their API's answers.
        let in_api = resource.kind.starts_with("AWS::ApiGatewayV2::");
        assert!(in_api || found.iter().any(is_gone), "{id}: {found:?}");
    }
}

#[test]
fn what_cannot_be_asked_is_one_check_that_is_not_made_and_no_problem() {
    let sound = sound();
    for &(question, ref about) in sound.answers.keys() {
        for code in [DENIED, ""] {
            if question == "GET /health" && code == DENIED {
                continue; // an answer that is no health is a problem
            }
            let why = Unanswered { code: code.to_owned(), message: "not today".to_owned() };
            let report = examine(&with(question, about, |answer| *answer = Err(why)));
            let named = format!("{question} {about} {}", report.text());
            assert_eq!(of_severity(&report, Severity::Problem), [""; 0], "{named}");
            let unchecked = of_severity(&report, Severity::Unchecked);
            assert!(!unchecked.is_empty() && unchecked.iter().all(|what| what.ends_with("not today.")), "{named}");
            assert!(report.count(Severity::Fine) > 5, "the others are made: {named}");
            assert_eq!(report.exit(), Exit::NoAnswer, "{named}");
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

#[test]
fn a_report_is_told_in_words_and_as_json() {
    let mut report = Report::default();
    report.fine("A is well.");
    report.add(Finding::problem("B is\nnot.", "Mend B."));
    let denied = Unanswered { code: DENIED.to_owned(), message: "no".to_owned() };
    for _ in 0..2 {
        report.cannot("whether C is well", &denied); // said once
    }
    let told = [
        "problem    B is not.",
        "           → Mend B.",
        "unchecked  It could not be checked whether C is well, because AccessDeniedException: no.",
        "           → `doctor --permissions` prints what whoever looks must be allowed.",
        "fine       A is well.",
        "",
        "1 problem, advice on 0, 1 fine; 1 check could not be made",
    ];
    assert_eq!(report.text(), told.join("\n"));
    let json: Value = serde_json::from_str(&report.json("dray")).expect("JSON");
    assert_eq!(
        (&json["problems"], &json["unchecked"], &json["findings"][0]["severity"]),
        (&json!(1), &json!(1), &json!("fine"))
    );
}

#[test]
fn the_policy_only_reads() {
    let policy: Value = serde_json::from_str(&super::policy()).expect("JSON");
    let actions = policy["Statement"][0]["Action"].as_array().expect("actions");
    let verbs = ["GET", "Get", "List", "Describe"];
    let reads = |action: &Value| {
        let (_, name) = action.as_str().and_then(|action| action.split_once(':')).expect("service and action");
        verbs.iter().any(|verb| name.starts_with(verb))
    };
    assert!(actions.iter().all(reads), "{actions:?}");
    let docs = include_str!("../../../docs/doctor.md");
    let documented: BTreeSet<_> =
        actions.iter().map(text).filter(|action| docs.contains(&format!("`{action}`"))).collect();
    assert_eq!(documented.len(), actions.len(), "docs/doctor.md names them all");
}
