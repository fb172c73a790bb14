//! `cargo run` as a newcomer meets it: one command, a first job, an e-mail, Ctrl-C, and again.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A running `dray`, and what it says. Killed when dropped.
struct Dray {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Dray {
    fn start(folder: &Path, port: u16) -> Self {
        Self::start_with(folder, port, &[])
    }

    /// The same with these settings.
    fn start_with(folder: &Path, port: u16, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dray"));
        command.args(["--port", &port.to_string()]).current_dir(folder).stdin(Stdio::null());
        if let Some(functions) = std::env::var_os("DRAY_FUNCTIONS").filter(|folder| !folder.is_empty()) {
            let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            command.arg("--functions").arg(repository.join(functions));
        }
        for setting in ["OUTPUT_URL", "MAIL_URL", "MAIL_FROM", "WEBHOOK_SECRET", "LOG_LEVEL", "LOG_FORMAT"] {
            command.env_remove(setting);
        }
        command.envs(settings.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("dray starts");
        let (sender, lines) = channel();
        let outputs: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
            });
        }
        Self { child, lines, said: vec![] }
    }

    /// Waits for a line with all these words in it.
    fn says(&mut self, words: &[&str]) -> String {
        let end = Instant::now() + Duration::from_secs(600); // the first time, it builds the functions
        loop {
            let fits = |line: &&String| words.iter().all(|word| line.contains(word));
            if let Some(line) = self.said.iter().find(fits) {
                return line.clone();
            }
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no {words:?} in:\n{}", self.said.join("\n"))
                }
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a small number");
        kill_process(Pid::from_raw(id).expect("a process"), signal).expect("signalled");
    }

    fn ends(&mut self) -> ExitStatus {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().expect("watchable") {
                return status;
            }
            assert!(Instant::now() < end, "does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Dray {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn post(url: &str, path: &str, body: &str) -> String {
    let request = reqwest::Client::new().post(format!("{url}{path}")).header("content-type", "application/json");
    let answer: Value = request.body(body.to_owned()).send().await.expect("answers").json().await.expect("JSON");
    assert_eq!(answer["status"], "pending", "{answer}");
    answer["job_id"].as_str().expect("an id").to_owned()
}

async fn get(url: &str, id: &str) -> Value {
    reqwest::get(format!("{url}/jobs/{id}")).await.expect("answers").json().await.expect("JSON")
}

/// Whether the engine whose state is in `folder` still answers, a moment after it should have ended.
fn engine_is_gone(folder: &Path) -> bool {
    let port = std::fs::read_to_string(folder.join(".dray/engine-port")).expect("a port");
    let address = format!("127.0.0.1:{port}");
    let end = Instant::now() + Duration::from_secs(15);
    while std::net::TcpStream::connect(&address).is_ok() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    true
}

/// All files below `folder`, and when each was last written.
fn files_below(folder: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("what it is");
        if metadata.is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.insert(entry.path(), metadata.modified().expect("a time"));
        }
    }
    files
}

/// The code blocks of docs/local-aws.md that are written in `language`.
fn blocks(language: &str) -> Vec<String> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/local-aws.md")).expect("the page");
    let blocks = page.split("\n```").skip(1).step_by(2); // every other fence closes one
    blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n').map(str::to_owned)).collect()
}

/// Runs what docs/local-aws.md says about the job `id` in the folder where `dray` runs, until each command has said all
/// that it shall.
async fn an_operator_can_follow(id: &str, folder: &Path) {
    let target_dir = Path::new(env!("CARGO_BIN_EXE_dray")).ancestors().nth(2).expect("a target folder");
    let packages = local::engine::install(target_dir, &|line| eprintln!("{line}")).await.expect("installed");
    let shell = blocks("sh");
    let block = |start: &str| shell.iter().find(|block| block.starts_with(start)).expect("is on the page");
    let (environment, search) = (block(". "), block("grep "));
    let mut commands = vec![(search.clone(), vec![r#""message":"job.accepted""#, r#""message":"job.failed""#])];
    let said = [vec!["job.accepted", "job.retrying", "job.failed"], vec![r#""status": "failed""#, id], vec![id]];
    let programs = blocks("python");
    assert_eq!(programs.len(), said.len());
    commands.extend(programs.iter().map(|program| format!("python3 - <<'END'\n{program}\nEND")).zip(said));
    for (command, expected) in commands {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let mut sh = Command::new("sh");
            sh.args(["-c", &format!("{environment}\n{command}")]).current_dir(folder).env_clear();
            for inherited in ["PATH", "HOME", "LD_LIBRARY_PATH"] {
                sh.envs(std::env::var_os(inherited).map(|value| (inherited, value)));
            }
            let output = sh.env("JOB_ID", id).env("PYTHONPATH", &packages).output().expect("sh starts");
            assert!(output.status.success(), "{command}: {output:?}");
            let output = String::from_utf8(output.stdout).expect("text");
            if expected.iter().all(|words| output.contains(words)) {
                break;
            }
            assert!(Instant::now() < end, "{command} does not say {expected:?}, but:\n{output}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test]
async fn one_command_runs_the_system_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut dray = Dray::start(folder, 0);
    let ready = dray.says(&["ready: http://127.0.0.1:"]);
    let url = ready.strip_prefix("ready: ").expect("an address").to_owned();
    for size in ["api", "worker", "sweeper", "events"] {
        dray.says(&[size, "MB zipped"]);
    }
    dray.says(&["curl -X POST", &url]);

    let csv = post(&url, "/jobs", r#"{"type":"csv-generation","payload":{"name":"Alice","score":95}}"#).await;
    for event in ["accepted", "started", "completed"] {
        dray.says(&[event, &csv, " ms"]);
    }
    let file = std::fs::read_to_string(folder.join(format!("output/{csv}.csv"))).expect("the file");
    assert_eq!(file, "key,value\nname,Alice\nscore,95\n");
    assert_eq!(get(&url, &csv).await["result"], format!("output/{csv}.csv"));

    let email = post(&url, "/jobs/email", r#"{"to":"ada@example.com","subject":"Hi","body":"Dear Ada"}"#).await;
    dray.says(&["completed", &email]);
    assert!(folder.join(format!("output/mail/{email}.eml")).exists());

    let failing = post(&url, "/jobs", r#"{"type":"rehearsal","payload":{"attempts":["fail","give_up"]}}"#).await;
    dray.says(&["retrying", &failing, "told to fail"]);
    dray.says(&["failed", &failing, "told to give up"]);
    dray.says(&["  . .dray/aws.env"]);
    an_operator_can_follow(&failing, folder).await;

    // A second one: neither the port nor the data folder is free.
    let port = url.rsplit(':').next().expect("a port").parse().expect("a port");
    let mut second = Dray::start(folder, port);
    second.says(&["dray: port", "is taken", "--port"]);
    assert!(!second.ends().success());
    let mut third = Dray::start(folder, 0);
    third.says(&["dray:", "in use by another dray", "--data-dir"]);
    assert!(!third.ends().success());

    let payload = json!({ "to": "ada@example.com", "subject": "Later", "body": "Dear Ada" });
    let waiting = json!({ "type": "email-send", "payload": payload, "delay_seconds": 5 });
    let waiting = post(&url, "/jobs", &waiting.to_string()).await;
    dray.signal(Signal::TERM);
    assert!(dray.ends().success());
    assert!(engine_is_gone(folder));

    // With a setting that does not fit, nothing is done with what waits.
    let before = files_below(folder);
    let mut wrong = Dray::start_with(folder, 0, &[("MAIL_URL", "smtp://relay?tls=maybe")]);
    wrong.says(&["MAIL_URL does not fit"]);
    assert!(!wrong.ends().success());
    assert_eq!(files_below(folder), before);

    // Again, from the same folder: what was there is there.
    let mut again = Dray::start(folder, port);
    again.says(&["ready: "]);
    assert_eq!(get(&url, &csv).await["status"], "completed");
    assert_eq!(get(&url, &format!("{waiting}?wait=20")).await["status"], "completed");
    assert!(folder.join(format!("output/mail/{waiting}.eml")).exists());
    let more = post(&url, "/jobs", r#"{"type":"csv-generation","payload":{"name":"Bob"}}"#).await;
    again.says(&["completed", &more]);

    // However it ends, it takes everything with it.
    again.signal(Signal::KILL);
    again.ends();
    assert!(engine_is_gone(folder));
}

#[test]
fn what_a_person_sets_wrong_is_answered_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(
        folder.path().join(".env"),
        "WEBHOOK_SECRET=abc\nMAIL_URL=smtp://relay?tls=maybe\nMAIL_FROM=nobody\nLOG_LEVEL=loud\n",
    )
    .expect("written");
    let mut dray = Dray::start(folder.path(), 0);
    dray.says(&["dray: not all settings fit"]);
    for setting in ["WEBHOOK_SECRET", "MAIL_URL", "MAIL_FROM", "LOG_LEVEL"] {
        dray.says(&[&format!("{setting} does not fit: it must be ")]);
    }
    assert!(!dray.ends().success());
    assert!(!folder.path().join(".dray").exists(), "{:?}", dray.said);
}

#[test]
fn what_a_person_types_wrong_is_answered() {
    let output = Command::new(env!("CARGO_BIN_EXE_dray")).arg("--prot").output().expect("dray starts");
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--port"), "{output:?}");
}
