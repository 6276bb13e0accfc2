//! The binary `weir`: flags -> source -> publish -> serve -> report.

mod cli;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use cli::{Cli, Command, ObjectSource, Serve, Shutdown, Sockets};
use futures::future::OptionFuture;
use tokio::sync::watch;
use weir::publish::Publisher;
use weir::report::all_proxies::AllProxies;
use weir::report::gate;
use weir::report::stream_exchange::StreamExchange;
use weir::serve::{FilterSource, Server, admin};
use weir::source::folder::Folder;
use weir::xds::module_slots::ModuleSlots;
use weir_core::metrics::Metrics;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check(args) => cli::check::run(&args),
        Command::Translate(args) => cli::translate::run(args),
        Command::Bootstrap(args) => cli::bootstrap::run(args),
        Command::CopyFilter { dir } => cli::copy_filter::run(&dir),
        Command::Wait(args) => cli::wait::run(args),
        Command::Serve(args) => args.open_folder().map_or_else(|it| it, |it| run(&args, it)),
    }
}

#[tokio::main]
async fn run(args: &Serve, folder: Option<Folder>) -> ExitCode {
    args.start_log();
    if let Err(error) = serve(args, folder).await {
        tracing::error!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn serve(args: &Serve, folder: Option<Folder>) -> io::Result<()> {
    let metrics = Arc::new(Metrics::default());
    let publisher = Publisher::new(metrics.clone(), args.policy.policy);
    let publisher = publisher.with_limits(args.limits.limits());
    let current = publisher.subscribe();
    let shutdown = Shutdown::listen()?;
    let sockets = Sockets::bind(args).await?;
    let source = ObjectSource::connect(folder, args).await?;
    let is_replica = source.is_cluster();
    let readers = sockets.authentication(args, source.tokens(&metrics));
    let (versions, ending) = (source.versions(), shutdown.ending.clone());
    let server = Server::new(&publisher, versions, readers, ending, metrics.clone());
    let filter = args.open_filter();
    let rollout = watch::Sender::default();
    let server = server.with_filters(FilterSource {
        module: filter.receiver(),
        rollout: rollout.subscribe(),
        slots: ModuleSlots::default(),
    });
    let proxies = server.proxies();
    if let Some(peers) = args.peers() {
        let (streams, replica) = (server.streams(), proxies.replica().to_owned());
        let exchange = StreamExchange {
            streams,
            peers,
            replica,
        };
        tokio::spawn(exchange.follow());
    }
    let certificates = sockets.certificates.as_ref();
    let all_proxies = Arc::new(AllProxies::new(proxies.clone(), args.peers()));
    let rollout = (filter.receiver(), rollout);
    let report = source.report(
        args,
        &publisher,
        &all_proxies,
        certificates,
        rollout,
        &shutdown,
    );
    let gate = gate::router(source.gate(&publisher, &all_proxies));
    source.feed(publisher)?;
    tokio::spawn(filter.follow());
    let leaving = shutdown.leaving.clone();
    let admin = admin::app(current.clone(), leaving, proxies, metrics.clone()).merge(gate);
    let servers = sockets.serve(args, [server.router(), admin], &shutdown, &metrics);
    let last_tasks = async { tokio::join!(servers, OptionFuture::from(report)) };
    shutdown.wait(current, is_replica, last_tasks).await
}
