//! The queues, and what brings their messages and the stream's records to functions.

use serde_json::{Value, json};
use shared::job::HeldBack;
use shared::job::submission::MOST_ATTEMPTS;

use crate::invariant::Mutation::{Add, Remove, Set};
use crate::invariant::invariants;
use crate::stack::{Template, code_below, file, list, number, text, texts};
use crate::storage::waiting_job;

invariants! {
    a_message_is_hidden_for_six_times_as_long_as_a_worker_may_take, "docs/operating.md",
        "A message would come again while its job runs, and its deliveries be used up.", [
        Set("JobsQueue/Properties/VisibilityTimeout", "360"),
        Set("JobsQueue/Properties/VisibilityTimeout", "!FindInMap [Worker, !Ref WorkerTimeout, OldestMessage]"),
        Set("Mappings/Worker/300/Visibility", "1500"),
        Set("Mappings/Worker/900/Visibility", "900"),
        Set("Parameters/WorkerTimeout/AllowedValues", "[60, 300, 600, 900]"),
    ];
    a_message_is_delivered_more_often_than_a_job_is_attempted, "shared/src/job/submission.rs",
        "A job would be dead before its last attempt.", [
        Set("JobsQueue/Properties/RedrivePolicy/maxReceiveCount", "10"),
        Set("JobsQueue/Properties/RedrivePolicy/maxReceiveCount", "1000"),
    ];
    a_dead_letter_outlasts_the_queue_that_it_came_from, "docs/operating.md",
        "Its age counts from when it was first sent: it would be gone before anybody has seen it.", [
        Set("DeadLetterQueue/Properties/MessageRetentionPeriod", "345600"),
        Remove("DeadLetterQueue/Properties/MessageRetentionPeriod"),
        Set("JobsQueue/Properties/MessageRetentionPeriod", "1209600"),
    ];
    a_message_waits_for_as_long_as_the_manual_says_and_longer_than_its_job_does, "docs/operating.md",
        "A message would be gone before its job has been tried for the last time; the sweeper would have to send it anew.", [
        Set("JobsQueue/Properties/MessageRetentionPeriod", "86400"),
        Set("JobsQueue/Properties/MessageRetentionPeriod", "691200"),
        Remove("JobsQueue/Properties/MessageRetentionPeriod"),
    ];
    what_events_gave_up_is_kept_for_as_long_as_can_be, "docs/operating.md",
        "It says which records nobody has counted, and after a day the stream does not.", [
        Set("EventsFailures/Properties/MessageRetentionPeriod", "86400"),
    ];
    dead_letters_come_from_the_jobs_queue_and_no_other, "docs/operating.md",
        "SQS would not move them, or another queue's would be taken for jobs.", [
        Set("JobsQueue/Properties/RedrivePolicy/deadLetterTargetArn", "!GetAtt EventsFailures.Arn"),
        Set("DeadLetterQueue/Properties/RedriveAllowPolicy/redrivePermission", "allowAll"),
        Set("JobsQueue/Properties/QueueName", "!Sub \"${AWS::StackName}-queue\""),
        Set("DeadLetterQueue/Properties/RedriveAllowPolicy/sourceQueueArns/0",
            "!Sub \"arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:${AWS::StackName}-job\""),
    ];
    the_queues_are_of_the_kind_that_the_code_sends_to, "shared/aws/src/sqs.rs",
        "A FIFO queue takes no delay for one message; with a delay of the queue's own every job waits, with a wait every sweep.", [
        Add("JobsQueue/Properties/DelaySeconds", "5"),
        Add("DeadLetterQueue/Properties/FifoQueue", "true"),
        Add("DeadLetterQueue/Properties/ReceiveMessageWaitTimeSeconds", "20"),
    ];
    the_worker_gets_the_jobs_queue, "functions/worker/src/lib.rs",
        "Jobs would wait, or dead letters be run.", [
        Set("WorkerFunction/Properties/Events/Jobs/Properties/Queue", "!GetAtt DeadLetterQueue.Arn"),
        Add("WorkerFunction/Properties/Events/Jobs/Properties/Enabled", "false"),
        Add("WorkerFunction/Properties/Events/Jobs/Properties/FilterCriteria", "{ Filters: [{ Pattern: '{}' }] }"),
    ];
    one_job_of_a_batch_does_not_bring_back_its_neighbours, "functions/worker/src/lib.rs",
        "Each failure would run nine other jobs again.", [
        Remove("WorkerFunction/Properties/Events/Jobs/Properties/FunctionResponseTypes"),
    ];
    a_job_is_delivered_at_once_and_with_as_many_others_as_one_worker_runs, "docs/operating.md",
        "Lambda would wait for more jobs before it starts one; and above ten it refuses a batch without such a wait.", [
        Set("WorkerFunction/Properties/Events/Jobs/Properties/BatchSize", "100"),
        Remove("WorkerFunction/Properties/Events/Jobs/Properties/BatchSize"),
        Add("WorkerFunction/Properties/Events/Jobs/Properties/MaximumBatchingWindowInSeconds", "5"),
    ];
    workers_are_as_many_as_the_parameter_says_and_sqs_takes, "docs/operating.md",
        "Workers would take all of the account's executions, and the API would have none.", [
        Remove("WorkerFunction/Properties/Events/Jobs/Properties/ScalingConfig"),
        Set("Parameters/WorkerConcurrency/MinValue", "1"),
        Set("Parameters/WorkerConcurrency/MaxValue", "1001"),
    ];
    the_stream_brings_back_what_was_not_done_and_nothing_before_it, "functions/events/src/lib.rs",
        "The answer that names the first record that could not be done would be taken for success.", [
        Remove("EventsFunction/Properties/Events/Changes/Properties/FunctionResponseTypes"),
    ];
    a_record_that_nobody_can_do_is_given_up_alone_and_late, "functions/events/src/lib.rs",
        "With it a hundred others would be given up; or an outage of minutes would lose what happened meanwhile.", [
        Set("EventsFunction/Properties/Events/Changes/Properties/BisectBatchOnFunctionError", "false"),
        Set("EventsFunction/Properties/Events/Changes/Properties/MaximumRetryAttempts", "3"),
        Set("EventsFunction/Properties/Events/Changes/Properties/MaximumRecordAgeInSeconds", "3600"),
    ];
    what_is_given_up_is_noted, "docs/operating.md",
        "Nobody would learn which records were never counted.", [
        Remove("EventsFunction/Properties/Events/Changes/Properties/DestinationConfig"),
        Set("EventsFunction/Properties/Events/Changes/Properties/DestinationConfig/OnFailure/Destination",
            "!GetAtt DeadLetterQueue.Arn"),
    ];
    the_stream_is_read_from_its_beginning_and_in_its_order, "functions/events/src/lib.rs",
        "What happened before the mapping was there, or while it was made anew, would not be counted.", [
        Set("EventsFunction/Properties/Events/Changes/Properties/StartingPosition", "LATEST"),
        Set("EventsFunction/Properties/Events/Changes/Properties/Stream", "!GetAtt JobsQueue.Arn"),
        Add("EventsFunction/Properties/Events/Changes/Properties/TumblingWindowInSeconds", "30"),
        Set("EventsFunction/Properties/Events/Changes/Properties/ParallelizationFactor", "10"),
    ];
    changes_are_seen_within_a_second_or_so, "docs/events.md",
        "Webhooks and counters would lag.", [
        Set("EventsFunction/Properties/Events/Changes/Properties/MaximumBatchingWindowInSeconds", "60"),
        Set("EventsFunction/Properties/Events/Changes/Properties/BatchSize", "10000"),
    ];
    the_stream_brings_jobs_and_not_the_counters_own_items, "functions/events/src/lib.rs",
        "Counting would call the function that counts, for ever; or no job would be counted.", [
        Remove("EventsFunction/Properties/Events/Changes/Properties/FilterCriteria"),
        Set("EventsFunction/Properties/Events/Changes/Properties/FilterCriteria/Filters/0/Pattern",
            "'{\"dynamodb\":{\"NewImage\":{\"fingerprint\":{\"N\":[{\"exists\":true}]}}}}'"),
        Set("EventsFunction/Properties/Events/Changes/Properties/FilterCriteria/Filters/0/Pattern",
            "'{\"dynamodb\":{\"NewImage\":{\"id\":{\"S\":[{\"exists\":true}]}}}}'"),
    ];
}

/// The fewest and the most invocations that an SQS event source may be held to.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>
const CONCURRENCIES: std::ops::RangeInclusive<u64> = 2..=1000;

/// The longest that SQS hides a message, in seconds.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const LONGEST_VISIBILITY: u64 = 12 * 60 * 60;

/// The longest that SQS keeps a message, in seconds.
const LONGEST_RETENTION: u64 = 14 * 86_400;

fn a_message_is_hidden_for_six_times_as_long_as_a_worker_may_take(template: &Template) {
    for (timeout, stack) in template.with_each_worker_timeout() {
        let visibility = number(&stack.properties("JobsQueue")["VisibilityTimeout"]);
        assert_eq!(visibility, 6 * timeout);
        assert!(visibility <= LONGEST_VISIBILITY, "{timeout}");
    }
}

fn a_message_is_delivered_more_often_than_a_job_is_attempted(template: &Template) {
    let stack = template.stack();
    let redrive = &stack.properties("JobsQueue")["RedrivePolicy"];
    assert_eq!(number(&redrive["maxReceiveCount"]), 5.max(u64::from(MOST_ATTEMPTS) + 2));
}

fn a_dead_letter_outlasts_the_queue_that_it_came_from(template: &Template) {
    let stack = template.stack();
    let retention = |queue| number(&stack.properties(queue)["MessageRetentionPeriod"]);
    assert!(retention("DeadLetterQueue") > retention("JobsQueue"));
    assert_eq!(retention("DeadLetterQueue"), LONGEST_RETENTION);
}

fn a_message_waits_for_as_long_as_the_manual_says_and_longer_than_its_job_does(template: &Template) {
    let manual = file("docs/operating.md");
    for (timeout, stack) in template.with_each_worker_timeout() {
        let queue = stack.properties("JobsQueue");
        let retention = number(&queue["MessageRetentionPeriod"]);
        let days = retention / 86_400;
        assert_eq!(retention, days * 86_400);
        for words in
            [format!("| queue retention {days} days, dead letters 14 |"), format!("| messages | {days} days, ")]
        {
            assert!(manual.contains(&words), "docs/operating.md does not say: {words}");
        }
        assert!(retention > HeldBack::LONGEST.as_secs(), "a job that no worker can run yet");
        let hidden = number(&queue["VisibilityTimeout"]) * number(&queue["RedrivePolicy"]["maxReceiveCount"]);
        assert!(retention > hidden, "workers live for {timeout} s: {hidden} s until its last delivery is over");
    }
}

fn what_events_gave_up_is_kept_for_as_long_as_can_be(template: &Template) {
    assert_eq!(number(&template.stack().properties("EventsFailures")["MessageRetentionPeriod"]), LONGEST_RETENTION);
}

fn dead_letters_come_from_the_jobs_queue_and_no_other(template: &Template) {
    let stack = template.stack();
    let (jobs, dead) = (stack.properties("JobsQueue"), stack.properties("DeadLetterQueue"));
    assert_eq!(jobs["RedrivePolicy"]["deadLetterTargetArn"], "${DeadLetterQueue.Arn}");
    assert_eq!(dead["RedriveAllowPolicy"]["redrivePermission"], "byQueue");
    let arn = format!("arn:${{AWS::Partition}}:sqs:${{AWS::Region}}:${{AWS::AccountId}}:{}", text(&jobs["QueueName"]));
    assert_eq!(texts(&dead["RedriveAllowPolicy"]["sourceQueueArns"]), [arn]);
}

fn the_queues_are_of_the_kind_that_the_code_sends_to(template: &Template) {
    let code = file("shared/aws/src/sqs.rs");
    assert!(code.contains("delay_seconds(") && !code.contains("message_group_id("));
    for (name, queue) in template.stack().all("AWS::SQS::Queue") {
        for property in ["FifoQueue", "DelaySeconds", "ReceiveMessageWaitTimeSeconds", "ContentBasedDeduplication"] {
            assert!(queue[property].is_null(), "{property} of {name}");
        }
    }
}

fn jobs_mapping(template: &Template) -> Value {
    template.stack().properties("WorkerFunctionJobs").clone()
}

fn changes_mapping(template: &Template) -> Value {
    template.stack().properties("EventsFunctionChanges").clone()
}

fn the_worker_gets_the_jobs_queue(template: &Template) {
    let mapping = jobs_mapping(template);
    assert_eq!(mapping["EventSourceArn"], "${JobsQueue.Arn}");
    assert!(text(&mapping["FunctionName"]).starts_with("${WorkerFunction"), "{}", mapping["FunctionName"]);
    assert_ne!(mapping["Enabled"], false);
    assert!(mapping["FilterCriteria"].is_null(), "SQS deletes what a filter leaves out");
}

fn one_job_of_a_batch_does_not_bring_back_its_neighbours(template: &Template) {
    assert!(code_below("functions/worker/src").contains("SqsBatchResponse"), "it answers for each message");
    assert_eq!(jobs_mapping(template)["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]));
}

fn a_job_is_delivered_at_once_and_with_as_many_others_as_one_worker_runs(template: &Template) {
    let mapping = jobs_mapping(template);
    let batch = number(&mapping["BatchSize"]);
    assert!(file("docs/operating.md").contains(&format!("| batch {batch}, `WorkerConcurrency`")), "{batch}");
    assert!(mapping["MaximumBatchingWindowInSeconds"].is_null());
}

fn workers_are_as_many_as_the_parameter_says_and_sqs_takes(template: &Template) {
    let stack = template.with(&[("WorkerConcurrency", "77")]);
    assert_eq!(number(&stack.properties("WorkerFunctionJobs")["ScalingConfig"]["MaximumConcurrency"]), 77);
    let parameter = &template.0["Parameters"]["WorkerConcurrency"];
    let limits = number(&parameter["MinValue"])..=number(&parameter["MaxValue"]);
    assert_eq!(limits, CONCURRENCIES);
    assert!(limits.contains(&number(&parameter["Default"])));
}

fn the_stream_brings_back_what_was_not_done_and_nothing_before_it(template: &Template) {
    assert!(file("functions/events/src/lib.rs").contains("DynamoDbBatchItemFailure"), "it names the first record");
    assert_eq!(changes_mapping(template)["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]));
}

fn a_record_that_nobody_can_do_is_given_up_alone_and_late(template: &Template) {
    let mapping = changes_mapping(template);
    assert_eq!(mapping["BisectBatchOnFunctionError"], true);
    assert!(number(&mapping["MaximumRetryAttempts"]) >= 1000, "at once again each time: an outage takes many");
    assert_eq!(mapping["MaximumRecordAgeInSeconds"], -1, "as old as the stream lets it get");
}

fn what_is_given_up_is_noted(template: &Template) {
    let mapping = changes_mapping(template);
    assert_eq!(mapping["DestinationConfig"]["OnFailure"]["Destination"], "${EventsFailures.Arn}");
}

fn the_stream_is_read_from_its_beginning_and_in_its_order(template: &Template) {
    let mapping = changes_mapping(template);
    assert_eq!(mapping["EventSourceArn"], "${JobsTable.StreamArn}");
    assert!(text(&mapping["FunctionName"]).starts_with("${EventsFunction"), "{}", mapping["FunctionName"]);
    assert_eq!(mapping["StartingPosition"], "TRIM_HORIZON");
    assert_eq!(mapping["ParallelizationFactor"], 1, "several at once would hold each other up at the counters");
    assert!(mapping["TumblingWindowInSeconds"].is_null());
    assert_ne!(mapping["Enabled"], false);
}

fn changes_are_seen_within_a_second_or_so(template: &Template) {
    let mapping = changes_mapping(template);
    assert!(number(&mapping["MaximumBatchingWindowInSeconds"]) <= 1);
    assert!(number(&mapping["BatchSize"]) <= 100);
}

fn the_stream_brings_jobs_and_not_the_counters_own_items(template: &Template) {
    let mapping = changes_mapping(template);
    let [filter] = list(&mapping["FilterCriteria"]["Filters"]) else { panic!("{}", mapping["FilterCriteria"]) };
    let pattern: Value = serde_json::from_str(text(&filter["Pattern"])).expect("JSON");
    let (_, job) = waiting_job();
    for (image, passes) in [(job, true), (json!({ "id": { "S": "counters##total#0" }, "n": { "N": "1" } }), false)] {
        let record = json!({ "dynamodb": { "NewImage": image } });
        assert_eq!(matches(&pattern, &record), passes, "{pattern} on {record}");
    }
}

/// Whether a filter lets a record through, as far as filters say nothing but what exists.
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html>
fn matches(pattern: &Value, record: &Value) -> bool {
    match pattern {
        Value::Object(fields) => fields.iter().all(|(name, pattern)| matches(pattern, &record[name])),
        pattern if *pattern == json!([{ "exists": true }]) => !record.is_null() && !record.is_object(),
        other => panic!("this test knows no such filter: {other}"),
    }
}
