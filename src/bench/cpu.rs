//! Processor time and memory of processes, as the operating system accounts them.

use std::{collections::BTreeSet, fs};

/// Clock ticks a second in `/proc/<pid>/stat`; Linux has shown 100 to user space since 2.6, whatever the kernel's own.
const TICKS_PER_SECOND: u64 = 100;

/// Where user and system time stand in proc(5), counted from 1, and those of children that have ended.
const OWN_TIMES: [usize; 2] = [14, 15];
const CHILDREN_TIMES: [usize; 2] = [16, 17];

/// The processor time of a process in microseconds; 0 where the system does not tell.
pub(super) fn micros(pid: u32) -> u64 {
    ticks(pid, &OWN_TIMES).unwrap_or(0) * (1_000_000 / TICKS_PER_SECOND)
}

/// The processor time of a process and of all that descend from it, those that have ended included.
pub(super) fn family_micros(root: u32) -> u64 {
    let living: u64 = family(root).into_iter().map(micros).sum();
    living + ticks(root, &CHILDREN_TIMES).unwrap_or(0) * (1_000_000 / TICKS_PER_SECOND)
}

/// The most memory that a process has held since [`forget_peak`], or since it began, in bytes.
pub(super) fn peak_memory(pid: u32) -> u64 {
    status_bytes(pid, "VmHWM:")
}

/// The memory that a process holds, in bytes.
pub(super) fn memory(pid: u32) -> u64 {
    status_bytes(pid, "VmRSS:")
}

/// Begins to look for this process's peak of memory anew, where the system can; else the old one stays.
pub(super) fn forget_peak() {
    // "5" resets the high-water mark (proc(5)); a system without it shows the peak of all scenarios so far.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The server behind a backend of Postgres, if it runs on this machine: the backend says its database in its title.
pub(super) fn server_of(backend: u32, database: &str) -> Option<u32> {
    let title = fs::read_to_string(format!("/proc/{backend}/cmdline")).ok()?;
    if !title.starts_with("postgres") || !title.contains(database) {
        return None;
    }
    parent(backend)
}

/// A process and all that descend from it.
fn family(root: u32) -> BTreeSet<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut family = BTreeSet::from([root]);
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(pid, parent)| family.contains(parent) && !family.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            return family;
        }
        family.extend(more);
    }
}

fn parent(pid: u32) -> Option<u32> {
    fields(pid)?.get(1)?.parse().ok()
}

fn status_bytes(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn ticks(pid: u32, times: &[usize]) -> Option<u64> {
    let fields = fields(pid)?;
    // Two fields stand before what `fields` begins with.
    times.iter().map(|field| fields.get(field - 3)?.parse::<u64>().ok()).sum()
}

/// The fields of a process's stat from the third on: those before may hold spaces.
fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_seen_with_its_time_and_memory() {
        let me = std::process::id();
        assert!(family(me).contains(&me));
        assert!(parent(me).is_some_and(|parent| family(parent).contains(&me)));
        assert!(memory(me) > 0);
        const HELD: usize = 64 << 20;
        // Written, so that it is held; and gone, so that only the peak can tell of it.
        drop(std::hint::black_box(vec![1_u8; HELD]));
        assert!(peak_memory(me) >= HELD as u64, "{} bytes", peak_memory(me));
        assert!(ticks(me, &OWN_TIMES).is_some());
        // Asked first, since time goes on.
        let own = micros(me);
        assert!(family_micros(me) >= own);
        assert_eq!(server_of(me, "postgres"), None, "this is no Postgres");
    }
}
