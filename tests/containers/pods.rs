//! The chart's pods as containers: what a kubelet makes of them, made by hand.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use skein_tests::helm::render::{NAMESPACE, containers, name_of, of_kind, pod_of};
use skein_tests::helm::tools::{said, succeeds};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::engine::Engine;

const NETWORK: &str = "pods";
const USER: u32 = 65532;
const HTTP_PORT: u16 = 7002;
const LOOK_EVERY: Duration = Duration::from_millis(100);
const HTTP_WAIT: Duration = Duration::from_secs(5);

/// The objects of a release, and the containers of their pods.
pub struct Release<'e> {
    engine: &'e Engine,
    objects: Vec<Value>,
    /// Volumes of pods, by pod and volume.
    folder: TempDir,
}

impl<'e> Release<'e> {
    pub fn new(engine: &'e Engine, objects: Vec<Value>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), open).unwrap();
        Self {
            engine,
            objects,
            folder,
        }
    }

    /// Makes the pods' network; the address of this machine in it.
    pub fn network(engine: &Engine) -> IpAddr {
        succeeds(engine.docker().args(["network", "create", NETWORK]));
        Self::machine_of(engine)
    }

    fn machine_of(engine: &Engine) -> IpAddr {
        let format = "{{(index .IPAM.Config 0).Gateway}}";
        let gateway = succeeds(
            engine
                .docker()
                .args(["network", "inspect", "--format", format, NETWORK]),
        );
        gateway.trim().parse().unwrap()
    }

    pub fn machine(&self) -> IpAddr {
        Self::machine_of(self.engine)
    }

    /// The objects after an upgrade. What `lookup` finds stays: Secrets that were drawn.
    pub fn upgrade(&mut self, objects: Vec<Value>) {
        let is_kept = |object: &Value| object["kind"] == "Secret";
        let kept: Vec<Value> = of_kind(&self.objects, "Secret").cloned().collect();
        let known = |new: &Value| kept.iter().any(|old| name_of(old) == name_of(new));
        let new = objects.into_iter();
        let new = new.filter(|object| !(is_kept(object) && known(object)));
        self.objects = new.chain(kept.iter().cloned()).collect();
    }

    /// Starts the pods of a StatefulSet or a Deployment.
    pub fn start(&self, kind: &str, name: &str) -> Vec<String> {
        let pods = self.pods(kind, name);
        for pod in &pods {
            self.start_one(kind, name, pod);
        }
        pods
    }

    /// The names of its pods.
    pub fn pods(&self, kind: &str, name: &str) -> Vec<String> {
        let replicas = self.object(kind, name)["spec"]["replicas"]
            .as_u64()
            .unwrap();
        (0..replicas).map(|nth| format!("{name}-{nth}")).collect()
    }

    pub fn start_one(&self, kind: &str, name: &str, pod: &str) {
        self.start_pod(pod, pod_of(self.object(kind, name)).unwrap());
    }

    /// Takes a pod that has ended away, but for its claim.
    pub fn delete(&self, pod: &str) {
        succeeds(self.engine.docker().args(["rm", pod]));
    }

    fn object(&self, kind: &str, name: &str) -> &Value {
        let mut objects = self.objects.iter();
        let object = objects.find(|object| object["kind"] == kind && name_of(object) == name);
        object.unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    /// Runs a Pod or a Job's pod to its end, which must be a good one; what it printed.
    pub fn complete(&self, kind: &str, name: &str) -> String {
        let mut found =
            of_kind(&self.objects, kind).filter(|object| name_of(object).starts_with(name));
        let object = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
        let template = pod_of(object).unwrap();
        let container = self.prepare(name, template);
        let mut run = self.run(name, template, container);
        run.args(["--rm", "--network", NETWORK]);
        let words = image_and_words(name, container);
        succeeds(run.args(words.iter().map(|word| self.forwarded(word))))
    }

    /// A Service's port is that of its pods here, where nothing forwards.
    fn forwarded(&self, word: &str) -> String {
        for service in of_kind(&self.objects, "Service") {
            let host = format!("{}.{NAMESPACE}.svc.cluster.local", name_of(service));
            for port in list(&service["spec"]["ports"]) {
                if word.ends_with(&format!("{host}:{}", port["port"])) {
                    let before = word.rsplit_once(':').unwrap().0;
                    return format!("{before}:{}", self.container_port(&port["targetPort"]));
                }
            }
        }
        word.to_owned()
    }

    fn container_port<'o>(&'o self, name: &Value) -> &'o Value {
        let pods = self.objects.iter().filter_map(pod_of);
        let mut ports = pods
            .flat_map(containers)
            .flat_map(|container| list(&container["ports"]));
        let port = ports.find(|port| &port["name"] == name);
        &port.unwrap_or_else(|| panic!("no pod has a port {name}"))["containerPort"]
    }

    /// Volumes and init containers; the container that comes then.
    fn prepare<'o>(&self, pod: &str, template: &'o Value) -> &'o Value {
        for volume in list(&template["spec"]["volumes"]) {
            self.fill(pod, volume);
        }
        for container in list(&template["spec"]["initContainers"]) {
            succeeds(
                self.run(pod, template, container)
                    .arg("--rm")
                    .args(image_and_words(pod, container)),
            );
        }
        let mut own = list(&template["spec"]["containers"]);
        let (Some(container), None) = (own.next(), own.next()) else {
            panic!("{pod} has not one container");
        };
        container
    }

    fn start_pod(&self, pod: &str, template: &Value) {
        let container = self.prepare(pod, template);
        let mut run = self.run(pod, template, container);
        run.args([
            "--detach",
            "--name",
            pod,
            "--hostname",
            pod,
            "--network",
            NETWORK,
        ]);
        for alias in self.aliases(pod, &template["metadata"]["labels"]) {
            run.args(["--network-alias", &alias]);
        }
        succeeds(run.args(image_and_words(pod, container)));
    }

    /// Names of the Services that select it, and its own behind those without an address.
    fn aliases(&self, pod: &str, labels: &Value) -> Vec<String> {
        let selects = |service: &&Value| {
            let selector = service["spec"]["selector"].as_object().unwrap();
            selector.iter().all(|(key, value)| &labels[key] == value)
        };
        let services = of_kind(&self.objects, "Service").filter(selects);
        let names = services.flat_map(|service| {
            let name = format!("{}.{NAMESPACE}.svc.cluster.local", name_of(service));
            let own = (service["spec"]["clusterIP"] == "None").then(|| format!("{pod}.{name}"));
            [Some(name), own].into_iter().flatten()
        });
        names.collect()
    }

    /// `docker run` with what the pod and the container say of security, environment and mounts.
    fn run(&self, pod: &str, template: &Value, container: &Value) -> Command {
        let security = &template["spec"]["securityContext"];
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
        let mut run = self.engine.docker();
        run.args([
            "run",
            "--user",
            &format!("{}:{}", security["runAsUser"], security["runAsGroup"]),
        ]);
        let own = &container["securityContext"];
        if own["readOnlyRootFilesystem"] == true {
            run.arg("--read-only");
        }
        if own["allowPrivilegeEscalation"] == false {
            run.args(["--security-opt", "no-new-privileges"]);
        }
        for capability in list(&own["capabilities"]["drop"]) {
            run.args(["--cap-drop", capability.as_str().unwrap()]);
        }
        let memory = container["resources"]["limits"]["memory"].as_str().unwrap();
        run.args(["--memory", &memory.replace('i', "").to_lowercase()]);
        for variable in list(&container["env"]) {
            let path = &variable["valueFrom"]["fieldRef"]["fieldPath"];
            let value = match path.as_str() {
                Some(_) => environment(pod)[variable["name"].as_str().unwrap()].clone(),
                None => variable["value"].as_str().unwrap().to_owned(),
            };
            run.args([
                "--env",
                &format!("{}={value}", variable["name"].as_str().unwrap()),
            ]);
        }
        for mount in list(&container["volumeMounts"]) {
            let of_pod = self.volume(pod, mount["name"].as_str().unwrap());
            let from = match mount["subPath"].as_str() {
                Some(path) => of_pod.join(path),
                None => of_pod,
            };
            let mode = if mount["readOnly"] == true { ":ro" } else { "" };
            run.args([
                "--volume",
                &format!(
                    "{}:{}{mode}",
                    from.display(),
                    mount["mountPath"].as_str().unwrap()
                ),
            ]);
        }
        run
    }

    /// The folder of a volume; one that is a claim's is made here.
    fn volume(&self, pod: &str, name: &str) -> PathBuf {
        let folder = self.folder.path().join(pod).join(name);
        if !folder.exists() {
            fs::create_dir_all(&folder).unwrap();
            chown(&folder, Some(USER), Some(USER)).unwrap();
        }
        folder
    }

    fn fill(&self, pod: &str, volume: &Value) {
        let folder = self.volume(pod, volume["name"].as_str().unwrap());
        let config = volume["configMap"]["name"].as_str();
        if let Some(name) = config {
            let object = of_kind(&self.objects, "ConfigMap")
                .find(|object| name_of(object) == name)
                .unwrap();
            for (key, text) in object["data"].as_object().unwrap() {
                put(&folder.join(key), text.as_str().unwrap().as_bytes());
            }
        }
        if volume["secret"].is_object() {
            self.put_secret(
                &folder,
                volume["secret"]["secretName"].as_str().unwrap(),
                &volume["secret"]["items"],
            );
        }
        for source in list(&volume["projected"]["sources"]) {
            self.put_secret(
                &folder,
                source["secret"]["name"].as_str().unwrap(),
                &source["secret"]["items"],
            );
        }
    }

    fn put_secret(&self, folder: &Path, name: &str, items: &Value) {
        let object = of_kind(&self.objects, "Secret").find(|object| name_of(object) == name);
        let object = object.unwrap_or_else(|| panic!("no Secret {name}"));
        let items: BTreeMap<&str, &str> = match items.as_array() {
            Some(items) => items
                .iter()
                .map(|item| {
                    (
                        item["key"].as_str().unwrap(),
                        item["path"].as_str().unwrap(),
                    )
                })
                .collect(),
            None => object["data"]
                .as_object()
                .unwrap()
                .keys()
                .map(|key| (key.as_str(), key.as_str()))
                .collect(),
        };
        for (key, path) in items {
            let text = object["data"][key].as_str().unwrap();
            let script =
                "import base64, sys; sys.stdout.buffer.write(base64.b64decode(sys.argv[1]))";
            let decoded = Command::new("python3")
                .args(["-c", script, text])
                .output()
                .unwrap();
            put(&folder.join(path), &decoded.stdout);
        }
    }

    pub fn address(&self, pod: &str, port: u16) -> SocketAddr {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = succeeds(
            self.engine
                .docker()
                .args(["inspect", "--format", format, pod]),
        );
        SocketAddr::new(address.trim().parse().unwrap(), port)
    }

    /// Waits until the pod's readiness probe passes.
    pub async fn ready(&self, pod: &str, within: Duration) {
        let until = Instant::now() + within;
        loop {
            let said = get(self.address(pod, HTTP_PORT), "/readyz").await;
            if said.starts_with("HTTP/1.1 200") {
                return;
            }
            assert!(
                Instant::now() < until,
                "{pod} is not ready: {said}\n{}",
                self.engine.logs(pod)
            );
            sleep(LOOK_EVERY).await;
        }
    }

    pub fn kill9(&self, pod: &str) {
        succeeds(self.engine.docker().args(["kill", "--signal", "KILL", pod]));
    }

    /// As a kubelet starts a container of a pod that stays.
    pub fn start_again(&self, pod: &str) {
        succeeds(self.engine.docker().args(["start", pod]));
    }

    /// The status with which it ends at SIGTERM, which comes before the grace period ends, and how long that took.
    pub fn stop(&self, pod: &str, grace: Duration) -> (i32, Duration) {
        let began = std::time::Instant::now();
        succeeds(
            self.engine
                .docker()
                .args(["stop", "--time", &grace.as_secs().to_string(), pod]),
        );
        let took = began.elapsed();
        let status = succeeds(self.engine.docker().args([
            "inspect",
            "--format",
            "{{.State.ExitCode}}",
            pod,
        ]));
        (status.trim().parse().unwrap(), took)
    }

    /// A command in a pod, as `kubectl exec`.
    pub fn exec(&self, pod: &str, command: &[&str]) -> (bool, String) {
        let output = self
            .engine
            .docker()
            .args(["exec", pod])
            .args(command)
            .output()
            .unwrap();
        (output.status.success(), said(&output))
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn put(file: &Path, text: &[u8]) {
    fs::write(file, text).unwrap();
    chown(file, Some(USER), Some(USER)).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o440)).unwrap();
}

fn environment(pod: &str) -> BTreeMap<&'static str, String> {
    let own = [
        ("POD_NAME", pod),
        ("POD_IP", "127.0.0.1"),
        ("NODE_NAME", "worker"),
        ("HOST_IP", "127.0.0.1"),
    ];
    own.map(|(name, value)| (name, value.to_owned())).into()
}

/// The image, and the words of `command` and `args` as Kubernetes expands them.
fn image_and_words(pod: &str, container: &Value) -> Vec<String> {
    let expand = |word: &Value| {
        let word = word.as_str().unwrap().to_owned();
        let all = environment(pod).into_iter();
        all.fold(word, |word, (name, value)| {
            word.replace(&format!("$({name})"), &value)
        })
    };
    let words = list(&container["command"])
        .chain(list(&container["args"]))
        .map(expand);
    let image = container["image"].as_str().unwrap().to_owned();
    std::iter::once(image).chain(words).collect()
}

/// An HTTP answer; what went wrong, if there is none.
async fn get(address: SocketAddr, path: &str) -> String {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    match timeout(HTTP_WAIT, asked).await {
        Ok(answer) => answer.unwrap_or_else(|error| error.to_string()),
        Err(late) => late.to_string(),
    }
}
