//! A worker binary of one's own: workflows, activities with dependencies, tests, and the whole command line around them.
//! The tutorial is about it.
//!
//! ```text
//! cargo run --features cli --example payments -- dev --queue checkout
//! cargo run --features cli --example payments -- start checkout --id order-42 --queue checkout -i '{"id":"order-42","cents":1250}'
//! cargo run --features cli --example payments -- query order-42 status
//! cargo run --features cli --example payments -- signal order-42 approve -i '{"by":"ada"}'
//! cargo run --features cli --example payments -- result order-42
//! ```

use std::process::ExitCode;

use dacapo::prelude::*;

/// An order to charge.
#[dacapo::data]
pub struct Order {
    id: String,
    cents: u64,
}

/// What the customer gets.
#[dacapo::data]
pub struct Receipt {
    charge: String,
    cents: u64,
}

/// Who said yes.
#[dacapo::data]
pub struct Approval {
    by: String,
}

/// Where a checkout is.
#[dacapo::data]
pub enum Status {
    /// It waits for a person.
    AwaitingApproval,
    /// The card is being charged.
    Charging,
    /// It is paid.
    Paid,
}

/// Stands for the client of a payment service.
pub struct Gateway;

impl Gateway {
    fn charge(&self, order: &Order, idempotency_key: &str) -> Result<Receipt, std::io::Error> {
        Ok(Receipt { charge: format!("charge of {} under {idempotency_key}", order.id), cents: order.cents })
    }
}

/// Activities are methods; what they depend on are plain fields.
pub struct Payments {
    gateway: Gateway,
}

#[activities]
impl Payments {
    /// Charges the card once per idempotency key.
    #[activity(start_to_close = "30s")]
    pub async fn charge(&self, ctx: &ActivityContext, order: Order) -> Result<Receipt, ActivityError> {
        Ok(self.gateway.charge(&order, &ctx.idempotency_key())?)
    }
}

/// Lets somebody approve an order.
pub const APPROVE: Signal<Approval> = Signal::new("approve");

/// Shows where a checkout is.
pub const STATUS: Query<Status> = Query::new("status");

/// Charges an order once somebody has approved it within a day.
#[workflow]
pub async fn checkout(ctx: WorkflowContext, order: Order) -> Result<Receipt, WorkflowError> {
    ctx.publish(&STATUS, &Status::AwaitingApproval);
    select! {
        approval = ctx.receive(&APPROVE) => approval?,
        _ = ctx.sleep(Duration::from_secs(24 * 3600)) => return Err(WorkflowError::failed("Expired", "nobody approved")),
    };
    ctx.publish(&STATUS, &Status::Charging);
    let receipt = ctx.activity(Payments::charge, order).retry(RetryPolicy::attempts(5)).await?;
    ctx.publish(&STATUS, &Status::Paid);
    Ok(receipt)
}

fn main() -> ExitCode {
    dacapo::cli(Registry::new().workflow(checkout).activities(Payments { gateway: Gateway }))
}

#[cfg(test)]
mod tests {
    use dacapo::testing::TestEnv;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn order() -> Order {
        Order { id: "order-42".to_owned(), cents: 1_250 }
    }

    fn ada() -> Approval {
        Approval { by: "ada".to_owned() }
    }

    #[tokio::test]
    async fn an_approved_order_is_charged() {
        let env = TestEnv::in_memory().workflow(checkout).activities(Payments { gateway: Gateway }).start().await;
        let run = env.start(checkout, order()).await.unwrap();
        env.at(23 * HOUR).signal(&run, &APPROVE, ada());
        assert_eq!(run.result().await.unwrap().cents, 1_250);
        assert!(matches!(run.query(&STATUS).await.unwrap(), Status::Paid));
        env.finish().await;
    }

    #[tokio::test]
    async fn an_order_that_nobody_approves_expires_and_charges_nothing() {
        let env = TestEnv::in_memory().workflow(checkout).fake(Payments::charge, |_| unreachable!()).start().await;
        let run = env.start(checkout, order()).await.unwrap();
        let Err(error) = run.result().await else { panic!("nobody approved it") };
        assert!(error.to_string().contains("nobody approved"), "{error}");
        assert!(env.calls(Payments::charge).is_empty());
        env.finish().await;
    }
}
