//! Retention against a naive implementation of restic's rules, and properties that any policy has.
//!
//! The naive one shares nothing with the engine's: it takes the calendar from another library, makes a list of what
//! each rule keeps by itself, and unites them.

use std::collections::{BTreeMap, BTreeSet};

use engine::clock::Timestamp;
use engine::id::SnapshotId;
use engine::retention::{Candidate, Count, GroupBy, Policy, Request, Retention, Span, TagList, retain};
use jiff::civil::DateTime;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const NOW: i64 = 1_800_000_000;
const TAGS: [&str; 3] = ["a", "b", "c"];

/// Times that collide often: a few hours, days, weeks, months or years before now, now and then after it.
fn time() -> impl Strategy<Value = Timestamp> {
    let unit = prop_oneof![Just(1i64), Just(600), Just(3600), Just(86_400), Just(604_800), Just(2_629_746)];
    (unit, -2i64..40, option::weighted(0.1, 0..1_000_000_000u32))
        .prop_map(|(unit, number, nanoseconds)| Timestamp::new(NOW - 50 - unit * number, nanoseconds.unwrap_or(0)))
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let tags = vec(0..TAGS.len(), 0..3);
    let offset = prop_oneof![3 => Just(0), 1 => Just(7200), 1 => Just(-18_000), 1 => Just(20_700)];
    let one = (time(), offset, 0..3u64, prop::sample::select(vec!["x", "y"]), tags);
    vec(one, 0..40).prop_map(|all| {
        all.into_iter()
            .enumerate()
            .map(|(number, (time, utc_offset_seconds, sequence, host, tags))| Candidate {
                id: SnapshotId::new([number as u8; 32]),
                time,
                utc_offset_seconds,
                sequence,
                host: host.into(),
                paths: vec![b"/".to_vec()],
                label: None,
                tags: tags.into_iter().map(|tag| TAGS[tag].to_owned()).collect(),
                stack: None,
                domain: engine::id::DomainId::SHARED,
                signer: engine::model::Signer::Full,
            })
            .collect()
    })
}

fn count() -> impl Strategy<Value = Count> {
    prop_oneof![3 => Just(Count::AtMost(0)), 3 => (1..6u32).prop_map(Count::AtMost), 1 => Just(Count::Unlimited)]
}

fn span() -> impl Strategy<Value = Option<Span>> {
    let span = (0..3u32, 0..15u32, 0..40u32, 0..30u32).prop_map(|(years, months, days, hours)| Span {
        years,
        months,
        days,
        hours,
    });
    option::weighted(0.3, span)
}

fn policy() -> impl Strategy<Value = Policy> {
    let counts = (count(), count(), count(), count(), count(), count());
    let spans = (span(), span(), span(), span(), span(), span());
    let tags = vec(vec(0..TAGS.len(), 0..3), 0..3);
    (counts, spans, tags).prop_map(|(counts, spans, tags)| Policy {
        last: counts.0,
        hourly: counts.1,
        daily: counts.2,
        weekly: counts.3,
        monthly: counts.4,
        yearly: counts.5,
        within: spans.0,
        within_hourly: spans.1,
        within_daily: spans.2,
        within_weekly: spans.3,
        within_monthly: spans.4,
        within_yearly: spans.5,
        keep_tags: tags
            .into_iter()
            .map(|list| TagList { tags: list.into_iter().map(|tag| TAGS[tag].to_owned()).collect() })
            .collect(),
    })
}

fn decide(candidates: &[Candidate], policy: &Policy) -> Retention {
    let known_tags = TAGS.map(str::to_owned).into();
    let request = Request {
        policy,
        group_by: GroupBy::default(),
        now: Timestamp::new(NOW, 0),
        known_tags: &known_tags,
        may_empty_groups: true,
    };
    retain(candidates, &request).expect("all is allowed")
}

fn kept(candidates: &[Candidate], policy: &Policy) -> BTreeSet<SnapshotId> {
    let dropped: BTreeSet<SnapshotId> = decide(candidates, policy).dropped().collect();
    candidates.iter().map(|candidate| candidate.id).filter(|id| !dropped.contains(id)).collect()
}

/// What restic keeps of one group; with `future`, snapshots to come are left out.
fn naive(candidates: &[Candidate], policy: &Policy, future: bool) -> BTreeSet<SnapshotId> {
    let mut groups: BTreeMap<&str, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        if !future || candidate.time <= Timestamp::new(NOW, 0) {
            groups.entry(&candidate.host).or_default().push(candidate);
        }
    }
    let mut keep = BTreeSet::new();
    for mut group in groups.into_values() {
        group.sort_by_key(|c| (c.time, c.sequence, c.id));
        group.reverse();
        for (count, format) in [
            (policy.last, ""),
            (policy.hourly, "%Y-%m-%d %H"),
            (policy.daily, "%Y-%m-%d"),
            (policy.weekly, "%G week %V"),
            (policy.monthly, "%Y-%m"),
            (policy.yearly, "%Y"),
        ] {
            let (heads, oldest) = heads(&group, format);
            let number = match count {
                Count::AtMost(number) => number as usize,
                Count::Unlimited => usize::MAX,
            };
            keep.extend(heads.iter().take(number));
            if number > heads.len() {
                keep.extend(oldest);
            }
        }
        for (span, format) in [
            (policy.within, ""),
            (policy.within_hourly, "%Y-%m-%d %H"),
            (policy.within_daily, "%Y-%m-%d"),
            (policy.within_weekly, "%G week %V"),
            (policy.within_monthly, "%Y-%m"),
            (policy.within_yearly, "%Y"),
        ] {
            let Some(span) = span.filter(|span| *span != Span::default()) else { continue };
            let Some(newest) = group.iter().find(|c| c.time <= Timestamp::new(NOW, 0)) else {
                // restic counts from the year 1 then.
                keep.extend(group.iter().map(|c| c.id));
                continue;
            };
            let limit = before(newest, span);
            let inside: Vec<&Candidate> = group.iter().filter(|c| instant(c) > limit).copied().collect();
            let (heads, oldest) = heads(&inside, format);
            keep.extend(heads);
            if inside.len() == group.len() {
                keep.extend(oldest);
            }
        }
        for list in &policy.keep_tags {
            let fits = |c: &&&Candidate| match list.tags.is_empty() {
                true => c.tags.is_empty(),
                false => list.tags.iter().all(|tag| c.tags.contains(tag)),
            };
            keep.extend(group.iter().filter(fits).map(|c| c.id));
        }
    }
    keep
}

/// The first of each run of snapshots whose times look the same in `format`, and the last of all.
fn heads(group: &[&Candidate], format: &str) -> (Vec<SnapshotId>, Option<SnapshotId>) {
    let mut last = None;
    let mut heads = Vec::new();
    for (position, candidate) in group.iter().enumerate() {
        let label =
            if format.is_empty() { position.to_string() } else { wall_clock(candidate).strftime(format).to_string() };
        if last.as_ref() != Some(&label) {
            heads.push(candidate.id);
        }
        last = Some(label);
    }
    (heads, group.last().map(|c| c.id))
}

fn instant(candidate: &Candidate) -> jiff::Timestamp {
    jiff::Timestamp::new(candidate.time.seconds, candidate.time.nanoseconds as i32).expect("in range")
}

fn wall_clock(candidate: &Candidate) -> DateTime {
    jiff::tz::Offset::from_seconds(candidate.utc_offset_seconds).expect("an offset").to_datetime(instant(candidate))
}

/// Go's way: from the first of the month on, days count through.
fn before(candidate: &Candidate, span: Span) -> jiff::Timestamp {
    let clock = wall_clock(candidate);
    let first = clock.date().first_of_month();
    let first = first
        .checked_sub(jiff::Span::new().years(i64::from(span.years)).months(i64::from(span.months)))
        .expect("in range");
    let day =
        first.checked_add(jiff::Span::new().days(i64::from(clock.day()) - 1 - i64::from(span.days))).expect("in range");
    let offset = jiff::tz::Offset::from_seconds(candidate.utc_offset_seconds).expect("an offset");
    let moment = offset.to_timestamp(day.to_datetime(clock.time())).expect("in range");
    moment.checked_sub(jiff::Span::new().hours(i64::from(span.hours))).expect("in range")
}

fn more(count: Count) -> Count {
    match count {
        Count::AtMost(number) => Count::AtMost(number + 1),
        Count::Unlimited => Count::Unlimited,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_naive_way_keeps_the_same(candidates in candidates(), policy in policy()) {
        let mut expected = naive(&candidates, &policy, true);
        expected.extend(candidates.iter().filter(|c| c.time > Timestamp::new(NOW, 0)).map(|c| c.id));
        prop_assert_eq!(kept(&candidates, &policy), expected);
    }

    #[test]
    fn what_restic_keeps_is_kept(candidates in candidates(), policy in policy()) {
        prop_assert!(kept(&candidates, &policy).is_superset(&naive(&candidates, &policy, false)));
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(
        (candidates, shuffled) in candidates().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        policy in policy(),
    ) {
        prop_assert_eq!(decide(&candidates, &policy), decide(&shuffled, &policy));
    }

    /// Whoever asks for more loses nothing.
    #[test]
    fn larger_numbers_and_durations_keep_more(candidates in candidates(), policy in policy(), which in 0..13usize) {
        let mut larger = policy.clone();
        {
            let counts = [
                &mut larger.last, &mut larger.hourly, &mut larger.daily,
                &mut larger.weekly, &mut larger.monthly, &mut larger.yearly,
            ];
            if let Some(count) = counts.into_iter().nth(which) {
                *count = more(*count);
            }
            let spans = [
                &mut larger.within, &mut larger.within_hourly, &mut larger.within_daily,
                &mut larger.within_weekly, &mut larger.within_monthly, &mut larger.within_yearly,
            ];
            if let Some(span) = spans.into_iter().nth(which.wrapping_sub(6)) {
                let span = span.get_or_insert_default();
                match candidates.len() % 4 {
                    0 => span.years += 1,
                    1 => span.months += 1,
                    2 => span.days += 1,
                    _ => span.hours += 1,
                }
            }
            if which == 12 {
                larger.keep_tags.push(TagList { tags: vec!["a".into()] });
            }
        }
        prop_assert!(kept(&candidates, &larger).is_superset(&kept(&candidates, &policy)));
    }

    /// Each snapshot is decided on once, with reasons, and the newest of the past survives any counting rule.
    #[test]
    fn every_snapshot_is_decided_on_once(candidates in candidates(), policy in policy()) {
        let retention = decide(&candidates, &policy);
        let decisions: Vec<_> = retention.groups.iter().flat_map(|group| &group.decisions).collect();
        let ids: BTreeSet<SnapshotId> = decisions.iter().map(|decision| decision.id).collect();
        prop_assert_eq!(decisions.len(), candidates.len());
        prop_assert_eq!(ids.len(), candidates.len());
        for decision in decisions {
            let reasons = match &decision.verdict {
                engine::retention::Verdict::Keep(reasons) => reasons.len(),
                engine::retention::Verdict::Drop(reasons) => reasons.len(),
            };
            prop_assert!(reasons > 0);
        }
        let only_tags = Policy { keep_tags: policy.keep_tags.clone(), ..Policy::default() };
        if policy != only_tags && !policy.is_empty() {
            let zero_spans = Policy { keep_tags: Vec::new(), ..policy.clone() }.is_empty();
            prop_assert!(zero_spans || retention.groups.iter().all(|group| group.decisions.is_empty() || group.kept() > 0));
        }
    }
}
