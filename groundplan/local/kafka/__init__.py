"""The proxy in front of the local Kafka broker."""
