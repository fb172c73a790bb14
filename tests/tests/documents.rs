//! The API's document and the Postman collection are made from the code, and are what is committed.
//!
//! `UPDATE_DOCUMENTS=1 cargo test --test documents` makes them anew.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// The documents below `docs/`, as the code makes them.
fn documents() -> [(&'static str, Value); 2] {
    let openapi = api::openapi::generate();
    let postman = tests::postman::collection(&openapi);
    [("openapi.json", openapi), ("postman.json", postman)]
}

#[test]
fn the_committed_documents_are_what_the_code_says() {
    for (name, made) in documents() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
        if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
            let text = serde_json::to_string_pretty(&made).expect("JSON") + "\n";
            std::fs::write(&path, text).expect("written");
        }
        let committed = std::fs::read_to_string(&path).expect("it is there");
        let committed: Value = serde_json::from_str(&committed).expect("JSON");
        assert!(committed == made, "docs/{name} is not current: UPDATE_DOCUMENTS=1 cargo test --test documents");
    }
}

/// The operations of the description.
fn operations(document: &Value) -> impl Iterator<Item = &Value> {
    let items = document["paths"].as_object().into_iter().flat_map(|paths| paths.values());
    items.filter_map(Value::as_object).flat_map(|item| item.values())
}

#[test]
fn the_collection_knows_when_each_operation_can_be_tried() {
    let document = api::openapi::generate();
    let documented: BTreeSet<&str> = operations(&document).filter_map(|one| one["operationId"].as_str()).collect();
    let known: BTreeSet<&str> = tests::postman::WALK.into_iter().collect();
    assert_eq!(documented, known);
    assert_eq!(documented.len(), operations(&document).count());
}

/// Calls `visit` with `value` and all that is in it, and where each stands.
fn walk<'a>(value: &'a Value, place: &str, visit: &mut impl FnMut(&str, &'a Value)) {
    visit(place, value);
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| walk(field, &format!("{place}/{name}"), visit));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| walk(item, &format!("{place}/{index}"), visit));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Makers of clients turn every alternative into a class, every enum into names, and every schema into a type.
#[test]
fn generators_can_make_a_class_of_every_schema() {
    let document = api::openapi::generate();
    let schemas = &document["components"]["schemas"];
    walk(schemas, "", &mut |place, schema| {
        if place.contains("/example") {
            return;
        }
        assert!(schema["title"].is_null() || place.ends_with("/properties"), "{place}: two may have the same title");
        assert!(schema.get("not").is_none(), "{place}: a class would be made of what is below `not`");
        let is_alternative = place.contains("/oneOf/") || place.contains("/anyOf/");
        assert!(schema["type"] != "null" || is_alternative, "{place}: null alone is no type");
        for alternative in ["oneOf", "anyOf", "allOf"].iter().filter_map(|word| schema[word].as_array()).flatten() {
            let whole = alternative["type"].is_string() || alternative["type"].is_array();
            assert!(whole || alternative["$ref"].is_string(), "{place}: {alternative} is no schema of its own");
        }
        for name in schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let can_be_named = name.starts_with(|first: char| first.is_ascii_alphanumeric());
            assert!(can_be_named, "{place}: {name:?} is no word to make a name of");
        }
    });
    for (name, schema) in schemas.as_object().expect("schemas") {
        assert!(name.chars().all(|character| character.is_ascii_alphanumeric()), "{name} becomes another name");
        for (_, reference) in schema["discriminator"]["mapping"].as_object().into_iter().flatten() {
            let reference = reference.as_str().expect("a reference");
            let variant = document.pointer(&reference[1..]).expect("it is there");
            assert!(variant["required"].as_array().expect("fields").contains(&"type".into()), "{reference}");
        }
    }
}
