//! What neighbours are told, and what is left for the server.

use std::collections::BTreeMap;

use dacapo_core::{
    RunId, RunKey, Shard, TaskQueue,
    store::{BroughtRun, HandedId},
};

use super::{super::HandedNews, *};

const HERE: Census = Census { here: 2, elsewhere: 0 };

/// A database that no other test has.
fn database() -> String {
    Uuid::now_v7().simple().to_string().split_off(20)
}

fn process(database: &str, workers: &[WorkerId], waits: bool) -> (Hints, Ear) {
    let hints = Hints::default();
    let mut ear = Ear::open(&hints, database).unwrap();
    ear.answer_to(&workers.iter().copied().collect(), waits).unwrap();
    (hints, ear)
}

fn worker() -> WorkerId {
    WorkerId(Uuid::now_v7())
}

fn run() -> RunKey {
    RunKey { shard: Shard(7), run_id: RunId(Uuid::now_v7()) }
}

fn inbox(worker: WorkerId, run: RunKey) -> News {
    News { inbox: [(worker, vec![run])].into(), ..News::default() }
}

fn closed(run: RunKey) -> News {
    News { closed: vec![run], ..News::default() }
}

/// Tells neighbours, and gives what is left for the server.
fn left(hints: &Hints, mut news: News) -> News {
    hints.shared.neighbours.tell(&mut news);
    news
}

#[tokio::test]
async fn a_worker_here_is_told_and_one_elsewhere_is_left_for_the_server() {
    let (database, near, far, key) = (database(), worker(), worker(), run());
    let (speaks, _ear) = process(&database, &[], false);
    let (_listens, mut ear) = process(&database, &[near], false);
    let mut news = inbox(near, key);
    news.inbox.insert(far, vec![key]);
    news.runs_ready.insert(TaskQueue::new("q"));
    let rest = left(&speaks, news);
    assert_eq!((rest.inbox.len(), rest.inbox.contains_key(&far), rest.runs_ready.len()), (1, true, 1));
    assert_eq!(ear.hear().await.unwrap(), [Hint::Inbox(vec![key])]);
    assert!(speaks.reach(near) && !speaks.reach(far));
    // It leaves.
    ear.answer_to(&BTreeSet::new(), false).unwrap();
    drop(ear);
    assert!(!left(&speaks, inbox(near, key)).is_empty());
    assert!(!speaks.reach(near));
}

#[tokio::test]
async fn what_does_not_fit_into_one_datagram_comes_in_several() {
    let (database, worker) = (database(), worker());
    let (speaks, _ear) = process(&database, &[], false);
    let (_listens, mut ear) = process(&database, &[worker], false);
    let runs: Vec<RunKey> = (0..3_000).map(|_| run()).collect();
    assert!(left(&speaks, News { inbox: [(worker, runs.clone())].into(), ..News::default() }).is_empty());
    let mut heard = Vec::new();
    while heard.len() < runs.len() {
        for hint in ear.hear().await.unwrap() {
            let Hint::Inbox(runs) = hint else { panic!("{hint:?}") };
            heard.extend(runs);
        }
    }
    assert_eq!(heard, runs);
}

#[tokio::test]
async fn a_flush_of_starts_is_taken_as_a_whole_and_once() {
    let (database, worker) = (database(), worker());
    let (speaks, _ear) = process(&database, &[], false);
    let (_listens, mut ear) = process(&database, &[worker], false);
    let start = |_| BroughtRun { key: run(), next_event_id: 2, events: "x".repeat(600) };
    let mut numbers: std::ops::RangeFrom<HandedId> = 0..;
    let mut rest = News::default();
    while rest.is_empty() {
        let mut news = News::default();
        for _ in 0..2 {
            news.handed(worker, numbers.next().unwrap(), HandedNews::of(Some((0..200).map(start).collect())));
        }
        rest = left(&speaks, news);
    }
    let left_behind: Vec<HandedId> = rest.handed.values().flat_map(BTreeMap::keys).copied().collect();
    let mut heard = Vec::new();
    while heard.len() + left_behind.len() < numbers.start as usize {
        for hint in ear.hear().await.unwrap() {
            match hint {
                Hint::Brought(flush) => {
                    assert_eq!((flush.of, flush.runs.len()), (200, 200));
                    heard.push(flush.handed);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(!left_behind.is_empty() && left_behind.iter().all(|handed| !heard.contains(handed)));
}

#[tokio::test]
async fn a_process_that_connects_anew_is_found_under_the_same_names() {
    let (database, worker, key) = (database(), worker(), run());
    let (speaks, _ear) = process(&database, &[], true);
    speaks.shared.neighbours.counted(HERE);
    for _ in 0..3 {
        let (_listens, mut ear) = process(&database, &[worker], true);
        assert!(left(&speaks, inbox(worker, key)).is_empty() && speaks.reach(worker));
        assert_eq!(ear.hear().await.unwrap(), [Hint::Inbox(vec![key])]);
    }
    assert!(!left(&speaks, inbox(worker, key)).is_empty() && !speaks.reach(worker));
}

#[tokio::test]
async fn news_of_runs_are_left_for_the_server_unless_all_who_wait_are_known_to_be_here() {
    let (database, key) = (database(), run());
    let (speaks, _ear) = process(&database, &[], true);
    let (_waits, mut ear) = process(&database, &[], true);
    let neighbours = &speaks.shared.neighbours;
    let census_wanted = || neighbours.census_wanted.notified();
    assert!(!left(&speaks, closed(key)).is_empty(), "nobody has counted");
    tokio::time::timeout(Duration::from_secs(10), census_wanted()).await.unwrap();
    neighbours.counted(Census { here: 2, elsewhere: 1 });
    assert!(!left(&speaks, closed(key)).is_empty(), "somebody waits elsewhere");
    neighbours.counted(Census { here: 3, elsewhere: 0 });
    assert!(!left(&speaks, closed(key)).is_empty(), "somebody here has no socket");
    neighbours.counted(HERE);
    assert!(speaks.reach_all_who_wait());
    assert!(left(&speaks, closed(key)).is_empty());
    assert_eq!(ear.hear().await.unwrap(), [Hint::Closed(vec![key])]);
    neighbours.forget_census();
    assert!(!left(&speaks, closed(key)).is_empty(), "somebody begins to wait");
}

#[tokio::test]
async fn what_a_process_does_not_take_is_left_for_the_server_and_holds_nobody_up() {
    let (database, stuck, lively, key) = (database(), worker(), worker(), run());
    let (speaks, _ear) = process(&database, &[], true);
    let (_sleeps, _deaf) = process(&database, &[stuck], true);
    let (_listens, mut ear) = process(&database, &[lively], false);
    speaks.shared.neighbours.counted(HERE);
    let most = 100_000;
    let told = (0..most).take_while(|_| left(&speaks, inbox(stuck, key)).is_empty()).count();
    assert!((1..most).contains(&told), "{told}");
    assert!(!left(&speaks, closed(key)).is_empty());
    assert!(left(&speaks, inbox(lively, key)).is_empty());
    assert_eq!(ear.hear().await.unwrap(), [Hint::Inbox(vec![key])]);
}

/// Leaves a socket's name behind, as a process that is killed does.
fn killed(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    drop(UnixDatagram::bind(&path).unwrap());
    assert!(path.exists());
    path
}

#[tokio::test]
async fn whoever_was_killed_is_not_waited_for() {
    let (database, gone, key) = (database(), worker(), run());
    let (speaks, ear) = process(&database, &[], true);
    let (_waits, mut hears) = process(&database, &[], true);
    let waited = killed(&ear.street.folder, &waiting_name(Uuid::now_v7()));
    killed(&ear.street.folder, &worker_name(gone));
    speaks.shared.neighbours.counted(HERE);
    assert!(left(&speaks, closed(key)).is_empty(), "all who live were told");
    assert_eq!(hears.hear().await.unwrap(), [Hint::Closed(vec![key])]);
    assert!(!left(&speaks, inbox(gone, key)).is_empty());
    assert!(!waited.exists());
}

#[tokio::test]
async fn what_killed_processes_left_behind_is_removed_later() {
    let (_hints, ear) = process(&database(), &[], true);
    let (folder, machine) = (ear.street.folder.clone(), ear.machine);
    let (old, young) = (killed(&folder, "w_old"), killed(&folder, "w_young"));
    let long_ago = std::time::SystemTime::now() - 2 * SWEEP_AGE;
    // A socket cannot be opened, which setting its time would take.
    let turn = folder.join(format!("{TURN}0"));
    std::process::Command::new("touch").args(["-d", "2 hours ago"]).args([&old, &turn]).status().unwrap();
    sweep(folder.parent().unwrap(), machine);
    assert!(!old.exists() && young.exists() && ear.path.exists());
    assert!(turn.exists(), "those who have it open would take turns with nobody");
    fs::remove_file(young).unwrap();
    let empty = folder.with_file_name(format!("{}{}", prefix(machine), database()));
    fs::create_dir(&empty).unwrap();
    fs::copy(turn, empty.join(format!("{TURN}0"))).unwrap();
    fs::File::open(&empty).unwrap().set_modified(long_ago).unwrap();
    drop(ear);
    sweep(folder.parent().unwrap(), machine);
    assert!(!empty.exists() && !folder.exists());
}

#[tokio::test]
async fn processes_of_one_database_take_turns() {
    let (database, other) = (database(), database());
    let processes: Vec<_> = (0..=Turns::count()).map(|_| process(&database, &[], false)).collect();
    let mut taken = Vec::new();
    for (hints, _) in &processes {
        taken.push(hints.turn().await);
    }
    assert!(taken.pop().unwrap().is_none(), "there is none left for the last");
    assert!(taken.iter().all(Option::is_some));
    let (elsewhere, _ear) = process(&other, &[], false);
    assert!(elsewhere.turn().await.is_some(), "that database has its own");
    assert!(Hints::default().turn().await.is_none(), "nobody can be found who is not found");
}
