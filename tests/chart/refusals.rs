//! Values that are nonsense, or would lose mail or let strangers send it, are refused with what to do.

use skein_tests::helm::render::{KUBERNETES, template};
use skein_tests::helm::tools::{HELMS, said};

/// What Helm says of arguments, where that is an error.
fn refusal(helm: &str, arguments: &str) -> Option<String> {
    let mut command = template(helm, KUBERNETES[1]);
    command.args(arguments.split_whitespace());
    let output = command.output().unwrap();
    (!output.status.success()).then(|| said(&output))
}

/// Arguments of Helm, and what the refusal says.
const NONSENSE: &[(&str, &str)] = &[
    ("--set control.replicas=2", "control"),
    ("--set control.replicas=7", "control"),
    ("--set control.scaleDownTo=2", "scaleDownTo"),
    ("--set control.join=open", "join"),
    ("--set mode=pair", "mode"),
    ("--set contrl.replicas=3", "contrl"),
    ("--set control.replica=3", "replica"),
    ("--set smtp.relayNetworks={10.0.0.0}", "relayNetworks"),
    ("--set smtp.relayNetworks={10.0.0.256/8}", "relayNetworks"),
    ("--set smtp.relayNetworks={0.0.0.0/0}", "relayNetworks"),
    ("--set smtp.relayNetworks={::/0}", "relayNetworks"),
    ("--set smtp.hostname=mx_.example..com", "hostname"),
    ("--set smtp.relay.port=70000", "port"),
    ("--set smtp.users[0].name=shop", "secretName"),
    ("--set smtp.tls.source=letsencrypt", "source"),
    (
        "--set smtp.tls.certificates[0].names={a.test}",
        "secretName",
    ),
    (
        "--set dkim.previousSecretKey=before.key",
        "dkim.existingSecret",
    ),
    ("--set dkim.zone=dkim..test", "zone"),
    ("--set dkim.reportAddress=dmarc", "reportAddress"),
    ("--set image.digest=sha256:1", "digest"),
    ("--set control.persistence.size=20GB", "size"),
    ("--set sender.pdb.maxUnavailable=200%", "maxUnavailable"),
    (
        "--set egress.nodes[0].name=a,egress.nodes[0].address=10.0.0.300",
        "address",
    ),
    ("--set backup.schedules.daily=never", "daily"),
    ("--set policy.resources[0].name=x", "kind"),
    (
        "--set networkPolicy.smtpFrom[0].podselector.a=b",
        "podselector",
    ),
    (
        "--set control.statefulSet.patch[0].op=move,control.statefulSet.patch[0].path=/spec",
        "op",
    ),
    // An open relay by source NAT.
    (
        "--set smtp.relayNetworks={10.0.0.0/8},smtp.service.type=LoadBalancer,smtp.service.externalTrafficPolicy=Cluster",
        "would be an open relay",
    ),
    (
        "--set smtp.relayNetworks={10.0.0.0/8},smtp.service.type=NodePort,smtp.service.externalTrafficPolicy=Cluster",
        "would be an open relay",
    ),
    (
        "--set smtp.proxyProtocol.enabled=true",
        "smtp.proxyProtocol.networks",
    ),
    ("--set control.pdb.maxUnavailable=2", "there is no quorum"),
    (
        "--set sender.terminationGracePeriodSeconds=120",
        "less than the drain takes",
    ),
    (
        "--set smtp.shutdownGraceSeconds=90",
        "less than the drain takes",
    ),
    (
        "--set mode=single,control.terminationGracePeriodSeconds=60",
        "control.terminationGracePeriodSeconds",
    ),
    ("--set smtp.tls.source=existing", "smtp.tls.existingSecret"),
    (
        "--set smtp.tls.source=none,smtp.tls.certificates[0].secretName=a",
        "smtp.tls.certificates",
    ),
    (
        "--set smtp.tls.source=none,smtp.users[0].name=a,smtp.users[0].secretName=b",
        "nobody can log in",
    ),
    (
        "--set smtp.tls.source=certManager",
        "smtp.tls.certManager.issuerRef",
    ),
    (
        "--set certificates.source=existing",
        "certificates.existing.control",
    ),
    ("--set mode=single,egress.enabled=true", "egress.enabled"),
    (
        "--set egress.enabled=true,egress.nodes[0].name=a",
        "needs its address",
    ),
    (
        "--set egress.enabled=true,egress.namespace=x,certificates.source=certManager",
        "ClusterIssuer",
    ),
    ("--set sender.hostNetwork=true", "networkPolicy.raftFrom"),
    (
        "--set sender.kind=DaemonSet,sender.autoscaling.type=hpa",
        "sender.kind",
    ),
    (
        "--set sender.autoscaling.type=keda,sender.autoscaling.minReplicas=20",
        "maxReplicas",
    ),
    ("--set smtp.submission.containerPort=2525", "is used twice"),
    (
        "--set smtp.relay.enabled=false,smtp.tls.source=none,test.enabled=false",
        "no mail could come in",
    ),
    (
        "--set control.service.patch[0].op=remove,control.service.patch[0].path=/spec/nothing",
        "nothing is there",
    ),
    (
        "--set control.service.patch[0].op=replace,control.service.patch[0].path=/spec/ports/7",
        "the list ends before",
    ),
    ("--kube-version 1.26", "kubeVersion"),
];

#[test]
fn nonsense_is_refused() {
    for helm in HELMS {
        for (arguments, expected) in NONSENSE {
            let refused = refusal(helm, arguments);
            let refused = refused.unwrap_or_else(|| panic!("{helm} takes {arguments}"));
            assert!(refused.contains(expected), "{helm} {arguments}: {refused}");
        }
    }
}

/// A chart is used inside others, which set these.
#[test]
fn what_is_usual_is_taken() {
    for helm in HELMS {
        for arguments in [
            "--set global.imageRegistry=registry.example.com",
            "--set enabled=true",
            "--set smtp.relayNetworks={10.0.0.0/8},smtp.service.type=LoadBalancer",
            "--set smtp.relayNetworks={2001:db8::/32}",
            "--set control.replicas=5,control.pdb.maxUnavailable=2",
            "--set control.replicas=1",
            "--set listenAddress=[::]",
            "--set sender.hostNetwork=true,networkPolicy.enabled=false",
            "--set config.log.level=debug,sender.config.delivery.connections_per_destination=5",
            "--set smtp.tls.source=none,test.enabled=false",
        ] {
            assert_eq!(refusal(helm, arguments), None, "{helm} {arguments}");
        }
    }
}
