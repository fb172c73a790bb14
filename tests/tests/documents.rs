//! The API's document and the Postman collection are made from the code, and are what is committed.
//!
//! `UPDATE_DOCUMENTS=1 cargo test --test documents` makes them anew.

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
