//! What the README shows is run: every `dacapo` command of it, and every example program.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The folder of this build's binaries.
fn binaries() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_dacapo")).parent().expect("a binary lies in a folder").to_owned()
}

fn run(mut command: Command, url: &str) -> Output {
    command.env("DATABASE_URL", url).env_remove("RUST_LOG").current_dir(env!("CARGO_MANIFEST_DIR"));
    command.output().expect("the program can be started")
}

/// The `dacapo` command lines of a page's shell blocks, without their remarks.
fn commands(page: &str) -> Vec<Vec<String>> {
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("dacapo "));
    lines
        .map(|line| line.split('#').next().unwrap_or_default().split_whitespace().map(str::to_owned).collect())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_readme_works() {
    let database = crate::database::fresh("readme").await;
    let commands = commands(include_str!("../../README.md"));
    assert!(commands.len() >= 8, "the README shows its commands: {commands:?}");
    for arguments in commands {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dacapo"));
        command.args(&arguments);
        let output = run(command, &database.url);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "dacapo {}: {out}\n{err}", arguments.join(" "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_runs_alone() {
    let database = crate::database::fresh("examples").await;
    let said = [
        ("hello", "Hello, world!\n"),
        ("timer", "lift-off\nthe last number published was 1\n"),
        ("approval", "Ada approved\nnobody decided in time\n"),
        ("parallel", "338350\n"),
        (
            "transactions",
            "paid, 7500 cents are left\nActivityFailure: activity `debit` failed: InsufficientFunds: 1500 cents are missing (the \
             failure is not retryable)\n\
             not placed: 1000000 cents are too much for one order\n2 orders\n",
        ),
        ("retry", "the balance came at attempt 3; InsufficientFunds: 1000 is more than there is\n"),
    ];
    for (name, expected) in said {
        let output = run(Command::new(binaries().join("examples").join(name)), &database.url);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_binary_of_ones_own_has_every_verb() {
    let database = crate::database::fresh("payments").await;
    let payments = binaries().join("examples").join("payments");
    let call = |arguments: &[&str]| {
        let mut command = Command::new(&payments);
        command.args(arguments);
        let output = run(command, &database.url);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {out}{}", String::from_utf8_lossy(&output.stderr));
        out
    };
    let mut worker = Command::new(&payments);
    worker.args(["worker", "--queue", "checkout"]).env("DATABASE_URL", &database.url);
    let mut worker = crate::database::Killed(worker.spawn().expect("the worker starts"));
    let order = r#"{"id":"order-42","cents":1250}"#;
    call(&["start", "checkout", "--id", "order-42", "--queue", "checkout", "-i", order]);
    call(&["signal", "order-42", "approve", "-i", r#"{"by":"ada"}"#]);
    let receipt = call(&["result", "order-42"]);
    assert!(receipt.contains("charge of order-42 under order-42/"), "{receipt}");
    assert!(call(&["query", "order-42", "status"]).contains("Paid"));
    let nobody = call(&["show", "order-42", "--json"]);
    assert!(nobody.contains("\"event_type\":\"WorkflowExecutionCompleted\""), "{nobody}");
    worker.stop_politely();
}
