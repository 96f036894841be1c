//! The account that the server runs as.
//!
//! Postgres refuses to run as root, so root hands it to another account: the one that owns the data already, else
//! `postgres`, else `nobody`. Everybody else runs it as themselves.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{User, geteuid};

use crate::error::DevPostgresError;

/// The account of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    gid: u32,
    /// Whether we are root and the server is not.
    pub(crate) dropped: bool,
}

impl Account {
    /// Chooses the account for data in `data_dir`, which need not exist yet.
    pub(crate) fn choose(data_dir: &Path) -> Result<Self, DevPostgresError> {
        let unusable = |reason| DevPostgresError::FolderUnusable { path: data_dir.to_owned(), reason };
        let us = geteuid();
        let owner = fs::metadata(data_dir).ok().map(|metadata| (metadata.uid(), metadata.gid()));
        match owner {
            Some((uid, _)) if !us.is_root() && uid != us.as_raw() => Err(unusable(format!(
                "it belongs to user id {uid} and this is user id {us}; \
                 start as that user, delete the folder, or name another in DACAPO_DATA_DIR"
            ))),
            _ if !us.is_root() => Ok(Self { uid: us.as_raw(), gid: nix::unistd::getegid().as_raw(), dropped: false }),
            Some((uid, gid)) if uid != 0 => Ok(Self { uid, gid, dropped: true }),
            _ => {
                let known = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
                let user = known.ok_or_else(|| {
                    unusable(
                        "Postgres does not run as root and there is no user `postgres` or `nobody`; \
                              start as another user"
                            .to_owned(),
                    )
                })?;
                Ok(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw(), dropped: true })
            }
        }
    }

    /// Returns the same account for what runs beside the server with our own rights.
    pub(crate) fn for_ourselves(self) -> Self {
        Self { dropped: false, ..self }
    }

    /// Prepares a command that runs as this account, cut off from our terminal and our Postgres settings.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // Its own process group: Ctrl-C and a kill of our group are for us, and only we decide when the server stops.
        command.current_dir("/").stdin(Stdio::null()).process_group(0).env("LC_ALL", "C");
        for name in ["PGDATA", "PGPORT", "PGHOST", "PGUSER", "PGOPTIONS", "PGDATABASE", "PGTZ"] {
            command.env_remove(name);
        }
        if self.dropped {
            // The standard library also empties the supplementary groups when root sets a user id.
            command.gid(self.gid).uid(self.uid);
        }
        command
    }

    /// Gives a file or folder to this account.
    pub(crate) fn own(&self, path: &Path) -> Result<(), DevPostgresError> {
        if !self.dropped {
            return Ok(());
        }
        chown(path, Some(self.uid), Some(self.gid)).map_err(DevPostgresError::io("change the owner of", path))
    }

    /// Tells whether this account may pass through a folder and all its parents.
    pub(crate) fn can_reach(&self, dir: &Path) -> bool {
        // As ourselves we have what rights we have, also by groups and access lists; trying will tell.
        !self.dropped
            || dir.ancestors().all(|ancestor| fs::metadata(ancestor).is_ok_and(|metadata| self.may_search(&metadata)))
    }

    fn may_search(&self, metadata: &fs::Metadata) -> bool {
        let shift = match (metadata.uid() == self.uid, metadata.gid() == self.gid) {
            (true, _) => 6,
            (false, true) => 3,
            (false, false) => 0,
        };
        metadata.mode() >> shift & 1 == 1
    }
}
