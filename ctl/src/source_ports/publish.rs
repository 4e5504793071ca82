//! Telling EipGateways how many source ports their service gateways have left.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use yusur_controller::source::kubernetes::connect;
use yusur_crds::common::Time;
use yusur_crds::{API_VERSION, EipGateway, SourcePorts};

use super::count::{self, Used};

/// Who we are in managed fields. The controller leaves what is ours as it is.
const MANAGER: &str = "yusurctl-source-ports";

/// Writes `status.sourcePorts` of the gateways whose service gateway is on this node, and takes it back where it has left.
///
/// # Errors
/// When the API server is out of reach or refuses.
pub(super) async fn publish(
    kubeconfig: Option<&Path>,
    node: &str,
    counted: &BTreeMap<String, Used>,
) -> anyhow::Result<()> {
    let gateways: Api<EipGateway> = Api::all(connect(kubeconfig).await?);
    let there = gateways.list(&ListParams::default()).await;
    for gateway in there.context("listing the EipGateways")? {
        let name = gateway.name_any();
        let status = gateway.status.unwrap_or_default();
        let on = status.service_gateway.and_then(|it| it.node);
        // Between the two nodes of a move OVN is quicker than the status or slower: what does not fit is not told.
        let here = counted.get(&name).filter(|_| on.as_deref() == Some(node));
        let ours = status.source_ports.is_some_and(|told| told.node == node);
        let status = match here {
            Some(used) => json!({ "sourcePorts": observed(node, used) }),
            None if ours => json!({}),
            None => continue,
        };
        apply(&gateways, &name, status).await?;
    }
    Ok(())
}

/// Server-side apply: what was ours and is not said any more goes.
async fn apply(gateways: &Api<EipGateway>, name: &str, status: Value) -> anyhow::Result<()> {
    let object = json!({
        "apiVersion": API_VERSION,
        "kind": "EipGateway",
        "metadata": { "name": name },
        "status": status,
    });
    let parameters = PatchParams::apply(MANAGER).force();
    let applied = gateways
        .patch_status(name, &parameters, &Patch::Apply(object))
        .await;
    applied.with_context(|| format!("the status of EipGateway {name}"))?;
    Ok(())
}

fn observed(node: &str, used: &Used) -> SourcePorts {
    let fullest = used.iter().max_by_key(|(_, used)| **used);
    let left = count::left(fullest.map_or(0, |(_, used)| *used));
    SourcePorts {
        node: node.to_owned(),
        // At most 64,512.
        remaining: i32::try_from(left).unwrap_or(i32::MAX),
        backend: fullest.map(|(backend, _)| backend.to_string()),
        observed_time: Time(k8s_openapi::jiff::Timestamp::now()),
    }
}
