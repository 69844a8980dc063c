//! The names in a directory, in little more memory than their bytes.

/// Names in ascending order of their bytes, each once, without `.` and `..`.
///
/// One buffer and one offset a name instead of a `Vec` of `Vec`s: a directory of a million files costs some 30 MB
/// instead of 80.
#[derive(Debug, Default, Clone)]
pub struct Names {
    /// Every name, followed by a NUL, which no name contains.
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Names {
    /// Adds a name at the end; [`Self::sort`] must follow the last one.
    pub(super) fn push(&mut self, name: &[u8]) {
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
    }

    /// Brings the names in order. A directory that is changed while it is listed can yield a name twice.
    pub(super) fn sort(&mut self) {
        let Self { bytes, starts } = self;
        starts.sort_unstable_by(|&a, &b| name_at(bytes, a).cmp(name_at(bytes, b)));
        starts.dedup_by(|a, b| name_at(bytes, *a) == name_at(bytes, *b));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The name at `index`, counted from 0.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.starts.get(index).map(|&start| name_at(&self.bytes, start))
    }

    /// Whether `name` is among them.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.starts.binary_search_by(|&start| name_at(&self.bytes, start).cmp(name)).is_ok()
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.starts.iter().map(|&start| name_at(&self.bytes, start))
    }

    /// Keeps those that `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let Self { bytes, starts } = self;
        starts.retain(|&start| keep(name_at(bytes, start)));
    }
}

fn name_at(bytes: &[u8], start: usize) -> &[u8] {
    let rest = &bytes[start..];
    let len = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
    &rest[..len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_sorted_by_bytes_and_once() {
        let mut names = Names::default();
        for name in [b"b".as_slice(), b"a\xff", b"a", b"B", b"b", b"a.b"] {
            names.push(name);
        }
        names.sort();
        let all: Vec<_> = names.iter().collect();
        assert_eq!(all, [b"B".as_slice(), b"a", b"a.b", b"a\xff", b"b"]);
        assert_eq!(names.len(), 5);
        assert!(names.contains(b"a\xff") && !names.contains(b"A"));
        assert_eq!(names.get(1), Some(b"a".as_slice()));
        names.retain(|name| name.len() == 1);
        assert_eq!(names.iter().count(), 3);
        assert_eq!(names.get(3), None);
    }
}
