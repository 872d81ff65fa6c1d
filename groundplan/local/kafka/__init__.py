"""What stands before the local Kafka broker."""
