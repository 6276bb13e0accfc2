//! The text of one file -> the objects in it, and what became of its other documents.

use serde_json::Value;

use super::{Broken, Object, Origin, Parsed, UNDERSTOOD, json, near, yaml};
use crate::manifest::problem::messages::{Message, file as messages, object as object_messages};
use crate::manifest::problem::{ObjectRef, Problem};

/// Larger texts are refused before they are parsed.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What one text holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifests {
    /// In the order in which they stand.
    pub objects: Vec<Object>,
    /// Documents that no object could be made of, but that were meant to be one; the others go on without them.
    pub broken: Vec<Broken>,
    /// Documents that are none of Weir's business.
    pub passed: Vec<Passed>,
    /// The files that a kustomization names as patches, as it writes them.
    pub patches: Vec<String>,
    /// Why a kustomization may mean more patches than these.
    pub of_patches: Option<Problem>,
}

/// A document that is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Empty for the whole file, else `documents[0]`.
    pub place: String,
    pub why: String,
}

impl Manifests {
    /// What is wrong with documents that are no objects.
    pub fn problems(&self) -> Vec<Problem> {
        let meant = self.broken.iter().filter(|broken| !broken.is_foreign);
        meant.map(|broken| broken.problem.clone()).collect()
    }
}

/// See [`read_in`]; the default namespace is `default`.
pub fn read(source: &str, text: &str) -> Result<Manifests, Problem> {
    read_in("default", source, text)
}

/// All objects of one file that Weir understands: YAML with any number of documents, or JSON where
/// `source` ends in `.json`. Lists (`kind: List`, `kind: TrafficSplitList`) are taken apart.
///
/// `Err` is the whole file: it does not parse, is larger than [`MAX_BYTES`], or would expand into
/// more than it is worth (the problem's reason is [`Reason::Unreadable`](crate::manifest::problem::Reason)), or it is a
/// template, which is no error.
pub fn read_in(default_namespace: &str, source: &str, text: &str) -> Result<Manifests, Problem> {
    let unreadable = |message: Message| {
        let file = ObjectRef {
            source: source.to_owned(),
            ..ObjectRef::default()
        };
        file.problem("", message)
    };
    if text.len() > MAX_BYTES {
        return Err(unreadable(messages::too_large(MAX_BYTES >> 20)));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let documents = match source.ends_with(".json") {
        true => json::documents(text).map(|values| {
            let documents = values.into_iter().map(|value| yaml::Document {
                value,
                to_kubectl: None,
            });
            documents.collect()
        }),
        false => yaml::documents(text),
    };
    let documents = documents.map_err(unreadable)?;
    let mut reader = Reader {
        origin: Origin {
            source,
            default_namespace,
        },
        manifests: Manifests::default(),
    };
    for (index, document) in documents.into_iter().enumerate() {
        if is_named_kustomization(source) {
            reader.manifests.patches.extend(patches(&document.value));
            let wrong = misread_patches(&document.value);
            reader.manifests.of_patches = wrong.map(|(path, message)| {
                let file = reader.origin.file();
                file.problem(path, message)
            });
        }
        let yaml::Document { value, to_kubectl } = document;
        reader.add(format!("documents[{index}]"), value, to_kubectl);
    }
    Ok(reader.manifests)
}

struct Reader<'a> {
    origin: Origin<'a>,
    manifests: Manifests,
}

impl Reader<'_> {
    fn add(&mut self, place: String, mut document: Value, mut to_kubectl: Option<Value>) {
        if document.is_null() {
            return;
        }
        if let Some(kind) = list_of(&document) {
            let mut take = |field: &str| document.get_mut(field).map(Value::take);
            let api_version = take("apiVersion").unwrap_or_default();
            let Some(Value::Array(items)) = take("items") else {
                let problem = self
                    .origin
                    .file()
                    .problem("", messages::list_without_items());
                let broken = Broken::of(None, self.origin, &Value::Null, problem);
                self.add_broken(place, broken);
                return;
            };
            for (index, mut item) in items.into_iter().enumerate() {
                // The items of a typed list come from an API server without their own type.
                if let (Value::Object(fields), Some(kind)) = (&mut item, &kind)
                    && !fields.contains_key("kind")
                {
                    fields.insert("kind".to_owned(), Value::from(kind.as_str()));
                    fields.insert("apiVersion".to_owned(), api_version.clone());
                }
                let other = to_kubectl.as_mut().and_then(|list| {
                    let item = list.get_mut("items")?.get_mut(index)?;
                    Some(item.take())
                });
                let place = format!("{place}.items[{index}]");
                match item.is_null() {
                    true => self.add_null(place),
                    false => self.add(place, item, other),
                }
            }
            return;
        }
        if let Some(why) = foreign(self.origin.source, &document) {
            let problem = self
                .origin
                .file()
                .problem("", object_messages::no_head("apiVersion"));
            let broken = Broken::of(None, self.origin, &document, problem);
            self.pass(place, why, Some(broken));
            return;
        }
        let position = self.manifests.objects.len();
        let readings = to_kubectl
            .map(|other| yaml::two_readings(&document, &other))
            .unwrap_or_default();
        let has_items = document["items"].is_array();
        match Object::parse_in(self.origin, position, document) {
            Parsed::Foreign(what, None) if has_items => {
                let message = messages::list_without_items();
                let problem = self.origin.file().problem("", message);
                let broken = Broken::of(None, self.origin, &Value::Null, problem);
                self.pass(place, what, Some(broken));
            }
            Parsed::Foreign(what, broken) => self.pass(place, what, broken.map(|it| *it)),
            Parsed::Object(mut object) => {
                object.refuse_two_readings(&readings);
                object.refused = object.refused.map(|problem| within(&place, problem));
                object.place = place;
                self.manifests.objects.push(object);
            }
            Parsed::Broken(broken) => self.add_broken(place, broken),
        }
    }

    /// An empty document is a deletion; an item with nothing behind its dash is not.
    fn add_null(&mut self, place: String) {
        let problem = self.origin.file().problem("", object_messages::no_object());
        let broken = Broken::of(None, self.origin, &Value::Null, problem);
        self.add_broken(place, broken);
    }

    fn add_broken(&mut self, place: String, broken: Broken) {
        let problem = within(&place, broken.problem);
        self.manifests.broken.push(Broken {
            place,
            problem,
            ..broken
        });
    }

    /// Passes a document over; `broken` is what it is if an edit has made it of an object.
    fn pass(&mut self, place: String, why: String, broken: Option<Broken>) {
        if let Some(mut broken) = broken {
            broken.is_foreign = true;
            self.add_broken(place.clone(), broken);
        }
        self.manifests.passed.push(Passed { place, why });
    }
}

/// Without a name only the place can say which document is meant.
fn within(place: &str, mut problem: Problem) -> Problem {
    if problem.object.name.is_empty() {
        problem.path = match problem.path.as_str() {
            "" => place.to_owned(),
            path => format!("{place}.{path}"),
        };
    }
    problem
}

/// The kind of the items where a document is a list: `Some(None)` for the untyped `List`.
fn list_of(document: &Value) -> Option<Option<String>> {
    let kind = document["kind"].as_str()?.strip_suffix("List")?;
    let is_ours = kind.is_empty() || UNDERSTOOD.iter().any(|(_, known, ..)| *known == kind);
    (is_ours || document["items"].is_array())
        .then(|| Some(kind.to_owned()).filter(|it| !it.is_empty()))
}

fn file_name(source: &str) -> &str {
    source.rsplit('/').next().unwrap_or(source)
}

fn is_named_kustomization(source: &str) -> bool {
    matches!(
        file_name(source),
        "kustomization.yaml" | "kustomization.yml"
    )
}

fn is_kustomization(source: &str, document: &Value) -> bool {
    let is_named = is_named_kustomization(source);
    let kind = document["kind"].as_str();
    is_named && kind.is_none_or(|kind| matches!(kind, "Kustomization" | "Component"))
}

/// What a document is that is no Kubernetes object and was not meant to be one; None where it may have been.
fn foreign(source: &str, document: &Value) -> Option<String> {
    if document.get("apiVersion").is_some() && document.get("kind").is_some() {
        return None;
    }
    let name = file_name(source);
    let is_values = name.starts_with("values") && !name.ends_with(".json");
    let what = match document {
        _ if is_kustomization(source, document) => "a kustomization",
        Value::Object(_) if matches!(name, "Chart.yaml" | "Chart.yml") => {
            "the head of a Helm chart"
        }
        Value::Object(_) if is_values => "values of a Helm chart",
        Value::Array(operations)
            if !operations.is_empty() && operations.iter().all(is_operation) =>
        {
            "a JSON patch"
        }
        // Whoever left out apiVersion and kind has written metadata or spec.
        Value::Object(fields)
            if !["apiVersion", "kind", "metadata", "spec"]
                .iter()
                .any(|field| fields.contains_key(*field)) =>
        {
            "not a Kubernetes object"
        }
        _ => return None,
    };
    Some(what.to_owned())
}

fn is_operation(item: &Value) -> bool {
    item["op"].is_string() && item["path"].is_string()
}

/// The files that a kustomization names as patches. A patch may also be written in place.
fn patches(kustomization: &Value) -> Vec<String> {
    let entries = |field: &str| kustomization[field].as_array().into_iter().flatten();
    let strategic = entries("patchesStrategicMerge").filter_map(Value::as_str);
    let by_path = entries("patches").chain(entries("patchesJson6902"));
    let by_path = by_path.filter_map(|entry| entry["path"].as_str());
    strategic
        .chain(by_path)
        .filter(|path| !path.contains('\n'))
        .map(str::to_owned)
        .collect()
}

const PATCHES: [&str; 3] = ["patches", "patchesStrategicMerge", "patchesJson6902"];

/// Where a kustomization most likely means patches and names none, and what is wrong.
fn misread_patches(kustomization: &Value) -> Option<(String, Message)> {
    if kustomization.is_null() {
        return None;
    }
    let Some(fields) = kustomization.as_object() else {
        return Some((String::new(), messages::kustomization_is_no_map()));
    };
    let misspelled = fields.keys().find(|field| {
        let is_known = PATCHES.contains(&field.as_str());
        !is_known && field.to_ascii_lowercase().starts_with("patch")
            || PATCHES
                .iter()
                .any(|known| near::is_misspelled(field, known))
    });
    if let Some(field) = misspelled {
        let message = messages::misspelled_patches(field, PATCHES.join(" or "));
        return Some((field.clone(), message));
    }
    PATCHES.iter().find_map(|field| {
        let message = || messages::unreadable_patch(field);
        let wrong = |path: String| Some((path, message()));
        match &kustomization[*field] {
            Value::Null => None,
            Value::Array(entries) => {
                let is_patch = |entry: &Value| {
                    let has = |name: &str| entry[name].is_string();
                    entry.is_string() || has("path") || has("patch")
                };
                let at = entries.iter().position(|entry| !is_patch(entry))?;
                wrong(format!("{field}[{at}]"))
            }
            _ => wrong((*field).to_owned()),
        }
    })
}
