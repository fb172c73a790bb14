//! Requests to AWS, in the few forms that its services understand, and their answers as JSON.

use std::time::Duration;

use reqwest::Client;
use reqwest::header::{HeaderName, HeaderValue};
use roxmltree::{Document, Node};
use serde_json::{Map, Value, json};
use shared_aws::signing::Signer;

/// Longer than any of these calls takes that is answered at all.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What AWS said, or why there is no answer.
pub type Answer = Result<Value, Unanswered>;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// The service's word for it: `AccessDeniedException`. Empty: no answer came at all.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl Unanswered {
    /// No answer came.
    pub fn nothing(message: impl Into<String>) -> Self {
        Self { code: String::new(), message: message.into() }
    }

    /// Whether what was asked for is not there. Each service has a word of its own for that.
    pub fn is_missing(&self) -> bool {
        let said = |words: &[&str]| words.iter().any(|word| self.code.contains(word));
        said(&["NotFound", "NonExistent", "DoesNotExist", "NoSuch"])
    }
}

/// A service of AWS: where it is, what it is called in a signature, and how it wants to be asked.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    host: &'static str,
    signed_as: &'static str,
    protocol: Protocol,
}

/// <https://smithy.io/2.0/aws/protocols/index.html>
#[derive(Clone, Copy, Debug)]
enum Protocol {
    /// A form is posted that names action and version; XML comes back.
    Query(&'static str),
    /// JSON is posted, and the action stands in a header behind this word; JSON comes back.
    Json(&'static str, &'static str),
    /// The path says what is asked for; JSON comes back, from S3 XML.
    Rest,
}

const fn service(host: &'static str, signed_as: &'static str, protocol: Protocol) -> Service {
    Service { host, signed_as, protocol }
}

pub const API_GATEWAY: Service = service("apigateway", "apigateway", Protocol::Rest);
pub const CLOUDFORMATION: Service = service("cloudformation", "cloudformation", Protocol::Query("2010-05-15"));
pub const CLOUDWATCH: Service =
    service("monitoring", "monitoring", Protocol::Json("GraniteServiceVersion20100801", "application/x-amz-json-1.0"));
pub const DYNAMODB: Service =
    service("dynamodb", "dynamodb", Protocol::Json("DynamoDB_20120810", "application/x-amz-json-1.0"));
pub const LAMBDA: Service = service("lambda", "lambda", Protocol::Rest);
pub const LOGS: Service = service("logs", "logs", Protocol::Json("Logs_20140328", "application/x-amz-json-1.1"));
pub const S3: Service = service("s3", "s3", Protocol::Rest);
pub const SCHEDULER: Service = service("scheduler", "scheduler", Protocol::Rest);
pub const SES: Service = service("email", "ses", Protocol::Rest);
pub const SNS: Service = service("sns", "sns", Protocol::Query("2010-03-31"));
pub const SQS: Service = service("sqs", "sqs", Protocol::Json("AmazonSQS", "application/x-amz-json-1.0"));

/// One question to a service.
#[derive(Clone, Debug)]
pub struct Request {
    service: Service,
    /// The action; for a service that is asked by paths, path and query.
    action: String,
    /// What the action is told: an object.
    arguments: Value,
}

impl Request {
    /// Asks for an action, with these arguments.
    pub fn of(service: Service, action: &str, arguments: Value) -> Self {
        Self { service, action: action.to_owned(), arguments }
    }

    /// Asks a service that is asked by paths.
    pub fn get(service: Service, path: String) -> Self {
        Self { service, action: path, arguments: Value::Null }
    }

    /// The method, the path, the headers and the body.
    fn parts(&self) -> (&'static str, &str, Vec<(&'static str, String)>, String) {
        match self.service.protocol {
            Protocol::Query(version) => {
                let own = [("Action", self.action.as_str()), ("Version", version)];
                let own = own.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter();
                let arguments = self.arguments.as_object().into_iter().flatten();
                let fields: Vec<_> = own.chain(arguments.map(|(name, value)| (name.clone(), text(value)))).collect();
                let fields = fields.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
                let content_type = ("content-type", "application/x-www-form-urlencoded".to_owned());
                ("POST", "/", vec![content_type], fields.collect::<Vec<_>>().join("&"))
            }
            Protocol::Json(target, content_type) => {
                let target = ("x-amz-target", format!("{target}.{}", self.action));
                let headers = vec![("content-type", content_type.to_owned()), target];
                ("POST", "/", headers, self.arguments.to_string())
            }
            Protocol::Rest => ("GET", &self.action, vec![], String::new()),
        }
    }
}

/// AWS, as somebody sees it who has these credentials.
pub struct Aws {
    signer: Signer,
    client: Client,
}

impl Aws {
    /// As the signer sees it.
    pub fn new(signer: Signer) -> anyhow::Result<Self> {
        Ok(Self { signer, client: Client::builder().timeout(TIMEOUT).build()? })
    }

    /// The region that is asked.
    pub fn region(&self) -> &str {
        self.signer.region()
    }

    /// Where all services are, unless they are where AWS has them.
    pub fn endpoint_url(&self) -> Option<&str> {
        self.signer.endpoint_url().map(|url| url.trim_end_matches('/'))
    }

    /// What the region's addresses end with.
    pub fn domain(&self) -> &'static str {
        if self.region().starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
    }

    /// Asks a question.
    pub async fn ask(&self, request: &Request) -> Answer {
        let (method, path, headers, body) = request.parts();
        let url = format!("{}{path}", self.base(request.service));
        let given: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let signed = self.signer.sign(request.service.signed_as, method, &url, &given, body.as_bytes()).await;
        let signed = signed.map_err(|error| Unanswered::nothing(format!("{error:#}")))?;
        let all = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(signed);
        let ask = if method == "GET" { self.client.get(&url) } else { self.client.post(&url).body(body) };
        self.send(ask.headers(all.filter_map(header).collect())).await
    }

    /// Gets what is at a URL, without a signature.
    pub async fn get(&self, url: &str) -> Answer {
        self.send(self.client.get(url)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let no_answer = |error: reqwest::Error| Unanswered::nothing(root_of(&error));
        let answer = request.send().await.map_err(no_answer)?;
        let status = answer.status();
        let kind = answer.headers().get("x-amzn-errortype").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = answer.text().await.map_err(no_answer)?;
        let answer =
            if body.trim_start().starts_with('<') { from_xml(&body) } else { serde_json::from_str(&body).ok() };
        if status.is_success() {
            return answer.ok_or_else(|| Unanswered::nothing("an answer came that is none of AWS's"));
        }
        Err(refusal(status.as_u16(), kind, &answer.unwrap_or_default()))
    }

    fn base(&self, service: Service) -> String {
        let of_aws = || format!("https://{}.{}.{}", service.host, self.region(), self.domain());
        self.endpoint_url().map_or_else(of_aws, str::to_owned)
    }
}

fn header((name, value): (String, String)) -> Option<(HeaderName, HeaderValue)> {
    Some((name.parse().ok()?, value.parse().ok()?))
}

/// What a service says when it refuses: in a header, in JSON or in XML.
fn refusal(status: u16, kind: Option<String>, answer: &Value) -> Unanswered {
    let error = if answer["Error"].is_object() { &answer["Error"] } else { answer };
    let first = |names: &[&str]| names.iter().find_map(|name| error[name].as_str()).map(str::to_owned);
    let code = kind.or_else(|| first(&["Code", "__type", "code"])).unwrap_or_else(|| format!("HTTP status {status}"));
    // "com.amazonaws.sqs#QueueDoesNotExist", "ResourceNotFoundException:http://internal.amazon.com/…"
    let code = code.rsplit('#').next().unwrap_or_default().split(':').next().unwrap_or_default().to_owned();
    let message = first(&["Message", "message", "detail"]).unwrap_or_else(|| format!("HTTP status {status}"));
    Unanswered { code, message }
}

/// An XML answer as JSON: below the outermost element, and of a query's answer below its result.
fn from_xml(xml: &str) -> Option<Value> {
    let document = Document::parse(xml).ok()?;
    let root = document.root_element();
    let result = root.children().find(|node| node.is_element() && node.tag_name().name().ends_with("Result"));
    Some(element(result.unwrap_or(root)))
}

/// Lists have elements called `member`, maps such as are called `entry`. S3's lists have other names, and are objects
/// here whose values are lists if an element comes more than once.
fn element(node: Node<'_, '_>) -> Value {
    let children: Vec<_> = node.children().filter(Node::is_element).collect();
    let named = |name: &str| !children.is_empty() && children.iter().all(|child| child.tag_name().name() == name);
    if children.is_empty() {
        return json!(node.text().unwrap_or_default());
    }
    if named("member") {
        return children.into_iter().map(element).collect();
    }
    let mut object = Map::new();
    for child in &children {
        let (name, value) = (child.tag_name().name(), element(*child));
        if name == "entry" {
            object.insert(text(&value["key"]), value["value"].clone());
        } else if let Some(earlier) = object.get_mut(name) {
            match earlier {
                Value::Array(list) => list.push(value),
                one => *one = json!([one.take(), value]),
            }
        } else {
            object.insert(name.to_owned(), value);
        }
    }
    Value::Object(object)
}

/// A text as it is, anything else as JSON has it.
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A text as it stands in a path, a query or a form.
pub fn escaped(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect::<Vec<_>>()
        .concat()
}

fn root_of(mut error: &dyn std::error::Error) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_is_read_as_what_it_stands_for() {
        let xml = "<R xmlns='x'><DescribeResult><A><member>1</member><member>2</member></A><B/><C><D>x</D></C>\
                   <M><entry><key>k</key><value>v</value></entry></M></DescribeResult><ResponseMetadata/></R>";
        assert_eq!(from_xml(xml), Some(json!({ "A": ["1", "2"], "B": "", "C": { "D": "x" }, "M": { "k": "v" } })));
        let s3 = "<R><Buckets><Bucket><Name>a</Name></Bucket><Bucket><Name>b</Name></Bucket></Buckets></R>";
        assert_eq!(from_xml(s3), Some(json!({ "Buckets": { "Bucket": [{ "Name": "a" }, { "Name": "b" }] } })));
    }

    #[test]
    fn a_refusal_is_understood_in_every_form() {
        let cases = [
            (None, json!({ "Error": { "Code": "ValidationError", "Message": "m" } }), "ValidationError"),
            (None, json!({ "__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "m" }), "QueueDoesNotExist"),
            (Some("NotFoundException:http://x/"), json!({ "Message": "m" }), "NotFoundException"),
            (None, json!({ "Code": "NoSuchBucket", "Message": "m" }), "NoSuchBucket"),
        ];
        for (kind, answer, code) in cases {
            let expected = Unanswered { code: code.to_owned(), message: "m".to_owned() };
            assert_eq!(refusal(400, kind.map(str::to_owned), &answer), expected);
            assert_eq!(expected.is_missing(), code != "ValidationError", "{code}");
        }
        assert_eq!(refusal(502, None, &Value::Null).code, "HTTP status 502");
    }

    #[test]
    fn a_question_has_the_form_of_its_service() {
        let query = Request::of(SNS, "GetTopicAttributes", json!({ "TopicArn": "a:b c" }));
        assert_eq!(query.parts().3, "Action=GetTopicAttributes&Version=2010-03-31&TopicArn=a%3Ab%20c");
        let parts = Request::of(SQS, "GetQueueAttributes", json!({ "QueueUrl": "u" }));
        let (method, path, headers, body) = parts.parts();
        assert_eq!((method, path, body.as_str()), ("POST", "/", r#"{"QueueUrl":"u"}"#));
        assert_eq!(headers[1], ("x-amz-target", "AmazonSQS.GetQueueAttributes".to_owned()));
        assert_eq!(Request::get(LAMBDA, "/x?y".to_owned()).parts().1, "/x?y");
    }
}
