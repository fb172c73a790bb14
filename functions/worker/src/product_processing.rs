//! `product-processing`: what is to be done once about a product. Here it is no more than to write down that it was
//! done; put in its place whatever your own items need.

use serde::Serialize;
use shared::payloads::product_processing::ProductProcessing;
use shared::product::ProductId;
use shared::values::chain::Chain;

use crate::job_types::Run;
use crate::{Context, JobError};

/// What was done.
#[derive(Debug, Serialize)]
pub struct Processed {
    /// To which product.
    product_id: ProductId,
}

impl Run for ProductProcessing {
    type Output = Processed;

    async fn run(self, context: Context) -> Result<Processed, JobError> {
        let records = &context.tools.records;
        let marked = records.products.mark_processed(&context.tenant, self.product_id, records.clock.now()).await;
        match marked {
            Ok(true) => Ok(Processed { product_id: self.product_id }),
            Ok(false) => Err(JobError::give_up("there is no such product")),
            Err(error) => Err(JobError::retry("the product could not be written").because(Chain(&error))),
        }
    }
}
