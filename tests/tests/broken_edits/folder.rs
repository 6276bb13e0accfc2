//! With a folder of manifests, the control plane serves the last valid form of an object until the object is valid
//! again or deleted.

use std::time::{Duration, Instant};

use weir_tests::Plane;

use super::edits::{EDITS, Edit, FILES, SPLIT, Serves, text};
use super::scene::Scene;

/// Long enough for the control plane to read an edit, log it and serve it.
const SETTLED: Duration = Duration::from_millis(250);

fn write(plane: &Plane, file: &str, text: Option<&str>) {
    match text {
        Some(text) => plane.rename_into_place(file, text),
        None => std::fs::remove_file(plane.path(file)).expect("deleted"),
    }
}

/// Waits up to five seconds until the log contains the expected words after position `from`. The error contains the log
/// after this position.
async fn wait_for_log(plane: &Plane, from: usize, edit: &Edit) -> Result<(), String> {
    let start = Instant::now();
    while !plane.log()[from..].contains(edit.log_words) {
        if start.elapsed() > Duration::from_secs(5) {
            let log = &plane.log()[from..];
            return Err(format!(
                "{}: {:?} is not in the log:\n{log}",
                edit.name, edit.log_words
            ));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_edit_in_folder_keeps_traffic() {
    let plane = Plane::start(&FILES);
    let scene = Scene::start(plane.listen).await;
    let mut requests = scene.hold(SETTLED).await;
    let mut missing = Vec::new();
    for edit in &EDITS {
        println!("{}", edit.name);
        let from = plane.log().len();
        write(&plane, edit.file, edit.text().as_deref());
        match edit.serves {
            Serves::Before | Serves::BeforeSilently => {
                if edit.serves == Serves::Before {
                    missing.extend(wait_for_log(&plane, from, edit).await.err());
                }
                requests += scene.hold(SETTLED).await;
            }
            Serves::Moved { host, to } => scene.until(host, to).await,
        }
        // Replace the broken object by a valid one, which swaps the weights. Then restore the original file.
        if edit.file == "split.yaml" && edit.serves == Serves::Before {
            let mended = SPLIT.replace("web-v1", "web-v3");
            let mended = mended
                .replace("web-v2", "web-v1")
                .replace("web-v3", "web-v2");
            write(&plane, edit.file, Some(&mended));
            scene.until("web", "v1").await;
            write(&plane, edit.file, Some(text(edit.file)));
            scene.until("web", "v2").await;
        } else {
            write(&plane, edit.file, Some(text(edit.file)));
            let moved = match edit.serves {
                Serves::Moved { host, .. } => host,
                Serves::Before | Serves::BeforeSilently => "web",
            };
            scene.until(moved, "v2").await;
        }
        requests += scene.hold(Duration::from_millis(50)).await;
    }
    println!(
        "{} edits, {requests} requests, 0 to a wrong backend",
        EDITS.len()
    );
    scene.stop().await;
}
