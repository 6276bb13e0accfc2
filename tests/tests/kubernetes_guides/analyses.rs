//! Releases with the other analyses of docs/flagger.md under load: an A/B test, a mirror and affinity.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::flagger::page;
use super::installed::Installed;
use super::podinfo::{Answer, canary_counts, load};

/// Releases `v2` in the namespace with the name of the analysis, while the client's pod sends requests.
pub fn release(weir: &Installed, analysis: &str, pod: &str) {
    let script = format!(
        "kubectl apply -n test -f deploy/flagger/canary-gatewayapi.yaml\n\
         kubectl wait -n test canary/podinfo --for=condition=Promoted --timeout=2m\n{}",
        page(|block| block.contains("analysis-ab.yaml"))
    );
    let script = script
        .replace("-n test", &format!("-n {analysis}"))
        .replace("analysis-ab.yaml", &format!("analysis-{analysis}.yaml"));
    let is_over = AtomicBool::new(false);
    let (plain, marked, copies) = std::thread::scope(|scope| {
        let plain = scope.spawn(|| load(weir, analysis, pod, &["-b", ""], &is_over));
        let marked = scope.spawn(|| match analysis {
            "ab" => load(weir, analysis, pod, &["-H", "x-canary: yes"], &is_over),
            _ => Vec::new(),
        });
        let copies = scope.spawn(|| canary_counts(weir, analysis, pod, &is_over));
        let (is_good, text) = weir.bash(&script);
        is_over.store(true, Ordering::Relaxed);
        let join = (plain.join(), marked.join(), copies.join());
        let log = || {
            let pods = weir.pods("flagger-system", "app=flagger");
            weir.cluster.logs("flagger-system", &pods[0], "flagger")
        };
        assert!(is_good, "{script}\n{text}\n{}", log());
        let (plain, marked, copies) = join;
        (
            plain.expect("a load"),
            marked.expect("a load"),
            copies.expect("the counts"),
        )
    });
    let count = plain.len() + marked.len();
    let failed: Vec<&str> = plain
        .iter()
        .chain(&marked)
        .map(|it| it.text.as_str())
        .filter(|it| !it.ends_with(" 200"))
        .collect();
    println!("{analysis}: {count} requests, {} failed", failed.len());
    assert!(failed.is_empty(), "{analysis}: {failed:?}");
    let first = |answers: &[Answer]| {
        let first = answers.iter().find(|it| it.text == "v2 200");
        first.expect("an answer of v2").at
    };
    let first_plain = first(&plain);
    match analysis {
        "ab" => {
            let earlier = first_plain.duration_since(first(&marked));
            println!("ab: requests with the header reached the canary {earlier:?} earlier");
            assert!(earlier > Duration::from_secs(15), "{earlier:?}");
        }
        "mirror" => {
            let before = copies.iter().take_while(|(at, _)| *at < first_plain);
            let copies = before.map(|(_, count)| *count).max().unwrap_or_default();
            println!("mirror: {copies} copies before the canary answers clients");
            assert!(copies >= 300, "{copies} copies");
        }
        _ => clients_stay(&plain),
    }
}

/// A client that the canary has answered gets no later answer of the primary's old version.
fn clients_stay(answers: &[Answer]) {
    let mut mixed = 0;
    for client in answers.chunk_by(|one, other| one.client == other.client) {
        let is_new = |it: &Answer| it.text == "v2 200";
        let Some(first) = client.iter().position(is_new) else {
            continue;
        };
        assert!(
            client[first..].iter().all(is_new),
            "a client left the canary"
        );
        mixed += usize::from(first > 0);
    }
    println!("affinity: {mixed} clients came to the canary and stayed");
    assert!(mixed >= 5, "{mixed} clients");
}
