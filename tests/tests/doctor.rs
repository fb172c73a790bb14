//! `dray doctor` beside the local AWS: nothing is wrong with a sound stack, and what AWS's own calls do to it is found.

use local::Exit;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tests::system::{System, start};

/// The AWS of a running system.
struct Aws<'a>(&'a System);

/// What the doctor said.
struct Said {
    exit: Exit,
    out: String,
    err: String,
}

impl Aws<'_> {
    /// Calls a service: an action by its target, or a path.
    async fn call(&self, service: &str, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Value {
        // The engine checks no signature, but some of its services are found by what one says.
        let scope = format!("AWS4-HMAC-SHA256 Credential=test/20300131/us-east-1/{service}/aws4_request");
        let mut request = Client::new().request(method, format!("{}{path}", self.0.aws_url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.header("authorization", scope).body(body).send().await.expect("the engine answers");
        let (status, body) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "{service} {path}: {body}");
        serde_json::from_str(&body).unwrap_or_default()
    }

    /// Carries out an action of a service that is asked in JSON.
    async fn act(&self, service: &str, target: &str, arguments: Value) -> Value {
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target)];
        self.call(service, Method::POST, "/", &headers, arguments.to_string()).await
    }

    async fn get(&self, service: &str, path: &str) -> Value {
        self.call(service, Method::GET, path, &[], String::new()).await
    }

    async fn change(&self, service: &str, method: Method, path: &str, body: Value) {
        let headers = [("content-type", "application/json")];
        self.call(service, method, path, &headers, body.to_string()).await;
    }

    /// Gives a topic an attribute.
    async fn tell_topic(&self, output: &str, name: &str, value: &str) {
        let (topic, headers) = (self.0.output(output), [("content-type", "application/x-www-form-urlencoded")]);
        let form = format!(
            "Action=SetTopicAttributes&Version=2010-03-31&TopicArn={topic}&AttributeName={name}&AttributeValue={value}"
        );
        self.call("sns", Method::POST, "/", &headers, form).await;
    }

    async fn set_time_to_live(&self, enabled: bool) {
        let specification = json!({ "Enabled": enabled, "AttributeName": "ttl" });
        let arguments = json!({ "TableName": self.0.output("TableName"), "TimeToLiveSpecification": specification });
        self.act("dynamodb", "DynamoDB_20120810.UpdateTimeToLive", arguments).await;
    }

    async fn set_recovery(&self, enabled: bool) {
        let specification = json!({ "PointInTimeRecoveryEnabled": enabled });
        let table = self.0.output("TableName");
        let arguments = json!({ "TableName": table, "PointInTimeRecoverySpecification": specification });
        self.act("dynamodb", "DynamoDB_20120810.UpdateContinuousBackups", arguments).await;
    }

    /// Changes the variables of a function.
    async fn change_variables(&self, function: &str, change: impl FnOnce(&mut serde_json::Map<String, Value>)) {
        let path = format!("/2015-03-31/functions/{}/configuration", self.0.output(function));
        let mut environment = self.get("lambda", &path).await["Environment"].take();
        change(environment["Variables"].as_object_mut().expect("variables"));
        self.change("lambda", Method::PUT, &path, json!({ "Environment": environment })).await;
    }

    async fn change_stage(&self, change: Value) {
        let path = format!("/v2/apis/{}/stages/$default", self.api_id());
        self.change("apigateway", Method::PATCH, &path, change).await;
    }

    /// The id of the HTTP API, whose address begins with it.
    fn api_id(&self) -> &str {
        let host = self.0.output("ApiUrl").split("://").nth(1).expect("an address");
        host.split('.').next().expect("a name")
    }

    /// Makes what the engine's CloudFormation leaves out of the template.
    async fn make_sound(&self) {
        self.set_time_to_live(true).await;
        self.set_recovery(true).await;
        self.tell_topic("EventsTopicArn", "KmsMasterKeyId", "alias/aws/sns").await;
        // Of which version CloudFormation says, too; for the engine it is not the same as none.
        let sweeper = self.0.output("SweeperFunctionName");
        let path = format!("/2019-09-25/functions/{sweeper}/event-invoke-config?Qualifier=%24LATEST");
        let asynchronous = json!({ "MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60 });
        self.change("lambda", Method::PUT, &path, asynchronous).await;
        let limits = json!({ "throttlingRateLimit": 1000, "throttlingBurstLimit": 2000 });
        self.change_stage(json!({ "defaultRouteSettings": limits })).await;
    }

    async fn doctor(&self, more: &[&str]) -> Said {
        let words = ["dray", "doctor", "--endpoint-url", &self.0.aws_url].into_iter().chain(more.iter().copied());
        let (mut out, mut err) = (vec![], vec![]);
        let exit = local::run_command(words, &mut out, &mut err).await;
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Said { exit, out: text(out), err: text(err) }
    }

    /// The doctor finds this, as one of the problems or in its advice.
    async fn is_told(&self, severity: &str, expected: &str) {
        let said = self.doctor(&["--json"]).await;
        let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}{}", said.out, said.err));
        let findings = report["findings"].as_array().expect("findings");
        let is_it = |finding: &&Value| {
            finding["severity"] == severity && finding["what"].as_str().is_some_and(|what| what.contains(expected))
        };
        let found = findings.iter().find(is_it).unwrap_or_else(|| panic!("{expected}: {report:#}"));
        assert!(found["remedy"].is_string(), "{found}");
        assert!(severity != "problem" || said.exit == Exit::Refused, "{:?}", said.exit);
    }

    async fn has_problem(&self, expected: &str) {
        self.is_told("problem", expected).await;
    }
}

#[tokio::test]
async fn a_sound_stack_has_no_problem_and_whatever_is_done_to_it_is_found() {
    let (system, stack) = start("doctor").await;
    let aws = Aws(&system);
    aws.make_sound().await;
    let sound = aws.doctor(&[]).await;
    assert_eq!((sound.exit, sound.err.as_str()), (Exit::Done, ""), "{}", sound.out);
    // The local stack has a secret of its own id, and nobody who hears of alarms.
    for told in ["\n0 problems, advice on 2, ", "is the stack's id", "AlarmTopic has no subscription"] {
        assert!(sound.out.contains(told), "{told}: {}", sound.out);
    }

    let sources = format!("/2015-03-31/event-source-mappings/?FunctionName={}", system.output("WorkerFunctionName"));
    let source = aws.get("lambda", &sources).await["EventSourceMappings"][0]["UUID"].as_str().expect("one").to_owned();
    let source = format!("/2015-03-31/event-source-mappings/{source}");
    aws.change("lambda", Method::PUT, &source, json!({ "Enabled": false, "BatchSize": 5 })).await;
    aws.has_problem("The event source WorkerFunctionJobs is disabled").await;
    aws.has_problem("WorkerFunctionJobs: BatchSize is 5, and the template says 10").await;

    let schedules = aws.get("scheduler", "/schedules").await;
    let schedule = format!("/schedules/{}", schedules["Schedules"][0]["Name"].as_str().expect("one"));
    let mut as_it_is = aws.get("scheduler", &schedule).await;
    as_it_is["State"] = json!("DISABLED");
    aws.change("scheduler", Method::PUT, &schedule, as_it_is).await;
    aws.has_problem("is off: no sweep is made").await;

    let letter = json!({ "QueueUrl": system.output("DeadLetterQueueUrl"), "MessageBody": "no job" });
    aws.act("sqs", "AmazonSQS.SendMessage", letter).await;
    aws.has_problem("DeadLetterQueue holds about 1 dead letters").await;

    let hidden = json!({ "QueueUrl": system.output("QueueUrl"), "Attributes": { "VisibilityTimeout": "30" } });
    aws.act("sqs", "AmazonSQS.SetQueueAttributes", hidden).await;
    aws.has_problem("A message is hidden for 30 s").await;
    aws.has_problem("JobsQueue: VisibilityTimeout is 30, and the template says 360").await;

    aws.set_time_to_live(false).await;
    aws.has_problem("time to live is not on").await;
    aws.set_recovery(false).await;
    aws.has_problem("JobsTable: PointInTimeRecoverySpecification").await;

    aws.change_variables("SweeperFunctionName", |variables| drop(variables.remove("DEAD_LETTER_QUEUE_URL"))).await;
    aws.has_problem("SweeperFunction does not start, or does half its work: DEAD_LETTER_QUEUE_URL is not set").await;
    aws.has_problem("lacks DEAD_LETTER_QUEUE_URL").await;
    aws.change_variables("WorkerFunctionName", |variables| {
        variables.insert("MAIL_URL".to_owned(), json!("ses://"));
    })
    .await;
    aws.has_problem("SES refuses all mail: it has verified neither dray@example.com").await;

    let events = format!("/2017-10-31/functions/{}/concurrency", system.output("EventsFunctionName"));
    aws.change("lambda", Method::PUT, &events, json!({ "ReservedConcurrentExecutions": 0 })).await;
    aws.has_problem("EventsFunction is switched off").await;

    let alarms = aws.act("monitoring", "GraniteServiceVersion20100801.DescribeAlarms", json!({})).await;
    let mut names = alarms["MetricAlarms"].as_array().expect("alarms").iter().map(|alarm| &alarm["AlarmName"]);
    let name = names.find(|name| name.as_str().is_some_and(|name| name.contains("WorkerErrors"))).expect("it is there");
    let arguments = json!({ "AlarmNames": [name] });
    aws.act("monitoring", "GraniteServiceVersion20100801.DisableAlarmActions", arguments).await;
    aws.has_problem("The alarm WorkerErrors tells nobody: its actions are off").await;

    let routes = format!("/v2/apis/{}/routes", aws.api_id());
    let known = aws.get("apigateway", &routes).await;
    let mut known = known["items"].as_array().expect("routes").iter();
    let default = known.find(|route| route["routeKey"] == "$default").expect("it is there");
    let default = format!("{routes}/{}", default["routeId"].as_str().expect("an id"));
    aws.change("apigateway", Method::PATCH, &default, json!({ "authorizationType": "AWS_IAM" })).await;
    aws.has_problem("HttpApiRoute: AuthorizationType is AWS_IAM, and the template says NONE").await;
    aws.change("apigateway", Method::POST, &routes, json!({ "routeKey": "GET /open" })).await;
    aws.has_problem("The API has a route GET /open").await;

    aws.change_stage(json!({ "routeSettings": { "GET /docs": { "throttlingRateLimit": 9000 } } })).await;
    aws.has_problem("HttpApiStage: RouteSettings is").await;
    aws.change_stage(json!({ "accessLogSettings": null })).await;
    aws.has_problem("HttpApiStage: AccessLogSettings is not set").await;

    let logs = json!({ "logGroupName": "/dray/dray/worker" });
    aws.act("logs", "Logs_20140328.DeleteRetentionPolicy", logs).await;
    aws.has_problem("WorkerLogs: RetentionInDays is not set, and the template says 14").await;

    let block = format!("/{}?publicAccessBlock=", system.output("OutputBucketName"));
    aws.call("s3", Method::DELETE, &block, &[], String::new()).await;
    aws.has_problem("OutputBucket: PublicAccessBlockConfiguration is not set").await;

    let table = json!({
        "TableName": "old-JobsTable-1", "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
    });
    aws.act("dynamodb", "DynamoDB_20120810.CreateTable", table).await;
    let orphan = "The table old-JobsTable-1 is called as a stack's is, and belongs to none";
    aws.is_told("advice", orphan).await;
    // In use, it is no longer one that nobody needs; and the code cannot use it.
    aws.change_variables("EventsFunctionName", |variables| {
        variables.insert("TABLE_NAME".to_owned(), json!("old-JobsTable-1"));
    })
    .await;
    aws.has_problem("The table old-JobsTable-1 has no index due").await;
    let in_use = aws.doctor(&[]).await.out;
    assert!(!in_use.contains(orphan), "{in_use}");

    aws.act("sqs", "AmazonSQS.DeleteQueue", json!({ "QueueUrl": system.output("EventsFailuresUrl") })).await;
    aws.has_problem("EventsFailures is not there").await;

    let other = aws.doctor(&["--stack", "other"]).await;
    assert_eq!((other.exit, other.out.as_str()), (Exit::Refused, ""), "{}", other.err);
    assert!(other.err.starts_with("dray: other cannot be looked at in http://127.0.0.1:"), "{}", other.err);
    stack.stop().await.expect("it stops");
    let nobody = aws.doctor(&[]).await;
    assert_eq!((nobody.exit, nobody.out.as_str()), (Exit::NoAnswer, ""), "{}", nobody.err);
    let policy = aws.doctor(&["--permissions"]).await;
    assert_eq!(policy.exit, Exit::Done);
    assert!(policy.out.contains("\"cloudformation:GetTemplate\""), "{}", policy.out);
}
