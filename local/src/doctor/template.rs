//! A deployed template with its functions carried out: what each resource was to be.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html>

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::aws::text;

/// Stands where a value cannot be known from outside: it is secret, or only the service knows it.
pub const UNKNOWN: &str = "(unknown)";

/// What CloudFormation says instead of a parameter that has `NoEcho`, whether it is empty or not.
const MASKED: &str = "****";

/// A resource of the stack.
#[derive(Clone, Debug)]
pub struct Resource {
    /// `AWS::SQS::Queue`.
    pub kind: String,
    /// What the service calls it: of a queue its URL, of a function its name, of a topic its ARN.
    pub physical_id: String,
    /// What the template says of it, as far as that can be known. [`UNKNOWN`] elsewhere.
    pub properties: Value,
}

/// What a template's functions may refer to.
struct Context<'a> {
    template: &'a Value,
    /// The values of the parameters.
    parameters: &'a BTreeMap<String, String>,
    /// What the resources are called, by their logical ids.
    physical_ids: &'a BTreeMap<String, String>,
    stack_id: &'a str,
}

/// The resources of the template that are in the stack, by their logical ids.
pub fn resources(
    template: &Value,
    parameters: &BTreeMap<String, String>,
    physical_ids: &BTreeMap<String, String>,
    stack_id: &str,
) -> BTreeMap<String, Resource> {
    let context = Context { template, parameters, physical_ids, stack_id };
    let declared = template["Resources"].as_object().into_iter().flatten();
    let resource = |(id, declared): (&String, &Value)| {
        let kind = declared["Type"].as_str()?.to_owned();
        let properties = context.value(&declared["Properties"]).unwrap_or_default();
        Some((id.clone(), Resource { kind, physical_id: physical_ids.get(id)?.clone(), properties }))
    };
    declared.filter_map(resource).collect()
}

/// Part `at` of an ARN: 1 is the partition, 3 the region, 4 the account.
pub fn part_of_arn(arn: &str, at: usize) -> &str {
    arn.split(':').nth(at).unwrap_or_default()
}

fn unknown() -> Value {
    json!(UNKNOWN)
}

impl Context<'_> {
    /// The value that is meant; none is `AWS::NoValue`.
    fn value(&self, value: &Value) -> Option<Value> {
        match value {
            Value::Object(object) => match object.iter().next() {
                Some((name, argument)) if object.len() == 1 && is_function(name) => self.call(name, argument),
                _ => Some(Value::Object(self.object(object))),
            },
            Value::Array(items) => Some(items.iter().filter_map(|item| self.value(item)).collect()),
            // A secret's or a parameter's name, for which CloudFormation puts the value.
            Value::String(text) if text.contains("{{resolve:") => Some(unknown()),
            other => Some(other.clone()),
        }
    }

    fn object(&self, object: &Map<String, Value>) -> Map<String, Value> {
        object.iter().filter_map(|(name, value)| Some((name.clone(), self.value(value)?))).collect()
    }

    fn call(&self, function: &str, argument: &Value) -> Option<Value> {
        match function {
            "Ref" => self.reference(argument.as_str().unwrap_or_default()),
            "Fn::If" => match self.condition(argument[0].as_str().unwrap_or_default()) {
                Some(true) => self.value(&argument[1]),
                Some(false) => self.value(&argument[2]),
                None => Some(unknown()),
            },
            "Fn::GetAtt" => Some(match argument {
                Value::String(path) => match path.split_once('.') {
                    Some((id, attribute)) => self.attribute(id, attribute),
                    None => unknown(),
                },
                _ => self.attribute(&text(&argument[0]), &text(&argument[1])),
            }),
            "Fn::Sub" => Some(self.substituted(argument)),
            "Fn::Join" => {
                let parts = self.value(&argument[1]).unwrap_or_default();
                let parts: Vec<_> = parts.as_array().into_iter().flatten().map(text).collect();
                Some(known(parts.join(argument[0].as_str().unwrap_or_default())))
            }
            "Fn::Split" => {
                let whole = text(&self.value(&argument[1]).unwrap_or_default());
                let separator = argument[0].as_str().unwrap_or_default();
                Some(if whole.contains(UNKNOWN) { unknown() } else { whole.split(separator).collect() })
            }
            "Fn::Select" => {
                let at = text(&argument[0]).parse::<usize>().unwrap_or_default();
                let list = self.value(&argument[1]).unwrap_or_default();
                Some(list.get(at).cloned().unwrap_or_else(unknown))
            }
            "Fn::FindInMap" => {
                let keys = self.value(argument).unwrap_or_default();
                let [map, first, second] = [0, 1, 2].map(|at| text(&keys[at]));
                let found = self.template["Mappings"][map.as_str()][first.as_str()].get(second.as_str());
                Some(found.cloned().unwrap_or_else(unknown))
            }
            _ => Some(unknown()),
        }
    }

    fn reference(&self, name: &str) -> Option<Value> {
        Some(match name {
            "AWS::NoValue" => return None,
            "AWS::StackName" => json!(self.stack_id.split('/').nth(1)),
            "AWS::StackId" => json!(self.stack_id),
            "AWS::Partition" => json!(part_of_arn(self.stack_id, 1)),
            "AWS::Region" => json!(part_of_arn(self.stack_id, 3)),
            "AWS::AccountId" => json!(part_of_arn(self.stack_id, 4)),
            _ => match self.parameters.get(name).or_else(|| self.physical_ids.get(name)) {
                Some(masked) if masked == MASKED => unknown(),
                Some(resolved) if resolved.contains("{{resolve:") => unknown(),
                Some(value) => json!(value),
                None => unknown(),
            },
        })
    }

    /// The attributes of resources that follow from what they are called.
    fn attribute(&self, id: &str, attribute: &str) -> Value {
        let Some(physical_id) = self.physical_ids.get(id) else { return unknown() };
        let [partition, region, account] = [1, 3, 4].map(|at| part_of_arn(self.stack_id, at));
        let last = physical_id.rsplit('/').next().unwrap_or_default();
        let arn = |service: &str, name: &str| json!(format!("arn:{partition}:{service}:{region}:{account}:{name}"));
        match (self.template["Resources"][id]["Type"].as_str().unwrap_or_default(), attribute) {
            ("AWS::Lambda::Function", "Arn") => arn("lambda", &format!("function:{physical_id}")),
            ("AWS::SQS::Queue", "Arn") => arn("sqs", last),
            ("AWS::SQS::Queue", "QueueName") => json!(last),
            ("AWS::DynamoDB::Table", "Arn") => arn("dynamodb", &format!("table/{physical_id}")),
            ("AWS::IAM::Role", "Arn") => json!(format!("arn:{partition}:iam::{account}:role/{physical_id}")),
            ("AWS::S3::Bucket", "Arn") => json!(format!("arn:{partition}:s3:::{physical_id}")),
            _ => unknown(),
        }
    }

    fn substituted(&self, argument: &Value) -> Value {
        let (pattern, own) = match argument {
            Value::Array(parts) => (parts.first(), parts.get(1)),
            pattern => (Some(pattern), None),
        };
        let mut rest = pattern.and_then(Value::as_str).unwrap_or_default();
        let mut result = String::new();
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            let value = match (own.and_then(|own| own.get(name)), name.strip_prefix('!'), name.split_once('.')) {
                (Some(own), _, _) => self.value(own).unwrap_or_default(),
                (None, Some(literal), _) => json!(format!("${{{literal}}}")),
                (None, None, Some((id, attribute))) => self.attribute(id, attribute),
                (None, None, None) => self.reference(name).unwrap_or_default(),
            };
            result = result + before + &text(&value);
            rest = after;
        }
        known(result + rest)
    }

    /// Whether the condition holds, if that can be known.
    fn condition(&self, name: &str) -> Option<bool> {
        self.holds(&self.template["Conditions"][name])
    }

    fn holds(&self, condition: &Value) -> Option<bool> {
        let (function, argument) = condition.as_object()?.iter().next()?;
        let all = || argument.as_array().into_iter().flatten().map(|condition| self.holds(condition));
        match function.as_str() {
            "Condition" => self.condition(argument.as_str()?),
            "Fn::Not" => self.holds(&argument[0]).map(|holds| !holds),
            "Fn::And" if all().any(|one| one == Some(false)) => Some(false),
            "Fn::And" => all().collect::<Option<Vec<_>>>().map(|_| true),
            "Fn::Or" if all().any(|one| one == Some(true)) => Some(true),
            "Fn::Or" => all().collect::<Option<Vec<_>>>().map(|_| false),
            "Fn::Equals" => {
                let [one, other] = [0, 1].map(|at| text(&self.value(&argument[at]).unwrap_or_default()));
                (one != UNKNOWN && other != UNKNOWN).then(|| one == other)
            }
            _ => None,
        }
    }
}

fn is_function(name: &str) -> bool {
    name == "Ref" || name.starts_with("Fn::")
}

/// A text that has been put together, unless a part of it is unknown.
fn known(text: String) -> Value {
    if text.contains(UNKNOWN) { unknown() } else { Value::String(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_carried_out_as_cloudformation_does() {
        let template = json!({
            "Mappings": { "Times": { "60": { "Visibility": 360 } } },
            "Conditions": {
                "On": { "Fn::Equals": [{ "Ref": "Mode" }, "on"] },
                "Off": { "Fn::Not": [{ "Condition": "On" }] },
                "Secret": { "Fn::Equals": [{ "Ref": "Password" }, ""] },
                "Both": { "Fn::And": [{ "Condition": "Off" }, { "Condition": "Secret" }] },
                "Either": { "Fn::Or": [{ "Condition": "On" }, { "Condition": "Secret" }] },
            },
            "Resources": { "Queue": { "Type": "AWS::SQS::Queue" }, "Role": { "Type": "AWS::IAM::Role" } },
        });
        let texts = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let parameters = texts(&[("Mode", "on"), ("Password", "****"), ("Time", "60")]);
        let physical_ids = texts(&[("Queue", "https://sqs.eu-west-1.amazonaws.com/123/dray-jobs"), ("Role", "r")]);
        let stack_id = "arn:aws:cloudformation:eu-west-1:123:stack/dray/1-2";
        let context = Context { template: &template, parameters: &parameters, physical_ids: &physical_ids, stack_id };
        let cases = [
            (json!({ "Ref": "Mode" }), json!("on")),
            (json!({ "Ref": "AWS::StackName" }), json!("dray")),
            (json!({ "Ref": "Password" }), json!(UNKNOWN)),
            (json!(["a", { "Ref": "AWS::NoValue" }]), json!(["a"])),
            (json!({ "a": { "Ref": "AWS::NoValue" } }), json!({})),
            (json!({ "Fn::GetAtt": ["Queue", "Arn"] }), json!("arn:aws:sqs:eu-west-1:123:dray-jobs")),
            (json!({ "Fn::GetAtt": "Role.Arn" }), json!("arn:aws:iam::123:role/r")),
            (json!({ "Fn::Sub": "${AWS::Region}/${Queue.QueueName}/${!x}" }), json!("eu-west-1/dray-jobs/${x}")),
            (json!({ "Fn::Sub": ["${A}-${Mode}", { "A": { "Ref": "Time" } }] }), json!("60-on")),
            (json!({ "Fn::Sub": "x${Password}" }), json!(UNKNOWN)),
            (json!({ "Fn::If": ["Off", 1, { "Fn::If": ["On", 2, 3] }] }), json!(2)),
            (json!({ "Fn::If": ["Secret", 1, 2] }), json!(UNKNOWN)),
            (json!({ "Fn::If": ["Both", 1, 2] }), json!(2)),
            (json!({ "Fn::If": ["Either", 1, 2] }), json!(1)),
            (json!({ "Fn::Join": ["-", ["a", { "Ref": "Time" }]] }), json!("a-60")),
            (json!({ "Fn::Select": ["1", { "Fn::Split": [",", "a,b"] }] }), json!("b")),
            (json!({ "Fn::FindInMap": ["Times", { "Ref": "Time" }, "Visibility"] }), json!(360)),
            (json!("{{resolve:ssm:x}}"), json!(UNKNOWN)),
            (json!({ "Fn::ImportValue": "x" }), json!(UNKNOWN)),
        ];
        for (given, expected) in cases {
            assert_eq!(context.value(&given), Some(expected), "{given}");
        }
    }
}
