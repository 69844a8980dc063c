//! `cat`: shows objects of the repository.

use std::io::Write;

use engine::ops::{self, CatObject, CatOutput};
use engine::{EngineError, ErrorKind};

use crate::args::browse::{Cat, CatKind};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::RawOutput;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Cat) -> Result<Outcome, Failure> {
    let progress = context.progress(false);
    let repository = context.open()?;
    let id = arguments.id.clone().unwrap_or_default();
    let object = match arguments.kind {
        CatKind::Config => CatObject::Config,
        // `latest` and the filters name snapshots here too.
        CatKind::Snapshot => {
            let filter = arguments.filter.to_engine();
            CatObject::Snapshot(ops::find_snapshot(&repository, &id, &filter)?.0.to_hex())
        }
        CatKind::Index => CatObject::Index(id),
        CatKind::Pack => CatObject::Pack(id),
        CatKind::Session => CatObject::Session(id),
        CatKind::Prune => CatObject::Prune(id),
        CatKind::Record => CatObject::Record(id),
        CatKind::Key => CatObject::Key(id),
        CatKind::Chunk => CatObject::Chunk(id),
    };
    // Only a chunk needs the index, and the other objects should show when that is damaged.
    let index = match arguments.kind {
        CatKind::Chunk => Some(repository.load_index(&progress)?),
        _ => None,
    };
    let shown = ops::cat(&repository, index.as_ref(), &object)?;
    drop(progress);
    match shown {
        CatOutput::Json(text) => context.output.line(text.trim_end())?,
        CatOutput::Bytes(bytes) => {
            let mut out = RawOutput::new(&context.output)?;
            out.write_all(&bytes)
                .map_err(|error| EngineError::with_source(ErrorKind::Io, "cannot write to standard output", error))?;
        }
    }
    Ok(Outcome::Done)
}
