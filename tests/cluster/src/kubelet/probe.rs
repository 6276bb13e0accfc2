//! Probes and lifecycle handlers of containers.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

/// The container that a probe or handler acts on.
pub struct Target<'a> {
    pub container: &'a Container,
    pub address: &'a str,
    pub process: i32,
    pub user: u32,
    pub group: u32,
    pub environment: &'a BTreeMap<String, String>,
}

pub async fn probe(probe: &Probe, target: &Target<'_>) -> Result<(), String> {
    let limit = Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1));
    let ask = async {
        if let Some(get) = &probe.http_get {
            http(get, target).await
        } else if let Some(tcp) = &probe.tcp_socket {
            connect(tcp, target).await
        } else if let Some(exec) = &probe.exec {
            run(exec, target).await
        } else {
            Err("this kind of probe is not supported".to_owned())
        }
    };
    let answer = tokio::time::timeout(limit, ask).await;
    answer.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

/// Runs a preStop or postStart handler.
pub async fn handler(handler: &LifecycleHandler, target: &Target<'_>) -> Result<(), String> {
    if let Some(get) = &handler.http_get {
        http(get, target).await
    } else if let Some(exec) = &handler.exec {
        run(exec, target).await
    } else if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(
            u64::try_from(sleep.seconds).unwrap_or(0),
        ))
        .await;
        Ok(())
    } else if let Some(tcp) = &handler.tcp_socket {
        connect(tcp, target).await
    } else {
        Err("this kind of handler is not supported".to_owned())
    }
}

fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_ref() == Some(name));
            named
                .map(|port| port.container_port)
                .or_else(|| name.parse().ok())
        }
    };
    let number = number.and_then(|number| u16::try_from(number).ok());
    number.ok_or_else(|| format!("container {} has no port {port:?}", container.name))
}

async fn connect(tcp: &TCPSocketAction, target: &Target<'_>) -> Result<(), String> {
    let host = tcp.host.as_deref().unwrap_or(target.address);
    let address = (host, port(&tcp.port, target.container)?);
    let stream = TcpStream::connect(address).await;
    stream
        .map(drop)
        .map_err(|error| format!("{address:?}: {error}"))
}

async fn http(get: &HTTPGetAction, target: &Target<'_>) -> Result<(), String> {
    if get.scheme.as_deref() == Some("HTTPS") {
        return Err("probes over HTTPS are not supported".to_owned());
    }
    let host = get.host.as_deref().unwrap_or(target.address);
    let port = port(&get.port, target.container)?;
    let path = get.path.as_deref().unwrap_or("/");
    let failed = |error: std::io::Error| format!("http://{host}:{port}{path}: {error}");
    let mut stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    let given = get.http_headers.iter().flatten();
    let given: String = given
        .map(|h| format!("{}: {}\r\n", h.name, h.value))
        .collect();
    let named = given.to_ascii_lowercase().contains("host: ");
    let named = if named {
        String::new()
    } else {
        format!("Host: {host}:{port}\r\n")
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\n{named}User-Agent: kube-probe/1.36\r\nAccept: */*\r\nConnection: close\r\n{given}\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.map_err(failed)?;
    let status = String::from_utf8_lossy(&head);
    let status = status.get(9..).unwrap_or_default();
    if status.starts_with('2') || status.starts_with('3') {
        Ok(())
    } else {
        Err(format!("HTTP probe failed with statuscode: {status}"))
    }
}

async fn run(exec: &ExecAction, target: &Target<'_>) -> Result<(), String> {
    let process = target.process.to_string();
    let mut command = Command::new("/usr/bin/nsenter");
    command.args(["-t", &process, "-m", "-n", "-u", "-p"]);
    command.args([
        "-S",
        &target.user.to_string(),
        "-G",
        &target.group.to_string(),
        "--",
    ]);
    command.args(exec.command.iter().flatten());
    command.env_clear().envs(target.environment);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command
        .output()
        .await
        .map_err(|error| format!("nsenter: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        let said = [output.stdout, output.stderr].concat();
        Err(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&said).trim()
        ))
    }
}
