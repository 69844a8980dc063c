//! SIGINT and SIGTERM: the first asks the running command to stop, the second ends the process at once.
//!
//! Ending at once is safe: nothing counts before it is registered, and the next snapshot uses what was stored.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};

/// Whether somebody asked to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel {
    requested: Arc<AtomicBool>,
    prompting: Arc<AtomicBool>,
    /// Whether the next signal ends the process at once.
    armed: Arc<AtomicBool>,
    /// What arms; taken out while services are paused.
    arming: Arc<Mutex<Vec<SigId>>>,
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

    /// While services are paused nothing ends the process at once: somebody has to resume them.
    pub(crate) fn while_paused(&self, paused: bool) {
        let mut arming = self.arming.lock().expect("no holder of this lock panics");
        for id in arming.drain(..) {
            signal_hook::low_level::unregister(id);
        }
        if paused {
            self.armed.store(false, Ordering::Relaxed);
        } else if let Ok(ids) = arm(&self.armed) {
            *arming = ids;
        }
    }
}

/// Lets a signal arm the next one. Actions run in the order in which they are registered, so the one that arms comes
/// after the one that ends the process.
fn arm(armed: &Arc<AtomicBool>) -> std::io::Result<Vec<SigId>> {
    [SIGINT, SIGTERM].into_iter().map(|signal| signal_hook::flag::register(signal, Arc::clone(armed))).collect()
}

/// Takes the signals over.
///
/// # Errors
/// If the system refuses the handlers.
pub(crate) fn install() -> std::io::Result<Cancel> {
    let cancel = Cancel::default();
    for signal in [SIGINT, SIGTERM] {
        // They run in this order: the first signal finds the flag down, raises it and arms, the second ends the process.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&cancel.prompting))?;
        let exit_code = i32::from(crate::exit::INTERRUPTED);
        signal_hook::flag::register_conditional_shutdown(signal, exit_code, Arc::clone(&cancel.armed))?;
        signal_hook::flag::register(signal, Arc::clone(&cancel.requested))?;
    }
    *cancel.arming.lock().expect("no holder of this lock panics") = arm(&cancel.armed)?;
    Ok(cancel)
}
