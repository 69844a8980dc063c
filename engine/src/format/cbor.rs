//! Maps with integer keys, written in order and read with their order checked. RFC 8949.

use minicbor::{Decoder, Encoder};

use super::FormatError;
use crate::clock::Timestamp;

/// Writes into a `Vec`, which can't fail.
pub(super) type Writer<'a> = Encoder<&'a mut Vec<u8>>;

/// What a write into a `Vec` returns.
pub(super) type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

/// Collects a map's entries, since its head must say how many there are.
#[derive(Default)]
pub(super) struct MapWriter {
    entries: u64,
    last_key: Option<u64>,
    body: Vec<u8>,
}

impl MapWriter {
    /// Adds an entry; keys must ascend.
    pub(super) fn entry(&mut self, key: u64, value: impl FnOnce(&mut Writer<'_>) -> Written) {
        debug_assert!(self.last_key.is_none_or(|last| last < key), "keys ascend");
        self.last_key = Some(key);
        self.entries += 1;
        let mut writer = Encoder::new(&mut self.body);
        writer.u64(key).and_then(value).expect("a Vec takes everything");
    }

    /// Adds an unsigned integer.
    pub(super) fn unsigned(&mut self, key: u64, value: u64) {
        self.entry(key, |w| w.u64(value).map(drop));
    }

    /// Adds a byte string.
    pub(super) fn bytes(&mut self, key: u64, value: &[u8]) {
        self.entry(key, |w| w.bytes(value).map(drop));
    }

    /// Adds a text.
    pub(super) fn text(&mut self, key: u64, value: &str) {
        self.entry(key, |w| w.str(value).map(drop));
    }

    /// Adds a time.
    pub(super) fn time(&mut self, key: u64, value: Timestamp) {
        self.entry(key, |w| w.array(2)?.i64(value.seconds)?.u32(value.nanoseconds).map(drop));
    }

    /// Adds an array of texts.
    pub(super) fn texts(&mut self, key: u64, values: &[String]) {
        self.entry(key, |w| {
            w.array(values.len() as u64)?;
            values.iter().try_for_each(|value| w.str(value).map(drop))
        });
    }

    /// Length in bytes of what [`Self::finish`] appends, or a little more.
    pub(super) fn len_at_most(&self) -> usize {
        // A map's head has up to nine bytes.
        self.body.len() + 9
    }

    /// Appends the map to `out`.
    pub(super) fn finish(self, out: &mut Vec<u8>) {
        Encoder::new(&mut *out).map(self.entries).expect("a Vec takes everything");
        out.extend_from_slice(&self.body);
    }
}

/// How many arrays and maps a value may lie in.
const MAX_NESTING: usize = 32;

/// What surrounds a value: an array, or a map with the last of its keys.
struct Level {
    items_left: u64,
    map: Option<Option<u64>>,
}

impl Level {
    /// Notes what comes next; in a map every other item is a key.
    fn check_next(&mut self, major: u8, number: u64) -> Result<(), FormatError> {
        if let Some(last) = &mut self.map
            && self.items_left.is_multiple_of(2)
        {
            if major != 0 || last.is_some_and(|last| last >= number) {
                return Err(FormatError::Malformed("map keys do not ascend"));
            }
            *last = Some(number);
        }
        Ok(())
    }
}

/// The length of the value that `bytes` begins with. All of it, known or not, must be in the one form that the
/// format allows; `minicbor` by itself takes others, too.
pub(super) fn value_len(bytes: &[u8]) -> Result<usize, FormatError> {
    let mut levels: Vec<Level> = Vec::new();
    let mut rest = bytes;
    loop {
        let (major, number) = read_head(&mut rest)?;
        if let Some(level) = levels.last_mut() {
            level.check_next(major, number)?;
        }
        match major {
            0 | 1 => {}
            2 | 3 => {
                let len = usize::try_from(number).unwrap_or(usize::MAX);
                let (string, behind) = rest.split_at_checked(len).ok_or(CUT_OFF)?;
                rest = behind;
                if major == 3 && std::str::from_utf8(string).is_err() {
                    return Err(FormatError::Malformed("text is not UTF-8"));
                }
            }
            4 | 5 => {
                let items_left = if major == 5 { number.saturating_mul(2) } else { number };
                // Each item has at least one byte.
                if items_left > rest.len() as u64 {
                    return Err(CUT_OFF);
                }
                if items_left > 0 {
                    if levels.len() == MAX_NESTING {
                        return Err(FormatError::OverLimit("nesting"));
                    }
                    levels.push(Level { items_left, map: (major == 5).then_some(None) });
                    continue;
                }
            }
            7 if (20..=22).contains(&number) => {}
            _ => return Err(FormatError::Malformed("tag, float or unknown simple value")),
        }
        // A value has ended, and with it perhaps what it lies in.
        loop {
            let Some(level) = levels.last_mut() else { return Ok(bytes.len() - rest.len()) };
            level.items_left -= 1;
            if level.items_left > 0 {
                break;
            }
            levels.pop();
        }
    }
}

const CUT_OFF: FormatError = FormatError::Malformed("cut off");

/// Major type and number of what comes next. Of simple values only those in one byte.
fn read_head(rest: &mut &[u8]) -> Result<(u8, u64), FormatError> {
    let (&first, behind) = rest.split_first().ok_or(CUT_OFF)?;
    let (major, info) = (first >> 5, first & 31);
    let len = match info {
        0..=23 => 0,
        24..=27 if major != 7 => 1usize << (info - 24),
        _ => return Err(FormatError::Malformed("indefinite length, float or reserved value")),
    };
    let (bytes, behind) = behind.split_at_checked(len).ok_or(CUT_OFF)?;
    *rest = behind;
    let number =
        if len == 0 { info.into() } else { bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)) };
    let least = [0, 24, 1 << 8, 0, 1 << 16, 0, 0, 0, 1 << 32][len];
    if number < least {
        return Err(FormatError::Malformed("an integer is not in its shortest form"));
    }
    Ok((major, number))
}

/// A decoder for the one value that `bytes` are.
pub(super) fn decoder(bytes: &[u8]) -> Result<Decoder<'_>, FormatError> {
    if value_len(bytes)? == bytes.len() {
        Ok(Decoder::new(bytes))
    } else {
        Err(FormatError::Malformed("bytes after the end"))
    }
}

/// Reads a map: `field` gets each key, in ascending order, and says whether it read the value; what it doesn't know
/// is skipped.
pub(super) fn read_map<'b>(
    decoder: &mut Decoder<'b>,
    mut field: impl FnMut(u64, &mut Decoder<'b>) -> Result<bool, FormatError>,
) -> Result<(), FormatError> {
    let entries = decoder.map()?.ok_or(FormatError::Malformed("map of indefinite length"))?;
    for _ in 0..entries {
        let key = decoder.u64()?;
        if !field(key, decoder)? {
            decoder.skip()?;
        }
    }
    Ok(())
}

/// Reads an array's items until `max`; more is over the limit.
pub(super) fn read_array<'b>(
    decoder: &mut Decoder<'b>,
    max: u64,
    mut item: impl FnMut(&mut Decoder<'b>) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let len = array_len(decoder)?;
    if len > max {
        return Err(FormatError::OverLimit("array"));
    }
    (0..len).try_for_each(|_| item(decoder))
}

/// Reads an array's head.
pub(super) fn array_len(decoder: &mut Decoder<'_>) -> Result<u64, FormatError> {
    decoder.array()?.ok_or(FormatError::Malformed("array of indefinite length"))
}

/// Reads an array of at least `fields` elements; `read` takes that many, what follows is skipped.
pub(super) fn read_tuple<'b, T>(
    decoder: &mut Decoder<'b>,
    fields: u64,
    read: impl FnOnce(&mut Decoder<'b>) -> Result<T, FormatError>,
) -> Result<T, FormatError> {
    let len = array_len(decoder)?;
    if len < fields {
        return Err(FormatError::Malformed("array of too few elements"));
    }
    let value = read(decoder)?;
    (fields..len).try_for_each(|_| decoder.skip())?;
    Ok(value)
}

/// Reads a time.
pub(super) fn read_time(decoder: &mut Decoder<'_>) -> Result<Timestamp, FormatError> {
    let (seconds, nanoseconds) = read_tuple(decoder, 2, |d| Ok((d.i64()?, d.u32()?)))?;
    if nanoseconds > 999_999_999 {
        return Err(FormatError::Malformed("time"));
    }
    Ok(Timestamp { seconds, nanoseconds })
}

/// Reads an array of texts.
pub(super) fn read_texts(decoder: &mut Decoder<'_>, max: u64) -> Result<Vec<String>, FormatError> {
    let mut texts = Vec::new();
    read_array(decoder, max, |d| {
        texts.push(d.str()?.to_owned());
        Ok(())
    })?;
    Ok(texts)
}

/// Reads a byte string of exactly `N` bytes.
pub(super) fn read_fixed<const N: usize>(decoder: &mut Decoder<'_>) -> Result<[u8; N], FormatError> {
    decoder.bytes()?.try_into().map_err(|_| FormatError::Malformed("byte string of a wrong length"))
}

/// Something required that must have been read.
pub(super) fn required<T>(value: Option<T>) -> Result<T, FormatError> {
    value.ok_or(FormatError::Malformed("a required field is missing"))
}
