//! The bookbuyer and the bookthief: both call the bookstore in a loop, and expect different answers.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{any, get};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::outbound::{Call, Caller};

const VERSIONS: [&str; 2] = ["bookstore-v1", "bookstore-v2"];

/// The path to buy a book.
const BUY: &str = "/buy-a-book/new";

#[derive(clap::Args)]
pub struct Settings {
    /// Address of the page with the counts; in a pod 0.0.0.0:14001
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:14004")]
    listen: SocketAddr,
    #[arg(long, env = "BOOKSTORE_SVC", default_value = "bookstore")]
    bookstore: String,
    #[arg(long, env = "BOOKSTORE_NAMESPACE", default_value = "bookstore")]
    bookstore_namespace: String,
    /// Address for all calls; by default names are resolved
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
    /// Minimum number of successful rounds for exit code 0; without effect if the number of rounds is 0
    #[arg(long, env = "CI_MIN_SUCCESS_THRESHOLD", default_value_t = 1)]
    min_success: u64,
    /// Number of rounds; 0 means no end
    #[arg(long, env = "CI_MAX_ITERATIONS_THRESHOLD", default_value_t = 0)]
    max_iterations: u64,
    /// Parallel loops
    #[arg(long, env = "CI_CLIENT_CONCURRENT_CONNECTIONS", default_value_t = 1)]
    connections: usize,
    /// The status that a bookthief counts as success
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

/// Counters of a customer.
struct Books {
    customer: Customer,
    rounds: AtomicU64,
    went_well: AtomicU64,
    /// True after SIGTERM. Each loop then ends after one more round.
    is_ending: AtomicBool,
    counts: Mutex<Counts>,
}

/// Counts for each version of the bookstore. In each array the first number is for v1 and the second for v2.
#[derive(Clone, Copy, Default)]
struct Counts {
    books: [u64; 2],
    /// Answers to both kinds of calls: looking and buying.
    answers: [u64; 2],
    /// Calls without the expected answer.
    failed: u64,
}

/// Runs until SIGTERM, or for the number of rounds in the settings. Returns a failure if too few rounds were successful.
pub async fn run(customer: Customer, settings: Settings) -> ExitCode {
    let books = Arc::new(Books {
        customer,
        rounds: AtomicU64::new(0),
        went_well: AtomicU64::new(0),
        is_ending: AtomicBool::new(false),
        counts: Mutex::default(),
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
    // Without a handler, the first process of a container ignores SIGTERM.
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            eprintln!("weir-demo: SIGTERM: {error}");
            return ExitCode::FAILURE;
        }
    };
    tokio::spawn({
        let books = books.clone();
        async move {
            terminate.recv().await;
            books.is_ending.store(true, Relaxed);
        }
    });
    let settings = Arc::new(settings);
    let mut loops = JoinSet::new();
    for _ in 0..settings.connections {
        loops.spawn(go_shopping(books.clone(), settings.clone()));
    }
    while loops.join_next().await.is_some() {}
    let went_well = books.went_well.load(Relaxed);
    let rounds = books.rounds.load(Relaxed);
    let failed = books.counts().failed;
    println!("{went_well} of {rounds} rounds were successful, {failed} calls failed");
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
    while books.begin_round(settings.max_iterations) {
        let is_last = books.is_ending.load(Relaxed);
        let hoped_for = match books.customer {
            Customer::Buyer => StatusCode::OK.as_u16(),
            Customer::Thief => settings.expected,
        };
        let mut well = true;
        for path in ["/books-bought", BUY] {
            let as_hoped = books.get(&caller, &host, path).await == Some(hoped_for);
            books.counts().failed += u64::from(!as_hoped);
            well &= as_hoped;
        }
        books.went_well.fetch_add(well.into(), Relaxed);
        if is_last {
            return;
        }
        tokio::time::sleep(Duration::from_secs_f64(settings.sleep)).await;
    }
}

impl Books {
    /// Counts a round. Returns false if there were `most` rounds already; 0 means no limit.
    fn begin_round(&self, most: u64) -> bool {
        let next = |rounds| (most == 0 || rounds < most).then_some(rounds + 1);
        self.rounds.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// Returns the status of the answer; None without an answer.
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
        if answer.status == StatusCode::OK {
            let identity = answer.identity().unwrap_or_default();
            let Some(version) = VERSIONS.iter().position(|name| identity.starts_with(name)) else {
                eprintln!("{host}{path}: the answer is not from a known bookstore");
                return None;
            };
            let mut counts = self.counts();
            counts.answers[version] += 1;
            counts.books[version] += u64::from(path == BUY);
        }
        Some(answer.status.as_u16())
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn word(&self) -> &'static str {
        match self.customer {
            Customer::Buyer => "Bought",
            Customer::Thief => "Stolen",
        }
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
    let ([v1, v2], word) = (books.counts().books, books.word());
    let all = v1 + v2;
    format!("Books {word}: {all}\n  from bookstore-v1: {v1}\n  from bookstore-v2: {v2}\n")
}

async fn raw(State(books): State<Arc<Books>>) -> String {
    let word = books.word();
    let Counts {
        books: [v1, v2],
        answers: [answers_v1, answers_v2],
        failed,
    } = *books.counts();
    let all = v1 + v2;
    format!(
        "{{\"books{word}\":{all},\"books{word}V1\":{v1},\"books{word}V2\":{v2},\
         \"answersV1\":{answers_v1},\"answersV2\":{answers_v2},\"failed\":{failed}}}\n"
    )
}

async fn reset(State(books): State<Arc<Books>>) -> String {
    *books.counts() = Counts::default();
    page(State(books)).await
}
