//! Whether a request to the API's port comes from where it may.
//!
//! Nobody is asked who they are here, because only this machine's own programs reach the port. But so does any web page,
//! by the browser of whoever runs the stack, if nothing stops it. Browsers say for whom they ask, in headers that no page
//! can set: `Origin` ([Fetch, section 3.2](https://fetch.spec.whatwg.org/#origin-header)), which they leave out of
//! some GETs, and `Sec-Fetch-Site` ([Fetch Metadata](https://www.w3.org/TR/fetch-metadata/)). A page whose own name
//! leads to this machine (DNS rebinding) is of the same site for them, and is known by the name in `Host`. Other programs
//! send neither of the first two.

use std::net::{IpAddr, SocketAddr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method};

/// The names that mean this machine wherever they are looked up.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// Knows under which names this machine may be called.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Those that were given, beside [`LOOPBACK`].
    names: Vec<String>,
    /// The machine's other address at which it is called. A page of another port there is as foreign as any: unlike at a
    /// name, others may serve pages there.
    address: Option<String>,
}

impl Guard {
    /// `names` are host names without a port; `address` is one of this machine.
    pub fn new(names: Vec<String>, address: Option<IpAddr>) -> Self {
        let as_host = |address| name_of(&SocketAddr::new(address, 0).to_string());
        Self { names, address: address.and_then(as_host) }
    }

    /// Why a request with this method and these headers is refused, if it is.
    pub fn refusal(&self, method: &Method, headers: &HeaderMap) -> Option<&'static str> {
        let Some(host) = self.host(headers) else {
            return Some("`Host` must be this machine, or a name that --allow-host has given");
        };
        let is_our_page = |origin: &str| {
            let of = origin.split_once("://").map_or("", |(_, of)| of);
            of.eq_ignore_ascii_case(host) || name_of(of).is_some_and(|name| self.is_given(&name))
        };
        if !texts(headers, "origin").all(|origin| origin.is_some_and(is_our_page)) {
            return Some("`Origin` must be the API's own: a web page of another address may not call it");
        }
        let is_our_site = |site: Option<&str>| matches!(site, Some("same-origin" | "none"));
        if !texts(headers, "sec-fetch-site").all(is_our_site) && !is_visit(method, headers) {
            return Some("`Sec-Fetch-Site` must be same-origin or none: a web page of another address may not call it");
        }
        None
    }

    /// The one `Host` of a request, if it is ours.
    fn host<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let mut hosts = texts(headers, "host");
        let host = hosts.next().flatten().filter(|_| hosts.next().is_none())?;
        let name = name_of(host)?;
        let mut addresses = LOOPBACK.into_iter().chain(self.address.as_deref());
        let is_ours = addresses.any(|ours| ours.eq_ignore_ascii_case(&name)) || self.is_given(&name);
        is_ours.then_some(host)
    }

    fn is_given(&self, name: &str) -> bool {
        self.names.iter().any(|given| given.eq_ignore_ascii_case(name))
    }
}

/// Whether somebody has followed a link: the browser shows the answer under our address, and keeps it from the page with
/// the link. In a frame of that page it would be theirs to lay something over.
fn is_visit(method: &Method, headers: &HeaderMap) -> bool {
    let says = |name: &str, value: &str| texts(headers, name).eq([Some(value)]);
    *method == Method::GET && says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document")
}

/// The values of a header; `None` for one that is no text.
fn texts<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = Option<&'a str>> {
    headers.get_all(name).iter().map(|value| value.to_str().ok())
}

/// The name in `host` or `host:port`.
fn name_of(host: &str) -> Option<String> {
    host.parse::<Authority>().ok().map(|authority| authority.host().to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const OURS: (&str, &str) = ("host", "127.0.0.1:3000");

    fn is_taken(method: &Method, headers: &[(&str, &str)]) -> bool {
        is_taken_by(&Guard::new(vec!["dray.example".to_owned()], None), method, headers)
    }

    fn is_taken_by(guard: &Guard, method: &Method, headers: &[(&str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            map.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        guard.refusal(method, &map).is_none()
    }

    #[test]
    fn a_request_must_be_for_this_machine_by_one_of_its_names() {
        for (host, expected) in [
            ("127.0.0.1:3000", true),
            ("localhost", true),
            ("LocalHost:80", true),
            ("[::1]:3000", true),
            ("dray.example", true),
            ("DRAY.example:443", true),
            ("evil.example:3000", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("localhost@evil.example", false),
            ("evil.dray.example", false),
            ("192.168.1.7:3000", false),
            ("0.0.0.0:3000", false),
            ("[::2]:3000", false),
            ("", false),
        ] {
            assert_eq!(is_taken(&Method::GET, &[("host", host)]), expected, "{host}");
        }
        assert!(!is_taken(&Method::GET, &[]));
        assert!(!is_taken(&Method::GET, &[OURS, ("host", "evil.example")]));
    }

    #[test]
    fn the_other_address_is_a_host_and_pages_of_its_other_ports_are_foreign() {
        for (address, host) in [("172.17.0.1", "172.17.0.1:3000"), ("fd00::1", "[fd00::1]:3000")] {
            let guard = Guard::new(vec![], address.parse().ok());
            for (host, origin, expected) in [
                (host, None, true),
                (host, Some(format!("http://{host}")), true),
                (host, Some(format!("http://{host}1")), false),
                (host, Some("http://127.0.0.1:3000".to_owned()), false),
                ("127.0.0.1:3000", None, true),
                ("172.17.0.2:3000", None, false),
                ("[fd00::2]:3000", None, false),
            ] {
                let headers = [("host", host)].into_iter().chain(origin.as_deref().map(|origin| ("origin", origin)));
                let headers: Vec<_> = headers.collect();
                assert_eq!(is_taken_by(&guard, &Method::POST, &headers), expected, "{headers:?}");
            }
        }
    }

    #[test]
    fn a_web_page_must_be_the_apis_own() {
        for (origin, expected) in [
            ("http://127.0.0.1:3000", true),
            ("https://dray.example", true),
            ("http://127.0.0.1:3001", false),
            ("http://localhost:3000", false),
            ("http://127.0.0.1", false),
            ("https://evil.example", false),
            ("http://127.0.0.1:3000.evil.example", false),
            ("127.0.0.1:3000", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(is_taken(&Method::POST, &[OURS, ("origin", origin)]), expected, "{origin}");
        }
        let two = [OURS, ("origin", "http://127.0.0.1:3000"), ("origin", "https://evil.example")];
        assert!(!is_taken(&Method::POST, &two));
    }

    #[test]
    fn a_link_may_be_followed_here_and_nothing_else_asked_for_by_another_site() {
        let visit = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        let framed = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        let fetched = [("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "empty")];
        for (site, method, how, expected) in [
            ("none", Method::GET, visit, true),
            ("same-origin", Method::POST, fetched, true),
            ("cross-site", Method::GET, visit, true),
            ("same-site", Method::GET, visit, true),
            ("cross-site", Method::POST, visit, false),
            ("cross-site", Method::GET, framed, false),
            ("cross-site", Method::GET, fetched, false),
            ("same-site", Method::GET, fetched, false),
            ("same-site", Method::POST, fetched, false),
            ("whatever-comes", Method::GET, fetched, false),
        ] {
            let headers = [OURS, ("sec-fetch-site", site), how[0], how[1]];
            assert_eq!(is_taken(&method, &headers), expected, "{headers:?}");
        }
    }
}
