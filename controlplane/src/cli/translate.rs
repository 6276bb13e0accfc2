//! `weir translate`: the configuration of one proxy as JSON.

use std::io;
use std::process::ExitCode;

use clap::Args;
use weir_core::plan::{Scope, scope};

use super::folder_report::FolderArguments;
use super::shared_arguments::{parse_gateway, parse_scope, print};

#[derive(Args)]
pub struct Translate {
    /// Print the configuration of proxies in this namespace. Write '*' for an edge proxy: it gets the splits of host
    /// names from every namespace
    #[arg(long, value_name = "NS", value_parser = parse_scope, conflicts_with = "gateway")]
    namespace: Option<Scope>,
    /// Print the configuration of proxies of this Gateway
    #[arg(long, value_name = "NS/NAME", value_parser = parse_gateway)]
    gateway: Option<Scope>,
    // Must be the last field: clap puts each later argument under the heading of the limits.
    #[command(flatten)]
    folder: FolderArguments,
}

pub fn run(args: Translate) -> ExitCode {
    let report = match args.folder.report() {
        Ok(report) => report,
        Err(exit) => return exit,
    };
    let asked = args.namespace.or(args.gateway).unwrap_or(Scope::Producers);
    print(io::stderr(), &report.problem_lines());
    match serde_json::to_string_pretty(&scope(&report.plan, &asked)) {
        Ok(json) => print(io::stdout(), &format!("{json}\n")),
        Err(error) => {
            print(io::stderr(), &format!("weir: {error}\n"));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
