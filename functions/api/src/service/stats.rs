//! What the caller's jobs did in the last hours, step by step: figures for charts.
//!
//! They are what was counted of each minute, added up. Percentiles cannot be added up, but what they come from can.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::{Extension, Json};
use serde::Serialize;
use shared::counters::{Counts, Histogram, Minute, Tally};
use shared::job::receipt::{Sum, sum_of_minutes};
use shared::quota::MINUTE;
use shared::values::invalid::InvalidField;
use shared::values::time::Timestamp;
use utoipa::ToSchema;

use crate::Api;
use crate::http::body::parameters;
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::jobs::view::{ReceiptView, rfc3339};
use crate::service::health::at_least_none;

/// What the caller's jobs did, in steps
///
/// Of the caller's tenant alone. A second or two behind; the last step is not over yet. What was counted of the minutes
/// is kept for 48 hours.
#[utoipa::path(get, path = "/stats", tag = "jobs", operation_id = "getStats",
    params(("window" = Option<StatsWindow>, Query, description = "how far back, and in which steps; 1h unless given")),
    responses((status = 200, description = "The figures", body = Stats)))]
pub async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    query: RawQuery,
) -> Result<Json<Stats>, Problem> {
    let [window] = parameters(&query, ["window"])?;
    let window = window.as_deref().map_or(Ok(StatsWindow::Hour), StatsWindow::named)?;
    let (from, to) = window.around(api.clock.now());
    let tenant = Some(&caller.tenant);
    let (minutes, totals) = tokio::join!(api.counters.minutes(tenant, from, to), api.counters.totals(tenant));
    let (minutes, now_there) = (minutes?, totals?.all());
    Ok(Json(Stats::of(window, (from, to), &minutes, &now_there, api.clock.now())))
}

/// How far back to look, and in which steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub enum StatsWindow {
    /// An hour, minute by minute.
    #[serde(rename = "1h")]
    Hour,
    /// A day, in steps of five minutes.
    #[serde(rename = "24h")]
    Day,
    /// Two days, hour by hour.
    #[serde(rename = "48h")]
    TwoDays,
}

impl StatsWindow {
    fn named(name: &str) -> Result<Self, InvalidField> {
        match name {
            "1h" => Ok(Self::Hour),
            "24h" => Ok(Self::Day),
            "48h" => Ok(Self::TwoDays),
            _ => Err(InvalidField::new("window", "must be 1h, 24h or 48h")),
        }
    }

    fn length(self) -> Duration {
        match self {
            Self::Hour => MINUTE * 60,
            Self::Day => MINUTE * 60 * 24,
            Self::TwoDays => MINUTE * 60 * 48, // as long as minutes are kept
        }
    }

    fn step(self) -> Duration {
        match self {
            Self::Hour => MINUTE,
            Self::Day => MINUTE * 5,
            Self::TwoDays => MINUTE * 60,
        }
    }

    /// When it begins and ends: whole steps, of which `now` is in the last.
    fn around(self, now: Timestamp) -> (Timestamp, Timestamp) {
        let to = step_of(now, self.step()) + self.step();
        (to - self.length(), to)
    }
}

/// When the step began that `time` is in. Steps are counted from the epoch on, so that those of two answers are the same.
fn step_of(time: Timestamp, step: Duration) -> Timestamp {
    let into_the_step = time.since(Timestamp::from_millis(0)).as_millis() % step.as_millis();
    time - Duration::from_millis(u64::try_from(into_the_step).unwrap_or(0))
}

/// What the caller's jobs did. Times are RFC 3339 in UTC.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stats {
    /// How far back.
    window: StatsWindow,
    /// When the first step begins.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// When the last step ends.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// How long a step is.
    step_seconds: u64,
    /// Jobs that wait now, those among them that are to start later.
    waiting: u64,
    /// Jobs that run now.
    running: u64,
    /// Of all types together, in the whole window.
    all: StatsFigures,
    /// Of each type, in the whole window. Types of which nothing happened are not there.
    by_type: BTreeMap<String, StatsFigures>,
    /// Every step, the earliest first.
    steps: Vec<StatsStep>,
    /// What the jobs have cost, by the day in UTC on which it was spent (`2026-11-25`), and by type: an estimate, see
    /// docs/receipts.md. The first and the last day go only as far as the window does.
    cost_by_day: BTreeMap<String, BTreeMap<String, CostOfType>>,
    /// When this was read.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    read_at: Timestamp,
}

/// One step.
#[derive(Debug, Serialize, ToSchema)]
struct StatsStep {
    /// When it begins.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    begins_at: Timestamp,
    /// Of all types together.
    all: StatsFigures,
    /// Of each type of which something happened.
    by_type: BTreeMap<String, StatsFigures>,
}

/// What jobs did in a time, and how long it took. An event counts in the minute in which it happened.
#[derive(Debug, Serialize, ToSchema)]
struct StatsFigures {
    /// Jobs accepted.
    accepted: u64,
    /// Attempts begun.
    started: u64,
    /// Attempts that failed with another to follow.
    retried: u64,
    /// Jobs completed.
    completed: u64,
    /// Jobs that failed for good.
    failed: u64,
    /// Jobs cancelled, those that expired among them.
    cancelled: u64,
    /// Jobs that were given another try after they had ended.
    redriven: u64,
    /// How long the attempts ran that ended; null if none did.
    duration_ms: Option<Percentiles>,
    /// How long the jobs could have been started before they were; null if none was.
    wait_ms: Option<Percentiles>,
}

/// So many percent are not longer than this, give or take 6.25 % of it.
#[derive(Debug, Serialize, ToSchema)]
struct Percentiles {
    /// Half of them.
    p50: u64,
    /// 95 of 100.
    p95: u64,
    /// 99 of 100.
    p99: u64,
}

/// What jobs of one type have cost on one day.
#[derive(Debug, Serialize, ToSchema)]
struct CostOfType {
    /// Jobs accepted on that day.
    jobs: u64,
    /// What was spent on it, for these jobs and for older ones.
    cost: ReceiptView,
}

impl Stats {
    fn of(
        window: StatsWindow,
        (from, to): (Timestamp, Timestamp),
        minutes: &[Minute],
        now_there: &Counts,
        read_at: Timestamp,
    ) -> Self {
        let begins = std::iter::successors(Some(from), |begins_at| Some(*begins_at + window.step()));
        let begins = begins.take_while(|begins_at| *begins_at < to);
        let mut steps: BTreeMap<_, Tallies> = begins.map(|begins_at| (begins_at, Tallies::default())).collect();
        let mut whole = Tallies::default();
        for minute in minutes {
            whole.add(minute);
            if let Some(step) = steps.get_mut(&step_of(minute.begins_at, window.step())) {
                step.add(minute);
            }
        }
        let cost_of = |(job_type, sum): (&String, &Sum)| (job_type.clone(), CostOfType::of(sum));
        let days = sum_of_minutes(minutes);
        let cost_by_day = days.iter().map(|(day, types)| (day.clone(), types.iter().map(cost_of).collect())).collect();
        Self {
            window,
            from,
            to,
            step_seconds: window.step().as_secs(),
            waiting: at_least_none(now_there.waiting),
            running: at_least_none(now_there.running),
            all: StatsFigures::of(&whole.all),
            by_type: whole.figures(),
            steps: steps.iter().map(|(begins_at, tallies)| StatsStep::of(*begins_at, tallies)).collect(),
            cost_by_day,
            read_at,
        }
    }
}

/// What was counted in some minutes.
#[derive(Default)]
struct Tallies {
    all: Tally,
    by_type: BTreeMap<String, Tally>,
}

impl Tallies {
    fn add(&mut self, minute: &Minute) {
        for (job_type, tally) in &minute.by_type {
            self.all.merge(tally);
            self.by_type.entry(job_type.clone()).or_default().merge(tally);
        }
    }

    fn figures(&self) -> BTreeMap<String, StatsFigures> {
        self.by_type.iter().map(|(job_type, tally)| (job_type.clone(), StatsFigures::of(tally))).collect()
    }
}

impl StatsStep {
    fn of(begins_at: Timestamp, tallies: &Tallies) -> Self {
        Self { begins_at, all: StatsFigures::of(&tallies.all), by_type: tallies.figures() }
    }
}

impl StatsFigures {
    fn of(tally: &Tally) -> Self {
        // How many wait and run is only known of now.
        let Counts { accepted, started, retried, completed, failed, cancelled, redriven, waiting: _, running: _ } =
            tally.counts;
        let (duration_ms, wait_ms) = (Percentiles::of(&tally.ran), Percentiles::of(&tally.waited));
        Self { accepted, started, retried, completed, failed, cancelled, redriven, duration_ms, wait_ms }
    }
}

impl Percentiles {
    fn of(durations: &Histogram) -> Option<Self> {
        let of = |percent| durations.percentile(percent).map(millis);
        Some(Self { p50: of(50)?, p95: of(95)?, p99: of(99)? })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl CostOfType {
    fn of(sum: &Sum) -> Self {
        Self { jobs: sum.jobs, cost: ReceiptView::of(&sum.receipt) }
    }
}

#[cfg(test)]
mod tests {
    use shared::counters::KEPT;

    use super::*;

    #[test]
    fn a_window_is_made_of_whole_steps_and_now_is_in_the_last() {
        let now = Timestamp::parse_rfc3339("2027-01-15T08:37:12.345Z").expect("a time");
        let shown = |window: StatsWindow| {
            let (from, to) = window.around(now);
            assert!(from <= now && now < to && to.since(now) <= window.step());
            (from.to_string(), to.to_string(), to.since(from).as_secs() / window.step().as_secs())
        };
        let of = |from: &str, to: &str, steps| (from.to_owned(), to.to_owned(), steps);
        assert_eq!(shown(StatsWindow::Hour), of("2027-01-15T07:38:00.000Z", "2027-01-15T08:38:00.000Z", 60));
        assert_eq!(shown(StatsWindow::Day), of("2027-01-14T08:40:00.000Z", "2027-01-15T08:40:00.000Z", 288));
        assert_eq!(shown(StatsWindow::TwoDays), of("2027-01-13T09:00:00.000Z", "2027-01-15T09:00:00.000Z", 48));
    }

    #[test]
    fn no_window_reaches_further_back_than_minutes_are_kept() {
        for name in ["1h", "24h", "48h"] {
            let window = StatsWindow::named(name).expect("a window");
            assert!(window.length() <= KEPT);
            assert_eq!(serde_json::to_value(window).expect("serialises"), name);
        }
        assert!(StatsWindow::named("72h").is_err());
    }
}
