//! The binary `weir`: wires the library to a process.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use weir::folder::{Folder, watch::Watched};
use weir::kubernetes::Cluster;
use weir::metrics::Metrics;
use weir::publish::Publisher;
use weir::{admin, serve};

mod cli;

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
                Ok(folder) => run(Source::Folder(folder), &args),
            },
        },
    }
}

enum Source {
    Folder(Folder),
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
    let mut current = publisher.subscribe();
    let (end, ending) = watch::channel(false);
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );

    let proxies = listen(&args.listen).await?;
    let operators = listen(&args.admin).await?;
    tracing::info!(address = %proxies.local_addr()?, admin = %operators.local_addr()?, "listening");

    match source {
        Source::Folder(folder) => {
            let watched = Watched::new(folder);
            std::thread::Builder::new()
                .name("folder".into())
                .spawn(move || watched.feed(publisher))?;
        }
        Source::Kubernetes => {
            let cluster = Cluster::connect(&args.namespaces, args.policy)
                .await
                .map_err(io::Error::other)?;
            tokio::spawn(cluster.feed(publisher));
        }
    }

    let ended = |mut ending: watch::Receiver<bool>| async move {
        // Fails when the other end is gone, which is an end as well.
        let _ = ending.wait_for(|ending| *ending).await;
    };
    let nodelay = |stream: &mut tokio::net::TcpStream| drop(stream.set_nodelay(true));
    let app = serve::app(current.clone(), ending.clone(), metrics.clone());
    let proxies =
        axum::serve(proxies.tap_io(nodelay), app).with_graceful_shutdown(ended(ending.clone()));
    let operators = axum::serve(operators, admin::app(current.clone(), metrics))
        .with_graceful_shutdown(ended(ending));
    let servers = tokio::spawn(async { tokio::join!(proxies, operators) });

    let orphaned = async { while current.changed().await.is_ok() {} };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = orphaned => return Err(io::Error::other("nobody follows the objects any more")),
    }
    tracing::info!("ending");
    end.send_replace(true);
    let _ = tokio::time::timeout(LAST_ANSWERS, servers).await;
    Ok(())
}

async fn listen(address: &str) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
}
