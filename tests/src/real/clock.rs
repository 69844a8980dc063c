//! Clocks that are ten years off: a small library that is loaded before the program and moves what it is told.

use std::path::PathBuf;
use std::process::Command;

use crate::tree::Random;
use crate::{Scratch, has_program, run_command};

/// What the C library asks the kernel for the time with.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
  int result = syscall(SYS_clock_gettime, clock, time);
  const char *ahead = getenv("TEST_CLOCK_AHEAD");
  if (result == 0 && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += atol(ahead);
  return result;
}
"#;

/// Ten years in seconds.
pub const TEN_YEARS: i64 = 10 * 365 * 24 * 3600;

/// A library that sets clocks wrong.
pub struct Clocks {
    library: PathBuf,
}

impl Clocks {
    /// Builds it; `None` where there is no C compiler.
    ///
    /// # Panics
    /// If the compiler does not take it.
    pub fn build(scratch: &Scratch) -> Option<Self> {
        if !has_program("cc") {
            return None;
        }
        let (source, library) = (scratch.file("clock.c"), scratch.file("clock.so"));
        std::fs::write(&source, SOURCE).expect("written");
        let run = run_command(Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]));
        assert!(run.status.success(), "{run}");
        Some(Self { library })
    }

    /// What a command believes to be now is so many seconds ahead.
    pub fn ahead(&self, command: &mut Command, seconds: i64) {
        command.env("LD_PRELOAD", &self.library).env("TEST_CLOCK_AHEAD", seconds.to_string());
    }

    /// Its clock is right, or ten years off.
    pub fn set(&self, command: &mut Command, random: &mut Random) {
        match random.below(4) {
            0 => self.ahead(command, TEN_YEARS),
            1 => self.ahead(command, -TEN_YEARS),
            _ => {}
        }
    }
}
