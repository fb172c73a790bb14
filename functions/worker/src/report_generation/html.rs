//! The report as a page: a chart over time and a table by type. One file that loads nothing and runs nothing, for a
//! screen, light or dark, for paper, and for whoever has it read aloud.

mod chart;

use std::fmt::{self, Write};
use std::iter;

use shared::values::id::Tenant;
use shared::values::time::Timestamp;

use super::statistics::{Counts, OfType, Outcome, Statistics};

/// The whole page.
pub fn page(statistics: &Statistics, tenant: &Tenant) -> String {
    let mut page = String::new();
    // A string takes everything that is written to it.
    let _ = write_page(&mut page, statistics, tenant);
    page
}

const STYLE: &str = include_str!("html/style.css");

fn write_page(page: &mut String, statistics: &Statistics, tenant: &Tenant) -> fmt::Result {
    let (from, to) = (minute(statistics.from()), minute(statistics.to()));
    write!(
        page,
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Jobs from {from} to {to}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
<h1>Jobs</h1>
<p>Accepted from <time>{from}</time> to <time>{to}</time> for {tenant}. All times are UTC.</p>
"#,
        tenant = Escaped(tenant.as_str()),
    )?;
    if statistics.jobs() == 0 {
        page.push_str("<p>No jobs were accepted in this time.</p>\n");
    } else {
        write_totals(page, &statistics.in_all())?;
        write_chart(page, statistics)?;
        write_types(page, statistics)?;
        write_steps(page, statistics)?;
    }
    page.push_str("</main>\n</body>\n</html>\n");
    Ok(())
}

fn write_totals(page: &mut String, all: &OfType) -> fmt::Result {
    page.push_str("<dl class=\"totals\">\n");
    writeln!(page, "<div><dt>accepted</dt><dd>{}</dd></div>", all.counts.all())?;
    for outcome in Outcome::ALL {
        let (name, count) = (outcome.as_str(), all.counts.of(outcome));
        writeln!(page, "<div class=\"{name}\"><dt>{name}</dt><dd>{count}</dd></div>")?;
    }
    page.push_str("</dl>\n");
    Ok(())
}

fn write_chart(page: &mut String, statistics: &Statistics) -> fmt::Result {
    let step = step(statistics);
    writeln!(page, "<figure>\n<figcaption>Jobs accepted in each {step}, by how they have gone so far</figcaption>")?;
    chart::write(page, statistics)?;
    page.push_str("<ul class=\"key\" aria-hidden=\"true\">");
    let counts = statistics.in_all().counts;
    for name in Outcome::ALL.into_iter().filter(|outcome| counts.of(*outcome) > 0).map(Outcome::as_str) {
        write!(page, "<li class=\"{name}\">{name}</li>")?;
    }
    page.push_str("</ul>\n</figure>\n");
    Ok(())
}

fn write_types(page: &mut String, statistics: &Statistics) -> fmt::Result {
    page.push_str("<h2 id=\"types\">By type</h2>\n");
    page.push_str("<div class=\"wide by-type\" role=\"region\" aria-labelledby=\"types\" tabindex=\"0\">\n");
    write_head(page, "type", type_heads())?;
    for (job_type, of_type) in statistics.by_type() {
        write_type(page, job_type, of_type)?;
    }
    page.push_str("</tbody>\n<tfoot>\n");
    write_type(page, "all types", &statistics.in_all())?;
    page.push_str("</tfoot>\n</table>\n</div>\n");
    page.push_str("<p class=\"note\">How long: the last attempt of each completed job, from its start to its end. ");
    page.push_str("“Within” is right to about 6&nbsp;%.</p>\n");
    Ok(())
}

fn write_type(page: &mut String, name: &str, of_type: &OfType) -> fmt::Result {
    let OfType { counts, attempts, durations } = of_type;
    let millis = [durations.mean_ms(), durations.quantile_ms(50), durations.quantile_ms(95)];
    let numbers = numbers(*counts).chain([attempts.to_string()]).chain(millis.map(|time| Lasting(time).to_string()));
    write!(page, "<tr><th scope=\"row\">{}</th>", Escaped(name))?;
    for (head, number) in type_heads().zip(numbers) {
        // On a narrow screen a type is no row but a block, and the style writes the head above the number.
        write!(page, "<td data-head=\"{head}\">{number}</td>")?;
    }
    page.push_str("</tr>\n");
    Ok(())
}

/// What the chart shows, in numbers.
fn write_steps(page: &mut String, statistics: &Statistics) -> fmt::Result {
    let step = step(statistics);
    writeln!(page, "<details>\n<summary id=\"steps\">By {step}, in numbers</summary>")?;
    page.push_str("<div class=\"wide by-time\" role=\"region\" aria-labelledby=\"steps\" tabindex=\"0\">\n");
    write_head(page, step, count_heads())?;
    for (begins, counts) in statistics.by_time() {
        write!(page, "<tr><th scope=\"row\">{}</th>", time(statistics, begins))?;
        numbers(counts).try_for_each(|number| write!(page, "<td>{number}</td>"))?;
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n</div>\n</details>\n");
    Ok(())
}

/// The beginning of a table, up to the first of its rows.
fn write_head(page: &mut String, first: &'static str, heads: impl Iterator<Item = &'static str>) -> fmt::Result {
    page.push_str("<table>\n<thead>\n<tr>");
    iter::once(first).chain(heads).try_for_each(|head| write!(page, "<th scope=\"col\">{head}</th>"))?;
    page.push_str("</tr>\n</thead>\n<tbody>\n");
    Ok(())
}

fn count_heads() -> impl Iterator<Item = &'static str> {
    iter::once("accepted").chain(Outcome::ALL.map(Outcome::as_str))
}

fn type_heads() -> impl Iterator<Item = &'static str> {
    count_heads().chain(["attempts", "mean", "half within", "95 % within"])
}

/// What stands below [`count_heads`].
fn numbers(counts: Counts) -> impl Iterator<Item = String> {
    iter::once(counts.all()).chain(Outcome::ALL.map(|outcome| counts.of(outcome))).map(|number| number.to_string())
}

fn step(statistics: &Statistics) -> &'static str {
    if statistics.is_by_the_hour() { "hour" } else { "day" }
}

/// When a step begins.
fn time(statistics: &Statistics, begins: Timestamp) -> String {
    if statistics.is_by_the_hour() { minute(begins) } else { day(begins) }
}

/// `2026-03-01 14:30`.
fn minute(time: Timestamp) -> String {
    time.to_string().chars().take(16).collect::<String>().replace('T', " ")
}

/// `2026-03-01`.
fn day(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}

/// A text as HTML and SVG take it, between tags and in attributes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                plain => f.write_char(plain)?,
            }
        }
        Ok(())
    }
}

/// How long something takes, in milliseconds, if that is known.
struct Lasting(Option<u64>);

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("–"),
            Some(millis @ 0..1000) => write!(f, "{millis} ms"),
            Some(millis) => write!(f, "{}.{} s", millis / 1000, millis % 1000 / 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report_generation::statistics::Seen;

    /// A day with some jobs of two types.
    fn statistics(types: [&str; 2]) -> Statistics {
        let from = Timestamp::parse_rfc3339("2026-03-01T00:00:00Z").expect("a time");
        let mut statistics = Statistics::of(from, from + Duration::from_hours(24));
        for number in 0..100_u32 {
            let accepted_at = from + Duration::from_secs(u64::from(number % 24) * 60 * 60);
            let outcome = if number % 7 == 0 { Outcome::Failed } else { Outcome::Completed };
            let job_type = types[usize::from(number % 3 == 0)];
            let took = Some(Duration::from_millis(u64::from(number) * 20));
            statistics.add(&Seen { job_type, accepted_at, outcome, attempts: 1, took });
        }
        statistics
    }

    fn tenant() -> Tenant {
        Tenant::only()
    }

    #[test]
    fn the_page_says_what_was_counted() {
        let page = page(&statistics(["csv-generation", "email-send"]), &tenant());
        for text in [
            "<title>Jobs from 2026-03-01 00:00 to 2026-03-02 00:00</title>",
            "<dt>accepted</dt><dd>100</dd>",
            "<dt>failed</dt><dd>15</dd>",
            r#"<th scope="row">csv-generation</th><td data-head="accepted">66</td><td data-head="completed">56</td>"#,
            r#"<th scope="row">email-send</th><td data-head="accepted">34</td><td data-head="completed">29</td>"#,
            r#"<td data-head="failed">15</td><td data-head="cancelled">0</td><td data-head="unfinished">0</td>"#,
            r#"<li class="completed">completed</li><li class="failed">failed</li></ul>"#,
            r#"<summary id="steps">By hour, in numbers</summary>"#,
            "<tr><th scope=\"row\">2026-03-01 23:00</th><td>4</td>",
        ] {
            assert!(page.contains(text), "{text} in {page}");
        }
    }

    #[test]
    fn nothing_is_loaded_and_no_text_becomes_markup() {
        let page = page(&statistics(["<script>alert('1')</script>", "\" onload=\"x & y"]), &tenant());
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;"));
        assert!(page.contains("&quot; onload=&quot;x &amp; y"));
        for outside in ["<script", "onload=\"", "http:", "https:", "url(", "@import", "src=\"", "<link", "<img"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn every_tag_that_is_opened_is_closed() {
        let page = page(&statistics(["csv-generation", "email-send"]), &tenant());
        let mut open = vec![];
        for tag in page.split('<').skip(1) {
            let tag = tag.split('>').next().expect("a tag");
            let name = tag.split_whitespace().next().expect("a name");
            if let Some(closed) = name.strip_prefix('/') {
                assert_eq!(open.pop(), Some(closed), "in {page}");
            } else if !tag.ends_with('/') && !matches!(name, "!DOCTYPE" | "meta") {
                open.push(name);
            }
        }
        assert_eq!(open, [""; 0]);
    }

    #[test]
    fn whatever_scrolls_can_be_reached_by_the_keyboard_and_has_a_name() {
        let page = page(&statistics(["csv-generation", "email-send"]), &tenant());
        let regions: Vec<_> =
            page.split("<div class=\"wide ").skip(1).filter_map(|rest| rest.split('>').next()).collect();
        assert_eq!(regions.len(), 2);
        for region in regions {
            let name =
                region.split("aria-labelledby=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a name");
            assert!(region.contains("role=\"region\"") && region.contains("tabindex=\"0\""), "{region}");
            assert!(page.contains(&format!("id=\"{name}\">By ")), "{region}");
        }
    }

    #[test]
    fn durations_are_written_for_people() {
        for (millis, text) in [(0, "0 ms"), (999, "999 ms"), (1000, "1.0 s"), (12_345, "12.3 s")] {
            assert_eq!(Lasting(Some(millis)).to_string(), text);
        }
        assert_eq!(Lasting(None).to_string(), "–");
    }
}
