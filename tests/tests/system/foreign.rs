//! What a web page can make a browser send to this machine is refused at each port of the stack, and no answer is for it
//! to read. What programs send is taken.

use std::time::Duration;

use serde_json::Value;
use tests::system::{OTHER_ADDRESS, System, system};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A method, headers in which `HERE` is the address that is asked, and whether the request is taken.
type Case = (&'static str, &'static [(&'static str, &'static str)], bool);

/// What is the same at each port.
const EVERYWHERE: [Case; 15] = [
    ("GET", &[("Host", "HERE")], true),
    ("POST", &[("Host", "HERE")], true),
    ("GET", &[("Host", "localhost:1")], true),
    ("POST", &[("Host", "[::1]:1")], true),
    ("GET", &[("Host", "HERE"), ("Sec-Fetch-Site", "none")], true),
    ("GET", &[("Host", "evil.example")], false),
    ("POST", &[("Host", "evil.example")], false),
    ("GET", &[("Host", "127.0.0.1.evil.example")], false),
    ("GET", &[("Host", "evil.example"), ("Sec-Fetch-Site", "same-origin")], false),
    ("POST", &[("Host", "evil.example"), ("Origin", "http://evil.example"), ("Sec-Fetch-Site", "same-origin")], false),
    ("POST", &[("Host", "HERE"), ("Origin", "https://evil.example")], false),
    ("POST", &[("Host", "HERE"), ("Origin", "null")], false),
    ("POST", &[("Host", "HERE"), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")], false),
    ("GET", &[("Host", "HERE"), ("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "no-cors")], false),
    (
        "OPTIONS",
        &[("Host", "HERE"), ("Origin", "https://evil.example"), ("Access-Control-Request-Method", "POST")],
        false,
    ),
];

/// A page's request for a WebSocket.
const WEB_SOCKET: Case = (
    "GET",
    &[
        ("Host", "HERE"),
        ("Origin", "https://evil.example"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ],
    false,
);

/// A link on a page, followed.
const LINK: &[(&str, &str)] = &[
    ("Host", "HERE"),
    ("Sec-Fetch-Site", "cross-site"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Dest", "document"),
];

/// Sends each request to `path` at `address`, and checks that it is answered as it must be.
async fn check(address: &str, path: &str, cases: impl IntoIterator<Item = Case>) {
    for (method, headers, is_taken) in cases {
        let line = |&(name, value): &(&str, &str)| format!("{name}: {}\r\n", value.replace("HERE", address));
        let headers = headers.iter().map(line).collect::<Vec<_>>().concat();
        let request = format!("{method} {path} HTTP/1.1\r\n{headers}Content-Length: 0\r\n\r\n");
        let head = tokio::time::timeout(Duration::from_secs(30), ask(address, &request)).await.expect("is answered");
        assert_eq!(!head.starts_with("http/1.1 403 "), is_taken, "{request}{head}");
        assert!(!head.contains("access-control-"), "{request}{head}");
    }
}

/// The head of the answer to a request, in small letters.
async fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("listens");
    stream.write_all(request.as_bytes()).await.expect("is sent");
    let mut answer = vec![];
    let mut chunk = [0; 4096];
    loop {
        let length = stream.read(&mut chunk).await.expect("readable");
        answer.extend_from_slice(&chunk[..length]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            return head.to_ascii_lowercase();
        }
        assert!(length > 0, "no answer to {request}, but {text}");
    }
}

/// Where what has this URL listens: there, and where containers would come.
fn addresses_of(url: &str) -> [String; 2] {
    let address = url.strip_prefix("http://").expect("http");
    let (_, port) = address.rsplit_once(':').expect("a port");
    [address.to_owned(), format!("{OTHER_ADDRESS}:{port}")]
}

#[tokio::test]
async fn the_api_takes_nothing_from_a_foreign_page_but_a_followed_link() {
    let cases: [Case; 7] = [
        WEB_SOCKET,
        ("GET", &[], false),
        ("GET", &[("Host", "HERE"), ("Host", "evil.example")], false),
        ("GET", LINK, true),
        ("POST", LINK, false),
        ("POST", &[("Host", "HERE"), ("Origin", "http://HERE"), ("Sec-Fetch-Site", "same-origin")], true),
        ("POST", &[("Host", "HERE"), ("Origin", "http://localhost:1"), ("Sec-Fetch-Site", "same-site")], false),
    ];
    for address in addresses_of(&system().url) {
        check(&address, "/queue/resume", EVERYWHERE.into_iter().chain(cases)).await;
    }
}

#[tokio::test]
async fn the_api_says_in_its_own_way_why_it_refuses() {
    let pause = reqwest::Client::new().post(format!("{}/queue/pause", system().url));
    let answer = pause.header("Origin", "https://evil.example").send().await.expect("answers");
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Value = answer.json().await.expect("JSON");
    assert_eq!((&problem["code"], &problem["status"]), (&"foreign_request".into(), &403.into()), "{problem}");
    for field in ["type", "title", "detail"] {
        assert!(problem[field].is_string(), "{problem}");
    }
}

#[tokio::test]
async fn the_engine_takes_nothing_from_any_page() {
    let cases: [Case; 6] = [
        WEB_SOCKET,
        ("GET", LINK, false),
        ("POST", &[("Host", "HERE"), ("Origin", "http://HERE"), ("Sec-Fetch-Site", "same-origin")], false),
        ("GET", &[("Host", "HERE"), ("Sec-Fetch-Site", "same-origin")], false),
        ("GET", &[("Host", "bucket.localhost:1")], true),
        ("GET", &[("Host", "bucket.localhost.evil.example")], false),
    ];
    for address in addresses_of(&system().aws_url) {
        check(&address, "/?Action=ListQueues&Version=2012-11-05", EVERYWHERE.into_iter().chain(cases)).await;
    }
}

/// Where a process of the API's function asks for events.
fn runtime_api(system: &System) -> String {
    let process = system.processes("ApiFunctionName").first().copied().expect("it runs");
    let environment = std::fs::read(format!("/proc/{process}/environ")).expect("readable");
    let environment = String::from_utf8_lossy(&environment);
    let address = environment.split('\0').find_map(|variable| variable.strip_prefix("AWS_LAMBDA_RUNTIME_API="));
    address.expect("a runtime API").to_owned()
}

#[tokio::test]
async fn no_page_can_end_a_function_or_take_its_events() {
    let system = system();
    reqwest::get(format!("{}/queue", system.url)).await.expect("answers"); // so that there is a process
    let address = runtime_api(system);
    let cases: [Case; 2] = [("POST", LINK, false), ("GET", LINK, false)];
    let of_nobody = "/2018-06-01/runtime/invocation/of-nobody/response";
    check(&address, of_nobody, EVERYWHERE.into_iter().chain(cases)).await;
}
