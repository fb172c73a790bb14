//! Deploys `template.yaml` to the local AWS.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use reqwest::Client;

use crate::stack::functions::Function;

/// The stack's name.
const STACK: &str = "dray";

/// The bucket that the functions' code and the template are put into, as `sam deploy` does with one of its own: a request
/// takes no template of more than 51,200 bytes.
const CODE_BUCKET: &str = "dray-code";

/// Deploys `template` with these functions as its code. Gives the stack's outputs.
pub async fn deploy(
    engine_url: &str,
    template: &str,
    functions: &[Function],
    parameters: &[(String, String)],
) -> anyhow::Result<BTreeMap<String, String>> {
    let aws = LocalAws { client: Client::new(), url: engine_url.to_owned() };
    aws.put(CODE_BUCKET, vec![]).await.context("failed to make a bucket for the code")?;
    for function in functions {
        let key = format!("{CODE_BUCKET}/{}", function.file_name);
        aws.put(&key, function.zip.clone()).await.with_context(|| format!("failed to upload {}", function.name))?;
    }
    let template_key = format!("{CODE_BUCKET}/template.yaml");
    let template = with_code(template, functions)?.into_bytes();
    aws.put(&template_key, template).await.context("failed to upload template.yaml")?;
    let template_url = format!("{engine_url}/{template_key}");
    let exists = aws.call("DescribeStacks", &[]).await.is_ok();
    let action = if exists { "UpdateStack" } else { "CreateStack" };
    match aws.call(action, &arguments(template_url, parameters)).await {
        Err(error) if error.to_string().contains("No updates are to be performed") => {}
        answer => drop(answer.context("failed to deploy template.yaml")?),
    }
    aws.wait_for_outputs().await
}

fn arguments(template_url: String, parameters: &[(String, String)]) -> Vec<(String, String)> {
    let mut arguments = vec![
        ("TemplateURL".to_owned(), template_url),
        ("Capabilities.member.1".to_owned(), "CAPABILITY_IAM".to_owned()),
        ("Capabilities.member.2".to_owned(), "CAPABILITY_AUTO_EXPAND".to_owned()),
    ];
    for (index, (name, value)) in parameters.iter().enumerate() {
        let member = format!("Parameters.member.{}", index + 1);
        arguments.push((format!("{member}.ParameterKey"), name.clone()));
        arguments.push((format!("{member}.ParameterValue"), value.clone()));
    }
    arguments
}

/// The template with each function's `CodeUri` pointing at its uploaded code, which is what `sam package` makes of it. And with the one parameter written out that the engine would take for a text where it needs a number.
fn with_code(template: &str, functions: &[Function]) -> anyhow::Result<String> {
    let mut binary = None;
    let mut placed = 0;
    let mut lines = vec![];
    for line in template.lines() {
        if let Some((_, name)) = line.split_once("Binary: ") {
            binary = Some(name.trim());
        }
        if let Some((indent, _)) = line.split_once("CodeUri: ") {
            let function = functions.iter().find(|function| Some(function.name) == binary);
            let function =
                function.with_context(|| format!("template.yaml names a binary that is not built: {binary:?}"))?;
            lines.push(format!("{indent}CodeUri: s3://{CODE_BUCKET}/{}", function.file_name));
            placed += 1;
        } else {
            lines.push(line.replace("MaximumConcurrency: !Ref WorkerConcurrency", "MaximumConcurrency: 10"));
        }
    }
    ensure!(placed == functions.len(), "template.yaml has {placed} functions, but {} are built", functions.len());
    Ok(lines.join("\n"))
}

/// The few calls that deploying takes. The engine checks no signatures.
struct LocalAws {
    client: Client,
    url: String,
}

impl LocalAws {
    async fn put(&self, path: &str, body: Vec<u8>) -> anyhow::Result<()> {
        let answer = self.client.put(format!("{}/{path}", self.url)).body(body).send().await?;
        answer.error_for_status()?;
        Ok(())
    }

    /// Calls CloudFormation on the stack. The error is what its answer says.
    async fn call(&self, action: &str, arguments: &[(String, String)]) -> anyhow::Result<String> {
        let mut form = vec![
            ("Action".to_owned(), action.to_owned()),
            ("Version".to_owned(), "2010-05-15".to_owned()),
            ("StackName".to_owned(), STACK.to_owned()),
        ];
        form.extend_from_slice(arguments);
        let answer = self.client.post(&self.url).form(&form).send().await?;
        let succeeded = answer.status().is_success();
        let body = answer.text().await?;
        if !succeeded {
            bail!("{action}: {}", texts(&body, "Message").join("; "));
        }
        Ok(body)
    }

    async fn wait_for_outputs(&self) -> anyhow::Result<BTreeMap<String, String>> {
        for _ in 0..600 {
            let stack = self.call("DescribeStacks", &[]).await?;
            match texts(&stack, "StackStatus").first().map(String::as_str) {
                Some("CREATE_COMPLETE" | "UPDATE_COMPLETE") => {
                    return Ok(texts(&stack, "OutputKey").into_iter().zip(texts(&stack, "OutputValue")).collect());
                }
                Some(status) if status.ends_with("_IN_PROGRESS") => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                status => {
                    let events = self.call("DescribeStackEvents", &[]).await?;
                    let reasons = texts(&events, "ResourceStatusReason").join("; ");
                    bail!("template.yaml does not deploy ({}): {reasons}", status.unwrap_or("no status"));
                }
            }
        }
        bail!("template.yaml takes too long to deploy")
    }
}

/// The texts of all elements called `name`.
fn texts(xml: &str, name: &str) -> Vec<String> {
    let Ok(document) = roxmltree::Document::parse(xml) else { return vec![] };
    let elements = document.descendants().filter(|node| node.tag_name().name() == name);
    elements.map(|node| node.text().unwrap_or_default().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &'static str) -> Function {
        Function { name, zip: vec![], file_name: format!("{name}-1.zip") }
    }

    #[test]
    fn the_repositorys_template_gets_the_code_of_each_function() {
        let template = include_str!("../../../template.yaml");
        let packaged = with_code(template, &["api", "worker", "sweeper", "events"].map(function)).expect("fits");
        for name in ["api", "worker", "sweeper", "events"] {
            assert_eq!(packaged.matches(&format!("CodeUri: s3://dray-code/{name}-1.zip")).count(), 1, "{name}");
        }
        assert!(!packaged.contains("CodeUri: functions"));
        assert!(packaged.contains("MaximumConcurrency: 10"));
        let changed = packaged.lines().zip(template.lines()).filter(|(new, old)| new != old).count();
        assert_eq!(changed, 5, "nothing else is touched");
    }

    #[test]
    fn a_template_with_another_function_is_refused() {
        let error = with_code("Binary: other\nCodeUri: functions/other", &[function("api")]);
        assert!(error.is_err());
    }
}
