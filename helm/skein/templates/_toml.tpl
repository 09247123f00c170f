{{- /* A map as TOML. Helm reads all numbers as floats, so those without a fraction are written as integers.
       Arguments: the table's path, the map. */ -}}
{{- define "skein.toml" -}}
{{- $path := index . 0 }}{{ $map := index . 1 }}
{{- range $key, $value := $map }}
{{- if and (not (kindIs "map" $value)) (not (kindIs "invalid" $value)) (ne (include "skein.toml.isTables" $value) "true") }}
{{ $key }} = {{ include "skein.toml.value" $value }}
{{- end }}
{{- end }}
{{- range $key, $value := $map }}
{{- $below := empty $path | ternary $key (printf "%s.%s" $path $key) }}
{{- if kindIs "map" $value }}
[{{ $below }}]
{{- include "skein.toml" (list $below $value) }}
{{- else if eq (include "skein.toml.isTables" $value) "true" }}
{{- range $value }}
[[{{ $below }}]]
{{- include "skein.toml" (list $below .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "skein.toml.isTables" -}}
{{- if kindIs "slice" . }}{{ if . }}{{ kindIs "map" (first .) }}{{ end }}{{ end }}
{{- end }}

{{- define "skein.toml.value" -}}
{{- if kindIs "float64" . }}{{ eq . (floor .) | ternary (printf "%.0f" .) (toString .) }}
{{- else if kindIs "slice" . }}[{{ range $nth, $item := . }}{{ if $nth }}, {{ end }}{{ include "skein.toml.value" $item }}{{ end }}]
{{- else }}{{ toJson . }}
{{- end }}
{{- end }}
