//! Answers, as people read them: tables, names with values, times. Times are UTC.

use std::time::Duration;

use jiff::Timestamp;

/// One line for each row, under headings; `nothing` if there are no rows.
pub fn table<const N: usize>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    nothing: &str,
) -> String {
    let mut all = vec![headings.map(str::to_owned)];
    all.extend(rows.into_iter().map(|row| row.map(|cell| plain(&cell))));
    if all.len() == 1 {
        return nothing.to_owned();
    }
    let mut widths = [0; N];
    for row in &all {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A name and its value on each line. What has no value is left out.
pub fn fields<const N: usize>(fields: [(&str, Option<String>); N]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default() + 2;
    let given = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let lines = given.map(|(name, value)| format!("{name:<width$}{}", plain(&value)).trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// The text on one line, without what a terminal would obey.
pub fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// A time, and how far it is from `now`.
pub fn moment(time: Timestamp, now: Timestamp) -> String {
    format!("{}, {}", date(time), distance(time, now))
}

/// A time.
pub fn date(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// How far a time is from `now`.
pub fn distance(time: Timestamp, now: Timestamp) -> String {
    if time > now { format!("in {}", age(now, time)) } else { format!("{} ago", age(time, now)) }
}

/// How long it is from one time to another.
pub fn age(earlier: Timestamp, later: Timestamp) -> String {
    short(Duration::try_from(later.duration_since(earlier)).unwrap_or_default())
}

/// Whole seconds, minutes, hours or days, the longest that fits.
pub fn short(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => format!("{}m", seconds / 60),
        seconds @ 3_600..86_400 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_obeys_nobody() {
        let rows = [["a", "long"], ["longer", "\u{1b}[31mred\n"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(["X", "YZ"], rows, "none"), "X       YZ\na       long\nlonger   [31mred");
        assert_eq!(table(["X", "YZ"], [], "none"), "none");
    }

    #[test]
    fn fields_without_a_value_are_left_out() {
        let given = [("name", Some("a\nb".to_owned())), ("nothing", None), ("empty", Some(String::new()))];
        assert_eq!(fields(given), "name     a b\nempty");
    }

    #[test]
    fn a_time_is_told_with_its_distance() {
        let time = |text: &str| text.parse().expect("a time");
        let now = time("2030-01-31T09:00:00Z");
        assert_eq!(moment(time("2030-01-31T08:57:00.5Z"), now), "2030-01-31 08:57:00, 2m ago");
        assert_eq!(moment(time("2030-02-02T10:00:00Z"), now), "2030-02-02 10:00:00, in 2d");
        let short = |seconds| short(Duration::from_secs(seconds));
        assert_eq!([59, 60, 3_600, 86_399, 86_400].map(short), ["59s", "1m", "1h", "23h", "1d"]);
    }
}
