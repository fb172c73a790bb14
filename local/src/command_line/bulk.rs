//! `dray jobs cancel-all` and `retry-all`: page by page, until there are no other jobs.

use std::time::Duration;

use clap::Args;
use client::{Bulk, BulkOutcome, Client, JobFilter, Status};

use super::exit::Failure;
use super::filter::Filter;
use super::{Console, Exit};

/// Which jobs to act on
#[derive(Clone, Debug, Args)]
pub struct Meant {
    #[command(flatten)]
    filter: Filter,
    /// Only counts them: nothing is changed
    #[arg(long)]
    dry_run: bool,
    /// At most so many
    #[arg(long, value_name = "JOBS", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

/// What to do with them.
#[derive(Clone, Copy, Debug)]
pub enum Verb {
    /// Cancel them.
    Cancel,
    /// Let them be tried again.
    Retry {
        /// No more than so many start in a second.
        per_second: Option<u32>,
    },
}

/// The most jobs of one call.
const LONGEST_PAGE: u32 = 100;

/// What all calls did.
#[derive(Default)]
struct Sum {
    matched: u64,
    changed: u64,
    skipped: u64,
}

impl Sum {
    fn add(&mut self, outcome: &BulkOutcome) {
        self.matched += outcome.matched;
        self.changed += outcome.changed;
        self.skipped += outcome.skipped;
    }

    fn text(&self, dry_run: bool) -> String {
        let Self { matched, changed, skipped } = self;
        if dry_run {
            format!("{matched} matched, and nothing was changed")
        } else {
            format!("{matched} matched, {changed} changed, {skipped} skipped")
        }
    }
}

/// Does it to all of them, and says to how many.
pub async fn run(meant: Meant, verb: Verb, client: &Client, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let Meant { filter, dry_run, limit } = meant;
    let statuses = filter.statuses.clone();
    let filter = filter.of_any_status()?;
    // One call takes one status.
    let filters: Vec<JobFilter> = match statuses.as_slice() {
        [] => vec![filter],
        some => some.iter().map(|name| filter.clone().status(Status::from(name.clone()))).collect(),
    };
    let mut sum = Sum::default();
    let done = each_page(&filters, dry_run, limit, verb, client, console, &mut sum).await;
    if !console.tells_json() {
        match &done {
            Ok(()) => console.say(&sum.text(dry_run))?,
            Err(_) if sum.matched > 0 => console.note(&format!("{} before this:", sum.text(dry_run)))?,
            Err(_) => {}
        }
    }
    done.map(|()| Exit::Done)
}

async fn each_page(
    filters: &[JobFilter],
    dry_run: bool,
    limit: Option<u32>,
    verb: Verb,
    client: &Client,
    console: &mut Console<'_>,
    sum: &mut Sum,
) -> Result<(), Failure> {
    let limit = limit.map_or(u64::MAX, u64::from);
    let mut pause = Duration::ZERO;
    for filter in filters {
        let mut cursor: Option<String> = None;
        loop {
            let left = u32::try_from(limit - sum.matched.min(limit)).unwrap_or(u32::MAX);
            if left == 0 {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            let mut bulk = Bulk::on(filter.clone()).limit(left.min(LONGEST_PAGE));
            bulk = cursor.into_iter().fold(bulk, Bulk::cursor);
            bulk = if dry_run { bulk.dry_run() } else { bulk };
            let outcome = match verb {
                Verb::Cancel => client.cancel_all(&bulk).await?,
                Verb::Retry { per_second } => {
                    client.retry_all(&per_second.into_iter().fold(bulk, Bulk::per_second)).await?
                }
            };
            sum.add(&outcome);
            if console.tells_json() {
                console.show_line(&outcome, |_| String::new())?;
            }
            console.bar(&sum.text(dry_run))?;
            pause = pause_after(&outcome, verb);
            cursor = outcome.into_value().next_cursor;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// The service counts anew for each page, so the next one waits until all jobs of this one may have started.
fn pause_after(outcome: &BulkOutcome, verb: Verb) -> Duration {
    match verb {
        Verb::Retry { per_second: Some(rate) } if !outcome.dry_run => {
            let jobs = u32::try_from(outcome.matched).unwrap_or(u32::MAX);
            Duration::from_secs(1).saturating_mul(jobs) / rate.max(1)
        }
        Verb::Retry { .. } | Verb::Cancel => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::service::said;
    use super::*;

    fn outcome(matched: u32, changed: u32, next: &str) -> String {
        let skipped = matched - changed;
        format!(
            r#"{{"dry_run":false,"matched":{matched},"changed":{changed},"skipped":{skipped},"next_cursor":{next}}}"#
        )
    }

    #[tokio::test]
    async fn all_pages_of_all_statuses_are_gone_through() {
        let pages = [outcome(100, 99, r#""c""#), outcome(3, 3, "null"), outcome(2, 2, "null")];
        let replies = [0, 1, 2].map(|page: usize| (200, pages[page].as_str()));
        let words = ["jobs", "retry-all", "--status", "failed", "--status", "cancelled", "--tag", "a"];
        let told = said(&words, &replies).await;
        assert_eq!((told.exit, told.out.as_str()), (Exit::Done, "105 matched, 104 changed, 1 skipped\n"));
        let asked = |status: &str, rest: &str| {
            format!(r#"POST /jobs/retry {{"filter":{{"status":"{status}","tag":"a"}},"limit":100{rest}}}"#)
        };
        let expected = [asked("failed", ""), asked("failed", r#","cursor":"c""#), asked("cancelled", "")];
        assert_eq!(told.asked, expected);
        let told = said(&[&words[..], &["--json"][..]].concat(), &replies).await;
        assert_eq!(told.out, format!("{}\n", pages.join("\n")));
    }

    #[tokio::test]
    async fn a_limit_is_kept_over_all_pages_and_a_dry_run_changes_nothing() {
        let first = outcome(100, 0, r#""c""#).replace("false", "true");
        let second = outcome(20, 0, r#""d""#).replace("false", "true");
        let words = ["jobs", "cancel-all", "--type", "t", "--limit", "120", "--dry-run"];
        let told = said(&words, &[(200, &first), (200, &second)]).await;
        assert_eq!((told.exit, told.out.as_str()), (Exit::Done, "120 matched, and nothing was changed\n"));
        let start = r#"POST /jobs/cancel {"filter":{"type":"t"},"dry_run":true,"limit":"#;
        assert_eq!(told.asked, [format!("{start}100}}"), format!("{start}20,\"cursor\":\"c\"}}")]);
    }

    #[tokio::test]
    async fn the_next_page_waits_until_the_jobs_of_this_one_may_have_started() {
        let replies = [outcome(2, 1, r#""c""#), outcome(1, 1, "null")];
        let words = ["jobs", "retry-all", "--type", "t", "--per-second", "5"];
        let began = Instant::now();
        let told = said(&words, &[(200, &replies[0]), (200, &replies[1])]).await;
        assert_eq!(told.exit, Exit::Done);
        assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
        assert!(told.asked[1].ends_with(r#","cursor":"c","per_second":5}"#), "{:?}", told.asked);
    }

    #[tokio::test]
    async fn what_was_done_before_a_refusal_is_told() {
        let first = outcome(100, 100, r#""c""#);
        let problem = r#"{"status":422,"code":"invalid_field","detail":"no"}"#;
        let told = said(&["jobs", "cancel-all", "--type", "t"], &[(200, &first), (422, problem)]).await;
        let notes = "dray: 100 matched, 100 changed, 0 skipped before this:\ndray: no (invalid_field, request r-1)\n";
        assert_eq!((told.exit, told.out.as_str(), told.err.as_str()), (Exit::Refused, "", notes));
    }
}
