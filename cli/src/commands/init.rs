//! `init`: makes a repository.

use engine::model::Suite;
use engine::ops::{self, CipherChoice, InitOptions};

use crate::args::upkeep::{Cipher, Init, Kdf};
use crate::context::{Context, SystemClock};
use crate::exit::{Failure, Outcome};
use crate::messages::Message;
use crate::secret::Source;
use crate::text;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Init) -> Result<Outcome, Failure> {
    let address = context.address()?;
    // Before anything is made: without a password nothing is left behind.
    let secret = Source::choose(&context.global, &context.environment).new_repository(&context.cancel)?;
    let (storage, found) = remote::create(&address, &context.access()?)?;
    let options = InitOptions {
        cipher: match arguments.cipher {
            Cipher::Auto => CipherChoice::Auto,
            Cipher::Xchacha20 => CipherChoice::XChaCha20Poly1305,
            Cipher::Aes256gcm => CipherChoice::Aes256Gcm,
        },
        chunk_size: arguments.chunk_size,
        dump_chunk_size: arguments.dump_chunk_size,
        pack_size: arguments.pack_size,
        strong_kdf: arguments.kdf == Kdf::Strong,
        label: format!("{}@{}", context.user(), context.host()),
    };
    let report = ops::init(&*storage, &secret, &options, &SystemClock)?;
    let cipher = suite_name(report.suite);
    let output = &context.output;
    if output.is_json() {
        output.message(&Message::Initialized {
            id: report.id.to_hex(),
            repository: &address,
            cipher,
            key: report.slot.to_hex(),
            storage: &found,
        })?;
        return Ok(Outcome::Done);
    }
    output.summary(&format!("made repository {} at {}", report.id, text::plain(&address)))?;
    match report.measured {
        Some((xchacha, aes)) => output.summary(&format!(
            "cipher {cipher}, the faster one here (XChaCha20-Poly1305 {}/s, AES-256-GCM {}/s)",
            text::size(xchacha),
            text::size(aes)
        ))?,
        None => output.summary(&format!("cipher {cipher}"))?,
    }
    for line in &found {
        output.summary(&text::plain(line))?;
    }
    output.summary(
        "Keep the password elsewhere too: nothing can be read without it. `repo key recovery` makes a spare.",
    )?;
    Ok(Outcome::Done)
}

fn suite_name(suite: Suite) -> &'static str {
    match suite {
        Suite::XChaCha20Poly1305 => "XChaCha20-Poly1305",
        Suite::Aes256Gcm => "AES-256-GCM",
    }
}
