{{- /* Names */ -}}
{{- define "skein.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "skein.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "skein.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "skein.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "skein.headless" -}}
{{ include "skein.fullname" . }}-control-headless
{{- end }}

{{- define "skein.egress.namespace" -}}
{{ .Values.egress.namespace | default .Release.Namespace }}
{{- end }}

{{- /* Labels. Arguments: the root, the component. */ -}}
{{- define "skein.selector" -}}
app.kubernetes.io/name: {{ include "skein.name" (index . 0) }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "skein.labels" -}}
{{- $root := index . 0 -}}
{{ include "skein.selector" . }}
app.kubernetes.io/part-of: skein
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* What is in the name of every object. Arguments: the root, the component, the suffix of the name. */ -}}
{{- define "skein.metadata" -}}
name: {{ include "skein.fullname" (index . 0) }}-{{ index . 2 }}
namespace: {{ (index . 0).Release.Namespace }}
labels:
  {{- include "skein.labels" . | nindent 2 }}
{{- end }}

{{- define "skein.image" -}}
{{- $image := .Values.image -}}
{{- $name := $image.repository -}}
{{- $registry := (.Values.global).imageRegistry | default $image.registry -}}
{{- if $registry }}{{ $name = printf "%s/%s" $registry $name }}{{ end -}}
{{- if $image.digest }}{{ $name }}@{{ $image.digest }}{{ else }}{{ $name }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* The senders' pods: those of the StatefulSet where one node does everything. */ -}}
{{- define "skein.intake" -}}
{{ eq .Values.mode "single" | ternary "control" "sender" }}
{{- end }}

{{- define "skein.control.replicas" -}}
{{ eq .Values.mode "single" | ternary 1 (int .Values.control.replicas) }}
{{- end }}

{{- /* host:port of every control node, as a JSON list. */ -}}
{{- define "skein.peers" -}}
{{- $peers := list }}
{{- range $nth := until (int (include "skein.control.replicas" .)) }}
{{- $peers = append $peers (printf "%s:7000" (include "skein.control.host" (list $ (printf "%s-control-%d" (include "skein.fullname" $) $nth)))) }}
{{- end }}
{{- toJson $peers }}
{{- end }}

{{- /* What other nodes call a control node. Arguments: the root, the pod's name. */ -}}
{{- define "skein.control.host" -}}
{{- $root := index . 0 -}}
{{ index . 1 }}.{{ include "skein.headless" $root }}.{{ $root.Release.Namespace }}.svc.{{ $root.Values.clusterDomain }}
{{- end }}

{{- /* The admin API, for Jobs: any control node's; a certificate that a pod signs for itself is for that pod's name alone. */ -}}
{{- define "skein.admin.url" -}}
{{- if eq .Values.certificates.source "generated" -}}
https://{{ include "skein.control.host" (list . (printf "%s-control-0" (include "skein.fullname" .))) }}:7001
{{- else -}}
https://{{ include "skein.fullname" . }}-control.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:7001
{{- end }}
{{- end }}

{{- /* An object from a template, with what the user merges into it and patches of it (RFC 6902).
       Arguments: the root, the template's name, the hooks {merge, patch}. */ -}}
{{- define "skein.resource" -}}
{{- $hooks := index . 2 | default dict }}
{{- $object := include (index . 1) (index . 0) | fromYaml }}
{{- with $object.Error }}{{ fail (printf "%s: %s" (index $ 1) .) }}{{ end }}
{{- $object = mergeOverwrite $object (deepCopy ($hooks.merge | default dict)) }}
{{- range $hooks.patch }}
{{- $object = (include "skein.patched" (dict "node" $object "path" (splitList "/" (trimPrefix "/" .path)) "op" .) | fromJson).node }}
{{- end -}}
---
{{ toYaml $object }}
{{ end }}

{{- /* JSON {node: ...}, after one operation at a path below it. */ -}}
{{- define "skein.patched" -}}
{{- $op := .op }}{{ $node := .node }}{{ $rest := rest .path }}
{{- $key := first .path | replace "~1" "/" | replace "~0" "~" }}
{{- if kindIs "map" $node }}
  {{- if and (not (hasKey $node $key)) (or $rest (ne $op.op "add")) }}{{ fail (printf "patch %s %s: nothing is there" $op.op $op.path) }}{{ end }}
  {{- if $rest }}
    {{- $_ := set $node $key (include "skein.patched" (dict "node" (get $node $key) "path" $rest "op" $op) | fromJson).node }}
  {{- else if eq $op.op "remove" }}
    {{- $_ := unset $node $key }}
  {{- else }}
    {{- $_ := set $node $key $op.value }}
  {{- end }}
{{- else if kindIs "slice" $node }}
  {{- $nth := eq $key "-" | ternary (len $node) (atoi $key) }}
  {{- $end := and (eq $op.op "add") (not $rest) | ternary (len $node) (sub (len $node) 1) | int }}
  {{- if gt $nth $end }}{{ fail (printf "patch %s %s: the list ends before" $op.op $op.path) }}{{ end }}
  {{- $new := list }}
  {{- range $at, $item := $node }}
    {{- if ne $at $nth }}{{ $new = append $new $item }}
    {{- else if $rest }}{{ $new = append $new (include "skein.patched" (dict "node" $item "path" $rest "op" $op) | fromJson).node }}
    {{- else if eq $op.op "add" }}{{ $new = concat $new (list $op.value $item) }}
    {{- else if eq $op.op "replace" }}{{ $new = append $new $op.value }}
    {{- end }}
  {{- end }}
  {{- if and (eq $op.op "add") (not $rest) (eq $nth (len $node)) }}{{ $new = append $new $op.value }}{{ end }}
  {{- $node = $new }}
{{- else }}{{ fail (printf "patch %s %s: it leads through a value" $op.op $op.path) }}
{{- end }}
{{- toJson (dict "node" $node) }}
{{- end }}
