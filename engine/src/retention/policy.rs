//! What a person asks to keep, and how it is written: `7`, `unlimited`, `1y5m7d2h`, `a,b`, `host,paths`.

use std::fmt;
use std::str::FromStr;

use super::reason::Period;

/// Why a text is no part of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(&'static str);

/// How many a counting rule keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Count {
    /// So many; 0 is no rule.
    AtMost(u32),
    /// One of each period, however far back.
    Unlimited,
}

impl Default for Count {
    fn default() -> Self {
        Self::AtMost(0)
    }
}

impl Count {
    /// Whether it keeps any.
    pub fn is_set(self) -> bool {
        self != Self::AtMost(0)
    }

    pub(super) fn take_one(&mut self) {
        if let Self::AtMost(left) = self {
            *left = left.saturating_sub(1);
        }
    }
}

impl FromStr for Count {
    type Err = ParseError;

    /// Reads a number, or `unlimited`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        digits(text).map(Self::AtMost).ok_or(ParseError("expected a number, or `unlimited`"))
    }
}

/// ASCII digits as a number: `parse` alone would take a sign.
fn digits(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A length of time on the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Years.
    pub years: u32,
    /// Months.
    pub months: u32,
    /// Days.
    pub days: u32,
    /// Hours.
    pub hours: u32,
}

impl FromStr for Span {
    type Err = ParseError;

    /// Reads numbers with units, such as `1y5m7d2h`, in any order, each unit once. `m` is months.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXPECTED: ParseError =
            ParseError("expected years, months, days and hours, each once at most, such as 1y5m7d2h");
        let mut span = Self::default();
        let mut found = String::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let unit = rest.find(|c: char| !c.is_ascii_digit()).ok_or(EXPECTED)?;
            let number = digits(&rest[..unit]).ok_or(EXPECTED)?;
            let name = rest[unit..].chars().next().ok_or(EXPECTED)?;
            let field = match name {
                'y' => &mut span.years,
                'm' => &mut span.months,
                'd' => &mut span.days,
                'h' => &mut span.hours,
                _ => return Err(EXPECTED),
            };
            if found.contains(name) {
                return Err(EXPECTED);
            }
            *field = number;
            found.push(name);
            rest = &rest[unit + 1..];
        }
        if found.is_empty() { Err(EXPECTED) } else { Ok(span) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.years, 'y'), (self.months, 'm'), (self.days, 'd'), (self.hours, 'h')];
        if parts.iter().all(|(number, _)| *number == 0) {
            return f.write_str("0h");
        }
        parts.iter().filter(|(number, _)| *number > 0).try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

/// Tags that a snapshot must all have; an empty list asks for a snapshot without tags.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TagList {
    /// The tags.
    pub tags: Vec<String>,
}

impl TagList {
    /// Whether a snapshot with these tags is meant.
    pub(super) fn fits(&self, tags: &[String]) -> bool {
        if self.tags.is_empty() { tags.is_empty() } else { self.tags.iter().all(|tag| tags.contains(tag)) }
    }
}

impl FromStr for TagList {
    type Err = ParseError;

    /// Reads tags with commas between them; nothing at all asks for snapshots without tags.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.trim().is_empty() {
            return Ok(Self { tags: Vec::new() });
        }
        let tags: Vec<String> = text.split(',').map(|tag| tag.trim().to_owned()).collect();
        if tags.iter().any(String::is_empty) {
            return Err(ParseError("a tag can't be empty"));
        }
        Ok(Self { tags })
    }
}

/// What to group snapshots by before a policy is applied to each group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupBy {
    /// The stack: snapshots of one are a group wherever they were taken, and neither host nor paths count for them.
    pub stack: bool,
    /// The machine.
    pub host: bool,
    /// The label.
    pub label: bool,
    /// All paths together.
    pub paths: bool,
    /// All tags together.
    pub tags: bool,
}

impl Default for GroupBy {
    /// What a snapshot and its parent have in common.
    fn default() -> Self {
        Self { stack: true, host: true, label: true, paths: true, tags: false }
    }
}

impl FromStr for GroupBy {
    type Err = ParseError;

    /// Reads `stack`, `host`, `label`, `paths`, `tags` with commas between them; nothing makes one group of all.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut by = Self { stack: false, host: false, label: false, paths: false, tags: false };
        if text.trim().is_empty() {
            return Ok(by);
        }
        for key in text.split(',') {
            match key.trim() {
                "stack" | "stacks" => by.stack = true,
                "host" | "hosts" => by.host = true,
                "label" | "labels" => by.label = true,
                "path" | "paths" => by.paths = true,
                "tag" | "tags" => by.tags = true,
                _ => return Err(ParseError("expected stack, host, label, paths or tags, with commas between them")),
            }
        }
        Ok(by)
    }
}

/// What to keep: a snapshot that any of the rules keeps is kept. The default has no rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// The newest snapshots.
    pub last: Count,
    /// The newest of the last hours that have snapshots.
    pub hourly: Count,
    /// Of the last days.
    pub daily: Count,
    /// Of the last weeks.
    pub weekly: Count,
    /// Of the last months.
    pub monthly: Count,
    /// Of the last years.
    pub yearly: Count,
    /// All within this time before the newest; nothing if it is of no length.
    pub within: Option<Span>,
    /// The newest of each hour within this time.
    pub within_hourly: Option<Span>,
    /// Of each day.
    pub within_daily: Option<Span>,
    /// Of each week.
    pub within_weekly: Option<Span>,
    /// Of each month.
    pub within_monthly: Option<Span>,
    /// Of each year.
    pub within_yearly: Option<Span>,
    /// Those that have all tags of one of these lists.
    pub keep_tags: Vec<TagList>,
}

impl Policy {
    /// Whether no rule keeps anything.
    pub fn is_empty(&self) -> bool {
        self.keep_tags.is_empty()
            && self.within().is_none()
            && !self.counts().any(|(_, count)| count.is_set())
            && self.spans().all(|(_, span)| span.is_none())
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = (Period, Count)> {
        [
            (Period::Last, self.last),
            (Period::Hourly, self.hourly),
            (Period::Daily, self.daily),
            (Period::Weekly, self.weekly),
            (Period::Monthly, self.monthly),
            (Period::Yearly, self.yearly),
        ]
        .into_iter()
    }

    /// The time within which all are kept, unless it is of no length.
    pub(super) fn within(&self) -> Option<Span> {
        self.within.filter(|span| *span != Span::default())
    }

    pub(super) fn spans(&self) -> impl Iterator<Item = (Period, Option<Span>)> {
        [
            (Period::Hourly, self.within_hourly),
            (Period::Daily, self.within_daily),
            (Period::Weekly, self.within_weekly),
            (Period::Monthly, self.within_monthly),
            (Period::Yearly, self.within_yearly),
        ]
        .into_iter()
        .map(|(period, span)| (period, span.filter(|span| *span != Span::default())))
    }
}
