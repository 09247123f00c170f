{{- /* What a schema cannot say: values that would lose mail, or let strangers send it. */ -}}
{{- define "skein.checks" -}}
{{- $values := .Values }}{{ $smtp := .Values.smtp }}{{ $service := .Values.smtp.service }}
{{- $isCluster := eq $values.mode "cluster" }}
{{- $control := int (include "skein.control.replicas" .) }}

{{- /* Kubernetes replaces clients' addresses by those of machines: anybody would have one of relayNetworks. */ -}}
{{- if and (ne $service.type "ClusterIP") (eq $service.externalTrafficPolicy "Cluster") $smtp.relayNetworks (not $smtp.proxyProtocol.enabled) }}
{{- fail "\n\nsmtp.relayNetworks with smtp.service.externalTrafficPolicy=Cluster would be an open relay: Kubernetes hides clients' addresses behind those of machines, which may be in these networks. Use externalTrafficPolicy: Local, or enable smtp.proxyProtocol at the load balancer, or have clients log in (smtp.users)." }}
{{- end }}
{{- if and $smtp.proxyProtocol.enabled (not $smtp.proxyProtocol.networks) }}
{{- fail "\n\nsmtp.proxyProtocol.networks: name the addresses that the load balancer connects from, such as [10.0.0.0/24]; nobody else may say who a client is." }}
{{- end }}

{{- if and $isCluster $values.control.pdb.enabled (gt $control 1) }}
{{- if gt (int $values.control.pdb.maxUnavailable) (div (sub $control 1) 2 | int) }}
{{- fail (printf "\n\ncontrol.pdb.maxUnavailable: without %d of %d control nodes there is no quorum, and no mail is taken; use %d." (int $values.control.pdb.maxUnavailable) $control (div (sub $control 1) 2)) }}
{{- end }}
{{- end }}

{{- /* Kubernetes takes pods away without asking: a cluster that still counts on their votes loses its quorum. */ -}}
{{- $name := include "skein.fullname" . }}
{{- $there := lookup "apps/v1" "StatefulSet" .Release.Namespace (printf "%s-control" $name) }}
{{- $has := dig "spec" "replicas" 0 ($there | default dict) | int }}
{{- if and (lt $control $has) (ne $control (int $values.control.scaleDownTo)) }}
{{- $remove := list }}
{{- range $nth := untilStep (sub $has 1 | int) (sub $control 1 | int) -1 }}
{{- $remove = append $remove (printf "  skeinctl cluster remove %s:7000 --yes" (include "skein.control.host" (list $ (printf "%s-control-%d" $name $nth)))) }}
{{- end }}
{{- fail (printf "\n\ncontrol.replicas: %d of %d control nodes would be left, and the cluster counts on the others. Take them out first, one after the other, each when `skeinctl cluster status` is healthy:\n\n%s\n\nand then add --set control.scaleDownTo=%d (see UPGRADING.md)." $control $has (join "\n" $remove) $control) }}
{{- end }}

{{- /* 120 s is what is given to messages whose last dot was sent and whose reply is awaited (RFC 5321 4.5.3.2.6). */ -}}
{{- $drain := add $values.sender.preStopSeconds $smtp.shutdownGraceSeconds 120 }}
{{- if and $isCluster (lt (int64 $values.sender.terminationGracePeriodSeconds) $drain) }}
{{- fail (printf "\n\nsender.terminationGracePeriodSeconds: %d is less than the drain takes: sender.preStopSeconds + smtp.shutdownGraceSeconds + 120 = %d. A pod that is killed before may send mail twice." (int $values.sender.terminationGracePeriodSeconds) $drain) }}
{{- end }}
{{- if and (not $isCluster) (lt (int64 $values.control.terminationGracePeriodSeconds) $drain) }}
{{- fail (printf "\n\ncontrol.terminationGracePeriodSeconds: %d is less than the drain takes: sender.preStopSeconds + smtp.shutdownGraceSeconds + 120 = %d. A pod that is killed before may send mail twice." (int $values.control.terminationGracePeriodSeconds) $drain) }}
{{- end }}

{{- if and $values.dkim.previousSecretKey (not $values.dkim.existingSecret) }}
{{- fail "\n\ndkim.previousSecretKey: means nothing without dkim.existingSecret, whose Secret has both keys." }}
{{- end }}
{{- if and (eq $smtp.tls.source "existing") (not $smtp.tls.existingSecret) }}
{{- fail "\n\nsmtp.tls.existingSecret: name the Secret with tls.crt and tls.key, or use another smtp.tls.source." }}
{{- end }}
{{- if and (eq $smtp.tls.source "none") $smtp.tls.certificates }}
{{- fail "\n\nsmtp.tls.certificates: has no effect with smtp.tls.source=none: give another source, whose certificate is for all other clients." }}
{{- end }}
{{- if and (eq $smtp.tls.source "none") $smtp.users }}
{{- fail "\n\nsmtp.users: nobody can log in with smtp.tls.source=none: passwords are taken under TLS alone." }}
{{- end }}
{{- if and (eq $smtp.tls.source "certManager") (ne $values.certificates.source "certManager") (not $smtp.tls.certManager.issuerRef) }}
{{- fail "\n\nsmtp.tls.certManager.issuerRef: name the Issuer, such as {name: letsencrypt, kind: ClusterIssuer}." }}
{{- end }}
{{- if eq $values.certificates.source "existing" }}
{{- $roles := list "control" "operator" }}
{{- if $isCluster }}{{ $roles = append $roles "sender" }}{{ if $values.egress.enabled }}{{ $roles = append $roles "egress" }}{{ end }}{{ end }}
{{- range $roles }}
{{- if not (get $values.certificates.existing .) }}{{ fail (printf "\n\ncertificates.existing.%s: name the Secret with ca.crt, tls.crt and tls.key of this role." .) }}{{ end }}
{{- end }}
{{- end }}

{{- if and $isCluster $values.sender.hostNetwork $values.networkPolicy.enabled (not $values.networkPolicy.raftFrom) }}
{{- fail "\n\nnetworkPolicy.raftFrom: name the machines of the senders, such as [{ipBlock: {cidr: 10.0.0.0/24}}]: with sender.hostNetwork they are no pods to a NetworkPolicy." }}
{{- end }}

{{- if $values.egress.enabled }}
{{- if not $isCluster }}
{{- fail "\n\negress.enabled: needs mode: cluster; a single node sends from its own addresses." }}
{{- end }}
{{- range $values.egress.nodes }}
{{- if and (not .address) (or $values.networkPolicy.enabled (eq $values.certificates.source "certManager")) }}
{{- fail (printf "\n\negress.nodes: %s needs its address: the certificate (certManager) and the NetworkPolicies name it." .name) }}
{{- end }}
{{- end }}
{{- if and (eq $values.certificates.source "certManager") (ne (include "skein.egress.namespace" .) .Release.Namespace) (ne ($values.certificates.certManager.issuerRef.kind | default "Issuer") "ClusterIssuer") }}
{{- fail "\n\negress.namespace: certificates in another namespace need a ClusterIssuer: set certificates.certManager.issuerRef." }}
{{- end }}
{{- end }}

{{- if and $isCluster (ne $values.sender.autoscaling.type "none") }}
{{- if ne $values.sender.kind "Deployment" }}{{ fail "\n\nsender.autoscaling: a DaemonSet has a pod on each machine; use sender.kind: Deployment." }}{{ end }}
{{- if gt (int $values.sender.autoscaling.minReplicas) (int $values.sender.autoscaling.maxReplicas) }}{{ fail "\n\nsender.autoscaling.minReplicas: is above maxReplicas." }}{{ end }}
{{- end }}

{{- $ports := dict }}
{{- range (include "skein.smtp.ports" . | fromJsonArray) }}
{{- range $port := list (printf "containerPort %v" .containerPort) (printf "port %v" .port) }}
{{- if hasKey $ports $port }}{{ fail (printf "\n\nsmtp: %s is used twice." $port) }}{{ end }}
{{- $_ := set $ports $port true }}
{{- end }}
{{- end }}
{{- if not $ports }}{{ fail "\n\nsmtp: all ports are disabled, so no mail could come in; enable smtp.relay, or logins with smtp.submission." }}{{ end }}
{{- end }}
