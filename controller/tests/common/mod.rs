//! What the tests of the controller share: a real Northbound, a neutral observer of it, and the real program on a
//! directory of manifests.
#![allow(dead_code, reason = "every test program uses its own part")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, where a panic is a failure"
)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ovsdb::model::{Database, Name, Operation, Row, Uuid};
use ovsdb::{Client, Remote};
use serde_json::Value;
use tempfile::TempDir;
use yusur_planner::nb;
use yusur_testbed::ovsdb::Standalone;
use yusur_testbed::process::{PATIENCE, Process, run};
use yusur_testbed::{northd, schemas, scratch};

/// The owner whose rows the tests look at.
pub(crate) const OWNER: &str = "yusur";

/// All rows of ours, by table and id.
pub(crate) type Rows = BTreeMap<(&'static str, Uuid), Row>;

/// A Northbound, a directory of manifests, and a look at both.
pub(crate) struct World {
    /// The server.
    pub(crate) nb: Standalone,
    /// A client that only reads.
    pub(crate) observer: Client,
    dir: TempDir,
}

/// One running controller.
pub(crate) struct Controller {
    /// The process.
    pub(crate) process: Process,
}

impl World {
    /// An empty Northbound with its one global row, and an empty directory.
    pub(crate) async fn new() -> Self {
        let nb =
            Standalone::start(&schemas::installed("ovn-nb").expect("a schema")).expect("a server");
        northd::stand_in(&nb).expect("the global row");
        let observer = observe(&nb).await;
        let dir = scratch::directory("controller").expect("a directory");
        std::fs::create_dir(dir.path().join("manifests")).expect("a directory");
        Self { nb, observer, dir }
    }

    /// The directory of the manifests.
    pub(crate) fn manifests(&self) -> PathBuf {
        self.dir.path().join("manifests")
    }

    /// A place beside it, for what a test needs besides.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the program.
    pub(crate) fn start(&self, name: &str, arguments: &[&str]) -> Controller {
        self.start_as(name, OWNER, arguments)
    }

    /// As [`World::start`], under another owner's name.
    pub(crate) fn start_as(&self, name: &str, owner: &str, arguments: &[&str]) -> Controller {
        let log = self.dir.path().join(format!("{name}.log"));
        let process = Process::spawn(
            Command::new(env!("CARGO_BIN_EXE_yusur-controller"))
                .arg("--manifests")
                .arg(self.manifests())
                .args(["--nb-address", &self.nb.unix(), "--owner", owner])
                .args([
                    "--metrics-address",
                    "127.0.0.1:0",
                    "--manifests-rescan",
                    "0",
                ])
                .args(arguments),
            log,
        )
        .expect("the controller");
        Controller { process }
    }

    /// Starts the program and waits until the Northbound is what the manifests mean.
    pub(crate) async fn converged(&self, name: &str, arguments: &[&str]) -> Controller {
        let controller = self.start(name, arguments);
        controller.says("the Northbound is what the objects mean");
        self.catch_up().await;
        controller
    }

    /// Waits until the observer has seen all that was committed up to now.
    pub(crate) async fn catch_up(&self) {
        // Updates precede the reply to any transaction that follows them.
        self.observer
            .transact(vec![Operation::Comment("catching up".into())])
            .await
            .expect("a transaction");
    }

    /// Saves a manifest in one step.
    pub(crate) fn save(&self, file: &str, text: &str) {
        let aside = self.dir.path().join("aside");
        std::fs::write(&aside, text).expect("a file");
        std::fs::rename(aside, self.manifests().join(file)).expect("a file moved");
    }

    /// Deletes a manifest.
    pub(crate) fn delete(&self, file: &str) {
        std::fs::remove_file(self.manifests().join(file)).expect("a file to delete");
    }

    /// Copies an example of the repository.
    pub(crate) fn example(&self, name: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../manifests/examples")
            .join(name);
        for entry in std::fs::read_dir(&from).expect("the example") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a manifest");
            self.save(
                path.file_name()
                    .and_then(|name| name.to_str())
                    .expect("a name"),
                &text,
            );
        }
    }

    /// Every row that carries our name, as the observer has it.
    pub(crate) fn rows(&self) -> Rows {
        rows(&self.observer.read())
    }

    /// Waits until the Northbound is as wished.
    pub(crate) async fn until(&self, what: &str, wish: impl Fn(&Database) -> bool) {
        until(&self.observer, what, wish).await;
    }

    /// Waits until our rows are exactly these.
    pub(crate) async fn until_rows(&self, what: &str, wanted: &Rows) {
        until_rows(&self.observer, what, wanted).await;
    }

    /// How many transactions the database file holds.
    pub(crate) fn transactions(&self) -> usize {
        let log = run(Command::new("ovsdb-tool")
            .arg("show-log")
            .arg(self.nb.file()))
        .expect("the log");
        log.lines()
            .filter(|line| line.starts_with("record "))
            .count()
    }

    /// The status of an object (`yusurservice/shop/web`); null where there is none.
    pub(crate) fn status(&self, object: &str) -> Value {
        let path = self
            .manifests()
            .join(".status")
            .join(format!("{object}.yaml"));
        match std::fs::read_to_string(path) {
            Ok(text) => {
                serde_saphyr::from_str::<Value>(&text).expect("a status file")["status"].take()
            }
            Err(_) => Value::Null,
        }
    }

    /// Waits until an object's status is as wished.
    pub(crate) fn until_status(
        &self,
        controller: &Controller,
        object: &str,
        wish: impl Fn(&Value) -> bool,
    ) -> Value {
        let what = format!("the status of {object}");
        let wished = controller
            .process
            .wait_until(&what, || Ok(wish(&self.status(object))));
        if let Err(error) = wished {
            panic!("{error:#}; it is {:#}", self.status(object));
        }
        self.status(object)
    }
}

/// A client that keeps all of the Northbound.
pub(crate) async fn observe(nb: &Standalone) -> Client {
    let client = Client::builder("OVN_Northbound")
        .remotes(Remote::parse_list(&nb.unix()).expect("a remote"))
        .everything()
        .backoff(Duration::from_millis(10), Duration::from_millis(100))
        .start()
        .expect("a client");
    assert!(client.synced().await);
    client
}

/// Waits until the client has seen the database as it is after its server was replaced: until then its replica is that of
/// the server before.
pub(crate) async fn anew(client: &Client, sessions_before: u64) {
    let mut state = client.state();
    let seen =
        state.wait_for(|state| state.is_synced() && state.counters.sessions > sessions_before);
    let seen = tokio::time::timeout(PATIENCE, seen).await;
    seen.expect("a session").expect("the observer was closed");
}

/// Waits until the database is as wished. `false`: it was not within [`PATIENCE`].
async fn becomes(observer: &Client, wish: impl Fn(&Database) -> bool) -> bool {
    let mut changes = observer.changes();
    let wished = async {
        while !wish(&observer.read()) {
            changes.next_batch().await.expect("the observer was closed");
        }
    };
    tokio::time::timeout(PATIENCE, wished).await.is_ok()
}

/// Waits until the Northbound is as wished.
pub(crate) async fn until(observer: &Client, what: &str, wish: impl Fn(&Database) -> bool) {
    if !becomes(observer, wish).await {
        let rows = rows(&observer.read());
        panic!("{what}: not within {PATIENCE:?}; our rows are {rows:#?}");
    }
}

/// Deletes everything, the row about all of OVN included, which comes back as from an ovn-northd that has seen all that.
pub(crate) fn wipe() -> Vec<Operation> {
    let roots = [
        "Logical_Router",
        "Logical_Switch",
        "Load_Balancer",
        "Load_Balancer_Group",
        "DNS",
        "NB_Global",
    ];
    let deletions = roots.map(|table| Operation::Delete {
        table: Name::new_static(table),
        condition: Vec::new(),
    });
    let global = Operation::Insert {
        table: Name::new_static("NB_Global"),
        uuid: None,
        row: Row::new().with("sb_cfg", northd::EVERYTHING),
    };
    deletions.into_iter().chain([global]).collect()
}

/// Waits until our rows are exactly these.
pub(crate) async fn until_rows(observer: &Client, what: &str, wanted: &Rows) {
    if becomes(observer, |database| rows(database) == *wanted).await {
        return;
    }
    let found = rows(&observer.read());
    let mut differences = String::new();
    for key in wanted.keys().chain(found.keys()) {
        let (wanted, found) = (wanted.get(key), found.get(key));
        if wanted != found {
            writeln!(differences, "{key:?}: {found:?} instead of {wanted:?}").expect("text");
        }
    }
    panic!("{what}: not within {PATIENCE:?}:\n{differences}");
}

/// Every row that carries our name. OVN's own columns are left out.
pub(crate) fn rows(database: &Database) -> Rows {
    let mut rows = Rows::new();
    for table in nb::TABLES {
        for (uuid, row) in database.rows(table.name) {
            if nb::unit_of(OWNER, table.name, &row).is_some() {
                rows.insert((table.name, uuid), row.as_ref().clone());
            }
        }
    }
    rows
}

impl Controller {
    /// Waits until the log holds a text.
    pub(crate) fn says(&self, text: &str) {
        self.process.wait_for_output(text).expect("the log");
    }

    /// The whole log.
    pub(crate) fn log(&self) -> String {
        self.process.output().expect("the log")
    }

    /// Ends it as a supervisor would; it has to end well.
    pub(crate) fn stop(self) {
        let status = self.process.terminate().expect("an end");
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(self) {
        self.process.kill().expect("a signal");
    }

    /// Asks one of the paths it serves: the status line's number, and the body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.says("address=127.0.0.1:");
        let log = self.log();
        let address = log
            .split("address=")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        let mut stream = TcpStream::connect(address.expect("an address")).expect("a connection");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|number| number.parse().ok())
            .expect("a status");
        let body = answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned())
            .unwrap_or_default();
        (status, body)
    }

    /// Waits until it says that it is ready.
    pub(crate) fn until_ready(&self) {
        self.process
            .wait_until("/readyz", || Ok(self.get("/readyz").0 == 200))
            .expect("readiness");
    }

    /// The value of a metric, labels included in its name; 0 where there is none.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, body) = self.get("/metrics");
        let line = body
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
            .unwrap_or_default()
    }

    /// Waits until a metric is as wished.
    pub(crate) fn until_metric(&self, name: &str, wish: impl Fn(f64) -> bool) {
        let result = self
            .process
            .wait_until(name, || Ok(wish(self.metric(name))));
        result.unwrap_or_else(|error| panic!("{error:#}; it is {}", self.metric(name)));
    }
}

/// A VPC that every namespace may use.
pub(crate) fn vpc(name: &str) -> String {
    format!(
        "---\napiVersion: yusur.io/v1alpha1\nkind: Vpc\nmetadata: {{name: {name}}}\nspec:\n  serviceCIDRs: [10.96.0.0/12]\n  \
         allowedNamespaces: {{from: All}}\n---\napiVersion: yusur.io/v1alpha1\nkind: Subnet\nmetadata: {{name: {name}-front}}\n\
         spec: {{vpc: {name}, cidrs: [10.0.0.0/16]}}\n"
    )
}

/// Services that name their backends' addresses; `generation` changes all of them.
pub(crate) fn services(vpc: &str, range: std::ops::Range<usize>, generation: usize) -> String {
    let mut text = String::new();
    for n in range {
        let (high, low) = (n / 250, n % 250 + 1);
        write!(
            text,
            "---\napiVersion: yusur.io/v1alpha1\nkind: YusurService\nmetadata: {{name: s{n}, namespace: shop}}\nspec:\n  \
             vpc: {vpc}\n  clusterIP: 10.96.{next}.{low}\n  ports: [{{port: 80, targetPort: {port}}}]\n  \
             backends: [{{kind: VNicIP, addresses: [10.0.{high}.{low}, 10.0.{next}.{low}]}}]\n",
            port = 8000 + generation,
            next = high + 100,
        )
        .expect("text");
    }
    text
}

/// Whether one of our DNS rows has the name of a service of [`services`]; the last of its rows to be written.
pub(crate) fn is_named(database: &Database, n: usize) -> bool {
    let name = format!("s{n}.shop.svc.cluster.local");
    database
        .rows("DNS")
        .any(|(_, row)| row.map_str("records", &name).is_some())
}

/// The backends of a VIP, over all load balancers of ours.
pub(crate) fn backends(rows: &Rows, vip: &str) -> Option<String> {
    let balancers = rows
        .iter()
        .filter(|((table, _), _)| *table == "Load_Balancer");
    balancers
        .filter_map(|(_, row)| row.map_str("vips", vip))
        .map(str::to_owned)
        .next()
}
