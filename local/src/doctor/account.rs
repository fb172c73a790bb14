//! What the account gives the stack: executions, mail, and secrets.

use serde_json::Value;

use super::aws::Unanswered;
use super::deployed::{Deployed, number};
use super::{Finding, Report};

/// Executions that the API, the sweeper and the events function need beside the workers, at the least.
const BESIDE_WORKERS: f64 = 3.0;

/// Looks at all of it.
pub fn check(deployed: &Deployed, report: &mut Report) {
    if let Some(found) = report.known("whether there are executions enough for all functions", executions(deployed)) {
        match found {
            Some(finding) => report.add(finding),
            None => {
                report.fine("There are executions enough for all workers, and for the other functions beside them.");
            }
        }
    }
    if let Some(url) = report.known("whether mail can be sent", deployed.variable("WorkerFunction", "MAIL_URL")) {
        if url == "ses://" {
            mail(deployed, report);
        } else {
            report.fine("Mail does not go by SES.");
        }
    }
    let secret = deployed.variable("ApiFunction", "IDEMPOTENCY_SECRET");
    if let Some(secret) = report.known("whether the idempotency secret is one", secret) {
        if secret == deployed.stack_id {
            let what = "The idempotency secret is the stack's id, which whoever may look at the stack knows.";
            let remedy = "Deploy with an IdempotencySecret of your own before clients use keys: with another one, requests \
                          that are repeated make second jobs.";
            report.add(Finding::advice(what, remedy));
        } else {
            report.fine("The idempotency secret is not the stack's id.");
        }
    }
}

fn executions(deployed: &Deployed) -> Result<Option<Finding>, Unanswered> {
    let mapping = deployed.event_source("WorkerFunctionJobs")?;
    let account = &deployed.answer("lambda:GetAccountSettings", "")?["AccountLimit"];
    let reserved =
        number(&deployed.answer("lambda:GetFunctionConcurrency", "WorkerFunction")?["ReservedConcurrentExecutions"]);
    let workers = number(&mapping["ScalingConfig"]["MaximumConcurrency"]);
    let all = number(&account["ConcurrentExecutions"]).unwrap_or_default();
    let unreserved = number(&account["UnreservedConcurrentExecutions"]).unwrap_or(all);
    let Some(workers) = workers else {
        let what = "Workers may take all of the account's executions: the event source has no maximum concurrency.";
        return Ok(Some(Finding::problem(what, "Set it to WorkerConcurrency.")));
    };
    if let Some(reserved) = reserved {
        let what =
            format!("SQS runs up to {workers} workers, and Lambda lets {reserved} run: the others are throttled.");
        let remedy = "Raise the reserved concurrency of WorkerFunction, or lower WorkerConcurrency.";
        return Ok((reserved < workers).then(|| Finding::problem(what, remedy)));
    }
    let what = format!(
        "Up to {workers} workers run at once, and the account lets {unreserved} functions run that have none reserved: \
         the API, sweeps and events are throttled when there is much to do."
    );
    let remedy = "Lower WorkerConcurrency (at the least 2), or ask Service Quotas for more concurrent executions.";
    Ok((workers + BESIDE_WORKERS > unreserved).then(|| Finding::problem(what, remedy)))
}

/// SES: the sender, and whom the account may send to.
fn mail(deployed: &Deployed, report: &mut Report) {
    let sender = deployed.variable("WorkerFunction", "MAIL_FROM").unwrap_or_default();
    let identities: Vec<_> =
        deployed.answers.iter().filter(|((question, _), _)| *question == "ses:GetEmailIdentity").collect();
    let verified = |answer: &Value| answer["VerifiedForSendingStatus"] == true;
    let is_verified = identities.iter().any(|(_, answer)| answer.as_ref().is_ok_and(verified));
    let unknown = identities.iter().find_map(|(_, answer)| answer.as_ref().err().filter(|why| !why.is_missing()));
    match unknown {
        _ if is_verified => report.fine(format!("SES has verified {sender}, or its domain.")),
        Some(why) => report.cannot(&format!("whether SES has verified {sender}"), why),
        None => report.add(Finding::problem(
            format!("SES refuses all mail: it has verified neither {sender} nor its domain."),
            "Verify one of them in SES, in the stack's region, or deploy with another MailFrom.",
        )),
    }
    let Some(account) = report.known("what SES lets the account send", deployed.answer("ses:GetAccount", "")) else {
        return;
    };
    if account["SendingEnabled"] == false {
        let what = "SES sends nothing for this account: its sending is paused.";
        report.add(Finding::problem(what, "Look at the account's standing in SES, and ask AWS Support."));
    }
    if account["ProductionAccessEnabled"] == false {
        let what = "The account is in SES's sandbox: it sends to verified addresses only, 200 e-mails a day.";
        report.add(Finding::advice(what, "Ask for production access in SES, in the stack's region."));
    } else {
        report.fine("SES lets the account send to everybody.");
    }
}
