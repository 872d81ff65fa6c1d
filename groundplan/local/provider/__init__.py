"""The local cloud as Pulumi's providers of AWS and Kubernetes: the real engine runs on it, with state, diffs,
refresh and destroy.
"""
