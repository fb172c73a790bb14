//! `dray subscriptions`: which jobs an event makes.

use clap::{Args, Subcommand};
use client::{Client, NewJob, NewSubscription, Subscription, SubscriptionSummary, Verbatim};
use jiff::Timestamp;

use super::exit::Failure;
use super::text::{age, fields, moment, table};
use super::{Console, Exit, JobOptions, input};

/// What can be done with subscriptions
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Lists all subscriptions, by the type of event and then by name
    List,
    /// Shows a subscription
    Show {
        /// What it is called
        name: String,
    },
    /// Makes a subscription, or makes it anew
    Put(Box<Put>),
    /// Deletes a subscription. The jobs that it has made stay
    Delete {
        /// What it is called
        name: String,
    },
}

/// What a subscription shall be
#[derive(Clone, Debug, Args)]
pub struct Put {
    /// What it is called
    name: String,
    /// All the rest, from a file with what `PUT /subscriptions/{name}` takes; - for what comes on standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "event_type", "job_type", "payload", "max_attempts", "timeout", "tags", "callback_url"])]
    from: Option<String>,
    /// What kind of event makes the job
    #[arg(long, value_name = "TYPE", required_unless_present = "from")]
    event_type: Option<String>,
    /// What kind of work the job is
    #[arg(long = "type", value_name = "TYPE", required_unless_present = "from")]
    job_type: Option<String>,
    /// What the job needs to know, with placeholders such as {{data.order}}: JSON, or @FILE, or - for what comes on
    /// standard input
    #[arg(long, required_unless_present = "from")]
    payload: Option<String>,
    #[command(flatten)]
    options: JobOptions,
}

/// Does what the command says.
pub async fn run(action: Action, client: &Client, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let whole = |subscription: &Subscription| details(subscription, Timestamp::now());
    match action {
        Action::List => {
            console.show_all(&client.subscriptions().await?, |all| list(all, Timestamp::now()))?;
        }
        Action::Show { name } => console.show(&client.subscription(&name).await?, whole)?,
        Action::Put(subscription) => console.show(&put(*subscription, client).await?, whole)?,
        Action::Delete { name } => {
            client.delete_subscription(&name).await?;
            if !console.tells_json() {
                console.say(&format!("{name} is deleted"))?;
            }
        }
    }
    Ok(Exit::Done)
}

async fn put(subscription: Put, client: &Client) -> Result<Verbatim<Subscription>, Failure> {
    let Put { name, from, event_type, job_type, payload, options } = subscription;
    let (event_type, job_type, payload) = match (from, event_type, job_type, payload) {
        (Some(file), ..) => return Ok(client.put_subscription_json(&name, &input::json_file(&file)?).await?),
        (None, Some(event_type), Some(job_type), Some(payload)) => (event_type, job_type, payload),
        _ => return Err(anyhow::anyhow!("say --event-type, --type and --payload, or --from").into()),
    };
    let job = options.tell(NewJob::of_json(job_type, input::text(&payload)?)?);
    Ok(client.put_subscription(&name, &NewSubscription::of(event_type, job)).await?)
}

fn list(subscriptions: &[Verbatim<SubscriptionSummary>], now: Timestamp) -> String {
    let rows = subscriptions.iter().map(|subscription| {
        [
            subscription.event_type.clone(),
            subscription.name.clone(),
            subscription.job_type.clone(),
            age(subscription.created_at, now),
        ]
    });
    table(["EVENT", "NAME", "TYPE OF JOB", "AGE"], rows, "no subscriptions")
}

fn details(subscription: &Subscription, now: Timestamp) -> String {
    fields([
        ("subscription", Some(subscription.name.clone())),
        ("event", Some(subscription.event_type.clone())),
        ("job", Some(subscription.job.get().to_owned())),
        ("created", Some(moment(subscription.created_at, now))),
        ("changed", Some(moment(subscription.updated_at, now))),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::service::said;
    use super::*;

    const TIMES: &str = r#""created_at":"2026-11-20T02:05:08.030Z","updated_at":"2026-11-22T02:05:08.000Z""#;

    fn now() -> Timestamp {
        "2026-11-22T02:08:08Z".parse().expect("a time")
    }

    #[test]
    fn subscriptions_are_told_by_event_and_one_by_one() {
        let json = format!(r#"[{{"name":"orders","event_type":"order.created","job_type":"csv-generation",{TIMES}}}]"#);
        let all: Vec<Verbatim<SubscriptionSummary>> = serde_json::from_str(&json).expect("subscriptions");
        let lines = ["EVENT          NAME    TYPE OF JOB     AGE", "order.created  orders  csv-generation  2d"];
        assert_eq!(list(&all, now()), lines.join("\n"));
        let json = format!(r#"{{"name":"orders","event_type":"order.created","job":{{"type":"t"}},{TIMES}}}"#);
        let subscription: Subscription = serde_json::from_str(&json).expect("a subscription");
        let lines = [
            "subscription  orders",
            "event         order.created",
            r#"job           {"type":"t"}"#,
            "created       2026-11-20 02:05:08, 2d ago",
            "changed       2026-11-22 02:05:08, 3m ago",
        ];
        assert_eq!(details(&subscription, now()), lines.join("\n"));
    }

    #[tokio::test]
    async fn a_subscription_is_put_from_what_is_said_or_from_a_file() {
        let job = r#""job":{"type":"t","payload":{"to":"{{data.to}}"},"max_attempts":2}"#;
        let answer = format!(r#"{{"name":"orders","event_type":"order.created",{job},{TIMES}}}"#);
        let body = format!(r#"{{"event_type":"order.created",{job}}}"#);
        let words = ["subscriptions", "put", "orders", "--event-type", "order.created", "--type", "t"];
        let rest = ["--payload", r#"{"to":"{{data.to}}"}"#, "--max-attempts", "2", "--json"];
        let told = said(&[&words[..], &rest[..]].concat(), &[(201, &answer)]).await;
        assert_eq!((told.exit, told.out), (Exit::Done, format!("{answer}\n")));
        assert_eq!(told.asked, [format!("PUT /subscriptions/orders {body}")]);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("orders.json");
        std::fs::write(&file, &body).expect("written");
        let words = ["subscriptions", "put", "orders", "--from", &file.display().to_string()];
        let told = said(&words, &[(200, &answer)]).await;
        assert_eq!((told.exit, told.asked), (Exit::Done, vec![format!("PUT /subscriptions/orders {body}")]));
        let told = said(&["subscriptions", "put", "orders", "--type", "t"], &[]).await;
        assert_eq!((told.exit, told.asked.len()), (Exit::Usage, 0));
    }
}
