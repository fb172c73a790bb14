//! `dray queue`: whether jobs are started.

use clap::Subcommand;
use client::{Client, Queue};

use super::exit::Failure;
use super::{Console, Exit};

/// What can be done with the queue
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Action {
    /// Says whether jobs are started, and how many messages wait
    Show,
    /// Stops the starting of jobs, for all tenants. Those that run go on
    Pause,
    /// Lets jobs be started again
    Resume,
}

/// Does what the command says.
pub async fn run(action: Action, client: &Client, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let queue = match action {
        Action::Show => client.queue().await?,
        Action::Pause => client.pause_queue().await?,
        Action::Resume => client.resume_queue().await?,
    };
    console.show(&queue, text)?;
    Ok(Exit::Done)
}

fn text(queue: &Queue) -> String {
    let state = if queue.paused { "paused: no job is started" } else { "jobs are started" };
    let waiting =
        queue.waiting_messages.map_or_else(String::new, |messages| format!("; about {messages} messages wait"));
    format!("{state}{waiting}")
}

#[cfg(test)]
mod tests {
    use super::super::service::said;
    use super::*;

    #[tokio::test]
    async fn the_queue_is_shown_paused_and_resumed() {
        let (paused, runs) = (r#"{"paused":true,"waiting_messages":3}"#, r#"{"paused":false}"#);
        let cases = [
            ("show", runs, "GET /queue", "jobs are started\n"),
            ("pause", paused, "POST /queue/pause", "paused: no job is started; about 3 messages wait\n"),
            ("resume", runs, "POST /queue/resume", "jobs are started\n"),
        ];
        for (verb, reply, asked, out) in cases {
            let told = said(&["queue", verb], &[(200, reply)]).await;
            assert_eq!((told.exit, told.out.as_str(), told.asked[0].as_str()), (Exit::Done, out, asked));
            let told = said(&["--json", "queue", verb], &[(200, reply)]).await;
            assert_eq!(told.out, format!("{reply}\n"));
        }
    }
}
