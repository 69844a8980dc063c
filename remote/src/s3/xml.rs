//! The answers of S3 that are XML. What they lack is empty; what they have beyond that is ignored.

use serde::Deserialize;

/// An error, as it comes with a status, or in an answer whose status says that all went well.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Fault {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) region: Option<String>,
}

/// A page of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Page {
    pub(super) is_truncated: bool,
    pub(super) next_continuation_token: Option<String>,
    pub(super) encoding_type: Option<String>,
    pub(super) contents: Vec<Listed>,
}

/// An object in a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Listed {
    pub(super) key: String,
    pub(super) size: u64,
}

/// An upload in parts that has begun.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Begun {
    pub(super) upload_id: String,
}

/// A page of uploads that have begun and not ended.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Uploads {
    pub(super) is_truncated: bool,
    pub(super) next_key_marker: String,
    pub(super) next_upload_id_marker: String,
    pub(super) encoding_type: Option<String>,
    #[serde(rename = "Upload")]
    pub(super) uploads: Vec<Unfinished>,
}

/// An upload that has begun and not ended.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Unfinished {
    pub(super) key: String,
    pub(super) upload_id: String,
    pub(super) initiated: String,
}

/// A page of a list of versions. Versions and markers come in one order, which two lists would lose.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Listing {
    #[serde(rename = "$value")]
    pub(super) items: Vec<Item>,
}

/// What is in such a page.
#[derive(Debug, Deserialize)]
pub(super) enum Item {
    IsTruncated(bool),
    NextKeyMarker(String),
    NextVersionIdMarker(String),
    EncodingType(String),
    Version(ListedVersion),
    DeleteMarker(ListedVersion),
    #[serde(other)]
    Other,
}

/// A version of an object in a list, or a marker that there is none any more.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ListedVersion {
    pub(super) key: String,
    pub(super) version_id: String,
    pub(super) last_modified: String,
    pub(super) size: u64,
}

/// Whether a bucket keeps old versions.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Versioning {
    pub(super) status: String,
}

/// Whether a bucket locks objects.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ObjectLock {
    pub(super) object_lock_enabled: String,
}

/// The name of the outermost element; empty if it is no XML.
pub(super) fn root(body: &[u8]) -> String {
    let mut reader = quick_xml::Reader::from_reader(body);
    loop {
        match reader.read_event() {
            Ok(quick_xml::events::Event::Start(element) | quick_xml::events::Event::Empty(element)) => {
                return element.local_name().as_ref().to_owned();
            }
            Ok(quick_xml::events::Event::Eof) | Err(_) => return String::new(),
            Ok(_) => {}
        }
    }
}

/// An answer whose outermost element has the given name.
pub(super) fn parse<T: for<'a> Deserialize<'a>>(body: &[u8], expected: &str) -> Result<T, String> {
    let found = root(body);
    if found != expected {
        let found = if found.is_empty() { "something that is no XML".to_owned() } else { format!("{found:?}") };
        return Err(format!("the answer is {found} where {expected} is expected"));
    }
    parse_any(body)
}

/// An answer whose outermost element may have any name.
pub(super) fn parse_any<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the answer is not UTF-8".to_owned())?;
    quick_xml::de::from_str(text).map_err(|error| format!("the answer can't be read: {error}"))
}

/// The error in a body; an empty one if there is none.
pub(super) fn fault(body: &[u8]) -> Fault {
    parse(body, "Error").unwrap_or_default()
}

/// A key as it is, from a list that encoded it as addresses are encoded.
pub(super) fn decoded(key: &str, encoding: Option<&str>) -> String {
    if encoding != Some("url") {
        return key.to_owned();
    }
    let bytes = key.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
                continue;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The end of an upload in parts: number, entity tag and checksum of each. Tags are the server's own, and quoted as XML.
pub(super) fn completion(parts: &[(String, Option<String>)]) -> String {
    let mut out = String::from("<CompleteMultipartUpload>");
    for (number, (tag, checksum)) in (1..).zip(parts) {
        let number: u32 = number;
        let tag = quick_xml::escape::escape(tag.as_str());
        out.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag>"));
        if let Some(checksum) = checksum {
            out.push_str(&format!("<ChecksumSHA256>{checksum}</ChecksumSHA256>"));
        }
        out.push_str("</Part>");
    }
    out.push_str("</CompleteMultipartUpload>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_with_and_without_objects() {
        let text = br#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>p/</Prefix><KeyCount>2</KeyCount>
<MaxKeys>2</MaxKeys><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
<NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=</NextContinuationToken>
<Contents><Key>p/a+b%2Bc</Key><LastModified>2026-11-29T00:00:00.000Z</LastModified><ETag>&quot;x&quot;</ETag><Size>3</Size></Contents>
<Contents><Key>p/d</Key><Size>4</Size><StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>"#;
        let page: Page = parse(text, "ListBucketResult").expect("a page");
        assert!(page.is_truncated);
        assert_eq!(page.next_continuation_token.as_deref(), Some("1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM="));
        let keys: Vec<_> = page
            .contents
            .iter()
            .map(|listed| (decoded(&listed.key, page.encoding_type.as_deref()), listed.size))
            .collect();
        assert_eq!(keys, [("p/a b+c".to_owned(), 3), ("p/d".to_owned(), 4)]);
        let empty: Page =
            parse(b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>", "ListBucketResult")
                .expect("a page");
        assert!(empty.contents.is_empty() && !empty.is_truncated);
    }

    #[test]
    fn errors_are_read_and_nothing_else_is_an_error() {
        let text =
            b"<?xml version='1.0'?>\n<Error><Code>AuthorizationHeaderMalformed</Code><Message>wrong &amp; so</Message>\
            <Region>eu-central-1</Region><RequestId>1</RequestId></Error>";
        let expected = Fault {
            code: "AuthorizationHeaderMalformed".into(),
            message: "wrong & so".into(),
            region: Some("eu-central-1".into()),
        };
        assert_eq!(fault(text), expected);
        for other in [&b"<html><body>502</body></html>"[..], b"", b"{}", b"<Error>", b"\xff\xfe"] {
            assert_eq!(fault(other).code, "", "{other:?}");
        }
    }

    #[test]
    fn another_answer_than_the_expected_one_is_refused() {
        let error = parse::<Page>(b"<html/>", "ListBucketResult").expect_err("refused");
        assert_eq!(error, "the answer is \"html\" where ListBucketResult is expected");
        assert!(
            parse::<Page>(
                b"<ListBucketResult><IsTruncated>perhaps</IsTruncated></ListBucketResult>",
                "ListBucketResult"
            )
            .is_err()
        );
    }

    #[test]
    fn the_end_of_an_upload_names_its_parts() {
        let parts = [("\"a\"".to_owned(), None), ("b".to_owned(), Some("c=".to_owned()))];
        assert_eq!(
            completion(&parts),
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag></Part><Part>\
             <PartNumber>2</PartNumber><ETag>b</ETag><ChecksumSHA256>c=</ChecksumSHA256></Part></CompleteMultipartUpload>"
        );
    }
}
