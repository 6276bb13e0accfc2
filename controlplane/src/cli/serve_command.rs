//! The arguments of `weir serve`, and its parts: signals, sockets and the source of objects.

mod object_source;
mod shutdown;
mod sockets;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use weir::report::Lease;
use weir::report::peers::Peers;
use weir::source::folder::Folder;
use weir::xds::module_file::ModuleFile;

use super::copy_filter;
use super::folder_report::print_unreadable;
use super::limits::LimitArguments;
use super::shared_arguments::{
    PolicyArgument, parse_domain, parse_lease, parse_namespace, parse_trust_domain,
};

pub use object_source::ObjectSource;
pub use shutdown::Shutdown;
pub use sockets::Sockets;

/// The file name of the filter.
const MODULE: &str = "weir.wasm";

#[derive(Args)]
#[command(group(ArgGroup::new("source").required(true).args(["manifests", "kubernetes"])))]
pub struct Serve {
    /// Read objects from a folder of manifests, or from one file
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Read objects from the cluster that this process runs in, or from the cluster of the current kubeconfig context
    #[arg(long)]
    pub kubernetes: bool,
    /// Read only these namespaces
    #[arg(
        long,
        value_name = "NS,...",
        value_delimiter = ',',
        value_parser = parse_namespace,
        conflicts_with = "manifests"
    )]
    pub namespaces: Vec<String>,
    /// Lease that decides which replica writes status. Without this flag, this process writes status
    #[arg(long, value_name = "NS/NAME", value_parser = parse_lease, conflicts_with = "manifests")]
    pub lease: Option<Lease>,
    /// Headless Service of all replicas. The replicas use its addresses to exchange their lists of proxies
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "manifests")]
    pub peers: Option<String>,
    /// Listen address for proxies: /v1/config
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9900")]
    pub listen: String,
    /// Server certificate chain (PEM), required if --listen is not loopback; reloaded when the file changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of --tls-cert
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// CA bundle (PEM) for client certificates, reloaded when the file changes. A proxy with a client certificate needs
    /// no token
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub client_ca: Option<PathBuf>,
    /// Trust domain of SPIFFE IDs in client certificates: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME
    #[arg(long, value_name = "DOMAIN", value_parser = parse_trust_domain, default_value = "cluster.local")]
    pub trust_domain: String,
    /// Domain of DNS names in client certificates: NAME.NAMESPACE.DOMAIN
    #[arg(long, value_name = "DOMAIN", value_parser = parse_domain, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// URI or DNS name in a client certificate, for example of an edge proxy. This client may read the configuration of
    /// every namespace. Repeat the flag for more names
    #[arg(long, value_name = "NAME", requires = "client_ca")]
    pub operator_certificate: Vec<String>,
    /// Maximum number of connections from proxies. A connection uses up to 64 KiB of memory
    #[arg(long, value_name = "N", default_value = "2048")]
    pub max_connections: usize,
    /// Listen address for operators: /healthz, /readyz, /metrics, /gate
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    pub admin: String,
    /// Filter that Envoys get from this process if they ask for it (ECDS); read again when the file changes. Default:
    /// /filter/weir.wasm in Weir's image, else weir.wasm in the folder of this program
    #[arg(long, value_name = "FILE")]
    pub filter: Option<PathBuf>,
    /// Namespace of objects without a namespace
    #[arg(long, value_name = "NS", value_parser = parse_namespace, default_value = "default", conflicts_with = "kubernetes")]
    pub default_namespace: String,
    /// Publish an empty configuration if DIR has no objects
    #[arg(long, requires = "manifests")]
    pub allow_empty: bool,
    #[command(flatten)]
    pub policy: PolicyArgument,
    /// Log format
    #[arg(long, value_enum, default_value = "text")]
    pub log: LogFormat,
    // Must be the last field: clap puts each later argument under the heading of the limits.
    #[command(flatten)]
    pub limits: LimitArguments,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl Serve {
    /// Returns the folder of `--manifests`, or None with `--kubernetes`. Returns Err with the exit code if the folder
    /// cannot be read.
    pub fn open_folder(&self) -> Result<Option<Folder>, ExitCode> {
        let Some(dir) = &self.manifests else {
            return Ok(None);
        };
        let folder = Folder::open(dir, self.allow_empty);
        let folder = folder.map_err(|error| print_unreadable(dir, &error))?;
        Ok(Some(
            folder.with_default_namespace(self.default_namespace.clone()),
        ))
    }

    /// Opens the file of `--filter`.
    pub fn open_filter(&self) -> ModuleFile {
        let beside_program = || {
            let program = std::env::current_exe().ok()?;
            Some(program.with_file_name(MODULE)).filter(|it| it.exists())
        };
        let default = || Path::new(copy_filter::FOLDER).join(MODULE);
        let path = match &self.filter {
            Some(path) => path.clone(),
            None => Some(default())
                .filter(|it| it.exists())
                .or_else(beside_program)
                .unwrap_or_else(default),
        };
        ModuleFile::open(path)
    }

    pub fn start_log(&self) {
        // kube_client would log each failed request. Weir logs only the first failure and the recovery.
        let directives = std::env::var("RUST_LOG").unwrap_or_default();
        let filter = EnvFilter::builder().parse_lossy(format!("info,kube_client=off,{directives}"));
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(io::stderr().is_terminal())
            .with_writer(io::stderr);
        match self.log {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().init(),
        }
    }

    /// Returns the address of the other replicas (`--peers`). The CA bundle for their certificates is `ca.crt` in the
    /// folder of `--tls-cert`.
    pub fn peers(&self) -> Option<Peers> {
        let name = self.peers.clone()?;
        let authority = self.tls_cert.as_ref().map(|it| it.with_file_name("ca.crt"));
        Some(Peers { name, authority })
    }
}
