//! Names of objects: the only ones that exist. Spec chapter 2.

use std::fmt;

use crate::id::{ClientId, EpochId, IndexId, PackId, ProofId, PruneId, SessionId, SlotId, SnapshotId};

/// The name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectName {
    /// The parameters.
    Config,
    /// A key slot.
    Key(SlotId),
    /// A pack.
    Pack(PackId),
    /// An index object.
    Index(IndexId),
    /// A snapshot.
    Snapshot(SnapshotId),
    /// A session's beginning.
    Intent(SessionId),
    /// A session's end.
    Register(SessionId),
    /// The record of a forgotten snapshot.
    Forgotten(SnapshotId),
    /// What came of a trial restore.
    Proof(ProofId),
    /// What a prune means to remove.
    PrunePlan(PruneId),
    /// What a prune decided in the end.
    PruneState(PruneId),
    /// A prune is over.
    PruneDone(PruneId),
    /// Bytes that a prune may delete when the storage is full.
    PruneReserve,
    /// Who may add snapshots and read none.
    Client(ClientId),
    /// What counts of such a client that has ended.
    ClientEnd(ClientId),
    /// A former root secret.
    Root(EpochId),
}

/// What can be listed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectFamily {
    /// `config` alone.
    Config,
    /// Key slots.
    Keys,
    /// Packs.
    Packs,
    /// Index objects.
    Indexes,
    /// Snapshots.
    Snapshots,
    /// Intents and registers.
    Sessions,
    /// Records of forgotten snapshots.
    Forgotten,
    /// Proofs.
    Proofs,
    /// What prune plans, decides and has done; its reserve.
    Prune,
    /// Clients that may only add, and their ends.
    Clients,
    /// Former root secrets.
    Roots,
}

impl ObjectFamily {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Config,
        Self::Keys,
        Self::Packs,
        Self::Indexes,
        Self::Snapshots,
        Self::Sessions,
        Self::Forgotten,
        Self::Proofs,
        Self::Prune,
        Self::Clients,
        Self::Roots,
    ];

    /// The directory, without slashes; empty for `config`.
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Config => "",
            Self::Keys => "keys",
            Self::Packs => "packs",
            Self::Indexes => "index",
            Self::Snapshots => "snapshots",
            Self::Sessions => "sessions",
            Self::Forgotten => "forgotten",
            Self::Proofs => "proofs",
            Self::Prune => "prune",
            Self::Clients => "clients",
            Self::Roots => "roots",
        }
    }
}

impl ObjectName {
    /// The family that a list finds it in.
    pub fn family(&self) -> ObjectFamily {
        match self {
            Self::Config => ObjectFamily::Config,
            Self::Key(_) => ObjectFamily::Keys,
            Self::Pack(_) => ObjectFamily::Packs,
            Self::Index(_) => ObjectFamily::Indexes,
            Self::Snapshot(_) => ObjectFamily::Snapshots,
            Self::Intent(_) | Self::Register(_) => ObjectFamily::Sessions,
            Self::Forgotten(_) => ObjectFamily::Forgotten,
            Self::Proof(_) => ObjectFamily::Proofs,
            Self::PrunePlan(_) | Self::PruneState(_) | Self::PruneDone(_) | Self::PruneReserve => ObjectFamily::Prune,
            Self::Client(_) | Self::ClientEnd(_) => ObjectFamily::Clients,
            Self::Root(_) => ObjectFamily::Roots,
        }
    }

    /// The directory that it is in, with slashes between and none at the ends, and its last part.
    pub fn split(&self) -> (String, String) {
        match self {
            Self::Config => (String::new(), "config".into()),
            Self::Key(id) => ("keys".into(), id.to_hex()),
            Self::Pack(id) => {
                let hex = id.to_hex();
                (format!("packs/{}", &hex[..2]), hex)
            }
            Self::Index(id) => ("index".into(), id.to_hex()),
            Self::Snapshot(id) => ("snapshots".into(), id.to_hex()),
            Self::Intent(id) => (format!("sessions/{id}"), "intent".into()),
            Self::Register(id) => (format!("sessions/{id}"), "register".into()),
            Self::Forgotten(id) => ("forgotten".into(), id.to_hex()),
            Self::Proof(id) => ("proofs".into(), id.to_hex()),
            Self::PrunePlan(id) => (format!("prune/{id}"), "plan".into()),
            Self::PruneState(id) => (format!("prune/{id}"), "state".into()),
            Self::PruneDone(id) => (format!("prune/{id}"), "done".into()),
            Self::PruneReserve => ("prune".into(), "reserve".into()),
            Self::Client(id) => (format!("clients/{id}"), "record".into()),
            Self::ClientEnd(id) => (format!("clients/{id}"), "end".into()),
            Self::Root(epoch) => ("roots".into(), epoch.to_string()),
        }
    }

    /// The name of a path below the repository; `None` if no object has it.
    pub fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        let name = match parts.as_slice() {
            ["config"] => Self::Config,
            ["keys", id] => Self::Key(SlotId::from_hex(id).ok()?),
            ["packs", _, id] => Self::Pack(PackId::from_hex(id).ok()?),
            ["index", id] => Self::Index(IndexId::from_hex(id).ok()?),
            ["snapshots", id] => Self::Snapshot(SnapshotId::from_hex(id).ok()?),
            ["sessions", id, "intent"] => Self::Intent(SessionId::from_hex(id).ok()?),
            ["sessions", id, "register"] => Self::Register(SessionId::from_hex(id).ok()?),
            ["forgotten", id] => Self::Forgotten(SnapshotId::from_hex(id).ok()?),
            ["proofs", id] => Self::Proof(ProofId::from_hex(id).ok()?),
            ["prune", "reserve"] => Self::PruneReserve,
            ["clients", id, "record"] => Self::Client(ClientId::from_hex(id).ok()?),
            ["clients", id, "end"] => Self::ClientEnd(ClientId::from_hex(id).ok()?),
            ["roots", epoch] => Self::Root(EpochId::from_hex(epoch).ok()?),
            ["prune", id, "plan"] => Self::PrunePlan(PruneId::from_hex(id).ok()?),
            ["prune", id, "state"] => Self::PruneState(PruneId::from_hex(id).ok()?),
            ["prune", id, "done"] => Self::PruneDone(PruneId::from_hex(id).ok()?),
            _ => return None,
        };
        (name.to_string() == path).then_some(name)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (directory, name) = self.split();
        if directory.is_empty() { f.write_str(&name) } else { write!(f, "{directory}/{name}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_nothing_else_parses() {
        let names = [
            ObjectName::Config,
            ObjectName::Key(SlotId::new([1; 16])),
            ObjectName::Pack(PackId::new([2; 32])),
            ObjectName::Index(IndexId::new([3; 32])),
            ObjectName::Snapshot(SnapshotId::new([4; 32])),
            ObjectName::Intent(SessionId::new([5; 16])),
            ObjectName::Register(SessionId::new([6; 16])),
            ObjectName::Forgotten(SnapshotId::new([4; 32])),
            ObjectName::Proof(ProofId::new([7; 32])),
            ObjectName::PrunePlan(PruneId::FIRST),
            ObjectName::PruneState(PruneId::FIRST),
            ObjectName::PruneDone(PruneId::FIRST),
            ObjectName::PruneReserve,
        ];
        for name in names {
            assert_eq!(ObjectName::parse(&name.to_string()), Some(name));
        }
        let foreign = format!("packs/00/{}", PackId::new([2; 32]));
        for path in ["", "x", "keys", "keys/zz", "config/", "../config", "prune/0000000000000000/plan", &foreign] {
            assert_eq!(ObjectName::parse(path), None, "{path:?}");
        }
    }
}
