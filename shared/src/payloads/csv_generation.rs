//! `csv-generation`: JSON in, a CSV file out.

use std::collections::HashSet;
use std::fmt;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::job_type::Payload;
use crate::values::invalid::{InvalidField, read_fields};
use crate::values::json::null_is_absent;

/// A table, and how it is written. The payload is the table itself; or an object with the table in `rows`, beside the
/// options. (A flat object cannot have a table in a field, so one is never taken for the other.)
#[derive(Debug, PartialEq, Eq)]
pub struct CsvGeneration {
    /// What is written.
    pub table: Table,
    /// What stands between two cells.
    pub delimiter: Delimiter,
    /// Whether the file begins with a byte-order mark, by which Excel knows it to be UTF-8.
    pub bom: bool,
    /// Whether what a spreadsheet would run is disarmed; as the deployment says unless given.
    pub guard: Option<bool>,
}

/// A flat object, or an array of flat objects.
#[derive(Debug, PartialEq, Eq)]
pub enum Table {
    /// One object: becomes a row per field, under the header `key,value`.
    Fields(Row),
    /// Several: become a row each, under a header of all their fields, in the order in which they first appear.
    Rows(Vec<Row>),
}

/// What may stand between two cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Delimiter {
    /// `,`
    #[default]
    Comma,
    /// `;`, for spreadsheets of countries that write `1,5`.
    Semicolon,
    /// A tab.
    Tab,
}

impl TryFrom<String> for Delimiter {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let known = [Self::Comma, Self::Semicolon, Self::Tab].into_iter();
        let mut fitting = known.filter(|delimiter| text.as_bytes() == [delimiter.as_byte()]);
        fitting.next().ok_or("must be a comma, a semicolon or a tab")
    }
}

impl Delimiter {
    /// The character, which is ASCII.
    pub const fn as_byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
        }
    }
}

/// One flat object: text for each field, in the sender's order. A number is kept as it was written, `true` and
/// `false` are words, and `null` is empty.
pub type Row = IndexMap<String, String>;

/// The most cells a table may have, empty ones included. Rows without a common field would otherwise make a table far
/// larger than the payload, and larger than a worker's memory.
pub const MOST_CELLS: usize = 1_000_000;

impl Payload for CsvGeneration {
    const NAME: &'static str = "csv-generation";
    const SCHEMA: &'static str = r##"{
        "description": "A flat object, which becomes key,value rows in its own order; or an array of flat objects, which becomes a table; or either of them in `rows`, beside options.",
        "oneOf": [{ "$ref": "#/$defs/CsvFile" }, { "$ref": "#/$defs/CsvRows" }],
        "$defs": {
            "CsvCell": { "description": "A text, a number, true, false or null.", "if": {}, "then": { "type": ["string", "number", "boolean", "null"] } },
            "CsvObject": { "type": "object", "additionalProperties": { "$ref": "#/$defs/CsvCell" } },
            "CsvTable": { "type": "array", "minItems": 1, "contains": { "minProperties": 1 }, "items": { "$ref": "#/$defs/CsvObject" } },
            "CsvRows": { "description": "An object becomes a line for each of its fields, an array a line for each of its objects.",
                "anyOf": [{ "$ref": "#/$defs/CsvObject" }, { "$ref": "#/$defs/CsvTable" }] },
            "CsvFile": { "type": "object", "required": ["rows"], "additionalProperties": false, "properties": {
                "rows": { "$ref": "#/$defs/CsvRows" },
                "delimiter": { "description": "What stands between two cells: a comma, a semicolon or a tab; a comma unless given.",
                    "type": ["string", "null"], "minLength": 1, "maxLength": 1, "pattern": "^[,;\\t]$" },
                "bom": { "description": "Whether the file begins with a byte-order mark.", "type": ["boolean", "null"] },
                "guard": { "description": "Whether what a spreadsheet would run as a formula is disarmed; as the deployment says unless given.",
                    "type": ["boolean", "null"] } } }
        }
    }"##;
    const EXAMPLE: &'static str = r#"{"name":"Alice","score":95}"#;

    fn parse(json: &str) -> Result<Self, InvalidField> {
        let table_in_rows = json.trim_start().starts_with('{') && has_a_table_in_rows(json);
        if !table_in_rows {
            return Ok(Self { table: Table::parse(json)?, delimiter: Delimiter::Comma, bom: false, guard: None });
        }
        let WithOptions { rows, delimiter, bom, guard } = read_fields(json)?;
        let table = Table::parse(rows.get()).map_err(|invalid| invalid.within("rows"))?;
        Ok(Self { table, delimiter, bom, guard })
    }
}

/// The other form of the payload.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithOptions<'a> {
    #[serde(borrow)]
    rows: &'a RawValue,
    #[serde(default, deserialize_with = "null_is_absent")]
    delimiter: Delimiter,
    #[serde(default, deserialize_with = "null_is_absent")]
    bom: bool,
    guard: Option<bool>,
}

fn has_a_table_in_rows(json: &str) -> bool {
    #[derive(Deserialize)]
    struct Rows<'a> {
        #[serde(borrow)]
        rows: &'a RawValue,
    }
    serde_json::from_str(json).is_ok_and(|Rows { rows }| rows.get().starts_with(['{', '[']))
}

impl Table {
    fn parse(json: &str) -> Result<Self, InvalidField> {
        let starts_with = |bracket| json.trim_start().starts_with(bracket);
        if starts_with('{') {
            return read_fields(json).map(|fields: Fields| Self::Fields(fields.0));
        }
        if !starts_with('[') {
            return Err(InvalidField::new("", "must be an object, or an array of objects"));
        }
        let rows: Vec<Fields> = read_fields(json)?;
        if rows.is_empty() {
            return Err(InvalidField::new("", "must have at least one row"));
        }
        if rows.iter().all(|fields| fields.0.is_empty()) {
            return Err(InvalidField::new("", "must have at least one field in a row"));
        }
        let rows: Vec<Row> = rows.into_iter().map(|fields| fields.0).collect();
        let columns = rows.iter().flat_map(Row::keys).collect::<HashSet<_>>().len();
        if rows.len() * columns > MOST_CELLS {
            let size =
                format!("makes a table of {} rows and {columns} columns; {MOST_CELLS} cells is the most", rows.len());
            return Err(InvalidField::new("", size));
        }
        Ok(Self::Rows(rows))
    }
}

struct Fields(Row);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a flat object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut row = Row::new();
        while let Some(key) = map.next_key::<String>()? {
            let Cell(text) = map.next_value()?;
            if row.insert(key.clone(), text).is_some() {
                return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
            }
        }
        Ok(Fields(row))
    }
}

struct Cell(String);

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str(raw).map(Self).map_err(D::Error::custom),
            Some(b'{' | b'[') => Err(D::Error::custom("must be a text, a number, true, false or null")),
            Some(b'n') => Ok(Self(String::new())),
            _ => Ok(Self(raw.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(row: &Row) -> Vec<(&str, &str)> {
        row.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    #[test]
    fn a_flat_object_keeps_its_order_and_its_numbers() {
        let json = r#"{"z":1.10,"a":12345678901234567890123,"t":true,"n":null,"s":"x\ny"}"#;
        let Table::Fields(row) = CsvGeneration::parse(json).expect("fits").table else { panic!("not one object") };
        let expected = [("z", "1.10"), ("a", "12345678901234567890123"), ("t", "true"), ("n", ""), ("s", "x\ny")];
        assert_eq!(cells(&row), expected);
    }

    #[test]
    fn an_array_of_objects_is_a_table() {
        let json = r#"[{"a":1},{"b":2}]"#;
        let Table::Rows(rows) = CsvGeneration::parse(json).expect("fits").table else { panic!("not a table") };
        assert_eq!(rows.iter().map(cells).collect::<Vec<_>>(), [[("a", "1")], [("b", "2")]]);
    }

    #[test]
    fn a_table_may_stand_beside_options() {
        let csv = CsvGeneration::parse(r#"{"rows":[{"a":1}],"delimiter":";","bom":true,"guard":false}"#).expect("fits");
        assert_eq!((csv.delimiter, csv.bom, csv.guard), (Delimiter::Semicolon, true, Some(false)));
        assert!(matches!(csv.table, Table::Rows(rows) if rows.len() == 1));
        let csv = CsvGeneration::parse(r#"{"rows":{"a":1},"delimiter":null,"bom":null,"guard":null}"#).expect("fits");
        assert_eq!((csv.delimiter, csv.bom, csv.guard), (Delimiter::Comma, false, None));
        let csv = CsvGeneration::parse(r#"{"rows":5,"delimiter":"x"}"#).expect("a flat object with these fields");
        assert!(matches!(csv.table, Table::Fields(row) if row.len() == 2));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let of = |json: &str| CsvGeneration::parse(json).expect_err(json).within("payload").to_string();
        assert_eq!(of("3"), "`payload` must be an object, or an array of objects");
        assert_eq!(of("[]"), "`payload` must have at least one row");
        assert_eq!(of(r#"{"a":{"b":1}}"#), "`payload.a` must be a text, a number, true, false or null");
        assert_eq!(of(r#"[{"a":1},{"a":[]}]"#), "`payload[1].a` must be a text, a number, true, false or null");
        assert_eq!(of(r#"{"a":1,"a":2}"#), "`payload.a` is given twice");
        let diagonal: Vec<_> = (0..1001).map(|number| format!(r#"{{"{number}":1}}"#)).collect();
        assert_eq!(
            of(&format!("[{}]", diagonal.join(","))),
            "`payload` makes a table of 1001 rows and 1001 columns; 1000000 cells is the most"
        );
        assert_eq!(of("[{},{}]"), "`payload` must have at least one field in a row");
        let with = |options: &str| of(&format!(r#"{{"rows":[{{"a":1}}],{options}}}"#));
        assert_eq!(with(r#""delimiter":"x""#), "`payload.delimiter` must be a comma, a semicolon or a tab");
        assert_eq!(with(r#""bom":1"#), "`payload.bom` must be true or false, not the number 1");
        assert_eq!(with(r#""sep":";""#), "`payload.sep` is not a known field");
        assert_eq!(of(r#"{"rows":[]}"#), "`payload.rows` must have at least one row");
        assert_eq!(of(r#"{"rows":[{"a":{}}]}"#), "`payload.rows[0].a` must be a text, a number, true, false or null");
        assert_eq!(of("[1]"), "`payload[0]` must be a flat object, not the number 1");
    }

    #[test]
    fn a_table_may_have_a_million_cells() {
        let diagonal: Vec<_> = (0..1000).map(|number| format!(r#"{{"{number}":1}}"#)).collect();
        let parsed = CsvGeneration::parse(&format!("[{}]", diagonal.join(","))).expect("fits");
        assert!(matches!(parsed.table, Table::Rows(rows) if rows.len() == 1000));
    }
}
