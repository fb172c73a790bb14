//! Where a payload comes from.

use std::io::Read;

use anyhow::Context as _;

/// The payload that the argument means: the file after `@`, all of `input` for `-`, else the argument itself.
pub fn read(argument: &str, input: &mut dyn Read) -> anyhow::Result<String> {
    if argument == "-" {
        let mut payload = String::new();
        input.read_to_string(&mut payload).context("failed to read standard input")?;
        return Ok(payload);
    }
    match argument.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("failed to read {path}")),
        None => Ok(argument.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_the_argument_a_file_or_the_input() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("payload.json");
        std::fs::write(&path, "[1]").expect("written");
        let mut input = "[2]".as_bytes();
        assert_eq!(read("[0]", &mut input).expect("itself"), "[0]");
        assert_eq!(read(&format!("@{}", path.display()), &mut input).expect("a file"), "[1]");
        assert_eq!(read("-", &mut input).expect("the input"), "[2]");
        let error = read("@/nowhere/a.json", &mut input).expect_err("no file");
        assert!(error.to_string().contains("/nowhere/a.json"), "{error:#}");
    }
}
