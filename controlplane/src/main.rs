//! The binary `weir`: wires the library to a process.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use weir::publish::Publisher;
use weir::report::Teller;
use weir::report::expiry;
use weir::report::peers::Peers;
use weir::serve::admin;
use weir::serve::listener::tls::{Certificates, Files};
use weir::serve::listener::{self, Transport};
use weir::serve::{CertificateRules, OWN_TOKEN, Readers, Server, Tokens};
use weir::source::folder::{Folder, watch::Watched};
use weir::source::kubernetes::Cluster;
use weir::source::kubernetes::horizon::Horizon;
use weir_core::manifest::problem::messages::start as messages;
use weir_core::metrics::Metrics;

mod cli;

/// How long the endpoints of a Service take to lose one that is not ready, with room.
const LEAVING: Duration = Duration::from_secs(5);
/// Requests that are still being answered after this long are cut off at the end.
const LAST_ANSWERS: Duration = Duration::from_millis(800);

fn main() -> ExitCode {
    match cli::Cli::parse().command {
        cli::Command::Check(args) => cli::check(&args),
        cli::Command::Translate(args) => cli::translated(args),
        cli::Command::CopyFilter { dir } => cli::copied(&dir),
        cli::Command::Serve(args) => match &args.manifests {
            None => run(Source::Kubernetes, &args),
            Some(dir) => match Folder::open(dir, args.allow_empty) {
                Err(error) => cli::unreadable(dir, &error),
                Ok(folder) => {
                    let namespace = args.default_namespace.clone();
                    let folder = folder.with_default_namespace(namespace);
                    run(Source::Folder(Box::new(folder)), &args)
                }
            },
        },
    }
}

enum Source {
    Folder(Box<Folder>),
    Kubernetes,
}

#[tokio::main]
async fn run(source: Source, args: &cli::Serve) -> ExitCode {
    // The client tells of every request that fails; we tell when that begins and when it ends.
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = EnvFilter::builder().parse_lossy(format!("info,kube_client=off,{asked}"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    match args.log {
        cli::Log::Text => log.init(),
        cli::Log::Json => log.json().init(),
    }
    match serve(source, args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(source: Source, args: &cli::Serve) -> io::Result<()> {
    let metrics = Arc::new(Metrics::default());
    let publisher = Publisher::new(metrics.clone(), args.policy);
    let publisher = publisher.with_limits(args.limits.limits());
    let mut current = publisher.subscribe();
    let (leave, leaving) = watch::channel(false);
    let (end, ending) = watch::channel(false);
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );

    listener::raise_file_limit();
    let proxies = listen(&args.listen).await?;
    let operators = listen(&args.admin).await?;
    let certificates = certificates(args, proxies.local_addr()?)?;
    tracing::info!(address = %proxies.local_addr()?, admin = %operators.local_addr()?, "listening");

    let cluster = match source {
        Source::Folder(folder) => Err(folder),
        Source::Kubernetes => Ok(Cluster::connect(&args.namespaces, args.policy)
            .await
            .map_err(io::Error::other)?),
    };
    let (horizon, tokens) = match &cluster {
        Err(_) => (Horizon::default(), None),
        Ok(cluster) => {
            let tokens = Tokens::new(cluster.client(), Path::new(OWN_TOKEN), metrics.clone());
            (cluster.horizon(), Some(Arc::new(tokens)))
        }
    };
    let readers = match &certificates {
        Some(_) => Readers::Known {
            certificates: Arc::new(CertificateRules {
                trust_domain: args.trust_domain.clone(),
                cluster_domain: args.cluster_domain.clone(),
                operators: args.operator_certificate.clone(),
            }),
            tokens,
        },
        None => Readers::Anyone,
    };
    let server = Server::new(
        &publisher,
        horizon,
        readers,
        ending.clone(),
        metrics.clone(),
    );
    let known = server.proxies();
    let is_member = cluster.is_ok();
    let mut telling = None;
    match cluster {
        Err(folder) => {
            let watched = Watched::new(*folder);
            std::thread::Builder::new()
                .name("folder".into())
                .spawn(move || watched.feed(publisher))?;
        }
        Ok(cluster) => {
            let teller = Teller {
                client: cluster.client(),
                outcome: publisher.outcome(),
                proxies: known.clone(),
                peers: args.peers.clone().map(|name| Peers {
                    name,
                    authority: args.tls_cert.as_ref().map(|it| it.with_file_name("ca.crt")),
                }),
                lease: args.lease.clone(),
                metrics: metrics.clone(),
            };
            if let (Some(lease), Some(certificates)) = (&args.lease, &certificates) {
                let followed =
                    expiry::follow(cluster.client(), lease.clone(), certificates.clone());
                tokio::spawn(followed);
            }
            telling = Some(tokio::spawn(teller.run(leaving.clone())));
            tokio::spawn(cluster.feed(publisher));
        }
    }

    let transport = match certificates {
        None => Transport::Loopback,
        Some(certificates) => {
            let (followed, metrics) = (certificates.clone(), metrics.clone());
            tokio::spawn(async move { followed.follow(&metrics).await });
            Transport::Tls(certificates)
        }
    };
    let admin = admin::app(current.clone(), leaving.clone(), known, metrics.clone());
    let [of_proxies, of_operators] = listener::limits(args.max_connections, args.namespaces.len());
    let proxies = listener::serve(
        proxies,
        transport,
        server.router(),
        of_proxies,
        leaving.clone(),
        ending.clone(),
        metrics.clone(),
    );
    let operators = listener::serve(
        operators,
        Transport::Plain,
        admin,
        of_operators,
        leaving,
        ending,
        metrics,
    );
    let servers = tokio::spawn(async { tokio::join!(proxies, operators) });

    let orphaned = async { while current.changed().await.is_ok() {} };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {
            end.send_replace(true);
        }
        () = orphaned => return Err(io::Error::other(messages::watcher_stopped().to_string())),
    }
    tracing::info!("ending");
    leave.send_replace(true);
    if is_member && !*end.borrow() {
        // Those who find this replica by its readiness go elsewhere, and nobody is turned away.
        tokio::select! {
            () = tokio::time::sleep(LEAVING) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    end.send_replace(true);
    let last = async {
        let _ = servers.await;
        if let Some(telling) = telling {
            let _ = telling.await;
        }
    };
    let _ = tokio::time::timeout(LAST_ANSWERS, last).await;
    Ok(())
}

/// What `--tls-cert` and its companions say, if they are there. Without them loopback alone is served, and whoever
/// would be turned away is better told at once.
fn certificates(args: &cli::Serve, address: SocketAddr) -> io::Result<Option<Arc<Certificates>>> {
    let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) else {
        if address.ip().to_canonical().is_loopback() {
            return Ok(None);
        }
        return Err(io::Error::other(messages::tls_needed(address).to_string()));
    };
    if !args.kubernetes && args.client_ca.is_none() {
        return Err(io::Error::other(messages::client_ca_needed().to_string()));
    }
    let read = Certificates::read(Files {
        certificate: certificate.clone(),
        key: key.clone(),
        client_authority: args.client_ca.clone(),
        is_certificate_required: !args.kubernetes,
    });
    Ok(Some(Arc::new(read.map_err(io::Error::other)?)))
}

/// Connections that may wait until they are accepted. Beyond it the kernel drops what a client sends to connect, and the
/// client tries again after a second. The kernel's own bound, `net.core.somaxconn`, is 4,096 by default.
const WAITING: i32 = 4_096;

async fn listen(address: &str) -> io::Result<TcpListener> {
    let bound = TcpListener::bind(address).await.and_then(|listener| {
        // Only to raise the number of 1,024 that `bind` asks for.
        rustix::net::listen(&listener, WAITING)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        let message = messages::not_listening(address, &error);
        io::Error::new(error.kind(), message.to_string())
    })
}
