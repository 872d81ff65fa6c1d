"""The policy pack, one file a control family. It judges any program and imports nothing of the project."""
