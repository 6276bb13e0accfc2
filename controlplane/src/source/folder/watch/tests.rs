use std::fs::File;
use std::io::Write;
use std::thread;

use super::*;

/// Generous for a busy machine, and less than it takes to find a change without an event.
const AT_ONCE: Duration = Duration::from_millis(1500);

/// Calls `act` beside a watched folder and gives what is in force after the next change.
fn after(watched: &mut Watched, act: impl FnOnce() + Send) -> (Vec<String>, Duration) {
    thread::scope(|scope| {
        let acted = scope.spawn(|| {
            act();
            Instant::now()
        });
        let folder = watched.changed();
        let names = folder
            .objects()
            .iter()
            .map(|it| it.name().to_owned())
            .collect();
        let now = Instant::now();
        (names, now - acted.join().unwrap())
    })
}

fn service(name: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n")
}

#[test]
fn changes_are_seen_when_they_are_complete() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("a.yaml"), service("a")).unwrap();
    let mut watched = Watched::new(Folder::open(dir.path(), false).unwrap());
    assert_eq!(watched.changed().objects().len(), 1);

    let (names, took) = after(&mut watched, || {
        fs::write(path("new"), service("renamed")).unwrap();
        fs::rename(path("new"), path("a.yaml")).unwrap();
    });
    assert_eq!(names, ["renamed"]);
    assert!(took < AT_ONCE, "{took:?}");

    let mut slow = File::create(path("a.yaml")).unwrap();
    slow.write_all(service("half").as_bytes()).unwrap();
    let (names, _) = after(&mut watched, || {
        fs::write(path("b.yaml"), service("b")).unwrap();
    });
    assert_eq!(names, ["renamed", "b"], "a.yaml is still open");
    let (names, took) = after(&mut watched, || {
        slow.write_all(b"---\n").unwrap();
        drop(slow);
    });
    assert_eq!(names, ["half", "b"]);
    assert!(took < AT_ONCE, "{took:?}");

    let (names, took) = after(&mut watched, || {
        fs::create_dir(path(".sub")).unwrap();
        fs::write(path(".sub/c.yaml"), service("c")).unwrap();
        fs::rename(path(".sub"), path("sub")).unwrap();
    });
    assert_eq!(names, ["half", "b", "c"]);
    assert!(took < AT_ONCE, "{took:?}");
    let (names, took) = after(&mut watched, || {
        fs::write(path("sub/c.yaml"), service("d")).unwrap();
    });
    assert_eq!(names, ["half", "b", "d"], "a new folder is watched");
    assert!(took < AT_ONCE, "{took:?}");

    let (names, took) = after(&mut watched, || {
        fs::remove_file(path("b.yaml")).unwrap();
    });
    assert_eq!(names, ["half", "d"]);
    assert!(took < AT_ONCE, "{took:?}");
}

#[test]
fn a_file_that_is_written_over_and_over_is_never_seen_half() {
    const TIMES: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.yaml");
    fs::write(&path, service("n0")).unwrap();
    let mut watched = Watched::new(Folder::open(dir.path(), true).unwrap());
    watched.changed();
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
            let mut objects = watched.changed().objects().iter();
            let name = objects.next().expect("a state half written").name();
            if name == format!("n{TIMES}") {
                break;
            }
        }
    });
}
