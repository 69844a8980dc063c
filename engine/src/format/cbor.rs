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

    /// Appends the map to `out`.
    pub(super) fn finish(self, out: &mut Vec<u8>) {
        Encoder::new(&mut *out).map(self.entries).expect("a Vec takes everything");
        out.extend_from_slice(&self.body);
    }
}

/// Reads a map: `field` gets each key and says whether it read the value; what it doesn't know is skipped.
pub(super) fn read_map<'b>(
    decoder: &mut Decoder<'b>,
    mut field: impl FnMut(u64, &mut Decoder<'b>) -> Result<bool, FormatError>,
) -> Result<(), FormatError> {
    let entries = decoder.map()?.ok_or(FormatError::Malformed("map of indefinite length"))?;
    let mut last: Option<u64> = None;
    for _ in 0..entries {
        let key = decoder.u64()?;
        if last.is_some_and(|last| last >= key) {
            return Err(FormatError::Malformed("map keys do not ascend"));
        }
        last = Some(key);
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

/// Reads a time.
pub(super) fn read_time(decoder: &mut Decoder<'_>) -> Result<Timestamp, FormatError> {
    if array_len(decoder)? != 2 {
        return Err(FormatError::Malformed("time"));
    }
    let (seconds, nanoseconds) = (decoder.i64()?, decoder.u32()?);
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

/// Checks that nothing follows.
pub(super) fn at_end(decoder: &Decoder<'_>) -> Result<(), FormatError> {
    if decoder.position() == decoder.input().len() {
        Ok(())
    } else {
        Err(FormatError::Malformed("bytes after the end"))
    }
}
