//! What there is to know of a deployed stack, as plain data: the stack itself, and what each service says of each of its
//! resources. Checks look at this alone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::aws::{Answer, Unanswered};
use super::template::Resource;

/// A deployed stack.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// The stack's ARN.
    pub stack_id: String,
    /// `UPDATE_COMPLETE`, say.
    pub stack_status: String,
    /// When it was last deployed.
    pub deployed_at: Option<Timestamp>,
    /// Its resources by their logical ids.
    pub resources: BTreeMap<String, Resource>,
    /// What was asked of whom, and what came back; see [`Deployed::answer`].
    pub answers: BTreeMap<(&'static str, String), Answer>,
    /// When all this was looked at.
    pub now: Timestamp,
}

impl Deployed {
    /// What came back to a question about a resource, or about something else that it names. The question begins with
    /// the permission that it takes: `sqs:GetQueueAttributes`.
    pub fn answer(&self, question: &'static str, about: &str) -> Result<&Value, Unanswered> {
        match self.answers.get(&(question, about.to_owned())) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(why)) => Err(why.clone()),
            None => Err(Unanswered::nothing("it was not asked")),
        }
    }

    /// Its resources of this type, with their logical ids.
    pub fn resources_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Resource)> {
        let resources = self.resources.iter().map(|(id, resource)| (id.as_str(), resource));
        resources.filter(move |(_, resource)| resource.kind == kind)
    }

    /// What the service calls this resource; empty if the stack has none of this logical id.
    pub fn physical_id(&self, id: &str) -> &str {
        self.resources.get(id).map_or("", |resource| &resource.physical_id)
    }

    /// What answers about a table or a bucket are kept under: its logical id if it is the stack's own, or else its name.
    pub fn key<'a>(&'a self, kind: &'a str, name: &'a str) -> &'a str {
        self.resources_of(kind).find(|(_, resource)| resource.physical_id == name).map_or(name, |(id, _)| id)
    }

    /// The alias by which a function is called, if the stack has one: `live`, after a deployment by alias.
    pub fn alias(&self, function: &str) -> Option<&str> {
        let name = self.physical_id(function);
        let mut aliases = self.resources_of("AWS::Lambda::Alias");
        aliases.find(|(_, alias)| alias.properties["FunctionName"] == name)?.1.properties["Name"].as_str()
    }

    /// How a function is set up that serves, by its alias if it has one: Lambda's `FunctionConfiguration`.
    pub fn function(&self, id: &str) -> Result<&Value, Unanswered> {
        self.answer("lambda:GetFunctionConfiguration", id)
    }

    /// The value of an environment variable of a function. Empty if it has none of this name.
    pub fn variable(&self, function: &str, name: &str) -> Result<&str, Unanswered> {
        let function = self.function(function)?;
        Ok(function["Environment"]["Variables"][name].as_str().unwrap_or_default())
    }

    /// The tables that the functions use. One, unless somebody has changed a variable by hand; and not the stack's own if it
    /// was deployed with `ExistingTableArn`.
    pub fn tables(&self) -> BTreeSet<&str> {
        self.values_of("TABLE_NAME").collect()
    }

    /// The buckets that the functions write to: none if output goes to a folder.
    pub fn buckets(&self) -> BTreeSet<&str> {
        let places = self.values_of("OUTPUT_URL").filter_map(|url| url.strip_prefix("s3://"));
        places.filter_map(|place| place.split('/').next()).filter(|name| !name.is_empty()).collect()
    }

    /// What functions have an environment variable set to, as far as that is known.
    fn values_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let functions = self.resources_of("AWS::Lambda::Function");
        functions.filter_map(move |(id, _)| self.variable(id, name).ok()).filter(|value| !value.is_empty())
    }

    /// An attribute of a queue.
    pub fn queue(&self, id: &str, attribute: &str) -> Result<&Value, Unanswered> {
        Ok(&self.answer("sqs:GetQueueAttributes", id)?["Attributes"][attribute])
    }

    /// What Lambda says of an event source, by its logical id.
    pub fn event_source(&self, id: &str) -> Result<&Value, Unanswered> {
        self.answer("lambda:GetEventSourceMapping", id)
    }
}

/// A number, or a text that is one.
pub fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// A time as services write it: a text, or seconds since 1970.
pub fn time(value: &Value) -> Option<Timestamp> {
    if let Some(text) = value.as_str() {
        // Lambda's `2026-11-28T11:03:01.094+0000` has an offset without a colon, all others are RFC 3339.
        return text.parse().ok().or_else(|| format!("{}Z", text.strip_suffix("+0000")?).parse().ok());
    }
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970")]
    let seconds = value.as_f64()? as i64;
    Timestamp::from_second(seconds).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_read_in_every_form_that_services_have() {
        let expected = "2026-11-28T11:03:01Z".parse::<Timestamp>().expect("a time");
        for value in [json!("2026-11-28T11:03:01Z"), json!("2026-11-28T11:03:01.000+0000"), json!(1_795_863_781.0)] {
            assert_eq!(time(&value), Some(expected), "{value}");
        }
        assert_eq!(time(&json!("soon")), None);
        assert_eq!((number(&json!("5.0")), number(&json!(5)), number(&json!(null))), (Some(5.0), Some(5.0), None));
    }
}
