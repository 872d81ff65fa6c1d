"""Other model servers, each as its documentation says and in an environment of its own: ``make bench-peers``."""
