//! Workloads: a network namespace behind a logical switch port, standing for a Pod, a virtual machine, a bare-metal
//! server or a bare virtual NIC. To OVN all of them are a port; what differs is the object that named it.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use ipnet::IpNet;
use serde_json::Value;

use super::chassis::{Chassis, without_offloads};
use super::dns::{Record, resolve};
use super::namespace::Namespace;
use super::traffic::{AskError, Connection, Flow, Protocol, Reply, ask, connect, flow};
use crate::ovsdb::Dump;
use crate::process::run;

/// Below the underlay's 1500 by the tunnel's headers (Geneve over IPv4 with OVN's option: 58 bytes), rounded.
const MTU: u16 = 1400;

/// What the Northbound says of a logical switch port.
#[derive(Debug)]
pub(super) struct Port {
    name: String,
    mac: String,
    addresses: Vec<IpAddr>,
    /// Networks of the routers on the switch, with the router's own address.
    gateways: Vec<IpNet>,
}

impl Port {
    /// Looks a port up by its name.
    pub(super) fn read(nb: &Dump, name: &str) -> Result<Self> {
        let (uuid, row) = nb
            .rows("Logical_Switch_Port")
            .find(|(_, row)| row["name"] == name)
            .with_context(|| format!("the Northbound has no port {name}"))?;
        let addresses = members(&row["addresses"])
            .chain(members(&row["dynamic_addresses"]))
            .filter_map(Value::as_str)
            .find(|text| text.contains(':'))
            .with_context(|| format!("the port {name} has no MAC address yet"))?;
        let mut words = addresses.split_whitespace();
        let mac = words.next().unwrap_or_default().to_owned();
        let addresses = words
            .map(|word| {
                word.parse()
                    .with_context(|| format!("the address {word} of the port {name}"))
            })
            .collect::<Result<_>>()?;

        let siblings: Vec<&str> = nb
            .rows("Logical_Switch")
            .map(|(_, switch)| uuids(&switch["ports"]).collect::<Vec<_>>())
            .find(|ports| ports.contains(&uuid))
            .with_context(|| format!("no switch has the port {name}"))?;
        let routers: Vec<&str> = nb
            .rows("Logical_Switch_Port")
            .filter(|(uuid, row)| siblings.contains(uuid) && row["type"] == "router")
            .filter_map(|(_, row)| entry(&row["options"], "router-port"))
            .collect();
        let gateways = nb
            .rows("Logical_Router_Port")
            .filter(|(_, row)| {
                row["name"]
                    .as_str()
                    .is_some_and(|name| routers.contains(&name))
            })
            .flat_map(|(_, row)| members(&row["networks"]))
            .filter_map(Value::as_str)
            .map(|text| text.parse().with_context(|| format!("the network {text}")))
            .collect::<Result<_>>()?;
        Ok(Self {
            name: name.to_owned(),
            mac,
            addresses,
            gateways,
        })
    }

    /// ip(8)'s lines that configure the port's device inside the workload.
    fn configuration(&self) -> String {
        let mut lines = format!("link set eth0 mtu {MTU} up\n");
        for address in &self.addresses {
            let gateway = self.gateways.iter().find(|net| net.contains(address));
            let prefix = gateway.map_or(host_prefix(*address), IpNet::prefix_len);
            let route = match gateway {
                Some(gateway) => format!("via {}", gateway.addr()),
                None => "dev eth0".to_owned(),
            };
            // OVN knows who has which address; duplicate address detection would only delay.
            let (all, nodad) = if address.is_ipv6() {
                ("::/0", "nodad")
            } else {
                ("0.0.0.0/0", "")
            };
            lines.push_str(&format!("addr add {address}/{prefix} dev eth0 {nodad}\n"));
            lines.push_str(&format!("route add {all} {route}\n"));
        }
        lines
    }
}

fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The members of an OVSDB set as JSON (RFC 7047 §5.1: a set of one may be bare).
fn members(set: &Value) -> impl Iterator<Item = &Value> {
    match set.as_array().map(Vec::as_slice) {
        Some([tag, Value::Array(members)]) if tag == "set" => members.iter(),
        _ => std::slice::from_ref(set).iter(),
    }
}

fn uuids(set: &Value) -> impl Iterator<Item = &str> {
    members(set).filter_map(|member| member.get(1)?.as_str())
}

/// The value of a key of an OVSDB map as JSON.
fn entry<'a>(map: &'a Value, key: &str) -> Option<&'a str> {
    map.get(1)?
        .as_array()?
        .iter()
        .find(|pair| pair[0] == key)?
        .get(1)?
        .as_str()
}

/// A workload, reachable through its port while this value lives.
#[derive(Debug)]
pub struct Workload {
    namespace: Namespace,
    mac: String,
    addresses: Vec<IpAddr>,
    chassis: String,
    /// The chassis' own end of the pair, and where its Open vSwitch is spoken to.
    device: String,
    remote: String,
}

impl Workload {
    pub(super) fn plug(chassis: &Chassis, port: &Port) -> Result<Self> {
        let device = chassis.next_device();
        let namespace = Namespace::new(&port.name, &chassis.dir().join(&device))?;
        chassis.namespace().ip(&format!(
            "link add {device} type veth peer name eth0 address {mac} netns {pid}\nlink set {device} up",
            mac = port.mac,
            pid = namespace.pid(),
        ))?;
        namespace.ip(&port.configuration())?;
        without_offloads(&namespace, "eth0")?;
        without_offloads(chassis.namespace(), &device)?;
        chassis.vsctl(&[
            "add-port",
            "br-int",
            &device,
            "--",
            "set",
            "interface",
            &device,
            &format!("external_ids:iface-id=\"{}\"", port.name),
        ])?;
        Ok(Self {
            namespace,
            mac: port.mac.clone(),
            addresses: port.addresses.clone(),
            chassis: chassis.name().to_owned(),
            device,
            remote: chassis.remote(),
        })
    }

    /// The logical switch port's name.
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// Its network namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its MAC address.
    pub fn mac(&self) -> &str {
        &self.mac
    }

    /// Its addresses, in the order the port's row has them.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Its IPv4 address.
    ///
    /// # Errors
    /// If it has none.
    pub fn ipv4(&self) -> Result<IpAddr> {
        self.first(IpAddr::is_ipv4, "IPv4")
    }

    /// Its IPv6 address.
    ///
    /// # Errors
    /// If it has none.
    pub fn ipv6(&self) -> Result<IpAddr> {
        self.first(IpAddr::is_ipv6, "IPv6")
    }

    fn first(&self, family: fn(&IpAddr) -> bool, word: &str) -> Result<IpAddr> {
        self.addresses
            .iter()
            .copied()
            .find(family)
            .with_context(|| format!("{} has no {word} address", self.name()))
    }

    /// The chassis it is plugged into.
    pub fn chassis(&self) -> &str {
        &self.chassis
    }

    /// Sends one request to `address` and returns who answered; see [`ask`].
    ///
    /// # Errors
    /// How it failed.
    pub fn ask(&self, protocol: Protocol, address: SocketAddr) -> Result<Reply, AskError> {
        ask(&self.namespace, protocol, address)
    }

    /// Opens a TCP connection that can be asked again and again; see [`connect`].
    ///
    /// # Errors
    /// How it failed.
    pub fn connect(&self, address: SocketAddr) -> Result<Connection, AskError> {
        connect(&self.namespace, address)
    }

    /// Opens a UDP socket that can be asked again and again; see [`flow`].
    ///
    /// # Errors
    /// How it failed.
    pub fn flow(&self, address: SocketAddr) -> Result<Flow, AskError> {
        flow(&self.namespace, address)
    }

    /// Asks a DNS server for the addresses of a name; see [`resolve`].
    ///
    /// # Errors
    /// How it failed.
    pub fn resolve(
        &self,
        server: IpAddr,
        name: &str,
        record: Record,
    ) -> Result<Vec<IpAddr>, AskError> {
        resolve(&self.namespace, server, name, record)
    }

    /// Takes the link down without a word to anyone: what a crashed machine looks like.
    ///
    /// # Errors
    /// If ip(8) fails.
    pub fn cut(&self) -> Result<()> {
        self.namespace.ip("link set eth0 down")
    }

    /// Unplugs it, as a CNI plugin does for a workload that has gone.
    ///
    /// # Errors
    /// If ovs-vsctl fails.
    pub fn unplug(self) -> Result<()> {
        run(std::process::Command::new("ovs-vsctl").args([
            &format!("--db={}", self.remote),
            "--timeout=60",
            "del-port",
            "br-int",
            &self.device,
        ]))
        .map(drop)
    }
}
