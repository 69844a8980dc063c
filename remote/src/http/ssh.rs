//! `ssh://`: the program ssh runs `repo serve --stdio` on the other machine, and asks who we are.

use std::sync::Arc;

use engine::Result;
use engine::storage::Storage;

use super::HttpStorage;
use super::pipe::{Dialled, Pipe};
use crate::access::Access;
use crate::address::Remote;
use crate::patience::Patience;
use crate::ssh;
use crate::throttle::Throttle;

/// Opens the repository that is a directory of another machine.
///
/// # Errors
/// `Invalid` for an option that is no command; `NoRepository`; `Io`.
pub(crate) fn open(remote: &Remote, place: String, create: bool, access: &Access) -> Result<Arc<dyn Storage>> {
    let words = words(remote, access)?;
    let dial = Box::new(move || start(&words));
    let pipe = Pipe::new(dial, Throttle::new(access.upload_limit), Throttle::new(access.download_limit))?;
    // What ssh refuses once it refuses again, and some machines lock out who asks too often.
    HttpStorage::open(pipe, place, create, Patience::none(), access)
}

/// The command line of ssh. The last word is for the shell of the other machine.
fn words(remote: &Remote, access: &Access) -> Result<Vec<String>> {
    let mut words = ssh::words(remote, access)?;
    let program = access.option("ssh.remote-command").unwrap_or("repo");
    let path = shell_words::quote(&remote.path);
    words.extend([remote.destination(), "--".to_owned(), format!("{program} serve --stdio --path {path}")]);
    Ok(words)
}

fn start(words: &[String]) -> Result<Dialled> {
    let (process, input, output) = ssh::start(words)?;
    Ok((Box::new(tokio::io::join(output, input)), Some(process)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(path: &str, port: Option<u16>) -> Remote {
        Remote { user: Some("me".into()), host: "host".into(), port, path: path.into() }
    }

    #[test]
    fn the_other_shell_sees_one_path_whatever_is_in_it() {
        let words = words(&remote("/srv/it's $(me); x", Some(22)), &Access::none()).expect("words");
        assert_eq!(words[..7], ["ssh", "-o", "ServerAliveInterval=30", "-p", "22", "me@host", "--"]);
        let theirs = shell_words::split(&words[7]).expect("a line of the shell");
        assert_eq!(theirs, ["repo", "serve", "--stdio", "--path", "/srv/it's $(me); x"]);
    }

    #[test]
    fn commands_can_be_others() {
        let options = ["ssh.command=ssh -i 'a key'".to_owned(), "ssh.remote-command=sudo repo".to_owned()];
        let access = Access::new(&options, Arc::new(|_| None)).expect("options");
        let words = words(&remote("/r", None), &access).expect("words");
        assert_eq!(
            words,
            [
                "ssh",
                "-i",
                "a key",
                "-o",
                "ServerAliveInterval=30",
                "me@host",
                "--",
                "sudo repo serve --stdio --path /r"
            ]
        );
    }
}
