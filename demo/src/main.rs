//! The bookstore of the Open Service Mesh demo as one program with several roles, and the load of `scripts/demo`.
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

/// Each flag has an environment variable, which the help shows next to the flag. Only the flags of watch have none.
#[derive(Parser)]
#[command(name = "weir-demo", version)]
enum Role {
    /// Sells books; v1 and v2 differ only in their identity
    Bookstore(bookstore::Settings),
    /// Restocks sold books
    Bookwarehouse(bookwarehouse::Settings),
    /// Buys books in a loop, and counts the purchases at each version
    Bookbuyer(customer::Settings),
    /// Buys books in a loop, and expects refusals
    Bookthief(customer::Settings),
    /// Sends load to the bookstore through a proxy, edits its split, and shows which version answered
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
