//! The `clippy.toml` that the page about determinism gives: each of its paths is known, and each breach is found.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{env, fs, path::Path, process::Command};

const PAGE: &str = include_str!("../../docs/determinism.md");

/// Code that does what the file forbids, as far as this test can link it.
const BREACHES: &str = r#"
pub fn clocks() -> bool { std::time::SystemTime::now().elapsed().is_ok() && std::time::Instant::now().elapsed().is_zero() }
pub fn threads() { drop(std::thread::spawn(|| ())); std::thread::sleep(std::time::Duration::ZERO) }
pub fn outside() { drop((std::env::var("X"), std::fs::read("x"), std::fs::read_to_string("x"))) }
pub async fn timers(at: tokio::time::Instant) {
    let second = std::time::Duration::from_secs(1);
    tokio::time::sleep(second).await;
    tokio::time::sleep_until(at).await;
    drop(tokio::time::timeout(second, async {}).await);
    drop(tokio::time::interval(second));
}
pub fn tasks() {
    drop(tokio::spawn(async {}));
    drop(tokio::task::spawn_local(async {}));
    drop(tokio::task::spawn_blocking(|| ()));
}
pub fn ids() { drop(uuid::Uuid::now_v7()) }
pub fn orders(map: &mut std::collections::HashMap<u8, u8>, set: &mut std::collections::HashSet<u8>) -> usize {
    map.iter().count() + map.keys().count() + map.values().count() + set.iter().count()
        + map.drain().count() + set.drain().count()
}
pub async fn chance() { tokio::select! { () = async {} => (), () = async {} => () } }
"#;

/// What is not there to be linked: crates, of which clippy says nothing then, and a method behind a feature.
const NOT_LINKED: [&str; 4] = ["rand::", "futures::", "futures_util::", "uuid::Uuid::new_v4"];

/// The paths of the page's file.
fn forbidden(file: &str) -> Vec<&str> {
    file.lines().filter_map(|line| line.split_once("{ path = \"")?.1.split_once('"')).map(|(path, _)| path).collect()
}

/// Finds a library that cargo built beside this test; the newest of several.
fn library(name: &str) -> String {
    let deps = env::current_exe().unwrap().parent().unwrap().to_owned();
    let prefix = format!("lib{name}-");
    let files = fs::read_dir(deps).unwrap().map(|entry| entry.unwrap().path());
    let newest = files
        .filter(|path| {
            let file = path.file_name().unwrap().to_string_lossy();
            file.starts_with(&prefix) && file.ends_with(".rlib")
        })
        .max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    format!("{name}={}", newest.expect("cargo builds what this test depends on").display())
}

#[test]
fn the_clippy_toml_of_the_page_finds_each_breach_and_names_only_what_exists() {
    let file = PAGE.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clippy");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("clippy.toml"), file).unwrap();
    fs::write(folder.join("breaches.rs"), BREACHES).unwrap();
    let deps = env::current_exe().unwrap().parent().unwrap().to_owned();
    let output = Command::new("clippy-driver")
        .args(["--edition=2024", "--emit=metadata", "--crate-type=lib", "--color=never", "--cap-lints=warn"])
        .args(["-Aunused", "-Wclippy::disallowed_methods", "-Wclippy::disallowed_macros"])
        .arg(format!("-Ldependency={}", deps.display()))
        .args(["--extern", &library("tokio"), "--extern", &library("uuid")])
        .arg("--out-dir")
        .arg(&folder)
        .arg(folder.join("breaches.rs"))
        .env("CLIPPY_CONF_DIR", &folder)
        .output()
        .expect("clippy is installed, as `make test` needs it: rustup component add clippy");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("does not refer to"), "a path leads nowhere:\n{said}");
    let paths = forbidden(file);
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths.into_iter().filter(|path| !NOT_LINKED.iter().any(|krate| path.starts_with(krate))) {
        // Clippy prints the path as the file has it.
        let found = said.contains(&format!("disallowed method `{path}`"))
            || said.contains(&format!("disallowed macro `{path}`"));
        assert!(found, "`{path}` is not found:\n{said}");
    }
}
