//! KubeVirt's virtual machines count as VMs where KubeVirt is installed, whenever it comes.

use serde_json::json;

use super::world::{World, namespace, service};
use crate::common::vpc;

/// As much of KubeVirt as the controller looks at.
const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: virtualmachineinstances.kubevirt.io}
spec:
  group: kubevirt.io
  names: {kind: VirtualMachineInstance, plural: virtualmachineinstances, singular: virtualmachineinstance, shortNames: [vmi]}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

const PATH: &str = "/apis/kubevirt.io/v1/namespaces/shop/virtualmachineinstances/vm1";

#[tokio::test(flavor = "multi_thread")]
async fn virtual_machine_instances_are_found_once_kubevirt_is_there() {
    let world = World::new().await;
    world.apply(&format!(
        "{}{}---\napiVersion: yusur.io/v1alpha1\nkind: YusurService\nmetadata: {{name: web, namespace: shop}}\nspec:\n  vpc: red\n  \
         clusterIP: 10.96.0.10\n  ports: [{{port: 80}}]\n  backends: [{{kind: VM, selector: {{matchLabels: {{app: web}}}}}}]\n",
        namespace("shop"),
        vpc("red"),
    ));
    world.apply(
        "apiVersion: yusur.io/v1alpha1\nkind: Subnet\nmetadata: {name: red-front}\nspec: {vpc: red, cidrs: [10.0.0.0/16], defaultForNamespaces: {names: [shop]}}\n",
    );
    // Without KubeVirt all else works.
    let controller = world.converged("one").await;
    controller.until_ready();
    world.until_condition(&service("shop", "web"), "Ready", "False", "NoBackends");

    world.apply(DEFINITION);
    let instance = "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: vm1, namespace: shop, labels: {app: web}}\nspec: {}\n";
    world
        .admin
        .apply_once_served(instance)
        .expect("an instance");
    let report = |ready: &str, address: &str| {
        world.patch_status(PATH, &json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": {"name": "vm1", "namespace": "shop"},
            "status": {"phase": "Running", "nodeName": "node1", "conditions": [{"type": "Ready", "status": ready}],
                "interfaces": [{"ipAddress": address, "ipAddresses": [address]}]},
        }));
    };
    report("True", "10.0.7.7");
    world
        .until_backends("10.96.0.10:80", Some("10.0.7.7:80"))
        .await;
    report("False", "10.0.7.7");
    world.until_backends("10.96.0.10:80", Some("")).await;
    // Moved to another node, it may have another address.
    report("True", "10.0.7.8");
    world
        .until_backends("10.96.0.10:80", Some("10.0.7.8:80"))
        .await;
    world.delete(PATH);
    world.until_backends("10.96.0.10:80", Some("")).await;

    // KubeVirt is removed: that is no trouble either.
    world.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/virtualmachineinstances.kubevirt.io");
    world.apply("apiVersion: yusur.io/v1alpha1\nkind: YusurService\nmetadata: {name: more, namespace: shop}\nspec: {vpc: red, clusterIP: 10.96.0.11, ports: [{port: 80}], backends: [{kind: VM, addresses: [10.0.7.9]}]}\n");
    world
        .until_backends("10.96.0.11:80", Some("10.0.7.9:80"))
        .await;
    controller.until_ready();
    controller.stop();
}
