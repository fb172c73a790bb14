//! A chart of columns, one for each step of the time, in layers by outcome.
//!
//! The columns are a picture that is stretched to what room there is. The numbers and times around it are no part of it,
//! so that they keep their size on a narrow screen.

use std::fmt::{self, Write};

use super::{minute, time};
use crate::report_generation::statistics::{Counts, Outcome, Statistics};

/// How wide a step is, in units of the picture, and its column in the middle of it. In height, a unit is a job.
const STEP: usize = 12;
const COLUMN: usize = 10;

/// The most times that are written below the columns. On a narrow screen it is one in three of them.
const MOST_TIMES: usize = 8;

/// Writes the chart as an SVG element, with a scale beside it and times below it.
pub fn write(page: &mut String, statistics: &Statistics) -> fmt::Result {
    let highest = statistics.by_time().map(|(_, counts)| counts.all()).max().unwrap_or(0);
    let top = round_top(highest);
    let many = statistics.by_time().len();
    write!(
        page,
        r#"<div class="chart">
<div class="scale" aria-hidden="true"><span>{top}</span><span>{half}</span><span>0</span></div>
<svg viewBox="0 0 {width} {top}" preserveAspectRatio="none" role="img" aria-labelledby="chart-title chart-text">
<title id="chart-title">Jobs over time</title>
<desc id="chart-text">Columns from {from} to {to}; the highest has {highest} jobs. A table below has the numbers.</desc>
<path d="M0 0H{width}M0 {half}H{width}M0 {top}H{width}"/>
"#,
        half = top / 2,
        width = many * STEP,
        from = minute(statistics.from()),
        to = minute(statistics.to()),
    )?;
    for (index, (begins, counts)) in statistics.by_time().enumerate() {
        if counts.all() > 0 {
            write_column(page, index, &time(statistics, begins), counts, top)?;
        }
    }
    page.push_str("</svg>\n<div class=\"times\" aria-hidden=\"true\">");
    let between_times = many.div_ceil(MOST_TIMES).max(1);
    for (number, (index, (begins, _))) in statistics.by_time().enumerate().step_by(between_times).enumerate() {
        let time = time(statistics, begins);
        let below = time.get(5..).unwrap_or(&time); // without the year
        let class = if number % 3 == 0 { "" } else { r#" class="more""# };
        // Where the middle of the column is, in tenths of a percent.
        let at = (2 * index + 1) * 500 / many;
        write!(page, r#"<span{class} style="--at:{}.{}%">{below}</span>"#, at / 10, at % 10)?;
    }
    page.push_str("</div>\n</div>\n");
    Ok(())
}

fn write_column(page: &mut String, index: usize, time: &str, counts: Counts, top: u64) -> fmt::Result {
    let layers = || {
        Outcome::ALL
            .into_iter()
            .map(move |outcome| (outcome.as_str(), counts.of(outcome)))
            .filter(|(_, jobs)| *jobs > 0)
    };
    write!(page, "<g><title>{time}:")?;
    layers().try_for_each(|(name, jobs)| write!(page, " {jobs} {name}"))?;
    page.push_str("</title>");
    let left = index * STEP + (STEP - COLUMN) / 2;
    let mut upper = top;
    for (name, jobs) in layers() {
        upper -= jobs;
        write!(page, r#"<rect class="{name}" x="{left}" y="{upper}" width="{COLUMN}" height="{jobs}"/>"#)?;
    }
    page.push_str("</g>\n");
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::values::time::Timestamp;

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
        for part in [
            "the highest has 3 jobs",
            "<span>4</span><span>2</span><span>0</span>",
            r#"<svg viewBox="0 0 24 4" preserveAspectRatio="none""#,
            "<title>2026-03-01 00:00: 2 completed 1 failed</title>",
            r#"<rect class="completed" x="1" y="2" width="10" height="2"/>"#,
            r#"<rect class="failed" x="1" y="1" width="10" height="1"/>"#,
            r#"<rect class="unfinished" x="13" y="3" width="10" height="1"/>"#,
            r#"<span style="--at:25.0%">03-01 00:00</span>"#,
            r#"<span class="more" style="--at:75.0%">03-01 01:00</span>"#,
        ] {
            assert!(chart.contains(part), "{part} in {chart}");
        }
        assert_eq!(chart.matches("<rect").count(), 3, "nothing is drawn for nothing");
    }

    #[test]
    fn a_long_time_is_drawn_by_the_day_with_few_times_below() {
        let chart = chart(&[(0, Outcome::Completed), (91 * 24, Outcome::Cancelled)], 92 * 24);
        assert!(chart.contains("<title>2026-05-31: 1 cancelled</title>"), "{chart}");
        assert!((4..=MOST_TIMES).contains(&chart.matches("--at:").count()), "{chart}");
    }

    #[test]
    fn the_scale_ends_in_a_plain_number() {
        for (highest, top) in [(0, 2), (1, 2), (3, 4), (5, 10), (10, 10), (11, 20), (399, 400), (401, 1000)] {
            assert_eq!(round_top(highest), top, "{highest}");
        }
        assert!(round_top(4 * u64::from(u32::MAX)) >= 4 * u64::from(u32::MAX));
    }
}
