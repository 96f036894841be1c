//! The tutorial: its code is that of an example, which is tested here, and its commands work with that example.

use std::process::Command;

use crate::database::{self, Killed};

const PAGE: &str = include_str!("../../docs/tutorial.md");

#[path = "../../examples/payments.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is a program of its own")]
mod payments;

fn blocks(language: &str) -> impl Iterator<Item = &'static str> {
    let fence = format!("```{language}\n");
    let starts: Vec<usize> = PAGE.match_indices(&fence).map(|(at, _)| at + fence.len()).collect();
    starts.into_iter().filter_map(|at| PAGE[at..].split("```").next())
}

#[test]
fn the_code_of_the_tutorial_is_that_of_the_example() {
    let example = include_str!("../../examples/payments.rs");
    let mut shown = 0;
    for block in blocks("rust") {
        assert!(example.contains(block), "this is not in examples/payments.rs:\n{block}");
        shown += 1;
    }
    assert!(shown >= 5, "{shown} blocks were found");
}

/// Splits a command line at spaces that are not quoted.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(place, part)| match place % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_tutorial_work_in_their_order() {
    let database = database::fresh("tutorial").await;
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_dacapo")).with_file_name("examples").join("payments");
    let program = |arguments: &[String]| {
        let mut command = Command::new(&binary);
        command.args(arguments).env("DATABASE_URL", &database.url).env_remove("RUST_LOG");
        command
    };
    let worker = ["worker", "--queue", "default"].map(str::to_owned);
    let mut worker = Killed(program(&worker).spawn().expect("the worker starts"));
    let mut said = Vec::new();
    for line in blocks("sh").flat_map(str::lines) {
        let arguments = words(line.strip_prefix("cargo run -- ").expect("the tutorial runs its own program"));
        // The worker of the first command needs a moment; a value that is not published yet is looked for again.
        for attempt in 0.. {
            let output = program(&arguments).output().expect("the program starts");
            let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            if output.status.success() {
                said.push(out.into_owned());
                break;
            }
            assert!(arguments[0] == "query" && attempt < 100, "{line}: {out}{err}");
        }
    }
    assert_eq!(said.len(), 6, "{said:?}");
    assert!(said[1].contains("AwaitingApproval") && said[4].contains("charge of order-42"), "{said:?}");
    assert!(said[5].contains("WorkflowExecutionCompleted"), "{said:?}");
    worker.stop_politely();
}
