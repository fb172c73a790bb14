//! Tables and buckets that stacks have left: they outlive them, and cost what they store.

use super::deployed::Deployed;
use super::reading::{TABLE_MARK, candidates};
use super::{Finding, Report};

/// Looks for them among all tables and buckets of this region.
pub fn check(deployed: &Deployed, report: &mut Report) {
    let mut known = true;
    for (question, what) in [
        ("dynamodb:ListTables", "whether deleted stacks have left tables"),
        ("s3:ListAllMyBuckets", "whether deleted stacks have left buckets"),
    ] {
        known &= report.known(what, deployed.answer(question, "")).is_some();
    }
    let mut orphans = 0;
    for name in candidates(deployed) {
        let kind = if name.contains(TABLE_MARK) { "table" } else { "bucket" };
        match deployed.answer("cloudformation:DescribeStackResources", &name) {
            Ok(_) => {} // another stack's
            // CloudFormation's words: Stack for NAME does not exist
            Err(why) if why.code == "ValidationError" && why.message.contains("does not exist") => {
                orphans += 1;
                let what = format!("The {kind} {name} is called as a stack's is, and belongs to none.");
                let remedy = "If nobody needs what is in it, delete it; docs/operating.md says what outlives a stack.";
                report.add(Finding::advice(what, remedy));
            }
            Err(why) => {
                known = false;
                report.cannot(&format!("whether the {kind} {name} belongs to a stack"), &why);
            }
        }
    }
    if known && orphans == 0 {
        report.fine("No deleted stack has left a table or a bucket in this region.");
    }
}
