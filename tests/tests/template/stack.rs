//! The template as CloudFormation reads it: translated by SAM, and with parameters, conditions and functions resolved.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

/// A template that SAM has translated.
pub struct Template(pub Value);

impl Template {
    /// The stack that it makes with these parameters, and with everything that is optional.
    pub fn with(&self, given: &[(&str, &str)]) -> Stack {
        let always = [
            ("AuthMode", "jwt"),
            ("JwtIssuer", "https://issuer.example"),
            ("JwtAudience", "one,other"),
            ("AlarmEmail", "ops@example.com"),
        ];
        let mut parameters = BTreeMap::new();
        for (name, parameter) in fields(&self.0["Parameters"]) {
            parameters.insert(name.clone(), parameter["Default"].clone());
        }
        for (name, value) in always.iter().chain(given) {
            parameters.insert((*name).to_owned(), json!(value));
        }
        Stack::of(&self.0, parameters)
    }

    /// The stack that it makes unless it is told otherwise, with everything that is optional.
    pub fn stack(&self) -> Stack {
        self.with(&[])
    }

    /// What its rules say against these parameters.
    pub fn refusals(&self, given: &[(&str, &str)]) -> Vec<String> {
        let stack = self.with(given);
        let applies = |rule: &Value| rule["RuleCondition"].is_null() || stack.evaluate(&rule["RuleCondition"]);
        let rules = fields(&self.0["Rules"]).map(|(_, rule)| rule).filter(|rule| applies(rule));
        let failed = rules.flat_map(|rule| list(&rule["Assertions"])).filter(|one| !stack.evaluate(&one["Assert"]));
        failed.map(|one| text(&one["AssertDescription"]).to_owned()).collect()
    }

    /// The stacks that it makes with each value that this parameter may have.
    pub fn with_each(&self, parameter: &str) -> Vec<Stack> {
        let values = list(&self.0["Parameters"][parameter]["AllowedValues"]).iter().map(plain);
        values.map(|value| self.with(&[(parameter, &value)])).collect()
    }

    /// The stacks of workers that live as long as they may, and how long that is, in seconds; the default first.
    pub fn with_each_worker_timeout(&self) -> Vec<(u64, Stack)> {
        let stacks = self.with_each("WorkerTimeout").into_iter();
        let stacks: Vec<_> = stacks.map(|stack| (number(stack.parameter("WorkerTimeout")), stack)).collect();
        assert!(stacks.len() > 1, "there is one time, and none to choose");
        stacks
    }

    /// Its parameters by name.
    pub fn parameters(&self) -> impl Iterator<Item = (&String, &Value)> {
        fields(&self.0["Parameters"])
    }
}

/// What a template makes. What is only known once it is made stands there as `!Sub` has it: `${JobsTable.Arn}`.
pub struct Stack {
    parameters: BTreeMap<String, Value>,
    conditions: Value,
    mappings: Value,
    /// Its resources by name, without those whose condition does not hold.
    pub resources: Value,
    /// Its outputs by name, likewise.
    pub outputs: Value,
}

impl Stack {
    fn of(template: &Value, parameters: BTreeMap<String, Value>) -> Self {
        let (conditions, mappings) = (template["Conditions"].clone(), template["Mappings"].clone());
        let mut stack = Self { parameters, conditions, mappings, resources: Value::Null, outputs: Value::Null };
        stack.resources = stack.present(&template["Resources"]);
        stack.outputs = stack.present(&template["Outputs"]);
        stack
    }

    fn present(&self, section: &Value) -> Value {
        let present = fields(section).filter(|(_, one)| one["Condition"].as_str().is_none_or(|name| self.holds(name)));
        Value::Object(present.filter_map(|(name, one)| Some((name.clone(), self.resolve(one)?))).collect())
    }

    /// The properties of this resource; null if there is no such resource.
    pub fn properties(&self, resource: &str) -> &Value {
        &self.resources[resource]["Properties"]
    }

    /// The resources of this type: their names and properties.
    pub fn all(&self, kind: &str) -> Vec<(&str, &Value)> {
        let of_kind = fields(&self.resources).filter(|(_, resource)| resource["Type"] == kind);
        of_kind.map(|(name, resource)| (name.as_str(), &resource["Properties"])).collect()
    }

    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> &Value {
        self.parameters.get(name).unwrap_or(&Value::Null)
    }

    /// The environment variables of this function.
    pub fn variables(&self, function: &str) -> BTreeMap<String, String> {
        let variables = &self.properties(function)["Environment"]["Variables"];
        fields(variables).map(|(name, value)| (name.clone(), plain(value))).collect()
    }

    /// The seconds from one sweep to the next.
    pub fn sweep_period(&self) -> u64 {
        let expression = text(&self.properties("SweeperFunctionMinute")["ScheduleExpression"]);
        match expression
            .strip_prefix("rate(")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|rest| rest.split_once(' '))
        {
            Some((number, "minute" | "minutes")) => 60 * number.parse::<u64>().expect("a number"),
            _ => panic!("no rate in minutes: {expression}"),
        }
    }

    fn holds(&self, condition: &str) -> bool {
        let condition = &self.conditions[condition];
        assert!(!condition.is_null(), "there is no such condition");
        self.evaluate(condition)
    }

    fn evaluate(&self, condition: &Value) -> bool {
        let (function, argument) = fields(condition).next().expect("a condition is a function");
        match function.as_str() {
            "Condition" => self.holds(text(argument)),
            "Fn::Not" => !self.evaluate(&argument[0]),
            "Fn::And" => list(argument).iter().all(|one| self.evaluate(one)),
            "Fn::Or" => list(argument).iter().any(|one| self.evaluate(one)),
            "Fn::Equals" => {
                let [one, other] = [0, 1].map(|index| self.resolve(&argument[index]).unwrap_or_default());
                plain(&one) == plain(&other)
            }
            other => panic!("{other} is no condition"),
        }
    }

    /// The value with its functions carried out. `None` if it is to be left out.
    fn resolve(&self, value: &Value) -> Option<Value> {
        match value {
            Value::Array(items) => Some(items.iter().filter_map(|item| self.resolve(item)).collect()),
            Value::Object(object) => match object.iter().next() {
                Some((function, argument)) if object.len() == 1 => self.call(function, argument, object),
                _ => Some(self.resolve_all(object)),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.clone()),
        }
    }

    fn resolve_all(&self, object: &Map<String, Value>) -> Value {
        let resolved = object.iter().filter_map(|(name, value)| Some((name.clone(), self.resolve(value)?)));
        Value::Object(resolved.collect())
    }

    fn call(&self, function: &str, argument: &Value, object: &Map<String, Value>) -> Option<Value> {
        let resolved = |index: usize| self.resolve(&argument[index]).unwrap_or_default();
        Some(match function {
            "Ref" if argument == "AWS::NoValue" => return None,
            "Ref" => {
                let name = text(argument);
                self.parameters.get(name).cloned().unwrap_or_else(|| json!(format!("${{{name}}}")))
            }
            "Fn::GetAtt" if argument.is_array() => json!(format!("${{{}.{}}}", text(&argument[0]), text(&argument[1]))),
            "Fn::GetAtt" => json!(format!("${{{}}}", text(argument))),
            "Fn::If" => {
                let index = if self.holds(text(&argument[0])) { 1 } else { 2 };
                return self.resolve(&argument[index]);
            }
            "Fn::Sub" if argument.is_array() => json!(self.substitute(text(&argument[0]), &resolved(1))),
            "Fn::Sub" => json!(self.substitute(text(argument), &Value::Null)),
            "Fn::Join" => {
                let parts: Vec<_> = list(&resolved(1)).iter().map(plain).collect();
                json!(parts.join(text(&argument[0])))
            }
            "Fn::Split" => plain(&resolved(1)).split(text(&argument[0])).map(str::to_owned).collect(),
            "Fn::Select" => {
                let index: usize = plain(&argument[0]).parse().expect("an index");
                resolved(1)[index].clone()
            }
            "Fn::FindInMap" => {
                let [map, first, second] = [0, 1, 2].map(|index| plain(&resolved(index)));
                let found = self.mappings[&map][&first][&second].clone();
                assert!(!found.is_null(), "{map} has no {second} of {first}");
                found
            }
            _ => self.resolve_all(object),
        })
    }

    /// The text with the values of parameters, and of `own` names, in place of their names.
    fn substitute(&self, text: &str, own: &Value) -> String {
        let mut parts = text.split("${");
        let mut whole = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').expect("a name ends");
            match own.get(name).or_else(|| self.parameters.get(name)) {
                Some(value) => whole.push_str(&plain(value)),
                None => whole.extend(["${", name, "}"]),
            }
            whole.push_str(rest);
        }
        whole
    }
}

/// The text of a file of this repository.
pub fn file(path: &str) -> String {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The texts of the Rust files below a folder of this repository, one after the other.
pub fn code_below(folder: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let mut code = String::new();
    for entry in std::fs::read_dir(&root).unwrap_or_else(|error| panic!("{folder}: {error}")) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            code.push_str(&code_below(&format!("{folder}/{name}")));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&std::fs::read_to_string(&path).expect("readable"));
        }
    }
    code
}

/// The first number in the value of a constant that nobody else can see.
pub fn constant(path: &str, name: &str) -> u64 {
    let code = file(path);
    let (_, rest) = code.split_once(&format!("const {name}: ")).unwrap_or_else(|| panic!("{path} has no {name}"));
    let value = rest.split(['=', ';']).nth(1).expect("a value");
    let digits =
        value.chars().skip_while(|one| !one.is_ascii_digit()).take_while(|one| one.is_ascii_digit() || *one == '_');
    digits
        .filter(|one| *one != '_')
        .collect::<String>()
        .parse()
        .unwrap_or_else(|_| panic!("{name} is no number: {value}"))
}

/// The words in `text` that stand between `before` and the next quotation mark.
pub fn quoted_after(text: &str, before: &str) -> Vec<String> {
    let quoted = text.split(before).skip(1).filter_map(|rest| rest.split('"').next());
    quoted.map(str::to_owned).collect()
}

/// The fields of an object; none of anything else.
pub fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

pub fn number(value: &Value) -> u64 {
    plain(value).parse().unwrap_or_else(|_| panic!("no number: {value}"))
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// A text as it is; anything else as JSON has it.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

/// Texts, in a list or one alone.
pub fn texts(value: &Value) -> Vec<&str> {
    if value.is_array() { list(value).iter().map(text).collect() } else { vec![text(value)] }
}

/// All that stands under this key, however deep.
pub fn under<'v>(key: &str, value: &'v Value) -> Vec<&'v Value> {
    match value {
        Value::Object(object) => {
            object.iter().flat_map(|(name, value)| if name == key { vec![value] } else { under(key, value) }).collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| under(key, item)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![],
    }
}
