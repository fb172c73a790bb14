//! Text that no spreadsheet runs as a formula.
//!
//! A cell that begins with `=`, `+`, `-` or `@` is one to Excel, `LibreOffice` and Google Sheets
//! (<https://owasp.org/www-community/attacks/CSV_Injection>), and what begins a cell depends on the separator that the
//! reader is told to use: to one that splits at `;`, a cell with `x;=1+1` in it is two, whatever the quotes around it,
//! for quotes count only at the start of a cell. An apostrophe in front of the sign makes text of it.

/// What may separate cells and rows, to a reader that was told another separator than the file has.
const SEPARATORS: [char; 6] = [',', ';', '\t', '|', '\n', '\r'];

/// What begins a formula; East Asian forms too, which Excel takes for the plain ones.
const SIGNS: [char; 13] = ['=', '+', '-', '@', '＝', '＋', '－', '＠', '﹢', '﹣', '﹦', '﹫', '−'];

/// The cell, with an apostrophe before each sign that could begin a formula.
///
/// What is a number or a telephone number as a whole stays as it is: a sign and groups of digits, with one blank, point
/// or comma between them (`-12.50`, `+49 30 123`). A spreadsheet may show such a number without its `+`.
pub fn disarmed(cell: &str) -> String {
    if is_plain_number(cell) {
        return cell.to_owned();
    }
    let mut disarmed = String::with_capacity(cell.len() + 1);
    let mut may_begin = true;
    for character in cell.chars() {
        if may_begin && SIGNS.contains(&character) {
            disarmed.push('\'');
        }
        may_begin = SEPARATORS.contains(&character) || (may_begin && is_passed_over(character));
        disarmed.push(character);
    }
    disarmed
}

/// The cells of a row. Where one of them could be a call or a link, no number keeps its sign at the beginning: to a reader
/// that was told another separator the row is one cell, and `-5,3*cmd|'/C calc'!A0` may be a formula where `,` is the
/// decimal point.
pub fn disarmed_row<'a>(cells: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    let may_call = cells.iter().any(|cell| cell.contains(['(', '|', '!']));
    cells.iter().map(move |cell| if may_call && is_plain_number(cell) { format!("'{cell}") } else { disarmed(cell) })
}

/// The first cell of a file, which to Excel may say what separates the others: `sep=;`.
pub fn disarmed_as_first(cell: &str) -> String {
    let start = cell.trim_start_matches(is_passed_over).get(..4);
    let apostrophe = if start.is_some_and(|start| start.eq_ignore_ascii_case("sep=")) { "'" } else { "" };
    format!("{apostrophe}{}", disarmed(cell))
}

/// Whether a reader may pass it over in front of a formula: blanks, what is not seen, and the quotes around a cell.
fn is_passed_over(character: char) -> bool {
    // Default_Ignorable_Code_Point of Unicode, as far as it is likely in a text.
    let is_unseen = matches!(character, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    character.is_whitespace() || character.is_control() || is_unseen || character == '"'
}

/// A sign, groups of digits with one blank, point or comma between them, and perhaps an exponent.
fn is_plain_number(text: &str) -> bool {
    let Some(unsigned) = text.strip_prefix(['+', '-']) else { return false };
    let (digits, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let is_digits = |group: &str| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
    let digits = digits.strip_prefix('.').unwrap_or(digits);
    digits.split([' ', '.', ',']).all(is_digits) && is_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_disarmed() {
        for (cell, expected) in [
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-1+1", "'-1+1"),
            ("+1-1", "'+1-1"),
            ("-cmd", "'-cmd"),
            ("-", "'-"),
            ("--1", "'--1"),
            ("-inf", "'-inf"),
            ("+49/30", "'+49/30"),
            ("+49  30", "'+49  30"),
            ("\n=1+1", "\n'=1+1"),
            ("\t=1", "\t'=1"),
            (" \r =1", " \r '=1"),
            ("\u{feff}=1+1", "\u{feff}'=1+1"),
            ("\u{200b}\u{3000}\u{a0}=1", "\u{200b}\u{3000}\u{a0}'=1"),
            ("\u{3164}\u{fe0f}\u{e0020}=1", "\u{3164}\u{fe0f}\u{e0020}'=1"),
            ("＝1+1", "'＝1+1"),
            ("＠SUM", "'＠SUM"),
            ("x;=1+1", "x;'=1+1"),
            ("x;-5", "x;'-5"),
            ("x\t+49", "x\t'+49"),
            ("x, @a", "x, '@a"),
            ("x\n=1", "x\n'=1"),
            ("\"=1\"", "\"'=1\""),
            ("x;\"=1\"", "x;\"'=1\""),
        ] {
            assert_eq!(disarmed(cell), expected, "{cell:?}");
        }
    }

    #[test]
    fn what_it_would_show_stays_as_it_is() {
        for cell in [
            "",
            "1",
            "-1",
            "+1",
            "-12.50",
            "-1,5",
            "-1.234,56",
            "-.5",
            "-1e5",
            "-1E+5",
            "+49 30 123",
            "a=1",
            " x",
            "a-b",
            "e@example.com",
            "x; y",
            "10:30",
            "1 + 1 = 2",
            "2026-11-27",
            "https://example.com/?a=b",
            "a\nb",
        ] {
            assert_eq!(disarmed(cell), cell);
        }
    }

    #[test]
    fn a_number_beside_what_could_be_a_call_is_a_text() {
        assert_eq!(disarmed_row(&["-5", "3*cmd|'/C calc'!A0"]).collect::<Vec<_>>(), ["'-5", "3*cmd|'/C calc'!A0"]);
        assert_eq!(disarmed_row(&["-5", "Lunch"]).collect::<Vec<_>>(), ["-5", "Lunch"]);
    }

    #[test]
    fn the_first_cell_says_nothing_of_separators() {
        for cell in ["sep=;", "SEP=,", "\u{feff}sep=;", "sep=", "\"sep=;"] {
            assert!(disarmed_as_first(cell).starts_with('\''), "{cell:?}");
        }
        assert_eq!(disarmed_as_first("separator"), "separator");
        assert_eq!(disarmed_as_first("=1"), "'=1");
    }
}
