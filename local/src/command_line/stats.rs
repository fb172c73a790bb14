//! `dray stats`: what jobs did in the last hours.

use clap::Args;
use client::{Client, CostOfJobs, Figures, Percentiles, Stats};

use super::exit::Failure;
use super::text::{date, table};
use super::{Console, Exit};

/// How far back to look
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// How far back
    #[arg(long, default_value = "1h", value_parser = ["1h", "24h", "48h"])]
    window: String,
}

/// Tells what the caller's jobs did.
pub async fn run(options: Options, client: &Client, console: &mut Console<'_>) -> Result<Exit, Failure> {
    console.show(&client.stats(&options.window).await?, text)?;
    Ok(Exit::Done)
}

/// What the window is, what jobs of each type did in it, and what they have cost.
fn text(stats: &Stats) -> String {
    let mut figures: Vec<_> = stats.by_type.iter().map(|(job_type, figures)| row(job_type, figures)).collect();
    figures.push(row("all", &stats.all));
    let headings =
        ["TYPE", "ACCEPTED", "STARTED", "RETRIED", "COMPLETED", "FAILED", "CANCELLED", "RAN p50/p95", "WAITED p50/p95"];
    let costs = stats.cost_by_day.iter().flat_map(|(day, by_type)| {
        let cost_of = |(job_type, cost): (&String, &CostOfJobs)| {
            [day.clone(), job_type.clone(), cost.jobs.to_string(), format!("{:.6}", cost.cost.dollars)]
        };
        by_type.iter().map(cost_of).collect::<Vec<_>>()
    });
    let costs = table(["DAY", "TYPE", "JOBS", "DOLLARS"], costs, "");
    let (from, to) = (date(stats.from), date(stats.to));
    let now = format!("{} wait and {} run now", stats.waiting, stats.running);
    let text = format!("{from} to {to} UTC; {now}\n\n{}\n\n{costs}", table(headings, figures, ""));
    text.trim_end().to_owned()
}

fn row(job_type: &str, figures: &Figures) -> [String; 9] {
    [
        job_type.to_owned(),
        figures.accepted.to_string(),
        figures.started.to_string(),
        figures.retried.to_string(),
        figures.completed.to_string(),
        figures.failed.to_string(),
        figures.cancelled.to_string(),
        half_and_most(figures.duration_ms),
        half_and_most(figures.wait_ms),
    ]
}

fn half_and_most(times: Option<Percentiles>) -> String {
    times.map_or_else(String::new, |times| format!("{}/{} ms", times.p50, times.p95))
}

#[cfg(test)]
mod tests {
    use super::super::service::said;
    use super::*;

    #[tokio::test]
    async fn statistics_are_a_table_of_types_and_one_of_costs() {
        let figures = r#"{"accepted":2,"started":3,"retried":1,"completed":2,"failed":0,"cancelled":0,"redriven":0,
            "duration_ms":{"p50":5,"p95":60,"p99":70},"wait_ms":null}"#;
        let stats = |costs: &str| {
            format!(
                r#"{{"window":"24h","from":"2026-11-22T02:05:00.000Z","to":"2026-11-23T02:05:00.000Z","waiting":1,
                "running":0,"all":{figures},"by_type":{{"csv-generation":{figures}}},"steps":[],"cost_by_day":{costs}}}"#
            )
        };
        let costs = r#"{"2026-11-22":{"csv-generation":{"jobs":2,"cost":{"dollars":0.0000128}}}}"#;
        let told = said(&["stats", "--window", "24h"], &[(200, &stats(costs))]).await;
        let lines = [
            "2026-11-22 02:05:00 to 2026-11-23 02:05:00 UTC; 1 wait and 0 run now",
            "",
            "TYPE            ACCEPTED  STARTED  RETRIED  COMPLETED  FAILED  CANCELLED  RAN p50/p95  WAITED p50/p95",
            "csv-generation  2         3        1        2          0       0          5/60 ms",
            "all             2         3        1        2          0       0          5/60 ms",
            "",
            "DAY         TYPE            JOBS  DOLLARS",
            "2026-11-22  csv-generation  2     0.000013",
        ];
        assert_eq!((told.exit, told.out), (Exit::Done, lines.join("\n") + "\n"));
        assert_eq!(told.asked, ["GET /stats?window=24h"]);
        let told = said(&["stats"], &[(200, &stats("{}"))]).await;
        assert_eq!((told.out.lines().count(), told.asked[0].as_str()), (5, "GET /stats?window=1h"));
        assert_eq!(said(&["stats", "--window", "72h"], &[]).await.exit, Exit::Usage);
    }
}
