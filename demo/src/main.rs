//! The bookstore of the Open Service Mesh demo as one small program in several roles, and the load that
//! `scripts/demo` shows.
//!
//! bookbuyer, bookthief, watch --Host: bookstore--> proxy --> bookstore v1 | v2 --> bookwarehouse

mod bookstore;
mod bookwarehouse;
mod customer;
mod outbound;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use customer::Customer;

/// Each flag can be given as the environment variable that stands beside it.
#[derive(Parser)]
#[command(name = "weir-demo", version)]
enum Role {
    /// Sells books; v1 and v2 differ in their identity alone
    Bookstore(bookstore::Settings),
    /// Restocks what the bookstore sells
    Bookwarehouse(bookwarehouse::Settings),
    /// Buys a book again and again, and counts which version sold it
    Bookbuyer(customer::Settings),
    /// Does the same, and expects to be refused
    Bookthief(customer::Settings),
    /// Calls the bookstore through a proxy, edits its split meanwhile, and shows who answered
    Watch(watch::Settings),
}

#[tokio::main]
async fn main() -> ExitCode {
    match Role::parse() {
        Role::Bookstore(settings) => served(bookstore::serve(settings).await),
        Role::Bookwarehouse(settings) => served(bookwarehouse::serve(settings).await),
        Role::Bookbuyer(settings) => customer::run(Customer::Buyer, settings).await,
        Role::Bookthief(settings) => customer::run(Customer::Thief, settings).await,
        Role::Watch(settings) => watch::run(settings).await,
    }
}

fn served(result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-demo: {error}");
            ExitCode::FAILURE
        }
    }
}
