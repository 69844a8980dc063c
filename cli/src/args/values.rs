//! Values that people write: sizes, times, shares of the data. Pure but for the time zone.

use engine::clock::Timestamp;
use engine::id::SnapshotId;
use engine::ops::{MaxUnused, ReadData};

/// Bytes: a number with an optional binary unit, `512`, `64K`, `1.5MiB`, `2G`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" | "mb" | "gb" | "tb" => return Err("use K, M, G or T: units count in steps of 1024".into()),
        _ => return Err("expected a number with K, M, G or T, such as 64K or 1.5G".into()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(|| "too large".into());
    }
    let value: f64 = number.parse().map_err(|_| "expected a number with K, M, G or T, such as 64K or 1.5G")?;
    let bytes = value * factor as f64;
    // 2⁶³ is far beyond any file and still exact as a float.
    if bytes < 9_223_372_036_854_775_808.0 { Ok(bytes as u64) } else { Err("too large".into()) }
}

/// The whole id of a snapshot: a part of one proves nothing.
pub(crate) fn snapshot_id(text: &str) -> Result<SnapshotId, String> {
    SnapshotId::from_hex(text.trim()).map_err(|_| "expected the whole id of a snapshot, 64 hex digits".into())
}

/// The same for a setting of 32 bits.
pub(crate) fn size_u32(text: &str) -> Result<u32, String> {
    u32::try_from(size(text)?).map_err(|_| "too large".into())
}

/// A point in time: `now`, RFC 3339, or a date with or without a time of day where the person is.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(timestamp(jiff::Timestamp::now()));
    }
    // An offset or a Z decides; without one it is local time.
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Ok(timestamp(moment));
    }
    let expected = || "expected `now`, 2026-11-21T04:00:00Z, `2026-11-21 04:00:00` or 2026-11-21".to_owned();
    let civil: jiff::civil::DateTime = text.parse().map_err(|_| expected())?;
    let zoned = civil.to_zoned(jiff::tz::TimeZone::system()).map_err(|_| expected())?;
    Ok(timestamp(zoned.timestamp()))
}

/// What the engine calls a point in time.
pub(crate) fn timestamp(moment: jiff::Timestamp) -> Timestamp {
    let mut seconds = moment.as_second();
    let mut nanoseconds = moment.subsec_nanosecond();
    // jiff counts both down before 1970; the engine's nanoseconds always count up.
    if nanoseconds < 0 {
        seconds -= 1;
        nanoseconds += 1_000_000_000;
    }
    Timestamp::new(seconds, u32::try_from(nanoseconds).unwrap_or(0))
}

/// How much of the data a check reads: `1/7`, `5%`, `2G`.
pub(crate) fn subset(text: &str) -> Result<ReadData, String> {
    let text = text.trim();
    if let Some((part, of)) = text.split_once('/') {
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| "expected a part such as 1/7".to_owned());
        let (part, of) = (number(part)?, number(of)?);
        if part == 0 || part > of {
            return Err(format!("there is no part {part} of {of}: parts count from 1"));
        }
        return Ok(ReadData::Part { part, of });
    }
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.trim().parse().map_err(|_| "expected a share such as 5%".to_owned())?;
        if !(percent > 0.0 && percent <= 100.0) {
            return Err("a share is more than 0% and at most 100%".into());
        }
        return Ok(ReadData::Percent(percent));
    }
    match size(text) {
        Ok(0) => Err("nothing to read: expected a part 1/7, a share 5% or a size 2G".into()),
        Ok(bytes) => Ok(ReadData::Bytes(bytes)),
        Err(_) => Err("expected a part 1/7, a share 5% or a size 2G".into()),
    }
}

/// A time to wait, in seconds: `0`, `90s`, `30m`, `12h`, `7d`, `2w`.
pub(crate) fn seconds(text: &str) -> Result<i64, String> {
    let expected = || "expected a number with s, m, h, d or w, such as 12h or 7d, or 0".to_owned();
    let text = text.trim();
    if text == "0" {
        return Ok(0);
    }
    let (unit, factor) = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)]
        .into_iter()
        .find(|(unit, _)| text.ends_with(unit))
        .ok_or_else(expected)?;
    let number: u32 = text.trim_end_matches(unit).trim().parse().map_err(|_| expected())?;
    Ok(i64::from(number) * factor)
}

/// How much may stay unused: `5%`, `200M`, `unlimited`.
pub(crate) fn max_unused(text: &str) -> Result<MaxUnused, String> {
    let expected = || "expected a share such as 5%, a size such as 200M, or unlimited".to_owned();
    let text = text.trim();
    if text == "unlimited" {
        return Ok(MaxUnused::Unlimited);
    }
    match text.strip_suffix('%') {
        Some(percent) => match percent.trim().parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(MaxUnused::Percent(percent)),
            _ => Err("a share is between 0% and 100%".into()),
        },
        None => size(text).map(MaxUnused::Bytes).map_err(|_| expected()),
    }
}

/// `OLD=NEW`, neither of them empty.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
        _ => Err("expected OLD=NEW".into()),
    }
}

/// A tag, one of a comma list.
pub(crate) fn tag(text: &str) -> Result<String, String> {
    let tag = text.trim();
    if tag.is_empty() {
        return Err("a tag can't be empty".into());
    }
    if tag.chars().any(char::is_control) {
        return Err("a tag can't have control characters".into());
    }
    Ok(tag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("64K", 64 << 10),
            ("64k", 64 << 10),
            ("64 KiB", 64 << 10),
            ("1.5M", 3 << 19),
            ("2G", 2 << 30),
            ("3T", 3 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "K", "-1", "1X", "1.2.3M", "2GB", "1e3", "18446744073709551616", "99999999T", "0x10", "."] {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(size_u32("4G").is_err());
    }

    #[test]
    fn times() {
        assert_eq!(time("1970-01-01T00:00:01Z"), Ok(Timestamp::new(1, 0)));
        assert_eq!(time("1970-01-01T02:00:00+02:00"), Ok(Timestamp::new(0, 0)));
        assert_eq!(time("1969-12-31T23:59:59.25Z"), Ok(Timestamp::new(-1, 250_000_000)));
        let local = jiff::civil::date(2026, 11, 21).at(4, 5, 6, 0).to_zoned(jiff::tz::TimeZone::system());
        let seconds = local.expect("a date of today").timestamp().as_second();
        assert_eq!(time("2026-11-21 04:05:06"), Ok(Timestamp::new(seconds, 0)));
        assert_eq!(time("2026-11-21T04:05:06"), Ok(Timestamp::new(seconds, 0)));
        assert!(time("2026-11-21").is_ok());
        assert!(time("now").is_ok());
        for text in ["", "yesterday", "2026-13-01", "2026-11-21 25:00:00", "12345"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_of_time_and_shares() {
        for (text, value) in
            [("0", 0), ("90s", 90), ("30m", 1800), ("12 h", 43_200), ("7d", 604_800), ("2w", 1_209_600)]
        {
            assert_eq!(seconds(text), Ok(value), "{text}");
        }
        for text in ["", "7", "d", "-1d", "1.5h", "1y", "d7", "99999999999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert_eq!(max_unused("5%"), Ok(MaxUnused::Percent(5.0)));
        assert_eq!(max_unused("0"), Ok(MaxUnused::Bytes(0)));
        assert_eq!(max_unused("200M"), Ok(MaxUnused::Bytes(200 << 20)));
        assert_eq!(max_unused("unlimited"), Ok(MaxUnused::Unlimited));
        for text in ["", "101%", "-1%", "NaN%", "x", "5 percent"] {
            assert!(max_unused(text).is_err(), "{text}");
        }
    }

    #[test]
    fn subsets() {
        assert_eq!(subset("1/7"), Ok(ReadData::Part { part: 1, of: 7 }));
        assert_eq!(subset("7/7"), Ok(ReadData::Part { part: 7, of: 7 }));
        assert_eq!(subset("5%"), Ok(ReadData::Percent(5.0)));
        assert_eq!(subset("0.5 %"), Ok(ReadData::Percent(0.5)));
        assert_eq!(subset("2G"), Ok(ReadData::Bytes(2 << 30)));
        for text in ["", "0/7", "8/7", "1/0", "1/", "/7", "0%", "101%", "-5%", "NaN%", "x", "0", "1/7/9"] {
            assert!(subset(text).is_err(), "{text}");
        }
    }
}
