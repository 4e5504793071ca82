//! The API server with its objects, and Northbounds for the controller to fill.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use yusur_testbed::kubernetes::{ControlPlane, User};
use yusur_testbed::northd;
use yusur_testbed::ovsdb::Standalone;
use yusur_testbed::schemas::{Schema, installed, newest};

use crate::api::{Api, Request};
use crate::controller::Controller;
use crate::monitor::Monitor;
use crate::objects::{self, Backends};

/// The cluster and what is needed to put a controller before it.
#[derive(Debug)]
pub(crate) struct World {
    /// What the services' backends are.
    pub(crate) backends: Backends,
    /// How many services there are.
    pub(crate) size: usize,
    /// The administrator's hand.
    pub(crate) api: Api,
    /// The schema of the Northbounds.
    pub(crate) schema: Schema,
    /// How often each service was changed.
    turns: RefCell<Vec<usize>>,
    program: PathBuf,
    kubeconfig: PathBuf,
    logs: Option<PathBuf>,
    _kubernetes: ControlPlane,
}

/// A Northbound and its clock.
#[derive(Debug)]
pub(crate) struct Northbound {
    /// The clock.
    pub(crate) monitor: Monitor,
    /// The server.
    pub(crate) server: Standalone,
}

impl World {
    /// A cluster with the topology and no services yet.
    pub(crate) fn start(program: &Path, backends: Backends, logs: Option<PathBuf>) -> Result<Self> {
        let schema = newest("ovn-nb").or_else(|error| {
            eprintln!("{error:#}; measuring with the installed schema instead");
            installed("ovn-nb")
        })?;
        println!(
            "\nServices with {}: starting a cluster; Northbound schema {}",
            backends.word(),
            schema.version
        );
        let user = User::service_account("yusur-system", "yusur-controller");
        let kubernetes = ControlPlane::start_with(vec![user.clone()])?;
        let admin = kubernetes.access(&User::admin())?;
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests");
        admin.apply(&std::fs::read_to_string(
            manifests.join("controller/namespace.yaml"),
        )?)?;
        admin.apply_files(&manifests.join("rbac"))?;
        kubernetes.install_definitions()?;
        let kubeconfig = kubernetes.kubeconfig(&user)?;
        let api = Api::new(&kubernetes)?;
        api.send_all(&objects::topology())?;
        Ok(Self {
            backends,
            size: 0,
            api,
            schema,
            turns: RefCell::default(),
            program: program.to_owned(),
            kubeconfig,
            logs,
            _kubernetes: kubernetes,
        })
    }

    /// The kubeconfig with the controller's rights.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Makes services, and Pods where they have any, until there are `size`.
    pub(crate) fn grow(&mut self, size: usize) -> Result<()> {
        /// Services made in one go: bounds what waits in memory.
        const CHUNK: usize = 10_000;
        let began = Instant::now();
        while self.size < size {
            let range = self.size..size.min(self.size + CHUNK);
            if self.backends == Backends::Pods {
                let pods: Vec<Request> = range.clone().flat_map(objects::pods).collect();
                self.api.send_all(&pods)?;
                let running: Vec<Request> = range.clone().flat_map(objects::running).collect();
                self.api.send_all(&running)?;
            }
            let services: Vec<Request> = range
                .clone()
                .map(|at| objects::service(at, self.backends))
                .collect();
            self.api.send_all(&services)?;
            self.size = range.end;
        }
        println!(
            "{size} services are there ({:.0} s)",
            began.elapsed().as_secs_f64()
        );
        Ok(())
    }

    /// Changes one endpoint of the service `at`, which then is not as it was.
    pub(crate) fn change(&self, at: usize) -> Request {
        let mut turns = self.turns.borrow_mut();
        turns.resize(self.size, 0);
        turns[at] += 1;
        objects::change(at, self.backends, turns[at])
    }

    /// An empty Northbound.
    pub(crate) fn northbound(&self) -> Result<Northbound> {
        let server = Standalone::start(&self.schema)?;
        northd::stand_in(&server)?;
        let monitor = Monitor::start(&server.unix_path(), &self.schema)?;
        Ok(Northbound { monitor, server })
    }

    /// Starts a controller.
    pub(crate) fn controller(&self, northbound: &Northbound) -> Result<Controller> {
        Controller::start(
            &self.program,
            &self.kubeconfig,
            &northbound.server,
            self.logs.clone(),
        )
    }
}
