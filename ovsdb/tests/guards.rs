//! Locks and fences between two clients of one real server, and TLS.

mod common;

use std::sync::Arc;

use common::*;
use ovsdb::model::{Operation, Uuid};
use ovsdb::{Fence, FenceReason, LockState, State, TlsOptions, TransactError, Transaction};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::ServerConfig;
use yusur_testbed::ovsdb::{Identity, Pki, Standalone};
use yusur_testbed::schemas::installed;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0xf000_0000_0000_4000_8000_0000_0000_0000 + number)
}

fn locked(number: u128) -> Transaction {
    Transaction::new(vec![insert(id(number), "locked")]).assert_lock("writer")
}

fn is_lock_lost(outcome: &Result<Vec<ovsdb::model::OpResult>, TransactError>) -> bool {
    *outcome
        == Err(TransactError::Fenced(FenceReason::Lock(
            "writer".to_owned(),
        )))
}

#[tokio::test]
async fn a_lock_is_held_queued_for_stolen_and_given_back() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let (first, second) = (
        started(northbound(&server.unix())).await,
        started(northbound(&server.tcp())).await,
    );
    assert!(is_lock_lost(&soon(first.transact(locked(1))).await));
    let mut mine = first.lock("writer");
    soon(mine.held()).await;
    soon(first.transact(locked(1))).await?;

    let mut theirs = second.lock("writer");
    soon(theirs.until(LockState::Waiting)).await;
    assert!(is_lock_lost(&soon(second.transact(locked(2))).await));

    theirs.steal();
    soon(theirs.held()).await;
    soon(mine.until(LockState::Stolen)).await;
    assert!(is_lock_lost(&soon(first.transact(locked(3))).await));
    soon(second.transact(locked(2))).await?;

    // Dropped: it goes back to the one who waits.
    drop(theirs);
    soon(mine.held()).await;
    soon(first.transact(locked(3))).await?;

    // With the session goes the lock; with the next one it comes again.
    server.restart()?;
    soon(mine.lost()).await;
    soon(mine.held()).await;
    state_where(&first, |state| state.is_synced()).await;
    soon(first.transact(locked(4))).await?;
    assert_eq!(names(&first).len(), 4);
    Ok(())
}

#[tokio::test]
async fn a_lock_that_an_operation_asserts_is_named() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let client = started(northbound(&server.unix())).await;
    let raw = serde_json::json!({"op": "assert", "lock": "writer"});
    for operation in [Operation::assert("writer"), Operation::Raw(raw)] {
        let outcome = soon(client.transact(vec![insert(id(1), "a"), operation])).await;
        assert!(is_lock_lost(&outcome), "{outcome:?}");
        let error = outcome.unwrap_err();
        assert_eq!(error.to_string(), "fenced: lock \"writer\" is not held");
    }
    assert!(names(&client).is_empty());
    Ok(())
}

#[tokio::test]
async fn a_fence_holds_back_who_was_overtaken() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let (first, second) = (
        started(northbound(&server.unix())).await,
        started(northbound(&server.tcp())).await,
    );
    let seven = Fence::new("NB_Global", "external_ids", "example/epoch", "7");
    let eight = seven.with_value("8");
    let fenced = |fence: &Fence| TransactError::Fenced(FenceReason::Fence(fence.to_string()));

    // Without the row there is nothing to hold the key, and that is no silent success.
    assert_eq!(soon(first.claim(&seven, None)).await, Err(fenced(&seven)));
    soon(first.transact(vec![Operation::insert(
        "NB_Global",
        id(0),
        [("name", "")].into_iter().collect(),
    )]))
    .await?;
    soon(first.claim(&seven, None)).await?;
    soon(first.transact(Transaction::new(vec![insert(id(1), "a")]).fence(seven.clone()))).await?;
    assert_eq!(
        soon(second.claim(&eight, None)).await,
        Err(fenced(&eight)),
        "the key is there"
    );
    soon(second.claim(&eight, Some("7"))).await?;
    assert_eq!(
        soon(first.claim(&seven, Some("7"))).await,
        Err(fenced(&seven))
    );

    let late =
        soon(first.transact(Transaction::new(vec![insert(id(2), "late")]).fence(seven.clone())))
            .await;
    assert_eq!(late, Err(fenced(&seven)));
    soon(second.transact(Transaction::new(vec![insert(id(3), "b")]).fence(eight))).await?;
    assert_eq!(names(&second), ["a", "b"]);
    Ok(())
}

#[tokio::test]
async fn tls_with_both_certificates() -> anyhow::Result<()> {
    let server = Standalone::start_tls(&installed("ovn-nb")?)?;
    let remote = server.ssl().unwrap();
    let pki = server.pki().unwrap();
    let ours = pki.client();
    let good = TlsOptions::new(&ours.ca).identity(&ours.certificate, &ours.key);
    let client = started(northbound(&remote).tls(good.clone())).await;
    soon(client.transact(vec![insert(id(1), "a")])).await?;
    assert_eq!(names(&client), ["a"]);

    let elsewhere = tempfile::tempdir()?;
    let strange = Pki::generate(elsewhere.path(), "127.0.0.1".parse()?)?;
    let stranger = strange.client();
    for (tls, word) in [
        // We refuse the server.
        (
            TlsOptions::new(&stranger.ca).identity(&ours.certificate, &ours.key),
            "invalid peer certificate",
        ),
        // The server refuses us.
        (
            TlsOptions::new(&ours.ca).identity(&stranger.certificate, &stranger.key),
            "",
        ),
        (TlsOptions::new(&ours.ca), ""),
    ] {
        let refused = northbound(&remote).tls(tls).start()?;
        let error = failure(&refused).await;
        assert!(error.contains(word), "{error}");
        assert_eq!(refused.state().borrow().counters.sessions, 0);
    }
    assert!(
        northbound(&remote).start().is_err(),
        "ssl: without certificates"
    );
    assert!(
        northbound(&remote)
            .tls(TlsOptions::new("/nonexistent"))
            .start()
            .is_err()
    );

    let named = northbound(&remote)
        .tls(good.clone().verify_name(true))
        .start()?;
    soon(named.synced()).await;

    // A certificate of the right authority that does not name the host is refused only where the name counts.
    let anonymous = pki.issue("anonymous", &[])?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let remote = format!("ssl:{}", listener.local_addr()?);
    let acceptor = tokio_rustls::TlsAcceptor::from(server_config(&anonymous)?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    for (verify, word) in [
        (true, "not valid for name"),
        (false, "closed the connection"),
    ] {
        let refused = northbound(&remote)
            .tls(good.clone().verify_name(verify))
            .start()?;
        let error = failure(&refused).await;
        assert!(error.contains(word), "{error}");
    }
    Ok(())
}

/// Certificates live for days, programs for months.
#[tokio::test]
async fn certificates_are_read_anew_at_every_connection() -> anyhow::Result<()> {
    let server = Standalone::start_tls(&installed("ovn-nb")?)?;
    let ours = server.pki().unwrap().client();
    let dir = tempfile::tempdir()?;
    let strange = Pki::generate(dir.path(), "127.0.0.1".parse()?)?;
    let files = [
        dir.path().join("ca.pem"),
        dir.path().join("cert.pem"),
        dir.path().join("key.pem"),
    ];
    let show = |identity: &Identity| {
        for (from, to) in [&identity.ca, &identity.certificate, &identity.key]
            .into_iter()
            .zip(&files)
        {
            // As a rotation does it: at one stroke.
            let new = to.with_extension("new");
            std::fs::copy(from, &new)?;
            std::fs::rename(&new, to)?;
        }
        anyhow::Ok(())
    };
    show(ours)?;
    let [ca, certificate, key] = &files;
    // By its IPv6 address, which the certificate names.
    let free = std::net::TcpListener::bind("[::1]:0")?.local_addr()?;
    let passive = format!("pssl:{}:[::1]", free.port());
    server.appctl(&["ovsdb-server/add-remote", &passive])?;
    let tls = TlsOptions::new(ca)
        .identity(certificate, key)
        .verify_name(true);
    let client = started(northbound(&format!("ssl:{free}")).tls(tls)).await;

    show(strange.client())?;
    client.reconnect();
    let said = |words: &'static str| {
        let error = |state: &State| state.last_error.clone().unwrap_or_default();
        state_where(&client, move |state| error(state).contains(words))
    };
    said("invalid peer certificate").await;
    std::fs::remove_file(key)?;
    said("key.pem").await;
    show(ours)?;
    state_where(&client, |state| state.is_synced()).await;
    soon(client.transact(vec![insert(id(1), "a")])).await?;
    Ok(())
}

fn server_config(identity: &Identity) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_file_iter(&identity.certificate)?.collect::<Result<_, _>>()?;
    Ok(Arc::new(
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(&identity.key)?)?,
    ))
}
