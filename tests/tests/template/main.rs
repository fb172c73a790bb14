//! What must hold between `template.yaml` and everything that has the other side of it: code, manual, and AWS.
//!
//! The template is read as SAM translates it. Each invariant is shown to be held by faults that it finds; a page of the
//! manual lists them all.

mod alarms;
mod canary;
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
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::system::target_dir;
use tokio::sync::OnceCell;

use crate::invariant::{Invariant, Mutation};
use crate::stack::{Template, file};

/// What invariants are about, and those.
type Subject = (&'static str, &'static [Invariant]);

/// Those of the template, by subject.
const SUBJECTS: [Subject; 8] = [
    ("Table and bucket", storage::ALL),
    ("Queues and streams", queues::ALL),
    ("Functions", functions::ALL),
    ("Settings", settings::ALL),
    ("HTTP", http::ALL),
    ("Permissions", permissions::ALL),
    ("Alarms", alarms::ALL),
    ("Dashboard and queries", dashboard::ALL),
];

/// Those of its variant that deploys by alias alone.
const BY_ALIAS: Subject = ("Deploying by alias", canary::ALL);

fn all_subjects() -> impl Iterator<Item = Subject> {
    SUBJECTS.into_iter().chain([BY_ALIAS])
}

fn invariants_of(subjects: impl IntoIterator<Item = Subject>) -> impl Iterator<Item = &'static Invariant> {
    subjects.into_iter().flat_map(|(_, invariants)| invariants.iter())
}

fn mutations_of(
    subjects: impl IntoIterator<Item = Subject>,
) -> impl Iterator<Item = (&'static Invariant, &'static Mutation)> {
    invariants_of(subjects).flat_map(|invariant| invariant.mutations.iter().map(move |mutation| (invariant, mutation)))
}

/// A template as SAM translates it, and what it translates each mutant to, or why it does not.
struct Translated {
    template: Template,
    mutants: Vec<(&'static Invariant, &'static Mutation, Result<Template, String>)>,
}

/// The template of this repository, and its variant that deploys by alias; the first time that somebody asks.
async fn translated() -> &'static [Translated; 2] {
    static TRANSLATED: OnceCell<[Translated; 2]> = OnceCell::const_new();
    let both = || async {
        // SAM's translator comes with the local AWS, which deploys the same template by it.
        let packages = local::engine::install(&target_dir(), &|_| ()).await.expect("installed");
        let template = translate(&packages, &file("template.yaml"), &SUBJECTS);
        [template, translate(&packages, &canary::by_alias(), &[BY_ALIAS])]
    };
    TRANSLATED.get_or_init(both).await
}

/// All in one process.
fn translate(packages: &Path, template: &str, subjects: &[Subject]) -> Translated {
    let mutations: Vec<_> = mutations_of(subjects.iter().copied()).collect();
    let mut python = Command::new("python3");
    python.args(["-c", include_str!("translate.py")]).env("PYTHONPATH", packages);
    let mut python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 starts");
    let edits: Vec<_> = mutations.iter().map(|(_, mutation)| mutation.as_edit()).collect();
    let asked = json!({ "template": template, "mutants": edits });
    python.stdin.take().expect("piped").write_all(asked.to_string().as_bytes()).expect("it reads all");
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success(), "a mutation does not fit the template, or SAM's translator has changed");
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut answers = answers.into_iter().map(|mut answer| match answer["translated"].take() {
        Value::Null => Err(answer["refused"].to_string()),
        translated => Ok(Template(translated)),
    });
    let template = answers.next().expect("the template").unwrap_or_else(|error| panic!("SAM refuses it: {error}"));
    let mutants: Vec<_> = mutations.into_iter().zip(answers).map(|((of, mutation), one)| (of, mutation, one)).collect();
    assert_eq!(mutants.len(), edits.len());
    Translated { template, mutants }
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
    let [Translated { template, .. }, _] = translated().await;
    let violations =
        invariants_of(SUBJECTS).filter_map(|one| Some(format!("{}: {}", one.name, violation(one, template)?)));
    let violations: Vec<_> = violations.collect();
    assert!(violations.is_empty(), "{}", violations.join("\n\n"));
}

#[tokio::test]
async fn so_does_the_variant_that_deploys_by_alias_but_for_what_is_named() {
    let [_, Translated { template, .. }] = translated().await;
    let mut excepted: BTreeSet<_> = canary::EXCEPTIONS.iter().map(|(name, _)| *name).collect();
    let mut wrong = vec![];
    for one in invariants_of(all_subjects()) {
        match (violation(one, template), excepted.remove(one.name)) {
            (Some(violation), false) => wrong.push(format!("{}: {violation}", one.name)),
            (None, true) => wrong.push(format!("{} holds, and is no exception", one.name)),
            (Some(_), true) | (None, false) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(excepted.is_empty(), "no such invariants: {excepted:?}");
}

#[tokio::test]
async fn every_fault_is_found_by_the_invariant_that_it_is_listed_with() {
    let mut unseen = vec![];
    for (invariant, mutation, mutant) in translated().await.iter().flat_map(|one| &one.mutants) {
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
    let names: BTreeSet<_> = invariants_of(all_subjects()).map(|invariant| invariant.name).collect();
    assert_eq!(names.len(), invariants_of(all_subjects()).count(), "two have one name");
    assert!(names.len() >= 40, "{}", names.len());
    for subjects in [SUBJECTS.as_slice(), &[BY_ALIAS]] {
        let edits = mutations_of(subjects.iter().copied()).map(|(_, mutation)| mutation.as_edit().to_string());
        let edits: Vec<_> = edits.collect();
        assert_eq!(edits.iter().collect::<BTreeSet<_>>().len(), edits.len(), "a fault stands with two invariants");
    }
    for invariant in invariants_of(all_subjects()) {
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
    for (subject, invariants) in all_subjects() {
        written.extend([
            "\n## ",
            subject,
            "\n\n| invariant | why | the other side | faults that it finds |\n|---|---|---|---|\n",
        ]);
        for Invariant { name, why, other_side, mutations, .. } in invariants {
            let sentence = name.replace('_', " ");
            let faults: Vec<_> = mutations.iter().map(|mutation| code(&mutation.to_string())).collect();
            let faults = faults.join("<br>");
            written.extend([
                "| ",
                sentence.as_str(),
                " | ",
                *why,
                " | `",
                *other_side,
                "` | ",
                faults.as_str(),
                " |\n",
            ]);
        }
    }
    written.push_str(
        "\nThe variant keeps all invariants of the template as well, except:\n\n| invariant | why not |\n|---|---|\n",
    );
    for (name, why) in canary::EXCEPTIONS {
        written.extend(["| ", name.replace('_', " ").as_str(), " | ", why, " |\n"]);
    }
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/template.md");
        std::fs::write(path, &written).expect("written");
    }
    assert!(file("docs/template.md") == written, "not current: UPDATE_DOCUMENTS=1 cargo test --test template");
}

/// The text as code in a cell of a table.
fn code(text: &str) -> String {
    let text = text.replace('|', "\\|");
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
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
