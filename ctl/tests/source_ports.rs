//! `yusurctl source-ports` between a real Open vSwitch, a real OVN and a real API server. That connections are counted, the
//! packet tests show.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use yusur_testbed::kubernetes::{Access, ControlPlane, User};
use yusur_testbed::lab::Lab;
use yusur_testbed::process::{poll, run};

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests");
const GATEWAY: &str = "/apis/yusur.io/v1alpha1/eipgateways/internet";
const ROUTER: &str = "yusur:yusur:servicegateway/internet";

/// Says as the controller would which node the service gateway is on.
fn says(admin: &Access, node: &str) -> Result<()> {
    let body = json!({"apiVersion": "yusur.io/v1alpha1", "kind": "EipGateway", "metadata": {"name": "internet"},
        "status": {"serviceGateway": {"node": node, "addresses": ["100.64.0.2"]}}});
    let path = format!("{GATEWAY}/status?fieldManager=controller");
    let answer = admin.request("PATCH", &path, Some(&body))?;
    ensure!(answer.code == 200, "{answer:?}");
    Ok(())
}

fn status(admin: &Access) -> Result<Value> {
    let gateway = admin.get(GATEWAY)?.context("the gateway")?;
    Ok(gateway["status"].clone())
}

#[test]
fn what_is_left_is_told_where_the_service_gateway_is() -> Result<()> {
    let account = User::service_account("yusur-system", "gateway-node");
    let kubernetes = ControlPlane::start_with(vec![account.clone()])?;
    let admin = kubernetes.access(&User::admin())?;
    kubernetes.install_definitions()?;
    for file in ["controller/namespace.yaml", "rbac/gateway-node.yaml"] {
        admin.apply(&std::fs::read_to_string(Path::new(MANIFESTS).join(file))?)?;
    }
    admin.apply(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: gateway-node}\n\
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: yusur-gateway-node}\n\
         subjects: [{kind: ServiceAccount, name: gateway-node, namespace: yusur-system}]\n",
    )?;
    admin.apply(
        "apiVersion: yusur.io/v1alpha1\nkind: EipGateway\nmetadata: {name: internet}\n\
         spec: {cidrs: [192.0.2.0/24], physicalNetwork: outside, nodes: [gw1, gw2]}\n",
    )?;
    let kubeconfig = kubernetes.kubeconfig(&account)?;

    Lab::run(&["gw1"], |lab| {
        let chassis = lab.node("gw1")?;
        let count = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_yusurctl"));
            command
                .args(["source-ports", "--ovs-address", &chassis.remote()])
                .arg("--ovs-control")
                .arg(chassis.control())
                .args(["--publish", "--kubeconfig"])
                .arg(&kubeconfig);
            run(&mut command)
        };
        says(&admin, "gw1")?;
        let nothing = count()?;
        ensure!(nothing.contains("No service gateway"), "{nothing}");
        ensure!(status(&admin)?["sourcePorts"].is_null());

        // Its rows, as far as a chassis takes part in them.
        let (port, peer) = (
            format!("{ROUTER}/join-router"),
            format!("{ROUTER}/join-switch"),
        );
        lab.nbctl(&["lr-add", ROUTER])?;
        lab.nbctl(&["set", "Logical_Router", ROUTER, "options:chassis=gw1"])?;
        lab.nbctl(&[
            "lrp-add",
            ROUTER,
            &port,
            "0a:00:00:00:00:02",
            "100.64.0.2/16",
        ])?;
        lab.nbctl(&["ls-add", "join", "--", "lsp-add", "join", &peer])?;
        lab.nbctl(&["lsp-set-type", &peer, "router"])?;
        lab.nbctl(&["lsp-set-addresses", &peer, "router"])?;
        lab.nbctl(&["lsp-set-options", &peer, &format!("router-port={port}")])?;
        lab.sync()?;
        let mut shown = String::new();
        poll(|| {
            shown = count()?;
            Ok(shown.contains("64512"))
        })
        .with_context(|| shown.clone())?;
        let told = status(&admin)?;
        let ports = &told["sourcePorts"];
        ensure!(
            ports["node"] == "gw1" && ports["remaining"] == 64_512,
            "{told:#}"
        );
        ensure!(told["serviceGateway"]["node"] == "gw1", "{told:#}");

        // It has gone to another node, whose affair it is now.
        says(&admin, "gw2")?;
        count()?;
        let told = status(&admin)?;
        ensure!(told["sourcePorts"].is_null(), "{told:#}");
        ensure!(told["serviceGateway"]["node"] == "gw2", "{told:#}");
        Ok(())
    })
}
