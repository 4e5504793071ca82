//! A resolver's question, asked from inside a namespace.

use std::net::{IpAddr, SocketAddr};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, Question, RCODE, TYPE};

use super::namespace::Namespace;
use super::traffic::{AskError, exchange};

/// An address family's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

/// Asks the DNS server at `server` for the addresses of `name`, sorted; none if the name does not exist.
///
/// # Errors
/// How it failed.
pub fn resolve(
    namespace: &Namespace,
    server: IpAddr,
    name: &str,
    record: Record,
) -> Result<Vec<IpAddr>, AskError> {
    let other = |error: &dyn std::fmt::Display| AskError::Other(format!("DNS: {error}"));
    let record = match record {
        Record::A => TYPE::A,
        Record::Aaaa => TYPE::AAAA,
    };
    let mut query = Packet::new_query(1);
    let name = Name::new(name).map_err(|error| other(&error))?;
    query
        .questions
        .push(Question::new(name, record.into(), CLASS::IN.into(), false));
    let query = query.build_bytes_vec().map_err(|error| other(&error))?;
    let answer = exchange(namespace, SocketAddr::new(server, 53), &query)?;
    let answer = Packet::parse(&answer).map_err(|error| other(&error))?;
    match answer.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Ok(Vec::new()),
        code => return Err(AskError::Other(format!("DNS: {code:?}"))),
    }
    let mut addresses: Vec<IpAddr> = answer
        .answers
        .iter()
        .filter_map(|record| match &record.rdata {
            RData::A(record) => Some(IpAddr::from(record.address.to_be_bytes())),
            RData::AAAA(record) => Some(IpAddr::from(record.address.to_be_bytes())),
            _ => None,
        })
        .collect();
    addresses.sort();
    Ok(addresses)
}
