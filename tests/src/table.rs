//! A DynamoDB in this process, with the table that `template.yaml` describes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeSerializationInterceptorContextMut,
    BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::put_item::{PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemInput, UpdateItemOutput};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, ConsumedCapacity, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ReturnConsumedCapacity, ScalarAttributeType, TableDescription, TableStatus,
};
use dynoxide::Database;

use crate::engines::config_at;
use serde_json::Value;

/// The name of the table.
pub const NAME: &str = "jobs";

/// A DynamoDB with one empty table, gone when dropped.
pub struct Table {
    address: std::net::SocketAddr,
    server: tokio::task::JoinHandle<()>,
    /// What its clients have asked for.
    pub meter: Meter,
}

impl Table {
    /// Starts it on a free port of this machine.
    pub async fn start() -> Self {
        let database = Database::memory().expect("a database in memory");
        let definition = serde_json::from_value(definition()).expect("a table definition");
        database.create_table(definition).expect("the table is created");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let server = tokio::spawn(dynoxide::server::serve_on(listener, database));
        Self { address, server, meter: Meter::default() }
    }

    /// A client of it, whose requests are metered.
    pub fn client(&self) -> Client {
        client_of(&format!("http://{}", self.address), &self.meter)
    }
}

/// A client of the DynamoDB at this address, whose requests are metered.
pub fn client_of(url: &str, meter: &Meter) -> Client {
    let config = aws_sdk_dynamodb::config::Builder::from(&config_at(url)).interceptor(meter.clone());
    Client::from_conf(config.build())
}

impl Drop for Table {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The properties of `JobsTable` in `template.yaml`, as far as `CreateTable` takes them.
fn definition() -> Value {
    let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml");
    let template = std::fs::read_to_string(template).expect("the template is readable");
    let template: serde_norway::Value = serde_norway::from_str(&template).expect("the template is YAML");
    let properties = &template["Resources"]["JobsTable"]["Properties"];
    let taken = ["BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes"];
    let mut definition = serde_json::json!({ "TableName": NAME });
    for name in taken {
        definition[name] = serde_json::to_value(&properties[name]).expect("plain values");
    }
    definition
}

/// Makes a table of this name with these properties, and waits until it is there.
pub async fn create(client: &Client, name: &str) {
    let definition = definition();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let keys = |schema: &Value| -> Vec<KeySchemaElement> {
        let key = |key: &Value| {
            let key_type = KeyType::from(text(&key["KeyType"]).as_str());
            KeySchemaElement::builder().attribute_name(text(&key["AttributeName"])).key_type(key_type).build()
        };
        schema.as_array().expect("keys").iter().map(|one| key(one).expect("a key")).collect()
    };
    let mut create = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    create = create.set_key_schema(Some(keys(&definition["KeySchema"])));
    for attribute in definition["AttributeDefinitions"].as_array().expect("attributes") {
        let attribute_type = ScalarAttributeType::from(text(&attribute["AttributeType"]).as_str());
        let definition = AttributeDefinition::builder().attribute_name(text(&attribute["AttributeName"]));
        create = create.attribute_definitions(definition.attribute_type(attribute_type).build().expect("whole"));
    }
    for index in definition["GlobalSecondaryIndexes"].as_array().expect("indexes") {
        let projection = ProjectionType::from(text(&index["Projection"]["ProjectionType"]).as_str());
        let projection = Projection::builder().projection_type(projection).build();
        let index = GlobalSecondaryIndex::builder()
            .index_name(text(&index["IndexName"]))
            .set_key_schema(Some(keys(&index["KeySchema"])))
            .projection(projection);
        create = create.global_secondary_indexes(index.build().expect("whole"));
    }
    create.send().await.expect("created");
    loop {
        let described = client.describe_table().table_name(name).send().await.expect("answers");
        let status = described.table.as_ref().and_then(TableDescription::table_status);
        if status == Some(&TableStatus::Active) {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Counts the requests that clients send, each try apart, and adds up the capacity that the answers name.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<Readings>>);

/// What a [`Meter`] has counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// Requests by operation: `PutItem`, say.
    pub requests: BTreeMap<String, u32>,
    /// Write units of the table and its indexes together, request by request.
    pub write_units: Vec<f64>,
}

impl Meter {
    /// What it has counted so far.
    pub fn readings(&self) -> Readings {
        self.0.lock().expect("no reader panicked").clone()
    }

    fn consumed(&self, capacity: Option<&ConsumedCapacity>) {
        let units = capacity.and_then(ConsumedCapacity::capacity_units).unwrap_or(f64::NAN);
        self.0.lock().expect("no reader panicked").write_units.push(units);
    }
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let input = context.input_mut();
        if let Some(put) = input.downcast_mut::<PutItemInput>() {
            put.return_consumed_capacity = Some(ReturnConsumedCapacity::Total);
        }
        if let Some(update) = input.downcast_mut::<UpdateItemInput>() {
            update.return_consumed_capacity = Some(ReturnConsumedCapacity::Total);
        }
        Ok(())
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let target = context.request().headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        *self.0.lock().expect("no reader panicked").requests.entry(operation).or_default() += 1;
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Ok(output) = context.output_or_error() else { return Ok(()) };
        if let Some(put) = output.downcast_ref::<PutItemOutput>() {
            self.consumed(put.consumed_capacity());
        }
        if let Some(update) = output.downcast_ref::<UpdateItemOutput>() {
            self.consumed(update.consumed_capacity());
        }
        Ok(())
    }
}
