//! Why a snapshot is kept or dropped, in restic's words where it has some.

use std::fmt;

use super::calendar::WallClock;
use super::policy::{Span, TagList};
use crate::id::SnapshotId;

/// What a counting rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// Each snapshot.
    Last,
    /// Hours of the wall clock.
    Hourly,
    /// Days.
    Daily,
    /// Weeks from Monday to Sunday.
    Weekly,
    /// Months.
    Monthly,
    /// Years.
    Yearly,
}

impl Period {
    /// The number of the period that a time lies in; `position` is that of the snapshot in its group.
    pub(super) fn number(self, wall_clock: WallClock, position: usize) -> i64 {
        match self {
            Self::Last => position as i64,
            Self::Hourly => wall_clock.hour(),
            Self::Daily => wall_clock.day(),
            Self::Weekly => wall_clock.week(),
            Self::Monthly => wall_clock.month(),
            Self::Yearly => wall_clock.year(),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Last => "place",
            Self::Hourly => "hour",
            Self::Daily => "day",
            Self::Weekly => "week",
            Self::Monthly => "month",
            Self::Yearly => "year",
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepReason {
    /// It has all tags of a list.
    Tags(TagList),
    /// It has a tag, and the policy names one that no snapshot has: this one may be meant.
    UnknownTag(String),
    /// It claims a time that has not come yet.
    Future,
    /// A write-only client made it after one of which it says that it is later.
    BackDated,
    /// Its time is within a duration before the group's newest.
    Within(Span),
    /// It is the newest of its period, and the rule's number was not used up.
    Counted {
        /// What is counted.
        period: Period,
        /// It is not the newest of its period, but the oldest of all.
        oldest: bool,
    },
    /// It is the newest of its period, and within a duration.
    CountedWithin {
        /// What is counted.
        period: Period,
        /// How far back.
        span: Span,
        /// It is not the newest of its period, but the oldest of all.
        oldest: bool,
    },
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let oldest = |oldest: bool| if oldest { "oldest " } else { "" };
        match self {
            Self::Tags(list) if list.tags.is_empty() => f.write_str("has no tags"),
            Self::Tags(list) => write!(f, "has tags [{}]", list.tags.join(", ")),
            Self::UnknownTag(tag) => write!(f, "is tagged, and no snapshot has the tag {tag:?}"),
            Self::Future => f.write_str("in the future"),
            Self::BackDated => f.write_str("back-dated by a write-only key"),
            Self::Within(span) => write!(f, "within {span}"),
            Self::Counted { period, oldest: o } => write!(f, "{}{period} snapshot", oldest(*o)),
            Self::CountedWithin { period, span, oldest: o } => write!(f, "{}{period} within {span}", oldest(*o)),
        }
    }
}

/// Why a rule does not keep a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// The policy has no rules.
    NoRule,
    /// It has all tags of none of the lists.
    LacksTags,
    /// It is older than the duration reaches back.
    OlderThan(Option<Period>, Span),
    /// Newer snapshots used up the rule's number.
    CountUsedUp(Period),
    /// The rule kept a newer one of the same period.
    NewerInPeriod(Period, SnapshotId),
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule => f.write_str("the policy keeps nothing"),
            Self::LacksTags => f.write_str("none of the tags to keep"),
            Self::OlderThan(None, span) => write!(f, "not within {span}"),
            Self::OlderThan(Some(period), span) => write!(f, "{period}: not within {span}"),
            Self::CountUsedUp(period) => write!(f, "{period}: enough newer ones"),
            Self::NewerInPeriod(period, id) => write!(f, "{period}: {} is of the same {}", id.short(), period.unit()),
        }
    }
}
