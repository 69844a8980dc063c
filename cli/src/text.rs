//! How sizes, times, paths and tables look to people. Pure.

use std::time::Duration;

use engine::clock::Timestamp;
use engine::model::NodeKind;

/// Bytes in the largest unit that keeps the number above one: `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would print as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A count and its noun: `1 file`, `2 files`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A length of time as people say it.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A point in time, to the second, where the person is.
pub(crate) fn local_time(time: Timestamp) -> String {
    match moment(time) {
        Some(moment) => moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("{} s", time.seconds),
    }
}

/// What the clock where the person is shows ahead of UTC at a point in time, in seconds.
pub(crate) fn utc_offset(time: Timestamp) -> i32 {
    moment(time).map_or(0, |moment| jiff::tz::TimeZone::system().to_offset(moment).seconds())
}

/// A point in time, exact, as RFC 3339 in UTC.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    match moment(time) {
        Some(moment) => moment.to_string(),
        None => format!("@{}.{:09}", time.seconds, time.nanoseconds),
    }
}

/// The same for the calendar; `None` beyond the years that it knows.
fn moment(time: Timestamp) -> Option<jiff::Timestamp> {
    let whole = jiff::Timestamp::from_second(time.seconds).ok()?;
    whole.checked_add(jiff::SignedDuration::from_nanos(i64::from(time.nanoseconds))).ok()
}

/// A path for a terminal: what can't be shown, or would act on the terminal, becomes `\n`, `\t`, `\\` or `\ooo`.
pub(crate) fn path(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\r' => text.push_str("\\r"),
                _ if character.is_control() || is_reordering(character) => {
                    escape(character.encode_utf8(&mut [0; 4]).as_bytes(), &mut text);
                }
                _ => text.push(character),
            }
        }
        escape(chunk.invalid(), &mut text);
    }
    text
}

/// Characters that make a terminal show the rest in another order, so that a name could pass for another.
fn is_reordering(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        text.push_str(&format!("\\{byte:03o}"));
    }
}

/// Text of somebody else (a label, a message) made harmless for a terminal; backslashes stay.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' | '\r' => out.push(' '),
            _ if character.is_control() || is_reordering(character) => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
}

/// Type and permissions as `ls -l` shows them.
pub(crate) fn mode(kind: NodeKind, mode: u32) -> String {
    let mut text = String::with_capacity(10);
    text.push(match kind {
        NodeKind::File => '-',
        NodeKind::Directory => 'd',
        NodeKind::Symlink => 'l',
        NodeKind::BlockDevice => 'b',
        NodeKind::CharDevice => 'c',
        NodeKind::Fifo => 'p',
        NodeKind::Socket => 's',
    });
    for (shift, special, set) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => set.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Lines of a table with a header, columns two spaces apart, nothing after the last text of a line.
pub(crate) fn table(header: &[(&str, Align)], rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = header.iter().map(|(name, _)| name.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for ((cell, (_, align)), width) in cells.zip(header).zip(&widths) {
            match align {
                Align::Left => text.push_str(&format!("{cell:<width$}  ")),
                Align::Right => text.push_str(&format!("{cell:>width$}  ")),
            }
        }
        text.truncate(text.trim_end().len());
        text
    };
    let mut lines = vec![line(&mut header.iter().map(|(name, _)| *name))];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_never_show_a_thousand_and_twenty_four() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1 << 20, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), shown, "{bytes}");
        }
    }

    #[test]
    fn paths_show_every_byte_and_move_no_cursor() {
        for (bytes, shown) in [
            (&b"/plain name"[..], "/plain name"),
            ("/größe/日本".as_bytes(), "/größe/日本"),
            (b"/a\nb\tc\\d\r", "/a\\nb\\tc\\\\d\\r"),
            (b"/\xff\xfe.txt", "/\\377\\376.txt"),
            (b"/\x1b[31mred\x7f", "/\\033[31mred\\177"),
            ("/\u{202e}gpj.exe".as_bytes(), "/\\342\\200\\256gpj.exe"),
            ("/\u{9b}".as_bytes(), "/\\302\\233"),
        ] {
            assert_eq!(path(bytes), shown, "{bytes:?}");
        }
    }

    #[test]
    fn modes_look_like_those_of_ls() {
        for (kind, bits, shown) in [
            (NodeKind::File, 0o644, "-rw-r--r--"),
            (NodeKind::Directory, 0o1777, "drwxrwxrwt"),
            (NodeKind::File, 0o4755, "-rwsr-xr-x"),
            (NodeKind::File, 0o2640, "-rw-r-S---"),
            (NodeKind::Symlink, 0o777, "lrwxrwxrwx"),
        ] {
            assert_eq!(mode(kind, bits), shown);
        }
    }

    #[test]
    fn tables_align_and_have_no_trailing_space() {
        let rows = vec![vec!["a".into(), "1".into(), String::new()], vec!["bcd".into(), "10".into(), "x".into()]];
        let lines = table(&[("Name", Align::Left), ("N", Align::Right), ("Note", Align::Left)], &rows);
        assert_eq!(lines, ["Name   N  Note", "a      1", "bcd   10  x"]);
    }

    #[test]
    fn times_are_exact_in_json_and_survive_nonsense() {
        assert_eq!(rfc3339(Timestamp::new(0, 5)), "1970-01-01T00:00:00.000000005Z");
        assert_eq!(rfc3339(Timestamp::new(-1, 0)), "1969-12-31T23:59:59Z");
        assert_eq!(rfc3339(Timestamp::new(i64::MAX, 1)), "@9223372036854775807.000000001");
        assert_eq!(local_time(Timestamp::new(i64::MIN, 0)), "-9223372036854775808 s");
    }
}
