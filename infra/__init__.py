"""The Pulumi program: objectives -> design -> components -> outputs."""
