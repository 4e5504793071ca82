//! Two judges, one judgement: what a real API server accepts and refuses, `validation` accepts and refuses, in the same
//! words. From each good example many objects are made that are wrong in one place, or nearly so: by the schemas, every
//! node of each and every constraint of the node.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kube::Client;
use serde_json::{Map, Value, json};
use support::{MANIFESTS, client, documents, install, plural, put, yaml_files};
use tokio::task::JoinSet;
use yusur_crds::manifest;
use yusur_crds::validation::Validator;
use yusur_testbed::kubernetes::ControlPlane;

/// Objects that have what no example has.
const MORE: &str = "
kind: YusurService
metadata: {name: everything}
spec:
  vpc: shop
  clusterIPs: [10.96.0.1, 'fd00:96::1']
  ipFamilies: [IPv4, IPv6]
  ipFamilyPolicy: RequireDualStack
  algorithm: FlowHash
  ports:
    - {name: a, port: 80, protocol: TCP, targetPort: http, appProtocol: http}
    - {name: b, port: 80, protocol: UDP, targetPort: 81}
  backends:
    - {kind: Pod, selector: {matchLabels: {app: web}, matchExpressions: [{key: a, operator: In, values: [b]}]}, vpc: shop, weight: 2}
    - {kind: VM, addresses: [10.0.0.5, 10.0.0.6], ports: [{name: http, port: 8080}]}
  eip: {gateway: ext, addresses: [192.0.2.4], ipFamilies: [IPv4]}
  healthCheck: {protocol: HTTP, port: 8080, path: /x, host: a.b, intervalSeconds: 5, timeoutSeconds: 5, successThreshold: 1,
    failureThreshold: 1, whenAllFail: Reject, disabled: false}
  nodeAccess: true
  publish: {dns: true, kubernetes: true}
  publishNotReadyAddresses: true
  sessionAffinity: {type: ClientIP, timeoutSeconds: 30}
  sourceAddress: Preserve
  sourceRanges: [198.51.100.0/24]
---
kind: YusurService
metadata: {name: single}
spec: {vpc: shop, clusterIP: 10.96.0.1, ipFamilies: [IPv4], ports: [{port: 80}], eip: {name: e}}
---
kind: Vpc
metadata: {name: everything}
spec:
  serviceCIDRs: [10.96.0.0/24, 'fd00:96::/112']
  allowedNamespaces: {from: Listed, names: [a, b], selector: {matchLabels: {a: b}, matchExpressions: [{key: a, operator: In, values: [b]}]}}
  nodeAccess: false
  staticRoutes: [{destination: 192.0.2.0/24, nextHop: 10.0.0.9}]
  eipGateway: ext
  logicalRouter: r
---
kind: Subnet
metadata: {name: everything}
spec:
  vpc: shop
  cidrs: [10.0.1.0/24, 'fd00:1::/64']
  gateways: [10.0.1.1, 'fd00:1::1']
  excludedAddresses: [10.0.1.5, 10.0.1.10-10.0.1.20]
  defaultForNamespaces: {from: Listed, names: [a], selector: {matchLabels: {a: b}, matchExpressions: [{key: a, operator: In, values: [b]}]}}
---
kind: Subnet
metadata: {name: adopted}
spec: {vpc: shop, logicalSwitch: sw, defaultForNamespaces: {from: All}}
---
kind: EipGateway
metadata: {name: everything}
spec:
  cidrs: [192.0.2.0/24, '2001:db8::/64']
  gatewayAddresses: [192.0.2.1]
  nextHops: [192.0.2.254]
  excludedAddresses: [192.0.2.2, 192.0.2.10-192.0.2.20]
  physicalNetwork: internet
  vlan: 7
  nodes: [gw1, gw2]
  default: true
  serviceGateway: {placement: Apart}
  allowedNamespaces: {from: Listed, names: [a], selector: {matchLabels: {a: b}, matchExpressions: [{key: a, operator: In, values: [b]}]}}
---
kind: Eip
metadata: {name: everything}
spec: {gateway: ext, addresses: [192.0.2.9], ipFamilies: [IPv4]}
---
kind: VNic
metadata: {name: everything}
spec:
  subnet: front
  addresses: [10.0.1.9, 'fd00:1::9']
  macAddress: '02:00:00:00:00:01'
  owner: {kind: VM, name: vm1}
  node: n1
  device: {pciAddress: '0000:03:00.1', representor: eth1}
  ports: [{name: http, port: 80, protocol: TCP}]
  portSecurity: true
---
kind: NetworkProbe
metadata: {name: everything}
spec:
  target: {kind: VM, name: x, address: 10.0.0.5, vpc: v, subnet: s}
  protocol: HTTP
  port: 80
  path: /
  host: a
  intervalSeconds: 5
  timeoutSeconds: 3
  successThreshold: 1
  failureThreshold: 3
  node: n1
";

/// Texts that some rule or pattern somewhere tells apart.
const TEXTS: [&str; 46] = [
    "",
    "a",
    "A",
    "a-",
    "-a",
    "a.b",
    "a b",
    "a\n",
    "\na",
    "/",
    "/a\r\nb",
    "1",
    "1a",
    "a--b",
    "é",
    "None",
    "discard",
    "10.0.0.1",
    "10.0.0.0",
    "10.0.1.1",
    "192.0.2.7",
    "192.0.2.0/24",
    "10.0.0.1/24",
    "10.0.0.0/8",
    "10.0.0.0/08",
    "10.0.0.0/31",
    "10.0.0.0/33",
    "010.0.0.1",
    "1.2.3",
    "0.0.0.0",
    "0.0.0.0/0",
    "127.0.0.1",
    "169.254.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "fd00::1",
    "FD00:0::1",
    "fd00::/64",
    "fd00::1/64",
    "fe80::1",
    "fe80::1%eth0",
    "::",
    "::1",
    "::ffff:10.0.0.1",
    "10.0.0.1-10.0.0.9",
    "10.0.0.1-",
];

/// One object and how it came about.
#[derive(Clone)]
struct Trial {
    what: String,
    object: Value,
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_judged_as_the_api_server_judges() {
    let kubernetes = ControlPlane::start().expect("a control plane");
    let client = client(&kubernetes).await;
    install(&client).await;

    let schemas: BTreeMap<String, Value> = manifest::definitions()
        .iter()
        .map(|definition| {
            (
                definition.spec.names.kind.clone(),
                manifest::schema(definition),
            )
        })
        .collect();
    let bases = bases();
    let samples = samples(&schemas, &bases);
    let mut trials = Vec::new();
    let mut seen = BTreeSet::new();
    for base in &bases {
        let kind = base["kind"].as_str().expect("a kind");
        trials.push(Trial {
            what: format!("{kind} as it is"),
            object: base.clone(),
        });
        let spec = &schemas[kind]["properties"]["spec"];
        let mut variants = Vec::new();
        vary(
            spec,
            &base["spec"],
            &format!("{kind}.spec"),
            &samples,
            &mut seen,
            &mut variants,
        );
        for (what, spec) in variants {
            let mut object = base.clone();
            match spec {
                Some(spec) => object["spec"] = spec,
                None => drop(object.as_object_mut().expect("an object").remove("spec")),
            }
            trials.push(Trial { what, object });
        }
    }
    // Every node of every schema was tried.
    let mut untried = Vec::new();
    for (kind, schema) in &schemas {
        nodes(
            &schema["properties"]["spec"],
            &format!("{kind}.spec"),
            &mut |path, _| {
                if !seen.contains(path) {
                    untried.push(path.to_owned());
                }
            },
        );
    }
    assert!(
        untried.is_empty(),
        "no object here has\n{}",
        untried.join("\n")
    );

    let count = trials.len();
    let (faults, refused) = compare(&client, trials, None).await;
    println!("{count} objects, {refused} refused");
    assert!(
        refused > count / 4 && refused < count,
        "{refused} of {count} refused"
    );
    assert!(
        faults.is_empty(),
        "{} of {count}:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// What cannot be changed is told by what was there before.
#[tokio::test(flavor = "multi_thread")]
async fn changes_are_judged_as_the_api_server_judges() {
    let kubernetes = ControlPlane::start().expect("a control plane");
    let client = client(&kubernetes).await;
    install(&client).await;
    let schemas: BTreeMap<String, Value> = manifest::definitions()
        .iter()
        .map(|definition| {
            (
                definition.spec.names.kind.clone(),
                manifest::schema(definition),
            )
        })
        .collect();
    let bases = bases();
    let samples = samples(&schemas, &bases);
    let (mut count, mut refused, mut faults) = (0, 0, Vec::new());
    for base in documents_of(MORE) {
        let kind = base["kind"].as_str().expect("a kind").to_owned();
        put(&client, &base).await.expect("it is good");
        let mut trials = Vec::new();
        let mut variants = Vec::new();
        let spec = &schemas[&kind]["properties"]["spec"];
        vary(
            spec,
            &base["spec"],
            &format!("{kind}.spec"),
            &samples,
            &mut BTreeSet::new(),
            &mut variants,
        );
        // What other objects of the kind have.
        for other in bases.iter().filter(|other| other["kind"] == kind.as_str()) {
            variants.push((
                format!("{kind} as {}", other["metadata"]["name"]),
                Some(other["spec"].clone()),
            ));
        }
        for (what, spec) in variants {
            let mut object = base.clone();
            object["spec"] = spec.unwrap_or_default();
            trials.push(Trial { what, object });
        }
        count += trials.len();
        let (more, there) = compare(&client, trials, Some(&base)).await;
        faults.extend(more);
        refused += there;
    }
    println!("{count} changes, {refused} refused");
    assert!(refused < count, "{refused} of {count} refused");
    assert!(
        faults.is_empty(),
        "{} of {count}:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// All good objects: the examples, what the bad ones change, and more.
fn bases() -> Vec<Value> {
    let examples = Path::new(MANIFESTS).join("examples");
    let mut bases = documents_of(MORE);
    for file in yaml_files(&examples) {
        let bad = file.starts_with(examples.join("bad"));
        for document in documents(&file) {
            let ours = document.value["apiVersion"] == "yusur.io/v1alpha1";
            if ours && !(bad && document.expect.is_some()) {
                let mut object = document.value;
                // Each in a place where there is nothing yet.
                let metadata = object["metadata"].as_object_mut().expect("metadata");
                let name = format!(
                    "{}-{}",
                    metadata["name"].as_str().expect("a name"),
                    bases.len()
                );
                *metadata = Map::from_iter([("name".to_owned(), name.into())]);
                bases.push(placed(object));
            }
        }
    }
    bases
}

fn documents_of(text: &str) -> Vec<Value> {
    let documents = text.split("\n---\n").map(|text| {
        let mut object: Value = serde_saphyr::from_str(text).expect("YAML");
        object["apiVersion"] = "yusur.io/v1alpha1".into();
        placed(object)
    });
    documents.collect()
}

fn placed(mut object: Value) -> Value {
    let namespaced = ["YusurService", "VNic", "Eip", "NetworkProbe"];
    if namespaced.contains(&object["kind"].as_str().expect("a kind")) {
        object["metadata"]["namespace"] = "default".into();
    }
    object
}

/// The values that the good objects have at each node.
fn samples(schemas: &BTreeMap<String, Value>, bases: &[Value]) -> BTreeMap<String, Vec<Value>> {
    fn gather(
        schema: &Value,
        value: &Value,
        path: &str,
        samples: &mut BTreeMap<String, Vec<Value>>,
    ) {
        let known = samples.entry(path.to_owned()).or_default();
        if !known.contains(value) {
            known.push(value.clone());
        }
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    if let Some((schema, path)) = below(schema, key, path) {
                        gather(schema, value, &path, samples);
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    gather(&schema["items"], item, &format!("{path}[]"), samples);
                }
            }
            _ => {}
        }
    }
    let mut samples = BTreeMap::new();
    for base in bases {
        let kind = base["kind"].as_str().expect("a kind");
        let schema = &schemas[kind]["properties"]["spec"];
        gather(schema, &base["spec"], &format!("{kind}.spec"), &mut samples);
    }
    samples
}

/// The schema of a field, and the path of its node.
fn below<'a>(schema: &'a Value, key: &str, path: &str) -> Option<(&'a Value, String)> {
    match (
        schema["properties"].get(key),
        schema.get("additionalProperties"),
    ) {
        (Some(schema), _) => Some((schema, format!("{path}.{key}"))),
        (None, Some(schema)) => Some((schema, format!("{path}.*"))),
        (None, None) => None,
    }
}

/// All nodes of a schema.
fn nodes(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        nodes(schema, &format!("{path}.{key}"), visit);
    }
    if let Some(schema) = schema.get("additionalProperties") {
        nodes(schema, &format!("{path}.*"), visit);
    }
    if let Some(schema) = schema.get("items") {
        nodes(schema, &format!("{path}[]"), visit);
    }
}

/// Variants of a value, each different in one place; `None`: it is not there. The first object that has a node is varied
/// there in every way, the others only by adding and removing fields.
fn vary(
    schema: &Value,
    value: &Value,
    path: &str,
    samples: &BTreeMap<String, Vec<Value>>,
    seen: &mut BTreeSet<String>,
    variants: &mut Vec<(String, Option<Value>)>,
) {
    let mut tell =
        |what: &str, value: Option<Value>| variants.push((format!("{path} {what}"), value));
    let first = seen.insert(path.to_owned());
    if first {
        for other in [
            json!(null),
            json!(true),
            json!(7),
            json!(-1),
            json!(1.5),
            json!("x"),
            json!([]),
            json!({}),
        ] {
            tell(&format!("is {other}"), Some(other));
        }
        let is_text = value.is_string() || schema["x-kubernetes-int-or-string"] == true;
        if is_text {
            for text in TEXTS {
                tell(&format!("is {text:?}"), Some(text.into()));
            }
            for bound in ["minLength", "maxLength"] {
                let Some(bound) = schema[bound].as_u64() else {
                    continue;
                };
                for length in [bound.saturating_sub(1), bound, bound + 1] {
                    let length = usize::try_from(length).expect("short");
                    tell(
                        &format!("has {length} letters"),
                        Some("a".repeat(length).into()),
                    );
                    tell(
                        &format!("has {length} letters of two bytes"),
                        Some("é".repeat(length).into()),
                    );
                    tell(
                        &format!("is a path of {length} letters"),
                        Some(format!("/{}", "a".repeat(length.saturating_sub(1))).into()),
                    );
                }
            }
            for allowed in schema["enum"].as_array().into_iter().flatten() {
                tell(&format!("is {allowed}"), Some(allowed.clone()));
            }
        }
        if value.is_number() || schema["x-kubernetes-int-or-string"] == true {
            for number in [
                json!(0),
                json!(2_147_483_647_i64),
                json!(2_147_483_648_i64),
                json!(-2_147_483_649_i64),
                json!(9_223_372_036_854_775_807_i64),
                json!(1e30),
            ] {
                tell(&format!("is {number}"), Some(number));
            }
            for bound in ["minimum", "maximum"] {
                let Some(bound) = schema[bound].as_f64() else {
                    continue;
                };
                for number in [bound - 1.0, bound, bound + 1.0] {
                    #[expect(clippy::cast_possible_truncation, reason = "bounds are small")]
                    let number = number as i64;
                    tell(&format!("is {number}"), Some(number.into()));
                }
            }
        }
        for sample in samples.get(path).into_iter().flatten().take(12) {
            tell("is as elsewhere", Some(sample.clone()));
        }
    }
    tell("is not there", None);
    match value {
        Value::Object(fields) => {
            let mut more = fields.clone();
            more.insert("notAField".into(), json!({"a": 1}));
            tell("has an unknown field", Some(more.into()));
            for key in schema["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, _)| key)
            {
                if fields.contains_key(key) {
                    continue;
                }
                for sample in samples
                    .get(&format!("{path}.{key}"))
                    .into_iter()
                    .flatten()
                    .take(3)
                {
                    let mut more = fields.clone();
                    more.insert(key.clone(), sample.clone());
                    tell(&format!("has {key} too"), Some(more.into()));
                }
            }
            for (key, value) in fields {
                let Some((schema, path)) = below(schema, key, path) else {
                    continue;
                };
                let mut inner = Vec::new();
                vary(schema, value, &path, samples, seen, &mut inner);
                for (what, value) in inner {
                    let mut fields = fields.clone();
                    match value {
                        Some(value) => drop(fields.insert(key.clone(), value)),
                        None => drop(fields.remove(key)),
                    }
                    variants.push((what, Some(fields.into())));
                }
            }
        }
        Value::Array(items) => {
            if first && let Some(last) = items.last() {
                tell(
                    "has its last twice",
                    Some(items.iter().chain([last]).cloned().collect()),
                );
                // Another, with the same key.
                let mut twin = last.clone();
                if let Some(field) = twin.as_object_mut().and_then(|twin| twin.get_mut("name")) {
                    *field = "twin".into();
                    tell(
                        "has a twin of its last",
                        Some(items.iter().chain([&twin]).cloned().collect()),
                    );
                }
                for bound in ["minItems", "maxItems"] {
                    let Some(bound) = schema[bound].as_u64() else {
                        continue;
                    };
                    for length in [bound.saturating_sub(1), bound, bound + 1] {
                        let list = (0..length).map(|n| distinct(last, n));
                        tell(&format!("has {length} items"), Some(list.collect()));
                    }
                }
                tell(
                    "is turned round",
                    Some(items.iter().rev().cloned().collect()),
                );
            }
            for (index, item) in items.iter().enumerate() {
                let mut inner = Vec::new();
                vary(
                    &schema["items"],
                    item,
                    &format!("{path}[]"),
                    samples,
                    seen,
                    &mut inner,
                );
                for (what, value) in inner {
                    let mut items = items.clone();
                    match value {
                        Some(value) => items[index] = value,
                        None => drop(items.remove(index)),
                    }
                    variants.push((what, Some(items.into())));
                }
            }
        }
        _ => {}
    }
}

/// Something like `item`, different for each `n` where that is easily done.
fn distinct(item: &Value, n: u64) -> Value {
    match item {
        Value::String(text) if text.parse::<std::net::IpAddr>().is_ok() => {
            format!("10.9.{}.{}", n / 250, n % 250 + 1).into()
        }
        Value::String(text) if text.contains('/') => format!("10.{n}.0.0/16").into(),
        Value::String(text) if !["IPv4", "IPv6"].contains(&text.as_str()) => format!("x{n}").into(),
        Value::Object(fields) => {
            let mut fields = fields.clone();
            if let Some(name) = fields.get_mut("name") {
                *name = format!("x{n}").into();
            }
            if let Some(port) = fields.get_mut("port") {
                *port = (n + 1).into();
            }
            fields.into()
        }
        other => other.clone(),
    }
}

/// Puts objects before both judges, without any effect. `before`: they are to replace this one. Returns where the judges
/// differ, and how many objects were refused.
async fn compare(
    client: &Client,
    trials: Vec<Trial>,
    before: Option<&Value>,
) -> (Vec<String>, usize) {
    let mut faults = Vec::new();
    let mut refused = 0;
    let mut tasks = JoinSet::new();
    let before = before.cloned();
    let mut waiting = trials.into_iter();
    loop {
        while tasks.len() < 8
            && let Some(trial) = waiting.next()
        {
            let (client, before) = (client.clone(), before.clone());
            tasks.spawn(async move {
                let theirs = ask(&client, &trial.object, before.is_some()).await;
                let ours = judge(&trial.object, before.as_ref());
                (trial, theirs, ours)
            });
        }
        let Some(done) = tasks.join_next().await else {
            break;
        };
        let (trial, theirs, ours) = done.expect("no panic");
        refused += usize::from(theirs.is_err());
        // Of what changes it leaves out what was as wrong before, so that it may say less.
        let agree = match (&theirs, &ours) {
            (Err(theirs), Err(ours)) if before.is_some() => theirs.is_subset(ours),
            (theirs, ours) => theirs == ours,
        };
        if !agree {
            faults.push(format!(
                "{}:\n  API server: {theirs:?}\n  here:       {ours:?}",
                trial.what
            ));
        }
    }
    (faults, refused)
}

/// What the judge of files says: the causes of a refusal, by field, reason and message.
fn judge(object: &Value, before: Option<&Value>) -> Result<(), BTreeSet<String>> {
    let validator = Validator::of(object["kind"].as_str().expect("a kind")).expect("a judge");
    let mut former = None;
    if let Some(before) = before {
        let mut before = before.clone();
        validator
            .validate(&mut before, None)
            .expect("it was accepted");
        former = validator.former(&before);
    }
    let Err(invalid) = validator.validate(&mut object.clone(), former.as_ref()) else {
        return Ok(());
    };
    let unknown: BTreeSet<String> = invalid
        .0
        .iter()
        .filter(|error| error.is_unknown_field())
        .map(ToString::to_string)
        .collect();
    if !unknown.is_empty() {
        // An API server says nothing more then.
        return Err(unknown);
    }
    let causes = invalid
        .0
        .iter()
        .map(|error| cause(&error.path, error.reason(), &error.message()));
    Err(causes.collect())
}

fn cause(path: &str, reason: &str, message: &str) -> String {
    let path = if path == "<nil>" { "" } else { path };
    // Where numbers have a format the API server names that in place of the type, and of what was found nothing.
    let message = match reason {
        "FieldValueTypeInvalid" => "",
        _ => message,
    };
    format!("{path} | {reason} | {message}")
}

/// What the API server says.
async fn ask(client: &Client, object: &Value, update: bool) -> Result<(), BTreeSet<String>> {
    let kind = plural(object["kind"].as_str().expect("a kind"));
    let place = object["metadata"]["namespace"]
        .as_str()
        .map_or(String::new(), |namespace| {
            format!("/namespaces/{namespace}")
        });
    let url = format!("/apis/yusur.io/v1alpha1{place}/{kind}");
    let query = "dryRun=All&fieldValidation=Strict";
    let (method, url) = if update {
        let name = object["metadata"]["name"].as_str().expect("a name");
        ("PUT", format!("{url}/{name}?{query}"))
    } else {
        ("POST", format!("{url}?{query}"))
    };
    let mut object = object.clone();
    if update {
        let name = url.split('?').next().expect("a path");
        let request = http::Request::get(name)
            .body(Vec::new())
            .expect("a request");
        let current: Value = client.request(request).await.expect("it is there");
        object["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone();
    }
    let request = http::Request::builder()
        .method(method)
        .uri(url)
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())
        .expect("a request");
    match client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            let causes: BTreeSet<String> = causes
                .map(|told| cause(&told.field, &told.reason, &told.message))
                .collect();
            if !causes.is_empty() {
                return Err(causes);
            }
            let unknown = status.message.split("unknown field ").skip(1);
            let unknown: BTreeSet<String> = unknown
                .map(|rest| format!("unknown field {}", rest.trim_end_matches(", ")))
                .collect();
            assert!(!unknown.is_empty(), "{status:?}");
            Err(unknown)
        }
        Err(error) => panic!("{error}"),
    }
}
