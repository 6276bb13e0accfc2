//! The bookstore counts its sales. Every answer contains the name of the bookstore.

use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use tokio::net::TcpListener;

use crate::outbound::{Call, Caller};

#[derive(clap::Args)]
pub struct Settings {
    /// Address to listen on; in a pod 0.0.0.0:14001
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:14001")]
    listen: SocketAddr,
    /// Value of the header `Identity`
    #[arg(long, env = "IDENTITY", default_value = "bookstore-v1", value_parser = HeaderValue::from_str)]
    identity: HeaderValue,
    #[arg(long, env = "BOOKWAREHOUSE_NAMESPACE", default_value = "bookwarehouse")]
    bookwarehouse_namespace: String,
    /// Address for all calls to other services; by default their names are resolved
    #[arg(long, env = "OUTBOUND")]
    outbound: Option<SocketAddr>,
    /// Duration of a purchase, FROM-TO in milliseconds; 150-750 is a slow, realistic shop
    #[arg(long, env = "PURCHASE_MILLISECONDS", default_value = "1-5")]
    purchase: Span,
}

/// Milliseconds from `from` to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    from: u64,
    to: u64,
}

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Span, Self::Err> {
        let bounds = text.split_once('-').and_then(|(from, to)| {
            let (from, to) = (from.parse().ok()?, to.parse().ok()?);
            (from <= to).then_some(Span { from, to })
        });
        bounds.ok_or("write FROM-TO in milliseconds, for example 150-750")
    }
}

impl Span {
    /// Returns the n-th duration of a sequence that covers the span evenly, in no visible order. The sequence needs no
    /// random numbers, because its steps follow the golden ratio.
    fn nth(self, n: u64) -> Duration {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let width = u128::from(self.to - self.from) + 1;
        let offset = (u128::from(n.wrapping_mul(GOLDEN)) * width) >> 64;
        Duration::from_millis(self.from + offset as u64)
    }
}

struct Shop {
    settings: Settings,
    sold: AtomicU64,
    purchases: AtomicU64,
    warehouse: Caller,
}

/// Serves until the process ends.
pub async fn serve(settings: Settings) -> io::Result<()> {
    let listener = TcpListener::bind(settings.listen).await?;
    axum::serve(listener, app(settings)).await
}

fn app(settings: Settings) -> Router {
    let shop = Arc::new(Shop {
        sold: AtomicU64::new(0),
        purchases: AtomicU64::new(0),
        warehouse: Caller::new(settings.outbound),
        settings,
    });
    Router::new()
        .route("/", get(page))
        .route("/books-bought", get(page).post(set))
        .route("/buy-a-book/new", get(buy))
        .route("/reset", any(reset))
        .route("/raw", get(raw))
        .route("/liveness", get(alive))
        .route("/readiness", get(alive))
        .route("/startup", get(alive))
        .with_state(shop)
}

async fn page(State(shop): State<Arc<Shop>>) -> Response {
    shop.page()
}

/// The body is the new count.
async fn set(State(shop): State<Arc<Shop>>, body: String) -> Response {
    match body.trim().parse() {
        Ok(count) => {
            shop.sold.store(count, Relaxed);
            shop.page()
        }
        Err(_) => (StatusCode::BAD_REQUEST, "the body must be a number\n").into_response(),
    }
}

async fn buy(State(shop): State<Arc<Shop>>) -> Response {
    shop.sold.fetch_add(1, Relaxed);
    let nth = shop.purchases.fetch_add(1, Relaxed);
    tokio::time::sleep(shop.settings.purchase.nth(nth)).await;
    // The customer does not wait for the warehouse.
    tokio::spawn({
        let shop = shop.clone();
        async move { shop.restock().await }
    });
    shop.page()
}

async fn reset(State(shop): State<Arc<Shop>>) -> Response {
    shop.sold.store(0, Relaxed);
    shop.page()
}

async fn raw(State(shop): State<Arc<Shop>>) -> Response {
    let sold = shop.sold.load(Relaxed);
    shop.answer(sold, format!("{{\"booksSold\":{sold}}}\n"))
}

async fn alive() -> StatusCode {
    StatusCode::OK
}

impl Shop {
    fn page(&self) -> Response {
        let sold = self.sold.load(Relaxed);
        let name = self.settings.identity.to_str().unwrap_or("bookstore");
        self.answer(sold, format!("{name}: {sold} books sold\n"))
    }

    fn answer(&self, sold: u64, body: String) -> Response {
        let headers = [
            (
                HeaderName::from_static("identity"),
                self.settings.identity.clone(),
            ),
            (
                HeaderName::from_static("booksbought"),
                HeaderValue::from(sold),
            ),
        ];
        (headers, body).into_response()
    }

    /// Sends an order to the bookwarehouse. As in the original demo, the Host header differs from the name in the URL,
    /// because meshes route by the Host header.
    async fn restock(&self) {
        let namespace = &self.settings.bookwarehouse_namespace;
        let authority = format!("bookwarehouse.{namespace}.svc.cluster.local:14001");
        let host = format!("bookwarehouse.{namespace}");
        let order = Call {
            method: Method::POST,
            authority: &authority,
            host: &host,
            path: "/restock-books",
            app: "bookstore",
            body: "1",
        };
        match self.warehouse.call(order).await {
            Ok(answer) if answer.status.is_success() => {}
            Ok(answer) => eprintln!("bookwarehouse: {}", answer.status),
            Err(error) => eprintln!("bookwarehouse: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_is_filled_end_to_end() {
        let span: Span = "150-750".parse().unwrap();
        let mut row: Vec<_> = (0..6000).map(|n| span.nth(n).as_millis()).collect();
        row.sort_unstable();
        row.dedup();
        assert_eq!(row, (150..=750).collect::<Vec<_>>());
        assert_eq!("3-3".parse::<Span>().unwrap().nth(7).as_millis(), 3);
        assert!("5-1".parse::<Span>().is_err());
        assert!("5".parse::<Span>().is_err());
    }
}
