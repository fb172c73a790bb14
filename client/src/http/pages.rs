//! Lists that come in pages.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::http::client::Client;
use crate::http::error::Error;

#[derive(Deserialize)]
struct Page<T> {
    #[serde(alias = "schedules", alias = "subscriptions")]
    items: Vec<T>,
    next_cursor: Option<String>,
}

impl Client {
    /// All that is in the list at `/<list>`, whose pages name it so too.
    pub(crate) async fn all_pages<T: DeserializeOwned>(&self, list: &str) -> Result<Vec<T>, Error> {
        let mut all = vec![];
        let mut cursor: Option<String> = None;
        loop {
            let call = self.get(&[list]).query("limit", Some("100")).query("cursor", cursor.as_deref());
            let page: Page<T> = call.answer().await?.read()?;
            all.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }
}
