//! A module imports only modules below it, so the modules of a folder never use each other in a circle. A module and
//! its submodules count as one module. This file contains the order of the top modules of each crate.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{File, Item, ItemMod, UseTree, Visibility};
use weir_tests::root;

/// Modules from the bottom to the top; each may use the modules before it.
const CORE: [&str; 14] = [
    "digest",
    "watermark",
    "owner",
    "metrics",
    "manifest",
    "plan",
    "api",
    "envoy",
    "paste",
    "world",
    "upstream",
    "status",
    "rollout",
    "translate",
];
const SPLIT: [&str; 14] = [
    "refusal",
    "sampler",
    "identity",
    "wire",
    "plugin",
    "decision",
    "matching",
    "edit",
    "connections",
    "access",
    "rule",
    "table",
    "live",
    "module",
];
const FILTER: [&str; 11] = [
    "host",
    "upstream",
    "bounded",
    "metrics",
    "shared",
    "poll",
    "fleet",
    "scope",
    "connection",
    "request",
    "root",
];
const SHELL: [&str; 6] = [
    "http1_client",
    "xds",
    "publish",
    "source",
    "serve",
    "report",
];

/// Tests, modules that only tests use, and the modules of the binary.
const NOT_READ: [&str; 5] = ["tests", "fixtures", "trap", "main", "cli"];

type ModulePath = Vec<String>;

/// The modules of a crate without its tests.
struct Modules {
    files: BTreeMap<ModulePath, File>,
    /// For each `pub use` in a module: the module that has the item.
    exports: BTreeMap<(ModulePath, String), ModulePath>,
}

impl Modules {
    fn read(source: &str) -> Modules {
        let folder = root().join(source);
        let mut files = BTreeMap::new();
        read_into(&mut files, &folder, &folder);
        let mut modules = Modules {
            files,
            exports: BTreeMap::new(),
        };
        modules.exports = modules.exports();
        modules
    }

    fn exports(&self) -> BTreeMap<(ModulePath, String), ModulePath> {
        let mut exports = BTreeMap::new();
        for (module, file) in &self.files {
            for item in &file.items {
                let Item::Use(item) = item else { continue };
                if matches!(item.vis, Visibility::Inherited) {
                    continue;
                }
                for path in leaves(&item.tree) {
                    let Some(target) = self.target(module, &path) else {
                        continue;
                    };
                    let name = path.last().cloned().unwrap_or_default();
                    exports.insert((module.clone(), name), target);
                }
            }
        }
        exports
    }

    /// Returns the module that a path names; None if the path is outside of this crate.
    fn target(&self, from: &ModulePath, path: &[String]) -> Option<ModulePath> {
        let mut module = from.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => module.clear(),
            "self" => {}
            "super" => {
                module.pop();
            }
            name => {
                module.push(name.to_owned());
                self.files.get(&module)?;
            }
        }
        rest = &rest[1..];
        while let Some((name, after)) = rest.split_first() {
            if name == "super" {
                module.pop();
            } else if let Some(target) = self.exports.get(&(module.clone(), name.clone())) {
                module.clone_from(target);
            } else {
                module.push(name.clone());
                if !self.files.contains_key(&module) {
                    module.pop();
                    break;
                }
            }
            rest = after;
        }
        Some(module)
    }

    /// Returns, for each folder, the uses between its modules. A use is a pair (user, used), with one place in the
    /// code.
    fn uses(&self) -> BTreeMap<ModulePath, BTreeMap<(String, String), String>> {
        let mut uses: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (module, file) in &self.files {
            let mut paths = Paths::default();
            paths.visit_file(file);
            for path in paths.0 {
                let Some(target) = self.target(module, &path) else {
                    continue;
                };
                let common = module.iter().zip(&target).take_while(|(a, b)| a == b);
                let common = common.count();
                if let (Some(user), Some(used)) = (module.get(common), target.get(common)) {
                    let place = format!("{} uses {}", module.join("::"), path.join("::"));
                    let folder = uses.entry(module[..common].to_vec()).or_default();
                    folder.insert((user.clone(), used.clone()), place);
                }
            }
        }
        uses
    }
}

fn read_into(files: &mut BTreeMap<ModulePath, File>, top: &Path, folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path: PathBuf = entry.expect("an entry").path();
        let stem = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if NOT_READ.contains(&stem.as_str()) {
            continue;
        }
        if path.is_dir() {
            read_into(files, top, &path);
            continue;
        }
        let inside = path
            .strip_prefix(top)
            .expect("below the top")
            .with_extension("");
        let mut module: ModulePath = inside
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        if module == ["lib"] {
            module.clear();
        }
        let text = std::fs::read_to_string(&path).expect("a source");
        let file = syn::parse_file(&text).expect("Rust");
        files.insert(module, file);
    }
}

/// The full path of every name in a `use` declaration.
fn leaves(tree: &UseTree) -> Vec<ModulePath> {
    let under = |name: &syn::Ident, tree: &UseTree| {
        let name = name.to_string();
        let below = leaves(tree).into_iter();
        below
            .map(|path| [vec![name.clone()], path].concat())
            .collect()
    };
    match tree {
        UseTree::Path(it) => under(&it.ident, &it.tree),
        UseTree::Name(it) => vec![vec![it.ident.to_string()]],
        UseTree::Rename(it) => vec![vec![it.ident.to_string()]],
        UseTree::Glob(_) => vec![vec![]],
        UseTree::Group(it) => it.items.iter().flat_map(leaves).collect(),
    }
}

/// Paths in a file that may name a module of its crate.
#[derive(Default)]
struct Paths(BTreeSet<ModulePath>);

impl<'a> Visit<'a> for Paths {
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.0.extend(leaves(&item.tree));
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names = path.segments.iter().map(|it| it.ident.to_string());
        let names: ModulePath = names.collect();
        if names.len() > 1 {
            self.0.insert(names);
        }
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }
}

/// Finds modules of one folder that use each other in a circle. Returns the places where they do so.
fn circle(uses: &BTreeMap<(String, String), String>) -> Option<Vec<&String>> {
    let mut left: Vec<_> = uses.iter().collect();
    loop {
        let before = left.len();
        // A circle contains only modules that use another module and that another module uses.
        let users: BTreeSet<_> = left.iter().map(|((user, _), _)| user).collect();
        let used_ones: BTreeSet<_> = left.iter().map(|((_, used), _)| used).collect();
        left.retain(|((user, used), _)| users.contains(used) && used_ones.contains(user));
        if left.is_empty() {
            return None;
        }
        if left.len() == before {
            return Some(left.into_iter().map(|(_, place)| place).collect());
        }
    }
}

#[track_caller]
fn assert_in_order(source: &str, order: &[&str]) {
    let modules = Modules::read(source);
    let uses = modules.uses();
    assert!(!uses.is_empty(), "found no modules in {source}");
    let mut wrong = Vec::new();
    for (folder, uses) in &uses {
        let folder = folder.join("::");
        wrong.extend(
            circle(uses).map(|places| format!("a circle in {source} {folder}: {places:#?}")),
        );
    }
    let place = |name: &String| order.iter().position(|it| it == name);
    for ((user, used), place_of_use) in uses.get(&vec![]).into_iter().flatten() {
        if place(user) <= place(used) {
            wrong.push(format!("upwards in {source}: {place_of_use}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let top = modules.files.keys().filter(|module| module.len() == 1);
    let mut unlisted = top.filter(|module| place(&module[0]).is_none());
    assert_eq!(
        unlisted.next(),
        None,
        "{source} has a module that is missing in this file"
    );
}

#[test]
fn core_imports_downwards() {
    assert_in_order("controlplane/core/src", &CORE);
}

#[test]
fn shell_imports_downwards() {
    assert_in_order("controlplane/src", &SHELL);
}

#[test]
fn split_imports_downwards() {
    assert_in_order("split/src", &SPLIT);
}

#[test]
fn filter_imports_downwards() {
    assert_in_order("filter/src", &FILTER);
}
