//! One manifest file's text, taken apart into objects. YAML or JSON, several documents, and `kind: List` as
//! `kubectl get -o yaml` prints it.

use serde_json::Value;
use serde_saphyr::{Options, budget, options};

/// The largest file read, in bytes. 100,000 services of 30 lines are about 80 MB.
pub(super) const MAX_FILE: u64 = 256 << 20;

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
    for document in serde_saphyr::read_with_options::<_, Value>(&mut text, limits()) {
        let document = document.map_err(|error| error.without_snippet().to_string())?;
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

/// Room for very large files, none for very deep ones; aliases stay limited, as they are what makes a small file
/// explode. Booleans are YAML 1.2's, so that an annotation `on` stays text.
fn limits() -> Options {
    options! {
        strict_booleans: true,
        with_snippet: false,
        budget: budget! {
            max_reader_input_bytes: Some(MAX_FILE as usize),
            max_events: 50_000_000,
            max_nodes: 25_000_000,
            max_documents: 1_000_000,
            max_total_scalar_bytes: MAX_FILE as usize,
        },
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
}
