//! Requests from a test to its cluster, over a socket in the node's folder. Each request is one line of JSON, and so is
//! each answer.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::images::Images;

/// The folder of the node. The folder is a tmpfs that only programs in the cluster's Linux namespaces can see.
pub const FOLDER: &str = "/run/weir";
pub const SOCKET: &str = "control";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    KillApiserver {
        signal: String,
    },
    StartApiserver,
    KillEtcd {
        signal: String,
    },
    StartEtcd,
    CompactEtcd,
    Load(Images),
    /// Asks for a process id. The answer is the id in the node's PID namespace.
    Process {
        namespace: String,
        pod: String,
        container: String,
    },
}

/// Ok contains a process id for [`Ask::Process`], and 0 for other requests. Err contains a message for the caller.
pub type Answer = Result<i32, String>;

/// Sends one request. `folder` is the path at which the caller sees the node's folder.
pub fn ask(folder: &Path, ask: &Ask) -> Answer {
    let socket = folder.join(SOCKET);
    let failed = |error: std::io::Error| format!("{}: {error}", socket.display());
    let mut stream = UnixStream::connect(&socket).map_err(failed)?;
    let mut line = serde_json::to_string(ask).map_err(|error| error.to_string())?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .map_err(failed)?;
    serde_json::from_str(&answer).map_err(|error| format!("{ask:?}: {answer:?}: {error}"))?
}
