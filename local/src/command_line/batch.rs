//! `dray jobs batch`: many jobs from one file.

use clap::Args;
use client::{BatchItem, BatchOutcome, Client};
use serde_json::value::RawValue;

use super::console::bar;
use super::exit::{Failure, refusal};
use super::{Console, Exit, input};

/// Jobs to be submitted
#[derive(Clone, Debug, Args)]
pub struct Batch {
    /// Jobs as `POST /jobs` takes them, each with an `idempotency_key` if it shall have one: one after the other, on a
    /// line each perhaps, or in an array; - for what comes on standard input
    file: String,
    /// An idempotency key: the same key and file again make no second jobs
    #[arg(long)]
    key: Option<String>,
}

/// The most jobs of one call.
const MOST_JOBS: usize = 100;

/// The longest body of one call, in bytes: 4 MiB, and room for what is around the jobs.
const LONGEST_BODY: usize = 4 * 1024 * 1024 - 64;

/// Submits all jobs of the file. The id of each that was accepted is on a line of its own; what is said of the others
/// counts them from 1.
pub async fn run(batch: Batch, client: &Client, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let Batch { file, key } = batch;
    let jobs = input::jobs(&input::file(&file)?)?;
    let (mut sent, mut rejected) = (0, 0);
    for (number, jobs_of_call) in calls(&jobs).into_iter().enumerate() {
        // The same file makes the same calls, so that each job has the same key.
        let key = key.as_ref().map(|key| format!("{key}/{number}"));
        let outcome = match client.submit_batch_json(jobs_of_call, key.as_deref()).await {
            Ok(outcome) => outcome,
            Err(error) => {
                console.note(&format!("{sent} of {} jobs were sent before this:", jobs.len()))?;
                return Err(error.into());
            }
        };
        if console.tells_json() {
            console.show_line(&outcome, |_| String::new())?;
        } else {
            tell(&outcome, sent, console)?;
        }
        sent += jobs_of_call.len();
        rejected += outcome.rejected;
        let percent = u64::try_from(sent * 100 / jobs.len()).unwrap_or(100);
        console.bar(&bar(percent, &format!("{sent} of {} jobs", jobs.len())))?;
    }
    if rejected == 0 {
        return Ok(Exit::Done);
    }
    console.note(&format!("{rejected} of {} jobs were refused", jobs.len()))?;
    Ok(Exit::Refused)
}

/// The jobs of each call: as many as fit, in their order. One that fits no call has one for itself, to be refused.
fn calls(jobs: &[Box<RawValue>]) -> Vec<&[Box<RawValue>]> {
    let (mut calls, mut start, mut length) = (vec![], 0, 0);
    for (index, job) in jobs.iter().enumerate() {
        let longer = length + job.get().len() + 1;
        if index > start && (index - start == MOST_JOBS || longer > LONGEST_BODY) {
            calls.push(&jobs[start..index]);
            (start, length) = (index, 0);
        }
        length += job.get().len() + 1;
    }
    calls.push(&jobs[start..]);
    calls
}

fn tell(outcome: &BatchOutcome, sent_before: usize, console: &mut Console<'_>) -> std::io::Result<()> {
    for (number, item) in (sent_before + 1..).zip(&outcome.jobs) {
        match item {
            BatchItem::Accepted { job_id, .. } => console.say(&job_id.to_string())?,
            BatchItem::Rejected(problem) => console.note(&format!("job {number}: {}", refusal(problem)))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::service::{ID, said};
    use super::*;

    fn jobs(lengths: impl IntoIterator<Item = usize>) -> Vec<Box<RawValue>> {
        let job = |length| format!("\"{}\"", "x".repeat(length));
        lengths.into_iter().map(|length| RawValue::from_string(job(length)).expect("JSON")).collect()
    }

    #[test]
    fn each_call_is_as_long_as_it_may_be() {
        const MIB: usize = 1024 * 1024;
        let cases: [(Vec<usize>, &[usize]); 7] = [
            (vec![1], &[1]),
            (vec![1; 100], &[100]),
            (vec![1; 101], &[100, 1]),
            (vec![1; 250], &[100, 100, 50]),
            (vec![MIB; 4], &[3, 1]),
            (vec![5 * MIB, 1], &[1, 1]),
            (vec![1, 5 * MIB, 1], &[1, 1, 1]),
        ];
        for (lengths, expected) in cases {
            let jobs = jobs(lengths);
            let calls = calls(&jobs);
            assert_eq!(calls.iter().map(|jobs| jobs.len()).collect::<Vec<_>>(), expected);
            assert_eq!(calls.concat().len(), jobs.len());
        }
    }

    #[tokio::test]
    async fn ids_are_printed_and_refusals_noted() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("jobs.ndjson");
        let lines: Vec<_> = (0..102).map(|number| format!(r#"{{"type":"t","payload":{number}.0}}"#)).collect();
        std::fs::write(&file, lines.join("\n")).expect("written");
        let file = file.display().to_string();
        let item = format!(r#"{{"status":202,"job_id":"{ID}","replayed":false}}"#);
        let first = format!(r#"{{"accepted":100,"rejected":0,"jobs":[{}]}}"#, vec![item.clone(); 100].join(","));
        let problem = r#"{"status":422,"problem":{"status":422,"code":"invalid_field","detail":"no"}}"#;
        let second = format!(r#"{{"accepted":1,"rejected":1,"jobs":[{problem},{item}]}}"#);
        let replies = [(200, first.as_str()), (200, second.as_str())];
        let told = said(&["jobs", "batch", &file, "--key", "k"], &replies).await;
        assert_eq!((told.exit, told.out), (Exit::Refused, format!("{ID}\n").repeat(101)));
        assert_eq!(told.err, "dray: job 101: no (invalid_field)\ndray: 1 of 102 jobs were refused\n");
        let body = |lines: &[String]| format!(r#"POST /jobs/batch {{"jobs":[{}]}}"#, lines.join(","));
        assert_eq!(told.asked, [body(&lines[..100]), body(&lines[100..])]);

        let told = said(&["jobs", "batch", &file, "--json"], &replies).await;
        assert_eq!((told.exit, told.out), (Exit::Refused, format!("{first}\n{second}\n")));

        let told = said(&["jobs", "batch", &file], &[replies[0], (422, r#"{"status":422,"detail":"no"}"#)]).await;
        let notes = "dray: 100 of 102 jobs were sent before this:\ndray: no (HTTP status 422, request r-1)\n";
        assert_eq!((told.exit, told.err.as_str()), (Exit::Refused, notes));
    }

    #[tokio::test]
    async fn a_file_without_jobs_is_not_sent() {
        let told = said(&["jobs", "batch", "/nowhere/jobs.json"], &[]).await;
        assert_eq!((told.exit, told.asked.len()), (Exit::Usage, 0));
        assert!(told.err.starts_with("dray: failed to read /nowhere/jobs.json: "), "{}", told.err);
    }
}
