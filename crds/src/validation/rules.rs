//! The CEL rules of a schema (`x-kubernetes-validations`), by the interpreter `cel` and Kubernetes' functions of `kube-cel`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use ipnet::IpNet;
use kube_cel::KubeCelExt;
use kube_cel::cel::{Context, Program, Value as Cel};
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

/// One rule.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Text")]
pub(super) struct Rule {
    program: Program,
    message: String,
    looks_back: Back,
}

/// What a rule looks back to.
#[derive(Debug, PartialEq)]
pub(super) enum Back {
    /// Nothing: it judges every object.
    Nothing,
    /// These fields of the former value: it judges changes only.
    Fields(Vec<String>),
    /// All of it.
    Everything,
}

/// A rule as schemas have it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    rule: String,
    message: String,
}

thread_local! {
    /// The functions that rules may call.
    static FUNCTIONS: Context<'static> = {
        let mut functions = Context::default().with_all();
        functions.add_function("isCIDR", is_cidr);
        functions
    };
}

/// `oldSelf` in a rule, and the field of it that is looked at.
#[expect(clippy::unwrap_used, reason = "a constant, which every test compiles")]
static OLD_SELF: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\boldSelf\b(?:\.([A-Za-z]\w*)\b(?P<call>\()?)?").unwrap());

impl TryFrom<Text> for Rule {
    type Error = String;

    fn try_from(Text { rule, message }: Text) -> Result<Self, String> {
        Ok(Self {
            program: Program::compile(&rule).map_err(|error| format!("rule {rule:?}: {error}"))?,
            message,
            looks_back: looks_back(&rule),
        })
    }
}

// === impl Rule ===

impl Rule {
    /// What it looks back to.
    pub(super) fn looks_back(&self) -> &Back {
        &self.looks_back
    }
}

/// The messages of the rules that refuse a value. Without a `former` value, rules about changes do not apply.
pub(super) fn refusals(rules: &[Rule], value: &Value, former: Option<&Value>) -> Vec<String> {
    let applies = |rule: &&Rule| former.is_some() || rule.looks_back == Back::Nothing;
    let mut applying = rules.iter().filter(applies).peekable();
    if applying.peek().is_none() {
        return Vec::new();
    }
    FUNCTIONS.with(|functions| {
        let mut scope = functions.new_inner_scope();
        scope.add_variable_from_value("self", cel(value));
        if let Some(former) = former {
            scope.add_variable_from_value("oldSelf", cel(former));
        }
        let judged = applying.filter_map(|rule| match rule.program.execute(&scope) {
            Ok(Cel::Bool(true)) => None,
            Ok(_) => Some(rule.message.clone()),
            Err(error) => Some(format!("{error} evaluating rule: {}", rule.message)),
        });
        judged.collect()
    })
}

fn looks_back(rule: &str) -> Back {
    let mut back = Back::Nothing;
    for found in OLD_SELF.captures_iter(rule) {
        match (&mut back, found.get(1), found.name("call")) {
            (Back::Fields(fields), Some(field), None) => fields.push(field.as_str().to_owned()),
            (Back::Nothing, Some(field), None) => {
                back = Back::Fields(vec![field.as_str().to_owned()]);
            }
            _ => back = Back::Everything,
        }
    }
    back
}

/// A value as rules see it. No field of ours has a name that CEL reserves, so none is escaped.
fn cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Cel::Int(whole),
            None => Cel::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(cel).collect())),
        Value::Object(fields) => {
            let fields: HashMap<_, _> = fields
                .iter()
                .map(|(key, value)| (key.clone(), cel(value)))
                .collect();
            fields.into()
        }
    }
}

/// `isCIDR`, as strict as Go's: that of `kube-cel` 0.8 takes a prefix length with leading zeros.
fn is_cidr(text: Arc<String>) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let plain = length == "0" || !length.starts_with(['0', '+']);
    // An IPv4 address mapped into IPv6 is none.
    let mapped = address.contains(':')
        && address
            .parse()
            .is_ok_and(|address: std::net::Ipv6Addr| address.to_ipv4_mapped().is_some());
    plain && !mapped && text.parse::<IpNet>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_tells_what_it_looks_back_to() {
        let fields = |names: &[&str]| Back::Fields(names.iter().map(ToString::to_string).collect());
        for (rule, back) in [
            ("self.a == 'b'", Back::Nothing),
            ("self == oldSelf", Back::Everything),
            ("oldSelf.all(c, c in self)", Back::Everything),
            ("has(oldSelf.a) && self.b == oldSelf.b", fields(&["a", "b"])),
            ("oldSelf.cidrs.all(c, c in self.cidrs)", fields(&["cidrs"])),
        ] {
            assert_eq!(looks_back(rule), back, "{rule}");
        }
    }

    #[test]
    fn networks_are_read_as_go_reads_them() {
        for (text, good) in [
            ("10.0.0.0/8", true),
            ("0.0.0.0/0", true),
            ("fd00::/64", true),
            ("10.0.0.0/08", false),
            ("10.0.0.0/+8", false),
            ("10.0.0.0", false),
            ("::ffff:10.0.0.0/104", false),
        ] {
            assert_eq!(is_cidr(Arc::new(text.to_owned())), good, "{text}");
        }
    }
}
