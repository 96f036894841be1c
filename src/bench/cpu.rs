//! Processor time and memory of processes, as the operating system accounts them.

use std::{collections::BTreeSet, fs};

/// Clock ticks a second in `/proc/<pid>/stat`; Linux has shown 100 to user space since 2.6, whatever the kernel's own.
const TICKS_PER_SECOND: u64 = 100;

/// The processor time of processes in microseconds; 0 where the system does not tell.
pub(super) fn micros(pids: &BTreeSet<u32>) -> u64 {
    pids.iter().filter_map(|pid| ticks(*pid)).sum::<u64>() * (1_000_000 / TICKS_PER_SECOND)
}

/// A process and all that descend from it.
pub(super) fn family(root: u32) -> BTreeSet<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, fields(pid)?.get(1)?.parse().ok()?)))
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

/// The most memory that a process has held, in bytes.
pub(super) fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn ticks(pid: u32) -> Option<u64> {
    let fields = fields(pid)?;
    // The 14th and 15th field of proc(5): user and system time; two stand before what `fields` begins with.
    let time = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    Some(time(14)? + time(15)?)
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
        assert!(peak_memory(me) > 0);
        assert!(ticks(me).is_some());
    }
}
