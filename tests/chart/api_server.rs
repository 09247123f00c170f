//! What Helm's `lookup` needs of a Kubernetes API server: the objects that are there, over HTTP.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};

/// Ends when dropped.
pub struct ApiServer {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Serves Secrets and StatefulSets.
    pub fn start(objects: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = ends.clone();
        let objects = Arc::new(objects);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::Acquire) {
                    return;
                }
                let (stream, objects) = (stream.unwrap(), objects.clone());
                // It ends with the connection.
                std::thread::spawn(move || serve(stream, &objects));
            }
        });
        Self {
            address,
            ends,
            thread: Some(thread),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        // It waits for a connection.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Answers GETs until the client leaves.
fn serve(stream: TcpStream, objects: &[Value]) {
    let mut writer = stream.try_clone().unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while let Some(request) = lines.next() {
        let path = request
            .split([' ', '?'])
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        while lines.next().is_some_and(|header| !header.is_empty()) {}
        let found = answer(&path, objects);
        let (status, body) = match found {
            Some(body) => ("200 OK", body),
            None => {
                let body = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404
                });
                ("404 Not Found", body)
            }
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if writer
            .write_all(format!("{head}{body}").as_bytes())
            .is_err()
        {
            return;
        }
    }
}

fn answer(path: &str, objects: &[Value]) -> Option<Value> {
    let version = json!({"groupVersion": "apps/v1", "version": "v1"});
    let resources = |group: &str, name: &str, kind: &str| {
        json!({
            "kind": "APIResourceList", "groupVersion": group,
            "resources": [{"name": name, "namespaced": true, "kind": kind, "verbs": ["get"]}]
        })
    };
    match path {
        "/version" => Some(json!({"major": "1", "minor": "37", "gitVersion": "v1.37.0"})),
        "/api" => Some(json!({"kind": "APIVersions", "versions": ["v1"]})),
        "/apis" => Some(json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": [{"name": "apps", "versions": [version], "preferredVersion": version}]
        })),
        "/api/v1" => Some(resources("v1", "secrets", "Secret")),
        "/apis/apps/v1" => Some(resources("apps/v1", "statefulsets", "StatefulSet")),
        _ => objects
            .iter()
            .find(|object| path_of(object) == path)
            .cloned(),
    }
}

fn path_of(object: &Value) -> String {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    };
    let group = match text("/apiVersion").as_str() {
        "v1" => "/api/v1".to_owned(),
        group => format!("/apis/{group}"),
    };
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    format!(
        "{group}/namespaces/{namespace}/{}s/{name}",
        text("/kind").to_lowercase()
    )
}
