//! Reading a restored tree back: what is there against what the snapshot says, by nothing that the restore
//! remembers.

use rayon::prelude::*;

use super::filter::{Filter, Verdict};
use super::place::{holes, stretches};
use super::walk::Scope;
use super::{Context, add};
use crate::error::Result;
use crate::model::{ChunkKind, Content, Node, NodeKind};
use crate::ops::browse::{Descend, Visit, components, walk};
use crate::repository::ContentReader;
use crate::target::TargetDir;

/// Files that are compared at the same time, at most.
const BATCH_FILES: usize = 512;

/// Compares everything that was to be restored.
pub(super) fn verify_scope(context: &Context<'_>, scope: &Scope, target: &TargetDir) -> Result<()> {
    let filter = Filter::new(context.options)?;
    let mut batch: Vec<(Vec<u8>, Node)> = Vec::new();
    let mut visit = |path: &[u8], node: &Node| {
        match filter.judge(path, node.is_directory()) {
            Verdict::Unwanted => return Ok(Descend::No),
            Verdict::Below => return Ok(Descend::Yes),
            Verdict::Wanted => batch.push((path.to_vec(), node.clone())),
        }
        if batch.len() >= BATCH_FILES {
            compare_all(context, target, &std::mem::take(&mut batch))?;
        }
        Ok(Descend::Yes)
    };
    match scope {
        Scope::Single(node) => drop(visit(&[b"/", node.name.as_slice()].concat(), node)?),
        Scope::Directory(content) => walk(context.chunks, content, b"", &mut |path, step| match step {
            Visit::Node(node) => visit(path, node),
            Visit::Left | Visit::Damaged(_) => Ok(Descend::Yes),
        })?,
    }
    compare_all(context, target, &batch)
}

fn compare_all(context: &Context<'_>, target: &TargetDir, batch: &[(Vec<u8>, Node)]) -> Result<()> {
    context.stop_if_asked()?;
    batch.par_iter().for_each(|(path, node)| match compare(context, target, path, node) {
        Ok(differences) => {
            differences.into_iter().for_each(|text| context.problems.add(path, format!("after the restore: {text}")));
            add(&context.counts.verified, u64::from(node.kind == NodeKind::File));
            context.problems.monitor().advance(1, node.size);
        }
        Err(error) => context.problems.add(path, format!("after the restore: {error}")),
    });
    Ok(())
}

fn compare(context: &Context<'_>, target: &TargetDir, path: &[u8], node: &Node) -> Result<Vec<String>> {
    let parts: Vec<&[u8]> = components(path).collect();
    let (name, parents) = parts.split_last().expect("a path has a last part");
    let mut below: Option<TargetDir> = None;
    for part in parents {
        below = Some(below.as_ref().unwrap_or(target).open_directory(part)?);
    }
    let directory = below.as_ref().unwrap_or(target);
    let Some(stat) = directory.stat(name)? else { return Ok(vec!["it is not there".into()]) };
    let mut differences = Vec::new();
    if stat.kind != node.kind {
        return Ok(vec![format!("it is {:?}, not {:?}", stat.kind, node.kind)]);
    }
    differences.extend(directory.differences(name, &node.metadata, &context.owners)?);
    match node.kind {
        NodeKind::Symlink if directory.read_link(name)? != node.target => {
            differences.push("link target differs".into())
        }
        NodeKind::BlockDevice | NodeKind::CharDevice if stat.rdev != node.rdev => {
            differences.push("device number differs".into());
        }
        NodeKind::File if stat.size != node.size => {
            differences.push(format!("size is {}, not {}", stat.size, node.size));
        }
        NodeKind::File => differences.extend(compare_content(context, directory, node)?),
        _ => {}
    }
    Ok(differences)
}

fn compare_content(context: &Context<'_>, directory: &TargetDir, node: &Node) -> Result<Option<String>> {
    let file = directory.open_readable(&node.name)?;
    let extents = node.extents.as_deref();
    let differs = |offset: u64| Ok(Some(format!("content differs near byte {offset}")));
    let mut buffer = Vec::new();
    let mut read = |offset: u64, len: usize| -> Result<Option<Vec<u8>>> {
        buffer.clear();
        for (at, len) in stretches(extents, offset, len as u64) {
            let start = buffer.len();
            buffer.resize(start + len as usize, 0);
            if file.read_at(&mut buffer[start..], at)? != len as usize {
                return Ok(None);
            }
        }
        Ok(Some(std::mem::take(&mut buffer)))
    };
    let empty = Content::Inline(Vec::new());
    let content = node.content.as_ref().unwrap_or(&empty);
    if let Content::Inline(bytes) = content {
        return if read(0, bytes.len())?.as_ref() == Some(bytes) { Ok(None) } else { differs(0) };
    }
    let mut reader = ContentReader::new(context.chunks, content);
    let mut offset = 0u64;
    while let Some(reference) = reader.read_next()? {
        let there = read(offset, reference.len as usize)?;
        let same = |bytes: Vec<u8>| context.domain.chunk_id(ChunkKind::Data, &bytes) == reference.id;
        if !there.is_some_and(same) {
            return differs(offset);
        }
        offset += u64::from(reference.len);
    }
    for (at, len) in extents.map(|extents| holes(extents, node.size)).unwrap_or_default() {
        let mut zeros = vec![0; usize::try_from(len.min(1 << 20)).unwrap_or(1 << 20)];
        let mut position = 0;
        while position < len {
            let part = zeros.len().min(usize::try_from(len - position).unwrap_or(usize::MAX));
            file.read_at(&mut zeros[..part], at + position)?;
            if zeros[..part].iter().any(|&byte| byte != 0) {
                return differs(at + position);
            }
            position += part as u64;
        }
    }
    Ok(None)
}
