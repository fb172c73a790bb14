//! The program's exit codes, as scripts see them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

fn dray(words: &[&str], url: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dray"));
    command.args(words).env("DRAY_URL", url).env("DRAY_TOKEN", "secret").output().expect("dray starts")
}

/// The address of a service that answers `times` requests so.
fn service(times: usize, status: &str, body: &str) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let head = format!("HTTP/1.1 {status}\r\nx-request-id: r-1\r\nconnection: close\r\ncontent-length: {}", body.len());
    let answer = format!("{head}\r\n\r\n{body}");
    std::thread::spawn(move || {
        for connection in listener.incoming().take(times) {
            let mut connection = connection.expect("a connection");
            let (mut request, mut buffer) = (vec![], [0; 1024]);
            while !request.ends_with(b"\r\n\r\n") {
                let length = connection.read(&mut buffer).expect("a request");
                assert_ne!(length, 0, "the request ended early");
                request.extend_from_slice(&buffer[..length]);
            }
            assert!(String::from_utf8_lossy(&request).contains("authorization: Bearer secret"));
            connection.write_all(answer.as_bytes()).expect("written");
        }
    });
    url
}

#[test]
fn exit_codes_tell_done_from_refused_from_unanswered_from_misunderstood() {
    let queue = r#"{"paused":false,"waiting_messages":0}"#;
    let done = dray(&["queue", "show", "--json"], &service(1, "200 OK", queue));
    assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stdout).trim()), (Some(0), queue));

    let problem = r#"{"status":404,"code":"not_found","detail":"there is no schedule of this name"}"#;
    let refused = dray(&["schedules", "show", "x"], &service(1, "404 Not Found", problem));
    let sentence = "dray: there is no schedule of this name (not_found, request r-1)\n";
    assert_eq!((refused.status.code(), &*String::from_utf8_lossy(&refused.stderr)), (Some(1), sentence));

    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let nobody = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let unanswered = dray(&["queue", "show"], &nobody);
    assert_eq!((unanswered.status.code(), unanswered.stdout.len()), (Some(2), 0), "{unanswered:?}");

    for wrong in [vec!["--prot"], vec!["jobs"], vec!["jobs", "get", "42"], vec!["--port", "1", "queue", "show"]] {
        let output = dray(&wrong, &nobody);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(64), 0), "{wrong:?}");
    }
    let unsendable = dray(&["jobs", "submit", "t", "{"], &nobody);
    assert_eq!(unsendable.status.code(), Some(64), "{unsendable:?}");
    for right in [vec!["--help"], vec!["--version"], vec!["jobs", "--help"], vec!["completions", "zsh"]] {
        let output = dray(&right, &nobody);
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{right:?}");
    }
}
