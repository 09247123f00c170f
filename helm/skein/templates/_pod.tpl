{{- /* Parts of pods that all roles share. */ -}}
{{- define "skein.pod.security" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "skein.container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* What pods of all kinds say. Argument: the root. */ -}}
{{- define "skein.pod.common" -}}
serviceAccountName: {{ .Values.serviceAccount.create | ternary (.Values.serviceAccount.name | default (include "skein.fullname" .)) (.Values.serviceAccount.name | default "default") }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- include "skein.pod.security" . | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Where pods go. Argument: the values of the role. */ -}}
{{- define "skein.pod.place" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end }}

{{- /* Arguments: the root, the component, its spread {node, zone}. */ -}}
{{- define "skein.pod.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: {{ (index . 2).node }}
    labelSelector: {matchLabels: {{ include "skein.selector" . | fromYaml | toJson }}}
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: {{ (index . 2).zone }}
    labelSelector: {matchLabels: {{ include "skein.selector" . | fromYaml | toJson }}}
{{- end }}

{{- define "skein.env" -}}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
- {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
- {name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
{{- end }}

{{- /* Arguments: the values of the role. */ -}}
{{- define "skein.probes" -}}
startupProbe: {{- merge (dict "httpGet" (dict "path" "/startupz" "port" "http")) .startupProbe | toYaml | nindent 2 }}
livenessProbe: {{- merge (dict "httpGet" (dict "path" "/livez" "port" "http")) .livenessProbe | toYaml | nindent 2 }}
readinessProbe: {{- merge (dict "httpGet" (dict "path" "/readyz" "port" "http")) .readinessProbe | toYaml | nindent 2 }}
{{- end }}

{{- /* Signs a certificate of the generated CA for this pod, at each start of it.
       Arguments: the root, further arguments of `skein dev-ca`. */ -}}
{{- define "skein.certificate.init" -}}
{{- $root := index . 0 }}
{{- if eq $root.Values.certificates.source "generated" }}
- name: certificate
  image: {{ include "skein.image" $root | quote }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  command: ["skein", "dev-ca", "--ca-cert", "/etc/skein/ca/tls.crt", "--ca-key", "/etc/skein/ca/tls.key", "--replace"]
  args:
    {{- range rest . }}
    - {{ . | quote }}
    {{- end }}
    - /etc/skein/tls
  env: {{- include "skein.env" $root | nindent 4 }}
  securityContext: {{- include "skein.container.security" $root | nindent 4 }}
  resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {memory: 64Mi}}
  volumeMounts:
    - {name: ca-key, mountPath: /etc/skein/ca, readOnly: true}
    - {name: tls, mountPath: /etc/skein/tls}
{{- end }}
{{- end }}

{{- /* Arguments: the root, the role. */ -}}
{{- define "skein.certificate.volumes" -}}
{{- $root := index . 0 }}{{ $role := index . 1 }}{{ $name := include "skein.fullname" $root }}
{{- if eq $root.Values.certificates.source "generated" }}
- {name: tls, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: ca, secret: {secretName: {{ $name }}-ca, items: [{key: tls.crt, path: ca.crt}]}}
- {name: ca-key, secret: {secretName: {{ $name }}-ca, defaultMode: 288}}
{{- else if eq $root.Values.certificates.source "certManager" }}
- {name: tls, secret: {secretName: {{ $name }}-{{ $role }}-tls, defaultMode: 288}}
{{- else }}
- {name: tls, secret: {secretName: {{ get $root.Values.certificates.existing $role | quote }}, defaultMode: 288}}
{{- end }}
{{- end }}

{{- define "skein.certificate.mounts" -}}
- {name: tls, mountPath: /etc/skein/tls, readOnly: true}
{{- if eq .Values.certificates.source "generated" }}
- {name: ca, mountPath: /etc/skein/ca, readOnly: true}
{{- end }}
{{- end }}

{{- /* How skeinctl reaches a control node with an operator's certificate. Arguments: the root, the URL, the directory. */ -}}
{{- define "skein.skeinctl.env" -}}
{{- $generated := eq (index . 0).Values.certificates.source "generated" }}{{ $folder := index . 2 }}
- {name: SKEINCTL_SERVER, value: {{ index . 1 | quote }}}
- {name: SKEINCTL_CA, value: {{ $generated | ternary "/etc/skein/ca/ca.crt" (printf "%s/ca.crt" $folder) | quote }}}
- {name: SKEINCTL_CERT, value: {{ $generated | ternary "/etc/skein/tls/operator.pem" (printf "%s/tls.crt" $folder) | quote }}}
- {name: SKEINCTL_KEY, value: {{ $generated | ternary "/etc/skein/tls/operator-key.pem" (printf "%s/tls.key" $folder) | quote }}}
{{- end }}

{{- /* The key that private keys of domains are encrypted with. */ -}}
{{- define "skein.dkim.volumes" -}}
{{- with .Values.dkim.existingSecret }}
- {name: dkim, secret: {secretName: {{ . | quote }}, defaultMode: 288}}
{{- end }}
{{- end }}

{{- define "skein.dkim.mounts" -}}
{{- if .Values.dkim.existingSecret }}
- {name: dkim, mountPath: /etc/skein/dkim, readOnly: true}
{{- end }}
{{- end }}

{{- /* Certificate and logins of SMTP. */ -}}
{{- define "skein.smtp.volumes" -}}
{{- $name := include "skein.fullname" . }}
{{- with .Values.smtp.tls }}
{{- if ne .source "none" }}
- {name: smtp-tls, secret: {secretName: {{ eq .source "existing" | ternary .existingSecret (printf "%s-smtp-tls" $name) | quote }}, defaultMode: 288}}
{{- range $nth, $one := .certificates }}
- {name: smtp-sni-{{ $nth }}, secret: {secretName: {{ $one.secretName | quote }}, defaultMode: 288}}
{{- end }}
{{- end }}
{{- end }}
{{- with include "skein.logins" . }}
- name: users
  projected:
    defaultMode: 288
    sources:
      {{- range fromJsonArray . }}
      - secret: {name: {{ .secretName | quote }}, items: [{key: {{ .secretKey | default "password" | quote }}, path: {{ .name | quote }}}]}
      {{- end }}
{{- end }}
{{- end }}

{{- define "skein.smtp.mounts" -}}
{{- if ne .Values.smtp.tls.source "none" }}
- {name: smtp-tls, mountPath: /etc/skein/smtp, readOnly: true}
{{- range $nth, $one := .Values.smtp.tls.certificates }}
- {name: smtp-sni-{{ $nth }}, mountPath: {{ printf "/etc/skein/smtp-sni/%s" $one.secretName | quote }}, readOnly: true}
{{- end }}
{{- end }}
{{- if include "skein.logins" . }}
- {name: users, mountPath: /etc/skein/users, readOnly: true}
{{- end }}
{{- end }}

{{- define "skein.smtp.containerPorts" -}}
{{- range (include "skein.smtp.ports" . | fromJsonArray) }}
- {name: {{ .name }}, containerPort: {{ .containerPort }}}
{{- end }}
{{- end }}

{{- /* Kubernetes sleeps by itself from 1.30 on; there is no shell in the image. */ -}}
{{- define "skein.preStop" -}}
{{- if and (semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version) (gt (int .Values.sender.preStopSeconds) 0) }}
lifecycle: {preStop: {sleep: {seconds: {{ .Values.sender.preStopSeconds }}}}}
{{- end }}
{{- end }}

{{- /* Of a role: what a change of restarts its pods. Arguments: the root, the rendered configuration, the values of the role. */ -}}
{{- define "skein.pod.annotations" -}}
checksum/config: {{ index . 1 | sha256sum }}
{{- with (index . 2).podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}
