//! The client, and how it makes a call.

use std::fmt;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http::error::{Error, Problem};
use crate::http::retries::{Patience, parse_retry_after};
use crate::http::verbatim::Verbatim;

/// A client of one deployment's API. Cheap to clone; its clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<HeaderValue>,
    patience: Patience,
}

impl Client {
    /// A client of the API at `base_url`, such as `http://127.0.0.1:3000` or the template's output `ApiUrl`.
    pub fn new(base_url: &str) -> Result<Self, Error> {
        let unusable = |why: String| Error::Unsendable(format!("`{base_url}` is no address of an API: {why}"));
        let base = Url::parse(base_url).map_err(|error| unusable(error.to_string()))?;
        match base.scheme() {
            "http" => {}
            "https" if cfg!(feature = "https") => {}
            "https" => return Err(unusable("this build lacks the feature `https`".to_owned())),
            other => return Err(unusable(format!("`{other}` is neither http nor https"))),
        }
        let http = http_client(base.scheme()).map_err(|error| unusable(error.to_string()))?;
        Ok(Self { http, base, token: None, patience: Patience::default() })
    }

    /// The same, showing `token` with every call (`Authorization: Bearer`).
    pub fn with_token(mut self, token: &str) -> Result<Self, Error> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| Error::Unsendable("the token has characters that none can have".to_owned()))?;
        value.set_sensitive(true);
        self.token = Some(value);
        Ok(self)
    }

    /// The same, with other tries and pauses.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Where the API is.
    pub fn url(&self) -> &Url {
        &self.base
    }

    /// A call of `method` on the path of these segments below the base, each encoded as it must be.
    pub(crate) fn call(&self, method: Method, segments: &[&str]) -> Call<'_> {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        Call { client: self, method, url, key: None, body: None, patience: self.patience }
    }

    pub(crate) fn get(&self, segments: &[&str]) -> Call<'_> {
        self.call(Method::GET, segments)
    }

    pub(crate) fn post(&self, segments: &[&str]) -> Call<'_> {
        self.call(Method::POST, segments)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// Redirects are not followed: this API sends none, and a token is not for others.
fn http_client(scheme: &str) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("dray-client/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(5))
        .redirect(reqwest::redirect::Policy::none());
    // Without TLS there is no need to read the system's certificates, nor for it to have any.
    #[cfg(feature = "https")]
    let builder = if scheme == "http" { builder.tls_certs_only([]) } else { builder };
    #[cfg(not(feature = "https"))]
    let _ = scheme;
    builder.build()
}

/// One call, to be tried as often as it takes.
pub(crate) struct Call<'a> {
    client: &'a Client,
    method: Method,
    url: Url,
    key: Option<HeaderValue>,
    body: Option<Vec<u8>>,
    patience: Patience,
}

/// An answer that says yes.
pub(crate) struct Answer {
    status: StatusCode,
    /// Whether an earlier request with the same key did what this one asked for.
    pub(crate) replayed: bool,
    /// Where to look at what it made.
    pub(crate) location: Option<String>,
    body: Vec<u8>,
}

impl Call<'_> {
    /// With this parameter in its query, if there is a value.
    pub(crate) fn query(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.url.query_pairs_mut().append_pair(name, value);
        }
        self
    }

    /// With this body.
    pub(crate) fn json<T: Serialize + ?Sized>(mut self, body: &T) -> Result<Self, Error> {
        let body = serde_json::to_vec(body);
        self.body = Some(body.map_err(|error| Error::Unsendable(format!("the request is no JSON: {error}")))?);
        Ok(self)
    }

    /// With this idempotency key or, so that each try does the same once, a fresh one.
    pub(crate) fn key(mut self, key: Option<&str>) -> Result<Self, Error> {
        let value = match key {
            Some(key) => HeaderValue::from_str(&key_header(key)),
            None => HeaderValue::from_str(&fresh_key()?),
        };
        self.key = Some(value.map_err(|_| Error::Unsendable("an idempotency key is printable ASCII".to_owned()))?);
        Ok(self)
    }

    /// To be tried once.
    pub(crate) fn once(mut self) -> Self {
        self.patience.attempts = 1;
        self
    }

    /// Makes the call, and reads the answer's body.
    pub(crate) async fn read<T: DeserializeOwned>(self) -> Result<Verbatim<T>, Error> {
        self.answer().await?.read()
    }

    /// Makes the call.
    pub(crate) async fn answer(self) -> Result<Answer, Error> {
        let patience = self.patience;
        let began = Instant::now();
        let mut attempt = 1;
        loop {
            let left = patience.whole_time.saturating_sub(began.elapsed());
            let (error, retry_after) = match self.attempt(attempt, patience.attempt_time.min(left)).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing { error, retry_after }) => (error, retry_after),
            };
            let pause = patience.pause(attempt, retry_after, getrandom::u32().unwrap_or(u32::MAX));
            if attempt >= patience.attempts || began.elapsed().saturating_add(pause) >= patience.whole_time {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, attempt: u32, time: Duration) -> Result<Answer, Failure> {
        let mut request = self.client.http.request(self.method.clone(), self.url.clone()).timeout(time);
        if let Some(token) = &self.client.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        if let Some(key) = &self.key {
            request = request.header("idempotency-key", key.clone());
        }
        if let Some(body) = &self.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let response = request.send().await.map_err(|error| Failure::of(error, attempt))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body: Vec<u8> = response.bytes().await.map_err(|error| Failure::of(error, attempt))?.into();
        if status.is_success() {
            let location = text(&headers, LOCATION.as_str()).map(ToOwned::to_owned);
            return Ok(Answer { status, replayed: headers.contains_key("idempotent-replayed"), location, body });
        }
        if !status.is_client_error() && !status.is_server_error() {
            let problem = "it neither did nor refused what was asked for".to_owned();
            return Err(Failure::Lasting(Error::Unexpected { status: status.as_u16(), problem }));
        }
        let request_id = text(&headers, "x-request-id").map(ToOwned::to_owned);
        let problem = Problem::read(status.as_u16(), status.canonical_reason(), &body, request_id);
        let error = Error::Refused(Box::new(problem));
        if matches!(status.as_u16(), 429 | 502 | 503 | 504) {
            let retry_after =
                text(&headers, RETRY_AFTER.as_str()).and_then(|text| parse_retry_after(text, Timestamp::now()));
            Err(Failure::Passing { error, retry_after })
        } else {
            Err(Failure::Lasting(error))
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The key as it is or, where that would be read as another one or as two, as a string in double quotes (RFC 9651,
/// section 3.3.3).
fn key_header(key: &str) -> String {
    if key.trim() == key && !key.contains([',', '"']) {
        return key.to_owned();
    }
    format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A UUID of version 7.
fn fresh_key() -> Result<String, Error> {
    let mut random = [0; 10];
    getrandom::fill(&mut random)
        .map_err(|error| Error::Unsendable(format!("there are no random numbers for a key: {error}")))?;
    let millis = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
    Ok(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string())
}

impl Answer {
    /// What its body says.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::Unexpected { status: self.status.as_u16(), problem: error.to_string() })
    }
}

/// Why one try did not bring what was asked for.
enum Failure {
    /// Another try would not either.
    Lasting(Error),
    /// Another might.
    Passing { error: Error, retry_after: Option<Duration> },
}

impl Failure {
    fn of(error: reqwest::Error, attempts: u32) -> Self {
        if error.is_builder() {
            return Self::Lasting(Error::Unsendable(error.to_string()));
        }
        let source = Box::new(error.without_url());
        Self::Passing { error: Error::Unreachable { attempts, source }, retry_after: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewJob;
    use crate::fake_service::{ACCEPTED, Reply, Service, hasty};
    use crate::jobs::job::{JobId, Status};

    fn new_job() -> NewJob {
        NewJob::of_json("csv-generation", r#"{"b":1,"a":2}"#).expect("JSON")
    }

    #[tokio::test]
    async fn a_job_is_submitted_as_it_was_written_and_under_a_key() {
        let service = Service::that_answers([Reply::new(202, ACCEPTED)]).await;
        let client = service.client().with_token("secret").expect("a token");
        let submitted = client.submit(&new_job().tag("a").max_attempts(5)).await.expect("accepted");
        assert_eq!((&submitted.status, submitted.replayed), (&Status::Pending, false));
        let asked = service.asked();
        assert_eq!((asked[0].line.as_str(), asked[0].header("authorization")), ("POST /jobs", Some("Bearer secret")));
        assert_eq!(asked[0].body, r#"{"type":"csv-generation","payload":{"b":1,"a":2},"max_attempts":5,"tags":["a"]}"#);
        assert!(asked[0].header("idempotency-key").is_some_and(|key| key.parse::<JobId>().is_ok()));
    }

    #[tokio::test]
    async fn a_busy_service_is_asked_again_under_the_same_key() {
        let busy = [429, 502, 503].map(|status| Reply::new(status, "{}"));
        let replies = busy.into_iter().chain([Reply::new(202, ACCEPTED).header("idempotent-replayed", "true")]);
        let service = Service::that_answers(replies).await;
        let submitted = service.client().submit(&new_job()).await.expect("accepted at last");
        assert!(submitted.replayed);
        let keys: Vec<_> =
            service.asked().iter().map(|asked| asked.header("idempotency-key").map(str::to_owned)).collect();
        assert_eq!(keys.len(), 4);
        assert!(keys[0].is_some() && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    }

    #[tokio::test]
    async fn another_call_has_another_key_unless_the_caller_gives_one() {
        let replies = [ACCEPTED; 4].map(|body| Reply::new(202, body));
        let service = Service::that_answers(replies).await;
        for job in [new_job(), new_job(), new_job().key("order-1"), new_job().key("order-1")] {
            service.client().submit(&job).await.expect("accepted");
        }
        let asked = service.asked();
        let key = |call: usize| asked[call].header("idempotency-key").expect("a key");
        assert_ne!(key(0), key(1));
        assert_eq!((key(2), key(3)), ("order-1", "order-1"));
    }

    #[test]
    fn a_key_that_would_be_read_as_another_is_quoted() {
        let cases = [
            ("order-1", "order-1"),
            ("order 1", "order 1"),
            (r"a\b", r"a\b"),
            ("a,b", r#""a,b""#),
            (" a", r#"" a""#),
            (r#""a""#, r#""\"a\"""#),
            (r#"a\,""#, r#""a\\,\"""#),
        ];
        for (key, header) in cases {
            assert_eq!(key_header(key), header);
        }
    }

    #[tokio::test]
    async fn a_connection_that_breaks_and_an_answer_that_does_not_come_are_tried_again() {
        let late = Reply::new(202, ACCEPTED).after(Duration::from_secs(60));
        let service = Service::that_breaks_once_and_answers([late, Reply::new(202, ACCEPTED)]).await;
        let patience = Patience { attempt_time: Duration::from_millis(300), ..hasty() };
        service.client().with_patience(patience).submit(&new_job()).await.expect("accepted at last");
        let asked = service.asked();
        assert_eq!(asked.len(), 2);
        assert_eq!(asked[0].header("idempotency-key"), asked[1].header("idempotency-key"));
    }

    #[tokio::test]
    async fn a_service_that_is_not_there_is_unreachable_after_the_last_attempt() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        let client = Client::new(&url).expect("an address").with_patience(hasty());
        match client.submit(&new_job()).await {
            Err(Error::Unreachable { attempts: 4, .. }) => {}
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_refusal_is_not_tried_again_and_says_what_is_wrong() {
        let problem = r#"{"type":"about:blank","title":"Unprocessable Entity","status":422,
            "detail":"`payload` is required","field":"payload"}"#;
        let service = Service::that_answers([Reply::new(422, problem).header("x-request-id", "r-1")]).await;
        let error = service.client().submit(&new_job()).await.expect_err("refused");
        let problem = error.problem().expect("a problem");
        assert_eq!((problem.status, problem.field.as_deref()), (422, Some("payload")));
        assert_eq!((error.to_string().as_str(), problem.request_id.as_deref()), ("`payload` is required", Some("r-1")));
        assert_eq!(service.asked().len(), 1);
    }

    #[tokio::test]
    async fn a_service_that_stays_busy_gets_the_last_word() {
        let busy = [503; 4].map(|status| Reply::new(status, r#"{"detail":"try again"}"#));
        let service = Service::that_answers(busy).await;
        let error = service.client().submit(&new_job()).await.expect_err("refused");
        assert_eq!((error.to_string().as_str(), service.asked().len()), ("try again", 4));
    }

    #[tokio::test]
    async fn retry_after_is_waited_for_but_not_beyond_the_whole_time() {
        let busy = Reply::new(429, "{}").header("retry-after", "1");
        let service = Service::that_answers([busy, Reply::new(202, ACCEPTED)]).await;
        let began = Instant::now();
        service.client().submit(&new_job()).await.expect("accepted");
        assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());

        let service = Service::that_answers([Reply::new(429, "{}").header("retry-after", "3600")]).await;
        service.client().submit(&new_job()).await.expect_err("refused");
        assert_eq!(service.asked().len(), 1, "an hour is longer than the whole time");
    }

    #[tokio::test]
    async fn an_answer_that_is_none_of_the_apis_is_told_apart() {
        let replies = [Reply::new(202, "<html>"), Reply::new(301, "").header("location", "https://example.com/")];
        let service = Service::that_answers(replies).await;
        for status in [202, 301] {
            match service.client().submit(&new_job()).await {
                Err(Error::Unexpected { status: seen, .. }) => assert_eq!(seen, status),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(service.asked().len(), 2);
    }

    #[test]
    fn only_http_addresses_are_addresses() {
        for address in ["", "127.0.0.1:3000", "ftp://example.com"] {
            assert!(matches!(Client::new(address), Err(Error::Unsendable(_))), "{address}");
        }
    }

    #[test]
    fn a_path_below_a_stage_is_kept_and_each_segment_is_encoded() {
        for base in ["http://localhost:1/prod", "http://localhost:1/prod/"] {
            let client = Client::new(base).expect("an address");
            assert_eq!(
                client.get(&["schedules", "a/b ?"]).url.as_str(),
                "http://localhost:1/prod/schedules/a%2Fb%20%3F"
            );
        }
    }

    #[test]
    fn a_client_does_not_show_its_token() {
        let client = Client::new("http://localhost:1").expect("an address").with_token("secret").expect("a token");
        assert!(!format!("{client:?}").contains("secret"));
    }
}
