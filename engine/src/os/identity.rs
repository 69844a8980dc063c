//! Who this process is, so that the same machine can later tell whether it is still there.

use std::fs;

/// This process, and the run of the kernel that it lives in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Process id in its namespace.
    pub process: u64,
    /// `machine id/boot id/pid namespace`: process ids mean the same only where all three are equal.
    pub boot: String,
}

impl ProcessIdentity {
    /// The running process.
    pub fn current() -> Self {
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().replace('/', "_")).unwrap_or_default();
        let namespace = fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
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
        boot != other_boot || (namespace == other_namespace && !process_exists(other.process))
    }
}

fn process_exists(process: u64) -> bool {
    std::path::Path::new(&format!("/proc/{process}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

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
