//! What services say of resources, in the words of the template.

use serde_json::{Map, Value, json};

use super::aws::{Unanswered, text};
use super::deployed::Deployed;
use super::template::Resource;

/// Some properties of a resource, as they are.
pub struct Live {
    /// Those that are compared, by the template's names for them.
    pub properties: &'static [&'static str],
    /// What they are. One that is not in it is not set.
    pub values: Result<Value, Unanswered>,
}

/// All that is compared of a resource; nothing, of types that nobody changes by hand or that cannot be asked.
pub fn live(deployed: &Deployed, id: &str, resource: &Resource) -> Vec<Live> {
    let of = |question: &'static str, properties: &'static [&'static str]| Live {
        properties,
        values: deployed.answer(question, id).cloned(),
    };
    let physical_id = resource.physical_id.as_str();
    match resource.kind.as_str() {
        "AWS::Lambda::Function" => vec![of(
            "lambda:GetFunctionConfiguration",
            &["Timeout", "MemorySize", "Runtime", "Handler", "Architectures", "Role", "LoggingConfig", "Environment"],
        )],
        "AWS::Lambda::EventInvokeConfig" => {
            vec![of("lambda:GetFunctionEventInvokeConfig", &["MaximumRetryAttempts", "MaximumEventAgeInSeconds"])]
        }
        "AWS::Lambda::EventSourceMapping" => vec![of(
            "lambda:GetEventSourceMapping",
            &[
                "EventSourceArn",
                "BatchSize",
                "MaximumBatchingWindowInSeconds",
                "FunctionResponseTypes",
                "ScalingConfig",
                "ParallelizationFactor",
                "BisectBatchOnFunctionError",
                "MaximumRetryAttempts",
                "MaximumRecordAgeInSeconds",
                "DestinationConfig",
                "FilterCriteria",
            ],
        )],
        "AWS::SQS::Queue" => vec![Live {
            properties: &[
                "VisibilityTimeout",
                "MessageRetentionPeriod",
                "DelaySeconds",
                "SqsManagedSseEnabled",
                "RedrivePolicy",
                "RedriveAllowPolicy",
            ],
            values: deployed.answer("sqs:GetQueueAttributes", id).map(|queue| queue["Attributes"].clone()),
        }],
        "AWS::DynamoDB::Table" => table(deployed, id),
        "AWS::S3::Bucket" => vec![Live {
            properties: &["PublicAccessBlockConfiguration"],
            values: match deployed.answer("s3:GetBucketPublicAccessBlock", id) {
                Ok(block) => Ok(json!({ "PublicAccessBlockConfiguration": block })),
                Err(why) if why.code == "NoSuchPublicAccessBlockConfiguration" => Ok(json!({})),
                Err(why) => Err(why),
            },
        }],
        "AWS::SNS::Topic" => vec![Live {
            properties: &["KmsMasterKeyId"],
            values: deployed.answer("sns:GetTopicAttributes", id).map(|topic| topic["Attributes"].clone()),
        }],
        "AWS::Scheduler::Schedule" => {
            vec![of("scheduler:GetSchedule", &["ScheduleExpression", "FlexibleTimeWindow", "Target"])]
        }
        "AWS::Logs::LogGroup" => {
            let groups = deployed.answer("logs:DescribeLogGroups", id);
            vec![one_of(groups, "logGroups", "LogGroupName", physical_id, &["RetentionInDays"])]
        }
        "AWS::CloudWatch::Alarm" => {
            let alarms = deployed.answer("cloudwatch:DescribeAlarms", id);
            vec![one_of(
                alarms,
                "MetricAlarms",
                "AlarmName",
                physical_id,
                &[
                    "Namespace",
                    "MetricName",
                    "Dimensions",
                    "Statistic",
                    "Period",
                    "EvaluationPeriods",
                    "DatapointsToAlarm",
                    "ComparisonOperator",
                    "Threshold",
                    "TreatMissingData",
                    "AlarmActions",
                    "OKActions",
                ],
            )]
        }
        kind => of_api(deployed, kind, resource).into_iter().collect(),
    }
}

/// Of the parts of the HTTP API, which are all asked for with it.
fn of_api(deployed: &Deployed, kind: &str, resource: &Resource) -> Option<Live> {
    let (properties, physical_id) = (&resource.properties, resource.physical_id.as_str());
    let part = |question: &'static str, name: &str, called: &str, compared: &'static [&'static str]| {
        Some(one_of(deployed.answer(question, "HttpApi"), "items", name, called, compared))
    };
    match kind {
        "AWS::ApiGatewayV2::Route" => {
            let compared = &["AuthorizationType", "AuthorizerId", "Target"];
            part("apigateway:GET routes", "RouteKey", &text(&properties["RouteKey"]), compared)
        }
        "AWS::ApiGatewayV2::Stage" => {
            let compared = &["AutoDeploy", "DefaultRouteSettings", "RouteSettings", "AccessLogSettings"];
            part("apigateway:GET stages", "StageName", &text(&properties["StageName"]), compared)
        }
        "AWS::ApiGatewayV2::Integration" => {
            let compared = &["IntegrationType", "IntegrationUri", "PayloadFormatVersion", "TimeoutInMillis"];
            part("apigateway:GET integrations", "IntegrationId", physical_id, compared)
        }
        "AWS::ApiGatewayV2::Authorizer" => {
            let compared = &["AuthorizerType", "IdentitySource", "JwtConfiguration"];
            part("apigateway:GET authorizers", "AuthorizerId", physical_id, compared)
        }
        _ => None,
    }
}

/// What three questions say of a table.
fn table(deployed: &Deployed, id: &str) -> Vec<Live> {
    let table = deployed.answer("dynamodb:DescribeTable", id).map(|answer| {
        let mut table = answer["Table"].clone();
        // Provisioned tables have no summary.
        let billing = table["BillingModeSummary"]["BillingMode"].as_str().unwrap_or("PROVISIONED").to_owned();
        table["BillingMode"] = json!(billing);
        table
    });
    let time_to_live = deployed.answer("dynamodb:DescribeTimeToLive", id).map(|answer| {
        let described = &answer["TimeToLiveDescription"];
        let enabled = matches!(described["TimeToLiveStatus"].as_str(), Some("ENABLED" | "ENABLING"));
        let attribute = described["AttributeName"].as_str().filter(|_| enabled);
        json!({ "TimeToLiveSpecification": { "AttributeName": attribute, "Enabled": enabled } })
    });
    let backups = deployed.answer("dynamodb:DescribeContinuousBackups", id).map(|answer| {
        let recovery = &answer["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"];
        let enabled = recovery["PointInTimeRecoveryStatus"] == "ENABLED";
        json!({ "PointInTimeRecoverySpecification": { "PointInTimeRecoveryEnabled": enabled } })
    });
    let of_table: &[&str] = &[
        "BillingMode",
        "KeySchema",
        "AttributeDefinitions",
        "GlobalSecondaryIndexes",
        "StreamSpecification",
        "DeletionProtectionEnabled",
    ];
    vec![
        Live { properties: of_table, values: table },
        Live { properties: &["TimeToLiveSpecification"], values: time_to_live },
        Live { properties: &["PointInTimeRecoverySpecification"], values: backups },
    ]
}

/// The entry of a list that is called so. There being none is an answer too.
fn one_of(
    answer: Result<&Value, Unanswered>,
    list: &str,
    name: &str,
    called: &str,
    properties: &'static [&'static str],
) -> Live {
    let values = answer.and_then(|answer| {
        let mut entries = answer[list].as_array().into_iter().flatten().map(capitalised);
        let none = || Unanswered { code: "NotFound".to_owned(), message: format!("there is no {called}") };
        entries.find(|entry| entry[name] == called).ok_or_else(none)
    });
    Live { properties, values }
}

/// With names as the template has them: API Gateway and CloudWatch Logs begin theirs with a small letter.
fn capitalised(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                let first = name.chars().next().map(|letter| letter.to_ascii_uppercase());
                (first.into_iter().chain(name.chars().skip(1)).collect::<String>(), capitalised(value))
            };
            Value::Object(fields.iter().map(field).collect::<Map<String, Value>>())
        }
        Value::Array(items) => items.iter().map(capitalised).collect(),
        other => other.clone(),
    }
}
