//! An Envoy with the output of `weir bootstrap` starts, or restarts hot, under load. All requests belong to v2: a request
//! at v1 or at the ordinary route, which answers 404, is against the weights.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use weir_tests::{Connection, Envoy, dist, free_port, typed};

use crate::pods::Scene;

const WEIGHTS: [(&str, u64); 2] = [("v1", 0), ("v2", 100)];
/// The clients that keep a connection, and the clients with a new connection for each request.
const CLIENTS: [usize; 2] = [10, 10];
/// Time between two requests of one client: all clients send 1,000 requests in a second.
const PACE: Duration = Duration::from_millis(20);
/// Requests in a second that a busy machine must reach.
const RATE: f64 = 500.0;
const ROUNDS: usize = 3;
/// The old Envoy ends its connections within one second, and itself after two seconds.
const FLAGS: [&str; 4] = ["--drain-time-s", "1", "--parent-shutdown-time-s", "2"];

/// What the clients have counted since the listener opened.
#[derive(Default)]
struct Counts {
    requests: usize,
    connections: usize,
    /// Kept connections that Envoy closed between two requests.
    closed_idle: usize,
    /// Answers with `connection: close`.
    told_to_close: usize,
    slowest: Duration,
    /// The time of the first answer, and of the last answer.
    times: Option<[Instant; 2]>,
    /// Everything but 200 of v2: refused connections, requests without an answer, and other answers.
    wrong: Vec<String>,
}

/// Clients that connect as soon as the listener is open.
struct Clients {
    counts: Arc<Mutex<Counts>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    fn start(address: SocketAddr) -> Clients {
        let counts = Arc::<Mutex<Counts>>::default();
        let mut tasks = Vec::new();
        for (keeps, number) in [true, false].into_iter().zip(CLIENTS) {
            for _ in 0..number {
                let client = Client {
                    address,
                    counts: counts.clone(),
                    kept: None,
                };
                tasks.push(tokio::spawn(client.run(keeps)));
            }
        }
        Clients { counts, tasks }
    }

    fn requests(&self) -> usize {
        self.counts.lock().expect("counts").requests
    }

    /// Waits for the first answer.
    async fn started(&self) {
        let start = Instant::now();
        while self.requests() == 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "no answer");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn stop(self) -> Counts {
        for task in self.tasks {
            assert!(!task.is_finished(), "{:?}", task.await);
            task.abort();
        }
        std::mem::take(&mut self.counts.lock().expect("counts"))
    }
}

struct Client {
    address: SocketAddr,
    counts: Arc<Mutex<Counts>>,
    kept: Option<Connection>,
}

impl Client {
    async fn run(mut self, keeps: bool) {
        // Before the listener is open, the system refuses connections.
        while std::net::TcpStream::connect(self.address).is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            pace.tick().await;
            let sent = Instant::now();
            let wrong = self.ask(keeps).await.err();
            let mut counts = self.counts.lock().expect("counts");
            let now = Instant::now();
            counts.requests += 1;
            counts.slowest = counts.slowest.max(now - sent);
            counts.times = Some([counts.times.map_or(now, |it| it[0]), now]);
            counts.wrong.extend(wrong);
        }
    }

    /// Sends one request. A client opens another connection if the kept one was closed before the request.
    async fn ask(&mut self, keeps: bool) -> Result<(), String> {
        let mut connection = match self.kept.take() {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        if !connection.is_open().await {
            self.counts.lock().expect("counts").closed_idle += 1;
            connection = self.connect().await?;
        }
        let answer = connection.try_get("web", "/").await;
        let answer = answer.ok_or("no answer")?;
        let is_told = answer.header("connection") == "close";
        self.counts.lock().expect("counts").told_to_close += usize::from(is_told);
        if keeps && !is_told {
            self.kept = Some(connection);
        }
        match (answer.status.as_u16(), answer.header("identity")) {
            (200, "v2") => Ok(()),
            _ => Err(format!("{answer:?}")),
        }
    }

    async fn connect(&self) -> Result<Connection, String> {
        self.counts.lock().expect("counts").connections += 1;
        let stream = tokio::net::TcpStream::connect(self.address).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let connection = Connection::over(stream).await;
        connection.ok_or_else(|| "closed at once".into())
    }
}

impl Counts {
    /// Prints the counts. Panics if a request failed or went against the weights.
    fn check(&self, what: &str, envoy: &Envoy) {
        let [first, last] = self.times.expect("answers");
        let rate = self.requests as f64 / (last - first).as_secs_f64();
        println!(
            "{what}: {} requests, {rate:.0} in a second, on {} connections; slowest {:?}; {} connections closed idle, {} \
             by `connection: close`; {} failed or against the weights",
            self.requests,
            self.connections,
            self.slowest,
            self.closed_idle,
            self.told_to_close,
            self.wrong.len()
        );
        let some: Vec<_> = self.wrong.iter().take(3).collect();
        assert!(self.wrong.is_empty(), "{what}: {some:?}\n{}", envoy.log());
        assert!(rate > RATE, "{what}: {rate}");
    }
}

/// Returns the output of `weir bootstrap` for this control plane, with a listener at this port.
fn printed(plane: SocketAddr, port: u16) -> String {
    let mut command = typed(dist("weir"));
    command.args(["bootstrap", "--namespace", "default"]);
    command.args(["--control-plane", &plane.to_string()]);
    let output = command.output().expect("weir bootstrap");
    assert!(output.status.success(), "{output:?}");
    let config = String::from_utf8(output.stdout).expect("text");
    let config = config.replace("port_value: 15001", &format!("port_value: {port}"));
    config.replace("port_value: 15000", "port_value: 0")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_start_follows_the_weights() {
    let scene = Scene::weighted(&WEIGHTS);
    for round in 1..=ROUNDS {
        let port = free_port();
        let clients = Clients::start(([127, 0, 0, 1], port).into());
        let start = Instant::now();
        let envoy = Envoy::start(&printed(scene.plane.listen, port), 2).await;
        println!("first start {round}: ready after {:?}", start.elapsed());
        clients.started().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let counts = clients.stop().await;
        counts.check(&format!("first start {round}"), &envoy);
        envoy.assert_no_traps().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_restart_follows_the_weights() {
    let scene = Scene::weighted(&WEIGHTS);
    let port = free_port();
    let config = printed(scene.plane.listen, port);
    let clients = Clients::start(([127, 0, 0, 1], port).into());
    let mut envoy = Envoy::start_with(&config, 2, &FLAGS).await;
    clients.started().await;
    for round in 1..=ROUNDS {
        let start = Instant::now();
        let next = envoy.hot_restart(&config, 2, &FLAGS).await;
        let ready = start.elapsed();
        while !envoy.process.has_ended() {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "the old Envoy runs\n{}",
                next.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        println!(
            "hot restart {round}: ready after {ready:?}, the old Envoy ended after {:?}",
            start.elapsed()
        );
        envoy = next;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let counts = clients.stop().await;
    counts.check("hot restarts", &envoy);
    envoy.assert_no_traps().await;
}
