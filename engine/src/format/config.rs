//! `config`. Spec chapter 4.

use minicbor::Decoder;

use super::cbor::{MapWriter, decoder, read_fixed, read_map, read_texts, read_time, read_tuple, required};
use super::{FormatError, ObjectKind};
use crate::crypto::{Keys, without_auth};
use crate::id::RepositoryId;
use crate::limits;
use crate::model::{ChunkerParameters, Config, PageParameters, Suite};

const CHUNKER_GEAR: u64 = 1;
const CHUNKER_PAGES: u64 = 2;
const MAX_FEATURES: u64 = 256;

/// Features that this program reads; version 1 has none.
const KNOWN_FEATURES: &[&str] = &[];

/// Encodes and proves a config.
pub fn encode_config(config: &Config, keys: &Keys) -> Vec<u8> {
    let mut map = MapWriter::default();
    map.bytes(0, config.id.as_bytes());
    map.time(1, config.created);
    map.unsigned(2, config.suite.code().into());
    map.unsigned(3, config.pack_size);
    map.unsigned(4, config.segment_size.into());
    map.entry(5, |w| {
        w.array(3)?;
        for profile in [&config.files, &config.dumps] {
            w.map(6)?.u8(0)?.u64(CHUNKER_GEAR)?;
            w.u8(1)?.u32(profile.min)?.u8(2)?.u32(profile.average)?.u8(3)?.u32(profile.max)?;
            w.u8(4)?.u64(profile.strict_mask)?.u8(5)?.u64(profile.loose_mask)?;
        }
        w.map(3)?.u8(0)?.u64(CHUNKER_PAGES)?.u8(1)?.u32(config.pages.min)?.u8(3)?.u32(config.pages.max)?;
        Ok(())
    });
    map.texts(6, &config.features_read);
    map.texts(7, &config.features_write);
    map.texts(8, &config.features_prune);
    let mut object = ObjectKind::Config.header().to_vec();
    map.finish(&mut object);
    keys.append_auth_for_all(&mut object);
    object
}

/// Decodes a config and checks its limits. Who made it can be checked only after a key slot opened:
/// [`verify_config`].
///
/// # Errors
/// If it is malformed, over a limit, or needs a version or a feature to read that this program lacks.
pub fn decode_config(object: &[u8]) -> Result<Config, FormatError> {
    let body = ObjectKind::Config.strip(without_auth(object)?)?;
    let mut decoder = decoder(body)?;
    let (mut id, mut created, mut suite, mut pack_size, mut segment_size) = (None, None, None, None, None);
    let (mut profiles, mut read, mut write, mut prune) = (None, None, None, None);
    read_map(&mut decoder, |key, d| {
        match key {
            0 => id = Some(RepositoryId::new(read_fixed(d)?)),
            1 => created = Some(read_time(d)?),
            2 => suite = Some(d.u8()?),
            3 => pack_size = Some(d.u64()?),
            4 => segment_size = Some(d.u32()?),
            5 => profiles = Some(read_tuple(d, 3, |d| Ok((decode_gear(d)?, decode_gear(d)?, decode_pages(d)?)))?),
            6 => read = Some(read_texts(d, MAX_FEATURES)?),
            7 => write = Some(read_texts(d, MAX_FEATURES)?),
            8 => prune = Some(read_texts(d, MAX_FEATURES)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let features_read = required(read)?;
    if let Some(unknown) = features_read.iter().find(|feature| !KNOWN_FEATURES.contains(&feature.as_str())) {
        return Err(FormatError::Feature(unknown.clone()));
    }
    let suite = required(suite)?;
    let (files, dumps, pages) = required(profiles)?;
    let config = Config {
        id: required(id)?,
        created: required(created)?,
        suite: Suite::from_code(suite).ok_or(FormatError::Unknown("suite", suite.into()))?,
        pack_size: required(pack_size)?,
        segment_size: required(segment_size)?,
        files,
        dumps,
        pages,
        features_read,
        features_write: required(write)?,
        features_prune: required(prune)?,
    };
    check_limits(&config)?;
    Ok(config)
}

/// Checks who made a config.
///
/// # Errors
/// If someone without the root secret changed it.
pub fn verify_config(object: &[u8], keys: &Keys) -> Result<(), FormatError> {
    keys.check_full_auth_for_all(object)?;
    Ok(())
}

fn decode_gear(decoder: &mut Decoder<'_>) -> Result<ChunkerParameters, FormatError> {
    let mut chunker = None;
    let [mut min, mut average, mut max] = [None; 3];
    let [mut strict, mut loose] = [None; 2];
    read_map(decoder, |key, d| {
        match key {
            0 => chunker = Some(d.u64()?),
            1 => min = Some(d.u32()?),
            2 => average = Some(d.u32()?),
            3 => max = Some(d.u32()?),
            4 => strict = Some(d.u64()?),
            5 => loose = Some(d.u64()?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    require_chunker(CHUNKER_GEAR, chunker)?;
    Ok(ChunkerParameters {
        min: required(min)?,
        average: required(average)?,
        max: required(max)?,
        strict_mask: required(strict)?,
        loose_mask: required(loose)?,
    })
}

fn decode_pages(decoder: &mut Decoder<'_>) -> Result<PageParameters, FormatError> {
    let (mut chunker, mut min, mut max) = (None, None, None);
    read_map(decoder, |key, d| {
        match key {
            0 => chunker = Some(d.u64()?),
            1 => min = Some(d.u32()?),
            3 => max = Some(d.u32()?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    require_chunker(CHUNKER_PAGES, chunker)?;
    Ok(PageParameters { min: required(min)?, max: required(max)? })
}

fn require_chunker(expected: u64, found: Option<u64>) -> Result<(), FormatError> {
    match required(found)? {
        chunker if chunker == expected => Ok(()),
        other => Err(FormatError::Unknown("chunker", other)),
    }
}

fn check_limits(config: &Config) -> Result<(), FormatError> {
    if !limits::PACK_SIZE_SETTING.contains(&config.pack_size) {
        return Err(FormatError::OverLimit("pack size"));
    }
    if !limits::SEGMENT_SIZE_SETTING.contains(&config.segment_size.into()) {
        return Err(FormatError::OverLimit("segment size"));
    }
    for profile in [&config.files, &config.dumps] {
        check_gear(profile)?;
    }
    check_pages(&config.pages)
}

fn check_gear(p: &ChunkerParameters) -> Result<(), FormatError> {
    let in_range = limits::CHUNKER_MIN.contains(&p.min)
        && limits::CHUNKER_AVERAGE.contains(&p.average)
        && limits::CHUNKER_MAX.contains(&p.max);
    let ordered = p.min <= p.average && p.average <= p.max;
    let even = [p.min, p.average, p.max].iter().all(|size| size.is_multiple_of(2));
    let masks = [p.strict_mask, p.loose_mask].iter().all(|&mask| mask >> 63 == 0);
    if in_range && ordered && even && masks { Ok(()) } else { Err(FormatError::OverLimit("chunker profile")) }
}

fn check_pages(p: &PageParameters) -> Result<(), FormatError> {
    let allowed = |size: u32| limits::CHUNKER_PAGES.contains(&size) && size.is_power_of_two();
    if allowed(p.min) && allowed(p.max) && p.min <= p.max {
        Ok(())
    } else {
        Err(FormatError::OverLimit("chunker profile"))
    }
}
