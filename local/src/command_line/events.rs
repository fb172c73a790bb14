//! `dray events`: something has happened, and makes jobs.

use clap::Subcommand;
use client::{Client, NewEvent, Published};

use super::exit::{Failure, refusal};
use super::text::table;
use super::{Console, Exit, input};

/// What can be done with events
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Publishes an event, and prints its id and the jobs that it has made: exit code 1 if a subscription has none
    Publish {
        /// What kind of event it is
        #[arg(value_name = "TYPE")]
        event_type: String,
        /// What there is to know of it: JSON, or @FILE, or - for what comes on standard input
        data: String,
        /// Names it among the events of its type: the same type and id again make no second jobs
        #[arg(long)]
        id: Option<String>,
    },
}

/// Does what the command says.
pub async fn run(action: Action, client: &Client, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let Action::Publish { event_type, data, id } = action;
    let event = NewEvent::of_json(event_type, input::text(&data)?)?;
    let published = client.publish(&id.into_iter().fold(event, NewEvent::id)).await?;
    console.show(&published, text)?;
    for failed in &published.failed {
        console.note(&format!("{} has no job: {}", failed.subscription, refusal(&failed.problem)))?;
    }
    Ok(if published.failed.is_empty() { Exit::Done } else { Exit::Refused })
}

fn text(published: &Published) -> String {
    let rows = published.jobs.iter().map(|job| {
        let before = if job.replayed { "there before" } else { "" };
        [job.subscription.clone(), job.job_id.to_string(), before.to_owned()]
    });
    format!("event {}\n{}", published.event_id, table(["SUBSCRIPTION", "JOB", ""], rows, "no jobs"))
}

#[cfg(test)]
mod tests {
    use super::super::service::{ID, said};
    use super::*;

    #[tokio::test]
    async fn an_event_is_told_with_its_jobs_and_those_that_have_none() {
        let job = format!(r#"{{"subscription":"orders","job_id":"{ID}","replayed":true}}"#);
        let problem = r#"{"status":422,"code":"invalid_field","detail":"`data.to` is missing"}"#;
        let failed = format!(r#"{{"subscription":"mails","problem":{problem}}}"#);
        let answer = format!(r#"{{"event_id":"7","jobs":[{job}],"failed":[{failed}]}}"#);
        let words = ["events", "publish", "order.created", r#"{"b":1,"a":2}"#, "--id", "7"];
        let told = said(&words, &[(202, &answer)]).await;
        let lines = [
            "event 7".to_owned(),
            format!("{:<12}  {:<36}", "SUBSCRIPTION", "JOB").trim_end().to_owned(),
            format!("orders        {ID}  there before"),
        ];
        assert_eq!((told.exit, told.out), (Exit::Refused, lines.join("\n") + "\n"));
        assert_eq!(told.err, "dray: mails has no job: `data.to` is missing (invalid_field)\n");
        let body = r#"{"type":"order.created","data":{"b":1,"a":2},"id":"7"}"#;
        assert_eq!(told.asked, [format!("POST /events {body}")]);
        let nobody = r#"{"event_id":"8","jobs":[],"failed":[]}"#;
        let told = said(&words, &[(202, nobody)]).await;
        assert_eq!((told.exit, told.out.as_str()), (Exit::Done, "event 8\nno jobs\n"));
    }
}
