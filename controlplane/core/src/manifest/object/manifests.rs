//! Reads the text of one file: its objects, its broken documents, and the documents that Weir ignores.

use serde_json::Value;

use super::{BrokenDocument, Object, Origin, Parsed, SUPPORTED_KINDS, json, wrong_kind, yaml};
use crate::manifest::problem::messages::{Message, file as messages, object as object_messages};
use crate::manifest::problem::{ObjectRef, Problem};

/// The length, in bytes, of the longest file that Weir parses.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The documents of one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifests {
    /// The objects in the order of the file.
    pub objects: Vec<Object>,
    /// Documents that cannot be read as objects, in the order of the file.
    pub broken: Vec<BrokenDocument>,
    /// Documents that Weir does not read.
    pub ignored: Vec<IgnoredDocument>,
    /// The paths of the files that a kustomization names as patches, written as in the kustomization.
    pub patches: Vec<String>,
    /// The problem of a kustomization with a part that Weir cannot read. `patches` may lack files in this case.
    pub patches_problem: Option<Problem>,
}

/// A document that Weir does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredDocument {
    /// The place of the document, as in [`Object::place`]; empty for the whole file.
    pub place: String,
    /// Why Weir ignores the document, without a full stop: `a kustomization`, `Job of batch/v1 is not read`.
    pub reason: String,
}

impl Manifests {
    /// Returns the problems of the broken documents. Skips documents with a kind that Weir most likely does not read.
    pub fn problems(&self) -> Vec<Problem> {
        let broken = self.broken.iter().filter(|broken| !broken.is_foreign);
        broken.map(|broken| broken.problem.clone()).collect()
    }
}

/// Reads one file like [`read_in`], with the default namespace `default`.
pub fn read(source: &str, text: &str) -> Result<Manifests, Problem> {
    read_in("default", source, text)
}

/// Reads one file with any number of documents. The file is JSON if `source` ends in `.json`, else YAML. Each item of a
/// list (`kind: List`, `kind: TrafficSplitList`) counts as a document.
///
/// Returns an error if the file does not parse, is longer than [`MAX_BYTES`], expands beyond the limits of the parser,
/// or is a template. The error is a problem of the whole file, and its reason is
/// [`Reason::Unreadable`](crate::manifest::problem::Reason).
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
    let documents = if source.ends_with(".json") {
        json::documents(text).map(|values| {
            let documents = values.into_iter().map(|value| yaml::Document {
                value,
                to_kubectl: None,
            });
            documents.collect()
        })
    } else {
        yaml::documents(text)
    };
    let documents = documents.map_err(unreadable)?;
    let mut reader = DocumentReader {
        origin: Origin {
            source,
            default_namespace,
        },
        manifests: Manifests::default(),
    };
    for (index, document) in documents.into_iter().enumerate() {
        if is_named_kustomization(source) {
            reader.manifests.patches.extend(patches(&document.value));
            let unclear = find_unclear_patches(&document.value);
            reader.manifests.patches_problem = unclear.map(|(path, message)| {
                let file = reader.origin.file();
                file.problem(path, message)
            });
        }
        let yaml::Document { value, to_kubectl } = document;
        reader.add(format!("documents[{index}]"), value, to_kubectl);
    }
    Ok(reader.manifests)
}

/// Adds the documents of one file to `manifests`.
struct DocumentReader<'a> {
    origin: Origin<'a>,
    manifests: Manifests,
}

impl DocumentReader<'_> {
    fn add(&mut self, place: String, mut document: Value, mut to_kubectl: Option<Value>) {
        if document.is_null() {
            return;
        }
        if let Some(kind) = item_kind(&document) {
            let mut take = |field: &str| document.get_mut(field).map(Value::take);
            let api_version = take("apiVersion").unwrap_or_default();
            let Some(Value::Array(items)) = take("items") else {
                let problem = self
                    .origin
                    .file()
                    .problem("", messages::list_without_items());
                let broken = BrokenDocument::new(None, self.origin, &Value::Null, problem);
                self.add_broken(place, broken);
                return;
            };
            for (index, mut item) in items.into_iter().enumerate() {
                // In a typed list from an API server, the items have no `apiVersion` and no `kind`.
                if let (Value::Object(fields), Some(kind)) = (&mut item, &kind)
                    && !fields.contains_key("kind")
                {
                    fields.insert("kind".to_owned(), Value::from(kind.as_str()));
                    fields.insert("apiVersion".to_owned(), api_version.clone());
                }
                let item_to_kubectl = to_kubectl.as_mut().and_then(|list| {
                    let item = list.get_mut("items")?.get_mut(index)?;
                    Some(item.take())
                });
                let place = format!("{place}.items[{index}]");
                if item.is_null() {
                    self.add_null_item(place);
                } else {
                    self.add(place, item, item_to_kubectl);
                }
            }
            return;
        }
        if let Some(reason) = describe_foreign(self.origin.source, &document) {
            let problem = self
                .origin
                .file()
                .problem("", object_messages::no_head("apiVersion"));
            let broken = BrokenDocument::new(None, self.origin, &document, problem);
            self.ignore(place, reason, Some(broken));
            return;
        }
        let position = self.manifests.objects.len();
        let readings = to_kubectl
            .map(|other| yaml::two_readings(&document, &other))
            .unwrap_or_default();
        let has_items = document["items"].is_array();
        match Object::parse_in(self.origin, position, document) {
            Parsed::Foreign(reason, None) if has_items => {
                let message = messages::list_without_items();
                let problem = self.origin.file().problem("", message);
                let broken = BrokenDocument::new(None, self.origin, &Value::Null, problem);
                self.ignore(place, reason, Some(broken));
            }
            Parsed::Foreign(reason, broken) => self.ignore(place, reason, broken.map(|it| *it)),
            Parsed::Object(mut object) => {
                object.refuse_two_readings(&readings);
                object.refused = object.refused.map(|problem| with_place(&place, problem));
                object.place = place;
                self.manifests.objects.push(object);
            }
            Parsed::Broken(broken) => self.add_broken(place, broken),
        }
    }

    /// Adds a list item without a value as a broken document. (An empty document outside a list is not broken.)
    fn add_null_item(&mut self, place: String) {
        let problem = self.origin.file().problem("", object_messages::no_object());
        let broken = BrokenDocument::new(None, self.origin, &Value::Null, problem);
        self.add_broken(place, broken);
    }

    fn add_broken(&mut self, place: String, broken: BrokenDocument) {
        let problem = with_place(&place, broken.problem);
        self.manifests.broken.push(BrokenDocument {
            place,
            problem,
            ..broken
        });
    }

    /// Adds an ignored document. `broken` is set if the document may be a supported object with a mistake.
    fn ignore(&mut self, place: String, reason: String, broken: Option<BrokenDocument>) {
        if let Some(mut broken) = broken {
            broken.is_foreign = true;
            self.add_broken(place.clone(), broken);
        }
        let document = IgnoredDocument { place, reason };
        self.manifests.ignored.push(document);
    }
}

/// Puts the place of the document before the path of the problem, unless the object has a name.
fn with_place(place: &str, mut problem: Problem) -> Problem {
    if problem.object.name.is_empty() {
        problem.path = match problem.path.as_str() {
            "" => place.to_owned(),
            path => format!("{place}.{path}"),
        };
    }
    problem
}

/// Returns the kind of the items of a list. Returns `Some(None)` for the kind `List`, and None if the document is not a
/// list.
fn item_kind(document: &Value) -> Option<Option<String>> {
    let kind = document["kind"].as_str()?.strip_suffix("List")?;
    let is_supported = kind.is_empty() || SUPPORTED_KINDS.iter().any(|it| it.name == kind);
    (is_supported || document["items"].is_array())
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

/// Describes a document that is not a Kubernetes object. Returns None if the document may be an object with a mistake.
fn describe_foreign(source: &str, document: &Value) -> Option<String> {
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
        // An object without apiVersion and kind is a mistake of the user. Such an object still has metadata or spec.
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

/// Returns the files that a kustomization names as patches. Patches inside the kustomization are not included.
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

/// Finds a field that most likely has patches, but that Weir cannot read as patches. Returns its path and the message.
fn find_unclear_patches(kustomization: &Value) -> Option<(String, Message)> {
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
                .any(|known| wrong_kind::is_misspelled(field, known))
    });
    if let Some(field) = misspelled {
        let message = messages::misspelled_patches(field, PATCHES.join(" or "));
        return Some((field.clone(), message));
    }
    PATCHES.iter().find_map(|field| {
        let path = match &kustomization[*field] {
            Value::Null => return None,
            Value::Array(entries) => {
                let index = entries.iter().position(|entry| !is_patch(entry))?;
                format!("{field}[{index}]")
            }
            _ => (*field).to_owned(),
        };
        Some((path, messages::unreadable_patch(field)))
    })
}

fn is_patch(entry: &Value) -> bool {
    entry.is_string() || entry["path"].is_string() || entry["patch"].is_string()
}
