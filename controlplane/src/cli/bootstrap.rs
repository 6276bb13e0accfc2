//! `weir bootstrap`: the lines that make an Envoy get its filter, clusters and endpoints from `weir serve`.

use std::io;
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use weir_core::paste::{ModuleSource, PasteOptions, ServerAddress, whole_file};
use weir_core::plan::Scope;

use super::shared_arguments::{parse_gateway, parse_scope, print};

#[derive(Args)]
#[command(group = ArgGroup::new("scope").required(true).args(["namespace", "gateway"]))]
pub struct Bootstrap {
    /// The Envoy is a proxy of workloads in this namespace. Write '*' for an edge proxy
    #[arg(long, value_name = "NS", value_parser = parse_scope)]
    namespace: Option<Scope>,
    /// The Envoy is a proxy of this Gateway
    #[arg(long, value_name = "NS/NAME", value_parser = parse_gateway)]
    gateway: Option<Scope>,
    /// Address of `weir serve`
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_server, default_value = "127.0.0.1:9900")]
    control_plane: ServerAddress,
    /// CA bundle (PEM): connect to the control plane with TLS, and check its certificate for the name HOST
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// File for Envoy's SDS with the secret weir-token: send this token to the control plane
    #[arg(long, value_name = "FILE", requires = "ca")]
    token: Option<String>,
    /// Load the module from this file. Without this flag the control plane sends the module
    #[arg(long, value_name = "FILE")]
    filter: Option<String>,
    /// Name of the listener [default: outbound, or http for a Gateway]
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
}

pub fn run(args: Bootstrap) -> ExitCode {
    print(io::stdout(), &whole_file(&args.options()));
    ExitCode::SUCCESS
}

impl Bootstrap {
    fn options(self) -> PasteOptions {
        PasteOptions {
            // clap ensures that one of the two is there.
            scope: self.namespace.or(self.gateway).unwrap_or(Scope::Producers),
            control_plane: self.control_plane,
            authority: self.ca,
            token: self.token,
            module: match self.filter {
                Some(path) => ModuleSource::File(path),
                None => ModuleSource::ControlPlane,
            },
            listener: self.listener,
        }
    }
}

fn parse_server(text: &str) -> Result<ServerAddress, &'static str> {
    ServerAddress::parse(text)
        .ok_or("write HOST:PORT, such as 127.0.0.1:9900 or weir.weir-system.svc:9900")
}
