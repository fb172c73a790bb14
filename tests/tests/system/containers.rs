//! What a container gets of a running system, by the files that the stack writes for `sam local`.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_sqs::types::QueueAttributeName;
use serde_norway::Value;
use shared::ports::JobStore as _;
use shared_aws::dynamodb::DynamoStore;
use tests::fixtures::FIXTURES;
use tests::system::{OTHER_ADDRESS, sqs_client, system};
use tests::table::{Meter, client_of};

/// Each function's variables.
fn functions() -> BTreeMap<String, BTreeMap<String, String>> {
    serde_json::from_str(&system().file("data/sam-env.json")).expect("variables by function")
}

fn template() -> Value {
    let template = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml"));
    serde_norway::from_str(&template.expect("readable")).expect("YAML")
}

fn names(mapping: &Value) -> BTreeSet<String> {
    let names = mapping.as_mapping().expect("a mapping").keys();
    names.map(|name| name.as_str().expect("text").to_owned()).collect()
}

/// SAM drops what the template does not declare, and passes an empty value, or the name of a resource, for what is not given.
/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/serverless-sam-cli-using-invoke.html>
#[tokio::test]
async fn each_function_gets_every_variable_that_the_template_declares_for_it_and_no_other() {
    let (template, functions) = (template(), functions());
    let resources = template["Resources"].as_mapping().expect("resources").iter();
    let declared = resources.filter(|(_, resource)| resource["Type"] == "AWS::Serverless::Function");
    let of_all = names(&template["Globals"]["Function"]["Environment"]["Variables"]);
    let declared: BTreeMap<_, _> = declared
        .map(|(name, resource)| {
            let own = names(&resource["Properties"]["Environment"]["Variables"]);
            (name.as_str().expect("text").to_owned(), own.union(&of_all).cloned().collect::<BTreeSet<_>>())
        })
        .collect();
    let given: BTreeMap<_, BTreeSet<_>> =
        functions.into_iter().map(|(name, variables)| (name, variables.into_keys().collect())).collect();
    assert_eq!(given, declared);
}

#[tokio::test]
async fn sam_is_told_of_both_files_and_the_parameters_are_some_of_the_templates() {
    let config = include_str!("../../../samconfig.toml");
    for file in ["sam-parameters.toml", "sam-env.json"] {
        assert_eq!(config.matches(&format!(".dray/{file}\"")).count(), 2, "{file}: invoke and start-api");
    }
    let parameters = names(&template()["Parameters"]);
    let file = system().file("data/sam-parameters.toml");
    assert!(file.contains(r#"AuthMode = "none""#), "{file}");
    for line in file.lines() {
        let (name, _) = line.split_once(" = ").expect("a parameter");
        assert!(parameters.contains(name), "{name}");
    }
}

#[tokio::test]
async fn nothing_in_them_is_at_an_address_or_in_a_folder_that_a_container_does_not_reach() {
    for (function, variables) in functions() {
        let aws_url = &variables["ENDPOINT_URL"];
        assert!(aws_url.starts_with(&format!("http://{OTHER_ADDRESS}:")), "{aws_url}");
        for (name, value) in &variables {
            // But for the mail server, which the tests have chosen.
            let reached = !value.contains("127.0.0.1") && !value.starts_with("file:");
            assert!(reached || name == "MAIL_URL", "{function}: {name}={value}");
        }
        let table = DynamoStore::with_client(client_of(aws_url, &Meter::default()), variables["TABLE_NAME"].clone());
        let id = FIXTURES[0].id.parse().expect("an id");
        assert!(table.find(id).await.is_ok(), "{function}: the table");
        for (name, queue) in variables.iter().filter(|(name, _)| name.ends_with("QUEUE_URL")) {
            let asked = sqs_client(aws_url).get_queue_attributes().queue_url(queue);
            let answer = asked.attribute_names(QueueAttributeName::QueueArn).send().await;
            assert!(answer.is_ok(), "{function}: {name}");
        }
    }
}
