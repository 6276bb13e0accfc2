//! The processes of a cluster, and programs that replace the images of the guides.

mod roles;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use weir_cluster::{Cluster, Images, Inside, enter, node};

#[derive(Parser)]
enum Role {
    /// Runs a cluster until SIGTERM. Writes its process ids and the path of its kubeconfig to the file.
    Up { file: PathBuf },
    /// Adds images to a cluster; `init` is the first process of its namespaces.
    Load { init: u32, archives: Vec<PathBuf> },
    /// Prints the process id of a container.
    Process {
        init: u32,
        namespace: String,
        pod: String,
        container: String,
    },
    /// Runs as the first process of a cluster's namespaces.
    #[command(hide = true)]
    Init { images: String },
    #[command(hide = true)]
    Node { images: String },
    #[command(hide = true)]
    Enter { file: PathBuf },
    /// Replaces the image kong/go-echo.
    Echo,
    /// Replaces the image buoyantio/bb.
    Bb {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Replaces the image stefanprodan/podinfo.
    Podinfo,
    /// Sleeps forever.
    Pause,
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WEIR_CLUSTER_LOG");
    let filter = filter.unwrap_or_else(|_| "weir_cluster=debug,warn".into());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    log.with_ansi(false).init();
    // In the guide of the image buoyantio/slow_cooker, only the path of the program names the role.
    let args: Vec<String> = std::env::args().collect();
    let done = if args
        .first()
        .is_some_and(|name| name.ends_with("/slow_cooker"))
    {
        roles::slow_cooker(&args)
    } else {
        play(Role::parse())
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-cluster: {error}");
            ExitCode::from(127)
        }
    }
}

fn play(role: Role) -> Result<(), String> {
    match role {
        Role::Up { file } => up(&file),
        Role::Load { init, archives } => {
            let archives: Vec<&Path> = archives.iter().map(PathBuf::as_path).collect();
            Inside::of(init).load(&archives)
        }
        Role::Process {
            init,
            namespace,
            pod,
            container,
        } => {
            let process = Inside::of(init).pid_of(&namespace, &pod, &container);
            process.map(|process| println!("{process}"))
        }
        Role::Init { images } => node::init(&images),
        Role::Node { images } => node::run(&images),
        Role::Enter { file } => Err(enter::enter(&file)),
        Role::Echo => roles::echo(),
        Role::Bb { args } => roles::bb(&args),
        Role::Podinfo => roles::podinfo(),
        Role::Pause => roles::pause(),
    }
}

/// Starts a cluster. Writes its process ids and the path of its kubeconfig to `file`, for scripts/cluster.
fn up(file: &Path) -> Result<(), String> {
    let cluster = Cluster::start(Images::default());
    let kubeconfig = cluster.kubeconfig(weir_cluster::server::ADMIN);
    let text = format!(
        "supervisor={}\ninit={}\nkubeconfig={}\n",
        std::process::id(),
        cluster.init(),
        kubeconfig.display()
    );
    let new = file.with_extension("new");
    std::fs::write(&new, text).map_err(|error| format!("{}: {error}", new.display()))?;
    std::fs::rename(&new, file).map_err(|error| format!("{}: {error}", file.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .map_err(|error| error.to_string())?;
        let _ = end.recv().await;
        Ok(())
    })
}
