//! Ends of streams, and clients that do harm.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Returns the status with which the stream ends.
async fn end(stream: &mut Stream) -> Status {
    loop {
        if let Err(status) = stream.next().await {
            return status;
        }
    }
}

#[tokio::test]
async fn stream_ends_with_the_process() {
    let streams = Streams::start().await;
    for end_process in [false, true] {
        let mut stream = streams.open().await;
        stream.subscribe(CDS, &[]).await;
        assert_eq!(stream.names().await, [V1, V2]);
        match end_process {
            false => streams.leaving.cancel(),
            true => streams.plane.ending.cancel(),
        }
        assert_eq!(end(&mut stream).await.code(), Code::Ok);
        if !end_process {
            // The connection that begins now ends with its first answers.
            let mut late = streams.open().await;
            assert_eq!(end(&mut late).await.code(), Code::Ok);
            return;
        }
    }
}

#[tokio::test]
async fn expired_token_ends_its_stream() {
    let is_known = Arc::new(AtomicBool::new(true));
    let streams = Streams::with(required(tokens(is_known))).await;
    let token = token(AUDIENCE, 3);
    let headers = [
        ("weir-filters", r#"{"weir": {"namespace": "shop"}}"#),
        ("x-weir-token", &token),
    ];
    let mut stream = Stream::open(streams.connect().await, &headers)
        .await
        .unwrap();
    stream.subscribe(CDS, &[]).await;
    assert_eq!(stream.names().await, [V1, V2]);
    let status = timeout(Duration::from_secs(10), end(&mut stream))
        .await
        .unwrap();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("has expired"), "{status}");
}

/// The API server refuses a token that it has accepted, for example because its pod was deleted.
#[tokio::test(start_paused = true)]
async fn revoked_token_ends_within_a_minute() {
    let is_known = Arc::new(AtomicBool::new(true));
    let tokens = tokens(is_known.clone());
    let session = tokens::TokenSession::new(tokens.clone(), &token(AUDIENCE, 3_600));
    let ended = session.ended();
    tokio::pin!(ended);
    let early = timeout(Duration::from_secs(600), &mut ended).await;
    assert!(early.is_err(), "{early:?}");
    is_known.store(false, Ordering::SeqCst);
    let start = Instant::now();
    let why = ended.await;
    assert!(why.contains("refuses the token"), "{why}");
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn asked_names_have_a_limit() {
    let streams = Streams::start().await;
    let unharmed = streams.open().await;
    let mut stream = streams.open().await;
    for first in 0..25 {
        let names: Vec<String> = (0..40_000).map(|it| format!("{first}-{it}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        stream.subscribe(CDS, &names).await;
        let answered = stream.next().await.unwrap();
        assert!(answered.removed_resources.len() <= 1_024);
        stream.answer(&answered, None).await;
    }
    let names: Vec<&str> = vec!["x"; 60_000];
    stream.subscribe(CDS, &names).await;
    assert_eq!(end(&mut stream).await.code(), Code::InvalidArgument);
    let mut unharmed = unharmed;
    unharmed.subscribe(CDS, &[]).await;
    assert_eq!(unharmed.names().await, [V1, V2]);
}

#[tokio::test]
async fn large_request_ends_its_stream() {
    let streams = Streams::start().await;
    let mut stream = streams.open().await;
    let name = "x".repeat(3 << 20);
    stream.subscribe(CDS, &[&name]).await;
    assert_eq!(end(&mut stream).await.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn refusals_are_counted() {
    let streams = Streams::start().await;
    let mut stream = streams.open().await;
    stream.subscribe(CDS, &[]).await;
    for expected in [&[V1, V2][..], &[V1], &[V2]] {
        let response = stream.next().await.unwrap();
        let names: Vec<_> = response.resources.iter().map(|it| &it.name).collect();
        assert_eq!(names, expected);
        stream.answer(&response, Some("no")).await;
    }
    streams
        .wait_for_metric("weir_ads_nacks_total{type=\"cds\"} 3")
        .await;
    let mut garbage = request(CDS);
    garbage.response_nonce = "\u{1}".repeat(10_000);
    stream.send(garbage).await;
    stream.subscribe(CDS, &[V1]).await;
    assert_eq!(stream.names().await, [V1]);
}

/// A connection with a preface of HTTP/2 and garbage after it.
#[tokio::test]
async fn garbage_frames_end_the_connection() {
    let streams = Streams::start().await;
    let mut client = tokio::net::TcpStream::connect(streams.address)
        .await
        .unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    client.write_all(preface).await.unwrap();
    client.write_all(&[0xff; 1_000]).await.unwrap();
    let mut read = Vec::new();
    let _ = client.read_to_end(&mut read).await;
    let mut unharmed = streams.open().await;
    unharmed.subscribe(CDS, &[]).await;
    assert_eq!(unharmed.names().await, [V1, V2]);
}
