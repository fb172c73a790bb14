//! A product: the worked example of data of one's own that is stored together with the job about it.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::ports::{OwnItem, StoreError};
use crate::values::id::{JobId, Tenant};
use crate::values::time::Timestamp;

/// A product of one tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Product {
    /// Its id.
    pub product_id: ProductId,
    /// Whose it is.
    pub tenant: Tenant,
    /// What it is called.
    pub name: String,
    /// What it costs, in the smallest unit of whatever money its tenant counts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<u64>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When its job had processed it; `None` before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed_at: Option<Timestamp>,
}

/// A product's id, a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProductId(Uuid);

impl ProductId {
    /// The id of the product that this job processes, another for each job: UUID version 8 (RFC 9562) of a SHA-256.
    pub fn of(job: JobId) -> Self {
        let digest = Sha256::digest(format!("product of {job}"));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The id in `text`; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH).map(Self)
    }
}

impl std::fmt::Display for ProductId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl Product {
    /// The key of its item, in the table that holds the jobs.
    pub fn key(tenant: &Tenant, id: ProductId) -> String {
        format!("product#{tenant}#{id}")
    }

    /// The item, to be stored together with its job.
    pub fn to_own_item(&self) -> OwnItem {
        let Self { product_id, tenant, name, price, created_at, processed_at: _ } = self;
        let mut item = json!({
            "id": Self::key(tenant, *product_id),
            "product_id": product_id,
            "tenant": tenant,
            "name": name,
            "created_at": created_at,
        });
        if let Some(price) = price {
            item["price"] = json!(price);
        }
        OwnItem { table: None, key: "id".to_owned(), item }
    }
}

/// Where products are.
#[async_trait]
pub trait Products: Send + Sync {
    /// A tenant's product as it is now.
    async fn find(&self, tenant: &Tenant, id: ProductId) -> Result<Option<Product>, StoreError>;

    /// Writes down that the product was processed, unless that is written already. Whether there is such a product.
    async fn mark_processed(&self, tenant: &Tenant, id: ProductId, at: Timestamp) -> Result<bool, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01938e5c-7a00-7000-8000-000000000000";

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let id = ProductId::parse(ID).expect("an id");
        assert_eq!(id.to_string(), ID);
        for not_an_id in ["", "42", "01938e5c7a0070008000000000000000", "{01938e5c-7a00-7000-8000-000000000000}"] {
            assert_eq!(ProductId::parse(not_an_id), None, "{not_an_id}");
        }
    }

    #[test]
    fn each_job_has_a_product_of_its_own() {
        let job = |random| JobId::at(Timestamp::from_millis(1_000), [random; 10]);
        assert_eq!(ProductId::of(job(1)), ProductId::of(job(1)));
        assert_ne!(ProductId::of(job(1)), ProductId::of(job(2)));
    }

    #[test]
    fn an_item_is_named_by_its_tenant_and_is_no_jobs() {
        let product = Product {
            product_id: ProductId::parse(ID).expect("an id"),
            tenant: Tenant::named("acme").expect("a name"),
            name: "Lamp".to_owned(),
            price: None,
            created_at: Timestamp::from_millis(1_000),
            processed_at: None,
        };
        let own = product.to_own_item();
        assert_eq!((own.table, own.key.as_str()), (None, "id"));
        let id = "product#acme#01938e5c-7a00-7000-8000-000000000000";
        assert_eq!(own.item["id"], id);
        assert_eq!(Product::key(&product.tenant, product.product_id), id);
        assert!(id.parse::<JobId>().is_err());
        assert_eq!(own.item.get("price"), None, "absent unless it is known");
        assert_eq!(serde_json::from_value::<Product>(own.item).expect("reads back"), product);
    }
}
