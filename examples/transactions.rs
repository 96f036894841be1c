//! An order and its workflow in one transaction, and an activity whose writes and result are one commit.
//!
//! `cargo run --features dev --example transactions`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use dacapo::{
    ResultError,
    dev::Dev,
    prelude::*,
    sqlx::{self, PgPool},
};

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS example_accounts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, cents bigint NOT NULL);
CREATE TABLE IF NOT EXISTS example_orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account bigint NOT NULL, cents bigint NOT NULL)";

/// An order to pay.
#[dacapo::data]
struct Order {
    account: i64,
    cents: i64,
}

struct Accounts;

#[activities]
impl Accounts {
    /// Takes money from an account: the new balance and the activity's result are there together, or neither is.
    #[activity(transactional, start_to_close = "10s")]
    async fn debit(&self, ctx: &ActivityContext, order: Order) -> Result<i64, ActivityError> {
        let mut tx = ctx.transaction().await?;
        let left: i64 =
            sqlx::query_scalar("UPDATE example_accounts SET cents = cents - $2 WHERE id = $1 RETURNING cents")
                .bind(order.account)
                .bind(order.cents)
                .fetch_one(&mut *tx)
                .await?;
        if left < 0 {
            // The transaction is dropped, and with it the new balance.
            return Err(ActivityError::new("InsufficientFunds", format!("{} cents are missing", -left)).non_retryable());
        }
        tx.complete(left).await
    }
}

#[workflow]
async fn pay(ctx: WorkflowContext, order: Order) -> Result<i64, WorkflowError> {
    Ok(ctx.activity(Accounts::debit, order).await?)
}

/// Places an order and starts its workflow, all or nothing.
async fn place(pool: &PgPool, client: &Client, order: Order) -> Result<String, Box<dyn std::error::Error>> {
    let mut tx = pool.begin().await?;
    let id: i64 = sqlx::query_scalar("INSERT INTO example_orders (account, cents) VALUES ($1, $2) RETURNING id")
        .bind(order.account)
        .bind(order.cents)
        .fetch_one(&mut *tx)
        .await?;
    if order.cents > 100_000 {
        return Err(format!("{} cents are too much for one order", order.cents).into());
    }
    let workflow = client.start(pay, order).id(format!("pay-order-{id}")).in_transaction(&mut tx).await?;
    tx.commit().await?;
    Ok(match workflow.result().await {
        Ok(left) => format!("paid, {left} cents are left"),
        Err(ResultError::Failed { failure, .. }) => format!("{}: {}", failure.error_type, failure.message),
        Err(error) => return Err(error.into()),
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dev = Dev::start().await?;
    let pool = PgPool::connect(dev.url()).await?;
    sqlx::raw_sql(TABLES).execute(&pool).await?;
    let account: i64 =
        sqlx::query_scalar("INSERT INTO example_accounts (cents) VALUES (10000) RETURNING id").fetch_one(&pool).await?;

    let worker = Worker::new(dev.engine()).task_queue("accounts").workflow(pay).activities(Accounts).start()?;
    let client = Client::new(dev.engine()).task_queue("accounts");
    for cents in [2_500, 9_000, 1_000_000] {
        match place(&pool, &client, Order { account, cents }).await {
            Ok(said) => println!("{said}"),
            Err(error) => println!("not placed: {error}"),
        }
    }
    let orders: i64 = sqlx::query_scalar("SELECT count(*) FROM example_orders WHERE account = $1")
        .bind(account)
        .fetch_one(&pool)
        .await?;
    println!("{orders} orders");
    worker.stop();
    Ok(worker.stopped().await?)
}
