//! What boto3 and the AWS CLI must know to reach the local AWS, as a file for the shell.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;

/// The file's name in the data folder.
pub const FILE: &str = "aws.env";

/// Writes the file: where the engine and the API are, and the template's outputs by the names that the commands of
/// docs/operating.md have for them.
pub fn write(
    data_dir: &Path,
    engine_url: &str,
    api_url: &str,
    outputs: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    std::fs::write(data_dir.join(FILE), text(engine_url, api_url, outputs))
        .context("failed to write to the data folder")
}

fn text(engine_url: &str, api_url: &str, outputs: &BTreeMap<String, String>) -> String {
    // The engine checks no credentials; its clients want some. boto3 and the AWS CLI have each a variable for the region.
    let mut variables: BTreeMap<String, &str> = [
        ("AWS_ENDPOINT_URL", engine_url),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    variables.extend(outputs.iter().map(|(name, value)| (variable(name), value.as_str())));
    variables.insert("API_URL".to_owned(), api_url); // the output is the engine's own address of it
    let lines = variables.iter().map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', r"'\''")));
    lines.collect::<Vec<_>>().concat()
}

/// `DeadLetterQueueUrl` as `DEAD_LETTER_QUEUE_URL`.
fn variable(output: &str) -> String {
    let mut name = String::new();
    for letter in output.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_that_reads_the_file_knows_the_engine_and_the_outputs_by_the_names_of_the_docs() {
        let outputs = [
            ("ApiUrl", "http://abc.execute-api.127.0.0.1:4566"),
            ("DeadLetterQueueUrl", "http://127.0.0.1:4566/000000000000/dray-dead"),
            ("EventsTopicArn", "it's"),
        ];
        let outputs = outputs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let expected = [
            "export API_URL='http://127.0.0.1:3000'",
            "export AWS_ACCESS_KEY_ID='test'",
            "export AWS_DEFAULT_REGION='us-east-1'",
            "export AWS_ENDPOINT_URL='http://127.0.0.1:4566'",
            "export AWS_REGION='us-east-1'",
            "export AWS_SECRET_ACCESS_KEY='test'",
            "export DEAD_LETTER_QUEUE_URL='http://127.0.0.1:4566/000000000000/dray-dead'",
            r"export EVENTS_TOPIC_ARN='it'\''s'",
        ];
        let text = text("http://127.0.0.1:4566", "http://127.0.0.1:3000", &outputs);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
