//! An HTTP backend that returns the request that it received.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::middleware::map_request;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub struct Echo {
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Echo {
    /// Answers every request 200 with `identity: NAME` and a JSON body of
    /// `{"method": STRING, "path": STRING, "headers": [[NAME, VALUE]]}`.
    pub async fn start(name: &str) -> Echo {
        let name = name.to_owned();
        let app = Router::new().fallback(move |request| {
            let name = name.clone();
            async move { answer(&name, &request) }
        });
        Echo::serve(app).await
    }

    /// Serves this router instead of the echo.
    pub async fn serve(app: Router) -> Echo {
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        let app = app.layer(map_request(move |request: Request| {
            counter.fetch_add(1, Ordering::SeqCst);
            async { request }
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            axum::serve(listener, app)
                .await
                .expect("the backend serves");
        });
        Echo {
            address,
            requests,
            task,
        }
    }

    /// The number of requests so far.
    pub fn request_count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(name: &str, request: &Request) -> Response {
    let headers = request.headers().iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), value)
    });
    let body = serde_json::json!({
        "method": request.method().as_str(),
        "path": request.uri().to_string(),
        "headers": headers.collect::<Vec<_>>(),
    });
    ([("identity", name)], body.to_string()).into_response()
}
