//! How much memory processes hold.

/// The resident memory of a process, in KiB; `None` if there is no such process. `self` is this one.
/// <https://man7.org/linux/man-pages/man5/proc_pid_status.5.html>
pub fn resident_kib(process: &str) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    resident.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// It in words.
pub fn megabytes(resident_kib: Option<u32>) -> String {
    resident_kib.map_or_else(|| "none".to_owned(), |kib| format!("{:.1} MB", f64::from(kib) * 1024.0 / 1_000_000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_some_memory_and_one_that_is_not_there_holds_none() {
        assert!(resident_kib("self").is_some_and(|kib| kib > 100));
        assert_eq!(resident_kib("0"), None);
        assert_eq!((megabytes(Some(1_000)), megabytes(None)), ("1.0 MB".to_owned(), "none".to_owned()));
    }
}
