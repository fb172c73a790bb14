//! A table's stream in the local AWS has a record of every write, however it was asked for.

use reqwest::Client;
use serde_json::{Value, json};
use tests::system::{System, system};

/// Makes a call of DynamoDB or of its streams. Gives the status and the answer.
async fn call(system: &System, operation: &str, body: Value) -> (u16, Value) {
    let api = if operation.contains("Stream") || operation.contains("Shard") || operation == "GetRecords" {
        "DynamoDBStreams_20120810"
    } else {
        "DynamoDB_20120810"
    };
    let request = Client::new().post(&system.aws_url).header("x-amz-target", format!("{api}.{operation}"));
    let answer = request.body(body.to_string()).send().await.expect("the engine answers");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

/// Makes a table whose stream has whole items. Gives the stream.
async fn create_table(system: &System, name: &str) -> String {
    let definition = json!({
        "TableName": name, "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES" },
    });
    let (status, created) = call(system, "CreateTable", definition).await;
    assert_eq!(status, 200, "{created}");
    created["TableDescription"]["LatestStreamArn"].as_str().expect("an ARN").to_owned()
}

/// All records of a stream, without what differs from record to record.
async fn records(system: &System, stream: &str) -> Vec<Value> {
    let (_, described) = call(system, "DescribeStream", json!({ "StreamArn": stream })).await;
    let shard = &described["StreamDescription"]["Shards"][0]["ShardId"];
    let begin = json!({ "StreamArn": stream, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON" });
    let (_, begun) = call(system, "GetShardIterator", begin).await;
    let (_, mut read) = call(system, "GetRecords", json!({ "ShardIterator": begun["ShardIterator"] })).await;
    let records = read["Records"].as_array_mut().expect("records");
    for record in records.iter_mut() {
        for (of, name) in
            [("", "eventID"), ("/dynamodb", "SequenceNumber"), ("/dynamodb", "ApproximateCreationDateTime")]
        {
            let of = record.pointer_mut(of).and_then(Value::as_object_mut).expect("an object");
            assert!(of.remove(name).is_some(), "{name}");
        }
    }
    std::mem::take(records)
}

#[tokio::test]
async fn a_statement_leaves_the_records_of_the_calls_that_do_the_same_and_none_where_nothing_is_written() {
    let system = system();
    let (calls, statements) = (create_table(system, "calls").await, create_table(system, "statements").await);

    let item = |id: &str| json!({ "id": { "S": id }, "n": { "N": "1" } });
    let key = |id: &str| json!({ "id": { "S": id } });
    let update = json!({
        "TableName": "calls", "Key": key("b"), "UpdateExpression": "SET n = :n",
        "ExpressionAttributeValues": { ":n": { "N": "2" } },
    });
    for (operation, body) in [
        ("PutItem", json!({ "TableName": "calls", "Item": item("a") })),
        ("PutItem", json!({ "TableName": "calls", "Item": item("b") })),
        ("PutItem", json!({ "TableName": "calls", "Item": item("c") })),
        ("UpdateItem", update),
        ("DeleteItem", json!({ "TableName": "calls", "Key": key("c") })),
        ("PutItem", json!({ "TableName": "calls", "Item": item("d") })),
        ("DeleteItem", json!({ "TableName": "calls", "Key": key("d") })),
    ] {
        let (status, answer) = call(system, operation, body).await;
        assert_eq!(status, 200, "{operation}: {answer}");
    }

    let insert = |id: &str| {
        let statement = r#"INSERT INTO "statements" VALUE {'id': ?, 'n': ?}"#;
        json!({ "Statement": statement, "Parameters": [{ "S": id }, { "N": "1" }] })
    };
    let set_to_2 = |id: &str| json!({ "Statement": format!(r#"UPDATE "statements" SET n = 2 WHERE id = '{id}'"#) });
    let delete = |id: &str| json!({ "Statement": format!(r#"DELETE FROM "statements" WHERE id = '{id}'"#) });
    let select = json!({ "Statement": r#"SELECT * FROM "statements" WHERE id = 'a'"# });
    for (operation, body, expected) in [
        ("ExecuteStatement", insert("a"), 200),
        ("ExecuteStatement", insert("a"), 400),
        ("BatchExecuteStatement", json!({ "Statements": [insert("b"), insert("a"), insert("c")] }), 200),
        ("ExecuteStatement", set_to_2("b"), 200),
        ("ExecuteStatement", set_to_2("b"), 200), // changes nothing
        ("ExecuteStatement", set_to_2("nowhere"), 400),
        ("ExecuteStatement", delete("c"), 200),
        ("ExecuteStatement", delete("c"), 200), // there is none any more
        ("ExecuteStatement", select, 200),
        ("ExecuteTransaction", json!({ "TransactStatements": [insert("d"), insert("a")] }), 400), // takes it back
        ("ExecuteTransaction", json!({ "TransactStatements": [insert("d")] }), 200),
        ("ExecuteTransaction", json!({ "TransactStatements": [delete("d")] }), 200),
    ] {
        let (status, answer) = call(system, operation, body.clone()).await;
        assert_eq!(status, expected, "{operation} {body}: {answer}");
    }

    let of_calls = records(system, &calls).await;
    let names: Vec<_> = of_calls.iter().map(|record| &record["eventName"]).collect();
    assert_eq!(names, ["INSERT", "INSERT", "INSERT", "MODIFY", "REMOVE", "INSERT", "REMOVE"]);
    assert_eq!(of_calls[0]["dynamodb"]["NewImage"], item("a"));
    assert_eq!(records(system, &statements).await, of_calls);
}
