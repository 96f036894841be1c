//! The table of figures in docs/performance.md is made from the report of one `dacapo bench all --json`.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    bench::EVERY_SCENARIO,
    reference::{grouped, page},
};

const PAGE: &str = "docs/performance.md";

/// The report that the table shows.
const REPORT: &str = "docs/bench-all.json";

/// Set it to write the table anew.
const WRITE: &str = "DACAPO_WRITE_FIGURES";

const BEGIN: &str = "<!-- made from docs/bench-all.json: begin -->\n";
const END: &str = "<!-- end -->\n";

const HEAD: &str = "\
| scenario | measured | at once | start to result, p50 and p99 in ms | a workflow: CPU of client + worker + Postgres in µs | its rows, statements, bytes of WAL | of the floor |
|---|---|---|---|---|---|---|
";

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer} is a number in {report}"))
}

/// Three digits that count, with commas.
fn round(number: f64) -> String {
    if number < 9.95 {
        return format!("{number:.1}");
    }
    let step = 10_f64.powi((number.log10().floor() as i32 - 2).max(0));
    grouped(((number / step).round() * step) as u64)
}

/// What only this scenario tells, or its throughput.
fn measured(scenario: &str, report: &Value) -> String {
    let of = |figure: &str| round(number(report, &format!("/{scenario}/{figure}")));
    let rates = || {
        let of = |unit: &str| round(number(report, &format!("/{unit}_per_s")));
        format!("{} workflows/s, {} activities/s", of("workflows"), of("activities"))
    };
    match scenario {
        "idle" => format!(
            "{} workers, {} waiting runs: each worker {} statements/s and {:.2} % of a core, Postgres {:.1} % in all",
            of("workers"),
            of("runs"),
            of("queries_per_s_per_process"),
            number(report, "/idle/share_of_a_core/worker_mean") * 100.0,
            number(report, "/idle/share_of_a_core/postgres") * 100.0,
        ),
        "signals" => {
            format!(
                "{} acknowledged/s, {} received/s; 1,000 to each run",
                of("acknowledged_per_s"),
                of("received_per_s")
            )
        }
        "timers" => format!(
            "{} due within one second, late by p50 {} and p99 {} ms",
            of("due_in_one_second"),
            of("lateness_ms/p50"),
            of("lateness_ms/p99")
        ),
        "backlog" => {
            let rates = format!(
                "{} runs enqueued at {}/s, drained at {}/s",
                round(number(report, "/workflows")),
                of("enqueue_per_s"),
                of("drain_per_s"),
            );
            // The server's counts of functions may come later than a short drain ends.
            match report.pointer("/backlog/claim_ms/mean").expect("claims are timed") {
                Value::Null => rates,
                _ => format!("{rates}, a claim {} ms", of("claim_ms/mean")),
            }
        }
        "waiting" => format!("one of {} open runs is woken, from signal to result", of("runs")),
        "history" => format!(
            "{} events; an event costs {} µs in the first tenth, {} µs in the last",
            of("events"),
            of("first_tenth_us_per_event"),
            of("last_tenth_us_per_event")
        ),
        _ => rates(),
    }
}

fn row(report: &Value) -> String {
    let scenario = report["scenario"].as_str().expect("a name");
    assert_eq!(report["verify"]["violations"], Value::Array(Vec::new()), "{scenario} is clean");
    let measured = measured(scenario, report);
    let latency = match &report["latency_ms"] {
        // Of a run that gets a thousand signals it says nothing.
        latency if latency.is_object() && scenario != "signals" => {
            format!("{}, {}", round(number(latency, "/p50")), round(number(latency, "/p99")))
        }
        _ => String::new(),
    };
    // Where runs only wait, there is no workflow that it could be divided by.
    if matches!(scenario, "idle" | "waiting" | "history") {
        return format!("| `{scenario}` | {measured} | | {latency} | | | |\n");
    }
    let at_once = match scenario {
        "timers" | "backlog" => String::new(),
        _ => grouped(number(report, "/config/in_flight") as u64),
    };
    let share = report["share_of_floor"].as_f64();
    let of_the_floor = share.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0));
    let cpu = |of: &str| round(number(report, &format!("/cpu_us_per_workflow/{of}")));
    let each = |what: &str| round(number(report, &format!("/{what}_per_workflow")));
    format!(
        "| `{scenario}` | {measured} | {at_once} | {latency} | {} + {} + {} | {}, {:.2}, {} | {of_the_floor} |\n",
        cpu("client"),
        cpu("workers"),
        cpu("postgres"),
        each("rows"),
        number(report, "/statements_per_workflow"),
        each("wal_bytes"),
    )
}

#[test]
fn the_table_of_figures_is_that_of_the_report() {
    let reports: Vec<Value> = serde_json::from_str(&page(REPORT)).expect("it is JSON");
    let names: Vec<&str> = reports.iter().filter_map(|report| report["scenario"].as_str()).collect();
    assert_eq!(names.join(" "), EVERY_SCENARIO, "every scenario is in it");
    let table: String = reports.iter().map(row).collect();
    let text = page(PAGE);
    let (head, rest) = text.split_once(BEGIN).expect("the table has a beginning");
    let (shown, tail) = rest.split_once(END).expect("the table has an end");
    let wanted = format!("{HEAD}{table}");
    if std::env::var_os(WRITE).is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        fs::write(path, format!("{head}{BEGIN}{wanted}{END}{tail}")).expect("the page can be written");
        return;
    }
    assert_eq!(shown, wanted, "write the table anew: {WRITE}=1 cargo test --all-features --test it figures");
}
