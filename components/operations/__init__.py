"""Monitoring, cost, schedules, audit and recovery."""
