//! The application that `cargo xtask up` runs: small, but it uses what real
//! ones use.

use crate::images::BUSYBOX;

/// Text of the page, which a `ConfigMap` holds.
pub const PAGE: &str = "Hello from Kontiki";

/// A Deployment behind a Service, a `ConfigMap` and a Secret mounted into it,
/// and a Job.
#[must_use]
pub fn manifest() -> String {
    format!(
        r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: page
data:
  index.html: |
    {PAGE}
---
apiVersion: v1
kind: Secret
metadata:
  name: key
stringData:
  token: only-for-show
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 3
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
      - name: httpd
        image: {BUSYBOX}
        command: ["httpd", "-f", "-v", "-p", "8080", "-h", "/www"]
        env:
        - name: POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        ports:
        - name: http
          containerPort: 8080
        readinessProbe:
          httpGet:
            path: /
            port: http
          periodSeconds: 2
        resources:
          requests:
            cpu: 10m
            memory: 8Mi
          limits:
            memory: 64Mi
        volumeMounts:
        - name: page
          mountPath: /www
        - name: key
          mountPath: /etc/key
          readOnly: true
      volumes:
      - name: page
        configMap:
          name: page
      - name: key
        secret:
          secretName: key
---
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector:
    app: web
  ports:
  - name: http
    port: 80
    targetPort: http
---
apiVersion: batch/v1
kind: Job
metadata:
  name: sum
spec:
  backoffLimit: 2
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: sum
        image: {BUSYBOX}
        command: ["sh", "-c", "echo $((6 * 7))"]
"#
    )
}
