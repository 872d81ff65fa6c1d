"""Programs run without the Pulumi CLI: previewed, and their Kubernetes objects written."""
