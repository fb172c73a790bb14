//! Whether alarms can go off, and whether anybody hears them.

use jiff::SignedDuration;
use serde_json::Value;

use super::aws::text;
use super::deployed::{Deployed, time};
use super::{Finding, Report};

/// An alarm that has had no data for so long looks at something that is not there. New ones have none for minutes.
const LONG_WITHOUT_DATA: SignedDuration = SignedDuration::from_hours(6);

/// What metrics are told apart by, and the types of resources that it names.
const DIMENSIONS: [(&str, &str); 3] =
    [("FunctionName", "AWS::Lambda::Function"), ("QueueName", "AWS::SQS::Queue"), ("ApiId", "AWS::ApiGatewayV2::Api")];

/// What the names of alarms end with that a deployment by alias adds: `docs/canary.py`. They tell nobody, since `CodeDeploy`
/// reads them.
const OF_ROLLOUTS: &str = "Rollout";

/// Looks at all alarms of the stack that are for people, and at who is told.
pub fn check(deployed: &Deployed, report: &mut Report) {
    let alarms = deployed.resources_of("AWS::CloudWatch::Alarm");
    let alarms: Vec<_> = alarms.filter(|(id, _)| !id.ends_with(OF_ROLLOUTS)).collect();
    if alarms.is_empty() {
        let what = "The stack has no alarms: nobody is told when jobs fail or wait.";
        return report.add(Finding::advice(what, "Deploy with Monitoring=on and AlarmEmail, unless others watch it."));
    }
    let mut sound = 0;
    for (id, _) in &alarms {
        let answer = deployed.answer("cloudwatch:DescribeAlarms", id);
        let Some(answer) = report.known(&format!("whether the alarm {id} can go off"), answer) else { continue };
        let alarm = &answer["MetricAlarms"][0];
        if alarm.is_null() {
            continue; // that it is not there has been said
        }
        let found = of_alarm(deployed, id, alarm);
        sound += usize::from(found.is_empty());
        for finding in found {
            report.add(finding);
        }
    }
    if sound == alarms.len() {
        report.fine(format!("All {sound} alarms can go off, and none does."));
    }
    listeners(deployed, report);
}

fn of_alarm(deployed: &Deployed, id: &str, alarm: &Value) -> Vec<Finding> {
    let mut found = vec![];
    if text(&alarm["ActionsEnabled"]) != "true" {
        let remedy = format!("`aws cloudwatch enable-alarm-actions --alarm-names {}`.", deployed.physical_id(id));
        found.push(Finding::problem(format!("The alarm {id} tells nobody: its actions are off."), remedy));
    }
    if alarm["AlarmActions"].as_array().is_none_or(Vec::is_empty) {
        let what = format!("The alarm {id} tells nobody: it has no actions.");
        found.push(Finding::problem(what, "Give it AlarmTopic as its action, as the template does."));
    }
    for dimension in alarm["Dimensions"].as_array().into_iter().flatten() {
        let (name, value) = (text(&dimension["Name"]), text(&dimension["Value"]));
        let Some((_, kind)) = DIMENSIONS.iter().find(|(known, _)| *known == name) else { continue };
        let last = |physical_id: &str| physical_id.rsplit('/').next() == Some(value.as_str());
        if !deployed.resources_of(kind).any(|(_, resource)| last(&resource.physical_id)) {
            let what = format!("The alarm {id} can never go off: no {name} of this stack is {value}.");
            found.push(Finding::problem(what, "Set its dimension to what the template says."));
        }
    }
    let state = text(&alarm["StateValue"]);
    let since = time(&alarm["StateUpdatedTimestamp"]);
    if state == "INSUFFICIENT_DATA" && since.is_some_and(|since| deployed.now.duration_since(since) > LONG_WITHOUT_DATA)
    {
        let what = format!("The alarm {id} has had no data for more than 6 hours.");
        found.push(Finding::advice(what, "Look whether its metric is there; if nothing has happened, it may be well."));
    }
    if state == "ALARM" {
        let what = format!("The alarm {id} has gone off.");
        found.push(Finding::problem(what, format!("Do as docs/operating.md, Alarms, {id}, says.")));
    }
    found
}

/// Who is told: somebody, who has confirmed it.
fn listeners(deployed: &Deployed, report: &mut Report) {
    let answer = deployed.answer("sns:ListSubscriptionsByTopic", "AlarmTopic");
    let Some(answer) = report.known("whether anybody is told of alarms", answer) else { return };
    let subscriptions: &[Value] = answer["Subscriptions"].as_array().map_or(&[], Vec::as_slice);
    for subscription in subscriptions {
        if subscription["SubscriptionArn"] == "PendingConfirmation" {
            let what =
                format!("{} has not confirmed that they want to hear of alarms.", text(&subscription["Endpoint"]));
            let remedy = "Let them follow the link in the first e-mail; after three days, subscribe them again.";
            report.add(Finding::problem(what, remedy));
        }
    }
    if subscriptions.is_empty() {
        let what = "Nobody is told of alarms: AlarmTopic has no subscription.";
        report.add(Finding::advice(what, "Deploy with AlarmEmail, or subscribe to AlarmTopic."));
    } else {
        report.fine("Somebody has subscribed to alarms.");
    }
}
