//! The attributes of an item, and what is in them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::de::DeserializeOwned;
use serde_dynamo::aws_sdk_dynamodb_1::from_item;
use shared::ports::{Source, StoreError};

/// An item, whole or in part: values by the names of their attributes.
pub type Attributes = HashMap<String, AttributeValue>;

/// A text attribute.
pub fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute.
pub fn number(value: &impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The text of an attribute; empty if it has none.
pub fn text_in(item: &Attributes, attribute: &str) -> String {
    item.get(attribute).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default()
}

/// The `T` in an item that is laid out as `I`.
pub fn read_as<I, T>(item: Attributes) -> Result<T, StoreError>
where
    I: DeserializeOwned,
    T: TryFrom<I, Error = Source>,
{
    let id = text_in(&item, "id");
    let item: I = from_item(item).map_err(|error| StoreError::Unreadable(id.clone(), error.into()))?;
    T::try_from(item).map_err(|source| StoreError::Unreadable(id, source))
}
