//! `csv-generation`: JSON in, a CSV file out.

use indexmap::IndexSet;
use shared::payloads::csv_generation::{CsvGeneration, Row};

use crate::job_types::Run;
use crate::{Context, JobError};

impl Run for CsvGeneration {
    /// The file's address.
    type Output = String;

    async fn run(self, context: Context) -> Result<String, JobError> {
        let file = to_csv(&self, context.tools.csv_formula_guard)
            .map_err(|error| JobError::give_up("the table could not be written as CSV").detail(error))?;
        context.outputs.create(&format!("{}.csv", context.job_id), file, "text/csv; charset=utf-8").await
    }
}

/// The table as CSV with a header: fields quoted as RFC 4180 says, lines ended by a line feed. With `guard`, no cell
/// is a formula to a spreadsheet.
fn to_csv(table: &CsvGeneration, guard: bool) -> Result<Vec<u8>, csv::Error> {
    let disarm = |cell: &str| if guard && is_formula(cell) { format!("'{cell}") } else { cell.to_owned() };
    let mut file = csv::Writer::from_writer(vec![]);
    match table {
        CsvGeneration::Fields(row) => {
            file.write_record(["key", "value"])?;
            for (key, value) in row {
                file.write_record([disarm(key), disarm(value)])?;
            }
        }
        CsvGeneration::Table(rows) => {
            let header: IndexSet<&String> = rows.iter().flat_map(Row::keys).collect();
            file.write_record(header.iter().map(|key| disarm(key)))?;
            for row in rows {
                file.write_record(
                    header.iter().map(|key| row.get(*key).map_or_else(String::new, |cell| disarm(cell))),
                )?;
            }
        }
    }
    file.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

/// Whether a spreadsheet would run this cell instead of showing it.
/// <https://owasp.org/www-community/attacks/CSV_Injection>
fn is_formula(cell: &str) -> bool {
    match cell.chars().next() {
        Some('-') => !is_plain_number(&cell[1..]),
        Some(first) => matches!(first, '=' | '+' | '@' | '\t' | '\r'),
        None => false,
    }
}

/// Digits, with at most one point among them and perhaps an exponent.
fn is_plain_number(text: &str) -> bool {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    digits && text.starts_with(|first: char| first.is_ascii_digit()) && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shared::job_type::Payload;

    fn csv(json: &str) -> String {
        let table = CsvGeneration::parse(json).expect("fits");
        String::from_utf8(to_csv(&table, true).expect("writes")).expect("UTF-8")
    }

    #[test]
    fn a_flat_object_becomes_a_row_per_field() {
        assert_eq!(csv(r#"{"name":"Alice","score":95}"#), "key,value\nname,Alice\nscore,95\n");
        assert_eq!(csv("{}"), "key,value\n");
    }

    #[test]
    fn an_array_of_objects_becomes_a_table_with_all_their_fields() {
        assert_eq!(csv(r#"[{"a":1,"b":null},{"c":true,"a":"x"}]"#), "a,b,c\n1,,\nx,,true\n");
    }

    #[test]
    fn what_needs_quotes_has_them() {
        assert_eq!(
            csv(r#"{"a,b":"say \"hi\"","c":"two\nlines"}"#),
            "key,value\n\"a,b\",\"say \"\"hi\"\"\"\nc,\"two\nlines\"\n"
        );
    }

    #[test]
    fn formulas_are_disarmed_and_numbers_are_not() {
        for formula in
            ["=1+1", "+1", "-1+1", "-", "-cmd", "@SUM(A1)", "\t=1", "\r=1", "-1e", "-.5", "--1", "-1.2.3", "-inf"]
        {
            assert!(is_formula(formula), "{formula:?}");
        }
        for harmless in ["", "1", "-1", "-12.50", "-1e5", "-1E+5", "a=1", " x"] {
            assert!(!is_formula(harmless), "{harmless:?}");
        }
        assert_eq!(csv(r#"{"=a":"=1+1","n":-5}"#), "key,value\n'=a,'=1+1\nn,-5\n");
        let table = CsvGeneration::parse(r#"{"a":"=1"}"#).expect("fits");
        assert_eq!(to_csv(&table, false).expect("writes"), b"key,value\na,=1\n");
    }

    proptest! {
        #[test]
        fn a_reader_gets_back_what_was_written(cells in prop::collection::vec(("[a-z]{1,4}", "[^=+@\\-\\t\\r]{1,8}"), 1..6)) {
            let row: Row = cells.into_iter().collect();
            let file = to_csv(&CsvGeneration::Fields(row.clone()), true).expect("writes");
            let mut reader = csv::Reader::from_reader(&file[..]);
            let read: Row = reader.deserialize().map(|record| record.expect("reads")).collect::<Vec<(String, String)>>().into_iter().collect();
            prop_assert_eq!(read, row);
        }
    }
}
