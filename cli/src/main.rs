//! `repo`: the command line of the backup engine.
//!
//! Everything that touches a terminal, the environment or the clock is here; everything that touches a
//! repository is in the engine. One file in `commands/` per verb; `exit.rs` alone knows exit codes and hints.

mod args;
mod commands;
mod context;
mod demo;
mod environment;
mod exit;
mod hint;
mod memory;
mod messages;
mod output;
mod progress;
mod secret;
mod signals;
mod text;

use std::process::ExitCode;

use crate::context::Context;
use crate::environment::Environment;

fn main() -> ExitCode {
    let cli = match args::parse(std::env::args_os()) {
        Ok(cli) => cli,
        // Help, version and usage errors: clap prints them where they belong and knows their exit code.
        Err(error) => error.exit(),
    };
    memory::share_arenas(std::thread::available_parallelism().map_or(1, usize::from));
    let cancel = match signals::install() {
        Ok(cancel) => cancel,
        Err(error) => return exit::cannot_start(&error),
    };
    let context = Context::new(cli.global, Environment::system(), cancel);
    let result = commands::run(&context, &cli.command);
    exit::finish(&context, cli.command.name(), result)
}
