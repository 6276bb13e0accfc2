//! Reads from Envoy's admin interface: Envoy's present configuration (`/config_dump`), statistics (`/stats`) and the
//! values of runtime keys (`/runtime`). `weir check` requires only the configuration.

use std::str::FromStr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::uri::{Scheme, Uri};
use axum::http::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use weir::http1_client::{self, ExchangeError};
use weir_core::envoy::{EnvoyDump, NotADump, may_fail_to_poll};

/// Envoy takes some seconds to write a configuration of many megabytes.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The metrics of the filter, the open requests and the endpoints of each cluster, and the state of the stream for
/// clusters.
const STATS: &str = "/stats?filter=wasmcustom.weir_%7Cupstream_rq_active%7Cmembership_total%7C\
                     control_plane.connected_state%7Ccds.update_rejected";

const SAMPLES: usize = 3;
const BETWEEN_SAMPLES: Duration = Duration::from_millis(300);

/// The state of a running Envoy.
pub struct EnvoyState {
    pub running: EnvoyDump,
    /// Why the statistics could not be read; None if they were read.
    pub without_stats: Option<EnvoyUnreachable>,
}

/// The address of Envoy's admin interface.
#[derive(Clone, Debug)]
pub struct Admin {
    /// HOST:PORT
    authority: String,
    /// The path before `/config_dump`, without a slash at its end. The path is empty if the interface is at the root.
    base: String,
}

/// Something could not be read from the admin interface.
#[derive(Debug, thiserror::Error)]
#[error("Envoy's admin interface at {admin} cannot be read: {cause}")]
pub struct EnvoyUnreachable {
    admin: String,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Exchange(#[from] ExchangeError),
    #[error("no answer within {TIMEOUT:?}")]
    Silent,
    #[error("the answer to {1} has status {0}; is this the admin address?")]
    Status(StatusCode, String),
    #[error("the answer is not JSON ({0}); is this the admin address?")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    NotADump(#[from] NotADump),
}

impl FromStr for Admin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Admin, &'static str> {
        const HOW: &str = "write http://HOST:PORT of Envoy's admin interface";
        let uri: Uri = text.parse().map_err(|_| HOW)?;
        let authority = uri.authority().ok_or(HOW)?;
        if uri.scheme() != Some(&Scheme::HTTP) || authority.as_str().contains('@') {
            return Err(HOW);
        }
        let port = authority.port_u16().unwrap_or(80);
        Ok(Admin {
            authority: format!("{}:{port}", authority.host()),
            base: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl Admin {
    /// Reads Envoy's present configuration, and the statistics if possible. Returns Err if the configuration cannot be
    /// read.
    #[tokio::main(flavor = "current_thread")]
    pub async fn read_state(&self) -> Result<EnvoyState, EnvoyUnreachable> {
        let unreachable = |cause: Cause| EnvoyUnreachable {
            admin: format!("http://{}{}", self.authority, self.base),
            cause,
        };
        let mut running = self.running().await.map_err(unreachable)?;
        let without_stats = self.read_stats(&mut running).await.err().map(unreachable);
        // If Envoy refuses the path, the default values in its configuration are used.
        if let Ok(runtime) = self.get("/runtime").await
            && let Ok(runtime) = serde_json::from_slice(&runtime)
        {
            running.read_runtime(&runtime);
        }
        Ok(EnvoyState {
            running,
            without_stats,
        })
    }

    /// Reads the statistics up to three times, because for a moment between two polls no poll is open.
    async fn read_stats(&self, running: &mut EnvoyDump) -> Result<(), Cause> {
        for _ in 0..SAMPLES {
            let stats = self.get(STATS).await?;
            running.read_stats(&String::from_utf8_lossy(&stats));
            if !may_fail_to_poll(running) {
                break;
            }
            tokio::time::sleep(BETWEEN_SAMPLES).await;
        }
        Ok(())
    }

    async fn running(&self) -> Result<EnvoyDump, Cause> {
        let dump = self.get("/config_dump").await?;
        Ok(EnvoyDump::read(&serde_json::from_slice(&dump)?)?)
    }

    async fn get(&self, path: &str) -> Result<Bytes, Cause> {
        let answer = tokio::time::timeout(TIMEOUT, self.exchange(path)).await;
        answer.unwrap_or(Err(Cause::Silent))
    }

    async fn exchange(&self, path: &str) -> Result<Bytes, Cause> {
        let stream = TcpStream::connect(&self.authority).await?;
        let request = Request::get(format!("{}{path}", self.base))
            .header(header::HOST, &self.authority)
            .body(Body::empty())
            .map_err(std::io::Error::other)?;
        let stream = TokioIo::new(stream);
        match http1_client::exchange(stream, request, usize::MAX).await? {
            (StatusCode::OK, body) => Ok(body),
            (other, _) => Err(Cause::Status(other, path.to_owned())),
        }
    }
}
