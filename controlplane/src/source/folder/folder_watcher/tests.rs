use std::fs::File;
use std::io::Write;
use std::thread;

use super::*;

/// Longest time until an event leads to a change. A listing every two seconds also finds the change, so a longer time
/// would not prove that the event was seen.
const AT_ONCE: Duration = Duration::from_millis(1500);

/// Calls `act` in another thread and waits for the next change. Returns the names of the objects in force, and the time
/// since the end of `act`.
fn after(watcher: &mut FolderWatcher, act: impl FnOnce() + Send) -> (Vec<String>, Duration) {
    thread::scope(|scope| {
        let done = scope.spawn(|| {
            act();
            Instant::now()
        });
        let folder = watcher.changed();
        let names = folder
            .objects()
            .iter()
            .map(|it| it.name().to_owned())
            .collect();
        let now = Instant::now();
        (names, now - done.join().unwrap())
    })
}

fn service(name: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n")
}

#[test]
fn only_complete_changes_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("a.yaml"), service("a")).unwrap();
    let mut watcher = FolderWatcher::new(Folder::open(dir.path(), false).unwrap());
    assert_eq!(watcher.changed().objects().len(), 1);

    let (names, took) = after(&mut watcher, || {
        fs::write(path("new"), service("renamed")).unwrap();
        fs::rename(path("new"), path("a.yaml")).unwrap();
    });
    assert_eq!(names, ["renamed"]);
    assert!(took < AT_ONCE, "{took:?}");

    let mut slow = File::create(path("a.yaml")).unwrap();
    slow.write_all(service("half").as_bytes()).unwrap();
    let (names, _) = after(&mut watcher, || {
        fs::write(path("b.yaml"), service("b")).unwrap();
    });
    assert_eq!(names, ["renamed", "b"], "a.yaml is still open");
    let (names, took) = after(&mut watcher, || {
        slow.write_all(b"---\n").unwrap();
        drop(slow);
    });
    assert_eq!(names, ["half", "b"]);
    assert!(took < AT_ONCE, "{took:?}");

    let (names, took) = after(&mut watcher, || {
        fs::create_dir(path(".sub")).unwrap();
        fs::write(path(".sub/c.yaml"), service("c")).unwrap();
        fs::rename(path(".sub"), path("sub")).unwrap();
    });
    assert_eq!(names, ["half", "b", "c"]);
    assert!(took < AT_ONCE, "{took:?}");
    let (names, took) = after(&mut watcher, || {
        fs::write(path("sub/c.yaml"), service("d")).unwrap();
    });
    assert_eq!(names, ["half", "b", "d"], "a new folder is watched");
    assert!(took < AT_ONCE, "{took:?}");

    let (names, took) = after(&mut watcher, || {
        fs::remove_file(path("b.yaml")).unwrap();
    });
    assert_eq!(names, ["half", "d"]);
    assert!(took < AT_ONCE, "{took:?}");
}

#[test]
fn half_written_file_is_never_read() {
    const TIMES: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.yaml");
    fs::write(&path, service("n0")).unwrap();
    let mut watcher = FolderWatcher::new(Folder::open(dir.path(), true).unwrap());
    watcher.changed();
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=TIMES {
                let mut file = File::create(&path).unwrap();
                thread::sleep(Duration::from_micros(500));
                let text = service(&format!("n{number}"));
                file.write_all(text.as_bytes()).unwrap();
                drop(file);
                thread::sleep(Duration::from_micros(100 * (number % 40) as u64));
            }
        });
        loop {
            let mut objects = watcher.changed().objects().iter();
            let name = objects.next().expect("a complete file").name();
            if name == format!("n{TIMES}") {
                break;
            }
        }
    });
}
