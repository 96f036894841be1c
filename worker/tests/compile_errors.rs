//! What a user reads who declares or calls something wrongly: which line is blamed, and in which words.
//!
//! Each case is checked by the compiler alone, against the library that cargo built for this test. A line's comment
//! `//~ text` says that it is blamed by an error with that text; every error of a case has such a comment.

#![allow(clippy::unwrap_used, reason = "the functions beside the tests are part of them")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What every case begins with: the shape of the calls that clients and contexts have.
const PRELUDE: &str = r#"
#![allow(unused)]
extern crate dacapo_worker as dacapo;
use dacapo::{*, define::*};
fn start<M, W: NamedWorkflow<M>>(workflow: W, input: W::Input) -> Option<W::Output> { None }
fn serve<M, W: WorkflowFn<M>>(workflow: W) {}
struct Call<T>(std::marker::PhantomData<T>);
impl<T: TimeoutSet> std::future::Future for Call<T> {
    type Output = ();
    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<()> { std::task::Poll::Ready(()) }
}
fn activity<M, A: NamedActivity<M>>(activity: A, input: A::Input) -> Call<A::Timeout> { Call(std::marker::PhantomData) }
fn activities_of(host: impl ActivitiesHost) {}
#[data] pub struct Order { id: u32 }
fn main() {}
"#;

/// An error as the compiler printed it, and the line of the case that it blames.
struct Printed {
    line: usize,
    text: String,
}

/// Finds the library that cargo built last beside this test.
fn library() -> (PathBuf, PathBuf) {
    let deps = env::current_exe().unwrap().parent().unwrap().to_owned();
    let newest = fs::read_dir(&deps)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("libdacapo_worker-") && name.ends_with(".rlib")
        })
        .max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    (newest.expect("cargo builds the library before its tests"), deps)
}

fn compile(name: &str, source: &str) -> Vec<Printed> {
    let (library, deps) = library();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("{name}.rs"));
    // Without the comments, which the compiler would print with the line and so make every expectation come true.
    let bare: Vec<_> = source.lines().map(|line| line.split("//~").next().unwrap_or(line)).collect();
    fs::write(&file, bare.join("\n")).unwrap();
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition=2024", "--emit=metadata", "--crate-type=bin", "--color=never", "--diagnostic-width=200"])
        .arg(format!("-Ldependency={}", deps.display()))
        .arg(format!("--extern=dacapo_worker={}", library.display()))
        .arg("--out-dir")
        .arg(folder)
        .arg(&file)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    let place = format!("--> {}:", file.display());
    printed
        .split("\n\n")
        .filter(|text| text.starts_with("error") && text.contains("-->"))
        .map(|text| {
            let line = text.split_once(&place).and_then(|(_, rest)| rest.split(':').next()?.parse().ok());
            Printed { line: line.unwrap_or_default(), text: text.to_owned() }
        })
        .collect()
}

#[track_caller]
fn check(name: &str, case: &str) {
    let source = format!("{PRELUDE}{case}");
    let mut errors = compile(name, &source);
    for (number, line) in source.lines().enumerate() {
        for expected in line.split("//~").skip(1).map(str::trim) {
            let found = errors.iter().position(|error| error.line == number + 1 && error.text.contains(expected));
            let Some(found) = found else {
                let all: Vec<_> = errors.iter().map(|error| error.text.as_str()).collect();
                panic!("no error of line {} says {expected:?}:\n{}", number + 1, all.join("\n\n"));
            };
            errors.remove(found);
        }
    }
    let rest: Vec<_> = errors.iter().map(|error| error.text.as_str()).collect();
    assert!(rest.is_empty(), "errors that the case does not name:\n{}", rest.join("\n\n"));
}

#[test]
fn what_is_right_compiles() {
    check(
        "right",
        r#"
        #[workflow] async fn checkout(ctx: WorkflowContext, order: Order) -> Result<u32, WorkflowError> { Ok(1) }
        struct Payments;
        #[activities] impl Payments {
            #[activity(start_to_close = "1s")]
            async fn charge(&self, ctx: &ActivityContext, order: Order) -> Result<u32, ActivityError> { Ok(1) }
        }
        async fn calls(order: Order, other: Order) {
            let output: Option<u32> = start(checkout, order);
            activity(Payments::charge, other).await;
            serve(checkout);
            activities_of(Payments);
        }
        "#,
    );
}

#[test]
fn a_wrong_input_is_blamed_on_the_argument() {
    check(
        "wrong_input",
        r#"
        #[workflow] async fn checkout(ctx: WorkflowContext, order: Order) -> Result<u32, WorkflowError> { Ok(1) }
        struct Payments;
        #[activities] impl Payments {
            #[activity(start_to_close = "1s")]
            async fn charge(&self, ctx: &ActivityContext, order: Order) -> Result<u32, ActivityError> { Ok(1) }
        }
        const REMOTE: Activity<Order, u32> = Activity::new("remote");
        fn calls() {
            start(
                checkout,
                "order", //~ error[E0308]: mismatched types
            );
            activity(
                Payments::charge,
                7, //~ error[E0308]: mismatched types
            );
            activity(
                REMOTE,
                (), //~ error[E0308]: mismatched types
            );
        }
        "#,
    );
}

#[test]
fn a_call_without_a_timeout_does_not_compile() {
    check(
        "no_timeout",
        r#"
        struct Payments;
        #[activities] impl Payments {
            #[activity(heartbeat = "1s")]
            async fn charge(&self, ctx: &ActivityContext, order: Order) -> Result<u32, ActivityError> { Ok(1) }
        }
        async fn calls(order: Order) {
            activity(Payments::charge, order).await; //~ this activity call has no timeout: a lost attempt would never end
        }
        "#,
    );
}

#[test]
fn a_missing_attribute_is_named() {
    check(
        "no_attribute",
        r#"
        async fn checkout(ctx: WorkflowContext, order: Order) -> Result<u32, WorkflowError> { Ok(1) }
        struct Payments;
        impl Payments {
            async fn charge(&self, ctx: &ActivityContext, order: Order) -> Result<u32, ActivityError> { Ok(1) }
        }
        fn calls() {
            serve(checkout); //~ put `#[workflow]` on the function
            activity(Payments::charge, Order { id: 1 }); //~ put `#[activity]` on the method
            activities_of(Payments); //~ `Payments` has no activities
        }
        "#,
    );
}

#[test]
fn what_cannot_be_stored_is_blamed_on_its_type() {
    check(
        "no_data",
        r#"
        struct Plain;
        #[workflow]
        async fn checkout(
            ctx: WorkflowContext,
            input: Plain, //~ `Plain` cannot be stored //~ put `#[dacapo::data]` on the type
        ) -> Result<u32, WorkflowError> {
            Ok(1)
        }
        "#,
    );
}

#[test]
fn a_workflow_that_returns_no_result_is_told_so() {
    check(
        "no_result",
        r#"
        #[workflow]
        async fn checkout(ctx: WorkflowContext) -> u32 { //~ `u32` is not what workflows and activities return
            1
        }
        "#,
    );
}

#[test]
fn mistakes_in_a_body_are_blamed_on_its_lines() {
    check(
        "bodies",
        r#"
        #[workflow]
        async fn checkout(ctx: WorkflowContext, order: Order) -> Result<u32, WorkflowError> {
            if order.id == 1 {
                return Ok("one"); //~ error[E0308]: mismatched types
            }
            let id: String = order.id; //~ error[E0308]: mismatched types
            order.missing(); //~ no method named `missing`
            Ok(
                order, //~ error[E0308]: mismatched types
            )
        }
        struct Payments;
        #[activities] impl Payments {
            #[activity]
            async fn charge(&self, ctx: &ActivityContext) -> Result<u32, ActivityError> { //~ future cannot be sent
                let shared = std::rc::Rc::new(1);
                std::future::ready(()).await;
                Ok(*shared)
            }
        }
        "#,
    );
}

#[test]
fn half_typed_code_gives_the_one_error_of_the_compiler() {
    check(
        "half_typed",
        r#"
        #[workflow]
        async fn checkout(ctx: WorkflowContext, order: Order) -> Result<u32, WorkflowError> {
            let x = order. ; //~ unexpected token: `;`
            Ok(1)
        }
        fn calls(order: Order) { start(checkout, order); }
        "#,
    );
}

#[test]
fn a_macros_error_leaves_the_item_known() {
    check(
        "macro_errors",
        r#"
        struct Payments;
        #[activities] impl Payments {
            #[activity(start_to_close = "30")] //~ expected a unit
            async fn charge(&self, ctx: &ActivityContext) -> Result<u32, ActivityError> { Ok(1) }
            fn plain(&self) {}
        }
        async fn calls(ctx: &ActivityContext) {
            Payments.plain();
            Payments.charge(ctx).await;
            select! { a = std::future::ready(1) } //~ expected `=>`
        }
        "#,
    );
}

#[test]
fn what_is_no_future_is_blamed_on_the_branch() {
    check(
        "no_future",
        r#"
        async fn calls() {
            select! {
                a = std::future::ready(1) => {}
                b = 5 => {} //~ `{integer}` is not a future //~ `{integer}` is not a future
            }
        }
        "#,
    );
}

#[test]
fn calls_between_runs_and_answers_are_typed() {
    check(
        "between_runs",
        r#"
        #[workflow] async fn checkout(ctx: WorkflowContext, order: Order) -> Result<u32, WorkflowError> { Ok(1) }
        const ADD: define::Update<u32, Order> = define::Update::new("add");
        const GO: Signal<Order> = Signal::new("go");
        async fn calls(ctx: WorkflowContext) -> Result<(), WorkflowError> {
            ctx.child(
                checkout,
                7, //~ error[E0308]: mismatched types
            ).await?;
            ctx.external("a").signal(
                &GO,
                7, //~ error[E0308]: mismatched types
            ).await?;
            if let Some(request) = ctx.requests(&ADD).next().await {
                request.reply(
                    7, //~ error[E0308]: mismatched types
                );
            }
            Ok(())
        }
        async fn asks(handle: WorkflowHandle<u32>) {
            handle.update(
                &ADD,
                "one", //~ error[E0308]: mismatched types
            );
        }
        "#,
    );
}

#[test]
fn a_local_activity_without_a_timeout_and_an_attribute_that_is_no_scalar_are_named() {
    check(
        "no_timeout_no_scalar",
        r#"
        const CHARGE: Activity<u32, u32> = Activity::new("charge");
        const LINES: SearchAttribute<Vec<u32>> = SearchAttribute::new("Lines");
        async fn calls(ctx: WorkflowContext) {
            let _ = ctx.local_activity(CHARGE, 7).await; //~ this activity call has no timeout
            ctx.upsert(
                &LINES, //~ `Vec<u32>` cannot be the value of a search attribute
                vec![1],
            );
        }
        "#,
    );
}
