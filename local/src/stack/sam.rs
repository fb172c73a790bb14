//! What the SAM CLI must know to run the functions in containers beside the local AWS: two files, which `samconfig.toml`
//! names.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::stack::environment::architecture;

/// Each function's environment variables, for `--env-vars`.
const VARIABLES: &str = "sam-env.json";

/// The template's parameters, for `--parameter-overrides`.
const PARAMETERS: &str = "sam-parameters.toml";

/// Writes both files. The functions get what they have in the local AWS at `engine_url`, which containers reach at
/// `containers_reach_it_at`. If they do not, there are no files: better no `sam local` than one that calls nobody, or AWS.
pub async fn write(
    data_dir: &Path,
    engine_url: &str,
    containers_reach_it_at: Option<&str>,
    outputs: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let files = [VARIABLES, PARAMETERS].map(|name| data_dir.join(name));
    let Some(aws_url) = containers_reach_it_at else {
        for file in files.iter().filter(|file| file.exists()) {
            std::fs::remove_file(file).context("failed to tidy up the data folder")?;
        }
        return Ok(());
    };
    let bucket = outputs.get("OutputBucketName").context("template.yaml has no output OutputBucketName")?;
    let mut functions = BTreeMap::new();
    for (output, function) in outputs {
        // By convention of the template, the resource `ApiFunction` is the output `ApiFunctionName`.
        let resource = output.strip_suffix("Name").filter(|resource| resource.ends_with("Function"));
        if let Some(resource) = resource {
            let variables = variables_of(engine_url, function).await.context("failed to look at a function")?;
            functions.insert(resource, in_container(variables, engine_url, aws_url, bucket));
        }
    }
    let variables = serde_json::to_string_pretty(&functions).context("failed to write JSON")?;
    let architecture = architecture();
    let parameters = format!("AuthMode = \"none\"\nArchitecture = \"{architecture}\"\nEndpointUrl = \"{aws_url}\"\n");
    for (file, text) in files.iter().zip([variables, parameters]) {
        write_private(file, &text).context("failed to write to the data folder")?;
    }
    Ok(())
}

/// A function as the engine shows it, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    environment: Environment,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Environment {
    variables: BTreeMap<String, String>,
}

async fn variables_of(engine_url: &str, function: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let url = format!("{engine_url}/2015-03-31/functions/{function}/configuration");
    let configuration: Configuration = reqwest::get(url).await?.error_for_status()?.json().await?;
    Ok(configuration.environment.variables)
}

/// The variables as a container needs them: with AWS at another address, and with nothing in folders of this machine.
fn in_container(
    mut variables: BTreeMap<String, String>,
    engine_url: &str,
    aws_url: &str,
    bucket: &str,
) -> BTreeMap<String, String> {
    for (name, value) in &mut variables {
        if let Some(path) = value.strip_prefix(engine_url) {
            *value = format!("{aws_url}{path}");
        }
        match name.as_str() {
            "OUTPUT_URL" if value.starts_with("file://") => *value = format!("s3://{bucket}/output"),
            "MAIL_URL" if value.starts_with("file://") => "ses://".clone_into(value),
            _ => {}
        }
    }
    variables.insert("ENDPOINT_URL".to_owned(), aws_url.to_owned());
    variables
}

/// Secrets are among the variables.
fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn a_container_is_told_of_the_local_aws_by_the_address_that_it_reaches() {
        let (engine, reached) = ("http://127.0.0.1:4566", "http://172.17.0.1:4566");
        let given = map([
            ("ENDPOINT_URL", ""),
            ("MAIL_URL", "file:///home/ada/output/mail"),
            ("OUTPUT_URL", "file:///home/ada/output"),
            ("QUEUE_URL", "http://127.0.0.1:4566/000000000000/dray-jobs"),
            ("TABLE_NAME", "dray-JobsTable-1"),
        ]);
        let expected = map([
            ("ENDPOINT_URL", "http://172.17.0.1:4566"),
            ("MAIL_URL", "ses://"),
            ("OUTPUT_URL", "s3://outputs/output"),
            ("QUEUE_URL", "http://172.17.0.1:4566/000000000000/dray-jobs"),
            ("TABLE_NAME", "dray-JobsTable-1"),
        ]);
        assert_eq!(in_container(given, engine, reached, "outputs"), expected);
        let chosen = [("MAIL_URL", "smtp://mail.example.com:25"), ("OUTPUT_URL", "s3://mine/here")];
        let mut expected = map(chosen);
        expected.insert("ENDPOINT_URL".to_owned(), reached.to_owned());
        assert_eq!(in_container(map(chosen), engine, reached, "outputs"), expected);
    }

    #[tokio::test]
    async fn what_no_container_reaches_leaves_no_files_of_an_earlier_start() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [VARIABLES, PARAMETERS] {
            write_private(&folder.path().join(name), "of an earlier start").expect("written");
        }
        write(folder.path(), "http://127.0.0.1:4566", None, &BTreeMap::new()).await.expect("tidied up");
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0);
    }
}
