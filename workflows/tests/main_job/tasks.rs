//! The example tasks over the example documents.

use dacapo_activities::documents::digest;
use dacapo_workflows::multi_agent_task::{Status, SubtaskStatus, TaskResult};

use super::support::{check_citations, example_files, example_task, files, project_files, solve, solve_with};

fn solved(name: &str) -> TaskResult {
    let files = example_files();
    let result = solve(&example_task(name), &files);
    check_citations(&result, &files);
    assert_eq!(result.status, Status::Completed);
    result
}

/// Gives the texts of the section whose title has `part`.
fn section(result: &TaskResult, part: &str) -> String {
    let (_, statements) = result.final_answer.main_content.iter().find(|(title, _)| title.contains(part)).unwrap();
    statements.iter().map(|s| s.text.as_str()).collect::<Vec<_>>().join("\n")
}

#[test]
fn crash_safety_is_answered_and_the_carpet_is_not() {
    let result = solved("crash-safety.md");
    assert!(section(&result, "lease lapses").contains("any other process takes over the runs in bounded batches"));
    assert!(section(&result, "zombie").contains("A zombie cannot write"));
    assert!(
        section(&result, "initial retry").contains("The initial interval is 1 second, the backoff coefficient is 2")
    );
    assert!(section(&result, "limits one attempt").contains("The start-to-close timeout limits one attempt."));
    assert!(section(&result, "Compare").contains("limits all attempts together"));
    assert!(result.partial_completion);
    assert!(!result.final_answer.main_content.keys().any(|k| k.contains("carpet")));
    let limitation = result.final_answer.limitations.iter().find(|l| l.contains("carpet")).unwrap();
    assert!(limitation.contains("\"Which carpet colour did the office choose?\""), "{limitation}");
    let [failed] = &result.failed_parts[..] else { panic!("{:?}", result.failed_parts) };
    assert_eq!(failed.requirements, ["Which carpet colour did the office choose?"]);
    assert_eq!(failed.missing, ["carpet", "choose", "colour", "office"]);
    assert_eq!(failed.retry_with.specific_areas, ["Which carpet colour did the office choose?"]);
    // Three executions: the first and two cycles; never accepted.
    let carpet = result.subtasks.last().unwrap();
    assert_eq!((carpet.status, carpet.cycles), (SubtaskStatus::Rejected, 3));
}

#[test]
fn figures_are_computed_and_cite_every_cell() {
    let result = solved("throughput.md");
    assert!(!result.partial_completion);
    let mean = "throughput.csv: value (throughput, workflows/s) has 6 values, minimum 1006 (design \"one transaction per step\"), \
                maximum 81000 (design \"open and closed tables, fused\"), mean 32,051.67.";
    assert_eq!(section(&result, "mean throughput"), mean);
    assert!(section(&result, "fused design").contains("is 81000 for design \"open and closed tables, fused\""));
    assert!(section(&result, "p99").contains("(start to completed p99, ms) is 1.25"));
    let statement = result.final_answer.statements().find(|s| s.text == mean).unwrap();
    let cells: Vec<i64> = statement.citations.iter().filter_map(|c| c.quote.parse().ok()).collect();
    assert_eq!(cells, [1006, 1304, 22000, 40000, 47000, 81000]);
    assert_eq!(cells.iter().sum::<i64>() * 100 / 6, 3_205_166);
}

#[test]
fn guarantees_come_from_html_and_json_too() {
    let result = solved("guarantees.md");
    assert!(section(&result, "acknowledged signal").contains("in the history exactly once, or still in the inbox"));
    assert!(section(&result, "limits").contains(r#""limit": 51200"#));
    assert!(result.result.sources.iter().any(|s| s.doc == "history.html"));
    assert_eq!(result.failed_parts[0].missing, ["cost", "insurance", "premium", "vendor"]);
    let limitations = result.final_answer.limitations.join("\n");
    assert!(limitations.contains("not checked by a program: \"quote the documents word for word\""), "{limitations}");
}

#[test]
fn the_project_answers_a_task_about_itself_from_its_own_documents() {
    let files = project_files();
    let result = solve(&example_task("project.md"), &files);
    check_citations(&result, &files);
    assert!(
        result.subtasks.iter().filter(|s| s.status == SubtaskStatus::Accepted).count() >= 1,
        "{:?}",
        result.subtasks
    );
    let carpet = result.failed_parts.iter().find(|f| f.requirements[0].contains("carpet")).unwrap();
    assert!(result.final_answer.limitations.iter().any(|l| l.contains(&carpet.requirements[0])));
}

#[test]
fn equal_inputs_give_equal_bytes_on_every_machine() {
    let mut json = String::new();
    for name in ["crash-safety.md", "guarantees.md", "throughput.md"] {
        json.push_str(&serde_json::to_string(&solved(name)).unwrap());
    }
    // A change of this digest is a change of what tasks come to: raise the number in the provider's label with it.
    assert_eq!(digest(json.as_bytes()), "9157cb9f137e4c2b863a11e769bc3e17e5b34ee3843ba8f6ee9f9d1bcbeb26df");
}

#[test]
fn a_question_of_many_parts_takes_exactly_two_revisions() {
    // Eleven statements of two words each: three findings and then five cover less than half of the question, seven cover more.
    let pairs = [
        ("pilot", "lighthouse"),
        ("tug", "breakwater"),
        ("crane", "quay"),
        ("customs", "warehouse"),
        ("ferry", "jetty"),
        ("dredger", "channel"),
        ("anchor", "chain"),
        ("captain", "logbook"),
        ("beacon", "reef"),
        ("barge", "lock"),
        ("sailor", "hammock"),
    ];
    let lines: String = pairs.iter().map(|(a, b)| format!("Every {a} belongs to some {b} nearby.\n\n")).collect();
    let documents = files(&[("harbour.md", &format!("# Port\n\n{lines}"))]);
    let asked: Vec<String> = pairs.iter().map(|(a, b)| format!("{a} and {b}")).collect();
    let task = &format!("# Harbour\n\nHow are {} related?", asked.join(", "));
    let (result, team) = solve_with(task, &documents, Default::default());
    let result = result.unwrap();
    check_citations(&result, &documents);
    assert_eq!((result.revision_cycles, result.subtasks[0].cycles), (2, 3));
    assert_eq!(result.subtasks[0].status, SubtaskStatus::Accepted);
    assert!(!result.partial_completion);
    // A revision adds to what was found, so the score only rises.
    let seen = team.seen.borrow();
    let scores: Vec<i64> = seen.last().unwrap().reviews.iter().map(|r| r.score).collect();
    assert!(scores.len() == 3 && scores.windows(2).all(|w| w[0] < w[1]), "{scores:?}");
}

#[test]
fn nothing_to_be_found_is_a_failure_that_says_what_was_missing() {
    let (result, team) =
        solve_with("# Carpets\n\nWhich carpet colour did the office choose?", &example_files(), Default::default());
    let error = result.unwrap_err().to_string();
    assert!(
        error.starts_with("NoAcceptedSolution: ") && error.contains("not found: carpet, choose, colour, office"),
        "{error}"
    );
    let seen = team.seen.borrow();
    let last = seen.last().unwrap();
    assert_eq!((last.status, last.reason.as_deref()), (Status::Failed, Some(error.as_str())));
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_rest_is_used() {
    let mut documents = example_files();
    documents.push(("picture.png".to_owned(), b"\x89PNG\r\n\x1a\n\0\0".to_vec()));
    let result = solve(&example_task("guarantees.md"), &documents);
    let limitation = result.final_answer.limitations.iter().find(|l| l.starts_with("Not read: picture.png")).unwrap();
    assert!(limitation.contains("not UTF-8"), "{limitation}");
}

#[test]
fn words_that_only_occur_apart_are_not_an_answer() {
    let documents = files(&[(
        "a.md",
        "# A\n\nThe carpet is old and worn.\n\nA colour scheme helps readers.\n\nThe office opens early each day.\n\nLeases protect the runs of a worker.\n",
    )]);
    let result = solve("# A\n\n- What colour is the carpet of the office?\n- What do leases protect?", &documents);
    assert_eq!(result.failed_parts.len(), 1);
    assert_eq!(result.failed_parts[0].missing, ["carpet", "colour", "office"]);
}

#[test]
fn a_column_too_long_to_cite_is_left_out_and_named() {
    let rows: String = (0..150).map(|n| format!("probe {n},{n}\n")).collect();
    let documents = files(&[
        ("long.csv", &format!("probe,latency\n{rows}")),
        ("a.md", "The latency of every probe was measured twice.\n"),
    ]);
    let result = solve(
        "# Latency\n\n- What is the mean latency of the probe?\n- How often was the latency of every probe measured?",
        &documents,
    );
    check_citations(&result, &documents);
    let said = result
        .final_answer
        .limitations
        .iter()
        .any(|l| l == "long.csv: column latency has 150 values, too many to cite each; not summarised");
    assert!(said, "{:?}", result.final_answer.limitations);
}
