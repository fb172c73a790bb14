//! What the code relies on, whatever template the stack was made of: its own constants, held against what is there.

use serde_json::Value;
use shared::job::submission::MOST_ATTEMPTS;
use shared::job::transition::LEASE_MARGIN;
use shared_aws::dynamodb::{INDEXES, TIME_TO_LIVE};
use shared_aws::settings::{ApiSettings, Place, SettingErrors, WorkerSettings, dead_letter_queue_url, limits};

use super::aws::Unanswered;
use super::deployed::{Deployed, number};
use super::{Finding, Report};

/// Lambda's own advice for queues that call functions: so many times the function's timeout.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>
const TIMEOUTS_HIDDEN: f64 = 6.0;

/// A message is received more often than a job is attempted: throttles and busy tables use deliveries up, too.
const SPARE_DELIVERIES: u32 = 2;

/// The seconds from one sweep to the next.
const SWEEP_PERIOD: f64 = 60.0;

/// The functions, by their logical ids.
pub const FUNCTIONS: [&str; 4] = ["ApiFunction", "WorkerFunction", "SweeperFunction", "EventsFunction"];

/// Timeouts, visibility, deliveries and retention, which belong together.
pub fn times(deployed: &Deployed, report: &mut Report) {
    let relation = |report: &mut Report, what: &str, found: Result<Option<Finding>, Unanswered>| {
        if let Some(found) = report.known(&format!("whether {what}"), found) {
            match found {
                Some(finding) => report.add(finding),
                None => report.fine(format!("It is so that {what}.")),
            }
        }
    };
    relation(report, "a worker outlives the longest attempt", longest_attempt(deployed));
    relation(report, "a message is hidden for as long as its worker may take", visibility(deployed));
    relation(report, "a message is delivered more often than its job is attempted", deliveries(deployed));
    relation(report, "dead letters are kept longer than messages", retention(deployed));
    relation(report, "a sweep ends before the next begins", sweep(deployed));
    relation(report, "the gateway waits for the API's own answer", gateway(deployed));
}

fn timeout(deployed: &Deployed, function: &str) -> Result<f64, Unanswered> {
    Ok(number(&deployed.function(function)?["Timeout"]).unwrap_or_default())
}

fn longest_attempt(deployed: &Deployed) -> Result<Option<Finding>, Unanswered> {
    let worker = timeout(deployed, "WorkerFunction")?;
    let api = deployed.function("ApiFunction")?;
    // What it cannot read, the check of the settings tells.
    let longest = limits(&|name| variable(api, name)).unwrap_or_default().longest_attempt_seconds;
    let needed = u64::from(longest) + LEASE_MARGIN.as_secs();
    let what = format!(
        "The worker's timeout is {worker} s, and an attempt of {longest} s, which the API accepts, needs more than \
         {needed} s."
    );
    let remedy = format!("Raise the timeout of WorkerFunction above {needed} s.");
    Ok((worker <= f64::from(longest) + LEASE_MARGIN.as_secs_f64()).then(|| Finding::problem(what, remedy)))
}

fn visibility(deployed: &Deployed) -> Result<Option<Finding>, Unanswered> {
    let worker = timeout(deployed, "WorkerFunction")?;
    let hidden = number(deployed.queue("JobsQueue", "VisibilityTimeout")?).unwrap_or_default();
    let enough = TIMEOUTS_HIDDEN * worker;
    let what = format!("A message is hidden for {hidden} s, which is less than 6 times the worker's {worker} s.");
    let remedy = format!("Raise the visibility timeout of JobsQueue to {enough} s.");
    Ok((hidden < enough).then(|| Finding::problem(what, remedy)))
}

fn deliveries(deployed: &Deployed) -> Result<Option<Finding>, Unanswered> {
    let policy = deployed.queue("JobsQueue", "RedrivePolicy")?.as_str().unwrap_or_default();
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    let dead_letters = deployed.queue("DeadLetterQueue", "QueueArn")?;
    let remedy = "Set the redrive policy of JobsQueue to what the template says.";
    if policy["deadLetterTargetArn"] != *dead_letters {
        let what = "The queue does not move its messages to DeadLetterQueue: failed jobs leave no dead letter.";
        return Ok(Some(Finding::problem(what, remedy)));
    }
    let received = number(&policy["maxReceiveCount"]).unwrap_or_default();
    let needed = MOST_ATTEMPTS + SPARE_DELIVERIES;
    let what = format!(
        "A message becomes a dead letter after {received} deliveries, and a job may be attempted {MOST_ATTEMPTS} times, \
         which takes {needed}."
    );
    Ok((received < f64::from(needed)).then(|| Finding::problem(what, remedy)))
}

fn retention(deployed: &Deployed) -> Result<Option<Finding>, Unanswered> {
    let of = |queue: &str| -> Result<f64, Unanswered> {
        Ok(number(deployed.queue(queue, "MessageRetentionPeriod")?).unwrap_or_default())
    };
    let (messages, dead_letters) = (of("JobsQueue")?, of("DeadLetterQueue")?);
    let what =
        format!("Dead letters are kept for {dead_letters} s, messages for {messages} s: their ages count as one.");
    let remedy = "Raise the retention of DeadLetterQueue to 14 days.";
    Ok((dead_letters <= messages).then(|| Finding::problem(what, remedy)))
}

fn sweep(deployed: &Deployed) -> Result<Option<Finding>, Unanswered> {
    let sweeper = timeout(deployed, "SweeperFunction")?;
    let what = format!("A sweep may take {sweeper} s, and there is one each minute: they may overlap.");
    Ok((sweeper >= SWEEP_PERIOD).then(|| Finding::problem(what, "Lower the timeout of SweeperFunction to 50 s.")))
}

fn gateway(deployed: &Deployed) -> Result<Option<Finding>, Unanswered> {
    let api = 1000.0 * timeout(deployed, "ApiFunction")?;
    let integrations = deployed.answer("apigateway:GET integrations", "HttpApi")?["items"].as_array();
    let waits = integrations.into_iter().flatten().filter_map(|one| number(&one["timeoutInMillis"]));
    let Some(shortest) = waits.reduce(f64::min) else {
        let what = "The API has no integration: no request reaches a function.";
        return Ok(Some(Finding::problem(what, "Make the stack anew, or restore HttpApiIntegration.")));
    };
    let what = format!("The gateway waits {shortest} ms for the API function, which may take {api} ms.");
    let remedy = "Raise the timeout of HttpApiIntegration, or lower that of ApiFunction.";
    Ok((shortest <= api).then(|| Finding::problem(what, remedy)))
}

/// The tables that the functions use, whoever made them: the stack, or who restored one and deployed with
/// `ExistingTableArn`.
pub fn table(deployed: &Deployed, report: &mut Report) {
    let tables = deployed.tables();
    if tables.is_empty() {
        let unknown = deployed.variable("ApiFunction", "TABLE_NAME").map(str::is_empty);
        report.known("whether the table is one that the code can use", unknown); // that it is not set is said elsewhere
    }
    for name in tables {
        one_table(deployed, name, report);
    }
}

/// A table's key, its indexes, and what deletes what has ended.
fn one_table(deployed: &Deployed, name: &str, report: &mut Report) {
    let key = deployed.key("AWS::DynamoDB::Table", name);
    let remedy = "Restore the table from its backup under a stack made of this release's template.";
    let answer = deployed.answer("dynamodb:DescribeTable", key);
    if answer.as_ref().is_err_and(Unanswered::is_missing) {
        let what = format!("The functions use the table {name}, which is not there.");
        return report.add(Finding::problem(what, remedy));
    }
    let Some(answer) = report.known(&format!("whether {key} is a table that the code can use"), answer) else { return };
    let table = &answer["Table"];
    let mut sound = true;
    let mut problem = |report: &mut Report, what: String| {
        sound = false;
        report.add(Finding::problem(what, remedy));
    };
    if table["TableStatus"] != "ACTIVE" {
        problem(report, format!("The table {key} is {}.", table["TableStatus"].as_str().unwrap_or("not there")));
    }
    if !has_key(table, &["id"]) {
        problem(report, format!("The key of the table {key} is not id."));
    }
    for (name, partition, sort) in INDEXES {
        let mut indexes = table["GlobalSecondaryIndexes"].as_array().into_iter().flatten();
        match indexes.find(|index| index["IndexName"] == name) {
            Some(index) if has_key(index, &[partition, sort]) => {}
            Some(_) => {
                problem(report, format!("{key} has an index {name} whose key is another than {partition} and {sort}."));
            }
            None => problem(report, format!("The table {key} has no index {name}.")),
        }
    }
    if table["StreamSpecification"]["StreamViewType"] != "NEW_AND_OLD_IMAGES" {
        let what = format!("The stream of {key} does not have old and new images: nothing follows from jobs.");
        problem(report, what);
    }
    let time_to_live = deployed.answer("dynamodb:DescribeTimeToLive", key);
    if let Some(answer) = report.known(&format!("whether the table {key} deletes what has ended"), time_to_live) {
        let described = &answer["TimeToLiveDescription"];
        let on = matches!(described["TimeToLiveStatus"].as_str(), Some("ENABLED" | "ENABLING"));
        if !on || described["AttributeName"] != TIME_TO_LIVE {
            let what = format!(
                "Nothing deletes jobs that have ended: time to live is not on for the attribute ttl of the table {key}."
            );
            report.add(Finding::problem(what, format!("Turn time to live on for the attribute ttl of {key}.")));
            sound = false;
        }
    }
    if key == name {
        backups(deployed, name, report);
    }
    if sound {
        report.fine(format!("The table {key} has the key, the indexes and the stream that the code asks for."));
    }
}

/// Of the stack's own table drift tells.
fn backups(deployed: &Deployed, table: &str, report: &mut Report) {
    let answer = deployed.answer("dynamodb:DescribeContinuousBackups", table);
    let Some(answer) = report.known(&format!("whether the table {table} is backed up"), answer) else { return };
    let recovery = &answer["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"];
    if recovery["PointInTimeRecoveryStatus"] != "ENABLED" {
        let what =
            format!("The table {table} has no point-in-time recovery, which a restored one does not have by itself.");
        report.add(Finding::advice(what, "Turn it on as docs/backup.md, Restoring, says."));
    }
}

/// The bucket that output goes to, if it is not the stack's own: whether it is there. Of the own one drift is told.
pub fn bucket(deployed: &Deployed, report: &mut Report) {
    for name in deployed.buckets() {
        if deployed.key("AWS::S3::Bucket", name) != name {
            continue;
        }
        match deployed.answer("s3:GetBucketPublicAccessBlock", name) {
            Err(why) if why.code == "NoSuchBucket" => {
                let what = format!("The bucket {name}, which OUTPUT_URL names, is not there.");
                report.add(Finding::problem(
                    what,
                    "Make it, with the worker's rights on it, or deploy with another OutputUrl.",
                ));
            }
            Err(why) if !why.is_missing() => report.cannot(&format!("whether there is a bucket {name}"), &why),
            // That it blocks no public access says that it is there.
            Ok(_) | Err(_) => report.fine(format!("The bucket {name}, which OUTPUT_URL names, is there.")),
        }
    }
}

fn has_key(of: &Value, attributes: &[&str]) -> bool {
    let key = of["KeySchema"].as_array().into_iter().flatten();
    key.map(|part| part["AttributeName"].as_str().unwrap_or_default()).eq(attributes.iter().copied())
}

/// Whether each function can run, and with the settings that it has.
pub fn functions(deployed: &Deployed, report: &mut Report) {
    let mut sound = true;
    for id in FUNCTIONS {
        let Some(function) = report.known(&format!("whether {id} can run"), deployed.function(id)) else {
            sound = false;
            continue;
        };
        let found = [unready(id, function), unset(id, function), switched_off(deployed, id, report)];
        for finding in found.into_iter().flatten() {
            sound = false;
            report.add(finding);
        }
    }
    if sound {
        report.fine("The functions are ready, and understand their settings.");
    }
}

fn unready(id: &str, function: &Value) -> Option<Finding> {
    let [state, update] = ["State", "LastUpdateStatus"].map(|field| function[field].as_str().unwrap_or_default());
    // Lambda lets a function that nobody calls sleep, and wakes it.
    let ready = matches!(state, "Active" | "Inactive" | "") && update != "Failed";
    let reason = function["StateReason"].as_str().or(function["LastUpdateStatusReason"].as_str());
    let reason = reason.map_or_else(String::new, |reason| format!(": {}", reason.trim_end_matches('.')));
    let what = format!("{id} cannot run (state {state}, last update {update}){reason}.");
    (!ready).then(|| Finding::problem(what, "Deploy again; if that does not help, look at what Lambda says of it."))
}

/// The function's own reading of its settings.
fn unset(id: &str, function: &Value) -> Option<Finding> {
    let lookup = |name: &str| variable(function, name);
    let read = || -> Result<(), SettingErrors> {
        Place::read(&lookup)?;
        match id {
            "ApiFunction" => drop(ApiSettings::read(&lookup)?),
            "WorkerFunction" => drop(WorkerSettings::read(&lookup)?),
            "SweeperFunction" => drop(dead_letter_queue_url(&lookup)?),
            _ => {}
        }
        Ok(())
    };
    let forgotten = (id == "EventsFunction" && lookup("EVENTS_TOPIC_ARN").is_none())
        .then(|| "EVENTS_TOPIC_ARN is not set: nobody is told of events".to_owned());
    let wrong = read().err().map(|error| error.to_string()).or(forgotten)?;
    Some(Finding::problem(
        format!("{id} does not start, or does half its work: {wrong}."),
        "Set the variable to what docs/operating.md, Settings, says of it.",
    ))
}

/// A variable of a function; an empty one counts as not set.
fn variable(function: &Value, name: &str) -> Option<String> {
    function["Environment"]["Variables"][name].as_str().filter(|value| !value.is_empty()).map(str::to_owned)
}

fn switched_off(deployed: &Deployed, id: &str, report: &mut Report) -> Option<Finding> {
    let answer = deployed.answer("lambda:GetFunctionConcurrency", id);
    let answer = report.known(&format!("whether {id} has concurrency of its own"), answer)?;
    let off = number(&answer["ReservedConcurrentExecutions"]) == Some(0.0);
    let what = format!("{id} is switched off: its reserved concurrency is 0.");
    off.then(|| Finding::problem(what, format!("Delete the reserved concurrency of {id}.")))
}
