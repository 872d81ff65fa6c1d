"""The local cloud: the Pulumi program applied in process, its AWS resources created in a moto server."""
