//! Every metric that some crate counts is described, and every description is of a metric that is counted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

use dacapo_server::METRICS;

fn counted_names(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            counted_names(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for macro_name in ["counter!(", "gauge!(", "histogram!("] {
                let calls = text.split(macro_name).skip(1);
                let literals = calls.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
                names.extend(literals.map(str::to_owned));
            }
        }
    }
}

#[test]
fn the_table_names_exactly_what_is_counted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut counted = BTreeSet::new();
    for folder in
        ["engine/runtime/src", "engine/store/src", "engine/server/src", "worker/src", "activities/src", "workflows/src"]
    {
        counted_names(&root.join(folder), &mut counted);
    }
    let described: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(counted, described);
}
