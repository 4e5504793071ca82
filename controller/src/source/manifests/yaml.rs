//! One manifest file's text, taken apart into objects. YAML or JSON, several documents, and `kind: List` as
//! `kubectl get -o yaml` prints it.

use std::borrow::Cow;

use serde_json::Value;
use serde_saphyr::{Error, MessageFormatter, Options, UserMessageFormatter, budget, options};

/// The largest file read, in bytes: about 80,000 services of 30 lines.
pub(super) const MAX_FILE: u64 = 64 << 20;

/// How much any file may hold by means of aliases beyond what it spells out, in nodes.
const ALIASED: usize = 10_000;

/// Hands over the objects of one file, in order and one at a time (as trees they are large), none of them looked into
/// yet; empty documents are left out.
///
/// # Errors
/// When the text is not YAML as far as its end: nothing of the file can be trusted then, since what is missing cannot
/// be told from what was removed; what was handed over already counts for nothing. The message says the line.
pub(super) fn each(mut text: &[u8], mut take: impl FnMut(Value)) -> Result<(), String> {
    if let Err(error) = std::str::from_utf8(text) {
        let at = error.valid_up_to();
        return Err(format!("it is no UTF-8 text, as byte {at} tells"));
    }
    let limits = limits(text.len());
    for document in serde_saphyr::read_with_options::<_, Value>(&mut text, limits) {
        let document = document.map_err(|error| error.render_with_formatter(&Words))?;
        flatten(document, &mut take);
    }
    Ok(())
}

/// A `List` (or `PodList`, …) is its items.
fn flatten(mut document: Value, take: &mut impl FnMut(Value)) {
    let is_list = document
        .get("kind")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind.ends_with("List"));
    if is_list && let Some(Value::Array(items)) = document.get_mut("items") {
        for item in std::mem::take(items) {
            flatten(item, take);
        }
    } else if !document.is_null() {
        take(document);
    }
}

/// Room for very large files, none for very deep ones. What a file costs to read depends on its size: aliases, which
/// make a small file explode, may add as many nodes as it has bytes. Booleans are YAML 1.2's, so that an
/// annotation `on` stays text.
fn limits(size: usize) -> Options {
    // Each node that is spelt out takes a byte at least, and two events at most.
    let room = size.saturating_add(ALIASED);
    let mut limits = options! {
        strict_booleans: true,
        with_snippet: false,
        budget: budget! {
            max_reader_input_bytes: Some(MAX_FILE as usize),
            max_events: room.saturating_mul(4),
            max_nodes: room.saturating_mul(2),
            max_documents: 1_000_000,
            enforce_alias_anchor_ratio: false,
            max_aliases: room,
            max_anchors: room,
            max_total_scalar_bytes: room.saturating_mul(2),
        },
    };
    limits.alias_limits.max_total_replayed_events = room;
    limits
}

/// The library's messages for whoever wrote the file; some of its own are for whoever calls it.
struct Words;

// === impl Words ===

impl MessageFormatter for Words {
    fn format_message<'a>(&self, error: &'a Error) -> Cow<'a, str> {
        match error {
            Error::DuplicateMappingKey { key: Some(key), .. } => Cow::Owned(format!(
                "the field {key:?} is given twice in one mapping; leave one of them"
            )),
            Error::DuplicateMappingKey { key: None, .. } => {
                Cow::Borrowed("a field is given twice in one mapping; leave one of them")
            }
            Error::AliasReplayLimitExceeded { .. }
            | Error::AliasReplayCounterOverflow { .. }
            | Error::AliasReplayStackDepthExceeded { .. } => Cow::Borrowed(
                "its aliases (*name) expand to far more than the file holds; write out what they stand for",
            ),
            Error::Budget { .. } => Cow::Borrowed(
                "it holds more than a manifest of its size can, or is nested too deeply",
            ),
            error => UserMessageFormatter.format_message(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(text: &[u8]) -> Result<Vec<Value>, String> {
        let mut objects = Vec::new();
        each(text, |object| objects.push(object))?;
        Ok(objects)
    }

    #[test]
    fn documents_lists_and_json_are_taken_apart() {
        let text =
            "---\nkind: A\n---\n# nothing\n---\nkind: List\nitems:\n- {kind: B}\n- kind: C\n";
        let kinds: Vec<_> = objects(text.as_bytes())
            .unwrap()
            .iter()
            .map(|object| object["kind"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        assert_eq!(
            objects(br#"{"kind":"D","port":80}"#).unwrap()[0]["port"],
            80
        );
        assert!(objects(b"").unwrap().is_empty());
        assert!(objects(b"# only words\n").unwrap().is_empty());
    }

    #[test]
    fn a_broken_file_is_broken_as_a_whole_and_says_where() {
        let error = objects(b"kind: A\n---\nkind: B\nmetadata:\n  name: [x\n").unwrap_err();
        assert!(error.contains("line"), "{error}");
        assert!(objects(b"kind: A\nkind: B\n").is_err(), "a key given twice");
        assert!(objects(b"kind: A\n\tspec: tab\n").is_err());
        assert!(objects(b"kind: \xff\xfe").is_err(), "no UTF-8");
    }

    #[test]
    fn scalars_are_those_of_yaml_1_2() {
        let object = &objects(b"a: on\nb: \"80\"\nc: 80\nd: true\ne: 0123\nf: null\n").unwrap()[0];
        assert_eq!(object["a"], "on");
        assert_eq!(object["b"], "80");
        assert_eq!(object["c"], 80);
        assert_eq!(object["d"], true);
        assert!(object["f"].is_null());
    }

    #[test]
    fn ten_thousand_documents_fit() {
        let one = "---\napiVersion: yusur.io/v1alpha1\nkind: YusurService\nmetadata: {name: a, namespace: b}\n";
        assert_eq!(
            objects(one.repeat(10_000).as_bytes()).unwrap().len(),
            10_000
        );
    }

    #[test]
    fn a_key_given_twice_is_told_with_its_line_and_name() {
        let error = objects(b"kind: A\nspec:\n  port: 1\n  port: 2\n").unwrap_err();
        assert!(
            error.contains("\"port\" is given twice") && error.contains("line 4"),
            "{error}"
        );
        assert!(!error.contains("DuplicateKeyPolicy"), "{error}");
    }

    #[test]
    fn aliases_cannot_make_a_small_file_large() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..9 {
            let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
            text.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
        }
        let error = objects(text.as_bytes()).unwrap_err();
        assert!(error.contains("aliases"), "{error}");
        // What people use them for goes on.
        let mut text = String::from("---\nlabels: &labels {a: b, c: d}\n");
        for n in 0..500 {
            text.push_str(&format!("k{n}: *labels\n"));
        }
        assert_eq!(objects(text.as_bytes()).unwrap()[0]["k499"]["c"], "d");
    }
}
