//! A chart of columns, one for each step of the time, in layers by outcome.

use std::fmt::{self, Write};

use super::{day, minute};
use crate::report_generation::statistics::{Counts, Outcome, Statistics};

/// How wide a time below the columns is, at most.
const TIME_TAKES: u64 = 80;

// Where things are, in units of the picture: the columns stand in a box, with numbers to its left and times below it.
const WIDTH: u64 = 960;
const HEIGHT: u64 = 300;
const LEFT: u64 = 56;
const RIGHT: u64 = WIDTH - 8;
const TOP: u64 = 12;
const BOTTOM: u64 = HEIGHT - 28;

/// Tenths of a unit: what the columns are laid out in, so that many narrow ones still stand evenly.
const TENTHS: u64 = 10;

/// The most times that are written below the columns.
const MOST_TIMES: usize = 8;

/// Writes the chart as an SVG element.
pub fn write(page: &mut String, statistics: &Statistics) -> fmt::Result {
    let highest = statistics.by_time().map(|(_, counts)| counts.all()).max().unwrap_or(0);
    let top = round_top(highest);
    write!(
        page,
        r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="chart-title chart-text">
<title id="chart-title">Jobs over time</title>
<desc id="chart-text">Columns from {from} to {to}; the highest has {highest} jobs. A table below has the numbers.</desc>
"#,
        from = minute(statistics.from()),
        to = minute(statistics.to()),
    )?;
    for number in [0, top / 2, top] {
        let y = height_of(number, top);
        writeln!(page, r#"<line class="grid" x1="{LEFT}" y1="{y}" x2="{RIGHT}" y2="{y}"/>"#)?;
        writeln!(page, r#"<text x="{}" y="{y}" dy="4" text-anchor="end">{number}</text>"#, LEFT - 8)?;
    }
    let steps = statistics.by_time();
    let many = steps.len().max(1);
    let between_times = many.div_ceil(MOST_TIMES);
    for (index, (begins, counts)) in steps.enumerate() {
        let column = Column::of(index as u64, many as u64);
        let time = if statistics.is_by_the_hour() { minute(begins) } else { day(begins) };
        column.write(page, &time, counts, top)?;
        if index % between_times == 0 {
            let below = time.get(5..).unwrap_or(&time); // without the year
            // The last one would lead out of the picture.
            let is_near_the_edge = column.left > (WIDTH - TIME_TAKES) * 10;
            let (left, anchor) =
                if is_near_the_edge { (WIDTH * 10, r#" text-anchor="end""#) } else { (column.left, "") };
            writeln!(page, r#"<text x="{}" y="{}"{anchor}>{below}</text>"#, Tenths(left), BOTTOM + 20)?;
        }
    }
    page.push_str("</svg>\n");
    Ok(())
}

/// Where a column stands, in tenths of a unit.
struct Column {
    left: u64,
    width: u64,
}

impl Column {
    fn of(index: u64, many: u64) -> Self {
        let whole = (RIGHT - LEFT) * TENTHS;
        let edge = |index: u64| LEFT * TENTHS + whole * index / many;
        let (left, right) = (edge(index), edge(index + 1));
        // A sixth of the room is left between two columns.
        Self { left, width: (right - left) - (right - left) / 6 }
    }

    fn write(&self, page: &mut String, time: &str, counts: Counts, top: u64) -> fmt::Result {
        if counts.all() == 0 {
            return Ok(());
        }
        write!(page, "<g><title>{time}:")?;
        for outcome in Outcome::ALL.into_iter().filter(|outcome| counts.of(*outcome) > 0) {
            write!(page, " {} {}", counts.of(outcome), outcome.as_str())?;
        }
        page.push_str("</title>");
        let mut below = 0;
        for outcome in Outcome::ALL.into_iter().filter(|outcome| counts.of(*outcome) > 0) {
            let upper = height_of(below + counts.of(outcome), top);
            let height = height_of(below, top) - upper;
            below += counts.of(outcome);
            let (name, left, width) = (outcome.as_str(), Tenths(self.left), Tenths(self.width));
            write!(page, r#"<rect class="{name}" x="{left}" y="{upper}" width="{width}" height="{height}"/>"#)?;
        }
        page.push_str("</g>\n");
        Ok(())
    }
}

/// How high above the ground `number` is, as the distance from the picture's top.
fn height_of(number: u64, top: u64) -> Tenths {
    let whole = (BOTTOM - TOP) * TENTHS;
    Tenths(BOTTOM * TENTHS - u64::try_from(u128::from(whole) * u128::from(number) / u128::from(top)).unwrap_or(whole))
}

/// The smallest number of 2, 4, 10, 20, 40, 100 … that is not below `highest`: its half is a plain number too.
fn round_top(highest: u64) -> u64 {
    let mut ten = 1_u64;
    loop {
        for top in [2 * ten, 4 * ten, 10 * ten] {
            if top >= highest {
                return top;
            }
        }
        ten *= 10;
    }
}

/// A length in tenths of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tenths(u64);

impl std::ops::Sub for Tenths {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % TENTHS {
            0 => write!(f, "{}", self.0 / TENTHS),
            tenths => write!(f, "{}.{tenths}", self.0 / TENTHS),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::time::Timestamp;

    use super::*;
    use crate::report_generation::statistics::Seen;

    fn chart(jobs: &[(u64, Outcome)], hours: u64) -> String {
        let from = Timestamp::parse_rfc3339("2026-03-01T00:00:00Z").expect("a time");
        let mut statistics = Statistics::of(from, from + Duration::from_secs(hours * 3600));
        for (hour, outcome) in jobs {
            let accepted_at = from + Duration::from_secs(hour * 3600);
            statistics.add(&Seen { job_type: "a", accepted_at, outcome: *outcome, attempts: 1, took: None });
        }
        let mut page = String::new();
        write(&mut page, &statistics).expect("written");
        page
    }

    #[test]
    fn layers_stand_on_each_other_and_add_up() {
        let jobs = [(0, Outcome::Completed), (0, Outcome::Completed), (0, Outcome::Failed), (1, Outcome::Unfinished)];
        let chart = chart(&jobs, 2);
        // Two columns of 448 units, a sixth of each left free; 260 units are 4 jobs.
        for part in [
            "the highest has 3 jobs",
            "<title>2026-03-01 00:00: 2 completed 1 failed</title>",
            r#"<rect class="completed" x="56" y="142" width="373.4" height="130"/>"#,
            r#"<rect class="failed" x="56" y="77" width="373.4" height="65"/>"#,
            r#"<rect class="unfinished" x="504" y="207" width="373.4" height="65"/>"#,
            r#"<text x="56" y="292">03-01 00:00</text>"#,
            r#"<text x="48" y="12" dy="4" text-anchor="end">4</text>"#,
        ] {
            assert!(chart.contains(part), "{part} in {chart}");
        }
        assert_eq!(chart.matches("<rect").count(), 3, "nothing is drawn for nothing");
    }

    #[test]
    fn a_long_time_is_drawn_by_the_day_with_few_times_below() {
        let chart = chart(&[(0, Outcome::Completed), (91 * 24, Outcome::Cancelled)], 92 * 24);
        assert!(chart.contains("<title>2026-05-31: 1 cancelled</title>"), "{chart}");
        assert!((4..=MOST_TIMES).contains(&chart.matches(r#"y="292""#).count()), "{chart}");
    }

    #[test]
    fn the_scale_ends_in_a_plain_number() {
        for (highest, top) in [(0, 2), (1, 2), (3, 4), (5, 10), (10, 10), (11, 20), (399, 400), (401, 1000)] {
            assert_eq!(round_top(highest), top, "{highest}");
        }
        assert!(round_top(4 * u64::from(u32::MAX)) >= 4 * u64::from(u32::MAX));
    }
}
