//! The examples are tools: they are run here as a person would run them, against a real server that is restarted.

mod common;

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context as _;
use common::*;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use yusur_testbed::ovsdb::Standalone;
use yusur_testbed::schemas::installed;

/// `cargo test` builds examples next to the tests; `cargo test --test examples` alone does not.
fn example(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let target = test.parent().and_then(|deps| deps.parent());
    let path = target.map(|target| target.join("examples").join(name));
    let path = path.filter(|path| path.exists());
    path.with_context(|| format!("no example {name}: `cargo build -p ovsdb --examples` makes it"))
}

struct Tool {
    // Killed when dropped.
    process: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Tool {
    fn start(name: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut process = Command::new(example(name)?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = process.stdin.take();
        let output = process
            .stdout
            .take()
            .map(|output| BufReader::new(output).lines());
        let output = output.ok_or_else(|| anyhow::anyhow!("no standard output"))?;
        Ok(Self {
            process,
            input,
            output,
        })
    }

    async fn line(&mut self) -> anyhow::Result<Value> {
        let line = soon(self.output.next_line()).await?;
        Ok(serde_json::from_str(
            &line.ok_or_else(|| anyhow::anyhow!("the tool has ended"))?,
        )?)
    }

    /// Reads lines until one is as wished.
    async fn until(&mut self, wish: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        loop {
            let line = self.line().await?;
            if wish(&line) {
                return Ok(line);
            }
        }
    }

    async fn say(&mut self, line: &Value) -> anyhow::Result<()> {
        self.say_bytes(format!("{line}\n").as_bytes()).await
    }

    async fn say_bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if let Some(input) = &mut self.input {
            input.write_all(bytes).await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn watch_and_transact_across_a_restart() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let remote = server.unix();
    let mut watch = Tool::start(
        "watch",
        &[
            &remote,
            "OVN_Northbound",
            "Load_Balancer:name,vips",
            "Sample",
        ],
    )?;
    let mut transact = Tool::start("transact", &[&remote, "OVN_Northbound"])?;
    let synced = watch.until(|line| line["connection"] == "synced").await?;
    assert_eq!(synced["missing"], json!(["table Sample"]));

    let row = json!({"name": "a", "vips": ["map", [["10.0.0.1:80", ""]]]});
    transact
        .say(&json!([{"op": "insert", "table": "Load_Balancer", "row": row}]))
        .await?;
    let uuid = transact.line().await?["results"][0]["uuid"][1].clone();
    let told = watch.until(|line| line.get("table").is_some()).await?;
    assert_eq!(
        told,
        json!({"table": "Load_Balancer", "uuid": uuid, "old": null, "new": row})
    );

    transact
        .say(&json!(["OVN_Northbound", {"op": "comment", "comment": "c"}, {"op": "nonsense"}]))
        .await?;
    let error = transact.line().await?["error"].clone();
    assert_eq!(
        (&error["kind"], &error["operation"]),
        (&json!("broken"), &json!(1)),
        "{error}"
    );

    server.kill()?;
    let lost = watch
        .until(|line| line["connection"] == "disconnected")
        .await?;
    assert!(lost["error"].is_string());
    // Waits for the server, unless this tool has not noticed yet what the other has: then nobody can say what came of
    // it.
    let delete =
        json!([{"op": "delete", "table": "Load_Balancer", "where": [["name", "==", "a"]]}]);
    transact.say(&delete).await?;
    server.start()?;
    let mut answer = transact.line().await?;
    if answer["error"]["kind"] == "unknown" {
        transact.say(&delete).await?;
        answer = transact.line().await?;
    }
    assert_eq!(answer, json!({"results": [{"count": 1}]}));
    let told = watch.until(|line| line.get("table").is_some()).await?;
    assert_eq!(
        told,
        json!({"table": "Load_Balancer", "uuid": uuid, "old": row, "new": null})
    );

    drop(transact.input.take());
    let status = soon(transact.process.wait()).await?;
    assert_eq!(status.code(), Some(1), "one transaction failed");
    Ok(())
}

#[tokio::test]
async fn a_line_that_cannot_be_read_is_an_error_of_its_own() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let mut transact = Tool::start("transact", &[&server.unix(), "OVN_Northbound"])?;
    for (line, words) in [
        (
            &b"[{\"op\":\"comment\",\"comment\":\"\xe4\"}]\n"[..],
            "not UTF-8",
        ),
        (b"\xff\xfe\n", "not UTF-8"),
        (b"[{\n", "not a JSON array"),
        (b"[1]\n", "is not an operation"),
    ] {
        transact.say_bytes(line).await?;
        let error = transact.line().await?["error"].clone();
        assert_eq!(error["kind"], "broken");
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.contains(words), "{message}");
    }
    // What follows is run; the last line need not end, nor others as they do here.
    let row = json!({"name": "\u{e4}"});
    let insert = json!([{"op": "insert", "table": "Load_Balancer", "row": row}]);
    transact
        .say_bytes(format!("\r\n{insert}\r\n{insert}").as_bytes())
        .await?;
    drop(transact.input.take());
    for _ in 0..2 {
        let answer = transact.line().await?;
        assert!(answer["results"][0]["uuid"].is_array(), "{answer}");
    }
    let status = soon(transact.process.wait()).await?;
    assert_eq!(status.code(), Some(1), "some failed");
    Ok(())
}

#[tokio::test]
async fn a_lock_that_is_not_held_is_said_in_plain_words() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let mut transact = Tool::start("transact", &[&server.unix(), "OVN_Northbound"])?;
    transact
        .say(&json!([{"op": "comment", "comment": "c"}, {"op": "assert", "lock": "x"}]))
        .await?;
    let answer = transact.line().await?;
    let message = "fenced: lock \"x\" is not held";
    assert_eq!(
        answer,
        json!({"error": {"kind": "fenced", "message": message, "operation": null}})
    );
    Ok(())
}

#[tokio::test]
async fn both_explain_themselves() -> anyhow::Result<()> {
    for name in ["watch", "transact"] {
        let help = Command::new(example(name)?).arg("--help").output().await?;
        assert!(help.status.success());
        let text = String::from_utf8(help.stdout)?;
        for word in ["REMOTE", "--ca-cert", "Example:"] {
            assert!(text.contains(word), "{name} --help lacks {word}");
        }
        let wrong = Command::new(example(name)?)
            .args(["udp:x", "OVN_Northbound"])
            .output()
            .await?;
        assert!(!wrong.status.success());
        assert!(String::from_utf8(wrong.stderr)?.contains("unknown method"));
    }
    Ok(())
}
