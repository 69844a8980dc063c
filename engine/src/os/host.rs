//! The machine and this process.

use rustix::io::Errno;
use rustix::process::Pid;

/// What the machine is called; bytes that aren't UTF-8 are replaced.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The user whose rights this process has.
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The group whose rights this process has.
pub fn effective_gid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// Number of this process.
pub fn process_id() -> u32 {
    std::process::id()
}

/// What tells this run of the machine from others; `None` where the kernel doesn't say.
pub fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim_end().to_owned())
}

/// Whether a process with that number runs now; it may be another than the one that was meant.
pub fn process_is_alive(process_id: u32) -> bool {
    let Some(process_id) = i32::try_from(process_id).ok().and_then(Pid::from_raw) else {
        return false;
    };
    // EPERM: it runs, for somebody else.
    matches!(rustix::process::test_kill_process(process_id), Ok(()) | Err(Errno::PERM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_a_reaped_one_does_not() {
        assert!(process_is_alive(process_id()));
        assert!(process_is_alive(1));
        assert!(!process_is_alive(0));
        assert!(!process_is_alive(u32::MAX));
        let mut child = std::process::Command::new("true").spawn().expect("`true` is everywhere");
        let process_id = child.id();
        child.wait().expect("it ends");
        assert!(!process_is_alive(process_id));
    }

    #[test]
    fn the_machine_has_a_name_and_a_boot() {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("Linux has it");
        assert_eq!(host_name(), name.trim_end());
        assert_eq!(boot_id().map(|id| id.len()), Some(36));
    }
}
