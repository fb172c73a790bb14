//! The HTTP API: what reaches the function, and who is asked for what before.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::invariant::Mutation::{Add, Remove, Set, Swap};
use crate::invariant::invariants;
use crate::stack::{Template, fields, file, number, text, texts};

invariants! {
    the_open_routes_are_those_that_the_apis_description_says_are_open, "functions/api/src/caller.rs",
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
    scopes_are_asked_for_by_the_function_which_knows_the_routes, "functions/api/src/caller.rs",
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
        Remove("HttpApiStage/DependsOn/1"),
    ];
    a_line_of_the_access_log_is_json_of_the_gateways_own_values, "docs/logs.md",
        "No query could read it.", [
        Swap("HttpApiStage/Properties/AccessLogSettings", "$context.path", "$path"),
        Swap("HttpApiStage/Properties/AccessLogSettings", "\\\"bytes\\\":", "\\\"bytes\\\" "),
        Swap("HttpApiStage/Properties/AccessLogSettings", "AccessLogs", "ApiLogs"),
        Remove("AccessLogs/Condition"),
        Set("Conditions/LogsAccess", "!Equals [!Ref AccessLog, 'off']"),
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
    let there_before = texts(&stack.resources["HttpApiStage"]["DependsOn"]);
    for (name, route) in stack.all("AWS::ApiGatewayV2::Route") {
        let key = text(&route["RouteKey"]);
        if key != "$default" {
            assert!(number(&stage["RouteSettings"][key]["ThrottlingRateLimit"]) < all / 10, "{key}");
            assert!(there_before.contains(&name), "{name}: API Gateway knows no such route yet");
        }
    }
}

fn a_line_of_the_access_log_is_json_of_the_gateways_own_values(template: &Template) {
    let stack = template.stack();
    let settings = &stack.properties("HttpApiStage")["AccessLogSettings"];
    assert_eq!(settings["DestinationArn"], "${AccessLogs.Arn}");
    assert!(!stack.properties("AccessLogs")["RetentionInDays"].is_null());
    let line: Value = serde_json::from_str(text(&settings["Format"])).expect("JSON");
    for (name, value) in fields(&line) {
        assert!(text(value).starts_with("$context."), "{name}");
    }
    assert_eq!(line["request_id"], "$context.requestId", "what a line is found by");
    let without = template.with(&[("AccessLog", "off")]);
    assert!(without.properties("AccessLogs").is_null());
    assert!(without.properties("HttpApiStage")["AccessLogSettings"].is_null());
}

fn no_page_of_another_site_reads_answers(template: &Template) {
    assert!(template.stack().properties("HttpApi")["CorsConfiguration"].is_null());
}
