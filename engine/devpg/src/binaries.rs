//! Finding the server's programs.
//!
//! A folder counts when it holds both `initdb` and `postgres` and its version is supported. `/usr/bin` on Debian holds
//! wrappers of the client programs and sometimes a link to `postgres`, so links are resolved and every folder is tried
//! by running `postgres -V` in it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::child;
use crate::error::DevPostgresError;

/// The oldest supported major version: what the store's SQL is written for.
pub(crate) const OLDEST_MAJOR: u32 = 14;

/// How long `postgres -V` and `pg_config` may take; they print a line, but from a cold disk.
const QUESTION_LIMIT: Duration = Duration::from_secs(20);

/// Where distributions put versioned folders: (parent, prefix of the folder's name before the version, rest of the path).
const VERSIONED_FOLDERS: [(&str, &str, &str); 7] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ("/opt/local/lib", "postgresql", "bin"),
];

/// Where unversioned installations put their programs, for when PATH does not name them.
const PLAIN_FOLDERS: [&str; 3] = ["/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin"];

/// The programs of one PostgreSQL installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
    major: u32,
}

impl Binaries {
    /// Finds the first installation: `DACAPO_PG_BIN`, `pg_config --bindir`, PATH, the usual folders with the newest first.
    ///
    /// # Errors
    /// [`DevPostgresError::BinariesNotFound`] or, when `DACAPO_PG_BIN` is set, [`DevPostgresError::BinariesUnusable`].
    pub fn find() -> Result<Self, DevPostgresError> {
        Self::find_for(None)
    }

    /// Returns the folder that holds `initdb` and `postgres`, and often `psql`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the major version, 15 for PostgreSQL 15.3.
    pub fn major_version(&self) -> u32 {
        self.major
    }

    /// Whether a library that the server can load comes with this installation.
    pub(crate) fn has_library(&self, name: &str) -> bool {
        let Some(prefix) = self.dir.parent() else { return false };
        let folders = ["lib", "lib/postgresql", "lib64", "lib64/pgsql"].map(|folder| prefix.join(folder));
        folders
            .iter()
            .any(|folder| ["so", "dylib"].iter().any(|ending| folder.join(format!("{name}.{ending}")).is_file()))
    }

    /// Finds the first installation that can serve the data given by its folder and major version.
    pub(crate) fn find_for(data: Option<(&Path, u32)>) -> Result<Self, DevPostgresError> {
        if let Some(dir) = env::var_os("DACAPO_PG_BIN").filter(|dir| !dir.is_empty()) {
            let dir = PathBuf::from(dir);
            let found = Self::in_dir(&dir).ok_or(DevPostgresError::BinariesUnusable { dir })?;
            return Self::choose(vec![found], &[], data);
        }
        let folders = folders(env::var_os("PATH"));
        let found = folders.iter().filter_map(|dir| Self::in_dir(dir));
        match data {
            None => Self::choose(found.take(1).collect(), &folders, None),
            Some(_) => Self::choose(found.collect(), &folders, data),
        }
    }

    fn choose(found: Vec<Self>, folders: &[PathBuf], data: Option<(&Path, u32)>) -> Result<Self, DevPostgresError> {
        let installed = comma_separated(found.iter().map(|binaries| binaries.major.to_string()));
        let nothing = found.is_empty();
        let fits = |binaries: &Self| data.is_none_or(|(_, major)| binaries.major == major);
        match (found.into_iter().find(fits), data) {
            (Some(binaries), _) => Ok(binaries),
            (None, Some((data_dir, data_major))) if !nothing => {
                Err(DevPostgresError::VersionMismatch { data_dir: data_dir.to_owned(), data_major, installed })
            }
            _ => {
                let looked_in = comma_separated(folders.iter().map(|dir| dir.display().to_string()));
                Err(DevPostgresError::BinariesNotFound { looked_in })
            }
        }
    }

    fn in_dir(dir: &Path) -> Option<Self> {
        let postgres = dir.join("postgres");
        if !dir.join("initdb").is_file() || !postgres.is_file() {
            return None;
        }
        let (status, printed) = child::run(Command::new(postgres).arg("-V"), QUESTION_LIMIT).ok()?;
        let major =
            parse_version(&printed).filter(|major| status.is_some_and(|s| s.success()) && *major >= OLDEST_MAJOR)?;
        Some(Self { dir: dir.to_owned(), major })
    }
}

/// Lists the folders to try, each once, in the order in which they are tried.
fn folders(path: Option<OsString>) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok((Some(status), printed)) = child::run(Command::new("pg_config").arg("--bindir"), QUESTION_LIMIT)
        && status.success()
    {
        folders.push(PathBuf::from(printed.trim()));
    }
    for dir in path.iter().flat_map(env::split_paths) {
        folders.extend(resolved_folders(&dir));
    }
    for (parent, prefix, rest) in VERSIONED_FOLDERS {
        folders.extend(versioned_folders(Path::new(parent), prefix, rest));
    }
    folders.extend(PLAIN_FOLDERS.iter().map(Path::new).flat_map(resolved_folders));
    let mut seen = std::collections::HashSet::new();
    folders.retain(|dir| seen.insert(dir.clone()));
    folders
}

/// Gives the folders in which the programs found in a folder really are.
fn resolved_folders(dir: &Path) -> Vec<PathBuf> {
    let programs = ["postgres", "initdb", "pg_ctl"].iter().filter_map(|name| fs::canonicalize(dir.join(name)).ok());
    programs.filter_map(|program| program.parent().map(Path::to_owned)).collect()
}

fn versioned_folders(parent: &Path, prefix: &str, rest: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let version = name.to_str().and_then(|name| name.strip_prefix(prefix)).and_then(leading_number);
        found.extend(version.map(|version| (version, entry.path().join(rest))));
    }
    found.sort_by(|left, right| right.cmp(left));
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// Reads the major version from `postgres (PostgreSQL) 15.3 (Debian …)`.
fn parse_version(printed: &str) -> Option<u32> {
    leading_number(printed.split_once("(PostgreSQL) ")?.1)
}

/// Reads the number at the start of a text.
pub(crate) fn leading_number(text: &str) -> Option<u32> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().ok()
}

fn comma_separated(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_every_form() {
        assert_eq!(parse_version("postgres (PostgreSQL) 15.3 (Debian 15.3-1)\n"), Some(15));
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(parse_version("sh: not found"), None);
    }

    #[test]
    fn newest_versioned_folder_comes_first() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["pg-9.6", "pg-15", "pg-14", "other-99"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let found = versioned_folders(parent.path(), "pg-", "bin");
        let expected: Vec<_> = ["pg-15", "pg-14", "pg-9.6"].map(|name| parent.path().join(name).join("bin")).into();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_link_to_one_program_leads_to_the_folder_of_all() {
        let real = tempfile::tempdir().unwrap();
        let linked = tempfile::tempdir().unwrap();
        fs::write(real.path().join("postgres"), "").unwrap();
        std::os::unix::fs::symlink(real.path().join("postgres"), linked.path().join("postgres")).unwrap();
        assert_eq!(resolved_folders(linked.path()), [fs::canonicalize(real.path()).unwrap()]);
    }

    #[test]
    fn nothing_installed_says_what_to_install() {
        let text = Binaries::choose(vec![], &["/usr/bin".into()], None).unwrap_err().to_string();
        for part in ["looked in /usr/bin", "apt-get install", "dnf install", "brew install", "DATABASE_URL"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn data_of_another_major_version_is_refused() {
        let newer = Binaries { dir: "/new".into(), major: 17 };
        let older = Binaries { dir: "/old".into(), major: 15 };
        let data = Path::new("/data");
        let both = vec![newer.clone(), older.clone()];
        assert_eq!(Binaries::choose(both, &[], Some((data, 15))).unwrap(), older);
        let refused = Binaries::choose(vec![newer], &[], Some((data, 15))).unwrap_err().to_string();
        assert!(refused.contains("written by PostgreSQL 15") && refused.contains("(17)"), "{refused}");
    }
}
