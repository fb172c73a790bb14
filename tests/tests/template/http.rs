//! The HTTP API: what reaches the function, and who is asked for what before.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::invariant::Mutation::{Add, Remove, Set, Swap};
use crate::invariant::invariants;
use crate::stack::{Template, fields, file, number, text, texts};

invariants! {
    the_open_routes_are_those_that_the_apis_description_says_are_open, "functions/api/src/http/caller.rs",
        "What tells of jobs would be told to everybody; or nobody could ask whether the deployment is well.", [
        Set("HealthRoute/Properties/RouteKey", "GET /jobs"),
        Set("DocsRoute/Properties/RouteKey", "ANY /docs"),
        Remove("ApiHealthRoute"),
        Add("MetricsRoute", "{ Type: AWS::ApiGatewayV2::Route, Properties: { ApiId: !Ref HttpApi, RouteKey: GET /metrics, \
             AuthorizationType: NONE, Target: !Sub 'integrations/${HttpApiIntegration}' } }"),
    ];
    what_is_open_is_open_in_every_mode, "docs/access.md",
        "A monitor without a token would take the deployment for dead.", [
        Set("HealthRoute/Properties/AuthorizationType", "!If [AsksForSignatures, AWS_IAM, NONE]"),
        Set("OpenApiRoute/Properties/AuthorizationType", "JWT"),
    ];
    every_other_route_asks_for_what_the_mode_says, "docs/access.md",
        "Everybody could submit, see and delete jobs.", [
        Set("HttpApiRoute/Properties/AuthorizationType", "NONE"),
        Swap("HttpApiRoute/Properties/AuthorizationType", "AWS_IAM", "NONE"),
        Remove("HttpApiRoute/Properties/AuthorizationType"),
        Remove("HttpApiRoute/Properties/AuthorizerId"),
        Set("Conditions/AsksForSignatures", "!Equals [!Ref AuthMode, none]"),
    ];
    scopes_are_asked_for_by_the_function_which_knows_the_routes, "functions/api/src/http/caller.rs",
        "The gateway would refuse a token that has another of the scopes that are enough.", [
        Add("HttpApiRoute/Properties/AuthorizationScopes", "[jobs:read]"),
    ];
    tokens_are_those_of_the_issuer_for_the_audience, "docs/access.md",
        "Tokens that were meant for others, or made by them, would do.", [
        Set("JwtAuthorizer/Properties/JwtConfiguration/Issuer", "https://issuer.example.org"),
        Remove("JwtAuthorizer/Properties/JwtConfiguration/Audience"),
        Set("JwtAuthorizer/Properties/IdentitySource", "[$request.querystring.token]"),
        Remove("JwtAuthorizer/Condition"),
        Set("JwtAuthorizer/Properties/JwtConfiguration/Audience", "!Split [',', !Ref JwtAudience]"),
    ];
    every_request_reaches_the_function, "functions/api/src/lib.rs",
        "A route of the router would be answered 404 by the gateway.", [
        Set("HttpApiRoute/Properties/RouteKey", "ANY /jobs"),
        Set("HttpApiRoute/Properties/Target", "integrations/other"),
        Set("HttpApiIntegration/Properties/IntegrationUri", "!GetAtt WorkerFunction.Arn"),
        Set("HttpApiIntegration/Properties/IntegrationType", "HTTP_PROXY"),
        Set("HttpApiStage/Properties/StageName", "v1"),
        Set("HttpApiStage/Properties/AutoDeploy", "false"),
    ];
    requests_have_the_form_that_the_function_reads, "functions/api/src/main.rs",
        "The function would take no request for one.", [
        Set("HttpApiIntegration/Properties/PayloadFormatVersion", "'1.0'"),
        Remove("HttpApiIntegration/Properties/PayloadFormatVersion"),
        Set("HttpApi/Properties/ProtocolType", "WEBSOCKET"),
    ];
    the_function_may_be_called_before_it_is_called, "docs/canary.py",
        "On the way to the alias, and back, the gateway would answer 500 until the permission is there.", [
        Remove("HttpApiIntegration/DependsOn"),
        Set("HttpApiIntegration/DependsOn", "ApiFunction"),
    ];
    this_api_and_no_other_may_call_the_function, "docs/access.md",
        "The gateway would answer 500; or an API of anybody's in the account could say who its caller is.", [
        Remove("HttpApiPermission"),
        Remove("HttpApiPermission/Properties/SourceArn"),
        Set("HttpApiPermission/Properties/FunctionName", "!Ref WorkerFunction"),
        Swap("HttpApiPermission/Properties/SourceArn", "${HttpApi}", "*"),
        Set("HttpApiPermission/Properties/Principal", "'*'"),
    ];
    a_flood_of_requests_is_held_up_where_the_manual_says, "docs/access.md",
        "One caller could run up the bill of all, and take all of the account's executions.", [
        Set("HttpApiStage/Properties/DefaultRouteSettings/ThrottlingRateLimit", "10000"),
        Set("HttpApiStage/Properties/DefaultRouteSettings/ThrottlingBurstLimit", "500"),
        Remove("HttpApiStage/Properties/DefaultRouteSettings"),
    ];
    what_is_open_to_everybody_uses_up_no_request_of_those_who_may_call, "docs/operating.md",
        "Whoever floods /health would hold up everybody; or the stack could not be made before its routes.", [
        Remove("HttpApiStage/Properties/RouteSettings/GET ~1health"),
        Set("HttpApiStage/Properties/RouteSettings/GET ~1docs/ThrottlingRateLimit", "1000"),
        Set("HttpApiStage/Properties/RouteSettings/GET ~1docs/ThrottlingRateLimit", "30"),
        Set("HttpApiStage/Properties/RouteSettings/GET ~1health/ThrottlingBurstLimit", "2000"),
        Remove("HttpApiStage/Properties/RouteSettings/GET ~1openapi.json/ThrottlingBurstLimit"),
        Remove("HttpApiStage/DependsOn/1"),
        Remove("HttpApiStage/DependsOn"),
    ];
    a_line_of_the_access_log_is_json_of_the_gateways_own_values, "docs/logs.md",
        "No query could read it.", [
        Swap("HttpApiStage/Properties/AccessLogSettings", "$context.path", "$path"),
        Swap("HttpApiStage/Properties/AccessLogSettings", "$context.responseLatency", "$context.latency"),
        Swap("HttpApiStage/Properties/AccessLogSettings", "\\\"bytes\\\":", "\\\"bytes\\\" "),
        Swap("HttpApiStage/Properties/AccessLogSettings", "AccessLogs", "ApiLogs"),
        Remove("AccessLogs/Condition"),
        Set("Conditions/LogsAccess", "!Equals [!Ref AccessLog, 'off']"),
    ];
    the_access_log_is_where_the_manual_says_has_the_fields_that_it_says_and_ends, "docs/logs.md",
        "Whoever looks for who was refused would find nothing; or addresses of persons would be kept for ever.", [
        Set("AccessLogs/Properties/LogGroupName", "!Sub \"/dray/${AWS::StackName}/access\""),
        Set("AccessLogs/Properties/RetentionInDays", "7"),
        Remove("AccessLogs/Properties/RetentionInDays"),
        Swap("HttpApiStage/Properties/AccessLogSettings", "\\\"ip\\\":", "\\\"address\\\":"),
        Swap("HttpApiStage/Properties/AccessLogSettings", "\\\"route\\\":\\\"$context.routeKey\\\",", ""),
    ];
    no_page_of_another_site_reads_answers, "docs/access.md",
        "Whoever has the API open in a browser would lend their rights to every site.", [
        Add("HttpApi/Properties/CorsConfiguration", "{ AllowOrigins: ['*'], AllowMethods: ['*'] }"),
    ];
}

/// Each route: its key and its properties.
fn routes(template: &Template, mode: &str) -> Vec<(String, Value)> {
    let stack = template.with(&[("AuthMode", mode)]);
    let routes = stack.all("AWS::ApiGatewayV2::Route").into_iter();
    routes.map(|(_, route)| (text(&route["RouteKey"]).to_owned(), route.clone())).collect()
}

/// The operations that everybody may use: `GET /health`.
fn open_operations() -> BTreeSet<String> {
    let document = api::openapi::generate();
    let operations = fields(&document["paths"])
        .flat_map(|(path, item)| fields(item).map(move |(method, operation)| (method, path, operation)));
    let open = operations.filter(|(.., operation)| operation["security"] == json!([]));
    open.map(|(method, path, _)| format!("{} {path}", method.to_uppercase())).collect()
}

fn the_open_routes_are_those_that_the_apis_description_says_are_open(template: &Template) {
    let keys = routes(template, "jwt").into_iter().map(|(key, _)| key).filter(|key| key != "$default");
    assert_eq!(keys.collect::<BTreeSet<_>>(), open_operations());
}

fn what_is_open_is_open_in_every_mode(template: &Template) {
    for mode in ["jwt", "iam", "none"] {
        for (key, route) in routes(template, mode).into_iter().filter(|(key, _)| key != "$default") {
            assert_eq!(route["AuthorizationType"], "NONE", "{key} in mode {mode}");
        }
    }
}

fn every_other_route_asks_for_what_the_mode_says(template: &Template) {
    for (mode, asked) in [("jwt", "JWT"), ("iam", "AWS_IAM"), ("none", "NONE")] {
        let route = routes(template, mode).into_iter().find(|(key, _)| key == "$default").expect("a route for all").1;
        assert_eq!(route["AuthorizationType"], asked, "mode {mode}");
        let authorizer = if mode == "jwt" { json!("${JwtAuthorizer}") } else { Value::Null };
        assert_eq!(route["AuthorizerId"], authorizer, "mode {mode}");
    }
}

fn scopes_are_asked_for_by_the_function_which_knows_the_routes(template: &Template) {
    for (key, route) in routes(template, "jwt") {
        assert!(route["AuthorizationScopes"].is_null(), "{key}");
    }
}

fn tokens_are_those_of_the_issuer_for_the_audience(template: &Template) {
    let stack = template.stack();
    let authorizer = stack.properties("JwtAuthorizer");
    assert_eq!([&authorizer["ApiId"], &authorizer["AuthorizerType"]], ["${HttpApi}", "JWT"]);
    assert_eq!(authorizer["IdentitySource"], json!(["$request.header.Authorization"]));
    let expected = json!({ "Issuer": "https://issuer.example", "Audience": ["one", "other"] });
    assert_eq!(authorizer["JwtConfiguration"], expected);
    let spaced = template.with(&[("JwtAudience", "one , other ")]);
    assert_eq!(spaced.properties("JwtAuthorizer")["JwtConfiguration"]["Audience"], json!(["one", "other"]));
    let open = template.with(&[("AuthMode", "none"), ("JwtIssuer", ""), ("JwtAudience", "")]);
    assert!(open.all("AWS::ApiGatewayV2::Authorizer").is_empty(), "without an issuer it could not be made");
}

fn every_request_reaches_the_function(template: &Template) {
    let stack = template.stack();
    for (name, route) in stack.all("AWS::ApiGatewayV2::Route") {
        assert_eq!([&route["ApiId"], &route["Target"]], ["${HttpApi}", "integrations/${HttpApiIntegration}"], "{name}");
    }
    assert!(routes(template, "jwt").iter().any(|(key, _)| key == "$default"));
    let integration = stack.properties("HttpApiIntegration");
    assert_eq!([&integration["ApiId"], &integration["IntegrationType"]], ["${HttpApi}", "AWS_PROXY"]);
    assert!(text(&integration["IntegrationUri"]).starts_with("${ApiFunction"), "{integration}");
    let stage = stack.properties("HttpApiStage");
    assert_eq!([&stage["ApiId"], &stage["StageName"]], ["${HttpApi}", "$default"]);
    assert_eq!(stage["AutoDeploy"], true);
}

fn requests_have_the_form_that_the_function_reads(template: &Template) {
    assert!(file("Cargo.toml").contains("features = [\"apigw_http\"]"), "the second form, and no other");
    let stack = template.stack();
    assert_eq!(stack.properties("HttpApiIntegration")["PayloadFormatVersion"], "2.0");
    assert_eq!(stack.properties("HttpApi")["ProtocolType"], "HTTP");
}

fn the_function_may_be_called_before_it_is_called(template: &Template) {
    let stack = template.stack();
    assert_eq!(stack.resources["HttpApiIntegration"]["DependsOn"], "HttpApiPermission");
    let called = text(&stack.properties("HttpApiIntegration")["IntegrationUri"]).replace(".Arn}", "}");
    assert_eq!(called, text(&stack.properties("HttpApiPermission")["FunctionName"]), "both by alias, or neither");
}

fn this_api_and_no_other_may_call_the_function(template: &Template) {
    let stack = template.stack();
    let permissions = stack.all("AWS::Lambda::Permission");
    let [(_, permission)] = permissions.as_slice() else { panic!("{permissions:?}") };
    assert_eq!(permission["Action"], "lambda:InvokeFunction");
    assert!(text(&permission["FunctionName"]).starts_with("${ApiFunction"), "{permission}");
    assert_eq!(permission["Principal"], "apigateway.amazonaws.com");
    let account = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}";
    assert_eq!(permission["SourceArn"], format!("{account}:${{HttpApi}}/*"));
}

fn a_flood_of_requests_is_held_up_where_the_manual_says(template: &Template) {
    let stack = template.stack();
    let settings = &stack.properties("HttpApiStage")["DefaultRouteSettings"];
    let (rate, burst) = (number(&settings["ThrottlingRateLimit"]), number(&settings["ThrottlingBurstLimit"]));
    assert_eq!(burst, 2 * rate);
    let words = format!("{},{:03} requests a second", rate / 1000, rate % 1000);
    assert!(file("docs/access.md").contains(&words), "docs/access.md does not say: {words}");
}

fn what_is_open_to_everybody_uses_up_no_request_of_those_who_may_call(template: &Template) {
    let stack = template.stack();
    let stage = stack.properties("HttpApiStage");
    let all = number(&stage["DefaultRouteSettings"]["ThrottlingRateLimit"]);
    let (access, operating) = (file("docs/access.md"), file("docs/operating.md"));
    let there_before = texts(&stack.resources["HttpApiStage"]["DependsOn"]);
    for (name, route) in stack.all("AWS::ApiGatewayV2::Route") {
        let key = text(&route["RouteKey"]);
        if key != "$default" {
            let settings = &stage["RouteSettings"][key];
            let [rate, burst] = ["ThrottlingRateLimit", "ThrottlingBurstLimit"].map(|name| number(&settings[name]));
            assert!(rate < all / 10, "{key}");
            assert_eq!(burst, 2 * rate, "{key}");
            assert!(access.contains(&format!("; {rate} for each of the routes that are open")), "{key}: {rate}");
            assert!(operating.contains(&format!("| open routes {rate} requests a second, all ")), "{key}: {rate}");
            assert!(there_before.contains(&name), "{name}: API Gateway knows no such route yet");
        }
    }
}

/// What API Gateway can say of a request to an HTTP API, as far as it is of use.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging-variables.html>
const GATEWAY_VALUES: [&str; 24] = [
    "authorizer.claims.sub",
    "authorizer.error",
    "domainName",
    "error.message",
    "error.responseType",
    "extendedRequestId",
    "httpMethod",
    "identity.sourceIp",
    "identity.userAgent",
    "identity.userArn",
    "integration.error",
    "integration.latency",
    "integration.status",
    "integrationErrorMessage",
    "integrationLatency",
    "integrationStatus",
    "path",
    "protocol",
    "requestId",
    "requestTimeEpoch",
    "responseLatency",
    "responseLength",
    "routeKey",
    "status",
];

fn a_line_of_the_access_log_is_json_of_the_gateways_own_values(template: &Template) {
    let stack = template.stack();
    let settings = &stack.properties("HttpApiStage")["AccessLogSettings"];
    assert_eq!(settings["DestinationArn"], "${AccessLogs.Arn}");
    let line: Value = serde_json::from_str(text(&settings["Format"])).expect("JSON");
    for (name, value) in fields(&line) {
        let value = text(value).strip_prefix("$context.").unwrap_or_else(|| panic!("{name} is always {value}"));
        assert!(GATEWAY_VALUES.contains(&value), "{name} is always -: the gateway has no {value}");
    }
    assert_eq!(line["request_id"], "$context.requestId", "what a line is found by");
    let without = template.with(&[("AccessLog", "off")]);
    assert!(without.properties("AccessLogs").is_null());
    assert!(without.properties("HttpApiStage")["AccessLogSettings"].is_null());
}

fn the_access_log_is_where_the_manual_says_has_the_fields_that_it_says_and_ends(template: &Template) {
    let stack = template.with(&[("LogRetentionDays", "30")]);
    let group = stack.properties("AccessLogs");
    assert_eq!(number(&group["RetentionInDays"]), 30);
    let manual = file("docs/logs.md");
    let (_, section) = manual.split_once("\n## The access log\n").expect("a section of its own");
    let section = section.split("\n## ").next().expect("its text");
    let place = text(&group["LogGroupName"]).replace("${AWS::StackName}", "<stack>");
    assert!(section.contains(&format!("`{place}`")), "docs/logs.md does not say: {place}");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let described: BTreeSet<_> = rows.flat_map(|cell| cell.trim_end_matches('`').split("`, `")).collect();
    let format = text(&stack.properties("HttpApiStage")["AccessLogSettings"]["Format"]);
    let line: Value = serde_json::from_str(format).expect("JSON");
    assert_eq!(fields(&line).map(|(name, _)| name.as_str()).collect::<BTreeSet<_>>(), described);
}

fn no_page_of_another_site_reads_answers(template: &Template) {
    assert!(template.stack().properties("HttpApi")["CorsConfiguration"].is_null());
}
