//! The bookbuyer and the bookthief: both call the bookstore in a loop, and differ in what they hope for.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{any, get};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::outbound::{Call, Caller};

#[derive(clap::Args)]
pub struct Settings {
    /// Where its counts are shown; in a pod 0.0.0.0:14001
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:14004")]
    listen: SocketAddr,
    #[arg(long, env = "BOOKSTORE_SVC", default_value = "bookstore")]
    bookstore: String,
    #[arg(long, env = "BOOKSTORE_NAMESPACE", default_value = "bookstore")]
    bookstore_namespace: String,
    /// Address that all calls go to; without it, where their names resolve to
    #[arg(long, env = "OUTBOUND")]
    outbound: Option<SocketAddr>,
    /// Seconds between two rounds
    #[arg(
        long,
        env = "CI_SLEEP_BETWEEN_REQUESTS_SECONDS",
        default_value_t = 1.0,
        value_parser = seconds
    )]
    sleep: f64,
    /// Rounds that must go well for the exit code 0, where the rounds are limited
    #[arg(long, env = "CI_MIN_SUCCESS_THRESHOLD", default_value_t = 1)]
    min_success: u64,
    /// Rounds before it ends; 0 is for ever
    #[arg(long, env = "CI_MAX_ITERATIONS_THRESHOLD", default_value_t = 0)]
    max_iterations: u64,
    /// Loops side by side
    #[arg(long, env = "CI_CLIENT_CONCURRENT_CONNECTIONS", default_value_t = 1)]
    connections: usize,
    /// What a bookthief counts as going well
    #[arg(long, env = "BOOKTHIEF_EXPECTED_RESPONSE_CODE", default_value_t = 404, value_parser = clap::value_parser!(u16).range(100..1000))]
    expected: u16,
}

fn seconds(text: &str) -> Result<f64, &'static str> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(_) => Ok(seconds),
        Err(_) => Err("not a number of seconds"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Customer {
    Buyer,
    Thief,
}

/// Books that a customer got, by the version that gave them.
struct Books {
    customer: Customer,
    v1: AtomicU64,
    v2: AtomicU64,
    rounds: AtomicU64,
    went_well: AtomicU64,
}

/// Loops for ever, or for the rounds that the settings name: then failure means that too few went well.
pub async fn run(customer: Customer, settings: Settings) -> ExitCode {
    let books = Arc::new(Books {
        customer,
        v1: AtomicU64::new(0),
        v2: AtomicU64::new(0),
        rounds: AtomicU64::new(0),
        went_well: AtomicU64::new(0),
    });
    let listener = match TcpListener::bind(settings.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("weir-demo: {}: {error}", settings.listen);
            return ExitCode::FAILURE;
        }
    };
    tokio::spawn({
        let app = app(books.clone());
        async move { axum::serve(listener, app).await }
    });
    let settings = Arc::new(settings);
    let mut loops = JoinSet::new();
    for _ in 0..settings.connections {
        loops.spawn(go_shopping(books.clone(), settings.clone()));
    }
    while loops.join_next().await.is_some() {}
    let went_well = books.went_well.load(Relaxed);
    println!(
        "{went_well} of {} rounds went well",
        settings.max_iterations
    );
    if went_well >= settings.min_success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn go_shopping(books: Arc<Books>, settings: Arc<Settings>) {
    let caller = Caller::new(settings.outbound);
    let host = format!(
        "{}.{}.svc.cluster.local:14001",
        settings.bookstore, settings.bookstore_namespace
    );
    while settings.max_iterations == 0
        || books.rounds.fetch_add(1, Relaxed) < settings.max_iterations
    {
        let looked = books.get(&caller, &host, "/books-bought").await;
        let bought = books.get(&caller, &host, "/buy-a-book/new").await;
        let hoped_for = match books.customer {
            Customer::Buyer => StatusCode::OK.as_u16(),
            Customer::Thief => settings.expected,
        };
        if looked == Some(hoped_for) && bought == Some(hoped_for) {
            books.went_well.fetch_add(1, Relaxed);
        }
        tokio::time::sleep(Duration::from_secs_f64(settings.sleep)).await;
    }
}

impl Books {
    /// The status of the answer, None where there was none.
    async fn get(&self, caller: &Caller, host: &str, path: &str) -> Option<u16> {
        let app = match self.customer {
            Customer::Buyer => "bookbuyer",
            Customer::Thief => "bookthief",
        };
        let answer = match caller.call(Call::get(host, path, app)).await {
            Ok(answer) => answer,
            Err(error) => {
                eprintln!("{host}{path}: {error}");
                return None;
            }
        };
        if answer.status == StatusCode::OK && path == "/buy-a-book/new" {
            match answer.identity() {
                Some(identity) if identity.starts_with("bookstore-v1") => {
                    self.v1.fetch_add(1, Relaxed);
                }
                Some(identity) if identity.starts_with("bookstore-v2") => {
                    self.v2.fetch_add(1, Relaxed);
                }
                _ => eprintln!("{host}{path}: an answer from no bookstore that is known"),
            }
        }
        Some(answer.status.as_u16())
    }

    /// The word for it, and the counts: both versions, v1, v2.
    fn counts(&self) -> (&'static str, u64, u64, u64) {
        let (v1, v2) = (self.v1.load(Relaxed), self.v2.load(Relaxed));
        let word = match self.customer {
            Customer::Buyer => "Bought",
            Customer::Thief => "Stolen",
        };
        (word, v1 + v2, v1, v2)
    }
}

fn app(books: Arc<Books>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/raw", get(raw))
        .route("/reset", any(reset))
        .with_state(books)
}

async fn page(State(books): State<Arc<Books>>) -> String {
    let (word, all, v1, v2) = books.counts();
    format!("Books {word}: {all}\n  from bookstore-v1: {v1}\n  from bookstore-v2: {v2}\n")
}

async fn raw(State(books): State<Arc<Books>>) -> String {
    let (word, all, v1, v2) = books.counts();
    format!("{{\"books{word}\":{all},\"books{word}V1\":{v1},\"books{word}V2\":{v2}}}\n")
}

async fn reset(State(books): State<Arc<Books>>) -> String {
    books.v1.store(0, Relaxed);
    books.v2.store(0, Relaxed);
    page(State(books)).await
}
