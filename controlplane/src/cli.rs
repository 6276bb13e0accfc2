//! The command line: one module for each command, and modules that several commands use.

pub mod bootstrap;
pub mod check;
pub mod copy_filter;
mod envoy_admin;
mod folder_report;
mod limits;
mod serve_command;
mod shared_arguments;
pub mod translate;
pub mod wait;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use serve_command::{ObjectSource, Serve, Shutdown, Sockets};

/// Split traffic between versions of a service, with the proxies that you already run.
#[derive(Parser)]
#[command(name = "weir", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Serve configuration to proxies, and update it when objects change
    Serve(Box<Serve>),
    /// Print the configuration of one proxy to standard output, and problems to standard error
    Translate(translate::Translate),
    /// Print one problem per line; exit with code 1 if a problem is not a warning
    Check(check::Check),
    /// Print an Envoy configuration that gets its filter, clusters and endpoints from `weir serve`, or edit a given one
    Bootstrap(bootstrap::Bootstrap),
    /// Wait until every proxy runs the current generation of an object of the cluster
    Wait(wait::Wait),
    /// Copy the filters of this image into a folder
    CopyFilter {
        /// Destination; created if it does not exist
        dir: PathBuf,
    },
}
