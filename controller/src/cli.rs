//! The command line: every flag is also an environment variable, `YUSUR_` and the flag's name.
//!
//! What can be judged from the flags alone is judged here, before anything is opened, so that a typing error costs
//! one line of output and not a crash loop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Parser, ValueEnum};
use ipnet::{Ipv4Net, Ipv6Net};

/// Where `ovn-northd`'s host keeps the Northbound socket on the distributions we know.
const NB_DEFAULT: &str = "unix:/run/ovn/ovnnb_db.sock";

/// Shown after `--help`: the commands a newcomer needs, in the order they will need them.
const EXAMPLES: &str = "\
Examples:
  # No Kubernetes: keep the local OVN equal to a directory of manifests.
  yusur-controller --manifests ./manifests/examples

  # Inside a cluster: the API server and the credentials are those of the Pod.
  yusur-controller --nb-address ssl:10.0.0.1:6641,ssl:10.0.0.2:6641,ssl:10.0.0.3:6641 \\
      --nb-ca-cert /tls/ca.crt --nb-certificate /tls/tls.crt --nb-private-key /tls/tls.key

  # From a workstation, against a test cluster, with more to read.
  yusur-controller --kubeconfig ~/.kube/config --nb-address tcp:127.0.0.1:6641 --log-level debug

  # Is it well?
  curl -s http://127.0.0.1:9480/readyz; curl -s http://127.0.0.1:9480/metrics | grep yusur_controller_

Every flag can also be given as an environment variable: --nb-address is YUSUR_NB_ADDRESS.";

/// Keeps the OVN Northbound database equal to what the yusur.io objects mean.
///
/// Reads Vpc, Subnet, VNic, EipGateway, Eip and YusurService objects (and Pods, Nodes, Namespaces) from the
/// Kubernetes API or from a directory of manifests, and programs OVN with them: routers, switches, ports and load
/// balancers. Only rows that carry this owner's mark are ever changed.
#[derive(Debug, Clone, Parser)]
#[command(name = "yusur-controller", version, after_long_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// Where the objects come from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The OVN Northbound database.
    #[command(flatten)]
    pub northbound: NorthboundArgs,
    /// The OVN Southbound database.
    #[command(flatten)]
    pub southbound: SouthboundArgs,
    /// What the planner is told about this installation.
    #[command(flatten)]
    pub install: InstallArgs,
    /// Logs, metrics, health.
    #[command(flatten)]
    pub operation: OperationArgs,
}

/// Where the objects come from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Objects")]
pub struct SourceArgs {
    /// Read the objects from the YAML files of this directory (and those below it) instead of the Kubernetes API.
    ///
    /// The directory is watched: a saved file takes effect at once. Status is printed and written to
    /// DIR/.status/. A file that cannot be read or is half written keeps its last good objects.
    #[arg(
        long,
        value_name = "DIR",
        env = "YUSUR_MANIFESTS",
        conflicts_with = "kubeconfig"
    )]
    pub manifests: Option<PathBuf>,

    /// Where status is written with --manifests [default: DIR/.status].
    ///
    /// It also remembers which addresses were allocated. For a manifest directory that cannot be written to.
    #[arg(
        long,
        value_name = "DIR",
        env = "YUSUR_MANIFESTS_STATUS",
        requires = "manifests"
    )]
    pub manifests_status: Option<PathBuf>,

    /// How often to look through the manifest directory for changes no event told of (network file systems);
    /// seconds, 0 = never.
    #[arg(
        long,
        value_name = "SECONDS",
        env = "YUSUR_MANIFESTS_RESCAN",
        default_value_t = 30
    )]
    pub manifests_rescan: u64,

    /// Kubeconfig of the cluster to read the objects from [default: the cluster this runs in].
    #[arg(long, value_name = "FILE", env = "YUSUR_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,

    /// Namespace of the Lease that elects one writer among several replicas [default: the Pod's own].
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "YUSUR_LEASE_NAMESPACE",
        conflicts_with = "manifests"
    )]
    pub lease_namespace: Option<String>,

    /// How long the Lease of a writer that has gone silent still stands; seconds.
    ///
    /// So long after a crash at the latest another replica takes over (at once when the writer was told to stop). A
    /// writer that cannot renew it stops writing after two thirds of that time.
    #[arg(
        long,
        value_name = "SECONDS",
        env = "YUSUR_LEASE_DURATION",
        default_value_t = 15,
        value_parser = clap::value_parser!(u64).range(3..=3600),
        conflicts_with = "manifests"
    )]
    pub lease_duration: u64,

    /// Carry out a relist or rescan that has lost more than half of the services.
    ///
    /// Without it such a loss (at least ten services known before, more than half of them gone without a deletion
    /// having been seen) is taken for an accident: nothing is deleted, and an Event, the log and the metric
    /// yusur_controller_mass_deletion_blocked say so.
    #[arg(long, env = "YUSUR_ALLOW_MASS_DELETION")]
    pub allow_mass_deletion: bool,
}

/// The OVN Northbound database.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "OVN databases")]
pub struct NorthboundArgs {
    /// Northbound database: unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT; several, separated by commas, for a cluster
    /// (the Raft leader is found and followed).
    #[arg(long, value_name = "ADDRESS", env = "YUSUR_NB_ADDRESS", value_delimiter = ',', default_value = NB_DEFAULT)]
    pub nb_address: Vec<String>,

    /// PEM certificates of the authority that signed the Northbound servers' certificates (for ssl:).
    #[arg(long, value_name = "FILE", env = "YUSUR_NB_CA_CERT")]
    pub nb_ca_cert: Option<PathBuf>,

    /// PEM certificate this controller shows to the Northbound (for ssl:).
    #[arg(
        long,
        value_name = "FILE",
        env = "YUSUR_NB_CERTIFICATE",
        requires = "nb_private_key"
    )]
    pub nb_certificate: Option<PathBuf>,

    /// PEM private key of --nb-certificate.
    #[arg(
        long,
        value_name = "FILE",
        env = "YUSUR_NB_PRIVATE_KEY",
        requires = "nb_certificate"
    )]
    pub nb_private_key: Option<PathBuf>,
}

/// The OVN Southbound database.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "OVN databases")]
pub struct SouthboundArgs {
    /// Southbound database, written as --nb-address is. It is only read; the controller learns there which chassis lags, and
    /// which node each EIP gateway is on.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "YUSUR_SB_ADDRESS",
        value_delimiter = ','
    )]
    pub sb_address: Vec<String>,

    /// PEM certificates of the authority that signed the Southbound servers' certificates (for ssl:).
    #[arg(long, value_name = "FILE", env = "YUSUR_SB_CA_CERT")]
    pub sb_ca_cert: Option<PathBuf>,

    /// PEM certificate this controller shows to the Southbound (for ssl:).
    #[arg(
        long,
        value_name = "FILE",
        env = "YUSUR_SB_CERTIFICATE",
        requires = "sb_private_key"
    )]
    pub sb_certificate: Option<PathBuf>,

    /// PEM private key of --sb-certificate.
    #[arg(
        long,
        value_name = "FILE",
        env = "YUSUR_SB_PRIVATE_KEY",
        requires = "sb_certificate"
    )]
    pub sb_private_key: Option<PathBuf>,
}

/// What the planner is told about this installation.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Installation")]
pub struct InstallArgs {
    /// Name that marks this installation's rows in the Northbound; two installations on one OVN need two names.
    ///
    /// Changing it on a running installation makes the new name build everything anew beside the rows of the old.
    #[arg(long, value_name = "NAME", env = "YUSUR_OWNER", default_value = "yusur", value_parser = owner)]
    pub owner: String,

    /// Zone of the services' DNS names: NAME.NAMESPACE.svc.ZONE.
    #[arg(long, value_name = "ZONE", env = "YUSUR_CLUSTER_DOMAIN", default_value = "cluster.local", value_parser = dns_zone)]
    pub cluster_domain: String,

    /// Range in which EIP gateways and the routers of VPCs meet. Like the ranges below, the system's own: no Subnet and
    /// no EIP gateway may overlap it, and the outside does not reach it.
    #[arg(
        long,
        value_name = "CIDR",
        env = "YUSUR_JOIN_RANGE",
        default_value = "100.64.0.0/16",
        value_parser = network::<Ipv4Net>
    )]
    pub join_range: Ipv4Net,

    /// Range of the ports by which nodes and probes reach into VPCs, the same in every VPC.
    #[arg(
        long,
        value_name = "CIDR",
        env = "YUSUR_PROBE_RANGE",
        default_value = "100.66.0.0/16",
        value_parser = network::<Ipv4Net>
    )]
    pub probe_range: Ipv4Net,

    /// Range of the addresses by which a node reaches services whose cluster addresses clash.
    #[arg(
        long,
        value_name = "CIDR",
        env = "YUSUR_NODE_VIP_RANGE",
        default_value = "100.67.0.0/16",
        value_parser = network::<Ipv4Net>
    )]
    pub node_vip_range: Ipv4Net,

    /// Range of the addresses by which services reach backends in other VPCs; each VPC has a /24 of it.
    #[arg(
        long,
        value_name = "CIDR",
        env = "YUSUR_VPC_VIP_RANGE",
        default_value = "100.96.0.0/11",
        value_parser = network::<Ipv4Net>
    )]
    pub vpc_vip_range: Ipv4Net,

    /// IPv6 prefix, a /48, in which the ranges above have their IPv6 counterparts.
    #[arg(
        long,
        value_name = "CIDR",
        env = "YUSUR_SYSTEM_PREFIX_V6",
        default_value = "fd79:7573:7572::/48",
        value_parser = network::<Ipv6Net>
    )]
    pub system_prefix_v6: Ipv6Net,
}

/// Logs, metrics, health.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Operation")]
pub struct OperationArgs {
    /// Address that serves /metrics, /healthz and /readyz; :PORT is that port of all addresses.
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "YUSUR_METRICS_ADDRESS",
        default_value = "127.0.0.1:9480",
        value_parser = socket
    )]
    pub metrics_address: SocketAddr,

    /// What to log: error, warn, info, debug or trace; or per part, as in info,ovsdb=debug.
    #[arg(
        long,
        value_name = "FILTER",
        env = "YUSUR_LOG_LEVEL",
        default_value = "info"
    )]
    pub log_level: String,

    /// How to write the log.
    #[arg(
        long,
        value_name = "FORMAT",
        env = "YUSUR_LOG_FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// How to write the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line, for log collectors.
    Json,
}

/// A database to connect to, and the files its TLS needs; the shape both databases' flags reduce to.
#[derive(Debug, Clone, Copy)]
pub struct Remote<'a> {
    /// `unix:…`, `tcp:…` or `ssl:…`, in order of preference.
    pub addresses: &'a [String],
    /// Authority file, if any was named.
    pub ca_cert: Option<&'a Path>,
    /// Own certificate and its key, both or neither.
    pub identity: Option<(&'a Path, &'a Path)>,
}

// === impl NorthboundArgs ===

impl NorthboundArgs {
    /// The Northbound as a remote.
    pub fn remote(&self) -> Remote<'_> {
        Remote {
            addresses: &self.nb_address,
            ca_cert: self.nb_ca_cert.as_deref(),
            identity: self
                .nb_certificate
                .as_deref()
                .zip(self.nb_private_key.as_deref()),
        }
    }
}

// === impl SouthboundArgs ===

impl SouthboundArgs {
    /// The Southbound as a remote, if its address was given.
    pub fn remote(&self) -> Option<Remote<'_>> {
        (!self.sb_address.is_empty()).then(|| self.remote_at(&self.sb_address))
    }

    /// The Southbound at these addresses, with the TLS that the flags say.
    pub fn remote_at<'a>(&'a self, addresses: &'a [String]) -> Remote<'a> {
        Remote {
            addresses,
            ca_cert: self.sb_ca_cert.as_deref(),
            identity: self
                .sb_certificate
                .as_deref()
                .zip(self.sb_private_key.as_deref()),
        }
    }
}

// === impl InstallArgs ===

impl InstallArgs {
    /// The planner's setup.
    ///
    /// # Errors
    /// When the ranges contradict each other; with the flags in question.
    pub fn planner(&self) -> Result<yusur_planner::Config, String> {
        let mut config = yusur_planner::Config::new(self.owner.as_str());
        config.zone = self.cluster_domain.as_str().into();
        config.ranges = yusur_planner::Ranges::new(
            self.join_range,
            self.probe_range,
            self.node_vip_range,
            self.vpc_vip_range,
            self.system_prefix_v6,
        )
        .map_err(|problem| {
            format!(
                "{problem} (--join-range, --probe-range, --node-vip-range, --vpc-vip-range, --system-prefix-v6)"
            )
        })?;
        Ok(config)
    }
}

/// An owner is part of row names, of an OVSDB lock's name and of external_ids keys: a DNS label is
/// valid in all of them.
///
/// # Errors
/// When it is none, in words.
pub fn owner(text: &str) -> Result<String, String> {
    if is_dns_label(text) {
        Ok(text.to_owned())
    } else {
        Err("an owner is 1 to 63 lower-case letters, digits and '-', and starts and ends with a letter or digit".into())
    }
}

/// A network in CIDR notation.
fn network<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| {
        "it is no such network; write one as in the default, with a / and its length".into()
    })
}

/// An address and a port; without an address, all of this machine's.
fn socket(text: &str) -> Result<SocketAddr, String> {
    let whole = match text.strip_prefix(':') {
        Some(port) => format!("[::]:{port}"),
        None => text.to_owned(),
    };
    whole.parse().map_err(|_| {
        "write an address and a port, as in 127.0.0.1:9480, [::1]:9480 or :9480".into()
    })
}

/// RFC 1123 labels joined by dots, without a trailing dot.
fn dns_zone(text: &str) -> Result<String, String> {
    let zone = text.strip_suffix('.').unwrap_or(text);
    if !zone.is_empty() && zone.len() <= 253 && zone.split('.').all(is_dns_label) {
        Ok(zone.to_owned())
    } else {
        Err("a zone is lower-case DNS labels joined by dots, as in cluster.local".into())
    }
}

/// RFC 1123 §2.1, lower case as Kubernetes asks.
fn is_dns_label(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|&byte| alphanumeric(byte) || byte == b'-')
        && bytes.first().copied().is_some_and(alphanumeric)
        && bytes.last().copied().is_some_and(alphanumeric)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("yusur-controller").chain(arguments.iter().copied()))
    }

    #[test]
    fn every_flag_is_an_environment_variable_of_its_name() {
        Cli::command().debug_assert();
        for argument in Cli::command().get_arguments() {
            let Some(long) = argument
                .get_long()
                .filter(|long| !matches!(*long, "help" | "version"))
            else {
                continue;
            };
            let name = format!("YUSUR_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(
                argument.get_env().and_then(|env| env.to_str()),
                Some(name.as_str()),
                "--{long}"
            );
            assert!(argument.get_help().is_some(), "--{long} explains itself");
        }
    }

    #[test]
    fn addresses_split_at_commas() {
        let cli = parse(&["--nb-address", "tcp:a:6641,tcp:b:6641"]).unwrap();
        assert_eq!(cli.northbound.nb_address, ["tcp:a:6641", "tcp:b:6641"]);
        assert_eq!(parse(&[]).unwrap().northbound.nb_address, [NB_DEFAULT]);
        assert!(parse(&[]).unwrap().southbound.remote().is_none());
    }

    #[test]
    fn two_sources_are_refused() {
        let error = parse(&["--manifests", "a", "--kubeconfig", "b"]).unwrap_err();
        assert!(error.to_string().contains("cannot be used with"), "{error}");
    }

    #[test]
    fn a_certificate_needs_its_key() {
        assert!(parse(&["--nb-certificate", "c"]).is_err());
        let cli = parse(&["--nb-certificate", "c", "--nb-private-key", "k"]).unwrap();
        assert!(cli.northbound.remote().identity.is_some());
    }

    #[test]
    fn a_port_alone_is_of_all_addresses() {
        let address =
            |text| parse(&["--metrics-address", text]).map(|cli| cli.operation.metrics_address);
        assert_eq!(address(":9480").unwrap(), "[::]:9480".parse().unwrap());
        assert_eq!(
            address("127.0.0.1:1").unwrap(),
            "127.0.0.1:1".parse().unwrap()
        );
        for bad in ["9480", ":", "localhost:9480", "127.0.0.1"] {
            let error = address(bad).unwrap_err().to_string();
            assert!(error.contains("as in 127.0.0.1:9480"), "{error}");
        }
    }

    #[test]
    fn names_are_judged_before_anything_starts() {
        for bad in ["", "A", "a_b", "-a", "a-", "a.b", &"x".repeat(64)] {
            assert!(parse(&["--owner", bad]).is_err(), "{bad:?}");
        }
        assert_eq!(
            parse(&["--owner", "blue-2"]).unwrap().install.owner,
            "blue-2"
        );
        let overlapping = parse(&["--probe-range", "100.64.4.0/24"]).unwrap();
        let error = overlapping.install.planner().unwrap_err();
        assert!(error.contains("overlaps"), "{error}");
        assert_eq!(
            parse(&[]).unwrap().install.planner().unwrap().ranges,
            yusur_planner::Ranges::default()
        );
        let error = parse(&["--join-range", "100.64.0.0/33"]).unwrap_err();
        assert!(error.to_string().contains("length"), "{error}");
        assert!(parse(&["--cluster-domain", "a..b"]).is_err());
        assert_eq!(
            parse(&["--cluster-domain", "example.org."])
                .unwrap()
                .install
                .cluster_domain,
            "example.org"
        );
    }
}
