//! Where the parts of a cluster lie.
//!
//! In the cluster's folder: `data` (Postgres's own), `socket`, `server.log`, `lock` and `users`. Two exceptions keep a
//! start from failing: a folder that the server's account cannot reach is replaced by one under `/var/tmp`, and a socket
//! path that is too long for the kernel (or for a URL) by a folder under the temporary directory. Both names derive from
//! the folder's path, so that the next start finds them again.

use std::env;
use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::account::Account;
use crate::error::DevPostgresError;
use crate::postmaster::SOCKET_NAME;

/// The longest socket path that every system takes: macOS has 104 bytes including the closing zero, Linux 108.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// The parts of a cluster on disk, and who owns them.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) base: PathBuf,
    pub(crate) account: Account,
    /// Says that the data lies elsewhere than asked, and why.
    pub(crate) notice: Option<String>,
}

impl Layout {
    /// Creates the cluster's folder where needed and decides who owns what is in it.
    pub(crate) fn at(wanted: &Path) -> Result<Self, DevPostgresError> {
        let base = create_base(wanted)?;
        if base.join("PG_VERSION").exists() {
            let reason =
                "it is the data of another Postgres; name an empty or new folder in DACAPO_DATA_DIR".to_owned();
            return Err(DevPostgresError::FolderUnusable { path: base, reason });
        }
        let account = Account::choose(&base.join("data"))?;
        if account.can_reach(&base) {
            return Ok(Self { base, account, notice: None });
        }
        let moved = create_base(&PathBuf::from(format!("/var/tmp/dacapo-postgres-{}", path_hash(&base))))?;
        check_owner(&moved, geteuid().as_raw())?;
        let notice = format!(
            "started by root, Postgres runs as user id {}, which cannot reach {}; its data is in {}",
            account.uid,
            base.display(),
            moved.display()
        );
        let account = Account::choose(&moved.join("data"))?;
        Ok(Self { base: moved, account, notice: Some(notice) })
    }

    /// Returns Postgres's data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.base.join("data")
    }

    /// Returns the server's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.base.join("server.log")
    }

    /// Returns the file on which every user holds a shared lock.
    pub(crate) fn users(&self) -> PathBuf {
        self.base.join("users")
    }

    /// Creates the folder of the socket, which only the server's account (and root) can enter.
    pub(crate) fn socket_dir(&self) -> Result<PathBuf, DevPostgresError> {
        let hash = path_hash(&self.base);
        let short = |parent: PathBuf| parent.join(format!("dacapo-pg-{hash}"));
        let choices = [self.base.join("socket"), short(env::temp_dir()), short(PathBuf::from("/tmp"))];
        let reachable = |dir: &PathBuf| dir.parent().is_some_and(|parent| self.account.can_reach(parent));
        let dir = choices.into_iter().find(|dir| fits_socket(dir) && reachable(dir));
        let dir = dir.ok_or_else(|| DevPostgresError::FolderUnusable {
            path: self.base.clone(),
            reason: "its path is too long for a socket and so is the temporary directory's; \
                     name a shorter folder in DACAPO_DATA_DIR"
                .to_owned(),
        })?;
        create_private(&dir, &self.account)?;
        Ok(dir)
    }
}

/// Creates a folder that only the account can enter, or checks that an existing one is its own.
pub(crate) fn create_private(dir: &Path, account: &Account) -> Result<(), DevPostgresError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => account.own(dir),
        // Of root's when a start was killed between creation and hand-over; nobody else could have made it so.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match check_owner(dir, account.uid) {
            Err(_) if account.dropped && check_owner(dir, 0).is_ok() => account.own(dir),
            checked => checked,
        },
        Err(error) => Err(DevPostgresError::io("create", dir)(error)),
    }
}

fn create_base(wanted: &Path) -> Result<PathBuf, DevPostgresError> {
    let is_new = !wanted.exists();
    fs::create_dir_all(wanted).map_err(DevPostgresError::io("create", wanted))?;
    if is_new {
        // Whatever the umask: the server's account passes through. What is private has its own folder inside.
        let open = Permissions::from_mode(0o755);
        fs::set_permissions(wanted, open).map_err(DevPostgresError::io("open to the server", wanted))?;
    }
    fs::canonicalize(wanted).map_err(DevPostgresError::io("resolve", wanted))
}

/// Refuses a folder that another user, or a link made by one, has put in a place that everybody can write to.
fn check_owner(dir: &Path, uid: u32) -> Result<(), DevPostgresError> {
    let metadata = fs::symlink_metadata(dir).map_err(DevPostgresError::io("look at", dir))?;
    if metadata.is_dir() && metadata.uid() == uid {
        return Ok(());
    }
    let reason = format!("it is not a folder of user id {uid}; remove it if it is a leftover");
    Err(DevPostgresError::FolderUnusable { path: dir.to_owned(), reason })
}

/// Tells whether a socket in this folder has a path that the kernel, a URL and a Postgres setting all take as it is.
fn fits_socket(dir: &Path) -> bool {
    let path = dir.join(SOCKET_NAME);
    let bytes = path.as_os_str().as_bytes();
    bytes.len() <= SOCKET_PATH_BYTES_MAX
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(byte))
}

/// Names a path in 16 hexadecimal digits (FNV-1a), the same in every version of this program.
fn path_hash(path: &Path) -> String {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", path.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_and_short_paths_hold_a_socket() {
        assert!(fits_socket(Path::new("/home/ana/my-project_2/.dacapo/postgres/socket")));
        assert!(!fits_socket(Path::new("/home/ana/my project")));
        assert!(!fits_socket(Path::new("/home/añá")));
        assert!(fits_socket(&PathBuf::from(format!("/{}", "x".repeat(88)))));
        assert!(!fits_socket(&PathBuf::from(format!("/{}", "x".repeat(89)))));
    }

    #[test]
    fn the_data_of_another_postgres_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("PG_VERSION"), "15\n").unwrap();
        let refused = Layout::at(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("the data of another Postgres"), "{refused}");
        assert!(!folder.path().join("data").exists());
    }

    #[test]
    fn a_link_in_place_of_the_socket_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let account = Account::choose(&folder.path().join("data")).unwrap();
        let link = folder.path().join("socket");
        std::os::unix::fs::symlink("/tmp", &link).unwrap();
        assert!(matches!(create_private(&link, &account), Err(DevPostgresError::FolderUnusable { .. })));
    }
}
