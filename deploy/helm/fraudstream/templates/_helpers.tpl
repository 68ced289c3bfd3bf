{{/* Names, labels, and what all pods have in common. A part is worker, guard, explain, topics or a job. */}}

{{- define "fraudstream.name" -}}
{{- default .Release.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "fraudstream.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "fraudstream.labels" -}}
{{ include "fraudstream.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* The scrape job of a part, by which alerts tell workers from guards. */}}
{{- define "fraudstream.scrapeJob" -}}
{{- $name := include "fraudstream.name" .root -}}
{{- if eq .part "worker" }}{{ $name }}{{ else }}{{ printf "%s-%s" $name .part }}{{ end -}}
{{- end -}}

{{- define "fraudstream.image" -}}
{{- if .digest }}{{ printf "%s@%s" .repository .digest }}{{ else }}{{ printf "%s:%s" .repository (default .appVersion .tag) }}{{ end -}}
{{- end -}}

{{- define "fraudstream.group" -}}
{{- default (printf "fraudstream-%s" .Values.deployment) .Values.group -}}
{{- end -}}

{{- define "fraudstream.usesSasl" -}}{{ if hasPrefix "SASL" .Values.kafka.securityProtocol }}yes{{ end }}{{- end -}}
{{- define "fraudstream.usesTokens" -}}{{ if and (hasPrefix "SASL" .Values.kafka.securityProtocol) (eq .Values.kafka.sasl.mechanism "OAUTHBEARER") }}yes{{ end }}{{- end -}}
{{/* Whether each role logs in with what is in a Secret of its own: a password, or the secret of a client. */}}
{{- define "fraudstream.usesLogins" -}}{{ if and (hasPrefix "SASL" .Values.kafka.securityProtocol) (or (ne .Values.kafka.sasl.mechanism "OAUTHBEARER") .Values.kafka.sasl.oauth.tokenEndpoint) }}yes{{ end }}{{- end -}}
{{- define "fraudstream.usesTls" -}}{{ if hasSuffix "SSL" .Values.kafka.securityProtocol }}yes{{ end }}{{- end -}}

{{/* The Secret of a role; no role has that of another. */}}
{{- define "fraudstream.roleSecret" -}}
{{- get .secrets .role -}}
{{- end -}}

{{/* The Secret with the private key of a role. */}}
{{- define "fraudstream.signingSecret" -}}
{{- get .root.Values.keys.signingSecrets .role -}}
{{- end -}}

{{/* Annotations of what has pods. */}}
{{- define "fraudstream.annotations" -}}
{{- with .Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "fraudstream.setting" -}}
{{- $root := index . 0 -}}{{- $name := index . 1 -}}{{- $default := index . 2 -}}
{{- if hasKey $root.Values.settings $name }}{{ include "fraudstream.text" (get $root.Values.settings $name) }}{{ else }}{{ $default }}{{ end -}}
{{- end -}}

{{/* A value as text. Numbers come as floats, of which a large one would be written 1.048576e+06. */}}
{{- define "fraudstream.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ toString . }}{{ end -}}
{{- end -}}

{{/* The port of a URL: the stated one, or that of its scheme. */}}
{{- define "fraudstream.urlPort" -}}
{{- $authority := regexReplaceAll "^[^/]*//" . "" | splitList "/" | first -}}
{{- default (ternary "80" "443" (hasPrefix "http://" .)) (regexFind "[0-9]+$" (regexFind ":[0-9]+$" $authority)) -}}
{{- end -}}

{{/* Seconds of a duration setting: 20, "20", "20 s", "1 min". */}}
{{- define "fraudstream.drainSeconds" -}}
{{- $text := include "fraudstream.setting" (list . "DRAIN_SECONDS" "20") | trim -}}
{{- $number := regexFind "^[0-9.]+" $text -}}
{{- $unit := regexReplaceAll "^[0-9.]+ *" $text "" -}}
{{- $factor := get (dict "" 1.0 "s" 1.0 "ms" 0.001 "min" 60.0 "h" 3600.0) $unit -}}
{{- if not $factor }}{{ fail (printf "settings.DRAIN_SECONDS: %q is no duration: write seconds, such as 20" $text) }}{{ end -}}
{{- ceil (mulf (float64 $number) $factor) -}}
{{- end -}}

{{- define "fraudstream.graceSeconds" -}}
{{- $drain := include "fraudstream.drainSeconds" . | int -}}
{{- $stated := int .Values.worker.terminationGracePeriodSeconds -}}
{{- if and $stated (le $stated $drain) }}{{ fail (printf "worker.terminationGracePeriodSeconds: %d s is not above the drain of %d s (settings.DRAIN_SECONDS), so a worker would be killed while it drains: leave it 0, or state more" $stated $drain) }}{{ end -}}
{{- default (add $drain 15) $stated -}}
{{- end -}}

{{/* MiB that a worker and its challenger may take: docs/how-to/deploy.md, Workers. */}}
{{- define "fraudstream.workerMiB" -}}
{{- $cache := include "fraudstream.setting" (list . "CACHE_MB" "512") | int -}}
{{- $batch := include "fraudstream.setting" (list . "BATCH_MB" "64") | int -}}
{{- $shadow := include "fraudstream.setting" (list . "SHADOW_MEMORY_MB" "1024") | int -}}
{{- $steady := add 400 $cache (mul 6 $batch) -}}
{{- $repair := add (min 256 $cache) (mul 6 $batch) -}}
{{- $degraded := 0 -}}
{{- if eq (include "fraudstream.setting" (list . "REDIS_DOWN" "wait")) "degrade" }}{{ $degraded = add $cache 300 }}{{ end -}}
{{- add $steady (max $repair $degraded) $shadow -}}
{{- end -}}

{{- define "fraudstream.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "fraudstream.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Environment of a pod of `part`, which logs in as `role`. */}}
{{- define "fraudstream.environment" -}}
{{- $values := .root.Values -}}
- {name: FRAUDSTREAM_BROKERS, value: {{ $values.kafka.brokers | quote }}}
- {name: FRAUDSTREAM_DEPLOYMENT, value: {{ $values.deployment | quote }}}
- {name: FRAUDSTREAM_GROUP, value: {{ include "fraudstream.group" .root | quote }}}
- {name: FRAUDSTREAM_TOPIC_PREFIX, value: {{ $values.topicPrefix | quote }}}
- {name: FRAUDSTREAM_LOG_FORMAT, value: {{ include "fraudstream.setting" (list .root "LOG_FORMAT" "json") | quote }}}
- {name: FRAUDSTREAM_MODELS, value: {{ default "/models" $values.models.url | quote }}}
{{- if has .part (list "worker" "guard" "explain") }}
- {name: FRAUDSTREAM_HTTP, value: "0.0.0.0:6066"}
{{- end }}
{{- if ne .part "worker" }}
- {name: FRAUDSTREAM_ACTOR, value: {{ include "fraudstream.setting" (list .root "ACTOR" .part) | quote }}}
{{- end }}
{{- if eq .part "worker" }}
- name: FRAUDSTREAM_WORKER_ID
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- if $values.worker.staticMembership }}
- name: FRAUDSTREAM_GROUP_INSTANCE
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- end }}
{{- if $values.redis.urlSecret }}
- name: FRAUDSTREAM_REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ $values.redis.urlSecret }}, key: url}}
{{- else }}
- {name: FRAUDSTREAM_REDIS_URL, value: {{ $values.redis.url | quote }}}
{{- end }}
{{- if $values.redis.caSecret }}
- {name: FRAUDSTREAM_REDIS_CAFILE, value: /etc/fraudstream/redis/ca.crt}
{{- end }}
{{- if $values.redis.passwordSecret }}
- {name: FRAUDSTREAM_REDIS_PASSWORD_FILE, value: /etc/fraudstream/redis-password/password}
{{- end }}
{{- if $values.keys.commandKeysConfigMap }}
- {name: FRAUDSTREAM_COMMAND_KEYS, value: /etc/fraudstream/command-keys/keys.toml}
{{- end }}
{{- end }}
{{- if and $values.keys.modelKeysConfigMap (ne .part "topics") }}
- {name: FRAUDSTREAM_MODEL_KEYS, value: /etc/fraudstream/model-keys/keys.toml}
{{- end }}
{{- if include "fraudstream.signingSecret" . }}
- {name: FRAUDSTREAM_SIGNING_KEY, value: /etc/fraudstream/signing/key.pem}
{{- end }}
{{- if and (eq .part "worker") $values.keys.snapshotKeySecret }}
- {name: FRAUDSTREAM_SNAPSHOT_KEY_FILE, value: /etc/fraudstream/snapshot-key/key}
{{- end }}
{{- if and (has .part (list "worker" "guard")) $values.keys.hashKeySecret }}
- {name: FRAUDSTREAM_HASH_KEY_FILE, value: /etc/fraudstream/hash-key/key}
{{- end }}
{{- if $values.estate }}
- {name: FRAUDSTREAM_ESTATE, value: {{ $values.estate | quote }}}
{{- end }}
- {name: FRAUDSTREAM_KAFKA_SECURITY_PROTOCOL, value: {{ $values.kafka.securityProtocol }}}
{{- if include "fraudstream.usesSasl" .root }}
{{- $login := include "fraudstream.roleSecret" (dict "secrets" $values.kafka.sasl.secrets "role" .role) }}
- {name: FRAUDSTREAM_KAFKA_SASL_MECHANISM, value: {{ $values.kafka.sasl.mechanism }}}
{{- if not (include "fraudstream.usesTokens" .root) }}
- name: FRAUDSTREAM_KAFKA_SASL_USERNAME
  valueFrom: {secretKeyRef: {name: {{ $login }}, key: {{ $values.kafka.sasl.usernameKey }}}}
- name: FRAUDSTREAM_KAFKA_SASL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $login }}, key: {{ $values.kafka.sasl.passwordKey }}}}
{{- else }}
{{- $oauth := $values.kafka.sasl.oauth }}
{{- if $oauth.tokenEndpoint }}
- {name: FRAUDSTREAM_KAFKA_OAUTH_TOKEN_ENDPOINT, value: {{ $oauth.tokenEndpoint | quote }}}
- name: FRAUDSTREAM_KAFKA_OAUTH_CLIENT_ID
  valueFrom: {secretKeyRef: {name: {{ $login }}, key: {{ $values.kafka.sasl.usernameKey }}}}
- {name: FRAUDSTREAM_KAFKA_OAUTH_CLIENT_SECRET_FILE, value: /etc/fraudstream/kafka-login/{{ $values.kafka.sasl.passwordKey }}}
{{- if $oauth.scope }}
- {name: FRAUDSTREAM_KAFKA_OAUTH_SCOPE, value: {{ $oauth.scope | quote }}}
{{- end }}
{{- if $oauth.audience }}
- {name: FRAUDSTREAM_KAFKA_OAUTH_AUDIENCE, value: {{ $oauth.audience | quote }}}
{{- end }}
{{- if $oauth.caSecret }}
- {name: FRAUDSTREAM_KAFKA_OAUTH_CAFILE, value: /etc/fraudstream/oauth-ca/ca.crt}
{{- end }}
{{- else if $oauth.awsRegion }}
- {name: FRAUDSTREAM_KAFKA_OAUTH_AWS_REGION, value: {{ $oauth.awsRegion }}}
{{- else }}
- {name: FRAUDSTREAM_KAFKA_OAUTH_TOKEN_FILE, value: /var/run/fraudstream/kafka-token/token}
{{- end }}
{{- if $oauth.extensions }}
- {name: FRAUDSTREAM_KAFKA_OAUTH_EXTENSIONS, value: {{ $oauth.extensions | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- if include "fraudstream.usesTls" .root }}
{{- if $values.kafka.tls.caSecret }}
- {name: FRAUDSTREAM_KAFKA_SSL_CAFILE, value: /etc/fraudstream/kafka-ca/ca.crt}
{{- end }}
{{- if include "fraudstream.roleSecret" (dict "secrets" $values.kafka.tls.certSecrets "role" .role) }}
- {name: FRAUDSTREAM_KAFKA_SSL_CERTFILE, value: /etc/fraudstream/kafka-cert/tls.crt}
- {name: FRAUDSTREAM_KAFKA_SSL_KEYFILE, value: /etc/fraudstream/kafka-cert/tls.key}
{{- end }}
{{- end }}
{{- if and (eq .part "guard") (or $values.guard.incidents.webhook $values.guard.incidents.webhookSecret) }}
{{- if $values.guard.incidents.webhookSecret }}
- name: FRAUDSTREAM_INCIDENT_WEBHOOK
  valueFrom: {secretKeyRef: {name: {{ $values.guard.incidents.webhookSecret }}, key: url}}
{{- else }}
- {name: FRAUDSTREAM_INCIDENT_WEBHOOK, value: {{ $values.guard.incidents.webhook | quote }}}
{{- end }}
{{- if $values.guard.incidents.secret }}
- {name: FRAUDSTREAM_INCIDENT_SECRET_FILE, value: /etc/fraudstream/incidents/secret}
{{- end }}
{{- end }}
{{- if and $values.otel.endpoint (has .part (list "worker" "guard" "explain")) }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ $values.otel.endpoint | quote }}}
- {name: OTEL_EXPORTER_OTLP_PROTOCOL, value: {{ $values.otel.protocol }}}
- {name: OTEL_TRACES_SAMPLER, value: {{ $values.otel.sampler }}}
- {name: OTEL_SERVICE_NAME, value: {{ include "fraudstream.scrapeJob" . }}}
{{- end }}
{{- range $name := keys $values.settings | sortAlpha }}
{{- if not (has $name (list "LOG_FORMAT" "ACTOR")) }}
- {name: FRAUDSTREAM_{{ $name }}, value: {{ include "fraudstream.text" (get $values.settings $name) | quote }}}
{{- end }}
{{- end }}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "fraudstream.envFrom" -}}
{{- if and .root.Values.models.envSecret (ne .part "topics") }}
envFrom:
  - secretRef: {name: {{ .root.Values.models.envSecret }}}
{{- end }}
{{- end -}}

{{- define "fraudstream.mounts" -}}
{{- $values := .root.Values -}}
- {name: tmp, mountPath: /tmp}
{{- if and $values.models.claim (not $values.models.url) (ne .part "topics") }}
- name: models
  mountPath: /models
  readOnly: {{ not .writesModels }}
{{- if eq .part "worker" }}
- {name: models, mountPath: /models/control, subPath: control} # snapshots of the control log
{{- end }}
{{- end }}
{{- if and (include "fraudstream.usesTls" .root) $values.kafka.tls.caSecret }}
- {name: kafka-ca, mountPath: /etc/fraudstream/kafka-ca, readOnly: true}
{{- end }}
{{- if and (include "fraudstream.usesTls" .root) (include "fraudstream.roleSecret" (dict "secrets" $values.kafka.tls.certSecrets "role" .role)) }}
- {name: kafka-cert, mountPath: /etc/fraudstream/kafka-cert, readOnly: true}
{{- end }}
{{- if include "fraudstream.usesTokens" .root }}
{{- if $values.kafka.sasl.oauth.tokenEndpoint }}
- {name: kafka-login, mountPath: /etc/fraudstream/kafka-login, readOnly: true}
{{- if $values.kafka.sasl.oauth.caSecret }}
- {name: oauth-ca, mountPath: /etc/fraudstream/oauth-ca, readOnly: true}
{{- end }}
{{- else if not $values.kafka.sasl.oauth.awsRegion }}
- {name: kafka-token, mountPath: /var/run/fraudstream/kafka-token, readOnly: true}
{{- end }}
{{- end }}
{{- if and (eq .part "worker") $values.redis.caSecret }}
- {name: redis-ca, mountPath: /etc/fraudstream/redis, readOnly: true}
{{- end }}
{{- if and (eq .part "worker") $values.redis.passwordSecret }}
- {name: redis-password, mountPath: /etc/fraudstream/redis-password, readOnly: true}
{{- end }}
{{- if and (eq .part "worker") $values.keys.commandKeysConfigMap }}
- {name: command-keys, mountPath: /etc/fraudstream/command-keys, readOnly: true}
{{- end }}
{{- if and $values.keys.modelKeysConfigMap (ne .part "topics") }}
- {name: model-keys, mountPath: /etc/fraudstream/model-keys, readOnly: true}
{{- end }}
{{- if include "fraudstream.signingSecret" . }}
- {name: signing, mountPath: /etc/fraudstream/signing, readOnly: true}
{{- end }}
{{- if and (eq .part "worker") $values.keys.snapshotKeySecret }}
- {name: snapshot-key, mountPath: /etc/fraudstream/snapshot-key, readOnly: true}
{{- end }}
{{- if and (has .part (list "worker" "guard")) $values.keys.hashKeySecret }}
- {name: hash-key, mountPath: /etc/fraudstream/hash-key, readOnly: true}
{{- end }}
{{- if and (eq .part "guard") $values.guard.incidents.secret }}
- {name: incidents, mountPath: /etc/fraudstream/incidents, readOnly: true}
{{- end }}
{{- end -}}

{{- define "fraudstream.volumes" -}}
{{- $values := .root.Values -}}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- if and $values.models.claim (not $values.models.url) (ne .part "topics") }}
- name: models
  persistentVolumeClaim: {claimName: {{ $values.models.claim }}}
{{- end }}
{{- if and (include "fraudstream.usesTls" .root) $values.kafka.tls.caSecret }}
- name: kafka-ca
  secret: {secretName: {{ $values.kafka.tls.caSecret }}, defaultMode: 0400}
{{- end }}
{{- $certificate := include "fraudstream.roleSecret" (dict "secrets" $values.kafka.tls.certSecrets "role" .role) }}
{{- if and (include "fraudstream.usesTls" .root) $certificate }}
- name: kafka-cert
  secret: {secretName: {{ $certificate }}, defaultMode: 0400}
{{- end }}
{{- if include "fraudstream.usesTokens" .root }}
{{- $oauth := $values.kafka.sasl.oauth }}
{{- if $oauth.tokenEndpoint }}
- name: kafka-login
  secret: {secretName: {{ include "fraudstream.roleSecret" (dict "secrets" $values.kafka.sasl.secrets "role" .role) }}, defaultMode: 0400}
{{- if $oauth.caSecret }}
- name: oauth-ca
  secret: {secretName: {{ $oauth.caSecret }}, defaultMode: 0400}
{{- end }}
{{- else if not $oauth.awsRegion }}
- name: kafka-token # a token of the pod's service account, for Kafka alone; the cluster does not take it
  projected:
    defaultMode: 0400
    sources:
      - serviceAccountToken: {path: token, audience: {{ $oauth.projectedToken.audience | quote }}, expirationSeconds: {{ $oauth.projectedToken.expirationSeconds }}}
{{- end }}
{{- end }}
{{- if and (eq .part "worker") $values.redis.caSecret }}
- name: redis-ca
  secret: {secretName: {{ $values.redis.caSecret }}, defaultMode: 0400}
{{- end }}
{{- if and (eq .part "worker") $values.redis.passwordSecret }}
- name: redis-password
  secret: {secretName: {{ $values.redis.passwordSecret }}, defaultMode: 0400}
{{- end }}
{{- if and (eq .part "worker") $values.keys.commandKeysConfigMap }}
- name: command-keys
  configMap: {name: {{ $values.keys.commandKeysConfigMap }}}
{{- end }}
{{- if and $values.keys.modelKeysConfigMap (ne .part "topics") }}
- name: model-keys
  configMap: {name: {{ $values.keys.modelKeysConfigMap }}}
{{- end }}
{{- if include "fraudstream.signingSecret" . }}
- name: signing # the group of the pod can read it as well: Kubernetes adds that, since root owns the file
  secret: {secretName: {{ include "fraudstream.signingSecret" . }}, defaultMode: 0400}
{{- end }}
{{- if and (eq .part "worker") $values.keys.snapshotKeySecret }}
- name: snapshot-key
  secret: {secretName: {{ $values.keys.snapshotKeySecret }}, defaultMode: 0400}
{{- end }}
{{- if and (has .part (list "worker" "guard")) $values.keys.hashKeySecret }}
- name: hash-key
  secret: {secretName: {{ $values.keys.hashKeySecret }}, defaultMode: 0400}
{{- end }}
{{- if and (eq .part "guard") $values.guard.incidents.secret }}
- name: incidents
  secret: {secretName: {{ $values.guard.incidents.secret }}, defaultMode: 0400}
{{- end }}
{{- end -}}

{{/* What a pod of any part has beside its containers and volumes. */}}
{{- define "fraudstream.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "fraudstream.podSecurity" . | nindent 2 }}
{{- with .root.Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "fraudstream.podMetadata" -}}
labels:
  {{- include "fraudstream.selector" . | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Liveness restarts a process whose event loop stands still; readiness waits for Kafka, Redis, topics and a model. */}}
{{- define "fraudstream.probes" -}}
startupProbe:
  httpGet: {path: /health/live, port: http}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /health/live, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /health/ready, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 1
{{- end -}}

{{/* As stated; by default spread over machines and zones as well as the cluster allows. */}}
{{- define "fraudstream.spread" -}}
{{- $stated := .root.Values.topologySpreadConstraints -}}
{{- if not $stated -}}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" -}}
{{- $stated = append $stated (dict "maxSkew" 1 "topologyKey" $key "whenUnsatisfiable" "ScheduleAnyway") -}}
{{- end -}}
{{- end -}}
topologySpreadConstraints:
  {{- range $stated }}
  - {{ toYaml . | nindent 4 | trim }}
    labelSelector:
      matchLabels:
        {{- include "fraudstream.selector" $ | nindent 8 }}
  {{- end }}
{{- end -}}
