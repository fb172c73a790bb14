//! `product-processing`: what is to be done once about a product that was stored together with this job.

use serde::Deserialize;

use crate::job_type::Payload;
use crate::product::ProductId;
use crate::values::invalid::{InvalidField, read_fields};

/// Names the product.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductProcessing {
    /// Its id.
    pub product_id: ProductId,
}

impl Payload for ProductProcessing {
    const NAME: &'static str = "product-processing";
    const SCHEMA: &'static str = r#"{
        "description": "Names a product. POST /products makes the job together with it.",
        "type": "object", "required": ["product_id"], "additionalProperties": false,
        "properties": { "product_id": { "type": "string", "format": "uuid" } }
    }"#;
    const EXAMPLE: &'static str = r#"{"product_id":"01938e5c-7a00-7000-8000-000000000000"}"#;

    fn parse(json: &str) -> Result<Self, InvalidField> {
        read_fields(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_one_product() {
        let processing = ProductProcessing::parse(ProductProcessing::EXAMPLE).expect("fits");
        assert_eq!(processing.product_id.to_string(), "01938e5c-7a00-7000-8000-000000000000");
        let of = |json: &str| ProductProcessing::parse(json).expect_err(json).to_string();
        assert_eq!(of("{}"), "`product_id` is required");
        assert!(of(r#"{"product_id":"7"}"#).starts_with("`product_id` does not fit: "));
    }
}
