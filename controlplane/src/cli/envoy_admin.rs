//! The admin interface of a running Envoy, for `weir check --envoy`: two questions over plain HTTP. The first has to be
//! answered.

use std::str::FromStr;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::uri::{Scheme, Uri};
use axum::http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use weir_core::envoy::{NotADump, Running};
use weir_split::module::GAUGE;

/// A configuration of many megabytes takes Envoy some seconds to write.
const PATIENCE: Duration = Duration::from_secs(30);

/// What there is to look at.
pub struct Answer {
    pub running: Running,
    /// Why the statistics are missing, where they are.
    pub without_stats: Option<Unreachable>,
}

/// Where Envoy's admin interface listens.
#[derive(Clone, Debug)]
pub struct Admin {
    /// HOST:PORT
    authority: String,
    /// What stands before `/config_dump` where the interface is behind a path; without slash at its end.
    base: String,
}

/// Why there is no configuration to look at.
#[derive(Debug, thiserror::Error)]
#[error("the Envoy at {admin} cannot be asked: {cause}")]
pub struct Unreachable {
    admin: String,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("no answer within {PATIENCE:?}")]
    Silent,
    #[error("it answered {0} to {1}; is this the admin address?")]
    Status(StatusCode, String),
    #[error("its answer is not JSON ({0}); is this the admin address?")]
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
    /// Asks for the configuration that is in force.
    #[tokio::main(flavor = "current_thread")]
    pub async fn ask(&self) -> Result<Answer, Unreachable> {
        let unreachable = |cause: Cause| Unreachable {
            admin: format!("http://{}{}", self.authority, self.base),
            cause,
        };
        let running = self.running().await.map_err(unreachable);
        let mut running = running?;
        let stats = self.get(&format!("/stats?filter={GAUGE}")).await;
        let without_stats = match stats {
            Ok(stats) => {
                running.read_stats(&String::from_utf8_lossy(&stats));
                None
            }
            Err(cause) => Some(unreachable(cause)),
        };
        Ok(Answer {
            running,
            without_stats,
        })
    }

    async fn running(&self) -> Result<Running, Cause> {
        let dump = self.get("/config_dump").await?;
        Ok(Running::read(&serde_json::from_slice(&dump)?)?)
    }

    async fn get(&self, path: &str) -> Result<Bytes, Cause> {
        let answer = tokio::time::timeout(PATIENCE, self.exchange(path)).await;
        answer.unwrap_or(Err(Cause::Silent))
    }

    async fn exchange(&self, path: &str) -> Result<Bytes, Cause> {
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::get(format!("{}{path}", self.base))
            .header(header::HOST, &self.authority)
            .body(Empty::<Bytes>::new())
            .map_err(std::io::Error::other)?;
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(Cause::Status(response.status(), path.to_owned()));
        }
        let body = response.into_body().collect().await?.to_bytes();
        connection.abort();
        Ok(body)
    }
}
