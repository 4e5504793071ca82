//! Where a server listens: `unix:PATH`, `tcp:HOST[:PORT]`, `ssl:HOST[:PORT]`, and comma-separated lists of them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The port IANA registered for OVSDB (RFC 7047 §6), used when a remote names none.
pub const DEFAULT_PORT: u16 = 6640;

/// One address of a server, as in the "active connection methods" of ovsdb(7).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Remote {
    /// A Unix domain socket.
    Unix(PathBuf),
    /// Plain TCP.
    Tcp {
        /// Host name, IPv4 or IPv6 address (without brackets; a zone such as `%eth0` is kept).
        host: String,
        /// TCP port.
        port: u16,
    },
    /// TLS over TCP.
    Ssl {
        /// Host name, IPv4 or IPv6 address (without brackets; a zone such as `%eth0` is kept).
        host: String,
        /// TCP port.
        port: u16,
    },
}

/// Why a remote cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "remote {text:?}: {reason}; expected unix:PATH, tcp:HOST[:PORT] or ssl:HOST[:PORT], an IPv6 HOST in brackets"
)]
pub struct RemoteError {
    /// What was to be parsed.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Remote {
    /// Parses a comma-separated list; it must name at least one remote. Repetitions are dropped.
    ///
    /// # Errors
    /// The first entry that is no remote, or an empty list.
    pub fn parse_list(text: &str) -> Result<Vec<Remote>, RemoteError> {
        let mut remotes = Vec::new();
        for entry in text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            let remote = entry.parse()?;
            if !remotes.contains(&remote) {
                remotes.push(remote);
            }
        }
        if remotes.is_empty() {
            return Err(RemoteError {
                text: text.to_owned(),
                reason: "no remote given",
            });
        }
        Ok(remotes)
    }

    /// Whether this remote needs TLS settings.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Remote::Ssl { .. })
    }
}

impl FromStr for Remote {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason| RemoteError {
            text: text.to_owned(),
            reason,
        };
        let (method, rest) = text
            .split_once(':')
            .ok_or_else(|| fail("no method before a ':'"))?;
        match method {
            "unix" if rest.is_empty() => Err(fail("the path is empty")),
            "unix" => Ok(Remote::Unix(PathBuf::from(rest))),
            "tcp" => host_and_port(rest)
                .map(|(host, port)| Remote::Tcp { host, port })
                .map_err(fail),
            "ssl" => host_and_port(rest)
                .map(|(host, port)| Remote::Ssl { host, port })
                .map_err(fail),
            "punix" | "ptcp" | "pssl" => Err(fail("a passive method only listens")),
            _ => Err(fail("unknown method")),
        }
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), &'static str> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("'[' without ']'")?;
        let address = host.split_once('%').map_or(host, |(address, _)| address);
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("no IPv6 address between the brackets");
        }
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err("unexpected text after ']'"),
        }
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("an IPv6 address needs brackets"),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() {
        return Err("the host is empty");
    }
    if host
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || c == '/')
    {
        return Err("the host has a character no host name has");
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => match port.parse() {
            Ok(port) if port != 0 => port,
            _ => return Err("the port is not a number from 1 to 65535"),
        },
    };
    Ok((host.to_owned(), port))
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remote::Unix(path) => write!(f, "unix:{}", path.display()),
            Remote::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Remote::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
            Remote::Ssl { host, port } if host.contains(':') => write!(f, "ssl:[{host}]:{port}"),
            Remote::Ssl { host, port } => write!(f, "ssl:{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_every_form() {
        for (text, printed) in [
            ("unix:/run/ovn/ovnnb_db.sock", "unix:/run/ovn/ovnnb_db.sock"),
            ("tcp:127.0.0.1:6641", "tcp:127.0.0.1:6641"),
            ("tcp:db.example", "tcp:db.example:6640"),
            ("ssl:[fd00::1]:6642", "ssl:[fd00::1]:6642"),
            ("ssl:[fe80::1%eth0]", "ssl:[fe80::1%eth0]:6640"),
        ] {
            let remote: Remote = text.parse().unwrap();
            assert_eq!(remote.to_string(), printed);
            assert_eq!(remote.to_string().parse::<Remote>().unwrap(), remote);
        }
    }

    #[test]
    fn refuses_with_the_reason() {
        for (text, reason) in [
            ("", "no method before a ':'"),
            ("unix:", "the path is empty"),
            ("ptcp:6640", "a passive method only listens"),
            ("udp:1.2.3.4:1", "unknown method"),
            ("tcp:fd00::1:6640", "an IPv6 address needs brackets"),
            (
                "tcp:[10.0.0.1]:6640",
                "no IPv6 address between the brackets",
            ),
            ("tcp:[fd00::1", "'[' without ']'"),
            ("tcp:[fd00::1]6640", "unexpected text after ']'"),
            ("tcp::6640", "the host is empty"),
            ("tcp:a b:6640", "the host has a character no host name has"),
            ("ssl:a:0", "the port is not a number from 1 to 65535"),
            ("ssl:a:65536", "the port is not a number from 1 to 65535"),
            ("ssl:a:", "the port is not a number from 1 to 65535"),
        ] {
            assert_eq!(text.parse::<Remote>().unwrap_err().reason, reason, "{text}");
        }
    }

    #[test]
    fn lists_keep_order_and_drop_repetitions() {
        let remotes = Remote::parse_list("tcp:a:1, tcp:b:1,,tcp:a:1").unwrap();
        let printed: Vec<_> = remotes.iter().map(Remote::to_string).collect();
        assert_eq!(printed, ["tcp:a:1", "tcp:b:1"]);
        assert!(Remote::parse_list(" , ").is_err());
        assert!(Remote::parse_list("tcp:a:1,nonsense").is_err());
    }
}
