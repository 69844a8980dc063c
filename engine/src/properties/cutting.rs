//! Chunkers, cutters, compression, padding.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{bytes, keys};
use crate::chunker::{DataChunker, ListCutter, TREE_CHUNK_MAX_BYTES, TreeCutter};
use crate::compress::{Compressor, DecompressError, Decompressor};
use crate::crypto::DomainKeys;
use crate::format::padme;
use crate::id::{ChunkId, DomainId};
use crate::model::{ChunkRef, ChunkerParameters, Compression};

fn domain() -> DomainKeys {
    keys().domain(DomainId::SHARED).expect("a full client")
}

fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Profiles that cut often, with masks of few bits.
fn profile() -> impl Strategy<Value = ChunkerParameters> {
    (32..=128u32, 0..=128u32, 0..=512u32, 0..=9u32, 0..=9u32, 0..=53u32).prop_map(
        |(min, average, max, strict, loose, shift)| {
            let mask = |bits: u32| ((1u64 << bits) - 1) << shift;
            let average = min * 2 + average * 2;
            let max = average + max * 2;
            ChunkerParameters { min: min * 2, average, max, strict_mask: mask(strict), loose_mask: mask(loose) }
        },
    )
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        bytes(200),
        (any::<u64>(), 0..20_000usize).prop_map(|(seed, len)| random(seed, len)),
        (bytes(9), 0..20_000usize).prop_map(|(unit, len)| unit.into_iter().cycle().take(len).collect()),
        (any::<u64>(), 0..6_000usize, 0..6_000usize, any::<u8>()).prop_map(|(seed, len, same, byte)| [
            random(seed, len),
            vec![byte; same],
            random(seed, len)
        ]
        .concat()),
    ]
}

fn lengths(chunker: &DataChunker, mut stream: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while !stream.is_empty() {
        lengths.push(chunker.cut(stream));
        stream = &stream[lengths[lengths.len() - 1]..];
    }
    lengths
}

/// Where chunks end.
fn boundaries(chunker: &DataChunker, stream: &[u8]) -> Vec<usize> {
    let mut at = 0;
    lengths(chunker, stream)
        .into_iter()
        .map(|len| {
            at += len;
            at
        })
        .collect()
}

/// The specification's words, byte by byte.
fn as_specified(gear: &[u64; 256], p: &ChunkerParameters, stream: &[u8]) -> usize {
    let (n, min, max) = (stream.len(), p.min as usize, p.max as usize);
    if n <= min {
        return n;
    }
    let (end, average) = (n.min(max) & !1, n.min(p.average as usize));
    let mut h = 0u64;
    for (i, &byte) in stream.iter().enumerate().take(end).skip(min) {
        h = h.wrapping_mul(2).wrapping_add(gear[usize::from(byte)]);
        if h & (if i < average { p.strict_mask } else { p.loose_mask }) == 0 {
            return i;
        }
    }
    n.min(max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn cuts_cover_the_stream_within_bounds(p in profile(), data in data()) {
        let domain = domain();
        let chunker = DataChunker::new(&domain, p);
        let lengths = lengths(&chunker, &data);
        prop_assert_eq!(lengths.iter().sum::<usize>(), data.len());
        prop_assert!(lengths.iter().all(|&len| len <= p.max as usize));
        prop_assert!(lengths.iter().rev().skip(1).all(|&len| len >= p.min as usize));
        let mut rest = &data[..];
        for len in lengths {
            prop_assert_eq!(len, as_specified(domain.gear_table(), &p, rest));
            rest = &rest[len..];
        }
    }

    #[test]
    fn behind_a_common_boundary_cuts_are_the_same(p in profile(), a in data(), b in data(), tail in data()) {
        let chunker = DataChunker::new(&domain(), p);
        let in_tail = |head: &[u8]| -> Vec<usize> {
            let all = boundaries(&chunker, &[head, &tail[..]].concat());
            all.into_iter().filter_map(|at| at.checked_sub(head.len())).collect()
        };
        let (a, b) = (in_tail(&a), in_tail(&b));
        if let Some(common) = a.iter().find(|at| b.contains(at)) {
            let behind = |cuts: &[usize]| -> Vec<usize> { cuts.iter().copied().filter(|at| at >= common).collect() };
            prop_assert_eq!(behind(&a), behind(&b));
        }
    }

    #[test]
    fn an_edit_in_place_moves_no_cut_before_it(p in profile(), data in data(), at in any::<usize>(), to in any::<u8>()) {
        prop_assume!(!data.is_empty());
        let chunker = DataChunker::new(&domain(), p);
        let (before, at, mut edited) = (boundaries(&chunker, &data), at % data.len(), data);
        edited[at] = to;
        let after = boundaries(&chunker, &edited);
        // The byte behind a cut is the last that decides on it.
        let kept = |cuts: &[usize]| -> Vec<usize> { cuts.iter().copied().filter(|&cut| cut < at).collect() };
        prop_assert_eq!(kept(&before), kept(&after));
    }

    #[test]
    fn tree_chunks_have_bounds(sizes in vec(prop_oneof![1..600usize, 1..40_000usize, 100_000..400_000usize], 0..200)) {
        let (keys, mut cutter) = (domain(), TreeCutter::default());
        let (mut len, mut count) = (0, 0);
        for (number, size) in sizes.into_iter().enumerate() {
            if cutter.ends_before(size) {
                prop_assert!(count > 0 && len + size > TREE_CHUNK_MAX_BYTES);
                cutter.reset();
                (len, count) = (0, 0);
            }
            (len, count) = (len + size, count + 1);
            prop_assert!(len <= TREE_CHUNK_MAX_BYTES || count == 1);
            if cutter.add(size, || keys.tree_cut_hash(&number.to_le_bytes())) {
                prop_assert!(len >= 16 << 10);
                cutter.reset();
                (len, count) = (0, 0);
            }
        }
    }

    #[test]
    fn lists_have_bounds(seed in any::<u64>(), count in 0..20_000usize, often in any::<bool>()) {
        let ids = random(seed, count * 32);
        let (mut cutter, mut len) = (ListCutter::default(), 0);
        for id in ids.chunks_exact(32) {
            let mut id: [u8; 32] = id.try_into().expect("32 bytes");
            if often {
                id[0] &= 128;
            }
            len += 1;
            let boundary = u16::from_le_bytes([id[0], id[1]]).is_multiple_of(128);
            let ends = cutter.add(&ChunkRef { id: ChunkId::new(id), len: 1 });
            prop_assert_eq!(ends, len == 512 || (len >= 32 && boundary));
            if ends {
                len = 0;
            }
        }
    }

    #[test]
    fn what_is_compressed_comes_back(data in data(), other in 0..40_000u32) {
        let (mut text, mut plain) = (b"before".to_vec(), vec![1, 2, 3]);
        let compression = Compressor::default().compress(&data, &mut text);
        prop_assert!(text.starts_with(b"before"));
        let text = &text[6..];
        prop_assert!(text.len() <= data.len());
        let len = u32::try_from(data.len()).expect("short");
        let mut decompressor = Decompressor::default();
        decompressor.decompress(compression, text, len, &mut plain).expect("the same");
        prop_assert_eq!(&plain, &data);
        prop_assert!(other == len || decompressor.decompress(compression, text, other, &mut plain).is_err());
        if compression == Compression::Zstd {
            let mut refused = |text: &[u8]| decompressor.decompress(compression, text, len, &mut plain).is_err();
            prop_assert!(refused(&text[..text.len() - 1]));
            prop_assert!(refused(&[text, &[0]].concat()));
            prop_assert!(refused(&[text, text].concat()));
            prop_assert!(refused(&[&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], text].concat()));
            prop_assert!(refused(&[text, &[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]].concat()));
        }
    }

    #[test]
    fn padding_is_small_and_stable(len in prop_oneof![0..5000u64, 0..1u64 << 30, 0..1u64 << 40], more in 0..1000u64) {
        let padded = padme(len);
        prop_assert!(padded >= len && padded - len <= (len / 8).min(65535));
        prop_assert_eq!(padme(padded), padded);
        prop_assert!(padme(len + more) >= padded);
    }
}

#[test]
fn an_edit_changes_chunks_nearby_only() {
    let p =
        ChunkerParameters { min: 1024, average: 2048, max: 8192, strict_mask: 0x3ff << 40, loose_mask: 0x3ff << 40 };
    let chunker = DataChunker::new(&domain(), p);
    let data = random(1, 1 << 20);
    let before: BTreeSet<usize> = boundaries(&chunker, &data).into_iter().collect();
    for at in (0..data.len()).step_by(77_777) {
        let mut edited = data.clone();
        edited[at] ^= 0x55;
        let after: BTreeSet<usize> = boundaries(&chunker, &edited).into_iter().collect();
        let moved: Vec<usize> = before.symmetric_difference(&after).copied().collect();
        assert!(moved.iter().all(|cut| (at..at + 20 * 8192).contains(cut)), "edit at {at}: {moved:?}");
        // An insertion moves all behind it, and nothing else.
        edited.insert(at, 7);
        let shifted: BTreeSet<usize> = boundaries(&chunker, &edited).into_iter().collect();
        let found = before.iter().filter(|&&cut| cut < at || shifted.contains(&(cut + 1))).count();
        assert!(
            before.len() - found <= 80,
            "insertion at {at}: {} of {} cuts lost",
            before.len() - found,
            before.len()
        );
    }
}

/// 100 MB of zeros, whether or not the frame says so: refused, and no more than what the table says is allocated.
#[test]
fn a_bomb_is_refused_in_bounded_memory() {
    let zeros = vec![0; 100 << 20];
    let told = zstd::bulk::compress(&zeros, 3).expect("compressed");
    let untold = zstd::stream::encode_all(&zeros[..], 3).expect("compressed");
    drop(zeros);
    assert!(matches!(zstd::zstd_safe::get_frame_content_size(&untold), Ok(None)));
    for (bomb, expected) in [(told, DecompressError::WrongLength), (untold, DecompressError::Damaged)] {
        let mut out = Vec::new();
        let result = Decompressor::default().decompress(Compression::Zstd, &bomb, 1 << 20, &mut out);
        assert_eq!(result, Err(expected));
        assert!(out.capacity() <= 1 << 20, "{} bytes", out.capacity());
    }
}
