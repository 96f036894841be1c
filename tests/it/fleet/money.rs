//! What worker processes do to tables of the test's own, in transactions.

use std::time::Duration;

use dacapo::{ActivityContext, ActivityError, Client, WorkflowError, core::RetryPolicy, prelude::*};
use nix::{
    sys::signal::{self, Signal as Unix},
    unistd::Pid,
};
use sqlx::PgPool;

use super::code::{VALUE, collector, sleeper};

/// The tables. A second row for one transfer would be seen; the commit of a slow one takes its time after everything is
/// written.
pub(crate) const TABLES: &str = "
CREATE TABLE accounts (id bigint PRIMARY KEY, cents bigint NOT NULL);
CREATE TABLE ledger (transfer bigint, attempt int, pid int, source bigint, target bigint, cents bigint, slow boolean);
CREATE TABLE orders (id bigint PRIMARY KEY);
CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.slow THEN
        PERFORM pg_sleep(1.5);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION slow_commit()";

/// What befalls the first attempt of a transfer.
#[dacapo::data]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing.
    Lives,
    /// Its process is killed before it begins.
    DiesBeforeBegin,
    /// Its process is killed when the user's rows are written.
    DiesAfterWrite,
    /// Its process is killed when the engine's row is written too, and the commit goes on.
    DiesDuringCommit,
    /// Its process is killed when the commit is answered.
    DiesAfterCommit,
    /// Its connection is cut when the engine's row is written too, and nothing is committed.
    IsCutOffDuringCommit,
    /// Its process stands still when the user's rows are written, until it is not wanted any more.
    StandsStill,
    /// It fails when the user's rows are written.
    FailsAfterWrite,
    /// It takes longer than it may when the user's rows are written.
    IsLate,
    /// It fails when the commit is answered.
    FailsAfterCommit,
}

impl Fate {
    /// Whether the process of the attempt dies of it.
    pub(crate) fn is_death(self) -> bool {
        matches!(self, Self::DiesBeforeBegin | Self::DiesAfterWrite | Self::DiesDuringCommit | Self::DiesAfterCommit)
    }
}

/// A transfer of money.
#[dacapo::data]
#[derive(Clone, Copy)]
pub(crate) struct Transfer {
    pub(crate) number: i64,
    pub(crate) source: i64,
    pub(crate) target: i64,
    pub(crate) cents: i64,
    /// How long the transaction is open.
    pub(crate) ms: u64,
    pub(crate) fate: Fate,
}

/// Activities on the tables.
pub(crate) struct Bank {
    pub(crate) pool: PgPool,
    pub(crate) client: Client,
}

fn die() {
    signal::kill(Pid::this(), Unix::SIGKILL).unwrap();
}

#[activities]
impl Bank {
    /// Moves money, and gives the attempt that did.
    #[activity(name = "fleet.transfer", transactional, start_to_close = "5s", initial_interval = "50ms")]
    async fn transfer(&self, ctx: &ActivityContext, transfer: Transfer) -> Result<u32, ActivityError> {
        let fate = if ctx.attempt() == 1 { transfer.fate } else { Fate::Lives };
        if fate == Fate::DiesBeforeBegin {
            die();
        }
        let mut tx = match transfer.number % 2 {
            0 => ctx.transaction().await?,
            _ => ctx.transaction_on(self.pool.begin().await?)?,
        };
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *tx).await?;
        let slow = matches!(fate, Fate::DiesDuringCommit | Fate::IsCutOffDuringCommit);
        sqlx::query("INSERT INTO ledger VALUES ($1, $2, $3, $4, $5, $6, $7)")
            .bind(transfer.number)
            .bind(i32::try_from(ctx.attempt())?)
            .bind(Pid::this().as_raw())
            .bind(transfer.source)
            .bind(transfer.target)
            .bind(transfer.cents)
            .bind(slow)
            .execute(&mut *tx)
            .await?;
        match fate {
            Fate::DiesAfterWrite => die(),
            Fate::StandsStill => {
                signal::kill(Pid::this(), Unix::SIGSTOP)?;
                // The signal may come to this thread a little later. Until then the accounts stay unlocked, since the attempt
                // that follows must not wait for this one.
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Fate::FailsAfterWrite => return Err("the first attempt fails".into()),
            Fate::IsLate => std::future::pending().await,
            Fate::DiesDuringCommit => {
                std::thread::spawn(|| {
                    std::thread::sleep(Duration::from_millis(500));
                    die();
                });
            }
            Fate::IsCutOffDuringCommit => {
                let pool = self.pool.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    sqlx::query("SELECT pg_terminate_backend($1)").bind(backend).execute(&pool).await.unwrap();
                });
            }
            _ => {}
        }
        // In one order, so that two transfers do not wait for each other in a circle.
        let mut moves = [(transfer.source, -transfer.cents), (transfer.target, transfer.cents)];
        moves.sort_unstable();
        for (account, cents) in moves {
            sqlx::query("UPDATE accounts SET cents = cents + $2 WHERE id = $1")
                .bind(account)
                .bind(cents)
                .execute(&mut *tx)
                .await?;
        }
        tokio::time::sleep(Duration::from_millis(transfer.ms)).await;
        let attempt = tx.complete(ctx.attempt()).await?;
        match fate {
            Fate::DiesAfterCommit => die(),
            Fate::FailsAfterCommit => return Err("nobody wants to know".into()),
            _ => {}
        }
        Ok(attempt)
    }

    /// Places so many orders: a row, a run, and a signal to the run that collects them, in one transaction each. Every fifth
    /// is rolled back. An attempt goes on where the last one was.
    #[activity(name = "fleet.place_orders", start_to_close = "120s", initial_interval = "50ms")]
    async fn place_orders(
        &self,
        ctx: &ActivityContext,
        (collects, orders): (String, i64),
    ) -> Result<u32, ActivityError> {
        let placed: i64 =
            sqlx::query_scalar("SELECT coalesce(max(id), 0)::bigint FROM orders").fetch_one(&self.pool).await?;
        let collects = self.client.handle(collector, collects);
        for order in placed + 1..=orders {
            let mut tx = self.pool.begin().await?;
            sqlx::query("INSERT INTO orders VALUES ($1)").bind(order).execute(&mut *tx).await?;
            self.client.start(sleeper, 1).id(format!("order-{order}")).in_transaction(&mut tx).await?;
            collects.signal(&VALUE, order.unsigned_abs()).in_transaction(&mut tx).await?;
            if order % 5 == 0 {
                tx.rollback().await?;
            } else {
                tx.commit().await?;
            }
            // Slow enough that the process is killed on the way.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(ctx.attempt())
    }
}

/// Makes transfers one after the other; gives the attempts that made them.
#[workflow(name = "fleet.transfers")]
pub(crate) async fn transfers(ctx: WorkflowContext, transfers: Vec<Transfer>) -> Result<Vec<u32>, WorkflowError> {
    let mut attempts = Vec::new();
    for transfer in transfers {
        attempts.push(ctx.activity(Bank::transfer, transfer).await?);
    }
    Ok(attempts)
}

/// Lets orders be placed; gives the attempts that it took.
#[workflow(name = "fleet.shop")]
pub(crate) async fn shop(ctx: WorkflowContext, orders: (String, i64)) -> Result<u32, WorkflowError> {
    let retry = RetryPolicy::default().initial_interval(Duration::from_millis(50)).backoff_coefficient(1.0);
    Ok(ctx.activity(Bank::place_orders, orders).retry(retry).await?)
}
