//! A template: JSON in whose texts an event fills in the gaps.
//!
//! Nothing in it is executed. A placeholder says the way to one value; that value takes its place, and is itself never
//! read for placeholders. Nothing here goes deeper where the template or the data does, and what may come of an event
//! is bounded by the sizes below.

use std::cell::OnceCell;
use std::collections::HashMap;

use serde_json::value::RawValue;

use super::Published;
use crate::job::submission::LONGEST_BODY;
use crate::values::invalid::InvalidField;
use crate::values::json::Json;

/// The longest template, in bytes.
pub const LONGEST_TEMPLATE: usize = 32 * 1024;

/// The most placeholders in a template.
pub const MOST_PLACEHOLDERS: usize = 100;

/// The most steps from an event's data to the value that a placeholder names.
pub const MOST_STEPS: usize = 16;

/// JSON with placeholders in its texts.
///
/// A text that is nothing but one placeholder, `"{{data.items}}"`, becomes the value that it names, whatever that is.
/// In a longer text, `"Order {{data.items[0].sku}}"`, it becomes the value's text, which must be a text itself, a
/// number, `true` or `false`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    json: Json,
    parts: Vec<Part>,
}

/// A stretch of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// JSON as it stands.
    Verbatim(String),
    /// A value of the event.
    Value(Placeholder),
    /// A text, made of these.
    Text(Vec<Piece>),
}

/// A stretch of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// As it stands.
    Verbatim(String),
    /// The text of a value of the event.
    Of(Placeholder),
}

/// Why an event makes no job by a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It has no such value as a placeholder names, or one that cannot stand there. The field is the placeholder's:
    /// `data.items[0].sku`.
    #[error(transparent)]
    Event(InvalidField),
    /// What comes of it is not a job. The field is seen from the subscription: `job.payload.to`.
    #[error(transparent)]
    Job(InvalidField),
}

impl Template {
    /// Reads a template. What is wrong with one names no field: all of it is meant.
    pub fn parse(json: Json) -> Result<Self, InvalidField> {
        if json.as_str().len() > LONGEST_TEMPLATE {
            return Err(whole(format!("must be at most {LONGEST_TEMPLATE} bytes long")));
        }
        let parts = parts_of(json.as_str())?;
        if parts.iter().map(Part::placeholders).sum::<usize>() > MOST_PLACEHOLDERS {
            return Err(whole(format!("must have at most {MOST_PLACEHOLDERS} placeholders")));
        }
        Ok(Self { json, parts })
    }

    /// It, as it was given.
    pub fn json(&self) -> &Json {
        &self.json
    }

    /// Whether it depends on the event at all.
    pub fn has_placeholders(&self) -> bool {
        self.parts.iter().any(|part| part.placeholders() > 0)
    }

    /// Whether it is one placeholder and nothing else.
    pub fn is_placeholder(&self) -> bool {
        let is_value = |part: &Part| matches!(part, Part::Value(_));
        self.json.as_str().starts_with('"') && self.parts.iter().any(is_value)
    }

    /// The JSON that the event makes of it.
    pub fn render(&self, event: &Published) -> Result<Json, Unfit> {
        let data = Value::of(event.data.as_str());
        let mut filled = Bounded::default();
        for part in &self.parts {
            match part {
                Part::Verbatim(json) => filled.push(json)?,
                Part::Value(placeholder) => filled.push(&placeholder.json(event, &data)?)?,
                Part::Text(pieces) => filled.push(&quoted(&text_of(pieces, event, &data)?))?,
            }
        }
        let Bounded(filled) = filled;
        Json::parse(&filled).map_err(|error| Unfit::Job(InvalidField::new("job", format!("is not JSON: {error}"))))
    }
}

/// The text that the event makes of these pieces.
fn text_of(pieces: &[Piece], event: &Published, data: &Value<'_>) -> Result<String, Unfit> {
    let mut text = Bounded::default();
    for piece in pieces {
        match piece {
            Piece::Verbatim(verbatim) => text.push(verbatim)?,
            Piece::Of(placeholder) => text.push(&placeholder.text(event, data)?)?,
        }
    }
    Ok(text.0)
}

impl Part {
    fn placeholders(&self) -> usize {
        match self {
            Self::Verbatim(_) => 0,
            Self::Value(_) => 1,
            Self::Text(pieces) => pieces.iter().filter(|piece| matches!(piece, Piece::Of(_))).count(),
        }
    }
}

/// Takes a template apart. It is well-formed JSON without white space between its tokens.
fn parts_of(json: &str) -> Result<Vec<Part>, InvalidField> {
    let (mut parts, mut verbatim, mut rest) = (vec![], String::new(), json);
    while let Some((before, token, after)) = next_text(rest) {
        verbatim.push_str(before);
        rest = after;
        let text: String = serde_json::from_str(token).map_err(|_| whole("has a text that is not Unicode"))?;
        if !text.contains(OPENS) {
            verbatim.push_str(token);
            continue;
        }
        if after.starts_with(':') {
            return Err(whole("has a placeholder in a field's name, and only values can have one"));
        }
        parts.push(Part::Verbatim(std::mem::take(&mut verbatim)));
        let pieces = pieces_of(&text)?;
        parts.push(match pieces.as_slice() {
            [Piece::Of(placeholder)] => Part::Value(placeholder.clone()),
            _ => Part::Text(pieces),
        });
    }
    verbatim.push_str(rest);
    parts.push(Part::Verbatim(verbatim));
    Ok(parts)
}

/// The next text in well-formed JSON, with its quotes; what is before it, and what is after it.
fn next_text(json: &str) -> Option<(&str, &str, &str)> {
    let start = json.find('"')?;
    let mut escaped = false;
    let length = json[start + 1..].bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    let end = start + length + 2; // behind both quotes
    Some((&json[..start], &json[start..end], &json[end..]))
}

const OPENS: &str = "{{";
const CLOSES: &str = "}}";

fn pieces_of(text: &str) -> Result<Vec<Piece>, InvalidField> {
    let (mut pieces, mut rest) = (vec![], text);
    while let Some((before, opened)) = rest.split_once(OPENS) {
        if !before.is_empty() {
            pieces.push(Piece::Verbatim(before.to_owned()));
        }
        let Some((inside, after)) = opened.split_once(CLOSES) else {
            return Err(whole(format!("has a `{OPENS}` without a `{CLOSES}` behind it")));
        };
        pieces.push(Piece::Of(Placeholder::parse(inside.trim())?));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Verbatim(rest.to_owned()));
    }
    Ok(pieces)
}

/// Names a value of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Placeholder {
    text: String,
    names: Named,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    EventId,
    EventType,
    EventAt,
    Data(Vec<Step>),
}

/// From a value to one inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// `.name`
    Field(String),
    /// `[0]`
    Item(usize),
}

impl Placeholder {
    fn parse(text: &str) -> Result<Self, InvalidField> {
        let names = match text {
            "event.id" => Some(Named::EventId),
            "event.type" => Some(Named::EventType),
            "event.at" => Some(Named::EventAt),
            _ => text.strip_prefix("data").and_then(steps).map(Named::Data),
        };
        let malformed = || {
            let shown: String = text.chars().take(100).collect();
            let known = "event.id, event.type, event.at, data, and data.path.to[0].field";
            whole(format!("has the placeholder `{OPENS}{shown}{CLOSES}`, which is none of {known}"))
        };
        Ok(Self { text: text.to_owned(), names: names.ok_or_else(malformed)? })
    }

    /// The value, as JSON.
    fn json(&self, event: &Published, data: &Value<'_>) -> Result<String, Unfit> {
        match &self.names {
            Named::EventId => Ok(quoted(event.id.as_str())),
            Named::EventType => Ok(quoted(event.event_type.as_str())),
            Named::EventAt => Ok(quoted(&event.at.to_string())),
            Named::Data(steps) => {
                let value = steps.iter().try_fold(data, |value, step| value.at(step));
                value.map(|value| value.json.to_owned()).ok_or_else(|| self.unfit("is not in the event"))
            }
        }
    }

    /// The value, as it stands in a longer text.
    fn text(&self, event: &Published, data: &Value<'_>) -> Result<String, Unfit> {
        let json = self.json(event, data)?;
        match json.as_bytes().first() {
            Some(b'"') => serde_json::from_str(&json).map_err(|_| self.unfit("is not Unicode")),
            Some(b'{') => Err(self.unfit("is an object, which cannot stand in a longer text")),
            Some(b'[') => Err(self.unfit("is an array, which cannot stand in a longer text")),
            Some(b'n') => Err(self.unfit("is null, which cannot stand in a longer text")),
            Some(_) | None => Ok(json),
        }
    }

    fn unfit(&self, problem: &str) -> Unfit {
        Unfit::Event(InvalidField::new(self.text.as_str(), problem))
    }
}

/// The steps in `.path.to[0].field`. `None` if it is no such way, or too long a one.
fn steps(way: &str) -> Option<Vec<Step>> {
    let (mut steps, mut rest) = (vec![], way);
    while !rest.is_empty() {
        let (step, after) = if let Some(opened) = rest.strip_prefix('[') {
            let (digits, after) = opened.split_once(']')?;
            let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok());
            (Step::Item(number.flatten()?), after)
        } else {
            let named = rest.strip_prefix('.')?;
            let (name, after) = named.split_at(named.find(['.', '[']).unwrap_or(named.len()));
            (Step::Field(Some(name).filter(|name| is_plain(name))?.to_owned()), after)
        };
        if steps.len() == MOST_STEPS {
            return None;
        }
        steps.push(step);
        rest = after;
    }
    Some(steps)
}

/// Whether a field's name can be told from what may stand around it.
fn is_plain(name: &str) -> bool {
    let strange = |character: char| {
        character.is_whitespace() || character.is_control() || matches!(character, '{' | '}' | '[' | ']' | '"')
    };
    !name.is_empty() && !name.contains(strange)
}

/// A value in an event's data, read only as far as placeholders lead, and each part of it once.
struct Value<'a> {
    json: &'a str,
    inside: OnceCell<Inside<'a>>,
}

enum Inside<'a> {
    Fields(HashMap<String, Value<'a>>),
    Items(Vec<Value<'a>>),
    Nothing,
}

impl<'a> Value<'a> {
    /// The value in this well-formed JSON.
    fn of(json: &'a str) -> Self {
        Self { json, inside: OnceCell::new() }
    }

    fn at(&self, step: &Step) -> Option<&Self> {
        match (self.inside.get_or_init(|| Inside::of(self.json)), step) {
            (Inside::Fields(fields), Step::Field(name)) => fields.get(name),
            (Inside::Items(items), Step::Item(index)) => items.get(*index),
            (Inside::Fields(_), Step::Item(_)) | (Inside::Items(_), Step::Field(_)) | (Inside::Nothing, _) => None,
        }
    }
}

impl<'a> Inside<'a> {
    /// What is in an object or an array; in anything else, and in an object with a name that is not Unicode, nothing.
    fn of(json: &'a str) -> Self {
        if json.starts_with('{') {
            let fields: HashMap<String, &'a RawValue> = serde_json::from_str(json).unwrap_or_default();
            Self::Fields(fields.into_iter().map(|(name, value)| (name, Value::of(value.get()))).collect())
        } else if json.starts_with('[') {
            let items: Vec<&'a RawValue> = serde_json::from_str(json).unwrap_or_default();
            Self::Items(items.into_iter().map(|value| Value::of(value.get())).collect())
        } else {
            Self::Nothing
        }
    }
}

/// A text that grows no longer than a job's body may be.
#[derive(Default)]
struct Bounded(String);

impl Bounded {
    fn push(&mut self, text: &str) -> Result<(), Unfit> {
        if self.0.len() + text.len() > LONGEST_BODY {
            return Err(Unfit::Job(InvalidField::new("job", format!("would be longer than {LONGEST_BODY} bytes"))));
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// All of a template is wrong.
fn whole(problem: impl Into<String>) -> InvalidField {
    InvalidField::new("", problem)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::subscription::{EventId, EventType};
    use crate::values::time::Timestamp;

    fn template(json: &str) -> Template {
        Template::parse(Json::parse(json).expect(json)).expect(json)
    }

    fn event(data: &str) -> Published {
        Published {
            id: EventId::parse("order-7").expect("an id"),
            event_type: EventType::parse("order.created").expect("a type"),
            data: Json::parse(data).expect(data),
            at: Timestamp::from_millis(1_800_000_000_000),
        }
    }

    fn render(json: &str, data: &str) -> Result<String, Unfit> {
        template(json).render(&event(data)).map(|json| json.as_str().to_owned())
    }

    const ORDER: &str = r#"{"order":7,"sum":1.10,"gift":true,"note":null,
        "customer":{"name":"Ada \"L\" Łovelace","e-mail":"ada@example.com"},
        "items":[{"sku":"A-1","count":2},{"sku":"B-2","count":1}]}"#;

    #[test]
    fn a_text_that_is_one_placeholder_becomes_the_value_as_it_was_sent() {
        let cases = [
            ("data.order", "7"),
            ("data.sum", "1.10"),
            ("data.gift", "true"),
            ("data.note", "null"),
            ("data.customer.e-mail", r#""ada@example.com""#),
            ("data.customer.name", r#""Ada \"L\" Łovelace""#),
            ("data.items[1]", r#"{"sku":"B-2","count":1}"#),
            ("data.items[0].sku", r#""A-1""#),
            ("event.id", r#""order-7""#),
            ("event.type", r#""order.created""#),
            ("event.at", r#""2027-01-15T08:00:00.000Z""#),
        ];
        for (placeholder, value) in cases {
            for braces in [format!("{{{{{placeholder}}}}}"), format!("{{{{ {placeholder}\t}}}}")] {
                let json = json!({ "a": braces }).to_string();
                assert_eq!(render(&json, ORDER), Ok(format!(r#"{{"a":{value}}}"#)), "{json}");
            }
        }
        assert_eq!(render(r#""{{data}}""#, r#"[1.10, {"z":1,"a":2}]"#).as_deref(), Ok(r#"[1.10,{"z":1,"a":2}]"#));
        assert_eq!(render(r#""{{data[1].a}}""#, r#"[1.10, {"z":1,"a":2}]"#).as_deref(), Ok("2"));
        assert_eq!(
            render(r#"["{{data.ö}}"]"#, r#"{"\u00f6":1}"#).as_deref(),
            Ok("[1]"),
            "by its name, not its spelling"
        );
    }

    #[test]
    fn in_a_longer_text_a_placeholder_becomes_the_text_of_the_value() {
        let of = |text: &str| render(&json!([text]).to_string(), ORDER).expect(text);
        assert_eq!(of("Order {{data.order}}: {{data.sum}} ({{data.gift}})"), r#"["Order 7: 1.10 (true)"]"#);
        assert_eq!(of("{{data.customer.name}}!"), r#"["Ada \"L\" Łovelace!"]"#);
        assert_eq!(of("{{data.order}}{{data.order}}"), r#"["77"]"#, "a text, and not a number");
        assert_eq!(of("} }} {"), r#"["} }} {"]"#, "none of these opens a placeholder");
        assert_eq!(of(r"a\{{event.id}}"), r#"["a\\order-7"]"#, "there is nothing to escape");
    }

    #[test]
    fn what_the_event_has_not_is_named() {
        let of = |text: &str| render(&json!({ "a": { "b": [text] } }).to_string(), ORDER).expect_err(text).to_string();
        for missing in ["data.x", "data.order.x", "data.customer[0]", "data.items[2].sku", "data.items.sku", "data[0]"]
        {
            let problem = format!("`{missing}` is not in the event");
            assert_eq!(of(&format!("{{{{{missing}}}}}")), problem);
            assert_eq!(of(&format!("Dear {{{{ {missing} }}}}")), problem);
        }
        assert_eq!(of("-{{data.note}}"), "`data.note` is null, which cannot stand in a longer text");
        assert_eq!(of("-{{data.items}}"), "`data.items` is an array, which cannot stand in a longer text");
        assert_eq!(of("-{{data}}"), "`data` is an object, which cannot stand in a longer text");
        let lone = render(r#""-{{data}}""#, r#""\ud800""#).expect_err("half a character");
        assert_eq!(lone.to_string(), "`data` is not Unicode");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        let of = |text: &str| {
            let json = Json::of(&json!({ "a": text })).expect(text);
            Template::parse(json).expect_err(text).within("job").to_string()
        };
        assert_eq!(of("Dear {{data.name"), "`job` has a `{{` without a `}}` behind it");
        let no_root = ["", "x", "1+1", "Data", "datax", "event", "event.data", "event.id.x", "{data"];
        let no_field = ["data.", "data..a", "data.a.", "data. a", "data.a b", "data.a]", "data.a[0]b"];
        let no_item = ["data[", "data[]", "data[-1]", "data[+1]", "data[a]", "data[99999999999999999999]"];
        for name in no_root.into_iter().chain(no_field).chain(no_item) {
            let problem = of(&format!("{{{{{name}}}}}"));
            let expected = format!("`job` has the placeholder `{{{{{name}}}}}`, which is none of event.id, ");
            assert!(problem.starts_with(&expected), "{problem}");
        }
        let long = format!("{{{{data{}}}}}", ".a".repeat(MOST_STEPS + 1));
        assert!(of(&long).contains("which is none of"), "too many steps");
        let in_a_name = Json::parse(r#"{"{{data.a}}":1}"#).expect("JSON");
        let problem = Template::parse(in_a_name).expect_err("in a name").problem;
        assert_eq!(problem, "has a placeholder in a field's name, and only values can have one");
        let lone = Json::parse(r#"["\ud800"]"#).expect("JSON");
        assert_eq!(Template::parse(lone).expect_err("half a character").problem, "has a text that is not Unicode");
    }

    #[test]
    fn what_an_event_may_cost_is_bounded() {
        let as_long_as_may_be = Json::of(&"a".repeat(LONGEST_TEMPLATE - 2)).expect("JSON"); // and its two quotes
        assert!(Template::parse(as_long_as_may_be).is_ok());
        let long = Json::of(&"a".repeat(LONGEST_TEMPLATE)).expect("JSON");
        assert_eq!(Template::parse(long).expect_err("too long").problem, "must be at most 32768 bytes long");
        let many = |count: usize| Template::parse(Json::of(&vec!["{{data}}"; count]).expect("JSON"));
        assert_eq!(many(MOST_PLACEHOLDERS + 1).expect_err("too many").problem, "must have at most 100 placeholders");
        let large = event(&json!("x".repeat(LONGEST_BODY / 50)).to_string());
        let in_values = many(MOST_PLACEHOLDERS).expect("a template").render(&large);
        let texts = template(&json!("-{{data}}".repeat(MOST_PLACEHOLDERS)).to_string()).render(&large);
        for rendered in [in_values, texts] {
            assert_eq!(rendered.expect_err("too long").to_string(), "`job` would be longer than 262144 bytes");
        }
        let of_length =
            |length: usize| template(r#""{{data}}""#).render(&event(&json!("x".repeat(length - 2)).to_string()));
        assert_eq!(of_length(LONGEST_BODY).map(|text| text.as_str().len()), Ok(LONGEST_BODY));
        assert!(of_length(LONGEST_BODY + 1).is_err());
    }

    #[test]
    fn data_may_be_nested_as_deep_as_it_likes() {
        let depth = 100_000;
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let data = format!(r#"{{"deep":{deep},"a":1}}"#);
        assert_eq!(render(r#"["{{data.a}}","{{data.deep}}"]"#, &data), Ok(format!("[1,{deep}]")));
        let way = format!("data.deep{}", "[0]".repeat(MOST_STEPS - 1));
        let inner = &deep[MOST_STEPS - 1..deep.len() - (MOST_STEPS - 1)];
        assert_eq!(render(&format!(r#""{{{{{way}}}}}""#), &data).as_deref(), Ok(inner));
    }

    #[test]
    fn whether_it_depends_on_the_event_is_known() {
        assert!(!template(r#"{"a":["b","} }}"]}"#).has_placeholders());
        assert!(template(r#"{"a":["b","{{data}}"]}"#).has_placeholders());
        assert!(template(r#""{{data}}""#).is_placeholder());
        for other in [r#"["{{data}}"]"#, r#""-{{data}}""#, r#""data""#, "1"] {
            assert!(!template(other).is_placeholder(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_value_is_never_read_as_json_or_as_a_template(text in "(\\PC|[\"\\\\{}\\n]|\\{\\{data\\}\\}){0,40}") {
            let data = json!({ "text": text }).to_string();
            let filled = render(r#"{"whole":"{{data.text}}","part":"<{{data.text}}>"}"#, &data).expect("it is there");
            let filled: serde_json::Value = serde_json::from_str(&filled).expect("JSON");
            prop_assert_eq!(filled, json!({ "whole": text, "part": format!("<{text}>") }));
        }

        #[test]
        fn without_placeholders_nothing_changes(text in "[^{]{0,40}", number in any::<i64>()) {
            let json = json!({ text.clone(): [number, text, null, true, { "\"{\\": 1.5 }] }).to_string();
            prop_assert_eq!(render(&json, "{}"), Ok(json));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "([{}\\[\\].\"\\\\ ]|data|event|id|0|ä){0,30}") {
            if let Ok(template) = Template::parse(Json::of(&[text]).expect("JSON")) {
                let _ = template.render(&event(ORDER));
            }
        }
    }
}
