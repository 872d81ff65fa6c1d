"""The local cloud: the Pulumi program applied in process, its AWS resources made in a moto server."""
