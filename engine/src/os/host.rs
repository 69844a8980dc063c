//! The machine and this process, and whether another one is still there.

use rustix::io::Errno;
use rustix::process::Pid;

/// The user whose rights this process has.
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The group whose rights this process has.
pub fn effective_gid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// Whether a process with that number runs now; it may be another than the one that was meant.
pub fn process_is_alive(process_id: u64) -> bool {
    let Some(process_id) = i32::try_from(process_id).ok().and_then(Pid::from_raw) else {
        return false;
    };
    // EPERM: it runs, for somebody else.
    matches!(rustix::process::test_kill_process(process_id), Ok(()) | Err(Errno::PERM))
}

/// This process, and the run of the kernel that it lives in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Process id in its namespace.
    pub process: u64,
    /// `machine id/boot id/pid namespace`: process ids mean the same only where all three are equal.
    pub boot: String,
}

impl ProcessIdentity {
    /// Whether `other`, seen from this process, is there: a process of that number is, in the same run of this machine. It
    /// may be another one that has got its number.
    pub fn knows_running(&self, other: &Self) -> bool {
        !self.boot.is_empty() && self.boot == other.boot && process_is_alive(other.process)
    }

    /// The running process.
    pub fn current() -> Self {
        let read =
            |path: &str| std::fs::read_to_string(path).map(|text| text.trim().replace('/', "_")).unwrap_or_default();
        let namespace =
            std::fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
        let boot = format!("{}/{}/{namespace}", read("/etc/machine-id"), read("/proc/sys/kernel/random/boot_id"));
        Self { process: u64::from(std::process::id()), boot }
    }

    /// Whether `other`, seen from this process, has certainly ended: it ran on this machine, and either the
    /// machine was started anew since or its process id is free again. When in doubt, it has not.
    pub fn knows_ended(&self, other: &Self) -> bool {
        let parts = |boot: &str| {
            let mut parts = boot.splitn(3, '/').map(str::to_owned);
            [parts.next(), parts.next(), parts.next()].map(Option::unwrap_or_default)
        };
        let [machine, boot, namespace] = parts(&self.boot);
        let [other_machine, other_boot, other_namespace] = parts(&other.boot);
        if machine.is_empty() || boot.is_empty() || machine != other_machine || other_boot.is_empty() {
            return false;
        }
        boot != other_boot || (namespace == other_namespace && !process_is_alive(other.process))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_a_reaped_one_does_not() {
        assert!(process_is_alive(ProcessIdentity::current().process));
        assert!(process_is_alive(1));
        assert!(!process_is_alive(0));
        assert!(!process_is_alive(u64::MAX));
        let mut child = std::process::Command::new("true").spawn().expect("`true` is everywhere");
        let process_id = child.id();
        child.wait().expect("it ends");
        assert!(!process_is_alive(process_id.into()));
    }

    #[test]
    fn only_a_process_of_this_machine_that_is_gone_has_ended() {
        let me = ProcessIdentity { process: u64::from(std::process::id()), boot: "machine/boot/pid".into() };
        let other = |process, boot: &str| ProcessIdentity { process, boot: boot.into() };
        assert!(!me.knows_ended(&me));
        assert!(me.knows_ended(&other(u64::MAX, "machine/boot/pid")));
        assert!(me.knows_ended(&other(me.process, "machine/earlier/pid")));
        assert!(!me.knows_ended(&other(u64::MAX, "machine/boot/container")));
        assert!(!me.knows_ended(&other(u64::MAX, "elsewhere/boot/pid")));
        assert!(!me.knows_ended(&other(u64::MAX, "")));
    }
}
