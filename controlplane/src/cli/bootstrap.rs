//! `weir bootstrap`: the lines that make an Envoy get its filter, clusters and endpoints from `weir serve`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use clap::{ArgGroup, Args};
use weir_core::paste::{ModuleSource, PasteOptions, Remark, ServerAddress, edit, whole_file};
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
    /// Name of the listener [default: outbound, or http for a Gateway]. With --existing: edit only this listener
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Print the changes that this configuration of an Envoy needs, as a difference (diff -u). The file may also be a
    /// file of a path_config_source with listeners or route configurations
    #[arg(long, value_name = "FILE")]
    existing: Option<PathBuf>,
    /// Also write the result into the file of --existing
    #[arg(long, requires = "existing")]
    write: bool,
}

pub fn run(args: Bootstrap) -> ExitCode {
    let (existing, writes) = (args.existing.clone(), args.write);
    let options = args.options();
    let Some(path) = existing else {
        print(io::stdout(), &whole_file(&options));
        return ExitCode::SUCCESS;
    };
    edit_file(&path, &options, writes).unwrap_or_else(|error| {
        let message = format!("weir: {}: {error}\n", path.display());
        print(io::stderr(), &message);
        ExitCode::from(2)
    })
}

/// Prints the difference and the remarks. Returns a failure if something is left to the operator.
fn edit_file(path: &Path, options: &PasteOptions, writes: bool) -> io::Result<ExitCode> {
    let name = path.display().to_string();
    let edited = edit(&name, &fs::read_to_string(path)?, options);
    print(io::stdout(), &edited.diff);
    let line = |it: &Remark| match it.is_warning() {
        true => format!("warning: {name}:{it}\n"),
        false => format!("{name}:{it}\n"),
    };
    let remarks: String = edited.remarks.iter().map(line).collect();
    print(io::stderr(), &remarks);
    let is_done = edited.remarks.iter().all(Remark::is_warning);
    if edited.diff.is_empty() && is_done {
        print(io::stderr(), &format!("{name} has all lines already\n"));
    }
    if writes && !edited.diff.is_empty() {
        fs::write(path, &edited.text)?;
    }
    Ok(match is_done {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
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
