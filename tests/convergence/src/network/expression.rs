//! OVN's match expressions, as far as rows of ours have them (ovn-sb(5), Logical_Flow, "match"): comparisons of fields with
//! constants, sets of constants and address sets, joined by `&&`, `||`, `!` and parentheses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// What an expression is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) inport: &'a str,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// `tcp`, `udp` or `sctp`.
    pub(super) protocol: &'a str,
    /// The port it is for.
    pub(super) port: u16,
}

/// The address sets there are, by name.
pub(super) type Sets = BTreeMap<String, Vec<IpNet>>;

/// Whether the expression matches.
///
/// # Errors
/// What cannot be read.
pub(super) fn matches(text: &str, subject: Subject<'_>, sets: &Sets) -> Result<bool, String> {
    let tokens = tokens(text)?;
    let mut reader = Reader {
        tokens: &tokens,
        subject,
        sets,
    };
    let result = reader.any()?;
    match reader.tokens.first() {
        None => Ok(result),
        Some(stray) => Err(format!("{stray:?} is left over in {text:?}")),
    }
}

/// The words and signs of an expression.
fn tokens(text: &str) -> Result<Vec<&str>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted
                .find('"')
                .ok_or_else(|| format!("a string without an end in {text:?}"))?;
            end + 2
        } else if ["&&", "||", "==", "!="]
            .iter()
            .any(|sign| rest.starts_with(sign))
        {
            2
        } else if "(){},!".contains(first) {
            1
        } else {
            rest.find(|c: char| c.is_whitespace() || "(){},!=&|\"".contains(c))
                .unwrap_or(rest.len())
        };
        if length == 0 {
            return Err(format!("{first:?} in {text:?}"));
        }
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

struct Reader<'t, 'a> {
    tokens: &'t [&'t str],
    subject: Subject<'a>,
    sets: &'a Sets,
}

impl<'t> Reader<'t, '_> {
    fn next(&mut self) -> Result<&'t str, String> {
        let (first, rest) = self
            .tokens
            .split_first()
            .ok_or("the expression ends too early")?;
        self.tokens = rest;
        Ok(first)
    }

    fn accept(&mut self, token: &str) -> bool {
        let there = self.tokens.first() == Some(&token);
        if there {
            self.tokens = &self.tokens[1..];
        }
        there
    }

    fn any(&mut self) -> Result<bool, String> {
        let mut result = self.all()?;
        while self.accept("||") {
            result |= self.all()?;
        }
        Ok(result)
    }

    fn all(&mut self) -> Result<bool, String> {
        let mut result = self.one()?;
        while self.accept("&&") {
            result &= self.one()?;
        }
        Ok(result)
    }

    fn one(&mut self) -> Result<bool, String> {
        if self.accept("!") {
            return Ok(!self.one()?);
        }
        if self.accept("(") {
            let result = self.any()?;
            return match self.accept(")") {
                true => Ok(result),
                false => Err("a parenthesis is not closed".into()),
            };
        }
        let field = self.next()?;
        let equal = match self.tokens.first() {
            Some(&"==") => true,
            Some(&"!=") => false,
            _ => return self.predicate(field),
        };
        self.next()?;
        let mut found = false;
        for constant in self.constants()? {
            found |= self.compares(field, constant)?;
        }
        Ok(found == equal)
    }

    fn constants(&mut self) -> Result<Vec<&'t str>, String> {
        let first = self.next()?;
        if first != "{" {
            return Ok(vec![first]);
        }
        let mut constants = Vec::new();
        while !self.accept("}") {
            constants.push(self.next()?);
            self.accept(",");
        }
        Ok(constants)
    }

    fn predicate(&self, field: &str) -> Result<bool, String> {
        match field {
            "ip" => Ok(true),
            "ip4" => Ok(self.subject.destination.is_ipv4()),
            "ip6" => Ok(self.subject.destination.is_ipv6()),
            "tcp" | "udp" | "sctp" => Ok(self.subject.protocol == field),
            _ => Err(format!("{field:?} is no predicate that is known here")),
        }
    }

    fn compares(&self, field: &str, constant: &str) -> Result<bool, String> {
        let subject = self.subject;
        let address = match field {
            "inport" => {
                let name = constant.trim_matches('"');
                return Ok(subject.inport == name);
            }
            "tcp.dst" | "udp.dst" | "sctp.dst" => {
                let port: u16 = constant
                    .parse()
                    .map_err(|_| format!("{constant:?} is no port"))?;
                let protocol = field.split('.').next() == Some(subject.protocol);
                return Ok(protocol && port == subject.port);
            }
            "ip4.src" | "ip6.src" => subject.source,
            "ip4.dst" | "ip6.dst" => subject.destination,
            _ => return Err(format!("{field:?} is no field that is known here")),
        };
        if address.is_ipv4() != field.starts_with("ip4") {
            return Ok(false);
        }
        if let Some(name) = constant.strip_prefix('$') {
            let set = self
                .sets
                .get(name)
                .ok_or_else(|| format!("there is no address set {name:?}"))?;
            return Ok(set.iter().any(|net| net.contains(&address)));
        }
        let net = network(constant).ok_or_else(|| format!("{constant:?} is no address"))?;
        Ok(net.contains(&address))
    }
}

/// A network, or an address alone.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches_packet(text: &str) -> Result<bool, String> {
        let subject = Subject {
            inport: "a/b-switch",
            source: IpAddr::from([198, 51, 100, 7]),
            destination: IpAddr::from([192, 0, 2, 10]),
            protocol: "tcp",
            port: 80,
        };
        let net = network("192.0.2.0/28").into_iter().collect();
        matches(text, subject, &[("set".to_owned(), net)].into())
    }

    #[test]
    fn expressions_are_read_as_ovn_does() {
        for text in [
            "ip4.dst == 192.0.2.10 && tcp.dst == {80, 443}",
            "inport == \"a/b-switch\" && (ip4.dst == $set || ip6.dst == $set)",
            "ip4.dst == {10.0.0.0/8, 192.0.2.0/24} || ip4.src == 10.0.0.0/8",
            "ip4 && !ip6 && tcp && ip4.src != 10.0.0.0/8",
        ] {
            assert_eq!(matches_packet(text), Ok(true), "{text}");
        }
        for text in [
            "ip4.dst == 192.0.2.11",
            "udp.dst == 80",
            "ip6.dst == $set",
            "inport == \"a/b\"",
            "!(tcp.dst == 80)",
        ] {
            assert_eq!(matches_packet(text), Ok(false), "{text}");
        }
        for text in [
            "",
            "ip4.dst ==",
            "ip4.dst == $none",
            "(ip4",
            "ip4 ip4",
            "eth.dst == 1",
            "inport == \"a",
        ] {
            assert!(matches_packet(text).is_err(), "{text}");
        }
    }
}
