//! A real SMTP server for tests: aiosmtpd.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

const REQUIREMENTS: &str = include_str!("smtp_requirements.txt");
const SERVER: &str = include_str!("smtp_server.py");

/// A running server. It ends when dropped, or with this process.
pub struct SmtpServer {
    child: Child,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    taken: Mutex<(Receiver<Value>, Vec<Value>)>,
}

impl SmtpServer {
    /// Starts one on a free port. Its packages are put under `target_dir` the first time.
    pub async fn start(target_dir: &Path) -> Self {
        let packages =
            local::engine::python::install("aiosmtpd", REQUIREMENTS, target_dir, &|| ()).await.expect("installed");
        let mut command = Command::new("python3");
        command.args(["-c", SERVER]).env("PYTHONPATH", packages).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = lines.next().expect("a port").expect("readable").parse().expect("a port");
        let (sender, taken) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let message = serde_json::from_str(&line).expect("JSON");
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        Self { child, port, taken: Mutex::new((taken, vec![])) }
    }

    /// The e-mails it has taken so far for this recipient, waiting a moment for the first.
    pub fn taken_for(&self, recipient: &str) -> Vec<Value> {
        let mut guard = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (arriving, taken) = &mut *guard;
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            taken.extend(arriving.try_iter());
            let to_them =
                |message: &&Value| message["to"].as_array().is_some_and(|to| to.iter().any(|one| one == recipient));
            let found: Vec<_> = taken.iter().filter(to_them).cloned().collect();
            if !found.is_empty() || Instant::now() > end {
                return found;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
