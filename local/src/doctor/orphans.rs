//! Tables and buckets that stacks have left: they outlive them, and cost what they store.

use std::collections::BTreeSet;

use serde_json::Value;

use super::aws::text;
use super::deployed::Deployed;
use super::{Finding, Report};

/// What names of tables and buckets of a stack have in them: the logical id, which CloudFormation writes small in those
/// of buckets.
const TABLE_MARK: &str = "-JobsTable-";
const BUCKET_MARK: &str = "-outputbucket-";

/// Looks for them among all tables and buckets of this region.
pub fn check(deployed: &Deployed, report: &mut Report) {
    let mut known = true;
    for (question, what) in [
        ("dynamodb:ListTables", "whether deleted stacks have left tables"),
        ("s3:ListAllMyBuckets", "whether deleted stacks have left buckets"),
    ] {
        known &= report.known(what, deployed.answer(question, "")).is_some();
    }
    // A table that is in use may be called as one that was left: without the functions' variables nobody can tell.
    let mut functions = deployed.resources_of("AWS::Lambda::Function");
    if let Some(why) = functions.find_map(|(id, _)| deployed.function(id).err()) {
        return report.cannot("whether deleted stacks have left tables or buckets", &why);
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

/// Tables and buckets of this region that are called as those of a stack are, and that this one neither has nor uses.
pub fn candidates(deployed: &Deployed) -> Vec<String> {
    let own = deployed.resources.values().map(|resource| resource.physical_id.as_str());
    let own: BTreeSet<_> = own.chain(deployed.tables()).chain(deployed.buckets()).collect();
    let tables = deployed.answer("dynamodb:ListTables", "").ok().and_then(|answer| answer["TableNames"].as_array());
    let tables = tables.into_iter().flatten().map(text).filter(|name| name.contains(TABLE_MARK));
    let buckets = deployed.answer("s3:ListAllMyBuckets", "").map(|answer| &answer["Buckets"]["Bucket"]);
    let buckets: Vec<&Value> = match buckets {
        Ok(Value::Array(buckets)) => buckets.iter().collect(),
        Ok(bucket @ Value::Object(_)) => vec![bucket],
        Ok(_) | Err(_) => vec![],
    };
    let buckets = buckets.into_iter().map(|bucket| text(&bucket["Name"])).filter(|name| name.contains(BUCKET_MARK));
    tables.chain(buckets).filter(|name| !own.contains(name.as_str())).collect()
}
