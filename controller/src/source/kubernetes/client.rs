//! The connection to the API server.

use std::path::Path;

use anyhow::Context;
use http::Request;
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::util::MapRequestLayer;

/// A client for the cluster of the kubeconfig file, or else for the cluster this process runs in (or that `KUBECONFIG`
/// or `~/.kube/config` names). Its default namespace is the kubeconfig's, or the Pod's own.
///
/// # Errors
/// When there is no configuration, or it cannot be read or used. Nothing is connected yet.
pub async fn connect(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    client(configuration(kubeconfig).await?)
}

/// As [`connect`], for whoever decides itself when to ask again: that of [`connect`] waits and repeats by itself what the
/// server answers by 429, 503 or 504.
///
/// # Errors
/// As [`connect`].
pub async fn connect_without_retries(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    let mut config = configuration(kubeconfig).await?;
    config.default_retry = false;
    client(config)
}

async fn configuration(kubeconfig: Option<&Path>) -> anyhow::Result<Config> {
    match kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path)
                .with_context(|| format!("--kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("--kubeconfig {}", path.display()))
        }
        None => Config::infer().await.context(
            "no cluster to read objects from: give --kubeconfig FILE, or --manifests DIR, or run inside a cluster",
        ),
    }
}

fn client(config: Config) -> anyhow::Result<Client> {
    let builder =
        ClientBuilder::try_from(config).context("the API server's address or credentials")?;
    Ok(builder
        .with_layer(&MapRequestLayer::new(consistent))
        .build())
}

/// Makes streaming lists start from the newest state.
///
/// kube's watcher asks for resource version 0: any state the server remembers. A server that is cut off from its etcd
/// would then tell an old world as the present one, and services made since would be taken for deleted. Without a
/// version the server makes sure that it is current, or says that it cannot (KEP-3157).
fn consistent(mut request: Request<Body>) -> Request<Body> {
    let Some(query) = request.uri().query() else {
        return request;
    };
    if !query
        .split('&')
        .any(|pair| pair == "sendInitialEvents=true")
    {
        return request;
    }
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| *pair != "resourceVersion=0")
        .collect();
    let target = format!("{}?{}", request.uri().path(), kept.join("&"));
    // Taking a pair out of a valid URI leaves a valid one; the request is built before the server's address is added.
    if let Ok(uri) = target.parse() {
        *request.uri_mut() = uri;
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(uri: &str) -> String {
        consistent(Request::get(uri).body(Body::empty()).unwrap())
            .uri()
            .to_string()
    }

    #[test]
    fn only_streaming_lists_change() {
        assert_eq!(
            rewritten(
                "/api/v1/pods?&watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0"
            ),
            "/api/v1/pods?&watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        );
        for other in [
            "/api/v1/pods",
            "/api/v1/pods?watch=true&resourceVersion=0",
            "/api/v1/pods?resourceVersion=712",
        ] {
            assert_eq!(rewritten(other), other);
        }
    }
}
