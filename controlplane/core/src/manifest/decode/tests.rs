use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::manifest::unknown_fields::UnknownFields;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only decoding is tested")]
struct Form {
    service: String,
    port: Option<u16>,
    target_port: Option<u16>,
    attempts: Option<u32>,
    ready: Option<bool>,
    backends: Option<Vec<Strict>>,
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    weight: Value,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only decoding is tested")]
struct Strict {
    name: String,
}

fn decode(kind: &str, value: Value) -> Result<Form, Problem> {
    let object = ObjectRef {
        kind: kind.to_owned(),
        ..ObjectRef::default()
    };
    decode_at(&object, "spec", &value)
}

fn describe(value: Value) -> String {
    let problem = decode("TrafficSplit", value).unwrap_err();
    format!("{}: {}; {}", problem.path, problem.cause, problem.remedy)
}

#[test]
fn optional_values_may_be_null() {
    let form = decode(
        "TrafficSplit",
        json!({"service": "web", "port": 80, "ready": null, "backends": null, "labels": {"a": "b"},
               "weight": 1.5, "other": [{"x": null}], "targetPort": 65535}),
    )
    .unwrap();
    assert_eq!((form.port, form.target_port), (Some(80), Some(65535)));
    assert_eq!((form.ready, form.weight), (None, json!(1.5)));
    let object = ObjectRef::default();
    let numbers: Vec<i64> = decode_at(&object, "", &json!([-1, 9])).unwrap();
    assert_eq!(numbers, [-1, 9]);
}

#[test]
fn wrong_shapes_have_plain_messages() {
    for (value, expected) in [
        (
            json!({}),
            "spec: the field \"service\" is missing; add service",
        ),
        (
            json!({"service": null}),
            "spec.service: the field \"service\" has no value; write a value after service",
        ),
        (
            json!({"service": {"name": "money", "namespace": "bank"}}),
            "spec.service: the field \"service\" is a map where a name is expected; write the name alone: service: money",
        ),
        (
            json!({"service": ["money"]}),
            "spec.service: the field \"service\" is a list where one text is expected; write the text alone: service: money",
        ),
        (
            json!({"service": 2}),
            "spec.service: the field \"service\" is the number 2 where a text is expected; put it in quotes: \"2\"",
        ),
        (
            json!({"service": "a", "labels": {"on": true}}),
            "spec.labels.on: the field \"on\" is true without quotes, which YAML reads as a boolean and not as text; put it in quotes: \"true\"",
        ),
        (
            json!({"service": "a", "port": "80"}),
            "spec.port: the field \"port\" is the text \"80\" where a number is expected; write the number without quotes: port: 80",
        ),
        (
            json!({"service": "a", "port": "http"}),
            "spec.port: the field \"port\" is the text \"http\" where a number is expected; write the number of the Service's port, as in port: 80",
        ),
        (
            json!({"service": "a", "targetPort": 65616}),
            "spec.targetPort: the field \"targetPort\" is 65616, which is not from 1 to 65535; write a whole number from 1 to 65535",
        ),
        (
            json!({"service": "a", "attempts": -1}),
            "spec.attempts: the field \"attempts\" is -1, which is not from 0 to 4294967295; write a whole number from 0 to 4294967295",
        ),
        (
            json!({"service": "a", "attempts": 1.5}),
            "spec.attempts: the field \"attempts\" is 1.5, which is not a whole number; write a whole number from 0 to 4294967295",
        ),
        (
            json!({"service": "a", "ready": "yes"}),
            "spec.ready: the field \"ready\" is the text \"yes\" where true or false is expected; write true or false, without quotes",
        ),
        (
            json!({"service": "a", "backends": {"name": "b"}}),
            "spec.backends: the field \"backends\" is a map where a list is expected; write a list: a dash before each entry of backends",
        ),
        (
            json!({"service": "a", "backends": [{"name": "b"}, "c"]}),
            "spec.backends[1]: the field \"backends[1]\" is the text \"c\" where a map is expected; write the fields of backends[1], each as NAME: VALUE",
        ),
        (
            json!({"service": "a", "backends": [{"nam": "b"}]}),
            "spec.backends[0].nam: unknown field nam; correct the name, or take the field out",
        ),
        (
            json!([]),
            "spec: the field \"spec\" is a list where a map is expected; write the fields of spec, each as NAME: VALUE",
        ),
    ] {
        assert_eq!(describe(value), expected);
    }
}

#[test]
fn service_port_message_names_this_object() {
    let problem = decode("Service", json!({"service": "a", "port": "http"})).unwrap_err();
    assert_eq!(problem.remedy, "write the port's number, as in port: 80");
}
