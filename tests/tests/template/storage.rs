//! The table and the bucket.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use shared::job::Job;
use shared::job::submission::{Origin, Submission};
use shared::job::transition::{Change, transition};
use shared::job_type::JobType;
use shared::values::id::{JobId, Tenant};
use shared::values::json::Json;
use shared::values::time::Timestamp;
use shared_aws::dynamodb::INDEXES;
use shared_aws::dynamodb::stream::image_of;

use crate::invariant::Mutation::{Add, Remove, Set, Swap};
use crate::invariant::invariants;
use crate::stack::{Template, code_below, file, list, number, quoted_after, text, texts, under};

invariants! {
    items_are_forgotten_by_the_attribute_that_the_store_writes, "shared/aws/src/dynamodb/item.rs",
        "Ended jobs would stay for ever, and be paid for.", [
        Set("JobsTable/Properties/TimeToLiveSpecification/AttributeName", "expires_at"),
        Set("JobsTable/Properties/TimeToLiveSpecification/Enabled", "false"),
    ];
    the_keys_are_attributes_that_the_store_writes_with_their_types, "shared/aws/src/dynamodb/item.rs",
        "The table would refuse every job, or an index would not have it.", [
        Set("JobsTable/Properties/AttributeDefinitions/2/AttributeType", "S"),
        Set("JobsTable/Properties/KeySchema/0/KeyType", "RANGE"),
    ];
    the_indexes_are_those_that_the_store_asks_by_the_keys_that_it_asks_for, "shared/aws/src/dynamodb/index.rs",
        "Lists and the sweeper would find nothing.", [
        Set("JobsTable/Properties/GlobalSecondaryIndexes/0/IndexName", "overdue"),
        Set("JobsTable/Properties/GlobalSecondaryIndexes/1/KeySchema/1/AttributeName", "id"),
        Remove("JobsTable/Properties/GlobalSecondaryIndexes/1"),
    ];
    an_index_has_keys_and_nothing_else, "shared/aws/src/dynamodb/index.rs",
        "Each write of a job would be paid for again in each index, by the length of its payload.", [
        Set("JobsTable/Properties/GlobalSecondaryIndexes/0/Projection/ProjectionType", "ALL"),
    ];
    the_stream_shows_items_before_and_after_a_change, "shared/aws/src/dynamodb/stream.rs",
        "What is new in a job could not be told, and nothing would be counted or published.", [
        Set("JobsTable/Properties/StreamSpecification/StreamViewType", "NEW_IMAGE"),
        Set("JobsTable/Properties/StreamSpecification/StreamViewType", "KEYS_ONLY"),
    ];
    jobs_and_files_outlive_the_stack, "docs/operating.md",
        "Whoever deletes a stack, or changes a name in it, would delete everybody's jobs and files.", [
        Set("JobsTable/DeletionPolicy", "Delete"),
        Set("JobsTable/UpdateReplacePolicy", "Delete"),
        Remove("OutputBucket/DeletionPolicy"),
        Set("OutputBucket/UpdateReplacePolicy", "Delete"),
    ];
    what_can_be_made_again_goes_with_the_stack, "docs/operating.md",
        "A stack could not be made again under its name while its queues and logs are still there.", [
        Set("JobsQueue/DeletionPolicy", "Retain"),
        Set("WorkerLogs/DeletionPolicy", "Retain"),
        Remove("EventsFailures/UpdateReplacePolicy"),
    ];
    the_table_can_be_restored_to_any_second, "docs/operating.md",
        "What a fault has overwritten would be lost.", [
        Set("JobsTable/Properties/PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled", "false"),
        Remove("JobsTable/Properties/PointInTimeRecoverySpecification"),
    ];
    nothing_lies_in_the_clear, "docs/operating.md",
        "Payloads hold what callers put into them. CloudWatch cannot use the key of SNS, and alarms hold no payloads.", [
        Set("JobsQueue/Properties/SqsManagedSseEnabled", "false"),
        Remove("EventsFailures/Properties/SqsManagedSseEnabled"),
        Remove("OutputBucket/Properties/BucketEncryption"),
        Remove("EventsTopic/Properties/KmsMasterKeyId"),
        Add("AlarmTopic/Properties", "{ KmsMasterKeyId: alias/aws/sns }"),
    ];
    no_file_can_be_made_public, "docs/operating.md",
        "One wrong policy would show the files of all tenants to everybody.", [
        Set("OutputBucket/Properties/PublicAccessBlockConfiguration/BlockPublicPolicy", "false"),
        Remove("OutputBucket/Properties/PublicAccessBlockConfiguration/RestrictPublicBuckets"),
        Set("OutputBucket/Properties/OwnershipControls/Rules/0/ObjectOwnership", "ObjectWriter"),
    ];
    the_table_takes_what_comes, "docs/operating.md",
        "A fixed capacity costs while nothing happens, and throttles when much does.", [
        Set("JobsTable/Properties/BillingMode", "PROVISIONED"),
        Add("JobsTable/Properties/ProvisionedThroughput", "{ ReadCapacityUnits: 5, WriteCapacityUnits: 5 }"),
    ];
    the_table_can_be_protected_and_is_not_by_itself, "docs/operating.md",
        "A first deployment that fails could not be undone; or a deletion by mistake would not be refused.", [
        Set("JobsTable/Properties/DeletionProtectionEnabled", "true"),
        Remove("JobsTable/Properties/DeletionProtectionEnabled"),
    ];
    a_table_that_is_given_takes_the_place_of_the_stacks_own_everywhere, "docs/backup.md",
        "Functions would go on with the table that was to be replaced, or may do nothing with the other.", [
        Remove("JobsTable/Condition"),
        Set("SweeperRole/Properties/Policies/0/PolicyDocument/Statement/1/Resource", "!GetAtt JobsTable.Arn"),
        Set("EventsFunction/Properties/Events/Changes/Properties/Stream", "!GetAtt JobsTable.StreamArn"),
        Set("Outputs/TableName/Value", "!Ref JobsTable"),
        Swap("ApiRole/Properties/Policies/0/PolicyDocument/Statement/1", "ExistingTableArn", "ExistingTableStreamArn"),
    ];
    a_table_that_is_given_comes_with_its_stream, "docs/backup.md",
        "The stack's own table would stay in its place, and nobody would say so.", [
        Remove("Rules/AnExistingTableHasAStream"),
        Remove("Rules/AnExistingTableHasAStream/Assertions/0"),
        Set("Rules/AnExistingTableHasAStream/RuleCondition", "!Equals [!Ref ExistingTableArn, '']"),
        Swap("Rules/AnExistingTableHasAStream/Assertions", "ExistingTableStreamArn\"}", "ExistingTableArn\"}"),
        Set("Conditions/OwnsTable", "!Equals [!Ref ExistingTableArn, '']"),
    ];
    unfinished_uploads_are_removed_and_finished_files_are_not, "shared/aws/src/s3.rs",
        "Parts of files that no job finishes would be paid for for ever, and nobody would see them.", [
        Set("OutputBucket/Properties/LifecycleConfiguration/Rules/0/Status", "Disabled"),
        Remove("OutputBucket/Properties/LifecycleConfiguration"),
        Add("OutputBucket/Properties/LifecycleConfiguration/Rules/0/ExpirationInDays", "30"),
    ];
}

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A job that waits, and how the store writes it.
pub fn waiting_job() -> (Job, Value) {
    let submission = Submission::plain(JobType::CsvGeneration, Json::parse(r#"{"a":1}"#).expect("JSON"));
    let origin = Origin { correlation_id: "request".to_owned(), traceparent: None };
    let job = submission.into_job(JobId::at(NOW, [1; 10]), Tenant::only(), NOW, origin);
    let image = image(&job);
    (job, image)
}

fn image(job: &Job) -> Value {
    serde_json::from_str(&image_of(job).expect("it can be written")).expect("JSON")
}

fn items_are_forgotten_by_the_attribute_that_the_store_writes(template: &Template) {
    let stack = template.stack();
    let specified = &stack.properties("JobsTable")["TimeToLiveSpecification"];
    assert_eq!(specified["Enabled"], true);
    let (waiting, _) = waiting_job();
    let ended = transition(&waiting, &Change::CancelPending { now: NOW }).expect("allowed");
    let attribute = text(&specified["AttributeName"]);
    let seconds = number(&image(&ended)[attribute]["N"]);
    let days = (seconds - 1_800_000_000) / 86_400;
    assert!((1..1_000).contains(&days), "{days} days after its end, in seconds since 1970");
}

fn the_keys_are_attributes_that_the_store_writes_with_their_types(template: &Template) {
    let stack = template.stack();
    let table = stack.properties("JobsTable");
    assert_eq!(table["KeySchema"], json!([{ "AttributeName": "id", "KeyType": "HASH" }]));
    let (_, image) = waiting_job();
    for definition in list(&table["AttributeDefinitions"]) {
        let (name, kind) = (text(&definition["AttributeName"]), text(&definition["AttributeType"]));
        assert!(image[name][kind].is_string(), "{name} is no {kind}: {}", image[name]);
    }
}

fn the_indexes_are_those_that_the_store_asks_by_the_keys_that_it_asks_for(template: &Template) {
    let code = code_below("shared/aws/src/dynamodb");
    let asked: BTreeSet<_> = quoted_after(&code, "KeyQuery::of(\"").into_iter().collect();
    assert_eq!(asked, BTreeSet::from(INDEXES.map(|(index, ..)| index.to_owned())));
    for (_, equal, range) in INDEXES {
        for words in [format!(".only(\"{equal}\", \"=\","), format!(".only(\"{range}\", \"<\",")] {
            assert!(code.contains(&words), "nobody asks so: {words}");
        }
    }
    let stack = template.stack();
    let key = |name: &str, kind: &str| json!({ "AttributeName": name, "KeyType": kind });
    let made: BTreeMap<_, _> = list(&stack.properties("JobsTable")["GlobalSecondaryIndexes"])
        .iter()
        .map(|index| (text(&index["IndexName"]), index["KeySchema"].clone()))
        .collect();
    let expected = INDEXES.map(|(index, equal, range)| (index, json!([key(equal, "HASH"), key(range, "RANGE")])));
    assert_eq!(made, BTreeMap::from(expected));
}

fn an_index_has_keys_and_nothing_else(template: &Template) {
    for index in list(&template.stack().properties("JobsTable")["GlobalSecondaryIndexes"]) {
        assert_eq!(index["Projection"], json!({ "ProjectionType": "KEYS_ONLY" }), "{}", index["IndexName"]);
    }
}

fn the_stream_shows_items_before_and_after_a_change(template: &Template) {
    let code = file("functions/events/src/stream.rs");
    assert!(code.contains("old_image") && code.contains("new_image"), "it reads both");
    let stack = template.stack();
    let specified = &stack.properties("JobsTable")["StreamSpecification"];
    assert_eq!(*specified, json!({ "StreamViewType": "NEW_AND_OLD_IMAGES" }));
}

fn jobs_and_files_outlive_the_stack(template: &Template) {
    let stack = template.stack();
    for name in ["JobsTable", "OutputBucket"] {
        let resource = &stack.resources[name];
        // Unless the stack could not be made: then there is nothing in them.
        assert_eq!(resource["DeletionPolicy"], "RetainExceptOnCreate", "{name}");
        assert_eq!(resource["UpdateReplacePolicy"], "Retain", "{name}");
    }
}

fn what_can_be_made_again_goes_with_the_stack(template: &Template) {
    let stack = template.stack();
    for kind in ["AWS::SQS::Queue", "AWS::Logs::LogGroup"] {
        for (name, _) in stack.all(kind) {
            for policy in ["DeletionPolicy", "UpdateReplacePolicy"] {
                assert_eq!(stack.resources[name][policy], "Delete", "{policy} of {name}");
            }
        }
    }
}

fn the_table_can_be_restored_to_any_second(template: &Template) {
    let stack = template.stack();
    let specified = &stack.properties("JobsTable")["PointInTimeRecoverySpecification"];
    assert_eq!(specified["PointInTimeRecoveryEnabled"], true);
}

fn nothing_lies_in_the_clear(template: &Template) {
    let stack = template.stack();
    for (name, queue) in stack.all("AWS::SQS::Queue") {
        assert_eq!(queue["SqsManagedSseEnabled"], true, "{name}");
    }
    let bucket = &stack.properties("OutputBucket")["BucketEncryption"]["ServerSideEncryptionConfiguration"];
    assert_eq!(bucket[0]["ServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256");
    assert_eq!(stack.properties("EventsTopic")["KmsMasterKeyId"], "alias/aws/sns");
    // The key's own policy lets nobody in but callers of this account who may use SNS, which no service is.
    // https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
    assert!(stack.properties("AlarmTopic")["KmsMasterKeyId"].is_null());
}

fn no_file_can_be_made_public(template: &Template) {
    let stack = template.stack();
    let bucket = stack.properties("OutputBucket");
    for closed in ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"] {
        assert_eq!(bucket["PublicAccessBlockConfiguration"][closed], true, "{closed}");
    }
    assert_eq!(bucket["OwnershipControls"]["Rules"], json!([{ "ObjectOwnership": "BucketOwnerEnforced" }]));
    assert!(stack.all("AWS::S3::BucketPolicy").is_empty());
}

fn the_table_takes_what_comes(template: &Template) {
    let stack = template.stack();
    let table = stack.properties("JobsTable");
    assert_eq!(table["BillingMode"], "PAY_PER_REQUEST");
    assert!(table["ProvisionedThroughput"].is_null());
}

fn the_table_can_be_protected_and_is_not_by_itself(template: &Template) {
    for (given, protected) in [(None, false), (Some("off"), false), (Some("on"), true)] {
        let given: Vec<_> = given.into_iter().map(|value| ("DeletionProtection", value)).collect();
        assert_eq!(template.with(&given).properties("JobsTable")["DeletionProtectionEnabled"], protected, "{given:?}");
    }
}

fn a_table_that_is_given_takes_the_place_of_the_stacks_own_everywhere(template: &Template) {
    let (table, stream) = ("arn:aws:dynamodb:r:1:table/restored", "arn:aws:dynamodb:r:1:table/restored/stream/1");
    let stack = template.with(&[("ExistingTableArn", table), ("ExistingTableStreamArn", stream)]);
    let made = stack.resources.to_string() + &stack.outputs.to_string();
    assert!(!made.contains("JobsTable"), "the stack's own table is not there to be named");
    assert_eq!(stack.properties("EventsFunctionChanges")["EventSourceArn"], stream);
    for role in ["ApiRole", "WorkerRole", "SweeperRole", "EventsRole"] {
        for resource in under("Resource", stack.properties(role)).into_iter().flat_map(texts) {
            let is_of_table =
                resource == table || resource == stream || resource.starts_with(&format!("{table}/index/"));
            assert!(is_of_table || !resource.contains(":dynamodb:"), "{role}: {resource}");
        }
    }
}

fn a_table_that_is_given_comes_with_its_stream(template: &Template) {
    let (table, stream) = (("ExistingTableArn", "a table"), ("ExistingTableStreamArn", "its stream"));
    let refusals = template.refusals(&[table]);
    assert!(matches!(refusals.as_slice(), [one] if one.contains("needs ExistingTableStreamArn")), "{refusals:?}");
    for taken in [vec![], vec![table, stream]] {
        assert_eq!(template.refusals(&taken), Vec::<String>::new(), "{taken:?}");
    }
    // Not all that deploys the template knows rules: the local AWS does not.
    assert!(!template.with(&[table]).properties("JobsTable").is_null(), "half of it is taken for nothing");
}

fn unfinished_uploads_are_removed_and_finished_files_are_not(template: &Template) {
    let stack = template.stack();
    let rules = list(&stack.properties("OutputBucket")["LifecycleConfiguration"]["Rules"]);
    let [rule] = rules else { panic!("{rules:?}") };
    assert_eq!(rule["Status"], "Enabled");
    assert!(number(&rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]) >= 1);
    let others = rule
        .as_object()
        .expect("a rule")
        .keys()
        .filter(|name| !["Id", "Status", "AbortIncompleteMultipartUpload"].contains(&name.as_str()));
    assert_eq!(others.count(), 0, "{rule}");
}
