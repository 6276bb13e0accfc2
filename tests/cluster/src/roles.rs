//! Small programs that replace images, because tests cannot fetch images. Each program does what a guide expects of the
//! image.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn run(role: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .map_err(|error| error.to_string())?;
        tokio::select! {
            done = role => done,
            _ = end.recv() => Ok(()),
        }
    })
}

async fn serve(port: u16, text: String) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("port {port}: {error}");
    let listener = TcpListener::bind(("0.0.0.0", port)).await.map_err(failed)?;
    let answer = move || async move { (StatusCode::OK, text) };
    axum::serve(listener, Router::new().fallback(answer))
        .await
        .map_err(failed)
}

/// Replaces kong/go-echo: answers with the pod's name from its environment.
pub fn echo() -> Result<(), String> {
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    let mut text = format!("Welcome, you are connected to node {}.\n", of("NODE_NAME"));
    for (name, words) in [
        ("POD_NAME", "Running on Pod"),
        ("POD_NAMESPACE", "In namespace"),
        ("POD_IP", "With IP address"),
    ] {
        if !of(name).is_empty() {
            text.push_str(&format!("{words} {}.\n", of(name)));
        }
    }
    run(serve(1027, text))
}

/// Replaces buoyantio/bb, with the arguments `terminus --h1-server-port=PORT --response-text=TEXT`.
pub fn bb(args: &[String]) -> Result<(), String> {
    let flag = |name: &str| {
        let name = format!("--{name}=");
        args.iter().find_map(|arg| arg.strip_prefix(&name))
    };
    let port = flag("h1-server-port").and_then(|port| port.parse().ok());
    let port = port.ok_or("bb: --h1-server-port=PORT is missing")?;
    let text = flag("response-text").unwrap_or_default();
    run(serve(
        port,
        format!("{{\"requestUID\":\"\",\"payload\":{text:?}}}\n"),
    ))
}

/// Replaces stefanprodan/podinfo: answers with the text of PODINFO_UI_MESSAGE. With PODINFO_RANDOM_ERROR=true every
/// third answer is an error. After SIGTERM the program serves for some more seconds, so that no request fails.
pub fn podinfo() -> Result<(), String> {
    const GRACE: Duration = Duration::from_secs(5);
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    let message = of("PODINFO_UI_MESSAGE");
    let is_random = of("PODINFO_RANDOM_ERROR") == "true";
    let count = Arc::new(AtomicU64::new(0));
    let answer = move || async move {
        let number = count.fetch_add(1, Ordering::Relaxed);
        if is_random && number.is_multiple_of(3) {
            let text = format!("{message} error");
            return (StatusCode::INTERNAL_SERVER_ERROR, text);
        }
        (StatusCode::OK, message)
    };
    let router = Router::new()
        .route("/readyz", get(async || "OK"))
        .fallback(answer);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .map_err(|error| error.to_string())?;
        let listener = TcpListener::bind(("0.0.0.0", 9898)).await;
        let listener = listener.map_err(|error| error.to_string())?;
        tokio::select! {
            done = axum::serve(listener, router) => done.map_err(|error| error.to_string()),
            () = async { end.recv().await; tokio::time::sleep(GRACE).await } => Ok(()),
        }
    })
}

/// Replaces buoyantio/slow_cooker, with the arguments `--qps N URL`: prints the number of good answers every second.
pub fn slow_cooker(args: &[String]) -> Result<(), String> {
    let rate = args
        .iter()
        .position(|arg| arg.trim_start_matches('-') == "qps");
    let rate = rate
        .and_then(|at| args.get(at + 1)?.parse::<u64>().ok())
        .unwrap_or(1)
        .max(1);
    let url = args.last().ok_or("slow-cooker: the address is missing")?;
    let host = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = host.split_once('/').unwrap_or((host, ""));
    run(async {
        let mut beat = tokio::time::interval(Duration::from_micros(1_000_000 / rate));
        let (mut good, mut bad) = (0_u64, 0_u64);
        loop {
            beat.tick().await;
            match request(host, path).await {
                Ok(head) if head.contains(" 200 ") => good += 1,
                _ => bad += 1,
            }
            if (good + bad).is_multiple_of(rate) {
                println!("{good} good {bad} bad");
            }
        }
    })
}

async fn request(host: &str, path: &str) -> std::io::Result<String> {
    let address = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

pub fn pause() -> Result<(), String> {
    run(std::future::pending())
}
