//! What is there, beside what the deployed template says: of each resource the settings that somebody may have changed
//! by hand.

use serde_json::Value;

use super::aws::text;
use super::deployed::{Deployed, number};
use super::live::live;
use super::template::{Resource, UNKNOWN};
use super::{Finding, Report};

/// Compares all resources.
pub fn check(deployed: &Deployed, report: &mut Report) {
    let mut same = 0;
    let mut differing = 0;
    for (id, resource) in &deployed.resources {
        for live in live(deployed, id, resource) {
            match live.values {
                Err(why) if why.is_missing() => {
                    differing += 1;
                    report.add(missing(id, resource));
                }
                Err(why) => report.cannot(&format!("whether {id} is as the template says"), &why),
                Ok(values) => {
                    for property in live.properties {
                        match difference(resource, property, &values) {
                            Difference::NotSaid => {}
                            Difference::None => same += 1,
                            Difference::Found(what) => {
                                differing += 1;
                                report.add(drifted(id, &what));
                            }
                        }
                    }
                }
            }
        }
    }
    routes_of_others(deployed, report);
    if differing == 0 {
        report.fine(format!("{same} settings are as the deployed template says."));
    }
}

fn missing(id: &str, resource: &Resource) -> Finding {
    let what = format!("{id} is not there: {} has no {}.", resource.kind, resource.physical_id);
    Finding::problem(what, "Restore it under this name, or make the stack anew: docs/doctor.md, Drift.")
}

fn drifted(id: &str, what: &str) -> Finding {
    // No command: one without all the stack's parameters would set them to the template's defaults.
    let remedy = "Set it back, or write it into the template and deploy that; docs/doctor.md, Drift, has a change set that \
                  sets back all at once.";
    Finding::problem(format!("{id}: {what}."), remedy)
}

enum Difference {
    /// The template says nothing of it.
    NotSaid,
    None,
    Found(String),
}

fn difference(resource: &Resource, property: &str, live: &Value) -> Difference {
    let Some(expected) = resource.properties.get(property) else { return Difference::NotSaid };
    let live = &live[property];
    if property == "Environment" {
        return of_variables(&expected["Variables"], &live["Variables"]);
    }
    if same(expected, live) {
        return Difference::None;
    }
    let is = if live.is_null() { "not set".to_owned() } else { text(live) };
    Difference::Found(format!("{property} is {is}, and the template says {}", text(expected)))
}

/// One sentence for all variables that differ, without their values: they may be secrets.
fn of_variables(expected: &Value, live: &Value) -> Difference {
    let (expected, live) = (expected.as_object().cloned().unwrap_or_default(), live.as_object());
    let live = live.cloned().unwrap_or_default();
    let removed = expected.keys().filter(|name| !live.contains_key(*name));
    let added = live.keys().filter(|name| !expected.contains_key(*name));
    let changed = expected.iter().filter(|(name, value)| live.get(*name).is_some_and(|live| !same(value, live)));
    let list = [
        ("lacks", removed.cloned().collect::<Vec<_>>()),
        ("has besides", added.cloned().collect()),
        ("has another value for", changed.map(|(name, _)| name.clone()).collect()),
    ];
    let list = list.into_iter().filter(|(_, names)| !names.is_empty());
    let list: Vec<_> = list.map(|(verb, names)| format!("{verb} {}", names.join(", "))).collect();
    if list.is_empty() {
        return Difference::None;
    }
    Difference::Found(format!("its environment, beside the template's, {}", list.join("; ")))
}

/// Whether a value is what the template says: all that the template names, lists in any order, numbers also as texts.
fn same(expected: &Value, live: &Value) -> bool {
    match (expected, live) {
        (Value::String(text), _) if text == UNKNOWN => true,
        (Value::Object(fields), Value::String(json)) => {
            let live: Value = serde_json::from_str(json).unwrap_or_default();
            live.is_object() && same(&Value::Object(fields.clone()), &live)
        }
        (Value::Object(fields), live) => fields.iter().all(|(name, expected)| same(expected, &live[name])),
        (Value::Array(items), live) => {
            let live: &[Value] = live.as_array().map_or(&[], Vec::as_slice);
            items.len() == live.len() && items.iter().all(|item| live.iter().any(|live| same(item, live)))
        }
        (Value::Bool(false), Value::Null) => true,
        _ => {
            text(expected) == text(live)
                || number(expected).zip(number(live)).is_some_and(|(a, b)| (a - b).abs() < 1e-9)
        }
    }
}

/// Routes that the template does not have, which may be open.
fn routes_of_others(deployed: &Deployed, report: &mut Report) {
    let Ok(routes) = deployed.answer("apigateway:GET routes", "HttpApi") else { return }; // each route has said so
    let own: Vec<_> = deployed.resources_of("AWS::ApiGatewayV2::Route").collect();
    for route in routes["items"].as_array().into_iter().flatten() {
        if own.iter().all(|(_, known)| known.properties["RouteKey"] != route["routeKey"]) {
            let what = format!(
                "The API has a route {} (authorisation: {}) that the template does not have.",
                text(&route["routeKey"]),
                text(&route["authorizationType"])
            );
            report.add(Finding::problem(what, "Delete the route, or write it into the template."));
        }
    }
}
