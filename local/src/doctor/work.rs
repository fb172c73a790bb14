//! Whether work gets on: what brings it to the functions, how old it is, and what was given up.

use jiff::{SignedDuration, Timestamp};
use shared::job::due::LONGEST_QUEUE_DELAY;

use super::aws::{Unanswered, text};
use super::deployed::{Deployed, number, time};
use super::{Finding, Report};

/// The longest delay of a message in the queue, in seconds (900).
const LONGEST_DELAY: f64 = LONGEST_QUEUE_DELAY.as_secs_f64();

/// The alarm `EventsBehind` goes off at this age, in milliseconds.
const TOO_FAR_BEHIND: f64 = 300_000.0;

/// A deployment takes minutes. A function that has changed so long after one has been changed by other means.
const LONGEST_DEPLOYMENT: SignedDuration = SignedDuration::from_hours(1);

/// The same of a deployment by alias: the API's version is made when the others' rollouts are over, which take up to 100
/// minutes (`Linear10PercentEvery10Minutes`).
const LONGEST_ROLLOUT: SignedDuration = SignedDuration::from_hours(3);

/// Event sources and the schedule: whether they are on, and whether what they call succeeds.
pub fn sources(deployed: &Deployed, report: &mut Report) {
    let mut sound = true;
    for (id, _) in deployed.resources_of("AWS::Lambda::EventSourceMapping") {
        let Some(source) = report.known(&format!("whether {id} is on"), deployed.event_source(id)) else {
            sound = false;
            continue;
        };
        let state = text(&source["State"]);
        if !matches!(state.as_str(), "Enabled" | "Enabling" | "Updating" | "Creating") {
            let what = format!("The event source {id} is {}: its function gets nothing to do.", state.to_lowercase());
            let remedy = format!(
                "Turn it on: `aws lambda update-event-source-mapping --uuid {} --enabled`.",
                deployed.physical_id(id)
            );
            report.add(Finding::problem(what, remedy));
            sound = false;
        }
        let result = text(&source["LastProcessingResult"]);
        if result.starts_with("PROBLEM") {
            let what = format!("The event source {id} says of its last call: {}.", result.trim_end_matches('.'));
            report.add(Finding::problem(what, "Look at the function's log, and at its role's rights."));
            sound = false;
        }
        let mut answers = source["FunctionResponseTypes"].as_array().into_iter().flatten();
        if answers.all(|answer| answer != "ReportBatchItemFailures") {
            let what = format!("One failure brings back the whole batch: {id} does not take failures one by one.");
            report.add(Finding::problem(what, "Set its function response types to ReportBatchItemFailures."));
            sound = false;
        }
    }
    for (id, _) in deployed.resources_of("AWS::Scheduler::Schedule") {
        let answer = deployed.answer("scheduler:GetSchedule", id);
        let Some(schedule) = report.known(&format!("whether {id} is on"), answer) else {
            sound = false;
            continue;
        };
        if schedule["State"] != "ENABLED" {
            let what =
                format!("The schedule {id} is off: no sweep is made, and lost messages, delays and dead workers wait.");
            report
                .add(Finding::problem(what, "Turn it on in EventBridge Scheduler, with what else it says unchanged."));
            sound = false;
        }
    }
    if sound {
        report.fine("Event sources and schedule are on, and what they call succeeds.");
    }
}

/// What waits, what was given up, and how far the stream's reader is behind.
pub fn queues(deployed: &Deployed, report: &mut Report) {
    for (id, kept, remedy) in [
        (
            "DeadLetterQueue",
            "dead letters: jobs that failed for good, or messages that name none",
            "DeadLetterQueueNotEmpty",
        ),
        ("EventsFailures", "changes that the events function has given up", "EventsFailed"),
    ] {
        let Some(messages) = report.known(&format!("whether {id} is empty"), messages(deployed, id)) else { continue };
        if messages > 0.0 {
            let what = format!("{id} holds about {messages} {kept}.");
            report.add(Finding::problem(what, format!("Do as docs/operating.md, Alarms, {remedy}, says.")));
        } else {
            report.fine(format!("{id} is empty."));
        }
    }
    let ages = [
        ("JobsQueue", "the oldest message", too_old(deployed), "s", "OldestMessageTooOld"),
        ("EventsFunction", "the events function's place in the stream", Ok(TOO_FAR_BEHIND), "ms", "EventsBehind"),
    ];
    for (id, of, limit, unit, alarm) in ages {
        let known = largest_figure(deployed, id).and_then(|age| Ok((age, limit?)));
        let Some((age, limit)) = report.known(&format!("whether {of} is too old"), known) else { continue };
        match age {
            Some(age) if age >= limit => report.add(Finding::problem(
                format!("In the last quarter of an hour {of} was {age} {unit} old."),
                format!("Do as docs/operating.md, Alarms, {alarm}, says."),
            )),
            Some(age) => report.fine(format!("In the last quarter of an hour {of} was at most {age} {unit} old.")),
            None => report.fine(format!("CloudWatch has no age of {of} for the last quarter of an hour.")),
        }
    }
}

/// The age in seconds at which the alarm `OldestMessageTooOld` goes off: the longer of 2 × the longest delay in the queue,
/// and that delay with the time for which a message is hidden that a worker had when it died.
fn too_old(deployed: &Deployed) -> Result<f64, Unanswered> {
    let hidden = number(deployed.queue("JobsQueue", "VisibilityTimeout")?).unwrap_or_default();
    Ok(LONGEST_DELAY + hidden.max(LONGEST_DELAY))
}

/// All that are in the queue, in whatever state.
fn messages(deployed: &Deployed, queue: &str) -> Result<f64, Unanswered> {
    let mut all = 0.0;
    for state in ["", "NotVisible", "Delayed"] {
        all += number(deployed.queue(queue, &format!("ApproximateNumberOfMessages{state}"))?).unwrap_or_default();
    }
    Ok(all)
}

fn largest_figure(deployed: &Deployed, id: &str) -> Result<Option<f64>, Unanswered> {
    let answer = deployed.answer("cloudwatch:GetMetricStatistics", id)?;
    let figures = answer["Datapoints"].as_array().into_iter().flatten();
    Ok(figures.filter_map(|figure| number(&figure["Maximum"])).reduce(f64::max))
}

/// Whether the API answers, of which release it is, and whether the functions were deployed together.
pub fn health(deployed: &Deployed, report: &mut Report) {
    match deployed.answer("GET /health", "") {
        Ok(health) => {
            report.fine("The API answers, and reaches the table and the queues.");
            let (theirs, ours) = (text(&health["version"]), env!("CARGO_PKG_VERSION"));
            if theirs != ours {
                let what =
                    format!("The API is of release {theirs}, and this doctor of {ours}: it may know other rules.");
                report.add(Finding::advice(what, "Look with the doctor of the deployed release, or deploy this one."));
            }
        }
        Err(why) if why.code.is_empty() => report.cannot("whether the API answers", &why),
        Err(why) => {
            let what = format!("The API says that it is not well: {}.", why.message.trim_end_matches('.'));
            report.add(Finding::problem(what, "Look at what it names, and at docs/operating.md, What to do when."));
        }
    }
    if deployed.stack_status != "CREATE_COMPLETE" && deployed.stack_status != "UPDATE_COMPLETE" {
        let what = format!("The stack is not deployed as a whole: it is {}.", deployed.stack_status);
        report.add(Finding::problem(
            what,
            "Wait until it is done, or deploy again; functions may be of several releases.",
        ));
    }
    // Lambda does not say of which release a function is; but one that was changed alone is not of the stack's.
    for id in super::code::FUNCTIONS {
        let Ok(function) = deployed.function(id) else { continue }; // said elsewhere
        let (Some(changed), Some(deployed_at)) = (time(&function["LastModified"]), deployed.deployed_at) else {
            continue;
        };
        let longest = if deployed.alias(id).is_some() { LONGEST_ROLLOUT } else { LONGEST_DEPLOYMENT };
        if changed.duration_since(deployed_at) > longest {
            let what = format!("{id} was changed at {}, after the stack was deployed.", second(changed));
            report.add(Finding::advice(
                what,
                "If nobody knows why, deploy again, with code: the functions belong together.",
            ));
        }
    }
}

fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
