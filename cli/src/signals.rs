//! SIGINT and SIGTERM: the first asks the running command to stop, the second ends the process at once.
//!
//! Ending at once is safe: nothing counts before it is registered, and the next snapshot uses what was stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

/// Whether somebody asked to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel {
    requested: Arc<AtomicBool>,
    prompting: Arc<AtomicBool>,
}

impl Cancel {
    /// Whether to stop as soon as it is safe.
    pub(crate) fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }

    /// Runs `ask`, during which a signal ends the process as if nobody handled it.
    ///
    /// A prompt has switched the terminal's echo off; shells switch it on again only after a death by signal.
    pub(crate) fn while_prompting<T>(&self, ask: impl FnOnce() -> T) -> T {
        self.prompting.store(true, Ordering::Relaxed);
        let answer = ask();
        self.prompting.store(false, Ordering::Relaxed);
        answer
    }
}

/// Takes the signals over.
///
/// # Errors
/// If the system refuses the handlers.
pub(crate) fn install() -> std::io::Result<Cancel> {
    let cancel = Cancel::default();
    for signal in [SIGINT, SIGTERM] {
        // They run in this order: the first signal finds the flag down and raises it, the second finds it raised.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&cancel.prompting))?;
        let exit_code = i32::from(crate::exit::INTERRUPTED);
        signal_hook::flag::register_conditional_shutdown(signal, exit_code, Arc::clone(&cancel.requested))?;
        signal_hook::flag::register(signal, Arc::clone(&cancel.requested))?;
    }
    Ok(cancel)
}
