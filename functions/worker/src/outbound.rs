//! The way out: the one HTTP client for job types whose URL a caller has a say in.
//!
//! Such a URL may try to lead back inside: to this process, its network, or the platform's store of credentials. So a
//! name is resolved once, every address that it has is checked, and the connection goes to an address that was checked:
//! no second look-up, no redirect and no proxy can lead it elsewhere.

mod address;
mod delivery;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use shared_aws::settings::OutboundAllow;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore};
use url::{Host, Position, Url};

use self::address::is_public;
pub use self::delivery::{Delivered, deliver};

/// Posts JSON to others.
pub struct Outbound {
    policy: OutboundPolicy,
    names: Arc<dyn Names>,
    /// Made at the first call: reading the system's certificates takes longer than all the rest of a worker's start.
    tls: OnceLock<TlsConnector>,
}

/// Where calls may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboundPolicy {
    /// Whether plain http may be used, which anyone on the way can read and answer.
    pub allow_http: bool,
    /// Whether a host may have an address that is not of the public internet.
    pub allow_private: bool,
}

impl OutboundPolicy {
    /// Only https, and only to the public internet. Any port: before a receiver has shown its certificate it gets
    /// nothing of a caller's choosing but the name, so no other protocol can be spoken to through this client.
    pub const PUBLIC: Self = Self { allow_http: false, allow_private: false };

    /// Anything: for one's own machine, where receivers are tried out.
    pub const ANY: Self = Self { allow_http: true, allow_private: true };
}

impl From<OutboundAllow> for OutboundPolicy {
    fn from(allow: OutboundAllow) -> Self {
        match allow {
            OutboundAllow::Public => Self::PUBLIC,
            OutboundAllow::Any => Self::ANY,
        }
    }
}

/// One request: JSON for a URL.
#[derive(Debug)]
pub struct Post<'a> {
    /// Where to.
    pub url: &'a Url,
    /// What stands in the request's head beside what always does.
    pub headers: Vec<(&'static str, String)>,
    /// The JSON.
    pub body: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status. No redirect was followed: it may be a 3xx.
    pub status: StatusCode,
    /// The head.
    pub headers: HeaderMap,
    /// The start of the body: at most 16 KB, and at most what came within two seconds.
    pub body: Vec<u8>,
}

/// Why there is no answer. To be read after whom it is about: "the receiver could not be reached". Says nothing of the
/// URL; what lies beneath it is for the operators' log.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The policy is against it, and nothing was sent.
    #[error("may not be called: {0}")]
    Refused(Refusal),
    /// The host's name has no address, or the name service did not tell.
    #[error("could not be found: its name has no address")]
    Unresolved(#[source] io::Error),
    /// There is no connection, and nothing was sent.
    #[error("could not be reached")]
    Unreachable(#[source] io::Error),
    /// It could not show that it is who it should be, and nothing was sent.
    #[error("could not be trusted: {0}")]
    Untrusted(&'static str),
    /// The connection ended before there was an answer. The request may have arrived.
    #[error("ended the connection without an answer")]
    Broken(#[source] hyper::Error),
    /// The time was over before there was an answer. The request may have arrived.
    #[error("did not answer in time")]
    TooSlow,
}

impl OutboundError {
    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Refused(_) => false,
            Self::Unresolved(_) | Self::Unreachable(_) | Self::Untrusted(_) | Self::Broken(_) | Self::TooSlow => true,
        }
    }
}

/// What the policy has against a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another scheme.
    #[error("its URL is not https")]
    NotHttps,
    /// `https://user:password@host`: a secret in a place where nobody expects one.
    #[error("its URL holds a user name or a password")]
    UserInfo,
    /// At least one address of its host leads back inside.
    #[error("its address is not public")]
    NotPublic,
    /// Its host, its path or a header cannot be written in a request.
    #[error("no request can be made of its URL")]
    Unusable,
}

/// How long to wait for a name's addresses, then for a connection to any of them, then for TLS.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// The most that is kept of an answer's body, in bytes.
const LONGEST_BODY: usize = 16 * 1024;

/// How long to wait for it.
const BODY_TIME: Duration = Duration::from_secs(2);

/// The most that is read of an answer's head, in bytes.
const LONGEST_HEAD: usize = 32 * 1024;

/// As many headers as have room in it, `a:` and a line's end being the shortest. hyper's own limit is 100.
const MOST_HEADERS: usize = LONGEST_HEAD / 4;

const USER_AGENT: &str = concat!("Dray/", env!("CARGO_PKG_VERSION"));

impl Outbound {
    /// A client under this policy. Connects to nothing yet.
    pub fn new(policy: OutboundPolicy) -> Self {
        Self { policy, names: Arc::new(SystemNames), tls: OnceLock::new() }
    }

    /// Posts, and waits for the answer for as long as `within` says.
    pub async fn post(&self, post: Post<'_>, within: Duration) -> Result<Answer, OutboundError> {
        let ends_at = Instant::now() + within;
        // Boxed: with a connection, TLS and HTTP in it, it is too large to be part of every job's future.
        let answer = timeout_at(ends_at, Box::pin(self.post_until(ends_at, post))).await;
        answer.unwrap_or(Err(OutboundError::TooSlow))
    }

    async fn post_until(&self, ends_at: Instant, post: Post<'_>) -> Result<Answer, OutboundError> {
        let target = Target::of(post.url, self.policy)?;
        let request = compose(post).ok_or(OutboundError::Refused(Refusal::Unusable))?;
        let addresses = self.checked_addresses(&target.host).await?;
        let stream = connect(&addresses, target.port).await?;
        match target.server_name {
            None => exchange(stream, request, ends_at).await,
            Some(name) => exchange(self.secure(stream, name).await?, request, ends_at).await,
        }
    }

    /// All addresses of `host`, if none of them is against the policy. One that is would be reason enough not to trust
    /// the others: whoever owns the name can answer differently each time.
    async fn checked_addresses(&self, host: &Host<&str>) -> Result<Vec<IpAddr>, OutboundError> {
        let addresses = match host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => match timeout(CONNECT_TIME, self.names.addresses_of(name)).await {
                Ok(found) => found.map_err(OutboundError::Unresolved)?,
                Err(_elapsed) => return Err(OutboundError::Unresolved(io::ErrorKind::TimedOut.into())),
            },
        };
        if addresses.is_empty() {
            return Err(OutboundError::Unresolved(io::ErrorKind::NotFound.into()));
        }
        if !self.policy.allow_private && !addresses.iter().all(|address| is_public(*address)) {
            return Err(OutboundError::Refused(Refusal::NotPublic));
        }
        Ok(addresses)
    }

    async fn secure(
        &self,
        stream: TcpStream,
        name: ServerName<'static>,
    ) -> Result<TlsStream<TcpStream>, OutboundError> {
        match timeout(CONNECT_TIME, self.tls()?.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(match distrust(&error) {
                Some(reason) => OutboundError::Untrusted(reason),
                None => OutboundError::Unreachable(error),
            }),
            Err(_elapsed) => Err(OutboundError::Unreachable(io::ErrorKind::TimedOut.into())),
        }
    }

    fn tls(&self) -> Result<TlsConnector, OutboundError> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let tls = tls_by_system_roots().map_err(|error| OutboundError::Unreachable(io::Error::other(error)))?;
        Ok(self.tls.get_or_init(|| tls).clone())
    }
}

/// Who a URL leads to.
struct Target<'a> {
    host: Host<&'a str>,
    port: u16,
    /// Whose certificate to ask for. Plain http: nobody's.
    server_name: Option<ServerName<'static>>,
}

impl<'a> Target<'a> {
    fn of(url: &'a Url, policy: OutboundPolicy) -> Result<Self, OutboundError> {
        let secure = match url.scheme() {
            "https" => true,
            "http" if policy.allow_http => false,
            _ => return Err(OutboundError::Refused(Refusal::NotHttps)),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OutboundError::Refused(Refusal::UserInfo));
        }
        let unusable = OutboundError::Refused(Refusal::Unusable);
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else { return Err(unusable) };
        let server_name = match (secure, &host) {
            (false, _) => None,
            (true, Host::Domain(name)) => Some(ServerName::try_from((*name).to_owned()).map_err(|_| unusable)?),
            (true, Host::Ipv4(address)) => Some(ServerName::from(IpAddr::V4(*address))),
            (true, Host::Ipv6(address)) => Some(ServerName::from(IpAddr::V6(*address))),
        };
        Ok(Self { host, port, server_name })
    }
}

/// The request; none if something of it cannot be written in one.
fn compose(post: Post<'_>) -> Option<Request<Full<Bytes>>> {
    let mut request = Request::post(&post.url[Position::BeforePath..Position::AfterQuery])
        .header(header::HOST, &post.url[Position::BeforeHost..Position::AfterPort])
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close");
    for (name, value) in post.headers {
        request = request.header(name, value);
    }
    request.body(Full::new(Bytes::from(post.body))).ok()
}

/// Connects to one of `addresses`, tried in their order. Each gets its share of the time, so that one that swallows
/// everything does not hide the next.
async fn connect(addresses: &[IpAddr], port: u16) -> Result<TcpStream, OutboundError> {
    let ends_at = Instant::now() + CONNECT_TIME;
    let mut failure = io::Error::from(io::ErrorKind::TimedOut);
    for (tried, address) in addresses.iter().enumerate() {
        let untried = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = ends_at.saturating_duration_since(Instant::now()) / untried;
        match timeout(share, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error,
            Err(_elapsed) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(OutboundError::Unreachable(failure))
}

/// Sends `request` and reads the answer. The connection lives as long as this does: there is no pool, whose connections
/// would not outlive the pauses between two invocations anyway.
async fn exchange<S>(stream: S, request: Request<Full<Bytes>>, ends_at: Instant) -> Result<Answer, OutboundError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let opened = http1::Builder::new()
        .max_buf_size(LONGEST_HEAD)
        .max_headers(MOST_HEADERS)
        .handshake(TokioIo::new(stream))
        .await;
    let (sender, connection) = opened.map_err(OutboundError::Broken)?;
    let mut answer = pin!(ask(sender, request, ends_at));
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The other side has closed it. What it said before is still to be read.
        _ = connection => answer.await,
    }
}

async fn ask(
    mut sender: SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    ends_at: Instant,
) -> Result<Answer, OutboundError> {
    let response = sender.send_request(request).await.map_err(OutboundError::Broken)?;
    let (head, body) = response.into_parts();
    // The head is the answer: no body that is late or breaks off takes it back.
    let body = start_of(body, ends_at.min(Instant::now() + BODY_TIME)).await;
    Ok(Answer { status: head.status, headers: head.headers, body })
}

async fn start_of(mut body: Incoming, ends_at: Instant) -> Vec<u8> {
    let mut kept = vec![];
    while kept.len() < LONGEST_BODY {
        let Ok(Some(Ok(frame))) = timeout_at(ends_at, body.frame()).await else { break };
        if let Some(data) = frame.data_ref() {
            let room = LONGEST_BODY - kept.len();
            kept.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    kept
}

/// TLS with the certificates that this system trusts.
fn tls_by_system_roots() -> Result<TlsConnector, rustls::Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        tracing::error!(error = "no certificate authority was found on this system", "outbound.trusts_nobody");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What is wrong with a certificate, if that is what `error` is about. In words of our own: those of the library name
/// the host.
fn distrust(error: &io::Error) -> Option<&'static str> {
    let rustls::Error::InvalidCertificate(problem) = error.get_ref()?.downcast_ref::<rustls::Error>()? else {
        return None;
    };
    Some(match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is another host's"
        }
        CertificateError::UnknownIssuer => "its certificate is from an unknown issuer",
        _ => "its certificate is not valid",
    })
}

/// Knows the addresses that names stand for.
#[async_trait]
trait Names: Send + Sync {
    async fn addresses_of(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// As the operating system does it.
struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn addresses_of(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    /// Long enough for anything on this machine.
    const AMPLE: Duration = Duration::from_secs(20);

    /// A server on this machine that answers each request with `answer`, and the requests that it got.
    pub(crate) async fn server(answer: &str) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
        let answer = answer.to_owned();
        let (listener, address) = listener().await;
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read_request(&mut stream).await;
                if tell.send(request).is_err() || stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
        });
        (address, told)
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    /// A request, head and body.
    async fn read_request(stream: &mut TcpStream) -> String {
        let mut request = vec![];
        loop {
            let text = String::from_utf8_lossy(&request).to_lowercase();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().expect("a length")) {
                    return String::from_utf8(request).expect("UTF-8");
                }
            }
            if stream.read_buf(&mut request).await.expect("readable") == 0 {
                return String::from_utf8_lossy(&request).into_owned();
            }
        }
    }

    /// Names that have these addresses, one answer after the other; the last one is repeated.
    struct Told {
        answers: Mutex<Vec<Vec<IpAddr>>>,
        asked: AtomicU32,
    }

    #[async_trait]
    impl Names for Told {
        async fn addresses_of(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let mut answers = self.answers.lock().expect("not poisoned");
            Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
        }
    }

    fn told(policy: OutboundPolicy, answers: &[&[&str]]) -> (Outbound, Arc<Told>) {
        let answers = Mutex::new(answers.iter().map(|answer| parsed(answer)).collect());
        let names = Arc::new(Told { answers, asked: AtomicU32::new(0) });
        (Outbound { policy, names: names.clone(), tls: OnceLock::new() }, names)
    }

    fn parsed(addresses: &[&str]) -> Vec<IpAddr> {
        addresses.iter().map(|address| address.parse().expect("an address")).collect()
    }

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    fn json_for(url: &Url) -> Post<'_> {
        Post { url, headers: vec![("x-test", "1".to_owned())], body: "{}".to_owned() }
    }

    async fn refused(client: &Outbound, text: &str) -> Refusal {
        match client.post(json_for(&url(text)), AMPLE).await {
            Err(OutboundError::Refused(refusal)) => refusal,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[tokio::test]
    async fn the_request_arrives_as_it_was_meant_and_so_does_the_answer() {
        let (address, mut requests) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: b\r\n\r\nok").await;
        let (client, names) = told(OutboundPolicy::ANY, &[&["127.0.0.1"]]);
        let url = url(&format!("http://receiver.test:{}/a%20b?key=1&x=%7C#top", address.port()));
        let answer = client.post(json_for(&url), AMPLE).await.expect("an answer");
        assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::OK, &b"ok"[..]));
        assert_eq!(answer.headers["x-a"], "b");
        assert_eq!(names.asked.load(Ordering::Relaxed), 1, "a name is looked up once");
        let request = requests.recv().await.expect("a request");
        let (head, body) = request.split_once("\r\n\r\n").expect("a head");
        assert_eq!(body, "{}");
        let expected = [
            "POST /a%20b?key=1&x=%7C HTTP/1.1".to_owned(),
            format!("host: receiver.test:{}", address.port()),
            format!("user-agent: {USER_AGENT}"),
            "content-type: application/json".to_owned(),
            "connection: close".to_owned(),
            "x-test: 1".to_owned(),
            "content-length: 2".to_owned(),
        ];
        assert_eq!(head.lines().collect::<Vec<_>>(), expected);
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let (elsewhere, mut strays) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        for status in [301, 302, 303, 307, 308] {
            let head = format!("HTTP/1.1 {status} Elsewhere\r\nlocation: http://{elsewhere}/\r\n");
            let (address, mut requests) = server(&format!("{head}content-length: 0\r\n\r\n")).await;
            let url = url(&format!("http://{address}/"));
            let answer = Outbound::new(OutboundPolicy::ANY).post(json_for(&url), AMPLE).await.expect("an answer");
            assert_eq!(answer.status.as_u16(), status);
            assert!(requests.recv().await.is_some());
            assert!(requests.try_recv().is_err(), "asked twice");
        }
        assert!(strays.try_recv().is_err(), "the redirect was followed");
    }

    #[tokio::test]
    async fn a_body_without_end_is_cut() {
        let (listener, address) = listener().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            read_request(&mut stream).await;
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n";
            stream.write_all(head).await.expect("writable");
            while stream.write_all(&[b'a'; 8192]).await.is_ok() {}
        });
        let url = url(&format!("http://{address}/"));
        let answer = Outbound::new(OutboundPolicy::ANY).post(json_for(&url), AMPLE).await.expect("an answer");
        assert_eq!(answer.body, vec![b'a'; LONGEST_BODY]);
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_does_not_hold_the_answer_back() {
        let (listener, address) = listener().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nslow").await.expect("writable");
            std::future::pending::<()>().await;
        });
        let url = url(&format!("http://{address}/"));
        let within = Duration::from_millis(500);
        let answer = Outbound::new(OutboundPolicy::ANY).post(json_for(&url), within).await.expect("an answer");
        assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::OK, &b"slow"[..]));
    }

    #[tokio::test]
    async fn a_slow_server_is_given_up_in_time() {
        let (listener, address) = listener().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            stream.write_all(b"HTTP/1.1 200 OK\r\nx-slow: ").await.expect("writable");
            std::future::pending::<()>().await;
        });
        let url = url(&format!("http://{address}/"));
        let began = Instant::now();
        let within = Duration::from_millis(200);
        let error = Outbound::new(OutboundPolicy::ANY).post(json_for(&url), within).await.expect_err("no answer");
        assert!(matches!(error, OutboundError::TooSlow) && error.retryable(), "{error:?}");
        assert!(began.elapsed() < AMPLE / 2, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_head_may_have_as_many_headers_as_it_has_room_for() {
        for count in [99, 101, 150, 2000] {
            let headers = (0..count).map(|number| format!("x-{number}: 1\r\n")).collect::<Vec<_>>().concat();
            let (address, _requests) = server(&format!("HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\n\r\n")).await;
            let url = url(&format!("http://{address}/"));
            let answer = Outbound::new(OutboundPolicy::ANY).post(json_for(&url), AMPLE).await.expect("an answer");
            assert_eq!(answer.headers.len(), count + 1);
        }
    }

    #[tokio::test]
    async fn an_endless_head_is_cut() {
        let (listener, address) = listener().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nx-long: ").await.expect("writable");
            while stream.write_all(&[b'a'; 8192]).await.is_ok() {}
        });
        let url = url(&format!("http://{address}/"));
        let error = Outbound::new(OutboundPolicy::ANY).post(json_for(&url), AMPLE).await.expect_err("no answer");
        assert!(matches!(error, OutboundError::Broken(_)), "{error:?}");
    }

    #[tokio::test]
    async fn who_hangs_up_or_is_not_there_may_be_asked_again() {
        let (listener, address) = listener().await;
        let url = url(&format!("http://{address}/"));
        let client = Outbound::new(OutboundPolicy::ANY);
        let hang_up = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            read_request(&mut stream).await;
        };
        let (error, ()) = tokio::join!(client.post(json_for(&url), AMPLE), hang_up);
        let error = error.expect_err("no answer");
        assert!(matches!(error, OutboundError::Broken(_)) && error.retryable(), "{error:?}");
        drop(listener);
        let error = client.post(json_for(&url), AMPLE).await.expect_err("nobody there");
        assert!(matches!(error, OutboundError::Unreachable(_)) && error.retryable(), "{error:?}");
    }

    #[tokio::test]
    async fn the_next_address_is_tried_if_one_is_dead() {
        let (address, _requests) = server("HTTP/1.1 204 No Content\r\n\r\n").await;
        let (client, _) = told(OutboundPolicy::ANY, &[&["127.0.0.2", "127.0.0.1"]]);
        let url = url(&format!("http://receiver.test:{}/", address.port()));
        let answer = client.post(json_for(&url), AMPLE).await.expect("an answer");
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }

    #[tokio::test]
    async fn a_name_or_an_address_that_leads_inside_is_refused() {
        let (address, mut requests) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let client = Outbound::new(OutboundPolicy::PUBLIC);
        let port = address.port();
        let hosts = "localhost 127.0.0.1 127.1 2130706433 0x7f.1 0177.0.0.1 0.0.0.0 10.0.0.1 100.64.0.1 \
            169.254.169.254 [::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [64:ff9b::7f00:1] [fd00:ec2::254]";
        for host in hosts.split_whitespace() {
            assert_eq!(refused(&client, &format!("https://{host}:{port}/")).await, Refusal::NotPublic, "{host}");
        }
        assert!(requests.try_recv().is_err(), "somebody called");
    }

    #[tokio::test]
    async fn one_private_address_among_public_ones_is_refused() {
        for private in ["127.0.0.1", "169.254.169.254", "10.0.0.1", "fd00::1"] {
            for addresses in [["8.8.8.8", private], [private, "8.8.8.8"]] {
                let (client, _) = told(OutboundPolicy::PUBLIC, &[&addresses]);
                assert_eq!(refused(&client, "https://receiver.test/").await, Refusal::NotPublic, "{addresses:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_name_whose_address_changes_is_looked_up_once_in_each_call() {
        let (address, mut requests) = server("HTTP/1.1 204 No Content\r\n\r\n").await;
        // The first answer would be the checked one, the second the one to connect to, if there were two look-ups.
        let (client, names) = told(OutboundPolicy::ANY, &[&["127.0.0.1"], &["127.0.0.2"]]);
        let url = url(&format!("http://receiver.test:{}/", address.port()));
        client.post(json_for(&url), AMPLE).await.expect("an answer");
        assert!(requests.recv().await.is_some());
        assert_eq!(names.asked.load(Ordering::Relaxed), 1);
        let (client, _) = told(OutboundPolicy::PUBLIC, &[&["127.0.0.1"], &["8.8.8.8"]]);
        assert_eq!(refused(&client, "https://receiver.test/").await, Refusal::NotPublic);
    }

    #[tokio::test]
    async fn plain_http_other_schemes_and_passwords_are_refused() {
        let public = Outbound::new(OutboundPolicy::PUBLIC);
        let any = Outbound::new(OutboundPolicy::ANY);
        assert_eq!(refused(&public, "http://example.com/").await, Refusal::NotHttps);
        for client in [&public, &any] {
            assert_eq!(refused(client, "ftp://example.com/").await, Refusal::NotHttps);
            assert_eq!(refused(client, "https://ada:hunter2@example.com/").await, Refusal::UserInfo);
            assert_eq!(refused(client, "https://ada@example.com/").await, Refusal::UserInfo);
        }
        assert!(!OutboundError::Refused(Refusal::NotHttps).retryable());
    }

    #[tokio::test]
    async fn a_header_that_would_become_two_is_refused() {
        let url = url("http://127.0.0.1:9/");
        let mut post = json_for(&url);
        post.headers.push(("x-other", "a\r\nx-third: b".to_owned()));
        let error = Outbound::new(OutboundPolicy::ANY).post(post, AMPLE).await.expect_err("refused");
        assert!(matches!(error, OutboundError::Refused(Refusal::Unusable)), "{error:?}");
    }

    #[tokio::test]
    async fn https_asks_for_the_names_certificate_at_the_checked_address_and_sends_nothing_before() {
        let (listener, address) = listener().await;
        let (client, _) = told(OutboundPolicy::ANY, &[&["127.0.0.1"]]);
        let url = url(&format!("https://receiver.test:{}/secret-path", address.port()));
        let listen = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut hello = vec![];
            while !contains(&hello, b"receiver.test") && stream.read_buf(&mut hello).await.expect("readable") > 0 {}
            hello
        };
        let (answer, hello) = tokio::join!(client.post(json_for(&url), AMPLE), listen);
        assert_eq!(hello[0], 0x16, "the first thing said is a TLS handshake");
        assert!(contains(&hello, b"receiver.test") && !contains(&hello, b"secret-path"));
        let error = answer.expect_err("it hung up");
        assert!(matches!(error, OutboundError::Unreachable(_)), "{error:?}");
    }

    fn contains(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_without_its_names() {
        let told = |problem| {
            let error = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(problem));
            distrust(&error)
        };
        assert_eq!(told(CertificateError::Expired), Some("its certificate has expired"));
        assert_eq!(told(CertificateError::NotValidForName), Some("its certificate is another host's"));
        assert_eq!(told(CertificateError::UnknownIssuer), Some("its certificate is from an unknown issuer"));
        assert_eq!(told(CertificateError::Revoked), Some("its certificate is not valid"));
        assert_eq!(distrust(&io::ErrorKind::ConnectionReset.into()), None);
        assert_eq!(distrust(&io::Error::other(rustls::Error::DecryptError)), None);
    }
}
