//! The report as a table: a line for each job type, and one for all together.

use crate::spreadsheet::disarmed;

use super::statistics::{OfType, Outcome, Statistics};

/// The table with a header: fields quoted as RFC 4180 says, lines ended by a line feed. What is not known is empty.
pub fn table(statistics: &Statistics) -> Result<Vec<u8>, ::csv::Error> {
    let mut file = ::csv::Writer::from_writer(vec![]);
    let outcomes = Outcome::ALL.map(Outcome::as_str);
    file.write_record(
        ["type", "accepted"].iter().chain(&outcomes).chain(&["attempts", "mean_ms", "p50_ms", "p95_ms"]),
    )?;
    for (job_type, of_type) in statistics.by_type() {
        file.write_record(line(job_type, of_type))?;
    }
    file.write_record(line("all types", &statistics.in_all()))?;
    file.into_inner().map_err(|error| ::csv::Error::from(error.into_error()))
}

fn line(name: &str, of_type: &OfType) -> Vec<String> {
    let OfType { counts, attempts, durations } = of_type;
    let mut line = vec![disarmed(name), counts.all().to_string()];
    line.extend(Outcome::ALL.map(|outcome| counts.of(outcome).to_string()));
    line.push(attempts.to_string());
    let millis = [durations.mean_ms(), durations.quantile_ms(50), durations.quantile_ms(95)];
    line.extend(millis.map(|millis| millis.map_or_else(String::new, |millis| millis.to_string())));
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::values::time::Timestamp;

    use super::*;
    use crate::report_generation::statistics::Seen;

    #[test]
    fn each_type_has_a_line_and_all_have_one_together() {
        let from = Timestamp::from_millis(1_800_000_000_000);
        let mut statistics = Statistics::of(from, from + Duration::from_secs(60));
        for (job_type, outcome, took) in [
            ("csv-generation", Outcome::Completed, Some(Duration::from_millis(12))),
            ("csv-generation", Outcome::Unfinished, None),
            ("one, \"two\"", Outcome::Failed, Some(Duration::from_secs(1))),
        ] {
            statistics.add(&Seen { job_type, accepted_at: from, outcome, attempts: 2, took });
        }
        let table = String::from_utf8(table(&statistics).expect("writes")).expect("UTF-8");
        let expected = "type,accepted,completed,failed,cancelled,unfinished,attempts,mean_ms,p50_ms,p95_ms\n\
            csv-generation,2,1,0,0,1,4,12,12,12\n\
            \"one, \"\"two\"\"\",1,0,1,0,0,2,,,\n\
            all types,3,1,1,0,1,6,12,12,12\n";
        assert_eq!(table, expected);
    }
}
