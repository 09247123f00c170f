{{- /* The files of a role: a ConfigMap's skein.toml. Arguments: the root, the template of the role's own keys, the user's keys of the role. */ -}}
{{- define "skein.config" -}}
{{- $root := index . 0 }}
{{- $config := include (index . 1) $root | fromYaml }}
{{- with $config.Error }}{{ fail (printf "%s: %s" (index $ 1) .) }}{{ end }}
{{- range $more := list $root.Values.config (index . 2) }}
  {{- $more = deepCopy $more }}
  {{- $routes := (($config.delivery).route) }}
  {{- if and $routes (($more.delivery).route) }}{{ $_ := set $more.delivery "route" (concat $routes $more.delivery.route) }}{{ end }}
  {{- $config = mergeOverwrite $config $more }}
{{- end }}
{{- include "skein.toml" (list "" $config) | trim }}
{{- end }}

{{- define "skein.listen" -}}
{{ .Values.listenAddress }}
{{- end }}

{{- define "skein.config.common" -}}
data_dir: /var/lib/skein
http: {listen: {{ printf "%s:7002" .Values.listenAddress | quote }}}
log: {format: json}
{{- end }}

{{- /* Certificates of a node. Arguments: the root, its host. */ -}}
{{- define "skein.config.tls" -}}
{{- if eq (index . 0).Values.certificates.source "generated" -}}
ca: /etc/skein/ca/ca.crt
certificate: {{ printf "/etc/skein/tls/%s.pem" (index . 1) | quote }}
key: {{ printf "/etc/skein/tls/%s-key.pem" (index . 1) | quote }}
{{- else -}}
ca: /etc/skein/tls/ca.crt
certificate: /etc/skein/tls/tls.crt
key: /etc/skein/tls/tls.key
{{- end }}
{{- end }}

{{- define "skein.config.control" -}}
{{ include "skein.config.common" . }}
role: {{ eq .Values.mode "single" | ternary "all" "control" }}
cluster:
  listen: {{ printf "%s:7000" .Values.listenAddress | quote }}
  address: {{ printf "%s:7000" (include "skein.control.host" (list . "${POD_NAME}")) | quote }}
  peers: {{ include "skein.peers" . }}
  join: {{ .Values.control.join }}
  spool_groups: {{ .Values.control.spoolGroups }}
  tls: {{- include "skein.config.tls" (list . (include "skein.control.host" (list . "${POD_NAME}"))) | nindent 4 }}
admin: {listen: {{ printf "%s:7001" .Values.listenAddress | quote }}}
{{- with include "skein.config.dkim" (list . true) | fromYaml }}
dkim: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if eq .Values.mode "single" }}
{{ include "skein.config.intake" . }}
{{- end }}
{{- end }}

{{- define "skein.sender.name" -}}
{{ and .Values.sender.hostNetwork (eq .Values.sender.kind "DaemonSet") | ternary "${NODE_NAME}" "${POD_NAME}" }}
{{- end }}

{{- define "skein.config.sender" -}}
{{ include "skein.config.common" . }}
role: sender
cluster:
  name: {{ include "skein.sender.name" . | quote }}
  peers: {{ include "skein.peers" . }}
  tls: {{- include "skein.config.tls" (list . "${POD_NAME}") | nindent 4 }}
{{- with include "skein.config.dkim" (list . false) | fromYaml }}
dkim: {{- toYaml . | nindent 2 }}
{{- end }}
{{ include "skein.config.intake" . }}
{{- end }}

{{- /* Of domains' keys. Arguments: the root, whether the node makes them. */ -}}
{{- define "skein.config.dkim" -}}
{{- with (index . 0).Values.dkim }}
{{- if .existingSecret }}
key_file: {{ printf "/etc/skein/dkim/%s" .secretKey | quote }}
{{- with .previousSecretKey }}
previous_key_file: {{ printf "/etc/skein/dkim/%s" . | quote }}
{{- end }}
{{- end }}
{{- if index $ 1 }}
{{- with .zone }}
zone: {{ . | quote }}
{{- end }}
{{- with .returnPathHost }}
return_path_host: {{ . | quote }}
{{- end }}
{{- with .reportAddress }}
report_address: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "skein.config.egress" -}}
role: egress
http: {listen: {{ printf "%s:%v" .Values.listenAddress .Values.egress.httpPort | quote }}}
log: {format: json}
cluster:
  name: "${NODE_NAME}"
  peers: {{ include "skein.peers" . }}
  tls: {{- include "skein.config.tls" (list . "${HOST_IP}") | nindent 4 }}
egress:
  listen: {{ printf "%s:%v" .Values.listenAddress .Values.egress.port | quote }}
  address: {{ printf "${HOST_IP}:%v" .Values.egress.port | quote }}
{{- end }}

{{- /* Mail in and out. */ -}}
{{- define "skein.config.intake" -}}
{{- $smtp := .Values.smtp }}
{{- $tls := ne $smtp.tls.source "none" }}
smtp:
  {{- with $smtp.hostname }}
  hostname: {{ . | quote }}
  {{- end }}
  relay_networks: {{ concat (list "127.0.0.0/8" "::1/128") $smtp.relayNetworks | toJson }}
  {{- if $smtp.proxyProtocol.enabled }}
  proxy_networks: {{ toJson $smtp.proxyProtocol.networks }}
  {{- end }}
  {{- if $tls }}
  tls:
    certificate: /etc/skein/smtp/tls.crt
    key: /etc/skein/smtp/tls.key
    {{- with $smtp.tls.certificates }}
    sni:
      {{- range . }}
      - {certificate: {{ printf "/etc/skein/smtp-sni/%s/tls.crt" .secretName | quote }}, key: {{ printf "/etc/skein/smtp-sni/%s/tls.key" .secretName | quote }}{{ with .names }}, names: {{ toJson . }}{{ end }}}
      {{- end }}
    {{- end }}
  {{- end }}
  limits: {shutdown_grace: {{ $smtp.shutdownGraceSeconds }}s}
  listener:
    {{- if $smtp.relay.enabled }}
    - {address: {{ printf "%s:%v" .Values.listenAddress $smtp.relay.containerPort | quote }}}
    {{- end }}
    {{- if include "skein.logins" . }}
    {{- if $smtp.submission.enabled }}
    - {address: {{ printf "%s:%v" .Values.listenAddress $smtp.submission.containerPort | quote }}, kind: submission, tls: starttls}
    {{- end }}
    {{- if $smtp.submissions.enabled }}
    - {address: {{ printf "%s:%v" .Values.listenAddress $smtp.submissions.containerPort | quote }}, kind: submission, tls: implicit}
    {{- end }}
    {{- end }}
  user:
    {{- range (include "skein.logins" . | default "[]" | fromJsonArray) }}
    - {name: {{ .name | quote }}, tenant: {{ .tenant | default "default" | quote }}, password_file: {{ printf "/etc/skein/users/%s" .name | quote }}}
    {{- end }}
{{- if .Values.test.enabled }}
delivery:
  route:
    - {domains: [{{ .Values.test.domain | quote }}], hosts: ["{{ include "skein.fullname" . }}-sink.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:2526"]}
{{- end }}
{{- end }}

{{- /* Who may log in, as a JSON list; nothing without TLS or without anybody. */ -}}
{{- define "skein.logins" -}}
{{- if ne .Values.smtp.tls.source "none" }}
{{- $users := .Values.smtp.users }}
{{- if .Values.test.enabled }}
{{- $users = append $users (dict "name" "helm-test" "tenant" "helm-test" "secretName" (printf "%s-test" (include "skein.fullname" .)) "secretKey" "password") }}
{{- end }}
{{- with $users }}{{ toJson . }}{{ end }}
{{- end }}
{{- end }}

{{- /* Ports of the Service and the pods that are open, as a JSON list. */ -}}
{{- define "skein.smtp.ports" -}}
{{- $ports := list }}
{{- $smtp := .Values.smtp }}
{{- if $smtp.relay.enabled }}{{ $ports = append $ports (dict "name" "smtp" "port" $smtp.relay.port "containerPort" $smtp.relay.containerPort) }}{{ end }}
{{- if include "skein.logins" . }}
{{- if $smtp.submission.enabled }}{{ $ports = append $ports (dict "name" "submission" "port" $smtp.submission.port "containerPort" $smtp.submission.containerPort) }}{{ end }}
{{- if $smtp.submissions.enabled }}{{ $ports = append $ports (dict "name" "submissions" "port" $smtp.submissions.port "containerPort" $smtp.submissions.containerPort) }}{{ end }}
{{- end }}
{{- toJson $ports }}
{{- end }}
