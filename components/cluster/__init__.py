"""The Kubernetes cluster: nodes, namespaces, operators, and what all pods share."""
