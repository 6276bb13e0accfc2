use std::fs::File;
use std::os::unix::fs::symlink;
use std::time::Duration;

use tempfile::TempDir;

use super::file::{DOUBT, GRACE, SETTLE};
use super::*;

/// A folder on disk and the clock that its scans are told.
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

    /// Opened and read for the first time.
    fn folder(&self) -> Folder {
        let mut folder = Folder::open(&self.path, false).unwrap();
        folder.read_all();
        folder
    }

    /// A scan after events for `settled`, `later` after the one before.
    fn scan(&mut self, folder: &mut Folder, settled: &[&str], later: Duration) -> Scan {
        self.now += later;
        let settled = settled.iter().map(|name| self.path.join(name)).collect();
        let look = folder.read(folder.survey(&settled), self.now);
        folder.take(look, &Meanwhile::default(), self.now)
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
fn reads_every_manifest_below_sorted_by_path() {
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
fn sources_begin_as_the_user_wrote_them() {
    let folder =
        |typed: &str, path: &str| source(Path::new(typed), Path::new("/x/dir"), Path::new(path));
    assert_eq!(folder("dir", "/x/dir/sub/a.yaml"), "dir/sub/a.yaml");
    assert_eq!(folder("./dir/", "/x/dir/a.yaml"), "./dir/a.yaml");
    assert_eq!(folder("../x/dir", "/x/dir"), "../x/dir");
}

#[test]
fn a_file_can_stand_for_the_folder() {
    let disk = Disk::new(&[("a.yaml", &service("a")), ("b.yaml", &service("b"))]);
    let mut folder = Folder::open(&disk.path.join("a.yaml"), false).unwrap();
    folder.read_all();
    assert_eq!(names(&folder), ["a"]);
    assert!(Folder::open(&disk.path.join("c.yaml"), false).is_err());
}

#[test]
fn a_file_renamed_into_place_is_read_at_once() {
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
fn a_file_that_may_still_be_written_waits_for_its_own_end() {
    let mut disk = Disk::new(&[("a.yaml", &service("a")), ("b.yaml", &service("b"))]);
    let mut folder = disk.folder();
    disk.write("a.yaml", "");
    disk.write("c.yaml", "");
    disk.write("b.yaml", &service("other"));
    let scan = disk.scan(&mut folder, &["b.yaml"], SOON);
    assert_eq!(names(&folder), ["a", "other"], "an event of another file");
    assert_eq!(scan.due, Some(disk.now + SETTLE));

    disk.write("a.yaml", &service("longer"));
    disk.scan(&mut folder, &[], SETTLE);
    assert_eq!(names(&folder), ["a", "other"], "it has changed again");
    disk.scan(&mut folder, &[], SETTLE - SOON);
    assert_eq!(names(&folder), ["a", "other"]);
    disk.scan(&mut folder, &[], SOON);
    assert_eq!(
        names(&folder),
        ["longer", "other"],
        "no word for long enough"
    );
    assert_eq!(disk.scan(&mut folder, &[], SOON).due, None);
}

#[test]
fn a_file_that_was_written_again_waits_for_its_next_end() {
    let mut disk = Disk::new(&[("a.yaml", &service("a"))]);
    let mut folder = disk.folder();
    let a = BTreeSet::from([disk.path.join("a.yaml")]);
    disk.write("a.yaml", &service("half"));
    let look = folder.read(folder.survey(&a), disk.now);
    let meanwhile = Meanwhile {
        written: a,
        opened: BTreeSet::new(),
    };
    let scan = folder.take(look, &meanwhile, disk.now);
    assert_eq!(names(&folder), ["a"]);
    assert_eq!(scan.due, Some(disk.now + SETTLE));
    disk.write("a.yaml", &service("whole"));
    disk.scan(&mut folder, &["a.yaml"], SOON);
    assert_eq!(names(&folder), ["whole"]);
}

#[test]
fn a_file_that_somebody_else_has_open_is_read_again() {
    let mut disk = Disk::new(&[("a.yaml", &service("a")), ("b.yaml", &service("b"))]);
    let mut folder = disk.folder();
    let a = BTreeSet::from([disk.path.join("a.yaml")]);
    for (text, patience, left) in [
        (service("whole"), DOUBT, &["whole", "b"] as &[&str]),
        (String::new(), SETTLE, &["b"]),
    ] {
        let before = names(&folder).join(" ");
        disk.write("a.yaml", &text);
        let look = folder.read(folder.survey(&a), disk.now);
        let meanwhile = Meanwhile {
            written: BTreeSet::new(),
            opened: a.clone(),
        };
        let scan = folder.take(look, &meanwhile, disk.now);
        assert_eq!(scan.due, Some(disk.now + patience));
        assert_eq!(names(&folder).join(" "), before);
        disk.scan(&mut folder, &[], patience);
        assert_eq!(names(&folder), left);
    }
}

#[test]
fn a_folder_renamed_into_place_is_read_at_once() {
    let mut disk = Disk::new(&[("a.yaml", &service("a")), (".new/b.yaml", &service("b"))]);
    let mut folder = disk.folder();
    disk.rename(".new", "sub");
    let scan = disk.scan(&mut folder, &["sub"], SOON);
    assert_eq!(names(&folder), ["a", "b"]);
    assert!(scan.folders.contains_key(&disk.path.join("sub")));
}

#[test]
fn a_broken_file_keeps_its_last_objects() {
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
fn a_file_that_is_too_large_is_not_opened() {
    let disk = Disk::new(&[("b.yaml", &service("b"))]);
    let file = File::create(disk.path.join("a.yaml")).unwrap();
    file.set_len(20 << 20).unwrap();
    let folder = disk.folder();
    let problem = folder.problems().remove(0).to_string();
    assert!(problem.contains("larger than 16 MiB"), "{problem}");
    assert_eq!(names(&folder), ["b"]);
}

#[test]
fn nothing_counts_as_read_until_every_file_was() {
    let mut disk = Disk::new(&[("a.yaml", &service("a")), ("b.yaml", BROKEN)]);
    let mut folder = disk.folder();
    assert!(folder.unread().unwrap().contains("b.yaml: Unreadable"));
    // A file that was good once does not stand in the way.
    disk.write("a.yaml", BROKEN);
    disk.scan(&mut folder, &["a.yaml"], SOON);
    disk.write("b.yaml", &service("b"));
    disk.scan(&mut folder, &["b.yaml"], SOON);
    assert_eq!(folder.unread(), None);
    assert_eq!(names(&folder), ["a", "b"]);
    // Nor does a new one, from then on.
    disk.write("c.yaml", BROKEN);
    disk.scan(&mut folder, &["c.yaml"], SOON);
    assert_eq!(folder.unread(), None);
    assert_eq!(folder.problems().len(), 2);
}

#[test]
fn a_broken_first_file_can_go_away() {
    let mut disk = Disk::new(&[("a.yaml", &service("a")), ("b.yaml", BROKEN)]);
    let mut folder = disk.folder();
    disk.remove("b.yaml");
    disk.scan(&mut folder, &[], SOON);
    assert_eq!(folder.unread(), None);
    assert_eq!(folder.problems(), []);
}

#[test]
fn objects_of_a_deleted_file_go_after_a_moment() {
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
fn an_editor_that_moves_the_file_away_before_it_writes_takes_nothing_with_it() {
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
fn a_renamed_file_is_never_there_twice() {
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
fn a_truncated_file_has_no_objects() {
    let mut disk = Disk::new(&[("a.yaml", &service("a")), ("b.yaml", &service("b"))]);
    let mut folder = disk.folder();
    disk.write("a.yaml", "");
    disk.scan(&mut folder, &["a.yaml"], SOON);
    assert_eq!(names(&folder), ["b"]);
    assert_eq!(folder.problems(), []);
}

/// As the kubelet lays out a mounted ConfigMap.
fn config_map(disk: &Disk, version: &str, text: &str) {
    disk.write(&format!("..{version}/a.yaml"), text);
    symlink(format!("..{version}"), disk.path.join("..data_tmp")).unwrap();
    disk.rename("..data_tmp", "..data");
}

#[test]
fn a_swapped_config_map_is_read_at_once() {
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
fn a_swapped_link_to_the_whole_folder_is_read_at_once() {
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
    assert_eq!(names(&folder), ["one"], "between the two");
    assert_eq!(folder.problems().len(), 1);
    symlink("two", &link).unwrap();
    disk.scan(&mut folder, &[], SOON);
    assert_eq!(names(&folder), ["two"]);
    assert_eq!(folder.problems(), []);
}

#[test]
fn a_new_file_in_a_linked_folder_waits_for_its_end_as_well() {
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
    assert_eq!(folder.problems().len(), 1, "the link to itself");
}

#[test]
fn an_empty_folder_is_not_read_unless_that_is_wanted() {
    let mut disk = Disk::new(&[]);
    let mut folder = disk.folder();
    assert!(folder.unread().unwrap().contains("holds no objects yet"));
    disk.write("a.yaml", &service("a"));
    disk.scan(&mut folder, &["a.yaml"], SOON);
    assert_eq!(folder.unread(), None);

    let disk = Disk::new(&[]);
    let mut folder = Folder::open(&disk.path, true).unwrap();
    folder.read_all();
    assert_eq!(folder.unread(), None);
}

#[test]
fn a_folder_that_becomes_empty_keeps_its_objects_unless_that_is_wanted() {
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
fn a_folder_that_goes_away_keeps_its_objects() {
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

fn said(folder: &Folder) -> Vec<String> {
    let (_, of_world) = world::World::of(folder.objects());
    let problems = [folder.problems(), of_world].concat();
    problems.iter().map(Problem::message).collect()
}

#[test]
fn a_broken_object_keeps_its_last_valid_form_until_it_is_mended_or_deleted() {
    let mut disk = Disk::new(&[("a.yaml", SPLIT), ("b.yaml", &service("b"))]);
    let mut folder = disk.folder();
    let good = folder.objects().to_vec();
    for (from, to) in [
        ("weight: 1", "weight: l"),
        ("TrafficSplit", "TrafficSplits"),
    ] {
        disk.write("a.yaml", &SPLIT.replace(from, to));
        assert!(disk.scan(&mut folder, &["a.yaml"], SOON).changed);
        let said = said(&folder);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("the form before this edit stays in force"));
        assert_eq!(folder.objects().len(), 2);
        assert!(folder.objects().iter().all(|entry| entry.is_valid()));
    }
    // A broken file and an object that is held do not get in each other's way.
    disk.write("a.yaml", BROKEN);
    disk.scan(&mut folder, &["a.yaml"], SOON);
    assert_eq!(folder.objects().len(), 2);
    disk.write("a.yaml", SPLIT);
    disk.scan(&mut folder, &["a.yaml"], SOON);
    assert_eq!((folder.objects(), said(&folder)), (&*good, vec![]));
    // A start has no older form.
    disk.write("a.yaml", &SPLIT.replace("weight: 1", "weight: l"));
    let restarted = disk.folder();
    assert!(said(&restarted)[0].contains("the object is not in force"));
    disk.remove("a.yaml");
    disk.scan(&mut folder, &[], SOON);
    disk.scan(&mut folder, &[], GRACE);
    assert_eq!(names(&folder), ["b"]);
}

#[test]
fn the_only_object_of_a_folder_is_held_when_it_cannot_be_recognized() {
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
fn a_renamed_file_keeps_what_it_held() {
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
fn a_deleted_file_whose_object_comes_back_with_a_broken_kind_elsewhere_keeps_it() {
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
fn a_template_is_no_error_and_takes_no_objects_with_it() {
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

    // Also where the folder is named by way of another one.
    let around = disk.path.join("chart/..");
    let mut folder = Folder::open(&around, true).unwrap();
    folder.read_all();
    assert_eq!(folder.problems(), []);
}

#[test]
fn a_broken_kustomization_keeps_its_patches() {
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
        // A patch that is no patch any more is an object.
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
fn objects_without_a_namespace_are_in_the_default_one() {
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
fn a_broken_file_that_is_moved_over_another_or_with_its_folder_keeps_its_objects() {
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
fn a_file_that_is_written_beside_and_renamed_into_place_broken_is_held() {
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
