//! `csv-generation`: JSON in, a CSV file out.

use indexmap::IndexSet;
use shared::payloads::csv_generation::{CsvGeneration, Row, Table};

use crate::job_types::Run;
use crate::spreadsheet::{disarmed_as_first, disarmed_row};
use crate::{Context, JobError};

impl Run for CsvGeneration {
    /// The file's address.
    type Output = String;

    async fn run(self, context: Context) -> Result<String, JobError> {
        let guard = self.guard.unwrap_or(context.tools.csv_formula_guard);
        let file = to_csv(&self, guard)
            .map_err(|error| JobError::give_up("the table could not be written as CSV").detail(error))?;
        context.outputs.create(&format!("{}.csv", context.job_id), file, "text/csv; charset=utf-8").await
    }
}

/// The table as CSV with a header: fields quoted as RFC 4180 says, lines ended by a line feed. With `guard`, no cell
/// is a formula to a spreadsheet.
fn to_csv(csv: &CsvGeneration, guard: bool) -> Result<Vec<u8>, csv::Error> {
    let start = if csv.bom { "\u{feff}".as_bytes().to_vec() } else { vec![] };
    let mut file = csv::WriterBuilder::new().delimiter(csv.delimiter.as_byte()).from_writer(start);
    let mut is_first = true;
    let mut write = |record: &[&str]| {
        if !guard {
            return file.write_record(record);
        }
        let mut cells: Vec<_> = disarmed_row(record).collect();
        if let (true, Some(first)) = (std::mem::take(&mut is_first), cells.first_mut()) {
            *first = disarmed_as_first(record[0]);
        }
        file.write_record(cells)
    };
    match &csv.table {
        Table::Fields(row) => {
            write(&["key", "value"])?;
            for (key, value) in row {
                write(&[key, value])?;
            }
        }
        Table::Rows(rows) => {
            let header: IndexSet<&str> = rows.iter().flat_map(Row::keys).map(String::as_str).collect();
            write(&header.iter().copied().collect::<Vec<_>>())?;
            for row in rows {
                write(&header.iter().map(|key| row.get(*key).map_or("", String::as_str)).collect::<Vec<_>>())?;
            }
        }
    }
    file.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shared::job_type::Payload;
    use shared::payloads::csv_generation::Delimiter;

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
        assert_eq!(csv(r#"[{},{"":1}]"#), "\"\"\n\"\"\n1\n", "a column without a name has an empty header");
    }

    #[test]
    fn what_needs_quotes_has_them() {
        assert_eq!(
            csv(r#"{"a,b":"say \"hi\"","c":"two\nlines"}"#),
            "key,value\n\"a,b\",\"say \"\"hi\"\"\"\nc,\"two\nlines\"\n"
        );
    }

    #[test]
    fn a_job_says_how_its_file_is_written() {
        let rows = r#""rows":[{"a":"x;y","b":-5}]"#;
        assert_eq!(csv(&format!(r#"{{{rows},"delimiter":";"}}"#)), "a;b\n\"x;y\";-5\n");
        assert_eq!(csv(&format!(r#"{{{rows},"delimiter":"\t","bom":true}}"#)), "\u{feff}a\tb\nx;y\t-5\n");
        assert_eq!(csv(r#"{"rows":{"a":1}}"#), "key,value\na,1\n");
        assert_eq!(csv(r#"{"=a":"=1+1","n":-5}"#), "key,value\n'=a,'=1+1\nn,-5\n");
        let table = CsvGeneration::parse(r#"{"a":"=1"}"#).expect("fits");
        assert_eq!(to_csv(&table, false).expect("writes"), b"key,value\na,=1\n");
    }

    /// The cells of the file to a reader that splits at `separator`.
    fn cells(file: &[u8], separator: u8) -> Vec<String> {
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(separator).from_reader(file);
        let records = reader.records().map(|record| record.expect("UTF-8"));
        records.flat_map(|record| record.iter().map(ToOwned::to_owned).collect::<Vec<_>>()).collect()
    }

    /// Whether a spreadsheet would try to run it: other words than the guard's, so that one is held against the other.
    fn would_run(cell: &str, delimiter: char) -> bool {
        let shown = cell.trim_matches(|c: char| c.is_whitespace() || c.is_control() || "\u{feff}\u{200b}".contains(c));
        let Some(rest) = shown.strip_prefix(['=', '+', '-', '@', '＝', '＋', '－', '＠']) else { return false };
        // With another separator a row is one cell: what follows a number is then no formula's.
        let number = rest.split(delimiter).next().unwrap_or_default();
        shown.starts_with(['=', '@', '＝', '＠', '＋', '－'])
            || number.is_empty()
            || !number.bytes().all(|byte| byte.is_ascii_digit() || b" .,".contains(&byte))
    }

    proptest! {
        #[test]
        fn no_reader_runs_a_cell_whatever_separator_it_is_told(
            rows in prop::collection::vec(prop::collection::vec("[=+\\-@＝,;\\t|\"\\n\\r x1 \u{feff}\u{200b}']{0,6}", 2), 1..4),
            delimiter in prop::sample::select(vec![Delimiter::Comma, Delimiter::Semicolon, Delimiter::Tab]),
        ) {
            let rows: Vec<Row> =
                rows.into_iter().map(|row| ["a", "b"].map(ToOwned::to_owned).into_iter().zip(row).collect()).collect();
            let csv = CsvGeneration { table: Table::Rows(rows), delimiter, bom: false, guard: None };
            let file = to_csv(&csv, true).expect("writes");
            for separator in [b',', b';', b'\t'] {
                for cell in cells(&file, separator) {
                    let shown = String::from_utf8_lossy(&file).into_owned();
                    prop_assert!(!would_run(&cell, delimiter.as_byte().into()), "{cell:?} of {shown:?} at {separator}");
                }
            }
        }

        #[test]
        fn a_reader_gets_back_what_was_written(
            cells in prop::collection::vec(("[a-z]{1,4}", "[^=+@\\-＝＋－＠﹢﹣﹦﹫−]{1,8}"), 1..6),
            delimiter in prop::sample::select(vec![Delimiter::Comma, Delimiter::Semicolon, Delimiter::Tab]),
        ) {
            let row: Row = cells.into_iter().collect();
            let csv = CsvGeneration { table: Table::Fields(row.clone()), delimiter, bom: false, guard: None };
            let file = to_csv(&csv, true).expect("writes");
            let mut reader = csv::ReaderBuilder::new().delimiter(delimiter.as_byte()).from_reader(&file[..]);
            let read: Row = reader.deserialize().map(|record| record.expect("reads")).collect::<Vec<(String, String)>>().into_iter().collect();
            prop_assert_eq!(read, row);
        }
    }
}
