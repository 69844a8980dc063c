//! restic's documented examples, our own rules, and what people write.

use super::*;

/// A snapshot at a time of the wall clock; the id says its place in the list.
fn at(number: u8, time: &str) -> Candidate {
    let time: jiff::Timestamp = time.parse().expect("a time");
    Candidate {
        id: SnapshotId::new([number; 32]),
        time: Timestamp::new(time.as_second(), 0),
        utc_offset_seconds: 0,
        sequence: 0,
        host: "mopped".into(),
        paths: vec![b"/home/user/work".to_vec()],
        label: None,
        tags: Vec::new(),
        stack: None,
        domain: DomainId::SHARED,
        signer: Signer::Full,
    }
}

fn all_at(times: &[&str]) -> Vec<Candidate> {
    times.iter().zip(1..).map(|(time, number)| at(number, time)).collect()
}

fn tagged(number: u8, time: &str, tags: &[&str]) -> Candidate {
    Candidate { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..at(number, time) }
}

fn tag_lists(lists: &[&str]) -> Vec<TagList> {
    lists.iter().map(|list| list.parse().expect("tags")).collect()
}

fn ask(candidates: &[Candidate], policy: &Policy, change: impl FnOnce(&mut Request<'_>)) -> Result<Retention, Refusal> {
    let known_tags = candidates.iter().flat_map(|candidate| candidate.tags.clone()).collect();
    let mut request = Request {
        policy,
        group_by: GroupBy::default(),
        now: at(0, "2030-01-01T00:00:00Z").time,
        known_tags: &known_tags,
        may_empty_groups: false,
    };
    change(&mut request);
    retain(candidates, &request)
}

/// Numbers of the snapshots that are kept, with the reasons, newest first.
fn kept(retention: &Retention) -> Vec<(u8, String)> {
    let all = retention.groups.iter().flat_map(|group| &group.decisions);
    all.filter_map(|decision| match &decision.verdict {
        Verdict::Keep(reasons) => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            Some((decision.id.as_bytes()[0], reasons.join("; ")))
        }
        Verdict::Drop(_) => None,
    })
    .collect()
}

fn kept_numbers(candidates: &[Candidate], policy: &Policy) -> Vec<u8> {
    kept(&ask(candidates, policy, |_| ()).expect("allowed")).into_iter().map(|(number, _)| number).collect()
}

const SUNDAYS: [&str; 12] = [
    "2019-09-01T11:00:00Z",
    "2019-09-08T11:00:00Z",
    "2019-09-15T11:00:00Z",
    "2019-09-22T11:00:00Z",
    "2019-09-29T11:00:00Z",
    "2019-10-06T11:00:00Z",
    "2019-10-13T11:00:00Z",
    "2019-10-20T11:00:00Z",
    "2019-10-27T11:00:00Z",
    "2019-11-03T11:00:00Z",
    "2019-11-10T11:00:00Z",
    "2019-11-17T11:00:00Z",
];

#[test]
fn the_documented_sundays() {
    let policy = Policy { daily: Count::AtMost(4), ..Policy::default() };
    let retention = ask(&all_at(&SUNDAYS), &policy, |_| ()).expect("allowed");
    let daily = |number: u8| (number, "daily snapshot".to_owned());
    assert_eq!(kept(&retention), [12, 11, 10, 9].map(daily));
    assert_eq!((retention.kept(), retention.groups[0].dropped()), (4, 8));
    assert_eq!(retention.dropped().count(), 8);
    assert_eq!(retention.groups[0].key.to_string(), "host mopped, paths /home/user/work");
}

/// "One backup every day for 100 years": 7 days, 4 more weeks, 11 or 12 months, 74 or 75 years.
#[test]
fn the_documented_century() {
    let mut day: jiff::Timestamp = "1926-01-01T12:00:00Z".parse().expect("a time");
    let days: Vec<Candidate> = (0..36_525u32)
        .map(|number| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_be_bytes());
            let candidate = Candidate {
                id: SnapshotId::new(id),
                time: Timestamp::new(day.as_second(), 0),
                ..at(0, "2000-01-01T00:00:00Z")
            };
            day += jiff::SignedDuration::from_hours(24);
            candidate
        })
        .collect();
    let policy = Policy {
        daily: Count::AtMost(7),
        weekly: Count::AtMost(5),
        monthly: Count::AtMost(12),
        yearly: Count::AtMost(75),
        ..Policy::default()
    };
    let kept = kept(&ask(&days, &policy, |_| ()).expect("allowed"));
    let with = |reason: &str| kept.iter().filter(|(_, reasons)| reasons.contains(reason)).count();
    assert_eq!((with("daily"), with("weekly"), with("monthly"), with("yearly")), (7, 5, 12, 75));
    assert!((7 + 4 + 11 + 74 - 2..=7 + 4 + 12 + 75).contains(&kept.len()), "{}", kept.len());
}

#[test]
fn a_rule_with_something_left_keeps_the_oldest_too() {
    let times = ["2025-01-01T01:00:00Z", "2025-01-01T02:00:00Z", "2025-01-01T03:00:00Z"];
    let policy = Policy { daily: Count::AtMost(2), within_daily: "1y".parse().ok(), ..Policy::default() };
    let expected = [(3, "daily snapshot; daily within 1y"), (1, "oldest daily snapshot; oldest daily within 1y")];
    let retention = ask(&all_at(&times), &policy, |_| ()).expect("allowed");
    assert_eq!(kept(&retention), expected.map(|(number, reasons)| (number, reasons.to_owned())));
    // Nothing is left.
    let policy = Policy { daily: Count::AtMost(1), ..Policy::default() };
    assert_eq!(kept_numbers(&all_at(&times), &policy), [3]);
    // There is no oldest but the only one.
    let policy = Policy { daily: Count::Unlimited, ..Policy::default() };
    let retention = ask(&all_at(&times[..1]), &policy, |_| ()).expect("allowed");
    assert_eq!(kept(&retention), [(1, "daily snapshot".to_owned())]);
}

#[test]
fn dropped_snapshots_say_why() {
    let mut snapshots = all_at(&["2025-01-01T01:00:00Z", "2025-03-01T02:00:00Z", "2025-03-01T03:00:00Z"]);
    snapshots.push(tagged(4, "2025-03-02T00:00:00Z", &["release"]));
    snapshots.push(at(5, "2024-12-01T00:00:00Z"));
    let policy = Policy {
        last: Count::AtMost(1),
        daily: Count::AtMost(3),
        within: "1h".parse().ok(),
        within_yearly: "1m".parse().ok(),
        keep_tags: tag_lists(&["release"]),
        ..Policy::default()
    };
    let retention = ask(&snapshots, &policy, |_| ()).expect("allowed");
    let reasons: Vec<String> = retention.groups[0]
        .decisions
        .iter()
        .filter_map(|decision| match &decision.verdict {
            Verdict::Drop(reasons) => Some(reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
            Verdict::Keep(_) => None,
        })
        .collect();
    assert_eq!(
        reasons,
        [
            "none of the tags to keep; not within 1h; last: enough newer ones; daily: 03030303 is of the same day; \
             yearly: 04040404 is of the same year",
            "none of the tags to keep; not within 1h; last: enough newer ones; daily: enough newer ones; \
             yearly: not within 1m",
        ]
    );
}

#[test]
fn the_day_is_that_of_the_wall_clock() {
    // 23:30 and 00:30 in Berlin's summer, one day in UTC.
    let mut snapshots = all_at(&["2025-06-01T21:30:00Z", "2025-06-01T22:30:00Z", "2025-06-02T10:00:00Z"]);
    let policy = Policy { daily: Count::AtMost(9), ..Policy::default() };
    assert_eq!(kept_numbers(&snapshots, &policy), [3, 2, 1], "the oldest is kept besides");
    let policy = Policy { daily: Count::AtMost(2), ..Policy::default() };
    assert_eq!(kept_numbers(&snapshots, &policy), [3, 2]);
    for snapshot in &mut snapshots {
        snapshot.utc_offset_seconds = 7200;
    }
    assert_eq!(kept_numbers(&snapshots, &policy), [3, 1]);
}

#[test]
fn a_duration_runs_over_into_the_next_month() {
    // restic's calendar: a month before March 31st is March 3rd. A leap year has a February 29th.
    for (newest, edge, after, span) in [
        ("2025-03-31T12:00:00Z", "2025-03-03T12:00:00Z", "2025-03-03T12:00:01Z", "1m"),
        ("2024-03-31T12:00:00Z", "2024-03-02T12:00:00Z", "2024-03-02T12:00:01Z", "1m"),
        ("2024-02-29T12:00:00Z", "2023-03-01T12:00:00Z", "2023-03-01T12:00:01Z", "1y"),
        ("2025-01-31T12:00:00Z", "2023-08-24T10:00:00Z", "2023-08-24T10:00:01Z", "1y5m7d2h"),
    ] {
        let policy = Policy { within: span.parse().ok(), ..Policy::default() };
        assert_eq!(kept_numbers(&all_at(&[newest, edge, after]), &policy), [1, 3], "{span} before {newest}");
    }
}

#[test]
fn snapshots_from_the_future_are_kept_and_not_counted() {
    let times = ["2029-12-30T00:00:00Z", "2029-12-31T00:00:00Z", "2199-01-01T00:00:00Z", "2199-01-02T00:00:00Z"];
    let future = (3, "in the future".to_owned());
    let policy = Policy { last: Count::AtMost(1), ..Policy::default() };
    let retention = ask(&all_at(&times), &policy, |_| ()).expect("allowed");
    assert_eq!(kept(&retention), [(4, future.1.clone()), future.clone(), (2, "last snapshot".to_owned())]);
    // Durations go back from the newest that is not in the future.
    let policy = Policy { within: "1h".parse().ok(), ..Policy::default() };
    let retention = ask(&all_at(&times), &policy, |_| ()).expect("allowed");
    assert_eq!(kept(&retention), [(4, future.1.clone()), future.clone(), (2, "within 1h".to_owned())]);
    // A clock ten years back keeps all.
    let retention = ask(&all_at(&times), &policy, |request| request.now = at(0, "2019-01-01T00:00:00Z").time);
    assert_eq!(retention.expect("allowed").kept(), 4);
    // Now is not the future.
    let now = at(0, times[1]).time;
    let retention = ask(&all_at(&times[..2]), &policy, |request| request.now = now).expect("allowed");
    assert_eq!(kept(&retention), [(2, "within 1h".to_owned())]);
}

#[test]
fn tags_keep() {
    let snapshots = [
        tagged(1, "2025-01-01T00:00:00Z", &["good", "release"]),
        tagged(2, "2025-01-02T00:00:00Z", &["release"]),
        tagged(3, "2025-01-03T00:00:00Z", &[]),
        tagged(4, "2025-01-04T00:00:00Z", &["good"]),
        tagged(5, "2025-01-05T00:00:00Z", &[]),
    ];
    for (lists, numbers) in [
        (&["release"][..], &[5, 2, 1][..]),
        (&["good,release"], &[5, 1]),
        (&[" good , release ", "good"], &[5, 4, 1]),
        (&[""], &[5, 3]),
        (&["", "release"], &[5, 3, 2, 1]),
        (&[], &[5]),
    ] {
        let policy = Policy { last: Count::AtMost(1), keep_tags: tag_lists(lists), ..Policy::default() };
        assert_eq!(kept_numbers(&snapshots, &policy), numbers, "{lists:?}");
    }
}

#[test]
fn an_unknown_tag_keeps_every_tagged_snapshot() {
    let snapshots = [
        tagged(1, "2025-01-01T00:00:00Z", &["release"]),
        tagged(2, "2025-01-02T00:00:00Z", &[]),
        tagged(3, "2025-01-03T00:00:00Z", &["nightly"]),
        tagged(4, "2025-01-04T00:00:00Z", &[]),
    ];
    for list in ["relaese", "release,relaese"] {
        let policy = Policy { last: Count::AtMost(1), keep_tags: tag_lists(&[list]), ..Policy::default() };
        let retention = ask(&snapshots, &policy, |_| ()).expect("allowed");
        let reason = "is tagged, and no snapshot has the tag \"relaese\"";
        let expected = [(4, "last snapshot"), (3, reason), (1, reason)];
        assert_eq!(kept(&retention), expected.map(|(number, reason)| (number, reason.to_owned())));
        assert_eq!(retention.unknown_tags, ["relaese"]);
    }
    // A tag that another snapshot of the repository has is known.
    let known: BTreeSet<String> = ["release", "nightly", "good"].map(str::to_owned).into();
    let policy = Policy { last: Count::AtMost(1), keep_tags: tag_lists(&["good"]), ..Policy::default() };
    let request = Request {
        policy: &policy,
        group_by: GroupBy::default(),
        now: at(0, "2030-01-01T00:00:00Z").time,
        known_tags: &known,
        may_empty_groups: false,
    };
    let retention = retain(&snapshots, &request).expect("allowed");
    assert_eq!((retention.kept(), retention.unknown_tags.len()), (1, 0));
}

#[test]
fn what_keeps_nothing_is_refused_unless_told_so() {
    let snapshots = [
        tagged(1, "2025-01-01T00:00:00Z", &["release"]),
        Candidate { host: "other".into(), ..tagged(2, "2025-01-01T00:00:00Z", &["nightly"]) },
    ];
    for policy in [
        Policy::default(),
        Policy { last: Count::AtMost(0), ..Policy::default() },
        Policy { within: "0h".parse().ok(), within_daily: "0d".parse().ok(), ..Policy::default() },
    ] {
        assert_eq!(ask(&snapshots, &policy, |_| ()), Err(Refusal::KeepsNothing));
        assert_eq!(ask(&[], &policy, |_| ()), Err(Refusal::KeepsNothing));
        let retention = ask(&snapshots, &policy, |request| request.may_empty_groups = true).expect("told so");
        assert_eq!(retention.dropped().count(), 2);
        assert_eq!(retention.groups[0].decisions[0].verdict, Verdict::Drop(vec![DropReason::NoRule]));
    }
    let policy = Policy { keep_tags: tag_lists(&["release"]), ..Policy::default() };
    let refusal = ask(&snapshots, &policy, |_| ()).expect_err("the other host loses all");
    let text = "the policy would drop every snapshot of host other, paths /home/user/work";
    assert_eq!(refusal.to_string(), text);
    let retention = ask(&snapshots, &policy, |request| request.may_empty_groups = true).expect("told so");
    assert_eq!(retention.dropped().count(), 1);
    // No snapshots, nothing to lose.
    assert_eq!(ask(&[], &policy, |_| ()).map(|retention| retention.groups.len()), Ok(0));
}

#[test]
fn groups() {
    let one = at(1, "2025-01-01T00:00:00Z");
    let snapshots = [
        Candidate { paths: vec![b"/b".to_vec(), b"/a".to_vec()], ..one.clone() },
        Candidate { paths: vec![b"/a".to_vec(), b"/b".to_vec(), b"/a".to_vec()], ..one.clone() },
        Candidate { host: "other".into(), ..one.clone() },
        Candidate { label: Some("stack".into()), ..one.clone() },
        Candidate { tags: vec!["x".into()], ..one.clone() },
        Candidate { stack: Some("shop".into()), paths: vec![b"/shop".to_vec()], ..one.clone() },
        Candidate { stack: Some("shop".into()), host: "moved".into(), ..one },
    ];
    let policy = Policy { last: Count::AtMost(1), ..Policy::default() };
    for (by, keys) in [
        ("", &["all snapshots"][..]),
        ("host", &["host mopped", "host moved", "host other"]),
        ("label", &["all snapshots", "label stack"]),
        ("paths", &["paths /a /b", "paths /home/user/work", "paths /shop"]),
        ("stack", &["all snapshots", "stack shop"]),
        ("tags", &["no tags", "tags x"]),
        (
            "stack,host,label,paths",
            &[
                "host mopped, paths /a /b",
                "host mopped, paths /home/user/work",
                "host mopped, label stack, paths /home/user/work",
                "host other, paths /home/user/work",
                "stack shop",
            ],
        ),
    ] {
        let group_by = by.parse().expect("keys");
        let retention = ask(&snapshots, &policy, |request| request.group_by = group_by).expect("allowed");
        let found: Vec<String> = retention.groups.iter().map(|group| group.key.to_string()).collect();
        assert_eq!(found, keys, "{by}");
        assert_eq!(retention.kept(), keys.len());
    }
}

#[test]
fn snapshots_of_one_time_have_an_order() {
    let time = "2025-01-01T00:00:00Z";
    let later = Candidate { sequence: 2, ..at(1, time) };
    let snapshots = [at(4, time), later, at(9, time), Candidate { sequence: 1, ..at(7, time) }];
    let policy = Policy { daily: Count::AtMost(1), ..Policy::default() };
    assert_eq!(kept_numbers(&snapshots, &policy), [1]);
    let policy = Policy { last: Count::Unlimited, ..Policy::default() };
    assert_eq!(kept_numbers(&snapshots, &policy), [1, 7, 9, 4]);
}

#[test]
fn durations_are_read_and_written() {
    for (text, years, months, days, hours, written) in [
        ("1y5m7d2h", 1, 5, 7, 2, "1y5m7d2h"),
        ("2h7d5m1y", 1, 5, 7, 2, "1y5m7d2h"),
        (" 75y ", 75, 0, 0, 0, "75y"),
        ("0d", 0, 0, 0, 0, "0h"),
        ("007d", 0, 0, 7, 0, "7d"),
        ("4294967295h", 0, 0, 0, u32::MAX, "4294967295h"),
    ] {
        let span: Span = text.parse().expect(text);
        assert_eq!(span, Span { years, months, days, hours }, "{text}");
        assert_eq!(span.to_string(), written);
    }
    for text in ["", " ", "1", "d", "1w", "1 d", "1d 2h", "-1d", "+1d", "1d1d", "1D", "4294967296h", "1y5", "1²d", "1é"]
    {
        assert!(text.parse::<Span>().is_err(), "{text:?}");
    }
}

#[test]
fn counts_tags_and_groups_are_read() {
    for (text, count) in [("0", Count::AtMost(0)), (" 12 ", Count::AtMost(12)), ("unlimited", Count::Unlimited)] {
        assert_eq!(text.parse(), Ok(count));
    }
    for text in ["", "-1", "+1", "x", "1.5", "4294967296", "Unlimited"] {
        assert!(text.parse::<Count>().is_err(), "{text:?}");
    }
    assert_eq!("a, b".parse::<TagList>().map(|list| list.tags), Ok(vec!["a".to_owned(), "b".to_owned()]));
    for text in ["a,", ",", "a,,b"] {
        assert!(text.parse::<TagList>().is_err(), "{text:?}");
    }
    assert_eq!("stack,host, label ,paths".parse(), Ok(GroupBy::default()));
    for text in ["hots", "host,", ",", "host;paths"] {
        assert!(text.parse::<GroupBy>().is_err(), "{text:?}");
    }
}

/// As [`at`], made by a write-only client of its own domain, with a number.
fn claimed(number: u8, sequence: u64, time: &str) -> Candidate {
    let signer = Signer::Client(crate::id::ClientId::new([1; 16]));
    Candidate { sequence, domain: DomainId::new([1; 16]), signer, ..at(number, time) }
}

#[test]
fn who_may_only_add_has_nothing_dropped_by_dates() {
    let mut snapshots: Vec<Candidate> =
        (1..=5u8).map(|day| claimed(day, day.into(), &format!("2026-01-0{day}T02:00:00Z"))).collect();
    // Later on each of these days, made on the last of them; and one of a full client.
    snapshots.extend((1..=4u8).map(|day| claimed(10 + day, 5 + u64::from(day), &format!("2026-01-0{day}T23:00:00Z"))));
    snapshots.push(at(99, "2026-01-05T23:00:00Z"));
    let policy = Policy { daily: Count::AtMost(3), ..Policy::default() };
    let retention = ask(&snapshots, &policy, |request| request.now = at(0, "2026-01-06T00:00:00Z").time).expect("kept");
    let verdict = |number: u8| {
        let id = SnapshotId::new([number; 32]);
        let all = retention.groups.iter().flat_map(|group| &group.decisions);
        all.clone().find(|decision| decision.id == id).expect("one of them").verdict.clone()
    };
    for day in 11..=14 {
        assert_eq!(verdict(day), Verdict::Keep(vec![KeepReason::BackDated]));
    }
    for (number, is_kept) in [(5, true), (4, true), (3, true), (2, false), (1, false), (99, true)] {
        assert_eq!(matches!(verdict(number), Verdict::Keep(_)), is_kept, "{number}");
    }
    assert_eq!(retention.groups.len(), 2, "domains are judged apart");
}

#[test]
fn clients_that_count_from_the_same_number_do_not_make_each_other_look_back_dated() {
    let of = |client: u8, claim: Candidate| Candidate {
        signer: Signer::Client(crate::id::ClientId::new([client; 16])),
        ..claim
    };
    let day = |day: u8| format!("2026-01-0{day}T02:00:00Z");
    // One client followed another, and one number is given twice.
    let mut snapshots: Vec<Candidate> = (1..=2u8).map(|n| of(1, claimed(n, n.into(), &day(n)))).collect();
    snapshots.extend((1..=2u8).map(|n| of(2, claimed(10 + n, n.into(), &day(2 + n)))));
    snapshots.push(of(2, claimed(20, 3, &day(5))));
    snapshots.push(of(2, claimed(21, 3, &day(6))));
    let policy = Policy { last: Count::AtMost(1), ..Policy::default() };
    let retention = ask(&snapshots, &policy, |request| request.now = at(0, "2026-01-07T00:00:00Z").time).expect("kept");
    let all = retention.groups.iter().flat_map(|group| &group.decisions);
    let is_claim = |verdict: &Verdict| *verdict == Verdict::Keep(vec![KeepReason::BackDated]);
    let mut claims: Vec<SnapshotId> = all.filter(|one| is_claim(&one.verdict)).map(|one| one.id).collect();
    claims.sort();
    assert_eq!(claims, [SnapshotId::new([20; 32]), SnapshotId::new([21; 32])]);
}
