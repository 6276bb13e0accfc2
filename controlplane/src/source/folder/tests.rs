use std::fs::File;
use std::os::unix::fs::symlink;
use std::time::Duration;

use tempfile::TempDir;

use super::file::{DOUBT, GRACE, SETTLE};
use super::*;

/// A folder on disk, and the time of the last scan.
struct Disk {
    _dir: TempDir,
    path: PathBuf,
    now: Instant,
}

impl Disk {
    fn new(files: &[(&str, &str)]) -> Disk {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk {
            path: dir.path().join("manifests"),
            _dir: dir,
            now: Instant::now(),
        };
        fs::create_dir(&disk.path).unwrap();
        for (name, text) in files {
            disk.write(name, text);
        }
        disk
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path.join(name)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path.join(from), self.path.join(to)).unwrap();
    }

    /// Opens the folder and reads all files.
    fn folder(&self) -> Folder {
        let mut folder = Folder::open(&self.path, false).unwrap();
        folder.read_all();
        folder
    }

    /// Scans the folder. `later` is the time since the previous scan, and `settled` are the files with an event.
    fn scan(&mut self, folder: &mut Folder, settled: &[&str], later: Duration) -> Scan {
        self.now += later;
        let settled = settled.iter().map(|name| self.path.join(name)).collect();
        let files = folder.read(folder.list(&settled), self.now);
        folder.apply(files, &EventsDuringRead::default(), self.now)
    }
}

const SOON: Duration = Duration::from_millis(5);

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n"
    )
}

fn names(folder: &Folder) -> Vec<&str> {
    folder
        .objects()
        .iter()
        .map(|object| object.name())
        .collect()
}

const BROKEN: &str = "kind: [";

#[test]
fn manifests_are_sorted_by_path() {
    let disk = Disk::new(&[
        ("b.yml", &service("b")),
        ("a/z.yaml", &service("z")),
        (
            "c.json",
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"c"}}"#,
        ),
        ("a.txt", &service("text")),
        (".a.yaml", &service("hidden")),
        (".git/x.yaml", &service("hidden")),
        ("d.yaml~", &service("backup")),
    ]);
    let folder = disk.folder();
    assert_eq!(names(&folder), ["z", "b", "c"]);
    assert_eq!(folder.unread(), None);
    let sources: Vec<PathBuf> = folder.objects().iter().map(|o| o.source().into()).collect();
    assert_eq!(sources[0], disk.path.join("a/z.yaml"));
}

#[test]
fn sources_keep_path_of_user() {
    let folder =
        |typed: &str, path: &str| source(Path::new(typed), Path::new("/x/dir"), Path::new(path));
    assert_eq!(folder("dir", "/x/dir/sub/a.yaml"), "dir/sub/a.yaml");
    assert_eq!(folder("./dir/", "/x/dir/a.yaml"), "./dir/a.yaml");
    assert_eq!(folder("../x/dir", "/x/dir"), "../x/dir");
}

#[test]
fn folder_can_be_one_file() {
    let disk = Disk::new(&[("a.yaml", &service("a")), ("b.yaml", &service("b"))]);
    let mut folder = Folder::open(&disk.path.join("a.yaml"), false).unwrap();
    folder.read_all();
    assert_eq!(names(&folder), ["a"]);
    assert!(Folder::open(&disk.path.join("c.yaml"), false).is_err());
}

#[test]
fn renamed_file_is_read_at_once() {
    let mut disk = Disk::new(&[("a.yaml", &service("a"))]);
    let mut folder = disk.folder();
    disk.write("new", &service("other"));
    disk.rename("new", "a.yaml");
    let scan = disk.scan(&mut folder, &["a.yaml"], SOON);
    assert!(scan.changed);
    assert_eq!(names(&folder), ["other"]);
    assert!(!disk.scan(&mut folder, &[], SOON).changed);
}

#[test]
fn unsettled_file_waits_for_its_event() {
    let mut disk = Disk::new(&[("a.yaml", &service("a")), ("b.yaml", &service("b"))]);
    let mut folder = disk.folder();
    disk.write("a.yaml", "");
    disk.write("c.yaml", "");
    disk.write("b.yaml", &service("other"));
    let scan = disk.scan(&mut folder, &["b.yaml"], SOON);
    assert_eq!(names(&folder), ["a", "other"], "only b.yaml has an event");
    assert_eq!(scan.due, Some(disk.now + SETTLE));

    disk.write("a.yaml", &service("longer"));
    disk.scan(&mut folder, &[], SETTLE);
    assert_eq!(names(&folder), ["a", "other"], "a.yaml has changed again");
    disk.scan(&mut folder, &[], SETTLE - SOON);
    assert_eq!(names(&folder), ["a", "other"]);
    disk.scan(&mut folder, &[], SOON);
    assert_eq!(
        names(&folder),
        ["longer", "other"],
        "a.yaml has not changed for long enough"
    );
    assert_eq!(disk.scan(&mut folder, &[], SOON).due, None);
}

#[test]
fn rewritten_file_waits_for_next_event() {
    let mut disk = Disk::new(&[("a.yaml", &service("a"))]);
    let mut folder = disk.folder();
    let a = BTreeSet::from([disk.path.join("a.yaml")]);
    disk.write("a.yaml", &service("half"));
    let files = folder.read(folder.list(&a), disk.now);
    let events = EventsDuringRead {
        written: a,
        opened: BTreeSet::new(),
    };
    let scan = folder.apply(files, &events, disk.now);
    assert_eq!(names(&folder), ["a"]);
    assert_eq!(scan.due, Some(disk.now + SETTLE));
    disk.write("a.yaml", &service("whole"));
    disk.scan(&mut folder, &["a.yaml"], SOON);
    assert_eq!(names(&folder), ["whole"]);
}

#[test]
fn file_opened_elsewhere_is_reread() {
    let mut disk = Disk::new(&[("a.yaml", &service("a")), ("b.yaml", &service("b"))]);
    let mut folder = disk.folder();
    let a = BTreeSet::from([disk.path.join("a.yaml")]);
    for (text, patience, left) in [
        (service("whole"), DOUBT, &["whole", "b"] as &[&str]),
        (String::new(), SETTLE, &["b"]),
    ] {
        let before = names(&folder).join(" ");
        disk.write("a.yaml", &text);
        let files = folder.read(folder.list(&a), disk.now);
        let events = EventsDuringRead {
            written: BTreeSet::new(),
            opened: a.clone(),
        };
        let scan = folder.apply(files, &events, disk.now);
        assert_eq!(scan.due, Some(disk.now + patience));
        assert_eq!(names(&folder).join(" "), before);
        disk.scan(&mut folder, &[], patience);
        assert_eq!(names(&folder), left);
    }
}

#[test]
fn renamed_folder_is_read_at_once() {
    let mut disk = Disk::new(&[("a.yaml", &service("a")), (".new/b.yaml", &service("b"))]);
    let mut folder = disk.folder();
    disk.rename(".new", "sub");
    let scan = disk.scan(&mut folder, &["sub"], SOON);
    assert_eq!(names(&folder), ["a", "b"]);
    assert!(scan.folders.contains_key(&disk.path.join("sub")));
}

#[test]
fn broken_file_keeps_its_objects() {
    let mut disk = Disk::new(&[("a.yaml", &service("a")), ("b.yaml", &service("b"))]);
    let mut folder = disk.folder();
    for (broken, says) in [
        (BROKEN.as_bytes(), "a.yaml: Unreadable: "),
        (b"\xff\xfe", "the file is not UTF-8 text at byte 0"),
    ] {
        fs::write(disk.path.join("a.yaml"), broken).unwrap();
        assert!(disk.scan(&mut folder, &["a.yaml"], SOON).changed);
        assert_eq!(names(&folder), ["a", "b"]);
        let problem = folder.problems().remove(0).to_string();
        assert!(problem.contains(says), "{problem}");
        assert_eq!(folder.problems().len(), 1);
    }
    disk.write("a.yaml", &service("mended"));
    disk.scan(&mut folder, &["a.yaml"], SOON);
    assert_eq!(names(&folder), ["mended", "b"]);
    assert_eq!(folder.problems(), []);
}

#[test]
fn too_large_file_is_not_opened() {
    let disk = Disk::new(&[("b.yaml", &service("b"))]);
    let file = File::create(disk.path.join("a.yaml")).unwrap();
    file.set_len(20 << 20).unwrap();
    let folder = disk.folder();
    let problem = folder.problems().remove(0).to_string();
    assert!(problem.contains("larger than 16 MiB"), "{problem}");
    assert_eq!(names(&folder), ["b"]);
}

#[test]
fn first_publication_needs_every_file() {
    let mut disk = Disk::new(&[("a.yaml", &service("a")), ("b.yaml", BROKEN)]);
    let mut folder = disk.folder();
    assert!(folder.unread().unwrap().contains("b.yaml: Unreadable"));
    // A broken file that was valid before does not delay the publication.
    disk.write("a.yaml", BROKEN);
    disk.scan(&mut folder, &["a.yaml"], SOON);
    disk.write("b.yaml", &service("b"));
    disk.scan(&mut folder, &["b.yaml"], SOON);
    assert_eq!(folder.unread(), None);
    assert_eq!(names(&folder), ["a", "b"]);
    // After the first publication, a broken new file does not delay later publications.
    disk.write("c.yaml", BROKEN);
    disk.scan(&mut folder, &["c.yaml"], SOON);
    assert_eq!(folder.unread(), None);
    assert_eq!(folder.problems().len(), 2);
}

#[test]
fn deleted_broken_file_is_forgotten() {
    let mut disk = Disk::new(&[("a.yaml", &service("a")), ("b.yaml", BROKEN)]);
    let mut folder = disk.folder();
    disk.remove("b.yaml");
    disk.scan(&mut folder, &[], SOON);
    assert_eq!(folder.unread(), None);
    assert_eq!(folder.problems(), []);
}

#[test]
fn objects_of_deleted_file_stay_briefly() {
    let mut disk = Disk::new(&[("a.yaml", &service("a")), ("b.yaml", &service("b"))]);
    let mut folder = disk.folder();
    disk.remove("a.yaml");
    let scan = disk.scan(&mut folder, &[], SOON);
    assert_eq!(scan.due, Some(disk.now + GRACE));
    assert_eq!(names(&folder), ["a", "b"]);
    assert!(disk.scan(&mut folder, &[], GRACE).changed);
    assert_eq!(names(&folder), ["b"]);
}

#[test]
fn editor_backup_rename_keeps_objects() {
    let mut disk = Disk::new(&[("a.yaml", &service("a")), ("b.yaml", &service("b"))]);
    let mut folder = disk.folder();
    disk.rename("a.yaml", "a.yaml~");
    disk.scan(&mut folder, &[], SOON);
    disk.write("a.yaml", "");
    disk.scan(&mut folder, &[], GRACE);
    assert_eq!(names(&folder), ["a", "b"]);
    disk.write("a.yaml", &service("edited"));
    disk.scan(&mut folder, &["a.yaml"], SOON);
    assert_eq!(names(&folder), ["edited", "b"]);
}

#[test]
fn renamed_file_never_counts_twice() {
    let mut disk = Disk::new(&[("a.yaml", &service("a")), ("b.yaml", &service("b"))]);
    let mut folder = disk.folder();
    disk.rename("a.yaml", "c.yaml");
    disk.scan(&mut folder, &["c.yaml"], SOON);
    assert_eq!(names(&folder), ["b", "a"]);
    disk.rename("c.yaml", "b.yaml");
    disk.scan(&mut folder, &["b.yaml"], SOON);
    assert_eq!(names(&folder), ["a"]);
}

#[test]
fn truncated_file_has_no_objects() {
    let mut disk = Disk::new(&[("a.yaml", &service("a")), ("b.yaml", &service("b"))]);
    let mut folder = disk.folder();
    disk.write("a.yaml", "");
    disk.scan(&mut folder, &["a.yaml"], SOON);
    assert_eq!(names(&folder), ["b"]);
    assert_eq!(folder.problems(), []);
}

/// Writes a version of a ConfigMap in the layout in which the kubelet mounts it.
fn config_map(disk: &Disk, version: &str, text: &str) {
    disk.write(&format!("..{version}/a.yaml"), text);
    symlink(format!("..{version}"), disk.path.join("..data_tmp")).unwrap();
    disk.rename("..data_tmp", "..data");
}

#[test]
fn swapped_config_map_is_read() {
    let mut disk = Disk::new(&[]);
    config_map(&disk, "one", &service("one"));
    symlink("..data/a.yaml", disk.path.join("a.yaml")).unwrap();
    let mut folder = disk.folder();
    assert_eq!(names(&folder), ["one"]);
    config_map(&disk, "two", &service("two"));
    disk.scan(&mut folder, &["..data"], SOON);
    assert_eq!(names(&folder), ["two"]);
}

#[test]
fn swapped_folder_link_is_read() {
    let mut disk = Disk::new(&[
        ("one/a.yaml", &service("one")),
        ("two/a.yaml", &service("two")),
    ]);
    let link = disk.path.join("link");
    symlink("one", &link).unwrap();
    let mut folder = Folder::open(&link, false).unwrap();
    folder.read_all();
    fs::remove_file(&link).unwrap();
    disk.scan(&mut folder, &[], GRACE);
    disk.scan(&mut folder, &[], GRACE);
    assert_eq!(names(&folder), ["one"], "the link does not exist now");
    assert_eq!(folder.problems().len(), 1);
    symlink("two", &link).unwrap();
    disk.scan(&mut folder, &[], SOON);
    assert_eq!(names(&folder), ["two"]);
    assert_eq!(folder.problems(), []);
}

#[test]
fn new_file_in_linked_folder_waits() {
    let mut disk = Disk::new(&[("dir/a.yaml", &service("a"))]);
    let link = disk.path.join("link");
    symlink("dir", &link).unwrap();
    let mut folder = Folder::open(&link, false).unwrap();
    folder.read_all();
    disk.write("dir/b.yaml", "");
    disk.write("dir/a.yaml", "");
    disk.scan(&mut folder, &[], SOON);
    assert_eq!(names(&folder), ["a"]);
    disk.write("dir/b.yaml", &service("b"));
    disk.scan(&mut folder, &["link/b.yaml"], SOON);
    assert_eq!(names(&folder), ["a", "b"]);
}

#[test]
fn links_in_a_circle_end() {
    let disk = Disk::new(&[("sub/a.yaml", &service("a"))]);
    symlink("..", disk.path.join("sub/up")).unwrap();
    symlink("nowhere.yaml", disk.path.join("dangling.yaml")).unwrap();
    symlink("self.yaml", disk.path.join("self.yaml")).unwrap();
    let folder = disk.folder();
    assert_eq!(names(&folder), ["a"]);
    assert_eq!(folder.problems().len(), 1, "only for self.yaml");
}

#[test]
fn empty_folder_needs_allow_empty() {
    let mut disk = Disk::new(&[]);
    let mut folder = disk.folder();
    assert!(folder.unread().unwrap().contains("contains no objects yet"));
    disk.write("a.yaml", &service("a"));
    disk.scan(&mut folder, &["a.yaml"], SOON);
    assert_eq!(folder.unread(), None);

    let disk = Disk::new(&[]);
    let mut folder = Folder::open(&disk.path, true).unwrap();
    folder.read_all();
    assert_eq!(folder.unread(), None);
}

#[test]
fn emptied_folder_keeps_objects() {
    for allow_empty in [false, true] {
        let mut disk = Disk::new(&[("a.yaml", &service("a"))]);
        let mut folder = Folder::open(&disk.path, allow_empty).unwrap();
        folder.read_all();
        disk.remove("a.yaml");
        disk.scan(&mut folder, &[], SOON);
        disk.scan(&mut folder, &[], GRACE);
        let (left, problems): (&[&str], _) = if allow_empty { (&[], 0) } else { (&["a"], 1) };
        assert_eq!(names(&folder), left);
        assert_eq!(folder.problems().len(), problems);

        disk.write("b.yaml", &service("b"));
        disk.scan(&mut folder, &["b.yaml"], SOON);
        assert_eq!(names(&folder), ["b"]);
        assert_eq!(folder.problems(), []);
    }
}

#[test]
fn missing_folder_keeps_its_objects() {
    let mut disk = Disk::new(&[("a.yaml", &service("a"))]);
    let mut folder = disk.folder();
    let aside = disk.path.with_extension("aside");
    fs::rename(&disk.path, &aside).unwrap();
    assert!(disk.scan(&mut folder, &[], SETTLE).changed);
    disk.scan(&mut folder, &[], SETTLE);
    assert_eq!(names(&folder), ["a"]);
    let problem = folder.problems().remove(0).to_string();
    assert!(
        problem.contains("the objects that were in it stay in force"),
        "{problem}"
    );
    fs::rename(&aside, &disk.path).unwrap();
    disk.scan(&mut folder, &[], SETTLE);
    assert_eq!(folder.problems(), []);
}

const SPLIT: &str = "apiVersion: split.smi-spec.io/v1alpha4\nkind: TrafficSplit\nmetadata: {name: web}\nspec: {service: web, backends: [{service: v1, weight: 1}]}\n";

fn messages_of(folder: &Folder) -> Vec<String> {
    let (_, of_world) = world::World::of(folder.objects());
    let problems = [folder.problems(), of_world].concat();
    problems.iter().map(Problem::message).collect()
}

#[test]
fn broken_object_keeps_last_valid_form() {
    let mut disk = Disk::new(&[("a.yaml", SPLIT), ("b.yaml", &service("b"))]);
    let mut folder = disk.folder();
    let good = folder.objects().to_vec();
    for (from, to) in [
        ("weight: 1", "weight: l"),
        ("TrafficSplit", "TrafficSplits"),
    ] {
        disk.write("a.yaml", &SPLIT.replace(from, to));
        assert!(disk.scan(&mut folder, &["a.yaml"], SOON).changed);
        let messages = messages_of(&folder);
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(messages[0].contains("the form before this edit stays in force"));
        assert_eq!(folder.objects().len(), 2);
        assert!(folder.objects().iter().all(|entry| entry.is_valid()));
    }
    // If the file becomes unreadable, the form also stays in force.
    disk.write("a.yaml", BROKEN);
    disk.scan(&mut folder, &["a.yaml"], SOON);
    assert_eq!(folder.objects().len(), 2);
    disk.write("a.yaml", SPLIT);
    disk.scan(&mut folder, &["a.yaml"], SOON);
    assert_eq!((folder.objects(), messages_of(&folder)), (&*good, vec![]));
    // After a restart there is no previous form.
    disk.write("a.yaml", &SPLIT.replace("weight: 1", "weight: l"));
    let restarted = disk.folder();
    assert!(messages_of(&restarted)[0].contains("the object is not in force"));
    disk.remove("a.yaml");
    disk.scan(&mut folder, &[], SOON);
    disk.scan(&mut folder, &[], GRACE);
    assert_eq!(names(&folder), ["b"]);
}

#[test]
fn object_without_kind_keeps_form() {
    let mut disk = Disk::new(&[("a.yaml", SPLIT)]);
    let mut folder = disk.folder();
    disk.write("a.yaml", &SPLIT.replace("kind: TrafficSplit\n", ""));
    disk.scan(&mut folder, &["a.yaml"], SOON);
    assert_eq!(names(&folder), ["web"]);
    assert_eq!(folder.problems().len(), 1);
    let effect = &folder.problems()[0].effect.words;
    assert_eq!(effect, "the form before this edit stays in force");
}

#[test]
fn renamed_broken_file_keeps_objects() {
    let wrong_kind = SPLIT.replace("TrafficSplit", "TrafficSplt");
    let no_kind = SPLIT.replace("kind: TrafficSplit\n", "");
    for broken in [wrong_kind.as_str(), no_kind.as_str(), BROKEN] {
        let mut disk = Disk::new(&[("a.yaml", SPLIT), ("c.yaml", &service("c"))]);
        let mut folder = disk.folder();
        disk.write("a.yaml", broken);
        disk.scan(&mut folder, &["a.yaml"], SOON);
        disk.rename("a.yaml", "b.yaml");
        for settled in [&[] as &[&str], &["b.yaml"], &["b.yaml"]] {
            disk.scan(&mut folder, settled, SOON);
            let mut left = names(&folder);
            left.sort();
            assert_eq!(left, ["c", "web"], "{broken}");
        }
        let problems = folder.problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].object.source.ends_with("b.yaml"),
            "{problems:?}"
        );
        disk.remove("b.yaml");
        disk.scan(&mut folder, &[], SOON);
        disk.scan(&mut folder, &[], GRACE);
        assert_eq!(names(&folder), ["c"]);
    }
}

#[test]
fn object_with_broken_kind_may_move() {
    let mut disk = Disk::new(&[("a.yaml", SPLIT), ("c.yaml", &service("c"))]);
    let mut folder = disk.folder();
    disk.write("b.yaml", &SPLIT.replace("TrafficSplit", "TrafficSplt"));
    disk.remove("a.yaml");
    for later in [SOON, GRACE, GRACE] {
        disk.scan(&mut folder, &["b.yaml"], later);
        let mut left = names(&folder);
        left.sort();
        assert_eq!(left, ["c", "web"]);
    }
}

const TEMPLATE: &str = "metadata:\n  name: {{ .Values.name }}\n";

#[test]
fn template_is_warning_and_keeps_objects() {
    let mut disk = Disk::new(&[("a.yaml", SPLIT), ("t.yaml", TEMPLATE)]);
    let mut folder = disk.folder();
    assert_eq!(folder.unread(), None);
    let problem = folder.problems().remove(0);
    assert_eq!(problem.effect.extent, Extent::Nothing);
    assert!(problem.remedy.contains("render it first"), "{problem}");
    disk.write("a.yaml", TEMPLATE);
    disk.scan(&mut folder, &["a.yaml"], SOON);
    assert_eq!(names(&folder), ["web"]);
    assert_eq!(folder.problems()[0].effect.extent, Extent::Whole);
}

#[test]
fn charts_and_kustomizations_are_passed_over() {
    let disk = Disk::new(&[
        ("chart/Chart.yaml", "apiVersion: v2\nname: web\n"),
        ("chart/values-prod.yaml", "spec: 1\n"),
        ("chart/templates/sub/a.yaml", TEMPLATE),
        ("chart/templates/good.yaml", SPLIT),
        (
            "base/kustomization.yaml",
            "resources: [s.yaml]\npatchesStrategicMerge: [./p/../p/patch.yaml]\n",
        ),
        ("base/s.yaml", &service("s")),
        (
            "base/p/patch.yaml",
            "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n",
        ),
        ("op.yaml", "[{op: remove, path: /spec}]\n"),
        ("job.yaml", "{apiVersion: batch/v1, kind: Job}\n"),
    ]);
    let folder = disk.folder();
    assert_eq!(
        (names(&folder), folder.problems()),
        (vec!["s", "web"], vec![])
    );
    let whys: Vec<String> = folder
        .passed_over()
        .iter()
        .map(|line| line.rsplit(": ").next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(whys.len(), 7, "{whys:?}");
    assert_eq!(
        (whys[0].as_str(), whys[3].as_str()),
        ("a kustomization", "a template of a Helm chart")
    );

    // The result is the same for a path that contains `..`.
    let around = disk.path.join("chart/..");
    let mut folder = Folder::open(&around, true).unwrap();
    folder.read_all();
    assert_eq!(folder.problems(), []);
}

#[test]
fn broken_kustomization_keeps_its_patches() {
    let patch = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 81}]}\n";
    let good = "kind: Kustomization\npatches: [{path: patch.yaml}]\n";
    let files = [
        ("kustomization.yaml", good),
        ("z.yaml", &service("s")),
        ("patch.yaml", patch),
    ];
    for (from, to) in [
        ("patches:", "patchs:"),
        ("patches:", "patch:"),
        ("patches:", "Patches:"),
        ("path:", "pth:"),
        ("[{path: patch.yaml}]", "{path: patch.yaml}"),
        ("[{path: patch.yaml}]", "[[patch.yaml]]"),
        ("kind: Kustomization\npatches: [", "- ["),
        ("kind: Kustomization\n", "a: [\n"),
    ] {
        let mut disk = Disk::new(&files);
        let mut folder = disk.folder();
        assert_eq!((names(&folder).len(), folder.problems()), (1, vec![]));
        disk.write("kustomization.yaml", &good.replace(from, to));
        for _ in 0..2 {
            disk.scan(&mut folder, &["kustomization.yaml"], SOON);
            assert_eq!(names(&folder), ["s"], "{to}");
            assert!(folder.objects()[0].source().ends_with("z.yaml"), "{to}");
            assert_eq!(folder.problems().len(), 1, "{to}");
        }
        // If the kustomization does not list the patch, the file is read as an object.
        disk.write("kustomization.yaml", "patches: []\n");
        disk.scan(&mut folder, &["kustomization.yaml"], SOON);
        assert_eq!((names(&folder).len(), folder.problems()), (2, vec![]));
    }
    for kind in ["Kustomizaton", "Component"] {
        let text = good.replace("Kustomization", kind);
        let disk = Disk::new(&[("kustomization.yaml", &*text), files[1], files[2]]);
        assert_eq!(names(&disk.folder()), ["s"], "{kind}");
    }
}

#[test]
fn default_namespace_applies_to_objects() {
    let disk = Disk::new(&[("a.yaml", SPLIT)]);
    let folder = Folder::open(&disk.path, false).unwrap();
    let mut folder = folder.with_default_namespace("shop".into());
    folder.read_all();
    assert_eq!(folder.objects()[0].namespace(), "shop");
}

#[test]
fn unchanged_files_are_not_read_again() {
    let mut disk = Disk::new(&[("a.yaml", SPLIT), ("b.yaml", &service("b"))]);
    let mut folder = disk.folder();
    let before = folder.objects()[0].clone();
    disk.write("b.yaml", &service("c"));
    disk.scan(&mut folder, &["b.yaml"], SOON);
    assert!(Arc::ptr_eq(&before, &folder.objects()[0]));
}

#[test]
fn moved_broken_file_keeps_objects() {
    let broken = SPLIT.replace("kind: TrafficSplit\n", "");
    let mut disk = Disk::new(&[("sub/a.yaml", SPLIT), ("c.yaml", &service("c"))]);
    let mut folder = disk.folder();
    disk.write("sub/a.yaml", &broken);
    disk.scan(&mut folder, &["sub/a.yaml"], SOON);
    disk.rename("sub", "other");
    disk.scan(&mut folder, &["other"], SOON);
    assert_eq!(names(&folder), ["c", "web"]);
    disk.rename("other/a.yaml", "c.yaml");
    disk.scan(&mut folder, &["c.yaml"], SOON);
    assert!(names(&folder).contains(&"web"), "{:?}", names(&folder));
}

#[test]
fn broken_replacement_file_keeps_objects() {
    for broken in [
        SPLIT.replace("kind: TrafficSplit\n", ""),
        SPLIT.replace("name: web", "name: Web_1"),
        BROKEN.to_owned(),
    ] {
        let mut disk = Disk::new(&[("a.yaml", SPLIT), ("c.yaml", &service("c"))]);
        let mut folder = disk.folder();
        disk.write("new.yaml", &broken);
        disk.scan(&mut folder, &["new.yaml"], SOON);
        disk.rename("new.yaml", "a.yaml");
        disk.scan(&mut folder, &["a.yaml"], SOON);
        let mut left = names(&folder);
        left.sort();
        assert_eq!(left, ["c", "web"], "{broken}");
    }
}
