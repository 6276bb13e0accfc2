//! Holds 10,000 ADS streams, each on a connection of its own, as 10,000 Envoys do.
//!
//! The clients write fixed frames of HTTP/2, so that they need little memory.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use weir_tests::Plane;
use weir_tests::delta_client::{CDS, field};

/// The number of streams.
const STREAMS: usize = 10_000;
/// The most memory of the control plane for these streams, in KiB. The measured value is an eighth lower. Of the 60 KiB of
/// a stream, about half are buffers that the HTTP/2 library keeps for each connection: 16 KiB to write, 8 KiB to read, and
/// 4 KiB for compressed headers.
const MEMORY: u64 = 680 << 10;
/// The size of an Envoy's first request.
const NODE: usize = 50_000;
const PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// Returns a frame (RFC 9113, 4.1) of the stream `number`.
fn frame(kind: u8, flags: u8, number: u8, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [size[1], size[2], size[3], kind, flags, 0, 0, 0, number];
    [&head[..], payload].concat()
}

/// Returns a header field that the peer must not index (RFC 7541, 6.2.2).
fn header(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        assert!(text.len() < 127);
        bytes.push(u8::try_from(text.len()).unwrap());
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// Returns the first bytes of a client: the request for a stream, and the subscription to all clusters.
fn opening(number: usize) -> Vec<u8> {
    let headers = [
        header(":method", "POST"),
        header(":scheme", "http"),
        header(":path", PATH),
        header(":authority", "weir"),
        header("content-type", "application/grpc"),
        header("te", "trailers"),
        header("weir-filters", r#"{"weir": {"namespace": "shop"}}"#),
    ];
    // The field `metadata` of a node is what makes it large.
    let node = [
        field(1, format!("envoy-{number}").as_bytes()),
        field(3, &[0; NODE]),
    ];
    let request = [field(1, &node.concat()), field(2, CDS.as_bytes())].concat();
    let size = u32::try_from(request.len()).unwrap().to_be_bytes();
    let message = [&[0][..], &size, &request].concat();
    let data = message
        .chunks(16_000)
        .flat_map(|chunk| frame(0, 0, 1, chunk));
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(1, 4, 1, &headers.concat()));
    bytes.extend(data);
    bytes
}

/// Reads the next frame, and answers it if it is a ping. Returns its payload.
async fn read_frame(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = [0; 9];
    client.read_exact(&mut head).await?;
    let [a, b, c, kind, flags, ..] = head;
    let size = [0, a, b, c].map(usize::from);
    let size = size.into_iter().fold(0, |sum, byte| sum << 8 | byte);
    let mut payload = vec![0; size];
    client.read_exact(&mut payload).await?;
    if kind == 6 && flags == 0 {
        client.write_all(&frame(6, 1, 0, &payload)).await?;
    }
    Ok(payload)
}

/// Opens a stream, and waits until it has the cluster of the plan.
async fn hold(address: SocketAddr, number: usize) -> JoinHandle<()> {
    let mut client = TcpStream::connect(address).await.expect("a connection");
    client.write_all(&opening(number)).await.expect("written");
    let name = b"v1.shop.svc.cluster.local:80";
    let has_name = |payload: &[u8]| payload.windows(name.len()).any(|it| it == name);
    while !has_name(&read_frame(&mut client).await.expect("a frame")) {}
    tokio::spawn(async move { while read_frame(&mut client).await.is_ok() {} })
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_need_little_memory() {
    let services: String = ["web", "v1"]
        .map(|name| {
            format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
                 spec: {{clusterIP: 10.0.0.1, ports: [{{port: 80}}]}}\n"
            )
        })
        .concat();
    let split = "---
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: {name: web, namespace: shop}
spec: {service: web, backends: [{service: v1, weight: 1}]}
";
    let plane = Plane::start_with(
        &["--max-connections", "12000"],
        &[("shop.yaml", &(services + split))],
    );
    let first = hold(plane.listen, 0).await;
    let before = plane.memory();
    let mut held = vec![first];
    while held.len() < STREAMS {
        let numbers = held.len()..STREAMS.min(held.len() + 100);
        let tasks: Vec<_> = numbers
            .map(|it| tokio::spawn(hold(plane.listen, it)))
            .collect();
        for task in tasks {
            held.push(task.await.expect("held"));
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let count = plane.metric("weir_ads_streams").await;
    let memory = plane.memory();
    println!("{count} streams: {before} KiB before, {memory} KiB after");
    assert_eq!(count, 10_000.0);
    assert!(memory < MEMORY, "{memory} KiB");
}
