//! What must hold between `template.yaml` and everything that has the other side of it: code, manual, and AWS.
//!
//! The template is read as SAM translates it. Each invariant is shown to be held by faults that it finds; a page of the
//! manual lists them all.

mod alarms;
mod dashboard;
mod functions;
mod http;
mod invariant;
mod permissions;
mod queues;
mod settings;
mod stack;
mod storage;

use std::collections::BTreeSet;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::system::target_dir;
use tokio::sync::OnceCell;

use crate::invariant::{Invariant, Mutation};
use crate::stack::{Template, file};

/// All of them, by subject.
const SUBJECTS: [(&str, &[Invariant]); 8] = [
    ("Table and bucket", storage::ALL),
    ("Queues and streams", queues::ALL),
    ("Functions", functions::ALL),
    ("Settings", settings::ALL),
    ("HTTP", http::ALL),
    ("Permissions", permissions::ALL),
    ("Alarms", alarms::ALL),
    ("Dashboard and queries", dashboard::ALL),
];

fn invariants() -> impl Iterator<Item = &'static Invariant> {
    SUBJECTS.iter().flat_map(|(_, invariants)| invariants.iter())
}

fn mutations() -> impl Iterator<Item = (&'static Invariant, &'static Mutation)> {
    invariants().flat_map(|invariant| invariant.mutations.iter().map(move |mutation| (invariant, mutation)))
}

/// The template of this repository as SAM translates it, and each mutant; the error is why SAM does not.
struct Translated {
    template: Template,
    mutants: Vec<Result<Template, String>>,
}

/// All in one process, the first time that somebody asks.
async fn translated() -> &'static Translated {
    static TRANSLATED: OnceCell<Translated> = OnceCell::const_new();
    TRANSLATED.get_or_init(translate).await
}

async fn translate() -> Translated {
    // SAM's translator comes with the local AWS, which deploys the same template by it.
    let packages = local::engine::install(&target_dir(), &|_| ()).await.expect("installed");
    let mut python = Command::new("python3");
    python.args(["-c", include_str!("translate.py")]).env("PYTHONPATH", packages);
    let mut python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 starts");
    let edits: Vec<_> = mutations().map(|(_, mutation)| mutation.as_edit()).collect();
    let asked = json!({ "template": file("template.yaml"), "mutants": edits });
    python.stdin.take().expect("piped").write_all(asked.to_string().as_bytes()).expect("it reads all");
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success(), "a mutation does not fit the template, or SAM's translator has changed");
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut answers = answers.into_iter().map(|mut answer| match answer["translated"].take() {
        Value::Null => Err(answer["refused"].to_string()),
        translated => Ok(Template(translated)),
    });
    let template = answers.next().expect("the template").unwrap_or_else(|error| panic!("SAM refuses it: {error}"));
    Translated { template, mutants: answers.collect() }
}

/// What is wrong with the template by this invariant; `None` if it holds.
fn violation(invariant: &Invariant, template: &Template) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| (invariant.check)(template))).err()?;
    let words = panic.downcast_ref::<String>().cloned();
    let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
    Some(words.unwrap_or_default())
}

#[tokio::test]
async fn the_template_fits_the_code_the_manual_and_aws() {
    let template = &translated().await.template;
    let violations: Vec<_> =
        invariants().filter_map(|one| Some(format!("{}: {}", one.name, violation(one, template)?))).collect();
    assert!(violations.is_empty(), "{}", violations.join("\n\n"));
}

#[tokio::test]
async fn every_fault_is_found_by_the_invariant_that_it_is_listed_with() {
    let translated = translated().await;
    assert_eq!(translated.mutants.len(), mutations().count());
    let mut unseen = vec![];
    for ((invariant, mutation), mutant) in mutations().zip(&translated.mutants) {
        let edit = mutation.as_edit();
        match mutant {
            Err(refused) => unseen.push(format!("SAM refuses {edit}: {refused}")),
            Ok(template) if violation(invariant, template).is_none() => {
                unseen.push(format!("{} does not see {edit}", invariant.name));
            }
            Ok(_) => {}
        }
    }
    assert!(unseen.is_empty(), "{}", unseen.join("\n"));
}

#[test]
fn there_are_many_invariants_each_with_faults_of_its_own() {
    let names: BTreeSet<_> = invariants().map(|invariant| invariant.name).collect();
    assert_eq!(names.len(), invariants().count(), "two have one name");
    assert!(names.len() >= 40, "{}", names.len());
    let edits: BTreeSet<_> = mutations().map(|(_, mutation)| mutation.as_edit().to_string()).collect();
    assert_eq!(edits.len(), mutations().count(), "a fault stands with two invariants");
    for invariant in invariants() {
        assert!(!invariant.mutations.is_empty(), "{}: nobody knows whether it finds anything", invariant.name);
        assert!(!file(invariant.other_side).is_empty(), "{}", invariant.name);
    }
}

/// `UPDATE_DOCUMENTS=1 cargo test --test template` writes the tables of the page anew.
#[test]
fn the_manual_lists_every_invariant() {
    let page = file("docs/template.md");
    let (before, _) = page.split_once("\n## Table and bucket\n").expect("the first subject");
    let mut written = before.to_owned();
    for (subject, invariants) in SUBJECTS {
        written.extend(["\n## ", subject, "\n\n| invariant | why | the other side |\n|---|---|---|\n"]);
        for Invariant { name, why, other_side, .. } in invariants {
            let sentence = name.replace('_', " ");
            written.extend(["| ", sentence.as_str(), " | ", *why, " | `", *other_side, "` |\n"]);
        }
    }
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/template.md");
        std::fs::write(path, &written).expect("written");
    }
    assert!(file("docs/template.md") == written, "not current: UPDATE_DOCUMENTS=1 cargo test --test template");
}

/// `sam local start-api` decides by the first resource of a kind that it knows, where it looks for an API.
#[test]
fn sam_local_finds_the_api() {
    let template = file("template.yaml");
    let place = |words: &str| template.find(words).expect(words);
    assert!(place("\n  HttpApi:\n") < place("Type: AWS::Serverless::Function"));
}

/// `cargo lambda build` sets `-C panic=abort` unless the profile says otherwise, and a panic would then take the other
/// jobs of its batch with it. <https://www.cargo-lambda.info/commands/build.html>
#[test]
fn what_is_deployed_unwinds_as_what_is_tested_does() {
    let manifest = file("Cargo.toml");
    let (_, profile) = manifest.split_once("[profile.release]").expect("a profile");
    let profile = profile.split("\n[").next().expect("its lines");
    assert!(profile.lines().any(|line| line == r#"panic = "unwind""#), "{profile}");
}
