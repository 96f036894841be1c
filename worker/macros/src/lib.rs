//! Attribute macros of Dacapo, and its deterministic `select!`, `join!` and `try_join!`.
//!
//! The attribute macros only declare: `#[workflow]` and `#[activities]` keep the functions they annotate as functions and
//! put an identity in their return types, through traits of `dacapo-worker` that can be implemented by hand as well.
//! Bodies of functions are passed on as the tokens that were written, so that half-typed code gives the compiler's one
//! error and nothing else. When a macro has something to complain about it puts the original item beside its error.
//!
//! Generated paths begin with `::dacapo::__private`; the option `crate = "…"` names another crate in its place.

mod activities;
mod activity_options;
mod data;
mod function;
mod join;
mod pattern;
mod select;
mod settings;
mod workflow;

use proc_macro::TokenStream;

/// Makes an `async fn` a workflow.
///
/// The function takes a `WorkflowContext` by value and at most one input, and returns `Result<T, WorkflowError>`. It
/// stays a function: it is named by value, `client.start(checkout, order)`, and can be called and awaited.
///
/// Options: `name = "…"`, the stored name, the function's own when not given; `crate = "…"`, the path of a renamed
/// dependency on `dacapo`.
#[proc_macro_attribute]
pub fn workflow(options: TokenStream, item: TokenStream) -> TokenStream {
    workflow::expand(options.into(), item.into()).into()
}

/// Makes the methods of an inherent `impl` block that carry `#[activity]` activities.
///
/// Each is an `async fn (&self, &ActivityContext)` with at most one more argument, its input, and returns
/// `Result<T, ActivityError>`. The type is their host: its fields are what they depend on. A type has one such block.
///
/// Option: `crate = "…"`, the path of a renamed dependency on `dacapo`.
///
/// # Options of `#[activity(…)]`
/// - `name = "…"`: the stored name; the method's own when not given.
/// - `start_to_close = "30s"`, `schedule_to_close`, `schedule_to_start`, `heartbeat`: timeouts, in `ms`, `s`, `m`, `h`
///   and `d`, which may be joined (`"1h30m"`). One of the first two is set here or at every call.
/// - `max_attempts = 5`, `initial_interval = "1s"`, `max_interval = "1m"`, `backoff_coefficient = 2.0`,
///   `non_retryable = ["CardDeclined"]`: the retry policy.
#[proc_macro_attribute]
pub fn activities(options: TokenStream, item: TokenStream) -> TokenStream {
    activities::expand(options.into(), item.into()).into()
}

/// Derives `Serialize` and `Deserialize` without a dependency on `serde`.
///
/// What serde's own attributes say inside of the item holds. Option: `crate = "…"`, the path of a renamed dependency on
/// `dacapo`.
#[proc_macro_attribute]
pub fn data(options: TokenStream, item: TokenStream) -> TokenStream {
    data::expand(options.into(), item.into()).into()
}

/// Waits for the first of several futures and runs its arm; the branches are polled in the order written.
///
/// A branch is `pattern = future => expression`, with a guard when written `pattern = future, if condition => expression`;
/// a last `else => expression` runs when every branch is disabled. A branch is disabled when its guard is false (its
/// future is then not even made) or when the future's value does not match the pattern. All guards are evaluated before
/// the first future is made.
///
/// The futures are dropped before the arm runs, and the arm belongs to the surrounding function: `return`, `break`,
/// `continue` and `?` work in it. To keep a future for the next round pass `&mut future`.
///
/// # Panics
/// When every branch is disabled and there is no `else`.
#[proc_macro]
pub fn select(input: TokenStream) -> TokenStream {
    select::expand(input.into()).into()
}

/// Waits for all of several futures and gives their values as a tuple; they are polled in the order written.
#[proc_macro]
pub fn join(input: TokenStream) -> TokenStream {
    join::expand(input.into(), join::Kind::Plain).into()
}

/// Waits for all of several futures of `Result`s and gives `Ok` of their values as a tuple, or the first `Err`.
///
/// They are polled in the order written. The first `Err` drops the others; all must have the same error type.
#[proc_macro]
pub fn try_join(input: TokenStream) -> TokenStream {
    join::expand(input.into(), join::Kind::Fallible).into()
}
