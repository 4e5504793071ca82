//! unixctl: the control protocol of OVS and OVN daemons, what `ovs-appctl` and `ovn-appctl` speak.
//!
//! A daemon listens on `RUNDIR/NAME.PID.ctl`. A command is a JSON-RPC 1.0 request whose method is the command and whose
//! parameters are strings; the answer is text, as `result` or as `error` (ovs-appctl(8)).
//!
//! ```no_run
//! # async fn example() -> Result<(), ovsdb::unixctl::UnixctlError> {
//! let mut northd = ovsdb::unixctl::Unixctl::connect_daemon("/run/ovn", "ovn-northd").await?;
//! println!("{}", northd.call("status", &[]).await?);
//! # Ok(())
//! # }
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::framer::{FrameError, FrameLimits, Framer};
use crate::rpc::wire::{Incoming, read_error};

/// How long an answer may take unless [`Unixctl::timeout`] says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer, in bytes: `dpctl/dump-flows` of a busy node is tens of megabytes.
const LONGEST: usize = 256 << 20;

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub enum UnixctlError {
    /// The daemon's pid file is missing or holds no pid: it is not running, or runs elsewhere.
    #[error("{}: {reason}", path.display())]
    PidFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The socket cannot be reached: the daemon is gone, or we may not.
    #[error("{}: {source}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The connection failed; whether the command ran is not known.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    /// The daemon closed the connection before it answered.
    #[error("the daemon closed the connection")]
    Closed,
    /// What came is no message.
    #[error("the daemon's answer: {0}")]
    Frame(#[from] FrameError),
    /// The message is no answer to the command.
    #[error("the daemon's answer: {0}")]
    Answer(String),
    /// No answer in time; the command may still run.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The daemon refused: its own words, as a rule usage or "… is not a valid command".
    #[error("{0}")]
    Command(String),
}

/// A connection to one daemon. Commands are answered one by one, in order.
#[derive(Debug)]
pub struct Unixctl {
    stream: UnixStream,
    framer: Framer,
    next_id: u64,
    timeout: Duration,
}

impl Unixctl {
    /// Connects to a control socket.
    ///
    /// # Errors
    /// [`UnixctlError::Connect`].
    pub async fn connect(socket: impl AsRef<Path>) -> Result<Self, UnixctlError> {
        let path = socket.as_ref();
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| UnixctlError::Connect {
                path: path.to_owned(),
                source,
            })?;
        let limits = FrameLimits {
            message_bytes: LONGEST,
            ..FrameLimits::default()
        };
        Ok(Self {
            stream,
            framer: Framer::new(limits),
            next_id: 0,
            timeout: TIMEOUT,
        })
    }

    /// Finds the daemon by its pid file, `RUNDIR/NAME.pid`, and connects.
    ///
    /// # Errors
    /// [`UnixctlError::PidFile`] or [`UnixctlError::Connect`].
    pub async fn connect_daemon(
        rundir: impl AsRef<Path>,
        name: &str,
    ) -> Result<Self, UnixctlError> {
        Self::connect(socket_of(rundir.as_ref(), name).await?).await
    }

    /// Sets how long an answer may take; ten seconds unless set.
    pub fn timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Runs `command` and returns what it prints. A daemon asked for JSON (`set-options`) gives JSON text.
    ///
    /// # Errors
    /// [`UnixctlError::Command`] with the daemon's words where it refuses; otherwise the connection is at fault and
    /// should be made anew.
    pub async fn call(
        &mut self,
        command: &str,
        arguments: &[&str],
    ) -> Result<String, UnixctlError> {
        let limit = self.timeout;
        tokio::time::timeout(limit, self.call_now(command, arguments))
            .await
            .unwrap_or(Err(UnixctlError::TimedOut(limit)))
    }

    /// The commands this daemon knows, as it lists them itself.
    ///
    /// # Errors
    /// As [`Unixctl::call`].
    pub async fn commands(&mut self) -> Result<Vec<String>, UnixctlError> {
        let text = self.call("list-commands", &[]).await?;
        let names = text
            .lines()
            .filter(|line| line.starts_with(' '))
            .filter_map(|line| line.split_whitespace().next());
        Ok(names.map(str::to_owned).collect())
    }

    async fn call_now(
        &mut self,
        command: &str,
        arguments: &[&str],
    ) -> Result<String, UnixctlError> {
        let id = self.next_id;
        self.next_id += 1;
        let request =
            serde_json::json!({"id": id, "method": command, "params": arguments}).to_string();
        self.stream.write_all(request.as_bytes()).await?;
        loop {
            while let Some(message) = self.framer.next_message()? {
                match parse_answer(id, &message)? {
                    Some(answer) => return answer.map_err(UnixctlError::Command),
                    // The late answer to a command that timed out.
                    None => continue,
                }
            }
            if self.stream.read_buf(self.framer.space()).await? == 0 {
                return Err(UnixctlError::Closed);
            }
        }
    }
}

/// Reads the answer to command `id` from a message: its text or the daemon's refusal; `None` where the message answers
/// an earlier command.
///
/// # Errors
/// [`UnixctlError::Answer`] where it is no answer at all.
pub fn parse_answer(
    id: u64,
    message: &[u8],
) -> Result<Option<Result<String, String>>, UnixctlError> {
    let text =
        std::str::from_utf8(message).map_err(|error| UnixctlError::Answer(error.to_string()))?;
    let incoming =
        Incoming::parse(text).map_err(|error| UnixctlError::Answer(error.to_string()))?;
    let Incoming::Reply {
        id: answered,
        outcome,
    } = incoming
    else {
        return Err(UnixctlError::Answer(
            "a request instead of an answer".to_owned(),
        ));
    };
    match answered.parse::<u64>() {
        Ok(answered) if answered == id => {}
        Ok(answered) if answered < id => return Ok(None),
        _ => {
            return Err(UnixctlError::Answer(format!(
                "answer to {answered}, which was not asked"
            )));
        }
    }
    Ok(Some(match outcome {
        Ok(result) => Ok(plain(result.unwrap_or("null"))),
        Err(error) => Err(match serde_json::from_str::<String>(error) {
            Ok(words) => words.trim_end().to_owned(),
            Err(_) => read_error(error).error,
        }),
    }))
}

/// A JSON string as its text, nothing as empty text, any other JSON as it stands.
fn plain(json: &str) -> String {
    match serde_json::from_str::<Option<String>>(json) {
        Ok(text) => text.unwrap_or_default(),
        Err(_) => json.to_owned(),
    }
}

/// The control socket of the daemon called `name`.
async fn socket_of(rundir: &Path, name: &str) -> Result<PathBuf, UnixctlError> {
    let path = rundir.join(format!("{name}.pid"));
    let fail = |reason: String| UnixctlError::PidFile {
        path: path.clone(),
        reason,
    };
    let text = tokio::fs::read_to_string(&path)
        .await
        .map_err(|error| fail(error.to_string()))?;
    let pid: u32 = text
        .trim()
        .parse()
        .map_err(|_| fail(format!("{:?} is no process id", text.trim())))?;
    Ok(rundir.join(format!("{name}.{pid}.ctl")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Option<Result<String, String>> {
        parse_answer(2, text.as_bytes()).unwrap()
    }

    #[test]
    fn answers() {
        assert_eq!(
            answer(r#"{"id":2,"result":"a\nb\n","error":null}"#),
            Some(Ok("a\nb\n".to_owned()))
        );
        assert_eq!(
            answer(r#"{"id":2,"result":null,"error":null}"#),
            Some(Ok(String::new()))
        );
        assert_eq!(
            answer(r#"{"id":2,"result":{"a":1}}"#),
            Some(Ok(r#"{"a":1}"#.to_owned()))
        );
        assert_eq!(
            answer(r#"{"id":2,"error":"no\n","result":null}"#),
            Some(Err("no".to_owned()))
        );
        assert_eq!(answer(r#"{"id":1,"result":"late"}"#), None);
        for wrong in [
            r#"{"id":3,"result":""}"#,
            r#"{"id":null,"result":""}"#,
            r#"{"id":2,"method":"x"}"#,
            "{",
            "\u{0}",
        ] {
            assert!(parse_answer(2, wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
