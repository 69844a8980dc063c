//! What the demo saves: a small stack as people run them, the same on every machine, in two versions.

use std::fs::{self, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// How many uploads there are.
const UPLOADS: u64 = 240;
/// How many rows the database has at first; makes a dump of about 10 MB.
const ROWS: u64 = 105_000;

/// Before and after the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// As it is made.
    First,
    /// After some time.
    Second,
}

/// Numbers that look random and are the same every time (splitmix64).
struct Sequence(u64);

impl Sequence {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Bytes that nothing can compress, as in pictures.
    fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(len as usize).collect()
    }

    /// Words that compress as texts do.
    fn words(&mut self, count: u64) -> String {
        const WORDS: [&str; 24] = [
            "the",
            "order",
            "invoice",
            "customer",
            "of",
            "shipped",
            "to",
            "with",
            "paid",
            "and",
            "a",
            "warehouse",
            "returned",
            "delivery",
            "address",
            "in",
            "summer",
            "catalogue",
            "blue",
            "large",
            "by",
            "parcel",
            "note",
            "on",
        ];
        let words: Vec<&str> = (0..count).map(|_| WORDS[self.below(WORDS.len() as u64) as usize]).collect();
        words.join(" ")
    }
}

/// Makes the stack and gives the number of its files.
pub(super) fn make(app: &Path) -> io::Result<u64> {
    let mut files = 0;
    let mut write = |name: &str, bytes: &[u8]| {
        files += 1;
        let path = app.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)
    };
    write("compose.yaml", COMPOSE.as_bytes())?;
    write(".env", b"POSTGRES_PASSWORD=not-a-secret\nTZ=UTC\n")?;
    write("config/nginx.conf", NGINX.as_bytes())?;
    write("config/app.toml", settings(20).as_bytes())?;
    write("bin/migrate.sh", b"#!/bin/sh\nexec docker compose run --rm app migrate\n")?;
    write("notes/\u{dc}bersicht \u{2013} 3. Quartal.txt", "Gr\u{fc}\u{df}e aus dem Lager\n".as_bytes())?;
    let mut sequence = Sequence(1);
    for page in 0..60 {
        let text = format!("<h1>Page {page}</h1>\n<p>{}</p>\n", sequence.words(400));
        write(&format!("releases/2026-11/page-{page:03}.html"), text.as_bytes())?;
    }
    for number in 0..UPLOADS {
        let len = 4_000 + sequence.below(60_000);
        write(&format!("uploads/{}/photo-{number:04}.jpg", 2022 + number % 5), &sequence.bytes(len))?;
    }
    write("logs/app.log", sequence.words(20_000).as_bytes())?;
    write("data/volume.img", b"")?;
    make_special(app)?;
    Ok(files + 1)
}

/// What is not just bytes: modes, links, an empty directory, a file with holes.
fn make_special(app: &Path) -> io::Result<()> {
    fs::set_permissions(app.join(".env"), Permissions::from_mode(0o600))?;
    fs::set_permissions(app.join("bin/migrate.sh"), Permissions::from_mode(0o755))?;
    fs::create_dir(app.join("config/certificates"))?;
    fs::set_permissions(app.join("config/certificates"), Permissions::from_mode(0o700))?;
    symlink("releases/2026-11", app.join("current"))?;
    symlink("/etc/no-such-file", app.join("config/override.conf"))?;
    fs::hard_link(app.join("logs/app.log"), app.join("logs/app.log.1"))?;
    let mut volume = fs::File::options().write(true).open(app.join("data/volume.img"))?;
    volume.set_len(8 << 20)?;
    for place in [0, 3 << 20, 7 << 20] {
        volume.seek(SeekFrom::Start(place))?;
        volume.write_all(&Sequence(place).bytes(40_000))?;
    }
    Ok(())
}

/// Changes the stack as a few days do, and says what happened.
pub(super) fn change(app: &Path) -> io::Result<[&'static str; 5]> {
    fs::write(app.join("config/app.toml"), settings(50))?;
    fs::create_dir(app.join("releases/2026-12"))?;
    for page in 0..60 {
        let name = format!("page-{page:03}.html");
        fs::copy(app.join("releases/2026-11").join(&name), app.join("releases/2026-12").join(&name))?;
    }
    fs::write(app.join("releases/2026-12/page-060.html"), "<h1>Winter</h1>\n")?;
    fs::remove_file(app.join("current"))?;
    symlink("releases/2026-12", app.join("current"))?;
    for number in UPLOADS..UPLOADS + 3 {
        fs::write(app.join(format!("uploads/2026/photo-{number:04}.jpg")), Sequence(number).bytes(30_000))?;
    }
    fs::rename(app.join("uploads/2022"), app.join("uploads/archive-2022"))?;
    fs::remove_file(app.join("uploads/2023/photo-0001.jpg"))?;
    Ok([
        "config/app.toml was edited",
        "releases/2026-12 is a copy of 2026-11 with one more page, and current points to it",
        "uploads/2026 has 3 more pictures",
        "uploads/2022 is called archive-2022 now",
        "uploads/2023/photo-0001.jpg was deleted",
    ])
}

fn settings(workers: u32) -> String {
    format!("[server]\nlisten = \"0.0.0.0:8000\"\nworkers = {workers}\n\n[mail]\nfrom = \"shop@example.org\"\n")
}

/// What the database dumps. The second version has other rows in two places and more at the end.
pub(super) fn dump(version: Version) -> Vec<u8> {
    let mut text = String::with_capacity(11 << 20);
    text.push_str("--\n-- PostgreSQL database dump\n--\n\nCOPY public.orders (id, placed, total, note) FROM stdin;\n");
    let rows = if version == Version::Second { ROWS + 400 } else { ROWS };
    for id in 1..=rows {
        let updated = version == Version::Second && matches!(id, 40_000..40_040 | 90_000..90_030);
        let mut sequence = Sequence(id * 2 + u64::from(updated));
        let (day, cents) = (1 + sequence.below(28), sequence.below(1_000_000));
        let note = sequence.words(10);
        text.push_str(&format!("{id}\t2026-11-{day:02} 12:00:00\t{}.{:02}\t{note}\n", cents / 100, cents % 100));
    }
    text.push_str("\\.\n");
    text.into_bytes()
}

const COMPOSE: &str = "services:
  web:
    image: nginx:1.29
    volumes: [./config/nginx.conf:/etc/nginx/nginx.conf:ro, ./current:/usr/share/nginx/html:ro]
  app:
    image: registry.example.org/shop:2026.11
    env_file: .env
    volumes: [./uploads:/uploads, ./config/app.toml:/app.toml:ro]
  db:
    image: postgres:18
    volumes: [db:/var/lib/postgresql]
volumes:
  db:
";

const NGINX: &str = "events {}
http {
  server {
    listen 80;
    location /uploads/ { proxy_pass http://app:8000; }
    location / { root /usr/share/nginx/html; }
  }
}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dumps_are_as_large_as_the_demo_says_and_mostly_the_same() {
        let (first, second) = (dump(Version::First), dump(Version::Second));
        assert!((9_500_000..11_000_000).contains(&first.len()), "{}", first.len());
        assert!(second.len() > first.len());
        let lines = |dump: &[u8]| -> std::collections::BTreeSet<Vec<u8>> {
            dump.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
        };
        assert_eq!(lines(&second).difference(&lines(&first)).count(), 400 + 40 + 30);
    }
}
