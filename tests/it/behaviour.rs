//! The table of promises: each names a test that exists, and a section that states it.

use std::{collections::HashMap, fs, path::Path};

/// The fewest promises that the table holds.
const ROWS_MIN: usize = 80;

/// Where the cases of the contract are listed, of which the macro there makes tests.
const CONTRACT: &str = "tests/it/contract/";

/// One promise.
struct Row<'a> {
    promise: &'a str,
    stated: &'a str,
    tests: Vec<&'a str>,
}

/// Reads files once.
#[derive(Default)]
struct Sources(HashMap<String, Option<String>>);

impl Sources {
    fn read(&mut self, path: &str) -> Option<&str> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        self.0.entry(path.to_owned()).or_insert_with(|| fs::read_to_string(file).ok()).as_deref()
    }

    /// Says what is wrong with a test's name, if anything is.
    fn problem(&mut self, test: &str) -> Option<String> {
        let Some((path, function)) = test.split_once("::") else {
            return Some("it is not written as `path::function`".to_owned());
        };
        let Some(source) = self.read(path) else { return Some(format!("there is no file {path}")) };
        if path.starts_with(CONTRACT) {
            let noun = path.trim_start_matches(CONTRACT).trim_end_matches(".rs").to_owned();
            let is_there = source.contains(&format!("pub(crate) async fn {function}(lab: Lab)"));
            let listed = self.read(&format!("{CONTRACT}mod.rs")).is_some_and(|list| lists(list, &noun, function));
            return (!is_there || !listed).then(|| format!("no case `{function}` is listed for {noun}"));
        }
        (!is_test(source, function)).then(|| format!("{path} has no test `{function}`"))
    }
}

/// Says whether a case stands under its noun in the list of the contract.
fn lists(list: &str, noun: &str, case: &str) -> bool {
    let cases = list.split(&format!("    {noun}:\n")).nth(1).and_then(|rest| rest.split(';').next());
    cases.is_some_and(|cases| cases.split(',').any(|it| it.trim() == case))
}

/// Says whether a source has a function with a test attribute among those right above it.
fn is_test(source: &str, function: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let declared = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ").and_then(|rest| rest.split(['(', '<']).next()) == Some(function)
    };
    lines.iter().enumerate().any(|(at, line)| {
        let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        let mut attributes = attributes.map(|line| line.trim_start_matches("#["));
        declared(line) && attributes.any(|line| line.starts_with("test]") || line.starts_with("tokio::test"))
    })
}

fn rows(page: &str) -> Vec<Row<'_>> {
    let table = page.split("## Not yet").next().unwrap_or(page);
    let cells = table.lines().filter(|line| line.starts_with("| ")).skip(1).map(|line| {
        // A promise may hold code, but no bar.
        line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>()
    });
    cells
        .map(|cells| {
            let [promise, stated, tests] = cells[..] else { panic!("a row has three cells: {cells:?}") };
            Row { promise, stated, tests: tests.split('`').filter(|part| !part.trim().is_empty()).collect() }
        })
        .collect()
}

/// Says whether a link such as `[History](reference.md#history)` leads to a heading.
fn leads_somewhere(sources: &mut Sources, link: &str) -> bool {
    let target = link.split_once("](").and_then(|(_, rest)| rest.strip_suffix(')'));
    let Some((page, anchor)) = target.and_then(|target| target.split_once('#')) else { return false };
    let headings = sources.read(&format!("docs/{page}")).unwrap_or_default();
    let heading = |line: &str| line.strip_prefix("## ").map(|title| title.to_lowercase().replace(' ', "-"));
    headings.lines().any(|line| heading(line).as_deref() == Some(anchor))
}

#[test]
fn every_promise_names_tests_that_exist_and_a_section_that_states_it() {
    let mut sources = Sources::default();
    let page = sources.read("docs/behaviour.md").expect("the table is there").to_owned();
    let rows = rows(&page);
    let mut problems = Vec::new();
    for Row { promise, stated, tests } in &rows {
        if tests.is_empty() {
            problems.push(format!("{promise}: no test is named"));
        }
        if !leads_somewhere(&mut sources, stated) {
            problems.push(format!("{promise}: {stated} leads nowhere"));
        }
        problems.extend(tests.iter().filter_map(|test| Some(format!("{promise}: {}", sources.problem(test)?))));
    }
    assert!(problems.is_empty(), "docs/behaviour.md:\n{}", problems.join("\n"));
    assert!(rows.len() >= ROWS_MIN, "docs/behaviour.md has {} promises, and had {ROWS_MIN} at least", rows.len());
}

#[test]
fn what_is_no_test_is_found() {
    let mut sources = Sources::default();
    for (name, problem) in [
        ("tests/it/behaviour.rs::what_is_no_test_is_found", None),
        ("tests/it/behaviour.rs::rows", Some("has no test `rows`")),
        ("tests/it/nowhere.rs::rows", Some("there is no file")),
        ("rows", Some("path::function")),
        ("tests/it/contract/starts.rs::the_same_request_leads_to_the_same_run", None),
        ("tests/it/contract/starts.rs::a_resent_message_is_recorded_once", Some("no case")),
    ] {
        let found = sources.problem(name);
        let as_expected = match (&found, problem) {
            (Some(found), Some(problem)) => found.contains(problem),
            (found, problem) => found.is_none() && problem.is_none(),
        };
        assert!(as_expected, "{name}: {found:?}");
    }
}
