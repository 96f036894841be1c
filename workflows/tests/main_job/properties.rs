//! What holds for any documents and any task.

use proptest::prelude::*;

use super::support::{Files, Script, check_citations, solve_with};

/// Words of the tasks and of the documents that are about them.
const SUBJECT: &[&str] =
    &["lease", "worker", "timer", "history", "signal", "retry", "queue", "database", "crash", "owner", "12 s", "16 s"];
const VERBS: &[&str] = &["protects", "renews", "must append", "never reads", "should retry", "fires before", "is not"];
/// Words that no task has: a document of these shares nothing with it.
const ELSEWHERE: &[&str] = &["banana", "yellow", "orchard", "harvest", "ladder", "basket", "juice", "cellar"];

const VERBS_ELSEWHERE: &[&str] = &["ripens beside", "must not fill", "never touches", "should follow"];

fn sentence(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    let verbs = if words == SUBJECT { VERBS } else { VERBS_ELSEWHERE };
    (prop::sample::select(words), prop::sample::select(verbs), prop::sample::select(words), prop::sample::select(words))
        .prop_map(|(a, v, b, c)| format!("The {a} {v} the {b} of every {c}."))
}

fn document(words: &'static [&'static str]) -> impl Strategy<Value = (&'static str, String)> {
    let body = prop::collection::vec(sentence(words), 1..6);
    (prop::sample::select(&["txt", "md", "html", "json", "csv", "rs"][..]), body).prop_map(|(extension, body)| {
        let text = match extension {
            "md" => format!("# About the {}\n\n{}\n", &body[0][4..8], body.join("\r\n")),
            "html" => format!("<h1>Title &amp; all</h1><p>{}</p>", body.join("</p>\n<p>")),
            "json" => serde_json::to_string(&body).unwrap(),
            "csv" => format!(
                "name,value\n{}",
                body.iter().enumerate().map(|(n, s)| format!("\"{s}\",{n}.5\n")).collect::<String>()
            ),
            "rs" => body.iter().map(|s| format!("/// {s}\nfn f() {{}}\n")).collect(),
            _ => body.join("\n"),
        };
        (extension, text)
    })
}

fn documents() -> impl Strategy<Value = Files> {
    prop::collection::vec(document(SUBJECT), 1..5).prop_map(|list| named("doc", list))
}

fn named(prefix: &str, list: Vec<(&'static str, String)>) -> Files {
    list.into_iter()
        .enumerate()
        .map(|(n, (extension, text))| (format!("{prefix}{n}.{extension}"), text.into_bytes()))
        .collect()
}

fn task() -> impl Strategy<Value = String> {
    prop::collection::vec((prop::sample::select(SUBJECT), prop::sample::select(SUBJECT)), 1..5).prop_map(|pairs| {
        let items: String = pairs.iter().map(|(a, b)| format!("- What does the {a} do with the {b}?\n")).collect();
        format!("# Task\n\nFind out from the documents:\n\n{items}- Which carpet lies in the hall?\n")
    })
}

/// Solves and gives the result as JSON without the hashes of the requests, which name the documents given.
fn outcome(task: &str, files: &Files) -> serde_json::Value {
    let (result, _) = solve_with(task, files, Script::default());
    match result {
        Ok(result) => {
            check_citations(&result, files);
            let mut json = serde_json::to_value(&result).unwrap();
            json["final_answer"]["usage"]["request_hash"].take();
            json
        }
        Err(error) => serde_json::Value::String(error.to_string()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn quotes_hold_and_the_order_of_documents_does_not_matter(task in task(), files in documents(), turn in 0_usize..5) {
        let first = outcome(&task, &files);
        prop_assert_eq!(&outcome(&task, &files), &first);
        let mut turned = files.clone();
        let by = turn % turned.len();
        turned.rotate_left(by);
        turned.reverse();
        prop_assert_eq!(&outcome(&task, &turned), &first);
    }

    #[test]
    fn a_document_about_something_else_changes_nothing(
        task in task(), files in documents(), other in prop::collection::vec(document(ELSEWHERE), 1..3)
    ) {
        let mut more = files.clone();
        more.extend(named("aside", other));
        prop_assert_eq!(outcome(&task, &more), outcome(&task, &files));
    }

    #[test]
    fn a_document_that_is_gone_is_not_cited(task in task(), files in documents()) {
        prop_assume!(files.len() > 1);
        for n in 0..files.len() {
            let mut fewer = files.clone();
            let (gone, _) = fewer.remove(n);
            let json = outcome(&task, &fewer).to_string();
            prop_assert!(!json.contains(&gone), "{} is still named", gone);
        }
    }

    #[test]
    fn what_no_document_answers_is_never_accepted(task in task(), files in documents()) {
        let (result, _) = solve_with(&task, &files, Script::default());
        if let Ok(result) = result {
            prop_assert!(result.partial_completion);
            prop_assert!(result.failed_parts.iter().any(|f| f.missing == ["carpet", "hall", "lies"]), "{:?}", result.failed_parts);
            prop_assert!(result.final_answer.limitations.iter().any(|l| l.contains("Which carpet lies in the hall?")));
            let json = serde_json::to_string(&result).unwrap();
            let again: dacapo_workflows::multi_agent_task::TaskResult = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(serde_json::to_string(&again).unwrap(), json);
        }
    }
}
