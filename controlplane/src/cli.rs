//! The command line, and the two commands that read a folder once: `check` and `translate`.

mod copy_filter;
mod envoy_admin;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgGroup, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use envoy_admin::Admin;
use weir::publish::Published;
use weir::report::Lease;
use weir::serve::gateway;
use weir::source::folder::Folder;
use weir_core::api::smi::traffic_target::Policy;
use weir_core::envoy;
use weir_core::manifest::hostname;
use weir_core::manifest::problem::{Extent, Problem};
use weir_core::plan::document;
use weir_core::plan::{Plan, Scope, scope};
use weir_core::translate::budget::{Bytes, Limits};
use weir_core::translate::translate_within;
use weir_core::world::World;
use weir_split::EVERY_NAMESPACE;

/// Splits traffic between versions of a service on the proxies people already run.
#[derive(Parser)]
#[command(name = "weir", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Serve the configuration to proxies, and follow the manifests
    Serve(Serve),
    /// Print the configuration of one proxy; problems go to standard error
    Translate(Translate),
    /// Print the problems, one a line; exit 1 if there are any but warnings
    Check(Check),
    /// Put the filters that this image carries into a folder
    CopyFilter {
        /// Made if it does not exist
        dir: PathBuf,
    },
}

#[derive(Args)]
#[command(group(ArgGroup::new("source").required(true).args(["manifests", "kubernetes"])))]
pub struct Serve {
    /// Folder of manifests, or one file
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Read the cluster that this runs in, or that of the current kubeconfig
    #[arg(long)]
    pub kubernetes: bool,
    /// Read these namespaces alone
    #[arg(
        long,
        value_name = "NS,...",
        value_delimiter = ',',
        value_parser = parse_name_of_namespace,
        requires = "kubernetes"
    )]
    pub namespaces: Vec<String>,
    /// The Lease whose holder writes status; without one this process does
    #[arg(long, value_name = "NS/NAME", value_parser = parse_lease, requires = "kubernetes")]
    pub lease: Option<Lease>,
    /// Name and port of all replicas, which tell each other of their proxies: a headless Service
    #[arg(long, value_name = "HOST:PORT", requires = "kubernetes")]
    pub peers: Option<String>,
    /// Address for proxies: /v1/config
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9900")]
    pub listen: String,
    /// Certificate chain (PEM) to show to proxies, read again when it changes; needed outside of loopback
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Certificates (PEM) of who may vouch for proxies without a token, read again when they change
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub client_ca: Option<PathBuf>,
    /// Trust domain of client certificates: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME
    #[arg(long, value_name = "DOMAIN", value_parser = parse_trust_domain, default_value = "cluster.local")]
    pub trust_domain: String,
    /// Domain of client certificates with DNS names: NAME.NAMESPACE.DOMAIN
    #[arg(long, value_name = "DOMAIN", value_parser = parse_domain, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// URI or DNS name in a client certificate that may read the configuration of every namespace, such as an edge's;
    /// once for each name
    #[arg(long, value_name = "NAME", requires = "client_ca")]
    pub operator_certificate: Vec<String>,
    /// Proxies that may be connected at a time. Each takes up to 64 KiB of memory
    #[arg(long, value_name = "N", default_value = "2048")]
    pub max_connections: usize,
    /// Address for operators: /healthz, /readyz, /metrics
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    pub admin: String,
    /// The namespace of objects that name none
    #[arg(long, value_name = "NS", value_parser = parse_name_of_namespace, default_value = "default", conflicts_with = "kubernetes")]
    pub default_namespace: String,
    /// Publish an empty configuration when DIR holds no objects
    #[arg(long, requires = "manifests")]
    pub allow_empty: bool,
    /// Who may reach whom: as TrafficTargets say (smi), or everyone everything (permissive). By default documents do not
    /// state it, and a proxy that names a service_account keeps what it has, or denies
    #[arg(long, value_name = "unstated|permissive|smi", value_parser = parse_policy, default_value = "unstated")]
    pub policy: Policy,
    #[command(flatten)]
    pub limits: Budget,
    /// How the log is written
    #[arg(long, value_enum, default_value = "text")]
    pub log: Log,
}

/// What objects may cost proxies.
#[derive(Args)]
#[command(
    next_help_heading = "What objects may cost proxies, in bytes of configuration (1048576, 1024Ki or 1Mi)"
)]
pub struct Budget {
    /// Most that one object may cost; beyond it the object is not in force
    #[arg(long, value_name = "BYTES", default_value = "1Mi")]
    object_limit: Bytes,
    /// Most that the objects of one namespace may cost together; beyond it the youngest of them are not in force. 1Mi is
    /// about 2000 TrafficSplits of one port and two backends each, and less than 25 MiB of memory in an Envoy with two
    /// workers
    #[arg(long, value_name = "BYTES", default_value = "1Mi")]
    namespace_limit: Bytes,
    /// Most that one proxy gets, at most 24Mi; beyond it the youngest objects of the namespace that costs most are not in
    /// force. The namespace limit of it is kept for the proxy's own namespace
    #[arg(long, value_name = "BYTES", default_value = "16Mi", value_parser = parse_scope_limit)]
    scope_limit: Bytes,
    /// Most regular expressions that the objects of one namespace may have together
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().namespace_expressions)]
    namespace_expressions: u64,
    /// Most regular expressions that one proxy gets
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().scope_expressions)]
    scope_expressions: u64,
}

impl Budget {
    /// Ends the process with the usual words of a wrong argument if a limit of a scope leaves no room beside the limit of
    /// a namespace.
    pub fn limits(&self) -> Limits {
        let limits = Limits {
            object: self.object_limit.0,
            namespace: self.namespace_limit.0,
            scope: self.scope_limit.0,
            namespace_expressions: self.namespace_expressions,
            scope_expressions: self.scope_expressions,
        };
        for (scope, of_scope, namespace, of_namespace) in [
            (
                "--scope-limit",
                limits.scope,
                "--namespace-limit",
                limits.namespace,
            ),
            (
                "--scope-expressions",
                limits.scope_expressions,
                "--namespace-expressions",
                limits.namespace_expressions,
            ),
        ] {
            if of_scope <= of_namespace {
                let message = format!(
                    "{scope} ({of_scope}) has to be more than {namespace} ({of_namespace}): the rest is for all namespaces \
                     together, so nothing would be in force for several namespaces"
                );
                Cli::command()
                    .error(ErrorKind::ValueValidation, message)
                    .exit();
            }
        }
        limits
    }
}

/// Envoy gives a filter no answer above 32 MiB. The limit is lower, because the cost of an object is an estimate.
fn parse_scope_limit(text: &str) -> Result<Bytes, &'static str> {
    const MOST: u64 = 24 << 20;
    let bytes: Bytes = text.parse()?;
    match bytes.0 <= MOST {
        true => Ok(bytes),
        false => Err("write at most 24Mi: Envoy takes no configuration above 32 MiB"),
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Log {
    Text,
    Json,
}

#[derive(Args)]
pub struct Check {
    /// Folder of manifests, or one file
    dir: PathBuf,
    /// Also look into this running Envoy: backends whose cluster it does not have, and routes that
    /// would lose their policies to a split
    #[arg(long, value_name = "http://ADMIN")]
    envoy: Option<Admin>,
    /// Also name what is passed over
    #[arg(long)]
    verbose: bool,
    /// The namespace of objects that name none
    #[arg(long, value_name = "NS", value_parser = parse_name_of_namespace, default_value = "default")]
    default_namespace: String,
    /// Who may reach whom: as TrafficTargets say (smi), or everyone everything (permissive). By default documents do not
    /// state it, and a proxy that names a service_account keeps what it has, or denies
    #[arg(long, value_name = "unstated|permissive|smi", value_parser = parse_policy, default_value = "unstated")]
    policy: Policy,
    #[command(flatten)]
    limits: Budget,
}

#[derive(Args)]
pub struct Translate {
    /// Folder of manifests, or one file
    dir: PathBuf,
    /// The namespace of objects that name none
    #[arg(long, value_name = "NS", value_parser = parse_name_of_namespace, default_value = "default")]
    default_namespace: String,
    /// What the proxies of this namespace may see; '*' is an edge with the splits of hosts of every namespace
    #[arg(long, value_name = "NS", value_parser = parse_namespace, conflicts_with = "gateway")]
    namespace: Option<Scope>,
    /// What the proxies of this Gateway may see
    #[arg(long, value_name = "NS/NAME", value_parser = parse_gateway)]
    gateway: Option<Scope>,
    /// Who may reach whom: as TrafficTargets say (smi), or everyone everything (permissive). By default documents do not
    /// state it, and a proxy that names a service_account keeps what it has, or denies
    #[arg(long, value_name = "unstated|permissive|smi", value_parser = parse_policy, default_value = "unstated")]
    policy: Policy,
    #[command(flatten)]
    limits: Budget,
}

fn parse_namespace(text: &str) -> Result<Scope, &'static str> {
    if text == EVERY_NAMESPACE {
        return Ok(Scope::Edge);
    }
    hostname::is_label(text)
        .then(|| Scope::Namespace(text.into()))
        .ok_or("write the name of a namespace, or '*' for the splits of hosts of every namespace")
}

fn parse_name_of_namespace(text: &str) -> Result<String, &'static str> {
    hostname::is_label(text)
        .then(|| text.to_owned())
        .ok_or("not the name of a namespace")
}

fn parse_trust_domain(text: &str) -> Result<String, &'static str> {
    weir_split::is_trust_domain(text)
        .then(|| text.to_owned())
        .ok_or("write lower-case letters, digits, '-', '.' and '_', such as cluster.local")
}

fn parse_domain(text: &str) -> Result<String, &'static str> {
    hostname::is_dns_name(text)
        .then(|| text.to_owned())
        .ok_or("write a DNS name in lower case, such as cluster.local")
}

fn parse_gateway(text: &str) -> Result<Scope, &'static str> {
    gateway(text).ok_or("write NAMESPACE/NAME")
}

fn parse_lease(text: &str) -> Result<Lease, &'static str> {
    match gateway(text) {
        Some(Scope::Gateway { namespace, name }) => Ok(Lease { namespace, name }),
        _ => Err("write NAMESPACE/NAME"),
    }
}

fn parse_policy(text: &str) -> Result<Policy, &'static str> {
    match text {
        "unstated" => Ok(Policy::Unstated),
        "permissive" => Ok(Policy::Permissive),
        "smi" => Ok(Policy::Smi),
        _ => Err("write unstated, permissive or smi"),
    }
}

/// What a folder says at one time.
struct Reading {
    files: usize,
    objects: usize,
    passed_over: Vec<String>,
    plan: Plan,
    problems: BTreeSet<Problem>,
}

fn read(
    dir: &Path,
    default_namespace: &str,
    policy: Policy,
    limits: &Limits,
) -> io::Result<Reading> {
    let folder = Folder::open(dir, true)?;
    let mut folder = folder.with_default_namespace(default_namespace.to_owned());
    folder.read_all();
    let (world, of_world) = World::of(folder.objects());
    let (plan, of_plan) = translate_within(&world, policy, limits);
    let problems = [folder.problems(), of_world, of_plan];
    Ok(Reading {
        files: folder.files(),
        objects: folder.objects().len(),
        passed_over: folder.passed_over(),
        plan,
        problems: problems.into_iter().flatten().collect(),
    })
}

pub fn check(args: &Check) -> ExitCode {
    let reading = match read(
        &args.dir,
        &args.default_namespace,
        args.policy,
        &args.limits.limits(),
    ) {
        Ok(reading) => reading,
        Err(error) => return unreadable(&args.dir, &error),
    };
    print(io::stdout(), &lines(&reading.problems));
    if args.verbose {
        let passed = reading.passed_over.iter();
        let passed: String = passed.map(|it| format!("passed over: {it}\n")).collect();
        print(io::stderr(), &passed);
    }
    let warnings = reading.problems.iter().filter(|it| is_warning(it)).count();
    let mut good = warnings == reading.problems.len();
    if let Err(refused) = Published::compile(reading.plan.clone(), document::features_after) {
        print(
            io::stderr(),
            &format!("weir: a proxy would refuse {refused}\n"),
        );
        good = false;
    }
    if let Some(admin) = &args.envoy {
        let answer = match admin.ask() {
            Ok(answer) => answer,
            Err(error) => {
                print(io::stderr(), &format!("weir: {error}\n"));
                return ExitCode::from(2);
            }
        };
        if let Some(why) = &answer.without_stats {
            print(
                io::stderr(),
                &format!(
                    "weir: {why}; without its statistics a module counts as weir-lean.wasm only where its file has \
                     that name\n"
                ),
            );
        }
        let findings = envoy::findings(&answer.running, &reading.plan);
        let lines: String = findings.iter().map(|it| format!("{it}\n")).collect();
        print(io::stdout(), &lines);
        good &= findings.is_empty();
    }
    if !good {
        return ExitCode::FAILURE;
    }
    let (objects, files, passed) = (reading.objects, reading.files, reading.passed_over.len());
    let what = match warnings {
        0 => "no problems".to_owned(),
        1 => "no problems, 1 warning".to_owned(),
        many => format!("no problems, {many} warnings"),
    };
    print(
        io::stderr(),
        &format!("{what} ({objects} objects in {files} files, {passed} passed over)\n"),
    );
    ExitCode::SUCCESS
}

/// Advice: everything is in force as it is written.
fn is_warning(problem: &Problem) -> bool {
    problem.effect.extent == Extent::Nothing
}

fn lines(problems: &BTreeSet<Problem>) -> String {
    let line = |problem: &Problem| match is_warning(problem) {
        true => format!("warning: {problem}\n"),
        false => format!("{problem}\n"),
    };
    problems.iter().map(line).collect()
}

pub fn translated(args: Translate) -> ExitCode {
    let reading = match read(
        &args.dir,
        &args.default_namespace,
        args.policy,
        &args.limits.limits(),
    ) {
        Ok(reading) => reading,
        Err(error) => return unreadable(&args.dir, &error),
    };
    let wanted = args.namespace.or(args.gateway).unwrap_or(Scope::Producers);
    print(io::stderr(), &lines(&reading.problems));
    match serde_json::to_string_pretty(&scope(&reading.plan, &wanted)) {
        Ok(json) => print(io::stdout(), &format!("{json}\n")),
        Err(error) => {
            print(io::stderr(), &format!("weir: {error}\n"));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

pub fn copied(dir: &Path) -> ExitCode {
    match copy_filter::copy(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print(io::stderr(), &format!("weir: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// The exit code for a folder that does not exist or cannot be read.
pub fn unreadable(dir: &Path, error: &io::Error) -> ExitCode {
    let message = format!("weir: {} cannot be read: {error}\n", dir.display());
    print(io::stderr(), &message);
    ExitCode::from(2)
}

/// Whoever reads our output may stop early (`| head`); that is no error of ours.
fn print(mut to: impl Write, text: &str) {
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
