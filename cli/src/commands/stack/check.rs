//! `stack check`: compares manifests with what is there.

use stacks::check::{Finding, check};

use super::declared;
use crate::args::stack::Check;
use crate::context::Context;
use crate::exit::{Failure, Outcome, invalid};
use crate::messages::{Message, StackFields};
use crate::text;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Check) -> Result<Outcome, Failure> {
    let environment = context.environment.all();
    let (wanted, mut bad) = (declared(context, &arguments.which)?, 0);
    let all = wanted.len();
    for one in wanted {
        let Some(stack) = one.stack_or_tell(context) else {
            bad += 1;
            continue;
        };
        let (mut problems, mut texts) = (0, Vec::new());
        for finding in check(stack, &environment) {
            match finding {
                Finding::Problem(text) => {
                    problems += 1;
                    texts.push(text.clone());
                    context.output.warn(&format!("stack {}: {}", stack.manifest.stack, text::plain(&text)));
                }
                Finding::Note(text) => {
                    context.output.note(&format!("stack {}: {}", stack.manifest.stack, text::plain(&text)))
                }
            }
        }
        bad += u64::from(problems > 0);
        let action = if problems == 0 { "good" } else { "bad" };
        if context.output.is_json() {
            context.output.message(&Message::Stack(StackFields {
                stack: stack.manifest.stack.clone(),
                action,
                message: (!texts.is_empty()).then(|| texts.join("\n")),
                error_count: problems,
                ..StackFields::default()
            }))?;
        } else if problems == 0 {
            let (paths, dumps) = (stack.manifest.persist.len() as u64, stack.manifest.backups().count() as u64);
            let paths = text::count(paths, "persist path", "persist paths");
            let dumps = text::count(dumps, "service", "services");
            context.output.summary(&format!("stack {}: {paths} and {dumps}, all is there", stack.manifest.stack))?;
        }
    }
    if bad == 0 {
        Ok(Outcome::Done)
    } else {
        Err(invalid(format!("{bad} of {} would fail", text::count(all as u64, "stack", "stacks"))))
    }
}
