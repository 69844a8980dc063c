//! Who may do what: verbs, and which of them a request needs. docs/serve.md says why each line is as it is.
//!
//! Append-only is a set of verbs and not a way of its own: whoever has no verb for it removes nothing, overwrites nothing
//! (nobody does) and puts nothing that makes a later prune remove something.

use std::fmt;

use engine::storage::ObjectName;

use crate::protocol::Operation;

/// One thing that somebody may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// List objects.
    List,
    /// Read objects.
    Get,
    /// Announce and end sessions: intents and registers. [`Verb::Put`] has it, too.
    Lock,
    /// What a snapshot needs; and to make a repository where there is none.
    Put,
    /// Add and remove key slots, and put write-only clients and roots.
    Keys,
    /// Put records of forgotten snapshots, which a later prune drops.
    Forget,
    /// Put plans, and what was decided about them.
    Prune,
    /// Remove objects.
    Delete,
}

impl Verb {
    const ALL: [(Self, &'static str); 8] = [
        (Self::List, "list"),
        (Self::Get, "get"),
        (Self::Lock, "lock"),
        (Self::Put, "put"),
        (Self::Keys, "keys"),
        (Self::Forget, "forget"),
        (Self::Prune, "prune"),
        (Self::Delete, "delete"),
    ];
}

/// A set of verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verbs(u8);

impl Verbs {
    /// None.
    pub(crate) const NONE: Self = Self(0);
    /// Everything.
    pub(crate) const ALL: Self = Self(u8::MAX);
    /// What an append-only client may do at most.
    pub(crate) const APPEND_ONLY: Self =
        Self(1 << Verb::List as u8 | 1 << Verb::Get as u8 | 1 << Verb::Lock as u8 | 1 << Verb::Put as u8);

    /// Reads `put,list,get`, or `all`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::ALL);
        }
        let mut verbs = Self::NONE;
        for word in text.split(',').map(str::trim) {
            let Some((verb, _)) = Verb::ALL.into_iter().find(|(_, known)| *known == word) else {
                let known: Vec<_> = Verb::ALL.into_iter().map(|(_, word)| word).collect();
                return Err(format!("unknown verb {word:?} (there are: {}, all)", known.join(", ")));
            };
            verbs.0 |= 1 << verb as u8;
        }
        Ok(verbs)
    }

    fn has(self, verb: Verb) -> bool {
        self.0 & 1 << verb as u8 != 0
    }

    /// What is in one of the two.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    pub(crate) fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The words.
    pub(crate) fn words(self) -> Vec<String> {
        Verb::ALL.into_iter().filter(|(verb, _)| self.has(*verb)).map(|(_, word)| word.to_owned()).collect()
    }
}

impl fmt::Display for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(","))
    }
}

/// Whether these verbs allow a request. `is_there` says whether an object is there, for the two rules that depend on it.
///
/// # Errors
/// With what is missing, for the answer; what `is_there` says if it doesn't know.
pub(super) fn check(
    verbs: Verbs,
    operation: &Operation,
    is_there: impl Fn(ObjectName) -> Result<bool, String>,
) -> Result<(), String> {
    let need = |verb: Verb| {
        let word = Verb::ALL.into_iter().find(|(known, _)| *known == verb).map_or("", |(_, word)| word);
        if verbs.has(verb) { Ok(()) } else { Err(format!("it needs the verb {word}, which this client doesn't have")) }
    };
    match operation {
        Operation::Capabilities if verbs == Verbs::NONE => Err("nothing is allowed here to this client".to_owned()),
        Operation::Capabilities => Ok(()),
        Operation::List(_) => need(Verb::List),
        Operation::Get(_) | Operation::Head(_) => need(Verb::Get),
        Operation::Put(name) | Operation::Persist(name) => match name {
            ObjectName::Intent(_) | ObjectName::Register(_) if verbs.has(Verb::Lock) => Ok(()),
            // To make a repository takes a config and a key slot. Later ones are ways in that somebody adds.
            ObjectName::Key(_) if is_there(ObjectName::Config)? => need(Verb::Keys),
            // Who may write what counts, and the ways to it.
            ObjectName::Client(_) | ObjectName::ClientEnd(_) | ObjectName::Root(_) => need(Verb::Keys),
            ObjectName::Forgotten(_) => need(Verb::Forget),
            ObjectName::PrunePlan(_)
            | ObjectName::PruneState(_)
            | ObjectName::PruneDone(_)
            | ObjectName::PruneReserve => need(Verb::Prune),
            _ => need(Verb::Put),
        },
        Operation::Delete(name) => match name {
            // Without it nothing opens any more, and no command removes it.
            ObjectName::Config => Err("a config is never removed".to_owned()),
            // The register says all: anybody may tidy up, and nothing changes by it (PROTOCOL.md, chapter 6).
            ObjectName::Intent(id)
                if (verbs.has(Verb::Lock) || verbs.has(Verb::Put)) && is_there(ObjectName::Register(*id))? =>
            {
                Ok(())
            }
            ObjectName::Key(_) => need(Verb::Keys),
            // No command removes one: a session would be open again, a snapshot would be there again, nobody could check what a
            // client signed, or read what is older than a key.
            ObjectName::Register(_)
            | ObjectName::Forgotten(_)
            | ObjectName::Client(_)
            | ObjectName::ClientEnd(_)
            | ObjectName::Root(_) => Err("it stays for ever".to_owned()),
            _ => need(Verb::Delete),
        },
        Operation::Unfinished(_) => need(Verb::Delete),
    }
}

#[cfg(test)]
mod tests {
    use engine::id::{PruneId, SessionId, SlotId, SnapshotId};

    use super::*;

    #[test]
    fn verbs_are_read_as_they_are_written() {
        let verbs = Verbs::parse("put,list,get").expect("verbs");
        assert_eq!(verbs.to_string(), "list,get,put");
        assert_eq!(Verbs::parse("all"), Ok(Verbs::ALL));
        assert!(Verbs::parse("").is_err() && Verbs::parse("put,overwrite").is_err());
        assert_eq!(verbs.within(Verbs::APPEND_ONLY), verbs);
    }

    #[test]
    fn who_may_only_append_removes_nothing_that_counts() {
        let session = SessionId::new([5; 16]);
        let allowed = |operation: Operation, there: &[ObjectName]| {
            check(Verbs::APPEND_ONLY, &operation, |name| Ok(there.contains(&name))).is_ok()
        };
        let (intent, register) = (ObjectName::Intent(session), ObjectName::Register(session));
        assert!(!allowed(Operation::Delete(intent), &[intent]));
        assert!(allowed(Operation::Delete(intent), &[intent, register]));
        assert!(!allowed(Operation::Delete(register), &[intent, register]));
        let key = ObjectName::Key(SlotId::new([1; 16]));
        assert!(allowed(Operation::Put(key), &[]));
        assert!(!allowed(Operation::Put(key), &[ObjectName::Config]));
        assert!(!allowed(Operation::Delete(key), &[]));
        let forgotten = ObjectName::Forgotten(SnapshotId::new([4; 32]));
        for name in [forgotten, ObjectName::PrunePlan(PruneId::FIRST), ObjectName::PruneReserve] {
            assert!(!allowed(Operation::Put(name), &[]), "{name}");
        }
        assert!(!allowed(Operation::Unfinished(0), &[]));
        assert!(check(Verbs::ALL, &Operation::Delete(ObjectName::Config), |_| Ok(false)).is_err());
    }
}
