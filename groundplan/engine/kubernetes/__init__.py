"""Kubernetes objects of a stack: collected from the program, validated, written as manifests."""
