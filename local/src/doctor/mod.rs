//! `dray doctor`: what is wrong with a deployed stack, and what to do about it. Looks, and changes nothing.
//!
//! [`reading`] asks AWS and makes plain data of the answers; each check is a function of that data alone. One file for
//! each subject.

mod account;
mod alarms;
mod aws;
mod code;
mod deployed;
mod drift;
#[cfg(test)]
mod faults;
mod live;
mod orphans;
mod reading;
#[cfg(test)]
mod sound;
mod template;
#[cfg(test)]
mod variants;
mod work;

use clap::Args;
use serde::Serialize;
use serde_json::json;
use shared_aws::signing::Signer;

use self::aws::{Aws, Unanswered};
use self::deployed::Deployed;
use crate::command_line::{Console, Exit, Failure, plain};

/// Which stack to look at
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The stack's name
    #[arg(long, value_name = "NAME", default_value = "dray")]
    stack: String,
    /// Where it is; unless given, what `AWS_REGION` or the profile say
    #[arg(long)]
    region: Option<String>,
    /// Whose credentials to use; unless given, what `AWS_PROFILE` says
    #[arg(long)]
    profile: Option<String>,
    /// Where all of AWS is, for a local one; unless given, what `AWS_ENDPOINT_URL` says
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// Prints the policy that whoever looks needs, and looks at nothing
    #[arg(long)]
    permissions: bool,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Severity {
    /// Jobs are lost, late or refused by it, or will be.
    Problem,
    /// It works, and would be better otherwise.
    Advice,
    /// Whether it is well is not known.
    Unchecked,
    /// It is well.
    Fine,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    severity: Severity,
    /// What is so: one sentence.
    what: String,
    /// What to do about it: one sentence. Nothing, if all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn problem(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, what: what.into(), remedy: Some(remedy.into()) }
    }

    fn advice(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Advice, what: what.into(), remedy: Some(remedy.into()) }
    }
}

/// What was found, in the order in which it was looked for.
#[derive(Debug, Default)]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// Says it, once.
    fn add(&mut self, finding: Finding) {
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    fn fine(&mut self, what: impl Into<String>) {
        self.add(Finding { severity: Severity::Fine, what: what.into(), remedy: None });
    }

    /// This check could not be made. The others go on.
    fn cannot(&mut self, what: &str, why: &Unanswered) {
        let code = if why.code.is_empty() { String::new() } else { format!("{}: ", why.code) };
        let what = format!("It could not be checked {what}, because {code}{}.", why.message.trim_end_matches('.'));
        let remedy = Some("`doctor --permissions` prints what whoever looks must be allowed.".to_owned());
        self.add(Finding { severity: Severity::Unchecked, what, remedy });
    }

    /// Goes on with what is known, and says what is not.
    fn known<T>(&mut self, what: &str, answer: Result<T, Unanswered>) -> Option<T> {
        answer.map_err(|why| self.cannot(what, &why)).ok()
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// A problem is what scripts shall hear of first; not to know is no good news either.
    fn exit(&self) -> Exit {
        match (self.count(Severity::Problem), self.count(Severity::Unchecked)) {
            (0, 0) => Exit::Done,
            (0, _) => Exit::NoAnswer,
            (_, _) => Exit::Refused,
        }
    }

    fn summary(&self) -> String {
        let [problems, advice, unchecked, fine] =
            [Severity::Problem, Severity::Advice, Severity::Unchecked, Severity::Fine].map(|one| self.count(one));
        let checks = if unchecked == 1 { "check" } else { "checks" };
        let problem = if problems == 1 { "problem" } else { "problems" };
        format!("{problems} {problem}, advice on {advice}, {fine} fine; {unchecked} {checks} could not be made")
    }

    /// The worst first, each with its remedy below it, and how many of each there are.
    fn text(&self) -> String {
        let mut findings: Vec<_> = self.findings.iter().collect();
        findings.sort_by_key(|finding| finding.severity);
        let mut lines = vec![];
        for finding in findings {
            lines.push(format!("{:<9}  {}", finding.severity.to_string(), plain(&finding.what)));
            lines.extend(finding.remedy.iter().map(|remedy| format!("{:<9}  → {}", "", plain(remedy))));
        }
        lines.push(format!("\n{}", self.summary()));
        lines.join("\n")
    }

    fn json(&self, stack: &str) -> String {
        let count = |severity| self.count(severity);
        json!({
            "stack": stack,
            "problems": count(Severity::Problem),
            "advice": count(Severity::Advice),
            "unchecked": count(Severity::Unchecked),
            "fine": count(Severity::Fine),
            "findings": self.findings,
        })
        .to_string()
    }
}

/// All checks. Each says itself what it could not look at.
const CHECKS: [fn(&Deployed, &mut Report); 11] = [
    drift::check,
    code::times,
    code::table,
    code::bucket,
    code::functions,
    work::sources,
    work::queues,
    work::health,
    alarms::check,
    account::check,
    orphans::check,
];

/// What there is to say about a stack.
fn examine(deployed: &Deployed) -> Report {
    let mut report = Report::default();
    for check in CHECKS {
        check(deployed, &mut report);
    }
    report
}

/// Looks at the stack and tells what it found.
pub async fn run(options: Options, console: &mut Console<'_>) -> Result<Exit, Failure> {
    if options.permissions {
        console.say(&policy())?;
        return Ok(Exit::Done);
    }
    let [profile, region, endpoint_url] =
        [&options.profile, &options.region, &options.endpoint_url].map(Option::as_deref);
    let signer = match Signer::load(profile, region, endpoint_url).await {
        Ok(signer) => signer,
        Err(error) => {
            let hint = "eval \"$(aws configure export-credentials --format env)\"";
            return Err(anyhow::anyhow!("{error:#}: after `aws sso login` or `aws login`, run `{hint}`").into());
        }
    };
    let aws = Aws::new(signer)?;
    let deployed = match reading::read(&aws, &options.stack).await {
        Ok(deployed) => deployed,
        Err(why) => {
            let place = aws.endpoint_url().unwrap_or(aws.region());
            console.note(&format!("{} cannot be looked at in {place}: {}", options.stack, why.message))?;
            return Ok(if why.code.is_empty() { Exit::NoAnswer } else { Exit::Refused });
        }
    };
    let report = examine(&deployed);
    console.say(&if console.tells_json() { report.json(&options.stack) } else { report.text() })?;
    Ok(report.exit())
}

/// An IAM policy of all that is asked. Much of it knows no resources, and none of it changes anything.
fn policy() -> String {
    let statement = json!({ "Effect": "Allow", "Action": reading::PERMISSIONS, "Resource": "*" });
    let policy = json!({ "Version": "2012-10-17", "Statement": [statement] });
    format!("{policy:#}")
}
