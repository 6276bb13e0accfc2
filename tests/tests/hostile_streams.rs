//! Clients with a valid scope do harm on their streams: they ask for a million names, answer with garbage, refuse
//! everything, never answer, or read nothing. The memory of the control plane stays within the limit of the shipped
//! Deployment, and an honest stream gets changes of endpoints within a second.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use weir_tests::Plane;
use weir_tests::delta_client::{CDS, DeltaRequest, DeltaStream, ECDS, EDS};

/// The duration of the attacks.
const DURING: Duration = Duration::from_secs(12);
/// The streams of each kind of attack. All attackers together have about as many as one ServiceAccount may have.
const STREAMS: usize = 12;
/// The Services in the namespace of the attackers, and the endpoints of each.
const SERVICES: [usize; 2] = [200, 40];
/// The names in one request. A request with twice as many is too large.
const NAMES: usize = 30_000;
/// Time between two requests of one stream. The attacks must not use all CPU time of a small machine, because then
/// every program is slow.
const PAUSE: Duration = Duration::from_millis(50);
const SOON: Duration = Duration::from_secs(1);

const EVIL: &str = r#"{"weir": {"namespace": "evil"}}"#;
const GOOD: &str = r#"{"weir": {"namespace": "good"}}"#;

/// Returns a split of the Service `web` between these Services, whose endpoints have these addresses.
fn manifest(namespace: &str, services: &[(String, Vec<String>)]) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: web, namespace: {namespace} }}\nspec: {{ ports: [{{ port: 80 }}] }}\n"
    );
    let mut backends = Vec::new();
    for (name, addresses) in services {
        let endpoints: Vec<_> = addresses
            .iter()
            .map(|it| format!("{{ addresses: [{it}] }}"))
            .collect();
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: {namespace} }}\n\
             spec: {{ selector: {{ app: {name} }}, ports: [{{ port: 80 }}] }}\n\
             ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{ name: {name}, namespace: {namespace}, labels: {{ kubernetes.io/service-name: {name} }} }}\n\
             addressType: IPv4\nports: [{{ name: '', port: 80 }}]\nendpoints: [{}]\n",
            endpoints.join(", ")
        );
        backends.push(format!("{{ service: {name}, weight: 1 }}"));
    }
    // A TrafficSplit has a limit of backends.
    for (number, backends) in backends.chunks(50).enumerate() {
        let _ = write!(
            text,
            "---\napiVersion: split.smi-spec.io/v1alpha4\nkind: TrafficSplit\n\
             metadata: {{ name: split{number}, namespace: {namespace} }}\n\
             spec: {{ service: {}, backends: [{}] }}\n",
            if number == 0 {
                "web".to_owned()
            } else {
                format!("s{number}")
            },
            backends.join(", ")
        );
    }
    text
}

fn evil() -> String {
    let [services, endpoints] = SERVICES;
    let addresses = (0..endpoints).map(|it| format!("10.1.0.{it}"));
    let addresses: Vec<_> = addresses.collect();
    let services: Vec<_> = (0..services)
        .map(|it| (format!("s{it}"), addresses.clone()))
        .collect();
    manifest("evil", &services)
}

/// The only endpoint of the honest stream's cluster after this number of changes.
fn address(change: usize) -> String {
    format!("10.0.{}.{}", change / 200, change % 200)
}

fn good(change: usize) -> String {
    manifest("good", &[("v1".to_owned(), vec![address(change)])])
}

/// Returns encoded requests for a million names.
fn million() -> Vec<Vec<u8>> {
    let request = |prefix: usize| {
        let names = (0..NAMES).map(|it| format!("{prefix}-{it}"));
        let names: Vec<_> = names.collect();
        let request = DeltaRequest {
            kind: [CDS, EDS, ECDS][prefix % 3],
            subscribe: &names,
            ..DeltaRequest::default()
        };
        request.encode()
    };
    (0..1_000_000_usize.div_ceil(NAMES)).map(request).collect()
}

/// The names of the clusters of the attackers.
fn own_names() -> Vec<String> {
    let names = (0..SERVICES[0]).map(|it| format!("s{it}.evil.svc.cluster.local:80"));
    names.collect()
}

#[derive(Clone, Copy, Debug)]
enum Attack {
    MillionNames,
    GarbageNonces,
    NeverAnswer,
    RefuseAll,
    ReadNothing,
}

/// What the attackers have done.
#[derive(Debug, Default)]
struct Done {
    streams: AtomicU64,
    names: AtomicU64,
    requests: AtomicU64,
    responses: AtomicU64,
}

struct Attacker {
    stream: DeltaStream,
    million: Arc<Vec<Vec<u8>>>,
    done: Arc<Done>,
}

impl Attacker {
    /// Sends a request. Returns None if the stream has ended.
    async fn send(&mut self, request: DeltaRequest<'_>) -> Option<()> {
        self.done.requests.fetch_add(1, Ordering::Relaxed);
        self.stream.send(request).await.then_some(())
    }

    async fn subscribe(&mut self, kind: &str, subscribe: &[String]) -> Option<()> {
        let request = DeltaRequest {
            kind,
            subscribe,
            ..DeltaRequest::default()
        };
        self.send(request).await
    }

    async fn subscribe_all(&mut self) -> Option<()> {
        self.subscribe(CDS, &[]).await?;
        self.subscribe(EDS, &own_names()).await?;
        self.subscribe(ECDS, &["weir".to_owned()]).await
    }

    /// Reads what comes within a moment. Returns None if the stream has ended.
    async fn read(&mut self) -> Option<Vec<(String, String)>> {
        let mut answered = Vec::new();
        while let Ok(response) = timeout(Duration::from_millis(5), self.stream.next()).await {
            let response = response?;
            self.done.responses.fetch_add(1, Ordering::Relaxed);
            answered.push((response.kind, response.nonce));
        }
        Some(answered)
    }

    /// Attacks until the stream ends.
    async fn run(mut self, attack: Attack) -> Option<()> {
        match attack {
            Attack::MillionNames => {
                for request in self.million.clone().iter().cycle() {
                    self.stream.send_encoded(request).await.then_some(())?;
                    self.done.names.fetch_add(NAMES as u64, Ordering::Relaxed);
                    self.read().await?;
                    sleep(10 * PAUSE).await;
                }
            }
            Attack::GarbageNonces => {
                self.subscribe_all().await?;
                loop {
                    let request = DeltaRequest {
                        kind: CDS,
                        nonce: &"\u{1}".repeat(10_000),
                        error: Some("garbage"),
                        ..DeltaRequest::default()
                    };
                    self.send(request).await?;
                    self.read().await?;
                    sleep(PAUSE).await;
                }
            }
            Attack::NeverAnswer => loop {
                self.subscribe_all().await?;
                self.read().await?;
                sleep(PAUSE).await;
            },
            Attack::RefuseAll => {
                self.subscribe_all().await?;
                let why = "no".repeat(20_000);
                loop {
                    for (kind, nonce) in self.read().await? {
                        let request = DeltaRequest {
                            kind: &kind,
                            nonce: &nonce,
                            error: Some(&why),
                            ..DeltaRequest::default()
                        };
                        self.send(request).await?;
                    }
                    sleep(PAUSE).await;
                }
            }
            Attack::ReadNothing => loop {
                self.subscribe_all().await?;
                sleep(PAUSE).await;
            },
        }
        Some(())
    }
}

/// Attacks in threads of its own, so that the attackers do not delay the honest stream in this process.
fn attack(address: SocketAddr, done: &Arc<Done>) {
    const ATTACKS: [Attack; 5] = [
        Attack::MillionNames,
        Attack::GarbageNonces,
        Attack::NeverAnswer,
        Attack::RefuseAll,
        Attack::ReadNothing,
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let million = Arc::new(million());
    runtime.expect("a runtime").block_on(async {
        let mut crowd = JoinSet::new();
        for (number, attack) in ATTACKS.into_iter().cycle().take(5 * STREAMS).enumerate() {
            let (million, done) = (million.clone(), done.clone());
            crowd.spawn(async move {
                loop {
                    let node = format!("evil-{number}");
                    if let Some(stream) = DeltaStream::open(address, &node, EVIL).await {
                        done.streams.fetch_add(1, Ordering::Relaxed);
                        let attacker = Attacker {
                            stream,
                            million: million.clone(),
                            done: done.clone(),
                        };
                        attacker.run(attack).await;
                    }
                    sleep(Duration::from_millis(20)).await;
                }
            });
        }
        sleep(DURING).await;
        crowd.shutdown().await;
    });
}

/// The honest stream, which accepts every response.
struct Honest(DeltaStream);

impl Honest {
    async fn open(address: SocketAddr) -> Honest {
        let stream = DeltaStream::open(address, "good", GOOD).await;
        let mut stream = stream.expect("a stream");
        let names = ["v1.good.svc.cluster.local:80".to_owned()];
        for (kind, subscribe) in [(CDS, &[] as &[String]), (EDS, &names)] {
            let request = DeltaRequest {
                kind,
                subscribe,
                ..DeltaRequest::default()
            };
            assert!(stream.send(request).await);
        }
        Honest(stream)
    }

    /// Waits for endpoints with this address.
    async fn until(&mut self, address: &str) {
        loop {
            let response = self.0.next().await.expect("the honest stream goes on");
            assert!(self.0.accept(&response).await);
            if response.kind == EDS && response.contains(address.as_bytes()) {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_streams_harm_no_other_stream() {
    let (evil, first) = (evil(), good(0));
    let plane = Plane::start_in_shipped_memory(&[("evil.yaml", &evil), ("good.yaml", &first)]);
    plane.wait_until_ready().await;
    let mut honest = Honest::open(plane.listen).await;
    honest.until(&address(0)).await;
    let before = plane.memory();

    let (done, over) = (Arc::<Done>::default(), Arc::new(AtomicBool::new(false)));
    let attack = std::thread::spawn({
        let (address, done, over) = (plane.listen, done.clone(), over.clone());
        move || {
            attack(address, &done);
            over.store(true, Ordering::Relaxed);
        }
    });
    let mut delays = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let change = delays.len() + 1;
        plane.rename_into_place("good.yaml", &good(change));
        let start = Instant::now();
        let changed = timeout(10 * SOON, honest.until(&address(change))).await;
        assert!(changed.is_ok(), "change {change} does not arrive: {done:?}");
        delays.push(start.elapsed());
        sleep(Duration::from_millis(100)).await;
    }
    attack.join().expect("the attacks");

    delays.sort();
    let [median, slowest] = [delays[delays.len() / 2], delays[delays.len() - 1]];
    println!(
        "{done:?}; memory {before} KiB before, at most {} KiB; {} changes of endpoints at the honest stream: p50 {median:?}, \
         max {slowest:?}",
        plane.peak_memory(),
        delays.len(),
    );
    plane.assert_within_shipped_memory();
    assert!(slowest < SOON, "{slowest:?}");
    assert!(done.names.load(Ordering::Relaxed) > 1_000_000, "{done:?}");
    assert!(done.responses.load(Ordering::Relaxed) > 100, "{done:?}");
}
