"""Where data arrives and stays: streaming, lake, catalog, feature store."""
