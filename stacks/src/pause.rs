//! Services that do not write while their files are read. Whatever was begun is undone, however the work ends.

use std::io::ErrorKind as IoKind;

use engine::monitor::Problem;
use engine::ops::AroundPaths;
use engine::{EngineError, ErrorKind, Result};

use crate::hook::{HookCommand, HookInput, HookOutput, Project, Surroundings, run_hook};
use crate::manifest::Stack;

/// Pauses services before paths are read and lets them go on afterwards.
pub(crate) struct Pauses<'a> {
    stack: &'a Stack,
    project: &'a Project,
    surroundings: Surroundings<'a>,
    /// Services whose pause was begun, with what ends it.
    begun: Vec<HookCommand>,
    /// Pauses that could not be ended.
    failures: u64,
}

impl<'a> Pauses<'a> {
    pub(crate) fn new(stack: &'a Stack, project: &'a Project, surroundings: Surroundings<'a>) -> Self {
        Self { stack, project, surroundings, begun: Vec::new(), failures: 0 }
    }

    /// Ends all pauses, the last one first, whoever asks to stop meanwhile. What can't be ended is a problem, and
    /// stays paused: somebody must see to it.
    pub(crate) fn end(&mut self) {
        if self.begun.is_empty() {
            return;
        }
        while let Some(hook) = self.begun.pop() {
            if let Err(error) = run_hook(&hook, HookInput::None, HookOutput::Discard, false, &self.surroundings) {
                self.failures += 1;
                let path = format!("{}/{}", hook.stack, hook.service).into_bytes();
                let message = format!("the service may still be paused: {error}");
                self.surroundings.monitor.problem(&Problem { path, message });
            }
        }
        (self.surroundings.paused)(false);
    }

    /// How many pauses could not be ended.
    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }
}

impl AroundPaths for Pauses<'_> {
    fn before(&mut self) -> Result<()> {
        for (service, backup) in self.stack.manifest.backups().filter(|(_, backup)| backup.pauses()) {
            let new = |verb, command: &Option<String>| {
                let command = command.as_deref().unwrap_or_default();
                HookCommand::new(self.stack, self.project, service, backup, verb, command)
            };
            let (begin, end) = match backup.stop {
                true => (
                    HookCommand::switch(self.stack, self.project, service, backup, "stop")?,
                    HookCommand::switch(self.stack, self.project, service, backup, "start")?,
                ),
                false => (new("quiesce", &backup.quiesce)?, new("resume", &backup.resume)?),
            };
            (self.surroundings.paused)(true);
            // From here on it is to be ended: a command that failed may have paused it all the same.
            self.begun.push(end);
            run_hook(&begin, HookInput::None, HookOutput::Discard, true, &self.surroundings)?;
        }
        Ok(())
    }

    fn after(&mut self) -> Result<()> {
        self.end();
        Ok(())
    }
}

impl Drop for Pauses<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// A path that a manifest declares and that is not there.
pub(crate) fn missing(stack: &Stack, name: &str, path: &std::path::Path) -> EngineError {
    let text = format!("stack {}: persist {name}: {} does not exist", stack.manifest.stack, path.display());
    EngineError::with_source(ErrorKind::NotFound, text, std::io::Error::from(IoKind::NotFound))
}
