//! `dacapo export` and `dacapo replay` as a gate: what a deployment is stopped by, and what it is not.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::database;

fn call(program: &Path, url: Option<&str>, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(program);
    command.args(arguments).env_remove("RUST_LOG").env_remove("DATABASE_URL").stdin(Stdio::null());
    if let Some(url) = url {
        command.env("DATABASE_URL", url);
    }
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("it exits"), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_the_code_does_not_fit_stops_a_deployment() {
    let database = database::fresh("replay_gate").await;
    let dacapo = Path::new(env!("CARGO_BIN_EXE_dacapo"));
    let payments = dacapo.parent().unwrap().join("examples/payments");
    let url = Some(database.url.as_str());
    let mut worker = Command::new(&payments);
    worker.args(["worker", "--queue", "checkout"]).env("DATABASE_URL", &database.url);
    let mut worker = database::Killed(worker.spawn().expect("the worker starts"));
    let order = r#"{"id":"order-42","cents":1250}"#;
    for id in ["order-1", "order-2"] {
        let (code, _, err) =
            call(&payments, url, &["start", "checkout", "--id", id, "--queue", "checkout", "-i", order]);
        assert_eq!(code, 0, "{err}");
        call(&payments, url, &["signal", id, "approve", "-i", r#"{"by":"ada"}"#]);
        assert_eq!(call(&payments, url, &["result", id]).0, 0);
    }
    worker.stop_politely();

    // From the database: by id, by filter; a binary without the workflow skips, or says so when asked by name.
    let (code, out, err) = call(&payments, url, &["replay", "order-1", "--every-prefix"]);
    assert_eq!((code, out.contains("fits"), err.contains("1 of 1 histories fit")), (0, true, true), "{out}{err}");
    let (code, out, _) = call(&payments, url, &["replay", "--type", "checkout", "--json"]);
    let value: Value = serde_json::from_str(&out).expect("one value");
    assert_eq!((code, &value["fit"], &value["diverged"]), (0, &2.into(), &0.into()), "{out}");
    assert_eq!(call(dacapo, url, &["replay", "order-1"]).0, 2, "it is not in this binary");
    assert_eq!(call(dacapo, url, &["replay", "--all"]).0, 3, "nothing was replayed");
    assert_eq!(call(&payments, url, &["replay", "--type", "nothing"]).0, 3);
    assert_eq!(call(&payments, url, &["replay"]).0, 2, "nothing is chosen");

    // From files, without a database.
    let folder = tempfile::tempdir().unwrap();
    let corpus = folder.path().to_str().unwrap();
    let (code, out, err) = call(&payments, url, &["export", "--all", "-o", corpus]);
    assert_eq!((code, out.lines().count()), (0, 2), "{out}{err}");
    let (code, out, err) = call(&payments, None, &["replay", corpus]);
    assert_eq!((code, err.contains("2 of 2 histories fit")), (0, true), "{out}{err}");
    let (code, shown, _) = call(&payments, url, &["show", "order-1", "--json"]);
    assert_eq!(code, 0);
    fs::write(folder.path().join("shown.json"), shown).unwrap();
    assert_eq!(call(&payments, None, &["replay", &format!("{corpus}/shown.json")]).0, 0, "what `show` writes is read");

    // A history in which the activity had another name is one that the code does not fit.
    let path = folder.path().join("order-1.json");
    let history = fs::read_to_string(&path).unwrap();
    fs::write(&path, history.replace("\"activity_type\":\"charge\"", "\"activity_type\":\"debit\"")).unwrap();
    let (code, out, err) = call(&payments, None, &["replay", corpus]);
    assert_eq!((code, err.contains("2 of 3 histories fit")), (8, true), "{out}{err}");
    assert!(out.contains("diverged") && out.contains("`debit`") && out.contains("examples/payments.rs:"), "{out}");
    let (code, out, _) = call(&payments, None, &["replay", "--json", path.to_str().unwrap()]);
    let value: Value = serde_json::from_str(&out).expect("one value");
    let found = &value["histories"][0];
    assert_eq!((code, &found["verdict"]), (8, &"diverged".into()), "{out}");
    assert!(found["event_id"].as_i64().is_some_and(|id| id > 4) && found["command"].to_string().contains("charge"));
    assert!(found["position"].to_string().contains("examples/payments.rs:"), "{out}");

    fs::write(&path, "not a history").unwrap();
    assert_eq!(call(&payments, None, &["replay", corpus]).0, 2, "a file that is no history is no divergence");
}
