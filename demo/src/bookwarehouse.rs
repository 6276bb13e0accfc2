//! The bookwarehouse receives orders from the bookstore.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;

#[derive(clap::Args)]
pub struct Settings {
    /// Address to listen on; in a pod 0.0.0.0:14001
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:14003")]
    listen: SocketAddr,
}

/// Serves until the process ends.
pub async fn serve(settings: Settings) -> io::Result<()> {
    let app = Router::new()
        .route("/", post(restock))
        .route("/restock-books", post(restock))
        .route("/liveness", get(StatusCode::OK))
        .route("/readiness", get(StatusCode::OK));
    axum::serve(TcpListener::bind(settings.listen).await?, app).await
}

/// The body is the number of books.
async fn restock(body: String) -> Response {
    match body.trim().parse::<u64>() {
        Ok(books) => (
            [(CONTENT_TYPE, "application/json")],
            format!("{{\"restocked\":{books}}}\n"),
        )
            .into_response(),
        Err(_) => (StatusCode::BAD_REQUEST, "the body must be a number\n").into_response(),
    }
}
