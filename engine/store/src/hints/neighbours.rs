//! Hints between processes of one machine: datagrams from socket to socket, instead of a NOTIFY, which goes through the server
//! and wakes every process that listens to the database.
//!
//! A process that listens binds a socket in the folder of its database, which only its user can enter, under names that say
//! what it wants to hear: `w_`worker for each of its workers, and `c_`process once it waits for runs. A worker lives in one
//! process, so whoever reaches its socket need not notify. That a run has closed concerns whoever waits for it, here or
//! elsewhere, so the news of it go without a NOTIFY only while all who listen are known to be here. Each of them holds an
//! advisory lock that names its machine; a [`Census`] counts these locks, and whoever begins to listen makes the others forget
//! the last one.
//!
//! What cannot be said here (no folder, a full socket, a process that is gone) is notified.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
        net::UnixDatagram,
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use dacapo_core::{WorkerId, store::Hint};
use socket2::SockRef;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    Hints, News, lock,
    turns::{TURN, Turn, Turns},
    wire,
};

/// The longest datagram. A flush of starts goes into one with all of its runs, so that the worker gets all of them or none.
const DATAGRAM_BYTES_MAX: usize = 160 * 1024;

/// What may lie in a socket to another process, as far as the system lets it be set; Linux counts twice as much by itself.
const WAY_BYTES: usize = 4 * DATAGRAM_BYTES_MAX;

/// Sockets have names of less than 108 bytes.
const PATH_BYTES_MAX: usize = 107;

/// How long a census is good for, and after what time the next one is wanted.
const CENSUS_TIME: Duration = Duration::from_secs(5);
const CENSUS_AGAIN: Duration = Duration::from_secs(2);

/// A socket to another process is closed when it was not used for so long and one to a further process is opened.
const WAY_TIME: Duration = Duration::from_secs(60);

/// Whatever is younger in the folders may be about to be used.
const SWEEP_AGE: Duration = Duration::from_secs(60);

const SWEEP_AGE_OF_OTHERS: Duration = Duration::from_secs(7 * 86_400);

const PROCESS: &str = "p_";
const WORKER: &str = "w_";
const WAITING: &str = "c_";

/// Everybody who listens for runs that close, or for updates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Census {
    /// Those whose lock names this machine.
    pub(super) here: i64,
    /// The others.
    pub(super) elsewhere: i64,
}

/// The processes on this machine that work with the same database.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// Where they are found, while this process can be found there itself.
    street: Mutex<Option<Arc<Street>>>,
    /// Rung when a census is wanted.
    pub(super) census_wanted: Notify,
}

/// The folder where this process has its socket, and ways to others.
#[derive(Debug)]
struct Street {
    folder: PathBuf,
    /// The name of this process.
    own: Uuid,
    ways: Mutex<HashMap<String, Way>>,
    /// What the last census found; `None` once it is forgotten.
    waiting: Mutex<Option<Waiting>>,
    turns: Arc<Turns>,
}

/// A socket to another process. Each has a buffer of its own, so that one who does not read is in nobody's way.
#[derive(Debug)]
struct Way {
    socket: UnixDatagram,
    used: Instant,
}

/// Who waits for runs on this machine.
#[derive(Debug)]
struct Waiting {
    counted: Instant,
    /// Their names, if nobody else does.
    all_here: Option<Arc<[String]>>,
}

impl Neighbours {
    /// Tells neighbours what concerns them and nobody else, and takes that from the news. What concerns workers of this process
    /// is not among them any more.
    pub(super) fn tell(&self, news: &mut News) {
        let Some(street) = lock(&self.street).clone() else { return };
        for worker in news.workers() {
            // One by one: what was taken must not come again, or the worker would think that it had all of a flush.
            for of_worker in news.take_worker(worker).by_flush() {
                if !street.say(&worker_name(worker), &datagrams(&of_worker)) {
                    news.merge(of_worker);
                }
            }
        }
        if news.tells_of_runs()
            && let Some(names) = self.who_waits(&street)
        {
            let of_runs = news.take_of_runs();
            if !street.say_to_all(&names, &datagrams(&of_runs)) {
                news.merge(of_runs);
            }
        }
    }

    /// Says whether all who wait for runs hear of them without a NOTIFY.
    pub(super) fn reach_all_who_wait(&self) -> bool {
        let street = lock(&self.street).clone();
        street.is_some_and(|street| self.who_waits(&street).is_some())
    }

    /// Says whether a worker of another process is here, or was when it was last told something.
    pub(super) fn reach(&self, worker: WorkerId) -> bool {
        let street = lock(&self.street).clone();
        street.is_some_and(|street| street.say(&worker_name(worker), &[]))
    }

    /// Waits for a turn among the processes of this machine; nothing where there are no others, or it does not come in time.
    pub(super) async fn turn(&self) -> Option<Turn> {
        let turns = lock(&self.street).as_ref().map(|street| Arc::clone(&street.turns))?;
        turns.take().await
    }

    /// The names of those who wait for runs, if all of them are here.
    fn who_waits(&self, street: &Street) -> Option<Arc<[String]>> {
        let waiting = lock(&street.waiting);
        let age = waiting.as_ref().map(|waiting| waiting.counted.elapsed());
        if age.is_none_or(|age| age > CENSUS_AGAIN) {
            self.census_wanted.notify_one();
        }
        age.filter(|age| *age < CENSUS_TIME).and_then(|_| waiting.as_ref()?.all_here.clone())
    }

    /// Takes note of who listens.
    pub(super) fn counted(&self, census: Census) {
        let Some(street) = lock(&self.street).clone() else { return };
        let names = street.names_of_waiting();
        // Somebody may hold the lock whose socket was removed by whatever cleans folders for temporary files.
        let all_here = census.elsewhere == 0 && census.here <= names.len() as i64;
        let all_here = all_here.then(|| names.into());
        *lock(&street.waiting) = Some(Waiting { counted: Instant::now(), all_here });
    }

    /// Forgets who listens: somebody begins to.
    pub(super) fn forget_census(&self) {
        if let Some(street) = &*lock(&self.street) {
            *lock(&street.waiting) = None;
        }
    }
}

impl Street {
    /// The names of those who wait for runs, this process among them.
    fn names_of_waiting(&self) -> Vec<String> {
        entries(&self.folder)
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with(WAITING))
            .collect()
    }

    /// Says something to all others of these names. False: somebody who lives did not take it.
    fn say_to_all(&self, names: &[String], datagrams: &[Vec<u8>]) -> bool {
        let own = waiting_name(self.own);
        let mut others = names.iter().filter(|name| **name != own);
        others.all(|name| self.say(name, datagrams) || !self.folder.join(name).exists())
    }

    /// Says something to one process. False: it did not take all of it.
    fn say(&self, name: &str, datagrams: &[Vec<u8>]) -> bool {
        let mut ways = lock(&self.ways);
        if let Some(way) = ways.get_mut(name) {
            match way.say(datagrams) {
                Ok(()) => return true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // The process is gone, or has another socket since it connected to the server anew.
                Err(_) => drop(ways.remove(name)),
            }
        }
        match Way::to(&self.folder.join(name)) {
            Ok(mut way) => {
                let said = way.say(datagrams).is_ok();
                // Workers come and go, and nobody says so here.
                ways.retain(|_, way| way.used.elapsed() < WAY_TIME);
                ways.insert(name.to_owned(), way);
                said
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::ConnectionRefused {
                    // Its process was killed.
                    let _ = fs::remove_file(self.folder.join(name));
                }
                false
            }
        }
    }
}

impl Way {
    fn to(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        SockRef::from(&socket).set_send_buffer_size(WAY_BYTES)?;
        socket.connect(path)?;
        Ok(Self { socket, used: Instant::now() })
    }

    fn say(&mut self, datagrams: &[Vec<u8>]) -> io::Result<()> {
        self.used = Instant::now();
        datagrams.iter().try_for_each(|datagram| self.socket.send(datagram).map(drop))?;
        metrics::counter!("dacapo_hints_direct_total").increment(datagrams.len() as u64);
        Ok(())
    }
}

fn datagrams(news: &News) -> Vec<Vec<u8>> {
    let (channels, payloads) = wire::notifications(news, DATAGRAM_BYTES_MAX);
    channels.iter().zip(&payloads).map(|(channel, payload)| format!("{channel}\n{payload}").into_bytes()).collect()
}

fn worker_name(worker: WorkerId) -> String {
    format!("{WORKER}{}", worker.0.simple())
}

fn waiting_name(own: Uuid) -> String {
    format!("{WAITING}{}", own.simple())
}

/// The socket on which this process hears its neighbours, while it lives.
#[derive(Debug)]
pub(super) struct Ear {
    hints: Hints,
    street: Arc<Street>,
    socket: tokio::net::UnixDatagram,
    path: PathBuf,
    buffer: Vec<u8>,
    names: BTreeSet<String>,
    /// What all processes that can reach this folder have in common.
    pub(super) machine: i32,
}

impl Ear {
    /// Opens the socket of this process in the folder of a database, whose name no other database that can be reached from
    /// this machine has.
    pub(super) fn open(hints: &Hints, database: &str) -> io::Result<Self> {
        let root = root()?;
        let machine = machine(&root)?;
        let folder = root.join(format!("{}{database}", prefix(machine)));
        sweep(&root, machine);
        let own = Uuid::now_v7();
        let path = folder.join(format!("{PROCESS}{}", own.simple()));
        if path.as_os_str().len() > PATH_BYTES_MAX {
            return Err(io::Error::other(format!("{} is too long a name for a socket", path.display())));
        }
        let bind = || make_folder(&folder).and_then(|()| tokio::net::UnixDatagram::bind(&path));
        let socket = match bind() {
            // Who left last has removed it in this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => bind()?,
            bound => bound?,
        };
        // Those who clean folders for temporary files leave alone what has this bit; the names below have it too.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o1700))?;
        let (ways, waiting) = (Mutex::default(), Mutex::default());
        let turns = Arc::new(Turns::open(&folder)?);
        let street = Arc::new(Street { folder, own, ways, waiting, turns });
        *lock(&hints.shared.neighbours.street) = Some(Arc::clone(&street));
        let buffer = vec![0; DATAGRAM_BYTES_MAX + 1024];
        Ok(Self { hints: hints.clone(), street, socket, path, buffer, names: BTreeSet::new(), machine })
    }

    /// Answers to the names that are wanted, and to no others.
    pub(super) fn answer_to(&mut self, workers: &BTreeSet<WorkerId>, waits: bool) -> io::Result<()> {
        let mut names: BTreeSet<String> = workers.iter().map(|worker| worker_name(*worker)).collect();
        names.extend(waits.then(|| waiting_name(self.street.own)));
        for gone in self.names.difference(&names) {
            let _ = fs::remove_file(self.street.folder.join(gone));
        }
        self.names.retain(|name| names.contains(name));
        for new in names {
            if !self.names.contains(&new) {
                let path = self.street.folder.join(&new);
                // One of an earlier connection of this process may have been left.
                let _ = fs::remove_file(&path);
                fs::hard_link(&self.path, path)?;
                self.names.insert(new);
            }
        }
        Ok(())
    }

    /// Waits for what a neighbour says.
    pub(super) async fn hear(&mut self) -> io::Result<Vec<Hint>> {
        let length = self.socket.recv(&mut self.buffer).await?;
        let said = std::str::from_utf8(&self.buffer[..length]).ok().and_then(|text| text.split_once('\n'));
        Ok(said.map_or_else(|| vec![Hint::Everything], |(channel, payload)| wire::read(channel, payload)))
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        *lock(&self.hints.shared.neighbours.street) = None;
        for name in &self.names {
            let _ = fs::remove_file(self.street.folder.join(name));
        }
        let _ = fs::remove_file(&self.path);
        remove_deserted(&self.street.folder);
    }
}

/// The folder of this user's sockets.
fn root() -> io::Result<PathBuf> {
    let user = fs::metadata("/proc/self")?.uid();
    let root = std::env::temp_dir().join(format!("dacapo-{user}"));
    make_folder(&root)?;
    let folder = fs::symlink_metadata(&root)?;
    if !folder.is_dir() || folder.uid() != user || folder.mode() & 0o077 != 0 {
        return Err(io::Error::other(format!("{} is not a folder that only this user can enter", root.display())));
    }
    Ok(root)
}

fn make_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// What the folders of a machine's databases begin with: the folder above may be shared by machines, whose sockets look like
/// those of killed processes to each other.
fn prefix(machine: i32) -> String {
    format!("{machine:08x}-")
}

/// Removes what processes that were killed have left behind.
fn sweep(root: &Path, machine: i32) {
    let is_old = |entry: &fs::DirEntry, age: Duration| {
        let modified = entry.metadata().and_then(|it| it.modified()).ok().and_then(|at| at.elapsed().ok());
        modified.is_some_and(|it| it > age)
    };
    for folder in entries(root) {
        // Those of other machines are of earlier starts of this one, most likely.
        let is_own = folder.file_name().to_string_lossy().starts_with(&prefix(machine));
        if !is_own && !is_old(&folder, SWEEP_AGE_OF_OTHERS) {
            continue;
        }
        for name in entries(&folder.path()).filter(|name| is_old(name, SWEEP_AGE) && !is_turn(name)) {
            if Way::to(&name.path()).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
                let _ = fs::remove_file(name.path());
            }
        }
        if is_old(&folder, SWEEP_AGE) {
            remove_deserted(&folder.path());
        }
    }
}

/// What is in a folder, as far as it can be seen.
fn entries(folder: &Path) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

fn is_turn(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with(TURN)
}

/// Removes a folder in which nobody has a socket. Who comes in this moment may miss the turns of others, or makes it anew.
fn remove_deserted(folder: &Path) {
    let left: Vec<_> = entries(folder).collect();
    if left.iter().all(is_turn) {
        for turn in left {
            let _ = fs::remove_file(turn.path());
        }
        // Only if it is empty.
        let _ = fs::remove_dir(folder);
    }
}

/// A number that those processes have in common which can reach a folder's sockets: one kernel, one folder. It is never 0,
/// which is for those whom nobody can reach.
fn machine(root: &Path) -> io::Result<i32> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let folder = fs::metadata(root)?;
    let mut hasher = DefaultHasher::new();
    (boot, folder.dev(), folder.ino()).hash(&mut hasher);
    Ok(hasher.finish() as i32 | 1)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
