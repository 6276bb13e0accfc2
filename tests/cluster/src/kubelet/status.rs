//! Builds a pod's status: the state of each container, the phase and the conditions.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::container::Process;
use crate::network::NODE;

#[derive(Clone)]
pub struct State {
    pub now: Now,
    pub last: Option<End>,
    pub restarts: u32,
    pub ready: bool,
    pub started: bool,
}

#[derive(Clone)]
pub enum Now {
    Waiting { reason: String, message: String },
    Running { since: String, process: Process },
    Terminated(End),
}

#[derive(Clone)]
pub struct End {
    pub code: i32,
    signal: Option<i32>,
    message: Option<String>,
    started: String,
    finished: String,
}

impl Default for State {
    fn default() -> State {
        let reason = "PodInitializing".to_owned();
        State {
            now: Now::Waiting {
                reason,
                message: String::new(),
            },
            last: None,
            restarts: 0,
            ready: false,
            started: false,
        }
    }
}

impl End {
    pub fn new(status: ExitStatus, message: Option<String>, started: String) -> End {
        let signal = status.signal();
        let code = status.code().or(signal.map(|signal| 128 + signal));
        End {
            code: code.unwrap_or(255),
            signal,
            message,
            started,
            finished: now(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "exitCode": self.code,
            "signal": self.signal.unwrap_or(0),
            "reason": if self.code == 0 { "Completed" } else { "Error" },
            "message": self.message,
            "startedAt": self.started,
            "finishedAt": self.finished,
        })
    }
}

/// Returns the current time in whole seconds, as in all Kubernetes objects.
pub fn now() -> String {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second())
        .unwrap_or(now)
        .to_string()
}

/// For each condition: true or false, and the time of the last change.
#[derive(Default)]
pub struct Conditions(BTreeMap<&'static str, (bool, String)>);

impl Conditions {
    fn json(&mut self, kind: &'static str, holds: bool, reason: &str) -> Value {
        let since = match self.0.get(kind) {
            Some((held, since)) if *held == holds => since.clone(),
            _ => now(),
        };
        self.0.insert(kind, (holds, since.clone()));
        let reason = if holds { None } else { Some(reason) };
        let status = if holds { "True" } else { "False" };
        json!({ "type": kind, "status": status, "reason": reason, "lastTransitionTime": since })
    }
}

/// True if the init containers have finished and the sidecars have started.
pub fn is_initialized(pod: &Pod, states: &BTreeMap<String, State>) -> bool {
    let containers = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten());
    containers.into_iter().all(|container| {
        let state = states.get(&container.name);
        state.is_some_and(|state| match &state.now {
            Now::Terminated(end) => end.code == 0,
            Now::Running { .. } => is_sidecar(container) && state.started,
            Now::Waiting { .. } => is_sidecar(container) && state.restarts > 0,
        })
    })
}

pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

pub fn status(
    pod: &Pod,
    address: &str,
    started: &str,
    states: &BTreeMap<String, State>,
    conditions: &mut Conditions,
) -> Value {
    let Some(spec) = &pod.spec else {
        return Value::Null;
    };
    let state = |container: &Container| states.get(&container.name).cloned().unwrap_or_default();
    let init = spec.init_containers.iter().flatten();
    let main: Vec<State> = spec.containers.iter().map(state).collect();
    let initialized = is_initialized(pod, states);
    let ends: Vec<i32> = main
        .iter()
        .filter_map(|state| match &state.now {
            Now::Terminated(end) => Some(end.code),
            _ => None,
        })
        .collect();
    let never = spec.restart_policy.as_deref() == Some("Never");
    let init_failed = never
        && init.clone().any(|container| match state(container).now {
            Now::Terminated(end) => end.code != 0,
            _ => false,
        });
    let fresh = |state: &State| matches!(state.now, Now::Waiting { .. }) && state.last.is_none();
    let phase = if init_failed {
        "Failed"
    } else if !initialized || main.iter().any(fresh) {
        "Pending"
    } else if ends.len() < main.len() {
        "Running"
    } else if ends.iter().all(|code| *code == 0) {
        "Succeeded"
    } else {
        "Failed"
    };
    let mut sidecars = init
        .clone()
        .filter(|container| is_sidecar(container))
        .map(state);
    let ready = initialized && main.iter().all(|s| s.ready) && sidecars.all(|s| s.ready);
    let given = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let given: BTreeMap<&str, &str> = given
        .map(|c| (c.type_.as_str(), c.status.as_str()))
        .collect();
    let mut gates = spec.readiness_gates.iter().flatten();
    let open = gates.all(|gate| given.get(gate.condition_type.as_str()) == Some(&"True"));
    let lacking = "ContainersNotReady";
    let containers = |init: bool, containers: &mut dyn Iterator<Item = &Container>| -> Value {
        containers
            .map(|container| container_status(container, &state(container), init))
            .collect()
    };
    json!({
        "phase": phase,
        "hostIP": NODE.to_string(),
        "hostIPs": [{ "ip": NODE.to_string() }],
        "podIP": address,
        "podIPs": [{ "ip": address }],
        "startTime": started,
        "conditions": [
            conditions.json("PodReadyToStartContainers", true, ""),
            conditions.json("Initialized", initialized, "ContainersNotInitialized"),
            conditions.json("Ready", ready && open, if ready { "ReadinessGatesNotReady" } else { lacking }),
            conditions.json("ContainersReady", ready, lacking),
            conditions.json("PodScheduled", true, ""),
        ],
        "initContainerStatuses": containers(true, &mut init.clone()),
        "containerStatuses": containers(false, &mut spec.containers.iter()),
    })
}

fn container_status(container: &Container, state: &State, init: bool) -> Value {
    let (now, running) = match &state.now {
        Now::Waiting { reason, message } => (
            json!({ "waiting": { "reason": reason, "message": message } }),
            None,
        ),
        Now::Running { since, process } => (
            json!({ "running": { "startedAt": since } }),
            Some(process.id),
        ),
        Now::Terminated(end) => (json!({ "terminated": end.json() }), None),
    };
    let done = matches!(&state.now, Now::Terminated(end) if init && end.code == 0);
    let last = match &state.last {
        Some(end) => json!({ "terminated": end.json() }),
        None => json!({}),
    };
    json!({
        "name": container.name,
        "image": container.image,
        "imageID": container.image,
        "containerID": running.map(|id| format!("process://{id}")).unwrap_or_default(),
        "state": now,
        "lastState": last,
        "restartCount": state.restarts,
        "ready": state.ready || done,
        "started": state.started,
    })
}
