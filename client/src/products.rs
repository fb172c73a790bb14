//! Products: data of one's own, stored together with the job about it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::http::client::Client;
use crate::http::error::Error;
use crate::http::verbatim::Verbatim;
use crate::jobs::job::JobId;

/// A product to be stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewProduct {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<u64>,
    #[serde(skip)]
    key: Option<String>,
}

impl NewProduct {
    /// A product of this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), price: None, key: None }
    }

    /// With this price, in the smallest unit of its money.
    #[must_use]
    pub fn price(self, price: u64) -> Self {
        Self { price: Some(price), ..self }
    }

    /// Under this idempotency key, as [`crate::NewJob::key`].
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }
}

/// A product that was stored, with its job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProductAccepted {
    /// Its id.
    pub product_id: String,
    /// The job about it.
    pub job_id: JobId,
    /// Whether an earlier call with the same key stored it.
    #[serde(default)]
    pub replayed: bool,
}

/// A product, as the service shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Product {
    /// Its id.
    pub product_id: String,
    /// What it is called.
    pub name: String,
    /// What it costs, in the smallest unit of its money.
    #[serde(default)]
    pub price: Option<u64>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When its job had processed it; `None` before.
    #[serde(default)]
    pub processed_at: Option<Timestamp>,
}

impl Client {
    /// Stores a product and its job: both, or neither.
    pub async fn create_product(&self, product: &NewProduct) -> Result<Verbatim<ProductAccepted>, Error> {
        let answer = self.post(&["products"]).key(product.key.as_deref())?.json(product)?.answer().await?;
        let accepted: Verbatim<ProductAccepted> = answer.read()?;
        Ok(accepted.map(|accepted| ProductAccepted { replayed: accepted.replayed || answer.replayed, ..accepted }))
    }

    /// A product.
    pub async fn product(&self, id: &str) -> Result<Verbatim<Product>, Error> {
        self.get(&["products", id]).read().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_service::{Reply, Service};

    #[tokio::test]
    async fn a_product_is_stored_under_its_key_and_shown() {
        let accepted = r#"{"product_id":"p-1","job_id":"01938e5c-7a00-7000-8000-000000000000"}"#;
        let product = r#"{"product_id":"p-1","name":"Tea","price":250,"created_at":"2026-11-22T02:05:08Z",
            "processed_at":null}"#;
        let replies = [
            Reply::new(202, accepted).header("idempotent-replayed", "true"),
            Reply::new(200, product),
            Reply::new(404, r#"{"detail":"there is no product with this id"}"#),
        ];
        let service = Service::that_answers(replies).await;
        let client = service.client();
        let accepted = client.create_product(&NewProduct::named("Tea").price(250).key("tea")).await.expect("stored");
        assert!(accepted.replayed);
        let product = client.product(&accepted.product_id).await.expect("a product");
        assert_eq!((product.name.as_str(), product.price, product.processed_at), ("Tea", Some(250), None));
        assert!(client.product("p-2").await.expect_err("none").is_not_found());
        let asked = service.asked();
        assert_eq!(
            (asked[0].body.as_str(), asked[0].header("idempotency-key")),
            (r#"{"name":"Tea","price":250}"#, Some("tea"))
        );
        assert_eq!(asked[1].line, "GET /products/p-1");
    }
}
