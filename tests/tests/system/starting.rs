//! A stack whose functions do not start is not ready, and says why.

use std::path::{Path, PathBuf};

use local::{Environment, Options, Stack};
use tests::system::{options, target_dir};
use tokio::net::TcpListener;

/// An empty folder below the target folder.
fn empty_folder(name: &str) -> PathBuf {
    let folder = target_dir().join("tmp").join(name);
    let _ = std::fs::remove_dir_all(&folder); // what an earlier run has left
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Why the stack does not start.
async fn refusal(options: &Options, environment: Environment) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let started = Stack::start(options, environment, listener, &|_| ()).await;
    format!("{:#}", started.err().expect("it is not ready"))
}

#[tokio::test]
async fn all_settings_that_do_not_fit_are_told_at_once_and_nothing_is_started() {
    let wrong = [
        ("OUTPUT_URL", "ftp://hunter2.example.com"),
        ("MAIL_URL", "smtp://example.com?tls=hunter2"),
        ("MAIL_FROM", "hunter2"),
        ("WEBHOOK_SECRET", "hunter2"),
        ("PUSH_GATEWAY_URL", "hunter2"),
        ("PUSH_GATEWAY_TOKEN", "hunter2 and more"),
        ("WORKER_TIMEOUT_SECONDS", "hunter2"),
        ("RETRY_BASE_SECONDS", "0"),
        ("CSV_FORMULA_GUARD", "hunter2"),
        ("OUTBOUND_ALLOW", "hunter2"),
        ("LOG_LEVEL", "hunter2"),
        ("LOG_FORMAT", "hunter2"),
    ];
    let environment = wrong.iter().fold(Environment::default(), |given, (name, value)| given.with(name, *value));
    let data_dir = empty_folder("starting-settings");
    let told = refusal(&options(data_dir.clone()), environment).await;
    for (name, _) in wrong {
        assert!(told.contains(&format!("{name} does not fit: ")), "{name} in:\n{told}");
    }
    assert!(!told.contains("hunter2"), "{told}");
    assert_eq!(std::fs::read_dir(data_dir).expect("a folder").count(), 0, "neither engine nor stack was there");
}

/// What a program of Linux for this machine begins with, and nothing that could be run.
fn broken_program(of_this_machine: &Path) -> Vec<u8> {
    let mut program = std::fs::read(of_this_machine).expect("a program");
    program.truncate(20); // up to the machine that it is for
    program.resize(64, 0);
    program
}

#[tokio::test]
async fn a_function_that_dies_at_its_start_is_told_with_what_happened() {
    let ends_with_1 = Path::new("/bin/false");
    let folder = empty_folder("starting-dying");
    for name in ["api", "worker", "sweeper", "events"] {
        let bootstrap = folder.join("functions").join(name).join("bootstrap");
        std::fs::create_dir_all(bootstrap.parent().expect("a folder")).expect("made");
        if name == "worker" {
            std::fs::write(bootstrap, broken_program(ends_with_1)).expect("written");
        } else {
            std::fs::copy(ends_with_1, bootstrap).expect("copied");
        }
    }
    let options = Options { functions: Some(folder.join("functions")), ..options(folder.join("data")) };
    let told = refusal(&options, Environment::default()).await;
    for words in
        ["api, sweeper, events: bootstrap exited during init with code 1", "worker: Couldn't execute the bootstrap"]
    {
        assert!(told.contains(words), "{words} in:\n{told}");
    }
}
