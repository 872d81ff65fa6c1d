"""The Kubernetes cluster: nodes, namespaces, operators, what every pod has."""
